//! What can go wrong, and what the caller can do about it.

use std::io;

/// A result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The system refused a file operation. If it was a write or a sync of the log, the log is poisoned from
    /// here on; what was reported durable before stays so.
    #[error("file operation failed on {file} at offset {offset}")]
    Io {
        /// Name of the file; empty for the directory itself.
        file: String,
        /// Offset in the file, in bytes; 0 where the operation has none.
        offset: u64,
        /// What the system answered.
        #[source]
        source: io::Error,
    },
    /// A file holds something that this crate did not write, below what is known to have been durable.
    /// [`Recovery::Salvage`](crate::Recovery::Salvage) reads what is left.
    #[error("log file {file} is corrupt at offset {offset}: {found}")]
    Corrupt {
        /// Name of the file; where a whole file is missing, the one before which it belongs.
        file: String,
        /// Offset in the file, in bytes.
        offset: u64,
        /// What was found there.
        found: Corruption,
    },
    /// A file was written by a newer version of this crate. Nothing was changed.
    #[error("log file {file} at offset {offset} needs a newer version: {what} {number}")]
    Unsupported {
        /// Name of the file.
        file: String,
        /// Offset in the file, in bytes.
        offset: u64,
        /// What is not known: "version", "format", "frame kind", "entry kind", "entry flags".
        what: &'static str,
        /// Its number.
        number: u64,
    },
    /// A key, a value or a group is above its limit. Nothing was written.
    #[error("{what} of {bytes} bytes is above the limit of {limit}")]
    TooLarge {
        /// What is too large: "key", "value", "group".
        what: &'static str,
        /// Its size in bytes.
        bytes: u64,
        /// The limit in bytes.
        limit: u64,
    },
    /// There is no space for it on disk. Nothing was written; removing segments, or space that appears
    /// elsewhere, lets the log go on.
    #[error("no space on disk for the log")]
    Full,
    /// There is no room at this moment, and the caller did not want to wait. Nothing was written.
    #[error("the log's buffer is full at this moment")]
    Busy,
    /// An earlier write or sync failed, so that nothing more is written. Close the log and open it again.
    #[error("an earlier write or sync of the log failed")]
    Poisoned,
    /// The log was closed. Nothing was written.
    #[error("the log is closed")]
    Closed,
    /// Entries that were asked for are not in the log any more: their segments were removed.
    #[error("entries that come next were removed; the log begins at sequence {oldest}")]
    Lagged {
        /// The oldest sequence that can be had.
        oldest: u64,
    },
    /// An argument makes no sense. Nothing was written.
    #[error("invalid argument: {what}")]
    Invalid {
        /// What is wrong with it.
        what: &'static str,
    },
}

/// What a damaged place looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Corruption {
    /// Where a header should be there is none.
    #[error("no header")]
    BadMagic,
    /// The bytes are not those that the checksum was made of.
    #[error("checksum {found:#010x} instead of {expected:#010x}")]
    BadChecksum {
        /// The checksum that the file states.
        expected: u32,
        /// The checksum of the bytes that are there.
        found: u32,
    },
    /// A header is whole but belongs to another place: another segment, or another offset.
    #[error("a header that belongs elsewhere")]
    Misplaced,
    /// A length reaches outside of what contains it.
    #[error("a length that is out of range")]
    LengthOutOfRange,
    /// The bytes are those that were written, but are not a sequence of entries.
    #[error("content that does not decode")]
    Malformed,
    /// Sequence numbers that are known to have been durable are not there.
    #[error("sequence {expected} is missing, {found} follows")]
    MissingSequence {
        /// The first number that is missing.
        expected: u64,
        /// The number that was found in its place.
        found: u64,
    },
    /// The log ends although more is known to have been durable.
    #[error("the log ends before sequence {expected}, although {durable} was durable")]
    EndsEarly {
        /// The first number that is missing.
        expected: u64,
        /// The highest number that is known to have been durable.
        durable: u64,
    },
    /// The end of the log was not written completely (only with [`Recovery::Strict`](crate::Recovery::Strict)).
    #[error("an incomplete last write")]
    TornTail,
}

impl Error {
    /// The file at fault, if one is.
    #[must_use]
    pub fn file(&self) -> Option<&str> {
        match self {
            Error::Io { file, .. } | Error::Corrupt { file, .. } | Error::Unsupported { file, .. } => {
                Some(file)
            }
            _ => None,
        }
    }

    /// Where in that file, in bytes, if that is known.
    #[must_use]
    pub fn offset(&self) -> Option<u64> {
        match self {
            Error::Io { offset, .. } | Error::Corrupt { offset, .. } => Some(*offset),
            _ => None,
        }
    }

    /// An [`Error::Io`].
    pub(crate) fn io(file: &str, offset: u64, source: io::Error) -> Error {
        Error::Io { file: file.to_owned(), offset, source }
    }

    /// An [`Error::Corrupt`].
    pub(crate) fn corrupt(file: &str, offset: u64, found: Corruption) -> Error {
        Error::Corrupt { file: file.to_owned(), offset, found }
    }
}
