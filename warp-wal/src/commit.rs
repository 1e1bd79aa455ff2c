//! Making records durable: the first caller that needs a sync leads, the others wait and are covered.

use std::sync::atomic::Ordering;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use crate::error::{Error, Result};
use crate::log::Log;

/// Who syncs, and who waits for it.
#[derive(Debug, Default)]
pub(crate) struct Commit {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Whether somebody syncs. Syncs of a log never overlap: of two on one file, the system may report a
    /// failure to one only, and answer the other with success.
    leading: bool,
    /// When the last sync ended.
    synced_at: Duration,
}

impl Commit {
    /// When the last sync ended.
    pub(crate) fn synced_at(&self) -> Duration {
        self.state.lock().synced_at
    }

    /// Wakes those who wait, so that they see that the log is poisoned.
    pub(crate) fn notify(&self) {
        // Taking the lock once makes sure that nobody is between looking and waiting.
        drop(self.state.lock());
        self.changed.notify_all();
    }
}

/// The right, and the duty, to sync. Hands on when dropped, also by a panic.
struct Leader<'a>(&'a Log);

impl Drop for Leader<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.poison();
        }
        let mut state = self.0.commit.state.lock();
        state.leading = false;
        state.synced_at = self.0.clock.monotonic();
        drop(state);
        self.0.commit.changed.notify_all();
    }
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
            let mut state = self.commit.state.lock();
            if state.leading {
                self.commit.changed.wait(&mut state);
                continue;
            }
            if self.durable.load(Ordering::Acquire) >= seq {
                break;
            }
            state.leading = true;
            drop(state);
            let leader = Leader(self);
            let answer = self.write_and_sync();
            drop(leader);
            if answer? < seq {
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

    /// Writes what is ready and syncs it; returns the last sequence that is durable now. For the leader only.
    fn write_and_sync(&self) -> Result<u64> {
        let (files, written) = {
            let mut writer = self.writer.lock();
            self.drain(&mut writer)?;
            (writer.take_unsynced(), writer.consumer.seq())
        };
        for (file, name) in files {
            file.sync_data().map_err(|source| self.fail(Error::io(&name, 0, source)))?;
            self.counters.syncs.fetch_add(1, Ordering::Relaxed);
        }
        self.durable.fetch_max(written, Ordering::AcqRel);
        Ok(written)
    }

    /// A record before the wanted one is between reserve and commit, which takes its owner a moment.
    fn wait_for_commit(&self, attempt: u32) {
        const YIELDS: u32 = 64;
        if attempt < YIELDS {
            std::thread::yield_now();
        } else {
            self.room.wait();
        }
    }
}
