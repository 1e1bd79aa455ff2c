//! What the parts share: sizes, keys, clock, directory, report.

use std::path::PathBuf;
use std::time::Duration;

use tempfile::TempDir;
use warp_io::SystemClock;

use super::kinds::Kind;
use crate::keys::{Key, Requests, keys};
use crate::random::Random;
use crate::report::Report;
use crate::run::Outcome;
use crate::timed::Timed;

/// Requests of all clients, which repeat theirs over and over: more than fit the caches, few enough to be made at once.
const REQUESTS: usize = 1_000_000;
/// The first of the streams of random numbers that requests are drawn from.
const REQUESTS_STREAM: u64 = 1;

/// How much is measured.
#[derive(Clone, Debug)]
pub(crate) struct Sizes {
    /// Records of a log that is replayed.
    pub(crate) records: usize,
    /// Keys in tables.
    pub(crate) keys: usize,
    /// Numbers of client threads that the caller asks for; none for those of each part.
    pub(crate) threads: Vec<usize>,
    /// Repetitions, of which the median is reported.
    pub(crate) runs: usize,
    /// Length of one pass.
    pub(crate) pass: Duration,
    pub(crate) quick: bool,
}

/// One run of the measurements.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) sizes: Sizes,
    pub(crate) seed: u64,
    /// Everything that small records are committed to, ours first.
    pub(crate) kinds: Vec<Kind>,
    /// Whether the raw disk is measured.
    pub(crate) limits: bool,
    pub(crate) clock: SystemClock,
    /// Where everything lies; removed at the end.
    pub(crate) dir: PathBuf,
    pub(crate) report: Report,
}

impl Job {
    /// The numbers of client threads: those that were asked for, or the part's own.
    pub(crate) fn threads(&self, own: &[usize]) -> Vec<usize> {
        if self.sizes.threads.is_empty() { own.to_vec() } else { self.sizes.threads.clone() }
    }

    /// A directory for one part, removed when it is dropped.
    ///
    /// # Errors
    /// What the system answers.
    pub(crate) fn dir(&self) -> Outcome<TempDir> {
        Ok(tempfile::tempdir_in(&self.dir)?)
    }

    /// Requests of so many clients for keys of the tables, all alike, and each key of one client only: some stores refuse
    /// one of two commits to a key at the same time.
    pub(crate) fn requests(&self, clients: usize) -> Vec<Requests> {
        requests(&keys(self.seed, self.sizes.keys), clients, self.seed)
    }
}

impl Timed for Job {
    fn clock(&self) -> &SystemClock {
        &self.clock
    }
}

fn requests(keys: &[Key], clients: usize, seed: u64) -> Vec<Requests> {
    let count = REQUESTS.min(keys.len()).div_ceil(clients);
    let share = keys.len() / clients;
    let one = |client: usize| {
        let mut random = Random::new(seed, REQUESTS_STREAM + client as u64);
        let key = |_| keys[random.below(share) * clients + client];
        Requests { keys: (0..count).map(key).collect(), dice: Vec::new() }
    };
    (0..clients).map(one).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_two_clients_ask_for_the_same_key() {
        let keys = keys(1, 10_000);
        let requests = requests(&keys, 3, 7);
        let sets: Vec<HashSet<Key>> = requests.iter().map(|one| one.keys.iter().copied().collect()).collect();
        assert!(sets.iter().all(|set| set.len() > 1_000));
        assert!(
            sets[0].is_disjoint(&sets[1]) && sets[1].is_disjoint(&sets[2]) && sets[0].is_disjoint(&sets[2])
        );
    }
}
