//! Writes that come back from a log: many are made ready before the first is put in its place, so that their cache misses
//! overlap.

use std::fmt;

use crate::hash::{KeyRef, slot_of};
use crate::prepared::{Prepared, TableFull};
use crate::record::{Contents, NewValue};
use crate::table::Table;
use crate::writer::Former;

/// So many writes wait for each other...
const TOGETHER: usize = 32;
/// ...or so many bytes of entries: what waits is in memory beside what it will replace.
const TOGETHER_BYTES: usize = 256 << 10;

/// Brings writes of a log back into a table, in any order; see [`Table::replayer`].
///
/// What was handed over is in the table once the replayer was dropped, and may be before. Whoever calls it, or drops it, holds no
/// [`Guard`](crate::Guard) of the table.
pub struct Replayer<'t, F: FnMut(Replayed)> {
    table: &'t Table,
    waiting: Vec<Waiting<'t>>,
    waiting_bytes: usize,
    applied: F,
}

/// A write that is ready.
struct Waiting<'t> {
    prepared: Prepared<'t>,
    seq: u64,
    deadline: u64,
}

/// A write that was put in its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Replayed {
    /// The hash of its key.
    pub hash: u64,
    /// Its deadline, in milliseconds since the start of 1970; 0 for none.
    pub deadline: u64,
    /// What the table had for the key before.
    pub former: Option<Former>,
}

impl Table {
    /// Begins to bring writes of a log back: each sets the entry of its key unless that has a higher sequence, so that any order
    /// ends in the same. It counts as a change. Of writes of one key with one sequence the last one stands.
    ///
    /// `applied` is called for each that was put in its place, with no lock held; if it panics, what still waits is lost. Several
    /// threads may replay at once, each with a replayer of its own.
    ///
    /// ```
    /// use warp_core::{KeyRef, Table};
    ///
    /// let table = Table::new(4, 9);
    /// let key = KeyRef::new(9, 0, b"key");
    /// let mut replayer = table.replayer(|_| ());
    /// replayer.put(key, "newer", 0, 2)?;
    /// replayer.put(key, "older", 0, 1)?;
    /// drop(replayer);
    /// assert_eq!(table.get(key).unwrap().seq, 2);
    /// # Ok::<(), warp_core::TableFull>(())
    /// ```
    pub fn replayer<F: FnMut(Replayed)>(&self, applied: F) -> Replayer<'_, F> {
        Replayer { table: self, waiting: Vec::with_capacity(TOGETHER), waiting_bytes: 0, applied }
    }
}

impl<F: FnMut(Replayed)> Replayer<'_, F> {
    /// Takes a put in.
    ///
    /// # Errors
    /// [`TableFull`]: this one will not be in the table.
    ///
    /// # Panics
    /// If the key is longer than [`KEY_BYTES_MAX`](crate::KEY_BYTES_MAX).
    pub fn put<'v>(
        &mut self,
        key: KeyRef<'_>,
        value: impl Into<NewValue<'v>>,
        deadline: u64,
        seq: u64,
    ) -> Result<(), TableFull> {
        let value = self.table.stored(key.hash, value.into());
        self.take(Contents { key, value: Some(value), deadline }, seq)
    }

    /// Takes a deletion in.
    ///
    /// # Errors
    /// [`TableFull`]: there is no memory for the tombstone.
    ///
    /// # Panics
    /// If the key is longer than [`KEY_BYTES_MAX`](crate::KEY_BYTES_MAX).
    pub fn delete(&mut self, key: KeyRef<'_>, seq: u64) -> Result<(), TableFull> {
        self.take(Contents { key, value: None, deadline: 0 }, seq)
    }

    fn take(&mut self, contents: Contents<'_>, seq: u64) -> Result<(), TableFull> {
        let deadline = contents.deadline;
        let prepared = self.table.prepare_blindly(contents)?;
        self.waiting_bytes += prepared.memory_bytes();
        self.waiting.push(Waiting { prepared, seq, deadline });
        if self.waiting.len() >= TOGETHER || self.waiting_bytes >= TOGETHER_BYTES {
            self.apply();
        }
        Ok(())
    }

    /// Puts what waits in its place.
    fn apply(&mut self) {
        self.waiting_bytes = 0;
        // Buckets were asked for when each was taken in; now the entries in them are, of all before the first is waited for.
        let pin = self.table.store().pin();
        for Waiting { prepared, .. } in &mut self.waiting {
            let buckets = self.table.slots().buckets(slot_of(prepared.hash())).load(&pin);
            prepared.finish(buckets);
        }
        drop(pin);
        for Waiting { prepared, seq, deadline } in self.waiting.drain(..) {
            let hash = prepared.hash();
            let replayed = self.table.lock(hash).replay(prepared, seq);
            if let Ok(former) = replayed {
                (self.applied)(Replayed { hash, deadline, former });
            }
        }
    }
}

impl<F: FnMut(Replayed)> Drop for Replayer<'_, F> {
    fn drop(&mut self) {
        self.apply();
    }
}

impl<F: FnMut(Replayed)> fmt::Debug for Replayer<'_, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Replayer").field("waiting", &self.waiting.len()).finish_non_exhaustive()
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn key(number: u64) -> [u8; 2] {
        [number.to_le_bytes()[0], number.to_le_bytes()[1]]
    }

    /// The highest sequence of each key stands, and of one sequence what came last, across the bounds of what waits together; slots
    /// grow meanwhile.
    #[test]
    fn many_writes_end_as_their_sequences_say() {
        let table = Table::new(2, 7);
        let mut expected: BTreeMap<u64, (u64, Option<Vec<u8>>)> = BTreeMap::new();
        let (mut applied, mut stood) = (0, 0);
        let mut replayer = table.replayer(|replayed| {
            assert_eq!(replayed.deadline, 0);
            applied += 1;
        });
        let writes = if cfg!(miri) { 200 } else { 3 * u64::from(u16::MAX) };
        for write in 0..writes {
            // Some come again and again, also while they wait.
            let spread = (write.wrapping_mul(0x9E37_79B9) >> 3) & 0x3FFF;
            let number = if write % 3 == 0 { spread % 4 } else { spread };
            // Often the same as before, or lower.
            let seq = 1 + (write.wrapping_mul(0x85EB_CA6B) >> 7 & 0xF);
            let value = (write % 5 > 0).then(|| vec![7; if write % 97 == 0 { 20_000 } else { 9 }]);
            let key = key(number);
            let ref_of = KeyRef { hash: table.hash_of(0, &key), keyspace: 0, bytes: &key };
            match &value {
                Some(value) => replayer.put(ref_of, &value[..], 0, seq).unwrap(),
                None => replayer.delete(ref_of, seq).unwrap(),
            }
            if expected.get(&number).is_none_or(|(present, _)| *present <= seq) {
                expected.insert(number, (seq, value));
                stood += 1;
            }
        }
        drop(replayer);
        assert_eq!((applied, table.len()), (stood, expected.len()));
        for (number, (seq, value)) in expected {
            let key = key(number);
            let found = table.get(KeyRef { hash: table.hash_of(0, &key), keyspace: 0, bytes: &key }).unwrap();
            assert_eq!((found.seq, found.value.as_deref()), (seq, value.as_deref()), "{number}");
        }
        table.validate().unwrap();
    }
}
