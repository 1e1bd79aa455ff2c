//! How segments are made before they are used: named, written through, synced, and only then written to.
//!
//! A frame goes into a segment only once its header, its blank space and its name are durable. So a sync of a
//! frame has nothing else to do (a file that grows costs a journal commit at every sync), and space that was
//! admitted is really there.
//!
//! Where writers come faster than segments can be written through, a segment is taken with its space reserved only,
//! which reads as zeros: its bytes go to the disk once and not twice, and its first syncs cost a little more.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use warp_io::{Dir, File, write_all_at};

use crate::error::{Error, Result};
use crate::format::{BLOCK_BYTES, SEGMENT_GROWTH};
use crate::options::Format;
use crate::segment::{SegmentHeader, segment_name};
use crate::spares::{Spare, Spares};

/// How much is written and synced at a time, so that whoever prepares can do other things in between.
const STEP_BYTES: u64 = 1 << 20;
/// How much is written in one call.
const CHUNK_BYTES: u64 = 256 << 10;
/// How long after a failure for want of space or of file handles the next attempt is made.
pub(crate) const RETRY_INTERVAL: Duration = Duration::from_millis(100);

/// A segment that frames can go into.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) file: Arc<dyn File>,
    pub(crate) name: String,
    pub(crate) number: u64,
    pub(crate) tag: u64,
    pub(crate) capacity: u64,
}

impl SegmentHeader {
    /// The segment of that header, in `file`, which has that name.
    fn prepared(&self, file: Arc<dyn File>, name: String) -> Prepared {
        Prepared { file, name, number: self.number, tag: self.tag, capacity: self.capacity }
    }
}

/// Makes segments, one at a time, in the order of their numbers.
#[derive(Debug)]
pub(crate) struct Preparer {
    dir: Arc<dyn Dir>,
    spares: Arc<Spares>,
    format: Format,
    seed: u64,
    next_number: u64,
    /// Size of the next segment.
    pub(crate) next_bytes: u64,
    bytes_max: u64,
    partial: Option<Partial>,
    /// No attempt is made before this time.
    pub(crate) retry_at: Option<Duration>,
    /// When the last step of a tick ended, and how long it took.
    pub(crate) stepped: Duration,
    pub(crate) step_took: Duration,
}

/// A segment that is being made.
#[derive(Debug)]
struct Partial {
    segment: Prepared,
    written: u64,
    /// All of its space is reserved, and is blank as it is.
    is_blank: bool,
    /// The segment's name, if its file has that of a spare until it is done.
    becomes: Option<String>,
}

impl Preparer {
    pub(crate) fn new(
        dir: Arc<dyn Dir>,
        spares: Arc<Spares>,
        format: Format,
        seed: u64,
        next_number: u64,
        first_bytes: u64,
        bytes_max: u64,
    ) -> Preparer {
        Preparer {
            dir,
            spares,
            format,
            seed,
            next_number,
            next_bytes: first_bytes,
            bytes_max,
            partial: None,
            retry_at: None,
            stepped: Duration::ZERO,
            step_took: Duration::ZERO,
        }
    }

    pub(crate) fn in_progress(&self) -> bool {
        self.partial.is_some()
    }

    /// Goes on with the next segment, by one step; if there is `haste` it is not written through any further. Returns
    /// it once it is done. After an error there is nothing left of it, and its number is not used again.
    pub(crate) fn step(&mut self, haste: bool) -> Result<Option<Prepared>> {
        let done = self.step_of(self.next_bytes, haste)?;
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
            if let Some(done) = self.step_of(bytes, false)? {
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
        *segment = header.prepared(Arc::clone(&segment.file), name);
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

    fn step_of(&mut self, bytes: u64, haste: bool) -> Result<Option<Prepared>> {
        // Who is in haste does not wait for a file to be written through, as a spare has to be.
        let without_spares = haste && self.format.blank() == 0;
        let mut partial = match self.partial.take() {
            Some(Partial { segment, becomes: Some(_), .. }) if without_spares => {
                self.spares.keep(Spare { name: segment.name, bytes: segment.capacity });
                self.start(bytes, true)?
            }
            Some(partial) => partial,
            None => self.start(bytes, without_spares)?,
        };
        match self.advance(&mut partial, haste) {
            Ok(false) => {
                self.partial = Some(partial);
                Ok(None)
            }
            Ok(true) => Ok(Some(partial.segment)),
            Err(error) if partial.becomes.is_some() => {
                // Of a spare nothing is needed: the next step makes a file.
                tracing::warn!(%error, file = partial.segment.name, "a spare log segment cannot be used");
                self.discard(&partial.segment);
                Ok(None)
            }
            Err(source) => {
                self.discard(&partial.segment);
                Err(Error::io(&partial.segment.name, partial.written, source))
            }
        }
    }

    fn start(&mut self, bytes: u64, without_spares: bool) -> Result<Partial> {
        let started = self.try_start(bytes, without_spares);
        // What is kept for later is space as well.
        let is_short = started.as_ref().is_err_and(is_full);
        if is_short && self.spares.remove_all(&*self.dir) { self.try_start(bytes, true) } else { started }
    }

    fn try_start(&mut self, bytes: u64, without_spares: bool) -> Result<Partial> {
        let header = self.next_header(bytes);
        let name = segment_name(header.number);
        let spare = if without_spares { None } else { self.start_from_spare(&name, &header) };
        if let Some(partial) = spare {
            return Ok(partial);
        }
        let file = self.dir.create_new(&name).map_err(|source| Error::io(&name, 0, source))?;
        let segment = header.prepared(file, name);
        let started = allocate(&*segment.file, segment.capacity).and_then(|is_reserved| {
            write_all_at(&*segment.file, 0, &header.encode())?;
            Ok(is_reserved)
        });
        match started {
            Ok(is_reserved) => {
                let is_blank = is_reserved && self.format.blank() == 0;
                Ok(Partial { segment, written: BLOCK_BYTES, is_blank, becomes: None })
            }
            Err(source) => {
                self.discard(&segment);
                Err(Error::io(&segment.name, 0, source))
            }
        }
    }

    /// Starts in a spare, if there is one that can be written to.
    fn start_from_spare(&self, name: &str, header: &SegmentHeader) -> Option<Partial> {
        let spare = self.spares.take(header.capacity)?;
        let started = self.dir.open(&spare.name, true).and_then(|file| {
            write_all_at(&*file, 0, &header.encode())?;
            Ok(file)
        });
        let file = started.inspect_err(|_| drop(self.dir.remove(&spare.name))).ok()?;
        let segment = header.prepared(file, spare.name);
        Some(Partial { segment, written: BLOCK_BYTES, is_blank: false, becomes: Some(name.to_owned()) })
    }

    /// Writes and syncs the next part, or what there is if there is haste; returns whether it was the last one.
    fn advance(&self, partial: &mut Partial, haste: bool) -> io::Result<bool> {
        let segment = &partial.segment;
        if haste && partial.is_blank {
            segment.file.sync_data()?;
            return self.name(partial);
        }
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
        self.name(partial)
    }

    /// Gives a segment that is written its name, if it has another one, and makes it durable.
    fn name(&self, partial: &mut Partial) -> io::Result<bool> {
        if let Some(name) = &partial.becomes {
            self.dir.rename(&partial.segment.name, name)?;
            partial.segment.name.clone_from(name);
            partial.becomes = None;
        }
        self.dir.sync_dir()?;
        Ok(true)
    }
}

/// Reserves space; a signal that comes meanwhile changes nothing.
fn allocate(file: &dyn File, bytes: u64) -> io::Result<bool> {
    loop {
        match file.allocate(bytes) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            answer => return answer,
        }
    }
}

/// Whether an error says that the process or the system has as many files open as it may: others may close some.
pub(crate) fn is_out_of_handles(error: &Error) -> bool {
    matches!(error, Error::Io { source, .. } if warp_io::is_out_of_handles(source))
}

/// Whether an error only says that there is no space, so that trying again later makes sense.
pub(crate) fn is_full(error: &Error) -> bool {
    match error {
        Error::Io { source, .. } => warp_io::is_full(source),
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
