//! Routes between named regions.

mod learn;
mod regions;
mod routes;
mod search;
mod stored;
mod table;

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::Mutex;

use crate::space_saving::{Count, SpaceSaving};
use crate::wormholes::{WormholeError, Wormholes, check};
use learn::{Demand, Shortcut, ordered};
use regions::Regions;
use routes::Finder;
use search::Graph;
use table::Table;

pub use regions::RegionId;
pub use routes::{Route, Routes};
pub use stored::BadTraffic;

/// Costs are counted in this part of 1, so that sums are exact: a wormhole of strength `s` costs `1 / s`, rounded to it.
const COST_UNITS: f64 = 256.0;
/// The most that an edge costs, however weak it is, in units: 64.
const EDGE_UNITS_MAX: u32 = 64 << 8;
// No route is as long as one that does not exist.
const _: () = assert!(EDGE_UNITS_MAX as u64 * (regions::REGIONS_MAX as u64 - 1) < search::UNREACHABLE as u64);

/// Up to so many changes at once are made one by one. Working out all routes costs about as much as a hundred of them.
const CHANGES_MAX: usize = 16;

/// What is left of the traffic after each [`WormholeNetwork::learn`].
const TRAFFIC_KEPT: f64 = 0.5;

/// How a [`WormholeNetwork`] is made.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NetworkOptions {
    /// Up to this many regions all routes are worked out beforehand, which takes `6 N^2` bytes; beyond it each is
    /// searched for when it is asked for. Default: 4,096, which is 96 MiB when all are there.
    pub table_regions_max: usize,
    /// The most shortcuts that are learned. Default: 0, none.
    pub learned_max: usize,
    /// The strength of a learned shortcut, in `0.0..=1.0`. Default: 1.0.
    pub learned_strength: f64,
    /// For how many pairs of regions the traffic is remembered: the heaviest. Default: 1,024.
    pub traffic_pairs: usize,
}

impl Default for NetworkOptions {
    fn default() -> NetworkOptions {
        NetworkOptions { table_regions_max: 4096, learned_max: 0, learned_strength: 1.0, traffic_pairs: 1024 }
    }
}

/// Weighted graph of named regions, which answers with cheapest routes.
///
/// A wormhole is an edge, in both directions; one of strength `s` costs `1 / s`, to the
/// 256th and at most 64. A route costs the sum of
/// its edges, and the answer is always one of the cheapest, of however many hops. Any number of threads may ask while one
/// changes the network: they see it as it was before, or as it is after.
///
/// For up to [`NetworkOptions::table_regions_max`] regions every route is worked out beforehand: an answer takes a step
/// for each hop. A new or stronger wormhole costs one min-plus relaxation, `O(N)` for each region that it brings nearer
/// to any other; one that is closed or weaker, a search from each region whose routes used it.
///
/// ```
/// use warp_physics::WormholeNetwork;
///
/// # fn main() -> Result<(), warp_physics::WormholeError> {
/// let network = WormholeNetwork::default();
/// network.establish("a", "b", 0.5)?; // costs 2
/// network.establish("b", "c", 0.5)?;
/// network.establish("a", "c", 0.2)?; // costs 5
/// let route = network.route("a", "c").unwrap();
/// assert_eq!((route.hops, route.cost), (vec!["a".to_owned(), "b".into(), "c".into()], 4.0));
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct WormholeNetwork {
    options: NetworkOptions,
    /// What readers see.
    routes: ArcSwap<Routes>,
    /// What the next change starts from.
    draft: Mutex<Draft>,
    /// What was asked for, by the numbers of the two regions. A number that is given to another region takes the traffic
    /// of the one before it along, until that has faded.
    traffic: Mutex<SpaceSaving>,
}

/// The regions at the ends of a link or a route.
type Ends = (RegionId, RegionId);

/// Two regions, and how strongly they are to be linked.
type Declared<'w> = (&'w str, &'w str, f64);

/// The network as whoever changes it sees it.
#[derive(Debug, Default)]
struct Draft {
    regions: Arc<Regions>,
    declared: Graph,
    strengths: HashMap<(RegionId, RegionId), f64>,
    /// Routes through what was declared; `None` where there are too many regions for it.
    table: Option<Table>,
    learned: Vec<Shortcut>,
    rows_relaxed: u64,
    rows_searched: u64,
}

/// One wormhole of a network, with what is known of it.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
#[non_exhaustive]
pub struct Wormhole {
    /// The region at one end.
    pub a: String,
    /// The region at the other.
    pub b: String,
    /// How strong it is, in `0.0..=1.0`.
    pub strength: f64,
    /// What going through it costs.
    pub cost: f64,
    /// Whether it was learned from traffic, and not declared.
    pub learned: bool,
    /// The traffic that led through a learned one when it was last looked at, decayed; `None` for a declared one.
    pub used: Option<f64>,
}

/// What a network consists of.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize)]
#[non_exhaustive]
pub struct Topology {
    /// The names of all regions that have a wormhole, in order.
    pub regions: Vec<String>,
    /// All wormholes, declared ones first.
    pub wormholes: Vec<Wormhole>,
}

/// What a network holds, and what its changes have cost since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize)]
#[non_exhaustive]
pub struct NetworkStats {
    /// Regions that have a wormhole.
    pub regions: usize,
    /// Declared wormholes.
    pub declared: usize,
    /// Learned ones.
    pub learned: usize,
    /// Whether all routes are worked out beforehand.
    pub precomputed: bool,
    /// Bytes of the routes that are.
    pub table_bytes: usize,
    /// Rows of that table, one a region, that a new or stronger wormhole has changed.
    pub rows_relaxed: u64,
    /// Rows that were searched for anew, since a wormhole was closed or became weaker.
    pub rows_searched: u64,
}

/// What learning came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize)]
#[non_exhaustive]
pub struct LearnReport {
    /// Pairs of regions whose traffic was looked at.
    pub pairs: usize,
    /// Shortcuts that there are now.
    pub learned: usize,
    /// The mean cost of a route over that traffic without any of them; `None` without traffic.
    pub cost_without: Option<f64>,
    /// The same with them.
    pub cost_with: Option<f64>,
}

impl Default for WormholeNetwork {
    fn default() -> WormholeNetwork {
        WormholeNetwork::new(NetworkOptions::default())
    }
}

impl WormholeNetwork {
    /// A network without regions.
    pub fn new(options: NetworkOptions) -> WormholeNetwork {
        let draft = Draft { table: Some(Table::default()), ..Draft::default() };
        WormholeNetwork {
            options,
            routes: ArcSwap::from_pointee(Routes::default()),
            draft: Mutex::new(draft),
            traffic: Mutex::new(SpaceSaving::new(options.traffic_pairs)),
        }
    }

    /// A network of these links, all routes of which are worked out once. There may be more of them than one stored set holds;
    /// of a pair that is named twice the later one counts.
    ///
    /// # Errors
    /// [`WormholeError`].
    pub fn with_links<'w>(
        options: NetworkOptions,
        links: impl IntoIterator<Item = (&'w str, &'w str, f64)>,
    ) -> Result<WormholeNetwork, WormholeError> {
        let network = WormholeNetwork::new(options);
        let mut checked = Vec::new();
        for (a, b, strength) in links {
            checked.push((a, b, check(a, b, strength)?));
        }
        let draft = network.draft_of(checked)?;
        network.publish(&draft);
        *network.draft.lock() = draft;
        Ok(network)
    }

    /// Makes what is declared these wormholes and no others. A few differences from what is there cost as much as making
    /// each of these changes; with more, all routes are worked out anew. Returns how many differences there were.
    ///
    /// # Errors
    /// [`WormholeError::TooManyRegions`]; nothing has changed then.
    pub fn replace(&self, wormholes: &Wormholes) -> Result<usize, WormholeError> {
        let mut draft = self.draft.lock();
        let (gone, new) = draft.differences(wormholes);
        let count = gone.len() + new.len();
        if count > CHANGES_MAX || draft.regions.len() + 2 * new.len() > regions::REGIONS_MAX {
            let mut next = self.draft_of(wormholes.iter())?;
            self.go_on_learning(&draft, &mut next);
            *draft = Draft { rows_relaxed: draft.rows_relaxed, rows_searched: draft.rows_searched, ..next };
        } else {
            for (a, b, strength) in new {
                if let Some((u, v, former)) = draft.link(a, b, strength)? {
                    draft.update(u, v, former, self.options.table_regions_max);
                }
            }
            for (u, v) in gone {
                draft.unlink(u, v, self.options.table_regions_max);
            }
        }
        self.publish(&draft);
        Ok(count)
    }

    /// Has what was learned follow its regions, which have other numbers in `next`. What is about regions that went is
    /// forgotten.
    fn go_on_learning(&self, draft: &Draft, next: &mut Draft) {
        let regions = Arc::clone(&next.regions);
        let number = |id| regions.id(draft.regions.name(id)?);
        let ends = |(u, v)| Some((number(u)?, number(v)?));
        let mut traffic = self.traffic.lock();
        let counts = traffic.all();
        let counts = counts.into_iter().filter_map(|(pair, count)| Some((ends(pair_of(pair))?, count)));
        let shortcuts =
            draft.learned.iter().filter_map(|shortcut| Some((ends(shortcut.ends)?, shortcut.used)));
        self.set_learned(next, &mut traffic, counts, shortcuts);
    }

    /// Takes this for what was learned, in the place of all that was.
    fn set_learned(
        &self,
        draft: &mut Draft,
        traffic: &mut SpaceSaving,
        counts: impl Iterator<Item = (Ends, Count)>,
        shortcuts: impl Iterator<Item = (Ends, f64)>,
    ) {
        traffic.clear();
        counts.for_each(|((u, v), count)| traffic.restore(pair_key(u, v), count));
        // Without a table nothing is learned, and readers search for routes through what is declared.
        if draft.table.is_some() {
            let known = shortcuts.map(|((u, v), used)| Shortcut { ends: ordered(u, v), used });
            draft.learned = known.take(self.options.learned_max).collect();
        }
    }

    /// Links two regions, or replaces the strength of their link. A region comes into being with its first wormhole.
    /// Returns whether anything changed.
    ///
    /// # Errors
    /// [`WormholeError`]; nothing has changed then.
    pub fn establish(&self, a: &str, b: &str, strength: f64) -> Result<bool, WormholeError> {
        let strength = check(a, b, strength)?;
        let mut draft = self.draft.lock();
        let Some((u, v, former)) = draft.link(a, b, strength)? else { return Ok(false) };
        draft.update(u, v, former, self.options.table_regions_max);
        self.publish(&draft);
        Ok(true)
    }

    /// Removes the declared link between two regions. A region leaves with its last one. Returns whether there was one.
    pub fn close(&self, a: &str, b: &str) -> bool {
        let mut draft = self.draft.lock();
        let (Some(u), Some(v)) = (draft.regions.id(a), draft.regions.id(b)) else { return false };
        let was_there = draft.unlink(u, v, self.options.table_regions_max);
        if was_there {
            self.publish(&draft);
        }
        was_there
    }

    /// The routes as they are now: for many questions at once, and for regions by number.
    pub fn routes(&self) -> Arc<Routes> {
        self.routes.load_full()
    }

    /// A cheapest route from one region to another; `None` if there is none, or no such region.
    pub fn route(&self, from: &str, to: &str) -> Option<Route> {
        self.routes.load().route(from, to)
    }

    /// Takes note that something went, or wants to go, from one region to another: what shortcuts are learned from.
    /// Returns whether it was counted: not if a region is not known, or if others are counting at this moment.
    pub fn traffic(&self, from: &str, to: &str, amount: f64) -> bool {
        let routes = self.routes.load();
        let (Some(from), Some(to)) = (routes.region(from), routes.region(to)) else { return false };
        let is_amount = amount.is_finite() && amount > 0.0 && from != to;
        let Some(mut traffic) = self.traffic.try_lock().filter(|_| is_amount) else { return false };
        traffic.add(pair_key(from, to), amount);
        true
    }

    /// Ends an epoch: chooses the shortcuts that make the traffic cheapest, within [`NetworkOptions::learned_max`], puts
    /// them in place of those chosen before, and lets the traffic fade by half.
    ///
    /// Only where all routes are worked out beforehand; a larger network learns nothing.
    pub fn learn(&self) -> LearnReport {
        let mut draft = self.draft.lock();
        let heaviest = {
            let mut traffic = self.traffic.lock();
            let heaviest = traffic.heaviest();
            traffic.fade(TRAFFIC_KEPT);
            heaviest
        };
        let demands: Vec<Demand> = heaviest.iter().filter_map(|pair| draft.demand(*pair)).collect();
        let Some(table) = &draft.table else { return LearnReport::default() };
        let amount: f64 = demands.iter().map(|demand| demand.amount).sum();
        let mean =
            |table: &Table| (amount > 0.0).then(|| learn::total_cost(table, &demands) / amount / COST_UNITS);
        let present: Vec<_> = draft.learned.iter().map(|shortcut| shortcut.ends).collect();
        let mut with = table.clone();
        let cost = cost_units(self.options.learned_strength);
        let learned = learn::choose(&mut with, &demands, &present, self.options.learned_max, cost);
        let report = LearnReport {
            pairs: demands.len(),
            learned: learned.len(),
            cost_without: mean(table),
            cost_with: mean(&with),
        };
        draft.learned = learned;
        let regions = Arc::clone(&draft.regions);
        self.routes.store(Arc::new(Routes { regions, finder: Finder::Table(with) }));
        report
    }

    /// The regions and wormholes that there are.
    pub fn topology(&self) -> Topology {
        let draft = self.draft.lock();
        let name = |id| draft.regions.name(id).map(ToString::to_string).unwrap_or_default();
        let mut regions: Vec<String> = draft.regions.iter().map(name).collect();
        regions.sort_unstable();
        let declared = draft.strengths.iter().map(|((u, v), strength)| (*u, *v, *strength, None));
        let strength = self.options.learned_strength;
        let learned = draft.learned.iter().map(|link| (link.ends.0, link.ends.1, strength, Some(link.used)));
        let mut wormholes: Vec<Wormhole> = declared
            .chain(learned)
            .map(|(u, v, strength, used)| {
                let cost = f64::from(cost_units(strength)) / COST_UNITS;
                let (a, b) = (name(u), name(v));
                let (a, b) = if a <= b { (a, b) } else { (b, a) };
                Wormhole { a, b, strength, cost, learned: used.is_some(), used }
            })
            .collect();
        wormholes.sort_unstable_by(|x, y| (x.learned, &x.a, &x.b).cmp(&(y.learned, &y.a, &y.b)));
        Topology { regions, wormholes }
    }

    /// What the network holds, and what its changes have cost.
    pub fn stats(&self) -> NetworkStats {
        let draft = self.draft.lock();
        NetworkStats {
            regions: draft.regions.len(),
            declared: draft.strengths.len(),
            learned: draft.learned.len(),
            precomputed: draft.table.is_some(),
            table_bytes: draft.table.as_ref().map_or(0, Table::bytes),
            rows_relaxed: draft.rows_relaxed,
            rows_searched: draft.rows_searched,
        }
    }

    /// A draft of these links, with its routes.
    fn draft_of<'w>(&self, links: impl IntoIterator<Item = Declared<'w>>) -> Result<Draft, WormholeError> {
        let mut draft = Draft::default();
        for (a, b, strength) in links {
            draft.link(a, b, strength)?;
        }
        let few = draft.regions.end() <= self.options.table_regions_max;
        draft.table = few.then(|| Table::new(&draft.declared, draft.regions.end()));
        Ok(draft)
    }

    /// Shows readers what was changed. Rows that did not change are shared with what they saw before.
    fn publish(&self, draft: &Draft) {
        let finder = match &draft.table {
            Some(table) => {
                let mut table = table.clone();
                let cost = cost_units(self.options.learned_strength);
                for shortcut in &draft.learned {
                    table.cheaper(shortcut.ends.0, shortcut.ends.1, cost);
                }
                Finder::Table(table)
            }
            None => Finder::Search(draft.declared.clone()),
        };
        self.routes.store(Arc::new(Routes { regions: Arc::clone(&draft.regions), finder }));
    }
}

impl Draft {
    /// Puts a link into the graph, and its regions where they are new. `None` if it is there already; otherwise both
    /// ends, and what the link cost before.
    fn link(
        &mut self,
        a: &str,
        b: &str,
        strength: f64,
    ) -> Result<Option<(RegionId, RegionId, Option<u32>)>, WormholeError> {
        if let (Some(u), Some(v)) = (self.regions.id(a), self.regions.id(b))
            && self.strengths.get(&ordered(u, v)) == Some(&strength)
        {
            return Ok(None);
        }
        let new = [a, b].iter().filter(|name| self.regions.id(name).is_none()).count();
        let many = WormholeError::TooManyRegions { regions: self.regions.len() };
        if self.regions.len() + new > regions::REGIONS_MAX {
            return Err(many);
        }
        let regions = Arc::make_mut(&mut self.regions);
        let (Some(u), Some(v)) = (regions.add(a), regions.add(b)) else { return Err(many) };
        self.strengths.insert(ordered(u, v), strength);
        let former = self.declared.set(u, v, cost_units(strength));
        Ok(Some((u, v, former)))
    }

    /// Brings the table in step with an edge that was set, and cost `former` before.
    fn update(&mut self, u: RegionId, v: RegionId, former: Option<u32>, table_max: usize) {
        let Some(cost) = self.declared.cost(u, v) else { return };
        if former.is_some_and(|former| former < cost) {
            return self.weaken(u, v, table_max);
        }
        let end = self.regions.end();
        match &mut self.table {
            Some(table) if end <= table_max => {
                table.grow(end);
                self.rows_relaxed += table.cheaper(u, v, cost) as u64;
            }
            // More regions than the table may have.
            Some(_) => {
                self.table = None;
                self.learned.clear();
            }
            None => {}
        }
    }

    /// Brings the table in step with an edge that is gone, or dearer than it was.
    fn weaken(&mut self, u: RegionId, v: RegionId, table_max: usize) {
        match &mut self.table {
            Some(table) => self.rows_searched += table.dearer(&self.declared, u, v) as u64,
            // Numbers are not given back to the end, so that a table pays again only when few regions are left.
            None if self.regions.end() <= table_max => {
                self.table = Some(Table::new(&self.declared, self.regions.end()));
            }
            None => {}
        }
    }

    /// Takes a link out; returns whether there was one.
    fn unlink(&mut self, u: RegionId, v: RegionId, table_max: usize) -> bool {
        let was_there = self.declared.remove(u, v).is_some();
        if was_there {
            self.strengths.remove(&ordered(u, v));
            self.weaken(u, v, table_max);
            self.forget_unlinked(&[u, v]);
        }
        was_there
    }

    /// What is declared and not among these, and which of these are not declared with this strength.
    fn differences<'w>(&self, wormholes: &'w Wormholes) -> (Vec<(RegionId, RegionId)>, Vec<Declared<'w>>) {
        let name = |id| self.regions.name(id).map_or("", |name| name);
        let is_gone = |(u, v): &(RegionId, RegionId)| wormholes.strength(name(*u), name(*v)).is_none();
        let gone = self.strengths.keys().copied().filter(is_gone).collect();
        let strength = |a: &str, b: &str| {
            let ends = ordered(self.regions.id(a)?, self.regions.id(b)?);
            self.strengths.get(&ends).copied()
        };
        (gone, wormholes.iter().filter(|(a, b, s)| strength(a, b) != Some(*s)).collect())
    }

    /// Lets regions go that have no link left.
    fn forget_unlinked(&mut self, ends: &[RegionId]) {
        for &end in ends.iter().filter(|end| self.declared.edges(**end).is_empty()) {
            Arc::make_mut(&mut self.regions).remove(end);
            self.learned.retain(|shortcut| shortcut.ends.0 != end && shortcut.ends.1 != end);
        }
    }

    fn demand(&self, (pair, amount): (u64, f64)) -> Option<Demand> {
        let (from, to) = pair_of(pair);
        // A region that is gone has no name.
        self.regions.name(from).and(self.regions.name(to))?;
        Some(Demand { from, to, amount })
    }
}

/// A pair of regions as its traffic is counted, the same whichever is named first.
fn pair_key(from: RegionId, to: RegionId) -> u64 {
    let (u, v) = ordered(from, to);
    u64::from(u.0) << u16::BITS | u64::from(v.0)
}

/// The reverse of [`pair_key`].
#[expect(clippy::cast_possible_truncation, reason = "a number has the lower 16 bits of what is left")]
fn pair_of(key: u64) -> (RegionId, RegionId) {
    (RegionId((key >> u16::BITS) as u16), RegionId(key as u16))
}

/// What an edge of this strength costs, in units.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "within the limits of the clamp")]
fn cost_units(strength: f64) -> u32 {
    (COST_UNITS / strength).round().clamp(COST_UNITS, f64::from(EDGE_UNITS_MAX)) as u32
}
