//! What it costs to ask for partners: `cargo bench -p warp-physics`.

#![expect(clippy::unwrap_used, reason = "what is measured is valid")]

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use warp_physics::{Entanglement, Links, PARTNERS_DEFAULT, RULES_MAX, Rules, STRENGTH_MIN_DEFAULT};

criterion_group!(benches, matching, partners, bytes);
criterion_main!(benches);

/// Three partners for each of `count` kinds of keys, told apart by prefix, by suffix, or by both.
fn rules(count: usize, pattern: impl Fn(usize) -> String) -> Rules {
    let mut rules = Rules::new();
    for kind in 0..count {
        let partners = [1, 2, 3].map(|partner| format!("partner{partner}:{kind}:{{id}}"));
        rules.add(pattern(kind), &partners, 0.8).unwrap();
    }
    rules
}

/// Links of strengths just below `strongest`.
fn links(count: usize, strongest: f64) -> Links {
    let mut links = Links::new();
    for index in 0..count {
        let strength = strongest - index as f64 / 16384.0;
        links.declare(0, format!("declared:{index:08}").as_bytes(), strength).unwrap();
    }
    links
}

fn ask(graph: &Entanglement, key: &str, declared: Option<&Links>) -> usize {
    let key = black_box(key).as_bytes();
    graph.partners(0, key, declared, PARTNERS_DEFAULT, STRENGTH_MIN_DEFAULT).len()
}

fn matching(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("partners made by rules");
    for count in [6, 64, RULES_MAX] {
        let by_prefix = Entanglement::new(rules(count, |kind| format!("kind{kind}:{{id}}")));
        let hit = format!("kind{}:12345678", count / 2);
        assert_eq!(ask(&by_prefix, &hit, None), 3);
        group.bench_function(BenchmarkId::new("hit by prefix", count), |bench| {
            bench.iter(|| ask(&by_prefix, &hit, None));
        });
        assert_eq!(ask(&by_prefix, "session:12345678", None), 0);
        group.bench_function(BenchmarkId::new("miss", count), |bench| {
            bench.iter(|| ask(&by_prefix, "session:12345678", None));
        });
        let by_suffix = Entanglement::new(rules(count, |kind| format!("{{id}}:kind{kind}")));
        let hit = format!("12345678:kind{}", count / 2);
        assert_eq!(ask(&by_suffix, &hit, None), 3);
        group.bench_function(BenchmarkId::new("hit by suffix", count), |bench| {
            bench.iter(|| ask(&by_suffix, &hit, None));
        });
    }
    group.finish();
}

fn partners(criterion: &mut Criterion) {
    let graph = Entanglement::new(Rules::common());
    let mut group = criterion.benchmark_group("partners, 3 by rule of strength 0.8, and declared");
    for (name, strongest) in [("stronger", 1.0), ("weaker", 0.7)] {
        for count in [0, 10, 100, 1024] {
            let links = links(count, strongest);
            group.bench_function(BenchmarkId::new(name, count), |bench| {
                bench.iter(|| ask(&graph, "user:12345678", Some(&links)));
            });
        }
    }
    group.finish();
}

fn bytes(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("from bytes");
    for count in [10, 100, 1024] {
        let stored = links(count, 1.0).to_bytes();
        group.bench_function(BenchmarkId::new("links", count), |bench| {
            bench.iter(|| Links::from_bytes(black_box(&stored)).map(|links| links.len()));
        });
    }
    for count in [6, RULES_MAX] {
        let stored = rules(count, |kind| format!("kind{kind}:{{id}}")).to_bytes();
        group.bench_function(BenchmarkId::new("rules", count), |bench| {
            bench.iter(|| Rules::from_bytes(black_box(&stored)).map(|rules| rules.len()));
        });
    }
    group.finish();
}
