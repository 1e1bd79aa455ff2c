//! Laws are logged like any write, and hold.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by a panic")]

mod common;

use common::{Machine, small};
use warp_api::{AccessPattern, Durability, ErrorKind, Laws, Level, PutOptions};

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
