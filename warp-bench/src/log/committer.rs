//! What is measured: somewhere to commit small records, and passes of client threads over it.

use std::pin::Pin;
use std::time::Duration;

use warp_io::{Clock, SystemClock};

use super::cpu::{process_cpu_time, thread_cpu_time};
use crate::clients::clients;
use crate::keys::{Requests, next_value};
use crate::run::Outcome;

/// Clients that may commit at the same time, at most.
pub(crate) const CLIENTS_MAX: usize = 1024;

/// When a commit returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Once the record survives a power loss.
    Sync,
    /// At once; the store makes it durable later, at its own pace.
    Lazy,
}

/// A commit that is under way.
pub(crate) type Committing<'a> = Pin<Box<dyn Future<Output = Outcome<()>> + 'a>>;

/// Somewhere to commit records.
pub(crate) trait Committer: Send + Sync {
    /// Puts a record, as the client with this number; returns when the mode that the store was opened in says.
    ///
    /// # Errors
    /// What the store answers.
    fn commit(&self, client: usize, key: &[u8], value: &[u8]) -> Outcome<()>;

    /// The same without a thread that waits; `None` where a store can only block.
    fn commit_later<'a>(&'a self, key: &'a [u8], value: &'a [u8]) -> Option<Committing<'a>> {
        let _ = (key, value);
        None
    }

    /// Syncs of the disk so far, where the store tells.
    fn syncs(&self) -> Option<u64> {
        None
    }

    /// Waits until work that was left for later is done, so that it does not run into the next pass.
    ///
    /// # Errors
    /// What went wrong.
    fn settle(&self) -> Outcome<()> {
        Ok(())
    }
}

/// What a pass did.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Passed {
    pub(crate) commits: u64,
    pub(crate) time: Duration,
    /// Processor time of the client threads, all together.
    pub(crate) clients_cpu: Duration,
    /// Processor time of all threads of this process.
    pub(crate) process_cpu: Duration,
    /// Syncs of the disk, where the store tells.
    pub(crate) syncs: Option<u64>,
}

impl Passed {
    /// Commits a second.
    pub(crate) fn rate(&self) -> f64 {
        self.commits as f64 / self.time.as_secs_f64()
    }

    /// A time, shared out to the commits, in nanoseconds.
    pub(crate) fn nanos_each(&self, time: Duration) -> f64 {
        time.as_secs_f64() * 1e9 / self.commits as f64
    }
}

/// Commits from as many threads as there are lists of requests, for `length`. `group` commits are made between two looks
/// at the clock: one where a commit waits for the disk, more where the look would be a good part of it.
///
/// # Errors
/// What the store answers.
pub(crate) fn pass(
    store: &dyn Committer,
    requests: &[Requests],
    length: Duration,
    group: usize,
    clock: &SystemClock,
) -> Outcome<Passed> {
    let syncs = store.syncs();
    let (start, process) = (clock.monotonic(), process_cpu_time());
    let end = start + length;
    let counts = clients(requests.len(), |number| {
        let cpu = thread_cpu_time();
        let mut commits = 0_u64;
        for group in requests[number].keys.chunks(group).cycle() {
            for key in group {
                commits += 1;
                store.commit(number, key, &next_value(key, commits))?;
            }
            if clock.monotonic() >= end {
                break;
            }
        }
        Ok((commits, thread_cpu_time().saturating_sub(cpu)))
    })?;
    let (time, process_cpu) = (clock.monotonic() - start, process_cpu_time().saturating_sub(process));
    Ok(Passed {
        commits: counts.iter().map(|(commits, _)| commits).sum(),
        time,
        clients_cpu: counts.iter().map(|(_, cpu)| *cpu).sum(),
        process_cpu,
        syncs: syncs.zip(store.syncs()).map(|(before, after)| after.saturating_sub(before)),
    })
}

/// What every store has to pass, whichever it is.
#[cfg(test)]
pub(crate) fn check_committer(store: &dyn Committer, mode: Mode) {
    let keys = crate::keys::keys(3, 400);
    let parts = keys.chunks(100).map(|keys| Requests { keys: keys.to_vec(), dice: Vec::new() });
    let parts: Vec<Requests> = parts.collect();
    let clock = SystemClock::new();
    let passed = pass(store, &parts, Duration::from_millis(20), 10, &clock).unwrap();
    assert!(passed.commits >= 40, "{passed:?}");
    assert!(passed.time >= Duration::from_millis(20), "{passed:?}");
    if mode == Mode::Sync {
        assert!(passed.syncs.is_none_or(|syncs| syncs > 0 && syncs <= passed.commits), "{passed:?}");
    }
    store.settle().unwrap();
}
