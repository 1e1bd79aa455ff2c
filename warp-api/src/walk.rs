//! Walking the keys of a keyspace in no order, for a count and for what needs every key once.

use std::collections::HashSet;
use std::ops::Range;

use warp_checkpoint::{Layer, LayerEntryRef};
use warp_core::{Key, SLOTS, slot_of};

use crate::error::Result;
use crate::from_crates::checkpoint_error;
use crate::shared::Shared;

/// Keys in memory that a walk holds at a time, about: an entry that leaves memory meanwhile is then not met again in a layer.
const RANGE_KEYS: usize = 1 << 14;
/// What these keys take at most, beside those of one slot: where keys are long, they are fewer.
const RANGE_BYTES: usize = 4 << 20;
/// What a page of keys takes, as a part of the memory budget; until it is cut down for the last time, twice as much.
const PAGE_PART: u64 = 32;

/// The first keys of those that are yet to come, in order.
#[derive(Debug, Default)]
pub(crate) struct Page {
    pub(crate) keys: Vec<Key>,
    bytes: usize,
    /// Keys from this one on are left to the next page.
    end: Option<Key>,
}

impl Page {
    /// Whether there may be keys behind those of the page.
    pub(crate) fn has_more(&self) -> bool {
        self.end.is_some()
    }

    fn add(&mut self, key: &[u8], bytes_max: usize) {
        if self.end.as_ref().is_some_and(|end| **end <= *key) {
            return;
        }
        self.keys.push(Key::from(key));
        self.bytes += key_bytes(key);
        if self.bytes > 2 * bytes_max {
            self.cut(bytes_max);
        }
    }

    /// Keeps the first keys, of so many bytes, and one at least.
    fn cut(&mut self, bytes_max: usize) {
        self.keys.sort_unstable();
        let (mut bytes, mut kept) = (0, 0);
        while let Some(key) = self.keys.get(kept)
            && (kept == 0 || bytes + key_bytes(key) <= bytes_max)
        {
            bytes += key_bytes(key);
            kept += 1;
        }
        if kept < self.keys.len() {
            self.end = Some(self.keys[kept].clone());
            self.keys.truncate(kept);
        }
        self.bytes = bytes;
    }
}

fn key_bytes(key: &[u8]) -> usize {
    size_of::<Key>() + key.len()
}

fn first_hash_of(slot: usize) -> u64 {
    (slot as u64) << (u64::BITS - SLOTS.trailing_zeros())
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

    /// The next keys of a keyspace that have a value, behind `after`, in order.
    pub(crate) fn page_of_keys(&self, keyspace: u32, after: Option<&Key>) -> Result<Page> {
        let bytes_max = usize::try_from(self.budget.limit() / PAGE_PART).unwrap_or(usize::MAX);
        let mut page = Page::default();
        self.walk(keyspace, |key| {
            if after.is_none_or(|after| **after < *key) {
                page.add(key, bytes_max);
            }
        })?;
        page.keys.sort_unstable();
        Ok(page)
    }

    /// Calls `f` with every key of a keyspace that has a value; each once.
    fn walk(&self, keyspace: u32, mut f: impl FnMut(&[u8])) -> Result<()> {
        let ranges = self.table.len().div_ceil(RANGE_KEYS).clamp(1, SLOTS);
        let width = SLOTS.div_ceil(ranges);
        let mut first = 0;
        while first < SLOTS {
            first = self.walk_slots(keyspace, first..SLOTS.min(first + width), &mut f)?;
        }
        Ok(())
    }

    /// The same for the keys of some slots, of which those in memory are held meanwhile: of one slot at least, and of no more
    /// once they take too much. Returns the slot to go on with.
    fn walk_slots(&self, keyspace: u32, slots: Range<usize>, f: &mut impl FnMut(&[u8])) -> Result<usize> {
        // Memory first, then the list of layers, as in every read. What memory knew of a key stands, even where
        // its entry moves into a layer before that is walked; without files there never is one.
        let may_have_layers = self.home.is_some();
        let mut in_memory: HashSet<Key> = HashSet::new();
        let (mut bytes, mut end) = (0, slots.start);
        while end < slots.end && bytes < RANGE_BYTES {
            self.table.for_each_in(end, |entry| {
                if entry.keyspace() != keyspace {
                    return;
                }
                if self.is_visible(keyspace, entry) {
                    f(entry.key());
                }
                if may_have_layers {
                    in_memory.insert(Key::from(entry.key()));
                    bytes += key_bytes(entry.key());
                }
            });
            end += 1;
        }
        let list = self.layers.snapshot();
        for (index, layer) in list.layers.iter().enumerate() {
            for entry in layer.iter_from(first_hash_of(slots.start)).map_err(checkpoint_error)? {
                let entry = entry.map_err(checkpoint_error)?;
                if slot_of(entry.hash) >= end {
                    break;
                }
                if entry.keyspace == keyspace
                    && self.is_live_in_layer(&entry)
                    && !in_memory.contains(&*entry.key)
                    && !self.is_shadowed(&list.layers[..index], &entry)?
                {
                    f(&entry.key);
                }
            }
        }
        Ok(end)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::environment::{Background, Environment};
    use crate::keyspace::DEFAULT;
    use crate::options::Options;

    #[test]
    fn a_page_holds_the_first_keys_and_pages_hold_all() {
        // In an order of their own, as a walk meets them.
        let keys: Vec<Vec<u8>> =
            (0..1000_u32).map(|number| format!("{:04}", number * 7919 % 1000).into_bytes()).collect();
        let (mut all, mut pages) = (Vec::new(), 0);
        loop {
            let after = all.last().cloned();
            let mut page = Page::default();
            for key in keys.iter().filter(|key| after.as_ref().is_none_or(|after: &Key| **after < ***key)) {
                page.add(key, 50 * key_bytes(key));
                assert!(page.keys.len() <= 100);
            }
            page.keys.sort_unstable();
            pages += 1;
            all.extend_from_slice(&page.keys);
            if !page.has_more() {
                break;
            }
        }
        let mut sorted = keys.clone();
        sorted.sort_unstable();
        assert!(all.iter().map(|key| &**key).eq(sorted.iter().map(|key| &**key)));
        assert!((10..=20).contains(&pages), "{pages} pages");
    }

    #[test]
    fn a_page_has_one_key_at_least() {
        let mut page = Page::default();
        for key in [&b"b"[..], b"a", b"c"] {
            page.add(key, 1);
        }
        assert_eq!((page.keys, page.end.as_deref()), (vec![Key::from("a")], Some(&b"b"[..])));
    }

    #[test]
    fn a_walk_holds_few_long_keys_at_a_time_and_meets_each_once() {
        const KEYS: usize = 400;
        let disk = warp_io::SimDisk::new(1);
        let environment = Environment { background: Background::Stepped, ..Environment::default() };
        let engine = Options::new().open_in(&disk.root(), environment).unwrap();
        let key = |number: usize| format!("{number:050000}");
        for number in 0..KEYS {
            engine.put(key(number), "v").unwrap();
            if number == KEYS / 2 {
                engine.checkpoint().unwrap();
            }
        }
        let shared = engine.space().shared;
        let (mut first, mut ranges, mut most, mut met) = (0, 0, 0, Vec::new());
        while first < SLOTS {
            let before = met.len();
            first =
                shared.walk_slots(DEFAULT, first..SLOTS, &mut |key: &[u8]| met.push(Key::from(key))).unwrap();
            ranges += 1;
            most = most.max(met.len() - before);
        }
        // A slot or two have a key more than the last that fits.
        assert!(ranges >= 4 && most <= RANGE_BYTES / 50_000 + 4, "{ranges} ranges, {most} keys");
        met.sort_unstable();
        assert!(met.iter().map(|key| &**key).eq((0..KEYS).map(key).map(String::into_bytes)));
        assert_eq!(shared.count(DEFAULT).unwrap(), KEYS as u64);
    }
}
