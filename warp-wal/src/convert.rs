//! Rewriting a log in the other form. `docs/format/wal.md`, section "Conversion".
//!
//! Every frame that is part of the log is written again: same kind, sequences, time and watermark, in a segment of the same
//! number. What is no part of it, a torn tail or what lies beyond a stated end, is left out. In place, new files take
//! the places of old ones one by one, newest first, and at each moment the log is whole: a statement in a new segment
//! speaks of an end that is right for the old form of the segment before and for the new one.

use std::collections::BTreeMap;
use std::sync::Arc;

use warp_io::{Dir, File, write_all_at};

use crate::encoded::Encoded;
use crate::entry::{Entry, Kind};
use crate::error::{Error, Result};
use crate::format::{BLOCK_BYTES, BLOCK_LEN, align_block, align_frame};
use crate::frame::{FrameHeader, FrameKind, Statement};
use crate::options::{Format, Recovery, Start};
use crate::payload::{Values, decode, set_seq};
use crate::reader::{Segment, Window};
use crate::recovery::walk_frames;
use crate::report::Trimmed;
use crate::segment::{SegmentHeader, segment_names};

/// What a new segment is called until it is whole.
const NEW_SUFFIX: &str = ".converted";

/// How a log is to be converted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConvertOptions {
    /// The form of all segments afterwards.
    pub format: Format,
    /// As [`LogOptions::compress_values_from`](crate::LogOptions::compress_values_from).
    pub compress_values_from: Option<usize>,
    /// A sequence that is known to have been durable: a log that ends below it is damaged. 0 if none is known.
    pub durable: u64,
}

/// What [`convert`] did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConvertReport {
    /// Segments that were written anew.
    pub segments: u64,
    /// Entries in them.
    pub entries: u64,
    /// Bytes of those segments before.
    pub bytes_before: u64,
    /// Bytes of those segments now.
    pub bytes_after: u64,
    /// The torn tail that was left out, if there was one: it was no part of the log.
    pub trimmed: Option<Trimmed>,
}

/// Rewrites the log in `dir`, which nobody may have open, so that all of its segments have one form. A replay gives the same
/// entries, with the same sequences, times and ends of lives.
///
/// With `out` the new log is written there, and `dir` is left as it is; what is in `out` counts only once this has
/// returned. Without, new files take the places of old ones: whenever a crash comes, the log is whole, part of it perhaps in
/// the other form yet; there has to be space for both forms of all segments.
///
/// ```
/// use warp_wal::{ConvertOptions, Entry, Format, Log, LogOptions};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let scratch = tempfile::tempdir()?;
/// # let path = scratch.path();
/// let log = Log::open(path, LogOptions::default())?;
/// log.append(&[Entry::put(b"key", b"value")])?;
/// log.close()?;
/// drop(log);
/// let dir = warp_io::OsDir::open(path, false)?;
/// let options = ConvertOptions { format: Format::Json, compress_values_from: None, durable: 0 };
/// let report = warp_wal::convert(&dir, None, options)?;
/// assert_eq!((report.segments, report.entries), (1, 1));
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// [`Error::Corrupt`] if anything of the log is damaged, and [`Error::Unsupported`] if it is of a newer version: nothing was
/// changed. [`Error::TooLarge`] if a group is beyond the limit in the other form. [`Error::Invalid`] if there are segments in `out`. [`Error::Io`]; the log is whole all the same.
pub fn convert(dir: &dyn Dir, out: Option<&dyn Dir>, options: ConvertOptions) -> Result<ConvertReport> {
    let start = Start { from: 0, durable: options.durable, near: None };
    let (found, frames) = walk_frames(dir, Recovery::TrimTornTail, start)?;
    if let Some(lost) = found.report.lost.first() {
        return Err(Error::corrupt(&lost.file, lost.offset, lost.found));
    }
    let target = out.unwrap_or(dir);
    if out.is_some() && !segment_names(target)?.is_empty() {
        return Err(Error::Invalid { what: "there is a log in the directory to convert into" });
    }
    remove_leftovers(target)?;
    let mut conversion = Conversion {
        target,
        options,
        in_place: out.is_none(),
        window: Window::default(),
        ends: BTreeMap::new(),
        report: ConvertReport { trimmed: found.report.trimmed.clone(), ..ConvertReport::default() },
    };
    let mut names = Vec::new();
    for (index, segment) in found.segments.iter().enumerate() {
        let own: Vec<FrameHeader> =
            frames.iter().filter(|(of, _)| *of == index).map(|(_, header)| *header).collect();
        if !own.is_empty() && conversion.is_needed(segment) {
            conversion.rewrite(segment, &own)?;
            names.push(segment.name.clone());
        }
    }
    sync(target)?;
    // Newest first, each durable before the next: a segment that states an end is new before the one that ends there.
    for name in names.iter().rev() {
        target.rename(&new_name(name), name).map_err(|source| Error::io(name, 0, source))?;
        sync(target)?;
    }
    Ok(conversion.report)
}

fn new_name(name: &str) -> String {
    format!("{name}{NEW_SUFFIX}")
}

fn sync(dir: &dyn Dir) -> Result<()> {
    dir.sync_dir().map_err(|source| Error::io("", 0, source))
}

/// Removes what a conversion has left that did not come to its end.
fn remove_leftovers(dir: &dyn Dir) -> Result<()> {
    for name in dir.list().map_err(|source| Error::io("", 0, source))? {
        if name.ends_with(&new_name(".log")) {
            dir.remove(&name).map_err(|source| Error::io(&name, 0, source))?;
        }
    }
    Ok(())
}

struct Conversion<'a> {
    target: &'a dyn Dir,
    options: ConvertOptions,
    in_place: bool,
    window: Window,
    /// Where the frames of each new segment end, by number.
    ends: BTreeMap<u64, u64>,
    report: ConvertReport,
}

impl Conversion<'_> {
    /// Whether a segment has the other form, or states an end that has moved.
    fn is_needed(&self, segment: &Segment) -> bool {
        let has_form = segment.identity.is_some_and(|(format, _)| format == self.options.format);
        let is_moved =
            segment.statement.is_some_and(|statement| self.ends.contains_key(&statement.end_segment));
        !self.in_place || !has_form || is_moved
    }

    /// Writes a segment anew, so that it is durable, but not under its own name yet.
    fn rewrite(&mut self, segment: &Segment, frames: &[FrameHeader]) -> Result<()> {
        let name = new_name(&segment.name);
        let file = self.target.create_new(&name).map_err(|source| Error::io(&name, 0, source))?;
        let format = self.options.format;
        let tag = segment.identity.map_or(0, |(_, tag)| tag);
        let mut out = NewSegment { file, name, format, end: BLOCK_BYTES };
        for header in frames {
            let payload = self.payload(segment, header)?;
            // What followed a sync begins a block here, too.
            let is_at_block = header.offset.is_multiple_of(BLOCK_BYTES);
            let offset = if is_at_block { align_block(out.end) } else { align_frame(out.end) };
            let new = FrameHeader {
                tag,
                offset,
                payload_bytes: u32::try_from(payload.len()).unwrap_or(u32::MAX),
                payload_crc: crc32c::crc32c(&payload),
                ..*header
            };
            let mut head = vec![0; format.frame_header_bytes()];
            new.encode(format, &mut head);
            out.fill_to(offset)?;
            out.write(&head)?;
            out.write(&payload)?;
        }
        self.ends.insert(segment.number, out.end);
        out.fill_to(align_block(out.end))?;
        let header = SegmentHeader { format, number: segment.number, tag, capacity: out.end };
        write_all_at(&*out.file, 0, &header.encode())
            .and_then(|()| out.file.sync_data())
            .map_err(|source| Error::io(&out.name, 0, source))?;
        self.report.segments += 1;
        self.report.bytes_before += segment.len;
        self.report.bytes_after += out.end;
        Ok(())
    }

    /// A frame's payload in the new form.
    fn payload(&mut self, segment: &Segment, header: &FrameHeader) -> Result<Vec<u8>> {
        let format = segment.identity.map_or(Format::Binary, |(format, _)| format);
        let payload = segment.payload(&mut self.window, header)?;
        let payload = payload.map_err(|found| Error::corrupt(&segment.name, header.offset, found))?;
        match (header.kind, segment.statement) {
            (FrameKind::Open, Some(statement)) => Ok(self.moved(statement).encode(self.options.format)),
            (FrameKind::Data, _) => {
                let mut groups = Groups { options: self.options, out: Vec::new(), group: None, entries: 0 };
                let mut outcome = Ok(());
                let mut add = |seq: u64, entry: &Entry<'_>| {
                    if outcome.is_ok() {
                        outcome = groups.add(seq, entry);
                    }
                };
                let mut values = Values::default();
                decode(format, payload, header.first_seq, header.groups, &mut values, &mut add)
                    .map_err(|bad| bad.error(&segment.name, header.offset))?;
                outcome?;
                groups.finish()?;
                self.report.entries += groups.entries;
                Ok(groups.out)
            }
            _ => Ok(Vec::new()),
        }
    }

    /// What an open frame states, with the end where it is in the new form of its segment. In place it is right for both
    /// forms, since nothing that counts lies between the two: behind the end of the new form is nothing at all, and what
    /// lies behind that of the old one was given up by the open that stated it.
    fn moved(&self, statement: Statement) -> Statement {
        let Some(end) = self.ends.get(&statement.end_segment) else { return statement };
        let end_offset = if self.in_place { statement.end_offset.max(*end) } else { *end };
        Statement { end_offset, ..statement }
    }
}

/// A segment that is being written.
struct NewSegment {
    file: Arc<dyn File>,
    name: String,
    format: Format,
    end: u64,
}

impl NewSegment {
    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        write_all_at(&*self.file, self.end, bytes)
            .map_err(|source| Error::io(&self.name, self.end, source))?;
        self.end += bytes.len() as u64;
        Ok(())
    }

    /// Writes blank space up to a place less than two blocks away.
    fn fill_to(&mut self, offset: u64) -> Result<()> {
        let blank = [self.format.blank(); BLOCK_LEN];
        while self.end < offset {
            let left = usize::try_from(offset - self.end).unwrap_or(usize::MAX);
            self.write(&blank[..left.min(BLOCK_LEN)])?;
        }
        Ok(())
    }
}

/// An entry that outlives the buffer that it was decoded from.
struct Owned {
    kind: Kind,
    keyspace: u32,
    shard: u16,
    level: u8,
    deadline: u64,
    key: Vec<u8>,
    value: Vec<u8>,
}

/// Groups that are encoded one after the other.
struct Groups {
    options: ConvertOptions,
    out: Vec<u8>,
    /// The group that is being gathered, and its sequence.
    group: Option<(u64, Vec<Owned>)>,
    entries: u64,
}

impl Groups {
    fn add(&mut self, seq: u64, entry: &Entry<'_>) -> Result<()> {
        if self.group.as_ref().is_some_and(|(present, _)| *present != seq) {
            self.finish()?;
        }
        let Entry { kind, keyspace, shard, level, deadline, key, value } = *entry;
        let (key, value) = (key.to_vec(), value.to_vec());
        let (_, group) = self.group.get_or_insert_with(|| (seq, Vec::new()));
        group.push(Owned { kind, keyspace, shard, level, deadline, key, value });
        self.entries += 1;
        Ok(())
    }

    /// Encodes the group that was gathered.
    fn finish(&mut self) -> Result<()> {
        let Some((seq, group)) = self.group.take() else { return Ok(()) };
        let entries = group.iter().map(|owned| Entry {
            kind: owned.kind,
            keyspace: owned.keyspace,
            shard: owned.shard,
            level: owned.level,
            deadline: owned.deadline,
            key: &owned.key,
            value: &owned.value,
        });
        let mut encoded = Encoded::new();
        encoded.fill(self.options.format, self.options.compress_values_from, entries)?;
        set_seq(self.options.format, &mut encoded.bytes, seq);
        self.out.extend_from_slice(&encoded.bytes);
        Ok(())
    }
}
