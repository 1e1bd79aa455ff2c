//! A clock that moves only when it is told to.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::Clock;

/// A clock for tests; clones show the same time.
///
/// ```
/// use std::time::Duration;
/// use warp_io::{Clock, SimClock};
///
/// let clock = SimClock::new(1_000);
/// clock.advance(Duration::from_millis(5));
/// assert_eq!((clock.unix_millis(), clock.monotonic()), (1_005, Duration::from_millis(5)));
/// clock.set_unix_millis(0); // somebody sets the wall clock back; the monotonic one does not care
/// assert_eq!((clock.unix_millis(), clock.monotonic()), (0, Duration::from_millis(5)));
/// ```
#[derive(Clone, Debug)]
pub struct SimClock(Arc<Times>);

#[derive(Debug)]
struct Times {
    /// The wall clock is this much ahead of the monotonic one, in wrapping arithmetic.
    ahead_millis: AtomicU64,
    monotonic_nanos: AtomicU64,
}

impl SimClock {
    /// A clock that shows `unix_millis` by the wall, and zero monotonic time.
    #[must_use]
    pub fn new(unix_millis: u64) -> SimClock {
        let times = Times { ahead_millis: AtomicU64::new(unix_millis), monotonic_nanos: AtomicU64::new(0) };
        SimClock(Arc::new(times))
    }

    /// Lets time pass, by both clocks. 584 years in all at most.
    pub fn advance(&self, time: Duration) {
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        // The clock stands for nothing else, so no other memory access needs to be ordered by it.
        let add = |now: u64| Some(now.saturating_add(nanos));
        let _ = self.0.monotonic_nanos.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
    }

    /// Sets the wall clock, as an administrator or a time server does; the monotonic clock stays.
    pub fn set_unix_millis(&self, unix_millis: u64) {
        self.0.ahead_millis.store(unix_millis.wrapping_sub(self.elapsed_millis()), Ordering::Relaxed);
    }

    fn elapsed_millis(&self) -> u64 {
        self.0.monotonic_nanos.load(Ordering::Relaxed) / 1_000_000
    }
}

impl Clock for SimClock {
    fn unix_millis(&self) -> u64 {
        self.0.ahead_millis.load(Ordering::Relaxed).wrapping_add(self.elapsed_millis())
    }

    fn monotonic(&self) -> Duration {
        Duration::from_nanos(self.0.monotonic_nanos.load(Ordering::Relaxed))
    }
}
