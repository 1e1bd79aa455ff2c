//! Building the order of a keyspace: every key, from memory and layers, while writers go on.

use warp_checkpoint::{Layer, LayerBytes, LayerEntryRef};
use warp_core::{Key, ORDER_WORK_KEY_BYTES, OrderBuilder, OrderedKeys, SLOTS};
use warp_io::Clock;

use crate::budget::Counted;
use crate::error::Result;
use crate::from_crates::checkpoint_error;
use crate::shared::Shared;

/// Slots whose keys are the sample: keys are spread over slots by their hashes, so that any slots are a fair choice.
const SAMPLE_SLOTS: usize = 64;
const _: () = assert!(SLOTS.is_multiple_of(SAMPLE_SLOTS));
/// Keys in all below which every slot is in the sample.
const SMALL_KEYS: usize = 1 << 14;
/// Keys of a slot that are taken into the sample, at most.
const SAMPLE_KEYS_A_SLOT: usize = 1 << 12;

/// What an order takes for a key, while its blocks come to be a tree.
const ORDER_KEY_BYTES: u64 = 16;

/// The keys of one slot, copied out of the table, so that its lock is held for the copying only.
#[derive(Default)]
struct SlotKeys {
    bytes: Vec<u8>,
    keys: Vec<SlotKey>,
}

struct SlotKey {
    start: usize,
    end: usize,
    is_present: bool,
}

/// A version of a key: those of memory have rank 0, and those of the layers the ranks from 1 on, newest first.
struct Version<'a> {
    hash: u64,
    rank: usize,
    key: LayerBytes<'a>,
    is_present: bool,
}

impl Shared {
    /// Puts all keys of a keyspace in order. New keys must be noted already.
    ///
    /// # Errors
    /// `Full` if memory has no room for it; as of a read.
    pub(super) fn build_order(&self, keyspace: u32) -> Result<(OrderedKeys, Counted<'_>)> {
        let in_layers = || self.layers.load().layers.iter().map(|layer| layer.info().entries).sum::<u64>();
        let in_layers = usize::try_from(in_layers()).unwrap_or(usize::MAX);
        let at_most = self.table.len().saturating_add(in_layers);
        let every = if at_most < SMALL_KEYS { 1 } else { SLOTS / SAMPLE_SLOTS };
        let mut sample = Vec::new();
        let mut slot_keys = SlotKeys::default();
        let mut sampled: usize = 0;
        for slot in (0..SLOTS).step_by(every) {
            let mut of_slot = 0;
            self.for_each_present(keyspace, slot, &mut slot_keys, &mut |_, key| {
                of_slot += 1;
                if of_slot <= SAMPLE_KEYS_A_SLOT {
                    sample.push(Key::from(key));
                }
            })?;
            sampled += of_slot;
        }
        let expected = sampled.saturating_mul(every);
        let (room, work) = self.room_for_order(expected)?;
        // Before the walk, which sees everything below it, so that layers need not be asked once more.
        let clean_below = self.known_below();
        let mut builder = OrderBuilder::with_memory(sample, expected, work);
        while builder.next_round() {
            for slot in 0..SLOTS {
                self.check_open()?;
                self.for_each_present(keyspace, slot, &mut slot_keys, &mut |hash, key| {
                    builder.add(key, hash)
                })?;
            }
        }
        Ok((builder.finish(&mut |chunk| self.kept(keyspace, chunk, clean_below)), room))
    }

    /// Memory for an order of so many keys; and how much of it is for building.
    fn room_for_order(&self, expected: usize) -> Result<(Counted<'_>, usize)> {
        let work = expected.saturating_mul(ORDER_WORK_KEY_BYTES) as u64;
        let work = work.min(self.budget.order_work_max());
        let room = self.admit_order(expected as u64 * ORDER_KEY_BYTES, work)?;
        Ok((room, usize::try_from(work).unwrap_or(usize::MAX)))
    }

    /// Calls `f` with hash and key of everything present in one slot, each once.
    fn for_each_present(
        &self,
        keyspace: u32,
        slot: usize,
        slot_keys: &mut SlotKeys,
        f: &mut impl FnMut(u64, &[u8]),
    ) -> Result<()> {
        slot_keys.copy(self, keyspace, slot);
        let hash = |key: &[u8]| self.key(keyspace, key).hash;
        // Memory first, and only then the list of layers, as in every read.
        let list = self.layers.snapshot();
        if list.layers.is_empty() {
            for (key, is_present) in slot_keys.iter() {
                if is_present {
                    f(hash(key), key);
                }
            }
            return Ok(());
        }
        let mut versions: Vec<Version<'_>> = slot_keys
            .iter()
            .map(|(key, is_present)| Version { hash: hash(key), rank: 0, key: key.into(), is_present })
            .collect();
        for (rank, layer) in (1..).zip(&list.layers) {
            for entry in slot_of_layer(layer, slot)? {
                let entry = entry?;
                if entry.keyspace == keyspace {
                    let is_present = self.is_live_in_layer(&entry);
                    versions.push(Version { hash: entry.hash, rank, key: entry.key, is_present });
                }
            }
        }
        // By key within a hash, so that versions of one key stand together also where hashes collide.
        versions.sort_unstable_by(|a, b| (a.hash, &a.key, a.rank).cmp(&(b.hash, &b.key, b.rank)));
        // Of each key the newest version counts.
        for of_one_key in versions.chunk_by(|a, b| a.hash == b.hash && a.key == b.key) {
            let newest = &of_one_key[0];
            if newest.is_present {
                f(newest.hash, &newest.key);
            }
        }
        Ok(())
    }
}

impl SlotKeys {
    fn copy(&mut self, shared: &Shared, keyspace: u32, slot: usize) {
        self.bytes.clear();
        self.keys.clear();
        let now = shared.time.unix_millis();
        shared.table.for_each_in(slot, |entry| {
            if entry.keyspace() == keyspace {
                let start = self.bytes.len();
                self.bytes.extend_from_slice(entry.key());
                // Whether it is below the floor is left to the reader, as in `Shared::gather`.
                let is_present = !entry.is_tombstone() && !entry.is_expired(now);
                self.keys.push(SlotKey { start, end: self.bytes.len(), is_present });
            }
        });
    }

    fn iter(&self) -> impl Iterator<Item = (&[u8], bool)> {
        self.keys.iter().map(|key| (&self.bytes[key.start..key.end], key.is_present))
    }
}

/// The entries of a layer that belong to a slot.
fn slot_of_layer(layer: &Layer, slot: usize) -> Result<impl Iterator<Item = Result<LayerEntryRef<'_>>>> {
    let first = (slot as u64) << (u64::BITS - SLOTS.trailing_zeros());
    let entries = layer.iter_from(first).map_err(checkpoint_error)?;
    Ok(entries
        .map(|entry| entry.map_err(checkpoint_error))
        .take_while(move |entry| entry.as_ref().map_or(true, |entry| warp_core::slot_of(entry.hash) == slot)))
}
