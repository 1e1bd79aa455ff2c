//! Walking all entries: in the order of their keys, or uncounted ones for a count.

use std::collections::HashSet;
use std::ops::{Bound, RangeBounds};
use std::sync::Arc;

use warp_checkpoint::{Layer, LayerEntryRef};
use warp_core::{Key, SLOTS, Value};

use crate::error::{Error, Result};
use crate::from_crates::checkpoint_error;
use crate::shared::Shared;

/// An iterator over keys and values in the order of the keys, from both ends.
///
/// It is not a snapshot: each key is there at most once, keys that are present throughout are all there, and
/// what is written meanwhile may be. Making it walks every key of the database and holds those that match in
/// memory until it is dropped; values are read as they are asked for.
#[derive(Debug)]
pub struct Scan {
    shared: Arc<Shared>,
    keyspace: u32,
    keys: std::vec::IntoIter<Key>,
    /// Why there are no keys, until it was said.
    failed: Option<Error>,
}

impl Scan {
    /// Of the keys of a keyspace between two bounds.
    pub(crate) fn new(
        shared: Arc<Shared>,
        keyspace: u32,
        start: Bound<Vec<u8>>,
        end: Bound<Vec<u8>>,
    ) -> Scan {
        let range = (start.as_ref().map(Vec::as_slice), end.as_ref().map(Vec::as_slice));
        let keys = shared.check_keyspace(keyspace);
        let keys = keys
            .and_then(|()| shared.present_keys(keyspace, |key| RangeBounds::<[u8]>::contains(&range, key)));
        let (mut keys, failed) = match keys {
            Ok(keys) => (keys, None),
            Err(error) => (Vec::new(), Some(error)),
        };
        keys.sort_unstable();
        Scan { shared, keyspace, keys: keys.into_iter(), failed }
    }

    /// The next key, as `take` takes it from either end, with its value.
    fn step(
        &mut self,
        take: impl Fn(&mut std::vec::IntoIter<Key>) -> Option<Key>,
    ) -> Option<Result<(Key, Value)>> {
        if let Some(error) = self.failed.take() {
            return Some(Err(error));
        }
        loop {
            let key = take(&mut self.keys)?;
            let shared = &self.shared;
            let found = shared.check_keyspace(self.keyspace);
            let found = found.and_then(|()| shared.find(shared.key(self.keyspace, &key)));
            match found {
                Ok(Some(found)) => return Some(Ok((key, found.value))),
                // A key that was deleted since is passed over.
                Ok(None) => {}
                Err(error) => {
                    self.keys = Vec::new().into_iter();
                    return Some(Err(error));
                }
            }
        }
    }
}

impl Iterator for Scan {
    type Item = Result<(Key, Value)>;

    fn next(&mut self) -> Option<Result<(Key, Value)>> {
        self.step(Iterator::next)
    }
}

impl DoubleEndedIterator for Scan {
    fn next_back(&mut self) -> Option<Result<(Key, Value)>> {
        self.step(DoubleEndedIterator::next_back)
    }
}

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

    /// Calls `f` with every key of a keyspace that has a value; each once.
    fn walk(&self, keyspace: u32, mut f: impl FnMut(&[u8])) -> Result<()> {
        // Memory first, then the list of layers, as in every read. What memory knew of a key stands, even where
        // its entry moves into a layer before that is walked; without files there never is one.
        let may_have_layers = self.home.is_some();
        let mut in_memory: HashSet<Key> = HashSet::new();
        for slot in 0..SLOTS {
            for (in_keyspace, key, entry) in self.table.slot_entries(slot) {
                if in_keyspace != keyspace {
                    continue;
                }
                if self.live(keyspace, entry, crate::types::Level::Hot).is_some() {
                    f(&key);
                }
                if may_have_layers {
                    in_memory.insert(key);
                }
            }
        }
        let list = self.layers.snapshot();
        for (index, layer) in list.layers.iter().enumerate() {
            for entry in layer.iter() {
                let entry = entry.map_err(checkpoint_error)?;
                if entry.keyspace == keyspace
                    && self.is_live_in_layer(&entry)
                    && !in_memory.contains(entry.key)
                    && !self.is_shadowed(&list.layers[..index], &entry)?
                {
                    f(entry.key);
                }
            }
        }
        Ok(())
    }

    fn is_live_in_layer(&self, entry: &LayerEntryRef<'_>) -> bool {
        !entry.is_tombstone() && entry.seq >= self.floors.of(entry.keyspace) && !self.expired(entry.deadline)
    }

    /// Whether a newer layer has a version of the entry's key, be it a value or a tombstone.
    fn is_shadowed(&self, newer: &[Layer], entry: &LayerEntryRef<'_>) -> Result<bool> {
        for layer in newer {
            let found = layer.get(entry.hash, entry.keyspace, entry.key).map_err(checkpoint_error)?;
            if found.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
