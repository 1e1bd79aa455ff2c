//! Models of what threads do to each other in the log: the real code over a simulated disk, run through many random
//! schedules by [shuttle](https://docs.rs/shuttle).

#![allow(clippy::unwrap_used, reason = "a model that cannot go on says so by a panic")]

use std::sync::Arc;

use shuttle::scheduler::{PctScheduler, RandomScheduler, Scheduler};
use shuttle::{Config, Runner, thread};
use warp_io::{Fault, OpKind, SimClock, SimDisk, Survival};

use crate::deliver::Apply;
use crate::{Entry, Error, Log, LogOptions, Recovery, Start};

/// Schedules of each kind if `WARP_SCHEDULES` does not say how many.
const SCHEDULES: usize = 500;
/// Changes of priority in a schedule of the second kind.
const DEPTH: usize = 3;
const THREADS: u64 = 3;

fn explore(model: fn()) {
    let asked = std::env::var("WARP_SCHEDULES").ok();
    let count = asked.map_or(SCHEDULES, |text| text.parse().expect("a number of schedules"));
    run(RandomScheduler::new(count), model);
    run(PctScheduler::new(DEPTH, count), model);
}

fn run(scheduler: impl Scheduler + 'static, model: fn()) {
    let mut config = Config::new();
    config.stack_size = 512 << 10;
    config.silence_warnings = true;
    Runner::new(scheduler, config).run(model);
}

fn open(disk: &SimDisk) -> Arc<Log> {
    let options = LogOptions {
        segment_bytes: 64 << 10,
        buffer_bytes: 16 << 10,
        compress_values_from: None,
        seed: 7,
        ..LogOptions::default()
    };
    let clock = Arc::new(SimClock::new(1_700_000_000_000));
    let (recovery, start) = (Recovery::TrimTornTail, Start::default());
    let apply = Apply::InOrder(&mut |_, _| {});
    let (log, _) =
        Log::open_in(&disk.root(), clock, options, recovery, start, apply, &mut |_, _| {}).unwrap();
    Arc::new(log)
}

/// The last sequence that a power loss at this moment would leave.
fn survives(disk: &SimDisk) -> u64 {
    let image = disk.crash(Survival::Nothing);
    let (recovery, start) = (Recovery::TrimTornTail, Start::default());
    crate::replay_in(&image.root(), recovery, start, Apply::InOrder(&mut |_, _| {}), &mut |_, _| {})
        .unwrap()
        .last_seq
}

/// Appends and syncs from several threads; whoever is told that its group is durable looks whether it is. `bytes` is
/// the size of a value.
fn commit_together(disk: &SimDisk, log: &Arc<Log>, bytes: usize, groups: u64) -> Vec<Result<(), Error>> {
    let threads: Vec<_> = (0..THREADS)
        .map(|number| {
            let (disk, log) = (disk.clone(), Arc::clone(log));
            thread::spawn(move || {
                for _ in 0..groups {
                    let seq = log.append(&[Entry::put(&number.to_le_bytes(), &vec![1; bytes])])?;
                    log.sync_to(seq)?;
                    assert!(log.durable_seq() >= seq);
                    assert!(survives(&disk) >= seq, "{seq} was acknowledged and would be lost");
                }
                Ok(())
            })
        })
        .collect();
    threads.into_iter().map(|thread| thread.join().unwrap()).collect()
}

/// Nobody is told that a group is durable before it is, and nobody waits for ever.
#[test]
fn what_is_acknowledged_is_durable() {
    explore(|| {
        let disk = SimDisk::new(1);
        let log = open(&disk);
        let answers = commit_together(&disk, &log, 10, 3);
        assert!(answers.iter().all(Result::is_ok), "{answers:?}");
        assert_eq!(log.durable_seq(), THREADS * 3);
    });
}

/// The same where nearly every group begins a segment, so that a sync has an earlier segment to cover as well.
#[test]
fn a_later_sync_does_not_speak_for_an_earlier_one() {
    explore(|| {
        let disk = SimDisk::new(1);
        let log = open(&disk);
        let answers = commit_together(&disk, &log, 40_000, 2);
        assert!(answers.iter().all(Result::is_ok), "{answers:?}");
        assert!(log.stats().rotations > 1);
    });
}

/// A sync that fails poisons the log, everyone is told, and nothing is acknowledged after it.
#[test]
fn a_sync_that_fails_acknowledges_nothing() {
    explore(|| {
        let disk = SimDisk::new(1);
        let log = open(&disk);
        let mut syncs = 0;
        disk.inject_when(move |operation| {
            syncs += u32::from(operation.kind == OpKind::SyncData);
            // Of several: a part is acknowledged before it.
            (operation.kind == OpKind::SyncData && syncs == 2).then_some(Fault::SyncLost)
        });
        let answers = commit_together(&disk, &log, 10, 3);
        assert!(answers.iter().any(Result::is_err), "{answers:?}");
        assert!(log.is_poisoned());
        assert!(log.durable_seq() <= survives(&disk));
    });
}
