//! The rival: what a cache by least recent use would have in the memory that the engine's entries take, so that it can be told
//! what residency is worth.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
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
/// and one in so many of them a few steps in the model; while there is room, nothing.
#[derive(Debug, Default)]
pub(crate) struct Rival(OnceLock<Model>);

#[derive(Debug)]
struct Model {
    /// That of the shadow, for those who do not hold its lock.
    filter: AtomicU64,
    shadow: Mutex<LruShadow>,
}

impl Rival {
    /// Begins to follow, beside memory for so many bytes of entries.
    pub(crate) fn begin(&self, budget: u64, capacity: u64) {
        self.0.get_or_init(|| {
            let entries = usize::try_from(ENTRIES_MAX.min(budget / BUDGET_BYTES_PER_ENTRY)).unwrap_or(1);
            let shadow = LruShadow::new(entries, capacity);
            Model { filter: AtomicU64::new(shadow.filter()), shadow: Mutex::new(shadow) }
        });
    }

    /// Whether a key is followed.
    #[inline]
    pub(crate) fn follows(&self, hash: u64) -> bool {
        self.0.get().is_some_and(|model| LruShadow::follows(model.filter.load(Ordering::Relaxed), hash))
    }

    /// Takes note of a read of a key that is followed. One that another thread is in the way of is left out.
    fn read(&self, hash: u64, bytes: usize, is_hit: bool) {
        let Some(model) = self.0.get() else { return };
        let Some(mut shadow) = model.shadow.try_lock() else { return };
        shadow.read(hash, bytes as u64, is_hit);
        model.filter.store(shadow.filter(), Ordering::Relaxed);
    }

    /// Takes note of a write of so many bytes, or of a deletion, where the key is followed.
    pub(crate) fn changed(&self, hash: u64, bytes: Option<usize>) {
        let Some(model) = self.0.get().filter(|_| self.follows(hash)) else { return };
        let mut shadow = model.shadow.lock();
        match bytes {
            Some(bytes) => shadow.written(hash, bytes as u64),
            None => shadow.removed(hash),
        }
        model.filter.store(shadow.filter(), Ordering::Relaxed);
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
