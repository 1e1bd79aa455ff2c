//! Writers, readers, a checkpointer that evicts, and a thread that moves slots, all at once.
//!
//! Every key is a counter, whose value also says what the rest of its bytes must be. Writers add one under a guard,
//! and bring the counter in first if it was evicted.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should say where")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use warp_core::{Entry, Guard, KeyRef, Table, TableOptions, Value, slot_of};

/// Few enough that threads meet at a key all the time.
const KEYS: u64 = 48;
const SHARDS: u16 = 4;
const WRITERS: u64 = 2;
const WRITES: u64 = 60_000;
/// How often each kind of lock is taken on a slot that moves.
const LOCKS: usize = 300_000;
/// Each so manieth checkpoint fails.
const FAILS_EVERY: u64 = 3;

struct Engine {
    table: Table,
    next_seq: AtomicU64,
    /// What the published checkpoints have, by hash.
    layer: Mutex<BTreeMap<u64, Entry>>,
    done: AtomicBool,
}

/// A published checkpoint.
struct Checkpoint {
    /// The next sequence before the lists were closed, and after.
    start: u64,
    end: u64,
    listed: BTreeSet<u64>,
}

/// The bytes of all keys, of which the first [`KEYS`] are used.
static NAMES: [[u8; 1]; 256] = {
    let mut names = [[0]; 256];
    let mut name = 0_u8;
    while name < u8::MAX {
        names[name as usize] = [name];
        name += 1;
    }
    names
};

/// Three keys share each slot.
fn hash(_seed: u64, _keyspace: u32, key: &[u8]) -> u64 {
    let number = u64::from(key[0]);
    (number / 3) << 55 | (number % 3) << 40
}

fn key(number: u64) -> KeyRef<'static> {
    let bytes = &NAMES[usize::try_from(number).unwrap()];
    KeyRef { hash: hash(0, 1, bytes), keyspace: 1, bytes }
}

fn table(shards: u16) -> Table {
    Table::with_options(TableOptions { hash, ..TableOptions::new(shards, 0) })
}

/// A small generator (xorshift64*), so that a run needs no crate for it.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % bound
    }
}

/// The value of a counter: its count, and up to 699 bytes that follow from it, so that some are shared.
fn encode(count: u64) -> Value {
    let mut bytes = count.to_le_bytes().to_vec();
    bytes.resize(8 + usize::try_from(count % 700).unwrap(), count.to_le_bytes()[0]);
    Value::from(bytes)
}

fn decode(entry: &Entry) -> u64 {
    let value = entry.value.as_ref().unwrap();
    let count = u64::from_le_bytes(value[..8].try_into().unwrap());
    assert_eq!(*value, encode(count), "a value is read as it was written");
    count
}

impl Engine {
    /// Memory first, then the layer: what a checkpoint writes is there before it leaves memory.
    fn get(&self, key: KeyRef<'_>) -> Option<Entry> {
        self.table.get(key).or_else(|| self.layer.lock().unwrap().get(&key.hash).cloned())
    }

    fn increment(&self, guard: &mut Guard<'_>, key: KeyRef<'_>) -> u64 {
        if guard.get(key).is_none() {
            let in_layer = self.layer.lock().unwrap().get(&key.hash).cloned();
            if let Some(entry) = in_layer {
                let value = entry.value.as_ref().unwrap();
                let prepared = self.table.prepare(key, value, entry.deadline).unwrap();
                assert!(guard.insert_clean(prepared, entry.seq));
            }
        }
        let count = guard.get(key).map_or(0, |entry| decode(&entry));
        let prepared = self.table.prepare(key, &encode(count + 1), 0).unwrap();
        let seq = self.next_seq.fetch_add(1, Ordering::Relaxed);
        guard.put(prepared, seq);
        seq
    }

    /// Returns the writes that it made: hash and sequence.
    fn write(&self, seed: u64) -> Vec<(u64, u64)> {
        let mut random = Random(seed);
        let mut writes = Vec::new();
        for _ in 0..WRITES {
            let (a, b) = (key(random.below(KEYS)), key(random.below(KEYS)));
            match random.below(16) {
                0 => {
                    let mut guard = self.table.lock_many(&[a.hash, b.hash]);
                    writes.push((a.hash, self.increment(&mut guard, a)));
                    writes.push((b.hash, self.increment(&mut guard, b)));
                }
                1 => {
                    if let Some(mut guard) = self.table.try_lock(a.hash) {
                        writes.push((a.hash, self.increment(&mut guard, a)));
                    }
                }
                2 if random.below(64) == 0 => {
                    let mut guard = self.table.lock_all();
                    writes.push((a.hash, self.increment(&mut guard, a)));
                }
                _ => {
                    let mut guard = self.table.lock(a.hash);
                    writes.push((a.hash, self.increment(&mut guard, a)));
                }
            }
        }
        writes
    }

    /// Reads until the writers are done; returns the number of reads.
    fn read(&self, seed: u64) -> u64 {
        let mut random = Random(seed);
        let mut last = BTreeMap::new();
        let mut reads = 0;
        while !self.done.load(Ordering::Relaxed) {
            let key = key(random.below(KEYS));
            let now = self.get(key).map(|entry| (entry.seq, decode(&entry)));
            let before = last.insert(key.hash, now).flatten();
            assert!(now >= before, "{key:?} went from {before:?} back to {now:?}");
            reads += 1;
        }
        reads
    }

    fn move_slots(&self, seed: u64) {
        let mut random = Random(seed);
        while !self.done.load(Ordering::Relaxed) {
            let to = u16::try_from(random.below(u64::from(SHARDS))).unwrap();
            self.table.move_slot(slot_of(key(random.below(KEYS)).hash), to);
        }
    }

    fn checkpoint(&self, fails: bool) -> Option<Checkpoint> {
        let start = self.next_seq.load(Ordering::Relaxed);
        let hashes = self.table.close_lists(|| self.next_seq.load(Ordering::Relaxed));
        let end = self.next_seq.load(Ordering::Relaxed);
        if fails {
            self.table.reopen(hashes);
            return None;
        }
        for hash in &hashes {
            self.table.entries(*hash, |entry| {
                self.layer.lock().unwrap().insert(*hash, entry.to_entry());
            });
        }
        Some(Checkpoint { start, end, listed: hashes.into_iter().collect() })
    }

    fn checkpoints(&self, seed: u64) -> Vec<Checkpoint> {
        let mut random = Random(seed);
        let mut taken = Vec::new();
        let mut round = 0;
        while !self.done.load(Ordering::Relaxed) {
            round += 1;
            if let Some(checkpoint) = self.checkpoint(round % FAILS_EVERY == 0) {
                let evicted: Vec<u64> = (0..KEYS / 4).map(|_| key(random.below(KEYS)).hash).collect();
                self.table.remove_clean(&evicted, checkpoint.start, |_, _| true);
                taken.push(checkpoint);
            }
        }
        taken
    }
}

/// Each checkpoint lists the keys with a write since the one before, and no other. A write that was made while
/// lists were being closed may be on either of two.
fn check_lists(checkpoints: &[Checkpoint], writes: &[(u64, u64)]) {
    let mut before = (0, 0);
    for checkpoint in checkpoints {
        let (start, end) = before;
        let written = |from: u64, to: u64| -> BTreeSet<u64> {
            writes.iter().filter(|(_, seq)| (from..to).contains(seq)).map(|(hash, _)| *hash).collect()
        };
        let (must, may) = (written(end, checkpoint.start), written(start, checkpoint.end));
        assert!(must.is_subset(&checkpoint.listed), "a write before {} is on no list", checkpoint.start);
        assert!(checkpoint.listed.is_subset(&may), "a key that was not written is listed");
        before = (checkpoint.start, checkpoint.end);
    }
}

#[test]
fn nothing_is_lost_between_writers_readers_moves_and_checkpoints() {
    let engine = Engine {
        table: table(SHARDS),
        next_seq: AtomicU64::new(1),
        layer: Mutex::default(),
        done: AtomicBool::new(false),
    };
    let engine = &engine;
    let (mut writes, mut checkpoints, reads) = thread::scope(|scope| {
        let readers = [11, 12].map(|seed| scope.spawn(move || engine.read(seed)));
        let checkpointer = scope.spawn(|| engine.checkpoints(21));
        scope.spawn(|| engine.move_slots(31));
        let writers: Vec<_> =
            (0..WRITERS).map(|writer| scope.spawn(move || engine.write(41 + writer))).collect();
        let writes: Vec<_> = writers.into_iter().map(thread::ScopedJoinHandle::join).collect();
        engine.done.store(true, Ordering::Relaxed);
        let reads = readers.map(|reader| reader.join().unwrap());
        let writes: Vec<_> = writes.into_iter().flat_map(Result::unwrap).collect();
        (writes, checkpointer.join().unwrap(), reads)
    });
    checkpoints.push(engine.checkpoint(false).unwrap());
    engine.table.validate().unwrap();

    writes.sort_unstable_by_key(|(_, seq)| *seq);
    check_lists(&checkpoints, &writes);
    for number in 0..KEYS {
        let key = key(number);
        let of_key: Vec<u64> =
            writes.iter().filter(|(hash, _)| *hash == key.hash).map(|(_, seq)| *seq).collect();
        let entry = engine.get(key).unwrap();
        assert_eq!(decode(&entry), of_key.len() as u64, "an addition was lost");
        assert_eq!(Some(&entry.seq), of_key.last());
        assert_eq!(engine.layer.lock().unwrap().get(&key.hash), Some(&entry), "a version was never listed");
    }
    // The run means nothing unless the threads did meet.
    assert!(checkpoints.len() >= 10, "{} checkpoints", checkpoints.len());
    assert!(reads.iter().all(|count| *count >= 1000), "{reads:?} reads");
}

/// A slot goes to and fro between two shards as fast as it can, while every kind of lock is taken on it.
#[test]
fn a_lock_is_that_of_the_shard_that_the_slot_names_once_it_is_held() {
    let table = table(2);
    let done = AtomicBool::new(false);
    let (moved, other) = (key(0).hash, key(3).hash);
    let locked = thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                table.move_slot(slot_of(moved), 1);
                table.move_slot(slot_of(moved), 0);
            }
        });
        let held = (0..LOCKS).map(|_| {
            let tried = table.try_lock(moved).is_none_or(|guard| guard.holds(moved));
            tried && table.lock(moved).holds(moved) && table.lock_many(&[other, moved]).holds(moved)
        });
        let locked = held.take_while(|held| *held).count();
        done.store(true, Ordering::Relaxed);
        locked
    });
    assert_eq!(locked, LOCKS, "a lock was had for a shard that the slot had left");
}
