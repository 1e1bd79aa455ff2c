//! The log against the disk under it, the bare table beside it, and rivals: what a durable write costs, how fast the
//! others are taken in, how long one can take, how fast a log is read again, and what a slow or full disk does.
//!
//! ```text
//!   kinds: ours, skeleton, raw, redis, peers ─ committer ─┬─ sync (threads, futures)
//!                                                         └─ interval
//!   raw ─ bandwidth      paced ─ latency      child ─ replay      gated disk ─ slow
//! ```
//!
//! **Invariant:** whatever is compared is measured in one run, by turns, and ratios are of the same run.
//! **Invariant:** what could not be measured is said, and is no zero.

mod bandwidth;
mod committer;
mod cpu;
mod executor;
mod gated;
mod interval;
mod job;
mod kinds;
mod latency;
mod ours;
mod paced;
#[cfg(feature = "peers")]
mod peers;
pub(crate) mod raw;
mod redis;
mod replay;
mod resp;
#[cfg(feature = "rocksdb")]
mod rocksdb;
mod server;
mod skeleton;
mod slow;
mod sync;

use std::path::Path;
use std::time::Duration;

use warp_io::SystemClock;

pub(crate) use paced::paced;
pub(crate) use raw::PIECE_BYTES;
pub(crate) use replay::{ReplayArguments, replay};
pub(crate) use resp::{Connection, Reply};
pub(crate) use server::{Persistence, Server, is_there as is_redis_there};

use crate::arguments::Common;
use crate::cleanup;
use crate::keys::{KEY_BYTES, VALUE_BYTES};
use crate::machine::Machine;
use crate::report::{Report, Settings, grouped};
use crate::run::Outcome;
use job::{Job, Sizes};

/// What is measured, and how long. Without a choice among the parts, all of them are.
#[derive(Debug, clap::Args)]
pub(crate) struct LogArguments {
    /// Puts that return once they are on the disk, from 1 to 64 threads, and from 1,024 futures on one thread.
    #[arg(long)]
    sync: bool,
    /// A Redis server on this machine beside ours, over a socket and in this process.
    #[arg(long)]
    redis: bool,
    /// Puts that return at once, and bandwidth for large values.
    #[arg(long)]
    interval: bool,
    /// How long single puts take at a constant load.
    #[arg(long)]
    latency: bool,
    /// Reading a log again.
    #[arg(long)]
    replay: bool,
    /// A simulated disk that is slow, and one that is full.
    #[arg(long)]
    slow: bool,
    /// Numbers of client threads, in place of those that each part has by itself.
    #[arg(long, value_delimiter = ',', value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Vec<u16>,
    /// Repetitions of which the median is reported: 5 by default, 1 in a quick run.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    runs: Option<u16>,
    /// Length of one pass, in milliseconds: 1,000 by default, 50 in a quick run.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=600_000))]
    pass: Option<u32>,
    /// Records: of the log that is replayed (2 million by default), and half as many keys in the tables.
    #[arg(long, value_parser = clap::value_parser!(u32).range(10_000..))]
    records: Option<u32>,
    /// What to compare ours with, of skeleton, redis, and (feature `peers`) fjall, redb, surrealkv, surrealmx, sled,
    /// okaywal; all by default.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Leave out the raw disk and the skeleton.
    #[arg(long)]
    no_limits: bool,
}

const RUNS_DEFAULT: u16 = 5;
const RUNS_QUICK: u16 = 1;
const PASS_MS: u32 = 1_000;
const PASS_MS_QUICK: u32 = 50;
const RECORDS: u32 = 2_000_000;
const RECORDS_QUICK: u32 = 40_000;
/// File systems on which a sync costs nothing.
const MEMORY_FILE_SYSTEMS: [&str; 2] = ["tmpfs", "ramfs"];

/// Runs the parts that were asked for. Returns whether every check held.
///
/// # Errors
/// What a part answers.
pub(crate) fn log(arguments: &LogArguments, common: &Common) -> Outcome<bool> {
    let &Common { quick, seed, ref dir, ref report } = common;
    let scratch = cleanup::scratch(dir.as_deref())?;
    let mut job = job(arguments, seed, quick, scratch.path())?;
    let LogArguments { sync, redis, interval, latency, replay, slow, .. } = *arguments;
    let all = !(sync || redis || interval || latency || replay || slow);
    // The cheap one first, so that a log that loses anything is found before hours are spent on its speed.
    if all || slow {
        slow::slow(&mut job)?;
    }
    if all || sync {
        sync::sync(&mut job)?;
    }
    if all || redis {
        redis::redis(&mut job)?;
    }
    if all || interval {
        interval::interval(&mut job)?;
        bandwidth::bandwidth(&mut job)?;
    }
    if all || latency {
        latency::latency(&mut job)?;
    }
    if all || replay {
        replay::replays(&mut job)?;
    }
    Ok(job.report.finish(report)?)
}

fn job(arguments: &LogArguments, seed: u64, quick: bool, scratch: &Path) -> Outcome<Job> {
    let records = arguments.records.unwrap_or(if quick { RECORDS_QUICK } else { RECORDS }) as usize;
    let pass = arguments.pass.unwrap_or(if quick { PASS_MS_QUICK } else { PASS_MS });
    let sizes = Sizes {
        records,
        keys: records / 2,
        threads: arguments.threads.iter().copied().map(usize::from).collect(),
        runs: usize::from(arguments.runs.unwrap_or(if quick { RUNS_QUICK } else { RUNS_DEFAULT })),
        pass: Duration::from_millis(pass.into()),
        quick,
    };
    let kinds = kinds::kinds(&arguments.only, !arguments.no_limits)?;
    let names: Vec<&str> = kinds.iter().map(|kind| kind.name).collect();
    let settings = Settings {
        seed,
        quick,
        threads: sizes.threads.iter().copied().max().unwrap_or(sync::THREADS_MAX),
        engine: format!(
            "{}; ours runs in the process that measures, as all of them do but redis",
            names.join(", ")
        ),
        data: format!(
            "keys of {KEY_BYTES} bytes with values of {VALUE_BYTES} where nothing else is said, {} runs, passes of {pass} \
             ms, {} records to replay",
            sizes.runs,
            grouped(records as f64),
        ),
    };
    let machine = Machine::look(scratch);
    let in_memory = MEMORY_FILE_SYSTEMS.contains(&machine.file_system.as_str());
    let report = Report::new(machine, settings);
    if in_memory {
        println!("NOT A DISK: a sync costs nothing here; use --dir for a directory on a real disk");
    }
    Ok(Job {
        sizes,
        seed,
        kinds,
        limits: !arguments.no_limits,
        clock: SystemClock::new(),
        dir: scratch.into(),
        report,
    })
}
