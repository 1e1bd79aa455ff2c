//! A small engine around the table: a layer that checkpoints are written to, from which keys are promoted and into
//! which they are evicted. Whatever happens, table and layer together must hold the truth, and what was changed is listed
//! exactly.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use proptest::prelude::*;
use warp_core::{
    Entry, Former, Guard, Key, KeyRef, Leaving, NewValue, Prepared, Replayed, SLOTS, Table, Value, slot_of,
};

use super::{
    CROWD, KEYS, Name, SHARDS, config, crowd_name, former_of, found, hash_of, key_ref, len, name, packed,
    parts, plain, some_keys, table,
};

/// Keys that come and go at once, so many that their memory is worth emptying when one in so many is left.
const CROWD_KEYS: u64 = 800;
const CROWD_STAYS_EVERY: u64 = 8;
/// The longest value that is in its entry, or nearly so.
const CROWD_VALUE_BYTES: usize = 500;
/// Milliseconds that are waited for other tests, whose readers keep memory from being freed.
const TRIES: usize = 10_000;

#[derive(Debug, Clone)]
enum Op {
    Put { key: u8, len: usize, deadline: u64 },
    Delete { key: u8 },
    Batch { keys: Vec<u8> },
    Replay { key: u8, behind: u64 },
    Evict { keys: Vec<u8>, only_tombstones: bool },
    Leave { keys: Vec<u8> },
    Promote { key: u8 },
    Checkpoint { end: End },
    Clear { keyspace: u32 },
    MoveSlot { key: u8, to: u16 },
    Expire { key: u8, now: u64 },
    Reform { key: u8, packs: bool, is_stale: bool },
    GiveUp { key: u8, len: usize },
    Touch { key: u8, times: u8 },
    Tick { times: u8 },
    NoteAdded { on: bool },
    TakeAdded,
    Tidy,
    Crowd,
}

/// How a checkpoint ends.
#[derive(Debug, Clone, Copy)]
enum End {
    Published,
    /// It fails, and gives its list back.
    Failed,
    /// It fails, and its list is lost.
    FailedWithoutList,
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let key = || 0..KEYS;
    let end =
        prop_oneof![2 => Just(End::Published), 1 => Just(End::Failed), 1 => Just(End::FailedWithoutList)];
    let op = prop_oneof![
        12 => (key(), len(), 0..3_u64).prop_map(|(key, len, deadline)| Op::Put { key, len, deadline }),
        6 => key().prop_map(|key| Op::Delete { key }),
        4 => some_keys().prop_map(|keys| Op::Batch { keys }),
        4 => (key(), 0..4_u64).prop_map(|(key, behind)| Op::Replay { key, behind }),
        4 => (some_keys(), any::<bool>())
            .prop_map(|(keys, only_tombstones)| Op::Evict { keys, only_tombstones }),
        4 => some_keys().prop_map(|keys| Op::Leave { keys }),
        6 => key().prop_map(|key| Op::Promote { key }),
        4 => end.prop_map(|end| Op::Checkpoint { end }),
        2 => (0..2_u32).prop_map(|keyspace| Op::Clear { keyspace }),
        4 => (key(), 0..SHARDS).prop_map(|(key, to)| Op::MoveSlot { key, to }),
        6 => (key(), 0..3_u64).prop_map(|(key, now)| Op::Expire { key, now }),
        6 => (key(), any::<bool>(), any::<bool>())
            .prop_map(|(key, packs, is_stale)| Op::Reform { key, packs, is_stale }),
        2 => (key(), len()).prop_map(|(key, len)| Op::GiveUp { key, len }),
        4 => (key(), 0..10_u8).prop_map(|(key, times)| Op::Touch { key, times }),
        2 => (1..40_u8).prop_map(|times| Op::Tick { times }),
        2 => any::<bool>().prop_map(|on| Op::NoteAdded { on }),
        2 => Just(Op::TakeAdded),
        2 => Just(Op::Tidy),
        1 => Just(Op::Crowd),
    ];
    prop::collection::vec(op, 1..60)
}

struct Engine {
    table: Table,
    /// What the last published checkpoint has.
    layer: BTreeMap<Name, Entry>,
    /// What a reader must find.
    truth: BTreeMap<Name, Entry>,
    next_seq: u64,
    /// Everything below it is clean.
    published: u64,
    /// Whether keys that are listed were cleared since.
    cleared: bool,
    /// Whether new keys are noted, and the hashes of those that were.
    notes: bool,
    noted: BTreeSet<u64>,
}

fn prepare<'t>(table: &'t Table, key: KeyRef<'_>, entry: &Entry) -> Prepared<'t> {
    match &entry.value {
        Some(value) => table.prepare(key, value, entry.deadline).unwrap(),
        None => table.prepare_tombstone(key).unwrap(),
    }
}

/// The right to write some keys, in whichever way it is to be had.
fn lock<'t>(table: &'t Table, hashes: &[u64], way: u64) -> Guard<'t> {
    match (way % 3, hashes) {
        (0, [hash]) => table.try_lock(*hash).unwrap(),
        (1, _) => table.lock_all(),
        _ => table.lock_many(hashes),
    }
}

/// How hot a key is.
fn mass_of(table: &Table, key: KeyRef<'_>) -> Option<u32> {
    table.with(key, |entry| entry.mass())
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
            notes: false,
            noted: BTreeSet::new(),
        }
    }

    /// A database that was opened again: the layer is there, the table empty and its lists never closed.
    fn reopened(self) -> Engine {
        let Engine { layer, next_seq, published, .. } = self;
        Engine { truth: layer.clone(), layer, next_seq, published, ..Engine::new() }
    }

    fn sequence(&mut self) -> u64 {
        self.next_seq += 1;
        self.next_seq - 1
    }

    fn apply(&mut self, op: &Op) {
        match op {
            Op::Put { key, len, deadline } => {
                self.put(&[name(*key)], Some(Value::from(vec![*key; *len])), *deadline);
            }
            Op::Delete { key } => self.put(&[name(*key)], None, 0),
            Op::Batch { keys } => {
                let names: Vec<_> = keys.iter().map(|key| name(*key)).collect();
                self.put(&names, Some(Value::from(self.next_seq.to_le_bytes().to_vec())), 0);
            }
            Op::Replay { key, behind } => self.replay(*key, *behind),
            Op::Evict { keys, only_tombstones } => self.evict(keys, *only_tombstones),
            Op::Leave { keys } => self.leave(keys),
            Op::Promote { key } => self.promote(*key),
            Op::Checkpoint { end } => self.checkpoint(*end),
            Op::Clear { keyspace } => self.clear(*keyspace),
            Op::MoveSlot { key, to } => self.move_slot(*key, *to),
            Op::Expire { key, now } => self.expire(*key, *now),
            Op::Reform { key, packs, is_stale } => self.reform(*key, *packs, *is_stale),
            Op::GiveUp { key, len } => self.give_up(*key, *len),
            Op::Touch { key, times } => self.touch(*key, *times),
            Op::Tick { times } => self.tick(*times),
            Op::NoteAdded { on } => {
                self.notes = *on;
                self.table.note_added(*on);
            }
            Op::TakeAdded => {
                let taken: BTreeSet<u64> = self.table.take_added().into_iter().collect();
                assert_eq!(taken, std::mem::take(&mut self.noted));
            }
            Op::Tidy => self.tidy(),
            Op::Crowd => self.crowd(),
        }
    }

    /// Puts the same under several keys, with one sequence.
    fn put(&mut self, names: &[(u64, Name)], value: Option<Value>, deadline: u64) {
        let entry = Entry { value, seq: self.sequence(), deadline };
        let table = &self.table;
        let hashes: Vec<u64> = names.iter().map(|(hash, _)| *hash).collect();
        let prepared: Vec<_> =
            names.iter().map(|(hash, name)| prepare(table, key_ref(*hash, name), &entry)).collect();
        let mut noted = Vec::new();
        let mut guard = lock(table, &hashes, entry.seq);
        for ((hash, name), prepared) in names.iter().zip(prepared) {
            let key = key_ref(*hash, name);
            let (in_table, mass) = (guard.get(key), mass_of(table, key));
            let former = guard.put(prepared, entry.seq);
            assert_eq!(former.map(parts), in_table.as_ref().map(former_of));
            assert!(mass_of(&self.table, key) >= mass.max(Some(1)), "a key does not cool by being written");
            noted.push((*hash, former));
            self.truth.insert(name.clone(), entry.clone());
        }
        drop(guard);
        // What is deleted needs no place in an order.
        noted
            .into_iter()
            .filter(|_| entry.value.is_some())
            .for_each(|(hash, former)| self.note(hash, former));
    }

    /// Expects the note of a put of a value that found `former`.
    fn note(&mut self, hash: u64, former: Option<Former>) {
        if self.notes && former.is_none_or(|former| former.is_tombstone || former.deadline != 0) {
            self.noted.insert(hash);
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
        let in_table = self.table.get(key_ref(hash, &name));
        let mut applied = None;
        let mut replayer = self.table.replayer(|replayed| applied = Some(replayed));
        let key = key_ref(hash, &name);
        match &entry.value {
            Some(value) => replayer.put(key, value, entry.deadline, seq).unwrap(),
            None => replayer.delete(key, seq).unwrap(),
        }
        drop(replayer);
        let former = |replayed: Replayed| replayed.former.map(|former| former.seq);
        assert_eq!(
            applied.map(|replayed| (replayed.hash, replayed.deadline, former(replayed))),
            stands.then(|| (hash, entry.deadline, in_table.as_ref().map(|former| former.seq)))
        );
        if stands {
            let is_new = in_table.is_none_or(|former| former.is_tombstone() || former.deadline != 0);
            if self.notes && is_new && entry.value.is_some() {
                self.noted.insert(hash);
            }
            self.truth.insert(name, entry);
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
                assert_eq!(found(&self.table, hash, name).as_ref(), Some(entry));
            }
        }
    }

    /// Takes clean entries out by their sequences, which tell a newer version from the one that was seen.
    fn leave(&mut self, keys: &[u8]) {
        let names: Vec<_> = keys.iter().map(|key| name(*key)).collect();
        let mut leaving = Vec::new();
        for (hash, name) in &names {
            let Some(entry) = self.table.get(key_ref(*hash, name)) else { continue };
            leaving.push(Leaving { hash: *hash, seq: self.next_seq });
            if entry.seq < self.published {
                leaving.push(Leaving { hash: *hash, seq: entry.seq });
            }
        }
        let goes =
            |name: &Name, entry: &Entry| leaving.contains(&Leaving { hash: hash_of(name), seq: entry.seq });
        let (going, staying): (BTreeMap<_, _>, BTreeMap<_, _>) =
            self.entries().into_iter().partition(|(name, entry)| goes(name, entry));
        let bytes_of =
            |name: &Name| self.table.with(key_ref(hash_of(name), name), |entry| entry.memory_bytes());
        let bytes: usize = going.keys().filter_map(bytes_of).sum();
        assert_eq!(self.table.evict(&leaving), (going.len(), bytes));
        assert_eq!(self.entries(), staying);
    }

    fn promote(&mut self, key: u8) {
        let (hash, name) = name(key);
        if let Some(entry) = self.layer.get(&name) {
            let absent = self.table.get(key_ref(hash, &name)).is_none();
            let prepared = prepare(&self.table, key_ref(hash, &name), entry);
            let inserted = self.table.lock(hash).insert_clean(prepared, entry.seq);
            assert_eq!(inserted, absent);
        }
    }

    fn checkpoint(&mut self, end: End) {
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
        match end {
            End::Published => {}
            End::Failed => return self.table.reopen(hashes),
            End::FailedWithoutList => {
                return (0..SLOTS).for_each(|slot| self.table.reopen_since(slot, self.published));
            }
        }
        for hash in hashes {
            self.table.entries(hash, |entry| {
                self.layer.insert((entry.keyspace(), Key::from(entry.key())), plain(entry));
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
        self.cleared |=
            self.truth.iter().any(|(name, entry)| name.0 == keyspace && entry.seq >= self.published);
        self.truth.retain(|name, _| name.0 != keyspace);
        self.layer.retain(|name, _| name.0 != keyspace);
    }

    fn move_slot(&self, key: u8, to: u16) {
        let hash = name(key).0;
        let from = self.table.shard_of(hash);
        assert_eq!(self.table.move_slot(slot_of(hash), to), from);
        assert_eq!(self.table.shard_of(hash), to);
    }

    /// A clean entry goes, since the layer has it with its deadline; of any other a stub stays.
    fn expire(&mut self, key: u8, now: u64) {
        let (hash, name) = name(key);
        let in_table = self.table.get(key_ref(hash, &name));
        let keep_stub = in_table.as_ref().is_some_and(|entry| entry.seq >= self.published);
        let writes = self.table.shard_writes();
        let expired = self.table.lock(hash).expire(key_ref(hash, &name), now, keep_stub).unwrap();
        assert_eq!(self.table.shard_writes(), writes, "it is no write");
        let due =
            in_table.filter(|entry| entry.value.is_some() && entry.deadline != 0 && entry.deadline <= now);
        assert_eq!(expired, due.is_some());
        if let Some(entry) = due.filter(|_| keep_stub) {
            self.truth.insert(name, Entry::tombstone(entry.seq));
        }
    }

    /// Puts an entry into another form, which is no write; not if another version was meant.
    fn reform(&self, key: u8, packs: bool, is_stale: bool) {
        let (hash, name) = name(key);
        let key = key_ref(hash, &name);
        let present = found(&self.table, hash, &name);
        let with_value = present.filter(|entry| entry.value.as_ref().is_some_and(|value| !value.is_empty()));
        let Entry { value, seq, deadline } = with_value.clone().unwrap_or(Entry::tombstone(self.next_seq));
        let value = value.unwrap_or(Value::from("of no entry"));
        let other = packed(&value);
        let new = match packs {
            true => NewValue::Packed(&other, u32::try_from(other.len()).unwrap()),
            false => NewValue::from(&value),
        };
        let prepared = self.table.prepare(key, new, deadline).unwrap();
        let (writes, mass) = (self.table.shard_writes(), mass_of(&self.table, key));
        let meant = if is_stale { self.next_seq } else { seq };
        let reformed = self.table.lock(hash).reform(prepared, meant);
        assert_eq!(reformed, with_value.is_some() && !is_stale);
        assert_eq!(self.table.shard_writes(), writes, "it is no write");
        if reformed {
            let is_packed = self.table.with(key, |entry| entry.packed_from().is_some());
            assert_eq!((is_packed, mass_of(&self.table, key) >= mass), (Some(packs), true));
        }
    }

    /// Prepares a write that is not made.
    fn give_up(&self, key: u8, len: usize) {
        let (hash, name) = name(key);
        let used = self.table.memory().used_bytes;
        drop(self.table.prepare(key_ref(hash, &name), &vec![key; len], 0).unwrap());
        drop(self.table.prepare_tombstone(key_ref(hash, &name)).unwrap());
        assert_eq!(self.table.memory().used_bytes, used);
    }

    fn masses(&self) -> Vec<Option<u32>> {
        (0..KEYS).map(name).map(|(hash, name)| mass_of(&self.table, key_ref(hash, &name))).collect()
    }

    /// A use counts or does not; the first after a while does.
    fn touch(&self, key: u8, times: u8) {
        let (hash, name) = name(key);
        for _ in 0..times {
            self.table.with(key_ref(hash, &name), |entry| {
                let mass = entry.mass();
                entry.touch();
                assert!(entry.mass() == 2 * mass + 1 || mass > 0 && entry.mass() == mass);
                assert!(!entry.touch_once(), "it was used in this tick");
            });
        }
    }

    /// Every tick takes half of every mass, however many there are.
    fn tick(&self, times: u8) {
        for _ in 0..times {
            let before = self.masses();
            self.table.next_tick();
            let halved: Vec<_> = before.into_iter().map(|mass| Some(mass? / 2)).collect();
            assert_eq!(self.masses(), halved);
        }
    }

    /// What gives memory back changes nothing else.
    fn tidy(&self) {
        let before = (self.entries(), self.masses());
        self.table.collect();
        self.table.shrink();
        self.table.discard_free();
        assert_eq!((self.entries(), self.masses()), before);
    }

    /// Many keys come and most of them go, so that what is left is moved out of their memory.
    fn crowd(&mut self) {
        let names: Vec<_> = (0..CROWD_KEYS).map(crowd_name).collect();
        let value = Value::from(vec![7; CROWD_VALUE_BYTES]);
        let seq = self.next_seq;
        self.put(&names, Some(value), 0);
        self.checkpoint(End::Published);
        let goes = |number: &u64| !number.is_multiple_of(CROWD_STAYS_EVERY);
        let leaving: Vec<_> =
            (0..CROWD_KEYS).filter(goes).map(|number| Leaving { hash: crowd_name(number).0, seq }).collect();
        assert_eq!(self.table.evict(&leaving).0, leaving.len());
        let before = (self.entries(), self.masses());
        let is_moved = (0..TRIES).any(|tried| {
            std::thread::sleep(Duration::from_millis(u64::from(tried > 0)));
            self.table.shrink() > 0
        });
        assert!(is_moved, "nothing was moved");
        assert_eq!((self.entries(), self.masses()), before);
        self.check();
        self.clear(CROWD);
    }

    fn entries(&self) -> BTreeMap<Name, Entry> {
        let mut entries = BTreeMap::new();
        self.table.for_each(|entry| {
            let name = (entry.keyspace(), Key::from(entry.key()));
            assert_eq!(entries.insert(name, plain(entry)), None);
        });
        entries
    }

    fn check(&self) {
        self.table.validate().unwrap();
        let entries = self.entries();
        let names: Vec<_> = (0..KEYS).map(name).collect();
        for (hash, name) in &names {
            let found = found(&self.table, *hash, name);
            assert_eq!(found.as_ref(), entries.get(name));
            assert_eq!(found.as_ref().or(self.layer.get(name)), self.truth.get(name), "{name:?}");
        }
        let keys: Vec<_> = names.iter().map(|(hash, name)| key_ref(*hash, name)).collect();
        let mut called = vec![0; keys.len()];
        self.table.multi_get_with(&keys, |place, entry| {
            called[place] += 1;
            assert_eq!(entry.map(plain).as_ref(), entries.get(&names[place].1));
        });
        assert_eq!(called, vec![1; keys.len()]);
        self.check_hashes(&names, &entries);
        self.check_counters(&entries);
    }

    /// Every hash leads to all entries that have it.
    fn check_hashes(&self, names: &[(u64, Name)], entries: &BTreeMap<Name, Entry>) {
        let hashes: Vec<u64> = names.iter().map(|(hash, _)| *hash).collect();
        let mut of_hashes = vec![BTreeMap::new(); hashes.len()];
        self.table.multi_entries(&hashes, |place, entry| {
            let name = (entry.keyspace(), Key::from(entry.key()));
            assert_eq!(of_hashes[place].insert(name, plain(entry)), None);
        });
        for (hash, of_hash) in hashes.iter().zip(of_hashes) {
            let expected = entries.iter().filter(|(name, _)| hash_of(name) == *hash);
            assert!(of_hash.iter().eq(expected));
        }
    }

    fn check_counters(&self, entries: &BTreeMap<Name, Entry>) {
        let values = || entries.values().filter_map(|entry| entry.value.as_ref());
        let (mut packed_entries, mut packed_bytes) = (0, 0);
        for name in entries.keys() {
            let packed = |entry: warp_core::EntryRef<'_>| Some((entry.packed_from()?, entry.value()?.len()));
            if let Some((_, len)) = self.table.with(key_ref(hash_of(name), name), packed).flatten() {
                packed_entries += 1;
                packed_bytes += len as u64;
            }
        }
        let memory = self.table.memory();
        assert_eq!((memory.packed_entries, memory.packed_bytes), (packed_entries, packed_bytes));
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
    #![proptest_config(config())]

    #[test]
    fn table_and_layer_together_hold_the_truth(first in ops(), second in ops()) {
        let mut engine = Engine::new();
        for op in &first {
            engine.apply(op);
            engine.check();
        }
        engine.checkpoint(End::Published);
        let mut engine = engine.reopened();
        for op in &second {
            engine.apply(op);
            engine.check();
        }
        engine.checkpoint(End::Published);
    }
}
