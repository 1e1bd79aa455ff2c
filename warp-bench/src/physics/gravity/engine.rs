//! The engine as a cache in front of its own layers.

use std::path::PathBuf;
use std::time::Duration;

use warp_api::{Durability, LOG_BUFFER_BYTES_MIN, Level, Options, Physics, WarpEngine};

use warp_io::{Clock, OsDir, SystemClock};

use super::simulated::Served;
use crate::random::Random;
use crate::run::Outcome;

/// Bytes of a value. They are random, so that nothing is gained by packing.
pub(super) const VALUE_BYTES: usize = 4096;
/// How often memory is looked at over a replay.
const LOOKS: usize = 256;

/// A database in which every key has its value in a layer, and memory is empty.
#[derive(Debug)]
pub(super) struct Database {
    path: PathBuf,
    pub(super) bytes: u64,
}

/// How the engine decides.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Mode {
    /// By the law that it learns: the default.
    Law,
    /// The same, and what comes in has to be worth so many times what it pushes out.
    Dear(f64),
    /// By decayed counts of uses.
    Masses,
    /// Any entry leaves, all come in.
    Off,
}

/// How a replay went.
#[derive(Clone, Debug)]
pub(super) struct Replay {
    pub(super) served: Served,
    /// Entries in memory, the mean from the moment on when it was full.
    pub(super) entries: usize,
    /// The most bytes that were held, over the budget.
    pub(super) held: f64,
    /// Bytes in which uses are remembered, for each key of the database.
    pub(super) remembered: f64,
    pub(super) elapsed: Duration,
}

fn options(physics: Physics) -> Options {
    Options::new().durability(Durability::Os).log_buffer_bytes(LOG_BUFFER_BYTES_MIN).physics(physics)
}

impl Database {
    /// Loads so many keys and takes a checkpoint.
    pub(super) fn load(path: PathBuf, keys: usize, seed: u64) -> Outcome<Database> {
        let engine = options(Physics::off()).open(&path)?;
        let mut random = Random::new(seed, 0);
        let mut value = vec![0; VALUE_BYTES];
        for key in 0..keys {
            value.chunks_exact_mut(8).for_each(|word| word.copy_from_slice(&random.next_u64().to_le_bytes()));
            engine.put(name(u32::try_from(key)?), &value)?;
        }
        engine.close()?;
        Ok(Database { path, bytes: (keys * VALUE_BYTES) as u64 })
    }

    /// The same, without what earlier replays have taught.
    pub(super) fn forget(&self) -> Outcome<&Database> {
        warp_checkpoint::remove_advice(&OsDir::open(&self.path, false)?, u64::MAX)?;
        Ok(self)
    }

    /// Replays requests within a budget, by an engine that knows what was kept of the last replay.
    pub(super) fn replay(
        &self,
        budget: u64,
        mode: Mode,
        clock: &SystemClock,
        keys: &[u32],
        windows: usize,
    ) -> Outcome<Replay> {
        let mut physics = Physics {
            warm_start: false,
            gravity: mode != Mode::Off,
            horizon: mode != Mode::Masses,
            ..Physics::default()
        };
        if let Mode::Dear(price) = mode {
            physics.promotion_price = price;
        }
        let engine = options(physics).memory_budget(budget).open(&self.path)?;
        let mut served = Served::new(keys.len(), windows);
        let (mut held, mut entries, mut full_looks) = (0, 0, 0);
        let mut before = 0;
        let start = clock.monotonic();
        // What was not read from a layer was served from memory; the engine counts both.
        for part in keys.chunks((keys.len() / LOOKS).max(1)) {
            for &key in part {
                engine.get(name(key))?.ok_or("a key has no value")?;
            }
            let metrics = engine.cosmic_metrics();
            let from_memory = metrics.operations.hits - metrics.operations.cold_hits;
            served.saw_part(part.len(), from_memory - before);
            before = from_memory;
            held = held.max(metrics.memory.held_bytes);
            if metrics.residency.evicted > 0 {
                entries += in_memory(&engine);
                full_looks += 1;
            }
        }
        let elapsed = clock.monotonic().saturating_sub(start);
        let remembered = engine.cosmic_metrics().residency.remembered_bytes as f64;
        let entries = entries.checked_div(full_looks).unwrap_or_else(|| in_memory(&engine));
        served.promotions = engine.cosmic_metrics().operations.promotions;
        engine.close()?;
        Ok(Replay {
            served,
            entries: usize::try_from(entries)?,
            held: held as f64 / budget as f64,
            remembered: remembered * VALUE_BYTES as f64 / self.bytes as f64,
            elapsed,
        })
    }
}

fn in_memory(engine: &WarpEngine) -> u64 {
    let regions = engine.spacetime_metrics().regions;
    regions.iter().filter(|region| region.level != Level::Cold).map(|region| region.entries).sum()
}

fn name(key: u32) -> [u8; 8] {
    u64::from(key).to_le_bytes()
}
