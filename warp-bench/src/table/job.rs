//! What the parts of the comparison share: sizes, keys, clock, report.

use warp_io::SystemClock;

use super::kinds::Kind;
use crate::keys::{Key, keys};
use crate::report::Report;
use crate::timed::Timed;

/// The sizes of a comparison.
#[derive(Clone, Debug)]
pub(crate) struct Sizes {
    pub(crate) keys: usize,
    /// Numbers of client threads, each measured by itself.
    pub(crate) threads: Vec<usize>,
    /// Repetitions, of which the median is reported.
    pub(crate) runs: usize,
    /// Operations of one pass, for each client.
    pub(crate) operations: usize,
}

/// One comparison.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) sizes: Sizes,
    pub(crate) seed: u64,
    pub(crate) quick: bool,
    pub(crate) kinds: Vec<Kind>,
    pub(crate) clock: SystemClock,
    pub(crate) report: Report,
}

impl Job {
    pub(crate) fn keys(&self) -> Vec<Key> {
        keys(self.seed, self.sizes.keys)
    }

    pub(crate) fn clients_max(&self) -> usize {
        self.sizes.threads.iter().copied().max().unwrap_or(1)
    }
}

impl Timed for Job {
    fn clock(&self) -> &SystemClock {
        &self.clock
    }
}
