//! What four threads see of a few keys could have happened one call after the other, while slots move between shards
//! and grow and shrink.
//!
//! Each history has keys of its own, so that every one begins with nothing; those of the one before are removed meanwhile.
//! `WARP_HISTORIES` says how many there are.
//!
//! What would not be noticed is not checked: histories that were written by hand, and tables that are driven wrongly on
//! purpose, must be refused.

#![allow(
    clippy::cast_possible_truncation,
    clippy::unwrap_used,
    reason = "a test that cannot go on says so by a panic, and its numbers are small"
)]

mod history;
mod rounds;

use std::collections::BTreeMap;
use std::sync::Mutex;
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
            3 => drop(self.table.compact()),
            1 => self.table.collect(),
            2 => self.grow_and_shrink(),
            _ => {
                let slot = slot_of(key_of(&name(0, random.below(2) as u8)).hash);
                self.table.move_slot(slot, random.below(u64::from(SHARDS)) as u16);
            }
        }
    }
}

impl Calls {
    fn new() -> Calls {
        let table = Table::with_options(TableOptions { hash, ..TableOptions::new(SHARDS, 0) });
        Calls { table, next_seq: AtomicU64::new(1) }
    }

    /// Puts a value as a call of its own.
    fn put(&self, key: KeyRef<'_>, new: u64) {
        let prepared = self.table.prepare(key, &value(new), 0).unwrap();
        self.table.lock(key.hash).put(prepared, self.seq());
    }
}

#[test]
fn histories_of_four_threads_are_linearizable() {
    let calls = Calls::new();
    rounds::check(&calls, 10_000);
    calls.table.validate().unwrap();
    assert!(calls.table.resizes().count > 100, "the slots did not grow while they were read");
}

/// What is wrong with a table that must be refused.
#[derive(Debug, Clone, Copy)]
enum Defect {
    /// A read may answer what an earlier one has found.
    StaleRead,
    /// A put may answer before its value is published.
    LatePut,
    /// A swap looks before it has the lock, and not again.
    BlindSwap,
    /// A swap that is refused shows its value for a moment.
    ShownAndTakenBack,
    /// What a delete took out comes back from elsewhere.
    UndoneDelete,
}

/// A table that is driven wrongly.
struct Broken {
    calls: Calls,
    defect: Defect,
    /// What reads have found, by round and key.
    found: Mutex<BTreeMap<(u64, u8), Held>>,
    /// Puts that are not made yet: round, key, and value.
    late: Mutex<Vec<(u64, u8, u64)>>,
}

impl Broken {
    fn with(defect: Defect) -> Broken {
        Broken { calls: Calls::new(), defect, found: Mutex::default(), late: Mutex::default() }
    }

    /// Answers a read by what an earlier one has found, if there was one.
    fn read_stale(&self, place: (u64, u8), found: Held) -> Call {
        Call::Get(*self.found.lock().unwrap().entry(place).or_insert(found))
    }

    fn swap_blindly(&self, key: KeyRef<'_>, new: u64, random: &mut Random) -> Call {
        let expected = self.calls.read(key, random);
        random.may_yield();
        self.calls.put(key, new);
        Call::Swapped { expected, new: Some(new) }
    }

    fn show_and_take_back(&self, key: KeyRef<'_>, new: u64, random: &mut Random) -> Call {
        let table = &self.calls.table;
        let (mut guard, found) = self.calls.lock(key, random);
        guard.put(table.prepare(key, &value(new), 0).unwrap(), self.calls.seq());
        random.may_yield();
        let former = match found {
            Some(found) => table.prepare(key, &value(found), 0).unwrap(),
            None => table.prepare_tombstone(key).unwrap(),
        };
        guard.put(former, self.calls.seq());
        Call::Refused { expected: Some(new), found }
    }

    fn delete_and_undo(&self, key: KeyRef<'_>, random: &mut Random) -> Call {
        let (mut guard, held) = self.calls.lock(key, random);
        guard.remove(key);
        drop(guard);
        if let Some(held) = held {
            self.calls.put(key, held);
        }
        Call::Delete(held.is_some())
    }
}

impl rounds::Calls for Broken {
    fn call(&self, round: u64, number: u8, new: u64, random: &mut Random) -> Call {
        let bytes = name(round, number);
        let key = key_of(&bytes);
        if random.below(4) == 0 {
            match self.defect {
                Defect::StaleRead => {
                    let found = self.calls.read(key, random);
                    return self.read_stale((round, number), found);
                }
                Defect::LatePut => {
                    self.late.lock().unwrap().push((round, number, new));
                    return Call::Put(new);
                }
                Defect::BlindSwap => return self.swap_blindly(key, new, random),
                Defect::ShownAndTakenBack => return self.show_and_take_back(key, new, random),
                Defect::UndoneDelete => return self.delete_and_undo(key, random),
            }
        }
        self.calls.call(round, number, new, random)
    }

    fn forget(&self, round: u64, number: u8) {
        self.calls.forget(round, number);
    }

    fn disturb(&self, random: &mut Random) {
        for (round, number, new) in std::mem::take(&mut *self.late.lock().unwrap()) {
            self.calls.put(key_of(&name(round, number)), new);
        }
        self.calls.disturb(random);
    }
}

#[test]
fn a_broken_table_is_noticed() {
    use Defect::{BlindSwap, LatePut, ShownAndTakenBack, StaleRead, UndoneDelete};
    for defect in [StaleRead, LatePut, BlindSwap, ShownAndTakenBack, UndoneDelete] {
        let outcome = rounds::run(&Broken::with(defect), 2_000);
        assert!(outcome.impossible.is_some(), "{defect:?} was not noticed");
    }
}

/// The checker itself: what could not have happened is told from what could, though a moment makes the difference.
#[test]
fn impossible_histories_are_told_from_possible_ones() {
    for (what, impossible, possible) in cases() {
        assert!(!is_linearizable(&impossible, None), "{what}");
        assert!(is_linearizable(&possible, None), "not {what}: {possible:?}");
    }
}

/// Histories that are impossible, each beside one that is nearly the same and possible.
fn cases() -> Vec<(&'static str, Vec<Event>, Vec<Event>)> {
    let event = |call, start, end| Event { call, start, end };
    let put = |value, start, end| event(Call::Put(value), start, end);
    let get = |found, start, end| event(Call::Get(found), start, end);
    let delete = |existed, start, end| event(Call::Delete(existed), start, end);
    let swap = |expected, new, start, end| {
        event(Call::Swapped { expected: Some(expected), new: Some(new) }, start, end)
    };
    let refused = |expected, found, start, end| {
        event(Call::Refused { expected: Some(expected), found: Some(found) }, start, end)
    };
    vec![
        (
            "a read of what was overwritten before it",
            vec![put(1, 0, 1), put(2, 2, 3), get(Some(1), 4, 5)],
            vec![put(1, 0, 1), put(2, 2, 4), get(Some(1), 4, 5)],
        ),
        ("a put that is lost", vec![put(1, 0, 1), get(None, 2, 3)], vec![put(1, 0, 2), get(None, 2, 3)]),
        (
            "a read of a value before it was written",
            vec![get(Some(1), 0, 1), put(1, 2, 3)],
            vec![get(Some(1), 0, 2), put(1, 2, 3)],
        ),
        (
            "a value from nowhere",
            vec![put(1, 0, 9), get(Some(2), 0, 9)],
            vec![put(1, 0, 9), get(Some(1), 0, 9)],
        ),
        (
            "two reads that see two puts in opposite orders",
            vec![put(1, 0, 9), put(2, 0, 9), get(Some(1), 10, 11), get(Some(2), 12, 13)],
            vec![put(1, 0, 9), put(2, 0, 10), get(Some(1), 10, 11), get(Some(2), 12, 13)],
        ),
        (
            "a second read that goes back",
            vec![put(1, 0, 1), put(2, 2, 9), get(Some(2), 3, 4), get(Some(1), 5, 6)],
            vec![put(1, 0, 1), put(2, 2, 9), get(Some(2), 3, 5), get(Some(1), 5, 6)],
        ),
        (
            "two swaps of one value",
            vec![put(1, 0, 1), swap(1, 2, 2, 9), swap(1, 3, 2, 9)],
            vec![put(1, 0, 1), swap(1, 2, 2, 9), swap(2, 3, 2, 9), get(Some(3), 10, 11)],
        ),
        (
            "an update that is lost",
            vec![put(1, 0, 1), swap(1, 2, 2, 3), get(Some(1), 4, 5)],
            vec![put(1, 0, 1), swap(1, 2, 2, 4), get(Some(1), 4, 5)],
        ),
        (
            "a swap of what is not there any more",
            vec![put(1, 0, 1), put(2, 2, 3), swap(1, 3, 4, 5)],
            vec![put(1, 0, 1), put(2, 2, 4), swap(1, 3, 4, 5)],
        ),
        (
            "a refusal by what was expected",
            vec![put(1, 0, 1), refused(1, 1, 2, 3)],
            vec![put(1, 0, 1), refused(2, 1, 2, 3)],
        ),
        (
            "a refusal by what came later",
            vec![put(1, 0, 1), refused(1, 2, 2, 3), put(2, 4, 5)],
            vec![put(1, 0, 1), refused(1, 2, 2, 4), put(2, 4, 5)],
        ),
        (
            "a delete that is undone",
            vec![put(1, 0, 1), delete(true, 2, 3), get(Some(1), 4, 5)],
            vec![put(1, 0, 1), delete(true, 2, 4), get(Some(1), 4, 5)],
        ),
        ("a delete of what is not there", vec![delete(true, 0, 1)], vec![delete(false, 0, 1)]),
        (
            "two deletes of one value",
            vec![put(1, 0, 1), delete(true, 2, 9), delete(true, 2, 9)],
            vec![put(1, 0, 1), delete(true, 2, 9), delete(false, 2, 9)],
        ),
    ]
}
