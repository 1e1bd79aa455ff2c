//! What can go wrong, and where.

use std::io;

use crate::recover::Rejected;

/// What the functions of this crate return.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a layer or a manifest could not be written, read, or believed.
///
/// `file` is a name in the directory that was handed in, such as `17.warp` or `MANIFEST-3`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The system refused a file operation.
    #[error("file operation on {file} failed")]
    Io {
        /// The file's name; empty where the operation was on the directory itself.
        file: String,
        /// Where in the file, in bytes, if it was a read of a layer that is not mapped.
        offset: Option<u64>,
        /// What the system answered.
        #[source]
        source: io::Error,
    },
    /// The file's bytes are not what was written. Other parts of the file may still be good.
    #[error("{file} is damaged at byte {offset}: {found}")]
    Corrupt {
        /// The file's name.
        file: String,
        /// Where the damaged block or the field that cannot be right begins.
        offset: u64,
        /// What is wrong there.
        found: Corruption,
    },
    /// The file is whole, but of a version that this program does not know. A newer program wrote it.
    #[error("{file} has format version {version}, which this program cannot read")]
    Unsupported {
        /// The file's name.
        file: String,
        /// The version that the file states.
        version: u16,
    },
    /// The key is longer than [`KEY_BYTES_MAX`](crate::KEY_BYTES_MAX). Nothing was written.
    #[error("a key of {bytes} bytes is too long")]
    KeyTooLong {
        /// Length of the key.
        bytes: usize,
    },
    /// The value is longer than [`VALUE_BYTES_MAX`](crate::VALUE_BYTES_MAX). Nothing was written.
    #[error("a value of {bytes} bytes is too long")]
    ValueTooLong {
        /// Length of the value.
        bytes: usize,
    },
    /// The layer holds [`ENTRIES_MAX`](crate::ENTRIES_MAX) entries already. Nothing was written.
    #[error("{file} has no room for another entry")]
    LayerFull {
        /// The file's name.
        file: String,
    },
    /// A key was added to a layer more than once. The layer was not made.
    #[error("a key of hash {hash:#018x} was added to {file} twice")]
    DuplicateKey {
        /// The file's name.
        file: String,
        /// The hash of the key.
        hash: u64,
    },
    /// An earlier operation of this writer failed, after which it writes nothing more. Drop it and start anew.
    #[error("an earlier write to {file} failed")]
    WriterFailed {
        /// The file's name.
        file: String,
    },
    /// The caller had the writer stop before the file was complete.
    #[error("{file} was not completed, as its writer was told")]
    Stopped {
        /// The file's name.
        file: String,
    },
    /// A manifest or advice file of that number, or a larger one, exists. Published files are never replaced.
    #[error("file {number} would not be newer than file {newest}")]
    NotNewer {
        /// The number that was to be published.
        number: u64,
        /// The largest number in the directory.
        newest: u64,
    },
    /// The manifest would be larger than [`MANIFEST_BYTES_MAX`](crate::MANIFEST_BYTES_MAX).
    #[error("a manifest of {bytes} bytes is too large")]
    ManifestTooLarge {
        /// Length of the encoded manifest.
        bytes: usize,
    },
    /// What was learned is more than [`ADVICE_BYTES_MAX`](crate::ADVICE_BYTES_MAX) bytes, or more than
    /// [`ADVICE_SECTIONS_MAX`](crate::ADVICE_SECTIONS_MAX) sections. Nothing was written.
    #[error("advice of {bytes} bytes in {sections} sections is too large")]
    AdviceTooLarge {
        /// Length of the file, or of all sections.
        bytes: usize,
        /// How many sections.
        sections: usize,
    },
    /// A section's name is empty, too long, has a zero byte, or is that of another section. Nothing was written.
    #[error("{name:?} cannot name a section")]
    BadSectionName {
        /// The name.
        name: String,
    },
    /// There are manifests, and none of them can be used.
    #[error("none of the {} manifests can be used", rejected.len())]
    NoUsableManifest {
        /// Every manifest with its fault, newest first.
        rejected: Vec<Rejected>,
    },
}

impl Error {
    /// The name of the file that the error is about, if it is about one.
    #[must_use]
    pub fn file(&self) -> Option<&str> {
        match self {
            Error::Io { file, .. }
            | Error::Corrupt { file, .. }
            | Error::Unsupported { file, .. }
            | Error::LayerFull { file }
            | Error::DuplicateKey { file, .. }
            | Error::Stopped { file }
            | Error::WriterFailed { file } => Some(file).filter(|file| !file.is_empty()).map(String::as_str),
            Error::KeyTooLong { .. }
            | Error::ValueTooLong { .. }
            | Error::NotNewer { .. }
            | Error::ManifestTooLarge { .. }
            | Error::AdviceTooLarge { .. }
            | Error::BadSectionName { .. }
            | Error::NoUsableManifest { .. } => None,
        }
    }

    /// Where in the file it is, if the error is about damage or about a part that could not be read.
    #[must_use]
    pub fn offset(&self) -> Option<u64> {
        match self {
            Error::Corrupt { offset, .. } => Some(*offset),
            Error::Io { offset, .. } => *offset,
            _ => None,
        }
    }
}

/// What is wrong with a damaged file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Corruption {
    /// The file does not begin, or does not end, like a file of its kind.
    #[error("not a file of this kind")]
    BadMagic,
    /// The checksum of a header, block or footer is not the one that was written.
    #[error("checksum {found:#010x} instead of {expected:#010x}")]
    BadChecksum {
        /// The checksum that is stored.
        expected: u32,
        /// The checksum of the bytes that are there.
        found: u32,
    },
    /// A length or place reaches further than the file, its section, or the limit of the format.
    #[error("length or place {length} is beyond {limit}")]
    LengthOutOfRange {
        /// The length or place that was read.
        length: u64,
        /// The largest, or the only, one that is possible.
        limit: u64,
    },
    /// The file says that it is another one.
    #[error("number {found} instead of {expected}")]
    WrongNumber {
        /// The number that the file was looked up by.
        expected: u64,
        /// The number that is stored in it.
        found: u64,
    },
    /// The file is about another database.
    #[error("a file of another database")]
    WrongDatabase,
    /// An entry has flags that do not exist or exclude each other.
    #[error("impossible flags {0:#04x}")]
    BadFlags(u8),
    /// The archive of a footer or manifest does not have the structure of one.
    #[error("malformed archive")]
    BadArchive,
    /// A compressed value does not decompress to the length that is stored.
    #[error("value does not decompress")]
    BadCompression,
    /// The index or its directory is not in ascending order.
    #[error("index out of order")]
    OutOfOrder,
    /// A key occurs twice.
    #[error("a key of hash {hash:#018x} occurs twice")]
    DuplicateKey {
        /// The hash of the key.
        hash: u64,
    },
    /// A key that the layer holds is missing from its filter, so that a lookup would not find it.
    #[error("key missing from the filter")]
    MissingFromFilter,
    /// The disk did not give back what had just been written and synced.
    #[error("bytes are not those that were written")]
    NotAsWritten,
    /// A count or sum of the footer is not that of the entries.
    #[error("count {found} instead of {expected}")]
    Miscounted {
        /// What the footer says.
        expected: u64,
        /// What there is.
        found: u64,
    },
}

/// Turns an I/O error into one that names its file.
pub(crate) fn io_at(file: &str) -> impl FnOnce(io::Error) -> Error + '_ {
    move |source| Error::Io { file: file.to_owned(), offset: None, source }
}

/// The error for damage at a place of a file.
pub(crate) fn corrupt(file: &str, offset: u64, found: Corruption) -> Error {
    Error::Corrupt { file: file.to_owned(), offset, found }
}
