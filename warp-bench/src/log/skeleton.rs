//! What group commit reaches without anything around it: no table, no formats, no rotation, no recovery.
//!
//! Records go into a buffer under a lock. Whoever finds nobody syncing takes the buffer, writes it to a file that was
//! written through before, and syncs; the others wait, and the next buffer gathers meanwhile.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use warp_io::{File, write_all_at};

use super::committer::Committer;
use super::raw::{Cursor, prewritten};
use crate::run::Outcome;

/// The bare group commit.
#[derive(Debug)]
pub(crate) struct Skeleton {
    file: Arc<dyn File>,
    cursor: Cursor,
    state: Mutex<State>,
    synced: Condvar,
    syncs: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    buffer: Vec<u8>,
    /// A buffer that was written, for its memory.
    spare: Vec<u8>,
    /// Records so far, and how many of them are on the disk.
    last: u64,
    durable: u64,
    /// Whether somebody writes and syncs.
    leading: bool,
    failed: bool,
}

impl Skeleton {
    /// Prepares the file.
    ///
    /// # Errors
    /// What the system answers.
    pub(crate) fn open(dir: &Path) -> Outcome<Skeleton> {
        Ok(Skeleton {
            file: prewritten(dir)?,
            cursor: Cursor::default(),
            state: Mutex::default(),
            synced: Condvar::new(),
            syncs: AtomicU64::new(0),
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, buffer: &[u8]) -> std::io::Result<()> {
        write_all_at(&*self.file, self.cursor.next(buffer.len() as u64), buffer)?;
        self.file.sync_data()?;
        self.syncs.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

impl Committer for Skeleton {
    fn commit(&self, _: usize, key: &[u8], value: &[u8]) -> Outcome<()> {
        let mut state = self.lock();
        state.buffer.extend_from_slice(key);
        state.buffer.extend_from_slice(value);
        state.last += 1;
        let mine = state.last;
        while state.durable < mine {
            if state.failed {
                return Err("a sync failed before".into());
            }
            if state.leading {
                state = self.synced.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            state.leading = true;
            let last = state.last;
            let next = std::mem::take(&mut state.spare);
            let mut buffer = std::mem::replace(&mut state.buffer, next);
            drop(state);
            let written = self.write(&buffer);
            buffer.clear();
            state = self.lock();
            state.leading = false;
            state.spare = buffer;
            match written {
                Ok(()) => state.durable = last,
                Err(_) => state.failed = true,
            }
            self.synced.notify_all();
            written?;
        }
        Ok(())
    }

    fn syncs(&self) -> Option<u64> {
        Some(self.syncs.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use warp_io::{Dir, OsDir};

    use super::*;

    #[test]
    fn a_commit_is_in_the_file_when_it_returns_and_one_alone_takes_one_sync() {
        let dir = tempfile::tempdir().unwrap();
        let skeleton = Skeleton::open(dir.path()).unwrap();
        for number in 0..3_u8 {
            skeleton.commit(0, &[number; 16], &[number + 100; 100]).unwrap();
            let mut found = [0; 116];
            let file = OsDir::open(dir.path(), false).unwrap().open("raw", false).unwrap();
            warp_io::read_exact_at(&*file, u64::from(number) * 4096, &mut found).unwrap();
            assert_eq!((found[0], found[115]), (number, number + 100));
        }
        assert_eq!(skeleton.syncs(), Some(3));
    }
}
