//! Reading a log without opening it.

use warp_io::Dir;

use crate::deliver::Apply;
use crate::error::Corruption;
use crate::error::Result;
use crate::options::{Recovery, Start, Until};
use crate::reader::{Window, first_segment};
use crate::recovery::{walk, walk_until};
use crate::report::{Problem, ReplayReport, VerifyReport};

/// Reads the log in `dir` and hands out every entry from `start.from` on, as `apply` says. Starts no segment and
/// changes nothing.
///
/// `progress` is told how many bytes of how many were read.
///
/// # Errors
/// [`Error::Corrupt`](crate::Error::Corrupt) and [`Error::Unsupported`](crate::Error::Unsupported) if the log
/// cannot be read as `recovery` asks; [`Error::Io`](crate::Error::Io).
pub fn replay_in(
    dir: &dyn Dir,
    recovery: Recovery,
    start: Start,
    apply: Apply<'_>,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<ReplayReport> {
    Ok(walk(dir, recovery, start, apply, progress)?.report)
}

/// As [`replay_in`], no further than `until`, of a log whose segments may lie in several directories: that in which it
/// is written, and others that hold earlier segments. Where two have one of the same number, that of the first counts.
///
/// What lies behind the bound is not read, and damage there is not found. The log may be written to meanwhile, if
/// everything up to the bound is durable.
///
/// # Errors
/// As [`replay_in`].
pub fn replay_until(
    dirs: &[&dyn Dir],
    recovery: Recovery,
    start: Start,
    until: Until,
    apply: Apply<'_>,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<ReplayReport> {
    Ok(walk_until(dirs, recovery, start, until, apply, progress)?.report)
}

/// The first sequence that a log in several directories, as [`replay_until`] takes them, can be read from: 1 if it is
/// there from its beginning; 0 if there is no frame at all.
///
/// # Errors
/// [`Error::Io`](crate::Error::Io); [`Error::Unsupported`](crate::Error::Unsupported).
pub fn first_seq(dirs: &[&dyn Dir]) -> Result<u64> {
    let mut window = Window::default();
    Ok(first_segment(dirs, &mut window)?.map_or(0, |segment| match (segment.statement, segment.first) {
        (Some(statement), _) => statement.last_seq.saturating_add(1),
        (None, Some(first)) => first.first_seq,
        (None, None) => 0,
    }))
}

/// Reads the whole log in `dir` and reports everything that is wrong with it, a torn tail included. Changes
/// nothing. Of a log that is written to meanwhile see [`verify_in_use`].
///
/// # Errors
/// [`Error::Io`](crate::Error::Io); [`Error::Unsupported`](crate::Error::Unsupported);
/// [`Error::Corrupt`](crate::Error::Corrupt) only for content that does not decode although its checksum is
/// right.
pub fn verify(dir: &dyn Dir, start: Start) -> Result<VerifyReport> {
    let start = Start { near: None, ..start };
    let replay = walk(dir, Recovery::Salvage, start, Apply::InOrder(&mut |_, _| {}), &mut |_, _| {})?.report;
    let lost = replay.lost.iter().map(|lost| Problem {
        file: lost.file.clone(),
        offset: lost.offset,
        found: lost.found,
    });
    let torn = replay.trimmed.iter().map(|trimmed| Problem {
        file: trimmed.file.clone(),
        offset: trimmed.offset,
        found: Corruption::TornTail,
    });
    let problems = lost.chain(torn).collect();
    Ok(VerifyReport { replay, problems })
}

/// A torn tail is looked at so often, with pauses in between, before it is taken for one.
const TORN_LOOKS: u32 = 20;
const TORN_PAUSE: std::time::Duration = std::time::Duration::from_millis(10);

/// As [`verify`], of a log that may be written to meanwhile, by this process or another, and whose segments nobody removes
/// until this returns: what is being written at that moment is no problem, and what only seems to be one is looked at
/// again.
///
/// A torn tail is a problem if it stays as it is for a fifth of a second: a writer has finished by then what it was writing.
///
/// # Errors
/// As [`verify`].
pub fn verify_in_use(dir: &dyn Dir, start: Start) -> Result<VerifyReport> {
    let mut before: Option<Vec<Problem>> = None;
    let mut looks = 0;
    loop {
        let mut report = verify(dir, start)?;
        if let Some(before) = &before {
            // What is wrong stays so; what was being written is there by now.
            report.problems.retain(|problem| {
                before.iter().any(|known| (&known.file, known.offset) == (&problem.file, problem.offset))
            });
        }
        let is_settled = before.is_some_and(|before| before.len() == report.problems.len());
        let may_be_written = report.problems.iter().any(|problem| problem.found == Corruption::TornTail);
        looks += 1;
        if report.problems.is_empty() || (is_settled && (!may_be_written || looks >= TORN_LOOKS)) {
            return Ok(report);
        }
        if may_be_written {
            std::thread::sleep(TORN_PAUSE);
        }
        before = Some(report.problems);
    }
}
