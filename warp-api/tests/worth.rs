//! What the parts of physics were worth is counted beside what would have been without them, and kept over restarts.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by a panic")]

mod common;

use std::time::Duration;

use common::{Machine, small};
use warp_api::{Demon, Options, Physics, Strategy, WarpEngine, Worth};

const HOT: u64 = 1_200;
const KEYS: u64 = 12_000;
/// Keys that a scan reads: more than memory has room for.
const SCANNED: u64 = 6_000;

/// Memory for some thousand values of 2 KiB.
fn short() -> Options {
    Options::new().log_buffer_bytes(1 << 20).memory_budget(16 << 20)
}

/// 2 KiB that nothing can pack.
fn noise(number: u64) -> Vec<u8> {
    let mut state = number;
    let mut next = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 16).to_le_bytes()
    };
    (0..256).flat_map(|_| next()).collect()
}

fn fill(engine: &WarpEngine) {
    for number in 0..KEYS {
        engine.put(number.to_string(), noise(number)).unwrap();
        if number % 256 == 0 {
            engine.step();
        }
    }
    engine.checkpoint().unwrap();
}

/// Reads what is hot, then scans through others, again and again.
fn read(machine: &Machine, engine: &WarpEngine, rounds: u64) {
    for round in 0..rounds {
        let scan = (0..SCANNED).map(|n| HOT + (round * SCANNED + n) % (KEYS - HOT));
        for (turn, number) in (0..HOT).chain(scan).enumerate() {
            assert!(engine.get(number.to_string()).unwrap().is_some());
            if turn % 64 == 0 {
                machine.clock.advance(Duration::from_millis(1));
                engine.step();
            }
        }
    }
}

fn session(engine: &WarpEngine) -> Worth {
    engine.worth_metrics().session
}

fn total(engine: &WarpEngine) -> Worth {
    engine.worth_metrics().total.unwrap()
}

#[test]
fn scans_cost_a_plain_cache_its_hot_set_and_gravity_keeps_it() {
    let machine = Machine::new(3);
    let engine = machine.open(short());
    fill(&engine);
    read(&machine, &engine, 12);
    let before = session(&engine);
    read(&machine, &engine, 8);
    let after = session(&engine);
    let (reads, hits) = (after.reads - before.reads, after.hits - before.hits);
    let all = 8 * (HOT + SCANNED);
    assert!(reads.abs_diff(all) < all / 8, "{reads} is no estimate of {all}");
    let lru_hits = after.lru_hits - before.lru_hits;
    assert!(
        lru_hits < reads / 100,
        "a scan has driven out all that a plain cache had: {lru_hits} of {reads}"
    );
    // The hot set is a sixth of the reads.
    assert!(hits > reads / 10, "{hits} of {reads}");
    assert_eq!(after.hits_gained, (after.hits - after.lru_hits).cast_signed());
    assert!(after.hit_share_gained.unwrap() > 0.08, "{after:?}");
    // What it is an estimate of.
    let ratio = engine.cosmic_metrics().residency.hit_ratio.unwrap();
    assert!((hits as f64 / reads as f64 - ratio).abs() < 0.1, "{hits} of {reads}, {ratio}");
}

/// What was learned of uses is known again after a restart: a scan costs the hot set less than it does while that is learned.
#[test]
fn the_law_of_use_is_kept_over_restarts() {
    let hits_after_restart = |is_kept: bool| {
        let machine = Machine::new(3);
        let open = || machine.open(short().physics(Physics { warm_start: false, ..Physics::default() }));
        let engine = open();
        fill(&engine);
        read(&machine, &engine, 12);
        engine.close().unwrap();
        if !is_kept {
            machine.disk.remove("advice-1.warp");
        }
        let engine = open();
        engine.step();
        let restored = engine.cosmic_metrics().learned.unwrap().restored;
        assert_eq!(restored.iter().any(|part| part == "law"), is_kept, "{restored:?}");
        read(&machine, &engine, 3);
        let operations = engine.cosmic_metrics().operations;
        operations.hits - operations.cold_hits
    };
    let (kept, forgotten) = (hits_after_restart(true), hits_after_restart(false));
    assert!(kept > forgotten + HOT / 4, "{kept} hits, and {forgotten} by a law that is learned anew");
}

#[test]
fn without_a_shortage_or_without_gravity_there_is_nothing_to_gain() {
    for options in [small(), short().physics(Physics::off())] {
        let machine = Machine::new(3);
        let engine = machine.open(options);
        fill(&engine);
        read(&machine, &engine, 2);
        let worth = session(&engine);
        assert_eq!((worth.reads, worth.hits, worth.lru_hits, worth.hit_share_gained), (0, 0, 0, None));
    }
}

#[test]
fn after_a_clear_nothing_is_compared_until_memory_would_be_full_again() {
    let machine = Machine::new(3);
    let engine = machine.open(short());
    fill(&engine);
    read(&machine, &engine, 2);
    let before = session(&engine);
    assert!(before.reads > 0);
    engine.clear().unwrap();
    let read_some = |from: u64| {
        for number in from..from + HOT {
            engine.put(number.to_string(), noise(number)).unwrap();
            engine.get(number.to_string()).unwrap();
        }
        engine.step();
        session(&engine)
    };
    assert_eq!(read_some(0).reads, before.reads);
    let after = (1..12).fold(0, |_, turn| read_some(turn * HOT).reads);
    assert!(after > before.reads, "it goes on");
}

/// Where everything that is read is read once again soon, a plain cache does as well: nothing is claimed.
#[test]
fn where_the_last_used_is_used_next_nothing_is_gained() {
    let machine = Machine::new(3);
    let engine = machine.open(short());
    fill(&engine);
    for number in 0..3 * KEYS {
        for back in [0, 1, 8] {
            engine.get((number.saturating_sub(back) % KEYS).to_string()).unwrap();
        }
        if number % 16 == 0 {
            machine.clock.advance(Duration::from_millis(1));
            engine.step();
        }
    }
    let worth = session(&engine);
    assert!(worth.reads > 50_000 && worth.lru_hits > worth.reads / 2, "{worth:?}");
    assert!(worth.hit_share_gained.unwrap() < 0.02, "{worth:?}");
}

/// A database with something of each part: packed values, moved slots, partners, a warm start.
fn worked(machine: &Machine) -> Worth {
    let physics = Physics { demon: Demon::Manual, half_life: Duration::from_secs(1), ..Physics::default() };
    let options = small().physics(physics).memory_budget(64 << 20);
    let engine = machine.open(options);
    // What has not looked for an earlier file writes none.
    engine.step();
    for number in 0..20_000 {
        engine.put(format!("hot:{}", number % 50), "value").unwrap();
    }
    assert!(engine.trigger_entropy_rebalancing(Strategy::Aggressive).unwrap().slots_moved > 0);
    engine.entanglement_rule("hot:{id}", &["cold:{id}"], 1.0).unwrap();
    engine.put("cold:7", "value").unwrap();
    engine.quantum_get("hot:7").unwrap();
    engine.quantum_get("hot:8").unwrap();
    let worth = session(&engine);
    assert_eq!((worth.partners_requested, worth.partners_found), (2, 1));
    assert!(worth.rebalances == 1 && worth.slots_moved > 0, "{worth:?}");
    assert!(worth.imbalance_removed > 0.01 && worth.max_over_mean_removed > 0.1, "{worth:?}");
    engine.close().unwrap();
    worth
}

#[test]
fn worth_adds_up_over_restarts() {
    let machine = Machine::new(1);
    let first = worked(&machine);
    let engine = machine.open(small());
    assert_eq!(engine.worth_metrics().total, None, "the background has yet to read the file");
    engine.step();
    let worth = engine.worth_metrics();
    assert_eq!((worth.last, worth.session.partners_found), (Some(first), 0));
    // What was hot comes in, and is read.
    machine.pass(&engine, Duration::from_millis(300));
    let brought = session(&engine);
    assert!(brought.warm_entries > 40 && brought.warm_bytes > 0 && brought.warm_used == 0, "{brought:?}");
    for _ in 0..3 {
        engine.quantum_get("hot:7").unwrap();
    }
    let second = session(&engine);
    assert_eq!((second.partners_found, second.warm_used), (3, 2), "{second:?}");
    let both = total(&engine);
    assert_eq!((both.partners_requested, both.partners_found), (5, 4));
    assert_eq!((both.rebalances, both.warm_used), (1, 2));
    assert_eq!(both.imbalance_removed, first.imbalance_removed);
    engine.close().unwrap();
    // Whoever only reads is told as well, at once, and adds nothing.
    let reader = machine.open(small().read_only(true));
    let seen = reader.worth_metrics();
    assert_eq!((seen.total, seen.last), (Some(both), Some(second)));
    drop(reader);
    // Without anything to add, what was kept stays.
    machine.open(small().physics(Physics::off())).close().unwrap();
    let engine = machine.open(small());
    engine.step();
    assert_eq!(total(&engine).partners_found, both.partners_found);
}

#[test]
fn a_damaged_section_counts_from_nothing_and_costs_no_other() {
    let machine = Machine::new(1);
    worked(&machine);
    let name = "advice-1.warp";
    // It is the last one.
    let bytes = machine.disk.read(name).unwrap().len() as u64;
    machine.disk.flip_bit(name, (bytes - 1) * 8);
    let reader = machine.open(small().read_only(true));
    assert_eq!(total(&reader), Worth::default());
    drop(reader);
    let engine = machine.open(small());
    engine.step();
    let learned = engine.cosmic_metrics().learned.unwrap();
    assert_eq!((learned.restored, learned.problems.len()), (vec!["hot".to_owned()], 1));
    assert_eq!((total(&engine).rebalances, engine.worth_metrics().last), (0, Some(Worth::default())));
    engine.quantum_get("hot:7").unwrap();
    engine.close().unwrap();
    let engine = machine.open(small());
    engine.step();
    assert_eq!(total(&engine).partners_found, 1);
}

/// A file with nothing but what the parts were worth does not take the place of one that has what was learned, sound or damaged.
#[test]
fn worth_alone_is_not_written_over_what_was_learned() {
    for is_damaged in [false, true] {
        let machine = Machine::new(1);
        worked(&machine);
        // The hot list is the first section; where it begins is said 24 bytes behind the header.
        let name = "advice-1.warp";
        let begins =
            machine.disk.read(name).unwrap()[32 + 24..].first_chunk().map(|at| u64::from_le_bytes(*at));
        let flip_if_damaged = || _ = is_damaged.then(|| machine.disk.flip_bit(name, begins.unwrap() * 8));
        flip_if_damaged();
        let physics = Physics { half_life: Duration::from_secs(1), ..Physics::default() };
        let engine = machine.open(small().physics(physics));
        // Nothing is hot by then.
        engine.clear().unwrap();
        machine.pass(&engine, Duration::from_secs(3));
        assert_eq!(engine.cosmic_metrics().learned.unwrap().problems.len(), usize::from(is_damaged));
        engine.close().unwrap();
        flip_if_damaged();
        let engine = machine.open(small());
        engine.step();
        assert_eq!(engine.cosmic_metrics().learned.unwrap().restored, ["hot", "worth"]);
    }
}

/// Nor of one with what a part has learned that is switched off now.
#[test]
fn worth_alone_is_not_written_over_what_another_open_can_use() {
    let machine = Machine::new(1);
    let open = |learning| {
        let physics = Physics { learning, learning_every: 1, warm_start: false, ..Physics::default() };
        let engine = machine.open(small().physics(physics));
        engine.step();
        engine
    };
    let engine = open(true);
    engine.entanglement_rule("user:{id}", &["profile:{id}"], 1.0).unwrap();
    for name in ["user:1", "profile:1"] {
        engine.put(name, "value").unwrap();
    }
    for _ in 0..500 {
        engine.quantum_get("user:1").unwrap();
    }
    engine.step();
    engine.close().unwrap();
    let engine = open(false);
    engine.quantum_get("user:1").unwrap();
    assert_eq!(session(&engine).partners_found, 1);
    engine.close().unwrap();
    assert_eq!(open(true).cosmic_metrics().learned.unwrap().restored, ["worth", "bell"]);
}
