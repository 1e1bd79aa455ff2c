//! Engine time: the wall clock, made to never go back.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use warp_io::Clock;

/// A clock whose Unix time is the larger of the wall clock and the latest time seen, in this run or in the log.
///
/// Deadlines are compared with it, so that an entry that has expired stays so when the wall clock is set back.
#[derive(Clone, Debug)]
pub(crate) struct EngineTime {
    clock: Arc<dyn Clock>,
    latest: Arc<AtomicU64>,
}

impl EngineTime {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> EngineTime {
        EngineTime { clock, latest: Arc::new(AtomicU64::new(0)) }
    }

    /// Takes note of a time found in the log.
    pub(crate) fn seen(&self, unix_millis: u64) {
        self.latest.fetch_max(unix_millis, Ordering::Relaxed);
    }
}

impl Clock for EngineTime {
    fn unix_millis(&self) -> u64 {
        let wall = self.clock.unix_millis();
        // A load first: deadlines are checked far more often than the millisecond changes.
        let latest = self.latest.load(Ordering::Relaxed);
        if wall <= latest {
            return latest;
        }
        self.latest.fetch_max(wall, Ordering::Relaxed).max(wall)
    }

    fn monotonic(&self) -> Duration {
        self.clock.monotonic()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use warp_io::SimClock;

    #[test]
    fn never_goes_back() {
        let clock = SimClock::new(1_000);
        let time = EngineTime::new(Arc::new(clock.clone()));
        assert_eq!(time.unix_millis(), 1_000);
        clock.set_unix_millis(400);
        assert_eq!(time.unix_millis(), 1_000);
        time.seen(5_000);
        assert_eq!(time.unix_millis(), 5_000);
        clock.set_unix_millis(6_000);
        assert_eq!(time.unix_millis(), 6_000);
    }
}
