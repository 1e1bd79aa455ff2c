//! Checkpoints, merges and the removal of files, when something goes wrong with them: nothing is lost, nothing is tried
//! without end, and nothing else fails for it.

#![allow(
    clippy::cast_possible_truncation,
    clippy::unwrap_used,
    reason = "a test that cannot go on says so by a panic, and its numbers are small"
)]

mod common;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use common::{Machine, entries, lasting, small, wait_until};
use warp_api::{Background, Durability, Environment, Options, Physics, Task, WarpEngine};
use warp_io::{Fault, OpKind};

/// Layers that are not yet merged, all of one size.
const LAYERS: u32 = 6;

fn fill(engine: &WarpEngine, layers: u32) {
    for layer in 0..layers {
        for number in 0..20 {
            engine.put(format!("{layer}/{number}"), "value").unwrap();
        }
        engine.checkpoint().unwrap();
    }
}

#[test]
fn a_panic_of_whoever_is_told_of_a_checkpoint_loses_nothing() {
    // At its first report, and at its last.
    for fatal in [0, 1] {
        let machine = Machine::new(1);
        let reports = Arc::new(AtomicU32::new(0));
        let count = Arc::clone(&reports);
        let engine = machine.open(small().on_progress(move |progress| {
            if progress.task == Task::Checkpoint && count.fetch_add(1, Ordering::Relaxed) == fatal {
                panic!("a panic of the test's own");
            }
        }));
        engine.with_durability(Durability::Sync).put("key", "value").unwrap();
        catch_unwind(AssertUnwindSafe(|| engine.checkpoint())).unwrap_err();
        assert_eq!(reports.load(Ordering::Relaxed), fatal + 1);
        engine.put("other", "1").unwrap();
        assert_eq!(
            engine.checkpoint().unwrap().entries,
            2,
            "what the first would have written is still to come"
        );
        let layers = machine.disk.files().iter().filter(|file| file.starts_with("layers/")).count();
        assert_eq!(layers, 1, "what the first has left is removed");
        engine.close().unwrap();
        assert_eq!(entries(&machine.open(small())).len(), 2);
    }
}

/// Entries move from memory into the first layer while they are walked.
#[test]
fn a_walk_sees_each_key_once_while_the_first_checkpoint_is_taken() {
    for walk in ["len", "iter", "export"] {
        let machine = Machine::new(1);
        let (engine, interruptions) = machine.open_interruptible(small());
        for number in 0..500 {
            engine.put_with(number.to_string(), "value", &lasting()).unwrap();
        }
        let other = engine.clone();
        interruptions.at_next_look(move || assert_eq!(other.checkpoint().unwrap().entries, 500));
        let seen = match walk {
            "len" => engine.len().unwrap(),
            "iter" => engine.iter().map(Result::unwrap).count() as u64,
            _ => engine.export(Vec::new()).unwrap().entries,
        };
        assert!(interruptions.is_done(), "it was not interrupted");
        assert_eq!(seen, 500, "{walk}");
    }
}

/// As above, with threads of the engine's own, and at whatever moment they meet.
#[test]
fn a_count_is_right_while_checkpoints_are_taken() {
    let scratch = tempfile::tempdir().unwrap();
    for round in 0..4 {
        let engine = Options::new().open(scratch.path().join(round.to_string())).unwrap();
        for number in 0..4_000 {
            engine.put(number.to_string(), "value").unwrap();
        }
        std::thread::scope(|scope| {
            let counting = scope.spawn(|| {
                while engine.cosmic_metrics().checkpoints.unwrap().taken == 0 {
                    assert_eq!(engine.len().unwrap(), 4_000);
                }
            });
            engine.checkpoint().unwrap();
            counting.join().unwrap();
        });
    }
}

/// Has the next layer that is created fail, and returns how often that happened.
fn fail_next_layer(machine: &Machine) -> Arc<AtomicU32> {
    let failed = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&failed);
    machine.disk.inject_when(move |operation| {
        let is_layer = operation.kind == OpKind::CreateNew && operation.path.starts_with("layers/");
        (is_layer && count.load(Ordering::Relaxed) == 0).then(|| {
            count.fetch_add(1, Ordering::Relaxed);
            Fault::Eio
        })
    });
    failed
}

#[test]
fn a_merge_that_fails_does_not_fail_the_checkpoint_and_is_tried_again_later() {
    let machine = Machine::new(1);
    let engine = machine.open(small());
    fill(&engine, LAYERS);
    engine.put("last", "1").unwrap();
    let failed = fail_next_layer(&machine);
    let report = engine.checkpoint().unwrap();
    assert_eq!(failed.load(Ordering::Relaxed), 1);
    assert_eq!((report.merged_layers, report.layers, report.entries), (0, 7, 1));
    assert_eq!(entries(&engine).len(), 121, "more layers than there should be cost time, and nothing else");
    // The next one does without trying, and the one after that merges.
    for (merged, layers) in [(0, 8), (8, 1)] {
        engine.put("after", "1").unwrap();
        let report = engine.checkpoint().unwrap();
        assert_eq!((report.merged_layers, report.layers), (merged, layers));
    }
    let metrics = engine.cosmic_metrics().checkpoints.unwrap();
    assert_eq!((metrics.merges, metrics.merge_failures, metrics.failed), (1, 1, 0));
    assert_eq!(entries(&engine).len(), 122);
    assert!(engine.verify().unwrap().is_clean());
}

#[test]
fn a_merge_that_fails_does_not_fail_the_close() {
    let machine = Machine::new(1);
    let engine = machine.open(small());
    fill(&engine, LAYERS);
    engine.put("last", "1").unwrap();
    let failed = fail_next_layer(&machine);
    engine.close().unwrap();
    assert_eq!(failed.load(Ordering::Relaxed), 1, "nothing failed, so this test shows nothing");
    machine.disk.clear_faults();
    let engine = machine.open(small());
    assert!(engine.recovery_report().clean_close && engine.recovery_report().replayed == 0);
    assert_eq!(entries(&engine).len(), 121);
}

#[test]
fn files_that_cannot_be_removed_fail_neither_a_checkpoint_nor_an_open() {
    for stuck in ["MANIFEST-", "layers/", "wal/"] {
        let machine = Machine::new(1);
        let options = || small().checkpoints_kept(1);
        let engine = machine.open(options());
        let failures = Arc::new(AtomicU32::new(0));
        let count = Arc::clone(&failures);
        machine.disk.inject_when(move |operation| {
            // The log renames segments that it keeps for later.
            let takes_away = operation.kind == OpKind::Remove
                || operation.kind == OpKind::Rename && operation.path.starts_with("wal/");
            let is_stuck = takes_away && operation.path.starts_with(stuck);
            is_stuck.then(|| count.fetch_add(1, Ordering::Relaxed)).map(|_| Fault::Eio)
        });
        // Enough for several segments of the log, and for a merge.
        for round in 0..9 {
            for number in 0..60 {
                engine.put(format!("{}", round * 40 + number), "v".repeat(400)).unwrap();
            }
            engine.checkpoint().unwrap_or_else(|error| panic!("{stuck}: {error}"));
            machine.pass(&engine, Duration::from_millis(200));
        }
        assert!(failures.load(Ordering::Relaxed) > 0, "{stuck}: nothing failed, so this test shows nothing");
        assert_eq!(engine.cosmic_metrics().checkpoints.unwrap().failed, 0, "{stuck}");
        let (before, left) = (entries(&engine), machine.disk.files().len());
        drop(engine);
        let engine = machine.try_open(options()).unwrap_or_else(|error| panic!("{stuck}: {error}"));
        assert_eq!(entries(&engine), before, "{stuck}");
        machine.disk.clear_faults();
        engine.put("after", "1").unwrap();
        engine.checkpoint().unwrap();
        assert!(machine.disk.files().len() < left, "{stuck}: what was left is removed later");
        assert!(engine.verify().unwrap().is_clean());
    }
}

/// Whoever wants no checkpoint for the sake of the log's size says so with the largest number there is.
#[test]
fn a_log_without_a_bound_asks_for_no_checkpoint() {
    let machine = Machine::new(1);
    let engine = machine.open(small().checkpoint_log_bytes(u64::MAX));
    for number in 0..200 {
        engine.put(format!("key:{number}"), [b'x'; 1000]).unwrap();
        machine.pass(&engine, Duration::from_millis(10));
    }
    assert_eq!(engine.cosmic_metrics().checkpoints.unwrap().taken, 0);
}

/// A layer that was being written when its process was killed is named by no manifest. No opening waits until it is gone.
#[test]
fn what_a_killed_process_left_goes_in_the_background() {
    let machine = Machine::new(1);
    machine.open(small()).close().unwrap();
    for file in ["layers/99.warp", "layers/99.places", "MANIFEST-99.tmp"] {
        machine.disk.write(file, b"begun".to_vec());
    }
    let environment = Environment { background: Background::Threads, ..machine.environment() };
    let engine = small().open_in(&machine.disk.root(), environment).unwrap();
    assert!(wait_until(|| machine.disk.files().iter().all(|file| !file.contains("99"))));
    engine.close().unwrap();
}

#[test]
fn the_last_layers_filter_is_asked_once_keys_are_absent() {
    let machine = Machine::new(8);
    let engine = machine.open(small());
    (0..600_u32).for_each(|n| _ = engine.put(n.to_le_bytes(), "value").unwrap());
    engine.close().unwrap();
    let engine = machine.open(small().physics(Physics::off()));
    let lookups = |keys: std::ops::Range<u32>| {
        let before = engine.cosmic_metrics().checkpoints.unwrap();
        let found = keys.filter(|n| engine.get(n.to_le_bytes()).unwrap().is_some()).count();
        let after = engine.cosmic_metrics().checkpoints.unwrap();
        let (asked, probed) =
            (after.filters_asked - before.filters_asked, after.layers_probed - before.layers_probed);
        (found, asked, probed, after.filter_false_positives - before.filter_false_positives)
    };
    // Opening looked for what is not there.
    lookups(500..600);
    assert_eq!(lookups(0..200), (200, 0, 200, 0));
    let (found, asked, probed, wrong) = lookups(1_000..1_200);
    assert_eq!((found, asked + 5), (0, 200), "five absent keys are enough");
    assert!((5..12).contains(&probed) && wrong == probed, "{probed} {wrong}");
    // All keys are there again: the filter is asked for a while, and then no more.
    let (found, asked, probed, _) = lookups(200..500);
    assert!((found, probed) == (300, 300) && (100..250).contains(&asked), "{asked} {probed}");
}
