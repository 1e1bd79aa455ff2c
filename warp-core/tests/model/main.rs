//! Random operations agree with a `BTreeMap`, after each step: a table above a layer, and one that stands alone.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should say where")]

mod above_layer;
mod alone;

use proptest::prelude::*;
use warp_core::{Entry, EntryRef, Former, Key, KeyRef, Table, TableOptions, Value};

/// The numbers of keys: few, so that operations meet.
const KEYS: u8 = 12;
/// The keyspace of keys that come by hundreds.
const CROWD: u32 = 2;
const SHARDS: u16 = 5;

/// A keyspace and the bytes of a key.
type Name = (u32, Key);

/// The hash of a key and its name. Keys 0 to 3 collide in their whole hash, 4 to 7 in their slot, and pairs of
/// keys differ in the keyspace only.
fn name(key: u8) -> (u64, Name) {
    let hash = match key {
        0..4 => 7 << 52 | 99,
        4..8 => 7 << 52 | u64::from(key) << 30,
        _ => u64::from(key).wrapping_mul(0x9E37_79B9_7F4A_7C15),
    };
    let bytes = vec![key / 2; usize::from(key / 2) * 10];
    (hash, (u32::from(key % 2), Key::from(bytes)))
}

/// The hash and the name of one of many keys, which are in the slot of the first eight.
fn crowd_name(number: u64) -> (u64, Name) {
    (crowd_hash(number), (CROWD, Key::from(number.to_le_bytes().to_vec())))
}

fn crowd_hash(number: u64) -> u64 {
    7 << 52 | number.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 12
}

/// The hash of a key made by [`name`] or [`crowd_name`], for the table.
fn hash(_seed: u64, keyspace: u32, key: &[u8]) -> u64 {
    if keyspace == CROWD {
        return crowd_hash(u64::from_le_bytes(key.try_into().unwrap()));
    }
    let number = 2 * (key.len() / 10) + keyspace as usize;
    name(u8::try_from(number).unwrap()).0
}

fn table(tracked: bool) -> Table {
    Table::with_options(TableOptions { hash, tracked, ..TableOptions::new(SHARDS, 0) })
}

/// What the table says of an entry that was replaced or removed.
fn former_of(entry: &Entry) -> (u64, u64, bool) {
    (entry.seq, entry.deadline, entry.is_tombstone())
}

fn parts(former: Former) -> (u64, u64, bool) {
    (former.seq, former.deadline, former.is_tombstone)
}

fn key_ref(hash: u64, name: &Name) -> KeyRef<'_> {
    KeyRef { hash, keyspace: name.0, bytes: &name.1 }
}

fn hash_of(name: &Name) -> u64 {
    hash(0, name.0, &name.1)
}

/// A value in another form, and back: what the table keeps and does not understand.
fn packed(value: &[u8]) -> Vec<u8> {
    value.iter().map(|byte| !byte).collect()
}

/// What an entry stands for, in whatever form it is.
fn plain(entry: EntryRef<'_>) -> Entry {
    let stored = entry.to_entry();
    let Some(len) = entry.packed_from() else { return stored };
    let value = packed(stored.value.as_ref().unwrap());
    assert_eq!(len as usize, value.len());
    Entry { value: Some(Value::from(value)), ..stored }
}

/// What the table holds for a key, in whatever form.
fn found(table: &Table, hash: u64, name: &Name) -> Option<Entry> {
    table.with(key_ref(hash, name), plain)
}

/// Lengths of values: in the entry, and shared.
fn len() -> impl Strategy<Value = usize> {
    prop_oneof![0..80_usize, 200..600_usize]
}

fn some_keys() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(0..KEYS, 0..5)
}

fn config() -> ProptestConfig {
    ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() }
}
