//! Walking the keys of a keyspace in no order, for a count and for what needs every key once.

use std::collections::HashSet;

use warp_checkpoint::{Layer, LayerEntryRef};
use warp_core::{Key, SLOTS};

use crate::error::Result;
use crate::from_crates::checkpoint_error;
use crate::shared::Shared;

impl Shared {
    /// The keys of a keyspace that have a value, in any order, each once.
    pub(crate) fn present_keys(&self, keyspace: u32, matches: impl Fn(&[u8]) -> bool) -> Result<Vec<Key>> {
        let mut keys = Vec::new();
        self.walk(keyspace, |key| {
            if matches(key) {
                keys.push(Key::from(key));
            }
        })?;
        Ok(keys)
    }

    /// The number of keys of a keyspace that have a value.
    pub(crate) fn count(&self, keyspace: u32) -> Result<u64> {
        let mut count = 0;
        self.walk(keyspace, |_| count += 1)?;
        Ok(count)
    }

    /// Whether a key of a keyspace that is in memory has a value.
    pub(crate) fn is_any_in_memory(&self, keyspace: u32) -> bool {
        (0..SLOTS).any(|slot| {
            let mut is_any = false;
            self.table.for_each_in(slot, |entry| {
                is_any |= entry.keyspace() == keyspace && self.is_visible(keyspace, entry);
            });
            is_any
        })
    }

    /// Calls `f` with every key of a keyspace that has a value; each once.
    fn walk(&self, keyspace: u32, mut f: impl FnMut(&[u8])) -> Result<()> {
        // Memory first, then the list of layers, as in every read. What memory knew of a key stands, even where
        // its entry moves into a layer before that is walked; without files there never is one.
        let may_have_layers = self.home.is_some();
        let mut in_memory: HashSet<Key> = HashSet::new();
        for slot in 0..SLOTS {
            self.table.for_each_in(slot, |entry| {
                if entry.keyspace() != keyspace {
                    return;
                }
                if self.is_visible(keyspace, entry) {
                    f(entry.key());
                }
                if may_have_layers {
                    in_memory.insert(Key::from(entry.key()));
                }
            });
        }
        let list = self.layers.snapshot();
        for (index, layer) in list.layers.iter().enumerate() {
            for entry in layer.iter() {
                let entry = entry.map_err(checkpoint_error)?;
                if entry.keyspace == keyspace
                    && self.is_live_in_layer(&entry)
                    && !in_memory.contains(&*entry.key)
                    && !self.is_shadowed(&list.layers[..index], &entry)?
                {
                    f(&entry.key);
                }
            }
        }
        Ok(())
    }

    pub(crate) fn is_live_in_layer(&self, entry: &LayerEntryRef<'_>) -> bool {
        !entry.is_tombstone() && entry.seq >= self.floors.of(entry.keyspace) && !self.expired(entry.deadline)
    }

    /// Whether a newer layer has a version of the entry's key, be it a value or a tombstone.
    fn is_shadowed(&self, newer: &[Layer], entry: &LayerEntryRef<'_>) -> Result<bool> {
        for layer in newer {
            let found = layer.get(entry.hash, entry.keyspace, &entry.key).map_err(checkpoint_error)?;
            if found.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
