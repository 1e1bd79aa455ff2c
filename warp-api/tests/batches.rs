//! Batches: seen and kept as a whole, on conditions, with links, and as durable as the strongest of their writes.

#![allow(
    clippy::cast_possible_truncation,
    clippy::unwrap_used,
    reason = "a test that cannot go on says so by a panic, and its numbers are small"
)]

mod common;

use std::collections::BTreeMap;

use common::{Machine, entries, lasting, small};
use warp_api::{CasOutcome, Durability, ErrorKind, Expected, PutOptions, Seq, WarpEngine, WriteBatch};
use warp_io::Survival;

fn partner_keys(engine: &WarpEngine, key: &str) -> Vec<String> {
    let links = engine.partners(key).unwrap();
    let mut keys: Vec<String> =
        links.iter().map(|link| String::from_utf8(link.key.clone()).unwrap()).collect();
    keys.sort();
    keys
}

#[test]
fn of_several_writes_of_a_key_only_the_last_is_logged() {
    let machine = Machine::new(1);
    let engine = machine.open(small());
    let logged = || {
        engine.sync().unwrap();
        engine.cosmic_metrics().log.unwrap().entries
    };
    let before = logged();
    let mut batch = WriteBatch::new();
    batch.put("a", "1").delete("b").put("a", "2").put("b", "3").delete("a").put("a", "4");
    engine.write(&batch).unwrap();
    assert_eq!(logged(), before + 2);
    assert_eq!(
        entries(&engine),
        BTreeMap::from([(b"a".to_vec(), b"4".to_vec()), (b"b".to_vec(), b"3".to_vec())])
    );
}

/// Nobody who reads or swaps meanwhile finds a value that the batch itself overwrites.
#[test]
fn of_several_writes_of_a_key_only_the_last_is_ever_seen() {
    let engine = WarpEngine::in_memory();
    let mut batch = WriteBatch::new();
    batch.put("key", "overwritten");
    for number in 0..200 {
        batch.put(format!("between:{number}"), "x");
    }
    batch.put("key", "last");
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for _ in 0..5_000 {
                engine.write(&batch).unwrap();
            }
        });
        while !writer.is_finished() {
            let swapped = engine.compare_and_swap("key", Some(b"overwritten"), Some(b"swapped")).unwrap();
            assert!(matches!(swapped, CasOutcome::Conflict(_)), "the value that is overwritten was seen");
        }
    });
    assert_eq!(engine.get("key").unwrap().as_deref(), Some(&b"last"[..]));
}

#[test]
fn a_batch_is_written_if_its_requirements_hold_and_else_nothing_of_it_is() {
    let machine = Machine::new(1);
    let engine = machine.open(small());
    engine.put("older", "0").unwrap();
    engine.checkpoint().unwrap();
    drop(engine);
    // One key is in a layer, one in memory, one deleted, and one was never there.
    let engine = machine.open(small());
    let seq = engine.put("key", "1").unwrap();
    engine.put("gone", "1").unwrap();
    engine.delete("gone").unwrap();
    let cases = [
        ("none", Expected::Absent, true),
        ("gone", Expected::Absent, true),
        ("key", Expected::Absent, false),
        ("older", Expected::Absent, false),
        ("key", Expected::Present, true),
        ("older", Expected::Present, true),
        ("gone", Expected::Present, false),
        ("key", Expected::Value(b"1"), true),
        ("older", Expected::Value(b"0"), true),
        ("key", Expected::Value(b"2"), false),
        ("none", Expected::Value(b""), false),
        ("key", Expected::Seq(seq), true),
        ("key", Expected::Seq(Seq(seq.0 + 1)), false),
        ("older", Expected::Seq(Seq(1)), true),
        ("gone", Expected::Seq(Seq(seq.0 + 1)), false),
    ];
    for (number, (key, expected, holds)) in cases.into_iter().enumerate() {
        let (before, last) = (entries(&engine), engine.last_seq());
        let mut batch = WriteBatch::new();
        batch.put(format!("written:{number}"), "1").require("key", Expected::Present).require(key, expected);
        match engine.write(&batch) {
            Ok(seq) => {
                assert!(holds, "{key} {expected:?}");
                assert_eq!(seq, Seq(last.0 + 1));
                assert_eq!(entries(&engine).len(), before.len() + 1);
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Conflict);
                assert!(!holds, "{key} {expected:?}");
                assert_eq!((entries(&engine), engine.last_seq()), (before, last));
            }
        }
    }
    // A batch that is used again requires nothing any more.
    let mut batch = WriteBatch::new();
    batch.require("key", Expected::Absent);
    assert_eq!(engine.write(&batch).unwrap_err().kind(), ErrorKind::Conflict, "without any write, too");
    batch.clear();
    engine.write(batch.put("key", "2")).unwrap();
}

/// Another write of a required key, between looking at it and writing, makes the batch look again.
#[test]
fn a_requirement_that_is_raced_is_looked_at_again() {
    for with_links in [false, true] {
        let machine = Machine::new(1);
        let (engine, interruptions) = machine.open_interruptible(small());
        engine.put_with("key", "1", &lasting()).unwrap();
        let options =
            if with_links { PutOptions::new().entangled_with(&["other"]) } else { PutOptions::new() };
        let conflicts = engine.cosmic_metrics().operations.conflicts;

        let mut batch = WriteBatch::new();
        batch.put_with("first", "1", &options).require("key", Expected::Present);
        let racer = engine.clone();
        interruptions.at_next_look(move || _ = racer.put_with("key", "2", &lasting()).unwrap());
        engine.write(&batch).unwrap();
        assert!(interruptions.is_done() && engine.contains_key("first").unwrap());
        assert!(engine.cosmic_metrics().operations.conflicts > conflicts, "it was not raced");

        let mut batch = WriteBatch::new();
        batch.put_with("second", "1", &options).require("key", Expected::Value(b"2"));
        let racer = engine.clone();
        interruptions.at_next_look(move || _ = racer.put_with("key", "3", &lasting()).unwrap());
        assert_eq!(engine.write(&batch).unwrap_err().kind(), ErrorKind::Conflict);
        assert!(interruptions.is_done() && !engine.contains_key("second").unwrap());
        assert_eq!(partner_keys(&engine, "other").len(), usize::from(with_links));
    }
}

/// Amounts that threads move between accounts, each move on the condition of what it read, add up at the end.
#[test]
fn requirements_of_many_threads_hold() {
    const MOVES: u64 = 3_000;
    let engine = WarpEngine::in_memory();
    let accounts = ["a", "b", "c"];
    for account in accounts {
        engine.put(account, "10000").unwrap();
    }
    let transfer = |from: &str, to: &str| {
        let read = |key| String::from_utf8(engine.get(key).unwrap().unwrap().to_vec()).unwrap();
        loop {
            let (source, target) = (read(from), read(to));
            let mut batch = WriteBatch::new();
            batch.require(from, Expected::Value(source.as_bytes()));
            batch.require(to, Expected::Value(target.as_bytes()));
            batch.put(from, (source.parse::<u64>().unwrap() - 1).to_string());
            batch.put(to, (target.parse::<u64>().unwrap() + 1).to_string());
            match engine.write(&batch) {
                Ok(_) => return,
                Err(error) => assert_eq!(error.kind(), ErrorKind::Conflict),
            }
        }
    };
    std::thread::scope(|scope| {
        for (from, to) in [("a", "b"), ("b", "c"), ("a", "c")] {
            scope.spawn(move || (0..MOVES).for_each(|_| transfer(from, to)));
        }
    });
    let amounts = accounts.map(|account| engine.get(account).unwrap().unwrap().to_vec());
    let expected =
        [10_000 - 2 * MOVES, 10_000, 10_000 + 2 * MOVES].map(|amount| amount.to_string().into_bytes());
    assert_eq!(amounts, expected);
}

#[test]
fn puts_in_a_batch_declare_links_with_it() {
    let machine = Machine::new(1);
    machine.disk.record();
    let engine = machine.open(small());
    let mut batch = WriteBatch::new();
    batch.put_with("a", "1", &PutOptions::new().entangled_with(&["b", "c"]));
    batch.put_with("b", "2", &PutOptions::new().entangled_with(&["a", "d"]));
    batch.put_with("a", "3", &PutOptions::new().entangled_with(&["c"]));
    let seq = engine.write(&batch).unwrap();
    assert_eq!(engine.last_seq(), seq, "all of it takes one sequence");
    engine.sync().unwrap();
    let links = |engine: &WarpEngine| ["a", "b", "c", "d"].map(|key| partner_keys(engine, key).concat());
    assert_eq!(links(&engine), ["bc", "ad", "a", "b"]);
    assert!(engine.partners("a").unwrap().iter().all(|link| link.strength == 1.0));
    // Links and values are there together, or not at all.
    let mut images = [0, 0];
    for point in machine.disk.crash_points() {
        for survival in 0..8 {
            let image = machine.disk.image_at(point, Survival::seeded(survival));
            let engine = machine.with_disk(image).open(small());
            let whole = engine.contains_key("a").unwrap();
            assert_eq!(entries(&engine).len(), if whole { 2 } else { 0 });
            assert_eq!(links(&engine), if whole { ["bc", "ad", "a", "b"] } else { [""; 4] });
            images[usize::from(whole)] += 1;
        }
    }
    assert!(images[0] > 0 && images[1] > 0, "{images:?}");
    // A link that cannot be declared refuses the whole batch.
    let mut batch = WriteBatch::new();
    batch.put("other", "1").put_with("e", "1", &PutOptions::new().entangled_with(&["e"]));
    assert_eq!(engine.write(&batch).unwrap_err().kind(), ErrorKind::Invalid);
    assert_eq!((engine.last_seq(), engine.len().unwrap()), (seq, 2));
}

#[test]
fn a_batch_is_as_durable_as_the_strongest_of_its_writes() {
    let (os, interval, sync) = (Durability::Os, Durability::Interval, Durability::Sync);
    let cases = [
        (os, os, os),
        (os, interval, interval),
        (interval, os, interval),
        (os, sync, sync),
        (interval, sync, sync),
        (sync, os, sync),
    ];
    for (of_handle, of_put, expected) in cases {
        for with_links in [false, true] {
            let machine = Machine::new(1);
            let engine = machine.open(small().durability(of_handle));
            let mut options = PutOptions::new().durability(of_put);
            if with_links {
                options = options.entangled_with(&["other"]);
            }
            let mut batch = WriteBatch::new();
            batch.put("plain", "1").put_with("key", "1", &options).put("another", "1");
            let seq = engine.write(&batch).unwrap();
            let place = format!("{of_handle:?} {of_put:?}, links {with_links}");
            assert_eq!(engine.durable_seq() >= seq, expected == sync, "{place}");
            machine.pass(&engine, std::time::Duration::from_secs(1));
            assert_eq!(engine.durable_seq() >= seq, expected != os, "{place}, a second later");
        }
    }
}
