//! Partners are learned from reads, shown by `quantum_get`, and brought into memory before they are read.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by a panic")]

mod common;

use std::time::Duration;

use common::{Machine, small};
use warp_api::{Level, Options, Origin, Physics, WarpEngine};

fn options(learning: bool) -> Options {
    small().physics(Physics { learning, learning_every: 1, ..Physics::default() })
}

fn put_all(engine: &WarpEngine) {
    for number in 0..50 {
        for kind in ["order", "lines", "noise", "more"] {
            engine.put(format!("{kind}:{number}"), "value").unwrap();
        }
    }
}

/// Reads each order together with its lines, and other keys at random in between.
fn read_together(engine: &WarpEngine, rounds: u32) {
    let mut state = 1_u32;
    for round in 0..rounds {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let number = (state >> 16) % 50;
        engine.get(format!("order:{number}")).unwrap();
        engine.get(format!("lines:{number}")).unwrap();
        for step in 0..6 {
            engine.get(format!("{}:{}", ["noise", "more"][step % 2], (state >> (3 * step)) % 50)).unwrap();
        }
        if round % 8 == 0 {
            engine.step();
        }
    }
    engine.step();
}

/// Numbers of 32 bits, the same each time (a linear congruential generator).
fn numbers() -> impl FnMut() -> u64 {
    let mut state = 1_u64;
    move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state >> 32
    }
}

/// Puts an order and its lines, 2 KiB each that nothing can pack.
fn put_pair(engine: &WarpEngine, number: u32, next: &mut impl FnMut() -> u64) {
    for kind in ["order", "lines"] {
        let value: Vec<u8> = (0..256).flat_map(|_| next().to_le_bytes()).collect();
        engine.put(format!("{kind}:{number}"), value).unwrap();
    }
}

#[test]
fn what_is_read_together_becomes_a_partner() {
    for learning in [true, false] {
        let machine = Machine::new(1);
        let engine = machine.open(options(learning));
        put_all(&engine);
        read_together(&engine, 2_000);
        let partners = engine.partners("order:7").unwrap();
        let metrics = engine.quantum_entanglement_metrics().learning;
        if !learning {
            assert!(partners.is_empty() && metrics.learner.observed == 0, "{partners:?} {metrics:?}");
            continue;
        }
        assert_eq!((&partners[0].key[..], partners[0].origin), (&b"lines:7"[..], Origin::Learned));
        assert!(partners[0].strength > 0.3, "{partners:?}");
        let found = engine.quantum_get("order:7").unwrap().unwrap();
        assert_eq!(&found.partners[0].key[..], b"lines:7");
        assert_eq!(found.partners[0].value.as_deref(), Some(&b"value"[..]));
        // What is declared stands as declared, and once.
        engine.entangle("order:7", &["lines:7"], 0.25).unwrap();
        let partners = engine.partners("order:7").unwrap();
        let lines: Vec<_> = partners.iter().filter(|link| link.key == b"lines:7").collect();
        assert_eq!((lines.len(), lines[0].origin, lines[0].strength), (1, Origin::Declared, 0.25));
        assert!(metrics.precision > Some(0.2) && metrics.tracked == 200, "{metrics:?}");
    }
}

/// An engine that has learned which lines belong to which order.
fn learned(machine: &Machine) -> WarpEngine {
    let engine = machine.open(options(true));
    put_all(&engine);
    read_together(&engine, 2_000);
    assert_eq!(&engine.partners("order:7").unwrap()[0].key[..], b"lines:7");
    engine
}

/// The parts that got back what they had learned, and what was wrong.
fn restored(engine: &WarpEngine) -> (Vec<String>, Vec<String>) {
    let learned = engine.cosmic_metrics().learned.unwrap();
    (learned.restored, learned.problems)
}

fn is_bell_restored(engine: &WarpEngine) -> bool {
    restored(engine).0.iter().any(|part| part == "bell")
}

#[test]
fn what_was_learned_is_known_after_a_restart() {
    let machine = Machine::new(1);
    let engine = learned(&machine);
    let before = engine.partners("order:7").unwrap();
    let tracked = engine.quantum_entanglement_metrics().learning.tracked;
    engine.close().unwrap();

    let engine = machine.open(options(true));
    assert!(engine.partners("order:7").unwrap().is_empty(), "the background has yet to read it");
    engine.step();
    assert!(is_bell_restored(&engine), "{:?}", restored(&engine));
    assert_eq!(engine.quantum_entanglement_metrics().learning.tracked, tracked);
    assert_eq!(engine.partners("order:7").unwrap(), before);
    let found = engine.quantum_get("order:7").unwrap().unwrap();
    assert_eq!(&found.partners[0].key[..], b"lines:7");
    assert_eq!(found.partners[0].value.as_deref(), Some(&b"value"[..]));
    // It goes on from there, and is kept again.
    read_together(&engine, 100);
    engine.close().unwrap();
    let engine = machine.open(options(true));
    engine.step();
    assert_eq!(&engine.partners("order:7").unwrap()[0].key[..], b"lines:7");
}

#[test]
fn without_learning_nothing_comes_back() {
    let machine = Machine::new(1);
    learned(&machine).close().unwrap();
    let engine = machine.open(options(false));
    engine.step();
    assert!(!is_bell_restored(&engine) && restored(&engine).1.is_empty(), "{:?}", restored(&engine));
    assert!(engine.partners("order:7").unwrap().is_empty());
    assert_eq!(engine.quantum_entanglement_metrics().learning.tracked, 0);
}

#[test]
fn what_was_learned_of_a_dropped_keyspace_does_not_come_back() {
    let machine = Machine::new(1);
    let engine = learned(&machine);
    let tracked = engine.quantum_entanglement_metrics().learning.tracked;
    let other = engine.keyspace("other").unwrap();
    for number in 0..200 {
        other.put(format!("key:{number}"), "value").unwrap();
        other.get(format!("key:{number}")).unwrap();
    }
    engine.step();
    assert!(engine.quantum_entanglement_metrics().learning.tracked > tracked);
    engine.close().unwrap();
    // Without physics nobody writes another file.
    let engine = machine.open(small().physics(Physics::off()));
    assert!(engine.drop_keyspace("other").unwrap());
    engine.close().unwrap();
    let engine = machine.open(options(true));
    engine.step();
    assert!(is_bell_restored(&engine), "{:?}", restored(&engine));
    assert_eq!(engine.quantum_entanglement_metrics().learning.tracked, tracked);
    assert_eq!(&engine.partners("order:7").unwrap()[0].key[..], b"lines:7");
}

#[test]
fn damage_of_what_was_learned_is_reported_and_it_is_learned_again() {
    let machine = Machine::new(1);
    learned(&machine).close().unwrap();
    let files = machine.disk.files();
    let name = files.iter().find(|name| name.starts_with("advice-")).unwrap();
    // The section is the last one.
    let bytes = machine.disk.read(name).unwrap().len() as u64;
    machine.disk.flip_bit(name, (bytes - 1) * 8);
    let engine = machine.open(options(true));
    engine.step();
    assert!(!is_bell_restored(&engine) && restored(&engine).1.len() == 1, "{:?}", restored(&engine));
    assert!(engine.partners("order:7").unwrap().is_empty());
    read_together(&engine, 2_000);
    assert_eq!(&engine.partners("order:7").unwrap()[0].key[..], b"lines:7");
}

#[test]
fn partners_come_into_memory_before_they_are_read() {
    const PAIRS: u32 = 6_000;
    for prefetch_bytes in [0, 1 << 30] {
        let scratch = tempfile::tempdir().unwrap();
        let physics = Physics { learning: true, learning_every: 1, prefetch_bytes, ..Physics::default() };
        let options = Options::new().log_buffer_bytes(1 << 20).memory_budget(16 << 20).physics(physics);
        let engine = options.open(scratch.path()).unwrap();
        let mut next = numbers();
        // More than memory has room for, and nothing that could be packed.
        for number in 0..PAIRS {
            put_pair(&engine, number, &mut next);
        }
        engine.checkpoint().unwrap();
        for _ in 0..6 * PAIRS {
            let number = next() % u64::from(PAIRS);
            engine.get(format!("order:{number}")).unwrap().unwrap();
            engine.get(format!("lines:{number}")).unwrap().unwrap();
        }
        let metrics = engine.quantum_entanglement_metrics();
        assert!(metrics.learning.learner.observed > 1_000, "{metrics:?}");
        let fetching = metrics.fetching;
        assert_eq!(fetching.fetched > 0, prefetch_bytes > 0, "{fetching:?}");
        assert!(fetching.reads >= fetching.fetched, "{fetching:?}");
        assert_eq!(fetching.reads > 0, prefetch_bytes > 0, "{fetching:?}");
        assert_eq!(fetching.fetched_bytes, 2048 * fetching.fetched);
        engine.close().unwrap();
    }
}

#[test]
fn partners_that_were_brought_in_are_hits() {
    const PAIRS: u32 = 6_000;
    let served = [false, true].map(|learning| {
        let machine = Machine::new(7);
        let physics = Physics { learning, learning_every: 1, prefetch_bytes: u64::MAX, ..Physics::default() };
        let options = Options::new().log_buffer_bytes(1 << 20).memory_budget(16 << 20).physics(physics);
        let engine = machine.open(options);
        let mut next = numbers();
        for number in 0..PAIRS {
            put_pair(&engine, number, &mut next);
            if number % 256 == 0 {
                engine.step();
            }
        }
        engine.checkpoint().unwrap();
        let mut from_memory = 0;
        for round in 0..6 * PAIRS {
            let number = next() % u64::from(PAIRS);
            for kind in ["order", "lines"] {
                let level = engine.cosmic_get(format!("{kind}:{number}")).unwrap().unwrap().level;
                machine.clock.advance(Duration::from_micros(20));
                if level == Level::Cold || round % 32 == 0 {
                    engine.step();
                }
                from_memory += u32::from(round > 3 * PAIRS && level != Level::Cold);
            }
        }
        let learned = engine.quantum_entanglement_metrics().learning.learner.observed;
        let all = if learning { 12 * u64::from(PAIRS) } else { 0 };
        assert!(
            (all.saturating_sub(256)..=all).contains(&learned),
            "{learned} of {all}: from layers as well as from memory"
        );
        from_memory
    });
    // Of two that are read together the second needs not be waited for, where the first was not in memory either.
    assert!(served[1] > served[0] + PAIRS / 2, "{served:?}");
}

/// What follows a partner, and not the key itself, comes in when the partner is used.
#[test]
fn a_partner_that_was_brought_in_brings_in_its_own() {
    const CHAINS: u64 = 100;
    const OTHERS: u64 = 12_000;
    let machine = Machine::new(7);
    // Without gravity, so that what is read much leaves like anything else.
    let physics = Physics {
        gravity: false,
        horizon: false,
        learning: true,
        learning_every: 1,
        prefetch_bytes: u64::MAX,
        ..Physics::default()
    };
    let options = Options::new().log_buffer_bytes(1 << 20).memory_budget(16 << 20).physics(physics);
    let engine = machine.open(options);
    let mut next = numbers();
    // All names are of one length: longer entries would leave first.
    let name = |kind: char, number: u64| format!("{kind}:{number:05}");
    for (kind, count) in [('o', OTHERS), ('a', CHAINS), ('b', CHAINS), ('c', CHAINS)] {
        for number in 0..count {
            let value: Vec<u8> = (0..256).flat_map(|_| next().to_le_bytes()).collect();
            engine.put(name(kind, number), value).unwrap();
            if number % 256 == 0 {
                engine.step();
            }
        }
    }
    engine.checkpoint().unwrap();
    let read = |kind: char, number: u64| {
        let level = engine.cosmic_get(name(kind, number)).unwrap().unwrap().level;
        machine.clock.advance(Duration::from_micros(20));
        if level == Level::Cold {
            engine.step();
        }
        level
    };
    let read_others = |next: &mut dyn FnMut() -> u64, count: u32| {
        for _ in 0..count {
            read('o', next() % OTHERS);
        }
    };
    // `c` follows `b`, and `b` follows `a`, but never all three: `c` is no partner of `a`.
    for _ in 0..25 * CHAINS {
        for (first, second) in [('a', 'b'), ('b', 'c'), ('b', 'c')] {
            let number = next() % CHAINS;
            read(first, number);
            read(second, number);
            read_others(&mut next, 8);
        }
    }
    // Until hardly anything of that is in memory.
    read_others(&mut next, 30_000);
    let before = engine.quantum_entanglement_metrics().fetching;
    let (mut cold, mut in_time) = (0, 0);
    for number in 0..CHAINS {
        read_others(&mut next, 8);
        if read('a', number) == Level::Cold {
            read('b', number);
            engine.step();
            cold += 1;
            in_time += u32::from(read('c', number) != Level::Cold);
        }
    }
    let after = engine.quantum_entanglement_metrics().fetching;
    assert!(cold > 50, "{cold} of {CHAINS} were not in memory");
    assert!(in_time > cold * 3 / 4, "{in_time} of {cold}: {before:?}, {after:?}");
    assert!(after.fetched_seen_used > before.fetched_seen_used + u64::from(cold), "{before:?}, {after:?}");
}

#[test]
fn names_that_are_too_long_are_not_learned_and_memory_is_bounded() {
    // 88 bytes a key, and an index that is full enough not to take more.
    const PLACES: usize = 768;
    let machine = Machine::new(1);
    let physics = Physics {
        learning: true,
        learning_every: 1,
        learning_bytes: 88 * PLACES,
        prefetch_bytes: 0,
        ..Physics::default()
    };
    let engine = machine.open(small().physics(physics));
    for round in 0..200 {
        for number in 0..20_u32 {
            engine.get(format!("{number:039}")).unwrap();
            engine.get(format!("{number:038}")).unwrap();
            // More keys than there are places.
            engine.get(format!("{}:{number}", round % 100)).unwrap();
        }
        engine.step();
    }
    let metrics = engine.quantum_entanglement_metrics().learning;
    assert_eq!(metrics.tracked, PLACES);
    assert!(metrics.bytes <= physics.learning_bytes as u64, "{metrics:?}");
    assert!((7_900..=8_000).contains(&metrics.learner.observed), "two of three were short: {metrics:?}");
    assert!(engine.partners(format!("{:039}", 7)).unwrap().is_empty());
}
