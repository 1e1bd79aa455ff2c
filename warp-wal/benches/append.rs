//! What an append, a sync, and a replay cost, on the disk that holds the directory for temporary files.

use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use warp_wal::{Admit, Encoded, Entry, Log, LogOptions, replay};

const KEY: [u8; 16] = [7; 16];
const VALUE: [u8; 100] = [9; 100];
const REPLAYED: u64 = 200_000;

fn append(criterion: &mut Criterion) {
    let dir = tempfile::tempdir().expect("a directory");
    let log = Log::open(dir.path(), LogOptions::default()).expect("a log");
    let mut group = criterion.benchmark_group("append");
    group.throughput(Throughput::Elements(1));
    let mut encoded = Encoded::new();
    group.bench_function("encode_116_bytes", |bencher| {
        bencher.iter(|| log.encode(&mut encoded, [Entry::put(&KEY, black_box(&VALUE))]));
    });
    // The caller's share and that of whoever writes, in one thread: nobody else drains the ring.
    group.bench_function("reserve_and_write_116_bytes", |bencher| {
        bencher.iter(|| {
            let permit = log.admit(&encoded, Admit::default()).expect("room");
            log.reserve(permit, &encoded).commit();
        });
        let last = log.next_seq();
        log.remove_before(last).expect("segments go");
    });
    group.bench_function("sync_116_bytes", |bencher| {
        bencher.iter(|| {
            let permit = log.admit(&encoded, Admit::default()).expect("room");
            let seq = log.reserve(permit, &encoded).seq();
            log.sync_to(seq).expect("a sync");
        });
    });
    group.finish();
}

fn read(criterion: &mut Criterion) {
    let dir = tempfile::tempdir().expect("a directory");
    let log = Log::open(dir.path(), LogOptions::default()).expect("a log");
    for _ in 0..REPLAYED {
        log.append(&[Entry::put(&KEY, &VALUE)]).expect("an append");
    }
    log.close().expect("a close");
    let mut group = criterion.benchmark_group("replay");
    group.throughput(Throughput::Elements(REPLAYED));
    group.sample_size(20);
    group.bench_function("116_bytes", |bencher| {
        let count = || {
            let mut entries = 0_u64;
            replay(dir.path(), |_, entry| entries += entry.value.len() as u64 / 100).expect("a replay");
            entries
        };
        bencher.iter_batched(|| (), |()| assert_eq!(count(), REPLAYED), BatchSize::PerIteration);
    });
    group.finish();
}

criterion_group!(benches, append, read);
criterion_main!(benches);
