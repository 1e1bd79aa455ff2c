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
/// ...or so many bytes of keys and values: what waits is in memory beside what it will replace.
const TOGETHER_BYTES: usize = 256 << 10;

/// Brings writes of a log back into a table, in any order; see [`Table::replayer`].
///
/// What was handed over is in the table once the replayer was dropped, and may be before.
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
    /// `applied` is called for each that was put in its place, with no lock held. Several threads may replay at once, each with a replayer
    /// of its own.
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
            prepared.look(buckets);
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
