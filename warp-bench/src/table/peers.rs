//! The rivals: concurrent maps of other crates, each used as its documentation shows.
//!
//! All of them hash with the function that our table uses, hold keys and values in boxes of their own, and take
//! memory from the same allocator. An overwrite looks the key up by reference where the map can, so that it pays
//! for a new value and not for a second key, and makes a new box, since values of other lengths must be possible.

use std::hash::{BuildHasher, Hasher};

use dashmap::DashMap;
use hashbrown::HashTable;
use parking_lot::RwLock;
use warp_core::hash_key;

use super::store::{Read, Seen, Store, digest};
use crate::keys::{KEY_BYTES, Key, VALUE_BYTES, Value};

const SEED: u64 = 0x9EE5;
/// Locks of the sharded map, as many as our table has.
const SHARDS: usize = 64;
/// Other bits of the hash than hashbrown looks at, which are the lowest and the highest seven.
const SHARD_SHIFT: u32 = 40;

/// Our table's hash function, in the form that maps take it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Xxh3;

/// A hash in the making.
#[derive(Debug)]
pub(crate) struct Xxh3Hasher(u64);

impl BuildHasher for Xxh3 {
    type Hasher = Xxh3Hasher;

    fn build_hasher(&self) -> Xxh3Hasher {
        Xxh3Hasher(SEED)
    }
}

impl Hasher for Xxh3Hasher {
    #[inline]
    fn write(&mut self, bytes: &[u8]) {
        self.0 = hash_key(self.0, 0, bytes);
    }

    /// The length in front of a slice: it only has to make a difference.
    #[inline]
    fn write_usize(&mut self, number: usize) {
        self.0 ^= number as u64;
    }

    #[inline]
    fn finish(&self) -> u64 {
        self.0
    }
}

/// Bytes of any length, as all rivals hold them.
type Bytes = Box<[u8]>;

fn boxed(bytes: &[u8]) -> Bytes {
    bytes.into()
}

/// papaya: lock-free reads and writes, memory reclaimed in batches.
pub(crate) struct Papaya(papaya::HashMap<Bytes, Bytes, Xxh3>);

impl Papaya {
    pub(crate) fn new() -> Papaya {
        Papaya(papaya::HashMap::with_hasher(Xxh3))
    }
}

impl Read for Papaya {
    fn with_value(&self, key: &Key) -> Option<u64> {
        self.0.pin().get(&key[..]).map(|value| digest(value))
    }

    fn multi_get(&self, keys: &[Key], seen: &mut Seen) {
        // One pin for the batch is what its documentation advises.
        let map = self.0.pin();
        for key in keys {
            seen.add(map.get(&key[..]).map(|value| digest(value)));
        }
    }
}

impl Store for Papaya {
    fn insert(&self, key: &Key, value: &Value) {
        self.0.pin().insert(boxed(key), boxed(value));
    }

    fn overwrite(&self, key: &Key, value: &Value) {
        self.insert(key, value);
    }

    fn remove(&self, key: &Key) {
        self.0.pin().remove(&key[..]);
    }
}

/// scc: locks of buckets, growth in steps.
pub(crate) struct Scc(scc::HashMap<Bytes, Bytes, Xxh3>);

impl Scc {
    pub(crate) fn new() -> Scc {
        Scc(scc::HashMap::with_hasher(Xxh3))
    }
}

impl Read for Scc {
    fn with_value(&self, key: &Key) -> Option<u64> {
        self.0.read_sync(&key[..], |_, value| digest(value))
    }
}

impl Store for Scc {
    fn insert(&self, key: &Key, value: &Value) {
        self.0.upsert_sync(boxed(key), boxed(value));
    }

    fn overwrite(&self, key: &Key, value: &Value) {
        let value = boxed(value);
        let old = self.0.update_sync(&key[..], |_, place| std::mem::replace(place, value));
        debug_assert!(old.is_some(), "the key is there");
    }

    fn remove(&self, key: &Key) {
        self.0.remove_sync(&key[..]);
    }
}

/// dashmap: shards of hashbrown's table under locks of its own.
pub(crate) struct Dashmap(DashMap<Bytes, Bytes, Xxh3>);

impl Dashmap {
    pub(crate) fn new() -> Dashmap {
        Dashmap(DashMap::with_hasher(Xxh3))
    }
}

impl Read for Dashmap {
    fn with_value(&self, key: &Key) -> Option<u64> {
        self.0.get(&key[..]).map(|value| digest(&value))
    }
}

impl Store for Dashmap {
    fn insert(&self, key: &Key, value: &Value) {
        self.0.insert(boxed(key), boxed(value));
    }

    fn overwrite(&self, key: &Key, value: &Value) {
        let value = boxed(value);
        let old = self.0.get_mut(&key[..]).map(|mut place| std::mem::replace(&mut *place, value));
        debug_assert!(old.is_some(), "the key is there");
    }

    fn remove(&self, key: &Key) {
        self.0.remove(&key[..]);
    }
}

/// A plain hash table in 64 shards, each under a lock of parking_lot: what a program writes by itself.
pub(crate) struct Sharded([Shard; SHARDS]);

/// Two cache lines apart from the next, as the processor fetches them in pairs.
#[derive(Default)]
#[repr(align(128))]
struct Shard(RwLock<HashTable<(Bytes, Bytes)>>);

impl Sharded {
    pub(crate) fn new() -> Sharded {
        Sharded(std::array::from_fn(|_| Shard::default()))
    }

    fn shard(&self, hash: u64) -> &RwLock<HashTable<(Bytes, Bytes)>> {
        &self.0[(hash >> SHARD_SHIFT) as usize % SHARDS].0
    }
}

fn hash(key: &[u8]) -> u64 {
    hash_key(SEED, 0, key)
}

impl Read for Sharded {
    fn with_value(&self, key: &Key) -> Option<u64> {
        let hash = hash(key);
        let table = self.shard(hash).read();
        table.find(hash, |(found, _)| **found == *key).map(|(_, value)| digest(value))
    }
}

impl Store for Sharded {
    fn insert(&self, key: &Key, value: &Value) {
        let hash = hash(key);
        let entry = (boxed(key), boxed(value));
        let mut table = self.shard(hash).write();
        match table.find_mut(hash, |(found, _)| **found == *key) {
            Some(place) => *place = entry,
            None => {
                table.insert_unique(hash, entry, |(key, _)| self::hash(key));
            }
        }
    }

    fn overwrite(&self, key: &Key, value: &Value) {
        let hash = hash(key);
        let value = boxed(value);
        let mut table = self.shard(hash).write();
        let place = table.find_mut(hash, |(found, _)| **found == *key);
        let old = place.map(|(_, place)| std::mem::replace(place, value));
        drop(table);
        debug_assert!(old.is_some(), "the key is there");
    }

    fn remove(&self, key: &Key) {
        let hash = hash(key);
        let mut table = self.shard(hash).write();
        let Ok(entry) = table.find_entry(hash, |(found, _)| **found == *key) else { return };
        let (removed, _) = entry.remove();
        // Outside of the lock, as freeing takes time.
        drop(table);
        drop(removed);
    }
}

/// dashmap with keys and values of one fixed size in the table itself: for orientation, as nothing that takes
/// values of any length can be laid out like this.
pub(crate) struct Inline(DashMap<[u8; KEY_BYTES], [u8; VALUE_BYTES], Xxh3>);

impl Inline {
    pub(crate) fn new() -> Inline {
        Inline(DashMap::with_hasher(Xxh3))
    }
}

impl Read for Inline {
    fn with_value(&self, key: &Key) -> Option<u64> {
        self.0.get(key).map(|value| digest(&*value))
    }
}

impl Store for Inline {
    fn insert(&self, key: &Key, value: &Value) {
        self.0.insert(*key, *value);
    }

    fn overwrite(&self, key: &Key, value: &Value) {
        self.insert(key, value);
    }

    fn remove(&self, key: &Key) {
        self.0.remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::super::store::check_store;
    use super::*;

    #[test]
    fn every_rival_answers_as_every_store_must() {
        check_store(&Papaya::new());
        check_store(&Scc::new());
        check_store(&Dashmap::new());
        check_store(&Sharded::new());
        check_store(&Inline::new());
    }
}
