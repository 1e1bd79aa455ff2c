//! The keys and values of the comparisons, and the requests for them, all made before anything is timed.

use crate::random::Random;
use crate::zipf::{YCSB_THETA, Zipf};

/// A key: bytes without any order or pattern in them, so that loading by number is loading in random order.
pub(crate) type Key = [u8; KEY_BYTES];
/// A value, which begins with its key, so that a wrong answer shows in the sum of what was read.
pub(crate) type Value = [u8; VALUE_BYTES];

pub(crate) const KEY_BYTES: usize = 16;
pub(crate) const VALUE_BYTES: usize = 100;
/// The stream of random numbers that the keys are drawn from; requests have streams of their own behind it.
const KEYS_STREAM: u64 = 0;

/// The first `count` keys of a seed.
pub(crate) fn keys(seed: u64, count: usize) -> Vec<Key> {
    let mut random = Random::new(seed, KEYS_STREAM);
    (0..count)
        .map(|_| {
            let mut key = [0; KEY_BYTES];
            key[..8].copy_from_slice(&random.next_u64().to_le_bytes());
            key[8..].copy_from_slice(&random.next_u64().to_le_bytes());
            key
        })
        .collect()
}

/// The value of a key: always the same, so that overwriting changes no answer.
pub(crate) fn value(key: &Key) -> Value {
    let mut value = [0x5A; VALUE_BYTES];
    value[..KEY_BYTES].copy_from_slice(key);
    value
}

/// The value of a key when it is written for the `count`th time: another one each time, since some stores do nothing for
/// a value that is there already.
pub(crate) fn next_value(key: &Key, count: u64) -> Value {
    let mut value = value(key);
    value[KEY_BYTES..KEY_BYTES + 8].copy_from_slice(&count.to_le_bytes());
    value
}

/// How requests choose among the keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Spread {
    /// All keys alike.
    Uniform,
    /// A few keys often, with YCSB's constant of 0.99, scattered over all of them.
    Zipf,
}

impl Spread {
    pub(crate) const ALL: [Spread; 2] = [Spread::Uniform, Spread::Zipf];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Spread::Uniform => "uniform",
            Spread::Zipf => "zipf 0.99",
        }
    }
}

/// The requests of one client: keys in the order in which they are asked for, so that fetching a request costs no
/// cache miss of its own.
#[derive(Debug, Default)]
pub(crate) struct Requests {
    pub(crate) keys: Vec<Key>,
    /// For each key a number below 100, from which a mix of reads and writes takes its choice.
    pub(crate) dice: Vec<u8>,
}

/// Keys that one client asks for, without end.
#[derive(Clone, Debug)]
pub(crate) struct Draws<'a> {
    keys: &'a [Key],
    zipf: Option<Zipf>,
    random: Random,
}

impl<'a> Draws<'a> {
    /// Those of the first client. Takes a pass over the ranks.
    pub(crate) fn new(spread: Spread, keys: &'a [Key], seed: u64) -> Draws<'a> {
        let zipf = (spread == Spread::Zipf).then(|| Zipf::new(keys.len(), YCSB_THETA));
        Draws { keys, zipf, random: random_of(0, seed) }
    }

    /// Those of another client, from the beginning.
    fn of_client(&self, client: usize, seed: u64) -> Draws<'a> {
        Draws { random: random_of(client, seed), ..self.clone() }
    }

    pub(crate) fn next(&mut self) -> &'a Key {
        let number = match &self.zipf {
            Some(zipf) => zipf.scrambled(&mut self.random),
            None => self.random.below(self.keys.len()),
        };
        &self.keys[number]
    }
}

fn random_of(client: usize, seed: u64) -> Random {
    Random::new(seed, KEYS_STREAM + 1 + client as u64)
}

/// Makes the requests of `clients` clients, `count` each.
pub(crate) fn requests(
    spread: Spread,
    keys: &[Key],
    clients: usize,
    count: usize,
    seed: u64,
) -> Vec<Requests> {
    let draws = Draws::new(spread, keys, seed);
    let one = |client: usize| {
        let mut draws = draws.of_client(client, seed);
        let mut requests = Requests::default();
        for _ in 0..count {
            requests.keys.push(*draws.next());
            requests.dice.push(u8::try_from(draws.random.below(100)).expect("it is below 100"));
        }
        requests
    };
    (0..clients).map(one).collect()
}

/// The same keys in another random order.
pub(crate) fn shuffled(keys: &[Key], seed: u64) -> Vec<Key> {
    let mut random = Random::new(seed, u64::MAX);
    let mut shuffled = keys.to_vec();
    for place in (1..shuffled.len()).rev() {
        shuffled.swap(place, random.below(place + 1));
    }
    shuffled
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, HashSet};

    use super::*;

    #[test]
    fn keys_differ_and_values_begin_with_them() {
        let keys = keys(1, 10_000);
        assert_eq!(keys.iter().collect::<HashSet<_>>().len(), 10_000);
        assert_eq!(value(&keys[3])[..KEY_BYTES], keys[3]);
        assert_eq!(super::keys(1, 5), keys[..5]);
        assert_ne!(next_value(&keys[3], 1), next_value(&keys[3], 256));
    }

    #[test]
    fn zipf_asks_for_few_keys_often_and_uniform_does_not() {
        let keys = keys(1, 1_000);
        let peak = |spread| {
            let mut counts: HashMap<Key, u32> = HashMap::new();
            for key in &requests(spread, &keys, 1, 100_000, 7)[0].keys {
                *counts.entry(*key).or_default() += 1;
            }
            counts.into_values().max().unwrap()
        };
        assert!(peak(Spread::Uniform) < 200, "{}", peak(Spread::Uniform));
        assert!(peak(Spread::Zipf) > 10_000, "{}", peak(Spread::Zipf));
    }

    #[test]
    fn clients_ask_for_different_keys_and_dice_are_even() {
        let both = requests(Spread::Uniform, &keys(1, 1_000), 2, 10_000, 7);
        assert_ne!(both[0].keys, both[1].keys);
        let low = both[0].dice.iter().filter(|&&dice| dice < 5).count();
        assert!((400..600).contains(&low), "{low}");
    }

    #[test]
    fn shuffling_keeps_every_key() {
        let keys = keys(1, 1_000);
        let mut other = shuffled(&keys, 5);
        assert_ne!(other, keys);
        other.sort_unstable();
        let mut sorted = keys;
        sorted.sort_unstable();
        assert_eq!(other, sorted);
    }
}
