//! Growing from empty, each time in a process of its own: what an allocator has left over from one store would otherwise spare
//! the next one the system's work for new memory.

use std::time::Duration;

use warp_io::{Clock, SystemClock};

use super::job::Job;
use super::kinds::{Kind, OURS_IN_SMALL_PAGES, kind};
use crate::child;
use crate::clients::clients;
use crate::keys::{Key, keys};
use crate::run::Outcome;
use crate::series::{Series, turns};
use crate::timed::Timed;

/// What a child is told when it is started.
#[derive(Debug, clap::Args)]
pub(crate) struct GrowArguments {
    store: String,
    keys: usize,
    threads: usize,
}

/// The child's side: puts all keys into an empty store, and prints how many nanoseconds that took.
///
/// # Errors
/// An unknown store; what went wrong in a client thread.
pub(crate) fn grow(arguments: &GrowArguments, seed: u64) -> Outcome<()> {
    let store = (kind(&arguments.store)?.empty)();
    let keys = keys(seed, arguments.keys);
    let parts: Vec<&[Key]> = keys.chunks(keys.len().div_ceil(arguments.threads).max(1)).collect();
    let clock = SystemClock::new();
    let start = clock.monotonic();
    clients(parts.len(), |number| {
        store.insert_all(parts[number]);
        Ok(())
    })?;
    println!("{}", clock.monotonic().saturating_sub(start).as_nanos());
    Ok(())
}

/// Puts a second of all keys into empty stores by so many threads, in each run another store first: once as the stores are,
/// and once with ours in the first place in pages of 4 KiB.
///
/// # Errors
/// What a child or the system answers.
pub(crate) fn rates(job: &Job, threads: usize) -> Outcome<[Series; 2]> {
    let kinds: Vec<&Kind> = job.kinds.iter().chain([&OURS_IN_SMALL_PAGES]).collect();
    let mut series = [(); 2].map(|()| Series::new(job.kinds.len()));
    let [as_they_are, in_small_pages] = &mut series;
    for run in 0..job.sizes.runs {
        for place in turns(kinds.len(), run) {
            let name = kinds[place].name;
            job.say(&format!("insert into an empty table, {threads} threads, run {}, {name}", run + 1));
            let time = grown(name, job.sizes.keys, threads, job.seed)?;
            let rate = job.sizes.keys as f64 / time.as_secs_f64();
            if place < job.kinds.len() {
                as_they_are.push(place, rate);
            }
            if place > 0 {
                in_small_pages.push(place % job.kinds.len(), rate);
            }
        }
    }
    Ok(series)
}

fn grown(name: &str, count: usize, threads: usize, seed: u64) -> Outcome<Duration> {
    let numbers = [count.to_string(), threads.to_string()];
    let answer = child::answer(&format!("the process with {name}"), |command| {
        command.args(["grow", name]).args(numbers).args(["--seed", &seed.to_string()])
    })?;
    Ok(Duration::from_nanos(answer.trim().parse()?))
}
