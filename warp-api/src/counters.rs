//! Counters that many threads add to without meeting on a cache line.

use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam_utils::CachePadded;
use thread_local::ThreadLocal;

use crate::reason::Reasons;

/// A count of events, added to by many threads and read seldom.
///
/// Each thread adds to a cell of its own, with a load and a store: an addition that is atomic would keep the processor
/// from going on with the next read while it waits for memory.
#[derive(Debug, Default)]
pub(crate) struct Counter {
    cells: ThreadLocal<CachePadded<AtomicU64>>,
}

impl Counter {
    #[inline]
    pub(crate) fn add(&self, count: u64) {
        add(self.cells.get_or_default(), count);
    }

    pub(crate) fn sum(&self) -> u64 {
        self.cells.iter().map(|cell| cell.load(Ordering::Relaxed)).sum()
    }
}

/// Adds to a cell that only this thread writes.
#[inline]
fn add(cell: &AtomicU64, count: u64) {
    cell.store(cell.load(Ordering::Relaxed) + count, Ordering::Relaxed);
}

/// What became of lookups of keys, by any call.
#[derive(Debug, Default)]
pub(crate) struct ReadCounts {
    cells: ThreadLocal<CachePadded<ReadCells>>,
}

#[derive(Debug, Default)]
struct ReadCells {
    hot: AtomicU64,
    cold: AtomicU64,
    missed: AtomicU64,
}

impl ReadCounts {
    /// A value was found in memory.
    #[inline]
    pub(crate) fn hot(&self) {
        add(&self.cells.get_or_default().hot, 1);
    }

    /// So many values were found in memory, and so many keys there had none.
    pub(crate) fn of_memory(&self, hot: u64, missed: u64) {
        let cells = self.cells.get_or_default();
        add(&cells.hot, hot);
        add(&cells.missed, missed);
    }

    /// A value was found in a layer.
    pub(crate) fn cold(&self) {
        add(&self.cells.get_or_default().cold, 1);
    }

    /// The key had no value.
    #[inline]
    pub(crate) fn missed(&self) {
        add(&self.cells.get_or_default().missed, 1);
    }

    /// Lookups; those that found a value; and those that found it in a layer.
    pub(crate) fn sums(&self) -> (u64, u64, u64) {
        let mut sums = (0, 0, 0);
        for cells in &self.cells {
            let hot = cells.hot.load(Ordering::Relaxed);
            let cold = cells.cold.load(Ordering::Relaxed);
            sums.0 += hot + cold + cells.missed.load(Ordering::Relaxed);
            sums.1 += hot + cold;
            sums.2 += cold;
        }
        sums
    }
}

/// What the engine counts.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    /// Lookups of keys.
    pub(crate) reads: ReadCounts,
    /// Values that were brought into memory from a layer.
    pub(crate) promotions: Counter,
    pub(crate) puts: Counter,
    pub(crate) deletes: Counter,
    /// Entries whose memory was freed after their deadline.
    pub(crate) expired: Counter,
    pub(crate) batches: Counter,
    /// Swaps and updates whose key had changed between reading and writing, so that they tried again.
    pub(crate) conflicts: Counter,
    pub(crate) quantum_gets: Counter,
    pub(crate) partners_requested: Counter,
    pub(crate) partners_found: Counter,
    pub(crate) checkpoints: Counter,
    pub(crate) checkpoint_failures: Counter,
    pub(crate) checkpoint_entries: Counter,
    pub(crate) left_to_log: Counter,
    pub(crate) checkpoint_bytes: Counter,
    pub(crate) checkpoint_reasons: Reasons,
    pub(crate) merges: Counter,
    pub(crate) merge_failures: Counter,
    pub(crate) merged_bytes: Counter,
    /// Files that no kept checkpoint needed any more.
    pub(crate) removed_files: Counter,
    /// Times that files were not removed, since somebody reads the directory.
    pub(crate) removals_held_back: Counter,
    /// Segments of the log that were moved to the archive.
    pub(crate) archived_segments: Counter,
    pub(crate) archive_failures: Counter,
    /// Entries that were placed beside a related one in a layer.
    pub(crate) laid_out: Counter,
}

impl Counters {
    /// Changes of keys that the program has made.
    pub(crate) fn changes(&self) -> u64 {
        self.puts.sum() + self.deletes.sum()
    }
}
