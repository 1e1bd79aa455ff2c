//! The table of `warp-core`: the one place where the comparison touches it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use warp_core::{KeyRef, Table, TableOptions};

use super::pages::Pages;
use super::store::{Read, Seen, Store, digest};
use crate::keys::{Key, Value};

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
        Ours::in_pages(Pages::Huge)
    }

    pub(crate) fn in_pages(pages: Pages) -> Ours {
        let huge_pages = pages == Pages::Huge;
        // No snapshot is made of it, so nothing would ever empty the lists of changed keys.
        let options = TableOptions { tracked: false, huge_pages, ..TableOptions::new(SHARDS, SEED) };
        Ours { table: Table::with_options(options), seq: Counter::default() }
    }

    fn put(&self, key: &Key, value: &Value) {
        let key = key_ref(key);
        let prepared = self.table.prepare(key, value, 0).expect("the table is not full");
        let mut guard = self.table.lock(key.hash);
        let seq = self.seq.0.fetch_add(1, Ordering::Relaxed) + 1;
        guard.put(prepared, seq);
    }
}

fn key_ref(key: &Key) -> KeyRef<'_> {
    KeyRef::new(SEED, KEYSPACE, key)
}

impl Read for Ours {
    fn with_value(&self, key: &Key) -> Option<u64> {
        self.table.with(key_ref(key), |entry| entry.value().map(digest))?
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
        self.table.multi_get_with(&refs[..keys.len()], |_, entry| {
            seen.add(entry.and_then(|entry| entry.value().map(digest)));
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
        self.table.lock(key.hash).remove(key);
    }

    fn give_back(&self) {
        self.table.shrink();
    }

    fn longest_step(&self) -> Option<Duration> {
        Some(Duration::from_nanos(self.table.resizes().longest_cpu_nanos))
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
