//! Rivals of the horizon within a budget of bytes.
//!
//! An object has the size that it was last asked for with; one that is larger than the budget does not come in.

mod arc;
mod lfu;
mod lirs;
mod order;

pub(crate) use arc::ArcSized;
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
    use crate::physics::policies::{Arc, Lirs, Lru, lru_sized, replay};
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

    #[test]
    fn with_sizes_of_one_they_hit_what_their_like_hits_by_entries() {
        for (seed, entries) in (0..20).flat_map(|seed| [2, 3, 5, 10, 20, 40].map(|entries| (seed, entries))) {
            let (keys, _) = trace(seed, 5_000, KEYS, 1);
            let (budget, ones) = (entries as u64, vec![1; keys.len()]);
            let by_entries = [
                replay(&mut Arc::new(entries, KEYS), &keys),
                replay(&mut Lirs::new(entries, KEYS), &keys),
                replay(&mut Lru::new(entries, KEYS), &keys),
            ];
            let sized = [
                replay_sized(&mut ArcSized::new(budget, KEYS), &keys, &ones)[0],
                replay_sized(&mut LirsSized::new(budget, KEYS), &keys, &ones)[0],
                lru_sized(budget, KEYS, &keys, &ones)[0],
            ];
            assert_eq!(sized, by_entries, "{entries} entries, seed {seed}");
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
}
