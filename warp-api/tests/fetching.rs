//! Partners, declared or by rule, are brought into memory when a key is read from the disk, as far as that is of use.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by a panic")]

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::{Machine, small};
use warp_api::{Advice, Environment, FetchMetrics, Level, Options, Physics, WarpEngine};

const USERS: u32 = 1_500;

/// Advice of a machine whose disk is waited for, or is not. All else is as by default.
#[derive(Debug)]
struct Disk {
    is_waited_for: bool,
}

impl Advice for Disk {
    fn layout(&self, count: usize, _: &mut dyn FnMut(usize) -> Vec<usize>) -> Vec<usize> {
        (0..count).collect()
    }

    fn promote(&self, _: &[u8]) -> bool {
        true
    }

    fn prefetch(&self, _: usize, _: Duration) -> Vec<usize> {
        Vec::new()
    }

    fn fetch_related(&self, _: Duration) -> bool {
        self.is_waited_for
    }
}

fn name(kind: &str, number: u32) -> String {
    format!("{kind}:{number}")
}

/// Writes users with what belongs to them, and closes the engine: all of it is on the disk then.
fn write(machine: &Machine, relate: impl Fn(&WarpEngine)) {
    let engine = machine.open(small());
    for number in 0..USERS {
        for kind in ["user", "profile", "invoice"] {
            engine.put(name(kind, number), vec![7; 100]).unwrap();
        }
        if number % 256 == 0 {
            engine.step();
        }
    }
    relate(&engine);
    engine.close().unwrap();
}

fn rule(engine: &WarpEngine) {
    engine.entanglement_rule("user:{id}", &["profile:{id}", "invoice:{id}"], 0.8).unwrap();
}

fn open_with(machine: &Machine, options: Options, is_waited_for: bool) -> WarpEngine {
    let advice: Arc<dyn Advice> = Arc::new(Disk { is_waited_for });
    let environment = Environment { advice: Some(advice), ..machine.environment() };
    options.open_in(&machine.disk.root(), environment).unwrap()
}

/// Opens what was written, with nothing brought in by a warm start.
fn open(machine: &Machine) -> WarpEngine {
    open_with(machine, options(Physics::default()), true)
}

fn options(physics: Physics) -> Options {
    small().physics(Physics { warm_start: false, ..physics })
}

fn level(engine: &WarpEngine, kind: &str, number: u32) -> Level {
    engine.cosmic_get(name(kind, number)).unwrap().unwrap().level
}

fn metrics(engine: &WarpEngine) -> FetchMetrics {
    engine.quantum_entanglement_metrics().fetching
}

#[test]
fn partners_by_rule_come_into_memory_before_they_are_read() {
    let machine = Machine::new(1);
    write(&machine, rule);
    let engine = open(&machine);
    assert_eq!(level(&engine, "user", 7), Level::Cold);
    engine.step();
    assert_eq!(level(&engine, "profile", 7), Level::Hot);
    assert_eq!(level(&engine, "invoice", 7), Level::Hot);
    let found = metrics(&engine);
    assert_eq!((found.related, found.related_used, found.related_withheld), (2, 2, 0));
    assert_eq!((found.reads, found.fetched, found.fetched_bytes, found.fetched_seen_used), (2, 2, 200, 2));
    assert_eq!(engine.worth_metrics().session.fetched_used, 2);
    // What is in memory has nothing brought in.
    assert_eq!(level(&engine, "user", 7), Level::Hot);
    engine.step();
    assert_eq!(metrics(&engine).related, 2);
}

#[test]
fn declared_partners_come_in_although_their_links_are_on_the_disk() {
    let machine = Machine::new(2);
    write(&machine, |engine| {
        for number in 0..USERS {
            engine.entangle(name("user", number), &[name("profile", number)], 0.9).unwrap();
        }
    });
    let engine = open(&machine);
    assert_eq!(level(&engine, "user", 7), Level::Cold);
    engine.step();
    assert_eq!(level(&engine, "profile", 7), Level::Hot);
    // Links work both ways.
    assert_eq!(level(&engine, "profile", 8), Level::Cold);
    engine.step();
    assert_eq!(level(&engine, "user", 8), Level::Hot);
    assert_eq!((metrics(&engine).fetched, metrics(&engine).related_used), (2, 2));
    // Links that are found go on being looked up.
    for number in 100..200 {
        level(&engine, "user", number);
        engine.step();
        assert_eq!(level(&engine, "profile", number), Level::Hot, "{number}");
    }
}

#[test]
fn links_are_looked_up_no_more_where_hardly_any_key_has_some() {
    let machine = Machine::new(3);
    write(&machine, |engine| _ = engine.entangle("user:7", &["profile:7"], 0.9).unwrap());
    let engine = open(&machine);
    // Before it is known that it does not pay.
    assert_eq!(level(&engine, "profile", 7), Level::Cold);
    engine.step();
    assert_eq!(level(&engine, "user", 7), Level::Hot);
    engine.close().unwrap();
    let engine = open(&machine);
    for number in 0..400 {
        engine.get(name("invoice", number)).unwrap();
        engine.step();
    }
    assert_eq!(level(&engine, "user", 7), Level::Cold);
    engine.step();
    assert_eq!(level(&engine, "profile", 7), Level::Cold, "too few had any for this one to be looked up");
}

#[test]
fn what_nobody_reads_is_fetched_no_more_and_what_is_read_goes_on() {
    let machine = Machine::new(4);
    write(&machine, rule);
    let engine = open(&machine);
    let mut in_time = 0;
    for number in 0..USERS {
        assert_eq!(level(&engine, "user", number), Level::Cold);
        engine.step();
        in_time += u32::from(level(&engine, "profile", number) == Level::Hot);
    }
    let found = metrics(&engine);
    assert_eq!(in_time, USERS);
    assert_eq!(found.related_used, u64::from(USERS));
    let invoices = found.related - u64::from(USERS);
    assert!((1..100).contains(&invoices), "{found:?}");
    assert_eq!(found.related_withheld, u64::from(USERS) - invoices);
    assert_eq!(found.reads, found.related);
}

#[test]
fn what_is_on_its_way_when_it_is_read_was_of_use_and_is_not_read_again() {
    let machine = Machine::new(5);
    write(&machine, rule);
    let engine = open(&machine);
    for number in 0..100 {
        level(&engine, "user", number);
        assert_eq!(level(&engine, "profile", number), Level::Cold);
        assert_eq!(level(&engine, "invoice", number), Level::Cold);
    }
    engine.step();
    let found = metrics(&engine);
    assert_eq!((found.related, found.related_used), (200, 200));
    assert_eq!((found.reads, found.fetched, found.fetched_seen_used), (0, 0, 0));
}

#[test]
fn quantum_get_reads_partners_itself() {
    let machine = Machine::new(6);
    write(&machine, rule);
    let engine = open(&machine);
    for number in 0..100 {
        assert_eq!(engine.quantum_get(name("user", number)).unwrap().unwrap().found, 2);
        engine.step();
    }
    assert_eq!((metrics(&engine).related, metrics(&engine).reads), (0, 0));
}

#[test]
fn nothing_is_fetched_where_that_is_off_or_the_disk_is_not_waited_for() {
    let on = Physics::default();
    for (physics, is_waited_for) in [
        (Physics { prefetch_bytes: 0, ..on }, true),
        (Physics { entanglement: false, ..on }, true),
        (Physics::off(), true),
        (on, false),
    ] {
        let machine = Machine::new(7);
        write(&machine, rule);
        let engine = open_with(&machine, options(physics), is_waited_for);
        level(&engine, "user", 7);
        engine.step();
        assert_eq!(level(&engine, "profile", 7), Level::Cold, "{physics:?}");
        assert_eq!((metrics(&engine).related, metrics(&engine).reads), (0, 0));
    }
}

#[test]
fn no_more_is_fetched_in_a_second_than_is_allowed() {
    let machine = Machine::new(8);
    write(&machine, rule);
    let physics = Physics { prefetch_bytes: 2_000, ..Physics::default() };
    let engine = open_with(&machine, options(physics), true);
    for second in 1..=5 {
        machine.clock.advance(Duration::from_secs(1));
        for number in 0..100 {
            let number = 100 * second + number;
            level(&engine, "user", number);
            engine.step();
            level(&engine, "profile", number);
            level(&engine, "invoice", number);
        }
        let bytes = metrics(&engine).fetched_bytes;
        assert!((1_000 * u64::from(second)..=2_200 * u64::from(second)).contains(&bytes), "{bytes}");
    }
}

#[test]
fn a_partner_that_was_deleted_stays_deleted() {
    let machine = Machine::new(9);
    write(&machine, rule);
    let engine = open(&machine);
    level(&engine, "user", 7);
    engine.delete("profile:7").unwrap();
    engine.put("invoice:7", "newer").unwrap();
    engine.step();
    assert_eq!(engine.get("profile:7").unwrap(), None);
    assert_eq!(&engine.get("invoice:7").unwrap().unwrap()[..], b"newer");
    assert_eq!(metrics(&engine).fetched, 0);
}
