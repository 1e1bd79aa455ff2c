//! Writers who meet at keys, while slots go from shard to shard.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use shuttle::thread;

use super::history::{Call, Event, is_linearizable};
use super::schedules::{explore, join_all};
use super::values::{key, number, read, table, value};
use crate::guard::Guard;
use crate::hash::{KeyRef, slot_of};
use crate::table::Table;

/// Adds one to a counter under a guard.
fn add_one(table: &Table, guard: &mut Guard<'_>, key: KeyRef<'_>) {
    let count = guard.with(key, number).flatten().unwrap_or(0) + 1;
    let prepared = table.prepare(key, &value(count), 0).unwrap();
    guard.put(prepared, count);
}

fn move_to_and_fro(table: &Table, times: u16) {
    for round in 0..times {
        table.move_slot(slot_of(key(0).hash), (round + 1) % 2);
    }
}

#[test]
fn no_write_is_lost_while_its_slot_moves() {
    explore(|| {
        let table = table(2);
        let writers = [0, 1].map(|writer| {
            let table = Arc::clone(&table);
            thread::spawn(move || {
                for of in [0, 2, 0] {
                    match writer {
                        0 => add_one(&table, &mut table.lock(key(of).hash), key(of)),
                        _ => add_one(&table, &mut table.lock_many(&[key(1).hash, key(of).hash]), key(of)),
                    }
                }
            })
        });
        let readers = [0, 1].map(|_| {
            let table = Arc::clone(&table);
            thread::spawn(move || {
                let first = read(&table, key(0));
                let second = read(&table, key(0));
                assert!(first <= second, "{first:?}, and then {second:?}");
            })
        });
        move_to_and_fro(&table, 3);
        join_all(writers);
        join_all(readers);
        assert_eq!((read(&table, key(0)), read(&table, key(2))), (Some(4), Some(2)));
        table.validate().unwrap();
    });
}

/// Two keys in two slots are written together; nobody who holds both sees them differ, and nobody waits for ever.
#[test]
fn a_batch_is_whole_for_whoever_holds_its_keys() {
    explore(|| {
        let table = table(2);
        let threads = [[0, 1], [1, 0]].map(|[one, other]| {
            let table = Arc::clone(&table);
            thread::spawn(move || {
                for _ in 0..2 {
                    let mut guard = table.lock_many(&[key(one).hash, key(other).hash]);
                    let read = |of: usize| guard.with(key(of), number).flatten();
                    assert_eq!(read(one), read(other));
                    add_one(&table, &mut guard, key(one));
                    add_one(&table, &mut guard, key(other));
                }
            })
        });
        let mover = {
            let table = Arc::clone(&table);
            thread::spawn(move || move_to_and_fro(&table, 3))
        };
        // A second mover of the same slot.
        move_to_and_fro(&table, 2);
        let guard = table.lock_all();
        assert_eq!(guard.with(key(0), number), guard.with(key(1), number));
        drop(guard);
        join_all(threads);
        mover.join().unwrap();
        assert_eq!((read(&table, key(0)), read(&table, key(1))), (Some(4), Some(4)));
        table.validate().unwrap();
    });
}

/// A value of a snapshot is brought in and thrown out again while a log is replayed and the key is written: what has
/// the highest sequence stands, and is never gone once it is there.
#[test]
fn a_newer_value_is_never_hidden_by_an_older_one() {
    explore(|| {
        const SNAPSHOT: u64 = 10;
        let table = table(2);
        let evicter = {
            let table = Arc::clone(&table);
            thread::spawn(move || {
                for _ in 0..2 {
                    let clean = table.prepare(key(0), &value(1), 0).unwrap();
                    table.lock(key(0).hash).insert_clean(clean, 1);
                    table.remove_clean(&[key(0).hash], SNAPSHOT, |_, _| true);
                }
            })
        };
        let replayer = {
            let table = Arc::clone(&table);
            thread::spawn(move || {
                let mut replayer = table.replayer(|_| ());
                for seq in [11, 13, 12] {
                    replayer.put(key(0), &value(seq), 0, seq).unwrap();
                }
            })
        };
        let reader = {
            let table = Arc::clone(&table);
            thread::spawn(move || {
                let first = read(&table, key(0)).filter(|found| *found > SNAPSHOT);
                let second = read(&table, key(0));
                assert!(first.is_none() || first <= second, "{first:?}, and then {second:?}");
            })
        };
        table.move_slot(0, 1);
        table.put(key(0), &value(20), 20, 0).unwrap();
        assert_eq!(read(&table, key(0)), Some(20));
        evicter.join().unwrap();
        replayer.join().unwrap();
        reader.join().unwrap();
        assert_eq!(read(&table, key(0)), Some(20));
        table.validate().unwrap();
    });
}

/// Every schedule makes a history, in which the order of the tester is the time.
#[test]
fn what_threads_see_of_a_key_is_linearizable() {
    explore(|| {
        let table = table(2);
        let clock = Arc::new(AtomicU64::new(0));
        let events = Arc::new(Mutex::new(BTreeMap::<usize, Vec<Event>>::new()));
        let threads = [0_u64, 1, 2].map(|thread| {
            let (table, clock, events) = (Arc::clone(&table), Arc::clone(&clock), Arc::clone(&events));
            thread::spawn(move || {
                for step in 0..4_u64 {
                    let of = (thread + step) as usize % 2 * 2;
                    let tick = || clock.fetch_add(1, Ordering::SeqCst);
                    let start = tick();
                    let call = call(&table, of, 1 + 4 * thread + step);
                    let event = Event { call, start, end: tick() };
                    events.lock().unwrap().entry(of).or_default().push(event);
                }
            })
        });
        move_to_and_fro(&table, 2);
        table.collect();
        join_all(threads);
        for events in events.lock().unwrap().values() {
            assert!(is_linearizable(events, None), "{events:#?}");
        }
        table.validate().unwrap();
    });
}

/// Makes the call that a number stands for, with a sequence that the lock gives.
fn call(table: &Table, of: usize, new: u64) -> Call {
    let key = key(of);
    let next = |guard: &Guard<'_>| guard.with(key, |entry| entry.seq()).unwrap_or(0) + 1;
    match new % 5 {
        0 => {
            let mut guard = table.lock(key.hash);
            let existed = guard.with(key, number).flatten().is_some();
            let seq = next(&guard);
            guard.put(table.prepare_tombstone(key).unwrap(), seq);
            Call::Delete(existed)
        }
        1 => Call::Delete(table.lock(key.hash).remove(key).is_some_and(|former| !former.is_tombstone)),
        2 => Call::Get(read(table, key)),
        3 => {
            let prepared = table.prepare(key, &value(new), 0).unwrap();
            let mut guard = table.lock(key.hash);
            let seq = next(&guard);
            guard.put(prepared, seq);
            Call::Put(new)
        }
        _ => {
            let expected = read(table, key);
            let prepared = table.prepare(key, &value(new), 0).unwrap();
            let mut guard = table.lock(key.hash);
            let found = guard.with(key, number).flatten();
            if found != expected {
                return Call::Refused { expected, found };
            }
            let seq = next(&guard);
            guard.put(prepared, seq);
            Call::Swapped { expected, new: Some(new) }
        }
    }
}
