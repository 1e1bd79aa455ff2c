//! A log that holds nothing and goes on behind a given sequence: what stands beside a checkpoint that has everything.

use warp_io::{Dir, write_all_at};

use crate::error::{Error, Result};
use crate::format::{BLOCK_BYTES, BLOCK_LEN};
use crate::frame::{FrameHeader, FrameKind, Statement};
use crate::options::Format;
use crate::segment::{SegmentHeader, segment_name, segment_names};

/// Its only segment has this number.
const NUMBER: u64 = 1;
/// What the segment is called until it is whole.
const PARTIAL_SUFFIX: &str = ".partial";

/// Writes a log of one segment into `dir`, in which there must be none: one that was closed, holds nothing, and says
/// that it comes after `last_seq`. It is durable, name and all, when this returns; until then there is no segment.
///
/// `time` is the latest time that the log is to know of, in milliseconds since the Unix epoch; `tag` is the random number
/// that frames of the segment carry.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let scratch = tempfile::tempdir()?;
/// # let path = scratch.path();
/// let dir = warp_io::OsDir::open(path, false)?;
/// warp_wal::write_empty(&dir, 41, 1_700_000_000_000, 7)?;
/// assert_eq!(warp_wal::first_seq(&[&dir])?, 42);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// [`Error::Invalid`] if there are segments in `dir`; [`Error::Io`].
pub fn write_empty(dir: &dyn Dir, last_seq: u64, time: u64, tag: u64) -> Result<()> {
    if !segment_names(dir)?.is_empty() {
        return Err(Error::Invalid { what: "there is a log in the directory already" });
    }
    let name = segment_name(NUMBER);
    let partial = format!("{name}{PARTIAL_SUFFIX}");
    // Of an attempt that failed, or that a crash ended. Whether there was one, the next line finds out.
    let _ = dir.remove(&partial);
    let bytes = encode(last_seq, time, tag);
    let written = dir.create_new(&partial).and_then(|file| {
        write_all_at(&*file, 0, &bytes)?;
        file.sync_data()
    });
    if written.is_err() {
        // What cannot be removed now is removed by the next attempt.
        let _ = dir.remove(&partial);
    }
    written
        .and_then(|()| dir.rename(&partial, &name))
        .and_then(|()| dir.sync_dir())
        .map_err(|source| Error::io(&name, 0, source))
}

/// The header, an open frame, and a close frame, each in a block of its own.
fn encode(last_seq: u64, time: u64, tag: u64) -> Vec<u8> {
    let next_seq = last_seq.saturating_add(1);
    let statement = Statement { end_segment: 0, end_offset: 0, last_seq, next_seq, salvaged: false };
    let format = Format::Binary;
    let capacity = 3 * BLOCK_BYTES;
    let mut out = SegmentHeader { format, number: NUMBER, tag, capacity }.encode();
    for (kind, payload) in [(FrameKind::Open, statement.encode(format)), (FrameKind::Close, Vec::new())] {
        let start = out.len();
        let header = FrameHeader {
            kind,
            tag,
            offset: start as u64,
            first_seq: next_seq,
            groups: 0,
            payload_bytes: u32::try_from(payload.len()).unwrap_or(u32::MAX),
            payload_crc: crc32c::crc32c(&payload),
            time,
            watermark: last_seq,
        };
        out.resize(start + BLOCK_LEN, format.blank());
        let head = format.frame_header_bytes();
        header.encode(format, &mut out[start..start + head]);
        out[start + head..start + head + payload.len()].copy_from_slice(&payload);
    }
    out
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use warp_io::{SimClock, SimDisk, Survival};

    use super::*;
    use crate::deliver::Apply;
    use crate::log::Log;
    use crate::options::{LogOptions, Recovery, Start};

    fn open(disk: &SimDisk, start: Start) -> Result<(Log, crate::ReplayReport)> {
        let clock = Arc::new(SimClock::new(1));
        let (options, recovery) = (LogOptions::default(), Recovery::Strict);
        let apply = Apply::InOrder(&mut |_, _| panic!("there is nothing in it"));
        Log::open_in(&disk.root(), clock, options, recovery, start, apply, &mut |_, _| {})
    }

    /// It goes on behind the sequence, or behind a later one that a checkpoint knows to be durable, and not before it.
    #[test]
    fn an_empty_log_goes_on_where_it_says() {
        for (from, durable, next) in [(42, 41, 42), (0, 0, 42), (100, 99, 100)] {
            let disk = SimDisk::new(1);
            write_empty(&disk.root(), 41, 1_000, 7).unwrap();
            let crashed = disk.crash(Survival::Nothing);
            let (log, report) = open(&crashed, Start { from, durable, near: None }).unwrap();
            assert_eq!((log.next_seq(), report.clean_close, report.latest_time), (next, true, 1_000));
            assert_eq!((report.entries, report.lost.len(), report.trimmed), (0, 0, None));
        }
        let disk = SimDisk::new(1);
        write_empty(&disk.root(), 41, 1_000, 7).unwrap();
        assert!(matches!(open(&disk, Start { from: 1, durable: 0, near: None }), Err(Error::Corrupt { .. })));
        assert!(matches!(write_empty(&disk.root(), 41, 1_000, 7), Err(Error::Invalid { .. })));
    }
}
