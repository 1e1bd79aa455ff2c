//! What can go wrong, and what to do about it.

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use crate::point::PointRange;
use crate::types::Seq;

/// The result of a call on the engine.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, in the terms in which a caller would act on it.
///
/// The kind says what to do; [`Error::path`] and [`Error::offset`] say where, when a file is at fault, and the
/// chain of [`std::error::Error::source`] says why.
pub struct Error(Box<Details>);

#[derive(Debug)]
struct Details {
    kind: ErrorKind,
    message: String,
    path: Option<PathBuf>,
    offset: Option<u64>,
    oldest_seq: Option<Seq>,
    source: Option<Box<dyn StdError + Send + Sync>>,
    points: Option<PointRange>,
}

/// The kinds of [`Error`]. Each says whether anything was written, and what to do.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// An argument is outside its limits, or a line of an [`import`](crate::WarpEngine::import) is none of an export's.
    /// Nothing was written, but for what the lines of an import before that one said; correct the argument.
    Invalid,
    /// There is no database at that path, and creating one was not asked for; or the keyspace was dropped. Nothing was
    /// written.
    NotFound,
    /// Another engine, in this process or in another, has the database open to write, or somebody reads one that is to be
    /// repaired, or has the backup open. Nothing was written; close it. A reader gets this where an engine has been removing
    /// files for some seconds; it tries again.
    Locked,
    /// The system refused a read or a write. A write that got this answer may or may not survive a restart;
    /// a failed write or sync of the log also poisons the engine, see [`ErrorKind::Poisoned`].
    Io,
    /// A file holds what the engine never wrote. Nothing was written, and no wrong value was returned. All that is wrong is
    /// listed by [`WarpEngine::verify`](crate::WarpEngine::verify) (`warp verify`). Restore a backup, or close the database
    /// and have [`WarpEngine::repair`](crate::WarpEngine::repair) (`warp repair`) keep what is whole and list what is lost;
    /// where the log alone is damaged, an open with [`Recovery::Salvage`](crate::Recovery::Salvage) keeps what is sound.
    Corrupt,
    /// There is no space left on the disk for the log, or the memory budget is used up by what cannot leave memory. Nothing
    /// was written; free space, then try again.
    Full,
    /// The buffers or the memory budget are at their bound, or the log is too far ahead of the checkpoints, and the caller asked not to
    /// wait. Nothing was written; try again later.
    Busy,
    /// A condition of the write did not hold. Nothing was written; read again, and decide anew.
    Conflict,
    /// Changes that were asked for are not in the log any more. Read the database anew, and go on with
    /// [`changes_since`](crate::WarpEngine::changes_since) behind [`Error::oldest_seq`], or behind what was the last
    /// number before reading.
    Lagged,
    /// The engine was opened for reading only. Nothing was written.
    ReadOnly,
    /// An earlier write or sync of the log failed, so that nothing more may be written. Reads go on. What was
    /// acknowledged as durable is safe; reopen the database to go on writing.
    Poisoned,
    /// The engine was closed. Nothing was written.
    Closed,
    /// The point in time lies before what is kept of the past, or after the last write. Nothing was written;
    /// [`Error::points`] says what can be had.
    OutOfRange,
    /// A file, or something in it that the engine keeps for itself, was written by a newer version of the format: use a newer
    /// version. Or what only files have was asked of an engine without them: changes, views, checkpoints, a backup; or the
    /// demon was called where [`Demon::Off`](crate::Demon::Off) was said. Nothing was written.
    Unsupported,
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Error {
        Error(Box::new(Details {
            kind,
            message: message.into(),
            path: None,
            offset: None,
            oldest_seq: None,
            source: None,
            points: None,
        }))
    }

    pub(crate) fn invalid(message: impl Into<String>) -> Error {
        Error::new(ErrorKind::Invalid, message)
    }

    pub(crate) fn closed() -> Error {
        Error::new(ErrorKind::Closed, "the engine is closed")
    }

    pub(crate) fn at(mut self, path: impl Into<PathBuf>) -> Error {
        self.0.path = Some(path.into());
        self
    }

    pub(crate) fn at_offset(mut self, offset: u64) -> Error {
        self.0.offset = Some(offset);
        self
    }

    pub(crate) fn with_oldest_seq(mut self, seq: Seq) -> Error {
        self.0.oldest_seq = Some(seq);
        self
    }

    pub(crate) fn caused_by(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Error {
        self.0.source = Some(source.into());
        self
    }

    pub(crate) fn with_points(mut self, points: PointRange) -> Error {
        self.0.points = Some(points);
        self
    }

    /// Which points in time can be had, of an error of kind [`ErrorKind::OutOfRange`].
    #[must_use]
    pub fn points(&self) -> Option<PointRange> {
        self.0.points
    }

    /// What to do about it.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The file at fault, when there is one: relative to the directory of the database, or of the backup that is written.
    /// Where the directory itself cannot be opened, its path as it was given.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        self.0.path.as_deref()
    }

    /// The offset in that file, in bytes, when it is known.
    #[must_use]
    pub fn offset(&self) -> Option<u64> {
        self.0.offset
    }

    /// For [`ErrorKind::Lagged`], the lowest number that
    /// [`changes_since`](crate::WarpEngine::changes_since) takes: it begins with the oldest change that there is.
    #[must_use]
    pub fn oldest_seq(&self) -> Option<Seq> {
        self.0.oldest_seq
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)?;
        if let Some(path) = &self.0.path {
            write!(f, " in {}", path.display())?;
        }
        if let Some(offset) = self.0.offset {
            write!(f, " at offset {offset}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|source| source as _)
    }
}

impl From<Error> for io::Error {
    fn from(error: Error) -> io::Error {
        let kind = match error.kind() {
            ErrorKind::Invalid | ErrorKind::OutOfRange => io::ErrorKind::InvalidInput,
            ErrorKind::NotFound => io::ErrorKind::NotFound,
            ErrorKind::Locked | ErrorKind::Busy => io::ErrorKind::WouldBlock,
            ErrorKind::Corrupt => io::ErrorKind::InvalidData,
            ErrorKind::Full => io::ErrorKind::StorageFull,
            ErrorKind::ReadOnly => io::ErrorKind::ReadOnlyFilesystem,
            ErrorKind::Unsupported => io::ErrorKind::Unsupported,
            _ => io::ErrorKind::Other,
        };
        io::Error::new(kind, error)
    }
}

/// An error's message with those of its causes.
pub(crate) fn chain(error: &(dyn StdError + 'static)) -> String {
    let causes = std::iter::successors(error.source(), |&cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

/// An error of the directory itself, before any file of it is touched.
pub(crate) fn directory_error(what: &'static str, source: io::Error) -> Error {
    let kind = match source.kind() {
        io::ErrorKind::NotFound => ErrorKind::NotFound,
        io::ErrorKind::WouldBlock => ErrorKind::Locked,
        _ if warp_io::is_full(&source) => ErrorKind::Full,
        _ => ErrorKind::Io,
    };
    Error::new(kind, what).caused_by(source)
}
