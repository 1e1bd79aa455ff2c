//! Random operations agree with a `BTreeMap`, and what was changed is listed exactly.
//!
//! The model is a small engine around the table: a layer that checkpoints are written to, from which keys are
//! promoted and into which they are evicted. Whatever happens, table and layer together must hold the truth.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should say where")]

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use warp_core::{Entry, Former, Key, KeyRef, Prepared, SLOTS, Table, TableOptions, Value};

/// The numbers of keys: few, so that operations meet.
const KEYS: u8 = 12;

/// A keyspace and the bytes of a key.
type Name = (u32, Key);

#[derive(Debug, Clone)]
enum Op {
    Put { key: u8, len: usize, deadline: u64 },
    Delete { key: u8 },
    Batch { keys: Vec<u8> },
    Replay { key: u8, behind: u64 },
    Evict { keys: Vec<u8>, only_tombstones: bool },
    Promote { key: u8 },
    Checkpoint { fails: bool },
    Clear { keyspace: u32 },
    MoveSlot { key: u8, to: u16 },
    Expire { key: u8, now: u64 },
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let key = 0..KEYS;
    let some_keys = || prop::collection::vec(0..KEYS, 0..5);
    let op = prop_oneof![
        6 => (key.clone(), prop_oneof![0..80_usize, 200..600_usize], 0..3_u64)
            .prop_map(|(key, len, deadline)| Op::Put { key, len, deadline }),
        3 => key.clone().prop_map(|key| Op::Delete { key }),
        2 => some_keys().prop_map(|keys| Op::Batch { keys }),
        2 => (key.clone(), 0..4_u64).prop_map(|(key, behind)| Op::Replay { key, behind }),
        3 => (some_keys(), any::<bool>())
            .prop_map(|(keys, only_tombstones)| Op::Evict { keys, only_tombstones }),
        3 => key.clone().prop_map(|key| Op::Promote { key }),
        2 => any::<bool>().prop_map(|fails| Op::Checkpoint { fails }),
        1 => (0..2_u32).prop_map(|keyspace| Op::Clear { keyspace }),
        2 => (key.clone(), 0..SHARDS).prop_map(|(key, to)| Op::MoveSlot { key, to }),
        3 => (key, 0..3_u64).prop_map(|(key, now)| Op::Expire { key, now }),
    ];
    prop::collection::vec(op, 1..60)
}

const SHARDS: u16 = 5;

struct Engine {
    table: Table,
    /// What the last published checkpoint has.
    layer: BTreeMap<Name, Entry>,
    /// What a reader must find.
    truth: BTreeMap<Name, Entry>,
    next_seq: u64,
    /// Everything below it is clean.
    published: u64,
    /// Whether keys were cleared since, which are still listed.
    cleared: bool,
}

/// The hash of a key and its name. Keys 0 to 3 collide in their whole hash, 4 to 7 in their slot, and pairs of
/// keys differ in the keyspace only.
fn name(key: u8) -> (u64, Name) {
    let hash = match key {
        0..4 => 7 << 52 | 99,
        4..8 => 7 << 52 | u64::from(key) << 30,
        _ => u64::from(key).wrapping_mul(0x9E37_79B9_7F4A_7C15),
    };
    let bytes = vec![key / 2; usize::from(key / 2) * 10];
    (hash, (u32::from(key % 2), Key::from(bytes)))
}

/// The hash of a key made by [`name`], for the table.
fn hash(_seed: u64, keyspace: u32, key: &[u8]) -> u64 {
    let number = 2 * (key.len() / 10) + keyspace as usize;
    name(u8::try_from(number).unwrap()).0
}

fn table(tracked: bool) -> Table {
    Table::with_options(TableOptions { hash, tracked, ..TableOptions::new(SHARDS, 0) })
}

/// What the table says of an entry that was replaced or removed.
fn former_of(entry: &Entry) -> (u64, u64, bool) {
    (entry.seq, entry.deadline, entry.is_tombstone())
}

fn parts(former: Former) -> (u64, u64, bool) {
    (former.seq, former.deadline, former.is_tombstone)
}

fn key_ref(hash: u64, name: &Name) -> KeyRef<'_> {
    KeyRef { hash, keyspace: name.0, bytes: &name.1 }
}

fn hash_of(name: &Name) -> u64 {
    hash(0, name.0, &name.1)
}

impl Engine {
    fn new() -> Engine {
        Engine {
            table: table(true),
            layer: BTreeMap::new(),
            truth: BTreeMap::new(),
            next_seq: 1,
            published: 0,
            cleared: false,
        }
    }

    /// A database that was opened again: the layer is there, the table empty and its lists never closed.
    fn reopened(self) -> Engine {
        Engine { table: table(true), truth: self.layer.clone(), ..self }
    }

    fn sequence(&mut self) -> u64 {
        self.next_seq += 1;
        self.next_seq - 1
    }

    fn apply(&mut self, op: &Op) {
        match op {
            Op::Put { key, len, deadline } => {
                let seq = self.sequence();
                self.put(&[*key], seq, Some(Value::from(vec![*key; *len])), *deadline);
            }
            Op::Delete { key } => {
                let seq = self.sequence();
                self.put(&[*key], seq, None, 0);
            }
            Op::Batch { keys } => {
                let seq = self.sequence();
                self.put(keys, seq, Some(Value::from(seq.to_le_bytes().to_vec())), 0);
            }
            Op::Replay { key, behind } => self.replay(*key, *behind),
            Op::Evict { keys, only_tombstones } => self.evict(keys, *only_tombstones),
            Op::Promote { key } => self.promote(*key),
            Op::Checkpoint { fails } => self.checkpoint(*fails),
            Op::Clear { keyspace } => self.clear(*keyspace),
            Op::MoveSlot { key, to } => self.move_slot(*key, *to),
            Op::Expire { key, now } => self.expire(*key, *now),
        }
    }

    fn put(&mut self, keys: &[u8], seq: u64, value: Option<Value>, deadline: u64) {
        let names: Vec<_> = keys.iter().map(|key| name(*key)).collect();
        let hashes: Vec<u64> = names.iter().map(|(hash, _)| *hash).collect();
        let prepared: Vec<_> = names
            .iter()
            .map(|(hash, name)| match &value {
                Some(value) => self.table.prepare(key_ref(*hash, name), value, deadline).unwrap(),
                None => self.table.prepare_tombstone(key_ref(*hash, name)).unwrap(),
            })
            .collect();
        let mut guard = self.table.lock_many(&hashes);
        for ((hash, name), prepared) in names.iter().zip(prepared) {
            let in_table = guard.get(key_ref(*hash, name));
            let former = guard.put(prepared, seq);
            assert_eq!(former.map(parts), in_table.as_ref().map(former_of));
            self.truth.insert(name.clone(), Entry { value: value.clone(), seq, deadline });
        }
    }

    /// Replays a record that is new (`behind` 0), or that is so many writes old.
    fn replay(&mut self, key: u8, behind: u64) {
        let (hash, name) = name(key);
        let seq = if behind == 0 { self.sequence() } else { self.next_seq.saturating_sub(behind) };
        // Records below the start of the replay are not read, and a sequence is that of one write.
        let of_another = |(other, entry): (&Name, &Entry)| entry.seq == seq && *other != name;
        if seq == 0 || seq < self.published || self.truth.iter().any(of_another) {
            return;
        }
        let again = self.truth.get(&name).filter(|present| present.seq == seq);
        let new = Entry { value: Some(Value::from("replayed")), seq, deadline: 0 };
        let entry = again.cloned().unwrap_or(new);
        let stands = self.truth.get(&name).is_none_or(|present| present.seq <= seq);
        let prepared = self.prepare(key_ref(hash, &name), &entry);
        let applied = self.table.lock(hash).replay(prepared, seq);
        assert_eq!(applied, stands);
        if stands {
            self.truth.insert(name, entry);
        }
    }

    fn prepare(&self, key: KeyRef<'_>, entry: &Entry) -> Prepared<'_> {
        match &entry.value {
            Some(value) => self.table.prepare(key, value, entry.deadline).unwrap(),
            None => self.table.prepare_tombstone(key).unwrap(),
        }
    }

    fn evict(&mut self, keys: &[u8], only_tombstones: bool) {
        let hashes: Vec<u64> = keys.iter().map(|key| name(*key).0).collect();
        let before = self.table.len();
        let count = self
            .table
            .remove_clean(&hashes, self.published, |_, entry| !only_tombstones || entry.is_tombstone());
        assert_eq!(before - self.table.len(), count);
        for (name, entry) in &self.truth {
            let hash = hash_of(name);
            let goes = hashes.contains(&hash)
                && entry.seq < self.published
                && (!only_tombstones || entry.is_tombstone());
            if goes {
                assert_eq!(self.table.get(key_ref(hash, name)), None);
            } else if entry.seq >= self.published {
                assert_eq!(self.table.get(key_ref(hash, name)).as_ref(), Some(entry));
            }
        }
    }

    fn promote(&mut self, key: u8) {
        let (hash, name) = name(key);
        if let Some(entry) = self.layer.get(&name) {
            let absent = self.table.get(key_ref(hash, &name)).is_none();
            let prepared = self.prepare(key_ref(hash, &name), entry);
            let inserted = self.table.lock(hash).insert_clean(prepared, entry.seq);
            assert_eq!(inserted, absent);
        }
    }

    fn checkpoint(&mut self, fails: bool) {
        let start = self.next_seq;
        let hashes = self.table.close_lists(|| start);
        // Exactly the keys that were written since the last published checkpoint, clean ones not.
        let dirty: BTreeSet<u64> = self
            .truth
            .iter()
            .filter(|(_, entry)| entry.seq >= self.published)
            .map(|(name, _)| hash_of(name))
            .collect();
        let listed: BTreeSet<u64> = hashes.iter().copied().collect();
        assert!(hashes.is_sorted() && listed.len() == hashes.len());
        assert!(dirty.is_subset(&listed), "{dirty:?} {listed:?}");
        assert!(self.cleared || dirty == listed, "{dirty:?} {listed:?}");
        if fails {
            self.table.reopen(hashes);
            return;
        }
        for hash in hashes {
            self.table.entries(hash, |entry| {
                self.layer.insert((entry.keyspace(), Key::from(entry.key())), entry.to_entry());
            });
        }
        self.published = start;
        self.cleared = false;
        assert_eq!(self.layer, self.truth);
    }

    fn clear(&mut self, keyspace: u32) {
        let floor = self.sequence();
        let in_table = self.entries().into_iter().filter(|(name, _)| name.0 == keyspace).count();
        assert_eq!(self.table.remove_below(keyspace, floor), in_table);
        self.cleared = true;
        self.truth.retain(|name, _| name.0 != keyspace);
        self.layer.retain(|name, _| name.0 != keyspace);
    }

    fn move_slot(&self, key: u8, to: u16) {
        let hash = name(key).0;
        let from = self.table.shard_of(hash);
        assert_eq!(self.table.move_slot(warp_core::slot_of(hash), to), from);
        assert_eq!(self.table.shard_of(hash), to);
    }

    /// A clean entry goes, since the layer has it with its deadline; of any other a stub stays.
    fn expire(&mut self, key: u8, now: u64) {
        let (hash, name) = name(key);
        let in_table = self.table.get(key_ref(hash, &name));
        let keep_stub = in_table.as_ref().is_some_and(|entry| entry.seq >= self.published);
        let writes = self.table.shard_writes();
        let expired = self.table.lock(hash).expire(key_ref(hash, &name), now, keep_stub);
        assert_eq!(self.table.shard_writes(), writes, "it is no write");
        let due =
            in_table.filter(|entry| entry.value.is_some() && entry.deadline != 0 && entry.deadline <= now);
        assert_eq!(expired, due.is_some());
        if let Some(entry) = due.filter(|_| keep_stub) {
            self.truth.insert(name, Entry::tombstone(entry.seq));
        }
    }

    fn entries(&self) -> BTreeMap<Name, Entry> {
        let mut entries = BTreeMap::new();
        self.table.for_each(|entry| {
            let name = (entry.keyspace(), Key::from(entry.key()));
            assert_eq!(entries.insert(name, entry.to_entry()), None);
        });
        entries
    }

    fn check(&self) {
        self.table.validate().unwrap();
        let entries = self.entries();
        let names: Vec<_> = (0..KEYS).map(name).collect();
        for (hash, name) in &names {
            let found = self.table.get(key_ref(*hash, name));
            assert_eq!(found.as_ref(), entries.get(name));
            assert_eq!(found.as_ref().or(self.layer.get(name)), self.truth.get(name), "{name:?}");
        }
        let keys: Vec<_> = names.iter().map(|(hash, name)| key_ref(*hash, name)).collect();
        let mut called = vec![0; keys.len()];
        self.table.multi_get_with(&keys, |place, entry| {
            called[place] += 1;
            assert_eq!(entry.map(|entry| entry.to_entry()).as_ref(), entries.get(&names[place].1));
        });
        assert_eq!(called, vec![1; keys.len()]);
        self.check_counters(&entries);
    }

    fn check_counters(&self, entries: &BTreeMap<Name, Entry>) {
        let values = || entries.values().filter_map(|entry| entry.value.as_ref());
        let memory = self.table.memory();
        assert_eq!(self.table.len(), entries.len());
        assert_eq!(memory.entries, entries.len() as u64);
        assert_eq!(memory.tombstones, (entries.len() - values().count()) as u64);
        assert_eq!(memory.key_bytes, entries.keys().map(|(_, key)| key.len() as u64).sum::<u64>());
        assert_eq!(memory.value_bytes, values().map(|value| value.len() as u64).sum::<u64>());
        let in_slots: usize = (0..SLOTS).map(|slot| self.table.slot_entries(slot).len()).sum();
        assert_eq!(in_slots, entries.len());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn table_and_layer_together_hold_the_truth(first in ops(), second in ops()) {
        let mut engine = Engine::new();
        for op in &first {
            engine.apply(op);
            engine.check();
        }
        engine.checkpoint(false);
        let mut engine = engine.reopened();
        for op in &second {
            engine.apply(op);
            engine.check();
        }
        engine.checkpoint(false);
    }

    #[test]
    fn an_untracked_table_is_a_map(ops in prop::collection::vec((0..KEYS, any::<bool>()), 1..200)) {
        let table = table(false);
        let mut model = BTreeMap::new();
        for (seq, (key, put)) in (1..).zip(ops) {
            let (hash, name) = name(key);
            let entry = Entry { value: Some(Value::from(&[key])), seq, deadline: 0 };
            let former = if put {
                table.put(key_ref(hash, &name), &[key], seq, 0).unwrap()
            } else {
                table.lock(hash).remove(key_ref(hash, &name))
            };
            let expected = if put { model.insert(name, entry) } else { model.remove(&name) };
            prop_assert_eq!(former.map(parts), expected.as_ref().map(former_of));
            prop_assert_eq!(table.len(), model.len());
        }
        table.validate().unwrap();
        prop_assert!(table.close_lists(|| u64::MAX).is_empty());
    }
}
