//! What the parts share: sizes, clock, directory, report.

use std::path::PathBuf;
use std::time::Duration;

use tempfile::TempDir;
use warp_io::SystemClock;

use crate::report::Report;
use crate::run::Outcome;
use crate::timed::Timed;

/// How much is measured.
#[derive(Clone, Debug)]
pub(crate) struct Sizes {
    /// Entries of the databases that are opened.
    pub(crate) opens: Vec<usize>,
    /// Entries of the checkpoint that is taken, and of the file.
    pub(crate) entries: usize,
    /// Writes that are recovered.
    pub(crate) writes: Vec<usize>,
    /// Records that are overwritten again and again.
    pub(crate) overwritten: usize,
    /// Names of the stores to open beside ours; none for all.
    pub(crate) stores: Vec<String>,
    /// Repetitions, of which the median is reported.
    pub(crate) runs: usize,
    /// How long an opened store is read from, to see when it is at its pace.
    pub(crate) steady: Duration,
    pub(crate) quick: bool,
}

/// One run of the measurements.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) sizes: Sizes,
    pub(crate) seed: u64,
    pub(crate) clock: SystemClock,
    /// Where everything lies; removed at the end.
    pub(crate) dir: PathBuf,
    pub(crate) report: Report,
}

impl Job {
    /// A directory for one measurement, removed when it is dropped.
    ///
    /// # Errors
    /// What the system answers.
    pub(crate) fn dir(&self) -> Outcome<TempDir> {
        Ok(tempfile::tempdir_in(&self.dir)?)
    }
}

impl Timed for Job {
    fn clock(&self) -> &SystemClock {
        &self.clock
    }
}
