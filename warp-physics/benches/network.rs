//! What routes cost, and changes of the network, beside petgraph's Dijkstra: `cargo bench -p warp-physics --bench network`.

#![expect(clippy::unwrap_used, reason = "what is measured is valid")]
#![expect(clippy::cast_possible_truncation, reason = "there are few regions")]

use std::hint::black_box;
use std::time::Duration;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use petgraph::algo::dijkstra;
use petgraph::graph::{NodeIndex, UnGraph};
use warp_physics::{RegionId, WormholeNetwork, Wormholes};

criterion_group! {
    name = benches;
    config = Criterion::default().warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(2)).sample_size(20);
    targets = routes, changes
}
criterion_main!(benches);

/// A `SplitMix64` step.
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut bits = *state;
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    bits ^ (bits >> 31)
}

/// A small world: a ring in which each region is linked with the next three and one at random, so that a region has eight
/// links on the average; costs between 1 and 8.
fn small_world(regions: u64) -> Vec<(u64, u64, f64)> {
    let mut state = regions;
    let mut links = Vec::new();
    for region in 0..regions {
        for step in 1..=4 {
            let to = if step == 4 { next(&mut state) % regions } else { (region + step) % regions };
            let cost = 1.0 + (next(&mut state) % 7168) as f64 / 1024.0;
            if to != region {
                links.push((region, to, 1.0 / cost));
            }
        }
    }
    links
}

fn network(regions: u64) -> WormholeNetwork {
    let network = WormholeNetwork::default();
    network.replace(&wormholes(regions)).unwrap();
    network
}

fn wormholes(regions: u64) -> Wormholes {
    let mut wormholes = Wormholes::new();
    for (a, b, strength) in small_world(regions) {
        wormholes.establish(&a.to_string(), &b.to_string(), strength).unwrap();
    }
    wormholes
}

fn routes(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("routes");
    for regions in [64, 1024] {
        let network = network(regions);
        let routes = network.routes();
        let mut state = 5;
        let pairs: Vec<(RegionId, RegionId)> = (0..4096)
            .map(|_| [next(&mut state), next(&mut state)].map(|pick| (pick % regions).to_string()))
            .map(|[a, b]| (routes.region(&a).unwrap(), routes.region(&b).unwrap()))
            .collect();
        let mut hops = Vec::with_capacity(64);
        group.throughput(Throughput::Elements(pairs.len() as u64));
        group.bench_function(BenchmarkId::new("by number", regions), |bench| {
            bench
                .iter(|| pairs.iter().filter_map(|(a, b)| routes.route_into(*a, *b, &mut hops)).sum::<f64>());
        });
        group.bench_function(BenchmarkId::new("by number, one view each", regions), |bench| {
            let asked = |(a, b): &(RegionId, RegionId)| network.routes().route_into(*a, *b, &mut Vec::new());
            bench.iter(|| pairs.iter().filter_map(asked).sum::<f64>());
        });
        group.throughput(Throughput::Elements(1));
        group.bench_function(BenchmarkId::new("by name", regions), |bench| {
            bench.iter(|| network.route(black_box("3"), black_box("40")).unwrap().cost);
        });
        let mut graph = UnGraph::<(), f64>::new_undirected();
        let nodes: Vec<NodeIndex> = (0..regions).map(|_| graph.add_node(())).collect();
        for (a, b, strength) in small_world(regions) {
            graph.add_edge(nodes[a as usize], nodes[b as usize], 1.0 / strength);
        }
        group.bench_function(BenchmarkId::new("petgraph", regions), |bench| {
            bench.iter(|| {
                let [a, b] =
                    [next(&mut state), next(&mut state)].map(|pick| nodes[(pick % regions) as usize]);
                dijkstra(&graph, a, Some(b), |edge| *edge.weight())[&b]
            });
        });
    }
    group.finish();
}

fn changes(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("changes");
    for regions in [64, 1024] {
        let network = network(regions);
        let wormholes = wormholes(regions);
        group.bench_function(BenchmarkId::new("all", regions), |bench| {
            bench.iter(|| network.replace(&wormholes).unwrap());
        });
        let mut state = 9;
        // Two regions that are not linked, each time others; closing the link again is not measured.
        let mut open = None;
        group.bench_function(BenchmarkId::new("new shortcut", regions), |bench| {
            bench.iter_batched(
                || {
                    if let Some((a, b)) = open.take() {
                        network.close(&format!("{a}"), &format!("{b}"));
                    }
                    let (a, step) = (next(&mut state) % regions, 4 + next(&mut state) % (regions - 8));
                    let b = (a + step) % regions;
                    open = wormholes.strength(&a.to_string(), &b.to_string()).is_none().then_some((a, b));
                    (a.to_string(), b.to_string())
                },
                |(a, b)| network.establish(&a, &b, 1.0).unwrap(),
                BatchSize::PerIteration,
            );
        });
        group.bench_function(BenchmarkId::new("closed shortcut", regions), |bench| {
            bench.iter_batched(
                || {
                    let a = next(&mut state) % regions;
                    let b = (a + 4 + next(&mut state) % (regions - 8)) % regions;
                    let (a, b) = (a.to_string(), b.to_string());
                    if wormholes.strength(&a, &b).is_none() {
                        network.establish(&a, &b, 1.0).unwrap();
                    }
                    (a, b)
                },
                |(a, b)| wormholes.strength(&a, &b).is_none() && network.close(&a, &b),
                BatchSize::PerIteration,
            );
        });
    }
    group.finish();
}
