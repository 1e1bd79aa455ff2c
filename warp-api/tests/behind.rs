//! Partners that `quantum_get` reads behind their key in its layer: what is found there is what a look-up finds.

#![allow(
    clippy::cast_possible_truncation,
    clippy::unwrap_used,
    reason = "a test that cannot go on says so by a panic, and its numbers are small"
)]

mod common;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use common::{Machine, Random, small};
use warp_api::{Advice, Environment, Options, Physics, PutOptions, WarpEngine};

const GROUPS: u32 = 500;
const PARTNERS: [&str; 4] = ["profile", "settings", "session", "cart"];

/// Nothing comes into memory, so that each read is of the layers.
fn options() -> Options {
    small().physics(Physics { warm_start: false, promotion_price: f64::INFINITY, ..Physics::default() })
}

/// An engine with groups of a key and four partners, all laid out by one checkpoint.
fn fill(machine: &Machine) -> WarpEngine {
    let engine = machine.open(options());
    let partners = PARTNERS.map(|kind| format!("{kind}:{{id}}"));
    engine.entanglement_rule("user:{id}", &partners, 1.0).unwrap();
    for id in 0..GROUPS {
        for kind in PARTNERS.iter().chain(&["user"]) {
            engine.put(format!("{kind}:{id}"), format!("{kind} of {id}")).unwrap();
        }
    }
    engine.checkpoint().unwrap();
    engine
}

/// The same data with nothing in memory.
fn reopened(machine: &Machine, engine: WarpEngine) -> WarpEngine {
    engine.close().unwrap();
    machine.open(options())
}

fn read_behind(engine: &WarpEngine) -> u64 {
    engine.quantum_entanglement_metrics().read_behind
}

/// What a group's key and partners have, by the key.
fn group(engine: &WarpEngine, id: u32) -> Option<BTreeMap<String, String>> {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let entangled = engine.quantum_get(format!("user:{id}")).unwrap()?;
    let own = (format!("user:{id}"), text(&entangled.value));
    let partners = entangled
        .partners
        .iter()
        .filter_map(|partner| Some((text(&partner.key), text(partner.value.as_deref()?))));
    Some(partners.chain([own]).collect())
}

/// The same by single gets.
fn singly(engine: &WarpEngine, id: u32) -> Option<BTreeMap<String, String>> {
    let get = |kind: &str| {
        let key = format!("{kind}:{id}");
        let value = engine.get(&key).unwrap()?;
        Some((key, String::from_utf8(value.to_vec()).unwrap()))
    };
    let own = get("user")?;
    Some(PARTNERS.iter().filter_map(|kind| get(kind)).chain([own]).collect())
}

#[test]
fn partners_that_lie_behind_their_key_are_not_looked_up() {
    let machine = Machine::new(1);
    let engine = fill(&machine);
    let engine = reopened(&machine, engine);
    let lookups = || engine.cosmic_metrics().checkpoints.unwrap().lookups;
    let before = lookups();
    for id in 0..GROUPS {
        assert_eq!(group(&engine, id).unwrap().len(), 1 + PARTNERS.len());
    }
    let (behind, lookups) = (read_behind(&engine), lookups() - before);
    // All but a few, whose pages lie behind another's window.
    assert!(behind > u64::from(GROUPS) * 39 / 10, "{behind} of {} partners", GROUPS * 4);
    // The sixth are the links that its program may have declared.
    assert_eq!(lookups + behind, u64::from(GROUPS) * 6, "each key is looked up, or lies behind another");
    for id in 0..GROUPS {
        assert_eq!(group(&engine, id), singly(&engine, id));
    }
}

/// Written anew, deleted, expired, cleared away: in memory, in a newer layer, and merged.
#[test]
fn what_is_newer_elsewhere_is_what_is_found() {
    let machine = Machine::new(2);
    let mut engine = fill(&machine);
    let mut random = Random(2);
    let mut behind = 0;
    for round in 0..6 {
        for _ in 0..GROUPS {
            let id = random.below(u64::from(GROUPS));
            let kind = random.pick(&["user", "profile", "settings", "session", "cart"]);
            let key = format!("{kind}:{id}");
            match random.below(4) {
                0 => engine.delete(&key).map(drop).unwrap(),
                1 => {
                    let soon = PutOptions::new().ttl(Duration::from_secs(5));
                    engine.put_with(&key, "soon gone", &soon).map(drop).unwrap();
                }
                _ => engine.put(&key, format!("{kind} of {id}, {round}")).map(drop).unwrap(),
            }
        }
        let check = |engine: &WarpEngine, when: &str| {
            for id in 0..GROUPS {
                assert_eq!(group(engine, id), singly(engine, id), "{when}, round {round}, {id}");
            }
        };
        check(&engine, "in memory");
        engine.checkpoint().unwrap();
        check(&engine, "with a newer layer");
        behind += read_behind(&engine);
        engine = reopened(&machine, engine);
        check(&engine, "from layers");
        machine.pass(&engine, Duration::from_secs(6));
        check(&engine, "after some have expired");
    }
    assert!(behind > u64::from(GROUPS), "{behind}");
    engine.clear().unwrap();
    engine.put("user:7", "alone").unwrap();
    engine = reopened(&machine, engine);
    assert_eq!(group(&engine, 7).unwrap(), [("user:7".to_owned(), "alone".to_owned())].into());
}

/// Partners that came by another checkpoint lie elsewhere, and one has a newer version in each second group.
#[test]
fn partners_that_lie_elsewhere_are_looked_up() {
    let machine = Machine::new(3);
    let engine = fill(&machine);
    for id in 0..GROUPS {
        engine.put(format!("profile:{id}"), "newer").unwrap();
        engine.put(format!("session:{id}"), "newer").unwrap();
    }
    engine.checkpoint().unwrap();
    let engine = reopened(&machine, engine);
    for id in 0..GROUPS {
        let found = group(&engine, id).unwrap();
        assert_eq!(found[&format!("profile:{id}")], "newer");
        assert_eq!(found, singly(&engine, id).unwrap());
    }
    let behind = read_behind(&engine);
    assert!((u64::from(GROUPS)..=u64::from(2 * GROUPS)).contains(&behind), "{behind}");
}

type Deed = Box<dyn FnOnce(&WarpEngine) + Send>;

/// Advice that does something of the test's when a value that was found in a layer may be brought into memory: after the key's,
/// and before those of its partners.
#[derive(Default)]
struct Meddling {
    engine: OnceLock<WarpEngine>,
    deed: Mutex<Option<Deed>>,
}

impl fmt::Debug for Meddling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Meddling")
    }
}

impl Advice for Meddling {
    fn layout(&self, count: usize, _: &mut dyn FnMut(usize) -> Vec<usize>) -> Vec<usize> {
        (0..count).collect()
    }

    fn promote(&self, _: &[u8]) -> bool {
        let deed = self.deed.lock().unwrap().take();
        if let (Some(deed), Some(engine)) = (deed, self.engine.get()) {
            deed(engine);
        }
        false
    }

    fn prefetch(&self, _: usize, _: Duration) -> Vec<usize> {
        Vec::new()
    }
}

/// What happens to a partner between the read of its key and its own is seen: it was found in a list of layers that is not the
/// current one any more.
#[test]
fn what_changes_meanwhile_is_seen() {
    let machine = Machine::new(4);
    fill(&machine).close().unwrap();
    let meddling = Arc::new(Meddling::default());
    let environment = Environment { advice: Some(meddling.clone()), ..machine.environment() };
    let engine = options().open_in(&machine.disk.root(), environment).unwrap();
    meddling.engine.set(engine.clone()).unwrap();
    for id in 0..100 {
        let key = format!("session:{id}");
        let is_deleted = id % 2 == 0;
        *meddling.deed.lock().unwrap() = Some(Box::new(move |engine: &WarpEngine| {
            if is_deleted {
                engine.delete(&key).map(drop).unwrap();
            } else {
                engine.put(&key, "newer").map(drop).unwrap();
            }
            // Nothing of it is in memory then: the newest layer has it.
            engine.checkpoint().unwrap();
        }));
        let found = group(&engine, id).unwrap();
        assert!(meddling.deed.lock().unwrap().is_none(), "nothing happened in between");
        let session = found.get(&format!("session:{id}")).map(String::as_str);
        assert_eq!(session, (!is_deleted).then_some("newer"), "{id}");
        assert_eq!(found.len(), if is_deleted { 4 } else { 5 });
    }
}

/// Values that fill blocks of their own, of which the first of each group is in memory: the others lie behind it all the same, and
/// what is not of the group is not looked at.
#[test]
fn long_values_and_partners_in_memory_do_not_end_the_search() {
    let machine = Machine::new(5);
    let engine = machine.open(options());
    engine.entanglement_rule("user:{id}", &PARTNERS.map(|kind| format!("{kind}:{{id}}")), 1.0).unwrap();
    let mut random = Random(5);
    for id in 0..50 {
        for kind in PARTNERS.iter().chain(&["user"]) {
            let value: Vec<u8> = (0..6_000).map(|_| random.next() as u8).collect();
            engine.put(format!("{kind}:{id}"), value).unwrap();
        }
    }
    engine.checkpoint().unwrap();
    let engine = reopened(&machine, engine);
    for id in 0..50 {
        engine.put(format!("{}:{id}", PARTNERS[0]), "in memory").unwrap();
        let entangled = engine.quantum_get(format!("user:{id}")).unwrap().unwrap();
        assert_eq!(entangled.found, 4);
        for partner in &entangled.partners {
            assert_eq!(partner.value, engine.get(&partner.key).unwrap());
        }
    }
    let behind = read_behind(&engine);
    assert!(behind > 140, "{behind} of 150 partners");
}
