//! What each part of physics was worth: what it did, beside what would have been without it.

mod kept;

pub(crate) use kept::{KeptWorth, WorthKept};

use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;
use warp_physics::ShadowCounts;

use crate::engine::WarpEngine;
use crate::options::Demon;
use crate::shared::Shared;

/// What the parts of physics did within some time, and what that was worth. Sums: of two times they add up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Worth {
    /// Gravity and the event horizon: reads that found a value, from when memory was full. An estimate from the keys that are followed, one
    /// in 16 or fewer, as the next four.
    pub reads: u64,
    /// Those of the reads that memory served.
    pub hits: u64,
    /// Those that a cache by least recent use would have served, with as many bytes of memory and nothing packed.
    pub lru_hits: u64,
    /// Hits beyond those; below 0 if there were fewer.
    pub hits_gained: i64,
    /// The same as a share of the reads, in `-1.0..=1.0`; `None` without any.
    pub hit_share_gained: Option<f64>,
    /// Values that were packed to make room, rather than that an entry left memory.
    pub packed: u64,
    /// The memory that this freed, in bytes.
    pub packed_saved_bytes: u64,
    /// Entanglement: partners that `quantum_get` looked up.
    pub partners_requested: u64,
    /// Those that had a value: each is a read that the program did not have to ask for.
    pub partners_found: u64,
    /// Partners that were brought into memory before they were read.
    pub fetched: u64,
    /// Bytes of their values.
    pub fetched_bytes: u64,
    /// Those that were then read from memory, as far as that is known: of the latest 4,000 or so. The others were brought in
    /// for nothing, or are yet to be read.
    pub fetched_used: u64,
    /// Warm start: entries that were brought into memory after an open.
    pub warm_entries: u64,
    /// Bytes of their keys and values.
    pub warm_bytes: u64,
    /// Those that were then read from memory, each of which would have been a read from a layer; where more than 2,048 were listed, an
    /// estimate, from those of a part of all hashes.
    pub warm_used: u64,
    /// Maxwell's demon: how often slots were moved.
    pub rebalances: u64,
    /// Slots that were moved.
    pub slots_moved: u64,
    /// By how much that has lowered `1 - entropy` of the writes that the moves were planned for.
    pub imbalance_removed: f64,
    /// By how much it has lowered the highest load of a shard over the mean, of the same writes.
    pub max_over_mean_removed: f64,
}

/// What the parts of physics were worth.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct WorthMetrics {
    /// Since this open.
    pub session: Worth,
    /// From the open before this one to its close, as last kept in the file of what was learned; or of the process that
    /// writes beside this one, if this one only reads. `None` without files, and as long as the file has not been read.
    pub last: Option<Worth>,
    /// Since the database was created, what came since this open included, as far as it was kept: a crash loses some minutes,
    /// and a damaged file all. `None` as `last` is.
    pub total: Option<Worth>,
}

impl Worth {
    /// With what follows from the counts; and no part of one above the whole, which was read at another moment, or estimated.
    fn completed(self) -> Worth {
        let signed = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        let hits_gained = signed(self.hits) - signed(self.lru_hits);
        let hit_share_gained = (self.reads > 0).then(|| hits_gained as f64 / self.reads as f64);
        Worth {
            hits_gained,
            hit_share_gained,
            partners_found: self.partners_found.min(self.partners_requested),
            fetched_used: self.fetched_used.min(self.fetched),
            warm_used: self.warm_used.min(self.warm_entries),
            ..self
        }
    }

    /// Of two times together.
    fn plus(&self, other: &Worth) -> Worth {
        let sum = |of: fn(&Worth) -> u64| of(self).saturating_add(of(other));
        Worth {
            reads: sum(|worth| worth.reads),
            hits: sum(|worth| worth.hits),
            lru_hits: sum(|worth| worth.lru_hits),
            packed: sum(|worth| worth.packed),
            packed_saved_bytes: sum(|worth| worth.packed_saved_bytes),
            partners_requested: sum(|worth| worth.partners_requested),
            partners_found: sum(|worth| worth.partners_found),
            fetched: sum(|worth| worth.fetched),
            fetched_bytes: sum(|worth| worth.fetched_bytes),
            fetched_used: sum(|worth| worth.fetched_used),
            warm_entries: sum(|worth| worth.warm_entries),
            warm_bytes: sum(|worth| worth.warm_bytes),
            warm_used: sum(|worth| worth.warm_used),
            rebalances: sum(|worth| worth.rebalances),
            slots_moved: sum(|worth| worth.slots_moved),
            imbalance_removed: self.imbalance_removed + other.imbalance_removed,
            max_over_mean_removed: self.max_over_mean_removed + other.max_over_mean_removed,
            ..Worth::default()
        }
        .completed()
    }
}

impl WarpEngine {
    /// What the parts of physics were worth: since the open, and since the database was created.
    ///
    /// ```
    /// # fn main() -> warp_api::Result<()> {
    /// let engine = warp_api::WarpEngine::in_memory();
    /// engine.put("user:1", "Ada")?;
    /// engine.put("profile:1", "mathematician")?;
    /// engine.entanglement_rule("user:{id}", &["profile:{id}"], 1.0)?;
    /// engine.quantum_get("user:1")?;
    /// let worth = engine.worth_metrics();
    /// assert_eq!((worth.session.partners_found, worth.total), (1, None)); // there are no files to keep it in
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn worth_metrics(&self) -> WorthMetrics {
        self.shared.worth_metrics()
    }
}

impl Shared {
    /// Whether anything is on that may be worth something.
    pub(crate) fn has_worth(&self) -> bool {
        let physics = &self.options.physics;
        let demon = physics.demon != Demon::Off;
        demon || physics.gravity || physics.entanglement || physics.learning || physics.warm_start
    }

    pub(crate) fn worth_metrics(&self) -> WorthMetrics {
        let session = self.session_worth();
        let kept = self.worth.get();
        let total = kept.map(|kept| kept.total.plus(&session));
        WorthMetrics { session, last: kept.map(|kept| kept.last), total }
    }

    /// Since this open.
    fn session_worth(&self) -> Worth {
        let (residency, counters) = (&self.residency, &self.counters);
        let ShadowCounts { reads, hits, lru_hits } = residency.rival.counts();
        let (fetched, fetched_bytes, fetched_used) = self.fetching.worth();
        let (warm_entries, warm_bytes, warm_used) = self.warm.brought();
        let (rebalances, slots_moved, imbalance_removed, max_over_mean_removed) = self.demon.worth();
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        // Before what it is a part of.
        let partners_found = counters.partners_found.sum();
        let partners_requested = counters.partners_requested.sum();
        Worth {
            reads,
            hits,
            lru_hits,
            packed: count(&residency.packed),
            packed_saved_bytes: count(&residency.packed_saved_bytes),
            partners_requested,
            partners_found,
            fetched,
            fetched_bytes,
            fetched_used,
            warm_entries,
            warm_bytes,
            warm_used,
            rebalances,
            slots_moved,
            imbalance_removed,
            max_over_mean_removed,
            ..Worth::default()
        }
        .completed()
    }
}
