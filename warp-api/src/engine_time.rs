//! Engine time: the wall clock, made to never go back.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use warp_io::Clock;

/// A clock whose Unix time is the larger of the wall clock and the latest time seen, in this run or in the log.
///
/// Deadlines are compared with it, so that an entry that has expired stays so when the wall clock is set back. Until that has
/// caught up, time goes on by the monotonic clock, each time that [`EngineTime::go_on`] is called.
#[derive(Clone, Debug)]
pub(crate) struct EngineTime {
    clock: Arc<dyn Clock>,
    seen: Arc<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    /// The latest time, in Unix milliseconds.
    latest: AtomicU64,
    /// The latest time at which the monotonic clock can have begun, in Unix milliseconds.
    began: AtomicU64,
}

impl EngineTime {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> EngineTime {
        EngineTime { clock, seen: Arc::default() }
    }

    /// Takes note of a time found in the log.
    pub(crate) fn seen(&self, unix_millis: u64) {
        self.seen.latest.fetch_max(unix_millis, Ordering::Relaxed);
    }

    /// Lets at least as much time pass as did by the monotonic clock since the last call.
    pub(crate) fn go_on(&self) {
        // In this order: what passes between the two must not be added, or time would run ahead of the wall clock.
        let time = self.unix_millis();
        let elapsed = self.clock.monotonic().as_nanos();
        let millis = |nanos: u128| u64::try_from(nanos).unwrap_or(u64::MAX);
        let began = time.saturating_sub(millis(elapsed.div_ceil(1_000_000)));
        let began = self.seen.began.fetch_max(began, Ordering::Relaxed).max(began);
        self.seen(began.saturating_add(millis(elapsed / 1_000_000)));
    }
}

impl Clock for EngineTime {
    fn unix_millis(&self) -> u64 {
        let wall = self.clock.unix_millis();
        // A load first: deadlines are checked far more often than the millisecond changes.
        let latest = self.seen.latest.load(Ordering::Relaxed);
        if wall <= latest {
            return latest;
        }
        self.seen.latest.fetch_max(wall, Ordering::Relaxed).max(wall)
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

    #[test]
    fn goes_on_while_the_wall_clock_is_behind() {
        let clock = SimClock::new(1_000_000);
        let time = EngineTime::new(Arc::new(clock.clone()));
        // However often it is called, and however little passes in between.
        let pass = |micros: u64, times: u64| {
            for _ in 0..times {
                clock.advance(Duration::from_micros(micros / times));
                time.go_on();
            }
            time.unix_millis()
        };
        assert_eq!(pass(1_000, 1), 1_000_001);
        clock.set_unix_millis(400_000);
        assert_eq!(pass(1_000, 1), 1_000_002);
        assert_eq!(pass(100_000, 1_000), 1_000_102);
        // With the wall clock, once that has caught up; never ahead of it.
        clock.set_unix_millis(2_000_000);
        assert_eq!(pass(100_000, 1_000), 2_000_100);
        // A time found in the log counts like a wall clock that was set back.
        time.seen(3_000_000);
        time.go_on();
        assert_eq!(pass(2_000, 1), 3_000_002);
    }
}
