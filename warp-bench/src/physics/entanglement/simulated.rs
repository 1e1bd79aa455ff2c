//! The learner beside a plain cache, and judged by itself.

use std::collections::HashMap;

use warp_physics::{Bell, BellOptions, Prediction};

use crate::physics::policies::Order;
use crate::physics::trace::Trace;

/// Room for all keys of a trace.
const BELL_BYTES: usize = 1 << 26;
/// A partner is read in time within so many reads.
const WINDOW: usize = 8;

/// The hash that stands for a key: the learner is shown hashes.
fn hash(key: u32) -> u64 {
    // Bijective, so that no two keys are one; neighbours are far apart.
    u64::from(key + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

/// What a replay came to.
#[derive(Debug, Default)]
pub(super) struct Replayed {
    requests: u64,
    hits: u64,
    /// Values read from behind the cache: missed ones and fetched ones.
    pub(super) reads: u64,
    fetched: u64,
    used: u64,
}

impl Replayed {
    pub(super) fn hit_ratio(&self) -> f64 {
        self.hits as f64 / self.requests as f64
    }

    /// Of what was fetched, what was read before it left.
    pub(super) fn precision(&self) -> f64 {
        self.used as f64 / self.fetched as f64
    }
}

/// Replays a trace through an LRU cache into which foretold partners are fetched.
pub(super) fn with_partners(entries: usize, trace: &Trace) -> Replayed {
    let mut bell = Bell::new(BellOptions { bytes: BELL_BYTES, horizon: None });
    let mut order = Order::new(trace.unique);
    let mut waiting: Vec<Option<Prediction>> = vec![None; trace.unique];
    let keys: HashMap<u64, u32> = trace.keys.iter().map(|&key| (hash(key), key)).collect();
    let mut replayed = Replayed::default();
    let mut found = Vec::new();
    for &key in &trace.keys {
        replayed.requests += 1;
        if order.contains(key) {
            replayed.hits += 1;
            order.push(key);
            if let Some(prediction) = waiting[key as usize].take() {
                replayed.used += 1;
                bell.settle(&prediction, true);
            }
        } else {
            replayed.reads += 1;
            put(&mut order, entries, key, &mut waiting, &mut bell);
        }
        let place = bell.observe(hash(key));
        bell.predict(place, &mut found);
        for prediction in found.drain(..) {
            let Some(&partner) = keys.get(&prediction.hash) else { continue };
            if partner != key && !order.contains(partner) {
                replayed.reads += 1;
                replayed.fetched += 1;
                put(&mut order, entries, partner, &mut waiting, &mut bell);
                waiting[partner as usize] = Some(prediction);
            }
        }
    }
    replayed
}

fn put(order: &mut Order, entries: usize, key: u32, waiting: &mut [Option<Prediction>], bell: &mut Bell) {
    order.push(key);
    if order.len() > entries
        && let Some(gone) = order.pop()
        && let Some(prediction) = waiting[gone as usize].take()
    {
        bell.settle(&prediction, false);
    }
}

/// What was foretold, and what came of it.
#[derive(Debug, Default)]
pub(super) struct Foretold {
    reads: u64,
    made: u64,
    true_ones: u64,
    /// Reads that were foretold.
    foretold: u64,
}

impl Foretold {
    pub(super) fn precision(&self) -> f64 {
        self.true_ones as f64 / self.made as f64
    }

    pub(super) fn recall(&self) -> f64 {
        self.foretold as f64 / self.reads as f64
    }
}

/// When each key was last foretold, and whether it was read since.
struct Open {
    last: Vec<Option<(usize, bool)>>,
    counted: Foretold,
}

impl Open {
    fn new(trace: &Trace) -> Open {
        Open { last: vec![None; trace.unique], counted: Foretold::default() }
    }

    fn read(&mut self, now: usize, key: u32) {
        self.counted.reads += 1;
        if let Some((then, is_read)) = &mut self.last[key as usize]
            && now - *then <= WINDOW
        {
            self.counted.foretold += 1;
            self.counted.true_ones += u64::from(!std::mem::replace(is_read, true));
        }
    }

    /// What is foretold again while it is still open is one prediction.
    fn foretell(&mut self, now: usize, key: u32) {
        let open = &mut self.last[key as usize];
        if !open.is_some_and(|(then, is_read)| now - then < WINDOW && !is_read) {
            *open = Some((now, false));
            self.counted.made += 1;
        }
    }
}

/// Partners as `quantum_get` shows them, from this confidence on: each read is judged before it is learned from.
pub(super) fn foretold(trace: &Trace, confidence_min: f64) -> Foretold {
    let mut bell = Bell::new(BellOptions { bytes: BELL_BYTES, horizon: Some(32) });
    let keys: HashMap<u64, u32> = trace.keys.iter().map(|&key| (hash(key), key)).collect();
    let mut open = Open::new(trace);
    let mut found = Vec::new();
    for (now, &key) in trace.keys.iter().enumerate() {
        open.read(now, key);
        bell.observe(hash(key));
        bell.partners(hash(key), &mut found);
        for partner in found.iter().filter(|partner| partner.confidence >= confidence_min) {
            if let Some(&partner) = keys.get(&partner.hash)
                && partner != key
            {
                open.foretell(now, partner);
            }
        }
    }
    open.counted
}

/// The plainest rival: what followed the key the last time will follow it again.
pub(super) fn last_successor(trace: &Trace) -> Foretold {
    let mut next: Vec<Option<u32>> = vec![None; trace.unique];
    let mut open = Open::new(trace);
    let mut before = None;
    for (now, &key) in trace.keys.iter().enumerate() {
        open.read(now, key);
        if let Some(before) = before.replace(key) {
            next[before as usize] = Some(key);
        }
        if let Some(successor) = next[key as usize].filter(|successor| *successor != key) {
            open.foretell(now, successor);
        }
    }
    open.counted
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pairs in a random order of pairs, read one after the other.
    fn pairs() -> Trace {
        let mut random = crate::random::Random::new(1, 1);
        let pair = |random: &mut crate::random::Random| 2 * u32::try_from(random.below(500)).unwrap();
        let keys = (0..20_000).map(|_| pair(&mut random)).flat_map(|first| [first, first + 1]).collect();
        Trace { name: "pairs".to_owned(), hash: 0, keys, sizes: Vec::new(), unique: 1_000 }
    }

    #[test]
    fn partners_of_pairs_are_fetched_and_foretold() {
        let trace = pairs();
        let with = with_partners(100, &trace);
        // A tenth of the pairs is in the cache; without partners both halves of the others miss.
        assert!((0.5..0.6).contains(&with.hit_ratio()), "{with:?}");
        assert!(with.precision() > 0.9, "{with:?}");
        let foretold = foretold(&trace, 0.5);
        assert!(foretold.precision() > 0.9 && foretold.recall() > 0.45, "{foretold:?}");
        let successor = last_successor(&trace);
        assert!(successor.precision() < foretold.precision(), "{successor:?}");
    }
}
