//! The table: making one, reading it, locking it for writers, and moving slots between shards.

use std::convert::Infallible;
use std::fmt;

use crossbeam_utils::CachePadded;

use crate::added::Added;
use crate::entry::Entry;
use crate::guard::Guard;
use crate::hash::{KeyRef, SLOTS, slot_of};
use crate::memory::{SlotLoad, TableMemory, Tally};
use crate::shard::{Shard, ShardLock};
use crate::slot::{Slot, Stored};
use crate::value::Key;

/// A concurrent table from keys to [`Entry`]s.
///
/// Reads need nothing; writes go through a [`Guard`] from one of the lock methods. All methods take `&self`, and
/// a table is `Send + Sync`.
///
/// A thread that holds a [`Guard`] must not lock again, nor call any method that says it takes shards' locks:
/// locks do not nest, and it would wait for itself.
///
/// ```
/// use warp_core::{KeyRef, Table, Value};
///
/// let table = Table::new(4);
/// let (a, b) = (KeyRef::new(9, 0, b"a"), KeyRef::new(9, 0, b"b"));
///
/// // Two keys under one guard: no other writer gets in between.
/// let mut guard = table.lock_many(&[a.hash, b.hash]);
/// guard.put(a, Value::from("1"), 1, 0);
/// guard.put(b, Value::from("2"), 1, 0);
/// drop(guard);
///
/// assert_eq!(table.len(), 2);
/// assert_eq!(table.close_lists(|| 2).len(), 2);
/// ```
pub struct Table {
    slots: Box<[CachePadded<Slot>]>,
    shards: Box<[CachePadded<Shard>]>,
    added: Added,
    /// Whether lists of changed keys are kept, since something lies below the table.
    tracked: bool,
}

impl Table {
    /// An empty table whose slot `s` starts on shard `s % shards`. The number of shards is the number of writers
    /// that can work at once, and stays; it is brought into 1..=[`SLOTS`].
    #[must_use]
    pub fn new(shards: u16) -> Table {
        Table::with_lists(shards, true)
    }

    /// As [`Table::new`], but without lists of changed keys: [`Table::close_lists`] returns nothing.
    ///
    /// For a table that no snapshot is ever made of, where the lists would grow by 8 bytes for each new key.
    #[must_use]
    pub fn untracked(shards: u16) -> Table {
        Table::with_lists(shards, false)
    }

    fn with_lists(shards: u16, tracked: bool) -> Table {
        let shards = usize::from(shards).clamp(1, SLOTS);
        let names = (0..shards).map(shard_name).cycle().take(SLOTS);
        Table {
            slots: names.map(|name| CachePadded::new(Slot::new(name, tracked))).collect(),
            shards: (0..shards).map(|_| CachePadded::default()).collect(),
            added: Added::new(),
            tracked,
        }
    }

    /// What the table holds for a key.
    ///
    /// Tombstones and entries past their deadline are returned like any other: the table has no clock, and what
    /// they mean is for the caller to say. The entry is a copy; its value is shared.
    #[must_use]
    pub fn get(&self, key: KeyRef<'_>) -> Option<Entry> {
        self.slot(key.hash).read().find(key).cloned()
    }

    /// Looks up many keys, and calls `f` with the place of each in `keys` and what [`Table::get`] would return.
    ///
    /// Every key is called for once, in any order, with no lock held. Each lookup is a get of its own: together
    /// they are not a snapshot.
    pub fn multi_get(&self, keys: &[KeyRef<'_>], mut f: impl FnMut(usize, Option<Entry>)) {
        for (place, key) in keys.iter().enumerate() {
            f(place, self.get(*key));
        }
    }

    /// Waits for the right to write the keys of the shard that `hash` is on at this moment.
    #[must_use]
    pub fn lock(&self, hash: u64) -> Guard<'_> {
        Guard::one(self, self.lock_slot(slot_of(hash)))
    }

    /// As [`Table::lock`], if nobody else holds the shard.
    #[must_use]
    pub fn try_lock(&self, hash: u64) -> Option<Guard<'_>> {
        let try_shard = |name: u16| self.shards[usize::from(name)].try_lock(name).ok_or(());
        Some(Guard::one(self, self.lock_named(slot_of(hash), try_shard).ok()?))
    }

    /// Waits for the right to write all keys with these hashes, in any order and however often they are named.
    ///
    /// The shards are locked in ascending order, so that callers never wait for each other in a ring. Without
    /// hashes the guard holds nothing.
    #[must_use]
    pub fn lock_many(&self, hashes: &[u64]) -> Guard<'_> {
        loop {
            let guard = match hashes {
                [] => return Guard::many(self, Vec::new()),
                [first, rest @ ..] => {
                    let shard = self.shard_of(*first);
                    if rest.iter().all(|hash| self.shard_of(*hash) == shard) {
                        Guard::one(self, self.lock_shard(shard))
                    } else {
                        self.lock_shards_of(hashes)
                    }
                }
            };
            // A slot that was moved before its lock was had may now be on a shard that this guard lacks.
            if hashes.iter().all(|hash| guard.holds(*hash)) {
                return guard;
            }
        }
    }

    fn lock_shards_of(&self, hashes: &[u64]) -> Guard<'_> {
        let mut shards: Vec<u16> = hashes.iter().map(|hash| self.shard_of(*hash)).collect();
        shards.sort_unstable();
        shards.dedup();
        Guard::many(self, shards.into_iter().map(|shard| self.lock_shard(shard)).collect())
    }

    /// Waits for the right to write all keys.
    #[must_use]
    pub fn lock_all(&self) -> Guard<'_> {
        Guard::many(self, (0..self.shards()).map(|shard| self.lock_shard(shard)).collect())
    }

    /// The number of shards.
    #[must_use]
    pub fn shards(&self) -> u16 {
        shard_name(self.shards.len())
    }

    /// The shard that a hash is on at this moment. Unless a guard holds it, it may be another one right after.
    #[must_use]
    pub fn shard_of(&self, hash: u64) -> u16 {
        self.slot(hash).shard()
    }

    /// Gives a slot to another shard, and returns the shard that it was on. No entry moves and no reader notices.
    ///
    /// Takes the locks of both shards.
    ///
    /// # Panics
    /// If `slot` is not below [`SLOTS`], or `to` not below [`Table::shards`].
    pub fn move_slot(&self, slot: usize, to: u16) -> u16 {
        assert!(slot < SLOTS, "slot {slot} of {SLOTS}");
        assert!(to < self.shards(), "shard {to} of {}", self.shards());
        let slot = &self.slots[slot];
        loop {
            let from = slot.shard();
            if from == to {
                return from;
            }
            let low = self.lock_shard(from.min(to));
            let high = self.lock_shard(from.max(to));
            if slot.shard() == from {
                let (from_lock, to_lock) = if from < to { (&low, &high) } else { (&high, &low) };
                slot.set_shard(from_lock, to_lock);
                return from;
            }
        }
    }

    /// Calls `f` with the keyspace and key of every entry with this hash: one, none, or several that collide.
    ///
    /// The entries are those of one moment, and `f` is called with no lock held.
    pub fn entries(&self, hash: u64, mut f: impl FnMut(u32, &[u8], &Entry)) {
        let copy = |stored: &Stored| (stored.keyspace, stored.key.clone(), stored.entry.clone());
        let (first, others) = {
            let table = self.slot(hash).read();
            let mut found = table.find_hash(hash).map(copy);
            // Collisions are rare: without one, nothing is allocated.
            (found.next(), found.collect::<Vec<_>>())
        };
        for (keyspace, key, entry) in first.iter().chain(&others) {
            f(*keyspace, key, entry);
        }
    }

    /// Calls `f` for every entry with one of these hashes: with the place of the hash in `hashes`, and the keyspace,
    /// key and entry, in any order. A hash may have none, or several that collide.
    ///
    /// The entries of one hash are those of one moment; together they are not a snapshot. The slot's lock is held for
    /// reading while `f` runs, so `f` must be short, and **must not** call the table.
    pub fn multi_entries(&self, hashes: &[u64], mut f: impl FnMut(usize, u32, &[u8], &Entry)) {
        for (place, hash) in hashes.iter().enumerate() {
            for stored in self.slot(*hash).read().find_hash(*hash) {
                f(place, stored.keyspace, &stored.key, &stored.entry);
            }
        }
    }

    /// Begins or ends noting which keys come up new, for whoever keeps them in order; it is off at first.
    ///
    /// While it is on, every put where the table had no entry, a tombstone, or an entry with a deadline notes the hash
    /// of its key, before it returns. So with it on, a key that a later walk over the table does not find was noted,
    /// or has no value. What was noted stays until it is taken.
    pub fn note_added(&self, on: bool) {
        self.added.turn(on);
    }

    /// Takes the hashes that were noted since they were last taken, in any order; some may be there twice. Every put
    /// that returned before the call is among them, or was taken by an earlier call.
    ///
    /// In a table without lists of changed keys, those whose entry has been removed again may be missing: below such a
    /// table there is nothing, and should the key come back, it is noted anew. That bounds the lists by what is there.
    #[must_use = "the hashes are noted nowhere else"]
    pub fn take_added(&self) -> Vec<u64> {
        self.added.take()
    }

    /// Bytes that the notes of new keys take at this moment. Looks at every slot.
    #[must_use]
    pub fn added_bytes(&self) -> usize {
        self.added.memory_bytes()
    }

    /// Notes that a put found `former`, under the lock of the key's shard.
    pub(crate) fn note_put(&self, hash: u64, former: Option<&Entry>) {
        let is_new = former.is_none_or(|former| former.is_tombstone() || former.deadline != 0);
        if is_new && self.added.is_on() {
            let is_there = |hash| self.slot(hash).read().find_hash(hash).next().is_some();
            self.added.note(hash, |hash| self.tracked || is_there(hash));
        }
    }

    /// Calls `f` with the keyspace and key of every entry, slot by slot, in no order within a slot.
    ///
    /// Each slot is shown as it is at one moment, slots at different moments: an entry that is there throughout
    /// is seen exactly once, one that is written meanwhile in its version before or after, and one that comes or
    /// goes meanwhile once or not at all. Moving slots makes no difference.
    ///
    /// The slot's lock is held for reading while `f` runs, so writers of that slot wait, and `f` **must not** call
    /// the table. Use [`Table::slot_entries`] for code that takes long or that calls back.
    pub fn for_each(&self, mut f: impl FnMut(u32, &[u8], &Entry)) {
        for slot in 0..SLOTS {
            self.for_each_in(slot, &mut f);
        }
    }

    /// As [`Table::for_each`], for the entries of one slot, which are shown as they are at one moment.
    ///
    /// # Panics
    /// If `slot` is not below [`SLOTS`].
    pub fn for_each_in(&self, slot: usize, mut f: impl FnMut(u32, &[u8], &Entry)) {
        for stored in &self.slots[slot].read().entries {
            f(stored.keyspace, &stored.key, &stored.entry);
        }
    }

    /// The keyspace, key and entry of all that is in one slot at one moment, in no order.
    ///
    /// # Panics
    /// If `slot` is not below [`SLOTS`].
    #[must_use]
    pub fn slot_entries(&self, slot: usize) -> Vec<(u32, Key, Entry)> {
        let table = self.slots[slot].read();
        table
            .entries
            .iter()
            .map(|stored| (stored.keyspace, stored.key.clone(), stored.entry.clone()))
            .collect()
    }

    /// What one slot holds, and how often it was written.
    ///
    /// # Panics
    /// If `slot` is not below [`SLOTS`].
    #[must_use]
    pub fn slot_load(&self, slot: usize) -> SlotLoad {
        let slot = &self.slots[slot];
        let tally = slot.read().tally;
        SlotLoad {
            shard: slot.shard(),
            entries: tally.entries,
            bytes: tally.key_bytes + tally.value_bytes,
            writes: tally.writes,
        }
    }

    /// The number of entries, tombstones and entries past their deadline included.
    ///
    /// From the shards' counters: exact if nobody writes meanwhile, and otherwise off by no more than is written.
    #[must_use]
    pub fn len(&self) -> usize {
        usize::try_from(not_negative(self.tally().entries)).unwrap_or(usize::MAX)
    }

    /// Whether there is no entry, not even a tombstone; as exact as [`Table::len`].
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The memory that the table holds, as exact as [`Table::len`]. Reads one counter a shard and walks nothing.
    #[must_use]
    pub fn memory(&self) -> TableMemory {
        let tally = self.tally();
        let fixed = size_of_val(&*self.slots) + size_of_val(&*self.shards);
        TableMemory {
            entries: not_negative(tally.entries),
            tombstones: not_negative(tally.tombstones),
            key_bytes: not_negative(tally.key_bytes),
            value_bytes: not_negative(tally.value_bytes),
            heap_bytes: not_negative(tally.heap_bytes),
            table_bytes: not_negative(tally.table_bytes) + fixed as u64,
        }
    }

    /// The number of writes under each shard's lock since the table was made: its load.
    ///
    /// Every call on a guard that changes an entry counts, promotions with [`Guard::insert_clean`] too.
    #[must_use]
    pub fn shard_writes(&self) -> Vec<u64> {
        self.shards.iter().map(|shard| shard.tally().writes).collect()
    }

    pub(crate) fn slot(&self, hash: u64) -> &Slot {
        &self.slots[slot_of(hash)]
    }

    pub(crate) fn slots(&self) -> &[CachePadded<Slot>] {
        &self.slots
    }

    pub(crate) fn lock_shard(&self, shard: u16) -> ShardLock<'_> {
        self.shards[usize::from(shard)].lock(shard)
    }

    /// Waits for the lock of the shard that a slot names.
    pub(crate) fn lock_slot(&self, slot: usize) -> ShardLock<'_> {
        let Ok(lock) = self.lock_named(slot, |name| Ok::<_, Infallible>(self.lock_shard(name)));
        lock
    }

    /// Takes the lock of the shard that a slot names: looks again after locking, and goes on to the other shard if
    /// the slot was moved before the lock was had.
    fn lock_named<'a, E>(
        &self,
        slot: usize,
        mut lock: impl FnMut(u16) -> Result<ShardLock<'a>, E>,
    ) -> Result<ShardLock<'a>, E> {
        let slot = &self.slots[slot];
        loop {
            let name = slot.shard();
            let lock = lock(name)?;
            if slot.shard() == name {
                return Ok(lock);
            }
        }
    }

    /// The counters of all shards together.
    pub(crate) fn tally(&self) -> Tally {
        let mut sum = Tally::default();
        for shard in &self.shards {
            sum.zip(&shard.tally(), |sum, part| *sum = sum.wrapping_add(part));
        }
        sum
    }
}

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Table")
            .field("shards", &self.shards())
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}

fn shard_name(shard: usize) -> u16 {
    u16::try_from(shard).expect("there are at most as many shards as slots")
}

/// A sum whose parts were read one after the other, while entries came in under one shard and left under another.
fn not_negative(sum: u64) -> u64 {
    if sum > i64::MAX as u64 { 0 } else { sum }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::Value;

    /// A key whose slot is `slot`.
    fn key(slot: u64) -> KeyRef<'static> {
        KeyRef { hash: slot << 52, keyspace: 0, bytes: b"key" }
    }

    #[test]
    fn a_table_is_shared_between_threads() {
        fn check<T: Send + Sync>() {}
        check::<Table>();
        check::<Value>();
        check::<Key>();
    }

    #[test]
    fn the_number_of_shards_is_brought_into_bounds() {
        assert_eq!(Table::new(0).shards(), 1);
        assert_eq!(usize::from(Table::new(u16::MAX).shards()), SLOTS);
        let table = Table::new(3);
        assert_eq!([0, 1, 2, 3, 4095].map(|slot| table.shard_of(key(slot).hash)), [0, 1, 2, 0, 0]);
    }

    #[test]
    fn a_lock_keeps_others_out_of_its_shard_only() {
        let table = Table::new(4);
        let guard = table.lock(key(1).hash);
        assert!(table.try_lock(key(5).hash).is_none());
        assert!(table.try_lock(key(2).hash).is_some());
        assert!(guard.holds(key(5).hash) && !guard.holds(key(2).hash));
        drop(guard);
        assert!(table.try_lock(key(5).hash).is_some());
    }

    #[test]
    fn a_slot_that_moves_before_its_lock_is_had_is_followed() {
        let table = Table::new(4);
        let mut names = Vec::new();
        let Ok(lock) = table.lock_named(1, |name| {
            names.push(name);
            table.move_slot(1, 3);
            Ok::<_, Infallible>(table.lock_shard(name))
        });
        assert_eq!((lock.index(), names), (3, vec![1, 3]));
    }

    #[test]
    fn many_locks_hold_what_was_asked_for_and_all_hold_everything() {
        let table = Table::new(4);
        let guard = table.lock_many(&[key(3).hash, key(1).hash, key(7).hash, key(1).hash]);
        assert_eq!(format!("{guard:?}"), "[1, 3]");
        assert_eq!([0, 1, 2, 3].map(|slot| guard.holds(key(slot).hash)), [false, true, false, true]);
        drop(guard);
        assert_eq!(format!("{:?}", table.lock_many(&[key(2).hash, key(6).hash])), "[2]");
        assert_eq!(format!("{:?}", table.lock_many(&[])), "[]");
        assert_eq!(format!("{:?}", table.lock_all()), "[0, 1, 2, 3]");
    }

    #[test]
    #[should_panic = "a key of shard 2 was written under the guard [1]"]
    fn a_write_without_its_lock_is_refused() {
        let table = Table::new(4);
        table.lock(key(1).hash).put(key(2), Value::default(), 1, 0);
    }

    #[test]
    #[should_panic = "shard 4 of 4"]
    fn a_slot_cannot_go_to_a_shard_that_is_not_there() {
        Table::new(4).move_slot(0, 4);
    }

    #[test]
    fn a_moved_slot_keeps_its_entries_and_its_load() {
        let table = Table::new(4);
        table.lock(key(1).hash).put(key(1), Value::from("value"), 1, 0);
        assert_eq!(table.move_slot(1, 3), 1);
        assert_eq!(table.move_slot(1, 3), 3);
        table.lock(key(1).hash).delete(key(1), 2);
        assert_eq!(table.get(key(1)), Some(Entry::tombstone(2)));
        assert_eq!(table.shard_writes(), [0, 1, 0, 1]);
        assert_eq!(table.slot_load(1), SlotLoad { shard: 3, entries: 1, bytes: 3, writes: 2 });
        table.lock(key(1).hash).remove(key(1));
        assert!(table.is_empty());
        table.validate().unwrap();
    }

    #[test]
    fn memory_is_given_back_when_entries_go() {
        let table = Table::untracked(1);
        let empty = table.memory();
        let name = |number: u64| number.to_le_bytes();
        for number in 0..10_000 {
            let (bytes, value) = (name(number), Value::from(vec![0; 100]));
            let key = KeyRef { hash: number << 32, keyspace: 0, bytes: &bytes };
            table.lock(0).put(key, value, number, 0);
        }
        let full = table.memory();
        assert_eq!((full.entries, full.key_bytes), (10_000, 80_000));
        assert_eq!((full.value_bytes, full.heap_bytes), (1_000_000, 1_000_000));
        assert!(full.table_bytes - empty.table_bytes > 10_000 * 100);
        assert_eq!(full.total(), full.table_bytes + 1_000_000);
        for number in 0..10_000 {
            let bytes = name(number);
            table.lock(0).remove(KeyRef { hash: number << 32, keyspace: 0, bytes: &bytes }).unwrap();
        }
        let left = table.memory();
        assert_eq!((left.entries, left.heap_bytes), (0, 0));
        assert!(left.table_bytes - empty.table_bytes < 20_000, "{left:?}");
        table.validate().unwrap();
    }
}
