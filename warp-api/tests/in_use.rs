//! Reading a directory that a running engine has open: what is read is right, and nothing goes away under it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by a panic")]

mod common;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::{Machine, entries, report, small};
use warp_api::{ErrorKind, LogFormat, Options, PointInTime, Seq, Task, WarpEngine, WriteBatch};

#[test]
fn a_reader_sees_the_last_frame_on_the_disk() {
    let machine = Machine::new(1);
    let engine = machine.open(small());
    engine.put("key", "1").unwrap();
    engine.sync().unwrap();
    let reader = machine.open(small().read_only(true));
    let view =
        small().open_at_in(&machine.disk.root(), machine.environment(), PointInTime::Seq(Seq(1))).unwrap();
    assert_eq!(entries(&reader), entries(&engine));
    assert!(reader.verify().unwrap().is_clean());
    engine.put("key", "2").unwrap();
    engine.checkpoint().unwrap();
    assert_eq!(reader.get("key").unwrap().as_deref(), Some(&b"1"[..]), "as it was when it was opened");
    assert_eq!(view.get("key").unwrap().as_deref(), Some(&b"1"[..]));
    assert_eq!(machine.try_open(small()).unwrap_err().kind(), ErrorKind::Locked, "one engine writes");
}

/// Who verifies reads what there was when it began; checkpoints go on, and leave the files alone until it is done.
#[test]
fn checkpoints_are_taken_while_everything_is_verified() {
    let machine = Machine::new(1);
    let handle: Arc<Mutex<Option<WarpEngine>>> = Arc::default();
    let writing = Arc::clone(&handle);
    let options = small().checkpoints_kept(1).on_progress(move |progress| {
        if progress.task == Task::Verify
            && let Some(engine) = writing.lock().unwrap().take()
        {
            for round in 0..3 {
                engine.put("key", format!("{round}")).unwrap();
                engine.checkpoint().unwrap();
            }
        }
    });
    let engine = machine.open(options);
    for round in 0..3 {
        engine.put("key", format!("before {round}")).unwrap();
        engine.checkpoint().unwrap();
    }
    let metrics = || engine.cosmic_metrics().checkpoints.unwrap();
    let (taken, removed) = (metrics().taken, metrics().removed_files);
    *handle.lock().unwrap() = Some(engine.clone());
    let report = engine.verify().unwrap();
    assert!(report.is_clean() && report.layers > 0, "{report:?}");
    assert_eq!((metrics().taken, metrics().removed_files), (taken + 3, removed));
    assert!(metrics().held_back);
    machine.pass(&engine, Duration::from_secs(3));
    assert!(metrics().removed_files > removed && !metrics().held_back);
}

/// As long as somebody reads, nothing is removed or written to again; the metrics say so, and it goes once they are done.
#[test]
fn readers_hold_files_back_and_that_is_told() {
    let machine = Machine::new(1);
    let engine = machine.open(small().checkpoints_kept(1));
    let write = |rounds: u32| {
        for round in 0..rounds {
            for number in 0..20 {
                engine.put(format!("key:{number}"), format!("{round} {}", "v".repeat(6000))).unwrap();
            }
            engine.checkpoint().unwrap();
        }
    };
    write(3);
    let metrics = || engine.cosmic_metrics().checkpoints.unwrap();
    assert!(metrics().removed_files > 0 && !metrics().held_back);
    let files = machine.disk.files();
    let reader = machine.open(small().read_only(true));
    let (expected, removed) = (entries(&reader), metrics().removed_files);
    write(6);
    let now = machine.disk.files();
    let gone: Vec<&String> = files.iter().filter(|file| file.ends_with("p") && !now.contains(file)).collect();
    assert!(gone.is_empty(), "{gone:?}");
    assert!(metrics().held_back && metrics().removals_held_back >= 6, "{:?}", metrics());
    assert_eq!(metrics().removed_files, removed);
    assert_eq!(engine.cosmic_metrics().log.unwrap().reused, 0);
    assert!(reader.verify().unwrap().is_clean());
    assert!(entries(&reader) == expected);
    assert!(now.len() > files.len() + 6);
    reader.close().unwrap();
    machine.pass(&engine, Duration::from_millis(1200));
    assert!(!metrics().held_back && metrics().removed_files > removed, "{:?}", metrics());
    assert!(machine.disk.files().len() < now.len());
}

/// Beside writers that go on, each look gives what was there, or an earlier prefix, and never damage.
#[test]
fn every_look_beside_two_writers_is_sound() {
    for format in [LogFormat::Binary, LogFormat::Json] {
        let scratch = tempfile::tempdir().unwrap();
        let options = || {
            Options::new()
                .log_format(format)
                .log_segment_bytes(128 << 10)
                .log_buffer_bytes(64 << 10)
                .checkpoint_log_bytes(512 << 10)
                .checkpoints_kept(1)
        };
        let engine = options().open(scratch.path()).unwrap();
        let stop = AtomicBool::new(false);
        let (mut looks, mut last) = (0, Seq(0));
        std::thread::scope(|scope| {
            for writer in 0..2 {
                let (engine, stop) = (&engine, &stop);
                scope.spawn(move || {
                    let mut number = 0_u64;
                    while !stop.load(Ordering::Relaxed) {
                        let value = format!("{number} {}", "v".repeat(700));
                        let mut batch = WriteBatch::new();
                        batch.put(format!("{writer}/a"), &value).put(format!("{writer}/b"), &value);
                        batch.put(format!("{writer}/{}", number % 100), &value);
                        engine.write(&batch).unwrap();
                        number += 1;
                        if number.is_multiple_of(8) {
                            std::thread::sleep(Duration::from_millis(1));
                        }
                    }
                });
            }
            let stopping = Stopping(&stop);
            let end = std::time::Duration::from_millis(2500);
            let clock = warp_io::SystemClock::new();
            while warp_io::Clock::monotonic(&clock) < end {
                let verified = engine.verify().unwrap();
                assert!(verified.is_clean(), "{format:?}: {:?}", verified.problems);
                let reader = Options::new().read_only(true).open(scratch.path()).unwrap();
                let found = reader.recovery_report().last_seq;
                assert!(found >= last && reader.recovery_report().lost.is_empty());
                last = found;
                for writer in 0..2 {
                    let at = |key: &str| reader.get(format!("{writer}/{key}")).unwrap();
                    assert_eq!(at("a"), at("b"), "a batch is whole");
                }
                let verified = reader.verify().unwrap();
                assert!(verified.is_clean(), "{format:?}: {:?}", verified.problems);
                let view = WarpEngine::open_at(scratch.path(), PointInTime::Seq(last)).unwrap();
                assert_eq!(view.get("0/a").unwrap(), view.get("0/b").unwrap());
                reader.close().unwrap();
                looks += 1;
            }
            drop(stopping);
        });
        let metrics = engine.cosmic_metrics();
        report(&format!(
            "{format:?}: {looks} looks beside two writers, up to {last}; {} checkpoints, {} files removed, {} held back",
            metrics.checkpoints.as_ref().unwrap().taken,
            metrics.checkpoints.as_ref().unwrap().removed_files,
            metrics.checkpoints.as_ref().unwrap().removals_held_back
        ));
        assert!(looks > 3);
        engine.close().unwrap();
    }
}

/// Ends the writers when it goes.
struct Stopping<'a>(&'a AtomicBool);

impl Drop for Stopping<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
