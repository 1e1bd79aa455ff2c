//! The oracle: what must hold of an engine that was opened on what a crash left.

use std::collections::BTreeSet;

use warp_api::{Durability, WarpEngine};
use warp_io::{SimClock, SimDisk};

use crate::model::{Balance, LEVELS, Model};
use crate::workload::{Run, environment, options};

/// One image in this many is written to, checkpointed and reopened after it was checked.
const LIVE_EVERY: u64 = 16;
/// Marks the writes that checking makes itself.
const PROBE: &str = "probe";
/// When images are looked at, in Unix milliseconds: later than short deadlines of a run, and earlier than long ones.
const CHECKED_AT: u64 = 1_700_000_900_000;

/// What recovery made of an image.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Checked {
    pub(crate) last_seq: u64,
    /// The sequence that the first write after recovery got.
    next_seq: u64,
}

impl Checked {
    /// What depends on when the crash was: durability, and numbers that are never given twice.
    pub(crate) fn meets(&self, run: &Run, point: u64, place: &str) {
        let durable = run.durable_at(point);
        assert!(self.last_seq >= durable, "{place}: lost {durable}, recovered up to {}", self.last_seq);
        let given = run.given_at(point);
        assert!(self.next_seq > given, "{place}: sequence {} may have been given before", self.next_seq);
    }
}

/// Opens the image, and checks that it holds exactly a prefix of the run's writes.
pub(crate) fn check_image(run: &Run, image: &SimDisk, point: u64, place: &str) -> Checked {
    let engine = open(run, image, place);
    let last_seq = engine.recovery_report().last_seq.0;
    assert_state(run, &engine, last_seq, place);
    // The first write of this engine, so that its number is the first that recovery gives.
    let next_seq = engine.put(PROBE, "1").unwrap().0;
    if image.digest().is_multiple_of(LIVE_EVERY) {
        assert_live(run, image, engine, place);
    }
    let checked = Checked { last_seq, next_seq };
    checked.meets(run, point, place);
    checked
}

/// Opens what a crash during the checking of an image has left: it may hold the probe, and holds the rest.
pub(crate) fn check_again(run: &Run, image: &SimDisk, last_seq: u64, point: u64, place: &str) {
    let engine = open(run, image, place);
    assert!(engine.recovery_report().last_seq.0 >= run.durable_at(point), "{place}: lost what was durable");
    let recovered = engine.recovery_report().last_seq.0.min(last_seq);
    assert_state(run, &engine, recovered, place);
}

fn open(run: &Run, image: &SimDisk, place: &str) -> WarpEngine {
    let clock = SimClock::new(CHECKED_AT);
    options(run.format)
        .open_in(&image.root(), environment(&clock, run.seed ^ 0xFEED))
        .unwrap_or_else(|error| panic!("{place}: {error}: {:?}", std::error::Error::source(&error)))
}

/// The engine's state is that after exactly the writes up to `last_seq`.
fn assert_state(run: &Run, engine: &WarpEngine, last_seq: u64, place: &str) {
    let mut model = Model::default();
    for write in run.writes.iter().filter(|write| write.seq <= last_seq) {
        write.effects.iter().for_each(|effect| model.apply(effect));
    }
    let (found, expected) = (export(engine), model.export(CHECKED_AT));
    if found != expected {
        let missing: Vec<_> = expected.difference(&found).map(|line| shorten(line)).collect();
        let surplus: Vec<_> = found.difference(&expected).map(|line| shorten(line)).collect();
        panic!("{place}: not the state at {last_seq}: missing {missing:#?}, surplus {surplus:#?}");
    }
    assert_in_use(engine, &model, &format!("{place}: not the state at {last_seq}"));
}

/// What is declared is also in use, and slots are where they were moved to.
fn assert_in_use(engine: &WarpEngine, model: &Model, place: &str) {
    let wormholes = engine.wormhole_topology().wormholes.into_iter();
    let wormholes: Vec<_> = wormholes.map(|wormhole| (wormhole.a, wormhole.b, wormhole.strength)).collect();
    assert_eq!(wormholes, model.wormholes(), "{place}");
    for (a, b, _) in &wormholes {
        assert!(engine.route(b, a).is_some(), "{place}: no route from {b} to {a}");
    }
    for level in LEVELS {
        assert_eq!(engine.laws(level), model.laws(level), "{place}: {level:?}");
    }
    let balance = Balance::of(engine);
    match model.balance() {
        Some(expected) => assert_eq!(balance, *expected, "{place}"),
        None => assert!(balance.is_new(), "{place}: {balance:?}"),
    }
}

fn shorten(line: &str) -> String {
    line.chars().take(120).collect()
}

fn export(engine: &WarpEngine) -> BTreeSet<String> {
    let mut out = Vec::new();
    engine.export(&mut out).unwrap();
    let lines = std::str::from_utf8(&out).unwrap().lines();
    // Parsed and printed again, so that the order of fields does not matter.
    let lines = lines.map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    lines.filter(|line| line["key"] != PROBE).map(|line| line.to_string()).collect()
}

/// After recovery everything works: writing, syncing, a checkpoint, verifying, reopening.
fn assert_live(run: &Run, image: &SimDisk, engine: WarpEngine, place: &str) {
    let before = (export(&engine), Balance::of(&engine));
    let seq = engine.with_durability(Durability::Sync).put(PROBE, "2").unwrap();
    engine.checkpoint().unwrap();
    let report = engine.verify().unwrap();
    assert!(report.is_clean(), "{place}: {:?}", report.problems);
    engine.close().unwrap();
    let engine = open(run, image, place);
    assert_eq!((export(&engine), Balance::of(&engine)), before, "{place}: reopened");
    assert_eq!(engine.get(PROBE).unwrap().as_deref(), Some(&b"2"[..]), "{place}");
    assert!(engine.put(PROBE, "3").unwrap() > seq, "{place}: a sequence was given twice");
}
