//! What it costs to have a record on the disk, alone and for threads that share syncs, on the disk that holds the
//! directory for temporary files.

use std::thread;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use warp_io::{Clock, SystemClock};
use warp_wal::{Entry, Log, LogOptions};

const KEY: [u8; 16] = [7; 16];
const VALUE: [u8; 100] = [9; 100];
const THREADS: [u64; 4] = [1, 2, 8, 32];

fn commit(criterion: &mut Criterion) {
    let dir = tempfile::tempdir().expect("a directory");
    let log = Log::open(dir.path(), LogOptions::default()).expect("a log");
    let mut group = criterion.benchmark_group("commit");
    group.throughput(Throughput::Elements(1));
    for threads in THREADS {
        group.bench_function(format!("{threads}_threads_116_bytes"), |bencher| {
            bencher.iter_custom(|count| commits(&log, threads, count));
            log.remove_before(log.next_seq()).expect("segments go");
        });
    }
    group.finish();
}

/// The time that `count` commits take, shared out to the threads.
fn commits(log: &Log, threads: u64, count: u64) -> Duration {
    let clock = SystemClock::new();
    thread::scope(|scope| {
        for number in 0..threads {
            let share = count / threads + u64::from(number < count % threads);
            scope.spawn(move || {
                for _ in 0..share {
                    let seq = log.append(&[Entry::put(&KEY, &VALUE)]).expect("an append");
                    log.sync_to(seq).expect("a sync");
                }
            });
        }
    });
    clock.monotonic()
}

criterion_group!(benches, commit);
criterion_main!(benches);
