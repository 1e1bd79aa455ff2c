//! Partners, declared or by rule, are brought into memory when a key is read from the disk, as far as that is of use.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by a panic")]

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::{Machine, small};
use warp_api::{Advice, Environment, FetchMetrics, Level, Options, Physics, WarpEngine};

const USERS: u32 = 1_500;

/// Advice of a machine whose disk is waited for, or is not; and whether it is asked beforehand.
#[derive(Clone, Copy, Debug)]
struct Disk {
    is_waited_for: bool,
    is_asked: bool,
}

const SLOW: Disk = Disk { is_waited_for: true, is_asked: true };

impl Advice for Disk {
    fn layout(&self, count: usize, _: &mut dyn FnMut(usize) -> Vec<usize>) -> Vec<usize> {
        (0..count).collect()
    }

    fn promote(&self, _: &[u8]) -> bool {
        true
    }

    fn prefetch(&self, count: usize, _: Duration) -> Vec<usize> {
        if self.is_asked { (0..count).collect() } else { Vec::new() }
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

fn open_with(machine: &Machine, options: Options, disk: Disk) -> WarpEngine {
    let advice: Arc<dyn Advice> = Arc::new(disk);
    let environment = Environment { advice: Some(advice), ..machine.environment() };
    options.open_in(&machine.disk.root(), environment).unwrap()
}

/// Opens what was written, with nothing brought in by a warm start.
fn open(machine: &Machine) -> WarpEngine {
    open_with(machine, options(Physics::default()), SLOW)
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
    assert!((100..250).contains(&invoices), "{found:?}");
    assert_eq!(found.related_withheld, u64::from(USERS) - invoices);
    assert_eq!(found.reads, found.related);
}

#[test]
fn what_is_read_before_anybody_came_to_it_was_ordered_for_nothing_and_is_not_read_again() {
    let machine = Machine::new(5);
    write(&machine, rule);
    let engine = open(&machine);
    for number in 0..USERS {
        level(&engine, "user", number);
        assert_eq!(level(&engine, "profile", number), Level::Cold);
        assert_eq!(level(&engine, "invoice", number), Level::Cold);
        engine.step();
    }
    let found = metrics(&engine);
    assert!((200..500).contains(&found.related), "not all along: {found:?}");
    assert_eq!((found.related_used, found.related_late), (0, found.related));
    assert_eq!((found.reads, found.fetched), (0, 0));
}

#[test]
fn an_engine_that_only_reads_asks_the_disk_and_brings_nothing_in() {
    let machine = Machine::new(5);
    write(&machine, rule);
    let engine = open_with(&machine, options(Physics::default()).read_only(true), SLOW);
    for number in 0..USERS {
        level(&engine, "user", number);
        assert_eq!(level(&engine, "profile", number), Level::Cold);
    }
    let found = metrics(&engine);
    assert_eq!((found.related_used, found.related_late), (u64::from(USERS), 0));
    let invoices = found.related - u64::from(USERS);
    assert!((100..250).contains(&invoices), "{found:?}");
    assert_eq!((found.reads, found.fetched), (0, 0));
}

#[test]
fn a_partner_that_is_declared_and_by_rule_is_ordered_once() {
    let machine = Machine::new(6);
    write(&machine, |engine| {
        rule(engine);
        engine.entanglement_rule("user:{id}", &["nothing:{id}"], 0.5).unwrap();
        for number in 0..USERS {
            engine
                .entangle(name("user", number), &[name("profile", number), name("cart", number)], 0.9)
                .unwrap();
        }
    });
    let engine = open(&machine);
    for number in 0..20 {
        level(&engine, "user", number);
        engine.step();
        assert_eq!(level(&engine, "profile", number), Level::Hot);
    }
    // A cart is declared, and another partner by rule, and neither is anywhere.
    let found = metrics(&engine);
    assert_eq!((found.related, found.reads), (80, 40), "{found:?}");
}

#[test]
fn a_partner_of_two_is_ordered_once() {
    let machine = Machine::new(6);
    write(&machine, |engine| {
        engine.entanglement_rule("user:{id}", &["profile:{id}"], 0.8).unwrap();
        engine.entanglement_rule("invoice:{id}", &["profile:{id}"], 0.8).unwrap();
    });
    let engine = open(&machine);
    level(&engine, "user", 7);
    level(&engine, "invoice", 7);
    assert_eq!(metrics(&engine).related, 1);
    engine.step();
    assert_eq!(level(&engine, "profile", 7), Level::Hot);
}

#[test]
fn what_finds_no_room_in_the_queue_is_not_ordered() {
    let machine = Machine::new(7);
    let kinds = ["profile", "invoice", "a", "b", "c", "d", "e", "f", "g", "h"];
    write(&machine, |engine| {
        let partners = kinds.map(|kind| format!("{kind}:{{id}}"));
        engine.entanglement_rule("user:{id}", &partners, 0.8).unwrap();
    });
    let engine = open(&machine);
    for number in 0..120 {
        level(&engine, "user", number);
    }
    let full = metrics(&engine);
    assert!((300..=512).contains(&full.related), "as many as wait: {full:?}");
    for number in 0..120 {
        level(&engine, "profile", number);
        level(&engine, "invoice", number);
    }
    let read = metrics(&engine);
    assert_eq!(read.related_used, 0);
    assert!(read.related_late <= full.related / 5, "what was not ordered was not late: {read:?}");
    // Nor does it count against its kind.
    engine.step();
    level(&engine, "user", 200);
    let after = metrics(&engine);
    assert_eq!((after.related - full.related, after.related_withheld), (10, 0));
}

#[test]
fn quantum_get_reads_partners_itself() {
    let machine = Machine::new(6);
    write(&machine, |engine| {
        rule(engine);
        // Partners of partners belong with neither of the keys that are read.
        engine.entanglement_rule("profile:{id}", &["picture:{id}"], 0.8).unwrap();
    });
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
    for (physics, disk) in [
        (Physics { prefetch_bytes: 0, ..on }, SLOW),
        (Physics { entanglement: false, ..on }, SLOW),
        (Physics::off(), SLOW),
        (on, Disk { is_waited_for: false, ..SLOW }),
    ] {
        let machine = Machine::new(7);
        write(&machine, rule);
        let engine = open_with(&machine, options(physics), disk);
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
    let physics = Physics { prefetch_bytes: 10 << 12, ..Physics::default() };
    let engine = open_with(&machine, options(physics), SLOW);
    for second in 1..=5 {
        machine.clock.advance(Duration::from_secs(1));
        for number in 0..100 {
            let number = 100 * second + number;
            level(&engine, "user", number);
            engine.step();
            level(&engine, "profile", number);
            level(&engine, "invoice", number);
        }
        // Each counts a page, and so does looking for links, which at first is done for each user.
        let (fetched, second) = (metrics(&engine).fetched, u64::from(second));
        assert!((4 * second..=11 * second).contains(&fetched), "{fetched} in {second} s");
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
    // Of the deletion memory keeps nothing then.
    engine.checkpoint().unwrap();
    engine.step();
    assert_eq!(engine.get("profile:7").unwrap(), None);
    assert_eq!(&engine.get("invoice:7").unwrap().unwrap()[..], b"newer");
    assert_eq!(metrics(&engine).fetched, 0);
}
