//! The bare table against rivals and against the limit of the machine: rates, memory, growth, and the engine above it.
//!
//! ```text
//! kinds: ours, peers ─┐
//! limit ──────────────┴─ store (passes) ── compare (with inserts), growth, memory, engine, gets
//!                                           scans: of engines, with stores of their own
//! ```
//!
//! **Invariant:** only `ours` touches `warp-core`'s table.
//! **Invariant:** whatever is compared is measured in one run, by turns, over the same keys.

mod compare;
mod engine;
mod gets;
mod growth;
mod inserts;
mod job;
mod kinds;
mod limit;
mod memory;
mod ours;
mod pages;
#[cfg(feature = "peers")]
mod peers;
mod scans;
mod store;

use std::path::Path;

use warp_io::SystemClock;

pub(crate) use gets::{GetsArguments, gets};
pub(crate) use inserts::{GrowArguments, grow};
pub(crate) use memory::{HoldArguments, hold};
pub(crate) use ours::Ours;
pub(crate) use store::Store;

use crate::arguments::Common;
use crate::cleanup;
use crate::keys::{KEY_BYTES, VALUE_BYTES};
use crate::machine::Machine;
use crate::report::{Report, Settings, grouped};
use crate::run::Outcome;
use job::{Job, Sizes};

/// Sizes of the comparison, and what is compared. Without a choice among the parts, rates are.
#[derive(Debug, clap::Args)]
pub(crate) struct TableArguments {
    /// Keys in the table: 10 million by default, 100 thousand in a quick run.
    #[arg(long, value_parser = clap::value_parser!(u32).range(10..))]
    keys: Option<u32>,
    /// Numbers of client threads.
    #[arg(long, value_delimiter = ',', default_value = "1,2", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Vec<u16>,
    /// Repetitions of which the median is reported: 5 by default, 1 in a quick run.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    runs: Option<u16>,
    /// Operations of a pass for each client: 2 million by default, 50 thousand in a quick run.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    operations: Option<u32>,
    /// Stores to compare ours with, of papaya, scc, dashmap, sharded, inline (feature `peers`); all by default.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Leave out the hand-written limits, which take some 3.2 GB at 10 million keys.
    #[arg(long)]
    no_limits: bool,
    /// Leave out the rows of inserts, which take most of the time.
    #[arg(long)]
    no_inserts: bool,
    /// Memory an entry, in processes of their own, at 0.7, 1 and 1.4 times the number of keys.
    #[arg(long)]
    memory: bool,
    /// How long puts take while a store grows, the longest of all.
    #[arg(long)]
    growth: bool,
    /// The engine with everything on against the bare table.
    #[arg(long)]
    engine: bool,
    /// Ordered scans through the engine: the first, which puts the keys in order beside a writer, and those that follow.
    #[arg(long)]
    scans: bool,
}

const KEYS_DEFAULT: u32 = 10_000_000;
const KEYS_QUICK: u32 = 100_000;
const RUNS_DEFAULT: u16 = 5;
const RUNS_QUICK: u16 = 1;
/// Operations of a pass for each client: some tenths of a second.
const OPERATIONS: u32 = 2_000_000;
const OPERATIONS_QUICK: u32 = 50_000;
/// The variable by which glibc is asked to take huge pages for everything that it allocates.
const ALLOCATOR_SETTINGS: &str = "GLIBC_TUNABLES";

/// Runs the parts that were asked for. Returns whether every check held.
///
/// # Errors
/// What a part answers.
pub(crate) fn table(arguments: &TableArguments, common: &Common) -> Outcome<bool> {
    let &Common { quick, seed, ref dir, ref report } = common;
    let scratch = cleanup::scratch(dir.as_deref())?;
    let mut job = job(arguments, seed, quick, scratch.path())?;
    let &TableArguments { memory, growth, engine, scans, .. } = arguments;
    if !(memory || growth || engine || scans) {
        compare::compare(&mut job, !arguments.no_limits, !arguments.no_inserts)?;
    }
    // Before parts that fill this process, so that memory is left for the children.
    if memory {
        memory::memory(&mut job)?;
    }
    if growth {
        growth::growth(&mut job)?;
    }
    if engine {
        engine::engine(&mut job, scratch.path())?;
    }
    if scans {
        scans::scans(&mut job, scratch.path())?;
    }
    Ok(job.report.finish(report)?)
}

fn job(arguments: &TableArguments, seed: u64, quick: bool, scratch: &Path) -> Outcome<Job> {
    let keys = arguments.keys.unwrap_or(if quick { KEYS_QUICK } else { KEYS_DEFAULT }) as usize;
    let sizes = Sizes {
        keys,
        threads: arguments.threads.iter().copied().map(usize::from).collect(),
        runs: usize::from(arguments.runs.unwrap_or(if quick { RUNS_QUICK } else { RUNS_DEFAULT })),
        operations: arguments.operations.unwrap_or(if quick { OPERATIONS_QUICK } else { OPERATIONS })
            as usize,
    };
    let kinds = kinds::kinds(&arguments.only)?;
    let names: Vec<&str> = kinds.iter().map(|kind| kind.name).collect();
    let allocator = std::env::var(ALLOCATOR_SETTINGS).unwrap_or_else(|_| "default settings".to_owned());
    let settings = Settings {
        seed,
        quick,
        threads: sizes.threads.iter().copied().max().unwrap_or(1),
        engine: format!("{}; the system's allocator for all, {allocator}", names.join(", ")),
        data: format!(
            "{} keys of {KEY_BYTES} bytes with values of {VALUE_BYTES}, {} runs, {} operations a pass and client",
            grouped(keys as f64),
            sizes.runs,
            grouped(sizes.operations as f64),
        ),
    };
    let report = Report::new(Machine::look(scratch), settings);
    Ok(Job { sizes, seed, quick, kinds, clock: SystemClock::new(), report })
}
