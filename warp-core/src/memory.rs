//! What the table holds, counted.

use crate::entry::Entry;
use crate::value::Key;

/// What a table holds at one moment, from counters that are kept under the shards' locks.
///
/// All in bytes, except the first two. The allocator's own rounding and headers are not in it: they depend on the
/// allocator, and are between 8 and 24 bytes for each piece on the heap with the usual ones.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TableMemory {
    /// Entries, tombstones included.
    pub entries: u64,
    /// Tombstones among them.
    pub tombstones: u64,
    /// The lengths of all keys.
    pub key_bytes: u64,
    /// The lengths of all values.
    pub value_bytes: u64,
    /// The part of `key_bytes` and `value_bytes` that is on the heap; the rest is inside `table_bytes`.
    pub heap_bytes: u64,
    /// The table itself: buckets, those in use and those not, lists of changed keys, slots and shards.
    pub table_bytes: u64,
}

impl TableMemory {
    /// All memory that the table keeps: `table_bytes + heap_bytes`.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.table_bytes.saturating_add(self.heap_bytes)
    }
}

/// What one slot holds and how busy it is, for deciding which shard should have it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SlotLoad {
    /// The shard that the slot named when it was asked.
    pub shard: u16,
    /// Entries, tombstones included.
    pub entries: u64,
    /// The lengths of their keys and values.
    pub bytes: u64,
    /// Writes to the slot since the table was made, under whichever shard's lock.
    pub writes: u64,
}

/// The counters of a slot, and their sums a shard.
///
/// A shard adds up the differences that were made under its lock, and keeps them when a slot leaves it. A single
/// shard's sums may therefore be below zero, and wrap; those over all shards are right.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) entries: u64,
    pub(crate) tombstones: u64,
    pub(crate) key_bytes: u64,
    pub(crate) value_bytes: u64,
    pub(crate) heap_bytes: u64,
    pub(crate) table_bytes: u64,
    /// Changes made by writers: only ever added to.
    pub(crate) writes: u64,
}

impl Tally {
    pub(crate) fn add_entry(&mut self, entry: &Entry) {
        self.entries += 1;
        match &entry.value {
            Some(value) => {
                self.value_bytes += value.len() as u64;
                self.heap_bytes += value.heap_bytes() as u64;
            }
            None => self.tombstones += 1,
        }
    }

    pub(crate) fn subtract_entry(&mut self, entry: &Entry) {
        self.entries -= 1;
        match &entry.value {
            Some(value) => {
                self.value_bytes -= value.len() as u64;
                self.heap_bytes -= value.heap_bytes() as u64;
            }
            None => self.tombstones -= 1,
        }
    }

    pub(crate) fn add_key(&mut self, key: &Key) {
        self.key_bytes += key.len() as u64;
        self.heap_bytes += key.heap_bytes() as u64;
    }

    pub(crate) fn subtract_key(&mut self, key: &Key) {
        self.key_bytes -= key.len() as u64;
        self.heap_bytes -= key.heap_bytes() as u64;
    }

    /// All fields, with another tally's, in one order.
    pub(crate) fn zip(&mut self, other: &Tally, mut with: impl FnMut(&mut u64, u64)) {
        with(&mut self.entries, other.entries);
        with(&mut self.tombstones, other.tombstones);
        with(&mut self.key_bytes, other.key_bytes);
        with(&mut self.value_bytes, other.value_bytes);
        with(&mut self.heap_bytes, other.heap_bytes);
        with(&mut self.table_bytes, other.table_bytes);
        with(&mut self.writes, other.writes);
    }
}
