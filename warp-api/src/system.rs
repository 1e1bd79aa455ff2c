//! Entries of the system keyspace that hold a whole set of something: rules, wormholes, laws, the places of slots.

use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::error::{Error, ErrorKind, Result};
use crate::keyspace::SYSTEM;
use crate::shared::Shared;
use crate::write::{Change, Hints, Op, Terms};

/// What one entry of the system keyspace holds, as a whole.
pub(crate) trait SystemEntry: Clone + Default + PartialEq {
    /// The key of the entry.
    const KEY: &'static [u8];
    /// What it is called in messages.
    const NAME: &'static str;
    /// What is wrong with bytes that cannot be read.
    type Bad: std::error::Error + Send + Sync + 'static;

    /// The bytes to store.
    fn to_bytes(&self) -> Vec<u8>;

    /// Reads what [`SystemEntry::to_bytes`] made.
    fn from_bytes(bytes: &[u8]) -> std::result::Result<Self, Self::Bad>;

    /// Whether bytes that cannot be read are of a version that this program does not know.
    fn is_newer(bad: &Self::Bad) -> bool;
}

impl Shared {
    /// What is stored; the default if nothing is.
    pub(crate) fn stored<T: SystemEntry>(&self) -> Result<T> {
        let found = self.find(self.key(SYSTEM, T::KEY))?;
        decode(found.as_ref().map(|found| &found.value[..]))
    }

    /// Changes what is stored, in one write, durably as `terms` ask. Returns what `change` answers, and the sequence of the
    /// write; where nothing changed, nothing is written, and that is the last sequence.
    pub(crate) fn change_stored<T: SystemEntry, R>(
        &self,
        terms: Terms,
        change: impl Fn(&mut T) -> Result<R>,
    ) -> Result<(R, u64)> {
        loop {
            let (found, witness) = self.find_witnessed(self.key(SYSTEM, T::KEY))?;
            let before: T = decode(found.as_ref().map(|found| &found.value[..]))?;
            let mut after = before.clone();
            let answer = change(&mut after)?;
            if after == before {
                return Ok((answer, self.nothing_written(None, terms)?));
            }
            let bytes = after.to_bytes();
            let put = Change::Put { value: &bytes, deadline: 0, hints: Hints::default() };
            let op = Op { keyspace: SYSTEM, key: T::KEY, change: put };
            if let Some(written) = self.write_one(op, Some(&witness), terms)? {
                return Ok((answer, written.seq));
            }
            self.counters.conflicts.add(1);
        }
    }
}

/// Takes what is stored into use; what there was stays if it cannot be read.
pub(crate) fn reload<T>(used: &ArcSwap<T>, read: impl Fn() -> Result<T>) -> Result<()> {
    let mut outcome = Ok(());
    // Read inside the update: of two changes at once, the one that comes last here reads the later state. An update that is
    // tried again ends as its last try.
    used.rcu(|former| match read() {
        Ok(read) => {
            outcome = Ok(());
            Arc::new(read)
        }
        Err(error) => {
            outcome = Err(error);
            Arc::clone(former)
        }
    });
    outcome
}

fn decode<T: SystemEntry>(bytes: Option<&[u8]>) -> Result<T> {
    let Some(bytes) = bytes else { return Ok(T::default()) };
    T::from_bytes(bytes).map_err(|bad| {
        let kind = if T::is_newer(&bad) { ErrorKind::Unsupported } else { ErrorKind::Corrupt };
        Error::new(kind, format!("the stored {} cannot be read", T::NAME)).caused_by(bad)
    })
}
