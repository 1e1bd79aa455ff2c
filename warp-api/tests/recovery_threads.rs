//! The log's tail comes into memory on several threads, in any order, and what is there is what one thread would have
//! brought.

#![allow(
    clippy::cast_possible_truncation,
    clippy::unwrap_used,
    reason = "a test that cannot go on says so by a panic, and its numbers are small"
)]

mod common;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use common::{Machine, START_MILLIS, entries, small};
use warp_api::{Background, Environment, LogFormat, PutOptions, WarpEngine, WriteBatch};
use warp_io::{SimClock, Survival};

const KEYS: u64 = 40;
const WRITES: u64 = 3000;

/// A row of numbers that look random.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

type Entries = BTreeMap<Vec<u8>, Vec<u8>>;

/// Writes few keys many times, in every way; returns what is left.
fn write(engine: &WarpEngine, seed: u64) -> Entries {
    let mut numbers = Numbers(seed);
    let mut left = Entries::new();
    let space = engine.keyspace("beside").unwrap();
    for number in 0..WRITES {
        let key = format!("key {}", numbers.below(KEYS)).into_bytes();
        let value = format!("{number} {}", "x".repeat(numbers.below(300) as usize)).into_bytes();
        match numbers.below(400) {
            0 => {
                engine.clear().unwrap();
                left.clear();
            }
            1 => drop(space.clear().unwrap()),
            2..60 => {
                engine.delete(&key).unwrap();
                left.remove(&key);
            }
            60..90 => {
                // Past by the time that the database is opened again.
                let options = PutOptions::new().ttl(Duration::from_millis(1 + numbers.below(50)));
                engine.put_with(&key, &value, &options).unwrap();
                left.remove(&key);
            }
            90..120 => {
                let mut batch = WriteBatch::new();
                let other = format!("key {}", numbers.below(KEYS)).into_bytes();
                batch.put(&key, &value).delete(&other).put_in(&space, &key, &value);
                engine.write(&batch).unwrap();
                left.insert(key.clone(), value);
                left.remove(&other);
            }
            _ => {
                engine.put(&key, &value).unwrap();
                left.insert(key, value);
            }
        }
    }
    left
}

#[test]
fn any_number_of_threads_recovers_the_same() {
    for (seed, format) in [(1, LogFormat::Binary), (2, LogFormat::Json), (3, LogFormat::Binary)] {
        let machine = Machine::new(seed);
        let engine = machine.open(small().log_format(format));
        let left = write(&engine, seed);
        engine.sync().unwrap();
        let last = engine.last_seq();
        let beside = entries_of_space(&engine);
        let image = machine.disk.crash(Survival::Nothing);
        drop(engine);
        for threads in [0, 1, 2, 3, 8] {
            let environment = Environment {
                clock: Arc::new(SimClock::new(START_MILLIS + 1000)),
                seed: 7,
                background: Background::Threads,
                ..Environment::default()
            };
            let disk = image.crash(Survival::Everything);
            let engine = small().recovery_threads(threads).open_in(&disk.root(), environment).unwrap();
            assert_eq!(engine.recovery_report().last_seq, last);
            assert!(engine.recovery_report().replayed > WRITES);
            assert_eq!(entries(&engine), left, "{threads} threads, seed {seed}");
            assert_eq!(entries_of_space(&engine), beside);
            for key in left.keys() {
                assert_eq!(engine.get(key).unwrap().as_deref(), left.get(key).map(Vec::as_slice));
            }
        }
    }
}

fn entries_of_space(engine: &WarpEngine) -> Entries {
    let space = engine.keyspace("beside").unwrap();
    space.iter().map(|pair| pair.unwrap()).map(|(key, value)| (key.to_vec(), value.to_vec())).collect()
}
