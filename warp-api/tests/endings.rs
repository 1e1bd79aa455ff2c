//! What is still done, and what is not any more, when an engine is closed or poisoned, and what waits for its log.

#![allow(
    clippy::cast_possible_truncation,
    clippy::unwrap_used,
    reason = "a test that cannot go on says so by a panic, and its numbers are small"
)]

mod common;

use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use common::{Machine, Wakes, entries, small, wait_until};
use warp_api::{Durability, Environment, ErrorKind, Options, Task, WarpEngine};
use warp_io::{Dir, Fault, OpClass, OpKind, SimDisk};

#[test]
fn a_directory_can_be_opened_again_while_a_handle_of_a_closed_engine_lives() {
    let scratch = tempfile::tempdir().unwrap();
    let engine = WarpEngine::open(scratch.path()).unwrap();
    engine.put("key", "1").unwrap();
    let left = engine.clone();
    engine.close().unwrap();
    let engine = WarpEngine::open(scratch.path()).unwrap();
    assert_eq!(left.put("key", "2").unwrap_err().kind(), ErrorKind::Closed);
    // The end of the old handle is none of the new engine's business.
    drop(left);
    assert_eq!(WarpEngine::open(scratch.path()).unwrap_err().kind(), ErrorKind::Locked);
    engine.put("key", "3").unwrap();
    engine.close().unwrap();
    assert_eq!(entries(&WarpEngine::open(scratch.path()).unwrap())[&b"key"[..]], b"3");
}

/// The log is written until the very end: a write that another thread makes while the close takes its checkpoint is
/// durable as soon as any other.
#[test]
fn writes_of_other_handles_are_flushed_while_the_close_takes_its_checkpoint() {
    let disk = SimDisk::new(1);
    let handle: Arc<Mutex<Option<WarpEngine>>> = Arc::default();
    let writing = Arc::clone(&handle);
    let flushed = Arc::new(Mutex::new(None));
    let outcome = Arc::clone(&flushed);
    let options = Options::new().flush_interval(Duration::from_millis(10)).on_progress(move |progress| {
        if progress.task == Task::Checkpoint
            && let Some(engine) = writing.lock().unwrap().take()
        {
            let seq = engine.put("meanwhile", "1").unwrap();
            // Without the log's thread nobody would ever do it.
            let is_durable = (0..500).any(|_| {
                std::thread::sleep(Duration::from_millis(10));
                engine.durable_seq() >= seq
            });
            *outcome.lock().unwrap() = Some(is_durable);
        }
    });
    let engine = options.open_in(&disk.root(), Environment::default()).unwrap();
    engine.put("key", "1").unwrap();
    *handle.lock().unwrap() = Some(engine.with_durability(Durability::Interval));
    engine.close().unwrap();
    assert_eq!(*flushed.lock().unwrap(), Some(true));
}

/// Files that a crash has left. They are so many that they last for a minute if they go as [`while_files_go`] lets them.
const LEFT_BEHIND: u64 = 3_000;

/// A disk with [`LEFT_BEHIND`]. Each of them is removed once something comes from the channel, or its other end is gone; the
/// counter says how many were.
fn disk_with_left_behind() -> (SimDisk, SyncSender<()>, Arc<AtomicU64>) {
    let disk = SimDisk::new(1);
    let engine = Options::new().open_in(&disk.root(), Environment::default()).unwrap();
    engine.put("key", "1").unwrap();
    engine.close().unwrap();
    let layers = disk.root().subdir("layers", false).unwrap();
    for number in 0..LEFT_BEHIND {
        let file = layers.create_new(&warp_checkpoint::layer_name(1_000 + number)).unwrap();
        file.append(b"half a layer").unwrap();
    }
    let (sender, receiver) = sync_channel(0);
    let removed = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&removed);
    disk.inject_when(move |operation| {
        if operation.kind == OpKind::Remove && operation.path.starts_with("layers/") {
            let _ = receiver.recv();
            count.fetch_add(1, Ordering::SeqCst);
        }
        None
    });
    (disk, sender, removed)
}

/// Lets one file after the other go until this is done in another thread.
fn while_files_go(sender: &SyncSender<()>, act: impl FnOnce() + Send) {
    std::thread::scope(|scope| {
        let acting = scope.spawn(act);
        while !acting.is_finished() {
            let _ = sender.try_send(());
            std::thread::sleep(Duration::from_millis(20));
        }
    });
}

fn layer_files(disk: &SimDisk) -> usize {
    disk.files().iter().filter(|file| file.starts_with("layers/")).count()
}

/// Giving gigabytes back to the file system takes long; what waits for it is the next opener's worker.
#[test]
fn closing_does_not_wait_until_all_is_removed_that_a_crash_left() {
    let (disk, sender, removed) = disk_with_left_behind();
    let engine = Options::new().open_in(&disk.root(), Environment::default()).unwrap();
    // Taken by the first removal: the worker is at it.
    sender.send(()).unwrap();
    while_files_go(&sender, || {
        engine.put("key", "2").unwrap();
        engine.close().unwrap();
    });
    let at_close = removed.load(Ordering::SeqCst);
    assert!((1..LEFT_BEHIND).contains(&at_close), "{at_close} files were removed first");
    drop(sender);
    assert!(layer_files(&disk) > 2);

    let engine = Options::new().open_in(&disk.root(), Environment::default()).unwrap();
    assert!(wait_until(|| layer_files(&disk) == 2), "the next opener removes the rest");
    assert_eq!(engine.get("key").unwrap().as_deref(), Some(&b"2"[..]));
    engine.close().unwrap();
}

#[test]
fn a_checkpoint_does_not_wait_until_all_is_removed_that_a_crash_left() {
    let (disk, sender, removed) = disk_with_left_behind();
    let engine = Options::new().open_in(&disk.root(), Environment::default()).unwrap();
    sender.send(()).unwrap();
    while_files_go(&sender, || {
        engine.put("key", "2").unwrap();
        engine.checkpoint().unwrap();
    });
    let by_then = removed.load(Ordering::SeqCst);
    drop(sender);
    assert!(by_then < LEFT_BEHIND, "{by_then} files were removed first");
    assert!(wait_until(|| layer_files(&disk) == 2), "the worker goes on");
    engine.close().unwrap();
}

/// The worker has other things to do, for which others may be waiting: a checkpoint that is due, for one.
#[test]
fn the_worker_does_its_other_work_between_two_files_that_a_crash_left() {
    let (disk, sender, removed) = disk_with_left_behind();
    let options = Options::new().checkpoint_interval(Duration::from_millis(1));
    let engine = options.open_in(&disk.root(), Environment::default()).unwrap();
    sender.send(()).unwrap();
    while_files_go(&sender, || {
        let taken = || engine.cosmic_metrics().checkpoints.unwrap().taken;
        let before = taken();
        engine.put("key", "2").unwrap();
        assert!(wait_until(|| taken() > before), "no checkpoint is taken");
    });
    let by_then = removed.load(Ordering::SeqCst);
    drop(sender);
    assert!(by_then < LEFT_BEHIND, "{by_then} files were removed first");
    engine.close().unwrap();
}

#[test]
fn an_engine_has_two_threads_until_it_is_closed() {
    let disk = SimDisk::new(1);
    let engine = Options::new().open_in(&disk.root(), Environment::default()).unwrap();
    assert_eq!(engine.cosmic_metrics().threads, 2);
    let left = engine.clone();
    engine.close().unwrap();
    assert_eq!(left.cosmic_metrics().threads, 0);
}

/// A log that has failed has no more work, so that its thread ends rather than trying again and again.
#[test]
fn the_log_s_thread_ends_when_the_engine_is_poisoned() {
    let disk = SimDisk::new(1);
    // So long that the thread does not sync the write before the fault is there.
    let options = Options::new().flush_interval(Duration::from_secs(600));
    let engine = options.open_in(&disk.root(), Environment::default()).unwrap();
    let seq = engine.put("key", "1").unwrap();
    disk.inject_when(|operation| (operation.kind.class() == OpClass::Sync).then_some(Fault::Eio));
    // The thread may have met the fault first, where it prepares a segment.
    let failed = engine.sync().unwrap_err().kind();
    assert!(matches!(failed, ErrorKind::Io | ErrorKind::Poisoned), "{failed:?}");
    assert!(wait_until(|| engine.cosmic_metrics().threads < 2), "the log's thread goes on");
    assert_eq!(engine.get("key").unwrap().as_deref(), Some(&b"1"[..]), "reads go on");
    // Who waits is told, though nobody is left to do what he waits for.
    assert_eq!(
        engine.durable(seq).wait_timeout(Duration::from_secs(60)).unwrap_err().kind(),
        ErrorKind::Poisoned
    );
    assert_eq!(engine.close().unwrap_err().kind(), ErrorKind::Poisoned);
}

#[test]
fn a_poisoned_engine_can_be_verified() {
    let machine = Machine::new(1);
    let engine = machine.open(small());
    engine.put("in a layer", "1").unwrap();
    engine.checkpoint().unwrap();
    engine.put("logged", "1").unwrap();
    engine.sync().unwrap();
    machine.disk.inject_when(|operation| (operation.kind.class() == OpClass::Sync).then_some(Fault::Eio));
    engine.put("lost", "1").unwrap();
    engine.sync().unwrap_err();
    assert_eq!(engine.put("later", "1").unwrap_err().kind(), ErrorKind::Poisoned);
    let report = engine.verify().unwrap();
    assert!(report.is_clean(), "{:?}", report.problems);
    assert_eq!((report.layers, report.layer_entries), (1, 1));
    assert!(report.segments > 0);
}

/// Asking for durability is enough, also where nobody would have synced and the background work is stepped.
#[test]
fn a_commit_of_a_stepped_engine_comes_with_its_steps() {
    let machine = Machine::new(1);
    let engine = machine.open(small().durability(Durability::Os));
    let seq = engine.put("asked for", "1").unwrap();
    let commit = engine.durable(seq);
    assert!(!commit.is_done());
    machine.pass(&engine, Duration::from_millis(200));
    assert!(commit.is_done() && engine.durable_seq() >= seq);

    let seq = engine.put("awaited", "1").unwrap();
    let wakes = Arc::new(Wakes::default());
    let waker = Waker::from(Arc::clone(&wakes));
    let mut context = Context::from_waker(&waker);
    let mut commit = pin!(engine.durable(seq));
    assert!(commit.as_mut().poll(&mut context).is_pending());
    machine.pass(&engine, Duration::from_millis(200));
    assert_eq!(wakes.0.load(Ordering::SeqCst), 1);
    assert!(matches!(commit.as_mut().poll(&mut context), Poll::Ready(Ok(()))));

    // One that nobody asked for is still not durable, however long it takes.
    let seq = engine.put("not asked for", "1").unwrap();
    machine.pass(&engine, Duration::from_secs(2));
    assert!(engine.durable_seq() < seq);
}
