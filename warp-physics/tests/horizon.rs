//! The cache against a model, under threads, and with loads that fail.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex};
use std::time::Duration;

use proptest::prelude::*;
use warp_physics::{Cause, EventHorizonCache, HorizonLevel};

#[derive(Clone, Copy, Debug)]
enum Step {
    Get(u8),
    Insert(u8, u32),
    InsertFor(u8, u32, u8),
    Load(u8, u32),
    Remove(u8),
    Clear,
    Wait(u8),
}

fn step() -> impl Strategy<Value = Step> {
    let key = || 0..40_u8;
    prop_oneof![
        4 => key().prop_map(Step::Get),
        4 => (key(), 0..6_u32).prop_map(|(key, weight)| Step::Insert(key, weight)),
        2 => (key(), 0..40_u32, 0..9_u8).prop_map(|(key, weight, left)| Step::InsertFor(key, weight, left)),
        2 => (key(), 0..6_u32).prop_map(|(key, weight)| Step::Load(key, weight)),
        1 => key().prop_map(Step::Remove),
        1 => Just(Step::Wait(1)),
        1 => (0..4_u8).prop_map(Step::Wait),
        1 => Just(Step::Clear),
    ]
}

/// A value: which insert made it, and what it weighs.
type Made = (u64, u32);

proptest! {
    /// Every value that is found is the last one of its key, not past its deadline; every value that went in is in
    /// the cache or was told to the listener, once; the weight is that of the entries and within the capacity.
    #[test]
    fn the_cache_forgets_but_never_errs(
        steps in prop::collection::vec(step(), 1..300),
        capacity in 0..60_u64,
        shards in 1..5_usize,
    ) {
        let gone = Arc::new(Mutex::new(HashMap::<u64, Cause>::new()));
        let time = Arc::new(AtomicU64::new(0));
        let (heard, clock) = (Arc::clone(&gone), Arc::clone(&time));
        let cache: EventHorizonCache<u8, Made> = EventHorizonCache::builder(capacity)
            .weigher(|_, made: &Made| made.1)
            .listener(move |_, made: &Made, cause| {
                assert_eq!(heard.lock().unwrap().insert(made.0, cause), None, "it left once");
            })
            .clock(move || Duration::from_secs(clock.load(Ordering::Relaxed)))
            .shards(shards)
            .expected_entries(20)
            .build();
        let mut model: HashMap<u8, (Made, Option<u64>)> = HashMap::new();
        let (mut next, mut lookups) = (0, 0);
        for step in steps {
            let now = time.load(Ordering::Relaxed);
            let valid = |known: Option<&(Made, Option<u64>)>| {
                known.filter(|(_, end)| end.is_none_or(|end| end > now)).map(|(made, _)| *made)
            };
            match step {
                Step::Get(key) => {
                    lookups += 1;
                    let found = cache.get(&key);
                    prop_assert!(found.is_none() || found == valid(model.get(&key)), "{key}: {found:?}");
                }
                Step::Insert(key, weight) => {
                    next += 1;
                    let admitted = cache.insert(key, (next, weight));
                    model.insert(key, ((next, weight), None));
                    prop_assert_eq!(admitted, !gone.lock().unwrap().contains_key(&next));
                }
                Step::InsertFor(key, weight, left) => {
                    next += 1;
                    cache.insert_with_ttl(key, (next, weight), Duration::from_secs(left.into()));
                    model.insert(key, ((next, weight), Some(now + u64::from(left))));
                }
                Step::Load(key, weight) => {
                    next += 1;
                    lookups += 1;
                    let made = (next, weight);
                    let found = cache.get_or_insert_with(key, || made);
                    if found == made {
                        model.insert(key, (made, None));
                    } else {
                        prop_assert_eq!(Some(found), valid(model.get(&key)));
                        gone.lock().unwrap().insert(made.0, Cause::Refused);
                    }
                }
                Step::Remove(key) => {
                    let removed = cache.remove(&key);
                    let known = model.remove(&key).map(|(made, _)| made);
                    prop_assert!(removed.is_none() || removed == known);
                }
                Step::Clear => {
                    cache.clear();
                    model.clear();
                    prop_assert_eq!(cache.stats().entries, 0);
                }
                Step::Wait(seconds) => {
                    time.fetch_add(seconds.into(), Ordering::Relaxed);
                }
            }
            let stats = cache.stats();
            prop_assert!(stats.weight <= capacity, "{stats:?}");
            prop_assert_eq!(stats.hits + stats.misses, lookups);
            prop_assert_eq!(stats.entries + gone.lock().unwrap().len() as u64, next);
            let levels = cache.levels();
            prop_assert_eq!(levels.entries.iter().sum::<u64>(), stats.entries);
            prop_assert_eq!(levels.weight.iter().sum::<u64>(), stats.weight);
        }
        cache.clear();
        prop_assert_eq!(gone.lock().unwrap().len() as u64, next);
    }
}

#[test]
fn a_loop_longer_than_the_cache_is_hit_and_a_scan_does_not_wash_out_what_is_hot() {
    let cache: EventHorizonCache<u32, ()> = EventHorizonCache::new(100);
    let ask = |key: u32| {
        let hit = cache.get(&key).is_some();
        if !hit {
            cache.insert(key, ());
        }
        hit
    };
    let hits = (0..100_000_u32).filter(|turn| ask(turn % 1000)).count();
    assert!(hits > 9000, "{hits} of at most 9,900, where least recently used has none");

    let cache: EventHorizonCache<u32, ()> = EventHorizonCache::new(100);
    let mut hits = 0;
    for turn in 0..100_000_u32 {
        let key = if turn % 2 == 0 { (turn / 2 * 7) % 80 } else { 1000 + turn };
        let hit = cache.get(&key).is_some();
        hits += usize::from(hit);
        if !hit {
            cache.insert(key, ());
        }
    }
    assert!(hits > 47_000, "{hits} of at most 49,920");
    let stats = cache.stats();
    assert!(stats.temperature.is_some_and(|temperature| temperature > 0.0));
    assert!(stats.refused > 0 && stats.evaporated > 0, "{stats:?}");
    let levels = cache.levels();
    let above: u64 = levels.entries[HorizonLevel::PhotonSphere as usize..].iter().sum();
    assert!(above >= 70, "the hot keys are above the horizon: {levels:?}");
}

#[test]
fn a_key_that_left_is_recaptured_with_its_history_also_by_a_hot_list() {
    let cache: EventHorizonCache<u32, u32> = EventHorizonCache::new(50);
    for turn in 0..20_000_u32 {
        let key = if turn % 3 == 0 { turn } else { turn % 40 };
        if cache.get(&key).is_none() {
            cache.insert(key, key);
        }
    }
    assert!(cache.stats().recaptured > 0);
    let hot = cache.hot(40);
    assert!(hot.iter().filter(|hot| hot.key < 40).count() >= 35, "{hot:?}");

    let warm: EventHorizonCache<u32, u32> = EventHorizonCache::new(50);
    warm.remember(hot.clone());
    assert_eq!(warm.stats().entries, 0);
    hot.iter().for_each(|hot| assert!(warm.insert(hot.key, hot.key)));
    assert_eq!(warm.stats().recaptured, 40);
    let again = warm.hot(40);
    assert!(again.iter().map(|hot| hot.mass).max() >= hot.iter().map(|hot| hot.mass).max());
}

#[test]
fn one_loads_and_the_others_wait() {
    const THREADS: usize = 8;
    let cache: EventHorizonCache<u32, usize> = EventHorizonCache::new(100);
    let (loads, barrier) = (AtomicUsize::new(0), Barrier::new(THREADS));
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                barrier.wait();
                for key in 0..50 {
                    let value = cache.get_or_insert_with(key, || {
                        std::thread::sleep(Duration::from_millis(1));
                        loads.fetch_add(1, Ordering::Relaxed)
                    });
                    assert!(value < 50);
                }
            });
        }
    });
    assert_eq!(loads.load(Ordering::Relaxed), 50);
}

#[test]
fn a_load_that_fails_or_panics_leaves_nobody_hanging() {
    const THREADS: usize = 6;
    let cache: EventHorizonCache<u32, u32> = EventHorizonCache::new(100);
    let (tries, barrier) = (AtomicUsize::new(0), Barrier::new(THREADS));
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                barrier.wait();
                let outcome = catch_unwind(AssertUnwindSafe(|| {
                    cache.get_or_try_insert_with(7, || {
                        std::thread::sleep(Duration::from_millis(2));
                        match tries.fetch_add(1, Ordering::Relaxed) {
                            0 => panic!("the first load panics"),
                            1 => Err("the second load fails"),
                            _ => Ok(70),
                        }
                    })
                }));
                match outcome {
                    Ok(Ok(value)) => assert_eq!(value, 70),
                    Ok(Err(error)) => assert_eq!(error, "the second load fails"),
                    Err(_panic) => {}
                }
            });
        }
    });
    assert_eq!(tries.load(Ordering::Relaxed), 3);
    assert_eq!(cache.get(&7), Some(70));
}

#[test]
fn a_load_does_not_bring_back_what_was_removed_or_written_meanwhile() {
    let cache: EventHorizonCache<u32, u32> = EventHorizonCache::new(100);
    let value = cache.get_or_insert_with(1, || {
        cache.remove(&1);
        10
    });
    assert_eq!((value, cache.get(&1)), (10, None));
    let value = cache.get_or_insert_with(2, || {
        cache.insert(2, 21);
        20
    });
    assert_eq!((value, cache.get(&2)), (20, Some(21)));
}

#[test]
fn deadlines_are_by_the_clock_that_was_given() {
    let time = Arc::new(AtomicU64::new(0));
    let (clock, gone) = (Arc::clone(&time), Arc::new(Mutex::new(Vec::new())));
    let heard = Arc::clone(&gone);
    let cache: EventHorizonCache<&str, u32> = EventHorizonCache::builder(10)
        .clock(move || Duration::from_millis(clock.load(Ordering::Relaxed)))
        .time_to_live(Duration::from_millis(10))
        .listener(move |key, _, cause| heard.lock().unwrap().push((*key, cause)))
        .build();
    cache.insert("short", 1);
    cache.insert_with_ttl("long", 2, Duration::from_millis(20));
    time.store(9, Ordering::Relaxed);
    assert_eq!((cache.get("short"), cache.get("long")), (Some(1), Some(2)));
    time.store(10, Ordering::Relaxed);
    assert_eq!((cache.get("short"), cache.get("long")), (None, Some(2)));
    assert_eq!(*gone.lock().unwrap(), [("short", Cause::Expired)]);
    cache.insert("long", 3);
    cache.remove("long");
    assert_eq!(gone.lock().unwrap()[1..], [("long", Cause::Replaced), ("long", Cause::Removed)]);
    assert_eq!(cache.stats().expired, 1);
}

#[test]
fn threads_find_only_what_was_written_and_counts_add_up() {
    const THREADS: u64 = 4;
    const TURNS: u64 = 30_000;
    let left = Arc::new(AtomicU64::new(0));
    let told = Arc::clone(&left);
    let cache: EventHorizonCache<u64, u64> = EventHorizonCache::builder(3000)
        .weigher(|key, _| (key % 7) as u32 + 1)
        .listener(move |key, value, _| {
            assert_eq!(value / 1000, *key);
            told.fetch_add(1, Ordering::Relaxed);
        })
        .shards(4)
        .expected_entries(800)
        .build();
    let inserted = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (cache, inserted) = (&cache, &inserted);
            scope.spawn(move || {
                let mut state = thread + 1;
                for turn in 0..TURNS {
                    state =
                        state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    let key = ((state >> 33) % 3000).min((state >> 20) % 3000);
                    match turn % 50 {
                        0 => drop(cache.remove(&key)),
                        1 => drop(cache.hot(5)),
                        _ => match cache.get(&key) {
                            Some(value) => assert_eq!(value / 1000, key),
                            None => {
                                inserted.fetch_add(1, Ordering::Relaxed);
                                cache.insert(key, key * 1000 + thread);
                            }
                        },
                    }
                }
            });
        }
    });
    let stats = cache.stats();
    assert_eq!(stats.hits + stats.misses, THREADS * TURNS / 50 * 48);
    assert_eq!(stats.misses, inserted.load(Ordering::Relaxed));
    assert_eq!(stats.entries + left.load(Ordering::Relaxed), inserted.load(Ordering::Relaxed));
    assert!(stats.weight <= 3000 && stats.weight > 2900, "{stats:?}");
    let weight: u64 = cache.hot(usize::MAX).iter().map(|hot| hot.key % 7 + 1).sum();
    assert_eq!(stats.weight, weight);
}
