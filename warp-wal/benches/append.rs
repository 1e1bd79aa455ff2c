//! What an append costs its caller, and what handing it to the system costs, on the disk that holds the directory for
//! temporary files.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use warp_wal::{Admit, Encoded, Entry, Format, Log, LogOptions};

const KEY: [u8; 16] = [7; 16];
const VALUE: [u8; 100] = [9; 100];
const LARGE_VALUE: [u8; 4096] = [9; 4096];

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
        bencher.iter(|| reserve(&log, &encoded));
        remove_all(&log);
    });
    group.finish();
}

fn formats(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("append_all_of_it");
    for (format, name) in [(Format::Binary, "binary"), (Format::Json, "json")] {
        let dir = tempfile::tempdir().expect("a directory");
        let options = LogOptions { format, compress_values_from: None, ..LogOptions::default() };
        let log = Log::open(dir.path(), options).expect("a log");
        for value in [&VALUE[..], &LARGE_VALUE] {
            let mut encoded = Encoded::new();
            group.throughput(Throughput::Bytes((KEY.len() + value.len()) as u64));
            group.bench_function(format!("{name}_{}_bytes", KEY.len() + value.len()), |bencher| {
                bencher.iter(|| {
                    log.encode(&mut encoded, [Entry::put(&KEY, black_box(value))]).expect("a record");
                    reserve(&log, &encoded);
                });
                remove_all(&log);
            });
        }
    }
    group.finish();
}

fn reserve(log: &Log, encoded: &Encoded) {
    let permit = log.admit(encoded, Admit::default()).expect("room");
    log.reserve(permit, encoded).commit();
}

/// So that the disk does not fill: a benchmark appends for seconds.
fn remove_all(log: &Log) {
    log.sync().expect("a sync");
    log.remove_before(log.next_seq()).expect("segments go");
}

criterion_group!(benches, append, formats);
criterion_main!(benches);
