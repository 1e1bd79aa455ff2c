//! Readers, while what they look for is written, replaced, removed and freed, and the buckets grow and shrink.

use std::sync::Arc;

use shuttle::thread;

use super::schedules::{explore, join_all};
use super::values::{key, number, read, table, value};
use crate::table::Table;

/// Reads a key some times: what it holds never goes back.
fn read_ascending(table: &Table, of: usize, times: usize) {
    let mut last = None;
    for _ in 0..times {
        // Not there is older than anything only before it was there first: writers here never delete.
        let now = read(table, key(of));
        assert!(now >= last, "{last:?}, and then {now:?}");
        last = now;
    }
}

#[test]
fn what_is_replaced_is_not_freed_under_a_reader() {
    explore(|| {
        let table = table(1);
        let readers = [0, 1].map(|_| {
            let table = Arc::clone(&table);
            thread::spawn(move || read_ascending(&table, 0, 4))
        });
        for round in 1..6 {
            table.put(key(0), &value(round), round, 0).unwrap();
        }
        table.collect();
        table.put(key(0), &value(6), 6, 0).unwrap();
        join_all(readers);
        assert_eq!(read(&table, key(0)), Some(6));
    });
}

/// The memory of what was removed goes to other entries at once, which a reader must not take for its own.
#[test]
fn what_is_removed_is_not_freed_under_a_reader() {
    explore(|| {
        let table = table(2);
        table.put(key(0), &value(1), 1, 0).unwrap();
        let readers = [0, 2].map(|of| {
            let table = Arc::clone(&table);
            thread::spawn(move || {
                for _ in 0..3 {
                    // Values of a key are told from those of the other by their number.
                    assert!(read(&table, key(of)).is_none_or(|found| found % 4 / 2 == of as u64 / 2));
                }
            })
        });
        for round in 1..4 {
            table.lock(key(0).hash).remove(key(0));
            table.put(key(2), &value(4 * round + 2), round, 0).unwrap();
            table.collect();
            table.lock(key(2).hash).remove(key(2));
            table.put(key(0), &value(4 * round + 1), round, 0).unwrap();
        }
        join_all(readers);
        table.validate().unwrap();
    });
}

/// Entries that are there throughout are found, and shown once by a walk, while the buckets are replaced by more and
/// by fewer.
#[test]
fn what_is_there_throughout_is_found_while_the_slot_grows_and_shrinks() {
    explore(|| {
        const STAY: usize = 5;
        const COME: usize = 14;
        let table = table(1);
        let all: Vec<usize> = (0..COME).map(|at| 2 * at).collect();
        for of in &all[..STAY] {
            table.put(key(*of), &value(*of as u64), 1, 0).unwrap();
        }
        let reader = {
            let (table, stay) = (Arc::clone(&table), all[..STAY].to_vec());
            thread::spawn(move || {
                for of in [1, 4, 2, 3] {
                    assert_eq!(read(&table, key(stay[of])), Some(stay[of] as u64));
                }
            })
        };
        let walker = {
            let (table, stay) = (Arc::clone(&table), all[..STAY].to_vec());
            thread::spawn(move || {
                let keys: Vec<_> = stay.iter().map(|of| key(*of)).collect();
                table.multi_get_with(&keys, |at, found| {
                    assert_eq!(found.and_then(number), Some(stay[at] as u64));
                });
                let mut seen = Vec::new();
                table.for_each_in(0, |entry| seen.push(number(entry).unwrap()));
                for of in stay {
                    assert_eq!(seen.iter().filter(|seen| **seen == of as u64).count(), 1);
                }
            })
        };
        for of in &all[STAY..] {
            table.put(key(*of), &value(*of as u64), 2, 0).unwrap();
        }
        for of in &all[STAY..] {
            table.lock(key(*of).hash).remove(key(*of)).unwrap();
        }
        for of in &all[1..STAY] {
            table.put(key(*of), &value(*of as u64), 3, 0).unwrap();
        }
        reader.join().unwrap();
        walker.join().unwrap();
        assert!(table.resizes().count >= 3, "it neither grew nor shrank");
        table.validate().unwrap();
    });
}
