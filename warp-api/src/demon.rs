//! Maxwell's demon: moves slots from shards that many write to, to others, so that writers seldom wait for each other.
//!
//! Where slots are is an entry of the system keyspace, and so are the latest samples of load. Each write of it has the moves
//! and the sample beside it in the log as entries of their own kinds, for those who read the log.

use std::time::Duration;

use parking_lot::Mutex;
use serde::Serialize;
use warp_core::{SLOTS, Table};
use warp_io::Clock;
use warp_physics::{
    BadBalance, Balance, EntropySample, Plan, SlotMove, Strategy, imbalance_by_chance, max_over_mean,
    normalized_entropy,
};
use warp_wal::{Admit, Encoded, Kind};

use crate::engine::WarpEngine;
use crate::error::{Error, ErrorKind, Result};
use crate::keyspace::SYSTEM;
use crate::options::Demon;
use crate::shared::{SHARDS, Shared};
use crate::system::SystemEntry;
use crate::types::Level;
use crate::write::{Change, Hints, Op};

/// How often the demon looks at the load.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// What of the load is left from one look to the next: the demon is to follow a shift within a few looks.
const LOAD_KEPT: f64 = 0.5;
/// Fewer remembered writes than this say nothing of how they fall on the shards.
const WRITES_MIN: f64 = 16.0 * SHARDS as f64;
/// What moves gain counts only if it is so many times the imbalance that chance alone makes of that many writes.
const CHANCE_TIMES: f64 = 3.0;
/// While there is load and nothing to move, a sample is stored this often.
const SAMPLE_INTERVAL: Duration = Duration::from_secs(60);

impl SystemEntry for Balance {
    const KEY: &'static [u8] = b"balance";
    const NAME: &'static str = "places of slots";
    type Bad = BadBalance;

    fn to_bytes(&self) -> Vec<u8> {
        Balance::to_bytes(self)
    }

    fn from_bytes(bytes: &[u8]) -> std::result::Result<Balance, BadBalance> {
        Balance::from_bytes(bytes)
    }

    fn is_newer(bad: &BadBalance) -> bool {
        matches!(bad, BadBalance::UnknownVersion(_))
    }
}

/// What came of moving slots.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct RebalanceReport {
    /// Evenness of the writes over the shards, as they were placed: [`warp_physics::normalized_entropy`] of the writes that were counted
    /// of late, in `0.0..=1.0`, 1 is even. `None` if there were too few writes to say.
    pub entropy_before: Option<f64>,
    /// The same writes, placed as the slots are now. The next report's `entropy_before` tells how later writes fell.
    pub entropy_after: Option<f64>,
    /// The highest load of a shard over the mean, before.
    pub max_over_mean_before: Option<f64>,
    /// And after.
    pub max_over_mean_after: Option<f64>,
    /// Slots that another shard has now.
    pub slots_moved: u64,
    /// Entries of those slots, none of which was copied.
    pub entries_reassigned: u64,
    /// The lengths of their keys and values.
    pub bytes_reassigned: u64,
    /// How long it took.
    pub elapsed: Duration,
}

/// What the demon did since the open, and the latest samples, which outlive the engine.
#[derive(Clone, Debug, Default, Serialize)]
#[non_exhaustive]
pub struct DemonMetrics {
    /// How often the load was looked at.
    pub looks: u64,
    /// How often slots were moved then, or on demand.
    pub rebalances: u64,
    /// Slots that were moved.
    pub slots_moved: u64,
    /// The lengths of keys and values in them.
    pub bytes_reassigned: u64,
    /// By how much moves have lowered `1 - entropy`, all together, as measured by the writes that they were planned for.
    pub imbalance_removed: f64,
    /// By how much moves have lowered the highest load of a shard over the mean, all together, as measured by the same writes.
    pub max_over_mean_removed: f64,
    /// Slots that are not on the shard that a new database has them on.
    pub slots_away: usize,
    /// Samples of the load, oldest first.
    pub history: Vec<EntropySample>,
}

/// What the demon knows.
#[derive(Debug)]
pub(crate) struct DemonState(Mutex<Known>);

#[derive(Debug)]
struct Known {
    /// Writes to each slot when they were last counted.
    writes: Vec<u64>,
    /// Writes to each slot, of which half is forgotten at each look.
    load: Vec<f64>,
    looked: Option<Duration>,
    sampled: Option<Duration>,
    balance: Balance,
    metrics: DemonMetrics,
}

impl DemonState {
    /// Writes that the table has seen by now, those of a replay, are no load.
    pub(crate) fn new(table: &Table) -> DemonState {
        DemonState(Mutex::new(Known {
            writes: slot_writes(table),
            load: vec![0.0; SLOTS],
            looked: None,
            sampled: None,
            balance: Balance::new(),
            metrics: DemonMetrics::default(),
        }))
    }

    pub(crate) fn metrics(&self) -> DemonMetrics {
        let known = self.0.lock();
        DemonMetrics {
            slots_away: known.balance.places().len(),
            history: known.balance.samples().collect(),
            ..known.metrics.clone()
        }
    }

    /// How often slots were moved since the open, how many, and what that has removed: of `1 - entropy`, and of the highest load
    /// over the mean.
    pub(crate) fn worth(&self) -> (u64, u64, f64, f64) {
        let metrics = &self.0.lock().metrics;
        let removed = (metrics.imbalance_removed, metrics.max_over_mean_removed);
        (metrics.rebalances, metrics.slots_moved, removed.0, removed.1)
    }
}

fn slot_writes(table: &Table) -> Vec<u64> {
    (0..SLOTS).map(|slot| table.slot_load(slot).writes).collect()
}

impl Known {
    /// Takes in what was written since the last look.
    fn look(&mut self, table: &Table) {
        let writes = slot_writes(table);
        for ((load, former), now) in self.load.iter_mut().zip(&self.writes).zip(&writes) {
            *load = *load * LOAD_KEPT + now.saturating_sub(*former) as f64;
        }
        self.writes = writes;
        self.metrics.looks += 1;
    }

    /// The load of each shard; `None` where there is too little to say anything.
    fn shard_load(&self, shard_of: &[u16]) -> Option<Vec<f64>> {
        let mut shards = vec![0.0; usize::from(SHARDS)];
        for (load, shard) in self.load.iter().zip(shard_of) {
            shards[usize::from(*shard)] += load;
        }
        (shards.iter().sum::<f64>() >= WRITES_MIN).then_some(shards)
    }
}

impl Shared {
    /// Puts slots where they were when the database was last used.
    pub(crate) fn load_balance(&self) -> Result<()> {
        let balance = self.stored::<Balance>()?;
        if let Some((slot, shard)) =
            balance.places().find(|(slot, shard)| usize::from(*slot) >= SLOTS || *shard >= SHARDS)
        {
            let what = format!("a slot {slot} on shard {shard}, which there is not");
            return Err(Error::new(ErrorKind::Corrupt, what));
        }
        for (slot, shard) in balance.places() {
            self.table.move_slot(usize::from(slot), shard);
        }
        self.demon.0.lock().balance = balance;
        Ok(())
    }

    /// Looks at the load if it is time, and moves slots where that is called for. Called by the background.
    pub(crate) fn run_demon(&self, now: Duration) {
        if self.options.physics.demon != Demon::Auto {
            return;
        }
        let mut known = self.demon.0.lock();
        if known.looked.is_some_and(|looked| now.saturating_sub(looked) < LOOK_INTERVAL) {
            return;
        }
        known.looked = Some(now);
        known.look(&self.table);
        let shard_of = self.shards_of_slots();
        let Some(shards) = known.shard_load(&shard_of) else { return };
        let Some(entropy) = normalized_entropy(&shards) else { return };
        let chance = imbalance_by_chance(shards.len(), shards.iter().sum());
        let mut moves = Vec::new();
        if entropy < self.entropy_limit() && 1.0 - entropy > CHANCE_TIMES * chance {
            let plan = self.plan(&known.load, &shard_of, Strategy::Aggressive);
            // A slot that is too much for any shard keeps the entropy low whatever is moved: what can be gained counts.
            if plan.entropy_after.is_some_and(|after| after - entropy > CHANCE_TIMES * chance) {
                moves = plan.moves;
            }
        }
        let is_sample_due =
            known.sampled.is_none_or(|sampled| now.saturating_sub(sampled) >= SAMPLE_INTERVAL);
        if (!moves.is_empty() || is_sample_due)
            && let Err(error) = self.rebalance(&mut known, &moves, is_sample_due)
        {
            tracing::warn!(%error, moves = moves.len(), "the places of slots and their load could not be stored");
        }
    }

    fn shards_of_slots(&self) -> Vec<u16> {
        // The shard of a hash is that of its slot, which is in its highest bits.
        (0..SLOTS as u64).map(|slot| self.table.shard_of(slot << (u64::BITS - SLOTS.ilog2()))).collect()
    }

    /// The moves that are advised, as far as they can be made.
    fn plan(&self, load: &[f64], shard_of: &[u16], strategy: Strategy) -> Plan {
        let mut plan = self.advice.moves(load, shard_of, SHARDS, strategy);
        plan.moves.retain(|step| step.slot < SLOTS && step.to < SHARDS);
        plan
    }

    /// Moves slots, and stores what was done.
    fn rebalance(
        &self,
        known: &mut Known,
        moves: &[SlotMove],
        is_sample_due: bool,
    ) -> Result<RebalanceReport> {
        let start = self.time.monotonic();
        let before = known.shard_load(&self.shards_of_slots());
        let mut report = RebalanceReport {
            entropy_before: before.as_deref().and_then(normalized_entropy),
            entropy_after: before.as_deref().and_then(normalized_entropy),
            max_over_mean_before: before.as_deref().and_then(max_over_mean),
            max_over_mean_after: before.as_deref().and_then(max_over_mean),
            slots_moved: moves.len() as u64,
            entries_reassigned: 0,
            bytes_reassigned: 0,
            elapsed: Duration::ZERO,
        };
        let sample = report.entropy_before.zip(report.max_over_mean_before).map(|(entropy, highest)| {
            let moved = u32::try_from(moves.len()).unwrap_or(u32::MAX);
            EntropySample::new(self.time.unix_millis(), entropy, highest, moved)
        });
        if moves.is_empty() && !(is_sample_due && sample.is_some()) {
            report.elapsed = self.time.monotonic().saturating_sub(start);
            return Ok(report);
        }
        // Also if it fails: a log that is full stays so for a while.
        known.sampled = Some(start);
        let mut balance = known.balance.clone();
        moves.iter().for_each(|step| balance.place(slot_number(step.slot), step.to));
        if let Some(sample) = sample {
            balance.sample(sample);
        }
        // Stored first: if that fails, nothing has moved. A crash in between leaves slots that are elsewhere after it.
        self.store_balance(&balance, moves, sample)?;
        for step in moves {
            let load = self.table.slot_load(step.slot);
            report.entries_reassigned += load.entries;
            report.bytes_reassigned += load.bytes;
            self.table.move_slot(step.slot, step.to);
        }
        known.balance = balance;
        let after = known.shard_load(&self.shards_of_slots());
        report.entropy_after = after.as_deref().and_then(normalized_entropy);
        report.max_over_mean_after = after.as_deref().and_then(max_over_mean);
        report.elapsed = self.time.monotonic().saturating_sub(start);
        if !moves.is_empty() {
            known.metrics.rebalances += 1;
            known.metrics.slots_moved += report.slots_moved;
            known.metrics.bytes_reassigned += report.bytes_reassigned;
            let difference =
                |from: Option<f64>, to: Option<f64>| from.zip(to).map_or(0.0, |(from, to)| to - from);
            let gained = difference(report.entropy_before, report.entropy_after);
            known.metrics.imbalance_removed += gained;
            known.metrics.max_over_mean_removed +=
                difference(report.max_over_mean_after, report.max_over_mean_before);
            tracing::debug!(slots = moves.len(), gained, "slots were moved");
        }
        Ok(report)
    }

    /// Writes the places and samples, with the moves and the sample beside them in the log.
    fn store_balance(
        &self,
        balance: &Balance,
        moves: &[SlotMove],
        sample: Option<EntropySample>,
    ) -> Result<()> {
        let bytes = balance.to_bytes();
        let change = Change::Put { value: &bytes, deadline: 0, hints: Hints::default() };
        let op = Op { keyspace: SYSTEM, key: Balance::KEY, change };
        let places: Vec<([u8; 2], [u8; 2])> =
            moves.iter().map(|step| (slot_number(step.slot).to_le_bytes(), step.to.to_le_bytes())).collect();
        let sample = sample.map(EntropySample::to_bytes);
        let note = |kind, key, value| warp_wal::Entry {
            kind,
            keyspace: SYSTEM,
            shard: 0,
            level: Level::Hot.code(),
            deadline: 0,
            key,
            value,
        };
        let notes = || {
            let moves = places.iter().map(move |(slot, shard)| note(Kind::SlotMove, &slot[..], &shard[..]));
            moves.chain(sample.as_ref().map(|sample| note(Kind::EntropySample, &[], &sample[..])))
        };
        let key = self.key(SYSTEM, Balance::KEY);
        let mut prepared = self.prepare(key, &op)?;
        let mut encoded = Encoded::default();
        loop {
            let shard = self.table.shard_of(key.hash);
            self.journal.encode(&mut encoded, [op.log_entry(shard)].into_iter().chain(notes()))?;
            let leave = self.journal.admit(&encoded, Admit { reserve: false, wait: false })?;
            let mut guard = self.table.lock(key.hash);
            if guard.shard(key.hash) == shard {
                let place = self.journal.reserve(leave, &encoded);
                self.apply(&mut guard, key, &op, prepared.take(), &place);
                return Ok(());
            }
        }
    }
}

/// A slot's number as it is stored.
fn slot_number(slot: usize) -> u16 {
    const _: () = assert!(SLOTS <= 1 << u16::BITS);
    u16::try_from(slot).expect("there are no more slots than 16 bits count")
}

impl WarpEngine {
    /// Moves slots from shards that many write to, to others, as the writes since the last look were spread; at most as many as the
    /// strategy says. No entry is copied, no reader notices, and where nothing is gained nothing moves.
    ///
    /// With [`Demon::Auto`] the background does so by itself. Reads take no lock, so that only writes count.
    ///
    /// ```
    /// use warp_api::{Strategy, WarpEngine};
    ///
    /// # fn main() -> warp_api::Result<()> {
    /// let engine = WarpEngine::in_memory();
    /// for number in 0..20_000_u32 {
    ///     engine.put(format!("key {}", number % 50), "value")?; // 50 hot keys on 64 shards
    /// }
    /// let report = engine.trigger_entropy_rebalancing(Strategy::Aggressive)?;
    /// assert!(report.entropy_after >= report.entropy_before);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`put`](WarpEngine::put), with `Busy` where that would wait, since the places of slots are logged; `Unsupported` with [`Demon::Off`].
    pub fn trigger_entropy_rebalancing(&self, strategy: Strategy) -> Result<RebalanceReport> {
        let shared = &self.shared;
        shared.check_writable()?;
        if shared.options.physics.demon == Demon::Off {
            return Err(Error::new(ErrorKind::Unsupported, "the demon is switched off"));
        }
        let mut known = shared.demon.0.lock();
        known.look(&shared.table);
        let shard_of = shared.shards_of_slots();
        let has_load = known.shard_load(&shard_of).is_some();
        let plan = has_load.then(|| shared.plan(&known.load, &shard_of, strategy));
        shared.rebalance(&mut known, &plan.map_or(Vec::new(), |plan| plan.moves), true)
    }
}
