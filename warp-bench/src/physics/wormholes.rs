//! Wormholes: how fast and how right routes are, what changes of the network cost, and what learned shortcuts are worth.

mod grouped;
mod learned;
mod world;

use std::hint::black_box;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use warp_io::Clock;
use warp_physics::{NetworkOptions, RegionId, Routes, WormholeNetwork};

use super::Job;
use crate::latency::{Latency, median_time};
use crate::random::Random;
use crate::report::{Cell, Table, grouped};
use crate::run::Outcome;
use crate::timed::Timed;
use world::{Peer, World};

/// Regions of the networks.
const SIZES: [&[usize]; 3] = [&[64, 256], &[64, 1024], &[64, 1024, 10_000]];
/// How long each way of asking is timed.
const TIME: [Duration; 3] =
    [Duration::from_millis(200), Duration::from_millis(1_000), Duration::from_secs(2)];
/// Pairs of regions that are asked for, again and again.
const PAIRS: usize = 4096;
/// Changes of the network that are checked, and routes after each that are.
const CHANGES: [usize; 3] = [20, 100, 200];
const ROUTES_CHECKED: usize = 20;
/// Beyond so many regions one change takes so long that few are made.
const FEW_CHANGES_FROM: usize = 4096;
const FEW_CHANGES: usize = 5;
/// Streams of random numbers.
const WORLD: u64 = 1;
const ASKED: u64 = 2;
const CHANGED: u64 = 3;

/// Runs the part.
///
/// # Errors
/// What the network refuses.
pub(crate) fn wormholes(job: &mut Job) -> Outcome<()> {
    let mut routes = Table::new(
        "Exact routes a second, one thread, pairs at random in small worlds of mean degree 8",
        &[
            "regions",
            "whole routes, by number",
            "while another thread changes the network",
            "p99 of a route",
            "of the clock",
            "petgraph: Dijkstra, the cost alone",
            "ours / petgraph",
            "hops",
        ],
    );
    let mut changes = Table::new(
        "Changes of the network",
        &[
            "regions",
            "all routes from nothing",
            "bytes of routes",
            "new shortcut",
            "p99",
            "closing it again",
            "p99",
        ],
    );
    let (mut checked, mut wrong) = (0, 0);
    for &regions in job.size(SIZES) {
        let mut random = Random::new(job.seed, WORLD);
        let world = World::small(regions, &mut random);
        let options = NetworkOptions { table_regions_max: regions + 1, ..NetworkOptions::default() };
        let (network, build) = job.time(|| world.network(options));
        let network = network?;
        asked(job, &world, &network, &mut routes)?;
        let (of, not_right) = changed(job, &world, &network, build, &mut changes)?;
        checked += of;
        wrong += not_right;
    }
    routes.note("By number: regions are looked up by name once. A p99 is of single routes, with two readings of the clock in it.");
    routes.note("While another thread changes: a new view every 64 routes; shortcuts are made and closed all the time.");
    job.report.table(routes);
    changes.note(
        "A shortcut costs 1 and leads from anywhere to anywhere, so that it brings most regions nearer.",
    );
    job.report.table(changes);
    let detail = format!("{} routes, {wrong} differ", grouped(f64::from(checked)));
    job.report.check(
        "after every change routes cost what petgraph's Dijkstra says, hop by hop",
        wrong == 0,
        detail,
    );
    learned::learned(job)?;
    grouped::grouped_fetches(job)
}

type Pairs = Vec<(RegionId, RegionId)>;

fn pairs(job: &Job, world: &World, routes: &Routes) -> Outcome<Pairs> {
    let mut random = Random::new(job.seed, ASKED);
    let ids: Vec<RegionId> = world
        .names
        .iter()
        .map(|name| routes.region(name).ok_or("a region is not there"))
        .collect::<Result<_, _>>()?;
    Ok((0..PAIRS).map(|_| (ids[random.below(ids.len())], ids[random.below(ids.len())])).collect())
}

/// Whole routes a second, for a while.
fn rate(job: &Job, mut round: impl FnMut() -> usize) -> f64 {
    let start = job.clock.monotonic();
    let mut count = 0;
    loop {
        count += round();
        let elapsed = job.clock.monotonic().saturating_sub(start);
        if elapsed >= job.size(TIME) {
            return count as f64 / elapsed.as_secs_f64();
        }
    }
}

fn asked(job: &Job, world: &World, network: &WormholeNetwork, table: &mut Table) -> Outcome<()> {
    let routes = network.routes();
    let pairs = pairs(job, world, &routes)?;
    let mut hops = Vec::with_capacity(256);
    let ours = rate(job, || {
        for (from, to) in &pairs {
            black_box(routes.route_into(*from, *to, &mut hops));
        }
        pairs.len()
    });
    let mut length = 0;
    let mut latency = Latency::new();
    let mut clock = Latency::new();
    for (from, to) in &pairs {
        let start = job.clock.monotonic();
        black_box(routes.route_into(*from, *to, &mut hops));
        let end = job.clock.monotonic();
        latency.record(end.saturating_sub(start));
        clock.record(job.clock.monotonic().saturating_sub(end));
        length += hops.len().saturating_sub(1);
    }
    let changing = while_changing(job, world, network, &pairs);
    let topology = network.topology();
    let peer = Peer::of(&topology);
    let node = |region| routes.name(region).and_then(|name| peer.node(name)).ok_or("petgraph lacks a region");
    let nodes: Vec<_> =
        pairs.iter().map(|(from, to)| Ok((node(*from)?, node(*to)?))).collect::<Result<_, &str>>()?;
    let mut at = 0;
    let theirs = rate(job, || {
        let (from, to) = nodes[at % nodes.len()];
        at += 1;
        black_box(peer.cost(from, to));
        1
    });
    let p99 = |latency: &Latency| latency.quantile(0.99).map_or(Cell::Absent(()), Cell::time);
    table.row([
        Cell::count(world.names.len() as u64),
        Cell::rate(ours),
        Cell::rate(changing?),
        p99(&latency),
        p99(&clock),
        Cell::rate(theirs),
        Cell::ratio(ours / theirs),
        Cell::number(length as f64 / pairs.len() as f64, ""),
    ]);
    Ok(())
}

/// The same while another thread makes shortcuts and closes them.
fn while_changing(job: &Job, world: &World, network: &WormholeNetwork, pairs: &Pairs) -> Outcome<f64> {
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let changing = scope.spawn(|| -> Outcome<()> {
            let mut random = Random::new(job.seed, CHANGED);
            while !done.load(Ordering::Relaxed) {
                let (a, b) = world.unlinked(&mut random);
                network.establish(a, b, 1.0)?;
                network.close(a, b);
            }
            Ok(())
        });
        let mut hops = Vec::with_capacity(256);
        let found = rate(job, || {
            for some in pairs.chunks(64) {
                let routes = network.routes();
                for (from, to) in some {
                    black_box(routes.route_into(*from, *to, &mut hops));
                }
            }
            pairs.len()
        });
        done.store(true, Ordering::Relaxed);
        changing.join().map_err(|_| "the changing thread panicked")??;
        Ok(found)
    })
}

/// Makes shortcuts and closes them, and compares routes after each change. Returns how many were compared, and how many differ.
fn changed(
    job: &Job,
    world: &World,
    network: &WormholeNetwork,
    build: Duration,
    table: &mut Table,
) -> Outcome<(u32, u32)> {
    let mut random = Random::new(job.seed, CHANGED + 1);
    let (mut new, mut closed) = (Latency::new(), Latency::new());
    let (mut new_times, mut closed_times) = (Vec::new(), Vec::new());
    let (mut checked, mut wrong) = (0, 0);
    let few = world.names.len() > FEW_CHANGES_FROM;
    for _ in 0..if few { FEW_CHANGES } else { job.size(CHANGES) } {
        let (a, b) = world.unlinked(&mut random);
        let (established, time) = job.time(|| network.establish(a, b, 1.0));
        established?;
        new.record(time);
        new_times.push(time);
        let mut compare = || {
            let (topology, routes) = (network.topology(), network.routes());
            let peer = Peer::of(&topology);
            for _ in 0..ROUTES_CHECKED {
                let (from, to) = (world.any(&mut random), world.any(&mut random));
                checked += 1;
                wrong += u32::from(!peer.agrees(&routes, from, to));
            }
        };
        compare();
        let ((), time) = job.time(|| {
            network.close(a, b);
        });
        closed.record(time);
        closed_times.push(time);
        compare();
    }
    let p99 = |latency: &Latency| latency.quantile(0.99).map_or(Cell::Absent(()), Cell::time);
    table.row([
        Cell::count(world.names.len() as u64),
        Cell::time(build),
        Cell::bytes(network.stats().table_bytes as u64),
        Cell::time(median_time(&new_times)),
        p99(&new),
        Cell::time(median_time(&closed_times)),
        p99(&closed),
    ]);
    Ok((checked, wrong))
}
