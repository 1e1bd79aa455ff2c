//! Repairing a damaged database.

use std::io::{self, Write};

use warp_api::RepairReport;

use crate::failure::Failure;
use crate::session::Session;
use crate::text::{counted, show};

/// The status is that of problems if something is lost: whoever runs this is to look.
pub(super) fn repair(json: bool, session: &Session, out: &mut dyn Write) -> Result<(), Failure> {
    let report = session.repair()?;
    if json {
        super::write_json(&report, out)?
    } else {
        write(&report, out)?
    }
    match losses(&report) {
        0 => Ok(()),
        count => Err(Failure::Lost(count)),
    }
}

fn losses(report: &RepairReport) -> u64 {
    let RepairReport { lost_entries, doubtful, lost_layers, lost, .. } = report;
    (lost_entries.len() + doubtful.len() + lost_layers.len() + lost.len()) as u64
}

fn write(report: &RepairReport, out: &mut dyn Write) -> io::Result<()> {
    if report.was_sound {
        return writeln!(out, "sound: nothing was changed");
    }
    for problem in &report.problems {
        let at = problem.offset.map(|offset| format!(" at offset {offset}")).unwrap_or_default();
        writeln!(out, "damaged: {}{at}: {}", problem.file, problem.what)?;
    }
    if let Some(aside) = &report.kept_aside {
        writeln!(out, "kept aside: {} in {aside}", counted(report.files.len() as u64, "file", "files"))?;
    }
    for lost in &report.lost_entries {
        let place = format!("{} at offset {}", lost.file, lost.offset);
        let seq = lost.seq.map(|seq| format!(", number {seq}")).unwrap_or_default();
        let older =
            lost.older.map(|seq| format!("; there is an older version, number {seq}")).unwrap_or_default();
        match &lost.key {
            Some((keyspace, key)) => writeln!(out, "lost: {} in {keyspace}{seq}: {place}{older}", show(key))?,
            None => writeln!(out, "lost: a key that cannot be told: {place}")?,
        }
    }
    for doubtful in &report.doubtful {
        let (keyspace, key, seq) = (&doubtful.keyspace, show(&doubtful.key), doubtful.seq);
        writeln!(out, "in doubt: {key} in {keyspace}: has version {seq}, and may have had a newer one")?;
    }
    for lost in &report.lost_layers {
        let entries = counted(lost.entries, "entry", "entries");
        writeln!(out, "lost: {entries} with numbers from {} to {}: {}", lost.seqs.0, lost.seqs.1, lost.file)?;
    }
    for lost in &report.lost {
        let place = format!("{} at offset {}, {} bytes", lost.file, lost.offset, lost.bytes);
        match lost.seqs {
            Some((first, last)) => writeln!(out, "lost: writes with numbers {first} to {last}: {place}")?,
            None => writeln!(out, "lost: no write that is known: {place}")?,
        }
    }
    writeln!(out, "repaired up to number {}; {:.1?}", report.last_seq, report.elapsed)
}
