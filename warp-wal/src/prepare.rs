//! How segments are made before they are used: named, written through, synced, and only then written to.
//!
//! A frame goes into a segment only once its header, its blank space and its name are durable. So a sync of a
//! frame has nothing else to do (a file that grows costs a journal commit at every sync), and space that was
//! admitted is really there.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use warp_io::{Dir, File, write_all_at};

use crate::error::{Error, Result};
use crate::format::{BLOCK_BYTES, SEGMENT_GROWTH};
use crate::options::Format;
use crate::segment::{SegmentHeader, segment_name};

/// How much is written and synced at a time, so that whoever prepares can do other things in between.
const STEP_BYTES: u64 = 4 << 20;
/// How much is written in one call.
const CHUNK_BYTES: u64 = 256 << 10;
/// How long after a failure for want of space the next attempt is made.
pub(crate) const RETRY_INTERVAL: Duration = Duration::from_millis(100);

/// A segment that frames can go into.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) file: Arc<dyn File>,
    pub(crate) name: String,
    pub(crate) tag: u64,
    pub(crate) capacity: u64,
}

/// Makes segments, one at a time, in the order of their numbers.
#[derive(Debug)]
pub(crate) struct Preparer {
    dir: Arc<dyn Dir>,
    format: Format,
    seed: u64,
    next_number: u64,
    /// Size of the next segment.
    pub(crate) next_bytes: u64,
    bytes_max: u64,
    partial: Option<Partial>,
    /// No attempt is made before this time.
    pub(crate) retry_at: Option<Duration>,
}

/// A segment that is being made.
#[derive(Debug)]
struct Partial {
    segment: Prepared,
    written: u64,
}

impl Preparer {
    pub(crate) fn new(
        dir: Arc<dyn Dir>,
        format: Format,
        seed: u64,
        next_number: u64,
        first_bytes: u64,
        bytes_max: u64,
    ) -> Preparer {
        Preparer {
            dir,
            format,
            seed,
            next_number,
            next_bytes: first_bytes,
            bytes_max,
            partial: None,
            retry_at: None,
        }
    }

    pub(crate) fn in_progress(&self) -> bool {
        self.partial.is_some()
    }

    /// Goes on with the next segment, by one step. Returns it once it is done. After an error there is nothing
    /// left of it, and its number is not used again.
    pub(crate) fn step(&mut self) -> Result<Option<Prepared>> {
        let done = self.step_of(self.next_bytes)?;
        if done.is_some() {
            self.grow();
        }
        Ok(done)
    }

    /// Makes the next segment larger, up to the largest.
    pub(crate) fn grow(&mut self) {
        self.next_bytes = self.next_bytes.saturating_mul(SEGMENT_GROWTH).min(self.bytes_max);
    }

    /// Makes a segment of so many bytes at once. One that was being made is given up, since this one's number
    /// is higher.
    pub(crate) fn make(&mut self, bytes: u64) -> Result<Prepared> {
        self.give_up();
        loop {
            if let Some(done) = self.step_of(bytes)? {
                return Ok(done);
            }
        }
    }

    /// Removes a segment that nothing was written to. Its name may come back after a crash, empty.
    pub(crate) fn discard(&self, segment: &Prepared) {
        if let Err(error) = self.dir.remove(&segment.name) {
            tracing::warn!(segment = segment.name, %error, "an unused log segment could not be removed");
        }
    }

    /// Removes what there is of the segment that is being made.
    pub(crate) fn give_up(&mut self) {
        if let Some(partial) = self.partial.take() {
            self.discard(&partial.segment);
        }
    }

    /// Gives a segment that nothing was written to the next number.
    pub(crate) fn renumber(&mut self, segment: &mut Prepared) -> Result<()> {
        let header = self.next_header(segment.capacity);
        let name = segment_name(header.number);
        // A crash in between leaves a header that does not fit the name, and so a segment without frames.
        write_all_at(&*segment.file, 0, &header.encode())
            .and_then(|()| segment.file.sync_data())
            .and_then(|()| self.dir.rename(&segment.name, &name))
            .map_err(|source| Error::io(&segment.name, 0, source))?;
        *segment =
            Prepared { file: Arc::clone(&segment.file), name, tag: header.tag, capacity: header.capacity };
        Ok(())
    }

    /// Makes names durable.
    pub(crate) fn sync_names(&self) -> Result<()> {
        self.dir.sync_dir().map_err(|source| Error::io("", 0, source))
    }

    fn next_header(&mut self, capacity: u64) -> SegmentHeader {
        let number = self.next_number;
        self.next_number += 1;
        SegmentHeader { format: self.format, number, tag: tag(self.seed, number), capacity }
    }

    fn step_of(&mut self, bytes: u64) -> Result<Option<Prepared>> {
        let mut partial = match self.partial.take() {
            Some(partial) => partial,
            None => self.start(bytes)?,
        };
        match self.advance(&mut partial) {
            Ok(false) => {
                self.partial = Some(partial);
                Ok(None)
            }
            Ok(true) => Ok(Some(partial.segment)),
            Err(source) => {
                self.discard(&partial.segment);
                Err(Error::io(&partial.segment.name, partial.written, source))
            }
        }
    }

    fn start(&mut self, bytes: u64) -> Result<Partial> {
        let header = self.next_header(bytes);
        let name = segment_name(header.number);
        let file = self.dir.create_new(&name).map_err(|source| Error::io(&name, 0, source))?;
        let segment = Prepared { file, name, tag: header.tag, capacity: header.capacity };
        let started = segment
            .file
            .allocate(segment.capacity)
            .and_then(|()| write_all_at(&*segment.file, 0, &header.encode()));
        if let Err(source) = started {
            self.discard(&segment);
            return Err(Error::io(&segment.name, 0, source));
        }
        Ok(Partial { segment, written: BLOCK_BYTES })
    }

    /// Writes and syncs the next part; returns whether it was the last one.
    fn advance(&self, partial: &mut Partial) -> io::Result<bool> {
        let segment = &partial.segment;
        let end = segment.capacity.min(partial.written + STEP_BYTES);
        let chunk_bytes = usize::try_from(CHUNK_BYTES.min(end - partial.written)).unwrap_or(usize::MAX);
        let blank = vec![self.format.blank(); chunk_bytes];
        while partial.written < end {
            let rest = usize::try_from(end - partial.written).unwrap_or(usize::MAX);
            let chunk = &blank[..rest.min(blank.len())];
            write_all_at(&*segment.file, partial.written, chunk)?;
            partial.written += chunk.len() as u64;
        }
        segment.file.sync_data()?;
        if partial.written < segment.capacity {
            return Ok(false);
        }
        self.dir.sync_dir()?;
        Ok(true)
    }
}

/// Whether an error only says that there is no space, so that trying again later makes sense.
pub(crate) fn is_full(error: &Error) -> bool {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    match error {
        Error::Io { source, .. } => matches!(source.kind(), StorageFull | QuotaExceeded | FileTooLarge),
        Error::Full => true,
        _ => false,
    }
}

/// Sum of what `share` says of each segment.
pub(crate) fn total(segments: &VecDeque<Prepared>, share: impl Fn(&Prepared) -> u64) -> u64 {
    segments.iter().map(share).sum()
}

/// A number that looks random, from a seed and a segment's number: the finalizer of `SplitMix64` (Steele, Lea,
/// Flood: Fast splittable pseudorandom number generators, 2014).
fn tag(seed: u64, number: u64) -> u64 {
    let mut bits = seed.wrapping_add(number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    bits = (bits ^ bits >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ bits >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ bits >> 31
}
