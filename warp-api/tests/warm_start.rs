//! The hot list and the warm start: what was hot before a restart is in memory again soon after it, whatever became of the
//! list or of the keys that it names; and no answer depends on it.

#![allow(
    clippy::cast_possible_truncation,
    clippy::unwrap_used,
    reason = "a test that cannot go on says so by a panic, and its numbers are small"
)]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use common::{Machine, entries, small};
use warp_api::{CosmicMetrics, Laws, Level, Options, Physics, PutOptions, WarmStartMetrics, WarpEngine};
use warp_io::{Fault, Survival};

const KEYS: u32 = 500;
/// One key in this many is hot.
const HOT_ONE_IN: u32 = 10;
const HOT: u64 = (KEYS / HOT_ONE_IN) as u64;
/// The engine looks at one read in this many.
const READS: u32 = 61;

fn key(number: u32) -> String {
    format!("key:{number}")
}

/// A short half-life, after which what was only written once has no mass any more.
fn options() -> Options {
    let physics = Physics { half_life: Duration::from_secs(1), ..Physics::default() };
    small().physics(physics).memory_budget(64 << 20)
}

fn off() -> Options {
    small().physics(Physics::off()).memory_budget(64 << 20)
}

/// Reads the hot keys often enough that each is seen to be hot.
fn heat(engine: &WarpEngine) {
    for number in (0..KEYS).step_by(HOT_ONE_IN as usize) {
        for _ in 0..8 * READS {
            assert!(engine.get(key(number)).unwrap().is_some());
        }
    }
}

/// An engine with all keys, of which some are hot.
fn filled(machine: &Machine) -> WarpEngine {
    let engine = machine.open(options());
    for number in 0..KEYS {
        engine.put(key(number), format!("value of {number}")).unwrap();
    }
    engine.checkpoint().unwrap();
    machine.pass(&engine, Duration::from_secs(3));
    heat(&engine);
    engine
}

fn in_memory(metrics: &CosmicMetrics) -> u64 {
    metrics.regions[0].entries
}

fn warm(engine: &WarpEngine) -> WarmStartMetrics {
    engine.cosmic_metrics().warm_start.unwrap()
}

/// Does all background work that is due within a short time.
fn settle(machine: &Machine, engine: &WarpEngine) {
    machine.pass(engine, Duration::from_millis(300));
    assert!(!warm(engine).under_way);
}

fn advice_files(machine: &Machine) -> Vec<String> {
    machine.disk.files().into_iter().filter(|name| name.starts_with("advice-")).collect()
}

#[test]
fn a_restart_brings_exactly_the_hot_ones_in() {
    let machine = Machine::new(1);
    filled(&machine).close().unwrap();
    assert_eq!(advice_files(&machine), ["advice-1.warp"]);

    let engine = machine.open(options());
    assert_eq!(in_memory(&engine.cosmic_metrics()), 0, "an open brings nothing in by itself");
    settle(&machine, &engine);
    let metrics = engine.cosmic_metrics();
    let warm = metrics.warm_start.unwrap();
    assert_eq!((warm.listed, warm.looked_up, warm.entries, warm.damaged), (HOT, HOT, HOT, 0));
    assert_eq!(in_memory(&metrics), HOT);
    assert_eq!(metrics.learned.as_ref().unwrap().restored, ["hot"]);
    assert_eq!(metrics.operations.promotions, 0, "what the background brings in is counted apart");
    for number in (0..KEYS).step_by(HOT_ONE_IN as usize) {
        assert_eq!(engine.get(key(number)).unwrap().unwrap(), format!("value of {number}").as_bytes());
    }
    assert_eq!(engine.cosmic_metrics().operations.cold_hits, 0, "all of them come from memory");
    engine.get(key(1)).unwrap();
    assert_eq!(engine.cosmic_metrics().operations.cold_hits, 1);
    assert_eq!(entries(&engine).len(), KEYS as usize);
}

#[test]
fn a_list_that_names_what_was_deleted_overwritten_or_has_expired_brings_nothing_back() {
    let machine = Machine::new(1);
    filled(&machine).close().unwrap();
    // Without physics nobody writes another list.
    let engine = machine.open(off());
    engine.delete(key(0)).unwrap();
    engine.put(key(10), "newer").unwrap();
    engine.put_with(key(20), "soon gone", &PutOptions::new().ttl(Duration::from_secs(5))).unwrap();
    let cleared = engine.keyspace("other").unwrap();
    cleared.put("key", "value").unwrap();
    engine.close().unwrap();
    machine.clock.advance(Duration::from_secs(10));
    let engine = machine.open(options());
    // These are in memory before the background looks, and are not hidden.
    engine.delete(key(30)).unwrap();
    engine.put(key(40), "newest").unwrap();
    settle(&machine, &engine);
    assert_eq!((warm(&engine).looked_up, warm(&engine).entries), (HOT, HOT - 4));
    for gone in [0, 20, 30] {
        assert_eq!(engine.get(key(gone)).unwrap(), None, "{gone}");
    }
    assert_eq!(engine.get(key(10)).unwrap().unwrap(), b"newer");
    assert_eq!(engine.get(key(40)).unwrap().unwrap(), b"newest");
    assert_eq!(entries(&engine).len(), KEYS as usize - 3);
}

#[test]
fn what_was_cleared_is_not_brought_back() {
    let machine = Machine::new(1);
    filled(&machine).close().unwrap();
    let engine = machine.open(options());
    engine.clear().unwrap();
    settle(&machine, &engine);
    assert_eq!((warm(&engine).looked_up, warm(&engine).entries), (HOT, 0));
    assert_eq!(engine.len().unwrap(), 0);
    // What was refused left no mark: the program itself put what is read now.
    for number in (0..KEYS).step_by(HOT_ONE_IN as usize) {
        engine.put(key(number), "value").unwrap();
        engine.get(key(number)).unwrap();
    }
    assert_eq!(warm(&engine).used, 0);
}

#[test]
fn a_damaged_list_is_reported_and_costs_nothing_else() {
    let machine = Machine::new(1);
    filled(&machine).close().unwrap();
    let name = "advice-1.warp";
    let good = machine.disk.read(name).unwrap();
    for place in (0..good.len()).step_by(13) {
        machine.disk.flip_bit(name, place as u64 * 8 + 3);
        let engine = machine.open(options());
        machine.pass(&engine, Duration::from_millis(100));
        let learned = engine.cosmic_metrics().learned.unwrap();
        // What keeps the sections apart is the only thing that may change unseen.
        assert!(learned.problems.len() == 1 && learned.restored.is_empty() || learned.restored == ["hot"]);
        assert_eq!(engine.len().unwrap(), u64::from(KEYS), "byte {place}");
        // The last handle goes without a close, so that no other list is written.
        drop(engine);
        machine.disk.flip_bit(name, place as u64 * 8 + 3);
    }
    machine.disk.flip_bit(name, 80);
    let engine = machine.open(options());
    settle(&machine, &engine);
    let learned = engine.cosmic_metrics().learned.unwrap();
    assert_eq!((learned.problems.len(), learned.restored.len(), learned.number), (1, 0, None));
    heat(&engine);
    engine.close().unwrap();
    assert_eq!(
        advice_files(&machine),
        ["advice-2.warp"],
        "it was learned again, and the damaged one is gone"
    );
    let engine = machine.open(options());
    settle(&machine, &engine);
    assert_eq!(warm(&engine).entries, HOT);
}

#[test]
fn no_more_is_brought_in_than_there_is_room_for() {
    let machine = Machine::new(1);
    filled(&machine).close().unwrap();
    let engine = machine.open(options().warm_start_bytes(200));
    settle(&machine, &engine);
    let warm = warm(&engine);
    assert!(warm.bytes <= 200 && warm.bytes > 150, "{warm:?}");
    assert_eq!(in_memory(&engine.cosmic_metrics()), warm.entries);
    assert_eq!(entries(&engine).len(), KEYS as usize);
}

#[test]
fn a_crash_while_the_list_is_written_leaves_one_that_is_whole() {
    let machine = Machine::new(1);
    let engine = filled(&machine);
    engine.sync().unwrap();
    machine.disk.record();
    engine.close().unwrap();
    let (mut with, mut without) = (0, 0);
    for point in machine.disk.crash_points() {
        for seed in 0..6 {
            let crashed = machine.with_disk(machine.disk.image_at(point, Survival::seeded(seed)));
            let engine = crashed.open(options());
            crashed.pass(&engine, Duration::from_millis(200));
            let metrics = engine.cosmic_metrics();
            assert!(metrics.learned.unwrap().problems.is_empty());
            match metrics.warm_start.unwrap().listed {
                0 => without += 1,
                listed => {
                    assert_eq!(listed, HOT);
                    with += 1;
                }
            }
            assert_eq!(engine.len().unwrap(), u64::from(KEYS));
            engine.put("after", "1").unwrap();
            engine.close().unwrap();
            let left = advice_files(&crashed);
            assert!(left.len() <= 1 && left.iter().all(|name| name.ends_with(".warp")), "{left:?}");
        }
    }
    assert!(with > 3 && without > 3, "{with} crashes with the list, {without} without it");
}

#[test]
fn a_list_that_cannot_be_written_fails_neither_a_checkpoint_nor_a_close() {
    let machine = Machine::new(1);
    let engine = filled(&machine);
    let failures = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&failures);
    machine.disk.inject_when(move |operation| {
        let is_hit = operation.path.starts_with("advice-");
        is_hit.then(|| count.fetch_add(1, Ordering::Relaxed)).map(|_| Fault::NoSpace)
    });
    engine.checkpoint().unwrap();
    machine.clock.advance(Duration::from_secs(301));
    heat(&engine);
    engine.step();
    let learned = engine.cosmic_metrics().learned.unwrap();
    assert_eq!((learned.written, learned.failed), (0, 1));
    heat(&engine);
    engine.close().unwrap();
    assert!(failures.load(Ordering::Relaxed) >= 2, "nothing failed, so this test shows nothing");
    machine.disk.clear_faults();
    assert!(advice_files(&machine).is_empty());
    assert_eq!(entries(&machine.open(options())).len(), KEYS as usize);
}

#[test]
fn the_list_is_written_now_and_then_and_not_for_nothing() {
    let machine = Machine::new(1);
    let engine = filled(&machine);
    let written = || engine.cosmic_metrics().learned.unwrap().written;
    // The checkpoint is of this moment, and the open was seconds ago.
    engine.put(key(KEYS), "value").unwrap();
    engine.checkpoint().unwrap();
    engine.step();
    assert_eq!(written(), 0);
    machine.clock.advance(Duration::from_secs(60));
    heat(&engine);
    engine.step();
    assert_eq!(written(), 1, "after a checkpoint it is a minute");
    machine.clock.advance(Duration::from_secs(200));
    heat(&engine);
    engine.step();
    assert_eq!(written(), 1);
    machine.clock.advance(Duration::from_secs(100));
    heat(&engine);
    engine.step();
    assert_eq!(written(), 2, "else five minutes");
    for _ in 0..5 {
        machine.clock.advance(Duration::from_secs(301));
        engine.step();
    }
    assert_eq!(written(), 2, "nobody reads or writes");
    assert_eq!(advice_files(&machine).len(), 1);
}

#[test]
fn without_physics_nothing_is_written_or_brought_in() {
    let machine = Machine::new(1);
    let engine = filled(&machine);
    engine.close().unwrap();
    let before = machine.disk.read("advice-1.warp").unwrap();
    let engine = machine.open(off());
    machine.pass(&engine, Duration::from_secs(1));
    heat(&engine);
    let metrics = engine.cosmic_metrics();
    assert_eq!(metrics.warm_start.unwrap().listed, 0);
    assert_eq!(metrics.learned.unwrap().number, None);
    engine.close().unwrap();
    assert_eq!(machine.disk.read("advice-1.warp").unwrap(), before);
}

#[test]
fn what_a_short_run_has_not_brought_in_stays_on_the_list() {
    let machine = Machine::new(1);
    let engine = machine.open(options());
    for number in 0..KEYS {
        engine.put(key(number), "value").unwrap();
    }
    engine.step();
    engine.close().unwrap();
    for _ in 0..3 {
        let engine = machine.open(options());
        engine.step();
        engine.step();
        let warm = warm(&engine);
        assert!(warm.under_way && warm.entries < u64::from(KEYS), "{warm:?}");
        assert_eq!(warm.listed, u64::from(KEYS));
        engine.get(key(0)).unwrap();
        engine.close().unwrap();
    }
    let engine = machine.open(options());
    settle(&machine, &engine);
    assert_eq!(warm(&engine).entries, u64::from(KEYS));
}

/// With threads of the engine's own, on real files.
#[test]
fn the_worker_does_it_by_itself() {
    let scratch = tempfile::tempdir().unwrap();
    let engine = Options::new().open(scratch.path()).unwrap();
    for number in 0..KEYS {
        engine.put(key(number), "value").unwrap();
    }
    // The worker looks for a list before another one is written.
    std::thread::sleep(Duration::from_millis(150));
    engine.close().unwrap();
    let engine = Options::new().open(scratch.path()).unwrap();
    let mut waits = 0;
    while warm(&engine).entries < u64::from(KEYS) {
        waits += 1;
        assert!(waits < 1_000, "{:?}", engine.cosmic_metrics().warm_start);
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(engine.cosmic_metrics().regions[0].entries, u64::from(KEYS));
    engine.close().unwrap();
}

#[test]
fn the_pace_of_the_hot_level_is_that_of_the_warm_start() {
    let machine = Machine::new(1);
    let engine = filled(&machine);
    let stands_still = Laws { pace: 0.0, ..Laws::default() };
    engine.set_laws(Level::Hot, stands_still).unwrap();
    engine.close().unwrap();
    let engine = machine.open(options());
    machine.pass(&engine, Duration::from_secs(2));
    assert!(warm(&engine).under_way && warm(&engine).entries == 0, "{:?}", warm(&engine));
    engine.set_laws(Level::Hot, Laws::default()).unwrap();
    machine.pass(&engine, Duration::from_secs(2));
    assert!(!warm(&engine).under_way && warm(&engine).entries > 0, "{:?}", warm(&engine));
}
