//! The probability graph: Griffioen and Appleton, "Reducing File System Latency using a Predictive Approach", USENIX Summer 1994.
//!
//! An arc leads from a key to each that was read soon after it, and counts how often. What a key's reads were followed by often enough is
//! fetched when it is read. Nothing watches whether that is used.
//!
//! The authors divide an arc's count by those of all arcs of its key; here it is divided by the reads of the key, so that a key which is
//! always followed by the same eight has eight partners. Keys have sixteen arcs each, and room for all, as in the learner's.

use std::collections::VecDeque;

use super::simulated::Partners;

/// Soon: within so many reads.
const LOOKAHEAD: usize = 8;
/// Arcs of a key. Where there is no room for another one the weakest goes.
const ARCS: usize = 16;
/// A key is fetched if it followed at least so large a part of the reads...
const CHANCE_MIN: f64 = 0.3;
/// ...and so often. The authors have no such bound, with which most of what is fetched was read by chance near a key that was read once.
const COUNT_MIN: u32 = 2;

/// Where an arc leads, and how often it was followed.
#[derive(Clone, Copy, Debug)]
struct Arc {
    to: u32,
    count: u32,
}

#[derive(Debug)]
pub(super) struct Graph {
    reads: Vec<u32>,
    arcs: Vec<Vec<Arc>>,
    /// The last reads, the newest at the end.
    window: VecDeque<u32>,
}

impl Graph {
    pub(super) fn new(keys: usize) -> Graph {
        Graph { reads: vec![0; keys], arcs: vec![Vec::new(); keys], window: VecDeque::new() }
    }

    /// Learns from a read.
    pub(super) fn observe(&mut self, key: u32) {
        // A key that came twice has been followed once.
        let mut seen = Vec::with_capacity(LOOKAHEAD);
        for &before in self.window.iter().rev() {
            // What comes after the key's own last read is the next arc's.
            if before == key {
                break;
            }
            if !seen.contains(&before) {
                seen.push(before);
                follow(&mut self.arcs[before as usize], key);
            }
        }
        self.reads[key as usize] += 1;
        if self.window.len() == LOOKAHEAD {
            self.window.pop_front();
        }
        self.window.push_back(key);
    }

    /// What follows a key that was just read at least so large a part of the time, the likeliest first.
    pub(super) fn likely(&self, key: u32, chance_min: f64) -> impl Iterator<Item = u32> + use<> {
        // The read that asks has not been followed yet.
        let reads = f64::from(self.reads[key as usize].saturating_sub(1).max(1));
        let mut likely: Vec<Arc> = self.arcs[key as usize].clone();
        likely.retain(|arc| arc.count >= COUNT_MIN && f64::from(arc.count) / reads >= chance_min);
        likely.sort_by_key(|arc| std::cmp::Reverse(arc.count));
        likely.into_iter().map(|arc| arc.to)
    }
}

fn follow(arcs: &mut Vec<Arc>, to: u32) {
    if let Some(arc) = arcs.iter_mut().find(|arc| arc.to == to) {
        arc.count += 1;
        return;
    }
    if arcs.len() == ARCS
        && let Some(weakest) = (0..ARCS).min_by_key(|place| arcs[*place].count)
    {
        arcs.swap_remove(weakest);
    }
    arcs.push(Arc { to, count: 1 });
}

impl Partners for Graph {
    type Link = ();

    fn read(&mut self, key: u32, _was_there: bool, found: &mut Vec<(u32, ())>) {
        self.observe(key);
        found.extend(self.likely(key, CHANCE_MIN).map(|partner| (partner, ())));
    }

    fn used(&mut self, (): &()) {}

    fn unused(&mut self, (): &()) -> Option<()> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(reads: &[u32], key: u32) -> Vec<u32> {
        let mut graph = Graph::new(100);
        reads.iter().for_each(|read| graph.observe(*read));
        graph.likely(key, CHANCE_MIN).collect()
    }

    #[test]
    fn what_followed_often_is_likely() {
        assert_eq!(after(&[0, 1, 9, 0, 1, 8, 0], 0), [1]);
        // Twice of four reads is often enough, twice of eight is not.
        assert_eq!(after(&[0, 1, 0, 2, 0, 2, 0, 3, 0], 0), [2]);
        assert_eq!(after(&[0, 2, 0, 2, 0, 0, 0, 0, 0, 0, 0], 0), [0; 0]);
        // What comes after eight others does not follow.
        let twice = [0, 1, 2, 3, 4, 5, 6, 7, 8, 50].repeat(2);
        assert_eq!(after(&[&twice[..], &[0]].concat(), 0), [1, 2, 3, 4, 5, 6, 7, 8]);
    }

    #[test]
    fn the_weakest_arc_goes() {
        let mut arcs = Vec::new();
        (0..16).flat_map(|to| [to, to]).for_each(|to| follow(&mut arcs, to));
        follow(&mut arcs, 20);
        follow(&mut arcs, 21);
        let has = |to| arcs.iter().any(|arc| arc.to == to);
        assert!(has(21) && !has(20) && arcs.len() == ARCS);
    }
}
