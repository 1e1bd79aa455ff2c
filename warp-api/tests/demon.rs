//! Slots move to where writes are even, stay there over restarts, and nothing else changes.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by a panic")]

mod common;

use std::time::Duration;

use common::{Machine, small};
use warp_api::{Demon, ErrorKind, Options, Physics, ShardId, Strategy, WarpEngine};
use warp_io::Dir;
use warp_wal::{Apply, Kind, Recovery, Start};

const SECOND: Duration = Duration::from_secs(1);

/// Few keys, the first of which get most of the writes.
fn write_skewed(engine: &WarpEngine, writes: u32) {
    for number in 0..writes {
        engine
            .put(format!("key {}", (number * number + number / 7) % 97 % (1 + number % 40)), "value")
            .unwrap();
    }
}

fn shards(engine: &WarpEngine) -> Vec<ShardId> {
    let shard = |number| engine.cosmic_get(format!("key {number}")).unwrap().unwrap().shard;
    (0..40).map(shard).collect()
}

fn options(demon: Demon) -> Options {
    small().physics(Physics { demon, ..Physics::default() })
}

#[test]
fn the_background_evens_the_load_and_then_stops() {
    let machine = Machine::new(1);
    let engine = machine.open(options(Demon::Auto));
    let mut moved = Vec::new();
    for _ in 0..12 {
        write_skewed(&engine, 4_000);
        machine.clock.advance(SECOND);
        engine.step();
        moved.push(engine.spacetime_metrics().demon.slots_moved);
    }
    let metrics = engine.cosmic_metrics().demon;
    assert!(metrics.slots_moved > 0 && metrics.imbalance_removed > 0.0, "{metrics:?}");
    assert_eq!(moved[5], moved[11], "the same load moves nothing any more: {moved:?}");
    assert_eq!(metrics.history.len(), usize::try_from(metrics.rebalances).unwrap());
    assert_eq!(engine.len().unwrap(), 40);

    // What was moved is where it was after a crash, after a checkpoint, and after a clean close.
    let places = shards(&engine);
    engine.sync().unwrap();
    drop(engine);
    let engine = machine.open(options(Demon::Auto));
    assert_eq!(shards(&engine), places, "replayed from the log");
    engine.checkpoint().unwrap();
    engine.close().unwrap();
    let engine = machine.open(options(Demon::Off));
    assert_eq!(shards(&engine), places, "kept over a checkpoint");
    let again = engine.cosmic_metrics().demon;
    assert_eq!((again.history.len(), again.slots_away), (metrics.history.len(), metrics.slots_away));
    let refused = engine.trigger_entropy_rebalancing(Strategy::Minimal).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unsupported);
}

/// Of one kind, the sequence, key and value of every entry in the log.
fn logged(machine: &Machine, kind: Kind) -> Vec<(u64, Vec<u8>, Vec<u8>)> {
    let log = machine.disk.root().subdir("wal", false).unwrap();
    let mut found = Vec::new();
    let mut keep = |seq: u64, entry: &warp_wal::Entry<'_>| {
        if entry.kind == kind {
            found.push((seq, entry.key.to_vec(), entry.value.to_vec()));
        }
    };
    let apply = Apply::InOrder(&mut keep);
    warp_wal::replay_in(&*log, Recovery::TrimTornTail, Start::default(), apply, &mut |_, _| {}).unwrap();
    found
}

#[test]
fn moves_and_the_sample_of_the_load_are_in_the_log() {
    let machine = Machine::new(3);
    let engine = machine.open(options(Demon::Auto));
    write_skewed(&engine, 4_000);
    machine.clock.advance(SECOND);
    engine.step();
    let demon = engine.spacetime_metrics().demon;
    assert!(demon.slots_moved > 0, "{demon:?}");
    drop(engine);
    let samples = logged(&machine, Kind::EntropySample);
    assert_eq!((samples.len(), demon.history.len()), (1, 1));
    let (seq, key, sample) = &samples[0];
    assert!(key.is_empty());
    assert_eq!(sample[..], demon.history[0].to_bytes());
    let moves = logged(&machine, Kind::SlotMove);
    assert_eq!(moves.len() as u64, demon.slots_moved);
    // Of the same write, each slot and each shard as two bytes.
    for (of, slot, shard) in &moves {
        assert_eq!((of, slot.len(), shard.len()), (seq, 2, 2), "{moves:?}");
    }
}

#[test]
fn on_demand_a_strategy_bounds_what_is_moved_and_the_report_is_measured() {
    let machine = Machine::new(2);
    let engine = machine.open(options(Demon::Manual));
    write_skewed(&engine, 20_000);
    machine.pass(&engine, 3 * SECOND);
    assert_eq!(engine.cosmic_metrics().demon.slots_moved, 0, "nobody asked");
    let minimal = engine.trigger_entropy_rebalancing(Strategy::Minimal).unwrap();
    assert!((1..=16).contains(&minimal.slots_moved), "{minimal:?}");
    assert!(minimal.entropy_after > minimal.entropy_before, "{minimal:?}");
    assert!(minimal.entries_reassigned >= 1 && minimal.bytes_reassigned > 0, "{minimal:?}");
    write_skewed(&engine, 40_000);
    let next = engine.trigger_entropy_rebalancing(Strategy::Aggressive).unwrap();
    let off = (next.entropy_before.unwrap() - minimal.entropy_after.unwrap()).abs();
    assert!(off < 0.01, "what was promised is what later writes did: {minimal:?} {next:?}");
    write_skewed(&engine, 40_000);
    assert_eq!(engine.trigger_entropy_rebalancing(Strategy::Aggressive).unwrap().slots_moved, 0);
}

#[test]
fn without_writes_nothing_is_known_and_nothing_moves() {
    let engine = WarpEngine::in_memory();
    engine.put("one", "write").unwrap();
    let report = engine.trigger_entropy_rebalancing(Strategy::Aggressive).unwrap();
    assert_eq!((report.entropy_before, report.entropy_after, report.slots_moved), (None, None, 0));

    let machine = Machine::new(2);
    let engine = machine.open(options(Demon::Manual));
    engine.put("one", "write").unwrap();
    let written = || {
        engine.sync().unwrap();
        engine.cosmic_metrics().log.unwrap().bytes_written
    };
    let before = written();
    engine.trigger_entropy_rebalancing(Strategy::Aggressive).unwrap();
    assert_eq!(written(), before, "nothing is known, and nothing logged");
}

#[test]
fn a_key_that_no_move_can_balance_does_not_keep_the_others_moving() {
    let machine = Machine::new(6);
    let engine = machine.open(options(Demon::Auto));
    let mut state = 1_u64;
    let mut moved = Vec::new();
    for _ in 0..24 {
        for number in 0..20_000 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let key = if number % 4 == 0 { 0 } else { (state >> 40) % 20_000 };
            engine.put(format!("key {key}"), "value").unwrap();
        }
        machine.clock.advance(SECOND);
        engine.step();
        moved.push(engine.spacetime_metrics().demon.slots_moved);
    }
    // At first what shares its shard with the heavy key leaves; then chance is all that is left.
    assert!(moved[7] > 0, "{moved:?}");
    assert_eq!(moved[7], moved[23], "{moved:?}");
}
