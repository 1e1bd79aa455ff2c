//! Routes are the cheapest there are, whatever was established and closed before: compared with petgraph's Dijkstra.

#![expect(clippy::unwrap_used, reason = "helpers of tests are tests, which the lint does not see")]
#![expect(clippy::cast_possible_truncation, reason = "there are few regions")]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

use petgraph::algo::dijkstra;
use petgraph::graph::{NodeIndex, UnGraph};
use proptest::prelude::*;
use warp_physics::{NetworkOptions, WormholeNetwork, Wormholes};

#[derive(Clone, Debug)]
enum Change {
    Establish(u8, u8, f64),
    Close(u8, u8),
}

/// Mostly over few regions, so that ways meet; strengths from few, so that routes tie, or any.
fn change() -> impl Strategy<Value = Change> {
    let strength = prop_oneof![prop::sample::select(&[0.0, 0.125, 0.25, 0.5, 1.0][..]), 0.0..=1.0];
    prop_oneof![
        3 => (0..12_u8, 0..12_u8, strength).prop_map(|(a, b, strength)| Change::Establish(a, b, strength)),
        2 => (0..12_u8, 0..12_u8).prop_map(|(a, b)| Change::Close(a, b)),
    ]
}

/// The links, as the test keeps them.
type Model = BTreeMap<(u8, u8), f64>;

fn name(region: u8) -> String {
    format!("region {region}")
}

/// What the network says an edge costs: to the 256th, between 1 and 64.
fn cost(strength: f64) -> f64 {
    ((256.0 / strength).round() / 256.0).clamp(1.0, 64.0)
}

fn apply(network: &WormholeNetwork, model: &mut Model, change: &Change) {
    match *change {
        Change::Establish(a, b, _) if a == b => {}
        Change::Establish(a, b, strength) => {
            let former = model.insert((a.min(b), a.max(b)), strength);
            assert_eq!(network.establish(&name(a), &name(b), strength).unwrap(), former != Some(strength));
        }
        Change::Close(a, b) => {
            let was_there = model.remove(&(a.min(b), a.max(b))).is_some();
            assert_eq!(network.close(&name(a), &name(b)), was_there);
        }
    }
}

/// Compares every route with what petgraph finds; returns how many there were.
fn compare(network: &WormholeNetwork, model: &Model, regions: u8) -> usize {
    let mut graph = UnGraph::<(), f64>::new_undirected();
    let nodes: Vec<NodeIndex> = (0..regions).map(|_| graph.add_node(())).collect();
    for ((a, b), strength) in model {
        graph.add_edge(nodes[usize::from(*a)], nodes[usize::from(*b)], cost(*strength));
    }
    let is_linked = |region| model.keys().any(|(a, b)| *a == region || *b == region);
    let mut found = 0;
    for from in 0..regions {
        let costs = dijkstra(&graph, nodes[usize::from(from)], None, |edge| *edge.weight());
        for to in 0..regions {
            // A region is known as long as it has a wormhole.
            let known = is_linked(from) && is_linked(to);
            let expected = costs.get(&nodes[usize::from(to)]).copied().filter(|_| known);
            let route = network.route(&name(from), &name(to));
            assert_eq!(route.as_ref().map(|route| route.cost), expected, "{from} to {to} of {model:?}");
            let Some(route) = route else { continue };
            found += 1;
            assert_eq!((&route.hops[0], route.hops.last().unwrap()), (&name(from), &name(to)));
            let number = |hop: &String| hop.rsplit(' ').next().unwrap().parse::<u8>().unwrap();
            let hops: Vec<u8> = route.hops.iter().map(number).collect();
            let edge = |hop: &[u8]| cost(model[&(hop[0].min(hop[1]), hop[0].max(hop[1]))]);
            assert_eq!(hops.windows(2).map(edge).sum::<f64>(), route.cost, "the hops are wormholes");
        }
    }
    found
}

proptest! {
    // About a million routes are compared.
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn every_route_is_as_cheap_as_one_by_search(changes in prop::collection::vec(change(), 1..60)) {
        let network = WormholeNetwork::default();
        let searching = WormholeNetwork::new(NetworkOptions { table_regions_max: 4, ..NetworkOptions::default() });
        let (mut model, mut model_again) = (Model::new(), Model::new());
        for change in &changes {
            apply(&network, &mut model, change);
            apply(&searching, &mut model_again, change);
            compare(&network, &model, 12);
        }
        compare(&searching, &model, 12);
        let mut wormholes = Wormholes::new();
        for ((a, b), strength) in &model {
            wormholes.establish(&name(*a), &name(*b), *strength).unwrap();
        }
        let again = WormholeNetwork::default();
        again.replace(&wormholes).unwrap();
        compare(&again, &model, 12);
        prop_assert_eq!(again.topology(), network.topology());
        prop_assert_eq!(Wormholes::from_bytes(&wormholes.to_bytes()).unwrap(), wormholes);
    }

    #[test]
    fn any_bytes_are_wormholes_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(wormholes) = Wormholes::from_bytes(&bytes) {
            prop_assert_eq!(wormholes.to_bytes(), bytes);
        }
    }
}

/// A `SplitMix64` step.
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut bits = *state;
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    bits ^ (bits >> 31)
}

/// A ring with chords over `regions`, of strengths between 1/8 and 1.
fn small_world(regions: u64, seed: u64) -> Wormholes {
    let mut state = seed;
    let mut wormholes = Wormholes::new();
    for region in 0..regions {
        for step in [1, 2, 3] {
            let to = if step == 3 { next(&mut state) % regions } else { (region + step) % regions };
            if region != to {
                let strength = 1.0 / (1.0 + (next(&mut state) % 8) as f64);
                wormholes.establish(&format!("{region}"), &format!("{to}"), strength).unwrap();
            }
        }
    }
    wormholes
}

#[test]
fn readers_see_whole_routes_while_the_network_changes() {
    const REGIONS: u64 = 40;
    let network = WormholeNetwork::default();
    network.replace(&small_world(REGIONS, 1)).unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let (mut state, mut asked) = (7, 0_u64);
            let mut hops = Vec::new();
            while !done.load(Ordering::Relaxed) || asked < 1_000 {
                let routes = network.routes();
                let pick = |state: &mut u64| routes.region(&format!("{}", next(state) % REGIONS));
                let (Some(from), Some(to)) = (pick(&mut state), pick(&mut state)) else { continue };
                let cost = routes.route_into(from, to, &mut hops);
                assert_eq!(cost, routes.cost(from, to));
                if cost.is_some() {
                    assert_eq!((hops[0], hops[hops.len() - 1]), (from, to));
                    assert!(hops.len() <= REGIONS as usize, "a way that goes in circles");
                    let steps = hops.windows(2).map(|hop| routes.cost(hop[0], hop[1]).unwrap());
                    assert_eq!(Some(steps.sum::<f64>()), cost, "the parts of a cheapest route are cheapest");
                }
                asked += 1;
            }
        });
        let mut state = 3;
        for _ in 0..2_000 {
            let (a, b) = (next(&mut state) % REGIONS, next(&mut state) % REGIONS);
            match next(&mut state) % 3 {
                _ if a == b => {}
                0 => drop(network.close(&format!("{a}"), &format!("{b}"))),
                chance => {
                    let strength = 0.25 * chance as f64;
                    network.establish(&format!("{a}"), &format!("{b}"), strength).unwrap();
                }
            }
        }
        done.store(true, Ordering::Relaxed);
        reader.join().unwrap();
    });
}

fn ring_of_60() -> Wormholes {
    let mut ring = Wormholes::new();
    for region in 0..60 {
        ring.establish(&format!("{region}"), &format!("{}", (region + 1) % 60), 0.5).unwrap();
    }
    ring
}

#[test]
fn shortcuts_are_learned_from_traffic_and_leave_without_it() {
    let options = NetworkOptions { learned_max: 2, ..NetworkOptions::default() };
    let network = WormholeNetwork::new(options);
    let ring = ring_of_60();
    network.replace(&ring).unwrap();
    let before = network.route("0", "30").unwrap();
    assert_eq!((before.hops.len(), before.cost), (31, 60.0));

    for _ in 0..100 {
        assert!(network.traffic("0", "30", 1.0));
        assert!(network.traffic("15", "45", 1.0));
    }
    assert!(!network.traffic("0", "nowhere", 1.0));
    assert!(!network.traffic("0", "30", f64::NAN));
    let report = network.learn();
    assert_eq!((report.pairs, report.learned), (2, 2));
    assert_eq!((report.cost_without, report.cost_with), (Some(60.0), Some(1.0)));
    assert_eq!(network.route("0", "30").unwrap().cost, 1.0);
    let learned: Vec<_> = network.topology().wormholes.into_iter().filter(|link| link.learned).collect();
    assert_eq!((learned.len(), learned[0].used), (2, Some(100.0)));

    // Other traffic takes their places, in one epoch: what was asked before has faded by half.
    network.traffic("5", "35", 1000.0);
    network.learn();
    assert_eq!(network.route("5", "35").unwrap().cost, 1.0);
    // A change of what was declared leaves the shortcuts in place, and routes exact.
    assert!(network.close("5", "6"));
    assert_eq!(network.route("5", "35").unwrap().cost, 1.0);
    assert!(network.route("5", "6").unwrap().cost > 2.0);
    assert_eq!(network.route("6", "7").unwrap().cost, 2.0);
    // Without traffic they fade, one half an epoch, and go.
    for _ in 0..12 {
        network.learn();
    }
    assert_eq!(network.stats().learned, 0);
    assert_eq!(network.route("0", "30").unwrap().cost, 60.0);
}

#[test]
fn what_was_learned_follows_its_regions_when_all_are_replaced() {
    let options = NetworkOptions { learned_max: 1, ..NetworkOptions::default() };
    let network = WormholeNetwork::new(options);
    let mut ring = ring_of_60();
    network.replace(&ring).unwrap();
    assert!(network.traffic("0", "30", 8.0));
    network.learn();
    assert_eq!(network.route("0", "30").unwrap().cost, 1.0);
    // Names that come before all others, so that these get other numbers.
    for region in 0..30 {
        ring.establish(&format!("#{region}"), &format!("#{}", region + 1), 0.5).unwrap();
    }
    assert_eq!(network.replace(&ring).unwrap(), 30);
    assert_eq!(network.route("0", "30").unwrap().cost, 1.0, "the shortcut");
    let report = network.learn();
    assert_eq!((report.pairs, report.learned), (1, 1), "the traffic");
    assert_eq!(network.route("0", "30").unwrap().cost, 1.0);
}

#[test]
fn a_network_that_outgrows_its_table_still_answers() {
    let options = NetworkOptions { table_regions_max: 8, ..NetworkOptions::default() };
    let network = WormholeNetwork::new(options);
    for region in 0..20 {
        network.establish(&format!("{region}"), &format!("{}", region + 1), 1.0).unwrap();
        assert_eq!(network.stats().precomputed, region < 7);
        assert_eq!(network.route("0", &format!("{}", region + 1)).unwrap().cost, f64::from(region + 1));
    }
    assert_eq!(network.learn().learned, 0);
}

#[test]
fn a_network_made_at_once_is_that_of_its_links_made_one_by_one() {
    let mut model = Model::new();
    let network = WormholeNetwork::default();
    for region in 0..40_u8 {
        let change = Change::Establish(
            region,
            u8::try_from((u32::from(region) * 7 + 3) % 41).unwrap(),
            1.0 / f64::from(1 + region % 5),
        );
        apply(&network, &mut model, &change);
    }
    let links: Vec<(String, String, f64)> =
        model.iter().map(|((a, b), strength)| (name(*a), name(*b), *strength)).collect();
    let named = links.iter().map(|(a, b, strength)| (&**a, &**b, *strength));
    let at_once = WormholeNetwork::with_links(NetworkOptions::default(), named).unwrap();
    assert_eq!(at_once.topology(), network.topology());
    assert!(compare(&at_once, &model, 41) > 0);
    // It goes on as any other.
    assert!(at_once.close(&links[0].0, &links[0].1));
    model.pop_first();
    compare(&at_once, &model, 41);
    assert!(WormholeNetwork::with_links(NetworkOptions::default(), [("a", "a", 0.5)]).is_err());
}
