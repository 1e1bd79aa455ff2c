//! Those who read a directory that a running engine, of this process or another, has open: they share a lock, under which
//! nothing is removed or written to again.
//!
//! ```text
//!   reader:  shared lock on READERS ---- list, open, read ---- lock given back
//!   engine:  exclusive lock on READERS?  yes: remove, recycle   no: leave everything, and try again later
//! ```

use std::sync::atomic::Ordering;
use std::time::Duration;

use parking_lot::RwLockWriteGuard;
use warp_io::{Clock, Dir, DirLock, LockKind};

use crate::error::{Error, ErrorKind, Result, directory_error};
use crate::home::{Home, READERS_FILE};
use crate::shared::Shared;

/// How long a reader waits for an engine that is removing files at that moment, in steps of [`WAIT_STEP`].
const WAIT_STEPS: u32 = 5_000;
const WAIT_STEP: Duration = Duration::from_millis(1);
/// Removing that readers have held up is tried again at most this often.
const RETRY: Duration = Duration::from_secs(1);
/// How often a directory is read that may be being written to.
const LOOKS_MAX: usize = 5;

/// While it lives nobody reads the files, in this process or in another.
pub(crate) struct NobodyReads<'a> {
    _here: RwLockWriteGuard<'a, ()>,
    _elsewhere: DirLock,
}

/// Keeps every file of a database's directory from being removed or written to again as long as the answer lives, whoever
/// has the database open. For programs that read the files themselves, segment by segment for instance; the engine's own
/// calls for reading do so by themselves. The metrics of the engine tell that somebody does.
///
/// # Errors
/// `Locked` if files were being removed or replaced for longer than some seconds; `Io`.
pub fn hold_files(dir: &dyn Dir) -> Result<DirLock> {
    let mut steps = 0;
    loop {
        match dir.try_lock(READERS_FILE, LockKind::Shared) {
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock && steps < WAIT_STEPS => {
                steps += 1;
                std::thread::sleep(WAIT_STEP);
            }
            answer => {
                return answer
                    .map_err(|error| directory_error("cannot hold the files of the database", error));
            }
        }
    }
}

/// Reads what somebody else may be writing to. Damage is believed once it is found at the same place again: what is being
/// written at the first look is there at the second.
pub(crate) fn settled<T>(mut read: impl FnMut() -> Result<T>) -> Result<T> {
    let place = |error: &Error| (error.path().map(std::path::Path::to_path_buf), error.offset());
    let mut before = None;
    for _ in 1..LOOKS_MAX {
        match read() {
            Err(error) if error.kind() == ErrorKind::Corrupt && before != Some(place(&error)) => {
                before = Some(place(&error));
            }
            answer => return answer,
        }
    }
    read()
}

impl Home {
    /// Leave to remove files; `None` if they are being read by somebody else.
    pub(crate) fn lock_out_readers(&self) -> Result<Option<NobodyReads<'_>>> {
        let Some(here) = self.removing.try_write() else { return Ok(None) };
        match self.dir.try_lock(READERS_FILE, LockKind::Exclusive) {
            Ok(elsewhere) => Ok(Some(NobodyReads { _here: here, _elsewhere: elsewhere })),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(directory_error("cannot ask whether the files are being read", error)),
        }
    }
}

impl Shared {
    /// As [`Home::lock_out_readers`]; takes note if they hold files back, and says so.
    pub(crate) fn may_remove_files<'a>(&self, home: &'a Home) -> Result<Option<NobodyReads<'a>>> {
        let nobody_reads = home.lock_out_readers()?;
        let is_held = nobody_reads.is_none();
        if is_held {
            self.counters.removals_held_back.add(1);
        }
        if home.is_held_back.swap(is_held, Ordering::Relaxed) != is_held {
            if is_held {
                tracing::warn!("readers of the directory keep files that no checkpoint needs any more");
            } else {
                tracing::info!("nobody reads the directory any more; files are removed again");
            }
        }
        Ok(nobody_reads)
    }

    /// Has what readers have kept from being removed go, once a second until they are gone.
    pub(crate) fn remove_held_back(&self) {
        let Some(home) = &self.home else { return };
        if home.is_held_back.load(Ordering::Relaxed)
            && self.tended.retried.is_due(self.time.monotonic(), RETRY)
        {
            home.has_left_behind.store(true, Ordering::Relaxed);
        }
    }
}
