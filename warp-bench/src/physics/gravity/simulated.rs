//! Who else could decide what is in memory, as simulators over numbered keys.

use warp_physics::EventHorizonCache;

use crate::physics::policies::{Foreseen, Lru, Policy, foresee};

/// Placements that the scheme of epochs makes over a trace, and the epochs after which a use counts half.
const EPOCHS: usize = 200;
const HALF_LIFE_EPOCHS: f64 = 16.0;

/// What became of the requests: in windows of about equal length, how many there were and how many were served from memory;
/// and how many entries came in.
#[derive(Clone, Debug)]
pub(super) struct Served {
    windows: Vec<(usize, u64)>,
    /// Requests in all, and those so far.
    pub(super) all: usize,
    seen: usize,
    pub(super) promotions: u64,
}

impl Served {
    /// Of so many requests, in so many windows.
    pub(super) fn new(all: usize, windows: usize) -> Served {
        Served { windows: vec![(0, 0); windows], all, seen: 0, promotions: 0 }
    }

    /// The next request, and what became of it.
    fn saw(&mut self, hit: bool, came_in: bool) {
        self.saw_part(1, u64::from(hit));
        self.promotions += u64::from(came_in);
    }

    /// The next requests, and how many hit.
    pub(super) fn saw_part(&mut self, requests: usize, hits: u64) {
        let place = self.seen * self.windows.len() / self.all;
        self.seen += requests;
        self.windows[place].0 += requests;
        self.windows[place].1 += hits;
    }

    /// The share of the requests that hit, of each window.
    pub(super) fn shares(&self) -> Vec<f64> {
        self.windows.iter().map(|&(requests, hits)| hits as f64 / requests.max(1) as f64).collect()
    }

    pub(super) fn share(&self) -> f64 {
        let hits: u64 = self.windows.iter().map(|(_, hits)| hits).sum();
        hits as f64 / self.all.max(1) as f64
    }

    pub(super) fn promotions(&self) -> f64 {
        self.promotions as f64 / self.all.max(1) as f64
    }
}

/// The horizon with nothing around it.
pub(super) fn horizon(entries: usize, keys: &[u32], windows: usize) -> Served {
    let cache: EventHorizonCache<u32, ()> = EventHorizonCache::new(entries as u64);
    let mut served = Served::new(keys.len(), windows);
    for key in keys {
        let hit = cache.get(key).is_some();
        let came_in = !hit && cache.insert(*key, ());
        served.saw(hit, came_in);
    }
    served
}

pub(super) fn lru(entries: usize, unique: usize, keys: &[u32], windows: usize) -> Served {
    let mut lru = Lru::new(entries, unique);
    let mut served = Served::new(keys.len(), windows);
    for key in keys {
        let hit = lru.ask(*key);
        served.saw(hit, !hit);
    }
    served
}

pub(super) fn belady(entries: usize, unique: usize, keys: &[u32], windows: usize) -> Served {
    let mut served = Served::new(keys.len(), windows);
    foresee(entries, unique, keys, |seen| {
        served.saw(seen == Foreseen::Hit, seen == Foreseen::Admitted);
    });
    served
}

/// The keys that the whole trace asks for most, in memory from the first request on.
pub(super) fn oracle(entries: usize, unique: usize, keys: &[u32], windows: usize) -> Served {
    let mut counts = vec![0.0; unique];
    keys.iter().for_each(|&key| counts[key as usize] += 1.0);
    let inside = heaviest(&counts, entries);
    let mut served = Served::new(keys.len(), windows);
    for &key in keys {
        served.saw(inside[key as usize], false);
    }
    served.promotions = entries.min(unique) as u64;
    served
}

/// Placed anew after each epoch: the keys of the largest decayed count of uses.
pub(super) fn epochs(entries: usize, unique: usize, keys: &[u32], windows: usize) -> Served {
    let keep = (-1.0 / HALF_LIFE_EPOCHS).exp2();
    let (mut masses, mut inside) = (vec![0.0; unique], vec![false; unique]);
    let mut served = Served::new(keys.len(), windows);
    let length = keys.len().div_ceil(EPOCHS).max(1);
    for part in keys.chunks(length) {
        for &key in part {
            served.saw(inside[key as usize], false);
            masses[key as usize] += 1.0;
        }
        let next = heaviest(&masses, entries);
        let came_in = next.iter().zip(&inside).filter(|(next, before)| **next && !**before).count();
        served.promotions += came_in as u64;
        inside = next;
        masses.iter_mut().for_each(|mass| *mass *= keep);
    }
    served
}

/// Which keys are the heaviest, so many of those that have any weight.
fn heaviest(weights: &[f64], count: usize) -> Vec<bool> {
    let mut order: Vec<usize> = (0..weights.len()).filter(|&key| weights[key] > 0.0).collect();
    order.sort_unstable_by(|&a, &b| weights[b].total_cmp(&weights[a]));
    let mut inside = vec![false; weights.len()];
    order.iter().take(count).for_each(|&key| inside[key] = true);
    inside
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_add_up_and_each_contender_does_what_its_name_says() {
        // A loop over four keys, and one key that is asked for each time.
        let keys: Vec<u32> = (0..4_000).flat_map(|n| [n % 4, 9]).collect();
        let lru = lru(3, 10, &keys, 4);
        assert!((lru.share() - 0.5).abs() < 0.01 && (lru.promotions() - 0.5).abs() < 0.01, "{lru:?}");
        assert!((lru.shares().iter().sum::<f64>() / 4.0 - lru.share()).abs() < 1e-9);
        let oracle = oracle(3, 10, &keys, 4);
        assert!((oracle.share() - 0.75).abs() < 0.01 && oracle.promotions == 3, "{oracle:?}");
        let epochs = epochs(3, 10, &keys, 4);
        assert!(epochs.share() > 0.7 && epochs.promotions() < 0.1, "{epochs:?}");
        let best = belady(3, 10, &keys, 4);
        assert!(best.share() >= oracle.share() - 0.01 && best.promotions() <= lru.promotions(), "{best:?}");
        assert!(horizon(3, &keys, 4).share() > 0.65);
    }
}
