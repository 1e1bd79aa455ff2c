//! What the cache costs: nanoseconds of hits and misses, throughput of threads, bytes an entry.

#![expect(clippy::cast_possible_truncation, reason = "numbers of keys are far below 2^32")]

use std::hint::black_box;

use warp_core::KeyRef;
use warp_io::Clock;
use warp_physics::EventHorizonCache;

use super::middle;
use crate::latency::Latency;
use crate::physics::Job;
use crate::random::Random;
use crate::report::{Cell, Table};
use crate::run::Outcome;

const ENTRIES: usize = 100_000;
const OPERATIONS: usize = 2_000_000;
const OPERATIONS_QUICK: usize = 200_000;
const REPEATS: usize = 5;
/// Of the table that has no policy.
const SHARDS: u16 = 8;
const HASH_SEED: u64 = 9;

/// A cache that is asked, and filled where it misses.
pub(super) trait Cache: Sync {
    fn has(&self, key: u32) -> bool;
    fn put(&self, key: u32);

    /// Evicts what is beyond the capacity, for one that does so by and by.
    #[cfg(feature = "peers")]
    fn settle(&self) {}

    /// Whether it has the key, which it does from now on.
    fn ask(&self, key: u32) -> bool {
        let hit = self.has(key);
        if !hit {
            self.put(key);
        }
        hit
    }
}

#[derive(Debug)]
pub(super) struct Ours(EventHorizonCache<u32, u64>);

impl Ours {
    pub(super) fn new(entries: usize) -> Ours {
        Ours(EventHorizonCache::new(entries as u64))
    }
}

impl Cache for Ours {
    fn has(&self, key: u32) -> bool {
        self.0.get(&key).is_some()
    }

    fn put(&self, key: u32) {
        self.0.insert(key, u64::from(key));
    }
}

/// The engine's table alone, which keeps everything: what a look-up costs without a policy.
#[derive(Debug)]
struct Bare(warp_core::Table);

impl Bare {
    fn new() -> Bare {
        Bare(warp_core::Table::new(SHARDS, HASH_SEED))
    }
}

impl Cache for Bare {
    fn has(&self, key: u32) -> bool {
        self.0.with(KeyRef::new(HASH_SEED, 0, &key.to_le_bytes()), |entry| entry.seq()).is_some()
    }

    fn put(&self, key: u32) {
        let key = key.to_le_bytes();
        // Far from what a table can hold.
        let _ = self.0.put(KeyRef::new(HASH_SEED, 0, &key), &[0; 8], 1, 0);
    }
}

#[cfg(feature = "peers")]
use super::peers::all;

#[cfg(not(feature = "peers"))]
fn all(entries: usize) -> Vec<(&'static str, Box<dyn Cache>)> {
    vec![("horizon", Box::new(Ours::new(entries)))]
}

/// Measures and reports.
///
/// # Errors
/// None of its own.
pub(super) fn cost(job: &mut Job) -> Outcome<()> {
    let operations = if job.quick { OPERATIONS_QUICK } else { OPERATIONS };
    let mut table = Table::new(
        "Cost of a cache of 100,000 entries",
        &["cache", "hit", "hit p50", "hit p99", "miss", "mixed, 1 thread", "mixed, 2 threads"],
    );
    let mut caches = all(ENTRIES);
    caches.push(("none: the engine's table", Box::new(Bare::new())));
    for (name, cache) in &caches {
        let cache = &**cache;
        // Keys that are asked for often stay; the mix asks for them and for ten times as many others.
        let hot = |random: &mut Random| random.below(ENTRIES / 2) as u32;
        let mut random = Random::new(1, 1);
        for _ in 0..10 * ENTRIES {
            black_box(cache.ask(hot(&mut random)));
        }
        let hits: Vec<u32> = (0..operations).map(|_| hot(&mut random)).collect();
        let hit = middle(REPEATS, || each(job, &hits, cache));
        let mut latency = Latency::new();
        for &key in &hits[..operations / 10] {
            let start = job.clock.monotonic();
            black_box(cache.ask(key));
            latency.record(job.clock.monotonic().saturating_sub(start));
        }
        let mut fresh = 1_u32 << 24;
        let miss = middle(REPEATS, || {
            let keys: Vec<u32> = (0..operations / 10).map(|turn| fresh + turn as u32).collect();
            fresh += keys.len() as u32;
            each(job, &keys, cache)
        });
        let mixed: Vec<u32> =
            (0..operations).map(|_| ((ENTRIES * 10) as f64 * random.unit().powi(4)) as u32).collect();
        let [one, two] = [1, 2].map(|threads| middle(REPEATS, || throughput(job, &mixed, cache, threads)));
        let nanoseconds = |value: f64| Cell::number(value, " ns");
        let quantile = |share| latency.quantile(share).map_or(Cell::Absent(()), Cell::time);
        table.row([
            Cell::text(*name),
            nanoseconds(hit),
            quantile(0.5),
            quantile(0.99),
            nanoseconds(miss),
            Cell::rate(one),
            Cell::rate(two),
        ]);
    }
    table.note("A hit among 50,000 hot keys; p50 and p99 with the two readings of the clock in them; a miss is a look-up");
    table.note("and an insert of a new key, learning included; mixed: a skewed draw from a million keys. The table alone keeps");
    table.note("all keys that it was ever given, so that only its hits compare.");
    job.report.table(table);
    Ok(())
}

/// Nanoseconds of one question.
fn each(job: &Job, keys: &[u32], cache: &dyn Cache) -> f64 {
    let start = job.clock.monotonic();
    for &key in keys {
        black_box(cache.ask(key));
    }
    job.clock.monotonic().saturating_sub(start).as_secs_f64() * 1e9 / keys.len() as f64
}

/// Questions a second of several threads, each with its own order of the same keys.
fn throughput(job: &Job, keys: &[u32], cache: &dyn Cache, threads: usize) -> f64 {
    let start = job.clock.monotonic();
    std::thread::scope(|scope| {
        for thread in 0..threads {
            scope.spawn(move || {
                let (early, late) = keys.split_at(keys.len() * thread / threads);
                for &key in late.iter().chain(early) {
                    black_box(cache.ask(key));
                }
            });
        }
    });
    (threads * keys.len()) as f64 / job.clock.monotonic().saturating_sub(start).as_secs_f64()
}
