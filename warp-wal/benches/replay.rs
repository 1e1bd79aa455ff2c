//! What reading a log again costs, from the page cache.

use std::path::Path;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use warp_wal::{Entry, Format, Log, LogOptions, replay};

const KEY: [u8; 16] = [7; 16];
const VALUE: [u8; 100] = [9; 100];
const REPLAYED: u64 = 200_000;

fn read(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("replay");
    group.throughput(Throughput::Elements(REPLAYED));
    group.sample_size(20);
    for (format, name) in [(Format::Binary, "binary"), (Format::Json, "json")] {
        let dir = tempfile::tempdir().expect("a directory");
        fill(dir.path(), format);
        group.bench_function(format!("{name}_116_bytes"), |bencher| {
            bencher.iter(|| assert_eq!(count(dir.path()), REPLAYED));
        });
    }
    group.finish();
}

fn fill(path: &Path, format: Format) {
    let log = Log::open(path, LogOptions { format, ..LogOptions::default() }).expect("a log");
    for _ in 0..REPLAYED {
        log.append(&[Entry::put(&KEY, &VALUE)]).expect("an append");
    }
    log.close().expect("a close");
}

fn count(path: &Path) -> u64 {
    let mut entries = 0;
    replay(path, |_, entry| entries += entry.value.len() as u64 / 100).expect("a replay");
    entries
}

criterion_group!(benches, read);
criterion_main!(benches);
