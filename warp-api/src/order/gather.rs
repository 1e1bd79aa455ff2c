//! From the hashes of an order to the keys and values that they stand for.

use warp_checkpoint::{LayerBytes, LayerEntryRef};
use warp_core::{Chunk, Entry, EntryRef, Key, VALUE_INLINE_BYTES, Value};
use warp_io::Clock;

use crate::error::{Error, Result};
use crate::from_crates::checkpoint_error;
use crate::order::Unread;
use crate::packed::{PACK_BYTES_MIN, to_entry};
use crate::shared::Shared;

/// Values of a layer that are longer, in bytes, are read when it is their turn: a chunk of compressed ones would take
/// too much memory.
const EARLY_VALUE_BYTES_MAX: usize = 16 << 10;

/// Which values are wanted.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Values {
    /// All that are shared with the table, and copies of others as long as they take no more than so many bytes together. The
    /// rest is read when it is its turn.
    Take(u64),
    Leave,
}

impl Values {
    /// Whether a value is taken that would be a copy of so many bytes; they are then no longer there for others. A short one
    /// lies in its item, and takes none.
    fn takes_copy(&mut self, bytes: usize) -> bool {
        let Values::Take(left) = self else { return false };
        if bytes <= VALUE_INLINE_BYTES {
            return true;
        }
        let after = left.checked_sub(bytes as u64);
        *left = after.unwrap_or(*left);
        after.is_some()
    }
}

/// A key that is present, or was when it was looked up.
pub(crate) struct Item {
    key: Key,
    hash: u64,
    /// Without a value it is one that was not asked for, or is to be read when it is its turn.
    entry: Entry,
}

impl Item {
    pub(super) fn into_key(self) -> (Key, u64) {
        (self.key, self.hash)
    }
}

/// What was found for a chunk.
pub(crate) struct Gathered {
    /// In the order of the keys, each once.
    pub(crate) items: Vec<Item>,
    /// Hashes whose keys, or some of them, could not be read, and why.
    pub(crate) unreadable: Vec<(u64, Error)>,
    /// Memory that the items take, without values that are shared with the table.
    pub(crate) bytes: u64,
}

/// A key of the chunk's range that memory has no value for: whatever layers have is older.
struct Gone {
    hash: u64,
    key: Key,
}

impl Shared {
    /// Looks up a chunk of a keyspace's order: in memory, then in the layers.
    ///
    /// Everything that is present is found. So is a value in memory that lies below its keyspace's floor: a put in
    /// its place is not noted as new, so that the order must not lose its key.
    ///
    /// Layers are left out where memory has told all: where the one key that a hash stands for was found present, and its
    /// sequence is below `clean_below`. Every value in memory below that is known to the order: so there is no other
    /// key of that hash in the chunk, or the hash would be there twice. What is gone may have been swept from the order.
    pub(crate) fn gather(&self, keyspace: u32, chunk: &Chunk, clean_below: u64, values: Values) -> Gathered {
        let (wanted, mut values) = (values, values);
        let now = self.time.unix_millis();
        let hashes = &chunk.hashes;
        let may_have_layers = self.home.is_some();
        let mut items: Vec<Item> = Vec::with_capacity(hashes.len());
        let mut gone: Vec<Gone> = Vec::new();
        let mut is_settled = vec![false; if may_have_layers { hashes.len() } else { 0 }];
        self.table.multi_entries(hashes, |place, entry| {
            let key = entry.key();
            if entry.keyspace() != keyspace || !chunk.contains(key) {
                return;
            }
            let hash = hashes[place];
            let is_present = !entry.is_tombstone() && !entry.is_expired(now);
            if may_have_layers {
                is_settled[place] = is_present && entry.seq() < clean_below;
            }
            if is_present {
                let entry = match copied_bytes(entry) {
                    _ if values == Values::Leave => Entry::default(),
                    Some(bytes) if !values.takes_copy(bytes) => {
                        Entry { value: None, seq: entry.seq(), deadline: entry.deadline() }
                    }
                    _ => to_entry(entry),
                };
                items.push(Item { key: Key::from(key), hash, entry });
            } else if may_have_layers {
                gone.push(Gone { hash, key: Key::from(key) });
            }
        });
        let mut unreadable = Vec::new();
        if may_have_layers {
            unsettle_repeated(hashes, &mut is_settled);
            let unsettled: Vec<u64> = hashes
                .iter()
                .zip(&is_settled)
                .filter(|(_, settled)| !**settled)
                .map(|(hash, _)| *hash)
                .collect();
            self.gather_cold(keyspace, chunk, &unsettled, &mut values, &mut items, &gone, &mut unreadable);
        }
        items.sort_unstable_by(|a, b| a.key.cmp(&b.key));
        items.dedup_by(|a, b| a.key == b.key);
        let keys: usize = items.iter().map(|item| item.key.heap_bytes()).sum();
        let copies = match (wanted, values) {
            (Values::Take(all), Values::Take(left)) => all - left,
            _ => 0,
        };
        let bytes = copies + (items.capacity() * size_of::<Item>() + keys) as u64;
        Gathered { items, unreadable, bytes }
    }

    /// Adds what the layers have of these hashes, and memory has not.
    #[expect(clippy::too_many_arguments, reason = "one caller, whose second half this is")]
    fn gather_cold(
        &self,
        keyspace: u32,
        chunk: &Chunk,
        unsettled: &[u64],
        values: &mut Values,
        items: &mut Vec<Item>,
        gone: &[Gone],
        unreadable: &mut Vec<(u64, Error)>,
    ) {
        // Memory first, and only then the list of layers: an entry that moves from memory into a new layer in between
        // is found there.
        let list = self.layers.snapshot();
        let in_memory = items.len();
        for &hash in unsettled {
            let mut seen: Vec<LayerBytes<'_>> = Vec::new();
            for layer in &list.layers {
                let found = match layer.with_hash(hash) {
                    Ok(found) => found,
                    Err(error) => {
                        unreadable.push((hash, checkpoint_error(error)));
                        break;
                    }
                };
                for entry in found {
                    let is_known = || {
                        seen.contains(&entry.key)
                            || items[..in_memory]
                                .iter()
                                .any(|item| item.hash == hash && *item.key == *entry.key)
                            || gone.iter().any(|gone| gone.hash == hash && *gone.key == *entry.key)
                    };
                    if entry.keyspace != keyspace || !chunk.contains(&entry.key) || is_known() {
                        continue;
                    }
                    seen.push(entry.key.clone());
                    if self.is_live_in_layer(&entry) {
                        items.push(cold_item(hash, &entry, values));
                    }
                }
            }
        }
    }

    /// The keys of a keyspace with these hashes, in memory and in layers, present or not. Hashes of which memory
    /// knows nothing and a layer cannot tell are added to `unread`.
    pub(super) fn keys_of(&self, keyspace: u32, hashes: &[u64], unread: &mut Unread) -> Vec<(Key, u64)> {
        let mut keys = Vec::with_capacity(hashes.len());
        let mut is_known = vec![false; hashes.len()];
        self.table.multi_entries(hashes, |place, entry| {
            is_known[place] |= entry.keyspace() == keyspace;
            if entry.keyspace() == keyspace && !entry.is_tombstone() {
                keys.push((Key::from(entry.key()), hashes[place]));
            }
        });
        let list = self.layers.snapshot();
        for (&hash, is_known) in hashes.iter().zip(is_known) {
            for layer in &list.layers {
                let found = layer.with_hash(hash).unwrap_or_else(|error| {
                    if !is_known {
                        unread.add(hash, checkpoint_error(error));
                    }
                    Vec::new()
                });
                let of_keyspace =
                    found.iter().filter(|entry| entry.keyspace == keyspace && !entry.is_tombstone());
                keys.extend(of_keyspace.map(|entry| (Key::from(&*entry.key), hash)));
            }
        }
        keys
    }

    /// A key with its value, when it is its turn in a scan; `None` if it has none any more, as far as that is known.
    pub(crate) fn present(&self, keyspace: u32, item: Item) -> Result<Option<(Key, Value)>> {
        let Item { key, entry: Entry { value, seq, deadline }, .. } = item;
        match value {
            // Looked at in its place: a value of some length is copied with every move.
            Some(value) if self.is_there(keyspace, seq, deadline) => Ok(Some((key, value))),
            Some(_) => Ok(None),
            None => {
                let (found, _) = self.find_witnessed(self.key(keyspace, &key))?;
                Ok(found.map(|found| (key, found.value)))
            }
        }
    }
}

/// How long an entry's value is of which a handle is a copy; `None` if it shares it with the table.
fn copied_bytes(entry: EntryRef<'_>) -> Option<usize> {
    let bytes = entry.packed_from().map(|raw| raw as usize);
    bytes.or_else(|| Some(entry.value()?.len()).filter(|bytes| *bytes < PACK_BYTES_MIN))
}

fn cold_item(hash: u64, entry: &LayerEntryRef<'_>, values: &mut Values) -> Item {
    let early = entry.value_bytes() <= EARLY_VALUE_BYTES_MAX && values.takes_copy(entry.value_bytes());
    // A value that cannot be read is tried again when it is its turn, which tells of the error in its place.
    let value = if early { entry.value().ok().flatten().map(Value::from) } else { None };
    let (seq, deadline) = (entry.seq, entry.deadline);
    Item { key: Key::from(&*entry.key), hash, entry: Entry { value, seq, deadline } }
}

/// A hash that is there twice stands for two keys, of which memory may have told one.
fn unsettle_repeated(hashes: &[u64], is_settled: &mut [bool]) {
    let mut sorted = hashes.to_vec();
    sorted.sort_unstable();
    for pair in sorted.windows(2).filter(|pair| pair[0] == pair[1]) {
        let repeated = hashes.iter().zip(is_settled.iter_mut()).filter(|(hash, _)| **hash == pair[0]);
        repeated.for_each(|(_, settled)| *settled = false);
    }
}
