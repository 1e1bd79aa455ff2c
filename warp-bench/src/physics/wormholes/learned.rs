//! Learned shortcuts: the mean cost of a route under a matrix of traffic, against none, random ones, and the obvious ones.

use warp_io::Clock;
use warp_physics::{NetworkOptions, RegionId, WormholeNetwork};

use super::world::World;
use crate::physics::Job;
use crate::random::Random;
use crate::report::{Cell, Table, grouped};
use crate::run::Outcome;

const REGIONS: [usize; 3] = [128, 512, 1024];
/// Shortcuts that may be made, in percent of the links that there are.
const BUDGET_PERCENT: usize = 2;
/// Routes that are asked for in an epoch.
const ASKED: [usize; 3] = [20_000, 100_000, 200_000];
/// Epochs under one matrix, and as many under the next.
const EPOCHS: usize = 5;
/// An epoch has adapted if it is within so much of what is reached in the end.
const ADAPTED: f64 = 1.05;
/// Streams of random numbers.
const WORLD: u64 = 20;
const MATRIX: u64 = 21;
const REQUESTS: u64 = 22;
const SHORTCUTS: u64 = 23;

/// Which pairs are asked for how often: the pair of rank `n` in proportion to `1 / n`.
struct Traffic {
    /// From the heaviest on.
    pairs: Vec<(usize, usize)>,
    /// Sums of the shares.
    sums: Vec<f64>,
}

impl Traffic {
    fn new(regions: usize, spread: Spread, random: &mut Random) -> Traffic {
        let mut pairs: Vec<(usize, usize)> =
            (0..regions).flat_map(|a| (a + 1..regions).map(move |b| (a, b))).collect();
        let shuffle = |of: &mut Vec<(usize, usize)>, random: &mut Random| {
            for place in (1..of.len()).rev() {
                of.swap(place, random.below(place + 1));
            }
        };
        shuffle(&mut pairs, random);
        let mut shares: Vec<f64> = (1..=pairs.len()).map(|rank| 1.0 / rank as f64).collect();
        if spread == Spread::Regions {
            // A region of rank n is an end of a route in proportion to 1 / n.
            let mut ranks: Vec<(usize, usize)> = (0..regions).map(|region| (region, 0)).collect();
            shuffle(&mut ranks, random);
            let mut of = vec![0.0; regions];
            (1..).zip(&ranks).for_each(|(rank, (region, _)): (u32, _)| of[*region] = 1.0 / f64::from(rank));
            let share = |pair: &(usize, usize)| of[pair.0] * of[pair.1];
            pairs.sort_by(|a, b| share(b).total_cmp(&share(a)));
            shares = pairs.iter().map(share).collect();
        }
        let all: f64 = shares.iter().sum();
        let sums = shares.iter().scan(0.0, |sum, share| {
            *sum += share / all;
            Some(*sum)
        });
        Traffic { sums: sums.collect(), pairs }
    }

    fn draw(&self, random: &mut Random) -> (usize, usize) {
        let unit = random.unit();
        self.pairs[self.sums.partition_point(|sum| *sum <= unit).min(self.pairs.len() - 1)]
    }

    /// The mean cost of a route, each pair as often as it is asked for.
    fn cost(&self, world: &World, network: &WormholeNetwork) -> Outcome<f64> {
        let routes = network.routes();
        let ids: Vec<RegionId> = world
            .names
            .iter()
            .map(|name| routes.region(name).ok_or("a region is not there"))
            .collect::<Result<_, _>>()?;
        let (mut mean, mut before) = (0.0, 0.0);
        for ((a, b), sum) in self.pairs.iter().zip(&self.sums) {
            mean += (sum - before) * routes.cost(ids[*a], ids[*b]).ok_or("there is no route")?;
            before = *sum;
        }
        Ok(mean)
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Spread {
    Pairs,
    Regions,
}

const SPREADS: [(&str, Spread); 2] =
    [("pairs by Zipf 1.0", Spread::Pairs), ("regions by Zipf 1.0", Spread::Regions)];

/// Runs the part.
///
/// # Errors
/// What the network refuses.
pub(super) fn learned(job: &mut Job) -> Outcome<()> {
    let world = World::small(job.size(REGIONS), &mut Random::new(job.seed, WORLD));
    let budget = (world.links() * BUDGET_PERCENT / 100).max(1);
    let mut table = Table::new(
        format!(
            "Learned shortcuts: mean cost of a route, {} regions, {} links, {budget} shortcuts of cost 1",
            grouped(world.names.len() as f64),
            grouped(world.links() as f64),
        ),
        &[
            "traffic",
            "shortcuts",
            "cost",
            "of none",
            "cost after a change, epoch 1",
            "2",
            "3",
            "in the end",
            "time of an epoch",
        ],
    );
    let (mut verdicts, mut bars) = (Vec::new(), Vec::new());
    for (name, spread) in SPREADS {
        let mut random = Random::new(job.seed, MATRIX);
        let matrices = [(); 2].map(|()| Traffic::new(world.names.len(), spread, &mut random));
        let plain = world.network(NetworkOptions::default())?;
        let none = matrices[0].cost(&world, &plain)?;
        let random = with_shortcuts(
            &world,
            budget,
            &mut |random| (random.below(world.names.len()), random.below(world.names.len())),
            job,
        )?;
        let mut heaviest = matrices[0].pairs.iter();
        let obvious =
            with_shortcuts(&world, budget, &mut |_| heaviest.next().copied().unwrap_or((0, 0)), job)?;
        let (random, obvious) = (matrices[0].cost(&world, &random)?, matrices[0].cost(&world, &obvious)?);
        for (what, cost) in [("none", none), ("at random", random), ("the pairs asked for most", obvious)] {
            bars.push((format!("{name}, {what}"), cost));
            let mut cells =
                vec![Cell::text(name), Cell::text(what), Cell::number(cost, ""), Cell::ratio(cost / none)];
            cells.resize_with(9, || Cell::Absent(()));
            table.row(cells);
        }
        let learned = epochs(job, &world, budget, &matrices)?;
        let (before, after) = learned.costs.split_at(EPOCHS);
        let settled = before[EPOCHS - 1];
        bars.push((format!("{name}, learned"), settled));
        table.row([
            Cell::text(name),
            Cell::text("learned"),
            Cell::number(settled, ""),
            Cell::ratio(settled / none),
            Cell::number(after[0], ""),
            Cell::number(after[1], ""),
            Cell::number(after[2], ""),
            Cell::number(after[EPOCHS - 1], ""),
            Cell::time(learned.time),
        ]);
        let adapted = after.iter().position(|cost| *cost <= after[EPOCHS - 1] * ADAPTED).unwrap_or(EPOCHS);
        verdicts.push((name, settled / none, settled / obvious, adapted + 1));
    }
    table.note("Traffic is learned from requests drawn at random; costs are those of the whole matrix. The pairs asked for most are");
    table.note("taken from the matrix itself, which nobody knows in practice. After a change every pair has another share.");
    job.report.table(table);
    job.plot("wormholes.svg", "Mean cost of a route with shortcuts", "", &bars)?;
    for (name, of_none, of_obvious, adapted) in verdicts {
        job.report.check(
            format!("learned shortcuts beat none and the obvious ones: {name}"),
            of_none < 1.0 && of_obvious < 1.0,
            format!(
                "{:.0} % below none, {:.0} % below the obvious ones, adapted after {adapted} epochs",
                (1.0 - of_none) * 100.0,
                (1.0 - of_obvious) * 100.0
            ),
        );
    }
    Ok(())
}

type Choose<'a> = &'a mut dyn FnMut(&mut Random) -> (usize, usize);

/// The world with so many more links, of pairs that have none.
fn with_shortcuts(world: &World, budget: usize, choose: Choose<'_>, job: &Job) -> Outcome<WormholeNetwork> {
    let network = world.network(NetworkOptions::default())?;
    let mut random = Random::new(job.seed, SHORTCUTS);
    let mut made = 0;
    while made < budget {
        let (a, b) = choose(&mut random);
        // A pair that is linked already is linked better: that is a shortcut, too.
        if a != b && network.establish(&world.names[a], &world.names[b], 1.0)? {
            made += 1;
        }
    }
    Ok(network)
}

struct Epochs {
    /// The mean cost after each epoch, under the matrix of that epoch.
    costs: Vec<f64>,
    /// The mean time of choosing shortcuts.
    time: std::time::Duration,
}

fn epochs(job: &Job, world: &World, budget: usize, matrices: &[Traffic; 2]) -> Outcome<Epochs> {
    let network = world.network(NetworkOptions { learned_max: budget, ..NetworkOptions::default() })?;
    let mut random = Random::new(job.seed, REQUESTS);
    let mut epochs = Epochs { costs: Vec::new(), time: std::time::Duration::ZERO };
    for traffic in matrices {
        for _ in 0..EPOCHS {
            for _ in 0..job.size(ASKED) {
                let (a, b) = traffic.draw(&mut random);
                network.traffic(&world.names[a], &world.names[b], 1.0);
            }
            let start = job.clock.monotonic();
            network.learn();
            epochs.time += job.clock.monotonic().saturating_sub(start);
            epochs.costs.push(traffic.cost(world, &network)?);
        }
    }
    epochs.time /= u32::try_from(epochs.costs.len())?;
    Ok(epochs)
}
