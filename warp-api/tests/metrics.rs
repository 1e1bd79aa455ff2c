//! Every figure of `cosmic_metrics` is counted or measured: it moves when the engine is driven, or is `None`.

#![allow(
    clippy::cast_possible_truncation,
    clippy::unwrap_used,
    reason = "a test that cannot go on says so by a panic, and its numbers are small"
)]

mod common;

use std::collections::BTreeMap;
use std::time::Duration;

use common::{Machine, small};
use serde_json::Value;
use warp_api::{Durability, Level, LogFormat, Options, PutOptions, Update, WarpEngine, WriteBatch};
use warp_io::{Clock, Fault, OpClass, SystemClock};

/// All leaves of a metrics snapshot, by their path; elements of a list share one path, as a sum.
fn leaves(engine: &WarpEngine) -> BTreeMap<String, f64> {
    let mut leaves = BTreeMap::new();
    walk("", &serde_json::to_value(engine.cosmic_metrics()).unwrap(), &mut leaves);
    leaves
}

fn walk(path: &str, value: &Value, leaves: &mut BTreeMap<String, f64>) {
    let mut leaf = |figure| *leaves.entry(path.to_string()).or_default() += figure;
    match value {
        Value::Number(number) => leaf(number.as_f64().unwrap()),
        Value::Bool(yes) => leaf(f64::from(u8::from(*yes))),
        Value::Object(fields) => {
            fields.iter().for_each(|(name, value)| walk(&format!("{path}/{name}"), value, leaves));
        }
        Value::Array(items) => items.iter().for_each(|item| walk(path, item, leaves)),
        Value::Null | Value::String(_) => {}
    }
}

/// Figures that are settings or names, or that this run has no cause to move.
const FIXED: &[&str] = &[
    "/checkpoints/reasons/close",
    "/checkpoints/reasons/full",
    "/checkpoints/reasons/garbage",
    "/checkpoints/reasons/log_bytes",
    "/checkpoints/reasons/memory",
    "/checkpoints/reasons/time",
    // Readers of another process, in `in_use.rs`; the file of what was learned, in `warm_start.rs`; it is written at a close.
    "/checkpoints/held_back",
    "/checkpoints/removals_held_back",
    // Checkpoints that cannot follow, in `log_bound.rs`.
    "/checkpoints/writers_held_up",
    "/checkpoints/writers_held_up_nanos",
    "/learned/bytes",
    "/learned/failed",
    "/learned/number",
    "/learned/written",
    "/warm_start/damaged",
    "/warm_start/under_way",
    // Layers that are not mapped, in `memory.rs`.
    "/memory/layer_cache_bytes",
    // Partners that are brought in, in `fetching.rs`, and what came of learning, in `learning.rs`.
    "/entanglement/fetching/fetched",
    "/entanglement/fetching/fetched_bytes",
    "/entanglement/fetching/fetched_seen_used",
    "/entanglement/fetching/reads",
    "/entanglement/fetching/related",
    "/entanglement/fetching/related_late",
    "/entanglement/fetching/related_used",
    "/entanglement/fetching/related_withheld",
    "/entanglement/learning/dropped",
    "/entanglement/learning/learner/forgotten",
    "/entanglement/learning/learner/predicted",
    "/entanglement/learning/learner/unused",
    "/entanglement/learning/learner/used",
    "/worth/session/fetched",
    "/worth/session/fetched_bytes",
    "/worth/session/fetched_used",
    "/worth/total/fetched",
    "/worth/total/fetched_bytes",
    "/worth/total/fetched_used",
    // Whether what was brought in is read before it is overwritten is a matter of chance here; in `worth.rs` it is.
    "/warm_start/used",
    "/worth/session/warm_used",
    "/worth/total/warm_used",
    "/entropy/half_life/nanos",
    "/entropy/half_life/secs",
    "/levels/half_life/nanos",
    "/levels/half_life/secs",
    "/log/archive_failures",
    "/memory/checkpoint_bytes",
    "/memory/log_buffer_bytes",
    "/recovery/elapsed/secs",
    "/recovery/replay_elapsed/secs",
    "/regions/level",
    "/residency/slowed_nanos",
    "/residency/waits",
    "/shards/shard",
    "/wormholes/network/precomputed",
];

/// Sums of a session before, in `worth.rs`.
const BEFORE: &str = "/worth/last/";

#[test]
fn every_figure_moves() {
    let machine = Machine::new(1);
    let physics = warp_api::Physics { learning: true, learning_every: 1, ..warp_api::Physics::default() };
    let engine = machine.open(small().log_format(LogFormat::Binary).physics(physics));
    let mut seen: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    let mut note = |engine: &WarpEngine| {
        for (path, figure) in leaves(engine) {
            seen.entry(path).or_default().push(figure);
        }
    };
    note(&engine);
    drive(&machine, &engine, &mut note);
    drop(engine);
    // A second engine on what the first left: recovery, cold reads.
    let torn = machine.with_disk(machine.disk.crash(warp_io::Survival::Everything));
    let engine = torn.open(small());
    note(&engine);
    for number in 0..600 {
        engine.get(format!("key:{}", number % 300)).unwrap();
    }
    note(&engine);
    engine.put("last", "1").unwrap();
    drop(engine);
    // And a third, after a clean close and with threads of its own.
    let scratch = tempfile::tempdir().unwrap();
    for is_second in [false, true] {
        // Segments that are left while the clock runs.
        let options = Options::new()
            .log_segment_bytes(64 << 10)
            .checkpoints_kept(1)
            .log_archive(scratch.path().join("archive"));
        let engine = options.open(scratch.path().join("data")).unwrap();
        let _watch = engine.watch("").unwrap();
        note(&engine);
        let clock = SystemClock::new();
        let start = clock.monotonic();
        while is_second && engine.cosmic_metrics().warm_start.unwrap().entries == 0 {
            // What is written before the warm start comes to it is in memory, and not brought in.
            let waited = clock.monotonic().saturating_sub(start);
            assert!(waited < Duration::from_secs(60), "nothing was brought in");
        }
        // Long enough for a time to be told from none.
        for number in 0..2_000 {
            engine.put(number.to_string(), "x").unwrap();
            engine.get(number.to_string()).unwrap();
        }
        engine.checkpoint().unwrap();
        note(&engine);
        engine.close().unwrap();
    }
    fill_memory(&mut note);
    outgrow_memory(&mut note);
    // One that is large enough to ask for huge pages.
    let engine = WarpEngine::in_memory();
    for number in 0..100_000 {
        engine.put(number.to_string(), [0; 500]).unwrap();
    }
    note(&engine);
    // A value that a handle keeps while the key has another.
    engine.put("kept", [1; 5_000]).unwrap();
    let kept = engine.get("kept").unwrap();
    engine.put("kept", "other").unwrap();
    note(&engine);
    drop(kept);
    warp(&mut note);
    overwrite(&mut note);
    read_a_group(&mut note);
    let still: Vec<&String> = seen
        .iter()
        .filter(|(path, figures)| {
            let is_fixed = FIXED.contains(&path.as_str()) || path.starts_with(BEFORE);
            !is_fixed && figures.iter().all(|figure| figure == &figures[0])
        })
        .map(|(path, _)| path)
        .collect();
    assert!(still.is_empty(), "these figures never moved: {still:#?}");
    assert!(seen.len() > 60, "only {} figures", seen.len());
}

/// A key that is written again before the next checkpoint is due by the size of the log.
fn overwrite(note: &mut impl FnMut(&WarpEngine)) {
    let machine = Machine::new(3);
    let engine = machine.open(small().checkpoint_log_bytes(2_000));
    note(&engine);
    for _ in 0..4 {
        for _ in 0..30 {
            engine.put("key", [1; 100]).unwrap();
        }
        engine.step();
    }
    note(&engine);
}

/// A key and its partner, which lie side by side in a layer.
fn read_a_group(note: &mut impl FnMut(&WarpEngine)) {
    let machine = Machine::new(4);
    let options = || small().physics(warp_api::Physics { warm_start: false, ..warp_api::Physics::default() });
    let engine = machine.open(options());
    engine.entanglement_rule("key:{id}", &["also:{id}"], 1.0).unwrap();
    engine.put("key:1", "1").unwrap();
    engine.put("also:1", "2").unwrap();
    engine.close().unwrap();
    let engine = machine.open(options());
    note(&engine);
    assert_eq!(engine.quantum_get("key:1").unwrap().unwrap().found, 1);
    note(&engine);
}

/// Regions with wormholes between them, and a load that is uneven.
fn warp(note: &mut impl FnMut(&WarpEngine)) {
    let machine = Machine::new(2);
    let physics = warp_api::Physics { wormholes_learned: 1, ..warp_api::Physics::default() };
    let engine = machine.open(small().physics(physics));
    for region in 0..20 {
        engine.establish_wormhole(format!("{region}"), format!("{}", (region + 1) % 20), 0.5).unwrap();
    }
    engine.close_wormhole("3", "4").unwrap();
    note(&engine);
    (0..50).for_each(|_| drop(engine.route("5", "15")));
    machine.clock.advance(physics.half_life);
    for number in 0..20_000 {
        engine.put(format!("{}", number % 30), "x").unwrap();
    }
    engine.step();
    note(&engine);
    // A pair to which no shortcut was made before, and later none at all, since all that was asked for has faded.
    engine.route("1", "8").unwrap();
    for _ in 0..12 {
        machine.clock.advance(physics.half_life);
        engine.step();
        note(&engine);
    }
}

/// Puts more into an engine than its budget has room for, and reads it.
fn fill_memory(note: &mut impl FnMut(&WarpEngine)) {
    let scratch = tempfile::tempdir().unwrap();
    let options = Options::new().log_buffer_bytes(1 << 20).memory_budget(16 << 20);
    let engine = options.open(scratch.path()).unwrap();
    engine.put_with("pinned", "1", &PutOptions::new().pin(true)).unwrap();
    let text = "said again and again; ".repeat(100);
    for number in 0..20_000 {
        engine.put(number.to_string(), format!("{number} {text}")).unwrap();
    }
    engine.checkpoint().unwrap();
    note(&engine);
    let handle = engine.get("19999").unwrap();
    let again = (0..20).flat_map(|_| 0..300);
    for number in (0..20_000).chain(again) {
        engine.get(number.to_string()).unwrap().unwrap();
    }
    let is_warm = |key: &String| engine.get_entry(key).unwrap().unwrap().level == Level::Warm;
    let warm = (0..20_000).map(|number| number.to_string()).find(is_warm).unwrap();
    // Used enough, it is worth being plain, once there is room for it.
    let clock = SystemClock::new();
    while is_warm(&warm) {
        engine.get(&warm).unwrap();
        assert!(clock.monotonic() < Duration::from_secs(60), "what is read all the time stays packed");
    }
    engine.put("19999", "1").unwrap();
    note(&engine);
    drop(handle);
}

/// Reads again and again what memory has no room for in any form: most is kept out, and what is read much comes back.
fn outgrow_memory(note: &mut impl FnMut(&WarpEngine)) {
    let scratch = tempfile::tempdir().unwrap();
    let options = Options::new().log_buffer_bytes(1 << 20).memory_budget(16 << 20);
    let engine = options.open(scratch.path()).unwrap();
    let noise = |number: u64| {
        let mut state = number + 1;
        let mut next = move || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            state.to_le_bytes()
        };
        (0..375).flat_map(|_| next()).collect::<Vec<u8>>()
    };
    for number in 0..8_000 {
        engine.put(number.to_string(), noise(number)).unwrap();
    }
    engine.checkpoint().unwrap();
    note(&engine);
    let residency = || engine.cosmic_metrics().residency;
    let clock = SystemClock::new();
    let start = clock.monotonic();
    while residency().kept_out == 0 || residency().returned == 0 {
        for number in (0..8_000).chain((0..20).flat_map(|_| 0..300)) {
            engine.get(number.to_string()).unwrap().unwrap();
        }
        let waited = clock.monotonic().saturating_sub(start);
        assert!(waited < Duration::from_secs(60), "{:?}", residency());
    }
    note(&engine);
}

fn drive(machine: &Machine, engine: &WarpEngine, note: &mut impl FnMut(&WarpEngine)) {
    let filler = "compressible ".repeat(100);
    engine.entanglement_rule("key:{id}", &["also:{id}"], 0.5).unwrap();
    for round in 0..9_u32 {
        for number in 0..300_u32 {
            engine.put(format!("key:{number}"), format!("{round}")).unwrap();
            engine.get(format!("key:{}", number * 2)).unwrap();
            if number % 10 == round {
                engine.put(format!("also:{number}"), &filler).unwrap();
                engine.quantum_get(format!("key:{number}")).unwrap();
                // Its partner has no value, in the first rounds.
                engine.quantum_get(format!("key:{}", 299 - number)).unwrap();
            }
        }
        engine.keyspace(format!("{round}")).unwrap();
        engine.keyspace("0").unwrap().clear().unwrap();
        let short = PutOptions::new().ttl(Duration::from_millis(500));
        engine.put_with(format!("short:{round}"), "1", &short).unwrap();
        machine.pass(engine, Duration::from_millis(300));
        note(engine);
        engine.delete(format!("key:{round}")).unwrap();
        engine.write(WriteBatch::new().put("batch", round.to_string())).unwrap();
        engine.checkpoint().unwrap();
        machine.pass(engine, Duration::from_millis(300));
        note(engine);
    }
    // The first scan puts the keys in order.
    assert!(engine.scan_prefix("key:").count() > 200);
    // An update whose key changes under it must try again.
    let mut other = true;
    engine
        .update("key:100", |_| {
            if std::mem::take(&mut other) {
                engine.put("key:100", "changed").unwrap();
            }
            Update::Put(b"updated".to_vec())
        })
        .unwrap();
    // A checkpoint that fails.
    machine.disk.inject_when(|operation| {
        (operation.kind.class() == OpClass::Write && operation.path.starts_with("layers/"))
            .then_some(Fault::Eio)
    });
    engine.put("key:0", "again").unwrap();
    engine.checkpoint().unwrap_err();
    machine.disk.clear_faults();
    // A full disk, and a writer that has to wait for room.
    let used = machine.disk.used();
    machine.disk.set_capacity(Some(used));
    let refused = (0..4_000).any(|number| engine.put(format!("fill:{number}"), [b'x'; 100]).is_err());
    assert!(refused, "the disk was never full");
    note(engine);
    machine.disk.set_capacity(None);
    machine.pass(engine, Duration::from_secs(2));
    engine.with_durability(Durability::Sync).put("after", "1").unwrap();
    note(engine);
}

/// What cannot be known is absent, rather than some number.
#[test]
fn what_is_not_known_is_none() {
    let engine = WarpEngine::in_memory();
    let metrics = engine.cosmic_metrics();
    assert!(metrics.log.is_none() && metrics.checkpoints.is_none() && metrics.recovery.is_none());
    assert!(metrics.reads.is_none() && metrics.writes.is_none());
    assert!(metrics.entropy.entropy.is_none() && metrics.entanglement.efficiency.is_none());
    let off = Options::new().physics(warp_api::Physics::off()).in_memory();
    (0..1_000).for_each(|number| {
        off.put(number.to_string(), "x").unwrap();
    });
    assert!(off.entropy_metrics().entropy.is_none(), "the monitor is off");
}

/// The load is measured from real traffic: one hot key is uneven, many keys are even.
#[test]
fn entropy_follows_the_load() {
    let machine = Machine::new(1);
    let uneven = machine.open(small());
    for _ in 0..3_000 {
        uneven.put("hot", "x").unwrap();
    }
    machine.pass(&uneven, Duration::from_secs(1));
    let hot = uneven.entropy_metrics();
    assert!(hot.entropy.unwrap() < 0.01 && hot.max_over_mean.unwrap() > 60.0, "{hot:?}");
    for number in 0..60_000_u32 {
        uneven.get(format!("key:{number}")).unwrap();
    }
    machine.pass(&uneven, Duration::from_secs(1));
    let even = uneven.entropy_metrics();
    assert!(even.entropy.unwrap() > 0.9, "reads count, too: {even:?}");
}

/// A read is load of the level that has the value.
#[test]
fn the_load_of_the_levels_is_where_values_were_found() {
    let machine = Machine::new(1);
    let engine = machine.open(small());
    for number in 0..50 {
        engine.put(format!("key:{number}"), "x").unwrap();
    }
    engine.close().unwrap();
    let engine = machine.open(small());
    let read = || (0..50).for_each(|number| assert!(engine.get(format!("key:{number}")).unwrap().is_some()));
    read();
    assert_eq!(engine.cosmic_metrics().levels.load, [0.0, 0.0, 50.0]);
    machine.pass(&engine, Duration::from_secs(1));
    (0..9).for_each(|_| read());
    machine.pass(&engine, Duration::from_secs(1));
    let hot = engine.cosmic_metrics().levels;
    assert!(hot.load[0] > 400.0 && hot.load[2] < 50.0 && hot.entropy.unwrap() < 0.4, "{hot:?}");
    let off = Options::new().physics(warp_api::Physics::off()).in_memory();
    off.put("key", "x").unwrap();
    (0..9).for_each(|_| assert!(off.get("key").unwrap().is_some()));
    assert!(off.cosmic_metrics().levels.entropy.is_none(), "the monitor is off");
}

/// The steadiness of the load is a matter of time, and not of how often somebody asks.
#[test]
fn asking_for_the_load_changes_none_of_it() {
    let load = |asked: u32| {
        let machine = Machine::new(1);
        let engine = machine.open(small());
        for round in 0..20_u32 {
            for number in 0..300 {
                engine.put(format!("key:{}", number % (1 + round * 7)), "x").unwrap();
            }
            machine.pass(&engine, Duration::from_millis(500));
            (0..asked).for_each(|_| drop(engine.entropy_metrics()));
        }
        engine.entropy_metrics()
    };
    let (seldom, often) = (load(0), load(100));
    assert!(seldom.stability.unwrap() < 1.0);
    assert_eq!(seldom, often);
}

/// What an open replays is no traffic.
#[test]
fn replay_is_no_load() {
    let machine = Machine::new(1);
    let engine = machine.open(small());
    for number in 0..1_000 {
        engine.put(format!("key:{number}"), "x").unwrap();
    }
    drop(engine);
    let engine = machine.open(small());
    assert_eq!(engine.recovery_report().replayed, 1_000);
    let operations = || engine.cosmic_metrics().shards.iter().map(|shard| shard.operations).sum::<u64>();
    assert_eq!(operations(), 0);
    machine.pass(&engine, Duration::from_secs(1));
    let idle = engine.entropy_metrics();
    assert!(idle.operations <= 0.0 && idle.entropy.is_none(), "{idle:?}");
    engine.put("key:0", "y").unwrap();
    assert_eq!(operations(), 1);
}
