//! Which shortcuts would make the traffic cheapest: lazy greedy over the heaviest pairs of regions.

use std::cmp::Ordering;
use std::collections::{BinaryHeap, HashMap, HashSet};

use super::regions::RegionId;
use super::search::UNREACHABLE;
use super::table::Table;

/// Regions between which shortcuts are tried: those that most traffic leads through. Every two of them are a candidate.
const HUBS_MAX: usize = 96;
/// What a shortcut that is there already is favoured by, so that two of about the same worth do not take turns.
const KEPT_FAVOUR: f64 = 1.1;

/// How much was asked for between two regions.
#[derive(Clone, Copy, Debug)]
pub(super) struct Demand {
    pub(super) from: RegionId,
    pub(super) to: RegionId,
    pub(super) amount: f64,
}

/// A shortcut that is worth having.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shortcut {
    pub(super) ends: (RegionId, RegionId),
    /// The traffic that leads through it.
    pub(super) used: f64,
}

/// A shortcut that may be chosen, with what it gained when that was last worked out.
struct Candidate {
    gain: f64,
    /// How many had been chosen then.
    chosen: usize,
    ends: (RegionId, RegionId),
}

impl Ord for Candidate {
    fn cmp(&self, other: &Candidate) -> Ordering {
        self.gain.total_cmp(&other.gain).then_with(|| other.ends.cmp(&self.ends))
    }
}

impl PartialOrd for Candidate {
    fn partial_cmp(&self, other: &Candidate) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Candidate {
    fn eq(&self, other: &Candidate) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Candidate {}

/// Chooses at most `budget` shortcuts of this cost, and puts them into `table`.
///
/// Each round takes the one that lowers the cost of all demands together the most. What a candidate gained in an earlier
/// round is taken for the most that it can gain now, so that few are worked out again: "lazy" greedy, after Minoux,
/// "Accelerated greedy algorithms for maximizing submodular set functions", 1978. The gain is nearly submodular, not
/// quite, so that a better choice may now and then be missed.
pub(super) fn choose(
    table: &mut Table,
    demands: &[Demand],
    present: &[(RegionId, RegionId)],
    budget: usize,
    cost: u32,
) -> Vec<Shortcut> {
    let mut heap: BinaryHeap<Candidate> = candidates(table, demands, present)
        .into_iter()
        .map(|ends| Candidate { gain: gain(table, demands, present, ends, cost), chosen: 0, ends })
        .filter(|candidate| candidate.gain > 0.0)
        .collect();
    let mut chosen = Vec::new();
    while chosen.len() < budget {
        let Some(best) = heap.pop() else { break };
        if best.chosen == chosen.len() {
            table.cheaper(best.ends.0, best.ends.1, cost);
            chosen.push(best.ends);
            continue;
        }
        let gain = gain(table, demands, present, best.ends, cost);
        if gain > 0.0 {
            heap.push(Candidate { gain, chosen: chosen.len(), ends: best.ends });
        }
    }
    used(table, demands, &chosen)
}

/// The cost of all demands for which there is a route, in units.
pub(super) fn total_cost(table: &Table, demands: &[Demand]) -> f64 {
    let cost = |demand: &Demand| match table.dist(demand.from, demand.to) {
        UNREACHABLE => 0.0,
        dist => demand.amount * f64::from(dist),
    };
    demands.iter().map(cost).sum()
}

/// Every two of the busiest regions, both ends of each demand, and what is there.
fn candidates(
    table: &Table,
    demands: &[Demand],
    present: &[(RegionId, RegionId)],
) -> HashSet<(RegionId, RegionId)> {
    let mut through: HashMap<RegionId, f64> = HashMap::new();
    let mut hops = Vec::new();
    for demand in demands {
        hops.clear();
        hops.push(demand.from);
        table.follow(demand.from, demand.to, &mut hops);
        for hop in &hops {
            *through.entry(*hop).or_default() += demand.amount;
        }
    }
    let mut hubs: Vec<(RegionId, f64)> = through.into_iter().collect();
    hubs.sort_unstable_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    hubs.truncate(HUBS_MAX);
    let between = hubs
        .iter()
        .enumerate()
        .flat_map(|(first, (u, _))| hubs[first + 1..].iter().map(move |(v, _)| ordered(*u, *v)));
    let ends = demands.iter().map(|demand| ordered(demand.from, demand.to));
    between.chain(ends).chain(present.iter().copied()).filter(|(u, v)| u != v).collect()
}

/// By how much a shortcut lowers the cost of all demands together. A pair that nothing led between is no gain: there
/// would be no telling what it is worth.
fn gain(
    table: &Table,
    demands: &[Demand],
    present: &[(RegionId, RegionId)],
    ends: (RegionId, RegionId),
    cost: u32,
) -> f64 {
    let (from_u, from_v) = (table.row(ends.0), table.row(ends.1));
    let saved = |demand: &Demand| {
        let (s, t) = (demand.from.index(), demand.to.index());
        let forth = from_u[s] + from_v[t];
        let back = from_v[s] + from_u[t];
        let through = forth.min(back) + cost;
        match table.dist(demand.from, demand.to) {
            UNREACHABLE => 0.0,
            dist => demand.amount * f64::from(dist.saturating_sub(through)),
        }
    };
    let gain: f64 = demands.iter().map(saved).sum();
    if present.contains(&ends) { gain * KEPT_FAVOUR } else { gain }
}

/// The shortcuts, with the demand whose routes lead through each.
fn used(table: &Table, demands: &[Demand], chosen: &[(RegionId, RegionId)]) -> Vec<Shortcut> {
    let mut through: HashMap<(RegionId, RegionId), f64> = chosen.iter().map(|ends| (*ends, 0.0)).collect();
    let mut hops = Vec::new();
    for demand in demands {
        hops.clear();
        hops.push(demand.from);
        table.follow(demand.from, demand.to, &mut hops);
        for hop in hops.windows(2) {
            if let Some(used) = through.get_mut(&ordered(hop[0], hop[1])) {
                *used += demand.amount;
            }
        }
    }
    chosen.iter().map(|ends| Shortcut { ends: *ends, used: through[ends] }).collect()
}

/// The same pair whichever end is named first.
pub(super) fn ordered(u: RegionId, v: RegionId) -> (RegionId, RegionId) {
    (u.min(v), u.max(v))
}
