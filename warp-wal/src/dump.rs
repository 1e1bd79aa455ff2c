//! A segment as JSON lines, for people and for other tools.

use std::io::Write;

use warp_io::Dir;

use crate::entry::Entry;
use crate::error::{Corruption, Error, Result};
use crate::format::{BLOCK_BYTES, align_block, align_frame};
use crate::frame::{FrameHeader, FrameKind};
use crate::json::encode_bytes;
use crate::options::Format;
use crate::payload::{Values, decode};
use crate::reader::{Place, Segment, Window};
use crate::report::DumpReport;

/// How often a place is looked at that may be being written.
const LOOKS_MAX: usize = 16;

/// Writes a segment, whatever its form, as one JSON object a line: the segment's header, then each frame's
/// header followed by its entries, and a line for every damaged place. The log may be written to meanwhile.
///
/// # Errors
/// [`Error::Invalid`] if `name` is not the name of a segment; [`Error::Io`] if the segment cannot be read or
/// `out` cannot be written to; [`Error::Unsupported`].
pub fn dump(dir: &dyn Dir, name: &str, out: &mut dyn Write) -> Result<DumpReport> {
    let mut window = Window::default();
    let segment = Segment::open(dir, name.to_owned(), &mut window)?;
    let mut dump = Dump { segment, window, values: Values::default(), out, report: DumpReport::default() };
    dump.run()?;
    Ok(dump.report)
}

struct Dump<'a> {
    segment: Segment,
    window: Window,
    values: Values,
    out: &'a mut dyn Write,
    report: DumpReport,
}

impl Dump<'_> {
    fn run(&mut self) -> Result<()> {
        self.segment_line()?;
        if let Some(found) = self.segment.damage {
            self.damage_line(0, found)?;
        }
        let mut at = BLOCK_BYTES;
        while at < self.segment.len {
            at = match self.settled_place(at)? {
                Place::Frame(header) => {
                    self.frame(&header)?;
                    align_frame(self.segment.end_of(&header))
                }
                Place::Blank if at != align_block(at) => align_block(at),
                Place::Blank => self.next_frame(at)?,
                Place::Damaged(found) => {
                    self.damage_line(at, found)?;
                    self.next_frame(at + 1)?
                }
            };
        }
        Ok(())
    }

    /// What there is at a place: what only looks damaged, since it is being written, is looked at again.
    fn settled_place(&mut self, at: u64) -> Result<Place> {
        let mut place = self.segment.place(&mut self.window, at)?;
        for _ in 0..LOOKS_MAX {
            let is_whole = match place {
                Place::Blank => true,
                Place::Frame(header) => self.segment.payload(&mut self.window, &header)?.is_ok(),
                Place::Damaged(_) => false,
            };
            if is_whole {
                break;
            }
            self.window = Window::default();
            let again = self.segment.place(&mut self.window, at)?;
            if again == place && matches!(place, Place::Damaged(_)) {
                break;
            }
            place = again;
        }
        Ok(place)
    }

    /// The next whole frame from `at` on, or the end.
    fn next_frame(&mut self, at: u64) -> Result<u64> {
        let found = self.segment.search(&mut self.window, at, u64::MAX, 0)?;
        Ok(found.next.map_or(self.segment.len, |header| header.offset))
    }

    fn segment_line(&mut self) -> Result<()> {
        let (format, tag) = match self.segment.identity {
            Some((Format::Binary, tag)) => ("\"binary\"", format!("\"{tag:016x}\"")),
            Some((Format::Json, tag)) => ("\"json\"", format!("\"{tag:016x}\"")),
            None => ("null", "null".to_owned()),
        };
        let (number, bytes) = (self.segment.number, self.segment.len);
        self.line(&format!("{{\"segment\":{number},\"format\":{format},\"tag\":{tag},\"bytes\":{bytes}}}"))
    }

    fn frame(&mut self, header: &FrameHeader) -> Result<()> {
        self.report.frames += 1;
        let kind = match header.kind {
            FrameKind::Data => "data",
            FrameKind::Mark => "mark",
            FrameKind::Open => "open",
            FrameKind::Close => "close",
        };
        let FrameHeader { offset, first_seq, groups, payload_bytes, time, watermark, .. } = header;
        let stated = match self.segment.statement.filter(|_| header.kind == FrameKind::Open) {
            Some(statement) => format!(
                ",\"end_segment\":{},\"end_offset\":{},\"last_seq\":{},\"next_seq\":{},\"salvaged\":{}",
                statement.end_segment,
                statement.end_offset,
                statement.last_seq,
                statement.next_seq,
                statement.salvaged
            ),
            None => String::new(),
        };
        self.line(&format!(
            "{{\"frame\":\"{kind}\",\"offset\":{offset},\"first_seq\":{first_seq},\"groups\":{groups},\
             \"bytes\":{payload_bytes},\"time\":{time},\"watermark\":{watermark}{stated}}}"
        ))?;
        if header.kind == FrameKind::Data { self.entries(header) } else { Ok(()) }
    }

    fn entries(&mut self, header: &FrameHeader) -> Result<()> {
        let start = self.segment.end_of(header) - u64::from(header.payload_bytes);
        let format = self.segment.identity.map_or(Format::Binary, |(format, _)| format);
        let payload = match self.segment.payload(&mut self.window, header)? {
            Ok(payload) => payload,
            Err(found) => return self.damage_line(start, found),
        };
        let mut lines = Vec::new();
        let mut write = |seq: u64, entry: &Entry<'_>| entry_line(seq, entry, &mut lines);
        let decoded = decode(format, payload, header.first_seq, header.groups, &mut self.values, &mut write);
        self.report.entries += lines.iter().filter(|byte| **byte == b'\n').count() as u64;
        self.write(&lines)?;
        match decoded {
            Ok(_) => Ok(()),
            Err(_) => self.damage_line(start, Corruption::Malformed),
        }
    }

    fn damage_line(&mut self, offset: u64, found: Corruption) -> Result<()> {
        self.report.damaged += 1;
        self.line(&format!("{{\"damage\":\"{found}\",\"offset\":{offset}}}"))
    }

    fn line(&mut self, line: &str) -> Result<()> {
        self.write(line.as_bytes())?;
        self.write(b"\n")
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.out.write_all(bytes).map_err(|source| Error::io("", 0, source))
    }
}

fn entry_line(seq: u64, entry: &Entry<'_>, out: &mut Vec<u8>) {
    let Entry { kind, keyspace, shard, level, deadline, key, value } = entry;
    let start = format!(
        "{{\"seq\":{seq},\"kind\":\"{}\",\"keyspace\":{keyspace},\"shard\":{shard},\"level\":{level},\
         \"deadline\":{deadline},\"key\":",
        kind.word()
    );
    out.extend_from_slice(start.as_bytes());
    encode_bytes(key, out);
    out.extend_from_slice(b",\"value\":");
    encode_bytes(value, out);
    out.extend_from_slice(b"}\n");
}
