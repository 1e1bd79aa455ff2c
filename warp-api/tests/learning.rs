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
        let metrics = engine.quantum_entanglement_metrics().learning;
        assert!(metrics.learner.observed > 1_000, "{metrics:?}");
        assert_eq!(metrics.fetched > 0, prefetch_bytes > 0, "{metrics:?}");
        assert_eq!(metrics.fetched_bytes, 2048 * metrics.fetched);
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
