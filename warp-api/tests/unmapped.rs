//! An engine that reads its layers block by block: a failing disk and a cut file are errors of the calls that meet them.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by a panic")]

mod common;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use common::Machine;
use warp_api::{ErrorKind, Options};
use warp_io::{Dir, Fault, OpKind};

const KEYS: u32 = 2_000;

fn options() -> Options {
    Options::new().map_layers(false).layer_cache_bytes(64 << 10)
}

fn key(number: u32) -> String {
    format!("key:{number:05}")
}

fn value(number: u32) -> String {
    format!("{number:05}").repeat(30)
}

/// A database whose entries are in a layer, freshly opened, so that none is in memory.
fn reopened() -> (Machine, warp_api::WarpEngine) {
    let machine = Machine::new(1);
    let engine = machine.open(options());
    for number in 0..KEYS {
        engine.put(key(number), value(number)).unwrap();
    }
    engine.close().unwrap();
    let engine = machine.open(options());
    (machine, engine)
}

#[test]
fn nothing_is_mapped_in_a_whole_life() {
    let machine = Machine::new(1);
    let maps = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&maps);
    machine.disk.inject_when(move |op| {
        let is_layer = op.path.starts_with("layers/");
        counter.fetch_add(u64::from(op.kind == OpKind::Map && is_layer), Ordering::Relaxed);
        None
    });
    for round in 0..10 {
        let engine = machine.open(options());
        for number in 0..100 {
            engine.put(key(number), format!("{round}/{number}")).unwrap();
        }
        engine.checkpoint().unwrap();
        assert!(engine.verify().unwrap().is_clean());
        engine.close().unwrap();
    }
    let engine = machine.open(options());
    for number in 0..100 {
        assert_eq!(engine.get(key(number)).unwrap().as_deref(), Some(format!("9/{number}").as_bytes()));
    }
    assert_eq!(engine.len().unwrap(), 100);
    assert_eq!(engine.iter().count(), 100);
    assert_eq!(maps.load(Ordering::Relaxed), 0);
}

#[test]
fn a_failing_disk_is_an_error_with_file_and_offset() {
    let (machine, engine) = reopened();
    machine.disk.inject_when(|op| {
        let is_read = op.kind == OpKind::ReadAt && op.path.starts_with("layers/");
        (is_read && (8_192..200_000).contains(&op.offset)).then_some(Fault::Eio)
    });
    let mut failed = 0;
    for number in 0..KEYS {
        match engine.get(key(number)) {
            Ok(found) => assert_eq!(found.as_deref(), Some(value(number).as_bytes())),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Io, "{error:?}");
                assert!(error.path().unwrap().starts_with(Path::new("layers")), "{error}");
                assert!((8_192..200_000).contains(&error.offset().unwrap()), "{error}");
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
