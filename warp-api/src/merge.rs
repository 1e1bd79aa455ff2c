//! Which layers a checkpoint merges into the one that it writes, so that a read has few to look at, and overwritten and
//! deleted data gives its space back.
//!
//! There is no merging beside checkpoints: what a merge would write again, the checkpoint writes once, and a kept
//! checkpoint never has two copies of what it holds.

use warp_checkpoint::{Layer, LayerEntryRef, LayerInfo};

use crate::error::Result;
use crate::floors::exists;
use crate::from_crates::checkpoint_error;
use crate::home::Catalog;
use crate::layers::LayerList;
use crate::reason::CheckpointReason;
use crate::shared::Shared;

/// With more layers than this some are merged.
pub(crate) const LAYERS_MAX: usize = 6;
/// The run of newest layers that is merged is extended by the next older layer as long as that is at most this
/// many times as large as the run: sizes then grow geometrically, and each byte is rewritten a logarithmic
/// number of times (size-tiered merging; Cassandra's `SizeTieredCompactionStrategy`, after the log-structured merge tree
/// of O'Neil et al., 1996).
const TIER_FACTOR: u64 = 2;
/// All layers are merged when so large a part of their live data would be garbage. Less would write more often, more would
/// take more space: with three checkpoints kept, whose oldest has the layers before the merge.
const GARBAGE_PART_MAX: f64 = 0.75;
/// Entries that are looked at to estimate how much is garbage. Of a thousand the standard error is below 1.6 %.
const SAMPLES: u64 = 1024;
/// The fewest that are looked at in one layer.
const LAYER_SAMPLES_MIN: u64 = 32;
/// Closing a database merges no more bytes than this, unless there are twice as many layers as there should be: whoever
/// closes waits.
const CLOSE_BYTES_MAX: u64 = 64 << 20;
/// After a merge that failed, at most so many checkpoints are taken without trying again.
const SKIPPED_MAX: u32 = 64;

/// How much of the layers is garbage, estimated from a sample.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Garbage {
    /// Bytes of all layers.
    pub(crate) bytes: f64,
    /// Bytes of what is overwritten, deleted, or expired among them, tombstones included.
    pub(crate) garbage: f64,
}

impl Garbage {
    /// Whether merging everything pays, with `new` more bytes that are live.
    fn is_too_much(self, new: f64) -> bool {
        self.garbage > 0.0 && self.garbage >= GARBAGE_PART_MAX * (self.bytes - self.garbage + new)
    }
}

/// How a merge that failed keeps others from being tried.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    /// Checkpoints that do without merging, before the next that merges.
    skip: u32,
    /// How many it will be after the next failure.
    next: u32,
}

impl Backoff {
    pub(crate) fn failed(&mut self) {
        self.skip = self.next.max(1);
        self.next = (self.skip * 2).min(SKIPPED_MAX);
    }

    pub(crate) fn succeeded(&mut self) {
        *self = Backoff::default();
    }

    /// Whether the next checkpoint may merge.
    fn may_try(&mut self) -> bool {
        let may = self.skip == 0;
        self.skip = self.skip.saturating_sub(1);
        may
    }
}

impl Shared {
    /// How many of the newest layers are merged with a new one of about `new` bytes.
    pub(crate) fn plan_merge(
        &self,
        catalog: &mut Catalog,
        reason: CheckpointReason,
        new: u64,
        left_from: u64,
    ) -> usize {
        let infos = &catalog.manifest.layers;
        if infos.is_empty() || !catalog.backoff.may_try() {
            return 0;
        }
        let mut count = run_to_merge(infos, new);
        #[expect(clippy::cast_precision_loss, reason = "an estimate")]
        match self.estimate_garbage(left_from) {
            Ok(garbage) if garbage.is_too_much(new as f64) => count = infos.len(),
            Ok(_) => {}
            // Merging would meet the damage, too; reads report it.
            Err(error) => tracing::warn!(%error, "a layer could not be looked at"),
        }
        let bytes: u64 = infos[..count].iter().map(|layer| layer.bytes).sum();
        let can_wait = infos.len() < 2 * LAYERS_MAX;
        if reason == CheckpointReason::Close && bytes > CLOSE_BYTES_MAX && can_wait { 0 } else { count }
    }

    /// Whether so much of the layers is garbage by what is in them that a checkpoint is due for it.
    pub(crate) fn garbage_is_due(&self) -> bool {
        self.estimate_garbage(0).is_ok_and(|garbage| garbage.is_too_much(0.0))
    }

    /// Looks at a sample of the entries of each layer: whether a newer layer has the key, a floor or its deadline has taken
    /// it away, it is a tombstone, or memory has a newer entry whose sequence is below `written_below`, since the
    /// checkpoint will write it; 0 if there is none that would.
    fn estimate_garbage(&self, written_below: u64) -> Result<Garbage> {
        let list = self.layers.snapshot();
        let total: u64 = list.layers.iter().map(Layer::bytes).sum();
        let floors = self.floors.all();
        let mut sum = Garbage::default();
        for (age, layer) in list.layers.iter().enumerate() {
            let entries = layer.info().entries;
            let share = u128::from(SAMPLES) * u128::from(layer.bytes()) / u128::from(total.max(1));
            let samples = u64::try_from(share).unwrap_or(SAMPLES).max(LAYER_SAMPLES_MIN).min(entries);
            let mut dead = 0;
            for sample in 0..samples {
                // Evenly spread, each in the middle of its part; hashes are in no relation to what became of a key.
                let rank = u128::from(entries) * u128::from(2 * sample + 1) / u128::from(2 * samples);
                let rank = u32::try_from(rank).unwrap_or(u32::MAX);
                let Some(entry) = layer.nth(rank).map_err(checkpoint_error)? else { continue };
                dead += u64::from(self.is_garbage(&list, age, &entry, &floors, written_below)?);
            }
            #[expect(clippy::cast_precision_loss, reason = "an estimate")]
            let (bytes, part) = (layer.bytes() as f64, dead as f64 / samples.max(1) as f64);
            sum.bytes += bytes;
            sum.garbage += bytes * part;
        }
        Ok(sum)
    }

    fn is_garbage(
        &self,
        list: &LayerList,
        age: usize,
        entry: &LayerEntryRef<'_>,
        floors: &[(u32, u64)],
        written_below: u64,
    ) -> Result<bool> {
        let is_gone = entry.is_tombstone()
            || self.expired(entry.deadline)
            || !exists(floors, entry.keyspace, &entry.key, entry.seq);
        if is_gone {
            return Ok(true);
        }
        for newer in &list.layers[..age] {
            if newer.find(entry.hash, entry.keyspace, &entry.key).map_err(checkpoint_error)?.is_some() {
                return Ok(true);
            }
        }
        let in_memory = || self.table.with(self.key(entry.keyspace, &entry.key), |newer| newer.seq());
        Ok(written_below > 0 && in_memory().is_some_and(|seq| seq > entry.seq && seq < written_below))
    }
}

/// How many of the newest layers to merge with one of `new` bytes so that there are no more than [`LAYERS_MAX`]; `layers`
/// is newest first.
fn run_to_merge(layers: &[LayerInfo], new: u64) -> usize {
    let needed = (layers.len() + 1).saturating_sub(LAYERS_MAX);
    if needed == 0 {
        return 0;
    }
    let mut run = new + layers[..needed].iter().map(|layer| layer.bytes).sum::<u64>();
    let mut count = needed;
    while count < layers.len() && layers[count].bytes <= TIER_FACTOR * run {
        run += layers[count].bytes;
        count += 1;
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(sizes: &[u64], new: u64) -> usize {
        let layers: Vec<LayerInfo> =
            sizes.iter().map(|bytes| LayerInfo { bytes: *bytes, ..LayerInfo::default() }).collect();
        run_to_merge(&layers, new)
    }

    #[test]
    fn runs_grow_by_what_is_not_much_larger() {
        assert_eq!(run(&[5; 5], 5), 0);
        assert_eq!(run(&[5; 6], 5), 6);
        assert_eq!(run(&[1, 4, 16, 64, 256, 1024], 1), 2);
        assert_eq!(run(&[1, 9, 9, 9, 9, 9], 1), 1);
        assert_eq!(
            run(&[1, 100, 100, 100, 100, 100, 100, 100], 1),
            3 + 5,
            "three are needed, and the rest is alike"
        );
    }

    #[test]
    fn a_failure_is_followed_by_longer_and_longer_waits() {
        let mut backoff = Backoff::default();
        for expected in [1, 2, 4, 8, 16, 32, 64, 64] {
            assert!(backoff.may_try());
            backoff.failed();
            let waits = std::iter::from_fn(|| (!backoff.may_try()).then_some(())).count();
            assert_eq!(waits, expected);
        }
        backoff.succeeded();
        backoff.failed();
        assert!(!backoff.may_try() && backoff.may_try());
    }
}
