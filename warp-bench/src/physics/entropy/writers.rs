//! Writers that all want the same shard: their rate and their waits before, while and after the demon moves slots.

use std::time::Duration;

use warp_api::{Demon, Options, Physics, ShardId, WarpEngine};
use warp_io::Clock;

use crate::child;
use crate::clients::clients;
use crate::latency::{Latency, median, median_time};
use crate::physics::Job;
use crate::random::Random;
use crate::report::{Cell, Table};
use crate::run::Outcome;
use crate::series::turns;

const WRITERS: usize = 8;
const HOT_KEYS: usize = 64;
/// Ends of the times that are told apart: the demon first looks a second after writing begins.
const UNTIL: [(&str, Duration); 3] = [
    ("before", Duration::from_millis(800)),
    ("while slots move", Duration::from_millis(2_200)),
    ("after", Duration::from_millis(3_600)),
];
const RUNS: [usize; 3] = [1, 3, 5];
/// Keys among which those of one shard are looked for.
const CANDIDATES: usize = 20_000;
const VALUE: [u8; 100] = [7; 100];
/// Streams of random numbers, one a writer behind it.
const WRITES: u64 = 10;

/// Rates, and the time below which 99 of 100 writes stayed, of one engine in one of the times.
#[derive(Clone, Debug, Default)]
struct Seen {
    rates: Vec<f64>,
    p99: Vec<Duration>,
}

/// What is written to.
const KINDS: [(&str, bool, usize); 3] = [
    ("64 keys of one shard, in memory", false, HOT_KEYS),
    ("64 keys of one shard, with files", true, HOT_KEYS),
    ("one key, with files", true, 1),
];

/// Runs the part.
///
/// # Errors
/// What the engine answers.
pub(super) fn writers(job: &mut Job) -> Outcome<()> {
    let mut table = Table::new(
        format!("{WRITERS} writers of the same hot keys"),
        &["keys", "time", "demon off", "on", "on / off", "p99, off", "p99, on"],
    );
    let kinds = if job.quick { &KINDS[1..2] } else { &KINDS[..] };
    for &(name, has_files, keys) in kinds {
        let mut seen = [const { Vec::new() }; 2];
        seen.fill(vec![Seen::default(); UNTIL.len()]);
        for run in 0..job.size(RUNS) {
            for turn in turns(2, run) {
                let demon = [Demon::Off, Demon::Auto][turn];
                write_all(job, demon, has_files, keys, &mut seen[turn])?;
            }
        }
        for (place, (time, _)) in UNTIL.iter().enumerate() {
            let [off, on] = seen.each_ref().map(|seen| &seen[place]);
            let ratios: Vec<f64> = on.rates.iter().zip(&off.rates).map(|(on, off)| on / off).collect();
            table.row_now([
                Cell::text(name),
                Cell::text(*time),
                Cell::rate(median(&off.rates)),
                Cell::rate(median(&on.rates)),
                Cell::ratio(median(&ratios)),
                Cell::time(median_time(&off.p99)),
                Cell::time(median_time(&on.p99)),
            ]);
        }
    }
    table.note(format!("Medians of {} runs by turns; the demon looks once a second.", job.size(RUNS)));
    table.note("A lock is contended only while its holder runs or is put off the processor: with few processors that is seldom.");
    job.report.table(table);
    Ok(())
}

fn write_all(job: &Job, demon: Demon, has_files: bool, keys: usize, seen: &mut [Seen]) -> Outcome<()> {
    let options: Options = child::on_demand().physics(Physics { demon, ..Physics::default() });
    let dir = job.dir()?;
    let engine = if has_files { options.open(dir.path())? } else { options.in_memory() };
    let hot = hot_keys(&engine, keys)?;
    let start = job.clock.monotonic();
    let times = clients(WRITERS, |writer| {
        let mut random = Random::new(job.seed, WRITES + writer as u64);
        let mut times = vec![Latency::new(); UNTIL.len()];
        let mut now = job.clock.monotonic();
        for (time, (_, until)) in times.iter_mut().zip(UNTIL) {
            while now.saturating_sub(start) < until {
                engine.put(&hot[random.below(hot.len())], VALUE)?;
                let after = job.clock.monotonic();
                time.record(after.saturating_sub(now));
                now = after;
            }
        }
        Ok(times)
    })?;
    let mut begun = Duration::ZERO;
    for (place, (_, until)) in UNTIL.iter().enumerate() {
        let mut all = Latency::new();
        times.iter().for_each(|times| all.add(&times[place]));
        seen[place].rates.push(all.count() as f64 / (*until - begun).as_secs_f64());
        seen[place].p99.extend(all.quantile(0.99));
        begun = *until;
    }
    drop(engine);
    Ok(())
}

/// Keys of one shard.
fn hot_keys(engine: &WarpEngine, count: usize) -> Outcome<Vec<String>> {
    let mut hot = Vec::new();
    for number in 0..CANDIDATES {
        let key = format!("hot:{number}");
        engine.put(&key, VALUE)?;
        let shard = engine.cosmic_get(&key)?.ok_or("a key is not there")?.shard;
        if shard == ShardId(0) {
            hot.push(key);
        }
        if hot.len() == count {
            return Ok(hot);
        }
    }
    Err("too few keys of one shard".into())
}
