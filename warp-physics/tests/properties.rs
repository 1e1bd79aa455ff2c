//! What holds for any load, any links, any rules and any bytes.

#![expect(clippy::unwrap_used, reason = "helpers of tests are tests, which the lint does not see")]

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use warp_physics::{
    BELL_KEY_BYTES, Bell, BellOptions, Entanglement, Link, Links, Origin, Prediction, Rules, StoredLinks,
    coefficient_of_variation, layout, max_over_mean, normalized_entropy, shannon_bits,
};

/// A short key over few letters, so that keys meet, begin and end alike.
fn key() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(prop::sample::select(&b"aab"[..]), 0..5)
}

fn template() -> impl Strategy<Value = Vec<u8>> {
    let part = || prop::collection::vec(prop::sample::select(&b"aab"[..]), 0..3);
    (part(), part()).prop_map(|(before, after)| [&before[..], b"{id}", &after].concat())
}

/// One of few strengths, so that ties are common, or any.
fn strength() -> impl Strategy<Value = f64> {
    prop_oneof![prop::sample::select(&[0.0, 0.1, 0.5, 1.0][..]), 0.0..=1.0]
}

type Declared = Vec<(u32, Vec<u8>, f64)>;

fn declared() -> impl Strategy<Value = Declared> {
    prop::collection::vec((0..3_u32, key(), strength()), 0..20)
}

type Stated = Vec<(Vec<u8>, Vec<Vec<u8>>, f64)>;

fn stated() -> impl Strategy<Value = Stated> {
    prop::collection::vec((template(), prop::collection::vec(template(), 1..4), strength()), 0..12)
}

fn links(declared: &Declared) -> Links {
    let mut links = Links::new();
    for (keyspace, key, strength) in declared {
        links.declare(*keyspace, key, *strength).unwrap();
    }
    links
}

fn rules(stated: &Stated) -> Rules {
    let mut rules = Rules::new();
    for (pattern, partners, strength) in stated {
        rules.add(pattern, partners, *strength).unwrap();
    }
    rules
}

/// Keys below this are read; 0 stands for an interruption.
const READ_KEYS: u64 = 40;

fn reads() -> impl Strategy<Value = Vec<u64>> {
    prop::collection::vec(prop_oneof![0..8_u64, 0..READ_KEYS], 1..200)
}

fn bell_options(places: usize) -> BellOptions {
    BellOptions { bytes: places * BELL_KEY_BYTES, horizon: Some(32) }
}

/// A learner that was shown these reads again and again, often enough to know the shares of the most frequent; and the key of
/// each place.
fn learned(reads: &[u64], places: usize) -> (Bell, Vec<u64>) {
    let mut bell = Bell::new(bell_options(places));
    let mut keys = Vec::new();
    for key in reads.iter().cycle().take(5_000) {
        if *key == 0 {
            bell.interrupt();
            continue;
        }
        let place = bell.observe(*key) as usize;
        if keys.len() <= place {
            keys.resize(place + 1, 0);
        }
        keys[place] = *key;
    }
    (bell, keys)
}

/// What a learner is written as, with the hashes of the keys in that order.
fn stored(bell: &Bell, keys: &[u64]) -> (Vec<u8>, Vec<Option<u64>>) {
    let places = bell.most_read(usize::MAX);
    (bell.to_bytes(&places), places.iter().map(|place| Some(keys[*place as usize])).collect())
}

/// The keys that a learner foretells after each key, as partners and as worth fetching.
fn foretold(bell: &Bell) -> Vec<[Vec<(u64, f64)>; 2]> {
    fn without_places(found: &[Prediction]) -> Vec<(u64, f64)> {
        found.iter().map(|prediction| (prediction.hash, prediction.confidence)).collect()
    }
    let mut found = Vec::new();
    let mut all = Vec::new();
    for key in 0..READ_KEYS {
        bell.partners(key, &mut found);
        let partners = without_places(&found);
        bell.worth_fetching(key, &mut found);
        all.push([partners, without_places(&found)]);
    }
    all
}

/// Whether these bytes are what a learner that was read from them is written as.
fn comes_back(bell: &Bell, bytes: &[u8]) -> bool {
    // The most valuable were written first, and have the last places.
    let places: Vec<u32> = (0..u32::try_from(bell.tracked()).unwrap()).rev().collect();
    bell.to_bytes(&places) == bytes
}

/// The partners as the documentation tells them, found by looking at everything.
fn partners_by_hand(stated: &Stated, declared: &Declared, key: &[u8], strength_min: f64) -> Vec<Link> {
    let mut best: BTreeMap<(u32, Vec<u8>), (f64, Origin)> = BTreeMap::new();
    let mut strengths = BTreeMap::new();
    for (pattern, partners, strength) in stated {
        strengths.insert((pattern, partners), *strength); // Stating again replaces.
    }
    for ((pattern, partners), strength) in strengths {
        let hole = pattern.windows(4).position(|window| window == b"{id}").unwrap();
        let (before, after) = (&pattern[..hole], &pattern[hole + 4..]);
        let fits = key.len() > before.len() + after.len() && key.starts_with(before) && key.ends_with(after);
        if !fits || strength < strength_min {
            continue;
        }
        let id = &key[before.len()..key.len() - after.len()];
        for partner in partners {
            let hole = partner.windows(4).position(|window| window == b"{id}").unwrap();
            let made = [&partner[..hole], id, &partner[hole + 4..]].concat();
            let old = best.entry((0, made)).or_insert((strength, Origin::Rule));
            old.0 = old.0.max(strength);
        }
    }
    let declared: BTreeMap<(u32, &[u8]), f64> =
        declared.iter().map(|(keyspace, key, strength)| ((*keyspace, &key[..]), *strength)).collect();
    for ((keyspace, key), strength) in declared {
        if strength >= strength_min {
            best.insert((keyspace, key.to_vec()), (strength, Origin::Declared));
        }
    }
    best.remove(&(0, key.to_vec()));
    let link = |((keyspace, key), (strength, origin))| Link { keyspace, key, strength, origin };
    let mut links: Vec<Link> = best.into_iter().map(link).collect();
    links.sort_by(|a, b| b.strength.total_cmp(&a.strength)); // Stable, so keyspace and key decide ties.
    links
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn figures_of_load_stay_in_their_ranges(load in prop::collection::vec(any::<f64>(), 0..20)) {
        let count = load.len() as f64;
        let has_load = load.iter().any(|x| x.is_finite() && *x > 0.0);
        let ranges = [
            (normalized_entropy(&load), 0.0, 1.0),
            (shannon_bits(&load), 0.0, count.log2()),
            (coefficient_of_variation(&load), 0.0, (count - 1.0).max(0.0).sqrt() * (1.0 + 1e-12)),
            (max_over_mean(&load), 1.0, count),
        ];
        for (found, low, high) in ranges {
            prop_assert_eq!(found.is_some(), has_load);
            prop_assert!(found.is_none_or(|x| (low..=high).contains(&x)), "{:?} in {}..={}", found, low, high);
        }
    }

    #[test]
    fn the_order_and_the_unit_of_loads_do_not_matter(
        (load, shuffled) in prop::collection::vec(0.0..1e9, 1..20)
            .prop_flat_map(|load| (Just(load.clone()), Just(load).prop_shuffle())),
        unit in 1e-6..1e6,
    ) {
        let scaled: Vec<f64> = load.iter().map(|x| x * unit).collect();
        for figure in [normalized_entropy, shannon_bits, coefficient_of_variation, max_over_mean] {
            let expected = figure(&load);
            for other in [figure(&shuffled), figure(&scaled)] {
                let close = match (expected, other) {
                    (Some(a), Some(b)) => (a - b).abs() < 1e-9,
                    (a, b) => a == b,
                };
                prop_assert!(close, "{:?} and {:?}", expected, other);
            }
        }
    }

    #[test]
    fn moving_load_to_a_less_loaded_part_makes_it_more_even(
        mut load in prop::collection::vec(1.0..1e6, 2..20), at: prop::sample::Index, share in 0.01..0.5,
    ) {
        let (one, other) = (at.index(load.len()), (at.index(load.len()) + 1) % load.len());
        let (from, to) = if load[one] > load[other] { (one, other) } else { (other, one) };
        prop_assume!(load[from] > load[to] * 1.01);
        let before = normalized_entropy(&load).unwrap();
        let moved = (load[from] - load[to]) * share;
        load[from] -= moved;
        load[to] += moved;
        let after = normalized_entropy(&load).unwrap();
        prop_assert!(after > before - 1e-12, "{} then {}", before, after);
    }

    #[test]
    fn even_is_one_and_one_hot_is_zero(parts in 2..200_usize, hot: prop::sample::Index, load in 1e-9..1e18) {
        prop_assert_eq!(normalized_entropy(&vec![load; parts]), Some(1.0));
        let mut one_hot = vec![0.0; parts];
        one_hot[hot.index(parts)] = load;
        prop_assert_eq!(normalized_entropy(&one_hot), Some(0.0));
    }

    #[test]
    fn links_are_a_map_from_keys_to_the_latest_strength(declared in declared(), removed in key()) {
        let mut links = links(&declared);
        let mut model: BTreeMap<(u32, Vec<u8>), f64> = BTreeMap::new();
        for (keyspace, key, strength) in declared {
            model.insert((keyspace, key), strength);
        }
        prop_assert_eq!(links.remove(1, &removed), model.remove(&(1, removed)).is_some());
        let found: BTreeMap<_, _> = links.iter().map(|link| ((link.keyspace, link.key), link.strength)).collect();
        prop_assert_eq!(links.len(), found.len());
        prop_assert_eq!(found, model);
        let rank = |link: &Link| (-link.strength, link.keyspace, link.key.clone());
        prop_assert!(links.as_slice().is_sorted_by(|a, b| rank(a) < rank(b)));
        let bytes = links.to_bytes();
        prop_assert_eq!(Links::from_bytes(&bytes), Ok(links));
    }

    #[test]
    fn rules_come_back_from_their_bytes(stated in stated(), removed: prop::sample::Index) {
        let mut rules = rules(&stated);
        let ids: Vec<_> = rules.iter().map(|rule| rule.id).collect();
        if !ids.is_empty() {
            rules.remove(ids[removed.index(ids.len())]);
        }
        prop_assert_eq!(Rules::from_bytes(&rules.to_bytes()), Ok(rules));
    }

    #[test]
    fn any_bytes_are_refused_or_are_what_would_be_written(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
        if let Ok(links) = Links::from_bytes(&bytes) {
            prop_assert_eq!(links.to_bytes(), &bytes[..]);
        }
        if let Ok(rules) = Rules::from_bytes(&bytes) {
            prop_assert_eq!(rules.to_bytes(), &bytes[..]);
        }
    }

    #[test]
    fn damaged_bytes_are_refused_or_are_what_would_be_written(
        declared in declared(), stated in stated(), at: prop::sample::Index, flip in 1..=255_u8,
    ) {
        let mut bytes = links(&declared).to_bytes();
        let index = at.index(bytes.len());
        bytes[index] ^= flip;
        if let Ok(links) = Links::from_bytes(&bytes) {
            prop_assert_eq!(links.to_bytes(), bytes);
        }
        let mut bytes = rules(&stated).to_bytes();
        let index = at.index(bytes.len());
        bytes[index] ^= flip;
        if let Ok(rules) = Rules::from_bytes(&bytes) {
            prop_assert_eq!(rules.to_bytes(), bytes);
        }
    }

    #[test]
    fn partners_are_those_of_the_documentation(
        stated in stated(), declared in declared(), key in key(), limit in 0..30_usize, strength_min in strength(),
    ) {
        let graph = Entanglement::new(rules(&stated));
        let links = links(&declared);
        let found = graph.partners(0, &key, Some(&links), limit, strength_min);
        let (bytes, mut lent) = (links.to_bytes(), Vec::new());
        let stored = StoredLinks::new(&bytes).unwrap();
        graph.each_partner(0, &key, stored, limit, strength_min, |edge| lent.push(Link::from(edge)));
        prop_assert_eq!(&lent, &found);
        let mut expected = partners_by_hand(&stated, &declared, &key, strength_min);
        expected.truncate(limit);
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn a_layout_is_a_permutation_that_keeps_leaders_in_order(
        groups in prop::collection::vec(prop::collection::vec(0..25_usize, 0..5), 0..20),
    ) {
        let mut leaders = Vec::new();
        let order = layout(groups.len(), |entry| {
            leaders.push(entry);
            groups[entry].clone()
        });
        prop_assert_eq!(order.len(), groups.len());
        prop_assert_eq!(order.iter().copied().collect::<BTreeSet<_>>(), (0..groups.len()).collect());
        prop_assert!(leaders.is_sorted_by(|a, b| a < b));
        // Behind each leader come partners of that leader until the next one.
        let mut leader = None;
        for &entry in &order {
            if leaders.contains(&entry) {
                leader = Some(entry);
            } else {
                prop_assert!(leader.is_some_and(|leader| groups[leader].contains(&entry)));
            }
        }
    }
}

// Thousands of reads a case.
proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_was_learned_comes_back_from_its_bytes(reads in reads(), places in 16..48_usize) {
        let (bell, keys) = learned(&reads, places);
        let (bytes, hashes) = stored(&bell, &keys);
        let (back, numbers) = Bell::from_bytes(bell_options(places), &bytes, &hashes).unwrap();
        prop_assert_eq!((numbers.len(), back.tracked()), (bell.tracked(), bell.tracked()));
        prop_assert_eq!(foretold(&back), foretold(&bell));
        prop_assert!(comes_back(&back, &bytes));
    }

    #[test]
    fn damaged_bytes_of_what_was_learned_are_refused_or_harmless(
        reads in reads(), room in 16..48_usize, at: prop::sample::Index, byte: u8, cut: prop::sample::Index,
        other in prop::collection::vec(any::<u8>(), 0..400),
    ) {
        let (bell, keys) = learned(&reads, 48);
        let (mut bytes, hashes) = stored(&bell, &keys);
        let index = at.index(bytes.len());
        bytes[index] = byte;
        for bytes in [&bytes[..], &bytes[..cut.index(bytes.len())], &other] {
            let Ok((mut back, _)) = Bell::from_bytes(bell_options(room), bytes, &hashes) else { continue };
            prop_assert!(back.tracked() <= room);
            prop_assert!(back.tracked() < hashes.len() || comes_back(&back, bytes));
            for key in reads.iter().chain(&[1_000, 1_001, 1_002]) {
                back.observe(*key);
            }
            prop_assert!(back.tracked() <= room);
        }
    }
}
