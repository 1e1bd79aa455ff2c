//! Tending the table in the background: freeing what nobody reads any more, giving memory back, and letting heat cool.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use warp_io::Clock;

use crate::shared::Shared;

/// How often the table is asked whether much of its memory is sparse.
const SHRINK_INTERVAL: Duration = Duration::from_secs(1);
/// How often a checkpoint that is under way makes room for what the worker does otherwise.
const BESIDE_INTERVAL: Duration = Duration::from_millis(100);

/// When something was last done, by the monotonic clock.
#[derive(Debug, Default)]
pub(crate) struct Tended {
    cooled: Last,
    shrunk: Last,
    /// When removing files was last tried again.
    pub(crate) retried: Last,
    learned: Last,
    beside: Last,
}

#[derive(Debug, Default)]
pub(crate) struct Last(AtomicU64);

impl Last {
    /// Whether `interval` has passed since this last said yes, or since the start.
    pub(crate) fn is_due(&self, now: Duration, interval: Duration) -> bool {
        let nanos = |duration: Duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        let last = self.0.load(Ordering::Relaxed);
        let is_due = nanos(now).saturating_sub(last) >= nanos(interval);
        // Whoever is the first to say that it was done now, does it.
        is_due && self.0.compare_exchange(last, nanos(now), Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }
}

impl Shared {
    /// What the worker does beside checkpoints, while one keeps it: frees what has expired and what nobody reads any more,
    /// makes room, and brings in what is wanted.
    pub(crate) fn tend_beside_checkpoint(&self) {
        let now = self.time.monotonic();
        if self.tended.beside.is_due(now, BESIDE_INTERVAL) {
            self.free_expired();
            self.tend_table(now);
            self.tend_memory();
            self.learn_law();
            self.learn();
            self.warm_step();
        }
    }

    /// Does what is due at `now` by the monotonic clock.
    pub(crate) fn tend_table(&self, now: Duration) {
        self.table.collect();
        if self.tended.cooled.is_due(now, self.options.physics.half_life.max(SHRINK_INTERVAL)) {
            self.table.next_tick();
        }
        if self.tended.learned.is_due(now, self.options.physics.half_life.max(SHRINK_INTERVAL)) {
            self.network.learn();
        }
        if self.tended.shrunk.is_due(now, SHRINK_INTERVAL) {
            self.table.shrink();
            self.table.ease_ready();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_due_once_an_interval() {
        let last = Last::default();
        let at = Duration::from_millis;
        assert!(!last.is_due(at(5), at(10)));
        assert!(last.is_due(at(10), at(10)));
        assert!(!last.is_due(at(19), at(10)));
        assert!(last.is_due(at(25), at(10)));
    }
}
