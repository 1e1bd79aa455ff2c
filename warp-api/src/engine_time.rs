//! Engine time: the wall clock, made to never go back.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use warp_io::Clock;

/// Engine time that is ahead of the wall clock comes nearer by so large a part of the time that passes.
const LAG_PART: u32 = 16;

/// A clock whose Unix time is the larger of the wall clock and the latest time seen, in this run or in the log.
///
/// Deadlines are compared with it, so that an entry that has expired stays so when the wall clock is set back. Time goes on by
/// the monotonic clock then, each time that [`EngineTime::go_on`] is called, a little slower: until the wall clock has caught up.
#[derive(Clone, Debug)]
pub(crate) struct EngineTime {
    clock: Arc<dyn Clock>,
    seen: Arc<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    /// The latest time, in Unix milliseconds.
    latest: AtomicU64,
    /// By which time went on last: Unix time, at which monotonic time.
    last: Mutex<(Duration, Duration)>,
}

impl EngineTime {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> EngineTime {
        EngineTime { clock, seen: Arc::default() }
    }

    /// Takes note of a time found in the log.
    pub(crate) fn seen(&self, unix_millis: u64) {
        self.seen.latest.fetch_max(unix_millis, Ordering::Relaxed);
    }

    /// Lets time pass as it did by the monotonic clock since the last call, but for a [`LAG_PART`]th. Returns what time it is
    /// then, in Unix milliseconds.
    pub(crate) fn go_on(&self) -> u64 {
        let mut last = self.seen.last.lock();
        // In this order: what passes between the two must not be added, or time would run ahead of the wall clock.
        let time = Duration::from_millis(self.unix_millis());
        let now = self.clock.monotonic();
        let (former, at) = *last;
        let passed = now.saturating_sub(at);
        *last = (time.max(former.saturating_add(passed - passed / LAG_PART)), now);
        let millis = u64::try_from(last.0.as_millis()).unwrap_or(u64::MAX);
        self.seen(millis);
        millis
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
    fn goes_on_while_the_wall_clock_is_behind_and_lets_it_catch_up() {
        let clock = SimClock::new(1_000_000);
        let time = EngineTime::new(Arc::new(clock.clone()));
        // However often it is called, and however little passes in between.
        let pass = |millis: u64, times: u64| {
            for _ in 0..times {
                clock.advance(Duration::from_micros(millis * 1_000 / times));
                time.go_on();
            }
            time.unix_millis()
        };
        assert_eq!(pass(1, 1), 1_000_001);
        clock.set_unix_millis(900_001);
        assert_eq!(pass(16, 160), 1_000_016);
        assert_eq!(pass(160_000, 10_000), 1_150_016);
        assert_eq!(clock.unix_millis(), 1_060_017);
        // A lead of 90 s is made up for after 16 times that.
        assert_eq!(pass(1_440_000, 1_000), clock.unix_millis());
        assert_eq!(pass(1_000, 10), clock.unix_millis());
        // A time found in the log counts like a wall clock that was set back.
        time.seen(3_000_000);
        time.go_on();
        assert_eq!(pass(16, 1), 3_000_015);
    }
}
