//! A shard: a writer lock, and counters of what was done under it.

use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{Mutex, MutexGuard};

use crate::memory::Tally;

/// A writer lock with its counters.
#[derive(Debug, Default)]
pub(crate) struct Shard {
    lock: Mutex<()>,
    counters: Counters,
}

/// A [`Tally`] that is written under the shard's lock, and may be read without it. Nothing is published through
/// these numbers, so every access is relaxed; and with one writer at a time an addition needs no locked
/// instruction.
#[derive(Debug, Default)]
struct Counters {
    entries: AtomicU64,
    tombstones: AtomicU64,
    key_bytes: AtomicU64,
    value_bytes: AtomicU64,
    heap_bytes: AtomicU64,
    table_bytes: AtomicU64,
    writes: AtomicU64,
}

impl Shard {
    pub(crate) fn lock(&self, index: u16) -> ShardLock<'_> {
        ShardLock { index, shard: self, _held: self.lock.lock() }
    }

    pub(crate) fn try_lock(&self, index: u16) -> Option<ShardLock<'_>> {
        Some(ShardLock { index, shard: self, _held: self.lock.try_lock()? })
    }

    /// The counters, each read on its own; see [`Tally`] for what a single shard's mean.
    pub(crate) fn tally(&self) -> Tally {
        let counters = &self.counters;
        Tally {
            entries: counters.entries.load(Ordering::Relaxed),
            tombstones: counters.tombstones.load(Ordering::Relaxed),
            key_bytes: counters.key_bytes.load(Ordering::Relaxed),
            value_bytes: counters.value_bytes.load(Ordering::Relaxed),
            heap_bytes: counters.heap_bytes.load(Ordering::Relaxed),
            table_bytes: counters.table_bytes.load(Ordering::Relaxed),
            writes: counters.writes.load(Ordering::Relaxed),
        }
    }
}

/// The lock of a shard, held.
#[derive(Debug)]
pub(crate) struct ShardLock<'a> {
    index: u16,
    shard: &'a Shard,
    _held: MutexGuard<'a, ()>,
}

impl ShardLock<'_> {
    pub(crate) fn index(&self) -> u16 {
        self.index
    }

    /// Adds what a slot's counters changed by.
    pub(crate) fn account(&self, before: &Tally, after: &Tally) {
        let counters = &self.shard.counters;
        add(&counters.entries, before.entries, after.entries);
        add(&counters.tombstones, before.tombstones, after.tombstones);
        add(&counters.key_bytes, before.key_bytes, after.key_bytes);
        add(&counters.value_bytes, before.value_bytes, after.value_bytes);
        add(&counters.heap_bytes, before.heap_bytes, after.heap_bytes);
        add(&counters.table_bytes, before.table_bytes, after.table_bytes);
        add(&counters.writes, before.writes, after.writes);
    }
}

fn add(counter: &AtomicU64, before: u64, after: u64) {
    if before != after {
        let sum = counter.load(Ordering::Relaxed).wrapping_add(after.wrapping_sub(before));
        counter.store(sum, Ordering::Relaxed);
    }
}
