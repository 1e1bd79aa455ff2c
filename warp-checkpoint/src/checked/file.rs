//! A layer that is read with `pread`: each block is checked when it comes into the cache.

use std::ops::Range;

use bytes::Bytes;

use super::BLOCKS_TOGETHER;
use crate::error::{Corruption, Result, corrupt};
use crate::format::{BLOCK_BYTES, BLOCKS_PER_PIECE, CHECK_BYTES, Layout, u32_at};
use crate::layer_bytes::LayerBytes;
use crate::raw::RawFile;

/// A range of more blocks than this is read past the cache: a large value would push out much for one read.
const CACHED_BLOCKS_MAX: usize = 8;
/// Blocks that are read at once.
const RUN_BLOCKS: usize = 64;

/// A file whose body is only seen through checksums, a bounded part of it in memory.
#[derive(Debug)]
pub(crate) struct CheckedFile {
    file: RawFile,
    layout: Layout,
    /// The checksums of the pieces of the check array, as they were when the root was checked.
    pieces: Vec<u32>,
    /// The file's number in the cache.
    number: u64,
}

impl CheckedFile {
    /// A file of `layout`, and the checksums of its check array's pieces, both of which the caller has checked.
    pub(crate) fn new(file: RawFile, layout: Layout, pieces: &[u8]) -> CheckedFile {
        debug_assert_eq!(pieces.len(), layout.footer_offset - layout.pieces_offset);
        let pieces = pieces.chunks_exact(CHECK_BYTES).map(|check| u32_at(check, 0)).collect();
        let number = file.cache.add_file();
        CheckedFile { file, layout, pieces, number }
    }

    pub(crate) fn name(&self) -> &str {
        self.file.name()
    }

    pub(crate) fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The bytes of `range`, which lies in the body.
    pub(crate) fn checked(&self, range: Range<usize>) -> Result<LayerBytes<'_>> {
        if range.is_empty() {
            return Ok(LayerBytes::mapped(&[]));
        }
        let first = range.start / BLOCK_BYTES;
        if first == (range.end - 1) / BLOCK_BYTES {
            let start = range.start - first * BLOCK_BYTES;
            return Ok(LayerBytes::read(self.block(first)?.slice(start..start + range.len())));
        }
        Ok(LayerBytes::read(Bytes::from(self.gather(range)?)))
    }

    /// Like [`checked`](CheckedFile::checked), as bytes of their own: a short value must not keep a block in memory.
    pub(crate) fn checked_shared(&self, range: Range<usize>) -> Result<Bytes> {
        let crosses = !range.is_empty() && range.start / BLOCK_BYTES != (range.end - 1) / BLOCK_BYTES;
        if crosses {
            self.gather(range).map(Bytes::from)
        } else {
            Ok(Bytes::copy_from_slice(&self.checked(range)?))
        }
    }

    /// Asks the system to read what of `range` is not in the cache.
    pub(crate) fn will_need(&self, range: Range<usize>) {
        if !range.is_empty() && !self.file.cache.contains(self.number, (range.start / BLOCK_BYTES) as u64) {
            self.file.will_need(range);
        }
    }

    /// Reads and checks every block anew; `false` if `step` said no before the end. The cache is neither asked nor filled.
    pub(crate) fn check_all(&self, step: &mut dyn FnMut(u64) -> bool) -> Result<bool> {
        for piece in 0..self.layout.pieces() {
            let checks = self.read_piece(piece)?;
            let blocks = piece * BLOCKS_PER_PIECE..self.layout.blocks().min((piece + 1) * BLOCKS_PER_PIECE);
            for first in blocks.clone().step_by(BLOCKS_TOGETHER) {
                let last = blocks.end.min(first + BLOCKS_TOGETHER);
                self.read_run(first..last, |_| Ok(checks.clone()), |_, _| ())?;
                if !step(((last - first) * BLOCK_BYTES) as u64) {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    /// Reads the check array anew, and checks it.
    pub(crate) fn check_pieces(&self) -> Result<()> {
        (0..self.layout.pieces()).try_for_each(|piece| self.read_piece(piece).map(drop))
    }

    /// Bytes of the file that nobody checks here.
    pub(crate) fn unchecked(&self, range: Range<usize>) -> Result<LayerBytes<'_>> {
        self.file.read(range).map(LayerBytes::read)
    }

    /// Bytes that lie in several blocks.
    fn gather(&self, range: Range<usize>) -> Result<Vec<u8>> {
        let blocks = range.start / BLOCK_BYTES..(range.end - 1) / BLOCK_BYTES + 1;
        let mut out = Vec::with_capacity(range.len());
        let mut take = |block: usize, bytes: &[u8]| {
            let start = block * BLOCK_BYTES;
            out.extend_from_slice(
                &bytes[range.start.max(start) - start..range.end.min(start + bytes.len()) - start],
            );
        };
        let kept = blocks.len() <= CACHED_BLOCKS_MAX;
        if kept {
            let cached: Option<Vec<Bytes>> =
                blocks.clone().map(|block| self.file.cache.get(self.number, block as u64)).collect();
            if let Some(cached) = cached {
                blocks.zip(&cached).for_each(|(block, bytes)| take(block, bytes));
                return Ok(out);
            }
        }
        for first in blocks.clone().step_by(RUN_BLOCKS) {
            let run = first..blocks.end.min(first + RUN_BLOCKS);
            self.read_run(
                run,
                |piece| self.piece(piece),
                |block, bytes| {
                    take(block, bytes);
                    if kept {
                        self.file.cache.insert(self.number, block as u64, Bytes::copy_from_slice(bytes));
                    }
                },
            )?;
        }
        Ok(out)
    }

    /// A block of the body.
    fn block(&self, block: usize) -> Result<Bytes> {
        if let Some(bytes) = self.file.cache.get(self.number, block as u64) {
            return Ok(bytes);
        }
        let bytes = self.file.read(self.layout.block(block))?;
        self.compare(
            block * BLOCK_BYTES,
            &bytes,
            self.expected(block, &self.piece(block / BLOCKS_PER_PIECE)?),
        )?;
        self.file.cache.insert(self.number, block as u64, bytes.clone());
        Ok(bytes)
    }

    /// Reads consecutive blocks at once; checks and hands out each. `piece` finds the checksums.
    fn read_run(
        &self,
        blocks: Range<usize>,
        piece: impl Fn(usize) -> Result<Bytes>,
        mut each: impl FnMut(usize, &[u8]),
    ) -> Result<()> {
        if blocks.is_empty() {
            return Ok(());
        }
        let start = blocks.start * BLOCK_BYTES;
        let mut bytes = vec![0; self.layout.block(blocks.end - 1).end - start];
        if self.file.read_into(start, &mut bytes).is_err() {
            // Block by block, so that the error names the one that cannot be read.
            for (block, bytes) in blocks.clone().zip(bytes.chunks_mut(BLOCK_BYTES)) {
                self.file.read_into(block * BLOCK_BYTES, bytes)?;
            }
        }
        for (block, bytes) in blocks.zip(bytes.chunks(BLOCK_BYTES)) {
            self.compare(
                block * BLOCK_BYTES,
                bytes,
                self.expected(block, &piece(block / BLOCKS_PER_PIECE)?),
            )?;
            each(block, bytes);
        }
        Ok(())
    }

    /// The checksum of a block, in the piece that holds it.
    fn expected(&self, block: usize, piece: &[u8]) -> u32 {
        u32_at(piece, block % BLOCKS_PER_PIECE * CHECK_BYTES)
    }

    /// A piece of the check array. In the cache the pieces come behind the blocks.
    fn piece(&self, piece: usize) -> Result<Bytes> {
        let place = (self.layout.blocks() + piece) as u64;
        if let Some(bytes) = self.file.cache.get(self.number, place) {
            return Ok(bytes);
        }
        let bytes = self.read_piece(piece)?;
        self.file.cache.insert(self.number, place, bytes.clone());
        Ok(bytes)
    }

    fn read_piece(&self, piece: usize) -> Result<Bytes> {
        let range = self.layout.piece(piece);
        let bytes = self.file.read(range.clone())?;
        self.compare(range.start, &bytes, self.pieces[piece])?;
        Ok(bytes)
    }

    fn compare(&self, start: usize, bytes: &[u8], expected: u32) -> Result<()> {
        let found = crc32c::crc32c(bytes);
        if expected == found {
            Ok(())
        } else {
            Err(corrupt(self.name(), start as u64, Corruption::BadChecksum { expected, found }))
        }
    }
}
