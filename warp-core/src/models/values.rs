//! Keys, and values that say what each of their bytes must be.

use std::sync::Arc;

use crate::entry::EntryRef;
use crate::hash::KeyRef;
use crate::models::history::Held;
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::table::{Table, TableOptions};

/// Bytes of a value that is in its entry, and of one that is shared.
const SHORT_BYTES: usize = 24;
const LONG_BYTES: usize = 520;

/// The bytes of the keys: the first byte says the slot, the second is the fingerprint.
static NAMES: [[u8; 2]; 32] = {
    let mut names = [[0; 2]; 32];
    let mut number = 0;
    while number < names.len() {
        names[number] = [number as u8 % 2, number as u8 / 2];
        number += 1;
    }
    names
};

fn hash(_seed: u64, _keyspace: u32, key: &[u8]) -> u64 {
    u64::from(key[0]) << 52 | u64::from(key[1]) << 28
}

/// A key with a number: even ones are in slot 0, odd ones in slot 1.
pub(crate) fn key(number: usize) -> KeyRef<'static> {
    let bytes = &NAMES[number];
    KeyRef { hash: hash(0, 0, bytes), keyspace: 0, bytes }
}

pub(crate) fn table(shards: u16) -> Arc<Table> {
    Arc::new(Table::with_options(TableOptions { hash, ..TableOptions::new(shards, 0) }))
}

/// The value that stands for a number: short if it is even, long if it is odd.
pub(crate) fn value(number: u64) -> Vec<u8> {
    let mut bytes = number.to_le_bytes().to_vec();
    bytes.resize(if number.is_multiple_of(2) { SHORT_BYTES } else { LONG_BYTES }, number as u8 ^ 0xA5);
    bytes
}

/// The number that an entry's value stands for, with others running before its bytes are looked at, and between them.
pub(crate) fn number(entry: EntryRef<'_>) -> Held {
    let bytes = entry.value()?;
    let elsewhere = AtomicBool::new(false);
    elsewhere.load(Ordering::SeqCst);
    let number = u64::from_le_bytes(bytes[..8].try_into().unwrap());
    elsewhere.load(Ordering::SeqCst);
    assert_eq!(bytes, value(number), "a value is read as it was written");
    Some(number)
}

/// What a key's value stands for.
pub(crate) fn read(table: &Table, key: KeyRef<'_>) -> Held {
    table.with(key, |entry| {
        assert_eq!(entry.key(), key.bytes);
        number(entry)
    })?
}
