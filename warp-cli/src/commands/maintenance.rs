//! Checkpoints, and verifying what is on the disk.

use std::io::Write;
use std::path::Path;

use indicatif::HumanBytes;
use warp_api::ErrorKind;

use super::log;
use super::problems::Problems;
use crate::failure::{Failure, with_causes};
use crate::session::Session;
use crate::text::counted;

pub(super) fn checkpoint(session: &Session, out: &mut dyn Write) -> Result<(), Failure> {
    let engine = session.open_to_write()?;
    let report = engine.checkpoint()?;
    engine.close()?;
    session.progress.clear();
    writeln!(
        out,
        "checkpoint {}: {} written, {}; {} in all; replay goes on from {}; {:.1?}",
        report.number,
        counted(report.entries, "entry", "entries"),
        HumanBytes(report.bytes),
        counted(report.layers as u64, "layer", "layers"),
        report.replay_from,
        report.elapsed,
    )?;
    Ok(())
}

pub(super) fn backup(to: &Path, session: &Session, out: &mut dyn Write) -> Result<(), Failure> {
    let engine = session.open_to_read()?;
    let report = engine.backup(to)?;
    session.progress.clear();
    let layers = counted(report.layers as u64, "layer", "layers");
    writeln!(
        out,
        "backup up to {}: {layers}, {}; {} copied, {} written; {:.1?}",
        report.seq,
        HumanBytes(report.bytes),
        report.layers_copied,
        HumanBytes(report.bytes_written),
        report.elapsed,
    )?;
    Ok(())
}

pub(super) fn verify(session: &Session, out: &mut dyn Write) -> Result<(), Failure> {
    let mut problems = Problems::new(out);
    let engine = match session.open_damaged() {
        // So damaged that nothing can be opened: that is a problem found, and the log may still be looked at.
        Err(Failure::Engine(error)) if matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Io) => {
            let file = error.path().map(|path| path.display().to_string()).unwrap_or_default();
            problems.add(&file, error.offset(), &with_causes(&error))?;
            log::verify_into(session, &mut problems)?;
            return problems.conclude("");
        }
        opened => opened?,
    };
    let report = engine.verify()?;
    session.progress.clear();
    for problem in &report.problems {
        problems.add(&problem.file, problem.offset, &problem.what)?;
    }
    problems.conclude(&format!(
        "{}, {} with {}, {} with {}",
        counted(report.checkpoints, "checkpoint", "checkpoints"),
        counted(report.layers, "layer", "layers"),
        counted(report.layer_entries, "entry", "entries"),
        counted(report.segments, "segment", "segments"),
        counted(report.log_entries, "entry to replay", "entries to replay"),
    ))
}
