//! The load of the shards and of the levels, measured from real traffic.

use std::cell::Cell;
use std::time::Duration;

use parking_lot::Mutex;
use warp_core::Table;
use warp_physics::{EntropyMonitor, EntropyReport};

use crate::counters::Counter;
use crate::shared::SHARDS;
use crate::types::LEVELS;

/// One read in this many is counted, with this weight. A prime, so that a program that repeats itself does not
/// have the same keys counted each time.
const READ_SAMPLE_EVERY: u32 = 61;

thread_local! {
    /// Reads of this thread until one is looked at.
    static LEFT: Cell<u32> = const { Cell::new(READ_SAMPLE_EVERY) };
    /// Reads that were looked at since the last burst.
    static TURNS: Cell<u32> = const { Cell::new(0) };
    /// What is left of a burst.
    static BURST_LEFT: Cell<u32> = const { Cell::new(0) };
}

/// Measures how evenly reads and writes fall on the shards.
///
/// Every write is counted under its shard's lock; reads take no lock, and are sampled.
#[derive(Debug)]
pub(crate) struct LoadMonitor {
    on: bool,
    /// Writes that the replay of the log made: they are no load.
    replayed: Vec<u64>,
    sampled_reads: Vec<Counter>,
    monitor: Mutex<EntropyMonitor>,
    /// Of the levels, by the reads that found a value there.
    levels: Mutex<EntropyMonitor>,
}

impl LoadMonitor {
    pub(crate) fn new(on: bool, half_life: Duration, table: &Table) -> LoadMonitor {
        LoadMonitor {
            on,
            replayed: table.shard_writes(),
            sampled_reads: (0..SHARDS).map(|_| Counter::default()).collect(),
            monitor: Mutex::new(EntropyMonitor::new(usize::from(SHARDS), half_life)),
            levels: Mutex::new(EntropyMonitor::new(LEVELS, half_life)),
        }
    }

    /// Whether the next read of this thread is one of those that are looked at: then it is told to
    /// [`Shared::read_in_turn`](crate::shared::Shared::read_in_turn).
    #[inline]
    pub(crate) fn is_turn() -> bool {
        let left = LEFT.get() - 1;
        LEFT.set(if left == 0 { READ_SAMPLE_EVERY } else { left });
        left == 0
    }

    /// Takes back what [`LoadMonitor::is_turn`] answered, for a read that is yet to be made: it is asked again then.
    pub(crate) fn take_back(is_turn: bool) {
        LEFT.set(if is_turn { 1 } else { LEFT.get() + 1 });
    }

    /// Whether a read whose turn it is counts in the heat of its entry: of the reads of a burst one does, as of so many others.
    #[inline]
    pub(crate) fn is_counted() -> bool {
        BURST_LEFT.get() <= 1
    }

    /// How many reads of a burst come after this one, whose turn it is; `None` if this one is in none.
    pub(crate) fn burst_left() -> Option<u32> {
        let left = BURST_LEFT.get().checked_sub(1)?;
        BURST_LEFT.set(left);
        if left > 0 {
            LEFT.set(1);
        }
        Some(left)
    }

    /// Makes the next so many reads of this thread a burst, each of which is looked at.
    pub(crate) fn begin_burst(reads: u32) {
        BURST_LEFT.set(reads);
        TURNS.set(0);
        LEFT.set(1);
    }

    /// Takes note of a read of the key with this hash, whose turn it was. Returns how many reads of this thread there were
    /// since its last burst.
    pub(crate) fn read(&self, table: &Table, hash: u64) -> u32 {
        if self.on {
            self.sampled_reads[usize::from(table.shard_of(hash))].add(u64::from(READ_SAMPLE_EVERY));
        }
        let turns = TURNS.get().saturating_add(1);
        TURNS.set(turns);
        turns.saturating_mul(READ_SAMPLE_EVERY)
    }

    /// The same for a read of a burst, which stands for itself alone.
    pub(crate) fn read_one(&self, table: &Table, hash: u64) {
        if self.on {
            self.sampled_reads[usize::from(table.shard_of(hash))].add(1);
        }
    }

    /// Operations on each shard since the start: writes, and reads as far as they were sampled.
    pub(crate) fn totals(&self, table: &Table) -> Vec<u64> {
        let reads = self.sampled_reads.iter().map(Counter::sum);
        let writes =
            table.shard_writes().into_iter().zip(&self.replayed).map(|(writes, replayed)| writes - replayed);
        writes.zip(reads).map(|(writes, reads)| writes + reads).collect()
    }

    /// Takes a measurement, at `now` by the monotonic clock. `reads` are those that found a value in each level.
    pub(crate) fn observe(&self, table: &Table, reads: [u64; LEVELS], now: Duration) {
        self.measure(&mut self.monitor.lock(), || self.totals(table), now);
        self.measure(&mut self.levels.lock(), || reads, now);
    }

    fn measure<T: AsRef<[u64]>>(
        &self,
        monitor: &mut EntropyMonitor,
        totals: impl FnOnce() -> T,
        now: Duration,
    ) {
        if self.on {
            monitor.observe(now, totals().as_ref());
        }
    }

    /// What the measurements of the shards up to now amount to, and one more that is forgotten; nothing is known when the
    /// monitor is off.
    pub(crate) fn report(&self, table: &Table, now: Duration) -> EntropyReport {
        self.look(&self.monitor, || self.totals(table), now)
    }

    /// As [`LoadMonitor::report`], of the levels.
    pub(crate) fn report_levels(&self, reads: [u64; LEVELS], now: Duration) -> EntropyReport {
        self.look(&self.levels, || reads, now)
    }

    fn look<T: AsRef<[u64]>>(
        &self,
        monitor: &Mutex<EntropyMonitor>,
        totals: impl FnOnce() -> T,
        now: Duration,
    ) -> EntropyReport {
        let mut monitor = monitor.lock().clone();
        // Only looked at: what is remembered of the past does not depend on how often somebody asks.
        self.measure(&mut monitor, totals, now);
        monitor.report()
    }
}
