//! Scans agree with a `BTreeMap`: over memory, layers, tombstones, floors and deadlines, while others write.

#![allow(
    clippy::cast_possible_truncation,
    clippy::unwrap_used,
    reason = "a test that cannot go on says so by a panic, and its numbers are small"
)]

mod common;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use common::{Machine, small};
use proptest::prelude::*;
use warp_api::{ErrorKind, Options, PutOptions, Scan, WarpEngine};

type Model = BTreeMap<Vec<u8>, Vec<u8>>;
type Pair = (Vec<u8>, Vec<u8>);

fn pairs(scan: impl Iterator<Item = warp_api::Result<(warp_api::Key, warp_api::Value)>>) -> Vec<Pair> {
    scan.map(|item| item.unwrap()).map(|(key, value)| (key.to_vec(), value.to_vec())).collect()
}

/// Takes from both ends by turns, as `front` says, until the scan is empty; what was taken, in order.
fn from_both_ends(mut scan: Scan, mut front: impl FnMut() -> bool) -> Vec<Pair> {
    let (mut low, mut high) = (Vec::new(), Vec::new());
    loop {
        let is_front = front();
        let item = if is_front { scan.next() } else { scan.next_back() };
        let Some(item) = item else { break };
        let (key, value) = item.unwrap();
        if is_front { &mut low } else { &mut high }.push((key.to_vec(), value.to_vec()));
    }
    assert!(scan.next().is_none() && scan.next_back().is_none());
    high.reverse();
    [low, high].concat()
}

#[derive(Clone, Debug)]
enum Call {
    /// Keys of one stem, which may be many, with a value that tells the calls apart.
    Put {
        stem: u8,
        from: u16,
        count: u16,
    },
    PutLong(u16),
    PutFor(u16, u64),
    Delete {
        stem: u8,
        from: u16,
        count: u16,
    },
    Clear,
    Checkpoint,
    Pass(u64),
    Reopen,
    Scan,
    Range {
        low: u16,
        high: u16,
        is_closed: bool,
    },
    Prefix(Vec<u8>),
    BothEnds(u64),
}

fn call() -> impl Strategy<Value = Call> {
    let number = || 0..600_u16;
    let many = || prop_oneof![3 => 1..8_u16, 1 => 100..400_u16];
    prop_oneof![
        6 => (0..2_u8, number(), many()).prop_map(|(stem, from, count)| Call::Put { stem, from, count }),
        1 => number().prop_map(Call::PutLong),
        2 => (number(), 1..900_u64).prop_map(|(key, millis)| Call::PutFor(key, millis)),
        4 => (0..2_u8, number(), many()).prop_map(|(stem, from, count)| Call::Delete { stem, from, count }),
        1 => Just(Call::Clear),
        3 => Just(Call::Checkpoint),
        3 => (1..600_u64).prop_map(Call::Pass),
        1 => Just(Call::Reopen),
        2 => Just(Call::Scan),
        3 => (number(), number(), any::<bool>())
            .prop_map(|(low, high, is_closed)| Call::Range { low, high, is_closed }),
        2 => prop_oneof![
            Just(vec![]), Just(b"a".to_vec()), Just(b"a:03".to_vec()), Just(b"\xFF".to_vec()), Just(b"b:1".to_vec()),
        ].prop_map(Call::Prefix),
        2 => any::<u64>().prop_map(Call::BothEnds),
    ]
}

fn key(stem: u8, number: u16) -> Vec<u8> {
    [&[[b'a', 0xFF][usize::from(stem)]], format!(":{number:04}").as_bytes()].concat()
}

fn check(calls: Vec<Call>, has_files: bool) {
    let machine = Machine::new(1);
    let open = || if has_files { machine.open(small()) } else { WarpEngine::in_memory() };
    let mut engine = open();
    let mut model = Model::new();
    let mut expiring: BTreeMap<Vec<u8>, u64> = BTreeMap::new();
    let mut now = 0;
    for (round, call) in calls.into_iter().enumerate() {
        match call {
            Call::Put { stem, from, count } => {
                for number in from..from + count {
                    let (key, value) = (key(stem, number), format!("{round}"));
                    engine.put(&key, &value).unwrap();
                    expiring.remove(&key);
                    model.insert(key, value.into_bytes());
                }
            }
            Call::PutLong(number) => {
                let (key, value) = (key(0, number), vec![7; 20_000]);
                engine.put(&key, &value).unwrap();
                expiring.remove(&key);
                model.insert(key, value);
            }
            // The clock of an engine without files is the machine's.
            Call::PutFor(..) | Call::Pass(_) if !has_files => {}
            Call::PutFor(number, millis) => {
                let key = key(1, number);
                engine
                    .put_with(&key, "soon gone", &PutOptions::new().ttl(Duration::from_millis(millis)))
                    .unwrap();
                model.insert(key.clone(), b"soon gone".to_vec());
                expiring.insert(key, now + millis);
            }
            Call::Delete { stem, from, count } => {
                for number in from..from + count {
                    engine.delete(key(stem, number)).unwrap();
                    expiring.remove(&key(stem, number));
                    model.remove(&key(stem, number));
                }
            }
            Call::Clear => {
                engine.clear().unwrap();
                model.clear();
                expiring.clear();
            }
            Call::Checkpoint if has_files => drop(engine.checkpoint().unwrap()),
            Call::Reopen if has_files => {
                drop(engine);
                engine = open();
            }
            Call::Checkpoint | Call::Reopen => {}
            Call::Pass(millis) => {
                let millis = millis.next_multiple_of(10);
                machine.pass(&engine, Duration::from_millis(millis));
                now += millis;
                expiring.retain(|key, deadline| {
                    if *deadline <= now {
                        model.remove(key);
                    }
                    *deadline > now
                });
            }
            Call::Scan => {
                let all: Vec<Pair> = model.clone().into_iter().collect();
                assert_eq!(pairs(engine.iter()), all);
                assert!(pairs(engine.iter().rev()).into_iter().eq(all.into_iter().rev()));
            }
            Call::Range { low, high, is_closed } => {
                let (low, high) = (key(0, low), key(1, high));
                let found = if is_closed {
                    engine.range(low.as_slice()..=high.as_slice())
                } else {
                    engine.range(low.as_slice()..high.as_slice())
                };
                let within = |key: &Vec<u8>| *key >= low && (*key < high || is_closed && *key == high);
                let expected: Vec<Pair> = model.clone().into_iter().filter(|(key, _)| within(key)).collect();
                assert_eq!(pairs(found), expected);
            }
            Call::Prefix(prefix) => {
                let expected: Vec<Pair> =
                    model.clone().into_iter().filter(|(key, _)| key.starts_with(&prefix)).collect();
                assert_eq!(pairs(engine.scan_prefix(&prefix)), expected);
            }
            Call::BothEnds(mut bits) => {
                let front = || {
                    bits = bits.rotate_left(1);
                    bits & 1 == 1
                };
                let all: Vec<Pair> = model.clone().into_iter().collect();
                let found = from_both_ends(engine.iter(), front);
                assert_eq!(found, all);
            }
        }
    }
    assert_eq!(pairs(engine.iter()), model.into_iter().collect::<Vec<Pair>>());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn scans_agree_with_a_map(calls in prop::collection::vec(call(), 1..40), has_files in any::<bool>()) {
        check(calls, has_files);
    }
}

#[test]
fn nothing_is_held_before_the_first_scan_and_little_after() {
    let engine = WarpEngine::in_memory();
    let key = |number: u32| format!("{:016}", u64::from(number) * 7_919 % 40_000);
    (0..40_000).for_each(|number| {
        engine.put(key(number), "value").unwrap();
    });
    assert_eq!(engine.cosmic_metrics().memory.order_bytes, 0);
    assert_eq!(&*engine.iter().next().unwrap().unwrap().0, key(0).as_bytes());
    let bytes = engine.cosmic_metrics().memory.order_bytes;
    assert!((40_000 * 8..40_000 * 16).contains(&bytes), "{bytes}");
}

#[test]
fn what_is_noted_stays_bounded_without_a_scan() {
    let engine = WarpEngine::in_memory();
    engine.put("always", "1").unwrap();
    assert_eq!(engine.iter().count(), 1);
    for number in 0..200_000_u32 {
        engine.put(number.to_string(), "2").unwrap();
        engine.delete(number.to_string()).unwrap();
    }
    let bytes = engine.cosmic_metrics().memory.order_bytes;
    assert!(bytes < 6 << 20, "{bytes}");
    assert_eq!(engine.iter().count(), 1);
}

#[test]
fn the_order_of_what_is_cleared_or_deleted_goes() {
    let machine = Machine::new(1);
    let engine = machine.open(Options::new());
    let order_bytes = || engine.cosmic_metrics().memory.order_bytes;
    let fill = || {
        (0..20_000_u32).for_each(|number| {
            engine.put(format!("{number:08}"), "x").unwrap();
        })
    };
    fill();
    assert_eq!(engine.iter().count(), 20_000);
    let full = order_bytes();
    engine.clear().unwrap();
    machine.pass(&engine, Duration::from_secs(1));
    assert!(order_bytes() < full / 2, "{} of {full} after a clear", order_bytes());
    fill();
    assert_eq!(engine.iter().count(), 20_000);
    let full = order_bytes();
    (0..20_000_u32).for_each(|number| {
        engine.delete(format!("{number:08}")).unwrap();
    });
    machine.pass(&engine, Duration::from_secs(1));
    assert!(order_bytes() < full * 2 / 3, "{} of {full} after deletions", order_bytes());
    assert_eq!(engine.iter().count(), 0);
}

/// Keys that are there throughout are seen exactly once, in order, whatever others write meanwhile.
#[test]
fn scans_while_others_write() {
    let scratch = tempfile::tempdir().unwrap();
    let engine = Options::new().open(scratch.path()).unwrap();
    let key = |number: u32| format!("{:08}", u64::from(number) * 104_729 % 100_000);
    for number in (0..10_000).step_by(2) {
        engine.put(key(number), "always").unwrap();
    }
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for writer in 0..2_u32 {
            let (engine, is_over) = (&engine, &is_over);
            scope.spawn(move || {
                for round in 0.. {
                    for number in (1 + writer * 2..10_000).step_by(4) {
                        engine.put(key(number), round.to_string()).unwrap();
                        if number % 3 == 0 {
                            engine.delete(key(number)).unwrap();
                        }
                        // What is always there changes its value, and with a checkpoint its place.
                        engine.put(key(number - 1), "always").unwrap();
                        if is_over.load(Ordering::Relaxed) {
                            return;
                        }
                    }
                    if writer == 0 {
                        engine.checkpoint().unwrap();
                    }
                }
            });
        }
        for round in 0..30 {
            let found = match round % 3 {
                0 => pairs(engine.iter()),
                1 => pairs(engine.iter().rev()).into_iter().rev().collect(),
                _ => {
                    let mut count = 0;
                    from_both_ends(engine.iter(), || {
                        count += 1;
                        count % 3 == 0
                    })
                }
            };
            assert!(found.is_sorted_by(|a, b| a.0 < b.0));
            let found: Model = found.into_iter().collect();
            for number in (0..10_000).step_by(2) {
                let value = found.get(key(number).as_bytes()).map(Vec::as_slice);
                assert_eq!(value, Some(&b"always"[..]), "{} in round {round}", key(number));
            }
        }
        is_over.store(true, Ordering::Relaxed);
    });
}

#[test]
fn a_scan_of_a_damaged_layer_says_so_once_and_ends() {
    let machine = Machine::new(1);
    let engine = machine.open(small());
    for number in 0..3_000_u32 {
        engine.put(format!("{number:06}"), vec![b'x'; 100]).unwrap();
    }
    engine.close().unwrap();
    let files = machine.disk.files();
    let layer = files.iter().find(|file| file.starts_with("layers/")).unwrap();
    // In the data, which the open does not read.
    machine.disk.flip_bit(layer, 800_000);
    let engine = machine.open(small());
    let mut scan = engine.iter();
    let error = scan.find_map(Result::err).unwrap();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(scan.next().is_none() && scan.next_back().is_none());
}

#[test]
fn a_scan_ends_when_the_engine_closes() {
    let machine = Machine::new(1);
    let engine = machine.open(small());
    (0..100_u32).for_each(|number| {
        engine.put(number.to_string(), "x").unwrap();
    });
    let (mut begun, mut fresh) = (engine.iter(), engine.iter());
    assert!(begun.next().unwrap().is_ok());
    engine.close().unwrap();
    for scan in [&mut begun, &mut fresh] {
        assert_eq!(scan.next_back().unwrap().unwrap_err().kind(), ErrorKind::Closed);
        assert!(scan.next().is_none());
    }
}
