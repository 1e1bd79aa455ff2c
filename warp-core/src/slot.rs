//! One slot: a small hash table, its list of changes, and the name of its shard.

use std::sync::atomic::{AtomicU16, Ordering};

use hashbrown::HashTable;
use hashbrown::hash_table;
use parking_lot::{RwLock, RwLockReadGuard};

use crate::changed::Changed;
use crate::entry::Entry;
use crate::hash::{KeyRef, bucket_hash};
use crate::memory::Tally;
use crate::shard::ShardLock;
use crate::value::Key;

/// Entries below which a slot never gives memory back.
const SHRINK_ENTRIES_MIN: usize = 64;

/// A slot shrinks when less than this part of its room is in use, to half full: so that the room must double
/// before it grows again, and half of the entries must go before it shrinks again.
const SHRINK_BELOW_PART: usize = 4;

/// One slot. Its table is changed only under the lock of the shard that it names, and read at any time.
#[derive(Debug)]
pub(crate) struct Slot {
    shard: AtomicU16,
    table: RwLock<SlotTable>,
}

impl Slot {
    pub(crate) fn new(shard: u16, tracked: bool) -> Slot {
        let table =
            SlotTable { entries: HashTable::new(), changed: Changed::new(tracked), tally: Tally::default() };
        Slot { shard: AtomicU16::new(shard), table: RwLock::new(table) }
    }

    /// The shard that this slot names. It stays so only while that shard's lock is held.
    ///
    /// Relaxed is enough: the name changes only under the locks of both shards. Whoever holds the lock of the
    /// shard that the name says, sees every change that was made under that lock before, so the name is no
    /// former one; and nobody else can change it.
    pub(crate) fn shard(&self) -> u16 {
        self.shard.load(Ordering::Relaxed)
    }

    /// Names another shard; the caller holds the locks of both.
    pub(crate) fn set_shard(&self, _from: &ShardLock<'_>, to: &ShardLock<'_>) {
        self.shard.store(to.index(), Ordering::Relaxed);
    }

    pub(crate) fn read(&self) -> RwLockReadGuard<'_, SlotTable> {
        self.table.read()
    }

    /// Changes the table, and brings the counters of the shard up to date. `lock` is the shard that this names.
    pub(crate) fn write<R>(&self, lock: &ShardLock<'_>, change: impl FnOnce(&mut SlotTable) -> R) -> R {
        debug_assert_eq!(self.shard(), lock.index(), "a slot is written under its own shard's lock");
        let mut table = self.table.write();
        let before = table.tally;
        let result = change(&mut table);
        table.measure();
        let after = table.tally;
        drop(table);
        lock.account(&before, &after);
        result
    }
}

/// The entries of a slot, and what is known about them.
#[derive(Debug)]
pub(crate) struct SlotTable {
    pub(crate) entries: HashTable<Stored>,
    pub(crate) changed: Changed,
    pub(crate) tally: Tally,
}

/// One entry where it is stored.
#[derive(Debug)]
pub(crate) struct Stored {
    pub(crate) hash: u64,
    pub(crate) keyspace: u32,
    pub(crate) key: Key,
    pub(crate) entry: Entry,
}

impl Stored {
    fn new(key: KeyRef<'_>, entry: Entry) -> Stored {
        Stored { hash: key.hash, keyspace: key.keyspace, key: Key::from(key.bytes), entry }
    }

    fn is(&self, key: &KeyRef<'_>) -> bool {
        self.hash == key.hash && self.keyspace == key.keyspace && *self.key == *key.bytes
    }

    fn bucket(&self) -> u64 {
        bucket_hash(self.hash)
    }
}

impl SlotTable {
    pub(crate) fn find(&self, key: KeyRef<'_>) -> Option<&Entry> {
        self.entries.find(bucket_hash(key.hash), |stored| stored.is(&key)).map(|stored| &stored.entry)
    }

    /// All entries with this hash: one, none, or several that collide.
    pub(crate) fn find_hash(&self, hash: u64) -> impl Iterator<Item = &Stored> {
        self.entries.iter_hash(bucket_hash(hash)).filter(move |stored| stored.hash == hash)
    }

    /// Sets the entry of a key, as a write; returns the former one.
    pub(crate) fn put(&mut self, key: KeyRef<'_>, entry: Entry) -> Option<Entry> {
        self.tally.writes += 1;
        self.tally.add_entry(&entry);
        match self.entries.entry(bucket_hash(key.hash), |stored| stored.is(&key), Stored::bucket) {
            hash_table::Entry::Occupied(mut found) => {
                let former = std::mem::replace(&mut found.get_mut().entry, entry);
                self.tally.subtract_entry(&former);
                self.changed.written(key.hash, Some(former.seq));
                Some(former)
            }
            hash_table::Entry::Vacant(vacant) => {
                let stored = vacant.insert(Stored::new(key, entry));
                self.tally.add_key(&stored.get().key);
                self.changed.written(key.hash, None);
                None
            }
        }
    }

    /// As [`SlotTable::put`], unless the entry that is there has a higher sequence: then the given one comes back
    /// as the error.
    pub(crate) fn put_unless_older(&mut self, key: KeyRef<'_>, entry: Entry) -> Result<Option<Entry>, Entry> {
        match self.find(key) {
            Some(present) if present.seq > entry.seq => Err(entry),
            _ => Ok(self.put(key, entry)),
        }
    }

    /// Sets the entry of a key that has none, without counting it as changed.
    pub(crate) fn insert_clean(&mut self, key: KeyRef<'_>, entry: Entry) -> Result<(), Entry> {
        match self.entries.entry(bucket_hash(key.hash), |stored| stored.is(&key), Stored::bucket) {
            hash_table::Entry::Occupied(_) => Err(entry),
            hash_table::Entry::Vacant(vacant) => {
                self.tally.writes += 1;
                self.tally.add_entry(&entry);
                self.changed.came_in_clean(entry.seq);
                let stored = vacant.insert(Stored::new(key, entry));
                self.tally.add_key(&stored.get().key);
                Ok(())
            }
        }
    }

    /// Removes one entry with this hash for which `chosen` holds.
    pub(crate) fn remove_one(&mut self, hash: u64, chosen: impl Fn(&Stored) -> bool) -> Option<Stored> {
        let found = self
            .entries
            .find_entry(bucket_hash(hash), |stored| stored.hash == hash && chosen(stored))
            .ok()?;
        let (removed, _) = found.remove();
        self.forget(&removed);
        self.shrink();
        Some(removed)
    }

    /// Removes the entry of a key, as a write.
    pub(crate) fn remove(&mut self, key: KeyRef<'_>) -> Option<Stored> {
        let removed = self.remove_one(key.hash, |stored| stored.is(&key))?;
        self.tally.writes += 1;
        Some(removed)
    }

    /// Takes away an entry that is past its deadline, and leaves a tombstone of its sequence or nothing. Returns the
    /// entry, so that it is freed by whoever holds no lock. The list of changes stays as it is.
    pub(crate) fn expire(&mut self, key: KeyRef<'_>, now: u64, keep_stub: bool) -> Option<Entry> {
        let mut found = self.entries.find_entry(bucket_hash(key.hash), |stored| stored.is(&key)).ok()?;
        let entry = &mut found.get_mut().entry;
        if entry.is_tombstone() || !entry.is_expired(now) {
            return None;
        }
        if !keep_stub {
            return self.remove_one(key.hash, |stored| stored.is(&key)).map(|stored| stored.entry);
        }
        let stub = Entry::tombstone(entry.seq);
        self.tally.add_entry(&stub);
        let expired = std::mem::replace(entry, stub);
        self.tally.subtract_entry(&expired);
        Some(expired)
    }

    /// Removes all entries for which `chosen` holds.
    pub(crate) fn remove_all(&mut self, chosen: impl Fn(&Stored) -> bool) -> Vec<Stored> {
        let removed: Vec<Stored> = self.entries.extract_if(|stored| chosen(stored)).collect();
        for stored in &removed {
            self.forget(stored);
        }
        self.shrink();
        removed
    }

    fn forget(&mut self, removed: &Stored) {
        self.tally.subtract_entry(&removed.entry);
        self.tally.subtract_key(&removed.key);
    }

    fn shrink(&mut self) {
        let (len, room) = (self.entries.len(), self.entries.capacity());
        if room > SHRINK_ENTRIES_MIN && len < room / SHRINK_BELOW_PART {
            self.entries.shrink_to(len * 2, Stored::bucket);
        }
    }

    /// Counts the memory of the table itself anew, after a change.
    fn measure(&mut self) {
        self.tally.table_bytes = (self.entries.allocation_size() + self.changed.memory_bytes()) as u64;
    }
}
