//! Entanglement in the engine: declared links and rules, followed, durable, and bounded.

#![allow(
    clippy::cast_possible_truncation,
    clippy::unwrap_used,
    reason = "a test that cannot go on says so by a panic, and its numbers are small"
)]

mod common;

use common::{Machine, small};
use warp_api::{
    CasOutcome, Durability, ErrorKind, Origin, PutOptions, QuantumOptions, RuleId, Rules, Update, WarpEngine,
    WriteBatch,
};
use warp_io::Survival;

fn partner_keys(engine: &WarpEngine, key: &str) -> Vec<String> {
    let links = engine.partners(key).unwrap();
    links.iter().map(|link| String::from_utf8(link.key.clone()).unwrap()).collect()
}

#[test]
fn a_quantum_get_follows_links_and_rules_strongest_first() {
    let engine = WarpEngine::in_memory();
    engine.put("user:1", "Ada").unwrap();
    engine.put("profile:1", "mathematician").unwrap();
    engine.put("basket:9", "3 books").unwrap();
    engine.entanglement_rule("user:{id}", &["profile:{id}", "settings:{id}"], 0.8).unwrap();
    engine.entangle("user:1", &["basket:9"], 0.9).unwrap();
    let user = engine.quantum_get("user:1").unwrap().unwrap();
    assert_eq!(&*user.value, b"Ada");
    let found: Vec<_> = user.partners.iter().map(|p| (&p.key[..], p.value.as_deref(), p.origin)).collect();
    assert_eq!(
        found,
        [
            (&b"basket:9"[..], Some(&b"3 books"[..]), Origin::Declared),
            (b"profile:1", Some(b"mathematician"), Origin::Rule),
            (b"settings:1", None, Origin::Rule),
        ]
    );
    assert_eq!((user.found, user.requested), (2, 3));
    assert!(engine.quantum_get("user:2").unwrap().is_none());
    let options = QuantumOptions { partners_max: 1, ..QuantumOptions::default() };
    assert_eq!(engine.quantum_get_with("user:1", &options).unwrap().unwrap().requested, 1);
    for strength_min in [-0.01, 1.01, f64::NAN] {
        let options = QuantumOptions { strength_min, ..QuantumOptions::default() };
        assert_eq!(engine.quantum_get_with("user:1", &options).unwrap_err().kind(), ErrorKind::Invalid);
    }
    // Both directions.
    assert_eq!(partner_keys(&engine, "basket:9"), ["user:1"]);
    let metrics = engine.quantum_entanglement_metrics();
    assert_eq!((metrics.quantum.requests, metrics.quantum.partners_requested), (3, 4));
    assert_eq!(metrics.efficiency, Some(3.0 / 4.0));
}

#[test]
fn links_and_rules_survive_the_log_and_the_checkpoint() {
    let machine = Machine::new(1);
    let engine = machine.open(small());
    for number in 0..500 {
        engine.entangle(format!("a:{number}"), &[format!("b:{number}")], 0.5).unwrap();
    }
    let rule = engine.entanglement_rule("x:{id}", &["y:{id}"], 0.7).unwrap();
    let check = |engine: &WarpEngine| {
        for number in 0..500 {
            assert_eq!(partner_keys(engine, &format!("a:{number}")), [format!("b:{number}")]);
            assert_eq!(partner_keys(engine, &format!("b:{number}")), [format!("a:{number}")]);
        }
        assert_eq!(partner_keys(engine, "x:7"), ["y:7"]);
    };
    drop(engine);
    let engine = machine.open(small());
    check(&engine);
    engine.close().unwrap();
    let engine = machine.open(small());
    check(&engine);
    assert!(engine.remove_rule(rule).unwrap());
    assert!(!engine.remove_rule(RuleId(99)).unwrap());
    engine.disentangle("a:0", &["b:0"]).unwrap();
    drop(engine);
    let engine = machine.open(small());
    assert!(engine.rules().is_empty());
    assert!(partner_keys(&engine, "a:0").is_empty() && partner_keys(&engine, "b:0").is_empty());
    assert_eq!(partner_keys(&engine, "a:1"), ["b:1"]);
}

#[test]
fn declaring_again_replaces_and_a_put_can_declare() {
    let engine = WarpEngine::in_memory();
    engine.entangle("a", &["b", "c"], 0.5).unwrap();
    engine.entangle("a", &["b"], 0.2).unwrap();
    assert_eq!(partner_keys(&engine, "a"), ["c", "b"]);
    engine.put_with("d", "1", &PutOptions::new().entangled_with(&["a"])).unwrap();
    assert_eq!(partner_keys(&engine, "a"), ["d", "c", "b"]);
    assert_eq!(&*engine.get("d").unwrap().unwrap(), b"1");
    let rules = Rules::common();
    for rule in rules.iter() {
        let partners: Vec<_> = rule.partners.iter().map(|partner| partner.as_bytes()).collect();
        engine.entanglement_rule(rule.pattern.as_bytes(), &partners, rule.strength).unwrap();
    }
    assert_eq!(partner_keys(&engine, "order:7").len(), 3);
}

/// Links of one key that are declared from many threads at once are all there.
#[test]
fn links_declared_at_once_are_all_kept() {
    let engine = WarpEngine::in_memory();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let engine = &engine;
            scope.spawn(move || {
                for number in 0..100 {
                    engine.entangle("hub", &[format!("{thread}/{number}")], 0.5).unwrap();
                }
            });
        }
    });
    let options = QuantumOptions { partners_max: 1_000, ..QuantumOptions::default() };
    engine.put("hub", "1").unwrap();
    assert_eq!(engine.quantum_get_with("hub", &options).unwrap().unwrap().requested, 400);
}

/// A call that finds nothing to change answers for what it found, as durably as it was asked to.
#[test]
fn a_synced_call_that_changes_nothing_makes_durable_what_it_found() {
    let is_conflict = |outcome: CasOutcome| matches!(outcome, CasOutcome::Conflict(Some(_)));
    let calls: [&dyn Fn(&WarpEngine); 12] = [
        &|engine| {
            engine.entangle("a", &["b"], 0.5).unwrap();
        },
        &|engine| {
            engine.entanglement_rule("x:{id}", &["y:{id}"], 0.5).unwrap();
        },
        &|engine| {
            engine.disentangle("a", &["no partner"]).unwrap();
        },
        &|engine| assert!(!engine.remove_rule(RuleId(99)).unwrap()),
        &|engine| assert!(!engine.delete("no key").unwrap()),
        &|engine| {
            engine.write(&WriteBatch::new()).unwrap();
        },
        &|engine| assert!(is_conflict(engine.put_if_absent("there", "2").unwrap())),
        &|engine| assert!(is_conflict(engine.compare_and_swap("there", None, None).unwrap())),
        &|engine| assert!(is_conflict(engine.compare_and_swap_seq("there", None, None).unwrap())),
        &|engine| assert!(engine.update("there", |_| Update::Keep).unwrap().is_some()),
        &|engine| assert!(engine.update("not there", |_| Update::Delete).unwrap().is_none()),
        &|engine| assert!(!engine.persist("there").unwrap()),
    ];
    for (number, call) in calls.into_iter().enumerate() {
        let machine = Machine::new(1);
        let engine = machine.open(small().durability(Durability::Os));
        engine.entangle("a", &["b"], 0.5).unwrap();
        engine.entanglement_rule("x:{id}", &["y:{id}"], 0.5).unwrap();
        engine.put("there", "1").unwrap();
        let last = engine.last_seq();
        call(&engine.with_durability(Durability::Sync));
        assert_eq!(engine.last_seq(), last, "call {number} wrote something");
        assert!(engine.durable_seq() >= last, "call {number}");
        let recovered = machine.with_disk(machine.disk.crash(Survival::Nothing)).open(small());
        assert_eq!(partner_keys(&recovered, "a"), ["b"], "call {number}");
        assert_eq!(partner_keys(&recovered, "x:7"), ["y:7"], "call {number}");
        assert!(recovered.get("there").unwrap().is_some(), "call {number}");
    }
}

#[test]
fn a_checkpoint_lays_every_partner_beside_whoever_names_it() {
    for (groups, partners) in [(3_000, 3), (300, 31)] {
        let machine = Machine::new(1);
        let engine = machine.open(small());
        let kinds: Vec<String> = (0..partners).map(|partner| format!("p{partner:02}")).collect();
        let templates: Vec<String> = kinds.iter().map(|kind| format!("{kind}:{{id}}")).collect();
        engine.entanglement_rule("g:{id}", &templates, 0.8).unwrap();
        for id in 0..groups {
            for kind in kinds.iter().map(String::as_str).chain(["g", "alone"]) {
                engine.put(format!("{kind}:{id}"), kind).unwrap();
            }
        }
        engine.checkpoint().unwrap();
        assert_eq!(engine.quantum_entanglement_metrics().laid_out, partners * groups);
        drop(engine);
        let engine = machine.open(small());
        assert_eq!(engine.len().unwrap(), (partners + 2) * groups);
        let all = QuantumOptions { partners_max: 64, ..QuantumOptions::default() };
        for id in 0..groups {
            let found = engine.quantum_get_with(format!("g:{id}"), &all).unwrap().unwrap().found;
            assert_eq!(found as u64, partners);
            assert!(engine.contains_key(format!("alone:{id}")).unwrap());
        }
    }
}
