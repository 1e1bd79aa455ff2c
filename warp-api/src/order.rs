//! Which keyspaces are kept in order, and how their orders are kept up.
//!
//! ```text
//!   put of a new key --> the table notes its hash --> merged: by the worker, or by the next scan before it begins
//!   first scan       --> notes are turned on, then everything is walked and sorted (`order/build.rs`)
//!   every scan       --> a chunk of hashes, looked up in memory and layers (`order/gather.rs`)
//! ```
//!
//! An order holds every key that is present, and for a while some that are gone. Nothing is done for it when a key
//! goes; what is gone is swept away as much as keys come and go.

mod build;
mod gather;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::{Mutex, RwLock};
use warp_core::{Chunk, Kept, Key, OrderedKeys};

pub(crate) use self::gather::{Item, Values};
use crate::error::{Error, Result};
use crate::floors::DROPPED;
use crate::shared::Shared;

/// Hashes that are looked up together while they are merged.
const MERGE_STEP: usize = 1 << 12;
/// After so many hashes were merged at once the orders are counted anew, before the worker's next look.
const COUNTED_FROM: usize = 1 << 12;
/// Hashes of an order that a round of background work looks at, at most: some ten milliseconds.
const SWEEP_HASHES_MAX: usize = 1 << 16;
/// Hashes that are swept for each key that came or went: with two, no more than half as much again as is present
/// is ever held of what is gone.
const SWEEP_FACTOR: usize = 2;

/// The orders of an engine.
#[derive(Debug, Default)]
pub(crate) struct Order {
    spaces: RwLock<Spaces>,
    /// Held by whoever takes what the table has noted, until it is merged or the orders that lack it are let go: so that
    /// who gets the lock and finds nothing noted knows that everything is merged in the orders that are kept.
    merging: Mutex<Merging>,
    /// One order is built at a time, and none is let go meanwhile. Taken before `merging`.
    building: Mutex<()>,
}

#[derive(Debug, Default)]
struct Spaces {
    kept: BTreeMap<u32, Arc<Space>>,
    /// Those that were let go: scans that have begun may hold them for long.
    let_go: Vec<Weak<Space>>,
}

#[derive(Debug, Default)]
struct Merging {
    /// What was taken while an order is being built, which is to be merged into it, too.
    backlog: Option<Vec<u64>>,
    /// Keys with a value in memory of a lower sequence are in all orders.
    clean_below: u64,
    /// What could not be merged yet, since a layer that may have its keys could not be read.
    unread: Unread,
    /// The engine's count of keys that were deleted or have expired when it was last looked at.
    deletes: u64,
}

/// Hashes of keys that are not known, and why.
#[derive(Debug, Default)]
pub(crate) struct Unread {
    hashes: Vec<u64>,
    error: Option<Error>,
}

impl Unread {
    fn add(&mut self, hash: u64, error: Error) {
        self.hashes.push(hash);
        self.error = Some(error);
    }
}

/// A keyspace that is kept in order.
#[derive(Debug)]
pub(crate) struct Space {
    keyspace: u32,
    keys: OrderedKeys,
    /// The keyspace's floor when it was last looked at.
    floor: AtomicU64,
    /// Hashes that are yet to be looked at by a sweep.
    owed: AtomicUsize,
}

impl Space {
    pub(crate) fn keys(&self) -> &OrderedKeys {
        &self.keys
    }

    fn owe(&self, hashes: usize) {
        // No more than everything twice: what one sweep leaves, another finds.
        let most = 2 * self.keys.len() + SWEEP_FACTOR;
        let owed = self.owed.load(Ordering::Relaxed).saturating_add(hashes).min(most);
        self.owed.store(owed, Ordering::Relaxed);
    }
}

impl Order {
    fn spaces(&self) -> Vec<Arc<Space>> {
        self.spaces.read().kept.values().cloned().collect()
    }

    fn get(&self, keyspace: u32) -> Option<Arc<Space>> {
        self.spaces.read().kept.get(&keyspace).cloned()
    }

    fn is_empty(&self) -> bool {
        self.spaces.read().kept.is_empty()
    }

    /// Whether this order is still kept: then it is also kept up.
    fn has(&self, space: &Arc<Space>) -> bool {
        self.spaces.read().kept.get(&space.keyspace).is_some_and(|kept| Arc::ptr_eq(kept, space))
    }

    /// The orders that were let go, and are held by scans.
    fn held_by_scans(&self) -> Vec<Arc<Space>> {
        self.spaces.read().let_go.iter().filter_map(Weak::upgrade).collect()
    }
}

impl Shared {
    /// The order of a keyspace, with every key that was put before the call. Builds it, where there is none; whoever
    /// asks meanwhile waits.
    ///
    /// What is found in memory with a sequence below a [`Shared::known_below`] that was asked for before this call is
    /// in the order.
    ///
    /// # Errors
    /// `Full` if memory has no room for it. As of a read, where a layer cannot tell of keys that were put lately; asked again, it is tried again.
    pub(crate) fn ordered(&self, keyspace: u32) -> Result<Arc<Space>> {
        if let Some(space) = self.order.get(keyspace) {
            let mut merging = self.order.merging.lock();
            self.merge_locked(&mut merging)?;
            // If it was let go meanwhile, what was noted for it may have gone, too.
            if self.order.has(&space) {
                return Ok(space);
            }
        }
        let _alone = self.order.building.lock();
        if let Some(space) = self.order.get(keyspace) {
            self.merge_added()?;
            return Ok(space);
        }
        self.order.merging.lock().backlog = Some(Vec::new());
        // First the notes, then the walk: what the walk misses was noted.
        self.table.note_added(true);
        let floor = self.floors.of(keyspace);
        let built = self.build_order(keyspace);
        let mut merging = self.order.merging.lock();
        let late = merging.backlog.take().unwrap_or_default();
        let (keys, room) = match built {
            Ok(built) => built,
            Err(error) => {
                if self.order.is_empty() {
                    self.table.note_added(false);
                    drop(self.table.take_added());
                }
                return Err(error);
            }
        };
        let space =
            Arc::new(Space { keyspace, keys, floor: AtomicU64::new(floor), owed: AtomicUsize::new(0) });
        let mut unread = Unread::default();
        self.merge_hashes(late, std::slice::from_ref(&space), 0, &mut unread);
        self.order.spaces.write().kept.insert(keyspace, Arc::clone(&space));
        merging.unread.hashes.append(&mut unread.hashes);
        self.count_orders();
        drop(room);
        self.merge_locked(&mut merging)?;
        Ok(space)
    }

    /// The sequence below which every entry in memory was put before the newest checkpoint was published.
    pub(crate) fn known_below(&self) -> u64 {
        self.home.as_ref().map_or(0, |home| home.current.load().replay_from)
    }

    /// Bytes that the orders and the notes for them take; those of orders that only scans hold are among them.
    pub(crate) fn order_bytes(&self) -> usize {
        let sum = |spaces: &[Arc<Space>]| spaces.iter().map(|space| space.keys.memory_bytes()).sum::<usize>();
        let kept = self.order.spaces();
        // From before the first order is there: new keys are noted while it is built.
        let notes = if self.table.notes_added() { self.table.added_bytes() } else { 0 };
        notes + sum(&kept) + sum(&self.order.held_by_scans())
    }

    /// Merges what was noted, and sweeps what is owed, in bounded steps: background work.
    pub(crate) fn keep_order(&self) {
        if self.order.is_empty() {
            return;
        }
        self.forget_too_large();
        self.forget_dropped();
        let clean_below = self.known_below();
        // Whoever scans is told.
        let _ = self.merge_added();
        let deletes = {
            let mut merging = self.order.merging.lock();
            let deletes = self.counters.deletes.sum() + self.counters.expired.sum();
            usize::try_from(deletes - std::mem::replace(&mut merging.deletes, deletes)).unwrap_or(usize::MAX)
        };
        for space in self.order.spaces() {
            let floor = self.floors.of(space.keyspace);
            if space.floor.swap(floor, Ordering::Relaxed) != floor {
                space.owe(usize::MAX);
            }
            space.owe(deletes.saturating_mul(SWEEP_FACTOR));
            self.sweep(&space, clean_below);
        }
    }

    /// Lets the orders of dropped keyspaces go.
    fn forget_dropped(&self) {
        // An order that is being built needs the notes, too.
        let Some(_alone) = self.order.building.try_lock() else { return };
        self.let_go(&mut self.order.merging.lock(), |space| self.floors.of(space.keyspace) == DROPPED);
    }

    /// Lets all orders go once they take more than they may, as they do when keys go on to come: scans that have begun end
    /// with them, and the next one builds what fits, or is told that nothing does.
    fn forget_too_large(&self) {
        let bytes = self.order_bytes() as u64;
        if bytes <= self.budget.orders_max() {
            return;
        }
        let Some(_alone) = self.order.building.try_lock() else { return };
        self.let_go(&mut self.order.merging.lock(), |_| true);
        self.count_orders();
        tracing::warn!(
            bytes,
            "the order of the keys takes more than half of the memory budget, and is given up"
        );
    }

    /// Lets some orders go; with the last one, the notes. No order is being built, and nobody is between taking notes and
    /// merging them.
    fn let_go(&self, merging: &mut Merging, goes: impl Fn(&Space) -> bool) {
        let mut spaces = self.order.spaces.write();
        let Spaces { kept, let_go } = &mut *spaces;
        let_go.retain(|space| space.strong_count() > 0);
        kept.retain(|_, space| {
            let goes = goes(space);
            let_go.extend(goes.then(|| Arc::downgrade(space)));
            !goes
        });
        if kept.is_empty() {
            self.table.note_added(false);
            drop(self.table.take_added());
            merging.unread = Unread::default();
        }
    }

    fn sweep(&self, space: &Space, clean_below: u64) {
        let mut swept = 0;
        let owed = space.owed.load(Ordering::Relaxed);
        while swept < owed.min(SWEEP_HASHES_MAX) && !self.is_ending() {
            // An empty block counts, too, so that this ends.
            swept += space.keys.sweep(&mut |chunk| self.kept(space.keyspace, chunk, clean_below)).max(1);
        }
        space.owed.store(owed.saturating_sub(swept), Ordering::Relaxed);
    }

    /// Merges what was noted: then every order has all keys that were put before the call.
    fn merge_added(&self) -> Result<()> {
        self.merge_locked(&mut self.order.merging.lock())
    }

    fn merge_locked(&self, merging: &mut Merging) -> Result<()> {
        let clean_below = self.known_below();
        let mut added = self.table.take_added();
        added.append(&mut merging.unread.hashes);
        if !added.is_empty() {
            if let Some(backlog) = &mut merging.backlog {
                backlog.extend_from_slice(&added);
            }
            // Judged by what was merged before: of what is being merged now, a part is not in its place yet.
            let count = added.len();
            self.merge_hashes(added, &self.order.spaces(), merging.clean_below, &mut merging.unread);
            if count >= COUNTED_FROM {
                self.count_orders();
            }
        }
        merging.clean_below = clean_below;
        merging.unread.error.take().map_or(Ok(()), Err)
    }

    fn merge_hashes(
        &self,
        mut hashes: Vec<u64>,
        spaces: &[Arc<Space>],
        clean_below: u64,
        unread: &mut Unread,
    ) {
        hashes.sort_unstable();
        hashes.dedup();
        for step in hashes.chunks(MERGE_STEP) {
            for space in spaces {
                let added = self.keys_of(space.keyspace, step, unread);
                space.owe(added.len().saturating_mul(SWEEP_FACTOR));
                let mut resolve = |chunk: &Chunk| self.kept(space.keyspace, chunk, clean_below);
                space.keys.merge(added, &mut resolve);
            }
        }
    }

    fn kept(&self, keyspace: u32, chunk: &Chunk, clean_below: u64) -> Kept {
        let gathered = self.gather(keyspace, chunk, clean_below, Values::Leave);
        Kept {
            keys: gathered.items.into_iter().map(Item::into_key).collect::<Vec<(Key, u64)>>(),
            unreadable: gathered.unreadable.into_iter().map(|(hash, _)| hash).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::WarpEngine;
    use crate::environment::{Background, Environment};
    use crate::keyspace::DEFAULT;
    use crate::options::Options;

    fn stepped() -> WarpEngine {
        let environment = Environment { background: Background::Stepped, ..Environment::default() };
        crate::open::in_memory(Options::new(), environment)
    }

    fn forget_all(shared: &Shared) {
        let _alone = shared.order.building.lock();
        shared.let_go(&mut shared.order.merging.lock(), |_| true);
    }

    /// Between the scan's look for the order and its merge, which waits here, the order goes, and the notes with it.
    #[test]
    fn a_scan_finds_what_was_put_before_it_though_the_order_is_let_go() {
        let engine = stepped();
        let shared = engine.space().shared;
        engine.put("a", "1").unwrap();
        let space = shared.ordered(DEFAULT).unwrap();
        engine.put("b", "1").unwrap();
        std::thread::scope(|scope| {
            let mut merging = shared.order.merging.lock();
            let before = Arc::strong_count(&space);
            let scan = scope.spawn(|| engine.iter().map(|item| item.unwrap().0).collect::<Vec<Key>>());
            while Arc::strong_count(&space) == before {
                std::thread::yield_now();
            }
            shared.let_go(&mut merging, |_| true);
            drop(merging);
            assert_eq!(scan.join().unwrap(), ["a", "b"].map(Key::from));
        });
    }

    #[test]
    fn an_order_counts_as_long_as_a_scan_holds_it() {
        let engine = stepped();
        let shared = engine.space().shared;
        for number in 0..10_000_u32 {
            engine.put(format!("{number:05}"), "v").unwrap();
        }
        let mut scan = engine.iter();
        assert!(scan.next().unwrap().is_ok());
        let one = shared.order_bytes();
        assert!(one > 10_000, "{one}");
        forget_all(shared);
        // The notes are counted no more.
        let held = shared.order_bytes();
        assert!(held > 10_000 && held <= one, "{held} of {one}");
        assert_eq!(engine.iter().count(), 10_000);
        assert!(shared.order_bytes() > held + one / 2, "both are there");
        drop(scan);
        assert!(shared.order_bytes() <= one);
        forget_all(shared);
        assert_eq!(shared.order_bytes(), 0);
    }
}
