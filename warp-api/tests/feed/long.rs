//! A million writes from four threads, with restarts in between, checked change by change.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use warp_api::{ChangeOp, Options, Seq, WarpEngine, Watch, WriteBatch};
use warp_io::{Clock, SystemClock};

use crate::common::report;

const THREADS: u64 = 4;
const LIVES: u64 = 10;
/// Writes of each thread in each life.
const WRITES: u64 = 25_000;
/// Changes that the writers let the reader be behind, so that no checkpoint removes what it has yet to read: it shares
/// two cores with four writers, who do nothing else.
const BEHIND_MAX: u64 = 40_000;

/// What was done, in few bytes: the sequence, the thread, the number of the write, the part of a batch, and whether it
/// was a deletion.
type Mark = (u64, u64, u64, u64, bool);

fn key(thread: u64, number: u64, part: u64) -> Vec<u8> {
    [thread, number, part].iter().flat_map(|field| field.to_le_bytes()).collect()
}

fn mark(seq: u64, key: &[u8], op: &ChangeOp) -> Mark {
    let field = |index: usize| u64::from_le_bytes(key[index * 8..index * 8 + 8].try_into().unwrap());
    let (thread, number, part) = (field(0), field(1), field(2));
    match op {
        ChangeOp::Put(value) => assert_eq!(value[..], value_of(thread, number)[..]),
        op => assert_eq!(*op, ChangeOp::Delete),
    }
    (seq, thread, number, part, *op == ChangeOp::Delete)
}

fn value_of(thread: u64, number: u64) -> Vec<u8> {
    vec![(thread * 31 + number) as u8; 20 + (number % 50) as usize]
}

/// Returns what it was told; waits while the reader is too far behind.
fn write(engine: &WarpEngine, thread: u64, life: u64, seen: &AtomicU64) -> Vec<Mark> {
    let mut told = Vec::new();
    for number in life * WRITES..(life + 1) * WRITES {
        let value = value_of(thread, number);
        match number % 10 {
            // What was put just before, so that it is there.
            3 => {
                let deleted = engine.cosmic_delete(key(thread, number - 1, 0)).unwrap();
                told.push((deleted.seq.unwrap().0, thread, number - 1, 0, true));
            }
            7 => {
                let mut batch = WriteBatch::new();
                for part in 0..3 {
                    batch.put(key(thread, number, part), &value);
                }
                let seq = engine.write(&batch).unwrap().0;
                told.extend((0..3).map(|part| (seq, thread, number, part, false)));
            }
            _ => told.push((engine.put(key(thread, number, 0), &value).unwrap().0, thread, number, 0, false)),
        }
        let seq = told.last().unwrap().0;
        while seq.saturating_sub(seen.load(Ordering::Relaxed)) > BEHIND_MAX {
            std::thread::sleep(Duration::from_micros(100));
        }
    }
    told
}

/// Reads until the engine is closed.
fn read(watch: &mut Watch, seen: &AtomicU64, shown: &mut Vec<Mark>) {
    for change in watch {
        let change = change.unwrap();
        shown.push(mark(change.seq.0, &change.key, &change.op));
        seen.store(change.seq.0, Ordering::Relaxed);
    }
}

#[test]
#[ignore = "takes a while; `cargo test --release -p warp-api --test feed -- --ignored`"]
fn a_million_writes_with_restarts_in_between() {
    let dir = tempfile::tempdir().unwrap();
    let open = || {
        Options::new()
            .log_segment_bytes(1 << 20)
            .log_buffer_bytes(1 << 20)
            .checkpoint_log_bytes(8 << 20)
            .checkpoints_kept(2)
            .flush_interval(Duration::from_millis(20))
            .open(dir.path())
            .unwrap()
    };
    let clock = SystemClock::new();
    let (mut shown, mut told): (Vec<Mark>, Vec<Mark>) = (Vec::new(), Vec::new());
    let mut rotations = 0;
    for life in 0..LIVES {
        let engine = open();
        let since = shown.last().map_or(0, |last| last.0);
        let mut watch = engine.changes_since(Seq(since), "").unwrap();
        // Numbers leap where the engine was not closed.
        let seen = AtomicU64::new(engine.last_seq().0);
        std::thread::scope(|scope| {
            let (seen, shown) = (&seen, &mut shown);
            let reader = scope.spawn(move || read(&mut watch, seen, shown));
            let writers: Vec<_> = (0..THREADS)
                .map(|thread| {
                    let engine = engine.clone();
                    scope.spawn(move || write(&engine, thread, life, seen))
                })
                .collect();
            let mut of_life: Vec<Mark> =
                writers.into_iter().flat_map(|writer| writer.join().unwrap()).collect();
            of_life.sort_unstable();
            told.extend(of_life);
            rotations += engine.cosmic_metrics().log.unwrap().rotations;
            // A clean end, or as if the program had ended; either ends the reader, wherever it is.
            if life % 2 == 0 {
                engine.close().unwrap()
            } else {
                drop(engine)
            }
            reader.join().unwrap();
        });
    }
    let engine = open();
    let since = shown.last().map_or(0, |last| last.0);
    let mut watch = engine.changes_since(Seq(since), "").unwrap();
    while let Some(change) = watch.try_next().unwrap() {
        shown.push(mark(change.seq.0, &change.key, &change.op));
    }
    let elapsed = clock.monotonic();
    let differs = shown.iter().zip(&told).position(|(shown, told)| shown != told);
    assert_eq!(differs, None, "{:?}", differs.map(|place| (shown[place], told[place])));
    assert_eq!(shown.len(), told.len());
    let writes = THREADS * LIVES * WRITES;
    report(&format!(
        "{writes} writes from {THREADS} threads in {LIVES} lives: {} changes, all as they were told, {rotations} \
         rotations, {elapsed:.1?}",
        told.len()
    ));
    let oldest = engine.changes_since(Seq(0), "").unwrap_err().oldest_seq().unwrap();
    assert!(oldest.0 > writes / 2, "the log should begin late, and begins behind {oldest}");
}
