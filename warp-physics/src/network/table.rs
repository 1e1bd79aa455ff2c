//! All cheapest routes, worked out beforehand.
//!
//! There is a row for each region `t`: the distance of every region from `t`, and the first hop from it toward `t`. So
//! a whole route lies in one row. A row is never changed while anybody may read it, but replaced: what a reader
//! holds stays as it was, and rows that a change does not touch are shared by the tables before and after it.

use std::sync::Arc;

use super::regions::RegionId;
use super::search::{Graph, NO_HOP, TreeHeap, UNREACHABLE};

#[derive(Clone, Debug, Default)]
pub(super) struct Table {
    /// Apart from the hops, since following a route needs these alone, and they are half as long.
    dist: Vec<Arc<[u32]>>,
    toward: Vec<Arc<[u16]>>,
}

impl Table {
    /// A table of `regions` rows.
    pub(super) fn new(graph: &Graph, regions: usize) -> Table {
        let mut table = Table::default();
        table.grow(regions);
        table.search(graph, (0..regions).map(index));
        table
    }

    /// How many rows there are.
    pub(super) fn len(&self) -> usize {
        self.dist.len()
    }

    /// Bytes of all rows, whether they are shared or not.
    pub(super) fn bytes(&self) -> usize {
        let row = self.len() * (size_of::<u32>() + size_of::<u16>());
        self.len() * row
    }

    /// Adds regions that nothing leads to, up to `regions` in all.
    pub(super) fn grow(&mut self, regions: usize) {
        let former = self.len();
        if regions <= former {
            return;
        }
        let longer =
            |row: &[u32]| row.iter().copied().chain(std::iter::repeat(UNREACHABLE)).take(regions).collect();
        let with_more_hops =
            |row: &[u16]| row.iter().copied().chain(std::iter::repeat(NO_HOP)).take(regions).collect();
        self.dist = self.dist.iter().map(|row| longer(row)).collect();
        self.toward = self.toward.iter().map(|row| with_more_hops(row)).collect();
        for added in former..regions {
            let mut dist = vec![UNREACHABLE; regions];
            dist[added] = 0;
            self.dist.push(dist.into());
            self.toward.push(vec![NO_HOP; regions].into());
        }
    }

    /// The distance between two regions; [`UNREACHABLE`] if there is none.
    pub(super) fn dist(&self, from: RegionId, to: RegionId) -> u32 {
        self.dist[to.index()][from.index()]
    }

    /// The distances of all regions from one.
    pub(super) fn row(&self, to: RegionId) -> &[u32] {
        &self.dist[to.index()]
    }

    /// Puts the regions behind `from` on the way to `to` into `hops`, `to` included; returns what the way costs.
    pub(super) fn follow(&self, from: RegionId, to: RegionId, hops: &mut Vec<RegionId>) -> Option<u32> {
        let toward = &self.toward[to.index()];
        let mut at = from.0;
        while at != to.0 {
            at = toward[usize::from(at)];
            if at == NO_HOP {
                return None;
            }
            hops.push(RegionId(at));
        }
        Some(self.dist(from, to))
    }

    /// Takes in an edge that is new or has become cheaper: one min-plus relaxation through it. Returns how many rows
    /// that has changed.
    ///
    /// A route that the edge improves leads through it once, and before and behind it as it led before, so that the
    /// distances before the change are enough: `d'(x, t) = min(d(x, t), d(x, far) + cost + d(near, t))`. A row can
    /// only change if the edge brings one of its ends nearer to the row's region.
    pub(super) fn cheaper(&mut self, u: RegionId, v: RegionId, cost: u32) -> usize {
        let former = [u, v]
            .map(|end| (end, Arc::clone(&self.dist[end.index()]), Arc::clone(&self.toward[end.index()])));
        let mut changed = 0;
        for t in 0..self.len() {
            let [at_u, at_v] = [former[0].1[t], former[1].1[t]];
            let (near, far, base) = if at_u + cost < at_v {
                (&former[0], &former[1], at_u + cost)
            } else if at_v + cost < at_u {
                (&former[1], &former[0], at_v + cost)
            } else {
                continue;
            };
            changed += 1;
            // Made anew in one pass, rather than copied and then changed: readers may have the former row.
            let (dist, toward) = (&self.dist[t], &self.toward[t]);
            let is_nearer = |known: u32, beyond: u32| is_less(beyond + base, known);
            let beyond = dist.iter().zip(far.1.iter());
            let hops = toward.iter().zip(far.2.iter());
            let next_toward =
                beyond.clone().zip(hops).map(
                    |((&known, &beyond), (&hop, &other))| {
                        if is_nearer(known, beyond) { other } else { hop }
                    },
                );
            let mut next_toward: Arc<[u16]> = next_toward.collect();
            let next_dist =
                beyond.map(|(&known, &beyond)| if is_nearer(known, beyond) { beyond + base } else { known });
            self.dist[t] = next_dist.collect();
            if let Some(toward) = Arc::get_mut(&mut next_toward) {
                toward[far.0.index()] = near.0.0;
            }
            self.toward[t] = next_toward;
        }
        changed
    }

    /// Takes in that an edge is gone or has become dearer: searches anew from each region whose routes used it. Returns
    /// how many those were.
    pub(super) fn dearer(&mut self, graph: &Graph, u: RegionId, v: RegionId) -> usize {
        let uses = |toward: &Arc<[u16]>| toward[u.index()] == v.0 || toward[v.index()] == u.0;
        let touched: Vec<RegionId> =
            (0..).zip(&self.toward).filter(|(_, toward)| uses(toward)).map(|(t, _)| RegionId(t)).collect();
        let count = touched.len();
        self.search(graph, touched);
        count
    }

    /// Makes these rows anew.
    fn search(&mut self, graph: &Graph, rows: impl IntoIterator<Item = RegionId>) {
        let mut heap = TreeHeap::default();
        let (mut dist, mut toward) = (vec![0; self.len()], vec![0; self.len()]);
        for t in rows {
            graph.tree(t, &mut dist, &mut toward, &mut heap);
            self.dist[t.index()] = Arc::from(&dist[..]);
            self.toward[t.index()] = Arc::from(&toward[..]);
        }
    }
}

/// Whether one distance is less than another. Neither is above `i32::MAX`, and a comparison with a sign is one that
/// processors without any extension make for several at a time.
fn is_less(a: u32, b: u32) -> bool {
    a.cast_signed() < b.cast_signed()
}

fn index(region: usize) -> RegionId {
    RegionId(u16::try_from(region).expect("a table has fewer rows than there are numbers"))
}
