//! Several threads at once.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use warp_io::{Clock, SimDisk, SystemClock};
use warp_wal::{Admit, Apply, Encoded, Entry, Error, Log, LogOptions};

use crate::{open, replay, small};

const THREADS: usize = 8;

fn key(thread: u64, index: u64) -> Vec<u8> {
    [thread.to_le_bytes(), index.to_le_bytes()].concat()
}

fn ticker(log: &Log, stop: &AtomicBool) {
    while !stop.load(Ordering::Acquire) {
        let Ok(tick) = log.tick() else { return };
        log.wait_for_work(tick.next.min(Duration::from_millis(20)));
    }
}

/// Every thread's entries are all there, each thread's in its order, with the sequences it was told.
fn check(disk: &SimDisk, each: u64) {
    let (_, entries) = replay(disk);
    assert_eq!(entries.len() as u64, THREADS as u64 * each);
    assert!(entries.windows(2).all(|pair| pair[0].0 < pair[1].0));
    let mut next = [0; THREADS];
    for (seq, entry) in entries {
        let number = |at: usize| u64::from_le_bytes(entry.key[at..at + 8].try_into().unwrap());
        let thread = usize::try_from(number(0)).unwrap();
        assert_eq!(number(8), next[thread]);
        next[thread] += 1;
        assert_eq!(entry.value[..8], seq_hint(number(0), number(8)), "{seq}");
    }
}

fn seq_hint(thread: u64, index: u64) -> [u8; 8] {
    (thread << 32 | index).to_le_bytes()
}

#[test]
fn threads_that_sync_share_their_syncs() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(dir.path(), LogOptions { segment_bytes: 1 << 20, ..LogOptions::default() }).unwrap();
    let each = 60;
    std::thread::scope(|scope| {
        for thread in 0..THREADS as u64 {
            let log = &log;
            scope.spawn(move || {
                for index in 0..each {
                    let value = seq_hint(thread, index);
                    let seq = log.append(&[Entry::put(&key(thread, index), &value)]).unwrap();
                    log.sync_to(seq).unwrap();
                    assert!(log.durable_seq() >= seq);
                }
            });
        }
    });
    let stats = log.stats();
    assert!(stats.syncs < stats.groups, "{stats:?}");
    assert_eq!(stats.groups, THREADS as u64 * each);
    log.close().unwrap();
    let mut count = 0;
    warp_wal::replay(dir.path(), |_, _| count += 1).unwrap();
    assert_eq!(count, THREADS as u64 * each);
}

#[test]
fn threads_fill_a_small_ring_and_small_segments_in_order() {
    let disk = SimDisk::new(1);
    let (log, ..) = open(&disk);
    let (each, stop, done) = (1500, AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| ticker(&log, &stop));
        for thread in 0..THREADS as u64 {
            let (log, stop, done) = (&log, &stop, &done);
            scope.spawn(move || {
                let mut encoded = Encoded::new();
                let mut last = 0;
                for index in 0..each {
                    // Now and then one that is too large for the ring, or for a segment.
                    let bytes = if index % 500 == 499 { 60_000 } else { 8 + index % 97 };
                    let mut value = seq_hint(thread, index).to_vec();
                    value.resize(usize::try_from(bytes).unwrap(), 5);
                    log.encode(&mut encoded, [Entry::put(&key(thread, index), &value)]).unwrap();
                    let permit = log.admit(&encoded, Admit::default()).unwrap();
                    let pending = log.reserve(permit, &encoded);
                    assert!(pending.seq() > last);
                    last = pending.seq();
                    pending.commit();
                    if index % 211 == 0 {
                        log.sync_to(last).unwrap();
                    }
                }
                if done.fetch_add(1, Ordering::AcqRel) + 1 == THREADS as u64 {
                    stop.store(true, Ordering::Release);
                    log.unpark();
                }
            });
        }
    });
    log.close().unwrap();
    assert_eq!(log.stats().ring_used, 0);
    check(&disk, each);
}

/// Whoever reads a log that is being written to sees a prefix, and never takes its end for damage: here the
/// reader has read ahead when the log goes on, into the next segment.
#[test]
fn a_log_can_be_read_while_it_is_written() {
    let disk = SimDisk::new(1);
    let (log, ..) = open(&disk);
    log.append(&[Entry::put(b"key", b"1")]).unwrap();
    log.sync().unwrap();
    let (mut seqs, mut frames) = (Vec::new(), 0);
    let mut go_on = |_, _| {
        frames += 1;
        // The open frame, then the first group.
        if frames == 2 {
            log.append(&[Entry::put(b"key", b"2")]).unwrap();
            log.sync().unwrap();
            log.rotate().unwrap();
            log.append(&[Entry::put(b"key", b"3")]).unwrap();
            log.sync().unwrap();
        }
    };
    let (recovery, start) = (warp_wal::Recovery::TrimTornTail, warp_wal::Start::default());
    let mut apply = |seq: u64, _: &Entry<'_>| seqs.push(seq);
    let report =
        warp_wal::replay_in(&disk.root(), recovery, start, Apply::InOrder(&mut apply), &mut go_on).unwrap();
    assert_eq!(seqs, [1, 2, 3]);
    assert!(report.trimmed.is_none() && report.lost.is_empty(), "{report:?}");
}

#[test]
fn close_waits_for_those_who_are_writing() {
    let disk = SimDisk::new(1);
    let (log, ..) = open(&disk);
    let written = std::thread::scope(|scope| {
        let writers: Vec<_> = (0..THREADS as u64)
            .map(|thread| {
                let log = &log;
                scope.spawn(move || {
                    for index in 0.. {
                        match log.append(&[Entry::put(&key(thread, index), b"value")]) {
                            Ok(_) => {}
                            Err(Error::Closed) => return index,
                            Err(error) => panic!("{error}"),
                        }
                    }
                    0
                })
            })
            .collect();
        std::thread::sleep(Duration::from_millis(20));
        log.close().unwrap();
        writers.into_iter().map(|writer| writer.join().unwrap()).sum::<u64>()
    });
    let (report, entries) = replay(&disk);
    assert!(report.clean_close);
    assert_eq!(entries.len() as u64, written);
}

#[test]
fn an_append_wakes_an_idle_thread() {
    let disk = SimDisk::new(1);
    let (log, ..) = open(&disk);
    std::thread::scope(|scope| {
        let sleeper = scope.spawn(|| {
            let clock = SystemClock::new();
            log.wait_for_work(Duration::from_secs(10));
            assert!(clock.monotonic() < Duration::from_secs(5), "it was not woken");
            log.last_seq()
        });
        std::thread::sleep(Duration::from_millis(20));
        log.append(&[Entry::put(b"key", b"")]).unwrap();
        assert_eq!(sleeper.join().unwrap(), 1);
    });
    // What was appended before it sleeps keeps it awake, and so does a call of unpark.
    log.append(&[Entry::put(b"key", b"")]).unwrap();
    log.unpark();
    log.wait_for_work(Duration::from_secs(60));
}

#[test]
fn waiters_see_that_the_log_is_poisoned() {
    let disk = SimDisk::new(1);
    let log = open_small(&disk);
    let mut encoded = Encoded::new();
    log.encode(&mut encoded, [Entry::put(b"key", b"value")]).unwrap();
    let permit = log.admit(&encoded, Admit::default()).unwrap();
    // Never committed while the others wait.
    let pending = log.reserve(permit, &encoded);
    let seq = pending.seq();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| assert!(matches!(log.sync_to(seq), Err(Error::Poisoned))));
        }
        std::thread::sleep(Duration::from_millis(20));
        log.poison();
    });
    drop(pending);
}

fn open_small(disk: &SimDisk) -> Log {
    crate::open_as(disk, small(), warp_wal::Recovery::Strict, warp_wal::Start::default()).unwrap().0
}
