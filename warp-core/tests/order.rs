//! The order of keys agrees with a `BTreeSet`, whatever is added, goes, collides, or was built.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by a panic")]

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};

use proptest::prelude::*;
use warp_core::{Chunk, Kept, Key, ORDER_BLOCK_KEYS_MAX, OrderBuilder, OrderedKeys, hash_key};

/// What is present, and how its keys are hashed: onto so many values, so that they collide.
struct Model {
    present: BTreeSet<Key>,
    hashes: u64,
}

impl Model {
    fn hash(&self, key: &[u8]) -> u64 {
        hash_key(3, 0, key) % self.hashes
    }

    fn hashed<'a>(&self, keys: impl IntoIterator<Item = &'a Key>) -> Vec<(Key, u64)> {
        keys.into_iter().map(|key| (key.clone(), self.hash(key))).collect()
    }

    /// As a resolve does it: finds keys by the hashes of the chunk, and by nothing else.
    fn resolve(&self, chunk: &Chunk) -> Kept {
        let hashes: BTreeSet<u64> = chunk.hashes.iter().copied().collect();
        let found = self.present.iter().filter(|key| hashes.contains(&self.hash(key)));
        Kept { keys: self.hashed(found.filter(|key| chunk.contains(key))), unreadable: Vec::new() }
    }

    fn read(&self, chunk: &Chunk) -> Vec<Key> {
        let mut keys: Vec<Key> = self.resolve(chunk).keys.into_iter().map(|(key, _)| key).collect();
        keys.sort();
        keys
    }

    fn forwards(&self, order: &OrderedKeys, low: &[u8], high: Option<&[u8]>, blocks: usize) -> Vec<Key> {
        let (mut keys, mut from) = (Vec::new(), Key::from(low));
        loop {
            let chunk = order.forwards(&from, high, blocks);
            assert_eq!(chunk.low, from);
            keys.extend(self.read(&chunk));
            match chunk.high {
                Some(next) if high.is_none_or(|high| *next < *high) => from = next,
                end => {
                    assert_eq!(end.as_deref(), high);
                    return keys;
                }
            }
        }
    }

    fn backwards(&self, order: &OrderedKeys, low: &[u8], high: Option<&[u8]>, blocks: usize) -> Vec<Key> {
        let (mut keys, mut to) = (Vec::new(), high.map(Key::from));
        loop {
            let chunk = order.backwards(low, to.as_deref(), blocks);
            assert_eq!(chunk.high, to);
            keys.extend(self.read(&chunk).into_iter().rev());
            if *chunk.low <= *low {
                assert_eq!(&*chunk.low, low);
                keys.reverse();
                return keys;
            }
            to = Some(chunk.low);
        }
    }

    /// Every hash is in its block as often as present keys there have it, since a reader stops at so many.
    fn check(&self, order: &OrderedKeys) {
        order.validate().unwrap();
        let (mut from, mut hashes) = (Key::default(), 0);
        loop {
            let chunk = order.forwards(&from, None, 1);
            hashes += chunk.hashes.len();
            for key in self.present.iter().filter(|key| chunk.contains(key)) {
                let same = |hash: &u64| *hash == self.hash(key);
                let needed =
                    self.present.iter().filter(|other| chunk.contains(other) && same(&self.hash(other)));
                let there = chunk.hashes.iter().filter(|hash| same(hash)).count();
                assert!(there >= needed.count(), "{key:?} is not in {chunk:?}");
            }
            match chunk.high {
                Some(next) => from = next,
                None => break,
            }
        }
        assert_eq!(hashes, order.len());
    }

    fn check_range(&self, order: &OrderedKeys, low: &Key, high: Option<&Key>, blocks: usize) {
        if high.is_some_and(|high| low >= high) {
            return;
        }
        let expected: Vec<Key> = self
            .present
            .range::<Key, _>(low..)
            .take_while(|key| high.is_none_or(|high| *key < high))
            .cloned()
            .collect();
        assert_eq!(self.forwards(order, low, high.map(|high| &**high), blocks), expected);
        assert_eq!(self.backwards(order, low, high.map(|high| &**high), blocks), expected);
    }
}

/// Keys that share long beginnings, end in zeros, or are a beginning of others.
fn key() -> impl Strategy<Value = Key> {
    let tail = prop::collection::vec(prop_oneof![Just(0_u8), Just(1), Just(255), any::<u8>()], 0..4);
    let stem = prop_oneof![
        3 => Just(String::new()),
        3 => Just("a stem that is longer than eight bytes:".to_string()),
        1 => Just("a stem that is longer than eight bytes, too:".to_string()),
    ];
    (stem, tail).prop_map(|(stem, tail)| Key::from([stem.into_bytes(), tail].concat()))
}

fn keys(max: usize) -> impl Strategy<Value = Vec<Key>> {
    prop::collection::vec(key(), 0..max)
}

#[derive(Clone, Debug)]
enum Step {
    /// Comes, and is merged.
    Add(Vec<Key>),
    /// Goes without a word.
    Remove(Vec<Key>),
    RemoveRange(Key, Key),
    Sweep(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => keys(150).prop_map(Step::Add),
        2 => keys(60).prop_map(Step::Remove),
        1 => (key(), key()).prop_map(|(low, high)| Step::RemoveRange(low, high)),
        2 => (0..20_usize).prop_map(Step::Sweep),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn an_order_agrees_with_a_set(
        hashes in prop_oneof![Just(5_u64), Just(100), Just(u64::MAX)],
        built in keys(400),
        steps in prop::collection::vec(step(), 0..10),
        ranges in prop::collection::vec((key(), prop::option::of(key()), 1..4_usize), 8),
    ) {
        let mut model = Model { present: built.iter().cloned().collect(), hashes };
        let mut builder = OrderBuilder::new(built.iter().step_by(7).cloned().collect(), built.len());
        while builder.next_round() {
            for (key, hash) in model.hashed(&model.present) {
                builder.add(&key, hash);
            }
        }
        let order = builder.finish(&mut |chunk| model.resolve(chunk));
        model.check(&order);
        for step in steps {
            match step {
                Step::Add(keys) => {
                    model.present.extend(keys.iter().cloned());
                    let same_hash: BTreeSet<u64> = keys.iter().map(|key| model.hash(key)).collect();
                    let others = model.present.iter().filter(|key| same_hash.contains(&model.hash(key)));
                    order.merge(model.hashed(others), &mut |chunk| model.resolve(chunk));
                }
                Step::Remove(keys) => keys.iter().for_each(|key| { model.present.remove(key); }),
                Step::RemoveRange(low, high) => model.present.retain(|key| *key < low || *key > high),
                Step::Sweep(times) => {
                    for _ in 0..times {
                        order.sweep(&mut |chunk| model.resolve(chunk));
                    }
                }
            }
            model.check(&order);
        }
        model.check_range(&order, &Key::default(), None, 1);
        for (low, high, blocks) in ranges {
            model.check_range(&order, &low, high.as_ref(), blocks);
        }
    }
}

fn numbered(numbers: impl IntoIterator<Item = u32>) -> Vec<Key> {
    numbers.into_iter().map(|number| Key::from(format!("key:{number:08}"))).collect()
}

fn model_of(keys: &[Key]) -> Model {
    Model { present: keys.iter().cloned().collect(), hashes: u64::MAX }
}

#[test]
fn what_is_gone_is_swept_away_and_its_memory_given_back() {
    let mut model = model_of(&numbered(0..20_000));
    let order = OrderedKeys::new();
    order.merge(model.hashed(&model.present), &mut |chunk| model.resolve(chunk));
    let (len, bytes) = (order.len(), order.memory_bytes());
    assert_eq!(len, 20_000);
    assert!(bytes < 20_000 * 13, "{bytes}");
    model.present.retain(|key| key.ends_with(b"7"));
    let mut looked_at = 0;
    while looked_at < 3 * len {
        looked_at += order.sweep(&mut |chunk| model.resolve(chunk)).max(1);
    }
    assert_eq!(order.len(), 2_000);
    assert!(order.memory_bytes() < bytes / 5, "{} of {bytes}", order.memory_bytes());
    model.check(&order);
    model.present.clear();
    for _ in 0..2_000 {
        order.sweep(&mut |chunk| model.resolve(chunk));
    }
    assert!(order.is_empty() && order.memory_bytes() < 1_000, "{}", order.memory_bytes());
}

#[test]
fn blocks_stay_small_and_full_however_keys_come() {
    let ascending: Vec<u32> = (0..30_000).collect();
    let descending: Vec<u32> = (0..30_000).rev().collect();
    let shuffled: Vec<u32> = (0..30_000).map(|number| number * 7_919 % 30_000).collect();
    for (order_of, per_key) in [(ascending, 13), (descending, 15), (shuffled, 15)] {
        let order = OrderedKeys::new();
        let mut present = model_of(&[]);
        for some in order_of.chunks(300) {
            let keys = numbered(some.iter().copied());
            let added = present.hashed(&keys);
            present.present.extend(keys);
            let all: std::collections::HashMap<u64, &Key> =
                present.present.iter().map(|key| (present.hash(key), key)).collect();
            order.merge(added, &mut |chunk| Kept {
                keys: chunk.hashes.iter().map(|hash| (all[hash].clone(), *hash)).collect(),
                unreadable: Vec::new(),
            });
        }
        assert_eq!(order.len(), 30_000);
        assert!(order.memory_bytes() <= 30_000 * per_key, "{} bytes", order.memory_bytes());
        let mut from = Key::default();
        loop {
            let chunk = order.forwards(&from, None, 1);
            assert!(chunk.hashes.len() <= ORDER_BLOCK_KEYS_MAX, "{}", chunk.hashes.len());
            let Some(next) = chunk.high else { break };
            from = next;
        }
    }
}

#[test]
fn keys_that_look_alike_where_they_are_sorted_are_looked_up() {
    // The sample says nothing of the ten thousand keys that share more than the eight bytes behind "b".
    let sample = vec![Key::from("a"), Key::from("c")];
    let keys: Vec<Key> =
        (0..10_000).map(|number| Key::from(format!("b a long common part {number:05}"))).collect();
    let model = model_of(&keys);
    let mut builder = OrderBuilder::new(sample, keys.len());
    while builder.next_round() {
        for (key, hash) in model.hashed(&model.present) {
            builder.add(&key, hash);
        }
    }
    let mut asked = 0;
    let order = builder.finish(&mut |chunk| {
        asked += 1;
        model.resolve(chunk)
    });
    assert_eq!(asked, 1);
    model.check(&order);
    assert!(order.forwards(b"", None, 1).hashes.len() <= ORDER_BLOCK_KEYS_MAX);
    model.check_range(&order, &keys[17], Some(&keys[7_000]), 2);
}

#[test]
fn what_cannot_be_read_is_kept_in_every_block_that_it_may_belong_to() {
    let keys = numbered(0..60);
    let model = model_of(&keys);
    let order = OrderedKeys::new();
    order.merge(model.hashed(&keys), &mut |chunk| model.resolve(chunk));
    // Of the keys that are there, ten cannot be read while their block is divided.
    let unreadable: Vec<u64> = keys[20..30].iter().map(|key| model.hash(key)).collect();
    let more = numbered(100..130);
    order.merge(model.hashed(&more), &mut |chunk| {
        let mut kept = model.resolve(chunk);
        kept.keys.retain(|(_, hash)| !unreadable.contains(hash));
        kept.unreadable = unreadable.clone();
        kept
    });
    let model = model_of(&[keys, more].concat());
    model.check(&order);
    model.check_range(&order, &Key::default(), None, 1);
}

/// Whoever reads while others merge and sweep sees every key that is there throughout, once, in order.
#[test]
fn reading_while_it_changes() {
    let always = numbered((0..4_000).step_by(2));
    let sometimes = numbered((1..4_000).step_by(2));
    let model = model_of(&[always.clone(), sometimes.clone()].concat());
    let order = OrderedKeys::new();
    order.merge(model.hashed(&always), &mut |chunk| model.resolve(chunk));
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let lasting = model_of(&always);
            for round in 0..6 {
                for some in sometimes.chunks(50) {
                    order.merge(model.hashed(some), &mut |chunk| model.resolve(chunk));
                }
                for _ in 0..200 {
                    order.sweep(&mut |chunk| lasting.resolve(chunk));
                }
                assert!(round > 0 || order.len() < 3_000, "{}", order.len());
            }
            is_over.store(true, Ordering::Release);
        });
        while !is_over.load(Ordering::Acquire) {
            for keys in [model.forwards(&order, b"", None, 2), model.backwards(&order, b"", None, 2)] {
                assert!(keys.is_sorted_by(|a, b| a < b));
                let seen: BTreeSet<&Key> = keys.iter().collect();
                assert!(always.iter().all(|key| seen.contains(key)));
            }
        }
    });
}
