//! The table of `warp-core`: the one place where the comparison touches it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use warp_core::{KeyRef, Table};

use super::keys::{Key, Value};
use super::store::{Read, Seen, Store, digest};

/// Shards: as many as leave two writers undisturbed most of the time.
const SHARDS: u16 = 64;
/// Any keyspace and seed do for a table that is not logged.
const KEYSPACE: u32 = 1;
const SEED: u64 = 0x5EED;

/// The bare table, written to as the engine writes to it: hash, lock, next sequence number, put.
#[derive(Debug)]
pub(crate) struct Ours {
    table: Table,
    seq: Counter,
}

/// The number of the last write. It has two cache lines to itself (the processor fetches them in pairs), so that
/// readers of the table do not wait for writers who count.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Counter(AtomicU64);

impl Ours {
    pub(crate) fn new() -> Ours {
        // No snapshot is made of it, so nothing would ever empty the lists of changed keys.
        Ours { table: Table::untracked(SHARDS), seq: Counter::default() }
    }

    fn put(&self, key: &Key, value: &Value) {
        let key = key_ref(key);
        let mut guard = self.table.lock(key.hash);
        let seq = self.seq.0.fetch_add(1, Ordering::Relaxed) + 1;
        drop(guard.put(key, value.into(), seq, 0));
    }
}

fn key_ref(key: &Key) -> KeyRef<'_> {
    KeyRef::new(SEED, KEYSPACE, key)
}

impl Read for Ours {
    fn with_value(&self, key: &Key) -> Option<u64> {
        // The table has no read by reference, so that this one pays for a handle as well.
        self.get(key)
    }

    fn get(&self, key: &Key) -> Option<u64> {
        let entry = self.table.get(key_ref(key))?;
        entry.value.as_deref().map(digest)
    }

    fn multi_get(&self, keys: &[Key], seen: &mut Seen) {
        // A whole batch has room on the stack; only the last one of a pass is shorter.
        let mut refs = [KeyRef { hash: 0, keyspace: KEYSPACE, bytes: &[] }; super::store::BATCH_KEYS];
        for (place, key) in refs.iter_mut().zip(keys) {
            *place = key_ref(key);
        }
        self.table.multi_get(&refs[..keys.len()], |_, entry| {
            seen.add(entry.and_then(|entry| entry.value.as_deref().map(digest)));
        });
    }
}

impl Store for Ours {
    fn insert(&self, key: &Key, value: &Value) {
        self.put(key, value);
    }

    fn overwrite(&self, key: &Key, value: &Value) {
        self.put(key, value);
    }

    fn remove(&self, key: &Key) {
        let key = key_ref(key);
        drop(self.table.lock(key.hash).remove(key));
    }

    /// The table does not time its own steps, so that this is not known.
    fn longest_step(&self) -> Option<Duration> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_as_every_store_must() {
        super::super::store::check_store(&Ours::new());
    }
}
