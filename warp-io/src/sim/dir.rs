//! Directories of a simulated disk.

use std::fmt;
use std::io;
use std::sync::Arc;

use rustix::io::Errno;

use super::disk::{Call, Core, Shared};
use super::fault::{Fault, OpKind};
use super::file::SimFile;
use super::random::Random;
use super::state::{Entry, Sync, join};
use crate::{Dir, DirLock, File, LockKind, check_name};

/// A directory of a [`SimDisk`](crate::SimDisk).
#[derive(Clone)]
pub struct SimDir {
    disk: Shared,
    id: u64,
    path: Arc<str>,
}

impl SimDir {
    pub(super) fn new(disk: Shared, id: u64, path: &str) -> SimDir {
        SimDir { disk, id, path: path.into() }
    }

    /// Runs an operation on a name in this directory.
    fn run<T>(
        &self,
        kind: OpKind,
        name: &str,
        body: impl FnOnce(&mut Core) -> io::Result<T>,
    ) -> io::Result<T> {
        check_name(name)?;
        self.disk.run(Call::new(kind, &join(&self.path, name)), |core, _| body(core))
    }

    fn file(&self, id: u64, name: &str, write: bool) -> Arc<dyn File> {
        Arc::new(SimFile::new(self.disk.clone(), id, join(&self.path, name), write))
    }
}

impl Dir for SimDir {
    fn create_new(&self, name: &str) -> io::Result<Arc<dyn File>> {
        let id = self.run(OpKind::CreateNew, name, |core| create(core, self.id, name))?;
        Ok(self.file(id, name, true))
    }

    fn open(&self, name: &str, write: bool) -> io::Result<Arc<dyn File>> {
        let id = self.run(OpKind::Open, name, |core| {
            let id = core.state.find_file(self.id, name)?;
            core.opened(id);
            Ok(id)
        })?;
        Ok(self.file(id, name, write))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.disk.run(Call::new(OpKind::List, &self.path), |core, _| {
            let is_file = |entry: &Entry| matches!(entry, Entry::File(_));
            let live = &core.state.folder(self.id).live;
            let mut names: Vec<String> =
                live.iter().filter(|(_, entry)| is_file(entry)).map(|(name, _)| name.to_string()).collect();
            Random::new(core.seed ^ core.operations).shuffle(&mut names);
            Ok(names)
        })
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        check_name(to)?;
        self.run(OpKind::Rename, from, |core| {
            core.trace.bytes(to.as_bytes());
            if core.state.rename(self.id, from, to)?.is_some() {
                core.collect();
            }
            Ok(())
        })
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.run(OpKind::Remove, name, |core| {
            core.state.unlink(self.id, name)?;
            core.collect();
            Ok(())
        })
    }

    fn sync_dir(&self) -> io::Result<()> {
        self.disk.run(Call::new(OpKind::SyncDir, &self.path), |core, fault| {
            match fault {
                Some(Fault::SyncLies) => return Ok(()),
                Some(Fault::SyncLost) => core.state.sync_folder(self.id, Sync::Lose),
                _ => core.state.sync_folder(self.id, Sync::Keep),
            }
            core.collect();
            if fault == Some(Fault::SyncLost) { Err(Errno::IO.into()) } else { Ok(()) }
        })
    }

    fn subdir(&self, name: &str, create: bool) -> io::Result<Arc<dyn Dir>> {
        let id = self.run(OpKind::Subdir, name, |core| match core.state.lookup(self.id, name) {
            Some(Entry::Folder(id)) => Ok(id),
            Some(Entry::File(_)) => Err(Errno::NOTDIR.into()),
            None if create => Ok(core.state.create_folder(self.id, name)),
            None => Err(Errno::NOENT.into()),
        })?;
        Ok(Arc::new(SimDir::new(self.disk.clone(), id, &join(&self.path, name))))
    }

    fn list_dirs(&self) -> io::Result<Vec<String>> {
        self.disk.run(Call::new(OpKind::ListDirs, &self.path), |core, _| {
            let live = &core.state.folder(self.id).live;
            let folders = live.iter().filter(|(_, entry)| matches!(entry, Entry::Folder(_)));
            Ok(folders.map(|(name, _)| name.to_string()).collect())
        })
    }

    fn try_lock(&self, name: &str, kind: LockKind) -> io::Result<DirLock> {
        let operation = match kind {
            LockKind::Shared => OpKind::TryLockShared,
            LockKind::Exclusive => OpKind::TryLockExclusive,
        };
        let file = self.run(operation, name, |core| {
            let file = match core.state.lookup(self.id, name) {
                None => create(core, self.id, name)?,
                Some(Entry::Folder(_)) => return Err(Errno::ISDIR.into()),
                Some(Entry::File(file)) => {
                    core.opened(file);
                    file
                }
            };
            if !core.try_lock(file, kind) {
                core.closed(file);
                return Err(io::ErrorKind::WouldBlock.into());
            }
            Ok(file)
        })?;
        Ok(DirLock::new(SimLock { disk: self.disk.clone(), file }))
    }

    fn handle(&self) -> Arc<dyn Dir> {
        Arc::new(self.clone())
    }
}

impl fmt::Debug for SimDir {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimDir").field("path", &self.path).finish_non_exhaustive()
    }
}

/// Creates a file with a handle.
fn create(core: &mut Core, folder: u64, name: &str) -> io::Result<u64> {
    if core.state.lookup(folder, name).is_none() && core.room() == 0 {
        return Err(Errno::NOSPC.into());
    }
    let id = core.state.create_file(folder, name)?;
    core.opened(id);
    Ok(id)
}

/// A held lock; it keeps the lock file open, as a lock of the system does.
struct SimLock {
    disk: Shared,
    file: u64,
}

impl Drop for SimLock {
    fn drop(&mut self) {
        let mut core = self.disk.lock();
        core.unlock(self.file);
        core.closed(self.file);
    }
}

impl fmt::Debug for SimLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimLock").field("file", &self.file).finish_non_exhaustive()
    }
}
