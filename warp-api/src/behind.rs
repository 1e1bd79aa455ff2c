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

/// So many entries in a row that nobody wants end the search: there begins what belongs to another key.
const STRANGERS_MAX: usize = 3;

/// Whether partners lie behind their keys.
#[derive(Debug, Default)]
pub(crate) struct Behind {
    /// How often one of late.
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
    /// of the program's. If all of them are wanted, `is_asked` says that their pages were asked for.
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
        self.search_behind(entry, others, &mut wanted, |place, entry| {
            // A newer version is elsewhere. What is damaged is said by the look-up.
            if matches!(layers.may_be_in_newer(age, others[place].hash), Ok(false))
                && let Ok(value) = layer_value(entry)
            {
                values.push((place, value));
            }
        });
        (0..count).for_each(|number| self.behind.share.note(number < values.len()));
        Ok((found, Some(FoundBehind { layers, values })))
    }

    /// Calls `each` with those of the wanted entries that lie behind `entry`; those that do not stay in `wanted`.
    fn search_behind<'a>(
        &self,
        mut entry: LayerEntryRef<'a>,
        others: &[KeyRef<'_>],
        wanted: &mut Vec<usize>,
        mut each: impl FnMut(usize, &LayerEntryRef<'a>),
    ) {
        let mut strangers = 0;
        while !wanted.is_empty() && strangers < STRANGERS_MAX {
            let hash = |keyspace, key: &[u8]| self.key(keyspace, key).hash;
            let Ok(Some(next)) = entry.behind(hash) else { return };
            let is_it = |place: &usize| {
                let other = &others[*place];
                other.hash == next.hash && other.keyspace == next.keyspace && *other.bytes == *next.key
            };
            match wanted.iter().position(is_it) {
                Some(number) => {
                    strangers = 0;
                    each(wanted.swap_remove(number), &next);
                }
                None => strangers += 1,
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
