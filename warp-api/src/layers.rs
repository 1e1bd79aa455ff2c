//! The checkpoint layers that reads fall through to.

use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};
use warp_checkpoint::{Layer, LayerValue};
use warp_core::KeyRef;

use crate::counters::Counter;
use crate::error::Result;
use crate::from_crates::checkpoint_error;

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
    /// Layers whose index was looked into, since the filter let the key pass.
    pub(crate) layers: Counter,
    /// Of those, how many did not have the key.
    pub(crate) false_positives: Counter,
}

impl LayerList {
    /// The newest version of `key` in any layer, a tombstone included; `None` if no layer knows the key.
    pub(crate) fn get(&self, key: KeyRef<'_>) -> Result<Option<LayerValue>> {
        self.get_from(0, key)
    }

    /// As [`LayerList::get`], looking only at the layer at `first` and older ones.
    pub(crate) fn get_from(&self, first: usize, key: KeyRef<'_>) -> Result<Option<LayerValue>> {
        let (mut asked, mut passed, mut found) = (0, 0, None);
        for layer in &self.layers[first..] {
            asked += 1;
            found = layer.get(key.hash, key.keyspace, key.bytes).map_err(checkpoint_error)?;
            if found.is_some() {
                passed += 1;
                break;
            }
            // Asked again only where the answer was no, and then its line is at hand.
            passed += u64::from(layer.may_contain(key.hash).map_err(checkpoint_error)?);
        }
        self.probes.lookups.add(1);
        self.probes.filters.add(asked);
        self.probes.layers.add(passed);
        self.probes.false_positives.add(passed - u64::from(found.is_some()));
        Ok(found)
    }

    /// Asks the system for the pages that a lookup of `hash` will touch, without waiting for them.
    pub(crate) fn prefetch(&self, hash: u64) {
        for layer in &self.layers {
            layer.prefetch(hash);
        }
    }

    /// Bytes of all layer files.
    pub(crate) fn bytes(&self) -> u64 {
        self.layers.iter().map(|layer| layer.info().bytes).sum()
    }
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
