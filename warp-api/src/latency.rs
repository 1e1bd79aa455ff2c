//! Latencies of sampled calls.

use std::cell::Cell;
use std::time::Duration;

use hdrhistogram::Histogram;
use parking_lot::Mutex;
use serde::Serialize;
use warp_io::Clock;

/// One call in this many is timed, so that timing costs the others next to nothing. A prime, so that a program
/// that repeats itself does not have the same call timed each time.
const SAMPLE_EVERY: u32 = 251;
/// Longest latency that is told apart; longer ones count as this.
const LATENCY_NANOS_MAX: u64 = 60_000_000_000;
/// Decimal digits that are kept of a latency.
const DIGITS: u8 = 2;

/// Sampled latencies of reads and writes.
#[derive(Debug)]
pub(crate) struct Latencies {
    pub(crate) reads: Sampled,
    pub(crate) writes: Sampled,
}

/// The latencies of one kind of call.
#[derive(Debug)]
pub(crate) struct Sampled(Mutex<Histogram<u64>>);

/// Percentiles of sampled latencies, in nanoseconds.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct LatencyMetrics {
    /// How many calls were timed; one in 251 is.
    pub samples: u64,
    /// Half of the calls took at most this long.
    pub p50_nanos: u64,
    /// 99 of 100 calls took at most this long.
    pub p99_nanos: u64,
    /// 999 of 1,000 calls took at most this long.
    pub p999_nanos: u64,
    /// The longest sampled call.
    pub max_nanos: u64,
}

impl Default for Latencies {
    fn default() -> Latencies {
        Latencies { reads: Sampled::new(), writes: Sampled::new() }
    }
}

impl Sampled {
    fn new() -> Sampled {
        Sampled(Mutex::new(
            Histogram::new_with_bounds(1, LATENCY_NANOS_MAX, DIGITS)
                .expect("the bounds and digits are in range"),
        ))
    }

    /// Runs `call`, and times it if it is its turn.
    #[inline]
    pub(crate) fn around<R>(&self, clock: &dyn Clock, call: impl FnOnce() -> R) -> R {
        let start = self.start(clock);
        let answer = call();
        if let Some(start) = start {
            self.end(clock, start);
        }
        answer
    }

    /// When a call began, if it is its turn to be timed: [`Sampled::end`] is to be told. For reads, which a closure that holds
    /// the key costs eight stores.
    #[inline]
    pub(crate) fn start(&self, clock: &dyn Clock) -> Option<Duration> {
        is_sampled().then(|| clock.monotonic())
    }

    #[cold]
    pub(crate) fn end(&self, clock: &dyn Clock, start: Duration) {
        self.record(clock.monotonic().saturating_sub(start));
    }

    fn record(&self, elapsed: Duration) {
        let nanos = u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX);
        self.0.lock().saturating_record(nanos.max(1));
    }

    /// The percentiles; `None` before the first sample.
    pub(crate) fn metrics(&self) -> Option<LatencyMetrics> {
        let histogram = self.0.lock();
        (!histogram.is_empty()).then(|| LatencyMetrics {
            samples: histogram.len(),
            p50_nanos: histogram.value_at_quantile(0.5),
            p99_nanos: histogram.value_at_quantile(0.99),
            p999_nanos: histogram.value_at_quantile(0.999),
            max_nanos: histogram.max(),
        })
    }
}

/// Whether it is this thread's turn.
#[inline]
fn is_sampled() -> bool {
    thread_local! {
        static LEFT: Cell<u32> = const { Cell::new(SAMPLE_EVERY) };
    }
    let left = LEFT.get() - 1;
    LEFT.set(if left == 0 { SAMPLE_EVERY } else { left });
    left == 0
}
