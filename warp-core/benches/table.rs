//! A table of keys of 16 bytes with values of 100 bytes, in random order, used by one thread and by two.
//!
//! `cargo bench -p warp-core --bench table`; a million keys, or as many as `WARP_BENCH_KEYS` says.
#![allow(clippy::disallowed_methods, reason = "several threads are timed from without")]

use std::hint::black_box;
use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use criterion::measurement::WallTime;
use criterion::{BatchSize, BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main};
use warp_core::{KeyRef, Table};

const KEYS: u64 = 1_000_000;
const VALUE_BYTES: usize = 100;
const SHARDS: u16 = 64;
/// Keys of one batched read.
const MULTI_KEYS: usize = 32;
/// New keys in a sample: enough that slots grow several times in it.
const BATCH_KEYS: u64 = 100_000;
/// Requests that are made before anything is timed, and asked again and again.
const REQUESTS: usize = 1 << 20;

/// The 16 bytes of the key with this number.
fn key(number: u64) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&number.to_le_bytes());
    bytes[8..].copy_from_slice(&number.wrapping_mul(3).to_le_bytes());
    bytes
}

/// Bits of a number for each step, in an order that no prefetcher knows.
fn mixed(step: u64) -> u64 {
    let bits = step.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    (bits ^ (bits >> 29)).wrapping_mul(0xBF58_476D_1CE4_E5B9) >> 11
}

/// Numbers of keys, all alike.
fn uniform(keys: u64) -> Vec<u64> {
    (0..REQUESTS as u64).map(|step| mixed(step) % keys).collect()
}

/// Numbers of keys, the one of rank `r` asked for about `1 / r` times as often as the first.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "ranks"
)]
fn zipf(keys: u64) -> Vec<u64> {
    let rank = |step| (keys as f64).powf(mixed(step) as f64 / (1_u64 << 53) as f64) as u64;
    // Scattered, so that popular keys do not lie side by side.
    (0..REQUESTS as u64).map(|step| mixed(rank(step)) % keys).collect()
}

/// The sequence of the last write.
static SEQ: AtomicU64 = AtomicU64::new(0);

/// Writes as the engine does: the sequence is taken under the lock.
fn put(table: &Table, number: u64) {
    let bytes = key(number);
    let key = KeyRef::new(1, 0, &bytes);
    let prepared = table.prepare(key, &[7; VALUE_BYTES], 0).expect("the table is not full");
    let mut guard = table.lock(key.hash);
    black_box(guard.put(prepared, SEQ.fetch_add(1, Ordering::Relaxed) + 1));
}

fn with(table: &Table, number: u64, touch: bool) {
    let bytes = key(number);
    let read = table.with(KeyRef::new(1, 0, &bytes), |entry| {
        if touch {
            entry.touch_once();
        }
        entry.value().map(<[u8]>::len)
    });
    black_box(read.expect("all keys were put"));
}

fn multi_get(table: &Table, numbers: &[u64]) {
    let bytes: [[u8; 16]; MULTI_KEYS] = std::array::from_fn(|place| key(numbers[place]));
    let keys = bytes.each_ref().map(|bytes| KeyRef::new(1, 0, bytes));
    table.multi_get_with(&keys, |_, entry| {
        black_box(entry.expect("all keys were put").value());
    });
}

/// What one thread does at a step.
#[derive(Clone, Copy)]
struct Operation {
    name: &'static str,
    /// How many requests it answers.
    keys: usize,
    run: fn(&Table, requests: &[u64], step: usize),
}

const OPERATIONS: [Operation; 7] = [
    one("get", |table, requests, step| {
        black_box(table.get(KeyRef::new(1, 0, &key(requests[step]))).expect("all keys were put"));
    }),
    one("with", |table, requests, step| with(table, requests[step], false)),
    one("with, counting the use", |table, requests, step| with(table, requests[step], true)),
    Operation {
        name: "multi_get of 32",
        keys: MULTI_KEYS,
        run: |table, requests, step| multi_get(table, &requests[step..][..MULTI_KEYS]),
    },
    one("95 % with, 5 % overwrite", |table, requests, step| match step % 20 {
        0 => put(table, requests[step]),
        _ => with(table, requests[step], false),
    }),
    one("50 % with, 50 % overwrite", |table, requests, step| match step % 2 {
        0 => put(table, requests[step]),
        _ => with(table, requests[step], false),
    }),
    one("overwrite", |table, requests, step| put(table, requests[step])),
];

const fn one(name: &'static str, run: fn(&Table, &[u64], usize)) -> Operation {
    Operation { name, keys: 1, run }
}

/// The time from when the first of so many threads begins until the last has done the operation at so many steps.
fn time(
    table: &Table,
    requests: &[u64],
    operation: Operation,
    threads: usize,
    steps: std::ops::Range<usize>,
) -> Duration {
    let begin = Barrier::new(threads);
    std::thread::scope(|scope| {
        let client = |thread: usize| {
            let (begin, steps) = (&begin, steps.clone());
            scope.spawn(move || {
                let offset = thread * REQUESTS / threads;
                begin.wait();
                let start = Instant::now();
                for step in steps {
                    (operation.run)(table, requests, (offset + step * operation.keys) % REQUESTS);
                }
                (start, Instant::now())
            })
        };
        let clients: Vec<_> = (0..threads).map(client).collect();
        let times = clients.into_iter().map(|client| client.join().expect("no operation fails"));
        let (starts, ends): (Vec<Instant>, Vec<Instant>) = times.unzip();
        let (first, last) = (starts.into_iter().min(), ends.into_iter().max());
        last.zip(first).map_or(Duration::ZERO, |(last, first)| last - first)
    })
}

fn operations(group: &mut BenchmarkGroup<'_, WallTime>, table: &Table, keys: u64) {
    let mut done = 0;
    for (spread, requests) in [("uniform", uniform(keys)), ("zipf", zipf(keys))] {
        for operation in OPERATIONS {
            for threads in [1, 2] {
                group.throughput(Throughput::Elements((threads * operation.keys) as u64));
                group.bench_function(format!("{}, {spread}, {threads} threads", operation.name), |bencher| {
                    bencher.iter_custom(|count| {
                        let first = done;
                        done += usize::try_from(count).expect("a count of steps");
                        time(table, &requests, operation, threads, first..done)
                    });
                });
            }
        }
    }
}

fn bench(criterion: &mut Criterion) {
    let keys = std::env::var("WARP_BENCH_KEYS")
        .map_or(KEYS, |keys| keys.parse().expect("WARP_BENCH_KEYS is a number of keys"));
    let table = Table::new(SHARDS, 1);
    (0..keys).for_each(|number| put(&table, number));
    let memory = table.memory();
    println!(
        "{} entries, {} bytes of keys and values, {} bytes held",
        memory.entries,
        memory.key_bytes + memory.value_bytes,
        memory.total()
    );

    let mut group = criterion.benchmark_group("table");
    group.sample_size(20);
    operations(&mut group, &table, keys);
    group.throughput(Throughput::Elements(1));
    let mut step = 0;
    group.bench_function("get a key that is not there", |bencher| {
        bencher.iter(|| {
            step += 1;
            table.get(KeyRef::new(1, 0, &key(keys + step)))
        });
    });
    drop(table);

    group.throughput(Throughput::Elements(BATCH_KEYS));
    for threads in [1, 2] {
        let name = format!("put new keys into a table that grows from empty, {threads} threads");
        group.bench_function(name, |bencher| {
            let empty = || Table::new(SHARDS, 1);
            let fill = |table: Table| {
                std::thread::scope(|scope| {
                    for thread in 0..threads {
                        let table = &table;
                        let numbers = thread * BATCH_KEYS / threads..(thread + 1) * BATCH_KEYS / threads;
                        scope.spawn(move || numbers.for_each(|number| put(table, number)));
                    }
                });
                table
            };
            bencher.iter_batched(empty, fill, BatchSize::PerIteration);
        });
    }
    group.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);
