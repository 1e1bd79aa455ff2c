//! Why a checkpoint is taken, and asking for one.

use std::sync::atomic::{AtomicU32, Ordering};

use serde::Serialize;

use crate::counters::Counter;
use crate::shared::Shared;

/// Why a checkpoint was taken.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, Serialize)]
#[non_exhaustive]
pub enum CheckpointReason {
    /// The longest time between two has passed.
    Time,
    /// So much log has gathered that replaying it would take long.
    LogBytes,
    /// Layers hold so much that was overwritten, deleted or has expired that merging them pays.
    Garbage,
    /// Entries that no layer has fill much of the memory budget, and cannot leave before one has them.
    Memory,
    /// The disk has no space for more log.
    Full,
    /// The program called [`checkpoint`](crate::WarpEngine::checkpoint).
    Demand,
    /// The database is being closed.
    Close,
}

impl CheckpointReason {
    /// All reasons, each at the place that its number names.
    const ALL: [CheckpointReason; 7] = [
        CheckpointReason::Time,
        CheckpointReason::LogBytes,
        CheckpointReason::Garbage,
        CheckpointReason::Memory,
        CheckpointReason::Full,
        CheckpointReason::Demand,
        CheckpointReason::Close,
    ];

    /// Whether somebody waits for this checkpoint to end, so that it must not be slowed down.
    pub(crate) fn is_urgent(self) -> bool {
        matches!(self, CheckpointReason::Memory | CheckpointReason::Full | CheckpointReason::Close)
    }

    fn bit(self) -> u32 {
        1 << self as u32
    }
}

/// How many checkpoints were taken for each reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ReasonCounts {
    /// Since the longest time between two had passed.
    pub time: u64,
    /// Since much log had gathered.
    pub log_bytes: u64,
    /// Since much in the layers was overwritten, deleted or expired.
    pub garbage: u64,
    /// Since the memory budget had little room for entries that no layer has.
    pub memory: u64,
    /// Since the disk had no space for more log.
    pub full: u64,
    /// By [`checkpoint`](crate::WarpEngine::checkpoint).
    pub demand: u64,
    /// By closing the database.
    pub close: u64,
}

/// Counts by reason.
#[derive(Debug, Default)]
pub(crate) struct Reasons([Counter; CheckpointReason::ALL.len()]);

impl Reasons {
    pub(crate) fn count(&self, reason: CheckpointReason) {
        self.0[reason as usize].add(1);
    }

    pub(crate) fn counts(&self) -> ReasonCounts {
        let of = |reason: CheckpointReason| self.0[reason as usize].sum();
        ReasonCounts {
            time: of(CheckpointReason::Time),
            log_bytes: of(CheckpointReason::LogBytes),
            garbage: of(CheckpointReason::Garbage),
            memory: of(CheckpointReason::Memory),
            full: of(CheckpointReason::Full),
            demand: of(CheckpointReason::Demand),
            close: of(CheckpointReason::Close),
        }
    }
}

/// Checkpoints that were asked for and are not taken yet: a bit for each reason.
#[derive(Debug, Default)]
pub(crate) struct Requests(AtomicU32);

impl Requests {
    /// Takes the most pressing request, and all others with it: one checkpoint serves them all.
    pub(crate) fn take(&self) -> Option<CheckpointReason> {
        let bits = self.0.swap(0, Ordering::AcqRel);
        let asked = || CheckpointReason::ALL.into_iter().filter(|reason| bits & reason.bit() != 0);
        asked().find(|reason| reason.is_urgent()).or_else(|| asked().next())
    }

    /// Whether somebody waits for a checkpoint.
    pub(crate) fn is_urgent(&self) -> bool {
        let bits = self.0.load(Ordering::Relaxed);
        CheckpointReason::ALL.into_iter().any(|reason| reason.is_urgent() && bits & reason.bit() != 0)
    }
}

impl Shared {
    /// Asks the worker for a checkpoint, and returns at once. One that is being taken goes on without pauses if the reason
    /// is one that somebody waits for; another follows it, since what was written meanwhile is not in it.
    pub(crate) fn request_checkpoint(&self, reason: CheckpointReason) {
        let before = self.requests.0.fetch_or(reason.bit(), Ordering::AcqRel);
        if before & reason.bit() == 0 {
            self.wake_worker();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_a_reason_is_its_place() {
        for (place, reason) in CheckpointReason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, place);
        }
    }

    #[test]
    fn one_checkpoint_serves_all_requests_the_pressing_one_first() {
        let requests = Requests::default();
        assert_eq!(requests.take(), None);
        for reason in [CheckpointReason::Time, CheckpointReason::Memory] {
            assert!(!requests.is_urgent());
            requests.0.fetch_or(reason.bit(), Ordering::Relaxed);
        }
        assert!(requests.is_urgent());
        assert_eq!(requests.take(), Some(CheckpointReason::Memory));
        assert_eq!(requests.take(), None);
    }
}
