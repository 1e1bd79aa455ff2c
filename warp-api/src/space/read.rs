//! Reading keys.

use std::time::{Duration, SystemTime};

use crate::error::Result;
use crate::read::{Found, Seen};
use crate::space::Space;
use crate::types::{Entry, Seq, Value};

impl Space<'_> {
    /// Puts the value where the caller wants it.
    #[inline(never)]
    pub(crate) fn get_into(self, key: &[u8], answer: &mut Result<Option<Value>>) {
        if let Err(error) = self.check() {
            *answer = Err(error);
            return;
        }
        let shared = self.shared;
        let start = shared.latencies.reads.start(&shared.time);
        shared.read_into(&self.key(key), answer);
        if let Some(start) = start {
            shared.latencies.reads.end(&shared.time, start);
        }
    }

    #[inline]
    pub(crate) fn with_value<R>(self, key: &[u8], read: impl FnOnce(&[u8]) -> R) -> Result<Option<R>> {
        self.check()?;
        let shared = self.shared;
        let start = shared.latencies.reads.start(&shared.time);
        let answer = shared.find_with(&self.key(key), read);
        if let Some(start) = start {
            shared.latencies.reads.end(&shared.time, start);
        }
        answer
    }

    pub(crate) fn get_entry(self, key: &[u8]) -> Result<Option<Entry>> {
        self.check()?;
        Ok(self.shared.find_counted(self.key(key))?.map(entry))
    }

    pub(crate) fn multi_get<K: AsRef<[u8]>>(self, keys: &[K]) -> Result<Vec<Option<Value>>> {
        let mut values = vec![None; keys.len()];
        self.find_many(keys, |place, seen| seen.value_into(&mut values[place]))?;
        Ok(values)
    }

    pub(crate) fn multi_get_with<K: AsRef<[u8]>>(
        self,
        keys: &[K],
        mut read: impl FnMut(usize, Option<&[u8]>),
    ) -> Result<()> {
        self.find_many(keys, |place, seen| seen.read(|value| read(place, value)))
    }

    fn find_many<K: AsRef<[u8]>>(self, keys: &[K], each: impl FnMut(usize, Seen<'_>)) -> Result<()> {
        self.check()?;
        let keys: Vec<_> = keys.iter().map(|key| self.key(key.as_ref())).collect();
        self.shared.find_many(&keys, each)
    }

    pub(crate) fn contains_key(self, key: &[u8]) -> Result<bool> {
        self.check()?;
        Ok(self.shared.find_with(&self.key(key), |_| ())?.is_some())
    }
}

fn entry(found: Found) -> Entry {
    let after = Some(Duration::from_millis(found.deadline)).filter(|after| !after.is_zero());
    Entry {
        value: found.value,
        seq: Seq(found.seq),
        // One that is too far away for the system's clock never comes.
        expires_at: after.and_then(|after| SystemTime::UNIX_EPOCH.checked_add(after)),
        level: found.level,
    }
}
