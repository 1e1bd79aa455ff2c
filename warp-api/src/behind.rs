//! Partners that lie behind their key in a layer, where a checkpoint has laid them (`side_by_side.rs`): they are found in the
//! pages that the key's own entry lies in, without a look-up each.

use std::sync::Arc;

use warp_checkpoint::{LayerEntryRef, LayerValue};
use warp_core::KeyRef;
use warp_io::Clock;

use crate::counters::Counter;
use crate::error::Result;
use crate::layers::{LayerList, layer_value};
use crate::read::Found;
use crate::running_share::RunningShare;
use crate::shared::Shared;

/// Whether partners lie behind their keys.
#[derive(Debug, Default)]
pub(crate) struct Behind {
    /// How often of late most of those that were wanted did.
    share: RunningShare<4>,
    /// Partners that were read there.
    pub(crate) read: Counter,
}

impl Behind {
    /// Whether most of those that are wanted will be found so. Then their pages are not asked for before it is known.
    pub(crate) fn is_usual(&self) -> bool {
        self.share.get() >= RunningShare::<4>::ONE / 2
    }
}

/// What was found behind a key.
#[derive(Debug)]
pub(crate) struct FoundBehind {
    layers: Arc<LayerList>,
    /// With the place of each among those that were wanted.
    values: Vec<(usize, LayerValue)>,
}

impl FoundBehind {
    /// Whether there is one for a place.
    pub(crate) fn has(&self, place: usize) -> bool {
        self.values.iter().any(|(of, _)| *of == place)
    }
}

impl Shared {
    /// Reads a key that is not in memory, and those of the `others` at the `wanted` places that lie behind it; counted as a read
    /// of the program's. Nothing is sought behind a key without a value.
    pub(crate) fn read_cold_with(
        &self,
        first: KeyRef<'_>,
        others: &[KeyRef<'_>],
        mut wanted: Vec<usize>,
    ) -> Result<(Option<Found>, Option<FoundBehind>)> {
        let layers = self.layers.snapshot();
        let start = self.time.monotonic();
        let Some((age, entry)) = layers.find(first)? else {
            self.note_cold(first, None);
            return Ok((None, None));
        };
        let value = layer_value(&entry)?;
        self.cold_reads.took(self.time.monotonic().saturating_sub(start));
        let found = self.of_layer(first, value, &layers);
        self.note_cold(first, found.as_ref());
        if found.is_none() {
            return Ok((None, None));
        }
        let mut values = Vec::new();
        let count = wanted.len();
        if entry.layer().is_in_hash_order() {
            wanted.clear();
        }
        self.search_behind(entry, others, &mut wanted, |place, entry| {
            // A newer version is elsewhere. What is damaged is said by the look-up.
            if matches!(layers.may_be_in_newer(age, others[place].hash), Ok(false))
                && let Ok(value) = layer_value(entry)
            {
                values.push((place, value));
            }
        });
        if count > 0 {
            self.behind.share.note(2 * values.len() >= count);
        }
        Ok((found, Some(FoundBehind { layers, values })))
    }

    /// Calls `each` with those of the wanted entries that lie behind `entry`, as far as the block in which that, or the last of the
    /// others, ends: what does not belong to the group costs no page of its own.
    fn search_behind<'a>(
        &self,
        mut entry: LayerEntryRef<'a>,
        others: &[KeyRef<'_>],
        wanted: &mut Vec<usize>,
        mut each: impl FnMut(usize, &LayerEntryRef<'a>),
    ) {
        let mut limit = entry.block_end();
        while !wanted.is_empty() {
            let hash = |keyspace, key: &[u8]| self.key(keyspace, key).hash;
            // What is damaged is said by the look-up.
            let Ok(Some(next)) = entry.behind(limit, hash) else { return };
            let is_it = |other: &KeyRef<'_>| {
                other.hash == next.hash && other.keyspace == next.keyspace && *other.bytes == *next.key
            };
            if let Some(place) = others.iter().position(is_it) {
                limit = next.block_end();
                if let Some(number) = wanted.iter().position(|wanted| *wanted == place) {
                    wanted.swap_remove(number);
                    each(place, &next);
                }
            }
            entry = next;
        }
    }

    /// What was found behind a key for a place, as a read of the program's; `None` if nothing was, or if it may be the newest
    /// version no more: memory was asked before this for the last time.
    pub(crate) fn take_behind(
        &self,
        behind: &mut FoundBehind,
        place: usize,
        key: KeyRef<'_>,
    ) -> Option<Option<Found>> {
        let number = behind.values.iter().position(|(of, _)| *of == place)?;
        let (_, value) = behind.values.swap_remove(number);
        // An entry that has left memory since is in a newer list.
        if !self.layers.is_current(&behind.layers) {
            return None;
        }
        let found = self.of_layer(key, value, &behind.layers);
        self.note_cold(key, found.as_ref());
        self.behind.read.add(1);
        Some(found)
    }
}
