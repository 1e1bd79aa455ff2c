//! Telling the time of what is measured.

use std::time::Duration;

use warp_io::{Clock, SystemClock};

/// Measurements that go by one clock.
pub(crate) trait Timed {
    fn clock(&self) -> &SystemClock;

    /// How long `work` takes.
    fn time<T>(&self, work: impl FnOnce() -> T) -> (T, Duration) {
        let start = self.clock().monotonic();
        let result = work();
        (result, self.clock().monotonic().saturating_sub(start))
    }

    /// Says on standard error what is under way: a full run takes minutes.
    fn say(&self, what: &str) {
        eprintln!("{:6.1} s  {what}", self.clock().monotonic().as_secs_f64());
    }
}
