//! Counters that many threads add to without meeting on a cache line.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crossbeam_utils::CachePadded;

/// Cells a counter has; threads beyond that share cells, which costs time and never a count.
const CELLS: usize = 16;

/// A count of events, added to by many threads and read seldom.
#[derive(Debug)]
pub(crate) struct Counter {
    cells: [CachePadded<AtomicU64>; CELLS],
}

impl Default for Counter {
    fn default() -> Counter {
        Counter { cells: std::array::from_fn(|_| CachePadded::new(AtomicU64::new(0))) }
    }
}

impl Counter {
    pub(crate) fn add(&self, count: u64) {
        self.cells[thread_number() % CELLS].fetch_add(count, Ordering::Relaxed);
    }

    pub(crate) fn sum(&self) -> u64 {
        self.cells.iter().map(|cell| cell.load(Ordering::Relaxed)).sum()
    }
}

/// A number of its own for every thread, counted from 0.
fn thread_number() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static NUMBER: Cell<usize> = Cell::new(NEXT.fetch_add(1, Ordering::Relaxed));
    }
    NUMBER.get()
}

/// What the engine counts.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    /// Lookups of a key, by any call.
    pub(crate) gets: Counter,
    /// Lookups that found a value.
    pub(crate) hits: Counter,
    /// Values that were found in a layer.
    pub(crate) cold_hits: Counter,
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
    pub(crate) checkpoint_bytes: Counter,
    pub(crate) merges: Counter,
    pub(crate) merged_bytes: Counter,
    /// Files that no kept checkpoint needed any more.
    pub(crate) removed_files: Counter,
    /// Entries that were placed beside a related one in a layer.
    pub(crate) laid_out: Counter,
}
