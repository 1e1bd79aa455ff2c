//! Writes a body from front to back, and computes the checksum of each of its blocks on the way.

use std::io;
use std::sync::Arc;

use warp_io::{File, write_all_at};

use crate::format::BLOCK_BYTES;

/// Bytes that are gathered for one write to the file.
const BUFFER_BYTES: usize = 256 << 10;
const _: () = assert!(BUFFER_BYTES.is_multiple_of(BLOCK_BYTES));

/// Bytes after which the system is asked to write what it was given: enough for one large operation of the disk, and little
/// enough for others not to wait long behind it.
const START_BYTES: u64 = 1 << 20;

/// A body that is written in full.
#[derive(Debug)]
pub(crate) struct Body {
    pub(crate) file: Arc<dyn File>,
    pub(crate) bytes: u64,
    /// The checksum of each block.
    pub(crate) checks: Vec<u32>,
}

/// A file under construction.
#[derive(Debug)]
pub(crate) struct BlockWriter {
    file: Arc<dyn File>,
    /// Bytes that were written; a multiple of a block until the body ends.
    written: u64,
    /// Up to where the system was asked to write.
    started: u64,
    buffer: Vec<u8>,
    checks: Vec<u32>,
}

impl BlockWriter {
    pub(crate) fn new(file: Arc<dyn File>) -> BlockWriter {
        BlockWriter {
            file,
            written: 0,
            started: 0,
            buffer: Vec::with_capacity(BUFFER_BYTES),
            checks: Vec::new(),
        }
    }

    /// Where the next byte goes.
    pub(crate) fn position(&self) -> u64 {
        self.written + self.buffer.len() as u64
    }

    /// Bytes of memory that this holds.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.buffer.capacity() + self.checks.capacity() * size_of::<u32>()
    }

    /// Adds bytes to the body.
    #[inline]
    pub(crate) fn push(&mut self, bytes: &[u8]) -> io::Result<()> {
        if bytes.len() < BUFFER_BYTES - self.buffer.len() {
            self.buffer.extend_from_slice(bytes);
            return Ok(());
        }
        self.push_in_parts(bytes)
    }

    /// Adds bytes that fill the buffer.
    fn push_in_parts(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(BUFFER_BYTES - self.buffer.len()));
            self.buffer.extend_from_slice(now);
            if self.buffer.len() == BUFFER_BYTES {
                self.write_buffer()?;
            }
            bytes = later;
        }
        Ok(())
    }

    /// Adds zeros up to a multiple of `align`, which divides a block.
    pub(crate) fn pad_to(&mut self, align: usize) -> io::Result<()> {
        let behind = self.buffer.len() % align;
        if behind == 0 { Ok(()) } else { self.push(&[0; BLOCK_BYTES][..align - behind]) }
    }

    /// Ends the body: writes what is left.
    pub(crate) fn finish(mut self) -> io::Result<Body> {
        self.write_buffer()?;
        Ok(Body { file: self.file, bytes: self.written, checks: self.checks })
    }

    fn write_buffer(&mut self) -> io::Result<()> {
        self.checks.extend(self.buffer.chunks(BLOCK_BYTES).map(crc32c::crc32c));
        write_all_at(&*self.file, self.written, &self.buffer)?;
        self.written += self.buffer.len() as u64;
        self.buffer.clear();
        if self.written - self.started >= START_BYTES {
            self.file.start_writing(self.started, self.written - self.started);
            self.started = self.written;
        }
        Ok(())
    }
}
