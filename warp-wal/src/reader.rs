//! Reading segment files: frames at a place, and what there is behind damage.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use warp_io::{Dir, File};

use crate::error::{Corruption, Error, Result};
use crate::format::{BLOCK_BYTES, BLOCK_LEN, FRAME_ALIGN_BYTES, align_frame};
use crate::frame::{FrameHeader, FrameKind, NoFrame, Statement};
use crate::options::{Format, Start, Until};
use crate::segment::{NoHeader, SegmentHeader, segment_names, segment_number};

/// How much is read ahead at first, and twice as much each time: of most segments no more is needed than the beginning.
const FIRST_CHUNK_BYTES: usize = 16 << 10;
/// The most that is read ahead.
const CHUNK_BYTES: usize = 256 << 10;
/// How far before a long walk the disk works meanwhile, in steps of half of it, at first...
const FIRST_AHEAD_BYTES: u64 = 512 << 10;
/// ...and at most, twice as far each time: enough to keep it busy, and little to wait for where the walk soon ends.
const AHEAD_BYTES: u64 = 4 << 20;
const FORMATS: [Format; 2] = [Format::Binary, Format::Json];
static BLANK_BINARY: [u8; BLOCK_LEN] = [Format::Binary.blank(); BLOCK_LEN];
static BLANK_JSON: [u8; BLOCK_LEN] = [Format::Json.blank(); BLOCK_LEN];

/// A segment file that is read.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) name: String,
    pub(crate) number: u64,
    pub(crate) file: Arc<dyn File>,
    /// Size of the file, in bytes.
    pub(crate) len: u64,
    /// What is wrong with its header.
    pub(crate) damage: Option<Corruption>,
    /// The file is shorter than it was when it was prepared, which was before its first frame.
    pub(crate) cut: bool,
    /// The form of its frames and their tag: from the header, or from a frame if the header is damaged.
    pub(crate) identity: Option<(Format, u64)>,
    /// Its first frame.
    pub(crate) first: Option<FrameHeader>,
    /// What that frame states, if it is an open frame.
    pub(crate) statement: Option<Statement>,
}

/// What there is at a place where a frame may start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Frame(FrameHeader),
    /// Prewritten space, or the end of the file.
    Blank,
    Damaged(Corruption),
}

/// What a search found.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Search {
    /// The first frame whose sequence is high enough.
    pub(crate) next: Option<FrameHeader>,
    /// The highest watermark.
    pub(crate) watermark: u64,
    /// Whole frame headers.
    pub(crate) frames: u64,
    /// Where the last byte ends that is not blank; 0 if there is none.
    pub(crate) content_end: u64,
}

/// Bytes of one file that were read ahead.
#[derive(Debug)]
pub(crate) struct Window {
    bytes: Vec<u8>,
    start: u64,
    number: u64,
    /// How much is read ahead the next time.
    chunk_bytes: usize,
    /// Up to where the disk was asked to have the file's bytes soon.
    asked: u64,
    /// How far ahead it is asked the next time.
    ahead: u64,
}

impl Default for Window {
    fn default() -> Window {
        Window {
            bytes: Vec::new(),
            start: 0,
            number: 0,
            chunk_bytes: FIRST_CHUNK_BYTES,
            asked: 0,
            ahead: FIRST_AHEAD_BYTES,
        }
    }
}

impl Window {
    /// Holds nothing from here on, and reads little ahead at first.
    fn forget(&mut self) {
        self.bytes.clear();
        (self.chunk_bytes, self.asked, self.ahead) = (FIRST_CHUNK_BYTES, 0, FIRST_AHEAD_BYTES);
    }

    /// Up to `len` bytes from `offset`; fewer only at the end of the file.
    pub(crate) fn get(&mut self, segment: &Segment, offset: u64, len: usize) -> Result<&[u8]> {
        let left = usize::try_from(segment.len.saturating_sub(offset)).unwrap_or(usize::MAX);
        let len = len.min(left);
        let held = (self.number == segment.number)
            .then(|| offset.checked_sub(self.start))
            .flatten()
            .and_then(|skip| usize::try_from(skip).ok())
            .filter(|skip| skip.checked_add(len).is_some_and(|end| end <= self.bytes.len()));
        if let Some(skip) = held {
            return Ok(&self.bytes[skip..skip + len]);
        }
        if self.number != segment.number {
            (self.number, self.asked) = (segment.number, 0);
        }
        self.start = offset;
        if self.chunk_bytes == CHUNK_BYTES && self.asked < offset + self.ahead / 2 {
            let from = self.asked.max(offset);
            self.asked = offset + self.ahead;
            segment.file.will_need(from, self.asked - from);
            self.ahead = AHEAD_BYTES.min(self.ahead * 2);
        }
        self.bytes.resize(len.max(self.chunk_bytes).min(left), 0);
        self.chunk_bytes = CHUNK_BYTES.min(self.chunk_bytes * 2);
        let filled = read_up_to(&*segment.file, offset, &mut self.bytes)
            .map_err(|source| Error::io(&segment.name, offset, source));
        // After a failure nothing of the buffer counts.
        self.bytes.truncate(*filled.as_ref().unwrap_or(&0));
        filled?;
        Ok(&self.bytes[..len.min(self.bytes.len())])
    }
}

/// Fills `out` from `offset` as far as the file goes.
fn read_up_to(file: &dyn File, offset: u64, out: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < out.len() {
        match file.read_at(offset + filled as u64, &mut out[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// The segments of a log, oldest first, with their headers and first frames.
///
/// Where several directories have a segment of one number, that of the first one counts. What lies between
/// `start` and `until` is there, and what a reader needs around it: the segment in which the first sequence is,
/// the first one behind the end, and those that say where a life ended. So a log of any length takes few handles.
pub(crate) fn open_segments(
    dirs: &[&dyn Dir],
    start: Start,
    until: Until,
    window: &mut Window,
) -> Result<Vec<Segment>> {
    let is_bounded = until != Until::default();
    let mut segments: Vec<Segment> = Vec::new();
    let mut is_behind = false;
    for (name, dirs) in all_names(dirs)? {
        let Some(segment) = open_first(&dirs, &name, window)? else { continue };
        if let Some(first) = segment.first.filter(|_| is_bounded) {
            if first.first_seq <= start.from {
                // The one before shows that there was a log, should this first frame be torn.
                segments.drain(..segments.len().saturating_sub(1));
            }
            if is_behind && segment.statement.is_none() {
                continue;
            }
            is_behind |= until.excludes(&first);
        }
        segments.push(segment);
    }
    Ok(segments)
}

/// The oldest segment that holds a frame.
pub(crate) fn first_segment(dirs: &[&dyn Dir], window: &mut Window) -> Result<Option<Segment>> {
    for (name, dirs) in all_names(dirs)? {
        let segment = open_first(&dirs, &name, window)?;
        if let Some(segment) = segment.filter(|segment| segment.first.is_some()) {
            return Ok(Some(segment));
        }
    }
    Ok(None)
}

/// The names of all segments in several directories, oldest first, each with the directories in which it may be.
fn all_names<'a>(dirs: &[&'a dyn Dir]) -> Result<BTreeMap<String, Vec<&'a dyn Dir>>> {
    let mut all: BTreeMap<String, Vec<&dyn Dir>> = BTreeMap::new();
    for (index, dir) in dirs.iter().enumerate() {
        for name in segment_names(*dir)? {
            // One that is moved to a later directory meanwhile is found there.
            all.entry(name).or_insert_with(|| dirs[index..].to_vec());
        }
    }
    Ok(all)
}

/// Opens a segment in the first of several directories that has it.
fn open_first(dirs: &[&dyn Dir], name: &str, window: &mut Window) -> Result<Option<Segment>> {
    for dir in dirs {
        match Segment::open(*dir, name.to_owned(), window) {
            Ok(segment) => return Ok(Some(segment)),
            // Another thread of this process has removed it meanwhile.
            Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

impl Until {
    /// Whether a frame holds nothing that is within the bounds, nor anything behind it.
    pub(crate) fn excludes(self, frame: &FrameHeader) -> bool {
        frame.first_seq > self.seq || frame.time > self.time
    }
}

impl Segment {
    pub(crate) fn open(dir: &dyn Dir, name: String, window: &mut Window) -> Result<Segment> {
        let file = dir.open(&name, false).map_err(|source| Error::io(&name, 0, source))?;
        let len = file.len().map_err(|source| Error::io(&name, 0, source))?;
        let number = segment_number(&name).ok_or(Error::Invalid { what: "not the name of a segment" })?;
        let (damage, cut, identity) = (None, false, None);
        let mut segment =
            Segment { name, number, file, len, damage, cut, identity, first: None, statement: None };
        // A window that was filled from another file of that number knows nothing of this one.
        window.forget();
        segment.read_header(window)?;
        segment.read_first(window)?;
        Ok(segment)
    }

    fn read_header(&mut self, window: &mut Window) -> Result<()> {
        let block = window.get(self, 0, BLOCK_LEN)?;
        match SegmentHeader::decode(block) {
            Ok(header) if header.number == self.number => {
                self.identity = Some((header.format, header.tag));
                self.cut = self.len < header.capacity;
            }
            Ok(_) => self.damage = Some(Corruption::Misplaced),
            Err(NoHeader::Damaged(found)) => self.damage = Some(found),
            Err(NoHeader::Unsupported(what, number)) => {
                return Err(Error::Unsupported { file: self.name.clone(), offset: 0, what, number });
            }
        }
        Ok(())
    }

    /// Reads the first frame, and what it states.
    fn read_first(&mut self, window: &mut Window) -> Result<()> {
        let Place::Frame(first) = self.place(window, BLOCK_BYTES)? else { return Ok(()) };
        let Some(format) = self.format_of(&first, window)? else { return Ok(()) };
        // A damaged header is replaced by what the first frame says.
        self.identity = Some((format, first.tag));
        self.first = Some(first);
        if first.kind == FrameKind::Open {
            let payload = self.payload(window, &first)?;
            self.statement = payload.ok().and_then(|payload| Statement::decode(format, payload));
            if self.statement.is_none() {
                self.first = None;
            }
        }
        Ok(())
    }

    /// What there is at `offset`.
    pub(crate) fn place(&self, window: &mut Window, offset: u64) -> Result<Place> {
        let mut answer = Place::Blank;
        for format in self.formats() {
            let bytes = window.get(self, offset, format.frame_header_bytes())?;
            if bytes.iter().all(|byte| *byte == 0) {
                // Space that was reserved and, in a JSON segment, is not written through yet.
                return Ok(Place::Blank);
            }
            let found = match FrameHeader::decode(format, bytes) {
                Ok(header) => self.check(&header, format, offset),
                Err(NoFrame::Blank) => Place::Blank,
                Err(NoFrame::Damaged(found)) => Place::Damaged(found),
                Err(NoFrame::UnknownKind(number)) => {
                    let file = self.name.clone();
                    return Err(Error::Unsupported { file, offset, what: "frame kind", number });
                }
            };
            match found {
                Place::Frame(_) => return Ok(found),
                Place::Blank => return Ok(Place::Blank),
                Place::Damaged(_) => answer = found,
            }
        }
        Ok(answer)
    }

    /// The forms that its frames may have.
    fn formats(&self) -> impl Iterator<Item = Format> + use<> {
        let known = self.identity.map(|(format, _)| format);
        FORMATS.into_iter().filter(move |format| known.is_none_or(|known| known == *format))
    }

    /// The form of a frame that was found here.
    fn format_of(&self, header: &FrameHeader, window: &mut Window) -> Result<Option<Format>> {
        for format in self.formats() {
            let bytes = window.get(self, header.offset, format.frame_header_bytes())?;
            if FrameHeader::looks_like(format, bytes) {
                return Ok(Some(format));
            }
        }
        Ok(None)
    }

    /// Whether a whole header belongs where it was found.
    fn check(&self, header: &FrameHeader, format: Format, offset: u64) -> Place {
        let foreign = self.identity.is_some_and(|(_, tag)| tag != header.tag);
        if foreign || header.offset != offset {
            Place::Damaged(Corruption::Misplaced)
        } else if header.end(format) > self.len {
            Place::Damaged(Corruption::LengthOutOfRange)
        } else {
            Place::Frame(*header)
        }
    }

    /// The payload of a frame, if it is what was written.
    pub(crate) fn payload<'w>(
        &self,
        window: &'w mut Window,
        header: &FrameHeader,
    ) -> Result<Result<&'w [u8], Corruption>> {
        let Some((format, _)) = self.identity else { return Ok(Err(Corruption::BadMagic)) };
        let start = header.offset + format.frame_header_bytes() as u64;
        let bytes = window.get(self, start, header.payload_bytes as usize)?;
        if bytes.len() != header.payload_bytes as usize {
            return Ok(Err(Corruption::LengthOutOfRange));
        }
        let found = crc32c::crc32c(bytes);
        if found != header.payload_crc {
            return Ok(Err(Corruption::BadChecksum { expected: header.payload_crc, found }));
        }
        Ok(Ok(bytes))
    }

    /// Where a frame ends.
    pub(crate) fn end_of(&self, header: &FrameHeader) -> u64 {
        self.identity.map_or(self.len, |(format, _)| header.end(format))
    }

    /// Looks for frames from `offset` to `limit`, at every place where one may start. `next` is to be the first
    /// one with a sequence of at least `seq`.
    pub(crate) fn search(
        &mut self,
        window: &mut Window,
        offset: u64,
        limit: u64,
        seq: u64,
    ) -> Result<Search> {
        let mut search = Search::default();
        let mut at = align_frame(offset.max(BLOCK_BYTES));
        let limit = limit.min(self.len);
        while at < limit {
            let step = usize::try_from(BLOCK_BYTES - at % BLOCK_BYTES).unwrap_or(BLOCK_LEN);
            let bytes = window.get(self, at, step)?;
            if self.is_blank_block(bytes) {
                at += step as u64;
                continue;
            }
            if let Some(last) = bytes.iter().rposition(|byte| !self.is_blank(*byte)) {
                search.content_end = at + last as u64 + 1;
            } else {
                at += step as u64;
                continue;
            }
            let block_end = at + step as u64;
            while at < block_end.min(limit) {
                at = self.search_place(window, at, seq, &mut search)?;
            }
        }
        Ok(search)
    }

    /// Looks at one place; returns the next one.
    fn search_place(&mut self, window: &mut Window, at: u64, seq: u64, search: &mut Search) -> Result<u64> {
        let formats: Vec<Format> = self.formats().collect();
        for format in formats {
            let bytes = window.get(self, at, format.frame_header_bytes())?;
            let Ok(header) = FrameHeader::decode(format, bytes) else { continue };
            if !matches!(self.check(&header, format, at), Place::Frame(_)) {
                continue;
            }
            self.identity.get_or_insert((format, header.tag));
            search.frames += 1;
            search.watermark = search.watermark.max(header.watermark);
            search.content_end = search.content_end.max(header.end(format));
            if header.first_seq >= seq {
                search.next.get_or_insert(header);
            }
            return Ok(align_frame(header.end(format)));
        }
        Ok(at + FRAME_ALIGN_BYTES as u64)
    }

    /// Whether a block is as it was prepared, or is yet to be. One comparison of memory: most of a prepared segment is
    /// blank, and an open reads all of it.
    fn is_blank_block(&self, bytes: &[u8]) -> bool {
        bytes == &BLANK_BINARY[..bytes.len()]
            || (self.formats().any(|format| format == Format::Json) && bytes == &BLANK_JSON[..bytes.len()])
    }

    fn is_blank(&self, byte: u8) -> bool {
        byte == 0 || self.formats().any(|format| byte == format.blank())
    }
}
