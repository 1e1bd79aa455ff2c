//! The write-ahead log, read segment by segment, without the engine, while others may have it open.

use std::io::{self, Write};

use serde_json::Value;
use warp_io::Dir;
use warp_wal::Start;

use super::problems::Problems;
use crate::args::LogCommand;
use crate::failure::{Failure, with_causes};
use crate::session::{LOG_DIR, Session};
use crate::text::counted;

/// What stands for all segments.
const ALL: &str = "all";

pub(super) fn run(command: &LogCommand, session: &Session, out: &mut dyn Write) -> Result<(), Failure> {
    match command {
        LogCommand::List => list(session, out),
        LogCommand::Dump { segment } => dump(segment, session, out),
        LogCommand::Verify => verify(session, out),
        LogCommand::Convert(args) => super::convert::convert(args, session, out),
    }
}

fn list(session: &Session, out: &mut dyn Write) -> Result<(), Failure> {
    session.log_dir()?;
    let _held = session.hold()?;
    let dir = session.log_dir()?;
    for name in warp_wal::segment_names(&*dir)? {
        let bytes = match dir.open(&name, false).and_then(|file| file.len()) {
            // A checkpoint of a running engine has removed it since.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            answer => answer
                .map_err(|source| Failure::Read { path: session.data().join(LOG_DIR).join(&name), source })?,
        };
        writeln!(out, "{name}  {:<8}  {bytes:>12} bytes", format_of(&*dir, &name))?;
    }
    Ok(())
}

/// The format that a segment's header states.
fn format_of(dir: &dyn Dir, name: &str) -> String {
    let mut header = FirstLine::default();
    // It fails once it has the line, so that the rest of the segment is not read.
    let _ = warp_wal::dump(dir, name, &mut header);
    let header: Value = serde_json::from_slice(&header.line).unwrap_or_default();
    header["format"].as_str().unwrap_or("damaged").to_owned()
}

/// Takes one line, and refuses any further bytes.
#[derive(Default)]
struct FirstLine {
    line: Vec<u8>,
    is_whole: bool,
}

impl Write for FirstLine {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.is_whole {
            return Err(io::Error::other("one line is enough"));
        }
        let end = bytes.iter().position(|byte| *byte == b'\n');
        self.line.extend_from_slice(&bytes[..end.unwrap_or(bytes.len())]);
        self.is_whole = end.is_some();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn dump(segment: &str, session: &Session, mut out: &mut dyn Write) -> Result<(), Failure> {
    let dir = session.log_dir()?;
    let _held = session.hold()?;
    let mut names = warp_wal::segment_names(&*dir)?;
    if segment != ALL {
        names.retain(|name| is_named(name, segment));
        if names.is_empty() {
            return Err(Failure::NoSuchSegment(segment.to_owned()));
        }
    }
    let mut damaged = 0;
    for name in names {
        damaged += match warp_wal::dump(&*dir, &name, &mut out) {
            Ok(report) => report.damaged,
            // An error of no file is one of the output.
            Err(warp_wal::Error::Io { file, source, .. }) if file.is_empty() => {
                return Err(Failure::Output(source));
            }
            Err(error) => return Err(error.into()),
        };
    }
    if damaged > 0 { Err(Failure::Problems(damaged)) } else { Ok(()) }
}

/// Whether a segment is meant by its name, or by its number, with leading zeros or without.
fn is_named(name: &str, segment: &str) -> bool {
    let number = name.split('.').next().and_then(|digits| digits.parse::<u64>().ok());
    name == segment || (number.is_some() && number == segment.parse().ok())
}

fn verify(session: &Session, out: &mut dyn Write) -> Result<(), Failure> {
    let mut problems = Problems::new(out);
    let (segments, entries) = verify_into(session, &mut problems)?;
    problems.conclude(&format!(
        "{} with {}",
        counted(segments, "segment", "segments"),
        counted(entries, "entry to replay", "entries to replay")
    ))
}

/// Reads the whole log; returns how many segments there are, and how many entries a recovery would replay.
pub(super) fn verify_into(session: &Session, problems: &mut Problems<'_>) -> Result<(u64, u64), Failure> {
    let dir = session.log_dir()?;
    let _held = session.hold()?;
    let start = start(session, problems)?;
    let report = warp_wal::verify_in_use(&*dir, start)?;
    for problem in &report.problems {
        let file = format!("{LOG_DIR}/{}", problem.file);
        problems.add(&file, Some(problem.offset), &problem.found.to_string())?;
    }
    Ok((report.replay.segments, report.replay.entries))
}

/// Which part of the log is needed, as the checkpoints say: all that the oldest one replays, to the end that the
/// newest one knows of.
fn start(session: &Session, problems: &mut Problems<'_>) -> Result<Start, Failure> {
    let home = session.home()?;
    let mut start: Option<Start> = None;
    for number in warp_checkpoint::list(&home)? {
        match warp_checkpoint::load(&home, number) {
            Ok(manifest) => {
                let (from, durable) = (manifest.replay_from, manifest.highest);
                let known = start.unwrap_or(Start { from, durable, near: None });
                start = Some(Start {
                    from: known.from.min(from),
                    durable: known.durable.max(durable),
                    near: None,
                });
            }
            Err(error) => {
                problems.add(&warp_checkpoint::manifest_name(number), None, &with_causes(&error))?
            }
        }
    }
    // Without any checkpoint nothing is known: the log is then read from the oldest segment that there is.
    Ok(start.unwrap_or_default())
}
