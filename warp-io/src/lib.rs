//! The file operations that the engine needs, on a real disk and on a simulated one that crashes.
//!
//! ```text
//!        Dir  --create_new / open-->  File  --map-->  MappedBytes
//!       /   \
//!   OsDir    SimDir (feature "sim": crashes, torn writes, failing operations, flipped bits)
//! ```
//!
//! **Invariant:** this is the only crate that calls `std::fs`, maps memory, or reads the system's clocks.
//! **Invariant:** [`File::sync_data`] returning `Ok` is the only promise that bytes survive a power loss, and
//! [`Dir::sync_dir`] returning `Ok` the only promise that names do.
//! **Invariant:** nothing is retried. What the system answers, short writes included, is what the caller sees;
//! [`write_all_at`] and [`read_exact_at`] are the two helpers that go on after a short answer.
//!
//! ```
//! use warp_io::{Dir, OsDir, write_all_at};
//!
//! # fn main() -> std::io::Result<()> {
//! let scratch = tempfile::tempdir()?;
//! let dir = OsDir::open(scratch.path(), true)?;
//! let file = dir.create_new("greeting")?;
//! write_all_at(&*file, 0, b"hello")?;
//! file.sync_data()?; // the bytes survive a power loss from here on,
//! dir.sync_dir()?; // and so does the name
//! assert_eq!(&*file.map()?, b"hello");
//! # Ok(())
//! # }
//! ```

mod clock;
mod map;
mod memory_limit;
mod os;
#[cfg(feature = "sim")]
mod sim;

use std::fmt::Debug;
use std::io;
use std::sync::Arc;

pub use clock::{Clock, SystemClock};
pub use map::MappedBytes;
pub use memory_limit::{memory_available, memory_limit};
pub use os::OsDir;
#[cfg(feature = "sim")]
pub use sim::{Fault, OpClass, OpInfo, OpKind, SimClock, SimDir, SimDisk, Survival};

/// Name of the file whose lock is the directory's lock.
pub const LOCK_FILE: &str = "LOCK";

/// A directory: names that are looked up, listed, moved and removed.
///
/// A handle is cheap; [`Dir::handle`] makes another one of the same directory. A name is a single component:
/// one that is empty, `.`, `..`, or that holds `/` or NUL is refused with [`io::ErrorKind::InvalidInput`].
/// No method follows a symbolic link in the last component.
pub trait Dir: Debug + Send + Sync + 'static {
    /// Creates a file that must not exist yet, open for reading and writing, with mode 0600.
    ///
    /// # Errors
    /// [`io::ErrorKind::AlreadyExists`] if there is one of that name; otherwise what the system answers.
    fn create_new(&self, name: &str) -> io::Result<Arc<dyn File>>;

    /// Opens a file that exists, for reading and, if `write` is set, for writing.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`] if there is none; [`io::ErrorKind::IsADirectory`], or
    /// [`io::ErrorKind::InvalidInput`], if it is something else than a file; otherwise what the system answers.
    fn open(&self, name: &str, write: bool) -> io::Result<Arc<dyn File>>;

    /// The names of the files in this directory, without those of its subdirectories, in any order.
    ///
    /// # Errors
    /// What the system answers.
    fn list(&self) -> io::Result<Vec<String>>;

    /// Gives a file another name in this directory, in one step; a file that had that name is replaced.
    ///
    /// # Errors
    /// What the system answers.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a name. Handles and maps of the file stay good.
    ///
    /// # Errors
    /// What the system answers.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Makes every name that was created, moved or removed so far survive a power loss.
    ///
    /// # Errors
    /// What the system answers; after an error nothing is known of the names since the last success.
    fn sync_dir(&self) -> io::Result<()>;

    /// The subdirectory of that name. It is made, with mode 0700, if `create` is set and there is none; its
    /// name survives a power loss once [`Dir::sync_dir`] of this directory has returned.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`] if there is none and `create` is not set; otherwise what the system answers.
    fn subdir(&self, name: &str, create: bool) -> io::Result<Arc<dyn Dir>>;

    /// The names of the subdirectories of this directory, in any order.
    ///
    /// # Errors
    /// What the system answers.
    fn list_dirs(&self) -> io::Result<Vec<String>>;

    /// Takes an advisory lock on the file of that name, which is made if it is absent; nothing is written to it.
    ///
    /// The lock ends when the returned value is dropped, and with the process, however it ends. Any number of handles may
    /// hold it as [`LockKind::Shared`], or one as [`LockKind::Exclusive`].
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] if another handle holds it in a way that this one excludes, in this process or in
    /// another; otherwise what the system answers.
    fn try_lock(&self, name: &str, kind: LockKind) -> io::Result<DirLock>;

    /// Takes the directory's advisory lock: that of the file `LOCK`, for nobody else.
    ///
    /// # Errors
    /// As [`Dir::try_lock`].
    fn try_lock_exclusive(&self) -> io::Result<DirLock> {
        self.try_lock(LOCK_FILE, LockKind::Exclusive)
    }

    /// Another handle on the same directory.
    fn handle(&self) -> Arc<dyn Dir>;
}

/// An open file. All methods take `&self`, and may be called from several threads.
pub trait File: Debug + Send + Sync + 'static {
    /// Writes at the end of the file; returns how many bytes were taken, which may be fewer than given.
    ///
    /// # Errors
    /// What the system answers.
    fn append(&self, bytes: &[u8]) -> io::Result<usize>;

    /// Writes at `offset`; returns how many bytes were taken, which may be fewer than given. A gap that this
    /// leaves behind the former end reads as zeros.
    ///
    /// # Errors
    /// What the system answers.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<usize>;

    /// Reads from `offset`; returns how many bytes were read, which may be fewer than asked for; 0 at the end.
    ///
    /// # Errors
    /// What the system answers.
    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<usize>;

    /// The length in bytes.
    ///
    /// # Errors
    /// What the system answers.
    fn len(&self) -> io::Result<u64>;

    /// Whether the length is zero.
    ///
    /// # Errors
    /// What the system answers.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Cuts the file, or grows it with zeros, to `len` bytes.
    ///
    /// # Errors
    /// What the system answers.
    fn truncate(&self, len: u64) -> io::Result<()>;

    /// Reserves disk space for the first `len` bytes; the file is at least that long afterwards. `false` if it only
    /// is that long, since the file system cannot reserve space: then a write may still find that there is none.
    ///
    /// # Errors
    /// [`io::ErrorKind::StorageFull`] if there is not enough; otherwise what the system answers.
    fn allocate(&self, len: u64) -> io::Result<bool>;

    /// Asks the system to begin writing the bytes of a range to the disk, which were written to the file just before, so
    /// that a later [`sync_data`](File::sync_data) has little left to wait for. Only a hint: it promises nothing, and
    /// nothing happens where the system has no such thing.
    fn start_writing(&self, offset: u64, len: u64) {
        let _ = (offset, len);
    }

    /// Makes every byte written so far, and the length, survive a power loss.
    ///
    /// # Errors
    /// What the system answers. After an error the unsynced bytes may be gone although later reads still show
    /// them, and a later call may return `Ok` without them: a failed sync must never be retried and believed.
    fn sync_data(&self) -> io::Result<()>;

    /// Asks the system to read `bytes` bytes from `offset` on soon, without waiting. Only a hint: nothing happens where the
    /// system takes none, and nobody is told.
    fn will_need(&self, offset: u64, bytes: u64) {
        let _ = (offset, bytes);
    }

    /// The file's present bytes, read in place where the system can map memory. The start is aligned to at
    /// least 16 bytes.
    ///
    /// The file must not be written to or cut while the result lives: bytes would change under the reader,
    /// and touching a page behind a new end ends the process. That is a rule for the caller, who keeps it by
    /// mapping only files that are never modified once published, under the directory's lock.
    ///
    /// # Errors
    /// What the system answers.
    fn map(&self) -> io::Result<MappedBytes>;
}

/// Whom a lock keeps out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LockKind {
    /// Those who want it for themselves.
    Shared,
    /// Everybody else.
    Exclusive,
}

/// A held advisory lock on a directory; dropping it gives the lock back.
#[derive(Debug)]
pub struct DirLock {
    _held: Box<dyn Debug + Send + Sync>,
}

impl DirLock {
    /// A lock that lasts as long as `held`.
    pub(crate) fn new(held: impl Debug + Send + Sync + 'static) -> DirLock {
        DirLock { _held: Box::new(held) }
    }
}

/// Whether an error says that this process or the system has as many files open as it may.
#[must_use]
pub fn is_out_of_handles(error: &io::Error) -> bool {
    let errno = rustix::io::Errno::from_io_error(error);
    errno.is_some_and(|errno| matches!(errno, rustix::io::Errno::MFILE | rustix::io::Errno::NFILE))
}

/// Whether an error says that there is no space for more: on the disk, in a quota, or in a file of the largest size that
/// this process may write. Trying again makes sense once some was freed.
#[must_use]
pub fn is_full(error: &io::Error) -> bool {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge)
}

/// Writes all of `bytes` at `offset`, going on after a short write and after an interrupt.
///
/// # Errors
/// What [`File::write_at`] answers; [`io::ErrorKind::WriteZero`] if it takes nothing at all.
pub fn write_all_at(file: &dyn File, mut offset: u64, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match file.write_at(offset, bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => {
                offset += count as u64;
                bytes = &bytes[count..];
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Fills `out` from `offset`, going on after a short read and after an interrupt.
///
/// # Errors
/// What [`File::read_at`] answers; [`io::ErrorKind::UnexpectedEof`] if the file ends before `out` is full.
pub fn read_exact_at(file: &dyn File, mut offset: u64, mut out: &mut [u8]) -> io::Result<()> {
    while !out.is_empty() {
        match file.read_at(offset, out) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => {
                offset += count as u64;
                out = &mut out[count..];
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Refuses a name that is not a single, plain component.
pub(crate) fn check_name(name: &str) -> io::Result<()> {
    if name.is_empty() || name == "." || name == ".." || name.contains(['/', '\0']) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a plain file name"));
    }
    Ok(())
}
