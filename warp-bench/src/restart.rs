//! How long an open takes after SIGKILL: from a checkpoint and the log's tail, and from the log alone.

use std::path::Path;
use std::time::Duration;

use tempfile::TempDir;
use warp_api::WarpEngine;
use warp_io::{Dir, OsDir};

use crate::child::{self, Fed};
use crate::latency::median_time;
use crate::promises::Promise;
use crate::report::{Cell, Table, grouped};
use crate::run::{Outcome, Run};
use crate::wire::Order;

/// One entry in this many is written behind the checkpoint.
const TAIL_ONE_IN: usize = 100;
/// Keys that are read after an open, to see that the values are there.
const PROBES: usize = 100;
/// The manifest that a new database begins with: no layers, and the whole log still to come.
const MANIFEST_FIRST: &str = "MANIFEST-1";
const MANIFEST_PREFIX: &str = "MANIFEST-";
const LAYERS: &str = "layers";

/// The sizes for which a time was promised once.
const PROMISED: [(usize, Promise); 3] = [
    (1_000, Promise::RecoverThousand),
    (100_000, Promise::RecoverHundredThousand),
    (1_000_000, Promise::RecoverMillion),
];

/// What one open was like.
#[derive(Clone, Copy, Debug)]
struct Opened {
    time: Duration,
    replayed: u64,
    entries: u64,
    wrong: usize,
    from_layers: bool,
}

/// Fills, kills and opens databases of several sizes.
///
/// # Errors
/// What the children, the engine and the system answer.
pub(crate) fn restart(run: &mut Run) -> Outcome<()> {
    let mut table = Table::new(
        "Open after SIGKILL (to the first read)",
        &[
            "entries",
            "with the checkpoint",
            "writes replayed",
            "from the log alone",
            "writes replayed ",
            "log alone / checkpoint",
        ],
    );
    for (entries, repeats) in run.plan.restarts.clone() {
        let entries = entries.min(run.data.fields);
        let mut opens = Vec::new();
        for _ in 0..repeats {
            opens.push(cycle(run, entries)?);
        }
        row(run, &mut table, entries, &opens);
    }
    table.note(format!(
        "The checkpoint was taken when one entry in {TAIL_ONE_IN} was left. For the log alone,"
    ));
    table.note("a directory made alike is opened without its layers and later manifests.");
    table.note("Medians; files in the page cache.");
    run.report.table(table);
    Ok(())
}

fn row(run: &mut Run, table: &mut Table, entries: usize, opens: &[(Opened, Opened)]) {
    let time = |of: fn(&(Opened, Opened)) -> Opened| {
        median_time(&opens.iter().map(|pair| of(pair).time).collect::<Vec<_>>())
    };
    let (checkpoint, log) = (time(|pair| pair.0), time(|pair| pair.1));
    let replayed = opens.first().map_or((0, 0), |pair| (pair.0.replayed, pair.1.replayed));
    table.row([
        Cell::count(entries as u64),
        Cell::time(checkpoint),
        Cell::count(replayed.0),
        Cell::time(log),
        Cell::count(replayed.1),
        Cell::ratio(log.as_secs_f64() / checkpoint.as_secs_f64()),
    ]);
    let promise = PROMISED.iter().find(|(promised, _)| *promised == entries);
    for (how, time) in [("with a checkpoint", checkpoint), ("from the log alone", log)] {
        if let Some(&(_, promise)) = promise {
            run.promises.measured_time(promise, time, format!("{how}, {} entries", grouped(entries as f64)));
        }
    }
    let all = || opens.iter().flat_map(|(with, without)| [with, without]);
    let whole = all().all(|open| open.entries == entries as u64 && open.wrong == 0);
    // Otherwise the two columns would not be what their names say.
    let ways = opens.iter().all(|(with, without)| {
        with.from_layers
            && with.replayed < entries as u64
            && !without.from_layers
            && without.replayed >= entries as u64
    });
    let detail = format!("{} opens, {PROBES} values compared in each", 2 * opens.len());
    let entries = grouped(entries as f64);
    run.report.check(format!("{entries} synced entries are all there after SIGKILL"), whole && ways, detail);
}

/// Two databases, filled and killed alike: one opened as it was left, one from its log alone. Not one opened twice,
/// since the first open clears away what the killed process had prepared.
fn cycle(run: &Run, entries: usize) -> Outcome<(Opened, Opened)> {
    let dir = run.dir()?;
    fill(run, &dir, entries)?;
    let with_checkpoint = open(run, dir.path(), entries)?;
    let dir = run.dir()?;
    fill(run, &dir, entries)?;
    remove_checkpoints(dir.path())?;
    let log_alone = open(run, dir.path(), entries)?;
    Ok((with_checkpoint, log_alone))
}

fn fill(run: &Run, dir: &TempDir, entries: usize) -> Outcome<()> {
    let mut child = Fed::start(dir.path(), true)?;
    let tail_from = entries - entries / TAIL_ONE_IN;
    run.bar.set_length(entries as u64);
    for (done, (key, value)) in run.data.corpus.iter().take(entries).enumerate() {
        if done == tail_from {
            child.ask(Order::Checkpoint)?;
        }
        child.put(key, value)?;
        run.bar.set_position(done as u64);
    }
    child.ask(Order::Sync)?;
    child.kill()
}

/// Opens, reads one value, and stops the time; then counts what is there.
fn open(run: &Run, dir: &Path, entries: usize) -> Outcome<Opened> {
    let corpus = &run.data.corpus;
    let (engine, time) = run.time(|| -> Outcome<WarpEngine> {
        let engine = child::on_demand().open(dir)?;
        engine.get(corpus.key(0))?;
        Ok(engine)
    });
    let engine = engine?;
    let mut wrong = 0;
    for probe in 0..PROBES {
        let (key, value) = corpus.record(probe * (entries - 1) / (PROBES - 1));
        wrong += usize::from(engine.get(key)?.as_deref() != Some(value));
    }
    let replayed = engine.recovery_report().replayed;
    let entries_found = engine.len()?;
    let from_layers = !OsDir::open(dir.join(LAYERS), true)?.list()?.is_empty();
    Ok(Opened { time, replayed, entries: entries_found, wrong, from_layers })
}

/// Leaves the log and the first, empty checkpoint.
pub(crate) fn remove_checkpoints(dir: &Path) -> Outcome<()> {
    let database = OsDir::open(dir, false)?;
    for name in
        database.list()?.iter().filter(|name| name.starts_with(MANIFEST_PREFIX) && *name != MANIFEST_FIRST)
    {
        database.remove(name)?;
    }
    let layers = database.subdir(LAYERS, false)?;
    for name in layers.list()? {
        layers.remove(&name)?;
    }
    Ok(())
}
