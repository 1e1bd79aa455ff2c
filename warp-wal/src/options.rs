//! How a log is to behave.

use std::time::Duration;

/// Smallest segment, in bytes: room for a header, an open and a close frame, and a few groups.
pub const SEGMENT_BYTES_MIN: u64 = 64 << 10;
/// Largest segment that can be asked for, in bytes. A single larger group still gets one of its own size.
pub const SEGMENT_BYTES_MAX: u64 = 1 << 32;
/// Smallest ring, in bytes.
pub const BUFFER_BYTES_MIN: usize = 16 << 10;
/// Largest ring, in bytes.
pub const BUFFER_BYTES_MAX: usize = 1 << 30;

/// In which form entries are written. Either is durable and lossless; one directory may hold both.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// Little-endian fields and raw bytes.
    Binary,
    /// Text from the first byte to the last: one JSON object a line.
    Json,
}

/// How a log is to behave. Values outside their limits are an error when the log is opened.
#[derive(Clone, Debug)]
pub struct LogOptions {
    /// The form of new segments.
    pub format: Format,
    /// Size of a segment, in bytes, from [`SEGMENT_BYTES_MIN`] to [`SEGMENT_BYTES_MAX`], rounded up to 4 KiB.
    /// The first ones after opening are smaller.
    pub segment_bytes: u64,
    /// Size of the ring between writers and the disk, in bytes, from [`BUFFER_BYTES_MIN`] to
    /// [`BUFFER_BYTES_MAX`], rounded up to a power of two.
    pub buffer_bytes: usize,
    /// Values of at least this many bytes are compressed with LZ4 where that saves at least an eighth; `None`
    /// for never. JSON segments hold values as they are.
    pub compress_values_from: Option<usize>,
    /// How old unsynced bytes may become before [`Log::tick`](crate::Log::tick) syncs them, and how long after
    /// a sync with nothing to follow the watermark is written. `Duration::MAX` for never.
    pub flush_interval: Duration,
    /// How old appended bytes may become before [`Log::tick`](crate::Log::tick) hands them to the system.
    pub write_interval: Duration,
    /// Where the random tags of new segments come from: the same seed, the same bytes.
    pub seed: u64,
}

impl Default for LogOptions {
    fn default() -> LogOptions {
        LogOptions {
            format: Format::Binary,
            segment_bytes: 64 << 20,
            buffer_bytes: 8 << 20,
            compress_values_from: Some(1024),
            flush_interval: Duration::from_millis(100),
            write_interval: Duration::from_millis(10),
            seed: 0,
        }
    }
}

/// What recovery may do about damage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Recovery {
    /// Any damage is an error, an incomplete last write included.
    Strict,
    /// An incomplete last write, none of it known to have been durable, is dropped and reported. Any other
    /// damage is an error.
    #[default]
    TrimTornTail,
    /// Damage is skipped, and what was lost with it is listed.
    Salvage,
}

/// What the caller knows about the log before it is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Start {
    /// Entries below this sequence are not handed out, nor need to exist. 0: begin with the oldest segment
    /// that there is, whatever it holds.
    pub from: u64,
    /// A sequence that is known to have been durable: a log that ends below it is corrupt. 0 if none is known.
    pub durable: u64,
    /// A frame that begins at or before `from`, as [`Log::last_frame`](crate::Log::last_frame) named it: the log is read from
    /// there on, and not from the beginning of its segment. Only a hint: where there is no such frame, it is as if there
    /// were none.
    pub near: Option<Position>,
}

/// Where a frame begins in a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// The number of the segment.
    pub segment: u64,
    /// The place in it, in bytes.
    pub offset: u64,
}

/// Where a replay ends: behind the last group that lies within both bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Until {
    /// The last sequence that is handed out.
    pub seq: u64,
    /// Groups of frames that were written later than this are not handed out, in milliseconds since the Unix epoch.
    pub time: u64,
}

impl Default for Until {
    /// The end of the log.
    fn default() -> Until {
        Until { seq: u64::MAX, time: u64::MAX }
    }
}

/// How a write asks to be admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Admit {
    /// It may use the space that is kept for what frees space: deletions, floors.
    pub reserve: bool,
    /// Wait for room in the ring; otherwise [`Error::Busy`](crate::Error::Busy).
    pub wait: bool,
}

impl Default for Admit {
    fn default() -> Admit {
        Admit { reserve: false, wait: true }
    }
}
