//! A thread that does nothing but read the clock: what it sees as pauses is the machine's, and nobody's work.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use warp_io::{Clock, SystemClock};

use crate::latency::Latency;
use crate::run::Outcome;

/// Runs `work` beside a thread that reads the clock; returns the gaps that this thread saw as well.
///
/// # Errors
/// That the thread panicked.
pub(crate) fn beside_idle<T>(clock: &SystemClock, work: impl FnOnce() -> T) -> Outcome<(T, Latency)> {
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let idle = scope.spawn(|| {
            let mut gaps = Latency::new();
            let mut before = clock.monotonic();
            while !done.load(Ordering::Relaxed) {
                let now = clock.monotonic();
                gaps.record(now.saturating_sub(before));
                before = now;
            }
            gaps
        });
        let result = work();
        done.store(true, Ordering::Relaxed);
        Ok((result, idle.join().map_err(|_| "the idle thread panicked")?))
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_idle_thread_runs_for_as_long_as_the_work() {
        let clock = SystemClock::new();
        let ((), gaps) = beside_idle(&clock, || thread::sleep(Duration::from_millis(20))).unwrap();
        assert!(gaps.count() > 10, "{}", gaps.count());
    }
}
