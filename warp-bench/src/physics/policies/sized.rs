//! Rivals of the horizon within a budget of bytes, and what no cache can be above.
//!
//! An object has the size that it was last asked for with; one that is larger than the budget does not come in.

mod arc;
mod bound;
mod foreseen;
mod lfu;
mod lirs;
mod order;

pub(crate) use arc::ArcSized;
pub(crate) use bound::bound;
pub(crate) use foreseen::{by_distance, by_distance_and_size, foreseen};
pub(crate) use lfu::Lfu;
pub(crate) use lirs::LirsSized;

/// A cache of keys that have sizes.
pub(crate) trait SizedPolicy {
    /// Asks for a key, which comes in if it was not there and is not larger than the cache; tells whether it was.
    fn ask(&mut self, key: u32, size: u64) -> bool;

    /// Bytes of what is in, which the tests hold against the budget.
    #[cfg(test)]
    fn used(&self) -> u64;
}

/// Shares of requests and of bytes that hit.
pub(crate) fn replay_sized(policy: &mut dyn SizedPolicy, keys: &[u32], sizes: &[u32]) -> [f64; 2] {
    let mut hits = Hits::default();
    for (&key, &size) in keys.iter().zip(sizes) {
        let size = counted(size);
        hits.ask(policy.ask(key, size), size);
    }
    hits.shares()
}

/// What an object takes of a budget: an empty one takes a byte, so that no cache holds any number of them.
pub(super) fn counted(size: u32) -> u64 {
    u64::from(size.max(1))
}

/// Hits of requests and of bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Hits {
    requests: u64,
    hits: u64,
    bytes: u64,
    hit_bytes: u64,
}

impl Hits {
    pub(super) fn ask(&mut self, hit: bool, size: u64) {
        self.requests += 1;
        self.bytes += size;
        self.hits += u64::from(hit);
        self.hit_bytes += if hit { size } else { 0 };
    }

    pub(super) fn shares(self) -> [f64; 2] {
        [self.hits as f64 / self.requests as f64, self.hit_bytes as f64 / self.bytes as f64]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::physics::policies::belady::next_uses;
    use crate::physics::policies::{Arc, Lirs, Lru, gdsf, lru_sized, optimum, replay};
    use crate::random::Random;

    const KEYS: usize = 60;
    const SIZE_MAX: usize = 40;
    type Rival = (&'static str, fn(u64) -> Box<dyn SizedPolicy>);

    const RIVALS: [Rival; 4] = [
        ("LFU", |budget| Box::new(Lfu::new(budget, KEYS))),
        ("perfect LFU", |budget| Box::new(Lfu::perfect(budget, KEYS))),
        ("ARC", |budget| Box::new(ArcSized::new(budget, KEYS))),
        ("LIRS", |budget| Box::new(LirsSized::new(budget, KEYS))),
    ];

    /// Keys that are asked for unevenly, a quarter of them again soon, with sizes of which one in sixteen changes.
    fn trace(seed: u64, requests: usize, keys: usize, size_max: usize) -> (Vec<u32>, Vec<u32>) {
        let mut random = Random::new(seed, 0);
        let number = |number: usize| u32::try_from(number).unwrap();
        let mut sizes: Vec<u32> = (0..keys).map(|_| number(1 + random.below(size_max))).collect();
        let mut trace: Vec<(u32, u32)> = Vec::new();
        for _ in 0..requests {
            let again = trace.len().checked_sub(1 + random.below(8)).filter(|_| random.below(4) == 0);
            let low = 1 + random.below(keys);
            let other = number(random.below(low));
            let key = again.map_or(other, |place| trace[place].0);
            if random.below(16) == 0 {
                sizes[key as usize] = number(1 + random.below(size_max));
            }
            trace.push((key, sizes[key as usize]));
        }
        trace.into_iter().unzip()
    }

    /// What all that is no bound hits.
    fn all(budget: u64, keys: &[u32], sizes: &[u32]) -> [(&'static str, [f64; 2]); 8] {
        let [lfu, perfect_lfu, arc, lirs] =
            RIVALS.map(|(name, new)| (name, replay_sized(&mut *new(budget), keys, sizes)));
        [
            lfu,
            perfect_lfu,
            arc,
            lirs,
            ("LRU", lru_sized(budget, KEYS, keys, sizes)),
            ("GDSF", gdsf(budget, KEYS, keys, sizes)),
            ("Belady", foreseen(budget, KEYS, keys, sizes, by_distance)),
            ("Belady-size", foreseen(budget, KEYS, keys, sizes, by_distance_and_size)),
        ]
    }

    /// The most hits and the most bytes of hits, by trying every choice of uses between which their object is kept.
    fn most_of_all_choices(budget: u64, keys: &[u32], sizes: &[u32]) -> [f64; 2] {
        let next = next_uses(KEYS, keys);
        let kept: Vec<usize> = (0..keys.len()).filter(|&place| next[place] < keys.len()).collect();
        let mut most = [0, 0];
        for choice in 0_u32..1 << kept.len() {
            let chosen = || {
                kept.iter().enumerate().filter(|&(bit, _)| choice >> bit & 1 == 1).map(|(_, &place)| place)
            };
            let fits = (0..keys.len()).all(|now| {
                chosen()
                    .filter(|&place| place <= now && now < next[place])
                    .map(|place| counted(sizes[place]))
                    .sum::<u64>()
                    <= budget
            });
            if fits {
                let bytes = chosen().map(|place| counted(sizes[next[place]])).sum();
                most = [most[0].max(chosen().count() as u64), most[1].max(bytes)];
            }
        }
        let bytes: u64 = sizes.iter().copied().map(counted).sum();
        [most[0] as f64 / keys.len() as f64, most[1] as f64 / bytes as f64]
    }

    #[test]
    fn with_sizes_of_one_they_hit_what_their_like_hits_by_entries() {
        for (seed, entries) in (0..20).flat_map(|seed| [2, 3, 5, 10, 20, 40].map(|entries| (seed, entries))) {
            let (keys, _) = trace(seed, 5_000, KEYS, 1);
            let (budget, ones) = (entries as u64, vec![1; keys.len()]);
            let most = optimum(entries, KEYS, &keys);
            let by_entries = [
                replay(&mut Arc::new(entries, KEYS), &keys),
                replay(&mut Lirs::new(entries, KEYS), &keys),
                replay(&mut Lru::new(entries, KEYS), &keys),
            ];
            let [_, _, arc, lirs, lru, _, belady, belady_size] =
                all(budget, &keys, &ones).map(|(_, shares)| shares[0]);
            assert_eq!([arc, lirs, lru], by_entries, "{entries} entries, seed {seed}");
            assert_eq!([belady, belady_size], [most; 2], "{entries} entries, seed {seed}");
            assert!(bound(budget, KEYS, &keys, &ones)[0] >= most, "{entries} entries, seed {seed}");
        }
    }

    #[test]
    fn none_takes_more_than_its_budget_nor_anything_larger() {
        for (seed, budget) in (0..20).flat_map(|seed| [7, 30, 100, 300].map(|budget| (seed, budget))) {
            let (keys, sizes) = trace(seed, 5_000, KEYS, SIZE_MAX);
            for (name, new) in RIVALS {
                let mut policy = new(budget);
                let mut last = [u64::MAX; KEYS];
                let mut most = 0;
                for (&key, &size) in keys.iter().zip(&sizes) {
                    let former = std::mem::replace(&mut last[key as usize], size.into());
                    assert!(
                        !policy.ask(key, size.into()) || former <= budget,
                        "{name} held {former} of {budget}"
                    );
                    most = most.max(policy.used());
                }
                assert!(most <= budget && most > budget * 3 / 4, "{name} took {most} of {budget}");
            }
        }
    }

    #[test]
    fn nothing_hits_more_than_the_best_of_all_choices_nor_that_more_than_the_bound() {
        for (seed, budget) in (0..60).flat_map(|seed| [4, 8, 16].map(|budget| (seed, budget))) {
            let (keys, sizes) = trace(seed, 14, 5, 8);
            let (most, bound) =
                (most_of_all_choices(budget, &keys, &sizes), bound(budget, KEYS, &keys, &sizes));
            for place in 0..2 {
                for (name, shares) in all(budget, &keys, &sizes) {
                    assert!(shares[place] <= most[place], "{name}, budget {budget}, seed {seed}");
                }
                assert!(most[place] <= bound[place], "bound, budget {budget}, seed {seed}");
            }
        }
    }

    #[test]
    fn to_know_what_comes_is_worth_more_than_any_rule_without_it() {
        for (seed, budget) in (0..20).flat_map(|seed| [50, 100, 300].map(|budget| (seed, budget))) {
            let (keys, sizes) = trace(seed, 5_000, KEYS, SIZE_MAX);
            let shares = all(budget, &keys, &sizes);
            let bound = bound(budget, KEYS, &keys, &sizes);
            let by_size = shares[shares.len() - 1].1[0];
            for (name, shares) in shares {
                assert!(shares[0] <= by_size, "{name}, budget {budget}, seed {seed}");
                assert!(
                    shares[0] <= bound[0] && shares[1] <= bound[1],
                    "{name}, budget {budget}, seed {seed}"
                );
            }
        }
    }
}
