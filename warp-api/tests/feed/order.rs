//! Four writers at once, every kind of change, restarts in between: the feed is what the writers were told, in order.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use warp_api::{ChangeOp, Durability, Keyspace, PutOptions, Seq, WarpEngine, WriteBatch};

use crate::{Told, clear, delete, options, put, told};

const THREADS: u64 = 4;
const LIVES: u64 = 5;
/// Writes of each thread in each life.
const WRITES: u64 = 1_500;
const NAMES: [&str; 3] = ["default", "one", "two"];
/// A deadline that comes while the test runs: the feed may show either what was put, or that it has expired.
const SHORT: Duration = Duration::from_millis(5);

struct Writer<'a> {
    engine: &'a WarpEngine,
    spaces: Vec<Keyspace>,
    id: u64,
    life: u64,
    told: Vec<Told>,
}

impl Writer<'_> {
    fn run(mut self) -> Vec<Told> {
        for number in 0..WRITES {
            self.write(number);
            if number.is_multiple_of(64) {
                // So that frames are small and many.
                std::thread::sleep(Duration::from_micros(200));
            }
        }
        self.told
    }

    fn write(&mut self, number: u64) {
        let index = (number / 3 % 3) as usize;
        let (name, space) = (NAMES[index], self.spaces[index].clone());
        let durability = [Durability::Interval, Durability::Os, Durability::Interval][(number % 3) as usize];
        let space =
            space.with_durability(if number.is_multiple_of(100) { Durability::Sync } else { durability });
        let key = format!("{}/{}", self.id, number % 200);
        let value = format!("{}/{number}/{}", self.life, "v".repeat((number % 90) as usize));
        match number % 20 {
            0..10 => {
                let seq = space.put(&key, &value).unwrap();
                self.told.push(put(seq.0, name, &key, &value));
            }
            10..13 => {
                if let Some(seq) = space.cosmic_delete(&key).unwrap().seq {
                    self.told.push(delete(seq.0, name, &key));
                }
            }
            13 if number % 400 == 13 => self.told.push(clear(space.clear().unwrap().0, name)),
            14 => {
                let ttl = if number % 40 == 14 { SHORT } else { Duration::from_secs(1_000) };
                let seq = space.put_with(&key, &value, &PutOptions::new().ttl(ttl)).unwrap();
                self.told.push(put(seq.0, name, &key, &value));
            }
            _ => self.batch(number),
        }
    }

    /// Across all keyspaces, in an order of its own.
    fn batch(&mut self, number: u64) {
        let mut batch = WriteBatch::new();
        let mut parts = Vec::new();
        for part in 0..2 + number % 4 {
            let index = ((number + part) % 3) as usize;
            let key = format!("{}/batch/{part}", self.id);
            if part == 1 {
                batch.delete_in(&self.spaces[index], &key);
                parts.push(delete(0, NAMES[index], &key));
            } else {
                let value = format!("{}/{number}", self.life);
                batch.put_in(&self.spaces[index], &key, &value);
                parts.push(put(0, NAMES[index], &key, &value));
            }
        }
        let seq = self.engine.write(&batch).unwrap().0;
        self.told.extend(parts.into_iter().map(|(_, keyspace, key, op)| (seq, keyspace, key, op)));
    }
}

/// Whether a value, which has the number of its write in it, was put with a short deadline.
fn has_short_deadline(value: &[u8]) -> bool {
    let text = std::str::from_utf8(value).unwrap();
    let number: u64 = text.split('/').nth(1).unwrap().parse().unwrap();
    number % 40 == 14
}

/// Whether the feed shows what a writer was told; a value with a short deadline may have expired.
fn agrees(shown: &Told, told: &Told) -> bool {
    let is_short = match &told.3 {
        ChangeOp::Put(value) => has_short_deadline(value),
        _ => false,
    };
    let same = (shown.0, &shown.1, &shown.2) == (told.0, &told.1, &told.2);
    same && (shown.3 == told.3 || (is_short && shown.3 == ChangeOp::Expired))
}

#[track_caller]
fn assert_agree(shown: &[Told], told: &[Told]) {
    let differs = shown.iter().zip(told).position(|(shown, told)| !agrees(shown, told));
    if let Some(place) = differs {
        panic!("at {place}: {:?} instead of {:?}", shown[place], told[place]);
    }
    assert_eq!(shown.len(), told.len());
}

#[test]
fn the_feed_is_what_the_writers_were_told() {
    let dir = tempfile::tempdir().unwrap();
    let options = || options().checkpoints_kept(2).flush_interval(Duration::from_millis(10));
    let (mut shown, mut all): (Vec<Told>, Vec<Told>) = (Vec::new(), Vec::new());
    let mut removed = 0;
    for life in 0..LIVES {
        let engine = options().open(dir.path()).unwrap();
        let spaces: Vec<Keyspace> = NAMES.iter().map(|name| engine.keyspace(name).unwrap()).collect();
        // Behind the last change that was dealt with before the restart.
        let since = shown.last().map_or(0, |last| last.0);
        let mut watch = engine.changes_since(Seq(since), "").unwrap();
        let (seen, done) = (AtomicU64::new(since), AtomicBool::new(false));
        let last_seq = AtomicU64::new(u64::MAX);
        let (engine, seen, done, last_seq) = (&engine, &seen, &done, &last_seq);
        std::thread::scope(|scope| {
            let writers: Vec<_> = (0..THREADS)
                .map(|id| {
                    let writer = Writer { engine, spaces: spaces.clone(), id, life, told: Vec::new() };
                    scope.spawn(|| writer.run())
                })
                .collect();
            let reader = scope.spawn(move || {
                let mut shown = Vec::new();
                while seen.load(Ordering::Acquire) < last_seq.load(Ordering::Acquire) {
                    if let Some(change) = watch.next_timeout(Duration::from_millis(20)).unwrap() {
                        seen.store(change.seq.0, Ordering::Release);
                        shown.push(told(change));
                    }
                }
                shown.extend(crate::drain(&mut watch).unwrap());
                shown
            });
            // Each checkpoint removes what the reader is past, and no more.
            scope.spawn(move || {
                while !done.load(Ordering::Acquire) {
                    let before = engine.durable_seq().0;
                    while seen.load(Ordering::Acquire) < before && !done.load(Ordering::Acquire) {
                        std::thread::sleep(Duration::from_millis(1));
                    }
                    engine.checkpoint().unwrap();
                }
            });
            let mut life_told: Vec<Told> =
                writers.into_iter().flat_map(|writer| writer.join().unwrap()).collect();
            // Stable: the parts of a batch stay in their order.
            life_told.sort_by_key(|told| told.0);
            done.store(true, Ordering::Release);
            last_seq.store(life_told.last().unwrap().0, Ordering::Release);
            all.extend(life_told);
            shown.extend(reader.join().unwrap());
        });
        removed += engine.cosmic_metrics().checkpoints.unwrap().removed_files;
        assert!(engine.cosmic_metrics().log.unwrap().rotations > 2);
        drop(spaces);
        if life % 2 == 0 {
            engine.clone().close().unwrap();
        }
    }
    assert!(removed > 20, "{removed} files were removed");
    assert_agree(&shown, &all);
}
