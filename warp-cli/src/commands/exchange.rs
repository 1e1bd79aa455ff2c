//! Export and import.

use std::io::{self, IsTerminal, Write};
use std::path::Path;

use warp_api::{ExchangeReport, WarpEngine};

use crate::failure::Failure;
use crate::files::{self, Destination};
use crate::progress::Progress;
use crate::session::Session;
use crate::text::counted;

/// Lines between two reports of progress.
const PROGRESS_EVERY: u64 = 1 << 12;

pub(super) fn import(file: &Path, session: &Session, out: &mut dyn Write) -> Result<(), Failure> {
    // Before the database is opened, and perhaps made.
    let lines = files::open(file)?;
    let engine = session.open_or_create()?;
    let report = engine.import(lines)?;
    engine.close()?;
    session.progress.clear();
    let expired = match report.expired {
        0 => String::new(),
        count => format!("; {} passed over, past the deadline", counted(count, "entry", "entries")),
    };
    Ok(writeln!(out, "imported {}{expired}", describe(&report))?)
}

pub(super) fn export(file: &Path, session: &Session, out: &mut dyn Write) -> Result<(), Failure> {
    let engine = session.open_to_read()?;
    if files::is_standard(file) {
        // On a terminal the lines themselves show how far it has come.
        let shown = !io::stdout().is_terminal();
        write_export(&engine, out, shown.then_some(&session.progress))?;
        return Ok(());
    }
    let mut destination = Destination::create(file)?;
    let report = write_export(&engine, &mut destination, Some(&session.progress))?;
    destination.finish()?;
    Ok(writeln!(out, "exported {}", describe(&report))?)
}

fn write_export(
    engine: &WarpEngine,
    out: &mut dyn Write,
    progress: Option<&Progress>,
) -> Result<ExchangeReport, Failure> {
    let report = engine.export(CountedLines { out, lines: 0, progress })?;
    if let Some(progress) = progress {
        progress.clear();
    }
    Ok(report)
}

fn describe(report: &ExchangeReport) -> String {
    let entries = counted(report.entries, "entry", "entries");
    let links = counted(report.links, "link", "links");
    let rules = counted(report.rules, "rule", "rules");
    let keyspaces = match report.keyspaces {
        0 => String::new(),
        // The default one is not counted by the engine.
        more => format!(" in {} keyspaces", more + 1),
    };
    let wormholes = match report.wormholes {
        0 => String::new(),
        count => format!(", {}", counted(count, "wormhole", "wormholes")),
    };
    let laws = match report.laws {
        0 => String::new(),
        count => format!(", laws of {}", counted(count, "level", "levels")),
    };
    format!("{entries}{keyspaces}, {links}, {rules}{wormholes}{laws}")
}

/// Counts the lines that pass through, and reports them as progress.
struct CountedLines<'a> {
    out: &'a mut dyn Write,
    lines: u64,
    progress: Option<&'a Progress>,
}

impl Write for CountedLines<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        // The end of a line is written by itself, so that looking at every byte is not needed.
        if bytes[..written].ends_with(b"\n") {
            self.lines += 1;
            if let Some(progress) = self.progress.filter(|_| self.lines.is_multiple_of(PROGRESS_EVERY)) {
                progress.exported(self.lines);
            }
        }
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
