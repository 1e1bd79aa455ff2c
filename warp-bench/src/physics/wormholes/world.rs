//! A graph that is asked: our network of it, and petgraph's.

use std::collections::{HashMap, HashSet};

use petgraph::algo::dijkstra;
use petgraph::graph::{NodeIndex, UnGraph};
use warp_physics::{NetworkOptions, Routes, Topology, WormholeError, WormholeNetwork};

use crate::random::Random;

/// Regions and their links.
pub(super) struct World {
    pub(super) names: Vec<String>,
    /// Each pair once, the lesser number first, with its strength.
    links: Vec<(usize, usize, f64)>,
    linked: HashSet<(usize, usize)>,
}

impl World {
    /// A small world: a ring in which each region is linked with the next three and one at random, so that a region has eight
    /// links on the average; costs between 1 and 8.
    pub(super) fn small(regions: usize, random: &mut Random) -> World {
        let names = (0..regions).map(|region| format!("r{region}")).collect();
        let mut world = World { names, links: Vec::new(), linked: HashSet::new() };
        for region in 0..regions {
            for step in 1..=4 {
                let to = if step == 4 { random.below(regions) } else { (region + step) % regions };
                let pair = (region.min(to), region.max(to));
                let cost = 1.0 + 7.0 * random.unit();
                if region != to && world.linked.insert(pair) {
                    world.links.push((pair.0, pair.1, 1.0 / cost));
                }
            }
        }
        world
    }

    pub(super) fn links(&self) -> usize {
        self.links.len()
    }

    pub(super) fn network(&self, options: NetworkOptions) -> Result<WormholeNetwork, WormholeError> {
        let links = self.links.iter().map(|(a, b, strength)| (&*self.names[*a], &*self.names[*b], *strength));
        WormholeNetwork::with_links(options, links)
    }

    /// A region at random.
    pub(super) fn any(&self, random: &mut Random) -> &str {
        &self.names[random.below(self.names.len())]
    }

    /// Two regions at random that have no link.
    pub(super) fn unlinked(&self, random: &mut Random) -> (&str, &str) {
        loop {
            let (a, b) = (random.below(self.names.len()), random.below(self.names.len()));
            if a != b && !self.linked.contains(&(a.min(b), a.max(b))) {
                return (&self.names[a], &self.names[b]);
            }
        }
    }
}

/// The same network in petgraph.
pub(super) struct Peer<'t> {
    graph: UnGraph<(), f64>,
    nodes: HashMap<&'t str, NodeIndex>,
}

impl<'t> Peer<'t> {
    pub(super) fn of(topology: &'t Topology) -> Peer<'t> {
        let mut graph = UnGraph::new_undirected();
        let nodes: HashMap<&str, NodeIndex> =
            topology.regions.iter().map(|name| (&**name, graph.add_node(()))).collect();
        for wormhole in &topology.wormholes {
            graph.add_edge(nodes[&*wormhole.a], nodes[&*wormhole.b], wormhole.cost);
        }
        Peer { graph, nodes }
    }

    /// A region as petgraph knows it.
    pub(super) fn node(&self, region: &str) -> Option<NodeIndex> {
        self.nodes.get(region).copied()
    }

    /// What a cheapest route costs.
    pub(super) fn cost(&self, from: NodeIndex, to: NodeIndex) -> Option<f64> {
        dijkstra(&self.graph, from, Some(to), |edge| *edge.weight()).get(&to).copied()
    }

    /// Whether our route costs as much, and leads there over edges that there are and cost that sum.
    /// Costs are whole numbers of 256ths, and so are their sums.
    pub(super) fn agrees(&self, routes: &Routes, from: &str, to: &str) -> bool {
        let ours = routes.route(from, to);
        let cost = self.node(from).zip(self.node(to)).and_then(|(from, to)| self.cost(from, to));
        let Some(route) = &ours else { return cost.is_none() };
        let hop = |pair: &[String]| {
            let edge = self.graph.find_edge(self.node(&pair[0])?, self.node(&pair[1])?)?;
            self.graph.edge_weight(edge).copied()
        };
        let sum: Option<f64> = route.hops.windows(2).map(hop).sum();
        let ends = (route.hops.first().map(|hop| &**hop), route.hops.last().map(|hop| &**hop));
        ends == (Some(from), Some(to)) && sum == Some(route.cost) && cost == Some(route.cost)
    }
}
