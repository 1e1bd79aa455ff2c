//! Wormholes are as durable as any write, and routes are right from the first call after an open.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by a panic")]

mod common;

use common::{Machine, small};
use warp_api::{ErrorKind, Options, WarpEngine};

fn hops(engine: &WarpEngine, a: &str, b: &str) -> Option<(String, f64)> {
    engine.route(a, b).map(|route| (route.hops.join(" "), route.cost))
}

#[test]
fn routes_survive_a_checkpoint_a_replay_and_a_crash() {
    let machine = Machine::new(3);
    let open = || small().open_in(&machine.disk.root(), machine.environment()).unwrap();
    let engine = open();
    engine.establish_wormhole("oslo", "bern", 0.5).unwrap();
    engine.establish_wormhole("bern", "rome", 0.5).unwrap();
    engine.checkpoint().unwrap();
    engine.establish_wormhole("oslo", "rome", 0.125).unwrap();
    engine.establish_wormhole("rome", "gone", 1.0).unwrap();
    assert!(engine.close_wormhole("gone", "rome").unwrap());
    assert!(!engine.close_wormhole("gone", "rome").unwrap());
    let before = engine.last_seq();
    assert_eq!(engine.establish_wormhole("bern", "oslo", 0.5).unwrap(), before, "nothing to write");
    engine.sync().unwrap();
    drop(engine);

    let engine = open();
    assert_eq!(hops(&engine, "oslo", "rome"), Some(("oslo bern rome".into(), 4.0)));
    assert_eq!(hops(&engine, "oslo", "gone"), None);
    let topology = engine.wormhole_topology();
    assert_eq!(topology.regions, ["bern", "oslo", "rome"]);
    assert_eq!(topology.wormholes.len(), 3);
    engine.close_wormhole("bern", "rome").unwrap();
    assert_eq!(hops(&engine, "oslo", "rome"), Some(("oslo rome".into(), 8.0)));
    engine.close().unwrap();
    assert_eq!(hops(&open(), "bern", "rome"), Some(("bern oslo rome".into(), 10.0)));
}

#[test]
fn what_is_not_valid_is_refused_and_nothing_written() {
    let engine = WarpEngine::in_memory();
    for (a, b, strength) in [
        ("", "b", 0.5),
        ("a", "a", 0.5),
        ("a", "b", 1.5),
        ("a", "b", f64::NAN),
        (&*"n".repeat(256), "b", 0.5),
    ] {
        let refused = engine.establish_wormhole(a, b, strength).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Invalid);
    }
    assert_eq!(engine.last_seq().0, 0);
    assert_eq!(engine.wormhole_metrics().network.regions, 0);
}

#[test]
fn wormholes_are_exported_and_imported() {
    let engine = WarpEngine::in_memory();
    engine.establish_wormhole("b", "a", 0.25).unwrap();
    let mut lines = Vec::new();
    assert_eq!(engine.export(&mut lines).unwrap().wormholes, 1);
    assert_eq!(String::from_utf8_lossy(&lines), "{\"wormhole\":\"a\",\"to\":\"b\",\"strength\":0.25}\n");
    let other = WarpEngine::in_memory();
    assert_eq!(other.import(&lines[..]).unwrap().wormholes, 1);
    assert_eq!(other.wormhole_topology(), engine.wormhole_topology());
}

#[test]
fn shortcuts_are_learned_only_where_that_is_asked_for() {
    let ring = |engine: &WarpEngine| {
        for region in 0..20 {
            let next = (region + 1) % 20;
            engine.establish_wormhole(format!("{region}"), format!("{next}"), 0.5).unwrap();
        }
        for _ in 0..50 {
            engine.route("0", "10").unwrap();
        }
    };
    for (learned, cost) in [(0, 20.0), (1, 1.0)] {
        let physics = warp_api::Physics { wormholes_learned: learned, ..warp_api::Physics::default() };
        let machine = Machine::new(4);
        let engine = Options::new().physics(physics).in_memory_in(machine.environment());
        ring(&engine);
        machine.clock.advance(physics.half_life);
        engine.step();
        assert_eq!(engine.route("0", "10").unwrap().cost, cost, "{learned} learned");
        let metrics = engine.wormhole_metrics();
        assert_eq!((metrics.network.learned, metrics.routes_asked), (learned, 51));
    }
}

/// What is asked for between two regions, and the shortcut that was made for it, are known after a restart.
#[test]
fn what_was_learned_of_traffic_survives_a_restart() {
    let physics = warp_api::Physics { wormholes_learned: 1, ..warp_api::Physics::default() };
    let machine = Machine::new(4);
    let open = |physics| machine.open(small().physics(physics));
    let engine = open(physics);
    for region in 0..20 {
        engine.establish_wormhole(format!("{region}"), format!("{}", (region + 1) % 20), 0.5).unwrap();
    }
    (0..50).for_each(|_| drop(engine.route("0", "10")));
    machine.clock.advance(physics.half_life);
    engine.step();
    assert_eq!(hops(&engine, "0", "10"), Some(("0 10".into(), 1.0)));
    engine.close().unwrap();

    let engine = open(physics);
    assert_eq!(hops(&engine, "0", "10").unwrap().1, 20.0, "the background has yet to read it");
    engine.step();
    assert!(engine.cosmic_metrics().learned.unwrap().restored.iter().any(|part| part == "traffic"));
    assert_eq!(hops(&engine, "0", "10"), Some(("0 10".into(), 1.0)));
    // It fades as it would have without the restart: from 25.
    for epoch in 0..4 {
        machine.clock.advance(physics.half_life);
        engine.step();
        assert_eq!(engine.wormhole_metrics().network.learned, 1, "epoch {epoch}");
    }
    for _ in 0..4 {
        machine.clock.advance(physics.half_life);
        engine.step();
    }
    assert_eq!(hops(&engine, "0", "10").unwrap().1, 20.0);
    drop(engine);
    // Where none are learned nothing of it is read.
    let engine = open(warp_api::Physics::default());
    engine.step();
    assert_eq!(hops(&engine, "0", "10").unwrap().1, 20.0);
}
