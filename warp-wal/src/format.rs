//! The sizes that the format is made of, and the arithmetic on them. `docs/format/wal.md` is the description.

use crate::options::{Format, SEGMENT_BYTES_MIN};

/// Version of the format that is written, and the newest one that is read.
pub(crate) const VERSION: u16 = 1;
/// The unit of space: the segment header takes one block, and a frame that follows a sync starts at one.
pub(crate) const BLOCK_BYTES: u64 = BLOCK_LEN as u64;
/// The same, as the length of a buffer.
pub(crate) const BLOCK_LEN: usize = 4096;
/// Every frame starts at a multiple of this, which is where a reader looks for frames behind damage.
pub(crate) const FRAME_ALIGN_BYTES: usize = 64;
/// Size of a binary frame header.
pub(crate) const BINARY_FRAME_HEADER_BYTES: usize = 64;
/// Size of a JSON frame header, its newline included.
pub(crate) const JSON_FRAME_HEADER_BYTES: usize = 248;
/// Groups are gathered into frames of about this many bytes; a single larger group makes a larger frame.
pub(crate) const FRAME_PAYLOAD_BYTES: usize = 1 << 20;
/// Largest share of a segment that an ordinary group may take: one over this. What is left over when a group
/// does not fit any more is wasted.
pub(crate) const GROUPS_PER_SEGMENT_MIN: u64 = 4;
/// The segment that a log starts with, in bytes, so that opening is quick.
pub(crate) const FIRST_SEGMENT_BYTES: u64 = 1 << 20;
/// Each segment is at most this many times as large as the one before.
pub(crate) const SEGMENT_GROWTH: u64 = 4;
/// Blocks of a segment that no group can use: its header and a close frame.
pub(crate) const SEGMENT_OVERHEAD_BLOCKS: u64 = 2;

const _: () = assert!(BLOCK_BYTES.is_multiple_of(FRAME_ALIGN_BYTES as u64));
const _: () = assert!(BINARY_FRAME_HEADER_BYTES as u64 <= BLOCK_BYTES);
// The smallest segment holds an ordinary group of the largest size at least once.
const _: () = assert!(
    SEGMENT_BYTES_MIN / BLOCK_BYTES
        >= SEGMENT_OVERHEAD_BLOCKS + 2 * (SEGMENT_BYTES_MIN / BLOCK_BYTES / GROUPS_PER_SEGMENT_MIN)
);
const _: () = assert!(FIRST_SEGMENT_BYTES >= SEGMENT_BYTES_MIN);

impl Format {
    /// Size of a frame header.
    pub(crate) fn frame_header_bytes(self) -> usize {
        match self {
            Format::Binary => BINARY_FRAME_HEADER_BYTES,
            Format::Json => JSON_FRAME_HEADER_BYTES,
        }
    }

    /// What space that holds nothing yet is filled with.
    pub(crate) const fn blank(self) -> u8 {
        match self {
            Format::Binary => 0,
            Format::Json => b'\n',
        }
    }

    /// Blocks that a frame with `payload` bytes takes at most, wherever it starts.
    pub(crate) fn frame_blocks(self, payload: u64) -> u64 {
        blocks(payload.saturating_add(self.frame_header_bytes() as u64))
    }
}

/// How many blocks hold so many bytes.
pub(crate) fn blocks(bytes: u64) -> u64 {
    bytes.div_ceil(BLOCK_BYTES)
}

/// The next place at or behind `offset` where a frame may start.
pub(crate) fn align_frame(offset: u64) -> u64 {
    offset.next_multiple_of(FRAME_ALIGN_BYTES as u64)
}

/// The next block edge at or behind `offset`.
pub(crate) fn align_block(offset: u64) -> u64 {
    offset.next_multiple_of(BLOCK_BYTES)
}

/// Blocks of a segment that ordinary groups of at most `group_blocks_max` can count on.
pub(crate) fn usable_blocks(segment_bytes: u64, group_blocks_max: u64) -> u64 {
    (segment_bytes / BLOCK_BYTES)
        .saturating_sub(SEGMENT_OVERHEAD_BLOCKS)
        .saturating_sub(group_blocks_max.saturating_sub(1))
}

/// Two little-endian bytes. `bytes` holds at least that many from `at`.
pub(crate) fn u16_at(bytes: &[u8], at: usize) -> u16 {
    let mut raw = [0; 2];
    raw.copy_from_slice(&bytes[at..at + 2]);
    u16::from_le_bytes(raw)
}

/// Four little-endian bytes. `bytes` holds at least that many from `at`.
pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut raw = [0; 4];
    raw.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(raw)
}

/// Eight little-endian bytes. `bytes` holds at least that many from `at`.
pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut raw = [0; 8];
    raw.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(raw)
}
