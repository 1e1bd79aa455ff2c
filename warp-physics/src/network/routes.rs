//! What readers of a network see: all its routes at one moment.

use std::sync::Arc;

use super::COST_UNITS;
use super::regions::{RegionId, Regions};
use super::search::{Graph, UNREACHABLE};
use super::table::Table;

/// A way from one region to another.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
#[non_exhaustive]
pub struct Route {
    /// The regions that it leads through, both ends included; one alone if they are the same.
    pub hops: Vec<String>,
    /// What it costs: the sum over its wormholes.
    pub cost: f64,
}

/// Cheapest routes of a network at one moment; the network may change, and this does not.
///
/// ```
/// use warp_physics::WormholeNetwork;
///
/// # fn main() -> Result<(), warp_physics::WormholeError> {
/// let network = WormholeNetwork::default();
/// network.establish("a", "b", 1.0)?;
/// let routes = network.routes();
/// let (a, b) = (routes.region("a").unwrap(), routes.region("b").unwrap());
/// let mut hops = Vec::new(); // one buffer for many questions
/// assert_eq!(routes.route_into(a, b, &mut hops), Some(1.0));
/// assert_eq!(hops, [a, b]);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Default)]
pub struct Routes {
    pub(super) regions: Arc<Regions>,
    pub(super) finder: Finder,
}

/// How routes are found.
#[derive(Debug)]
pub(super) enum Finder {
    Table(Table),
    Search(Graph),
}

impl Default for Finder {
    fn default() -> Finder {
        Finder::Table(Table::default())
    }
}

impl Routes {
    /// The number of a region; `None` if there is none of that name.
    pub fn region(&self, name: &str) -> Option<RegionId> {
        self.regions.id(name)
    }

    /// The name of a region of these routes.
    pub fn name(&self, region: RegionId) -> Option<&str> {
        self.regions.name(region).map(|name| &**name)
    }

    /// A cheapest route; `None` if there is none, or no such region.
    pub fn route(&self, from: &str, to: &str) -> Option<Route> {
        let (from, to) = (self.region(from)?, self.region(to)?);
        let mut hops = Vec::new();
        let cost = self.route_into(from, to, &mut hops)?;
        let hops = hops.into_iter().filter_map(|hop| self.name(hop)).map(str::to_owned).collect();
        Some(Route { hops, cost })
    }

    /// Puts a cheapest route, both ends included, into `hops`, whatever was there before; returns what it costs. `None`
    /// if there is none.
    pub fn route_into(&self, from: RegionId, to: RegionId, hops: &mut Vec<RegionId>) -> Option<f64> {
        hops.clear();
        let cost = match &self.finder {
            Finder::Table(table) if self.knows(from, to, table.len()) => {
                hops.push(from);
                table.follow(from, to, hops)
            }
            Finder::Search(graph) if self.knows(from, to, self.regions.end()) => {
                let (found, cost) = graph.route(from, to)?;
                hops.extend(found);
                Some(cost)
            }
            _ => None,
        };
        if cost.is_none() {
            hops.clear();
        }
        cost.map(|cost| f64::from(cost) / COST_UNITS)
    }

    /// What a cheapest route costs; `None` if there is none.
    pub fn cost(&self, from: RegionId, to: RegionId) -> Option<f64> {
        let cost = match &self.finder {
            Finder::Table(table) if self.knows(from, to, table.len()) => table.dist(from, to),
            Finder::Search(graph) if self.knows(from, to, self.regions.end()) => graph.route(from, to)?.1,
            _ => return None,
        };
        (cost != UNREACHABLE).then(|| f64::from(cost) / COST_UNITS)
    }

    /// Whether both are numbers of these routes: another network may have more regions.
    fn knows(&self, from: RegionId, to: RegionId, end: usize) -> bool {
        from.index() < end && to.index() < end
    }
}
