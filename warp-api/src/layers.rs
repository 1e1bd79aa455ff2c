//! The checkpoint layers that reads fall through to.

use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};
use warp_checkpoint::{Layer, LayerEntryRef, LayerValue};
use warp_core::KeyRef;

use crate::counters::Counter;
use crate::error::Result;
use crate::from_crates::checkpoint_error;
use crate::running_share::RunningShare;

/// The layers of the current checkpoint, newest first. Never changed: a new checkpoint or merge makes a new list.
#[derive(Debug, Default)]
pub(crate) struct LayerList {
    pub(crate) layers: Vec<Layer>,
    probes: Arc<Probes>,
}

/// What lookups in layers came to, over all lists of an engine.
#[derive(Debug, Default)]
pub(crate) struct Probes {
    /// Lookups of a key.
    pub(crate) lookups: Counter,
    /// Layers whose filter was asked.
    pub(crate) filters: Counter,
    /// Layers whose index was looked into, since the filter let the key pass or was not asked.
    pub(crate) layers: Counter,
    /// Of those, how many did not have the key.
    pub(crate) false_positives: Counter,
    /// How often no layer had it: five that find nothing are often enough.
    absent: RunningShare<6>,
}

impl Probes {
    /// From this share of absent keys on the last layer's filter is asked as well. Where data is larger than memory, the filter's
    /// line is a page to be read like any other, and says nothing new as long as the keys are there. One that is not asked saves a
    /// quarter of a page at the most, as measured, and costs one for a key that is absent.
    const ABSENT_OFTEN: u32 = RunningShare::<6>::ONE / 16;

    fn is_often_absent(&self) -> bool {
        self.absent.get() >= Self::ABSENT_OFTEN
    }
}

impl LayerList {
    /// The newest version of `key` in any layer, a tombstone included; `None` if no layer knows the key.
    pub(crate) fn get(&self, key: KeyRef<'_>) -> Result<Option<LayerValue>> {
        self.find(key)?.map(|(_, entry)| layer_value(&entry)).transpose()
    }

    /// The same in place, with the number of newer layers.
    pub(crate) fn find(&self, key: KeyRef<'_>) -> Result<Option<(usize, LayerEntryRef<'_>)>> {
        let Some(last) = self.layers.len().checked_sub(1) else { return Ok(None) };
        let (mut asked, mut probed, mut found) = (0, 0, None);
        for (age, layer) in self.layers.iter().enumerate() {
            if age < last || self.probes.is_often_absent() {
                asked += 1;
                if !layer.may_contain(key.hash).map_err(checkpoint_error)? {
                    continue;
                }
            }
            probed += 1;
            let entry = layer.find_unfiltered(key.hash, key.keyspace, key.bytes).map_err(checkpoint_error)?;
            if let Some(entry) = entry {
                found = Some((age, entry));
                break;
            }
        }
        self.probes.absent.note(found.is_none());
        self.probes.lookups.add(1);
        self.probes.filters.add(asked);
        self.probes.layers.add(probed);
        self.probes.false_positives.add(probed - u64::from(found.is_some()));
        Ok(found)
    }

    /// Whether one of so many of the newest layers may have a key of that hash, as far as their filters say.
    pub(crate) fn may_be_in_newer(&self, layers: usize, hash: u64) -> Result<bool> {
        for layer in &self.layers[..layers] {
            self.probes.filters.add(1);
            if layer.may_contain(hash).map_err(checkpoint_error)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Asks the system for the pages that a lookup of a key with that hash will touch, without waiting for them.
    pub(crate) fn prefetch(&self, hash: u64) {
        let Some((last, newer)) = self.layers.split_last() else { return };
        newer.iter().for_each(|layer| layer.prefetch(hash));
        if self.probes.is_often_absent() { last.prefetch(hash) } else { last.prefetch_unfiltered(hash) }
    }

    /// The same for a lookup by the hash alone.
    pub(crate) fn prefetch_hash(&self, hash: u64) {
        self.layers.iter().for_each(|layer| layer.prefetch_hash(hash));
    }

    /// Bytes of all layer files.
    pub(crate) fn bytes(&self) -> u64 {
        self.layers.iter().map(|layer| layer.info().bytes).sum()
    }
}

/// What a layer says of a key, with its value.
pub(crate) fn layer_value(entry: &LayerEntryRef<'_>) -> Result<LayerValue> {
    let value = entry.value().map_err(checkpoint_error)?;
    Ok(LayerValue { seq: entry.seq, deadline: entry.deadline, value })
}

/// The current list of layers, replaced as a whole.
#[derive(Debug, Default)]
pub(crate) struct Layers(ArcSwap<LayerList>);

impl Layers {
    /// What lookups came to.
    pub(crate) fn probes(&self) -> Arc<Probes> {
        Arc::clone(&self.0.load().probes)
    }
}

impl Layers {
    pub(crate) fn load(&self) -> Guard<Arc<LayerList>> {
        self.0.load()
    }

    pub(crate) fn snapshot(&self) -> Arc<LayerList> {
        self.0.load_full()
    }

    pub(crate) fn publish(&self, layers: Vec<Layer>) {
        self.0.store(Arc::new(LayerList { layers, probes: self.probes() }));
    }

    /// Whether `list` is still the current one.
    pub(crate) fn is_current(&self, list: &Arc<LayerList>) -> bool {
        Arc::ptr_eq(&self.0.load(), list)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absent_keys_are_noticed_at_once_and_forgotten_slowly() {
        let probes = Probes::default();
        let absent = &probes.absent;
        assert!(!probes.is_often_absent());
        (0..5).for_each(|_| absent.note(true));
        assert!(probes.is_often_absent());
        (0..1_000).for_each(|_| absent.note(true));
        (0..100).for_each(|_| absent.note(false));
        assert!(probes.is_often_absent());
        (0..100).for_each(|_| absent.note(false));
        assert!(!probes.is_often_absent());
        // One in thirty does not matter.
        (0..1_000).for_each(|n| absent.note(n % 30 == 0));
        assert!(!probes.is_often_absent());
    }
}
