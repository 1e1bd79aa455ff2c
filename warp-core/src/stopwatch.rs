//! How long slots take to grow and shrink. The times decide nothing.

use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

use crate::memory::Resizes;
use crate::sync::atomic::{AtomicU64, Ordering};

/// A time that is running.
#[derive(Debug)]
pub(crate) struct Stopwatch {
    wall: Instant,
    cpu: Duration,
}

impl Stopwatch {
    #[expect(clippy::disallowed_methods, reason = "measures, and decides nothing")]
    pub(crate) fn start() -> Stopwatch {
        Stopwatch { wall: Instant::now(), cpu: thread_cpu_time() }
    }
}

/// Time that the processor has spent on this thread. Miri has no such clock.
fn thread_cpu_time() -> Duration {
    if cfg!(miri) {
        return Duration::ZERO;
    }
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.cast_unsigned(), time.tv_nsec.try_into().unwrap_or(0))
}

/// The number of times, and the longest.
#[derive(Debug, Default)]
pub(crate) struct ResizeTimes {
    count: AtomicU64,
    longest: AtomicU64,
    longest_cpu: AtomicU64,
}

impl ResizeTimes {
    pub(crate) fn add(&self, start: &Stopwatch) {
        let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.count.fetch_add(1, Ordering::Relaxed);
        self.longest.fetch_max(nanos(start.wall.elapsed()), Ordering::Relaxed);
        let cpu = thread_cpu_time().saturating_sub(start.cpu);
        self.longest_cpu.fetch_max(nanos(cpu), Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> Resizes {
        Resizes {
            count: self.count.load(Ordering::Relaxed),
            longest_nanos: self.longest.load(Ordering::Relaxed),
            longest_cpu_nanos: self.longest_cpu.load(Ordering::Relaxed),
        }
    }
}
