//! The heaviest of many things, counted in bounded memory.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

/// Counts how often things happen, for the `capacity` of them that happen most: the Space-Saving algorithm of
/// Metwally, Agrawal and El Abbadi, "Efficient Computation of Frequent and Top-k Elements in Data Streams", ICDT 2005.
///
/// Whatever has happened more often than `total / capacity` is in it. A count may be too high, by no more than its
/// `error`; it is never too low.
#[derive(Clone, Debug)]
pub(crate) struct SpaceSaving {
    capacity: usize,
    counts: HashMap<u64, Count>,
}

/// How often one thing has happened, at most, and by how much that may be too high.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Count {
    pub(crate) count: f64,
    pub(crate) error: f64,
}

impl SpaceSaving {
    pub(crate) fn new(capacity: usize) -> SpaceSaving {
        let capacity = capacity.max(1);
        SpaceSaving { capacity, counts: HashMap::with_capacity(capacity) }
    }

    pub(crate) fn add(&mut self, key: u64, amount: f64) {
        if let Entry::Occupied(mut entry) = self.counts.entry(key) {
            entry.get_mut().count += amount;
            return;
        }
        let mut error = 0.0;
        if self.counts.len() >= self.capacity {
            let least = self.counts.iter().min_by(|a, b| a.1.count.total_cmp(&b.1.count).then(a.0.cmp(b.0)));
            let Some((&least, &count)) = least else { return };
            self.counts.remove(&least);
            error = count.count;
        }
        self.counts.insert(key, Count { count: error + amount, error });
    }

    /// All that is counted, the most frequent first.
    pub(crate) fn all(&self) -> Vec<(u64, Count)> {
        let mut all: Vec<(u64, Count)> = self.counts.iter().map(|(key, count)| (*key, *count)).collect();
        all.sort_unstable_by(|a, b| b.1.count.total_cmp(&a.1.count).then(a.0.cmp(&b.0)));
        all
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        self.counts.clear();
    }

    /// Takes back a count of [`SpaceSaving::all`], if there is room for it.
    pub(crate) fn restore(&mut self, key: u64, count: Count) {
        if self.counts.len() < self.capacity {
            self.counts.insert(key, count);
        }
    }

    /// Lets every count fade to this share of itself; what has faded to nothing leaves.
    pub(crate) fn fade(&mut self, share: f64) {
        self.counts.retain(|_, count| {
            count.count *= share;
            count.error *= share;
            count.count >= FADED
        });
    }

    /// What happened most, by at least as much as is known for certain, the most frequent first.
    pub(crate) fn heaviest(&self) -> Vec<(u64, f64)> {
        let sure = |(key, count): (&u64, &Count)| (*key, count.count - count.error);
        let mut all: Vec<(u64, f64)> =
            self.counts.iter().map(sure).filter(|(_, count)| *count > 0.0).collect();
        all.sort_unstable_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        all
    }
}

/// A count below this is none.
const FADED: f64 = 0.5;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_heaviest_are_found_in_little_memory() {
        let mut counts = SpaceSaving::new(16);
        for round in 0..200_u64 {
            for heavy in 0..4 {
                counts.add(heavy, (4 - heavy) as f64);
            }
            counts.add(1_000 + round, 1.0);
        }
        let heaviest: Vec<u64> = counts.heaviest().into_iter().take(4).map(|(key, _)| key).collect();
        assert_eq!(heaviest, [0, 1, 2, 3]);
        assert_eq!(counts.heaviest()[0].1, 800.0, "never displaced, so exact");
        assert!(counts.counts.len() <= 16);
    }

    #[test]
    fn what_fades_leaves() {
        let mut counts = SpaceSaving::new(4);
        counts.add(7, 4.0);
        counts.fade(0.5);
        assert_eq!(counts.heaviest(), [(7, 2.0)]);
        counts.fade(0.125);
        assert!(counts.heaviest().is_empty());
    }
}
