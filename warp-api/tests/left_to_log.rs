//! Checkpoints that leave what was written lately to the log: what they write, and that nothing is lost.

#![allow(
    clippy::cast_possible_truncation,
    clippy::unwrap_used,
    reason = "a test that cannot go on says so by a panic, and its numbers are small"
)]

mod common;

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use common::{Machine, Random, entries, small};
use warp_api::{CheckpointMetrics, ErrorKind, Options, Physics, PointInTime, PutOptions, Seq, WarpEngine};
use warp_io::{Fault, OpKind, Survival};

const CALL_BYTES: u64 = 20_000;
/// Some 160 puts of 100 bytes call for a checkpoint.
const PUTS_OF_A_CALL: u64 = 160;

fn options() -> Options {
    small().checkpoint_log_bytes(CALL_BYTES)
}

/// Overwrites keys of 60 at random, with background work after each write.
fn overwrite(machine: &Machine, engine: &WarpEngine, random: &mut Random, puts: u64) {
    for number in 0..puts {
        let value = format!("{number:0100}");
        engine.put(format!("hot:{}", random.below(60)), value).unwrap();
        machine.pass(engine, Duration::from_millis(10));
    }
}

/// Writes keys for the first time, likewise.
fn load(machine: &Machine, engine: &WarpEngine, numbers: Range<u64>) {
    for number in numbers {
        engine.put(format!("key:{number}"), [b'x'; 100]).unwrap();
        machine.pass(engine, Duration::from_millis(10));
    }
}

fn checkpoints(engine: &WarpEngine) -> CheckpointMetrics {
    engine.cosmic_metrics().checkpoints.unwrap()
}

#[test]
fn what_is_overwritten_soon_is_hardly_ever_written_to_a_layer() {
    let machine = Machine::new(1);
    let engine = machine.open(options());
    overwrite(&machine, &engine, &mut Random(1), 12 * PUTS_OF_A_CALL);
    let metrics = checkpoints(&engine);
    assert!(metrics.reasons.log_bytes >= 6 && metrics.left_to_log > 200, "{metrics:?}");
    // Of 60 keys some 56 are written within a call, and some 4 not within the next one either.
    assert!(metrics.entries < metrics.reasons.log_bytes * 12, "{metrics:?}");
    let expected = entries(&engine);
    let last = engine.last_seq().0;
    assert!(metrics.replay_from.0 + PUTS_OF_A_CALL / 2 < last, "{metrics:?} of {last}");
    let crashed = machine.with_disk(machine.disk.crash(Survival::Everything)).open(options());
    assert_eq!(entries(&crashed), expected);
    let replayed = crashed.recovery_report().log_bytes;
    assert!((CALL_BYTES / 2..4 * CALL_BYTES).contains(&replayed), "{replayed} bytes were replayed");
}

#[test]
fn a_key_that_is_always_overwritten_is_never_written_to_a_layer() {
    let machine = Machine::new(9);
    let engine = machine.open(options().physics(Physics::off()));
    for number in 0..20 * PUTS_OF_A_CALL {
        engine.put("key", format!("{number:0100}")).unwrap();
        machine.pass(&engine, Duration::from_millis(10));
    }
    let metrics = checkpoints(&engine);
    assert!(metrics.taken > 10 && metrics.entries == 0 && metrics.layers == 0, "{metrics:?}");
    let crashed = machine.with_disk(machine.disk.crash(Survival::Everything)).open(options());
    assert_eq!(crashed.get("key").unwrap().unwrap(), engine.get("key").unwrap().unwrap());
}

#[test]
fn nothing_is_left_to_the_log_that_is_not_written_again() {
    let machine = Machine::new(2);
    let engine = machine.open(options());
    load(&machine, &engine, 0..5 * PUTS_OF_A_CALL);
    let metrics = checkpoints(&engine);
    assert!(metrics.taken >= 4 && metrics.left_to_log == 0, "{metrics:?}");
    assert!(metrics.replay_from.0 + PUTS_OF_A_CALL + 20 > engine.last_seq().0, "{metrics:?}");
}

/// Once fresh keys come, what was set aside is written with the rest.
#[test]
fn a_load_after_overwrites_ends_it() {
    let machine = Machine::new(3);
    let engine = machine.open(options());
    overwrite(&machine, &engine, &mut Random(3), 5 * PUTS_OF_A_CALL);
    assert!(checkpoints(&engine).left_to_log > 0);
    load(&machine, &engine, 0..2 * PUTS_OF_A_CALL);
    let (left, from) = (checkpoints(&engine).left_to_log, checkpoints(&engine).replay_from.0);
    load(&machine, &engine, 2 * PUTS_OF_A_CALL..4 * PUTS_OF_A_CALL);
    let metrics = checkpoints(&engine);
    assert!(metrics.left_to_log == left && metrics.replay_from.0 > from + PUTS_OF_A_CALL, "{metrics:?}");
    let expected = entries(&engine);
    let crashed = machine.with_disk(machine.disk.crash(Survival::Everything)).open(options());
    assert_eq!(entries(&crashed), expected);
}

#[test]
fn every_other_checkpoint_writes_everything() {
    let machine = Machine::new(4);
    let engine = machine.open(options());
    // Once only, so that nothing but what was set aside names them.
    for number in 0..20 {
        engine.put(format!("once:{number}"), "1").unwrap();
    }
    let mut random = Random(4);
    let mut puts = 0;
    while engine.cosmic_metrics().memory.checkpoint_bytes == 0 {
        overwrite(&machine, &engine, &mut random, 1);
        puts += 1;
        assert!(puts < 2 * PUTS_OF_A_CALL, "nothing was set aside");
    }
    assert_eq!(checkpoints(&engine).taken, 0, "put off, and not taken");
    let report = engine.checkpoint().unwrap();
    assert_eq!((report.left_to_log, report.replay_from.0), (0, engine.last_seq().0 + 1));
    assert_eq!(report.entries as usize, entries(&engine).len());
    assert_eq!(engine.cosmic_metrics().memory.checkpoint_bytes, 0, "nothing is set aside");

    overwrite(&machine, &engine, &mut random, 5 * PUTS_OF_A_CALL);
    assert!(checkpoints(&engine).left_to_log > 0);
    assert!(checkpoints(&engine).replay_from.0 + PUTS_OF_A_CALL / 2 < engine.last_seq().0);
    machine.pass(&engine, Duration::from_secs(301));
    let metrics = checkpoints(&engine);
    assert_eq!((metrics.reasons.time, metrics.replay_from.0), (1, engine.last_seq().0 + 1));

    overwrite(&machine, &engine, &mut random, 5 * PUTS_OF_A_CALL);
    let expected = entries(&engine);
    engine.close().unwrap();
    let reopened = machine.open(options());
    // The record of the close itself is what is replayed.
    let replayed = reopened.recovery_report().log_bytes;
    assert!(replayed < CALL_BYTES / 20, "closing writes everything, and {replayed} bytes were replayed");
    assert_eq!(entries(&reopened), expected);
}

/// What was left to the log counts as changed: no layer has it, so that an older version must not come to light.
#[test]
fn what_expires_after_it_was_left_to_the_log_stays_away() {
    let machine = Machine::new(8);
    let engine = machine.open(options());
    engine.put("key", "older").unwrap();
    engine.checkpoint().unwrap();
    let mut random = Random(8);
    overwrite(&machine, &engine, &mut random, 4 * PUTS_OF_A_CALL);
    let before = checkpoints(&engine);
    engine.put_with("key", "newer", &PutOptions::new().ttl(Duration::from_secs(20))).unwrap();
    let seq = engine.last_seq();
    while checkpoints(&engine).taken == before.taken {
        overwrite(&machine, &engine, &mut random, 1);
    }
    let after = checkpoints(&engine);
    assert!(after.left_to_log > before.left_to_log && after.replay_from <= seq, "{after:?} of {seq:?}");
    machine.pass(&engine, Duration::from_secs(25));
    assert_eq!(checkpoints(&engine).taken, after.taken);
    assert!(engine.get("key").unwrap().is_none());
}

#[test]
fn a_failed_checkpoint_forgets_nothing_of_what_it_was_to_write() {
    let machine = Machine::new(5);
    let engine = machine.open(options());
    for number in 0..20 {
        engine.put(format!("once:{number}"), "1").unwrap();
    }
    overwrite(&machine, &engine, &mut Random(5), PUTS_OF_A_CALL);
    assert!(engine.cosmic_metrics().memory.checkpoint_bytes > 0, "nothing was set aside");
    machine.disk.inject_when(|operation| {
        (operation.kind == OpKind::WriteAt && operation.path.contains("layers/")).then_some(Fault::Eio)
    });
    overwrite(&machine, &engine, &mut Random(6), PUTS_OF_A_CALL);
    let metrics = checkpoints(&engine);
    assert!(metrics.failed > 0 && metrics.taken == 0, "{metrics:?}");
    assert_eq!(engine.cosmic_metrics().memory.checkpoint_bytes, 0, "nothing is set aside any more");
    machine.disk.clear_faults();
    let report = engine.checkpoint().unwrap();
    let expected = entries(&engine);
    assert_eq!(report.entries as usize, expected.len());
    engine.close().unwrap();
    assert_eq!(entries(&machine.open(options())), expected);
}

/// Related entries are laid out side by side by checkpoints that write all of them, and a short bound of the replay is
/// kept.
#[test]
fn nothing_is_left_to_the_log_beside_rules_or_a_short_bound() {
    let ruled = |engine: &WarpEngine| {
        engine.entanglement_rule("cold:{id}", &["hot:{id}"], 1.0).unwrap();
    };
    for (options, ruled) in [(options(), Some(ruled)), (options().replay_bytes_max(3 * CALL_BYTES), None)] {
        let machine = Machine::new(6);
        let engine = machine.open(options);
        ruled.into_iter().for_each(|add| add(&engine));
        overwrite(&machine, &engine, &mut Random(7), 5 * PUTS_OF_A_CALL);
        let metrics = checkpoints(&engine);
        assert!(metrics.reasons.log_bytes >= 4 && metrics.left_to_log == 0, "{metrics:?}");
    }
}

/// Keys that are written once, beside hot ones, by threads that do not wait for the checkpoints: what is written while
/// the lists of changed keys are closed is neither left for good nor forgotten.
#[test]
fn what_is_written_while_lists_are_closed_is_not_lost() {
    let scratch = tempfile::tempdir().unwrap();
    let options = || small().checkpoint_log_bytes(256 << 10).replay_bytes_max(64 << 20).checkpoints_kept(1);
    let engine = options().open(scratch.path()).unwrap();
    let write = &|thread: u64| {
        let mut number = 0_u64;
        while !number.is_multiple_of(1_000) || checkpoints(&engine).reasons.log_bytes < 12 {
            engine.put(format!("cold:{thread}:{number}"), number.to_string()).unwrap();
            for hot in 0..4 {
                engine.put(format!("hot:{thread}:{}", (number + hot) % 10), [b'x'; 40]).unwrap();
            }
            number += 1;
        }
        number
    };
    let counts = std::thread::scope(|scope| {
        let threads = [0, 1].map(|thread| scope.spawn(move || write(thread)));
        threads.map(|thread| thread.join().unwrap())
    });
    let metrics = checkpoints(&engine);
    assert!(metrics.left_to_log > 0, "{metrics:?}");
    // What no list has any more, no layer has after it.
    engine.close().unwrap();
    let reopened = options().open(scratch.path()).unwrap();
    for (thread, count) in counts.into_iter().enumerate() {
        for number in 0..count {
            let value = reopened.get(format!("cold:{thread}:{number}")).unwrap();
            assert_eq!(value.as_deref(), Some(number.to_string().as_bytes()), "cold:{thread}:{number}");
        }
    }
}

type Contents = BTreeMap<Vec<u8>, Vec<u8>>;

/// After a crash at any point the engine holds what it held at the sequence that it recovers to: writes, deletes,
/// `clear`, and entries that expire.
#[test]
fn a_crash_at_any_point_recovers_to_what_was_there() {
    let options = || small().checkpoint_log_bytes(3_000).log_segment_bytes(64 << 10);
    let (mut checked, mut left, mut viewed) = (0, 0, 0);
    for seed in 0..4 {
        let machine = Machine::new(seed);
        machine.disk.record();
        let engine = machine.open(options());
        let mut random = Random(seed);
        let mut was: BTreeMap<u64, Contents> = BTreeMap::new();
        was.insert(engine.last_seq().0, Contents::new());
        for number in 0..400_u32 {
            let keys = if random.one_in(8) { 200 } else { 12 };
            let key = format!("key:{}", random.below(keys));
            match random.below(40) {
                0..8 => engine.delete(&key).map(drop).unwrap(),
                8 if random.one_in(8) => engine.clear().map(drop).unwrap(),
                9..12 => {
                    let soon = PutOptions::new().ttl(Duration::from_secs(3_600 * 24));
                    engine.put_with(&key, number.to_string(), &soon).map(drop).unwrap();
                }
                _ => engine.put(&key, format!("{number:050}")).map(drop).unwrap(),
            }
            was.insert(engine.last_seq().0, entries(&engine));
            machine.pass(&engine, Duration::from_millis(10));
        }
        left += checkpoints(&engine).left_to_log;
        // Between the start of the replay and the highest sequence that a checkpoint looked at, views start from an
        // older one.
        for (seq, contents) in was.iter().rev().take(150) {
            match engine.view_at(PointInTime::Seq(Seq(*seq))) {
                Ok(view) => {
                    viewed += 1;
                    let found: Contents = view
                        .iter()
                        .map(|item| item.unwrap())
                        .map(|(key, value)| (key.to_vec(), value.to_vec()))
                        .collect();
                    assert_eq!(&found, contents, "seed {seed}, a view at {seq}");
                }
                Err(error) => assert_eq!(error.kind(), ErrorKind::OutOfRange, "{error}"),
            }
        }
        // Without the newest manifest the one before is enough, with the log from where it replays.
        let fallen = machine.with_disk(machine.disk.crash(Survival::Everything));
        let newest = checkpoints(&engine).number;
        fallen.disk.remove(&format!("MANIFEST-{newest}"));
        assert_eq!(entries(&fallen.open(options())), entries(&engine), "seed {seed}, without {newest}");
        let points = machine.disk.crash_points();
        for (place, point) in points.iter().enumerate().filter(|(place, _)| place % 3 == seed as usize % 3) {
            let survival = Survival::seeded(place as u64);
            let crashed = machine.with_disk(machine.disk.image_at(*point, survival)).open(options());
            let seq = crashed.recovery_report().last_seq.0;
            // Before the first write there is nothing.
            let expected = was.range(..=seq).next_back().map(|(_, contents)| contents.clone());
            assert_eq!(
                entries(&crashed),
                expected.unwrap_or_default(),
                "seed {seed}, operation {point}, {seq}"
            );
            checked += 1;
        }
    }
    assert!(checked > 600 && left > 250, "{checked} checks, {left} entries left to the log");
    assert!(viewed > 200, "{viewed} views");
}
