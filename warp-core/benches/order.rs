//! One thread on the order of a million keys of 16 bytes, whose hashes are looked up in a table of as many.
//!
//! `cargo bench -p warp-core --bench order`

use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use warp_core::{Chunk, Kept, Key, KeyRef, OrderBuilder, OrderedKeys, SLOTS, Table, Value};

const KEYS: u64 = 1_000_000;
const VALUE_BYTES: usize = 100;
/// Keys of a short scan.
const SEEK_KEYS: usize = 100;
/// Keys that are merged at once.
const MERGE_KEYS: u64 = 1_000;
/// Blocks that a long scan reads at once.
const BLOCKS: usize = 8;
/// The slots that the builder's sample is of.
const SAMPLE_SLOTS: usize = 64;

fn key(number: u64) -> [u8; 16] {
    let mut bytes = *b"key:000000000000";
    let mut rest = number;
    for byte in bytes[4..].iter_mut().rev() {
        *byte = b'0' + u8::try_from(rest % 10).expect("a digit");
        rest /= 10;
    }
    bytes
}

fn shuffled(step: u64) -> u64 {
    step.wrapping_mul(6_364_136_223_846_793_003) % KEYS
}

fn filled() -> Table {
    let table = Table::new(64, 1);
    for number in 0..KEYS {
        let bytes = key(shuffled(number));
        let key = KeyRef::new(1, 0, &bytes);
        table.put(key, &[7; VALUE_BYTES], number + 1, 0).expect("the table is not full");
    }
    table
}

fn resolve(table: &Table, chunk: &Chunk) -> Kept {
    let mut keys = Vec::with_capacity(chunk.hashes.len());
    table.multi_entries(&chunk.hashes, |place, entry| {
        keys.push((Key::from(entry.key()), chunk.hashes[place]))
    });
    Kept { keys, unreadable: Vec::new() }
}

fn build(table: &Table) -> OrderedKeys {
    let mut sample = Vec::new();
    for slot in 0..SAMPLE_SLOTS {
        table.for_each_in(slot * (SLOTS / SAMPLE_SLOTS), |entry| sample.push(Key::from(entry.key())));
    }
    let mut builder = OrderBuilder::new(sample, table.len());
    while builder.next_round() {
        table.for_each(|entry| builder.add(entry.key(), KeyRef::new(1, 0, entry.key()).hash));
    }
    builder.finish(&mut |chunk| resolve(table, chunk))
}

/// Keys of a chunk with their values, in order.
fn read(table: &Table, chunk: &Chunk) -> Vec<(Key, Value)> {
    let mut found = Vec::with_capacity(chunk.hashes.len());
    table.multi_entries(&chunk.hashes, |_, entry| {
        if let Some(value) = entry.value_handle()
            && chunk.contains(entry.key())
        {
            found.push((Key::from(entry.key()), value));
        }
    });
    found.sort_unstable_by(|a, b| a.0.cmp(&b.0));
    found
}

fn bench(criterion: &mut Criterion) {
    let table = filled();
    let order = build(&table);
    println!("{} hashes, {} bytes held", order.len(), order.memory_bytes());

    let mut group = criterion.benchmark_group("order");
    group.sample_size(10);
    group.throughput(Throughput::Elements(KEYS));
    group.bench_function("build", |bencher| bencher.iter(|| build(&table)));
    group.bench_function("iterate over all", |bencher| {
        bencher.iter(|| {
            let (mut from, mut seen) = (Key::default(), 0);
            loop {
                let chunk = order.forwards(&from, None, BLOCKS);
                seen += read(&table, &chunk).len();
                let Some(next) = chunk.high else { return seen };
                from = next;
            }
        });
    });
    group.throughput(Throughput::Elements(1));
    let mut step = 0;
    group.bench_function("seek, and read 100 keys", |bencher| {
        bencher.iter(|| {
            step += 1;
            let (mut from, mut seen) = (Key::from(&key(shuffled(step))), 0);
            while seen < SEEK_KEYS {
                let chunk = order.forwards(&from, None, 1);
                seen += black_box(read(&table, &chunk)).len();
                let Some(next) = chunk.high else { break };
                from = next;
            }
        });
    });
    group.throughput(Throughput::Elements(MERGE_KEYS));
    group.bench_function("merge 1000 new keys in random places", |bencher| {
        let mut next = KEYS;
        let mut added = || {
            next += MERGE_KEYS;
            let keys = (next..next + MERGE_KEYS).map(|number| {
                let bytes = key(number.wrapping_mul(6_364_136_223_846_793_003) % 1_000_000_000_000);
                let hash = KeyRef::new(1, 0, &bytes).hash;
                (Key::from(&bytes), hash)
            });
            keys.collect::<Vec<_>>()
        };
        bencher.iter_batched(
            &mut added,
            |added| order.merge(added, &mut |chunk| resolve(&table, chunk)),
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);
