//! Processor time, which other work on the machine disturbs less than time by the clock.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Time that processors have spent on this thread.
pub(crate) fn thread_cpu_time() -> Duration {
    read(ClockId::ThreadCPUTime)
}

/// Time that processors have spent on this process, with all of its threads.
pub(crate) fn process_cpu_time() -> Duration {
    read(ClockId::ProcessCPUTime)
}

fn read(clock: ClockId) -> Duration {
    let time = clock_gettime(clock);
    Duration::new(time.tv_sec.cast_unsigned(), time.tv_nsec.try_into().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_counts_and_sleep_does_not() {
        let before = thread_cpu_time();
        std::thread::sleep(Duration::from_millis(30));
        let slept = thread_cpu_time() - before;
        assert!(slept < Duration::from_millis(20), "{slept:?}");
        let mut sum = 0_u64;
        while thread_cpu_time() - before < slept + Duration::from_millis(5) {
            sum = std::hint::black_box(sum.wrapping_mul(3) + 1);
        }
        assert!(process_cpu_time() >= Duration::from_millis(5));
    }
}
