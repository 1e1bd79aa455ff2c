//! The learner and its rival beside a plain cache, and the learner judged by itself.

use std::collections::HashMap;

use warp_physics::{Bell, BellOptions, Prediction};

use super::graph::Graph;
use super::mithril::Mithril;
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

/// Who says what to fetch beside a cache.
pub(super) trait Partners {
    /// What a fetched key is remembered by for as long as it was not read.
    type Link: Clone;

    /// Is shown a read, and adds the keys that are to be there from now on.
    fn read(&mut self, key: u32, was_there: bool, found: &mut Vec<(u32, Self::Link)>);

    /// A fetched key was read.
    fn used(&mut self, link: &Self::Link);

    /// A fetched key is the least recently used one and was not read. If a link is given back, it stays for another round.
    fn unused(&mut self, link: &Self::Link) -> Option<Self::Link>;
}

/// The engine's learner, which is shown hashes.
struct Learner {
    bell: Bell,
    keys: HashMap<u64, u32>,
    predictions: Vec<Prediction>,
}

impl Partners for Learner {
    type Link = Prediction;

    fn read(&mut self, key: u32, _was_there: bool, found: &mut Vec<(u32, Prediction)>) {
        let place = self.bell.observe(hash(key));
        self.bell.predict(place, &mut self.predictions);
        for prediction in self.predictions.drain(..) {
            if let Some(&partner) = self.keys.get(&prediction.hash) {
                found.push((partner, prediction));
            }
        }
    }

    fn used(&mut self, prediction: &Prediction) {
        self.bell.settle(prediction, true);
    }

    fn unused(&mut self, prediction: &Prediction) -> Option<Prediction> {
        self.bell.settle(prediction, false);
        None
    }
}

/// Replays a trace through an LRU cache into which partners that the engine's learner foretells are fetched.
pub(super) fn with_learner(entries: usize, trace: &Trace) -> Replayed {
    let bell = Bell::new(BellOptions { bytes: BELL_BYTES, horizon: None });
    let keys = trace.keys.iter().map(|&key| (hash(key), key)).collect();
    with_partners(entries, trace, Learner { bell, keys, predictions: Vec::new() })
}

/// Replays a trace through an LRU cache into which Mithril's associations are fetched.
pub(super) fn with_mithril(entries: usize, trace: &Trace) -> Replayed {
    with_partners(entries, trace, Mithril::new(trace.unique))
}

/// Replays a trace through an LRU cache into which is fetched what the probability graph has for likely.
pub(super) fn with_graph(entries: usize, trace: &Trace) -> Replayed {
    with_partners(entries, trace, Graph::new(trace.unique))
}

fn with_partners<P: Partners>(entries: usize, trace: &Trace, mut partners: P) -> Replayed {
    let mut order = Order::new(trace.unique);
    let mut waiting: Vec<Option<P::Link>> = vec![None; trace.unique];
    let mut replayed = Replayed::default();
    let mut found = Vec::new();
    for &key in &trace.keys {
        replayed.requests += 1;
        let was_there = order.contains(key);
        if was_there {
            replayed.hits += 1;
            order.push(key);
            if let Some(link) = waiting[key as usize].take() {
                replayed.used += 1;
                partners.used(&link);
            }
        } else {
            replayed.reads += 1;
            put(&mut order, entries, key, &mut waiting, &mut partners);
        }
        partners.read(key, was_there, &mut found);
        for (partner, link) in found.drain(..) {
            if partner != key && !order.contains(partner) {
                replayed.reads += 1;
                replayed.fetched += 1;
                put(&mut order, entries, partner, &mut waiting, &mut partners);
                waiting[partner as usize] = Some(link);
            }
        }
    }
    replayed
}

fn put<P: Partners>(
    order: &mut Order,
    entries: usize,
    key: u32,
    waiting: &mut [Option<P::Link>],
    partners: &mut P,
) {
    order.push(key);
    while order.len() > entries
        && let Some(gone) = order.pop()
    {
        if let Some(link) = waiting[gone as usize].take()
            && let Some(again) = partners.unused(&link)
        {
            waiting[gone as usize] = Some(again);
            order.push(gone);
        }
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

/// Judges what `learn` foretells of each read that it is shown, one after the other: a read is judged before it is learned from.
fn judged(trace: &Trace, mut learn: impl FnMut(u32, &mut Vec<u32>)) -> Foretold {
    let mut open = Open::new(trace);
    let mut found = Vec::new();
    for (now, &key) in trace.keys.iter().enumerate() {
        open.read(now, key);
        learn(key, &mut found);
        found.drain(..).filter(|partner| *partner != key).for_each(|partner| open.foretell(now, partner));
    }
    open.counted
}

/// Partners as `quantum_get` shows them, from this confidence on.
pub(super) fn foretold(trace: &Trace, confidence_min: f64) -> Foretold {
    let mut bell = Bell::new(BellOptions { bytes: BELL_BYTES, horizon: Some(32) });
    let keys: HashMap<u64, u32> = trace.keys.iter().map(|&key| (hash(key), key)).collect();
    let mut partners = Vec::new();
    judged(trace, |key, found| {
        bell.observe(hash(key));
        bell.partners(hash(key), &mut partners);
        partners.retain(|partner| partner.confidence >= confidence_min);
        found.extend(partners.iter().filter_map(|partner| keys.get(&partner.hash)));
    })
}

/// The plainest rival: what followed the key the last time will follow it again.
pub(super) fn last_successor(trace: &Trace) -> Foretold {
    let mut next: Vec<Option<u32>> = vec![None; trace.unique];
    let mut before: Option<u32> = None;
    judged(trace, |key, found| {
        if let Some(before) = before.replace(key) {
            next[before as usize] = Some(key);
        }
        found.extend(next[key as usize]);
    })
}

/// What the probability graph has for at least so likely.
pub(super) fn likely(trace: &Trace, chance_min: f64) -> Foretold {
    let mut graph = Graph::new(trace.unique);
    judged(trace, |key, found| {
        graph.observe(key);
        found.extend(graph.likely(key, chance_min));
    })
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
        let with = with_learner(100, &trace);
        // A tenth of the pairs is in the cache; without partners both halves of the others miss.
        assert!((0.5..0.6).contains(&with.hit_ratio()), "{with:?}");
        assert!(with.precision() > 0.9, "{with:?}");
        let foretold = foretold(&trace, 0.5);
        assert!(foretold.precision() > 0.9 && foretold.recall() > 0.45, "{foretold:?}");
        let successor = last_successor(&trace);
        assert!(successor.precision() < foretold.precision(), "{successor:?}");
    }

    #[test]
    fn mithril_fetches_the_other_half_of_pairs() {
        let with = with_mithril(100, &pairs());
        assert!((0.5..0.6).contains(&with.hit_ratio()), "{with:?}");
        // Pairs that were near each other twice by chance are fetched too.
        assert!((0.7..0.9).contains(&with.precision()), "{with:?}");
    }

    #[test]
    fn the_graph_fetches_the_other_half_of_pairs() {
        let trace = pairs();
        let with = with_graph(100, &trace);
        assert!((0.5..0.6).contains(&with.hit_ratio()), "{with:?}");
        assert!(with.precision() > 0.7, "{with:?}");
        let likely = likely(&trace, 0.5);
        assert!(likely.precision() > 0.7 && likely.recall() > 0.45, "{likely:?}");
    }

    /// Has key 9 fetched at each read of key 0, for so many ways through the cache.
    struct Nine(u8);

    impl Partners for Nine {
        type Link = u8;

        fn read(&mut self, key: u32, _was_there: bool, found: &mut Vec<(u32, u8)>) {
            found.extend((key == 0).then_some((9, self.0)));
        }

        fn used(&mut self, _rounds: &u8) {}

        fn unused(&mut self, rounds: &u8) -> Option<u8> {
            (*rounds > 1).then(|| rounds - 1)
        }
    }

    #[test]
    fn what_is_given_another_round_stays_for_one_more() {
        let hits = |rounds, keys: &[u32]| {
            let trace =
                Trace { name: String::new(), hash: 0, keys: keys.to_vec(), sizes: Vec::new(), unique: 10 };
            let replayed = with_partners(2, &trace, Nine(rounds));
            assert_eq!((replayed.fetched, replayed.reads), (1, 1 + keys.len() as u64 - replayed.hits));
            replayed.used
        };
        // With room for two, 9 is the oldest when 2 and 4 come in.
        assert_eq!([1, 2].map(|rounds| hits(rounds, &[0, 1, 9])), [1, 1]);
        assert_eq!([1, 2].map(|rounds| hits(rounds, &[0, 1, 2, 9])), [0, 1]);
        assert_eq!([1, 2, 3].map(|rounds| hits(rounds, &[0, 1, 2, 3, 4, 9])), [0, 0, 1]);
    }
}
