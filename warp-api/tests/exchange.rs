//! Export and import: everything that a program put comes back, and how far they have come is told.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by a panic")]

mod common;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::{Machine, small};
use warp_api::{
    Durability, ErrorKind, Laws, Level, MEMORY_BUDGET_MIN, Progress, PutOptions, Task, WarpEngine, WriteBatch,
};

fn export(engine: &WarpEngine) -> Vec<u8> {
    let mut out = Vec::new();
    engine.export(&mut out).unwrap();
    out
}

/// More keys than an export holds at a time, in memory and in layers, each once and in order.
#[test]
fn an_export_goes_through_its_keys_part_by_part() {
    const KEYS: u32 = 30_000;
    let machine = Machine::new(1);
    let engine = machine.open(small().memory_budget(MEMORY_BUDGET_MIN + (16 << 10)));
    let mut expected = Vec::new();
    for first in (0..KEYS).step_by(1_000) {
        let mut batch = WriteBatch::new();
        for number in first..first + 1_000 {
            let key = format!("{:08x}", number.wrapping_mul(0x9E37_79B9));
            batch.put(&key, "v");
            expected.push(format!("{{\"key\":\"{key}\",\"value\":\"v\"}}"));
        }
        engine.write(&batch).unwrap();
        if first == KEYS / 2 {
            engine.checkpoint().unwrap();
        }
    }
    expected.sort_unstable();
    let lines = String::from_utf8(export(&engine)).unwrap();
    assert!(lines.lines().eq(expected.iter().map(String::as_str)));
    assert_eq!(engine.len().unwrap(), u64::from(KEYS));
}

#[test]
fn everything_survives_and_is_the_same_when_exported_again() {
    let machine = Machine::new(1);
    let engine = machine.open(small());
    let ttl = |seconds| PutOptions::new().ttl(Duration::from_secs(seconds));
    engine.put("", "the empty key").unwrap();
    engine.put([0xff, 0], [0x80, 0, 0xff]).unwrap();
    engine.put("gone", "1").unwrap();
    engine.put_with("short", "1", &ttl(1)).unwrap();
    let jobs = engine.keyspace("jobs").unwrap();
    engine.keyspace("empty").unwrap();
    jobs.put("key", "of jobs").unwrap();
    jobs.put_with("long", "1", &ttl(1000)).unwrap();
    jobs.entangle("key", &["long"], 0.25).unwrap();
    engine.entangle("a", &["b", "c"], 0.5).unwrap();
    engine.checkpoint().unwrap();
    engine.put_with("long", "1", &ttl(1000)).unwrap();
    engine.delete("gone").unwrap();
    engine.entanglement_rule("user:{id}", &["profile:{id}", "session:{id}"], 0.125).unwrap();
    let hot = Laws { durability: Some(Durability::Sync), pace: 0.1, ..Laws::default() };
    engine.set_laws(Level::Hot, hot).unwrap();
    let cold = Laws { capacity_bytes: Some(1 << 20), entropy_limit: Some(0.9), ..Laws::default() };
    engine.set_laws(Level::Cold, cold).unwrap();
    machine.clock.advance(Duration::from_secs(2));
    let before = export(&engine);
    let laws = concat!(
        "{\"laws\":\"hot\",\"durability\":\"sync\",\"pace\":0.1}\n",
        "{\"laws\":\"cold\",\"capacity_bytes\":1048576,\"entropy_limit\":0.9}\n",
    );
    assert!(before.ends_with(laws.as_bytes()), "{}", String::from_utf8_lossy(&before));

    let other = Machine { disk: Machine::new(2).disk, clock: machine.clock.clone() };
    let copy = other.open_with_seed(small(), 9);
    let report = copy.import(&before[..]).unwrap();
    assert_eq!((report.entries, report.keyspaces, report.links, report.expired), (5, 2, 3, 0));
    assert_eq!((report.rules, report.laws), (1, 2));
    assert_eq!(String::from_utf8(export(&copy)).unwrap(), String::from_utf8(before.clone()).unwrap());
    drop(copy);
    let copy = other.open_with_seed(small(), 9);
    assert_eq!(export(&copy), before, "and after a restart");
    let laws = [Level::Hot, Level::Warm, Level::Cold].map(|level| copy.laws(level));
    assert_eq!(laws, [hot, Laws::default(), cold]);
    let partners = copy.keyspace("jobs").unwrap().partners("long").unwrap();
    assert_eq!((&partners[0].key[..], partners[0].strength), (&b"key"[..], 0.25));
    machine.clock.advance(Duration::from_secs(1000));
    assert_eq!(copy.get("long").unwrap(), None, "a deadline is the time that it was");
}

#[test]
fn a_line_that_is_none_of_an_export_is_told_what_is_wrong_with_it() {
    let engine = WarpEngine::in_memory();
    for (line, wrong) in [
        (r#"{"neither": 1}"#, "a line is an object with one of key, link, rule, wormhole, keyspace, laws"),
        (r#"["key"]"#, "expected a map"),
        (r#"{"key": "a", "keyspace": "jobs"}"#, "missing field `value`"),
        (r#"{"key": "a", "value": "1", "price": 2}"#, "unknown field `price`"),
        (r#"{"key": "a", "value": "1", "value": "2"}"#, "duplicate field `value`"),
        (r#"{"key": 1, "value": "1"}"#, "bytes are a string or"),
        (r#"{"link": "a", "strength": 0.5}"#, "missing field `partner`"),
        (r#"{"rule": "a:{id}", "partners": [], "strength": "0.5"}"#, "expected f64"),
        (r#"{"wormhole": "a", "strength": 0.5}"#, "missing field `to`"),
        (r#"{"keyspace": "jobs", "value": "1"}"#, "unknown field `value`"),
        (r#"{"laws": "tepid"}"#, r#""tepid" is none of hot, warm, cold"#),
        (r#"{"laws": "hot", "durability": "never"}"#, r#""never" is none of sync, interval, os"#),
        (r#"{"laws": "hot", "pace": 17}"#, "a pace of 17"),
    ] {
        let error = engine.import(line.as_bytes()).unwrap_err();
        assert_eq!((error.kind(), &*error.to_string()), (ErrorKind::Invalid, "line 1 of the import"));
        let cause = std::error::Error::source(&error).unwrap().to_string();
        assert!(cause.contains(wrong), "{line}: {cause}");
    }
    let error = engine.import(&b"\n{\"key\": \"\xFF\", \"value\": \"1\"}\n"[..]).unwrap_err();
    assert_eq!((error.kind(), &*error.to_string()), (ErrorKind::Invalid, "line 2 of the import"));
    assert_eq!(engine.last_seq().0, 0);
}

/// As of a device that gives zeros for ever.
#[test]
fn a_line_without_an_end_is_refused_before_memory_is_full_of_it() {
    let machine = Machine::new(1);
    let engine = machine.open(small().memory_budget(MEMORY_BUDGET_MIN + (16 << 10)));
    let first = &b"{\"key\":\"a\",\"value\":\"1\"}\n"[..];
    let lines = std::io::BufReader::new(std::io::Read::chain(first, std::io::repeat(b' ')));
    let error = engine.import(lines).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.to_string().contains("line 2"), "{error}");
    // The last line may have no end.
    engine.import(&first[..first.len() - 1]).unwrap();
    assert_eq!(engine.get("a").unwrap().as_deref(), Some(&b"1"[..]));
}

#[test]
fn progress_is_told() {
    let machine = Machine::new(1);
    let told = Arc::new(Mutex::new(Vec::new()));
    let telling = Arc::clone(&told);
    let engine = machine.open(small().on_progress(move |progress: &Progress| {
        telling.lock().unwrap().push((progress.task, progress.done));
    }));
    for number in 0..5000 {
        engine.put(number.to_string(), "v").unwrap();
    }
    let lines = export(&engine);
    engine.import(&lines[..]).unwrap();
    let told = told.lock().unwrap();
    let of = |task| told.iter().filter(|(of, _)| *of == task).map(|(_, done)| *done).collect::<Vec<_>>();
    assert_eq!(of(Task::Export), [4096, 5000]);
    assert_eq!(of(Task::Import), [4096, 5000]);
}
