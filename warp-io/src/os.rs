//! The local file system.

use std::fs;
use std::io;
use std::num::NonZeroU64;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, FileExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{AtFlags, FallocateFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::{Dir, DirLock, File, LockKind, MappedBytes, check_name};

/// Databases are private to their user.
const FILE_MODE: Mode = Mode::from_raw_mode(0o600);
const DIR_MODE: Mode = Mode::from_raw_mode(0o700);
/// A device or pipe must not make an open wait: the look at the opened file that follows refuses it.
const FILE_FLAGS: OFlags = OFlags::NOFOLLOW.union(OFlags::CLOEXEC).union(OFlags::NONBLOCK);
const DIR_FLAGS: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// A directory of the local file system.
///
/// It is held open, and names are looked up in what is held: moving the directory, or changing the current one
/// of the process, does not matter.
#[derive(Clone, Debug)]
pub struct OsDir(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    handle: fs::File,
}

impl OsDir {
    /// Opens the directory at `path`. It and its parents are made, with mode 0700, and their names made to
    /// survive a power loss, if `create` is set.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`] if there is none and `create` is not set; otherwise what the system answers.
    pub fn open(path: impl AsRef<Path>, create: bool) -> io::Result<OsDir> {
        let path = path.as_ref();
        if create {
            make_dirs(path)?;
        }
        Ok(OsDir::new(path.to_path_buf(), rustix::fs::open(path, DIR_FLAGS, Mode::empty())?))
    }

    /// Where the directory was when it was opened.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    fn new(path: PathBuf, handle: OwnedFd) -> OsDir {
        OsDir(Arc::new(Inner { path, handle: handle.into() }))
    }

    fn open_file(&self, name: &str, flags: OFlags) -> io::Result<fs::File> {
        check_name(name)?;
        let file: fs::File = rustix::fs::openat(&self.0.handle, name, flags | FILE_FLAGS, FILE_MODE)?.into();
        match file.metadata()?.file_type() {
            kind if kind.is_file() => Ok(file),
            kind if kind.is_dir() => Err(Errno::ISDIR.into()),
            _ => Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file")),
        }
    }
}

impl Dir for OsDir {
    fn create_new(&self, name: &str) -> io::Result<Arc<dyn File>> {
        let file = self.open_file(name, OFlags::RDWR | OFlags::CREATE | OFlags::EXCL)?;
        Ok(Arc::new(OsFile(file)))
    }

    fn open(&self, name: &str, write: bool) -> io::Result<Arc<dyn File>> {
        let flags = if write { OFlags::RDWR } else { OFlags::RDONLY };
        Ok(Arc::new(OsFile(self.open_file(name, flags)?)))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in rustix::fs::Dir::read_from(&self.0.handle)? {
            let entry = entry?;
            // A name that is not UTF-8 is none of ours.
            let Ok(name) = entry.file_name().to_str() else { continue };
            if name != "." && name != ".." && !self.is_dir(name, entry.file_type())? {
                names.push(name.to_owned());
            }
        }
        Ok(names)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        check_name(from)?;
        check_name(to)?;
        Ok(rustix::fs::renameat(&self.0.handle, from, &self.0.handle, to)?)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        check_name(name)?;
        Ok(rustix::fs::unlinkat(&self.0.handle, name, AtFlags::empty())?)
    }

    fn sync_dir(&self) -> io::Result<()> {
        self.0.handle.sync_all()
    }

    fn subdir(&self, name: &str, create: bool) -> io::Result<Arc<dyn Dir>> {
        check_name(name)?;
        if create {
            match rustix::fs::mkdirat(&self.0.handle, name, DIR_MODE) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let handle = rustix::fs::openat(&self.0.handle, name, DIR_FLAGS | OFlags::NOFOLLOW, Mode::empty())?;
        Ok(Arc::new(OsDir::new(self.0.path.join(name), handle)))
    }

    fn list_dirs(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in rustix::fs::Dir::read_from(&self.0.handle)? {
            let entry = entry?;
            let Ok(name) = entry.file_name().to_str() else { continue };
            if name != "." && name != ".." && self.is_dir(name, entry.file_type())? {
                names.push(name.to_owned());
            }
        }
        Ok(names)
    }

    fn try_lock(&self, name: &str, kind: LockKind) -> io::Result<DirLock> {
        let made = self.open_file(name, OFlags::RDWR | OFlags::CREATE);
        let file = match (made, kind) {
            // Who only reads may not be allowed to write here; what was made by others can be locked all the same.
            (Err(error), LockKind::Shared)
                if matches!(
                    error.kind(),
                    io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem
                ) =>
            {
                self.open_file(name, OFlags::RDONLY)?
            }
            (made, _) => made?,
        };
        match kind {
            LockKind::Shared => file.try_lock_shared(),
            LockKind::Exclusive => file.try_lock(),
        }
        .map_err(io::Error::from)?;
        Ok(DirLock::new(Locked(file)))
    }

    fn handle(&self) -> Arc<dyn Dir> {
        Arc::new(self.clone())
    }
}

impl OsDir {
    /// Whether an entry of this directory is a directory, by what the listing said if it said anything.
    fn is_dir(&self, name: &str, listed: FileType) -> io::Result<bool> {
        if listed != FileType::Unknown {
            return Ok(listed == FileType::Directory);
        }
        match rustix::fs::statat(&self.0.handle, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(FileType::from_raw_mode(stat.st_mode) == FileType::Directory),
            // Removed since it was listed; whoever opens it finds out.
            Err(Errno::NOENT) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

/// Makes the directories of `path` that are missing, each name durable before the next is made.
fn make_dirs(path: &Path) -> io::Result<()> {
    let missing: Vec<&Path> =
        path.ancestors().take_while(|path| !path.as_os_str().is_empty() && !path.is_dir()).collect();
    for path in missing.into_iter().rev() {
        match fs::DirBuilder::new().mode(DIR_MODE.as_raw_mode()).create(path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        fs::File::open(parent.unwrap_or(Path::new(".")))?.sync_all()?;
    }
    Ok(())
}

/// A locked file. Unlocked by hand: closing it would not do, while a child process that was forked meanwhile, and
/// has not begun its own program yet, holds a copy of the descriptor.
#[derive(Debug)]
struct Locked(fs::File);

impl Drop for Locked {
    fn drop(&mut self) {
        // The descriptor is closed next, which unlocks it as well where there is no such child.
        let _ = self.0.unlock();
    }
}

#[derive(Debug)]
struct OsFile(fs::File);

impl File for OsFile {
    fn append(&self, bytes: &[u8]) -> io::Result<usize> {
        // One writer at a time appends to a file of ours, so that the length is where it goes on.
        self.0.write_at(bytes, self.len()?)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<usize> {
        self.0.write_at(bytes, offset)
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<usize> {
        self.0.read_at(out, offset)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn allocate(&self, len: u64) -> io::Result<bool> {
        if len == 0 {
            // The system refuses to reserve nothing.
            return Ok(true);
        }
        match rustix::fs::fallocate(&self.0, FallocateFlags::empty(), 0, len) {
            Ok(()) => Ok(true),
            Err(Errno::OPNOTSUPP) if self.len()? < len => self.truncate(len).map(|()| false),
            Err(Errno::OPNOTSUPP) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    fn start_writing(&self, offset: u64, len: u64) {
        // Meant for bytes that nobody needs in memory any more, and begins by writing those that are not on the disk yet.
        // As they are just being written, they stay in memory: measured for a file of 1.4 GiB, all of its pages did, and
        // the whole with its sync took 0.6 of the time.
        if let Some(len) = std::num::NonZeroU64::new(len) {
            // A failed hint costs nothing but the hint.
            let _ = rustix::fs::fadvise(&self.0, offset, Some(len), rustix::fs::Advice::DontNeed);
        }
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn will_need(&self, offset: u64, bytes: u64) {
        // A length of nothing would mean everything up to the end. A failed hint costs nothing but the hint.
        if let Some(bytes) = NonZeroU64::new(bytes) {
            let _ = rustix::fs::fadvise(&self.0, offset, Some(bytes), rustix::fs::Advice::WillNeed);
        }
    }

    fn map(&self) -> io::Result<MappedBytes> {
        MappedBytes::map(&self.0)
    }
}
