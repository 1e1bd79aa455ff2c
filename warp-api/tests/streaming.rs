//! Checkpoints that are written in chunks, and merged with older layers on the way: what goes wrong in the middle loses
//! nothing, and what is of no more use takes no space.

#![allow(
    clippy::cast_possible_truncation,
    clippy::unwrap_used,
    reason = "a test that cannot go on says so by a panic, and its numbers are small"
)]

mod common;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use common::{Machine, entries, small};
use warp_api::{CheckpointReason, Durability, Options, Physics, PutOptions, ReasonCounts, Task, WarpEngine};
use warp_io::{Fault, OpKind, Survival};

/// Enough for several writes to a layer's file, and several chunks.
const ENTRIES: u32 = 9_000;

fn fill(engine: &WarpEngine, round: u32) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut written = BTreeMap::new();
    for number in 0..ENTRIES {
        let (key, value) = (format!("key:{number}"), format!("{round}:{number}:{}", "v".repeat(100)));
        engine.put(&key, &value).unwrap();
        written.insert(key.into_bytes(), value.into_bytes());
    }
    written
}

/// Bytes of all files but those of the log.
fn disk_without_log(machine: &Machine) -> u64 {
    let root = machine.disk.root();
    let bytes = |name: &str| {
        let (dir, name) = name.split_once('/').map_or((None, name), |(dir, name)| (Some(dir), name));
        let dir = dir.map_or_else(
            || warp_io::Dir::handle(&root),
            |dir| warp_io::Dir::subdir(&root, dir, false).unwrap(),
        );
        dir.open(name, false).unwrap().len().unwrap()
    };
    let files = machine.disk.files();
    files.iter().filter(|name| !name.starts_with("wal/") && *name != "LOCK").map(|name| bytes(name)).sum()
}

#[test]
fn a_write_that_fails_in_the_middle_puts_the_lists_back() {
    for merges in [false, true] {
        // One more at each attempt, until a checkpoint needs no more writes than that.
        let mut survived = 0;
        for failing in 0.. {
            let machine = Machine::new(1);
            let engine = machine.open(small().log_segment_bytes(4 << 20).log_buffer_bytes(1 << 20));
            if merges {
                fill(&engine, 0);
                engine.checkpoint().unwrap();
            }
            let written = fill(&engine, 1);
            let (writes, count) = (AtomicU64::new(0), Arc::new(AtomicU64::new(0)));
            let failed = Arc::clone(&count);
            machine.disk.inject_when(move |operation| {
                let is_write = operation.kind == OpKind::WriteAt && operation.path.starts_with("layers/");
                // Those of the attempt without merging, too.
                (is_write && writes.fetch_add(1, Ordering::Relaxed) >= failing).then(|| {
                    failed.fetch_add(1, Ordering::Relaxed);
                    Fault::NoSpace
                })
            });
            let first = engine.checkpoint();
            machine.disk.clear_faults();
            if count.load(Ordering::Relaxed) == 0 {
                assert!(first.is_ok());
                break;
            }
            survived += 1;
            let report = match first {
                // The attempt without merging needs less.
                Ok(report) => report,
                Err(_) => {
                    assert_eq!(engine.put("key:0", &written[&b"key:0"[..]]).map(drop).ok(), Some(()));
                    engine.checkpoint().unwrap()
                }
            };
            assert_eq!(report.entries, u64::from(ENTRIES), "merges {merges}, write {failing}");
            // All of it is in the layers: the log alone has nothing more.
            let image = machine.with_disk(machine.disk.crash(Survival::Nothing));
            let recovered = image.open(small());
            assert_eq!(entries(&recovered), written, "merges {merges}, write {failing}");
            assert!(recovered.verify().unwrap().is_clean());
            assert_eq!(engine.cosmic_metrics().memory.checkpoint_bytes, 0);
        }
        assert!(survived >= 4, "only {survived} writes of a layer");
    }
}

#[test]
fn a_panic_in_the_middle_of_a_checkpoint_puts_the_lists_back() {
    const MANY: u32 = 60_000;
    let machine = Machine::new(1);
    let armed = Arc::new(AtomicBool::new(true));
    let arms = Arc::clone(&armed);
    let engine = machine.open(small().log_segment_bytes(4 << 20).log_buffer_bytes(1 << 20).on_progress(
        move |progress| {
            let is_middle = progress.task == Task::Checkpoint && progress.done > 30_000;
            if is_middle && arms.swap(false, Ordering::Relaxed) {
                panic!("a panic of the test's own");
            }
        },
    ));
    for number in 0..MANY {
        engine.put(format!("key:{number}"), "value").unwrap();
    }
    catch_unwind(AssertUnwindSafe(|| engine.checkpoint())).unwrap_err();
    assert!(!armed.load(Ordering::Relaxed));
    engine.put("key:7", "newer").unwrap();
    engine.delete("key:8").unwrap();
    assert_eq!(
        engine.checkpoint().unwrap().entries,
        u64::from(MANY) - 1,
        "no layer has what the tombstone hides"
    );
    let recovered = machine.with_disk(machine.disk.crash(Survival::Nothing)).open(small());
    assert_eq!(recovered.len().unwrap(), u64::from(MANY) - 1);
    assert_eq!(recovered.get("key:7").unwrap().as_deref(), Some(&b"newer"[..]));
}

#[test]
fn what_was_overwritten_and_deleted_gives_its_space_back() {
    let machine = Machine::new(1);
    // The demon would keep an entry of its own; and with a longer replay the key would be left to the log each time.
    let options = small().checkpoint_log_bytes(200 << 10).replay_bytes_max(600 << 10);
    let engine = machine.open(options.physics(Physics::off()));
    for round in 0..40_000_u32 {
        engine.put("key", format!("{round}:{}", "v".repeat(80))).unwrap();
        if round % 100 == 0 {
            machine.pass(&engine, Duration::from_millis(10));
        }
    }
    let metrics = engine.cosmic_metrics().checkpoints.unwrap();
    assert!(metrics.taken > 10, "{metrics:?}");
    // Three checkpoints of one entry each, with their manifests.
    assert!(disk_without_log(&machine) < 4_096, "{}", disk_without_log(&machine));
    assert!(metrics.merges > 0 && metrics.layers == 1);

    fill(&engine, 0);
    engine.checkpoint().unwrap();
    assert!(disk_without_log(&machine) > 1 << 20);
    for number in 0..ENTRIES {
        engine.delete(format!("key:{number}")).unwrap();
    }
    engine.delete("key").unwrap();
    let report = engine.checkpoint().unwrap();
    assert_eq!((report.bytes, report.layers), (0, 0), "tombstones over nothing");
    assert_eq!(engine.cosmic_metrics().regions[0].entries, 0);
    // Kept checkpoints go with those that follow.
    for round in 0..3_u32 {
        engine.put("after", round.to_string()).unwrap();
        engine.checkpoint().unwrap();
    }
    assert!(disk_without_log(&machine) < 4_096, "{}", disk_without_log(&machine));
    assert_eq!(engine.len().unwrap(), 1);
    assert!(engine.verify().unwrap().is_clean());
}

#[test]
fn overwriting_everything_again_and_again_writes_and_keeps_a_bounded_amount() {
    const COUNT: u64 = 20_000;
    const TIMES: u64 = 12;
    let machine = Machine::new(1);
    let engine = machine.open(
        small().log_segment_bytes(1 << 20).log_buffer_bytes(256 << 10).checkpoint_log_bytes(COUNT * 150 / 6),
    );
    let put = |number: u64, round: u64| {
        engine.put(format!("key:{number:06}"), format!("{round:04}{}", "v".repeat(102))).unwrap();
    };
    (0..COUNT).for_each(|number| put(number, 0));
    engine.checkpoint().unwrap();
    let data = COUNT * 116;
    let before = engine.cosmic_metrics().checkpoints.unwrap();
    let (mut most, mut random) = (0, 1_u64);
    for write in 0..COUNT * TIMES {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        put((random >> 33) % COUNT, write / COUNT + 1);
        if write % 200 == 0 {
            machine.clock.advance(Duration::from_millis(10));
            engine.step();
            most = most.max(disk_without_log(&machine));
        }
    }
    let after = engine.cosmic_metrics().checkpoints.unwrap();
    let written = after.bytes + after.merged_bytes - before.bytes - before.merged_bytes;
    let (times, share) = (written as f64 / (data * TIMES) as f64, most as f64 / data as f64);
    assert!(after.merges > 3, "{after:?}");
    // The log's part, some 1.2, is not in it.
    assert!(times <= 2.8, "layers were written {times:.2} times the data");
    assert!(share <= 4.0, "the disk held {share:.2} times the data");
    assert!(after.layers <= 7);
    assert_eq!(engine.len().unwrap(), COUNT);
}

#[test]
fn each_reason_for_a_checkpoint_is_counted() {
    let reasons = |engine: &WarpEngine| engine.cosmic_metrics().checkpoints.unwrap().reasons;
    let machine = Machine::new(1);
    let options = || small().checkpoint_interval(Duration::from_secs(100)).checkpoint_log_bytes(50_000);
    let engine = machine.open(options());
    assert_eq!(reasons(&engine), ReasonCounts::default());
    engine.put("key", "1").unwrap();
    assert_eq!(engine.checkpoint().unwrap().reason, CheckpointReason::Demand);
    engine.put("key", "2").unwrap();
    machine.pass(&engine, Duration::from_secs(101));
    assert_eq!((reasons(&engine).demand, reasons(&engine).time), (1, 1));
    for number in 0..100 {
        engine
            .put_with(number.to_string(), [7; 600], &PutOptions::new().ttl(Duration::from_secs(200)))
            .unwrap();
    }
    machine.pass(&engine, Duration::from_secs(1));
    assert_eq!((reasons(&engine).log_bytes, reasons(&engine).garbage), (1, 0));
    // Nothing is written, and nearly everything expires: the layers are merged for that alone.
    machine.pass(&engine, Duration::from_secs(280));
    assert_eq!(reasons(&engine).garbage, 1);
    let metrics = engine.cosmic_metrics().checkpoints.unwrap();
    assert_eq!(metrics.taken, 4);
    assert!(metrics.layer_bytes < 1_000, "{metrics:?}");
    assert_eq!(entries(&engine).len(), 1);
    let clone = engine.clone();
    engine.put("key", "3").unwrap();
    engine.close().unwrap();
    assert_eq!(reasons(&clone).close, 1);
}

/// A checkpoint that merges much is left undone when the database is closed; that of the close has everything.
#[test]
fn closing_does_not_wait_for_a_merge() {
    let scratch = tempfile::tempdir().unwrap();
    let (begun, when_begun) = mpsc::channel();
    let (go_on, when_closing) = mpsc::channel::<()>();
    let armed = Arc::new(AtomicBool::new(false));
    let (arms, begun) = (Arc::clone(&armed), std::sync::Mutex::new((begun, when_closing)));
    // Due when nearly all is written, however slowly: a smaller one would not merge.
    let options =
        Options::new().checkpoint_interval(Duration::from_secs(1_000)).checkpoint_log_bytes(1_320_000);
    let engine = options
        .on_progress(move |progress| {
            let is_begun = progress.task == Task::Checkpoint && progress.done == 0;
            if is_begun && arms.swap(false, Ordering::Relaxed) {
                let (begun, when_closing) = &*begun.lock().unwrap();
                begun.send(()).unwrap();
                when_closing.recv().unwrap();
            }
        })
        .open(scratch.path())
        .unwrap();
    let loose = engine.with_durability(Durability::Os);
    // So much of it twice that the next checkpoint merges.
    fill(&loose, 0);
    engine.checkpoint().unwrap();
    armed.store(true, Ordering::Relaxed);
    let written = fill(&loose, 1);
    when_begun.recv_timeout(Duration::from_secs(60)).unwrap();
    let clone = engine.clone();
    let closing = std::thread::spawn(move || engine.close());
    // By then it has said that the worker is to end.
    std::thread::sleep(Duration::from_millis(200));
    go_on.send(()).unwrap();
    closing.join().unwrap().unwrap();
    let metrics = clone.cosmic_metrics().checkpoints.unwrap();
    assert_eq!((metrics.reasons.log_bytes, metrics.reasons.close, metrics.failed), (0, 1, 0), "{metrics:?}");
    let engine = WarpEngine::open(scratch.path()).unwrap();
    assert!(engine.recovery_report().clean_close);
    assert_eq!(entries(&engine), written);
}
