//! Changed entries on their way from the table into a layer, a chunk at a time.

use std::ops::Range;

use warp_checkpoint::{LayerEntry, Newer};
use warp_core::{EntryRef, Value};

use crate::floors::exists;
use crate::shared::Shared;

/// Values of more bytes are shared with the table instead of being copied. The table itself shares longer ones, so that
/// a share costs a count, and no copy.
const COPIED_BYTES_MAX: usize = 512;

/// What decides whether a changed entry has to be in the layer.
#[derive(Debug)]
pub(crate) struct Kept {
    /// The floors that the manifest will have.
    pub(crate) floors: Vec<(u32, u64)>,
    /// Whether no layer is below the new one: then there is nothing that a tombstone would have to hide.
    pub(crate) is_lowest: bool,
    /// Entries with this sequence or a higher one are left to the log, from which a recovery replays them.
    pub(crate) left_from: u64,
}

impl Kept {
    /// Whether an entry has to be in the layer; `is_dead` says that it is a tombstone, or past its deadline.
    pub(crate) fn keeps(&self, keyspace: u32, key: &[u8], seq: u64, is_dead: bool) -> bool {
        exists(&self.floors, keyspace, key, seq) && !(self.is_lowest && is_dead)
    }
}

/// The present versions of some changed entries, in the order in which they were asked for.
#[derive(Debug, Default)]
pub(crate) struct Chunk {
    items: Vec<Item>,
    /// Keys, and values that are copied.
    bytes: Vec<u8>,
}

#[derive(Debug)]
struct Item {
    hash: u64,
    keyspace: u32,
    seq: u64,
    deadline: u64,
    key: Range<usize>,
    value: ItemValue,
    raw_bytes: Option<u32>,
    is_kept: bool,
}

#[derive(Debug)]
enum ItemValue {
    Tombstone,
    Copied(Range<usize>),
    Shared(Value),
}

impl Chunk {
    /// The entries, each with what a merge has to know of it.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Newer<'_>> {
        self.items.iter().map(|item| {
            let value = match &item.value {
                ItemValue::Tombstone => None,
                ItemValue::Copied(place) => Some(&self.bytes[place.clone()]),
                ItemValue::Shared(value) => Some(&value[..]),
            };
            let entry = LayerEntry {
                hash: item.hash,
                keyspace: item.keyspace,
                key: &self.bytes[item.key.clone()],
                seq: item.seq,
                deadline: item.deadline,
                value,
            };
            Newer { entry, raw_bytes: item.raw_bytes, is_kept: item.is_kept }
        })
    }

    /// Lets go of all entries.
    pub(crate) fn clear(&mut self) {
        self.items.clear();
        self.bytes.clear();
    }

    /// Bytes of memory that are held for chunks, whatever is in this one.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.bytes.capacity() + self.items.capacity() * size_of::<Item>()
    }

    fn push(&mut self, bytes: &[u8]) -> Range<usize> {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        start..self.bytes.len()
    }

    fn add(&mut self, hash: u64, entry: EntryRef<'_>, is_expired: bool, kept: &Kept) {
        let key = self.push(entry.key());
        let value = match entry.value().filter(|_| !is_expired) {
            None => ItemValue::Tombstone,
            Some(value) if value.len() <= COPIED_BYTES_MAX => ItemValue::Copied(self.push(value)),
            Some(_) => entry.value_handle().map_or(ItemValue::Tombstone, ItemValue::Shared),
        };
        let is_dead = matches!(value, ItemValue::Tombstone);
        let is_kept = kept.keeps(entry.keyspace(), entry.key(), entry.seq(), is_dead);
        self.items.push(Item {
            hash,
            keyspace: entry.keyspace(),
            seq: entry.seq(),
            deadline: entry.deadline(),
            key,
            value,
            raw_bytes: entry.packed_from(),
            is_kept,
        });
    }
}

/// What reading changed entries has come upon.
#[derive(Debug, Default)]
pub(crate) struct Come {
    /// The highest sequence that has made any of them what it is: a checkpoint must not outlive a write that has replaced
    /// or removed what it would else have.
    pub(crate) highest: u64,
    /// Entries that are left to the log.
    pub(crate) left: u64,
    /// Hashes of tombstones, and of entries that may become tombstones without a write: when the checkpoint is published
    /// they have no more to say in memory.
    pub(crate) stubs: Vec<u64>,
}

impl Shared {
    /// Reads the present versions of the entries with these hashes into `chunk`, with no lock held.
    pub(crate) fn read_changed(&self, hashes: &[u64], kept: &Kept, chunk: &mut Chunk, come: &mut Come) {
        chunk.clear();
        self.table.multi_entries(hashes, |place, entry| {
            come.highest = come.highest.max(entry.seq());
            if entry.seq() >= kept.left_from {
                come.left += 1;
                return;
            }
            if entry.is_tombstone() || entry.deadline() != 0 {
                come.stubs.push(hashes[place]);
            }
            chunk.add(hashes[place], entry, self.expired(entry.deadline()), kept);
        });
    }
}
