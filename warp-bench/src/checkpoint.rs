//! Checkpoints: how fast a database opens after a crash, what taking a checkpoint costs, what recovery saves by one, how
//! much is written and kept for what a program writes, and a layer file alone.
//!
//! ```text
//!   process: fill (killed), open (timed) ─┬─ open ── stores: ours, peers, redis
//!                                         └─ recovery
//!   take      amplification      file: warp-checkpoint, cdb64
//! ```
//!
//! **Invariant:** whatever is compared is measured in one run, and ratios are of the same run.
//! **Invariant:** what could not be measured is said, and is no zero.

mod amplification;
mod file;
mod files;
mod job;
mod open;
#[cfg(feature = "peers")]
mod peers;
mod process;
mod recovery;
mod stores;
mod take;

use std::time::Duration;

use clap::ValueEnum;
use warp_io::SystemClock;

pub(crate) use process::{FillArguments, OpenArguments, fill, open};

use crate::arguments::Common;
use crate::cleanup;
use crate::keys::{KEY_BYTES, VALUE_BYTES};
use crate::machine::Machine;
use crate::report::{Report, Settings};
use crate::run::Outcome;
use job::{Job, Sizes};

/// Carries out a part.
type Measure = fn(&mut Job) -> Outcome<()>;

/// A part of the measurements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Opening after SIGKILL, beside rivals.
    Open,
    /// Taking a checkpoint.
    Take,
    /// A checkpoint and the log's tail against the log alone.
    Recovery,
    /// Bytes written and kept for what a program writes.
    Amplification,
    /// A layer file alone, beside a constant database.
    File,
}

/// What is measured, and how much.
#[derive(Debug, clap::Args)]
pub(crate) struct CheckpointArguments {
    /// The parts to measure; all by default.
    #[arg(long, value_delimiter = ',')]
    only: Vec<Part>,
    /// Entries of the databases that are opened after SIGKILL: 100 thousand, 1 and 10 million by default.
    #[arg(long, value_delimiter = ',')]
    opens: Vec<usize>,
    /// Opens 50 million entries as well, ours only: this needs 12 GiB of memory and of disk.
    #[arg(long)]
    huge: bool,
    /// Entries of the checkpoint that is taken: 10 million by default.
    #[arg(long)]
    entries: Option<usize>,
    /// Writes that are recovered: a thousand, 100 thousand, 1 and 10 million by default.
    #[arg(long, value_delimiter = ',')]
    writes: Vec<usize>,
    /// Entries that are overwritten until 20 times their bytes were written: 10 million by default.
    #[arg(long)]
    overwritten: Option<usize>,
    /// Stores to open beside ours, of redis-rdb, redis-aof, and (feature `peers`) fjall, redb, surrealmx, lmdb, and
    /// (feature `rocksdb`) rocksdb; all by default.
    #[arg(long, value_delimiter = ',')]
    stores: Vec<String>,
    /// Repetitions of which the median is reported: 5 by default, 1 in a quick run.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    runs: Option<u16>,
}

/// Above this many entries only ours is opened.
pub(super) const RIVAL_ENTRIES_MAX: usize = 10_000_000;
const HUGE: usize = 50_000_000;

/// Runs the parts that were asked for. Returns whether every check held.
///
/// # Errors
/// What a part answers.
pub(crate) fn checkpoint(arguments: &CheckpointArguments, common: &Common) -> Outcome<bool> {
    let &Common { quick, seed, ref dir, ref report } = common;
    let scratch = cleanup::scratch(dir.as_deref())?;
    let or = |given: &[usize], full: &[usize], short: &[usize]| -> Vec<usize> {
        let own = if quick { short } else { full };
        if given.is_empty() { own.to_vec() } else { given.to_vec() }
    };
    let mut opens = or(&arguments.opens, &[100_000, 1_000_000, 10_000_000], &[10_000]);
    opens.extend(arguments.huge.then_some(HUGE));
    let sizes = Sizes {
        opens,
        entries: arguments.entries.unwrap_or(if quick { 50_000 } else { 10_000_000 }),
        writes: or(&arguments.writes, &[1, 1_000, 100_000, 1_000_000, 10_000_000], &[1_000, 20_000]),
        overwritten: arguments.overwritten.unwrap_or(if quick { 10_000 } else { 10_000_000 }),
        stores: arguments.stores.clone(),
        runs: usize::from(arguments.runs.unwrap_or(if quick { 1 } else { 5 })),
        steady: Duration::from_millis(if quick { 200 } else { 3_000 }),
        quick,
    };
    let settings = Settings {
        seed,
        quick,
        threads: 1,
        engine: "as Options::default() has it where nothing else is said".to_owned(),
        data: format!(
            "keys of {KEY_BYTES} bytes with values of {VALUE_BYTES}; medians of {} runs",
            sizes.runs
        ),
    };
    let mut job = Job {
        sizes,
        seed,
        clock: SystemClock::new(),
        dir: scratch.path().into(),
        report: Report::new(Machine::look(scratch.path()), settings),
    };
    let parts: [(Part, Measure); 5] = [
        (Part::File, file::file),
        (Part::Recovery, recovery::recovery),
        (Part::Open, open::opens),
        (Part::Take, take::take),
        (Part::Amplification, amplification::amplification),
    ];
    for (part, measure) in parts {
        if arguments.only.is_empty() || arguments.only.contains(&part) {
            measure(&mut job)?;
        }
    }
    Ok(job.report.finish(report)?)
}
