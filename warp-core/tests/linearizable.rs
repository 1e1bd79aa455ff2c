//! What four threads see of a few keys could have happened one call after the other, while slots move between shards
//! and grow and shrink.
//!
//! Each history has keys of its own, so that every one begins with nothing; those of the one before are removed meanwhile.
//! `WARP_HISTORIES` says how many there are.

#![allow(
    clippy::cast_possible_truncation,
    clippy::unwrap_used,
    reason = "a test that cannot go on says so by a panic, and its numbers are small"
)]

mod history;
mod rounds;

use std::sync::atomic::{AtomicU64, Ordering};

use history::{Call, Event, Held, is_linearizable};
use rounds::{KEYS, Random};
use warp_core::{EntryRef, Guard, KeyRef, Table, TableOptions, slot_of};

const SHARDS: u16 = 4;
/// Keys that come and go at once, so that slots grow and shrink.
const FILLERS: u8 = 100;
/// Bytes of a value that is in its entry, and of one that is shared.
const SHORT_BYTES: usize = 40;
const LONG_BYTES: usize = 600;

/// Keys of all histories share two slots; the low bits spread them over the slot's buckets.
fn hash(_seed: u64, _keyspace: u32, key: &[u8]) -> u64 {
    let (round, number) = (u64::from_le_bytes(key[..8].try_into().unwrap()), u64::from(key[8]));
    (number % 2) << 52 | (round.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 12 ^ number << 30)
}

/// The bytes of a history's key.
fn name(round: u64, number: u8) -> [u8; 9] {
    let mut bytes = [0; 9];
    bytes[..8].copy_from_slice(&round.to_le_bytes());
    bytes[8] = number;
    bytes
}

fn key_of(bytes: &[u8; 9]) -> KeyRef<'_> {
    KeyRef { hash: hash(0, 0, bytes), keyspace: 0, bytes }
}

fn value(number: u64) -> Vec<u8> {
    let mut bytes = number.to_le_bytes().to_vec();
    bytes.resize(if number.is_multiple_of(2) { SHORT_BYTES } else { LONG_BYTES }, number as u8 ^ 0xA5);
    bytes
}

fn number(bytes: &[u8]) -> u64 {
    let number = u64::from_le_bytes(bytes[..8].try_into().unwrap());
    assert_eq!(bytes, value(number), "a value is read as it was written");
    number
}

fn held(entry: EntryRef<'_>) -> Held {
    entry.value().map(number)
}

struct Calls {
    table: Table,
    next_seq: AtomicU64,
}

impl Calls {
    fn read(&self, key: KeyRef<'_>, random: &mut Random) -> Held {
        match random.below(3) {
            0 => {
                let held = |entry: EntryRef<'_>| {
                    random.may_yield();
                    held(entry)
                };
                self.table.with(key, held).flatten()
            }
            1 => self.table.get(key).and_then(|entry| entry.value.as_deref().map(number)),
            _ => {
                let mut found = None;
                self.table.multi_get_with(&[key, key], |_, entry| found = entry.and_then(held));
                found
            }
        }
    }

    /// The lock of a key, with what the key holds.
    fn lock(&self, key: KeyRef<'_>, random: &mut Random) -> (Guard<'_>, Held) {
        let other = key_of(&name(0, (key.bytes[8] + 1) % KEYS)).hash;
        let guard = match random.below(3) {
            0 => self.table.lock_many(&[other, key.hash]),
            _ => self.table.lock(key.hash),
        };
        let held = guard.with(key, held).flatten();
        random.may_yield();
        (guard, held)
    }

    /// Has both slots grow and shrink, by keys of no history.
    fn grow_and_shrink(&self) {
        let names: Vec<[u8; 9]> = (0..FILLERS).map(|number| name(u64::MAX, number)).collect();
        for bytes in &names {
            self.table.put(key_of(bytes), &value(u64::from(bytes[8])), self.seq(), 0).unwrap();
        }
        for bytes in &names {
            self.table.lock(key_of(bytes).hash).remove(key_of(bytes));
        }
    }

    /// A sequence for a write. To be called under the lock of its key.
    fn seq(&self) -> u64 {
        self.next_seq.fetch_add(1, Ordering::Relaxed)
    }
}

impl rounds::Calls for Calls {
    fn call(&self, round: u64, number: u8, new: u64, random: &mut Random) -> Call {
        let bytes = name(round, number);
        let key = key_of(&bytes);
        match random.below(8) {
            0..3 => Call::Get(self.read(key, random)),
            3..5 => {
                let prepared = self.table.prepare(key, &value(new), 0).unwrap();
                let (mut guard, _) = self.lock(key, random);
                guard.put(prepared, self.seq());
                Call::Put(new)
            }
            5 => {
                let (mut guard, held) = self.lock(key, random);
                if random.below(2) == 0 {
                    guard.remove(key);
                } else {
                    guard.put(self.table.prepare_tombstone(key).unwrap(), self.seq());
                }
                Call::Delete(held.is_some())
            }
            _ => {
                // Most swaps expect what was there a moment ago.
                let expected = if random.below(4) == 0 { Some(new) } else { self.read(key, random) };
                let prepared = self.table.prepare(key, &value(new), 0).unwrap();
                let (mut guard, found) = self.lock(key, random);
                if found == expected {
                    guard.put(prepared, self.seq());
                    Call::Swapped { expected, new: Some(new) }
                } else {
                    Call::Refused { expected, found }
                }
            }
        }
    }

    fn forget(&self, round: u64, number: u8) {
        let bytes = name(round, number);
        let key = key_of(&bytes);
        self.table.lock(key.hash).remove(key);
    }

    fn disturb(&self, random: &mut Random) {
        match random.below(64) {
            0 => drop(self.table.shrink()),
            1 => self.table.collect(),
            2 => self.grow_and_shrink(),
            _ => {
                let slot = slot_of(key_of(&name(0, random.below(2) as u8)).hash);
                self.table.move_slot(slot, random.below(u64::from(SHARDS)) as u16);
            }
        }
    }
}

#[test]
fn histories_of_four_threads_are_linearizable() {
    let table = Table::with_options(TableOptions { hash, ..TableOptions::new(SHARDS, 0) });
    let calls = Calls { table, next_seq: AtomicU64::new(1) };
    rounds::check(&calls, 10_000);
    calls.table.validate().unwrap();
    assert!(calls.table.resizes().count > 100, "the slots did not grow while they were read");
}

/// The checker itself: what could not have happened is found, and what could is not.
#[test]
fn impossible_histories_are_told_from_possible_ones() {
    let event = |call, start, end| Event { call, start, end };
    let put = |value, start, end| event(Call::Put(value), start, end);
    let get = |found, start, end| event(Call::Get(found), start, end);
    let swap = |expected, new, start, end| event(Call::Swapped { expected, new: Some(new) }, start, end);
    let impossible: [(&str, &[Event]); 7] = [
        ("a read of what was overwritten before it", &[put(1, 0, 1), put(2, 2, 3), get(Some(1), 4, 5)]),
        ("a put that is lost", &[put(1, 0, 1), get(None, 2, 3)]),
        (
            "two reads that see two puts in opposite orders",
            &[put(1, 0, 9), put(2, 0, 9), get(Some(1), 10, 11), get(Some(2), 12, 13)],
        ),
        ("two swaps of one value", &[put(1, 0, 1), swap(Some(1), 2, 2, 9), swap(Some(1), 3, 2, 9)]),
        ("a delete of what is not there", &[event(Call::Delete(true), 0, 1)]),
        (
            "a refusal by what was expected",
            &[put(1, 0, 1), event(Call::Refused { expected: Some(1), found: Some(1) }, 2, 3)],
        ),
        ("a value from nowhere", &[put(1, 0, 9), get(Some(2), 0, 9)]),
    ];
    for (what, events) in impossible {
        assert!(!is_linearizable(events, None), "{what}");
    }
    let possible: [&[Event]; 4] = [
        &[put(1, 0, 9), get(None, 1, 2), get(Some(1), 3, 4)],
        &[put(1, 0, 9), put(2, 0, 9), get(Some(2), 1, 2), get(Some(1), 3, 4)],
        &[put(1, 0, 1), swap(Some(1), 2, 2, 9), swap(Some(2), 3, 2, 9), get(Some(3), 10, 11)],
        &[put(1, 0, 1), event(Call::Delete(true), 2, 9), event(Call::Delete(false), 2, 9)],
    ];
    for events in possible {
        assert!(is_linearizable(events, None), "{events:?}");
    }
}
