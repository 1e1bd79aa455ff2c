//! Running a model through many schedules.

use std::time::Duration;

use shuttle::scheduler::{PctScheduler, RandomScheduler, Scheduler};
use shuttle::thread::JoinHandle;
use shuttle::{Config, Runner};

/// Schedules of each kind if `WARP_SCHEDULES` does not say how many.
const SCHEDULES: usize = 1000;
/// Changes of priority in a schedule of the second kind: it finds what needs as many threads to meet in one order.
const DEPTH: usize = 3;
/// A model stops after as long, or twice that; not if the number of schedules was given.
const TIME_MAX: Duration = Duration::from_secs(15);

/// Runs a model through random schedules, and through those of
/// [PCT](https://www.microsoft.com/en-us/research/publication/a-randomized-scheduler-with-probabilistic-guarantees-of-finding-bugs/).
pub(crate) fn explore(model: fn()) {
    let asked = std::env::var("WARP_SCHEDULES").ok().map(|text| text.parse().expect("a number of schedules"));
    let count = asked.unwrap_or(SCHEDULES);
    let time = if asked.is_some() { None } else { Some(TIME_MAX) };
    run(RandomScheduler::new(count), time, model);
    run(PctScheduler::new(DEPTH, count), time, model);
}

fn run(scheduler: impl Scheduler + 'static, time: Option<Duration>, model: fn()) {
    let mut config = Config::new();
    config.max_time = time;
    // Values of both kinds are on the stack, and formatted there when something is wrong.
    config.stack_size = 256 << 10;
    config.silence_warnings = true;
    Runner::new(scheduler, config).run(model);
}

/// Waits until all threads have ended, none of them by a panic.
pub(crate) fn join_all<const THREADS: usize>(threads: [JoinHandle<()>; THREADS]) {
    for thread in threads {
        thread.join().unwrap();
    }
}
