//! How far writers get ahead of the checkpoints.

#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "a test that cannot go on says so by a panic, and takes a directory away behind the engine's back"
)]

mod common;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, mpsc};
use std::time::Duration;

use common::wait_until;
use warp_api::{CheckpointMetrics, Durability, ErrorKind, Options, PutOptions, Task, WarpEngine};

/// What calls for a checkpoint.
const CALL_BYTES: u64 = 2 << 20;
const MOST_BYTES: u64 = 4 * CALL_BYTES;
const VALUE_BYTES: usize = 1 << 10;
const FAR_AHEAD: &str = "the log is as far ahead of the checkpoints as it may be";

fn options() -> Options {
    Options::new()
        .checkpoint_log_bytes(CALL_BYTES)
        .replay_bytes_max(MOST_BYTES)
        .durability(Durability::Os)
        .compress_values_from(usize::MAX)
}

fn checkpoints(engine: &WarpEngine) -> CheckpointMetrics {
    engine.cosmic_metrics().checkpoints.unwrap()
}

fn logged(engine: &WarpEngine) -> u64 {
    engine.cosmic_metrics().log.unwrap().record_bytes
}

/// Puts about so many bytes; stops where that would have to wait for a checkpoint, and returns whether it did.
fn put_without_waiting(engine: &WarpEngine, bytes: u64) -> bool {
    let no_wait = PutOptions::new().no_wait();
    let mut number = 0_u64;
    while number * (VALUE_BYTES as u64) < bytes {
        match engine.put_with(number.to_string(), [7; VALUE_BYTES], &no_wait) {
            Ok(_) => number += 1,
            Err(error) if error.to_string().contains(FAR_AHEAD) => {
                assert_eq!(error.kind(), ErrorKind::Busy);
                return true;
            }
            // The log's thread has its buffer empty soon.
            Err(error) => assert_eq!(error.kind(), ErrorKind::Busy, "{error}"),
        }
    }
    false
}

fn put(engine: &WarpEngine, bytes: u64) {
    for number in 0..bytes / VALUE_BYTES as u64 {
        engine.put(number.to_string(), [8; VALUE_BYTES]).unwrap();
    }
}

/// An engine whose first checkpoint stands still until something is sent, with what tells that it does.
fn standing_still(dir: &std::path::Path) -> (WarpEngine, mpsc::Receiver<()>, mpsc::Sender<()>) {
    let (begun, when_begun) = mpsc::channel();
    let (go_on, when_to_go_on) = mpsc::channel::<()>();
    let (first, ends) = (AtomicBool::new(true), Mutex::new((begun, when_to_go_on)));
    let engine = options()
        .on_progress(move |progress| {
            if progress.task == Task::Checkpoint && first.swap(false, Ordering::Relaxed) {
                let (begun, when_to_go_on) = &*ends.lock().unwrap();
                begun.send(()).unwrap();
                when_to_go_on.recv().unwrap();
            }
        })
        .open(dir)
        .unwrap();
    (engine, when_begun, go_on)
}

#[test]
fn writers_wait_for_a_checkpoint_that_cannot_follow() {
    let scratch = tempfile::tempdir().unwrap();
    let (engine, when_begun, go_on) = standing_still(scratch.path());
    put(&engine, CALL_BYTES + (1 << 20));
    when_begun.recv_timeout(Duration::from_secs(60)).unwrap();
    let before = checkpoints(&engine);
    // Who tries again is refused again.
    for _ in 0..100 {
        assert!(put_without_waiting(&engine, 100 << 20), "nothing held the log up at {}", logged(&engine));
    }
    assert!(logged(&engine) <= MOST_BYTES, "{} bytes were logged", logged(&engine));
    assert_eq!(checkpoints(&engine).writers_held_up, before.writers_held_up, "nobody has waited yet");
    // Who waits is slow, and not stuck.
    put(&engine, 100 << 10);
    let waited = checkpoints(&engine);
    assert!(waited.writers_held_up >= 2, "{waited:?}");
    assert!(waited.writers_held_up_nanos >= 1_000_000 * waited.writers_held_up, "{waited:?}");
    assert_eq!(waited.taken, 0);
    // Two writers that wait go on with it.
    std::thread::scope(|scope| {
        let writers: Vec<_> = (0..2).map(|_| scope.spawn(|| put(&engine, 8 << 20))).collect();
        std::thread::sleep(Duration::from_millis(50));
        go_on.send(()).unwrap();
        writers.into_iter().for_each(|writer| writer.join().unwrap());
    });
    assert!(checkpoints(&engine).taken >= 2);
    // Once all is in a checkpoint there is room again.
    assert!(wait_until(|| !put_without_waiting(&engine, 64 << 10)));
    engine.close().unwrap();
}

/// Puts more than may be logged before a checkpoint has made any progress, and less than calls for the next one.
fn put_beyond_a_failed_checkpoint(engine: &WarpEngine) {
    put(engine, 40 << 20);
    assert_eq!(checkpoints(engine).writers_held_up, 0);
    assert!(wait_until(|| logged(engine) > 40 << 20));
    assert_eq!(checkpoints(engine).taken, 0);
}

#[test]
fn nobody_waits_for_a_checkpoint_that_has_failed() {
    let scratch = tempfile::tempdir().unwrap();
    let engine =
        options().checkpoint_log_bytes(64 << 20).replay_bytes_max(256 << 20).open(scratch.path()).unwrap();
    // With the layers' directory gone it cannot succeed.
    std::fs::remove_dir_all(scratch.path().join("layers")).unwrap();
    put(&engine, 1 << 10);
    engine.checkpoint().unwrap_err();
    assert_eq!(checkpoints(&engine).failed, 1);
    put_beyond_a_failed_checkpoint(&engine);
}

#[test]
fn nobody_waits_for_a_checkpoint_that_has_ended_in_a_panic() {
    let scratch = tempfile::tempdir().unwrap();
    let engine = options()
        .checkpoint_log_bytes(64 << 20)
        .replay_bytes_max(256 << 20)
        .on_progress(|progress| assert_ne!(progress.task, Task::Checkpoint, "this program ends here"))
        .open(scratch.path())
        .unwrap();
    put(&engine, 1 << 10);
    let panic = std::panic::AssertUnwindSafe(|| engine.checkpoint());
    assert!(std::panic::catch_unwind(panic).is_err());
    put_beyond_a_failed_checkpoint(&engine);
}

#[test]
fn without_a_bound_nobody_waits() {
    for unbounded in [options().checkpoint_log_bytes(u64::MAX), options().replay_bytes_max(u64::MAX)] {
        let scratch = tempfile::tempdir().unwrap();
        let engine = unbounded.open(scratch.path()).unwrap();
        put(&engine, 16 << 20);
        engine.checkpoint().unwrap();
        put(&engine, 16 << 20);
        assert_eq!(checkpoints(&engine).writers_held_up, 0);
    }
}
