//! What regions are worth to the engine's own reads: keys in the order of the regions that they lie in, against the order in which they
//! were asked for.
//!
//! A fetch that has to cross from one region to another would pay for being grouped by region. Inside one process it can only gain
//! what neighbouring places in memory, or in a file, give.

use std::hint::black_box;

use warp_api::{Key, Keyspace, Physics, WarpEngine};
use warp_io::Clock;

use crate::child;
use crate::fromdisk::drop_page_cache;
use crate::latency::median;
use crate::physics::Job;
use crate::random::Random;
use crate::report::{Cell, Table, grouped};
use crate::run::Outcome;
use crate::series::turns;

/// Entries: half of them in the default keyspace, and an eighth in each of the others.
const ENTRIES: [u32; 3] = [40_000, 2_000_000, 8_000_000];
const KEYSPACES: [&str; 4] = ["north", "east", "south", "west"];
const VALUE_BYTES: usize = 100;
/// Keys of a call.
const CALL_KEYS: usize = 32;
/// Calls of a pass in memory, of one from the disk, and passes of which the medians are reported.
const CALLS: [usize; 3] = [500, 20_000, 40_000];
const COLD_CALLS: [usize; 3] = [20, 100, 100];
const REPEATS: [usize; 3] = [3, 7, 7];
/// Streams of random numbers.
const VALUES: u64 = 21;
const CHOSEN: u64 = 22;

/// The keys of a call, each with the number of its keyspace.
type Call = Vec<(usize, Key)>;

/// A way of reading, and the region by which keys are grouped.
#[derive(Clone, Copy)]
enum Way {
    /// One call for all, by shard.
    MultiGet,
    /// Get by get, by shard.
    Gets,
    /// Get by get in four keyspaces, by keyspace.
    Keyspaces,
}

const WAYS: [(&str, Way); 3] = [
    ("multi_get, by shard", Way::MultiGet),
    ("gets, by shard", Way::Gets),
    ("gets in four keyspaces, by keyspace", Way::Keyspaces),
];

pub(super) fn grouped_fetches(job: &mut Job) -> Outcome<()> {
    let entries = job.size(ENTRIES);
    let dir = job.dir()?;
    let options =
        child::on_demand().read_ahead_bytes(0).physics(Physics { warm_start: false, ..Physics::default() });
    let engine = options.clone().open(dir.path())?;
    fill(job, &engine, entries)?;
    let mut table = Table::new(
        format!("Fetches of {CALL_KEYS} keys of {} grouped by region", grouped(f64::from(entries))),
        &["where", "what", "as asked, a key", "grouped, a key", "as asked / grouped"],
    );
    let mut random = Random::new(job.seed, CHOSEN);
    for (what, way) in WAYS {
        let mut nanos = [Vec::new(), Vec::new()];
        for run in 0..job.size(REPEATS) {
            let both = calls(&engine, &mut random, way, entries, job.size(CALLS))?;
            let spaces = keyspaces(&engine)?;
            for turn in turns(2, run) {
                nanos[turn].push(pass(job, &engine, &spaces, way, &both[turn])?);
            }
        }
        row(&mut table, "memory", what, &nanos);
    }
    engine.close()?;
    let mut nanos = [Vec::new(), Vec::new()];
    for run in 0..job.size(REPEATS) {
        let engine = options.clone().open(dir.path())?;
        let both = calls(&engine, &mut random, Way::MultiGet, entries, job.size(COLD_CALLS))?;
        engine.close()?;
        for turn in turns(2, run) {
            drop_page_cache(dir.path())?;
            let engine = options.clone().open(dir.path())?;
            nanos[turn].push(pass(job, &engine, &[], Way::MultiGet, &both[turn])?);
            engine.close()?;
        }
    }
    row(&mut table, "disk, page cache dropped", "multi_get, by shard", &nanos);
    table.note(format!(
        "Medians of {} passes by turns over keys at random, ratios within a pass.",
        job.size(REPEATS)
    ));
    job.report.table(table);
    Ok(())
}

fn row(table: &mut Table, place: &str, what: &str, [asked, grouped]: &[Vec<f64>; 2]) {
    let ratios: Vec<f64> = asked.iter().zip(grouped).map(|(asked, grouped)| asked / grouped).collect();
    table.row([
        Cell::text(place),
        Cell::text(what),
        Cell::number(median(asked), " ns"),
        Cell::number(median(grouped), " ns"),
        Cell::ratio(median(&ratios)),
    ]);
}

fn name(number: u32) -> [u8; 4] {
    number.to_le_bytes()
}

fn fill(job: &Job, engine: &WarpEngine, entries: u32) -> Outcome<()> {
    let mut random = Random::new(job.seed, VALUES);
    let mut value = [0; VALUE_BYTES];
    let spaces = keyspaces(engine)?;
    for number in 0..entries {
        value[..8].copy_from_slice(&random.next_u64().to_le_bytes());
        match spaces.get(number as usize % (2 * KEYSPACES.len())) {
            Some(space) => space.put(name(number), value)?,
            None => engine.put(name(number), value)?,
        };
    }
    Ok(())
}

fn keyspaces(engine: &WarpEngine) -> Outcome<Vec<Keyspace>> {
    Ok(KEYSPACES.iter().map(|name| engine.keyspace(name)).collect::<Result<_, _>>()?)
}

/// Calls with keys as they are asked for, and the same ones grouped.
fn calls(
    engine: &WarpEngine,
    random: &mut Random,
    way: Way,
    entries: u32,
    count: usize,
) -> Outcome<[Vec<Call>; 2]> {
    let kinds = 2 * KEYSPACES.len();
    let mut both = [Vec::with_capacity(count), Vec::with_capacity(count)];
    for _ in 0..count {
        let mut call: Call = Vec::with_capacity(CALL_KEYS);
        while call.len() < CALL_KEYS {
            let number = random.below(entries as usize);
            let kind = number % kinds;
            if (kind < KEYSPACES.len()) == matches!(way, Way::Keyspaces) {
                call.push((kind, Key::from(&name(u32::try_from(number)?)[..])));
            }
        }
        both[0].push(call.clone());
        match way {
            Way::Keyspaces => call.sort_by_key(|(space, _)| *space),
            Way::MultiGet | Way::Gets => {
                let mut by_shard = Vec::with_capacity(CALL_KEYS);
                for (space, key) in call {
                    let observed = engine.cosmic_get(&key)?.ok_or("a key is not there")?;
                    by_shard.push((observed.shard, (space, key)));
                }
                by_shard.sort_by_key(|(shard, _)| *shard);
                call = by_shard.into_iter().map(|(_, key)| key).collect();
            }
        }
        both[1].push(call);
    }
    Ok(both)
}

/// Reads all; returns nanoseconds a key.
fn pass(job: &Job, engine: &WarpEngine, spaces: &[Keyspace], way: Way, calls: &[Call]) -> Outcome<f64> {
    let keys: Vec<Vec<&Key>> = calls.iter().map(|call| call.iter().map(|(_, key)| key).collect()).collect();
    let start = job.clock.monotonic();
    match way {
        Way::MultiGet => {
            for call in &keys {
                black_box(engine.multi_get(call)?);
            }
        }
        Way::Gets => {
            for key in keys.iter().flatten() {
                black_box(engine.get(key)?);
            }
        }
        Way::Keyspaces => {
            for (space, key) in calls.iter().flatten() {
                black_box(spaces[*space].get(key)?);
            }
        }
    }
    let time = job.clock.monotonic().saturating_sub(start);
    Ok(time.as_nanos() as f64 / (calls.len() * CALL_KEYS) as f64)
}
