//! The memory budget: what is held stays below it, nothing is lost, and what is worth most stays.

#![allow(
    clippy::cast_possible_truncation,
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "small numbers, directories that are damaged from outside, and panics that say what went wrong"
)]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use warp_api::{
    AccessPattern, Background, Environment, ErrorKind, LOG_BUFFER_BYTES_MIN, Level, MEMORY_BUDGET_MIN,
    Options, Physics, Priority, PutOptions, Scan, WarpEngine, WhenFull, WriteBatch,
};

const BUDGET: u64 = 24 << 20;
/// The promise: three hundredths more at most.
const HELD_MAX: u64 = BUDGET + BUDGET / 100 * 3;

fn options() -> Options {
    Options::new().memory_budget(BUDGET).log_buffer_bytes(LOG_BUFFER_BYTES_MIN.max(1 << 20))
}

fn stepped() -> Environment {
    Environment { seed: 7, background: Background::Stepped, ..Environment::default() }
}

fn key(n: u64) -> String {
    format!("key{n:09}")
}

/// A value that tells which key and version it is of, and does not compress.
fn value(n: u64, version: u64, len: usize) -> Vec<u8> {
    let mut state = (n << 20 | version) + 1;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state = state.wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(23) ^ n;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

fn held(engine: &WarpEngine) -> u64 {
    engine.cosmic_metrics().memory.held_bytes
}

#[test]
fn a_budget_that_leaves_nothing_beside_the_log_is_refused() {
    let scratch = tempfile::tempdir().unwrap();
    let options = Options::new().log_buffer_bytes(1 << 20).memory_budget(MEMORY_BUDGET_MIN);
    assert_eq!(options.open(scratch.path()).unwrap_err().kind(), ErrorKind::Invalid);
}

#[test]
fn without_files_a_put_beyond_the_budget_is_refused_and_nothing_is_lost() {
    let engine = options().in_memory();
    let mut put = 0;
    let error = loop {
        match engine.put(key(put), value(put, 0, 1000)) {
            Ok(_) => put += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), ErrorKind::Full);
    assert!(put * 1000 > BUDGET * 6 / 10, "only {put} values found room");
    assert!(held(&engine) <= HELD_MAX, "{} bytes are held", held(&engine));
    for n in 0..put {
        assert_eq!(engine.get(key(n)).unwrap().unwrap(), &value(n, 0, 1000)[..]);
    }
    // Room that deletions make can be used again.
    for n in 0..put {
        assert!(engine.delete(key(n)).unwrap());
    }
    let again = (0..put).take_while(|n| engine.put(key(*n), value(*n, 1, 3000)).is_ok()).count() as u64;
    assert!(again * 3000 > BUDGET / 2, "only {again} larger values found room");
    assert!(held(&engine) <= HELD_MAX, "{} bytes are held", held(&engine));
}

#[test]
fn a_cache_evicts_what_is_worth_least() {
    let engine = options().when_full(WhenFull::Evict).in_memory();
    let important = PutOptions::new().priority(Priority::Critical);
    let cold = PutOptions::new().access_pattern(AccessPattern::Cold);
    let pinned = PutOptions::new().access_pattern(AccessPattern::Cold).pin(true);
    for n in 0..1000 {
        engine.put_with(format!("important{n}"), value(n, 0, 500), &important).unwrap();
        engine.put_with(format!("cold{n}"), value(n, 0, 500), &cold).unwrap();
        engine.put_with(format!("pinned{n}"), value(n, 0, 500), &pinned).unwrap();
    }
    engine.entanglement_rule("a:{id}", &["b:{id}"], 1.0).unwrap();
    // Twice the budget of others: more often overwritten than that would bring them down.
    for n in 0..100_000 {
        engine.put(key(n), value(n, 0, 500)).unwrap();
    }
    assert!(held(&engine) <= HELD_MAX, "{} bytes are held", held(&engine));
    let there = |name: &str| (0..1000).filter(|n| engine.contains_key(format!("{name}{n}")).unwrap()).count();
    assert_eq!(there("pinned"), 1000);
    let (important, cold) = (there("important"), there("cold"));
    assert!(important > 900 && cold < 200, "{important} important ones are left, and {cold} cold ones");
    assert_eq!(engine.rules().len(), 1, "the rules are no cache");
    let metrics = engine.cosmic_metrics().residency;
    assert!(metrics.evicted > 10_000 && metrics.pinned_keys == 1000, "{metrics:?}");
    engine.delete("pinned7").unwrap();
    assert_eq!(engine.cosmic_metrics().residency.pinned_keys, 999);
}

/// How many keys a scan has, all of which can be read.
fn scanned(scan: Scan) -> u64 {
    scan.fold(0, |count, item| {
        item.unwrap();
        count + 1
    })
}

/// The order that a scan needs is memory as any other: where nothing may leave for it, the scan is refused.
#[test]
fn a_scan_whose_order_has_no_room_is_refused_and_works_once_there_is() {
    let engine = options().in_memory();
    let put = (0..).take_while(|n| engine.put(key(*n), "v").is_ok()).count() as u64;
    let error = engine.iter().next().unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Full);
    for n in 0..put / 2 {
        assert!(engine.delete(key(n)).unwrap());
    }
    assert_eq!(scanned(engine.iter()), put - put / 2);
    assert!(held(&engine) <= HELD_MAX, "{} bytes are held", held(&engine));
}

/// An order stays in memory, so that it must leave room for everything else.
#[test]
fn a_scan_whose_order_would_take_most_of_the_budget_is_refused() {
    const KEYS: u64 = 600_000;
    let scratch = tempfile::tempdir().unwrap();
    let budget = MEMORY_BUDGET_MIN + (1 << 20);
    let engine = Options::new().memory_budget(budget).log_buffer_bytes(1 << 20).open(scratch.path()).unwrap();
    let other = engine.keyspace("other").unwrap();
    other.put("key", "value").unwrap();
    for first in (0..KEYS).step_by(1_000) {
        let mut batch = WriteBatch::new();
        for n in first..first + 1_000 {
            batch.put(key(n), "v");
        }
        engine.write(&batch).unwrap();
        if first == KEYS / 4 {
            assert_eq!(scanned(engine.iter()), first + 1_000);
        }
    }
    assert!(
        common::wait_until(
            || matches!(engine.iter().next(), Some(Err(error)) if error.kind() == ErrorKind::Full)
        ),
        "the order that has grown too large is given up, and no other one is built"
    );
    assert_eq!(scanned(other.iter()), 1);
    assert!(held(&engine) <= budget + budget / 100 * 3, "{} bytes are held", held(&engine));
    for first in (0..KEYS).step_by(1_000) {
        let mut batch = WriteBatch::new();
        for n in (first..first + 1_000).filter(|n| n % 8 != 0) {
            batch.delete(key(n));
        }
        engine.write(&batch).unwrap();
    }
    assert_eq!(scanned(engine.iter()), KEYS / 8);
}

/// Deleted, cleared or put again: only what is there and pinned counts as pinned.
#[test]
fn what_is_gone_is_pinned_no_more() {
    let engine = options().in_memory();
    let pinned = PutOptions::new().pin(true);
    let pinned_keys = || engine.cosmic_metrics().residency.pinned_keys;
    for n in 0..40 {
        engine.put_with(key(n), value(n, 0, 1 << 20), &pinned).unwrap();
        assert_eq!(pinned_keys(), 1, "round {n}");
        assert!(engine.delete(key(n)).unwrap());
    }
    let other = engine.keyspace("other").unwrap();
    for n in 0..5 {
        other.put_with(key(n), value(n, 0, 1 << 20), &pinned).unwrap();
        engine.put_with("same key", value(n, 0, 1 << 20), &pinned).unwrap();
    }
    assert_eq!(pinned_keys(), 6);
    other.clear().unwrap();
    for n in 0..8 {
        engine.put_with(key(n), value(n, 0, 1 << 20), &pinned).unwrap();
    }
    assert_eq!(pinned_keys(), 9);
}

#[test]
fn a_write_that_memory_cannot_hold_is_refused_at_once_and_pushes_nothing_out() {
    let scratch = tempfile::tempdir().unwrap();
    let engine = options().open(scratch.path()).unwrap();
    for n in 0..1000 {
        engine.put(key(n), value(n, 0, 1000)).unwrap();
    }
    engine.checkpoint().unwrap();
    let checkpoints = engine.cosmic_metrics().checkpoints.unwrap().taken;
    let ends = AtomicBool::new(false);
    std::thread::scope(|scope| {
        // While others write, there is always something that no checkpoint has.
        scope.spawn(|| {
            while !ends.load(Ordering::Relaxed) {
                engine.put("other", "1").unwrap();
            }
        });
        let error = engine.put("large", vec![1; 40 << 20]).unwrap_err();
        ends.store(true, Ordering::Relaxed);
        assert_eq!(error.kind(), ErrorKind::Full);
    });
    let metrics = engine.cosmic_metrics();
    assert_eq!((metrics.residency.evicted, metrics.residency.waits), (0, 0));
    assert_eq!(metrics.checkpoints.unwrap().taken, checkpoints);
}

/// That values have not got smaller by packing does not mean that later ones will not.
#[test]
fn packing_is_tried_again_after_values_that_do_not_compress() {
    let engine = options().when_full(WhenFull::Evict).in_memory();
    for n in 0..40_000 {
        engine.put(key(n), value(n, 0, 1000)).unwrap();
    }
    assert_eq!(engine.cosmic_metrics().residency.packed, 0);
    for n in 40_000..160_000 {
        engine.put(key(n), format!("{n:01000}")).unwrap();
    }
    let packed = engine.cosmic_metrics().residency.packed;
    assert!(packed > 1000, "only {packed} values were packed");
}

#[test]
fn the_least_budget_takes_large_values_with_the_usual_log() {
    let scratch = tempfile::tempdir().unwrap();
    let log = 8 << 20;
    let options = Options::new().memory_budget(MEMORY_BUDGET_MIN + log);
    let engine = options.open(scratch.path()).unwrap();
    for n in 0..20 {
        engine.put(key(n), value(n, 0, 1 << 20)).unwrap();
    }
    for n in 0..20 {
        assert_eq!(engine.get(key(n)).unwrap().unwrap(), &value(n, 0, 1 << 20)[..]);
    }
}

#[test]
fn more_data_than_memory_is_all_there() {
    let scratch = tempfile::tempdir().unwrap();
    let engine = options().open(scratch.path()).unwrap();
    let count = 100_000;
    let mut most = 0;
    for n in 0..count {
        engine.put(key(n), value(n, 0, 900)).unwrap();
        if n % 1000 == 0 {
            most = most.max(held(&engine));
        }
    }
    // Overwritten in part, with other lengths, and deleted in part.
    for n in (0..count).step_by(3) {
        engine.put(key(n), value(n, 1, 200)).unwrap();
    }
    for n in (0..count).step_by(7) {
        engine.delete(key(n)).unwrap();
    }
    let check = |engine: &WarpEngine| {
        for n in 0..count {
            let expected = match n {
                _ if n % 7 == 0 => None,
                _ if n % 3 == 0 => Some(value(n, 1, 200)),
                _ => Some(value(n, 0, 900)),
            };
            assert_eq!(engine.get(key(n)).unwrap().as_deref(), expected.as_deref(), "{n}");
            if n % 1000 == 0 {
                assert!(held(engine) <= HELD_MAX, "{n}: {:?}", engine.cosmic_metrics().memory);
            }
        }
    };
    check(&engine);
    assert!(most <= HELD_MAX, "{most} bytes were held");
    let metrics = engine.cosmic_metrics();
    assert!(metrics.residency.evicted > 0 && metrics.operations.cold_hits > 0, "{metrics:?}");
    engine.close().unwrap();
    let engine = options().open(scratch.path()).unwrap();
    check(&engine);
}

/// A value that is put is there twice for a moment: in memory, and on its way to the log.
#[test]
fn large_values_and_scans_stay_within_the_budget() {
    let scratch = tempfile::tempdir().unwrap();
    let engine = options().open(scratch.path()).unwrap();
    let lengths = [700, 5_000, 70_000, 900_000, 3_000_000];
    for n in 0..400 {
        engine.put(key(n), value(n, 0, lengths[n as usize % 5])).unwrap();
        assert!(held(&engine) <= HELD_MAX + 2 * 3_000_000, "{} bytes are held", held(&engine));
    }
    let mut seen = 0;
    for item in engine.iter() {
        let (_, scanned) = item.unwrap();
        assert_eq!(scanned, &value(seen, 0, lengths[seen as usize % 5])[..]);
        drop(scanned);
        seen += 1;
    }
    assert_eq!(seen, 400);
    assert!(held(&engine) <= HELD_MAX + 2 * 3_000_000, "{} bytes are held", held(&engine));
}

/// Blocks of layers that are not mapped are memory like any other.
#[test]
fn blocks_of_layers_count() {
    let scratch = tempfile::tempdir().unwrap();
    let options = || options().map_layers(false).layer_cache_bytes(usize::MAX);
    let engine = options().open(scratch.path()).unwrap();
    for n in 0..40_000 {
        engine.put(key(n), value(n, 0, 700)).unwrap();
    }
    engine.close().unwrap();
    let engine = options().open(scratch.path()).unwrap();
    let mut most = 0;
    for n in 0..40_000 {
        assert_eq!(engine.get(key(n)).unwrap().unwrap(), &value(n, 0, 700)[..]);
        if n % 64 != 0 {
            continue;
        }
        let memory = engine.cosmic_metrics().memory;
        assert!(memory.held_bytes <= HELD_MAX && memory.layer_cache_bytes <= BUDGET / 4, "{memory:?}");
        assert!(memory.mapped_bytes == 0 && memory.held_bytes >= memory.layer_cache_bytes, "{memory:?}");
        most = most.max(memory.layer_cache_bytes);
    }
    assert!(most > BUDGET / 16, "{most}");
}

#[test]
fn what_compresses_is_packed_before_it_leaves() {
    let scratch = tempfile::tempdir().unwrap();
    let engine = options().open(scratch.path()).unwrap();
    let text = |n: u64| format!("the value of key {n} says the same again and again; ").repeat(60);
    for n in 0..12_000 {
        engine.put(key(n), text(n)).unwrap();
    }
    engine.checkpoint().unwrap();
    let metrics = engine.cosmic_metrics().residency;
    assert!(metrics.packed > 1000 && metrics.packed_saved_bytes > 1 << 20, "{metrics:?}");
    let levels: Vec<Level> = (0..12_000).map(|n| engine.get_entry(key(n)).unwrap().unwrap().level).collect();
    let warm = levels.iter().filter(|level| **level == Level::Warm).count();
    assert!(warm > 1000, "{warm} entries are warm");
    for n in 0..12_000 {
        assert_eq!(engine.get(key(n)).unwrap().unwrap(), text(n).as_bytes());
        assert_eq!(engine.with_value(key(n), <[u8]>::len).unwrap(), Some(text(n).len()));
    }
    let many: Vec<String> = (0..12_000).map(key).collect();
    engine
        .multi_get_with(&many, |place, value| assert_eq!(value, Some(text(place as u64).as_bytes())))
        .unwrap();
    for (n, item) in engine.iter().enumerate() {
        assert_eq!(item.unwrap().1, text(n as u64).as_bytes());
    }
    assert!(engine.cosmic_metrics().residency.warm_reads > 1000);
    engine.close().unwrap();
    let engine = options().open(scratch.path()).unwrap();
    for n in 0..12_000 {
        assert_eq!(engine.get(key(n)).unwrap().unwrap(), text(n).as_bytes());
    }
}

#[test]
fn who_does_not_want_to_wait_is_told_and_a_failed_checkpoint_is_full() {
    let scratch = tempfile::tempdir().unwrap();
    // Nobody takes a checkpoint by itself.
    let dir = warp_io::OsDir::open(scratch.path(), true).unwrap();
    let engine = options().open_in(&dir, stepped()).unwrap();
    let mut batch = WriteBatch::new();
    let no_wait = PutOptions::new().no_wait();
    let mut refused = None;
    for n in 0..60_000 {
        if let Err(error) = engine.put_with(key(n), value(n, 0, 900), &no_wait) {
            refused = Some(error.kind());
            break;
        }
        engine.step();
    }
    assert!(matches!(refused, None | Some(ErrorKind::Busy)), "{refused:?}");
    batch.put("last", "one");
    engine.write(&batch).unwrap();
    assert!(held(&engine) <= HELD_MAX);
    // With the layers' directory gone no checkpoint succeeds.
    std::fs::remove_dir_all(scratch.path().join("layers")).unwrap();
    let error = (0..100_000).find_map(|n| engine.put(key(n), value(n, 1, 900)).err()).unwrap();
    assert_eq!(error.kind(), ErrorKind::Full, "{error}");
    assert!(held(&engine) <= HELD_MAX, "{} bytes are held", held(&engine));
    assert_eq!(engine.get("last").unwrap().as_deref(), Some(&b"one"[..]));
}

#[test]
fn gravity_keeps_what_is_used_and_a_scan_pushes_nothing_out() {
    let share = |gravity: bool| {
        let scratch = tempfile::tempdir().unwrap();
        let physics = Physics { gravity, ..Physics::default() };
        let engine = options().physics(physics).open(scratch.path()).unwrap();
        for n in 0..100_000 {
            engine.put(key(n), value(n, 0, 900)).unwrap();
        }
        engine.checkpoint().unwrap();
        let mut state = 1_u64;
        let mut cold = 0;
        // Some keys, that memory has room for, are read again and again, between reads of all the others, once each.
        for n in 0..100_000_u64 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let before = engine.cosmic_metrics().operations.cold_hits;
            engine.get(key((state >> 33) % 12_000)).unwrap().unwrap();
            if n > 50_000 {
                cold += engine.cosmic_metrics().operations.cold_hits - before;
            }
            engine.get(key(n)).unwrap().unwrap();
        }
        (cold, engine.cosmic_metrics().residency)
    };
    let (with, metrics) = share(true);
    let (without, _) = share(false);
    assert!(with * 2 < without, "{with} reads from layers with gravity, {without} without: {metrics:?}");
}

#[test]
fn writers_and_readers_at_once_find_what_was_written() {
    let scratch = tempfile::tempdir().unwrap();
    let engine = options().open(scratch.path()).unwrap();
    let over = Arc::new(AtomicBool::new(false));
    std::thread::scope(|scope| {
        let watch = scope.spawn(|| {
            let mut most = (0, String::new());
            while !over.load(Ordering::Relaxed) {
                let memory = engine.cosmic_metrics().memory;
                if memory.held_bytes > most.0 {
                    most = (memory.held_bytes, format!("{memory:?}"));
                }
                std::thread::yield_now();
            }
            most
        });
        let writers: Vec<_> = (0..2)
            .map(|thread| {
                let engine = &engine;
                scope.spawn(move || {
                    for round in 0..3 {
                        for n in 0..20_000 {
                            let n = n * 2 + thread;
                            engine.put(key(n), value(n, round, 700)).unwrap();
                            let other = key((n * 7919) % 40_000);
                            drop(engine.get(other).unwrap());
                        }
                        for n in (0..20_000).map(|n| n * 2 + thread) {
                            assert_eq!(engine.get(key(n)).unwrap().unwrap(), &value(n, round, 700)[..]);
                        }
                    }
                })
            })
            .collect();
        for writer in writers {
            writer.join().unwrap();
        }
        over.store(true, Ordering::Relaxed);
        let most = watch.join().unwrap();
        assert!(most.0 <= HELD_MAX, "too much was held: {}", most.1);
    });
}

/// Each key is read twice, the second time while memory would still have room for it, and then not for long. What is read
/// once says nothing here: only who has seen when keys are read again knows that new ones are worth their memory.
#[test]
fn the_law_learns_when_keys_are_read_again() {
    const KEYS: u64 = 16_000;
    const APART: u64 = 1_500;
    let share = |horizon: bool| {
        let scratch = tempfile::tempdir().unwrap();
        let physics = Physics { horizon, warm_start: false, ..Physics::default() };
        let engine = options().physics(physics).open(scratch.path()).unwrap();
        for n in 0..KEYS {
            engine.put(key(n), value(n, 0, 4000)).unwrap();
        }
        engine.close().unwrap();
        let engine = options().physics(physics).open(scratch.path()).unwrap();
        let mut before = 0;
        for n in 0..3 * KEYS {
            if n == 2 * KEYS {
                before = engine.cosmic_metrics().operations.cold_hits;
            }
            engine.get(key(n % KEYS)).unwrap().unwrap();
            engine.get(key((n + KEYS - APART) % KEYS)).unwrap().unwrap();
        }
        let metrics = engine.cosmic_metrics();
        assert!(metrics.memory.held_bytes <= HELD_MAX, "{:?}", metrics.memory);
        assert!(metrics.residency.remembered_bytes < BUDGET / 16, "{:?}", metrics.residency);
        1.0 - (metrics.operations.cold_hits - before) as f64 / (2 * KEYS) as f64
    };
    let (with, without) = (share(true), share(false));
    assert!(
        with > 0.4 && with > without + 0.15,
        "{with} of the reads from memory by the law, {without} by masses"
    );
}

/// The law lets keys in of which it knows nothing, while memory costs little; they have not returned.
#[test]
fn what_is_read_for_the_first_time_has_not_returned() {
    const KEYS: u64 = 16_000;
    let scratch = tempfile::tempdir().unwrap();
    let options = options().physics(Physics { warm_start: false, ..Physics::default() });
    let engine = options.clone().open(scratch.path()).unwrap();
    for n in 0..KEYS {
        engine.put(key(n), value(n, 0, 4000)).unwrap();
    }
    engine.close().unwrap();
    let engine = options.open(scratch.path()).unwrap();
    let read = |n: u64| assert!(engine.get(key(n)).unwrap().is_some());
    (0..KEYS).for_each(read);
    let first = engine.cosmic_metrics().residency;
    assert!(first.evicted + first.kept_out > KEYS / 2, "{first:?}");
    // One look-up in two million finds what is remembered of another key.
    assert!(first.returned <= 2, "{first:?}");
    // What did not stay is remembered, and comes in when it is read again and again.
    let has_returned = (0..200).any(|_| {
        (0..KEYS).step_by(50).for_each(read);
        engine.cosmic_metrics().residency.returned > first.returned
    });
    assert!(has_returned, "{first:?}");
}
