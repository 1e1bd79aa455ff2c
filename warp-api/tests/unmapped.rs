//! An engine that reads its layers block by block: a failing disk and a cut file are errors of the calls that meet them.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by a panic")]

mod common;

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use common::Machine;
use warp_api::{ErrorKind, Options, Physics, PointInTime};
use warp_io::{Dir, Fault, OpInfo, OpKind};

const KEYS: u32 = 2_000;
/// The part of a layer that a failing disk cannot read.
const BAD: Range<u64> = 8_192..200_000;

fn options() -> Options {
    Options::new().map_layers(false).layer_cache_bytes(64 << 10)
}

fn key(number: u32) -> String {
    format!("key:{number:05}")
}

fn value(number: u32) -> String {
    format!("{number:05}").repeat(30)
}

/// Counts how often a layer is mapped from now on.
fn maps_of_layers(machine: &Machine) -> Arc<AtomicU64> {
    let maps = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&maps);
    machine.disk.inject_when(move |op| {
        let is_layer = op.path.starts_with("layers/");
        counter.fetch_add(u64::from(op.kind == OpKind::Map && is_layer), Ordering::Relaxed);
        None
    });
    maps
}

fn in_the_middle_of_a_layer(op: &OpInfo<'_>) -> bool {
    let is_bad = op.offset < BAD.end && op.offset + op.bytes > BAD.start;
    op.kind == OpKind::ReadAt && op.path.starts_with("layers/") && is_bad
}

fn reopened() -> (Machine, warp_api::WarpEngine) {
    reopened_as(&options())
}

/// A database whose entries are in a layer, freshly opened, so that none is in memory.
fn reopened_as(options: &Options) -> (Machine, warp_api::WarpEngine) {
    let machine = Machine::new(1);
    let engine = machine.open(options.clone());
    for number in 0..KEYS {
        engine.put(key(number), value(number)).unwrap();
    }
    engine.close().unwrap();
    let engine = machine.open(options.clone());
    (machine, engine)
}

#[test]
fn nothing_is_mapped_in_a_whole_life() {
    let (machine, backup) = (Machine::new(1), Machine::new(2));
    let (maps, maps_of_backup) = (maps_of_layers(&machine), maps_of_layers(&backup));
    for round in 0..10 {
        let engine = machine.open(options());
        for number in 0..100 {
            engine.put(key(number), format!("{round}/{number}")).unwrap();
        }
        engine.checkpoint().unwrap();
        assert!(engine.verify().unwrap().is_clean());
        assert_eq!(engine.backup_in(&backup.disk.root()).unwrap().seq, engine.last_seq());
        assert_eq!(engine.view_at(PointInTime::Seq(engine.last_seq())).unwrap().len().unwrap(), 100);
        engine.close().unwrap();
    }
    let engine = machine.open(options());
    for number in 0..100 {
        assert_eq!(engine.get(key(number)).unwrap().as_deref(), Some(format!("9/{number}").as_bytes()));
    }
    assert_eq!(engine.len().unwrap(), 100);
    assert_eq!(engine.iter().count(), 100);
    assert_eq!(maps.load(Ordering::Relaxed), 0);
    assert_eq!(maps_of_backup.load(Ordering::Relaxed), 0);
}

#[test]
fn looking_for_damage_maps_nothing() {
    let (machine, engine) = reopened_as(&Options::new());
    let maps = maps_of_layers(&machine);
    assert!(engine.verify().unwrap().is_clean());
    assert_eq!(maps.load(Ordering::Relaxed), 0);
    machine.disk.inject_when(|op| in_the_middle_of_a_layer(op).then_some(Fault::Eio));
    let problems = engine.verify().unwrap().problems;
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert!(BAD.contains(&problems[0].offset.unwrap()), "{problems:?}");
}

#[test]
fn a_repair_keeps_what_a_failing_disk_can_read() {
    let options = Options::new().checkpoints_kept(1);
    let (machine, engine) = reopened_as(&options);
    engine.close().unwrap();
    // Without its beginning the log cannot stand in for the layer.
    let log = machine.disk.root().subdir("wal", false).unwrap();
    log.remove(log.list().unwrap().iter().min().unwrap()).unwrap();
    let maps = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&maps);
    machine.disk.inject_when(move |op| {
        let is_old = op.path.starts_with("layers/1.");
        counter.fetch_add(
            u64::from(op.kind == OpKind::Map && op.path.starts_with("layers/")),
            Ordering::Relaxed,
        );
        (is_old && in_the_middle_of_a_layer(op)).then_some(Fault::Eio)
    });
    let report = options.clone().repair_in(&machine.disk.root(), machine.environment()).unwrap();
    assert_eq!(maps.load(Ordering::Relaxed), 0);
    // Whole blocks are lost, and what reaches into them from the one before; nothing else.
    let bad = BAD.start - 4_096..BAD.end.next_multiple_of(4_096);
    let lost = report.lost_entries.len() as u64;
    assert!(report.lost_entries.iter().all(|entry| bad.contains(&entry.offset)), "{lost} entries lost");
    assert!(lost > 0 && report.lost_layers.is_empty() && report.doubtful.is_empty(), "{lost} entries lost");
    assert_eq!(report.entries_salvaged + lost, u64::from(KEYS));
    let engine = machine.open(options);
    assert_eq!(engine.len().unwrap(), report.entries_salvaged);
    for number in 0..KEYS {
        if let Some(found) = engine.get(key(number)).unwrap() {
            assert_eq!(found, value(number).as_bytes());
        }
    }
    assert!(engine.verify().unwrap().is_clean());
}

#[test]
fn a_failing_disk_is_an_error_with_file_and_offset() {
    let (machine, engine) = reopened();
    machine.disk.inject_when(|op| in_the_middle_of_a_layer(op).then_some(Fault::Eio));
    let mut failed = 0;
    for number in 0..KEYS {
        match engine.get(key(number)) {
            Ok(found) => assert_eq!(found.as_deref(), Some(value(number).as_bytes())),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Io, "{error:?}");
                assert!(error.path().unwrap().starts_with(Path::new("layers")), "{error}");
                assert!(BAD.contains(&error.offset().unwrap()), "{error}");
                failed += 1;
            }
        }
    }
    assert!(failed > KEYS / 4, "{failed}");
    machine.disk.clear_faults();
    for number in 0..KEYS {
        assert_eq!(engine.get(key(number)).unwrap().as_deref(), Some(value(number).as_bytes()));
    }
}

#[test]
fn a_layer_that_is_cut_is_an_error() {
    let (machine, engine) = reopened();
    let layers = machine.disk.root().subdir("layers", false).unwrap();
    for name in layers.list().unwrap() {
        let file = layers.open(&name, true).unwrap();
        file.truncate(file.len().unwrap() / 2).unwrap();
    }
    let errors = (0..KEYS).filter_map(|number| engine.get(key(number)).err());
    let kinds: Vec<ErrorKind> = errors.map(|error| error.kind()).collect();
    assert!(kinds.len() > 1_000, "{}", kinds.len());
    assert!(kinds.iter().all(|kind| *kind == ErrorKind::Corrupt), "{kinds:?}");
    assert!(!engine.verify().unwrap().is_clean());
}

/// Keys whose layer could not be read when they were to be put in order are in the scans as soon as it can.
#[test]
fn a_scan_misses_nothing_after_a_disk_that_failed_for_a_while() {
    let machine = Machine::new(1);
    let options = options().log_buffer_bytes(1 << 20).memory_budget(16 << 20).physics(Physics::off());
    let engine = machine.open(options);
    assert_eq!(engine.iter().count(), 0);
    // Not put in order yet, and most of them not in memory any more.
    let count = 20_000;
    for number in 0..count {
        engine.put(key(number), value(number).repeat(10)).unwrap();
    }
    engine.checkpoint().unwrap();
    assert!(engine.cosmic_metrics().residency.evicted > 1_000);
    machine.disk.inject_when(|op| {
        (op.kind == OpKind::ReadAt && op.path.starts_with("layers/")).then_some(Fault::Eio)
    });
    for _ in 0..2 {
        let first = engine.iter().find_map(Result::err).expect("keys that cannot be read are no secret");
        assert_eq!(first.kind(), ErrorKind::Io);
    }
    machine.disk.clear_faults();
    let keys: Vec<String> =
        engine.iter().map(|found| String::from_utf8(found.unwrap().0.to_vec()).unwrap()).collect();
    assert!(keys.iter().eq((0..count).map(key).collect::<Vec<_>>().iter()), "{} keys", keys.len());
}
