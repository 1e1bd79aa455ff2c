//! A layer that is mapped: each block is checked when it is first touched.

use std::ops::Range;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use warp_io::MappedBytes;

use super::BLOCKS_TOGETHER;
use crate::error::{Corruption, Result, corrupt};
use crate::format::{BLOCK_BYTES, BLOCKS_PER_PIECE, CHECK_BYTES, Layout, u32_at};

/// One bit for each block of a piece: it was checked since the file was opened.
type CheckedBits = [AtomicU64; BLOCKS_PER_PIECE / 64];

/// A map whose body is only seen through checksums.
#[derive(Debug)]
pub(crate) struct CheckedMap {
    file: String,
    map: MappedBytes,
    /// The same bytes, in the form of which parts can be handed out.
    shared: Bytes,
    layout: Layout,
    /// For each piece of the check array, once it was checked itself, the bits of its blocks. Filled on demand,
    /// so that opening costs eight bytes and a word for every four megabytes.
    pieces: Box<[OnceLock<Box<CheckedBits>>]>,
}

impl CheckedMap {
    /// A map of `layout`, which the caller has checked to be that of the map; so are the bytes from
    /// `layout.pieces_offset` on.
    pub(crate) fn new(file: String, map: MappedBytes, layout: Layout) -> CheckedMap {
        debug_assert_eq!(map.len(), layout.file_bytes);
        let shared = Bytes::from_owner(map.clone());
        let pieces = (0..layout.pieces()).map(|_| OnceLock::new()).collect();
        CheckedMap { file, map, shared, layout, pieces }
    }

    pub(crate) fn file(&self) -> &str {
        &self.file
    }

    pub(crate) fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The bytes of `range`, which lies in the body, after checking those of its blocks that were not checked before.
    #[inline]
    pub(crate) fn checked(&self, range: Range<usize>) -> Result<&[u8]> {
        if range.start < range.end {
            for block in range.start / BLOCK_BYTES..=(range.end - 1) / BLOCK_BYTES {
                if !self.is_checked(block) {
                    self.check_block(block)?;
                }
            }
        }
        Ok(&self.map[range])
    }

    /// Like [`checked`](CheckedMap::checked), as bytes that keep the map alive.
    pub(crate) fn checked_shared(&self, range: Range<usize>) -> Result<Bytes> {
        self.checked(range.clone())?;
        Ok(self.shared.slice(range))
    }

    /// All bytes of the file, for those parts that have checksums of another kind.
    pub(crate) fn unchecked(&self) -> &[u8] {
        &self.map
    }

    /// Asks the system to read the pages of `range` soon.
    pub(crate) fn will_need(&self, range: Range<usize>) {
        self.map.will_need(range);
    }

    /// Checks every block anew, whether it was checked before or not; `false` if `step` said no before the end.
    pub(crate) fn check_all(&self, step: &mut dyn FnMut(u64) -> bool) -> Result<bool> {
        self.check_pieces()?;
        for first in (0..self.layout.blocks()).step_by(BLOCKS_TOGETHER) {
            let last = (first + BLOCKS_TOGETHER).min(self.layout.blocks());
            self.will_need(first * BLOCK_BYTES..(last * BLOCK_BYTES).min(self.layout.body_bytes));
            for block in first..last {
                self.check_block(block)?;
            }
            if !step(((last - first) * BLOCK_BYTES) as u64) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Checks the check array anew.
    pub(crate) fn check_pieces(&self) -> Result<()> {
        (0..self.layout.pieces()).try_for_each(|piece| self.check_piece(piece))
    }

    #[inline]
    fn is_checked(&self, block: usize) -> bool {
        // Relaxed: the bit stands for bytes that never change, and orders nothing else.
        self.pieces[block / BLOCKS_PER_PIECE].get().is_some_and(|bits| {
            bits[block % BLOCKS_PER_PIECE / 64].load(Ordering::Relaxed) & (1 << (block % 64)) != 0
        })
    }

    /// Checks a block, after the piece of the check array that holds its checksum. Two threads may do so at the
    /// same time, with the same result.
    #[cold]
    fn check_block(&self, block: usize) -> Result<()> {
        let piece = block / BLOCKS_PER_PIECE;
        if self.pieces[piece].get().is_none() {
            self.check_piece(piece)?;
        }
        let bits = self.pieces[piece].get_or_init(|| Box::new([const { AtomicU64::new(0) }; _]));
        let expected = u32_at(&self.map, self.layout.checks_offset + block * CHECK_BYTES);
        self.compare(self.layout.block(block), expected)?;
        bits[block % BLOCKS_PER_PIECE / 64].fetch_or(1 << (block % 64), Ordering::Relaxed);
        Ok(())
    }

    fn check_piece(&self, piece: usize) -> Result<()> {
        let expected = u32_at(&self.map, self.layout.pieces_offset + piece * CHECK_BYTES);
        self.compare(self.layout.piece(piece), expected)
    }

    fn compare(&self, range: Range<usize>, expected: u32) -> Result<()> {
        let offset = range.start as u64;
        let found = crc32c::crc32c(&self.map[range]);
        if expected == found {
            Ok(())
        } else {
            Err(corrupt(&self.file, offset, Corruption::BadChecksum { expected, found }))
        }
    }
}
