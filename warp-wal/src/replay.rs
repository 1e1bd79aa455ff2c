//! Reading a log without opening it.

use warp_io::Dir;

use crate::deliver::Apply;
use crate::error::Corruption;
use crate::error::Result;
use crate::options::{Recovery, Start};
use crate::recovery::walk;
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

/// Reads the whole log in `dir` and reports everything that is wrong with it, a torn tail included. Changes
/// nothing.
///
/// # Errors
/// [`Error::Io`](crate::Error::Io); [`Error::Unsupported`](crate::Error::Unsupported);
/// [`Error::Corrupt`](crate::Error::Corrupt) only for content that does not decode although its checksum is
/// right.
pub fn verify(dir: &dyn Dir, start: Start) -> Result<VerifyReport> {
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
