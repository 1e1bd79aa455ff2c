//! What is promised by the clock, on a clock that only moves when told to.

use std::sync::Arc;
use std::time::Duration;

use warp_io::{Clock, SimClock, SimDisk, Survival};
use warp_wal::{Apply, Entry, Log, LogOptions, Recovery, Start};

use crate::{Owned, append, replay, small};

const WRITE: Duration = Duration::from_millis(10);
const FLUSH: Duration = Duration::from_millis(100);

fn open(disk: &SimDisk, clock: &SimClock, options: LogOptions) -> Log {
    let apply = &mut |_: u64, _: &Entry<'_>| {};
    let (log, _) = Log::open_in(
        &disk.root(),
        Arc::new(clock.clone()),
        options,
        Recovery::Strict,
        Start::default(),
        Apply::InOrder(apply),
        &mut |_, _| {},
    )
    .unwrap();
    log
}

/// Ticks as a log thread does, for so long.
fn pass(log: &Log, clock: &SimClock, time: Duration) {
    let end = clock.monotonic() + time;
    while clock.monotonic() < end {
        let next = log.tick().unwrap().next.min(WRITE).max(Duration::from_millis(1));
        clock.advance(next.min(end - clock.monotonic()));
    }
    log.tick().unwrap();
}

#[test]
fn bytes_are_written_and_synced_in_time() {
    for delay in 0..30 {
        let disk = SimDisk::new(1);
        let clock = SimClock::new(1_000_000);
        let log = open(&disk, &clock, small());
        pass(&log, &clock, Duration::from_millis(25));
        let mut due = Vec::new();
        for _ in 0..40 {
            let seq = append(&log, &[Owned::put("key", b"value")]).unwrap();
            due.push((seq, clock.monotonic()));
            pass(&log, &clock, Duration::from_millis(delay));
            let now = clock.monotonic();
            let older =
                |age: Duration| due.iter().rfind(|(_, at)| *at + age <= now).map_or(0, |(seq, _)| *seq);
            assert!(log.written_seq() >= older(WRITE), "delay {delay}");
            assert!(log.durable_seq() >= older(FLUSH), "delay {delay}");
            assert!(replay(&disk.crash(Survival::Nothing)).0.last_seq >= older(FLUSH), "delay {delay}");
            assert!(replay(&disk.crash(Survival::Everything)).0.last_seq >= older(WRITE), "delay {delay}");
        }
    }
}

#[test]
fn an_idle_log_writes_its_watermark_once_and_then_sleeps() {
    let disk = SimDisk::new(1);
    let clock = SimClock::new(1_000_000);
    let log = open(&disk, &clock, small());
    append(&log, &[Owned::put("key", b"value")]).unwrap();
    log.sync().unwrap();
    pass(&log, &clock, FLUSH);
    assert_eq!(log.stats().watermark_frames, 1);
    while log.tick().unwrap().next < Duration::MAX {}
    let operations = disk.operations();
    pass(&log, &clock, Duration::from_secs(2));
    assert_eq!(disk.operations(), operations, "nothing is due");
    assert_eq!(log.tick().unwrap().next, Duration::MAX);
    // The watermark is on the disk, so that damage to what it covers is no torn tail.
    let image = disk.crash(Survival::Everything);
    let name = image.files().remove(0);
    image.flip_bit(&name, (8192 + 64) * 8);
    assert!(warp_wal::verify(&image.root(), Start::default()).unwrap().replay.lost.len() == 1);
}

#[test]
fn without_a_flush_interval_nothing_is_synced_by_the_clock() {
    let disk = SimDisk::new(1);
    let clock = SimClock::new(1_000_000);
    let log = open(&disk, &clock, LogOptions { flush_interval: Duration::MAX, ..small() });
    let seq = append(&log, &[Owned::put("key", b"value")]).unwrap();
    pass(&log, &clock, Duration::from_secs(10));
    assert_eq!((log.written_seq(), log.durable_seq()), (seq, 0));
    assert_eq!(log.stats().syncs, 0);
}

#[test]
fn recorded_time_never_goes_back() {
    let disk = SimDisk::new(1);
    let clock = SimClock::new(5_000_000);
    let log = open(&disk, &clock, small());
    append(&log, &[Owned::put("a", b"")]).unwrap();
    log.sync().unwrap();
    drop(log);
    clock.set_unix_millis(1_000);
    let log = open(&disk, &clock, small());
    append(&log, &[Owned::put("b", b"")]).unwrap();
    log.close().unwrap();
    assert_eq!(replay(&disk).0.latest_time, 5_000_000);
}
