//! A shard: a writer lock, the counters of what was done under it, and what was taken out of the table under it.

use crate::memory::Tally;
use crate::store::{RETIRED_BYTES_TOGETHER, RETIRED_TOGETHER, Retired, Store};
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{Mutex, MutexGuard};

/// A writer lock with its counters.
#[derive(Debug, Default)]
pub(crate) struct Shard {
    /// What was taken out of the table under the lock, and not freed yet.
    retired: Mutex<Vec<Retired>>,
    pub(crate) counters: Counters,
}

/// A [`Tally`] that is written under the shard's lock, and may be read without it. Nothing is published through
/// these numbers, so every access is relaxed; and with one writer at a time an addition needs no locked
/// instruction.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    entries: AtomicU64,
    tombstones: AtomicU64,
    key_bytes: AtomicU64,
    value_bytes: AtomicU64,
    shared_bytes: AtomicU64,
    packed: AtomicU64,
    packed_bytes: AtomicU64,
    list_bytes: AtomicU64,
    listed: AtomicU64,
    retired_bytes: AtomicU64,
    writes: AtomicU64,
}

impl Shard {
    pub(crate) fn lock<'a>(&'a self, index: u16, store: &'a Store) -> ShardLock<'a> {
        ShardLock { index, shard: self, store, retired: Some(self.retired.lock()) }
    }

    pub(crate) fn try_lock<'a>(&'a self, index: u16, store: &'a Store) -> Option<ShardLock<'a>> {
        Some(ShardLock { index, shard: self, store, retired: Some(self.retired.try_lock()?) })
    }

    /// Takes what was taken out of a table that nobody has any more.
    pub(crate) fn take_all(&mut self) -> Vec<Retired> {
        std::mem::take(self.retired.get_mut())
    }

    /// The counters, each read on its own; see [`Tally`] for what a single shard's mean.
    pub(crate) fn tally(&self) -> Tally {
        let counters = &self.counters;
        Tally {
            entries: counters.entries.load(Ordering::Relaxed),
            tombstones: counters.tombstones.load(Ordering::Relaxed),
            key_bytes: counters.key_bytes.load(Ordering::Relaxed),
            value_bytes: counters.value_bytes.load(Ordering::Relaxed),
            shared_bytes: counters.shared_bytes.load(Ordering::Relaxed),
            packed: counters.packed.load(Ordering::Relaxed),
            packed_bytes: counters.packed_bytes.load(Ordering::Relaxed),
            list_bytes: counters.list_bytes.load(Ordering::Relaxed),
            listed: counters.listed.load(Ordering::Relaxed),
            retired_bytes: counters.retired_bytes.load(Ordering::Relaxed),
            writes: counters.writes.load(Ordering::Relaxed),
        }
    }
}

impl Counters {
    /// Adds what one change came to. For who holds the shard's lock.
    #[inline(always)] // So that what is known to be zero is not looked at.
    pub(crate) fn account(&self, change: &Tally) {
        add(&self.entries, change.entries);
        add(&self.tombstones, change.tombstones);
        add(&self.key_bytes, change.key_bytes);
        add(&self.value_bytes, change.value_bytes);
        add(&self.shared_bytes, change.shared_bytes);
        add(&self.packed, change.packed);
        add(&self.packed_bytes, change.packed_bytes);
        add(&self.list_bytes, change.list_bytes);
        add(&self.listed, change.listed);
        add(&self.retired_bytes, change.retired_bytes);
        add(&self.writes, change.writes);
    }
}

#[inline]
fn add(counter: &AtomicU64, change: u64) {
    if change != 0 {
        counter.store(counter.load(Ordering::Relaxed).wrapping_add(change), Ordering::Relaxed);
    }
}

/// The lock of a shard, held.
#[derive(Debug)]
pub(crate) struct ShardLock<'a> {
    index: u16,
    shard: &'a Shard,
    store: &'a Store,
    /// `None` only while this is dropped.
    retired: Option<MutexGuard<'a, Vec<Retired>>>,
}

impl ShardLock<'_> {
    pub(crate) fn index(&self) -> u16 {
        self.index
    }

    /// The counters, and the list of what is taken out of the table.
    pub(crate) fn parts(&mut self) -> (&Counters, &mut Vec<Retired>) {
        let retired = self.retired.as_mut().expect("there until the lock is dropped");
        (&self.shard.counters, &mut **retired)
    }

    /// Takes what was taken out of the table under this lock.
    pub(crate) fn take_retired(&mut self) -> Vec<Retired> {
        let (counters, retired) = self.parts();
        let retired = std::mem::take(retired);
        let bytes: usize = retired.iter().map(Retired::weight).sum();
        add(&counters.retired_bytes, (bytes as u64).wrapping_neg());
        retired
    }
}

impl Drop for ShardLock<'_> {
    fn drop(&mut self) {
        let bytes = self.shard.counters.retired_bytes.load(Ordering::Relaxed);
        let count = self.retired.as_ref().map_or(0, |retired| retired.len());
        if count >= RETIRED_TOGETHER || bytes >= RETIRED_BYTES_TOGETHER {
            let retired = self.take_retired();
            // Others may write while memory is freed.
            self.retired = None;
            self.store.retire(retired);
        }
    }
}
