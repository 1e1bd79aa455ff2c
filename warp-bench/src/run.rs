//! What the parts of a run share: the data, the settings, the clock, and the report that they fill.

use std::error::Error;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tempfile::TempDir;
use warp_io::{Clock, SystemClock};

use crate::load;
use crate::machine::Machine;
use crate::plan::{Plan, THREADS};
use crate::promises::Promises;
use crate::random::Random;
use crate::report::{Cell, Report, Settings, Table, grouped};
use crate::storm;
use crate::unicode::{self, Unicode};

/// The result of a part: anything that goes wrong ends the run.
pub(crate) type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// One run of the main job.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) plan: Plan,
    pub(crate) seed: u64,
    pub(crate) data: Unicode,
    pub(crate) clock: SystemClock,
    pub(crate) report: Report,
    pub(crate) promises: Promises,
    pub(crate) bar: ProgressBar,
    scratch: PathBuf,
    parts: Vec<(&'static str, Duration)>,
    streams: u64,
}

impl Run {
    /// Makes the data, and prints what the run is made on.
    pub(crate) fn new(seed: u64, quick: bool, scratch: &Path) -> Run {
        let clock = SystemClock::new();
        let data = unicode::records();
        let plan = Plan::new(quick);
        let settings = Settings {
            seed,
            quick,
            threads: THREADS,
            engine: format!(
                "Interval unless a row says otherwise; checkpoints every {} MiB of log in load and mixes, every {} MiB \
                 in the process that is killed, else on demand; all else as Options::default() has it",
                load::CHECKPOINT_LOG_BYTES >> 20,
                storm::CHECKPOINT_LOG_BYTES >> 20,
            ),
            data: describe(&data, plan.records),
        };
        let report = Report::new(Machine::look(scratch), settings);
        let parts = vec![("data", clock.monotonic())];
        Run {
            plan,
            seed,
            data,
            clock,
            report,
            promises: Promises::default(),
            bar: bar(),
            scratch: scratch.to_path_buf(),
            parts,
            streams: 0,
        }
    }

    /// Runs one part, under its name and with its time taken.
    ///
    /// # Errors
    /// What the part answers.
    pub(crate) fn part<T>(
        &mut self,
        name: &'static str,
        part: impl FnOnce(&mut Run) -> Outcome<T>,
    ) -> Outcome<T> {
        self.bar.reset();
        self.bar.set_message(name);
        let start = self.clock.monotonic();
        let outcome = part(self);
        self.parts.push((name, self.clock.monotonic().saturating_sub(start)));
        self.bar.finish_and_clear();
        outcome.map_err(|error| format!("{name}: {}", with_causes(&*error)).into())
    }

    /// A directory for one part, removed when it is dropped.
    ///
    /// # Errors
    /// What the system answers.
    pub(crate) fn dir(&self) -> Outcome<TempDir> {
        Ok(tempfile::tempdir_in(&self.scratch)?)
    }

    /// Random numbers that no other part of this run draws.
    pub(crate) fn random(&mut self) -> Random {
        self.streams += 1;
        Random::new(self.seed, self.streams)
    }

    /// How many records of the data this run uses.
    pub(crate) fn records(&self) -> usize {
        self.plan.records.map_or(self.data.corpus.len(), |limit| limit.min(self.data.corpus.len()))
    }

    /// The same for the records that are fields of characters.
    pub(crate) fn fields(&self) -> usize {
        self.records().min(self.data.fields)
    }

    /// The characters whose fields are all among the records of this run.
    pub(crate) fn characters(&self) -> &[char] {
        let all = &self.data.characters;
        // The field behind the last one belongs to the first character that lacks any.
        let behind = (self.fields() < self.data.fields).then(|| self.data.corpus.key(self.fields()));
        let lacking = behind.and_then(unicode::character);
        &all[..lacking.map_or(all.len(), |lacking| all.partition_point(|&character| character < lacking))]
    }

    /// How long `work` takes.
    pub(crate) fn time<T>(&self, work: impl FnOnce() -> T) -> (T, Duration) {
        let start = self.clock.monotonic();
        let result = work();
        (result, self.clock.monotonic().saturating_sub(start))
    }

    /// Prints the closing tables and writes the report. Returns whether every check held.
    ///
    /// # Errors
    /// What the system answers.
    pub(crate) fn finish(mut self, path: &Path) -> Outcome<bool> {
        self.report.table(self.promises.table());
        let mut times = Table::new("Where the time of this run went", &["part", "time"]);
        for (name, time) in &self.parts {
            times.row([Cell::text(*name), Cell::time(*time)]);
        }
        times.row([Cell::text("all"), Cell::time(self.clock.monotonic())]);
        self.report.table(times);
        self.report.write(path)?;
        let holds = self.report.holds();
        let verdict = if holds { "all of them hold" } else { "NOT ALL OF THEM HOLD" };
        println!("\n{} checks: {verdict}. Report: {}", self.report.checks(), path.display());
        Ok(holds)
    }
}

/// A bar for one part; it is hidden where standard error is no terminal.
fn bar() -> ProgressBar {
    let style = ProgressStyle::with_template("{msg:18} [{elapsed:>4}] {bar:40} {pos}/{len}")
        .unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr_with_hz(10)).with_style(style)
}

fn describe(data: &Unicode, limit: Option<usize>) -> String {
    let mib = data.corpus.bytes() as f64 / (1 << 20) as f64;
    let (major, minor, update) = unicode_normalization::UNICODE_VERSION;
    let count = |count: usize| grouped(count as f64);
    format!(
        "{} entries, {mib:.1} MiB: the fields of {} characters (normalization of Unicode {major}.{minor}.{update}), \
         and {} pages and word lists; this run uses {}",
        count(data.corpus.len()),
        count(data.characters.len()),
        count(data.corpus.len() - data.fields),
        limit.map_or_else(|| "all of them".to_owned(), |limit| format!("the first {} fields", count(limit))),
    )
}

/// An error with what caused it, on one line.
pub(crate) fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let _ = write!(text, ": {error}");
        cause = error.source();
    }
    text
}
