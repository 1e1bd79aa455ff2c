//! Making records durable: a caller that needs a sync leads, the others wait and are covered.
//!
//! ```text
//!   ticket 1   gather |-- sync ------------------| durable
//!   ticket 2             gather |-- sync ----|...| durable       ends when those before it have
//!   others     wait .............................| return
//! ```
//!
//! With few callers a second sync begins while the first runs. With many it would take callers from the next group, and
//! one sync at a time for all who wait was measured to serve more of them: then the next leader waits for the end.
//! What the log calls durable grows in the order of tickets: a sync counts once all that began before it have ended
//! well, since a later one need not cover the segments of an earlier one.
//!
//! Syncs that run at the same time go through file descriptors of their own. Of two on one descriptor, Linux may report
//! a failed write to one only, and answer the other with success; it reports it once to each descriptor.

use crate::sync::atomic::Ordering;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crate::sync::{Mutex, Parker, Unparker, thread_local};
use warp_io::File;

use crate::error::{Error, Result};
use crate::log::Log;

/// Syncs that run at a time.
const SYNCS_MAX: usize = 2;
/// A sync begins while another one runs only if no more callers than this wait. Measured with 2, 8, 32 and 64 callers:
/// with two it serves two to three times as many commits, with 32 without this limit half as many.
const WAITING_MAX: usize = 1;

/// Who syncs, and who waits for it.
#[derive(Debug, Default)]
pub(crate) struct Commit(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// Whether a leader is gathering: until it is done nobody knows what it will cover.
    gathering: bool,
    /// Syncs that have begun and are not counted yet, oldest first, by ticket.
    syncs: VecDeque<Running>,
    next_ticket: u64,
    waiting: Vec<Waiting>,
    /// When the last sync ended.
    synced_at: Duration,
}

/// A sync that has begun.
#[derive(Debug)]
struct Running {
    ticket: u64,
    /// The last sequence that it makes durable.
    covers: u64,
    has_ended: bool,
}

/// A caller that waits.
#[derive(Debug)]
struct Waiting {
    seq: u64,
    unparker: Unparker,
}

impl State {
    /// Whether a caller that needs this sequence is to lead. If not, whoever gathers or syncs wakes it.
    fn needs_leader(&self, seq: u64) -> bool {
        let is_covered = self.syncs.back().is_some_and(|sync| sync.covers >= seq);
        let may_begin =
            self.syncs.is_empty() || self.syncs.len() < SYNCS_MAX && self.waiting.len() <= WAITING_MAX;
        !self.gathering && !is_covered && may_begin
    }

    /// Takes out one caller that is to lead, if one is needed.
    fn next_leader(&mut self) -> Option<Waiting> {
        let index = self.waiting.iter().position(|waiting| self.needs_leader(waiting.seq))?;
        Some(self.waiting.swap_remove(index))
    }
}

impl Commit {
    /// When the last sync ended.
    pub(crate) fn synced_at(&self) -> Duration {
        self.0.lock().synced_at
    }

    /// Wakes those who wait, so that they see that the log is poisoned.
    pub(crate) fn notify(&self) {
        let waiting = std::mem::take(&mut self.0.lock().waiting);
        waiting.iter().for_each(|waiting| waiting.unparker.unpark());
    }
}

/// The right, and the duty, to gather what is ready and to sync it. Handed on when dropped, also by a panic.
struct Leader<'a> {
    log: &'a Log,
    ticket: u64,
    is_gathering: bool,
}

impl Leader<'_> {
    /// Whether every sync that began before this one has been counted.
    fn is_oldest(&self) -> bool {
        self.log.commit.0.lock().syncs.front().is_some_and(|sync| sync.ticket == self.ticket)
    }

    /// What this leader will cover is written: the next one may gather.
    fn hand_on(&mut self, covers: u64) {
        let mut state = self.log.commit.0.lock();
        if let Some(sync) = state.syncs.iter_mut().find(|sync| sync.ticket == self.ticket) {
            sync.covers = covers;
        }
        state.gathering = false;
        self.is_gathering = false;
        let next = state.next_leader();
        drop(state);
        if let Some(waiting) = next {
            waiting.unparker.unpark();
        }
    }
}

impl Drop for Leader<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.log.poison();
        }
        let log = self.log;
        let mut state = log.commit.0.lock();
        if self.is_gathering {
            state.gathering = false;
        }
        if let Some(sync) = state.syncs.iter_mut().find(|sync| sync.ticket == self.ticket) {
            sync.has_ended = true;
        }
        while state.syncs.front().is_some_and(|sync| sync.has_ended) {
            let covers = state.syncs.pop_front().map_or(0, |sync| sync.covers);
            // After a failure nothing more counts, whatever other syncs say.
            if !log.is_poisoned() {
                log.durable.fetch_max(covers, Ordering::AcqRel);
            }
        }
        state.synced_at = log.clock.monotonic();
        let durable = if log.is_poisoned() { u64::MAX } else { log.durable_seq() };
        let covered: Vec<Waiting> = state.waiting.extract_if(.., |waiting| waiting.seq <= durable).collect();
        let next = state.next_leader();
        drop(state);
        // The next sync begins while the others are woken.
        next.iter().chain(&covered).for_each(|waiting| waiting.unparker.unpark());
    }
}

thread_local! {
    /// Where this thread waits. A wake-up that comes late only makes it look again.
    static PARKER: Parker = Parker::new();
}

impl Log {
    /// Returns once every group up to `seq` is durable, whoever appended it.
    ///
    /// Groups up to `seq` that were reserved and are not committed are waited for.
    ///
    /// # Errors
    /// [`Error::Invalid`] if `seq` was not given yet; [`Error::Io`] for the caller whose write or sync fails, and
    /// [`Error::Poisoned`] for everyone else from then on; [`Error::Closed`] after [`Log::close`], unless `seq`
    /// is durable.
    pub fn sync_to(&self, seq: u64) -> Result<()> {
        if seq >= self.next_seq() {
            return Err(Error::Invalid { what: "a sequence that was not given yet" });
        }
        let mut attempt = 0;
        while self.durable.load(Ordering::Acquire) < seq {
            self.check_alive()?;
            let Some(leader) = self.lead_or_wait(seq) else { continue };
            if self.write_and_sync(leader)? < seq {
                self.wait_for_commit(attempt);
                attempt += 1;
            }
        }
        Ok(())
    }

    /// Makes everything durable that was reserved before the call.
    ///
    /// # Errors
    /// As [`Log::sync_to`].
    pub fn sync(&self) -> Result<()> {
        self.sync_to(self.last_seq())
    }

    /// Begins to lead if a leader is needed for this sequence; otherwise waits until something has changed.
    fn lead_or_wait(&self, seq: u64) -> Option<Leader<'_>> {
        let mut state = self.commit.0.lock();
        // Under the lock: whoever moves the one or sets the other wakes only those who were waiting by then.
        if self.durable.load(Ordering::Acquire) >= seq || self.is_poisoned() {
            return None;
        }
        if state.needs_leader(seq) {
            let ticket = state.next_ticket;
            state.next_ticket += 1;
            state.gathering = true;
            state.syncs.push_back(Running { ticket, covers: 0, has_ended: false });
            return Some(Leader { log: self, ticket, is_gathering: true });
        }
        let mut own = None;
        let unparker = PARKER.try_with(|parker| parker.unparker().clone());
        // Of a thread that is ending its own may be gone.
        let unparker = unparker.unwrap_or_else(|_| own.insert(Parker::new()).unparker().clone());
        state.waiting.push(Waiting { seq, unparker });
        drop(state);
        match own {
            Some(parker) => parker.park(),
            None => PARKER.with(Parker::park),
        }
        None
    }

    /// Writes what is ready and syncs it; returns the last sequence that this makes durable, once those before it are.
    fn write_and_sync(&self, mut leader: Leader<'_>) -> Result<u64> {
        let (files, written) = {
            let mut writer = self.writer.lock();
            self.drain(&mut writer)?;
            (writer.take_unsynced(), writer.consumer.seq())
        };
        leader.hand_on(written);
        for (file, name) in files {
            let file = if leader.is_oldest() { file } else { self.own_descriptor(file, &name, &leader) };
            file.sync_data().map_err(|source| self.fail(Error::io(&name, 0, source)))?;
            self.counters.syncs.fetch_add(1, Ordering::Relaxed);
        }
        Ok(written)
    }

    /// A record before the wanted one is between reserve and commit, which takes its owner a moment.
    fn wait_for_commit(&self, attempt: u32) {
        const YIELDS: u32 = 64;
        if attempt < YIELDS {
            crate::sync::yield_now();
        } else {
            self.room.wait();
        }
    }

    /// A descriptor that no other sync uses; without one, the file's own, once those that may use it have ended.
    fn own_descriptor(&self, file: Arc<dyn File>, name: &str, leader: &Leader<'_>) -> Arc<dyn File> {
        self.dir.open(name, true).unwrap_or_else(|_| {
            while !leader.is_oldest() {
                self.room.wait();
            }
            file
        })
    }
}
