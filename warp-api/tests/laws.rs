//! Laws are logged like any write, and hold.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by a panic")]

mod common;

use std::time::Duration;

use common::{Machine, small};
use warp_api::{
    AccessPattern, Durability, ErrorKind, Laws, Level, MEMORY_BUDGET_MIN, Options, Physics, PutOptions,
    WarpEngine, WriteBatch,
};

#[test]
fn laws_hold_over_a_crash_and_a_checkpoint() {
    let machine = Machine::new(1);
    let engine = machine.open(small());
    let laws = Laws { durability: Some(Durability::Sync), capacity_bytes: Some(1 << 20), ..Laws::default() };
    engine.set_laws(Level::Cold, laws).unwrap();
    let limit = Laws { entropy_limit: Some(0.5), pace: 0.25, ..Laws::default() };
    engine.set_laws(Level::Hot, limit).unwrap();
    engine.sync().unwrap();
    drop(engine);
    let engine = machine.open(small());
    assert_eq!((engine.laws(Level::Cold), engine.laws(Level::Warm)), (laws, Laws::default()));
    engine.checkpoint().unwrap();
    engine.close().unwrap();
    assert_eq!(machine.open(small()).laws(Level::Hot), limit);
}

#[test]
fn a_hint_that_names_a_level_takes_the_durability_of_its_law() {
    let machine = Machine::new(2);
    let engine = machine.open(small());
    let laws = Laws { durability: Some(Durability::Sync), ..Laws::default() };
    engine.set_laws(Level::Hot, laws).unwrap();
    let put = |options: PutOptions| {
        let stored = engine.cosmic_put("key", "value", &options).unwrap();
        engine.durable_seq() >= stored.seq
    };
    let hinted = |pattern| PutOptions::new().access_pattern(pattern);
    assert!(!put(PutOptions::new()));
    assert!(!put(hinted(AccessPattern::Warm)));
    assert!(put(hinted(AccessPattern::Hot)));
    assert!(!put(hinted(AccessPattern::Hot).durability(Durability::Os)), "the write itself says otherwise");
}

#[test]
fn a_batch_takes_the_durability_of_the_laws_of_its_hints() {
    let machine = Machine::new(3);
    let engine = machine.open(small());
    let laws = Laws { durability: Some(Durability::Sync), ..Laws::default() };
    engine.set_laws(Level::Hot, laws).unwrap();
    let write = |options: &PutOptions| {
        let mut batch = WriteBatch::new();
        batch.put("plain", "value").put_with("key", "value", options);
        let seq = engine.write(&batch).unwrap();
        engine.durable_seq() >= seq
    };
    let hinted = |pattern| PutOptions::new().access_pattern(pattern);
    assert!(!write(&hinted(AccessPattern::Warm)));
    assert!(write(&hinted(AccessPattern::Hot)));
    assert!(
        !write(&hinted(AccessPattern::Hot).durability(Durability::Os)),
        "the write itself says otherwise"
    );
}

#[test]
fn laws_that_mean_nothing_are_refused() {
    let engine = warp_api::WarpEngine::in_memory();
    for laws in [
        Laws { pace: -1.0, ..Laws::default() },
        Laws { pace: f64::NAN, ..Laws::default() },
        Laws { entropy_limit: Some(1.5), ..Laws::default() },
    ] {
        assert_eq!(engine.set_laws(Level::Hot, laws).unwrap_err().kind(), ErrorKind::Invalid);
    }
    assert_eq!(engine.last_seq().0, 0);
}

/// What is held comes down to the capacity without a loss, and may rise again when the law is lifted.
#[test]
fn the_capacity_of_the_hot_level_is_a_lower_budget() {
    let machine = Machine::new(1);
    let options = || Options::new().log_buffer_bytes(1 << 20).memory_budget(64 << 20).physics(Physics::off());
    let engine = machine.open(options());
    let value = |number: u32| format!("{number:08}").repeat(250);
    for number in 0..16_000_u32 {
        engine.put(format!("key:{number}"), value(number)).unwrap();
    }
    engine.checkpoint().unwrap();
    let memory = |engine: &WarpEngine| engine.cosmic_metrics().memory;
    assert!(memory(&engine).held_bytes > 32 << 20, "{:?}", memory(&engine));
    let capacity = |bytes| Laws { capacity_bytes: bytes, ..Laws::default() };
    engine.set_laws(Level::Hot, capacity(Some(24 << 20))).unwrap();
    machine.pass(&engine, Duration::from_secs(5));
    let now = memory(&engine);
    assert!(now.held_bytes < (24 << 20) * 103 / 100 && now.budget_bytes == 24 << 20, "{now:?}");
    for number in 0..16_000_u32 {
        assert_eq!(engine.get(format!("key:{number}")).unwrap().as_deref(), Some(value(number).as_bytes()));
    }
    assert!(memory(&engine).held_bytes < (24 << 20) * 103 / 100, "{:?}", memory(&engine));
    engine.close().unwrap();
    let engine = machine.open(options());
    assert_eq!(memory(&engine).budget_bytes, 24 << 20, "it holds over a restart");
    // Less than the engine needs is not followed, and more than the options say neither.
    engine.set_laws(Level::Hot, capacity(Some(1))).unwrap();
    assert_eq!(memory(&engine).budget_bytes, MEMORY_BUDGET_MIN + (1 << 20));
    engine.set_laws(Level::Hot, capacity(Some(1 << 40))).unwrap();
    assert_eq!(memory(&engine).budget_bytes, 64 << 20);
    engine.set_laws(Level::Hot, capacity(None)).unwrap();
    assert_eq!(memory(&engine).budget_bytes, 64 << 20);
}

#[test]
fn laws_that_are_switched_off_are_stored_and_told_and_not_followed() {
    let machine = Machine::new(3);
    let options = |laws| small().memory_budget(64 << 20).physics(Physics { laws, ..Physics::default() });
    let engine = machine.open(options(false));
    let laws = Laws { durability: Some(Durability::Sync), capacity_bytes: Some(24 << 20), ..Laws::default() };
    engine.set_laws(Level::Hot, laws).unwrap();
    let followed = |engine: &WarpEngine| {
        let hot = PutOptions::new().access_pattern(AccessPattern::Hot);
        let stored = engine.cosmic_put("key", "value", &hot).unwrap();
        (engine.durable_seq() >= stored.seq, engine.cosmic_metrics().memory.budget_bytes)
    };
    assert_eq!((engine.laws(Level::Hot), followed(&engine)), (laws, (false, 64 << 20)));
    engine.close().unwrap();
    let engine = machine.open(options(true));
    assert_eq!((engine.laws(Level::Hot), followed(&engine)), (laws, (true, 24 << 20)));
}
