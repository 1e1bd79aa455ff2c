//! Reads in the first seconds after an open, the page cache dropped before: with and without a warm start and reading
//! ahead.

use std::hint::black_box;
use std::path::Path;
use std::thread;
use std::time::Duration;

use warp_api::{Options, Physics, WarpEngine};
use warp_io::Clock;

use super::Job;
use super::records::Records;
use crate::child;
use crate::fromdisk::drop_page_cache;
use crate::latency::{Latency, median, median_time};
use crate::report::{Cell, Table, grouped};
use crate::run::Outcome;

/// The warm start has a part of the entries of the other parts.
const PART: usize = 4;
/// Reads a second: far from what the engine can do, so that what is read does not warm it by itself at once.
const RATE: u32 = 20_000;
/// How often a bundle of reads is made.
const TICK: Duration = Duration::from_millis(1);
/// Windows from the open on that are told apart, in passes: a tenth, a third, and the whole.
const WINDOWS: [u32; 3] = [10, 3, 1];

/// What the background does after an open: bring in what was hot, have the system read the layers.
#[derive(Clone, Copy)]
struct Mode {
    name: &'static str,
    warms: bool,
    reads_ahead: bool,
}

const MODES: [Mode; 4] = [
    Mode { name: "warm start and reading ahead", warms: true, reads_ahead: true },
    Mode { name: "warm start", warms: true, reads_ahead: false },
    Mode { name: "reading ahead", warms: false, reads_ahead: true },
    Mode { name: "neither", warms: false, reads_ahead: false },
];
const WARM: usize = 1;
const NEITHER: usize = 3;

/// What was seen from the open until the end of a window.
#[derive(Clone, Debug)]
struct Window {
    from_memory: f64,
    latency: Latency,
}

/// Runs the part.
///
/// # Errors
/// What the engine answers.
pub(crate) fn warmstart(job: &mut Job) -> Outcome<()> {
    let records = Records { seed: job.seed, count: (job.entries / PART).max(1_000) };
    let dir = job.dir()?;
    fill(job, dir.path(), records)?;
    let mut seen: [Vec<Vec<Window>>; MODES.len()] = Default::default();
    let mut brought = Vec::new();
    for run in 0..job.runs {
        for (mode, seen) in MODES.iter().zip(&mut seen) {
            let (windows, warm) = first_reads(job, dir.path(), records, *mode, run as u64)?;
            seen.push(windows);
            brought.extend(mode.warms.then_some(warm).flatten());
        }
    }
    let mut table = Table::new(
        format!(
            "Reads after an open with nothing in the page cache: {} entries, zipf 0.99, {} gets/s",
            grouped(records.count as f64),
            grouped(f64::from(RATE))
        ),
        &["from the open on", "", "served from memory", "p50", "p99", "p99.9"],
    );
    for (place, part) in WINDOWS.iter().enumerate() {
        for (mode, seen) in MODES.iter().zip(&seen) {
            let shares: Vec<f64> = seen.iter().map(|windows| windows[place].from_memory).collect();
            let quantile = |share| {
                let times: Vec<Duration> =
                    seen.iter().filter_map(|windows| windows[place].latency.quantile(share)).collect();
                Cell::time(median_time(&times))
            };
            table.row_now([
                Cell::time(job.pass / *part),
                Cell::text(mode.name),
                Cell::share(median(&shares)),
                quantile(0.5),
                quantile(0.99),
                quantile(0.999),
            ]);
        }
    }
    table.note(format!(
        "Medians of {} runs, by turns; times of single gets, without waiting for their turn.",
        job.runs
    ));
    if let Some((entries, bytes, time)) = brought.last() {
        table.note(format!(
            "The warm start brought in {} entries, {} KiB of keys and values, in {:.2} s.",
            grouped(*entries as f64),
            grouped((bytes / 1024) as f64),
            time.as_secs_f64()
        ));
    }
    job.report.table(table);
    let whole =
        |seen: &[Vec<Window>]| median(&seen.iter().map(|windows| windows[2].from_memory).collect::<Vec<_>>());
    let (with, without) = (whole(&seen[WARM]), whole(&seen[NEITHER]));
    job.report.check(
        "a warm start serves more reads from memory",
        with > without,
        format!("{:.1} % against {:.1} %", with * 100.0, without * 100.0),
    );
    Ok(())
}

fn options(mode: Mode) -> Options {
    let options = child::on_demand().physics(Physics { warm_start: mode.warms, ..Physics::default() });
    if mode.reads_ahead { options } else { options.read_ahead_bytes(0) }
}

/// Loads the database, restarts it so that nothing is hot for having been written, and reads until the list is worth
/// something.
fn fill(job: &Job, dir: &Path, records: Records) -> Outcome<()> {
    let engine = options(MODES[NEITHER]).open(dir)?;
    for number in 0..records.count {
        engine.put(records.key(number), records.value(number))?;
    }
    engine.close()?;
    let engine = options(MODES[WARM]).open(dir)?;
    let mut requests = records.requests(0);
    let end = job.clock.monotonic() + job.pass;
    while job.clock.monotonic() < end {
        for _ in 0..64 {
            black_box(engine.get(requests.key())?);
        }
    }
    Ok(engine.close()?)
}

type Brought = (u64, u64, Duration);

fn first_reads(
    job: &Job,
    dir: &Path,
    records: Records,
    mode: Mode,
    run: u64,
) -> Outcome<(Vec<Window>, Option<Brought>)> {
    drop_page_cache(dir)?;
    let engine = options(mode).open(dir)?;
    let mut requests = records.requests(1 + run);
    let mut latency = Latency::new();
    let mut windows = Vec::new();
    let start = job.clock.monotonic();
    let mut next = start;
    for part in WINDOWS {
        while job.clock.monotonic() < start + job.pass / part {
            for _ in 0..RATE / 1_000 {
                let key = requests.key();
                let begun = job.clock.monotonic();
                black_box(engine.get(key)?);
                latency.record(job.clock.monotonic().saturating_sub(begun));
            }
            next += TICK;
            thread::sleep(next.saturating_sub(job.clock.monotonic()));
        }
        windows.push(Window { from_memory: from_memory(&engine), latency: latency.clone() });
    }
    let warm = engine.cosmic_metrics().warm_start;
    let brought = warm.map(|warm| (warm.entries, warm.bytes, Duration::from_nanos(warm.elapsed_nanos)));
    // Without a close, so that the next run finds the same list.
    drop(engine);
    Ok((windows, brought))
}

/// The share of all reads so far that memory served.
pub(crate) fn from_memory(engine: &WarpEngine) -> f64 {
    let operations = engine.cosmic_metrics().operations;
    (operations.hits - operations.cold_hits) as f64 / operations.gets.max(1) as f64
}
