//! Tests of the file above.

use std::sync::atomic::AtomicBool;

use super::*;
use crate::value::Value;

/// A table whose keys are in the slot that their first two bytes say.
fn table(shards: u16) -> Table {
    Table::with_options(TableOptions { hash: by_slot, ..TableOptions::new(shards, 0) })
}

fn by_slot(_seed: u64, _keyspace: u32, key: &[u8]) -> u64 {
    let slot = u64::from(key[0]) << 8 | u64::from(key[1]);
    let rest = key.get(2..).and_then(<[u8]>::first_chunk).map_or(0, |rest| u64::from_le_bytes(*rest));
    slot << 52 | rest.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 12
}

/// A key whose slot is `slot`.
fn key(slot: u16) -> KeyRef<'static> {
    const NAMES: [[u8; 2]; 8] = [[0, 0], [0, 1], [0, 2], [0, 3], [0, 4], [0, 5], [0, 6], [0, 7]];
    let bytes = &NAMES[usize::from(slot)];
    KeyRef { hash: by_slot(0, 0, bytes), keyspace: 0, bytes }
}

/// Waits for what happens only once no other test is pinned, which none is for long.
fn until(mut happened: impl FnMut() -> bool) {
    let waited = (0..10_000).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(1));
        happened()
    });
    assert!(waited, "it never happened");
}

#[test]
fn a_table_is_shared_between_threads() {
    fn check<T: Send + Sync>() {}
    check::<Table>();
    check::<Value>();
    check::<Key>();
}

#[test]
fn the_number_of_shards_is_brought_into_bounds() {
    assert_eq!(Table::new(0, 0).shards(), 1);
    assert_eq!(usize::from(Table::new(u16::MAX, 0).shards()), SLOTS);
    let table = Table::new(3, 0);
    assert_eq!([0, 1, 2, 3, 4095].map(|slot: u64| table.shard_of(slot << 52)), [0, 1, 2, 0, 0]);
}

#[test]
fn a_lock_keeps_others_out_of_its_shard_only() {
    let table = table(4);
    let guard = table.lock(key(1).hash);
    assert!(table.try_lock(key(5).hash).is_none());
    assert!(table.try_lock(key(2).hash).is_some());
    assert!(guard.holds(key(5).hash) && !guard.holds(key(2).hash));
    drop(guard);
    assert!(table.try_lock(key(5).hash).is_some());
}

#[test]
fn a_slot_that_moves_before_its_lock_is_had_is_followed() {
    let table = table(4);
    let mut names = Vec::new();
    let Ok(lock) = table.lock_named(1, |name| {
        names.push(name);
        table.move_slot(1, 3);
        Ok::<_, Infallible>(table.lock_shard(name))
    });
    assert_eq!((lock.index(), names), (3, vec![1, 3]));
}

#[test]
fn many_locks_hold_what_was_asked_for_and_all_hold_everything() {
    let table = table(4);
    let guard = table.lock_many(&[key(3).hash, key(1).hash, key(7).hash, key(1).hash]);
    assert_eq!(format!("{guard:?}"), "[1, 3]");
    assert_eq!([0, 1, 2, 3].map(|slot| guard.holds(key(slot).hash)), [false, true, false, true]);
    drop(guard);
    assert_eq!(format!("{:?}", table.lock_many(&[key(2).hash, key(6).hash])), "[2]");
    assert_eq!(format!("{:?}", table.lock_many(&[])), "[]");
    assert_eq!(format!("{:?}", table.lock_all()), "[0, 1, 2, 3]");
}

#[test]
#[should_panic = "a key of shard 2 was written under a guard that does not hold it"]
fn a_write_without_its_lock_is_refused() {
    let table = table(4);
    let prepared = table.prepare(key(2), "", 0).unwrap();
    table.lock(key(1).hash).put(prepared, 1);
}

#[test]
#[should_panic = "the table that it was prepared for"]
fn an_entry_of_another_table_is_refused() {
    let (one, other) = (table(4), table(4));
    let prepared = other.prepare(key(2), "", 0).unwrap();
    one.lock(key(2).hash).put(prepared, 1);
}

#[test]
#[should_panic = "shard 4 of 4"]
fn a_slot_cannot_go_to_a_shard_that_is_not_there() {
    table(4).move_slot(0, 4);
}

#[test]
fn a_moved_slot_keeps_its_entries_and_its_load() {
    let table = table(4);
    table.put(key(1), "value", 1, 0).unwrap();
    assert_eq!(table.move_slot(1, 3), 1);
    assert_eq!(table.move_slot(1, 3), 3);
    table.delete(key(1), 2).unwrap();
    assert_eq!(table.get(key(1)), Some(Entry::tombstone(2)));
    assert_eq!(table.shard_writes(), [0, 1, 0, 1]);
    assert_eq!(table.slot_load(1), SlotLoad { shard: 3, entries: 1, bytes: 2, writes: 2 });
    table.lock(key(1).hash).remove(key(1));
    assert!(table.is_empty());
    table.validate().unwrap();
}

#[test]
fn what_was_prepared_and_not_used_goes_back() {
    let table = table(1);
    let long = Value::from(vec![7; 5000]);
    drop(table.prepare(key(1), &long, 0).unwrap());
    drop(table.prepare_tombstone(key(1)).unwrap());
    table.put(key(1), "newer", 5, 0).unwrap();
    table.replayer(|_| panic!("it is too late")).put(key(1), "older", 0, 4).unwrap();
    let clean = table.prepare(key(1), "from a layer", 0).unwrap();
    assert!(!table.lock(key(1).hash).insert_clean(clean, 3));
    let used: usize = table.store.arenas().map(|(_, arena)| arena.memory().used).sum();
    // One entry of 12 + 2 + 5 bytes, and one bucket.
    assert_eq!(used, 24 + 64);
    assert!(bytes::Bytes::from(long).is_unique());
}

#[test]
fn long_values_are_shared_with_their_handles_and_freed_with_their_entries() {
    let table = table(1);
    let long = Value::from(vec![7; 5000]);
    table.put(key(1), &long, 1, 0).unwrap();
    let handle = table.get(key(1)).unwrap().value.unwrap();
    assert_eq!(handle.as_ptr(), long.as_ptr());
    table.put(key(1), "short", 2, 0).unwrap();
    drop(handle);
    let shared = bytes::Bytes::from(long);
    until(|| {
        table.collect();
        shared.is_unique()
    });
    table.put(key(2), NewValue::Shared(shared.clone()), 3, 0).unwrap();
    assert!(!shared.is_unique());
    drop(table);
    assert!(shared.is_unique());
}

#[test]
fn what_a_reader_looks_at_is_not_freed_and_is_reported() {
    let table = table(1);
    table.put(key(1), "looked at", 1, 0).unwrap();
    table.with(key(1), |entry| {
        for seq in 2..2000 {
            table.put(key(1), "newer", seq, 0).unwrap();
        }
        table.collect();
        assert_eq!(entry.value(), Some(&b"looked at"[..]));
        let waiting = table.memory().retired_bytes;
        assert!(waiting >= 1998 * 18, "{waiting} bytes wait");
    });
    until(|| {
        table.collect();
        table.memory().retired_bytes == 0
    });
}

#[test]
fn an_expired_entry_loses_its_value_and_nothing_else() {
    let table = table(1);
    table.put(key(1), "short-lived", 1, 1000).unwrap();
    table.put(key(2), "forever", 2, 0).unwrap();
    let mut guard = table.lock_all();
    assert_eq!(guard.expire(key(1), 999, true), Ok(false));
    assert_eq!(guard.expire(key(2), u64::MAX, true), Ok(false));
    assert_eq!(guard.expire(key(1), 1000, true), Ok(true));
    assert_eq!(guard.expire(key(1), 1000, true), Ok(false), "a tombstone has nothing to lose");
    assert_eq!(guard.get(key(1)), Some(Entry::tombstone(1)));
    drop(guard);
    table.put(key(1), "again", 3, 1000).unwrap();
    assert_eq!(table.lock_all().expire(key(1), 1000, false), Ok(true));
    assert_eq!(table.get(key(1)), None);
    assert_eq!(table.close_lists(|| 4).len(), 2);
    table.validate().unwrap();
}

#[test]
fn an_expired_entry_stays_where_there_is_no_memory_for_its_tombstone() {
    let table = table(1);
    table.put(key(1), "short-lived", 1, 1000).unwrap();
    table.put(key(2), "short-lived", 2, 1000).unwrap();
    for (_, arena) in table.store().arenas() {
        arena.exhaust();
    }
    let mut guard = table.lock_all();
    assert_eq!(guard.expire(key(1), 1000, true), Err(TableFull));
    assert_eq!(guard.with(key(1), |entry| (entry.seq(), entry.deadline())), Some((1, 1000)));
    assert_eq!(guard.expire(key(2), 1000, false), Ok(true), "it needs none without a tombstone");
    drop(guard);
    table.validate().unwrap();
}

#[test]
fn keys_that_come_up_new_are_noted_once_somebody_wants_to_know() {
    let table = table(2);
    table.put(key(1), "before", 1, 0).unwrap();
    table.note_added(true);
    table.put(key(1), "not new", 2, 0).unwrap();
    assert!(table.take_added().is_empty());
    table.put(key(2), "new", 3, 0).unwrap();
    table.delete(key(1), 4).unwrap();
    table.put(key(1), "new again", 5, 77).unwrap();
    table.put(key(1), "may have expired", 6, 0).unwrap();
    let mut added = table.take_added();
    added.sort_unstable();
    assert_eq!(added, [key(1).hash, key(1).hash, key(2).hash]);
    table.delete(key(3), 7).unwrap();
    assert!(table.take_added().is_empty(), "what is deleted needs no place in an order");
    table.put(key(3), "now it does", 8, 0).unwrap();
    assert_eq!(table.take_added(), [key(3).hash]);
    table.validate().unwrap();
}

#[test]
fn heat_stays_with_a_key_and_cools() {
    let table = table(1);
    table.put(key(1), "value", 1, 0).unwrap();
    for _ in 0..1000 {
        table.with(key(1), |entry| entry.touch());
    }
    table.put(key(1), "other", 2, 0).unwrap();
    let mass = || table.with(key(1), |entry| entry.mass()).unwrap();
    let hot = mass();
    assert!(hot >= 31, "{hot}");
    table.next_tick();
    assert_eq!(mass(), hot / 2);
    for _ in 0..2 * HEAT_TICKS {
        table.next_tick();
    }
    assert_eq!(mass(), 0);
}

#[test]
fn the_first_use_within_a_tick_counts_where_that_is_asked_for() {
    let table = table(1);
    for (slot, counts) in [(1, false), (2, true)] {
        let mut prepared = table.prepare(key(slot), "value", 0).unwrap();
        if counts {
            prepared.set_mass_before_use(1);
        }
        assert!(table.lock(key(slot).hash).insert_clean(prepared, 3));
        let touch = || table.with(key(slot), |entry| (entry.mass(), entry.touch_once())).unwrap();
        assert_eq!(touch(), (1, counts));
        assert!(!touch().1);
    }
}

/// The bytes of a key of slot 0 with a number.
fn numbered(number: u64) -> [u8; 10] {
    let mut bytes = [0; 10];
    bytes[2..].copy_from_slice(&number.to_le_bytes());
    bytes
}

fn key_of(bytes: &[u8]) -> KeyRef<'_> {
    KeyRef { hash: by_slot(0, 0, bytes), keyspace: 0, bytes }
}

#[test]
fn memory_is_counted_and_given_back_when_entries_go() {
    let table =
        Table::with_options(TableOptions { tracked: false, hash: by_slot, ..TableOptions::new(1, 0) });
    let empty = table.memory();
    for number in 0..20_000 {
        table.put(key_of(&numbered(number)), &[0; 100], number, 0).unwrap();
    }
    let full = table.memory();
    assert_eq!((full.entries, full.key_bytes), (20_000, 200_000));
    assert_eq!((full.value_bytes, full.heap_bytes), (2_000_000, 0));
    assert!(full.table_bytes - empty.table_bytes > 20_000 * 128);
    assert!(table.resizes().count > 10);
    // One in ten stays, so that nearly every page holds something.
    for number in (0..20_000).filter(|number| number % 10 != 0) {
        table.lock(0).remove(key_of(&numbered(number))).unwrap();
    }
    let mut moved = 0;
    let in_use = |memory: TableMemory| memory.table_bytes - memory.free_bytes - empty.table_bytes;
    until(|| {
        table.collect();
        moved += table.shrink();
        in_use(table.memory()) < in_use(full) / 5
    });
    assert!(moved > 1000, "{moved} entries were moved");
    for number in (0..20_000).step_by(10) {
        let value = table.with(key_of(&numbered(number)), |entry| entry.value().map(<[u8]>::len));
        assert_eq!(value, Some(Some(100)));
    }
    table.validate().unwrap();
}

#[test]
fn who_needs_memory_now_gets_more_of_what_is_scattered() {
    let in_use = |memory: TableMemory| memory.table_bytes - memory.free_bytes;
    // Two of three stay in every page, or four of five; and this many tenths of the memory must be enough for them.
    for (removed, tenths) in [(3, 8), (5, 9)] {
        let table =
            Table::with_options(TableOptions { tracked: false, hash: by_slot, ..TableOptions::new(1, 0) });
        for number in 0..40_000 {
            table.put(key_of(&numbered(number)), &[0; 100], number, 0).unwrap();
        }
        for number in (0..40_000).step_by(removed) {
            table.lock(0).remove(key_of(&numbered(number))).unwrap();
        }
        until(|| {
            table.collect();
            table.memory().retired_bytes == 0
        });
        assert_eq!(table.shrink(), 0, "it is not worth it without need");
        let before = in_use(table.memory());
        let mut moved = 0;
        until(|| {
            moved += table.compact();
            table.collect();
            in_use(table.memory()) < before / 10 * tenths
        });
        assert!(moved > 1000, "{moved} entries were moved");
        assert_eq!(table.len(), 40_000 - 40_000_usize.div_ceil(removed));
        table.validate().unwrap();
    }
}

/// What moves is there twice for a while: a little of it at a time.
#[test]
fn giving_memory_back_takes_little_of_it() {
    let table =
        Table::with_options(TableOptions { tracked: false, huge_pages: false, ..TableOptions::new(1, 0) });
    let names: Vec<[u8; 10]> = (0..200_000).map(numbered).collect();
    let key = |bytes| KeyRef { hash: table.hash_of(0, bytes), keyspace: 0, bytes };
    // Of many lengths, so that a class has few spans, all of which are emptied.
    for (number, name) in names.iter().enumerate() {
        table.put(key(name), &[0; 480][..number % 8 * 60], 1, 0).unwrap();
    }
    // By turns all stay and a third does, so that no chunk goes as a whole.
    let goes = |number: usize| (number / 8_000).is_multiple_of(2) && !number.is_multiple_of(3);
    for (_, name) in names.iter().enumerate().filter(|(number, _)| goes(*number)) {
        table.lock(0).remove(key(name)).unwrap();
    }
    until(|| {
        table.collect();
        table.memory().retired_bytes == 0
    });
    table.discard_free();
    let before = table.memory().resident_bytes;
    let is_done = AtomicBool::new(false);
    let most = std::thread::scope(|scope| {
        let looking = scope.spawn(|| {
            let mut most = 0;
            while !is_done.load(Ordering::Acquire) {
                most = table.memory().resident_bytes.max(most);
            }
            most
        });
        until(|| table.shrink() == 0 && table.memory().retired_bytes == 0);
        is_done.store(true, Ordering::Release);
        looking.join().unwrap()
    });
    let after = table.memory().resident_bytes;
    assert!(after < before / 4 * 3, "{before} bytes and {after} afterwards");
    assert!(most < before + (512 << 10), "{before} bytes and up to {most}");
}

/// Arrays of buckets that a slot has outgrown, or that got shorter as entries went, leave their spans scattered.
#[test]
fn who_needs_memory_now_gets_that_of_buckets_too() {
    let table =
        Table::with_options(TableOptions { tracked: false, huge_pages: false, ..TableOptions::new(1, 0) });
    let count = SLOTS as u64 * 60;
    let names: Vec<[u8; 10]> = (0..count).map(numbered).collect();
    let keys: Vec<KeyRef<'_>> =
        names.iter().map(|bytes| KeyRef { hash: table.hash_of(0, bytes), keyspace: 0, bytes }).collect();
    let (gone, stay) = keys.split_at(keys.len() / 2);
    for key in &keys {
        table.put(*key, b"v", 1, 0).unwrap();
    }
    for key in gone {
        table.lock(0).remove(*key).unwrap();
    }
    let unused_part = || {
        table.collect();
        table.discard_free();
        let memory = table.memory();
        (memory.resident_bytes - memory.used_bytes) as f64 / memory.used_bytes as f64
    };
    until(|| table.shrink() == 0 && table.memory().retired_bytes == 0);
    let before = unused_part();
    until(|| table.compact() == 0 && table.memory().retired_bytes == 0);
    let after = unused_part();
    assert!(after < before / 2.0, "{before:.2} of what is used, and {after:.2}");
    assert!(gone.iter().all(|key| table.with(*key, |_| ()).is_none()));
    assert!(stay.iter().all(|key| table.with(*key, |_| ()).is_some()));
    table.validate().unwrap();
}

#[test]
fn long_values_are_still_shared_after_their_entries_were_moved() {
    let table = table(1);
    let value = |number: u64| vec![u8::try_from(number % 251).unwrap(); 1000];
    for number in 0..20_000 {
        table.put(key_of(&numbered(number)), &value(number), number, 0).unwrap();
    }
    for number in (0..20_000).filter(|number| number % 10 != 0) {
        table.lock(0).remove(key_of(&numbered(number))).unwrap();
    }
    until(|| {
        table.collect();
        table.memory().retired_bytes == 0
    });
    // Held by handles that were had before the move, and during it.
    let before = table.get(key_of(&numbered(100))).unwrap().value.unwrap();
    let during = table.with(key_of(&numbered(200)), |entry| {
        assert!(table.shrink() > 1000);
        entry.value_handle().unwrap()
    });
    until(|| {
        table.collect();
        table.memory().retired_bytes == 0
    });
    let after = table.get(key_of(&numbered(200))).unwrap().value.unwrap();
    drop(table);
    assert_eq!(
        (&before[..], &during.unwrap()[..], &after[..]),
        (&value(100)[..], &value(200)[..], &value(200)[..])
    );
}

#[test]
fn many_keys_are_found_in_their_order() {
    let table = table(4);
    for number in (0..1000).step_by(2) {
        table.put(key_of(&numbered(number)), &number.to_le_bytes(), number, 0).unwrap();
    }
    let names: Vec<[u8; 10]> = (0..1000).map(numbered).collect();
    let keys: Vec<KeyRef<'_>> = names.iter().map(|name| key_of(name)).collect();
    let mut next = 0;
    table.multi_get_with(&keys, |place, found| {
        assert_eq!(place, next);
        next += 1;
        let expected = (place % 2 == 0).then_some(place as u64);
        assert_eq!(found.map(|entry| entry.seq()), expected);
    });
    assert_eq!(next, 1000);
    assert_eq!(table.multi_get(&keys[..3]).iter().flatten().count(), 2);
}

#[test]
fn buckets_for_growing_are_made_before_the_lock_and_go_back_if_they_are_not_used() {
    let table = Table::new(2, 7);
    let name = |number: u64| number.to_le_bytes();
    let (mut made, mut unused) = (0, 0);
    for number in 0..40_000_u64 {
        let (name, other) = (name(number), name(!number));
        let (key, other) = (KeyRef::new(7, 0, &name), KeyRef::new(7, 0, &other));
        // Two writes that both expect to be the first.
        let (mut first, mut second) =
            (table.prepare(key, "v", 0).unwrap(), table.prepare(key, "w", 0).unwrap());
        let has_room = first.room().is_some();
        assert_eq!(second.room().is_some(), has_room);
        let resizes = table.resizes().count;
        let mut guard = table.lock(key.hash);
        guard.put(first, 2 * number + 1);
        assert_eq!(table.resizes().count - resizes, u64::from(has_room), "{number}");
        guard.put(second, 2 * number + 2);
        drop(guard);
        made += u32::from(has_room);

        assert!(table.prepare(key, "x", 0).unwrap().room().is_none(), "the key is there now");
        let used = table.memory().used_bytes;
        let mut other = table.prepare(other, "v", 0).unwrap();
        unused += u32::from(other.room().is_some());
        drop(other);
        assert_eq!(table.memory().used_bytes, used);
    }
    assert!(made > 4000 && unused > 1000, "{made} made, {unused} unused");
    table.validate().unwrap();
}
