//! Export and import: everything that a program put comes back, and how far they have come is told.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by a panic")]

mod common;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::{Machine, small};
use warp_api::{Progress, PutOptions, Task, WarpEngine};

fn export(engine: &WarpEngine) -> Vec<u8> {
    let mut out = Vec::new();
    engine.export(&mut out).unwrap();
    out
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
    machine.clock.advance(Duration::from_secs(2));
    let before = export(&engine);

    let other = Machine { disk: Machine::new(2).disk, clock: machine.clock.clone() };
    let copy = other.open_with_seed(small(), 9);
    let report = copy.import(&before[..]).unwrap();
    assert_eq!((report.entries, report.keyspaces, report.links, report.expired), (5, 2, 3, 0));
    assert_eq!(String::from_utf8(export(&copy)).unwrap(), String::from_utf8(before.clone()).unwrap());
    drop(copy);
    let copy = other.open_with_seed(small(), 9);
    assert_eq!(export(&copy), before, "and after a restart");
    let partners = copy.keyspace("jobs").unwrap().partners("long").unwrap();
    assert_eq!((&partners[0].key[..], partners[0].strength), (&b"key"[..], 0.25));
    machine.clock.advance(Duration::from_secs(1000));
    assert_eq!(copy.get("long").unwrap(), None, "a deadline is the time that it was");
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
