//! Cheapest routes by search: Dijkstra's algorithm ("A note on two problems in connexion with graphs", 1959).

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::regions::RegionId;

/// Edges that leave a region: where to, and what that costs, in units.
pub(super) type Edges = Vec<(RegionId, u32)>;

/// All edges, by the number of the region that they leave; each is there from both of its ends.
#[derive(Clone, Debug, Default)]
pub(super) struct Graph {
    edges: Vec<Edges>,
}

impl Graph {
    pub(super) fn edges(&self, from: RegionId) -> &[(RegionId, u32)] {
        self.edges.get(from.index()).map_or(&[], Vec::as_slice)
    }

    pub(super) fn cost(&self, a: RegionId, b: RegionId) -> Option<u32> {
        self.edges(a).iter().find(|(to, _)| *to == b).map(|(_, cost)| *cost)
    }

    /// Sets the cost of an edge; returns what it was.
    pub(super) fn set(&mut self, a: RegionId, b: RegionId, cost: u32) -> Option<u32> {
        let former = self.remove(a, b);
        let end = a.index().max(b.index()) + 1;
        if self.edges.len() < end {
            self.edges.resize(end, Vec::new());
        }
        self.edges[a.index()].push((b, cost));
        self.edges[b.index()].push((a, cost));
        former
    }

    /// Removes an edge; returns what it cost.
    pub(super) fn remove(&mut self, a: RegionId, b: RegionId) -> Option<u32> {
        let former = self.cost(a, b)?;
        for (from, to) in [(a, b), (b, a)] {
            self.edges[from.index()].retain(|(other, _)| *other != to);
        }
        Some(former)
    }

    /// The cheapest route, both ends included, and its cost; `None` if there is none.
    ///
    /// Looks at regions in the order of their distance until it meets the last one.
    pub(super) fn route(&self, from: RegionId, to: RegionId) -> Option<(Vec<RegionId>, u32)> {
        // Searched from the end, so that following it gives the route from its beginning.
        let mut best: Vec<Option<(u32, RegionId)>> = vec![None; self.edges.len().max(to.index() + 1)];
        let mut open = BinaryHeap::from([Reverse((0_u32, to))]);
        best[to.index()] = Some((0, to));
        while let Some(Reverse((cost, at))) = open.pop() {
            if at == from {
                return Some((follow(&best, from, to)?, cost));
            }
            if best[at.index()].is_some_and(|(known, _)| known < cost) {
                continue;
            }
            for &(next, edge) in self.edges(at) {
                let through = cost + edge;
                if best[next.index()].is_none_or(|(known, _)| through < known) {
                    best[next.index()] = Some((through, at));
                    open.push(Reverse((through, next)));
                }
            }
        }
        None
    }

    /// The distances of all regions from one, and the first hop from each of them toward it.
    pub(super) fn tree(&self, root: RegionId, dist: &mut [u32], toward: &mut [u16], heap: &mut TreeHeap) {
        dist.fill(UNREACHABLE);
        toward.fill(NO_HOP);
        dist[root.index()] = 0;
        heap.0.clear();
        heap.0.push(Reverse(packed(0, root)));
        while let Some(Reverse(entry)) = heap.0.pop() {
            let (cost, at) = unpacked(entry);
            if cost > dist[at.index()] {
                continue;
            }
            for &(next, edge) in self.edges(at) {
                let through = cost + edge;
                if through < dist[next.index()] {
                    dist[next.index()] = through;
                    toward[next.index()] = at.0;
                    heap.0.push(Reverse(packed(through, next)));
                }
            }
        }
    }
}

/// No route leads there. More than any route costs, and so little that two of them have a sum below `i32::MAX`.
pub(super) const UNREACHABLE: u32 = (1 << 30) - 1;
/// There is no hop: the root of a tree, or a region that no route leads to.
pub(super) const NO_HOP: u16 = u16::MAX;

/// What a search of a whole tree keeps from one to the next.
#[derive(Debug, Default)]
pub(super) struct TreeHeap(BinaryHeap<Reverse<u64>>);

/// Cost and region in one number, which is compared in one step.
fn packed(cost: u32, region: RegionId) -> u64 {
    u64::from(cost) << 16 | u64::from(region.0)
}

#[expect(clippy::cast_possible_truncation, reason = "the reverse of packing 32 and 16 bits")]
fn unpacked(entry: u64) -> (u32, RegionId) {
    ((entry >> 16) as u32, RegionId(entry as u16))
}

/// The regions from `from` to `to`, as the search has left them.
fn follow(best: &[Option<(u32, RegionId)>], from: RegionId, to: RegionId) -> Option<Vec<RegionId>> {
    let mut hops = vec![from];
    let mut at = from;
    while at != to {
        at = best[at.index()]?.1;
        hops.push(at);
    }
    Some(hops)
}
