//! Waiting for a write to become durable, with or without blocking a thread.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Duration;

use parking_lot::Mutex;
use warp_io::Clock;

use crate::error::{Error, Result};
use crate::feed::Watches;
use crate::shared::Shared;
use crate::types::Seq;

/// A promise that a write becomes durable: wait for it, ask it, or await it.
///
/// Needs no runtime; dropping it changes nothing.
#[derive(Debug)]
#[must_use = "a commit does nothing for its caller unless it is waited for"]
pub struct Commit {
    shared: Arc<Shared>,
    seq: u64,
}

impl Commit {
    pub(crate) fn new(shared: Arc<Shared>, seq: u64) -> Commit {
        let commit = Commit { shared, seq };
        if commit.check().is_ok() && !commit.is_done() {
            commit.shared.order_sync(commit.seq);
        }
        commit
    }

    /// Refuses to wait for what will not come.
    fn check(&self) -> Result<()> {
        if self.seq > self.shared.journal.last_seq() {
            return Err(Error::invalid("no write has that sequence number yet"));
        }
        Ok(())
    }

    /// The sequence number that is waited for.
    #[must_use]
    pub fn seq(&self) -> Seq {
        Seq(self.seq)
    }

    /// Whether the write, and every earlier one, survives a power loss by now.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.shared.is_durable(self.seq)
    }

    /// Returns once the write, and every earlier one, survives a power loss.
    ///
    /// # Errors
    /// `Invalid` if the number was not given yet; `Io` or `Poisoned` if the log failed: the write may or may not be
    /// there after reopening.
    pub fn wait(self) -> Result<()> {
        self.check()?;
        self.shared.sync_to(self.seq)
    }

    /// As [`Commit::wait`], for at most `timeout`; returns whether the write is durable by then.
    ///
    /// # Errors
    /// As [`Commit::wait`].
    pub fn wait_timeout(&self, timeout: Duration) -> Result<bool> {
        self.check()?;
        let unparker = || Waker::from(Arc::new(Unparker(thread::current())));
        let waker = UNPARKER.try_with(Waker::clone).unwrap_or_else(|_| unparker());
        let end = self.shared.time.monotonic().saturating_add(timeout);
        loop {
            // Registered before asking: a sync that ends in between then finds the waker.
            self.shared.waiters.register(self.seq, &waker);
            if self.is_done() {
                return Ok(true);
            }
            if self.shared.check_writable().is_err() {
                return self.shared.journal.sync_to(self.seq).map(|()| true);
            }
            self.shared.order_sync(self.seq);
            let left = end.saturating_sub(self.shared.time.monotonic());
            if left.is_zero() {
                return Ok(false);
            }
            thread::park_timeout(left);
        }
    }
}

impl Future for Commit {
    type Output = Result<()>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        if let Err(error) = self.check() {
            return Poll::Ready(Err(error));
        }
        // Registered before asking: a sync that ends in between then finds the waker.
        self.shared.waiters.register(self.seq, context.waker());
        if self.is_done() {
            return Poll::Ready(Ok(()));
        }
        if self.shared.check_writable().is_err() {
            // Says what is wrong with the log, without waiting.
            return Poll::Ready(self.shared.journal.sync_to(self.seq));
        }
        self.shared.order_sync(self.seq);
        Poll::Pending
    }
}

thread_local! {
    /// One for each thread, so that waiting for one sequence again and again is noted once.
    static UNPARKER: Waker = Waker::from(Arc::new(Unparker(thread::current())));
}

/// Wakes a thread that is parked.
struct Unparker(Thread);

impl Wake for Unparker {
    fn wake(self: Arc<Unparker>) {
        self.0.unpark();
    }
}

/// Who is to be woken when the log is durable up to where.
#[derive(Debug, Default)]
pub(crate) struct Waiters {
    /// By the sequence that is waited for.
    commits: Mutex<BTreeMap<u64, Vec<Waker>>>,
    /// Who wants to know of any change.
    pub(crate) watches: Watches,
}

impl Waiters {
    fn register(&self, seq: u64, waker: &Waker) {
        let mut commits = self.commits.lock();
        let waiting = commits.entry(seq).or_default();
        if !waiting.iter().any(|known| known.will_wake(waker)) {
            waiting.push(waker.clone());
        }
    }

    /// Wakes those who wait for no more than `durable`.
    pub(crate) fn wake(&self, durable: u64) {
        let ready = {
            let mut commits = self.commits.lock();
            let later = durable.checked_add(1).map(|first| commits.split_off(&first)).unwrap_or_default();
            std::mem::replace(&mut *commits, later)
        };
        // Woken without the lock: a waker may poll at once.
        ready.into_values().flatten().for_each(Waker::wake);
        self.watches.wake();
    }

    /// Wakes everybody: the log has failed, or is closed.
    pub(crate) fn wake_all(&self) {
        self.wake(u64::MAX);
    }
}

impl Shared {
    pub(crate) fn is_durable(&self, seq: u64) -> bool {
        self.journal.log().is_none() || self.journal.durable_seq() >= seq
    }

    /// Returns once everything up to `seq` survives a power loss, and tells those who watch.
    pub(crate) fn sync_to(&self, seq: u64) -> Result<()> {
        let synced = self.journal.sync_to(seq);
        self.waiters.watches.wake();
        synced
    }
}
