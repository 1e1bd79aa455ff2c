//! What is written to the disk, and kept there, for what a program writes.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use warp_api::WarpEngine;

use super::files::disk_bytes;
use super::job::Job;
use crate::child;
use crate::keys::{Draws, KEY_BYTES, Key, Spread, VALUE_BYTES, keys, next_value, value};
use crate::machine::written_bytes;
use crate::report::{Cell, Table, grouped};
use crate::run::Outcome;
use crate::timed::Timed;

/// Writes of so many times the data.
const TIMES: usize = 20;
/// Time between two looks at the disk.
const LOOK: Duration = Duration::from_millis(20);
/// So much log gathers before a checkpoint is due, as by default; but of little data at most so large a part.
const LOG_BYTES: u64 = 256 << 20;
const LOG_OF_DATA_DIVISOR: u64 = 2;
/// Merges may leave layers of the checkpoints that are kept: their inputs go when three younger checkpoints exist.
const SETTLING_CHECKPOINTS: usize = 8;
/// So often one key is overwritten, also in a quick run: what is left does not grow with it.
const OVERWRITES: u64 = 1_000_000;
/// What may be left on the disk after everything was overwritten or deleted, the log aside.
const LEFT_BYTES_MAX: u64 = 1 << 20;

/// Writes, and looks at the disk.
///
/// # Errors
/// What the engine and the system answer.
pub(crate) fn amplification(job: &mut Job) -> Outcome<()> {
    let keys = keys(job.seed, job.sizes.overwritten);
    let data = (keys.len() * (KEY_BYTES + VALUE_BYTES)) as u64;
    let mut table = Table::new(
        format!(
            "YCSB A until {TIMES} times the data was written; {} entries, {} MB",
            grouped(keys.len() as f64),
            grouped(data as f64 / 1e6)
        ),
        &[
            "requests",
            "program wrote",
            "process wrote",
            "write amplification",
            "of that the log",
            "layers",
            "layers at the end / data",
            "most layers / data",
            "log at the end / data",
            "most of all / data",
        ],
    );
    for spread in [Spread::Zipf, Spread::Uniform] {
        job.say(&format!("amplification, {}", spread.name()));
        let dir = job.dir()?;
        let options = child::on_demand()
            .checkpoint_log_bytes((data / LOG_OF_DATA_DIVISOR).clamp(1 << 20, LOG_BYTES))
            .log_segment_bytes((data / 8).clamp(1 << 20, 64 << 20));
        let engine = options.open(dir.path())?;
        put_all(&engine, &keys)?;
        engine.checkpoint()?;
        let (before, (log_before, layers_before)) = (written_bytes(), engine_bytes(&engine));
        let mut draws = Draws::new(spread, &keys, job.seed);
        let ended = AtomicBool::new(false);
        let (layers_most, all_most) = (AtomicU64::new(0), AtomicU64::new(0));
        let written = thread::scope(|scope| {
            scope.spawn(|| {
                while !ended.load(Ordering::Acquire) {
                    let layers = disk_bytes(&dir.path().join("layers")).unwrap_or(0);
                    layers_most.fetch_max(layers, Ordering::Relaxed);
                    all_most.fetch_max(disk_bytes(dir.path()).unwrap_or(0), Ordering::Relaxed);
                    thread::sleep(LOOK);
                }
            });
            let written = mixed(&engine, &mut draws, keys.len() * TIMES);
            ended.store(true, Ordering::Release);
            written
        })?;
        let (log_bytes, layer_bytes) = engine_bytes(&engine);
        engine.close()?;
        let process = written_bytes().saturating_sub(before);
        let (layers, log) = (disk_bytes(&dir.path().join("layers"))?, disk_bytes(&dir.path().join("wal"))?);
        // Closing takes one more.
        layers_most.fetch_max(layers, Ordering::Relaxed);
        let of_data = |bytes: u64| Cell::ratio(bytes as f64 / data as f64);
        table.row_now([
            Cell::text(spread.name()),
            Cell::bytes(written),
            Cell::bytes(process),
            Cell::ratio(process as f64 / written as f64),
            Cell::ratio((log_bytes - log_before) as f64 / written as f64),
            Cell::ratio((layer_bytes - layers_before) as f64 / written as f64),
            of_data(layers),
            of_data(layers_most.load(Ordering::Relaxed)),
            of_data(log),
            of_data(all_most.load(Ordering::Relaxed)),
        ]);
    }
    table.note("Keys and values are what the program writes; the process' bytes are the kernel's count (write_bytes), log, layers");
    table.note("and prepared segments all together. Three checkpoints are kept with every layer and segment that they need. A");
    table.note(
        "checkpoint is due once 256 MiB have gathered in the log, or as much as half the data, if that is less.",
    );
    table.note("Log and layers are the engine's own counts, without the checkpoint at closing. Disk use was looked at every 20 ms.");
    job.report.table(table);
    given_back(job, &keys)
}

fn put_all(engine: &WarpEngine, keys: &[Key]) -> Outcome<()> {
    keys.iter().try_for_each(|key| engine.put(key, value(key)).map(|_| ())).map_err(Into::into)
}

/// Reads and writes by turns; returns the bytes that were written.
fn mixed(engine: &WarpEngine, draws: &mut Draws<'_>, writes: usize) -> Outcome<u64> {
    for number in 0..writes {
        engine.with_value(draws.next(), |value| value[0])?;
        let key = draws.next();
        engine.put(key, next_value(key, number as u64))?;
    }
    Ok((writes * (KEY_BYTES + VALUE_BYTES)) as u64)
}

/// What the engine has written so far: bytes of its log, and of layers.
fn engine_bytes(engine: &WarpEngine) -> (u64, u64) {
    let metrics = engine.cosmic_metrics();
    let log = metrics.log.map_or(0, |log| log.bytes_written);
    let layers = metrics.checkpoints.map_or(0, |layers| layers.bytes + layers.merged_bytes);
    (log, layers)
}

/// What is left after many overwrites of one key, and after deleting everything.
fn given_back(job: &mut Job, keys: &[Key]) -> Outcome<()> {
    let mut table = Table::new(
        "What is left on the disk",
        &["after", "layers and manifests", "log", "an empty database's log"],
    );
    let options = || child::on_demand().log_segment_bytes(1 << 20).checkpoint_log_bytes(8 << 20);
    let mut lefts = Vec::new();
    for deletes in [false, true] {
        let dir = job.dir()?;
        let what = if deletes {
            format!("deleting all of {} entries", grouped(keys.len() as f64))
        } else {
            format!("{} overwrites of one key", grouped(OVERWRITES as f64))
        };
        job.say(&what);
        let engine = options().open(dir.path())?;
        engine.sync()?;
        let empty = disk_bytes(&dir.path().join("wal"))?;
        if deletes {
            put_all(&engine, keys)?;
            engine.checkpoint()?;
            for key in keys {
                engine.delete(key)?;
            }
        } else {
            for count in 0..OVERWRITES {
                engine.put(keys[0], next_value(&keys[0], count))?;
            }
        }
        let (layers, log) = settle(&engine, dir.path())?;
        table.row([Cell::text(&what), Cell::bytes(layers), Cell::bytes(log), Cell::bytes(empty)]);
        // So little data as is deleted in a quick run is not worth a merge.
        if !(deletes && job.sizes.quick) {
            lefts.push((what, layers));
        }
        engine.close()?;
    }
    table.note(format!(
        "After {SETTLING_CHECKPOINTS} more checkpoints, with a write before each, so that none of those that are kept is older. Segments of 1 MiB."
    ));
    job.report.table(table);
    for (what, layers) in lefts {
        let detail = format!(
            "{} bytes of layers, at most {} are allowed",
            grouped(layers as f64),
            grouped(LEFT_BYTES_MAX as f64)
        );
        job.report.check(format!("space is given back after {what}"), layers <= LEFT_BYTES_MAX, detail);
    }
    Ok(())
}

/// Takes checkpoints until none of those that are kept is old; returns bytes of everything but the log, and of the log.
fn settle(engine: &WarpEngine, dir: &Path) -> Outcome<(u64, u64)> {
    for count in 0..SETTLING_CHECKPOINTS {
        engine.put("settled", count.to_string())?;
        engine.checkpoint()?;
        // Merges come with the background's next turn.
        thread::sleep(Duration::from_millis(200));
    }
    let log = disk_bytes(&dir.join("wal"))?;
    Ok((disk_bytes(dir)?.saturating_sub(log), log))
}
