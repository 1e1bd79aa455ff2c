//! A write that a power loss takes back takes nothing else with it, whatever was done in between: a clear above all,
//! which takes everything.

#![allow(
    clippy::cast_possible_truncation,
    clippy::unwrap_used,
    reason = "a test that cannot go on says so by a panic, and its numbers are small"
)]

mod common;

use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::{Machine, entries, lasting, small};
use warp_api::{Durability, Seq, Task, WarpEngine, WriteBatch};
use warp_io::Survival;

/// What survives is chosen anew for each of these at every crash point.
const SURVIVALS: u64 = 8;
/// As many layers as there may be: the next checkpoint merges.
const LAYERS: u32 = 6;
/// The two durabilities whose writes a power loss may take back.
const LOOSE: [Durability; 2] = [Durability::Os, Durability::Interval];

type Entries = BTreeMap<Vec<u8>, Vec<u8>>;

/// Fills as many layers as are not merged yet, the lowest much larger than the others or all of one size. All of it is durable.
fn fill(engine: &WarpEngine, lowest: u32) -> Entries {
    let mut written = Entries::new();
    let mut put = |key: String| {
        engine.put_with(&key, "value", &lasting()).unwrap();
        written.insert(key.into_bytes(), b"value".to_vec());
    };
    for round in 0..LAYERS {
        let count = if round == 0 { lowest } else { 5 };
        (0..count).for_each(|number| put(format!("{round}/{number}")));
        engine.checkpoint().unwrap();
    }
    (0..20).for_each(|number| put(format!("in memory/{number}")));
    engine.sync().unwrap();
    written
}

/// Checks every crash since the recording began: what is there is what was written up to the last sequence recovered.
/// `states` are the contents from each of these sequences on; the first must have come up, and a later one.
fn check_crashes(machine: &Machine, states: &[(u64, Entries)], place: &str) {
    let mut known = HashSet::new();
    let mut met = vec![0; states.len()];
    for point in machine.disk.crash_points() {
        for survival in 0..SURVIVALS {
            let image = machine.disk.image_at(point, Survival::seeded(survival));
            if !known.insert(image.digest()) {
                continue;
            }
            let engine = machine.with_disk(image).open(small());
            let last = engine.recovery_report().last_seq.0;
            let state = states.iter().rposition(|(from, _)| *from <= last).unwrap();
            let (found, expected) = (entries(&engine), &states[state].1);
            let place =
                format!("{place}, operation {point} survival {survival}, recovered {last}, state {state}");
            assert!(found == *expected, "{place}: {} of {} entries", found.len(), expected.len());
            met[state] += 1;
        }
    }
    assert!(met[0] > 0 && met[1..].iter().any(|count| *count > 0), "{place}: images of each state: {met:?}");
}

/// Clears at `clear`, and one write after it.
fn cleared(before: Entries, clear: u64) -> [(u64, Entries); 3] {
    let after = Entries::from([(b"after".to_vec(), b"1".to_vec())]);
    [(0, before), (clear, Entries::new()), (clear + 1, after)]
}

/// Clears, does `then`, writes once more, and checks all crashes from the clear on.
fn clear_and_crash(name: &str, then: impl Fn(&WarpEngine)) {
    for durability in LOOSE {
        for lowest in [5, 300] {
            let machine = Machine::new(1);
            let engine = machine.open(small());
            let before = fill(&engine, lowest);
            machine.disk.record();
            let loose = engine.with_durability(durability);
            let clear = loose.clear().unwrap();
            then(&engine);
            loose.put("after", "1").unwrap();
            machine.pass(&engine, Duration::from_millis(200));
            engine.checkpoint().unwrap();
            let place = format!("{name}, {durability:?}, lowest {lowest}");
            check_crashes(&machine, &cleared(before, clear.0), &place);
        }
    }
}

#[test]
fn a_clear_that_is_taken_back_takes_nothing_with_it() {
    clear_and_crash("nothing in between", |_| {});
}

#[test]
fn a_merge_after_a_clear_leaves_nothing_out_that_may_come_back() {
    clear_and_crash("a merge", |engine| {
        engine.checkpoint().unwrap();
        assert_eq!(engine.cosmic_metrics().checkpoints.unwrap().merges, 1);
    });
}

#[test]
fn checkpoints_after_a_clear_leave_nothing_out_that_may_come_back() {
    clear_and_crash("two checkpoints", |engine| {
        engine.checkpoint().unwrap();
        engine.checkpoint().unwrap();
    });
}

/// Clears while a checkpoint that merges looks at an entry: the one after `looks` others.
fn clear_during(name: &str, looks: u32) {
    for durability in LOOSE {
        let machine = Machine::new(1);
        let (engine, interruptions) = machine.open_interruptible(small());
        let before = fill(&engine, 5);
        machine.disk.record();
        let clear = Arc::new(AtomicU64::new(0));
        let (loose, seq) = (engine.with_durability(durability), Arc::clone(&clear));
        interruptions.at_look(looks, move || seq.store(loose.clear().unwrap().0, Ordering::Relaxed));
        assert_eq!(engine.checkpoint().unwrap().merged_layers, LAYERS as usize);
        assert!(interruptions.is_done(), "{name}: it was not interrupted");
        engine.with_durability(durability).put("after", "1").unwrap();
        machine.pass(&engine, Duration::from_millis(200));
        engine.checkpoint().unwrap();
        let states = cleared(before, clear.load(Ordering::Relaxed));
        check_crashes(&machine, &states, &format!("{name}, {durability:?}"));
    }
}

#[test]
fn a_clear_while_a_checkpoint_collects_its_entries_takes_nothing_with_it() {
    // It has looked at all entries of the layers, to decide what to merge.
    let planned = LAYERS * 5;
    for looks in [0, planned, planned + 10] {
        clear_during("collecting", looks);
    }
}

#[test]
fn a_clear_while_layers_are_merged_takes_nothing_with_it() {
    // It has also collected what was in memory.
    for merged in [0, 7, 29] {
        clear_during("merging", LAYERS * 5 + 20 + merged);
    }
}

#[test]
fn a_clear_while_a_checkpoint_writes_its_layer_takes_nothing_with_it() {
    for durability in LOOSE {
        let machine = Machine::new(1);
        let clear = Arc::new(AtomicU64::new(0));
        let handle: Arc<Mutex<Option<WarpEngine>>> = Arc::default();
        let (seq, clearing) = (Arc::clone(&clear), Arc::clone(&handle));
        let engine = machine.open(small().on_progress(move |progress| {
            if progress.task == Task::Checkpoint
                && let Some(engine) = clearing.lock().unwrap().take()
            {
                seq.store(engine.clear().unwrap().0, Ordering::Relaxed);
            }
        }));
        let before = fill(&engine, 5);
        assert!(engine.cosmic_metrics().checkpoints.unwrap().merges == 0);
        machine.disk.record();
        *handle.lock().unwrap() = Some(engine.with_durability(durability));
        engine.checkpoint().unwrap();
        let clear = clear.load(Ordering::Relaxed);
        assert!(clear > 0, "it was not cleared");
        engine.with_durability(durability).put("after", "1").unwrap();
        machine.pass(&engine, Duration::from_millis(200));
        engine.checkpoint().unwrap();
        check_crashes(&machine, &cleared(before, clear), &format!("{durability:?}"));
    }
}

/// Writes `batch`, which changes every key, while the first checkpoint looks at the first of them: it finds the others
/// as they are after a write that may be lost.
fn change_during_the_first_checkpoint(batch: &WriteBatch, after: &Entries) {
    for durability in LOOSE {
        let machine = Machine::new(1);
        let (engine, interruptions) = machine.open_interruptible(small());
        let mut before = Entries::new();
        for number in 0..20 {
            engine.put_with(number.to_string(), "value", &lasting()).unwrap();
            before.insert(number.to_string().into_bytes(), b"value".to_vec());
        }
        engine.sync().unwrap();
        let changed = Seq(engine.last_seq().0 + 1);
        machine.disk.record();
        let (loose, batch) = (engine.with_durability(durability), batch.clone());
        interruptions.at_next_look(move || assert_eq!(loose.write(&batch).unwrap(), changed));
        engine.checkpoint().unwrap();
        assert!(interruptions.is_done(), "it was not interrupted");
        machine.pass(&engine, Duration::from_millis(200));
        engine.checkpoint().unwrap();
        check_crashes(&machine, &[(0, before), (changed.0, after.clone())], &format!("{durability:?}"));
    }
}

#[test]
fn deletions_while_the_first_checkpoint_collects_its_entries_take_nothing_with_them() {
    let mut batch = WriteBatch::new();
    for number in 0..20 {
        batch.delete(number.to_string());
    }
    change_during_the_first_checkpoint(&batch, &Entries::new());
}

#[test]
fn puts_while_the_first_checkpoint_collects_its_entries_take_nothing_with_them() {
    let mut batch = WriteBatch::new();
    let mut after = Entries::new();
    for number in 0..20 {
        batch.put(number.to_string(), "newer");
        after.insert(number.to_string().into_bytes(), b"newer".to_vec());
    }
    change_during_the_first_checkpoint(&batch, &after);
}
