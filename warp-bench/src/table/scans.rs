//! Ordered scans through the engine: the first one, which puts the keys in order, and those that follow.
//!
//! ```text
//! groups (keys, what must be found) ─┬─ first (beside a writer)
//! stores (engines, a map) ───────────┴─ rates, latencies
//! ```

mod first;
mod groups;
mod stores;

use std::path::Path;
use std::time::Duration;

use warp_api::WarpEngine;
use warp_io::Clock;

use self::first::{First, first};
use self::groups::{GROUP_KEYS, Groups, Span};
use self::stores::{Map, Ordered, Way};
use super::job::Job;
use super::store::Seen;
use crate::keys::value;
use crate::latency::{Latency, median_time};
use crate::random::Random;
use crate::report::{Cell, Table, grouped};
use crate::run::Outcome;
use crate::series::{Series, turns};
use crate::timed::Timed;

/// Prefixes of a run, each with a time of its own.
const PREFIXES: usize = 20_000;
const PREFIXES_QUICK: usize = 500;
/// Groups of one range.
const RANGE_GROUPS: usize = 100;
/// The streams of random numbers that ranges and prefixes are drawn from.
const RANGES_STREAM: u64 = 1;
const PREFIXES_STREAM: u64 = 2;
const QUANTILES: [f64; 4] = [0.5, 0.99, 0.999, 1.0];

const IN_MEMORY: &str = "ours, in memory";
const ON_DISK: &str = "ours, on the disk";
const MAP: &str = "BTreeMap";

type Named<'a> = (&'a str, &'a dyn Ordered);
/// A span, and what a scan of it must find.
type Asked = (Span, Seen);

/// Fills two engines, one of them on the disk, and a map; then scans them.
///
/// # Errors
/// What an engine and the system answer.
pub(crate) fn scans(job: &mut Job, dir: &Path) -> Outcome<()> {
    let dir = tempfile::tempdir_in(dir)?;
    let groups = Groups::new(job.seed, job.sizes.keys);
    let (in_memory, on_disk, map) = (WarpEngine::in_memory(), WarpEngine::open(dir.path())?, Map::default());
    let mut firsts = Vec::new();
    for (name, engine) in [(IN_MEMORY, &in_memory), (ON_DISK, &on_disk)] {
        fill(job, name, engine, &groups)?;
        if name == ON_DISK {
            engine.checkpoint()?;
        }
        job.say(&format!("first scan, {name}"));
        firsts.push((name, first(engine, &groups.keys, &job.clock)?));
    }
    report_firsts(job, &firsts, groups.keys.len());
    fill(job, MAP, &map, &groups)?;
    let stores: [Named<'_>; 3] = [(IN_MEMORY, &in_memory), (ON_DISK, &on_disk), (MAP, &map)];
    let mut wrong = Vec::new();
    rates(job, &stores, &groups, &mut wrong)?;
    latencies(job, &stores, &groups, &mut wrong)?;
    let detail = wrong.first().cloned().unwrap_or_else(|| "in all stores".to_owned());
    job.report.check("every scan saw all of its keys, each once and in order", wrong.is_empty(), detail);
    Ok(())
}

fn fill(job: &Job, name: &str, store: &dyn Ordered, groups: &Groups) -> Outcome<()> {
    job.say(&format!("filling {name}"));
    groups.keys.iter().try_for_each(|key| store.put(key, &value(key)))
}

fn report_firsts(job: &mut Job, firsts: &[(&str, First)], keys: usize) {
    let mut table = Table::new(
        format!("The first scan of {} keys, beside a writer", grouped(keys as f64)),
        &["store", "what", "measured", "target"],
    );
    let mut puts =
        Table::new("Puts of that writer", &["store", "beside", "puts", "p50", "p99", "p99.9", "longest"]);
    for (name, first) in firsts {
        let each = |bytes: u64| Cell::number(bytes as f64 / keys as f64, " B");
        for (what, cell, target) in [
            ("time to the first item", Cell::time(first.time), "<= 5 s at 10 million"),
            ("order, RssAnon an entry", each(first.grown_bytes), "<= 16 B"),
            ("order, an entry by the engine's own count", each(first.order_bytes), "<= 16 B"),
        ] {
            table.row([Cell::text(*name), Cell::text(what), cell, Cell::text(target)]);
        }
        for (beside, latency) in [("the first scan", &first.puts), ("nobody", &first.puts_alone)] {
            let title = [Cell::text(*name), Cell::text(beside), Cell::count(latency.count())];
            puts.row(title.into_iter().chain(latency.cells()));
        }
    }
    table
        .note("On the disk, a checkpoint was taken just before. RssAnon is the growth of the whole process.");
    puts.note(
        "By a thread that sleeps for 20 us after each, one in 64 of a new key; beside nobody for as long as",
    );
    puts.note("beside the scan. What is as long in both is the machine's, or the log's.");
    job.report.table(table);
    job.report.table(puts);
    let sees_new = firsts.iter().all(|(_, first)| first.sees_new);
    job.report.check("what was new during the first scan is in the next one", sees_new, "in both engines");
}

/// Scans of everything, and of ranges.
fn rates(job: &mut Job, stores: &[Named<'_>], groups: &Groups, wrong: &mut Vec<String>) -> Outcome<()> {
    let mut random = Random::new(job.seed, RANGES_STREAM);
    let ranges = (job.sizes.operations / (RANGE_GROUPS * GROUP_KEYS)).max(1);
    let ranges: Vec<Asked> = (0..ranges).map(|_| groups.any_groups(RANGE_GROUPS, &mut random)).collect();
    let all = [groups.all()];
    let mut table = Table::new(
        format!("Keys a second of scans, {} keys", grouped(groups.keys.len() as f64)),
        &["scan", "way", "store", "median", "least", "most", "target"],
    );
    for (what, asked) in [("iter", &all[..]), ("range", &ranges[..])] {
        for way in Way::ALL {
            job.say(&format!("{what}, {}", way.name()));
            let keys: u64 = asked.iter().map(|(_, seen)| seen.hits).sum();
            let mut series = Series::new(stores.len());
            for run in 0..job.sizes.runs {
                for place in turns(stores.len(), run) {
                    let (outcome, time) = job
                        .time(|| asked.iter().try_for_each(|asked| scan(stores[place], *asked, way, wrong)));
                    outcome?;
                    series.push(place, keys as f64 / time.as_secs_f64());
                }
            }
            for (place, (name, _)) in stores.iter().enumerate() {
                let target = if *name == MAP { "" } else { ">= 3 million/s" };
                let title = [what, way.name(), name].map(Cell::text);
                let cells = title.into_iter().chain(series.cells(place));
                table.row(cells.chain([Cell::text(target)]));
            }
        }
    }
    table.note(format!(
        "Medians of {} by turns. An iter is of everything, a range of {} keys. Every eighth byte of a value is added up.",
        job.sizes.runs,
        grouped((RANGE_GROUPS * GROUP_KEYS) as f64),
    ));
    table.note(
        "An engine hands out keys and values that outlive the scan, and stops no writer; the map is read in",
    );
    table.note("place, under a lock that stops every writer until the scan ends: for orientation.");
    job.report.table(table);
    Ok(())
}

/// Scans of one prefix each, every one timed.
fn latencies(job: &mut Job, stores: &[Named<'_>], groups: &Groups, wrong: &mut Vec<String>) -> Outcome<()> {
    let mut random = Random::new(job.seed, PREFIXES_STREAM);
    let prefixes = if job.quick { PREFIXES_QUICK } else { PREFIXES };
    let asked: Vec<Asked> = (0..prefixes).map(|_| groups.any_group(&mut random)).collect();
    let mut table = Table::new(
        format!("scan_prefix of {GROUP_KEYS} keys each, {} prefixes", grouped(prefixes as f64)),
        &["way", "what", "p50", "p99", "p99.9", "longest", "longest of all runs", "target"],
    );
    for way in Way::ALL {
        job.say(&format!("scan_prefix, {}", way.name()));
        let (mut runs, mut clock) = (vec![Vec::new(); stores.len()], Vec::new());
        for run in 0..job.sizes.runs {
            for place in turns(stores.len(), run) {
                runs[place].push(timed(job, stores[place], &asked, way, wrong)?);
            }
            let length = runs[0].last().and_then(|latency| latency.quantile(0.5)).unwrap_or_default();
            clock.push(clock_alone(job, prefixes, length));
        }
        for ((name, _), runs) in stores.iter().zip(&runs) {
            let target = if *name == MAP { "" } else { "p99 <= 50 us" };
            table.row(cells(way, name, runs, target));
        }
        table.row(cells(way, "the clock alone", &clock, ""));
    }
    table.note(format!(
        "Medians of the quantiles of {} runs by turns. The clock alone is read, as often as there are prefixes, until the",
        job.sizes.runs
    ));
    table.note("first store's p50 has passed: what takes longer is a pause of the machine, and a scan has its share of them.");
    job.report.table(table);
    Ok(())
}

fn timed(
    job: &Job,
    store: Named<'_>,
    asked: &[Asked],
    way: Way,
    wrong: &mut Vec<String>,
) -> Outcome<Latency> {
    let mut latency = Latency::new();
    for asked in asked {
        let (outcome, time) = job.time(|| scan(store, *asked, way, wrong));
        outcome?;
        latency.record(time);
    }
    Ok(latency)
}

/// Does nothing but read the clock until `length` has passed, so many times.
fn clock_alone(job: &Job, count: usize, length: Duration) -> Latency {
    let mut latency = Latency::new();
    for _ in 0..count {
        let start = job.clock.monotonic();
        let mut passed = Duration::ZERO;
        while passed < length {
            passed = job.clock.monotonic().saturating_sub(start);
        }
        latency.record(passed);
    }
    latency
}

fn scan((name, store): Named<'_>, (span, expected): Asked, way: Way, wrong: &mut Vec<String>) -> Outcome<()> {
    let walk = store.scan(span, way)?;
    if !walk.is_right(expected) {
        wrong.push(format!("{name}, {span:?} {}: {walk:?} instead of {expected:?}", way.name()));
    }
    Ok(())
}

fn cells(way: Way, what: &str, runs: &[Latency], target: &str) -> Vec<Cell> {
    let of_runs =
        |share: f64| -> Vec<Duration> { runs.iter().filter_map(|run| run.quantile(share)).collect() };
    let mut cells = vec![Cell::text(way.name()), Cell::text(what)];
    cells.extend(QUANTILES.map(|share| Cell::time(median_time(&of_runs(share)))));
    cells.extend([Cell::time(of_runs(1.0).into_iter().max().unwrap_or_default()), Cell::text(target)]);
    cells
}
