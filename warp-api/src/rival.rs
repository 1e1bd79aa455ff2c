//! The rival: what a cache by least recent use would have in the memory that the engine's entries take, so that it can be told
//! what residency is worth.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam_utils::CachePadded;
use parking_lot::{Mutex, MutexGuard};
use warp_core::{EntryRef, KeyRef};
use warp_physics::{LruShadow, ShadowCounts};

use crate::read::ENTRY_BYTES;
use crate::shared::Shared;

/// Entries that the model has at most, of some 80 bytes each...
const ENTRIES_MAX: u64 = 2048;
/// ...and for each so many bytes of the budget: a small one is not to be used up by looking at it.
const BUDGET_BYTES_PER_ENTRY: u64 = 16 << 10;

/// The model of a cache by least recent use, from the time on at which memory gets short: until then there is nothing to compare.
///
/// It follows the keys whose hashes pass a filter, one in 16 or fewer. So a read of memory that is short pays a look at the filter,
/// and one in so many of them a few steps in the model; while there is room, nothing. A read or a write that another thread is in the
/// model's way of is left out: nobody waits for it.
#[derive(Debug, Default)]
pub(crate) struct Rival(OnceLock<Model>);

#[derive(Debug)]
struct Model {
    /// That of the shadow, for those who do not hold its lock: all of them look at it, so that it is alone on its cache line, and
    /// stored where it has changed only.
    filter: CachePadded<AtomicU64>,
    shadow: Mutex<LruShadow>,
}

impl Model {
    fn new(shadow: LruShadow) -> Model {
        Model { filter: CachePadded::new(AtomicU64::new(shadow.filter())), shadow: Mutex::new(shadow) }
    }

    /// Changes the shadow, whose lock is held.
    fn change(&self, mut shadow: MutexGuard<'_, LruShadow>, change: impl FnOnce(&mut LruShadow)) {
        change(&mut shadow);
        let filter = shadow.filter();
        if self.filter.load(Ordering::Relaxed) != filter {
            self.filter.store(filter, Ordering::Relaxed);
        }
    }
}

impl Rival {
    /// Begins to follow, beside memory for so many bytes of entries.
    pub(crate) fn begin(&self, budget: u64, capacity: u64) {
        self.0.get_or_init(|| {
            let entries = usize::try_from(ENTRIES_MAX.min(budget / BUDGET_BYTES_PER_ENTRY)).unwrap_or(1);
            Model::new(LruShadow::new(entries, capacity))
        });
    }

    /// Whether a key is followed.
    #[inline]
    pub(crate) fn follows(&self, hash: u64) -> bool {
        self.0.get().is_some_and(|model| LruShadow::follows(model.filter.load(Ordering::Relaxed), hash))
    }

    /// Takes note of a read of a key that is followed.
    fn read(&self, hash: u64, bytes: usize, is_hit: bool) {
        let Some(model) = self.0.get() else { return };
        if let Some(shadow) = model.shadow.try_lock() {
            model.change(shadow, |shadow| shadow.read(hash, bytes as u64, is_hit));
        }
    }

    /// Takes note of a write of so many bytes, or of a deletion, where the key is followed. Of one that is left out the model has the
    /// former size, or a value that is no more and leaves by not being used.
    pub(crate) fn changed(&self, hash: u64, bytes: Option<usize>) {
        let Some(model) = self.0.get().filter(|_| self.follows(hash)) else { return };
        if let Some(shadow) = model.shadow.try_lock() {
            model.change(shadow, |shadow| match bytes {
                Some(bytes) => shadow.written(hash, bytes as u64),
                None => shadow.removed(hash),
            });
        }
    }

    /// Takes note that most of what was in memory is no more: what was counted stays.
    fn clear(&self) {
        if let Some(model) = self.0.get() {
            model.change(model.shadow.lock(), LruShadow::clear);
        }
    }

    /// From now on there is memory for so many bytes of entries.
    pub(crate) fn set_capacity(&self, capacity: u64) {
        if let Some(model) = self.0.get() {
            model.shadow.lock().set_capacity(capacity);
        }
    }

    pub(crate) fn counts(&self) -> ShadowCounts {
        self.0.get().map_or_else(ShadowCounts::default, |model| model.shadow.lock().counts())
    }

    /// Bytes of memory that it takes.
    pub(crate) fn bytes(&self) -> u64 {
        self.0.get().map_or(0, |model| model.shadow.lock().memory_bytes() as u64)
    }
}

impl Shared {
    /// Frees what a keyspace has below its floor, which nobody sees any more. Where that is most of what is in memory, the rival begins
    /// anew, as if it had never been full; of less it is not told.
    pub(crate) fn remove_below_floor(&self, keyspace: u32, floor: u64) {
        if self.table.remove_below(keyspace, floor) > self.table.len() {
            self.residency.rival.clear();
        }
    }

    /// Shows the rival a read that memory served, of a key that it follows.
    #[cold]
    pub(crate) fn show_hit(&self, key: KeyRef<'_>, entry: EntryRef<'_>) {
        if !self.is_visible(key.keyspace, entry) {
            return;
        }
        // As long as it is plain: the rival packs nothing.
        let value = entry.value().map_or(0, <[u8]>::len);
        let value = entry.packed_from().map_or(value, |plain| plain as usize);
        self.residency.rival.read(key.hash, ENTRY_BYTES + key.bytes.len() + value, true);
    }

    /// Shows the rival a read that a layer served, where it follows the key.
    pub(crate) fn show_miss(&self, key: KeyRef<'_>, value: usize) {
        if self.residency.rival.follows(key.hash) {
            self.residency.rival.read(key.hash, ENTRY_BYTES + key.bytes.len() + value, false);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Followed by any model.
    const HASH: u64 = 7;

    fn rival() -> Rival {
        let rival = Rival::default();
        rival.begin(64 << 20, 1 << 20);
        rival
    }

    #[test]
    fn the_filter_is_that_of_the_model() {
        let rival = rival();
        let model = rival.0.get().unwrap();
        let start = model.filter.load(Ordering::Relaxed);
        // So short that many of them are in it before it is full.
        (0..4 * ENTRIES_MAX).for_each(|n| rival.changed(n << 24, Some(1)));
        let filter = model.filter.load(Ordering::Relaxed);
        assert!(filter > start && filter == model.shadow.lock().filter());
        rival.clear();
        assert_eq!(model.filter.load(Ordering::Relaxed), start);
    }

    #[test]
    fn nobody_waits_for_the_model() {
        let rival = rival();
        let model = rival.0.get().unwrap();
        let held = model.shadow.lock();
        rival.changed(HASH, Some(100));
        rival.changed(HASH, None);
        rival.read(HASH, 100, true);
        drop(held);
        assert_eq!(rival.bytes(), 0, "all of them were left out");
        rival.changed(HASH, Some(100));
        assert!(rival.bytes() > 0);
    }
}
