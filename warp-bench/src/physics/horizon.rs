//! The event horizon: hit ratios of the cache beside its rivals and the optimum, with sizes and without, and its cost.

mod cost;
mod memory;
#[cfg(feature = "peers")]
mod peers;
mod sized;

use std::path::Path;

use warp_physics::EventHorizonCache;

use super::Job;
use super::policies::{Arc, Lfu, Lirs, Lru, S3Fifo, Sieve, TinyLfu, optimum, replay};
use super::trace::{self, Trace};
use crate::latency::median;
use crate::report::{Cell, Table};
use crate::run::Outcome;

pub(crate) use memory::{CacheArguments, cache};

/// Sizes in per mille of the unique keys.
const SIZES: [usize; 3] = [1, 10, 100];
/// A cache of fewer entries is left out.
const ENTRIES_MIN: usize = 20;
/// The trace of two workloads in turn is replayed at these sizes instead.
const STRESS: &str = "stress-corda-loop";
const STRESS_SIZES: [usize; 2] = [512, 1024];
/// A quick run leaves out traces of more requests.
const QUICK_REQUESTS: usize = 150_000;
/// Half of the traces, on which the settings were chosen; the others were left alone until then.
const TUNED_ON: [&str; 10] = [
    "arc-oltp",
    "arc-p3",
    "c2k-web07",
    "scarab-recs",
    "corda-vault",
    "cp-lcs",
    "lirs-2pools",
    "lirs-gli",
    "lirs-ps",
    "lirs-multi1",
];
const NAMES: [&str; 11] = [
    "horizon",
    "LRU",
    "LFU",
    "perfect LFU",
    "ARC",
    "LIRS",
    "S3-FIFO",
    "SIEVE",
    "W-TinyLFU",
    "W-TinyLFU, adaptive",
    "optimum",
];
const NOTES: [&str; 2] = [
    "Re-implementations but for the horizon, moka, quick_cache and foyer. Perfect LFU knows all uses of all keys.",
    "W-TinyLFU has a window of 1 %, or one that adapts from there.",
];
const OPTIMUM: usize = NAMES.len() - 1;
#[cfg(feature = "peers")]
const PEERS: &[&str] = &["moka", "quick_cache", "foyer, S3-FIFO", "foyer, LFU", "foyer, SIEVE"];
#[cfg(not(feature = "peers"))]
const PEERS: &[&str] = &[];

/// Those that were published as policies: places among the names.
const RESEARCH: [usize; 5] = [4, 5, 6, 8, 9];
/// From so many entries on a cache is compared with the best of them.
const LARGE_ENTRIES: usize = 1_000;

/// Hit ratios of one trace at one size, in the order of the names.
#[derive(Debug)]
struct Row {
    trace: String,
    entries: usize,
    tuned: bool,
    ratios: Vec<f64>,
}

/// Which rows a mean is of.
type Chosen<'a> = &'a dyn Fn(&Row) -> bool;

/// Runs the part.
///
/// # Errors
/// What reading a trace answers.
pub(crate) fn horizon(job: &mut Job) -> Outcome<()> {
    match job.traces.clone() {
        Some(dir) => ratios(job, &dir)?,
        None => println!("\nhorizon: no hit ratios, as there are no traces"),
    }
    cost::cost(job)?;
    memory::memory(job)
}

fn ratios(job: &mut Job, dir: &Path) -> Outcome<()> {
    let columns: Vec<&str> =
        ["trace", "hash", "entries"].into_iter().chain(NAMES).chain(PEERS.iter().copied()).collect();
    let mut table = Table::new("Hit ratio of a replayed trace", &columns);
    let mut sized = sized::tables();
    let mut rows = Vec::new();
    for name in trace::names(dir)? {
        let trace = trace::read(dir, &name)?;
        if job.quick && trace.keys.len() > QUICK_REQUESTS {
            continue;
        }
        let sizes = if name == STRESS {
            STRESS_SIZES.to_vec()
        } else {
            SIZES.iter().map(|size| (trace.unique * size + 500) / 1000).collect()
        };
        for entries in sizes.into_iter().filter(|&entries| entries >= ENTRIES_MIN) {
            let ratios = replays(&trace, entries);
            let head =
                [Cell::text(&name), Cell::text(format!("{:016x}", trace.hash)), Cell::count(entries as u64)];
            table.row_now(head.into_iter().chain(ratios.iter().map(|&ratio| Cell::share(ratio))));
            if name != STRESS {
                rows.push(Row { trace: name.clone(), entries, tuned: TUNED_ON.contains(&&*name), ratios });
            }
        }
        sized::replay_within(&trace, &mut sized);
    }
    NOTES.into_iter().for_each(|note| table.note(note));
    job.report.table(table);
    sized.into_iter().for_each(|table| job.report.table(table));
    means(job, &rows)
}

fn replays(trace: &Trace, entries: usize) -> Vec<f64> {
    let (keys, unique) = (&trace.keys[..], trace.unique);
    let mut ratios = vec![
        ours(entries, keys),
        replay(&mut Lru::new(entries, unique), keys),
        replay(&mut Lfu::new(entries as u64, unique), keys),
        replay(&mut Lfu::perfect(entries as u64, unique), keys),
        replay(&mut Arc::new(entries, unique), keys),
        replay(&mut Lirs::new(entries, unique), keys),
        replay(&mut S3Fifo::new(entries, unique), keys),
        replay(&mut Sieve::new(entries, unique), keys),
        replay(&mut TinyLfu::new(entries, unique), keys),
        replay(&mut TinyLfu::adaptive(entries, unique), keys),
        optimum(entries, unique, keys),
    ];
    #[cfg(feature = "peers")]
    ratios.extend(peers::ratios(entries, keys));
    ratios.shrink_to_fit();
    ratios
}

fn ours(entries: usize, keys: &[u32]) -> f64 {
    let cache: EventHorizonCache<u32, ()> = EventHorizonCache::new(entries as u64);
    for key in keys {
        if cache.get(key).is_none() {
            cache.insert(*key, ());
        }
    }
    cache.stats().hit_ratio().unwrap_or(f64::NAN)
}

fn means(job: &mut Job, rows: &[Row]) -> Outcome<()> {
    if rows.is_empty() {
        return Ok(());
    }
    let names: Vec<&str> = NAMES.into_iter().chain(PEERS.iter().copied()).collect();
    let columns: Vec<&str> = ["mean over", "cells"].into_iter().chain(names.iter().copied()).collect();
    let mut table = Table::new("Mean hit ratio", &columns);
    let mean = |place: usize, chosen: Chosen<'_>| {
        let (sum, count) = rows
            .iter()
            .filter(|row| chosen(row))
            .fold((0.0, 0_u64), |(sum, count), row| (sum + row.ratios[place], count + 1));
        (sum / count as f64, count)
    };
    let groups: [(&str, Chosen<'_>); 3] = [
        ("all", &|_| true),
        ("traces that it was tuned on", &|row| row.tuned),
        ("the other traces", &|row| !row.tuned),
    ];
    for (name, chosen) in groups {
        let (_, count) = mean(0, chosen);
        let cells = (0..names.len()).map(|place| Cell::share(mean(place, chosen).0));
        table.row([Cell::text(name), Cell::count(count)].into_iter().chain(cells));
    }
    let all = |place: usize| mean(place, &|_| true).0;
    let (ours, lru, most) = (all(0), all(1), all(OPTIMUM));
    table.note(format!("Share of the way from LRU to the optimum: {:.3}.", (ours - lru) / (most - lru)));
    job.report.table(table);
    let best = (1..names.len())
        .filter(|&place| place != OPTIMUM)
        .max_by(|&a, &b| all(a).total_cmp(&all(b)))
        .unwrap_or(1);
    let detail =
        format!("{:.2} %, the best of them, {}, {:.2} %", ours * 100.0, names[best], all(best) * 100.0);
    job.report.check("the mean hit ratio is above every rival's", ours > all(best), detail);
    let worst = rows.iter().map(|row| (row.ratios[0] - row.ratios[1], &row.trace));
    let worst = worst.min_by(|(a, _), (b, _)| a.total_cmp(b));
    if let Some((points, trace)) = worst {
        let detail = format!("at worst {:+.2} points, {trace}", points * 100.0);
        job.report.check("never below LRU by more than half a point", points > -0.005, detail);
    }
    let below = rows.iter().filter(|row| row.entries >= LARGE_ENTRIES).map(|row| {
        let best = RESEARCH.iter().map(|&place| row.ratios[place]).fold(0.0, f64::max);
        (row.ratios[0] - best, &row.trace)
    });
    if let Some((points, trace)) = below.min_by(|(a, _), (b, _)| a.total_cmp(b)) {
        let detail = format!("at worst {:+.2} points, {trace}", points * 100.0);
        let name =
            "with 1,000 entries and more within 2 points of the best of ARC, LIRS, S3-FIFO and W-TinyLFU";
        job.report.check(name, points > -0.02, detail);
    }
    let bars: Vec<(String, f64)> =
        names.iter().enumerate().map(|(place, name)| ((*name).to_owned(), all(place) * 100.0)).collect();
    job.plot("horizon.svg", "Mean hit ratio over traces and sizes", "%", &bars)
}

/// The middle one of some repetitions.
fn middle(times: usize, mut once: impl FnMut() -> f64) -> f64 {
    median(&(0..times).map(|_| once()).collect::<Vec<_>>())
}
