//! The slots: who may write each, and where its buckets are.
#![expect(unsafe_code, reason = "a slot's state belongs to who holds the lock of the shard that it names")]

use std::cell::UnsafeCell;

use crossbeam_utils::CachePadded;

use crate::buckets::{Array, BucketsCell};
use crate::changed::Changed;
use crate::hash::SLOTS;
use crate::prefetch::prefetch;
use crate::shard::ShardLock;
use crate::store::Store;
use crate::sync::atomic::{AtomicU16, AtomicU32, Ordering};
use crate::writer::Writer;

/// All slots. What readers need is apart from what writers change, so that reading shares its cache lines.
#[derive(Debug)]
pub(crate) struct Slots {
    /// Where each slot's buckets are: all that a reader looks at.
    buckets: Box<[BucketsCell]>,
    /// The shard that each slot names.
    names: Box<[AtomicU16]>,
    /// Entries of each slot. Written under the lock, and read without it for a look whether there is room.
    counts: Box<[AtomicU32]>,
    states: Box<[CachePadded<StateCell>]>,
}

#[derive(Debug)]
struct StateCell(UnsafeCell<SlotState>);

// SAFETY: a state is reached through `Slots::writer` only, by who holds the lock of the shard that the slot names.
unsafe impl Sync for StateCell {}

/// What a slot's writer keeps of it.
#[derive(Debug)]
pub(crate) struct SlotState {
    /// The present buckets.
    pub(crate) array: Option<Array>,
    /// The lengths of the keys and values of all entries.
    pub(crate) bytes: u64,
    pub(crate) writes: u64,
    pub(crate) changed: Changed,
}

impl Slots {
    /// Memory of what every table has.
    pub(crate) const FIXED_BYTES: usize = SLOTS
        * (size_of::<BucketsCell>()
            + size_of::<AtomicU16>()
            + size_of::<AtomicU32>()
            + size_of::<CachePadded<StateCell>>());

    /// Slots that name the shards in turn.
    pub(crate) fn new(names: impl Iterator<Item = u16>, tracked: bool) -> Slots {
        let state = || SlotState { array: None, bytes: 0, writes: 0, changed: Changed::new(tracked) };
        Slots {
            buckets: (0..SLOTS).map(|_| BucketsCell::new()).collect(),
            names: names.take(SLOTS).map(AtomicU16::new).collect(),
            counts: (0..SLOTS).map(|_| AtomicU32::new(0)).collect(),
            states: (0..SLOTS).map(|_| CachePadded::new(StateCell(UnsafeCell::new(state())))).collect(),
        }
    }

    #[inline]
    pub(crate) fn buckets(&self, slot: usize) -> &BucketsCell {
        &self.buckets[slot]
    }

    /// The shard that a slot names. It stays so only while that shard's lock is held.
    ///
    /// Relaxed is enough: the name changes only under the locks of both shards. Whoever holds the lock of the
    /// shard that the name says, sees every change that was made under that lock before, so the name is no
    /// former one; and nobody else can change it.
    pub(crate) fn shard(&self, slot: usize) -> u16 {
        self.names[slot].load(Ordering::Relaxed)
    }

    /// Names another shard; the caller holds the locks of both.
    pub(crate) fn set_shard(&self, slot: usize, from: &ShardLock<'_>, to: &ShardLock<'_>) {
        assert_eq!(self.shard(slot), from.index(), "a slot is moved from the shard that it names");
        self.names[slot].store(to.index(), Ordering::Relaxed);
    }

    /// Asks for what the slot's writer keeps of it.
    #[inline]
    pub(crate) fn prefetch_state(&self, slot: usize) {
        prefetch(self.states[slot].0.get());
    }

    /// How many entries a slot has; exact for who holds the lock of its shard.
    pub(crate) fn count(&self, slot: usize) -> usize {
        self.counts[slot].load(Ordering::Relaxed) as usize
    }

    /// The right to change a slot, for who holds the lock of the shard that it names.
    #[inline(always)] // On the way of each put.
    pub(crate) fn writer<'a>(
        &'a self,
        slot: usize,
        lock: &'a mut ShardLock<'_>,
        store: &'a Store,
    ) -> Writer<'a> {
        assert_eq!(self.shard(slot), lock.index(), "a slot is written under its own shard's lock");
        // SAFETY: the slot names the shard whose lock is held, and stays there while it is. The lock is borrowed
        // exclusively for as long as the state, so that there is no other reference to it.
        let state = unsafe { &mut *self.states[slot].0.get() };
        let (counters, retired) = lock.parts();
        let arena = Store::arena_of(slot);
        Writer {
            buckets: &self.buckets[slot],
            count: &self.counts[slot],
            state,
            counters,
            retired,
            store,
            arena,
            room: None,
        }
    }
}
