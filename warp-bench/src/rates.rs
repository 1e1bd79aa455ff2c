//! The engine's rates against those of the bare table that it is built on, and against itself without physics.

use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tempfile::TempDir;
use warp_api::{Durability, Physics, WarpEngine};
use warp_core::{KeyRef, Table as BareTable};
use warp_io::Clock;

use crate::child;
use crate::clients::clients;
use crate::corpus::Corpus;
use crate::latency::{Latency, median};
use crate::load::put_all;
use crate::plan::THREADS;
use crate::promises::Promise;
use crate::report::{Cell, Table, grouped};
use crate::run::{Outcome, Run};

/// Shards of the bare table: as many as leave two writers undisturbed most of the time.
const TABLE_SHARDS: u16 = 64;
/// Any keyspace and seed do for a table that is not logged.
const TABLE_KEYSPACE: u32 = 1;
const TABLE_SEED: u64 = 0x5EED;
/// Client threads of the synced puts, which share syncs.
const SYNC_THREADS: [usize; 3] = [1, 2, 8];

/// What is measured: somewhere to put values, and to get them back.
trait Store: Sync {
    fn put(&self, key: &[u8], value: &[u8]) -> Outcome<()>;
    /// Hands out the value; returns whether there was one.
    fn get(&self, key: &[u8]) -> Outcome<bool>;
    /// Waits until work that was left for later is done, so that it does not run into the next pass.
    fn settle(&self) -> Outcome<()>;
}

impl Store for WarpEngine {
    fn put(&self, key: &[u8], value: &[u8]) -> Outcome<()> {
        WarpEngine::put(self, key, value)?;
        Ok(())
    }

    fn get(&self, key: &[u8]) -> Outcome<bool> {
        Ok(black_box(WarpEngine::get(self, key)?).is_some())
    }

    fn settle(&self) -> Outcome<()> {
        Ok(self.sync()?)
    }
}

/// The bare table, written to as the engine writes to it: hash, lock, next sequence number, put.
#[derive(Debug)]
struct Bare {
    table: BareTable,
    seq: AtomicU64,
}

impl Store for Bare {
    fn put(&self, key: &[u8], value: &[u8]) -> Outcome<()> {
        let key = KeyRef::new(TABLE_SEED, TABLE_KEYSPACE, key);
        let prepared = self.table.prepare(key, value, 0)?;
        let mut guard = self.table.lock(key.hash);
        let seq = self.seq.fetch_add(1, Ordering::Relaxed);
        black_box(guard.put(prepared, seq));
        Ok(())
    }

    fn get(&self, key: &[u8]) -> Outcome<bool> {
        let entry = self.table.get(KeyRef::new(TABLE_SEED, TABLE_KEYSPACE, key));
        Ok(black_box(entry).is_some())
    }

    fn settle(&self) -> Outcome<()> {
        Ok(())
    }
}

/// Loads engine, engine without physics, and table alike, and measures them by turns.
///
/// # Errors
/// What the engine answers.
pub(crate) fn rates(run: &mut Run) -> Outcome<()> {
    // Directories first, so that they are removed after the engines are gone.
    let (_full_dir, full) = loaded(run, Physics::default())?;
    let (_plain_dir, plain) = loaded(run, Physics::off())?;
    let bare = Bare { table: BareTable::new(TABLE_SHARDS, TABLE_SEED), seq: AtomicU64::new(1) };
    for record in 0..run.fields() {
        let (key, value) = run.data.corpus.record(record);
        bare.put(key, value)?;
    }
    // Drawn apart, so that a get does not find in the caches what the put before it has left there.
    let (requests, reads) = (requests(run), requests(run));
    let stores: [&dyn Store; 3] = [&full, &bare, &plain];
    let mut table = Table::new(
        "The engine against the bare table under it (put: Interval)",
        &[
            "threads",
            "what",
            "engine",
            "bare table",
            "engine / table",
            "engine, physics off",
            "physics costs",
            "least .. most",
        ],
    );
    run.bar.set_length((THREADS * run.plan.repeats) as u64);
    for threads in 1..=THREADS {
        let rounds = rounds(run, &stores, [&requests, &reads], threads)?;
        for (what, rates) in [("put", &rounds.puts), ("get", &rounds.gets)] {
            let [engine, bare, plain] = rates.each_ref().map(|rates| median(rates));
            let of_bare = median(&ratios(&rates[0], &rates[1]));
            let costs: Vec<f64> = ratios(&rates[2], &rates[0]).iter().map(|ratio| ratio - 1.0).collect();
            let cost = median(&costs);
            table.row([
                Cell::count(threads as u64),
                Cell::text(what),
                Cell::rate(engine),
                Cell::rate(bare),
                Cell::ratio(of_bare),
                Cell::rate(plain),
                Cell::share(cost),
                Cell::text(spread(&costs)),
            ]);
            if threads == 1 {
                promise(run, what, engine, cost);
            }
        }
    }
    table.note(format!(
        "Medians of {} repetitions by turns, ratios within a repetition; {} operations each on random fields of",
        run.plan.repeats,
        grouped(run.plan.pass as f64)
    ));
    table
        .note("characters, for each store the same. The log's sync after a pass of puts is not in the pass.");
    run.report.table(table);
    synced(run, &full, &requests)
}

/// Ratios within each repetition: what disturbs one of the two disturbs its neighbour too.
fn ratios(over: &[f64], under: &[f64]) -> Vec<f64> {
    over.iter().zip(under).map(|(over, under)| over / under).collect()
}

/// The smallest and the largest of some shares, which tell how much of their median is noise.
fn spread(shares: &[f64]) -> String {
    let least = shares.iter().copied().fold(f64::INFINITY, f64::min);
    let most = shares.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    format!("{:.1} .. {:.1} %", least * 100.0, most * 100.0)
}

fn promise(run: &mut Run, what: &str, rate: f64, physics_cost: f64) {
    if what == "put" {
        run.promises.measured(Promise::Put, rate, "1 thread, Interval");
    } else {
        run.promises.measured(Promise::Get, rate, "1 thread, in memory");
    }
    run.promises.measured(
        Promise::PhysicsOverhead,
        physics_cost * 100.0,
        format!("{what}, 1 thread, on against off"),
    );
}

fn loaded(run: &Run, physics: Physics) -> Outcome<(TempDir, WarpEngine)> {
    let dir = run.dir()?;
    let engine = child::on_demand().physics(physics).open(dir.path())?;
    put_all(&engine, &run.data.corpus, 0..run.fields(), &run.bar)?;
    engine.sync()?;
    Ok((dir, engine))
}

/// Random records, copied in the order of the requests, so that fetching a key costs no cache miss of its own.
fn requests(run: &mut Run) -> Corpus {
    let mut random = run.random();
    let mut requests = Corpus::default();
    for _ in 0..run.plan.pass {
        let (key, value) = run.data.corpus.record(random.below(run.fields()));
        requests.push(key, value);
    }
    requests
}

/// Operations a second: of each store, of each repetition.
#[derive(Debug, Default)]
struct Rounds {
    puts: [Vec<f64>; 3],
    gets: [Vec<f64>; 3],
}

fn rounds(
    run: &Run,
    stores: &[&dyn Store; 3],
    [writes, reads]: [&Corpus; 2],
    threads: usize,
) -> Outcome<Rounds> {
    let mut rounds = Rounds::default();
    for repeat in 0..run.plan.repeats {
        for turn in 0..stores.len() {
            // Another one begins each time, so that none is always the one after the same other.
            let place = (turn + repeat) % stores.len();
            let store = stores[place];
            rounds.puts[place].push(pass(run, threads, writes, |key, value| store.put(key, value))?);
            store.settle()?;
            let get = |key: &[u8], _: &[u8]| match store.get(key)? {
                true => Ok(()),
                false => Err("a key that was put is not there".into()),
            };
            rounds.gets[place].push(pass(run, threads, reads, get)?);
        }
        run.bar.inc(1);
    }
    Ok(rounds)
}

/// One pass over the requests, shared out to the threads. Returns operations a second.
fn pass(
    run: &Run,
    threads: usize,
    requests: &Corpus,
    operation: impl Fn(&[u8], &[u8]) -> Outcome<()> + Sync,
) -> Outcome<f64> {
    let share = requests.len() / threads;
    let (outcome, time) = run.time(|| {
        clients(threads, |number| {
            for record in number * share..(number + 1) * share {
                let (key, value) = requests.record(record);
                operation(key, value)?;
            }
            Ok(())
        })
    });
    outcome?;
    Ok((share * threads) as f64 / time.as_secs_f64())
}

/// Puts that return once they are on the disk: threads share syncs.
fn synced(run: &mut Run, engine: &WarpEngine, requests: &Corpus) -> Outcome<()> {
    let engine = engine.with_durability(Durability::Sync);
    let columns: Vec<&str> = ["threads", "puts/s"].into_iter().chain(Latency::COLUMNS).collect();
    let mut table = Table::new("put, Sync: returns once the write is on the disk", &columns);
    for threads in SYNC_THREADS {
        let time = run.plan.mix_time / 2;
        let (count, latency) = synced_puts(run, &engine, requests, threads, time)?;
        let rate = count as f64 / time.as_secs_f64();
        table.row([Cell::count(threads as u64), Cell::rate(rate)].into_iter().chain(latency.cells()));
    }
    run.report.table(table);
    Ok(())
}

fn synced_puts(
    run: &Run,
    engine: &WarpEngine,
    requests: &Corpus,
    threads: usize,
    time: Duration,
) -> Outcome<(u64, Latency)> {
    let end = run.clock.monotonic() + time;
    let latencies = clients(threads, |number| {
        let mut latency = Latency::new();
        for record in (number..requests.len()).step_by(threads).cycle() {
            let start = run.clock.monotonic();
            if start >= end {
                break;
            }
            let (key, value) = requests.record(record);
            engine.put(key, value)?;
            latency.record(run.clock.monotonic().saturating_sub(start));
        }
        Ok(latency)
    })?;
    let mut sum = Latency::new();
    for latency in &latencies {
        sum.add(latency);
    }
    Ok((sum.count(), sum))
}
