//! One thread on a table of a million keys of 16 bytes with values of 100 bytes, in random order.
//!
//! `cargo bench -p warp-core`

use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use warp_core::{KeyRef, Table};

const KEYS: u64 = 1_000_000;
const VALUE_BYTES: usize = 100;
const SHARDS: u16 = 64;
/// Keys of one batched read.
const MULTI_KEYS: usize = 32;
/// New keys in a sample: enough that slots grow several times in it.
const BATCH_KEYS: u64 = 100_000;

/// The 16 bytes of the key with this number.
fn key(number: u64) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&number.to_le_bytes());
    bytes[8..].copy_from_slice(&number.wrapping_mul(3).to_le_bytes());
    bytes
}

/// A number below `KEYS` for each step, in an order that no prefetcher knows.
fn shuffled(step: u64) -> u64 {
    step.wrapping_mul(6_364_136_223_846_793_003) % KEYS
}

fn put(table: &Table, number: u64, seq: u64) {
    let bytes = key(number);
    let key = KeyRef::new(1, 0, &bytes);
    black_box(table.put(key, &[7; VALUE_BYTES], seq, 0).expect("the table is not full"));
}

fn filled() -> Table {
    let table = Table::new(SHARDS, 1);
    for number in 0..KEYS {
        put(&table, number, number + 1);
    }
    table
}

fn bench(criterion: &mut Criterion) {
    let table = filled();
    let memory = table.memory();
    println!(
        "{} entries, {} bytes of keys and values, {} bytes held",
        memory.entries,
        memory.key_bytes + memory.value_bytes,
        memory.total()
    );

    let mut group = criterion.benchmark_group("table");
    group.sample_size(20);
    group.throughput(Throughput::Elements(1));
    let mut step = 0;
    group.bench_function("get a key that is there", |bencher| {
        bencher.iter(|| {
            step += 1;
            table.get(KeyRef::new(1, 0, &key(shuffled(step)))).expect("all keys were put")
        });
    });
    group.bench_function("with: read a key's value in place", |bencher| {
        bencher.iter(|| {
            step += 1;
            let bytes = key(shuffled(step));
            table
                .with(KeyRef::new(1, 0, &bytes), |entry| entry.value().map(<[u8]>::len))
                .expect("all keys were put")
        });
    });
    group.bench_function("with, and count the use in the entry's heat", |bencher| {
        bencher.iter(|| {
            step += 1;
            let bytes = key(shuffled(step));
            let read = table.with(KeyRef::new(1, 0, &bytes), |entry| {
                entry.touch();
                entry.value().map(<[u8]>::len)
            });
            read.expect("all keys were put")
        });
    });
    group.bench_function("get a key that is not there", |bencher| {
        bencher.iter(|| {
            step += 1;
            table.get(KeyRef::new(1, 0, &key(KEYS + step)))
        });
    });
    group.throughput(Throughput::Elements(MULTI_KEYS as u64));
    group.bench_function("multi_get of 32 keys that are there", |bencher| {
        bencher.iter(|| {
            let bytes: [[u8; 16]; MULTI_KEYS] = std::array::from_fn(|_| {
                step += 1;
                key(shuffled(step))
            });
            let keys = bytes.each_ref().map(|bytes| KeyRef::new(1, 0, bytes));
            table.multi_get_with(&keys, |_, entry| {
                black_box(entry.expect("all keys were put").value());
            });
        });
    });
    group.throughput(Throughput::Elements(1));
    group.bench_function("overwrite", |bencher| {
        bencher.iter(|| {
            step += 1;
            put(&table, shuffled(step), KEYS + step);
        });
    });
    drop(table);

    group.throughput(Throughput::Elements(BATCH_KEYS));
    group.bench_function("put a new key, into a table that grows from empty", |bencher| {
        let empty = || Table::new(SHARDS, 1);
        let fill = |table: Table| {
            for number in 0..BATCH_KEYS {
                put(&table, number, number + 1);
            }
            table
        };
        bencher.iter_batched(empty, fill, BatchSize::PerIteration);
    });
    group.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);
