//! How a watch ends, and what cannot be watched.

use std::time::Duration;

use warp_api::{Durability, ErrorKind, Seq, WarpEngine};
use warp_io::{Fault, OpKind};

use crate::common::Machine;
use crate::{drain, options, put, soon, told};

#[test]
fn there_is_no_feed_without_a_log() {
    let engine = WarpEngine::in_memory();
    let kinds = [
        engine.watch("").unwrap_err().kind(),
        engine.changes_since(Seq(0), "").unwrap_err().kind(),
        engine.keyspace("other").unwrap().watch("").unwrap_err().kind(),
    ];
    assert_eq!(kinds, [ErrorKind::Unsupported; 3]);
}

#[test]
fn a_number_that_was_not_given_yet_is_refused() {
    let engine = Machine::new(1).open(options());
    let last = engine.put("a", "1").unwrap();
    assert!(engine.changes_since(last, "").is_ok());
    for seq in [Seq(last.0 + 1), Seq(u64::MAX)] {
        assert_eq!(engine.changes_since(seq, "").unwrap_err().kind(), ErrorKind::Invalid);
    }
}

#[test]
fn a_close_ends_a_watch_that_waits() {
    let dir = tempfile::tempdir().unwrap();
    let engine = WarpEngine::open(dir.path()).unwrap();
    let (mut all, mut single) = (engine.watch("").unwrap(), engine.watch("").unwrap());
    std::thread::scope(|scope| {
        let waiting = scope.spawn(move || {
            let shown: Vec<_> = (&mut all).map(|change| told(change.unwrap())).collect();
            (shown, all.is_over())
        });
        let seq = engine.with_durability(Durability::Sync).put("a", "1").unwrap().0;
        assert_eq!(soon(&mut single), put(seq, "default", "a", "1"));
        std::thread::sleep(Duration::from_millis(30));
        engine.clone().close().unwrap();
        assert_eq!(waiting.join().unwrap(), (vec![put(seq, "default", "a", "1")], true));
    });
    assert!(single.next_timeout(Duration::from_secs(20)).unwrap().is_none() && single.is_over());
    assert_eq!(engine.watch("").unwrap_err().kind(), ErrorKind::Closed);
    assert_eq!(engine.changes_since(Seq(0), "").unwrap_err().kind(), ErrorKind::Closed);
}

#[test]
fn a_watch_does_not_hold_the_engine_open() {
    let dir = tempfile::tempdir().unwrap();
    let engine = WarpEngine::open(dir.path()).unwrap();
    let mut watch = engine.watch("").unwrap();
    drop(engine);
    assert!(watch.next().is_none() && watch.is_over());
    WarpEngine::open(dir.path()).unwrap();
}

#[test]
fn a_log_that_fails_ends_the_feed_behind_what_is_durable() {
    let machine = Machine::new(1);
    let engine = machine.open(options()).with_durability(Durability::Sync);
    let mut watch = engine.watch("").unwrap();
    let seq = engine.put("a", "1").unwrap().0;
    machine.disk.inject_when(|op| (op.kind == OpKind::SyncData).then_some(Fault::SyncLost));
    assert!(engine.put("b", "2").is_err());
    assert_eq!(told(watch.next().unwrap().unwrap()), put(seq, "default", "a", "1"));
    assert_eq!(watch.next().unwrap().unwrap_err().kind(), ErrorKind::Poisoned);
    assert!(watch.next().is_none() && watch.is_over());
    // What is durable can still be read from the beginning.
    let mut again = engine.changes_since(Seq(0), "").unwrap();
    assert_eq!(told(again.try_next().unwrap().unwrap()), put(seq, "default", "a", "1"));
    assert_eq!(drain(&mut again).unwrap_err().kind(), ErrorKind::Poisoned);
}

#[test]
fn a_damaged_log_is_told_with_its_place() {
    let machine = Machine::new(1);
    let engine = machine.open(options());
    for number in 0..4 {
        engine.put(format!("key/{number}"), "v".repeat(5_000)).unwrap();
        engine.sync().unwrap();
    }
    let file = machine.disk.files().into_iter().find(|name| name.starts_with("wal/")).unwrap();
    let bytes = machine.disk.read(&file).unwrap();
    let place = bytes.windows(5).position(|window| window == b"key/2").unwrap();
    machine.disk.flip_bit(&file, place as u64 * 8);
    let mut watch = engine.changes_since(Seq(0), "").unwrap();
    assert_eq!(&watch.try_next().unwrap().unwrap().key[..], b"key/0");
    assert_eq!(&watch.try_next().unwrap().unwrap().key[..], b"key/1");
    let error = watch.try_next().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert_eq!(error.path().unwrap().to_str().unwrap(), file);
    assert!(error.offset().unwrap() as usize <= place);
    // Behind it everything can be had.
    let shown = drain(&mut engine.changes_since(Seq(3), "").unwrap()).unwrap();
    assert_eq!((shown.len(), &shown[0].2[..]), (1, &b"key/3"[..]));
}
