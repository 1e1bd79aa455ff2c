//! Traces through the engine's own reads, within a budget of memory.
//!
//! The database holds every key of the trace in one layer, with values so long that about a tenth of the keys has room in
//! memory. The background's work is done between reads, so that a run is repeated by its seed: after each value that came from
//! the layer, as for a program that waits for it, and now and then.

use std::sync::Arc;
use std::time::Duration;

use warp_api::{Background, Environment, Level, Options, Physics, WarpEngine};
use warp_io::{OsDir, SimClock};

use super::Related;
use crate::child;
use crate::physics::Job;
use crate::physics::policies::{Lru, replay};
use crate::physics::trace::Trace;
use crate::random::Random;
use crate::report::{Cell, Table};
use crate::run::Outcome;

/// What the engine may hold, its log's buffer included; and the part of it that is left for entries.
const BUDGET: u64 = 24 << 20;
const LOG_BUFFER: usize = 1 << 20;
const FOR_ENTRIES: u64 = 16 << 20;
/// Reads that are replayed at most.
const REQUESTS: [usize; 3] = [150_000, 1_000_000, usize::MAX];
/// Keys that have room, in per mille of all.
const SIZES: [&[u64]; 3] = [&[100], &[100], &[100, 10]];
/// Reads between two rounds of background work; time passes by so much a read.
const STEP_READS: usize = 8;
const READ_TIME: Duration = Duration::from_micros(20);
/// Streams of random numbers.
const VALUES: u64 = 1;

/// Ways to learn: which reads are looked at, and whether partners are fetched.
const MODES: [(&str, Option<u32>, bool); 4] = [
    ("none", None, false),
    ("all reads looked at, nothing fetched", Some(1), false),
    ("all reads looked at", Some(1), true),
    ("64 of 4,096 (default)", Some(4096), true),
];

/// What a replay came to, as the engine counted it.
struct Replayed {
    hit_ratio: f64,
    /// Values that were read from the layer.
    reads: u64,
    fetched: u64,
    fetched_used: u64,
    precision: Option<f64>,
    entries: u64,
}

pub(super) fn replays(job: &mut Job, traces: &[(Trace, Related)]) -> Outcome<()> {
    let mut table = Table::new(
        format!("Learned partners in the engine, a budget of {} MiB of memory", BUDGET >> 20),
        &[
            "trace",
            "hash",
            "reads",
            "related keys",
            "value",
            "learning",
            "served from memory",
            "beyond none",
            "backend reads / none's",
            "fetched",
            "used of them",
            "came true",
            "entries in memory",
            "LRU of as many",
        ],
    );
    let (mut worst, mut most, mut bars) = (f64::INFINITY, 0.0_f64, Vec::new());
    for (trace, related) in traces {
        for size in job.size(SIZES) {
            let room = (trace.unique as u64 * size / 1000).max(1);
            let value_bytes = usize::try_from(FOR_ENTRIES / room)?;
            let dir = job.dir()?;
            fill(job, dir.path(), trace, value_bytes)?;
            let requests = &trace.keys[..trace.keys.len().min(job.size(REQUESTS))];
            let mut none: Option<Replayed> = None;
            let mut unfetched = f64::NAN;
            for (name, every, fetches) in MODES {
                let replayed = replay_through(job, dir.path(), requests, every, fetches)?;
                let base = none.as_ref().unwrap_or(&replayed);
                let gained = replayed.hit_ratio - base.hit_ratio;
                let reads = replayed.reads as f64 / base.reads as f64;
                match (every, fetches) {
                    (Some(1), false) => unfetched = replayed.hit_ratio,
                    (Some(1), true) if *related == Related::No => {
                        worst = worst.min(replayed.hit_ratio - unfetched);
                        most = most.max(reads);
                    }
                    _ => {}
                }
                bars.push((
                    format!("{} ({size} of 1,000 keys), {name}", trace.name),
                    replayed.hit_ratio * 100.0,
                ));
                let used = replayed.fetched > 0;
                let used = used.then(|| Cell::share(replayed.fetched_used as f64 / replayed.fetched as f64));
                let lru = Lru::new(usize::try_from(replayed.entries)?.max(1), trace.unique);
                table.row_now([
                    Cell::text(&trace.name),
                    Cell::text(format!("{:016x}", trace.hash)),
                    Cell::count(requests.len() as u64),
                    related.cell(),
                    Cell::bytes(value_bytes as u64),
                    Cell::text(name),
                    Cell::share(replayed.hit_ratio),
                    Cell::number(gained * 100.0, " points"),
                    Cell::ratio(reads),
                    Cell::count(replayed.fetched),
                    used.unwrap_or(Cell::Absent(())),
                    replayed.precision.map_or(Cell::Absent(()), Cell::share),
                    Cell::count(replayed.entries),
                    Cell::share(replay(&mut { lru }, requests)),
                ]);
                none.get_or_insert(replayed);
            }
        }
    }
    table.note("Came true: of all predictions, read within 32 reads. What learning takes of the budget is not there for entries.");
    table.note(format!(
        "Background work after each value that came from the layer, and after every {STEP_READS} reads; {} us of time a read; values that \
         cannot be packed, every key in one layer.",
        READ_TIME.as_micros()
    ));
    job.report.table(table);
    job.plot("entanglement.svg", "Reads served from memory, with learned partners and without", "%", &bars)?;
    if worst.is_finite() {
        let detail =
            format!("at worst {:+.2} points, with at most {most:.2} x the reads of none", worst * 100.0);
        job.report.check(
            "fetching partners does not harm unrelated keys in the engine",
            worst > -0.002 && most < 1.05,
            detail,
        );
    }
    Ok(())
}

fn fill(job: &Job, dir: &std::path::Path, trace: &Trace, value_bytes: usize) -> Outcome<()> {
    let engine = child::on_demand().open(dir)?;
    let mut random = Random::new(job.seed, VALUES);
    let mut value = vec![0; value_bytes];
    for key in 0..u32::try_from(trace.unique)? {
        value.chunks_mut(8).for_each(|chunk| {
            let length = chunk.len();
            chunk.copy_from_slice(&random.next_u64().to_le_bytes()[..length]);
        });
        engine.put(key.to_le_bytes(), &value)?;
    }
    Ok(engine.close()?)
}

fn replay_through(
    job: &Job,
    dir: &std::path::Path,
    requests: &[u32],
    every: Option<u32>,
    fetches: bool,
) -> Outcome<Replayed> {
    let defaults = Physics::default();
    let physics = Physics {
        warm_start: false,
        learning: every.is_some(),
        learning_every: every.unwrap_or(defaults.learning_every),
        prefetch_bytes: if fetches { u64::MAX } else { 0 },
        ..defaults
    };
    let options = child::on_demand()
        .physics(physics)
        .memory_budget(BUDGET)
        .log_buffer_bytes(LOG_BUFFER)
        .compress_values_from(usize::MAX);
    let clock = SimClock::new(0);
    let environment = Environment {
        clock: Arc::new(clock.clone()),
        seed: job.seed,
        background: Background::Stepped,
        ..Environment::default()
    };
    let engine: WarpEngine = Options::open_in(options, &OsDir::open(dir, false)?, environment)?;
    for (number, key) in requests.iter().enumerate() {
        let observed = engine.cosmic_get(key.to_le_bytes())?.ok_or("a key is not there")?;
        if observed.level == Level::Cold || number % STEP_READS == 0 {
            engine.step();
        }
        clock.advance(READ_TIME);
    }
    let metrics = engine.cosmic_metrics();
    let (learning, fetching) = (metrics.entanglement.learning, metrics.entanglement.fetching);
    let operations = metrics.operations;
    let replayed = Replayed {
        hit_ratio: (operations.hits - operations.cold_hits) as f64 / operations.gets as f64,
        reads: operations.cold_hits + fetching.reads,
        fetched: fetching.fetched,
        fetched_used: fetching.fetched_seen_used,
        precision: learning.precision,
        entries: metrics.regions[0].entries,
    };
    // Without a close: nothing was written.
    drop(engine);
    Ok(replayed)
}
