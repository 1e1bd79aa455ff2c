//! Readers while the table grows to many entries, loses nine in ten of them, and gives their memory back.

#![allow(
    clippy::cast_possible_truncation,
    clippy::unwrap_used,
    reason = "a test that cannot go on says so by a panic, and its numbers are small"
)]

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use warp_core::{EntryRef, KeyRef, Table, TableOptions};

/// Milliseconds that are waited for readers.
const TRIES: usize = 10_000;
/// Enough for every slot to grow several times, and for chunks of memory to come and go.
const KEYS: u64 = 200_000;
/// One key in as many stays.
const STAYS_EVERY: u64 = 10;
const READERS: u64 = 2;
const SEED: u64 = 7;

/// The value of a key: its length and its bytes follow from the key's number; one in 64 is shared.
fn value(number: u64) -> Vec<u8> {
    let len = if number.is_multiple_of(64) { 700 } else { 8 + number % 90 };
    (0..len).map(|at| (number.wrapping_mul(31) + at) as u8).collect()
}

fn check(number: u64, entry: EntryRef<'_>) {
    assert_eq!(entry.key(), number.to_le_bytes());
    assert_eq!(entry.value(), Some(&value(number)[..]), "key {number} is read as it was written");
    assert_eq!(entry.to_entry().value.as_deref(), entry.value());
}

/// What the readers must find: every key below `grown` but those that the removal has come to.
struct Progress {
    grown: AtomicU64,
    /// Keys from here on may be gone, unless they stay.
    removal_from: AtomicU64,
    done: AtomicBool,
}

/// Reads until all is done; returns how many keys were found.
fn read(table: &Table, progress: &Progress, seed: u64) -> u64 {
    let (mut state, mut found) = (seed, 0);
    while !progress.done.load(Ordering::Relaxed) {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let number = (state >> 33) % KEYS;
        let must = number < progress.grown.load(Ordering::Acquire);
        let bytes = number.to_le_bytes();
        let is_there = table.with(KeyRef::new(SEED, 0, &bytes), |entry| check(number, entry)).is_some();
        let stays =
            number.is_multiple_of(STAYS_EVERY) || number < progress.removal_from.load(Ordering::Acquire);
        assert!(is_there || !(must && stays), "key {number} was missed");
        found += u64::from(is_there);
    }
    found
}

/// Ends the readers, after a failure, too.
struct Ending<'a>(&'a AtomicBool);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn readers_find_what_is_there_through_growth_deletion_and_shrinking() {
    let table = Table::with_options(TableOptions { tracked: false, ..TableOptions::new(4, SEED) });
    let progress = Progress {
        grown: AtomicU64::new(0),
        removal_from: AtomicU64::new(KEYS),
        done: AtomicBool::new(false),
    };
    let (table, progress) = (&table, &progress);
    let found: Vec<u64> = thread::scope(|scope| {
        let readers: Vec<_> =
            (0..READERS).map(|seed| scope.spawn(move || read(table, progress, 99 + seed))).collect();
        let ending = Ending(&progress.done);
        for number in 0..KEYS {
            let bytes = number.to_le_bytes();
            table.put(KeyRef::new(SEED, 0, &bytes), &value(number), number + 1, 0).unwrap();
            progress.grown.store(number + 1, Ordering::Release);
        }
        let full = table.memory().table_bytes;
        // From the last to the first, so that a reader who misses a key knows whether it may be gone.
        for number in (0..KEYS).rev().filter(|number| !number.is_multiple_of(STAYS_EVERY)) {
            progress.removal_from.store(number, Ordering::Release);
            let bytes = number.to_le_bytes();
            let key = KeyRef::new(SEED, 0, &bytes);
            assert!(table.lock(key.hash).remove(key).is_some());
        }
        // A reader that the system has stopped holds up what is freed for a while.
        let (mut moved, mut left) = (0, full);
        for _ in 0..TRIES {
            moved += table.shrink() + table.compact();
            table.collect();
            let held = table.memory();
            left = held.table_bytes - held.free_bytes;
            if moved > 0 && left < full / 2 {
                break;
            }
            thread::sleep(Duration::from_millis(1));
        }
        drop(ending);
        assert!(moved > 0 && left < full / 2, "{moved} moved, {left} of {full} bytes are still in use");
        readers.into_iter().map(|reader| reader.join().unwrap()).collect()
    });
    table.validate().unwrap();
    assert_eq!(table.len() as u64, KEYS / STAYS_EVERY);
    assert!(found.iter().all(|found| *found > 1000), "{found:?} keys were found");
}
