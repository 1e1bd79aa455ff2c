//! What each part of physics is worth, against the best known techniques of its kind, on real traces.
//!
//! **Invariant:** a hit ratio is printed with the hash of its trace and the ratios of the rivals in the same run.
//! **Invariant:** without traces the parts that need them say so, and are left out.

mod entanglement;
mod entropy;
mod gravity;
mod horizon;
mod overhead;
mod plot;
mod policies;
mod quantum;
mod trace;
mod wormholes;

use std::path::PathBuf;

use tempfile::TempDir;
use warp_io::SystemClock;

pub(crate) use horizon::{CacheArguments, cache};
pub(crate) use overhead::{OperationsArguments, operations};

use crate::arguments::Common;
use crate::cleanup;
use crate::machine::Machine;
use crate::report::{Report, Settings};
use crate::run::Outcome;
use crate::timed::Timed;

/// What is replayed, and where.
#[derive(Debug, clap::Args)]
pub(crate) struct PhysicsArguments {
    /// The directory of the traces, as `*.wtr.zst`; also taken from WARP_TRACES.
    #[arg(long)]
    traces: Option<PathBuf>,
    /// Parts to run, all by default.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// The long run: data and networks that take gigabytes and minutes.
    #[arg(long)]
    full: bool,
    /// Where plots go, as SVG files; none are made by default.
    #[arg(long)]
    plots: Option<PathBuf>,
}

/// What the parts share.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) traces: Option<PathBuf>,
    pub(crate) plots: Option<PathBuf>,
    pub(crate) quick: bool,
    pub(crate) full: bool,
    pub(crate) seed: u64,
    pub(crate) clock: SystemClock,
    pub(crate) report: Report,
    /// Where engines have their files.
    pub(crate) scratch: PathBuf,
}

impl Job {
    /// A directory for one part, removed when it is dropped.
    ///
    /// # Errors
    /// What the system answers.
    pub(crate) fn dir(&self) -> Outcome<TempDir> {
        Ok(tempfile::tempdir_in(&self.scratch)?)
    }

    /// Draws labelled bars, where plots were asked for.
    ///
    /// # Errors
    /// What the system answers.
    pub(crate) fn plot(&self, name: &str, title: &str, unit: &str, bars: &[(String, f64)]) -> Outcome<()> {
        let Some(dir) = &self.plots else { return Ok(()) };
        Ok(plot::bars(dir, name, title, unit, bars)?)
    }

    /// Draws shares over equal windows of time, a line for each name, where plots were asked for.
    ///
    /// # Errors
    /// What the system answers.
    pub(crate) fn plot_shares(&self, name: &str, title: &str, lines: &[(String, Vec<f64>)]) -> Outcome<()> {
        let Some(dir) = &self.plots else { return Ok(()) };
        let percent = |shares: &[f64]| shares.iter().map(|share| share * 100.0).collect();
        let lines: Vec<_> = lines.iter().map(|(name, shares)| (name.clone(), percent(shares))).collect();
        Ok(plot::lines(dir, name, &format!("{title}, %"), 100.0, &lines)?)
    }

    /// The first of three for a quick run, the last for the long one.
    pub(crate) fn size<T>(&self, [quick, usual, full]: [T; 3]) -> T {
        match (self.quick, self.full) {
            (true, _) => quick,
            (false, false) => usual,
            (false, true) => full,
        }
    }
}

impl Timed for Job {
    fn clock(&self) -> &SystemClock {
        &self.clock
    }
}

type Part = fn(&mut Job) -> Outcome<()>;

/// The parts in the order in which they run.
const PARTS: &[(&str, Part)] = &[
    ("horizon", horizon::horizon),
    ("gravity", gravity::gravity),
    ("quantum", quantum::quantum),
    ("entanglement", entanglement::entanglement),
    ("entropy", entropy::entropy),
    ("wormholes", wormholes::wormholes),
    ("overhead", overhead::overhead),
];

/// Runs the parts that were asked for. Returns whether every check held.
///
/// # Errors
/// What a part answers, and a part that does not exist.
pub(crate) fn physics(arguments: &PhysicsArguments, common: &Common) -> Outcome<bool> {
    let only = &arguments.only;
    if let Some(unknown) = only.iter().find(|name| PARTS.iter().all(|(part, _)| part != name)) {
        let names: Vec<&str> = PARTS.iter().map(|(name, _)| *name).collect();
        return Err(format!("there is no part {unknown:?}; there are {}", names.join(", ")).into());
    }
    let &Common { quick, seed, ref dir, ref report } = common;
    let scratch = cleanup::scratch(dir.as_deref())?;
    let traces = arguments.traces.clone().or_else(|| std::env::var_os("WARP_TRACES").map(PathBuf::from));
    let settings = Settings {
        seed,
        quick,
        threads: 2,
        engine: "no engine, unless a part says otherwise".to_owned(),
        data: traces.as_ref().map_or_else(
            || "no traces: give --traces or WARP_TRACES".to_owned(),
            |traces| format!("the traces of {}", traces.display()),
        ),
    };
    let clock = SystemClock::new();
    let started = Report::new(Machine::look(scratch.path()), settings);
    let mut job = Job {
        traces,
        plots: arguments.plots.clone(),
        quick,
        full: arguments.full,
        seed,
        clock,
        report: started,
        scratch: scratch.path().to_path_buf(),
    };
    for (name, part) in PARTS {
        if only.is_empty() || only.iter().any(|chosen| chosen == name) {
            part(&mut job)?;
        }
    }
    Ok(job.report.finish(report)?)
}
