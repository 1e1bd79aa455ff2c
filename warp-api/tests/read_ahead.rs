//! Reading ahead: after an open the layers are read once, where there is room for all of them; and nothing depends on
//! it.

#![allow(
    clippy::cast_possible_truncation,
    clippy::unwrap_used,
    reason = "a test that cannot go on says so by a panic, and its numbers are small"
)]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use common::{Machine, Random, small, wait_until};
use warp_api::{Environment, Laws, Level, Options, Physics, ReadAheadMetrics, WarpEngine};
use warp_io::{Clock, Dir, Fault, OpKind};

const KEYS: u32 = 2_000;
const VALUE_BYTES: u32 = 8 << 10;
const MIB: u64 = 1 << 20;

/// Without a warm start, which reads layers, too.
fn options() -> Options {
    let physics = Physics { warm_start: false, ..Physics::default() };
    small().physics(physics).memory_budget(64 << 20)
}

/// It does not compress.
fn value(number: u32) -> Vec<u8> {
    let mut random = Random(u64::from(number));
    (0..VALUE_BYTES / 8).flat_map(|_| random.next().to_le_bytes()).collect()
}

/// A database with two layers.
fn filled(machine: &Machine) {
    let engine = machine.open(options());
    for number in 0..KEYS {
        engine.put(number.to_le_bytes(), value(number)).unwrap();
        if number == KEYS - 100 {
            engine.checkpoint().unwrap();
        }
    }
    engine.close().unwrap();
}

fn layer_bytes(engine: &WarpEngine) -> u64 {
    let checkpoints = engine.cosmic_metrics().checkpoints.unwrap();
    assert!(checkpoints.layers > 0);
    checkpoints.layer_bytes
}

fn ahead(engine: &WarpEngine) -> ReadAheadMetrics {
    engine.cosmic_metrics().read_ahead.unwrap()
}

/// Does all background work that is due within a short time.
fn settle(machine: &Machine, engine: &WarpEngine) {
    machine.pass(engine, Duration::from_secs(2));
    assert!(!ahead(engine).under_way);
}

#[test]
fn all_layers_are_read_once_and_nothing_comes_into_memory() {
    let machine = Machine::new(1);
    filled(&machine);
    let engine = machine.open(options());
    assert_eq!((ahead(&engine).bytes, ahead(&engine).under_way), (0, true));
    let read = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&read);
    machine.disk.inject_when(move |op| {
        counted.fetch_add(
            u64::from(op.kind == OpKind::ReadAt && op.path.starts_with("layers/")),
            Ordering::Relaxed,
        );
        None
    });
    engine.step();
    let first = ahead(&engine);
    assert!(first.under_way && first.bytes > 0 && first.bytes < MIB, "{first:?}");
    settle(&machine, &engine);
    assert_eq!(ahead(&engine).bytes, layer_bytes(&engine));
    let reads = read.load(Ordering::Relaxed);
    let at_once = MIB / 4;
    assert!(
        (layer_bytes(&engine) / at_once..=layer_bytes(&engine) / at_once + 10).contains(&reads),
        "{reads}"
    );
    machine.pass(&engine, Duration::from_secs(1));
    assert_eq!(read.load(Ordering::Relaxed), reads);
    let metrics = engine.cosmic_metrics();
    assert_eq!(metrics.regions[0].entries, 0);
    assert_eq!(metrics.operations.promotions, 0);
}

#[test]
fn layers_for_which_there_is_no_room_are_not_read() {
    let machine = Machine::new(1);
    filled(&machine);
    let bytes = layer_bytes(&machine.open(options()));
    for (options, expected) in [
        (options().read_ahead_bytes(bytes), bytes),
        (options().read_ahead_bytes(bytes - 1), 0),
        (options().read_ahead_bytes(0), 0),
        // Less than what the layers have and the engine itself takes.
        (options().memory_budget(bytes + MIB), 0),
    ] {
        let engine = machine.open(options);
        settle(&machine, &engine);
        assert_eq!(ahead(&engine).bytes, expected);
        assert_eq!(engine.get(7_u32.to_le_bytes()).unwrap().unwrap(), *value(7));
    }
}

#[test]
fn a_layer_that_cannot_be_read_ends_it_and_nothing_else() {
    for (kind, fault, goes_on) in [
        (OpKind::Open, Fault::NoHandle, false),
        (OpKind::Open, Fault::Interrupted, true),
        (OpKind::ReadAt, Fault::Eio, false),
        (OpKind::ReadAt, Fault::Interrupted, true),
        (OpKind::ReadAt, Fault::Short, true),
    ] {
        let machine = Machine::new(1);
        filled(&machine);
        let engine = machine.open(options());
        let struck = Arc::new(AtomicU64::new(0));
        let strikes = Arc::clone(&struck);
        machine.disk.inject_when(move |op| {
            let is_meant = op.kind == kind && op.path.starts_with("layers/");
            (is_meant && strikes.fetch_add(1, Ordering::Relaxed) == 0).then_some(fault)
        });
        settle(&machine, &engine);
        assert!(struck.load(Ordering::Relaxed) > 0);
        let expected = if goes_on { layer_bytes(&engine) } else { 0 };
        assert_eq!(ahead(&engine).bytes, expected, "{kind:?}, {fault:?}");
        assert!((0..KEYS).all(|number| engine.get(number.to_le_bytes()).unwrap().unwrap() == *value(number)));
        engine.put("another", "1").unwrap();
        engine.checkpoint().unwrap();
    }
}

#[test]
fn layers_that_a_merge_has_taken_away_are_not_read() {
    let machine = Machine::new(1);
    filled(&machine);
    let engine = machine.open(options());
    let bytes = layer_bytes(&engine);
    engine.step();
    let begun = ahead(&engine).bytes;
    for number in 0..KEYS {
        engine.delete(number.to_le_bytes()).unwrap();
    }
    // Until no kept checkpoint needs them.
    for number in 0..4_u32 {
        engine.put("another", number.to_le_bytes()).unwrap();
        engine.checkpoint().unwrap();
    }
    settle(&machine, &engine);
    let read = ahead(&engine).bytes;
    assert!(begun > 0 && read < bytes, "{begun} of {bytes}, then {read}");
}

#[test]
fn the_pace_of_the_hot_level_is_its_pace() {
    let machine = Machine::new(1);
    filled(&machine);
    let engine = machine.open(options());
    engine.set_laws(Level::Hot, Laws { pace: 0.0, ..Laws::default() }).unwrap();
    engine.close().unwrap();
    let engine = machine.open(options());
    machine.pass(&engine, Duration::from_secs(2));
    assert_eq!((ahead(&engine).bytes, ahead(&engine).under_way), (0, true));
    engine.set_laws(Level::Hot, Laws::default()).unwrap();
    machine.pass(&engine, Duration::from_secs(2));
    assert_eq!(ahead(&engine).bytes, layer_bytes(&engine));
}

#[test]
fn nothing_is_read_for_who_only_reads_or_has_no_files_or_has_closed() {
    let machine = Machine::new(1);
    filled(&machine);
    let engine = machine.open(options().read_only(true));
    assert!(!ahead(&engine).under_way);
    drop(engine);
    let engine = machine.open(options());
    let other = engine.clone();
    engine.close().unwrap();
    other.step();
    assert_eq!((ahead(&other).bytes, ahead(&other).under_way), (0, false));
    assert!(options().in_memory().cosmic_metrics().read_ahead.is_none());
}

/// An engine with threads of its own, for which a checkpoint is due after little was written.
fn with_threads(dir: &dyn Dir, clock: Arc<dyn Clock>) -> WarpEngine {
    let environment = Environment { clock, ..Environment::default() };
    options().checkpoint_log_bytes(128 << 10).open_in(dir, environment).unwrap()
}

#[test]
fn the_worker_does_it_by_itself_also_beside_checkpoints() {
    let machine = Machine::new(1);
    filled(&machine);
    let engine = with_threads(&machine.disk.root(), Arc::new(warp_io::SystemClock::new()));
    // Paced checkpoints are taken all the time.
    assert!(wait_until(|| {
        (0..10_u32).for_each(|number| _ = engine.put(number.to_le_bytes(), value(number)).unwrap());
        !ahead(&engine).under_way
    }));
    assert!(wait_until(|| engine.cosmic_metrics().checkpoints.unwrap().taken > 0));
    assert!(ahead(&engine).bytes > 0);
    engine.close().unwrap();
}

#[test]
fn a_clock_that_stands_still_holds_nobody_up() {
    let machine = Machine::new(1);
    filled(&machine);
    let engine = with_threads(&machine.disk.root(), Arc::new(machine.clock.clone()));
    let taken = || engine.cosmic_metrics().checkpoints.unwrap().taken;
    for number in 0..50_u32 {
        engine.put(number.to_le_bytes(), value(number)).unwrap();
    }
    // It pauses as if no time passed.
    assert!(wait_until(|| taken() > 0));
    assert!(ahead(&engine).bytes > 0);
    engine.close().unwrap();
}
