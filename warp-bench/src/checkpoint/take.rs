//! Taking a checkpoint: time, bytes, the disk's share, memory, and what a client feels of it.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use warp_api::{CheckpointReport, WarpEngine};
use warp_io::{Clock, SystemClock};

use super::job::Job;
use crate::child;
use crate::keys::{Key, keys, next_value, value};
use crate::latency::Latency;
use crate::log::{PIECE_BYTES, paced, raw};
use crate::machine::Usage;
use crate::random::Random;
use crate::report::{Cell, Table, grouped};
use crate::run::Outcome;
use crate::timed::Timed;

/// Of the peak of one client thread.
const LOAD: f64 = 0.6;
/// One entry in this many is changed before a second checkpoint.
const CHANGED_ONE_IN: usize = 100;
/// A checkpoint of those may have this part of the bytes of one of all entries.
const CHANGED_SHARE_MAX: f64 = 0.03;
/// Time between two looks at the memory.
const LOOK: Duration = Duration::from_millis(2);
const STREAM: u64 = 91;
/// p99.9 beside a checkpoint may be so many times as high.
const FELT_MAX: f64 = 1.5;

/// Takes checkpoints, alone and beside a client.
///
/// # Errors
/// What the engine and the system answer.
pub(crate) fn take(job: &mut Job) -> Outcome<()> {
    let dir = job.dir()?;
    let engine = child::on_demand().checkpoints_kept(1).open(dir.path().join("db"))?;
    let keys = keys(job.seed, job.sizes.entries);
    job.say(&format!("take, {} entries", grouped(keys.len() as f64)));
    for key in &keys {
        engine.put(key, value(key))?;
    }
    engine.sync()?;
    let raw_dir = dir.path().join("raw");
    let mut table = Table::new(
        "Taking a checkpoint",
        &[
            "what",
            "entries",
            "time",
            "bytes",
            "MB/s",
            "same bytes in a row, MB/s",
            "share",
            "memory beyond before",
        ],
    );
    let full = taken(job, &engine, &raw_dir)?;
    table.row_now(row("all entries", &full));
    let changed = keys.len() / CHANGED_ONE_IN;
    let mut parts = Vec::new();
    let mut random = Random::new(job.seed, STREAM);
    for run in 0..job.sizes.runs {
        for _ in 0..changed {
            let key = &keys[random.below(keys.len())];
            engine.put(key, next_value(key, run as u64 + 1))?;
        }
        engine.sync()?;
        parts.push(taken(job, &engine, &raw_dir)?);
    }
    parts.sort_by_key(|part| part.time);
    let part = &parts[parts.len() / 2];
    table.row_now(row("1 % changed", part));
    let share = part.report.bytes as f64 / full.report.bytes as f64;
    table.note("The bytes are those of the layer. In a row: as many bytes, in pieces of 1 MiB, through the page cache, to a new");
    table.note("file, and one fdatasync, right after. Memory: the most that RssAnon grew while it was taken, looked at every 2 ms.");
    table.note("All entries were measured once, 1 % is the middle one of the runs.");
    job.report.table(table);
    let detail = format!("{:.2} % of the bytes of all entries, at most 3 % are allowed", share * 100.0);
    job.report.check("a checkpoint of 1 % is small", share <= CHANGED_SHARE_MAX, detail);
    felt(job, &engine, &keys)?;
    Ok(engine.close()?)
}

struct Taken {
    report: CheckpointReport,
    time: Duration,
    raw: Duration,
    grown: Option<u64>,
}

fn row(what: &str, taken: &Taken) -> [Cell; 8] {
    let speed = |time: Duration| taken.report.bytes as f64 / time.as_secs_f64();
    [
        Cell::text(what),
        Cell::count(taken.report.entries),
        Cell::time(taken.time),
        Cell::bytes(taken.report.bytes),
        Cell::number(speed(taken.time) / 1e6, " MB/s"),
        Cell::number(speed(taken.raw) / 1e6, " MB/s"),
        Cell::share(speed(taken.time) / speed(taken.raw)),
        taken.grown.map_or(Cell::Absent(()), Cell::bytes),
    ]
}

fn taken(job: &Job, engine: &WarpEngine, raw_dir: &Path) -> Outcome<Taken> {
    let before = Usage::now().map(|usage| usage.anonymous_bytes);
    let (ended, peak) = (AtomicBool::new(false), AtomicU64::new(0));
    let (report, time) = thread::scope(|scope| {
        scope.spawn(|| {
            while !ended.load(Ordering::Acquire) {
                let now = Usage::now().map_or(0, |usage| usage.anonymous_bytes);
                peak.fetch_max(now, Ordering::Relaxed);
                thread::sleep(LOOK);
            }
        });
        let taken = job.time(|| engine.checkpoint());
        ended.store(true, Ordering::Release);
        taken
    });
    let report = report?;
    let piece = vec![0x5A; PIECE_BYTES];
    let (written, raw) = job.time(|| raw::write_in_a_row(raw_dir, &piece, report.bytes));
    written?;
    raw::remove(raw_dir)?;
    let grown = before.map(|before| peak.load(Ordering::Relaxed).saturating_sub(before));
    Ok(Taken { report, time, raw, grown })
}

/// What one client, half of whose requests write, feels of checkpoints: requests that began or ended while one was taken, against those
/// of a time without any.
fn felt(job: &mut Job, engine: &WarpEngine, keys: &[Key]) -> Outcome<()> {
    let mut random = Random::new(job.seed, STREAM + 1);
    let mut count = 0_u64;
    let written = AtomicU64::new(0);
    let mut request = |reads: &mut Latency, writes: &mut Latency, due: Option<Due<'_>>| -> Outcome<()> {
        count += 1;
        let counted = due.as_ref().is_some_and(Due::counts_now);
        let key = &keys[random.below(keys.len())];
        if count.is_multiple_of(2) {
            engine.get(key)?.ok_or("a record is not there")?;
        } else {
            engine.put(key, next_value(key, count))?;
            written.fetch_add(1, Ordering::Relaxed);
        }
        if let Some(due) = due.filter(|due| counted || due.counts_now()) {
            let late = due.clock.monotonic().saturating_sub(due.at);
            if count.is_multiple_of(2) { reads.record(late) } else { writes.record(late) }
        }
        Ok(())
    };
    let (mut reads, mut writes) = (Latency::new(), Latency::new());
    let start = job.clock.monotonic();
    let mut done = 0_u64;
    while job.clock.monotonic() - start < job.sizes.steady {
        request(&mut reads, &mut writes, None)?;
        done += 1;
    }
    let load = done as f64 / (job.clock.monotonic() - start).as_secs_f64() * LOAD;
    engine.checkpoint()?;
    let length = job.sizes.steady * 2;
    let changed = (keys.len() / CHANGED_ONE_IN) as u64;
    let columns: Vec<&str> = ["what"].into_iter().chain(Latency::COLUMNS).collect();
    let mut table = Table::new(
        format!(
            "One client at {} requests a second (60 % of its peak), timed from when each was due",
            grouped(load)
        ),
        &columns,
    );
    let mut tails = Vec::new();
    let mut clock_after = Latency::new();
    let mut taken = 0_u64;
    for beside in [false, true] {
        job.say(if beside {
            "take, latency beside checkpoints"
        } else {
            "take, latency without a checkpoint"
        });
        let (mut reads, mut writes) = (Latency::new(), Latency::new());
        let ended = AtomicBool::new(false);
        let counts = AtomicBool::new(!beside);
        let (clock, counted) = thread::scope(|scope| -> Outcome<(Latency, u64)> {
            let taking = scope.spawn(|| -> Outcome<u64> {
                let (mut count, mut last) = (0, written.load(Ordering::Relaxed));
                while beside && !ended.load(Ordering::Acquire) {
                    let now = written.load(Ordering::Relaxed);
                    if now - last < changed {
                        thread::sleep(LOOK);
                        continue;
                    }
                    last = now;
                    counts.store(true, Ordering::Release);
                    engine.checkpoint()?;
                    counts.store(false, Ordering::Release);
                    count += 1;
                }
                Ok(count)
            });
            let clock = &job.clock;
            let start = clock.monotonic();
            let mut number = 0_u64;
            let served = paced(clock, load, length, || {
                let at = start + Duration::from_secs_f64(number as f64 / load);
                number += 1;
                request(&mut reads, &mut writes, Some(Due { clock, at, counts: &counts }))
            });
            // The same pace, and nothing asked of the engine: what the machine alone does.
            let idle = served.and_then(|_| paced(clock, load, length, || Ok(())));
            ended.store(true, Ordering::Release);
            let count = taking.join().map_err(|_| "the thread that takes checkpoints panicked")??;
            Ok((idle?, count))
        })?;
        taken += counted;
        let when = if beside { "beside checkpoints" } else { "without a checkpoint" };
        for (what, latency) in [("get", &reads), ("put", &writes)] {
            table.row([Cell::text(format!("{what}, {when}"))].into_iter().chain(latency.cells()));
            tails.push((what, beside, latency.quantile(0.999).unwrap_or_default()));
        }
        table.row([Cell::text("reading the clock alone, right after")].into_iter().chain(clock.cells()));
        if beside {
            clock_after.add(&clock);
        }
    }
    table.note(format!(
        "{} checkpoints were taken, each when {} requests had written; beside them count requests that began or ended while one was.",
        grouped(taken as f64),
        grouped(changed as f64)
    ));
    table.note("What the clock alone shows is the machine, with as many threads as cores, and none of ours.");
    job.report.table(table);
    if job.sizes.quick {
        // Too few requests for a tail.
        return Ok(());
    }
    let tail = |what: &str, beside: bool| {
        tails
            .iter()
            .find(|(name, was, _)| *name == what && *was == beside)
            .map_or(0.0, |(.., time)| time.as_secs_f64())
    };
    let idle = clock_after.quantile(0.999).unwrap_or_default().as_secs_f64();
    for what in ["get", "put"] {
        let ratio = tail(what, true) / tail(what, false);
        // Pauses of the machine that the clock shows as well are no doing of the checkpoint.
        let is_low = ratio <= FELT_MAX || tail(what, true) <= FELT_MAX * idle;
        let holds = is_low && tail(what, true) > 0.0;
        let detail = format!(
            "p99.9 {ratio:.2} times as high, {:.1} us; the clock alone {:.1} us",
            tail(what, true) * 1e6,
            idle * 1e6
        );
        job.report.check(format!("checkpoints are not felt by a {what}"), holds, detail);
    }
    Ok(())
}

/// When a request was due.
struct Due<'a> {
    clock: &'a SystemClock,
    at: Duration,
    /// Whether requests count that begin or end now.
    counts: &'a AtomicBool,
}

impl Due<'_> {
    fn counts_now(&self) -> bool {
        self.counts.load(Ordering::Acquire)
    }
}
