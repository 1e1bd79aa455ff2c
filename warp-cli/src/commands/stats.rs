//! What the database holds, and what opening it found.

use std::io::{self, Write};

use indicatif::HumanBytes;
use serde::Serialize;
use warp_api::{CosmicMetrics, Level, RecoveryReport, RegionMetrics};

use crate::commands::keyspaces::existing;
use crate::commands::physics::{self, Evenness};
use crate::commands::worth;
use crate::failure::Failure;
use crate::session::{LOG_DIR, Session};
use crate::text::counted;

/// Width of the column of names.
const NAME_WIDTH: usize = 20;

/// Everything that is known, as it is shown with `--json`.
#[derive(Serialize)]
struct Stats {
    /// The number of keys that have a value; `None` if it was not asked for.
    keys: Option<u64>,
    log_files: LogFiles,
    /// Of the engine that was opened to look, for reading only: its counts begin with that, but for `worth`, of which the
    /// database keeps what was before.
    metrics: CosmicMetrics,
    recovery: RecoveryReport,
}

/// The files of the log, which the engine does not count when it is open for reading only.
#[derive(Serialize)]
struct LogFiles {
    segments: u64,
    bytes: u64,
}

/// `counted` is the keyspace whose keys are counted.
pub(super) fn stats(
    counted: Option<&str>,
    json: bool,
    session: &Session,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let engine = session.open_to_read()?;
    let stats = Stats {
        keys: counted.map(|name| Ok::<_, Failure>(existing(&engine, name)?.len()?)).transpose()?,
        log_files: log_files(session)?,
        metrics: engine.cosmic_metrics(),
        recovery: engine.recovery_report().clone(),
    };
    if json { super::write_json(&stats, out) } else { Ok(write_table(&stats, session, out)?) }
}

fn log_files(session: &Session) -> Result<LogFiles, Failure> {
    let dir = session.log_dir()?;
    let mut files = LogFiles { segments: 0, bytes: 0 };
    for name in warp_wal::segment_names(&*dir)? {
        let bytes = dir.open(&name, false).and_then(|file| file.len());
        files.bytes += bytes
            .map_err(|source| Failure::Read { path: session.data().join(LOG_DIR).join(&name), source })?;
        files.segments += 1;
    }
    Ok(files)
}

fn write_table(stats: &Stats, session: &Session, out: &mut dyn Write) -> io::Result<()> {
    let mut row = |name: &str, text: String| writeln!(out, "{name:<NAME_WIDTH$}{text}");
    let Stats { keys, log_files, metrics, recovery } = stats;
    row("database", session.data().display().to_string())?;
    row("last sequence", metrics.last_seq.to_string())?;
    if let Some(keys) = keys {
        row("keys", keys.to_string())?;
    }
    let names: Vec<&str> = metrics.keyspaces.iter().map(|keyspace| &*keyspace.name).collect();
    if names.len() > 1 {
        row("keyspaces", names.join(", "))?;
    }
    for region in &metrics.regions {
        row(region_name(region.level), region_text(region))?;
    }
    if let Some(checkpoints) = &metrics.checkpoints {
        let layers = counted(checkpoints.layers as u64, "layer", "layers");
        let text =
            format!("number {}, {layers}, replay from {}", checkpoints.number, checkpoints.replay_from);
        row("checkpoint", text)?;
    }
    let segments = counted(log_files.segments, "segment", "segments");
    row("log", format!("{segments}, {}", HumanBytes(log_files.bytes)))?;
    row("rules", metrics.entanglement.rules.to_string())?;
    let network = &metrics.wormholes.network;
    if network.declared > 0 {
        row("wormholes", physics::network_text(network))?;
    }
    if metrics.demon.slots_away > 0 {
        row("slots moved", physics::slots_text(&metrics.demon))?;
    }
    if let Some(evenness) = Evenness::of(&metrics.demon) {
        row("load of shards", evenness.to_string())?;
    }
    for (name, text) in worth::rows(&metrics.worth) {
        row(name, text)?;
    }
    row("memory", HumanBytes(metrics.memory.table_bytes).to_string())?;
    for (name, text) in recovery_rows(recovery) {
        row(name, text)?;
    }
    Ok(())
}

fn region_name(level: Level) -> &'static str {
    match level {
        Level::Hot => "in memory",
        Level::Warm => "compressed",
        Level::Cold => "in layers",
        _ => "elsewhere",
    }
}

fn region_text(region: &RegionMetrics) -> String {
    format!("{}, {}", counted(region.entries, "entry", "entries"), HumanBytes(region.bytes))
}

/// What opening the database found, the good and the bad.
fn recovery_rows(recovery: &RecoveryReport) -> Vec<(&'static str, String)> {
    let entries = counted(recovery.replayed, "entry", "entries");
    let mut rows = vec![
        ("opened in", format!("{:.1?}", recovery.elapsed)),
        ("replayed", format!("{entries} from {} of log", HumanBytes(recovery.log_bytes))),
        ("closed cleanly", if recovery.clean_close { "yes" } else { "no" }.to_owned()),
    ];
    rows.extend(recovery.fallback.iter().map(|what| ("damaged checkpoint", what.clone())));
    rows.extend(recovery.trimmed.iter().map(|torn| {
        ("torn tail", format!("{} from offset {} of {}", HumanBytes(torn.bytes), torn.offset, torn.file))
    }));
    rows.extend(recovery.lost.iter().map(|lost| {
        ("lost", format!("{} from offset {} of {}", HumanBytes(lost.bytes), lost.offset, lost.file))
    }));
    rows
}
