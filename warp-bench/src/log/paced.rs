//! Work at a constant pace, whatever the work before took: an open loop.
//!
//! Each piece of work is timed from when it was due, so that what waits behind a slow one counts as slow too. A loop that
//! waits for each answer before it asks again would leave just those out (Tene: How not to measure latency, 2013).

use std::hint::spin_loop;
use std::time::Duration;

use warp_io::Clock;

use crate::latency::Latency;
use crate::run::Outcome;

/// Does `work` so many times a second, for `length`; returns how long after it was due each piece was done.
///
/// # Errors
/// What the work answers.
pub(crate) fn paced(
    clock: &impl Clock,
    per_second: f64,
    length: Duration,
    mut work: impl FnMut() -> Outcome<()>,
) -> Outcome<Latency> {
    let mut latency = Latency::new();
    let start = clock.monotonic();
    for number in 0_u64.. {
        let due = Duration::try_from_secs_f64(number as f64 / per_second)?;
        if due >= length {
            break;
        }
        while clock.monotonic().saturating_sub(start) < due {
            spin_loop();
        }
        work()?;
        latency.record(clock.monotonic().saturating_sub(start).saturating_sub(due));
    }
    Ok(latency)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    /// A clock that moves on by a microsecond whenever it is read.
    #[derive(Debug, Default)]
    struct Stepping(std::sync::atomic::AtomicU64);

    impl Clock for Stepping {
        fn unix_millis(&self) -> u64 {
            0
        }

        fn monotonic(&self) -> Duration {
            Duration::from_micros(self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed))
        }
    }

    #[test]
    fn what_waits_behind_a_slow_piece_counts_as_slow() {
        let clock = Stepping::default();
        let done = Cell::new(0);
        let work = || {
            done.set(done.get() + 1);
            if done.get() == 50 {
                // As long as 10 pieces of work are apart.
                clock.0.fetch_add(1_000, std::sync::atomic::Ordering::Relaxed);
            }
            Ok(())
        };
        let latency = paced(&clock, 10_000.0, Duration::from_millis(10), work).unwrap();
        assert_eq!((done.get(), latency.count()), (100, 100));
        // The slow one, and the nine behind it, each a tenth less late.
        let late = |share| latency.quantile(share).unwrap();
        assert!(late(0.90) < Duration::from_micros(150), "{:?}", late(0.90));
        assert!(late(0.95) > Duration::from_micros(400), "{:?}", late(0.95));
        assert!(late(1.0) >= Duration::from_millis(1), "{:?}", late(1.0));
    }
}
