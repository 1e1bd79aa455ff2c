//! Opening a layer, and reading from it, with its pages in memory.

use std::hint::black_box;
use std::path::Path;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use warp_checkpoint::{Layer, LayerEntry, LayerOptions, LayerWriter, hash};

const ENTRIES: u64 = 200_000;
const VALUE_BYTES: usize = 100;
const ITERATED: usize = 10_000;

fn key(n: u64) -> [u8; 16] {
    let mut key = *b"key             ";
    key[8..].copy_from_slice(&n.to_le_bytes());
    key
}

fn write(path: &Path, entries: u64, options: &LayerOptions) {
    let mut writer = LayerWriter::create(path, options).expect("the directory is new");
    for n in 0..entries {
        let (key, value) = (key(n), [n.to_le_bytes()[0]; VALUE_BYTES]);
        let entry =
            LayerEntry { hash: hash(&key), keyspace: 0, key: &key, seq: n, deadline: 0, value: Some(&value) };
        writer.add(&entry).expect("the disk has room");
    }
    writer.finish().expect("the disk works");
}

fn benches(criterion: &mut Criterion) {
    let scratch = tempfile::tempdir().expect("there is room for temporary files");
    let (path, small) = (scratch.path().join("1.warp"), scratch.path().join("2.warp"));
    write(&path, ENTRIES, &LayerOptions { compress_from: None });
    write(&small, ENTRIES / 100, &LayerOptions { compress_from: None });

    for (name, path) in [("open_2k", &small), ("open_200k", &path)] {
        criterion.bench_function(name, |bencher| {
            bencher.iter_batched(
                || (),
                |()| Layer::open(path).expect("it is whole"),
                BatchSize::PerIteration,
            );
        });
    }

    let layer = Layer::open(&path).expect("it is whole");
    layer.verify().expect("it is whole"); // and every block is checked from here on
    let get = |first: u64| {
        let mut n = first;
        let layer = &layer;
        move || {
            n = (n + 7919) % ENTRIES + first; // a prime, so that all keys have their turn
            let key = key(n);
            layer.get(hash(&key), 0, &key).expect("it is whole")
        }
    };
    let (mut hit, mut miss) = (get(0), get(ENTRIES));
    assert!(hit().is_some() && miss().is_none());
    criterion.bench_function("get_hit", |bencher| bencher.iter(|| black_box(hit())));
    criterion.bench_function("get_miss", |bencher| bencher.iter(|| black_box(miss())));

    let mut group = criterion.benchmark_group("many");
    group.sample_size(10).throughput(Throughput::Elements(ITERATED as u64));
    group.bench_function("iter_10k", |bencher| {
        let count = |layer: &Layer| layer.iter().take(ITERATED).filter(|entry| entry.is_ok()).count();
        bencher.iter(|| black_box(count(&layer)));
    });
    group.throughput(Throughput::Elements(ENTRIES));
    group.bench_function("verify_200k", |bencher| bencher.iter(|| layer.verify().expect("it is whole")));
    group.bench_function("write_200k", |bencher| {
        let target = scratch.path().join("3.warp");
        bencher.iter(|| write(&target, ENTRIES, &LayerOptions { compress_from: None }));
    });
    group.finish();
}

criterion_group!(open, benches);
criterion_main!(open);
