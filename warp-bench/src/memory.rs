//! Memory: what a warm start is worth, what is left of the speed where data outgrows memory, and whether the budget is kept.
//!
//! ```text
//!   records ─┬─ warmstart   reads right after an open, the page cache dropped
//!            ├─ larger      a child under a cgroup's limit: store ─ ours, peers
//!            └─ budget      a child whose memory is sampled ─ curve (SVG)
//! ```
//!
//! **Invariant:** whatever is compared is measured in one run, under the same limit.
//! **Invariant:** what could not be measured is said, and is no zero.

mod budget;
mod curve;
mod group;
mod larger;
#[cfg(feature = "peers")]
mod peers;
mod records;
mod store;
mod warmstart;

use std::path::PathBuf;
use std::time::Duration;

use tempfile::TempDir;
use warp_io::SystemClock;

pub(crate) use budget::{HeldArguments, held};
pub(crate) use larger::{LimitedArguments, limited};

use crate::arguments::Common;
use crate::cleanup;
use crate::keys::{KEY_BYTES, VALUE_BYTES};
use crate::machine::Machine;
use crate::report::{Report, Settings, grouped};
use crate::run::Outcome;

/// What is measured, and how much. Without a choice among the parts, all of them are.
#[derive(Debug, clap::Args)]
pub(crate) struct MemoryArguments {
    /// Reads in the first seconds after an open, with and without a warm start.
    #[arg(long)]
    warmstart: bool,
    /// Data several times as large as the memory that it is given, ours beside rivals (feature `peers`), under a cgroup.
    #[arg(long)]
    larger: bool,
    /// The process's memory against the budget, through big values, deletes and scans.
    #[arg(long)]
    budget: bool,
    /// Entries: 4 million by default (a quarter of that for the warm start), 40,000 in a quick run.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1_000..))]
    entries: Option<u32>,
    /// Repetitions of which the median is reported: 5 by default, 1 in a quick run.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    runs: Option<u16>,
    /// How much larger the data is than the memory, where it is larger.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u64).range(2..=64))]
    times: u64,
    /// Length of one pass, in milliseconds: 10,000 by default, 500 in a quick run.
    #[arg(long, value_parser = clap::value_parser!(u32).range(100..=600_000))]
    pass: Option<u32>,
    /// What to compare, of ours and (feature `peers`) fjall, redb, lmdb, rocksdb; all by default.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
}

const ENTRIES: u32 = 4_000_000;
const ENTRIES_QUICK: u32 = 40_000;
const RUNS: u16 = 5;
const RUNS_QUICK: u16 = 1;
const PASS_MS: u32 = 10_000;
const PASS_MS_QUICK: u32 = 500;

/// One run of the measurements.
#[derive(Debug)]
struct Job {
    seed: u64,
    quick: bool,
    entries: usize,
    runs: usize,
    pass: Duration,
    times: u64,
    only: Vec<String>,
    clock: SystemClock,
    dir: PathBuf,
    /// Where the report goes; the curve goes beside it.
    report_path: PathBuf,
    report: Report,
}

impl Job {
    /// A directory for one part, removed when it is dropped.
    fn dir(&self) -> Outcome<TempDir> {
        Ok(tempfile::tempdir_in(&self.dir)?)
    }
}

/// Runs the parts that were asked for. Returns whether every check held.
///
/// # Errors
/// What a part answers.
pub(crate) fn memory(arguments: &MemoryArguments, common: &Common) -> Outcome<bool> {
    let &Common { quick, seed, ref dir, ref report } = common;
    let scratch = cleanup::scratch(dir.as_deref())?;
    let entries = arguments.entries.unwrap_or(if quick { ENTRIES_QUICK } else { ENTRIES });
    let runs = arguments.runs.unwrap_or(if quick { RUNS_QUICK } else { RUNS });
    let pass = arguments.pass.unwrap_or(if quick { PASS_MS_QUICK } else { PASS_MS });
    let settings = Settings {
        seed,
        quick,
        threads: 2,
        engine: "default options but for what a table says".to_owned(),
        data: format!(
            "{} entries, keys of {KEY_BYTES} bytes with values of {VALUE_BYTES}, {runs} runs, passes of {pass} ms",
            grouped(f64::from(entries)),
        ),
    };
    let mut job = Job {
        seed,
        quick,
        entries: entries as usize,
        runs: runs.into(),
        pass: Duration::from_millis(pass.into()),
        times: arguments.times,
        only: arguments.only.clone(),
        clock: SystemClock::new(),
        dir: scratch.path().into(),
        report_path: report.into(),
        report: Report::new(Machine::look(scratch.path()), settings),
    };
    let MemoryArguments { warmstart, larger, budget, .. } = *arguments;
    let all = !(warmstart || larger || budget);
    if all || warmstart {
        warmstart::warmstart(&mut job)?;
    }
    if all || larger {
        larger::larger(&mut job)?;
    }
    if all || budget {
        budget::budget(&mut job)?;
    }
    Ok(job.report.finish(report)?)
}
