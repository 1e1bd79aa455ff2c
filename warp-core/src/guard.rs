//! The right to write.

use std::fmt;

use crate::entry::Entry;
use crate::hash::KeyRef;
use crate::shard::ShardLock;
use crate::slot::SlotTable;
use crate::table::Table;
use crate::value::Value;

/// The exclusive right to write the keys of one shard, of several, or of all.
///
/// Got from [`Table::lock`], [`Table::try_lock`], [`Table::lock_many`] or [`Table::lock_all`]; dropping it gives
/// the right back. While it lives, no slot joins or leaves the shards that it holds, and readers go on: one of the
/// same slot waits for the change of a single entry at most, which now and then has the slot grow.
///
/// Nothing that a guard does can fail. The methods that write panic if the key's shard is not held, since a write
/// without its lock would break every promise that the table makes; asking for the lock with the hash of the key
/// itself rules that out.
pub struct Guard<'a> {
    table: &'a Table,
    held: Held<'a>,
}

/// One lock is the common case, and takes no allocation.
enum Held<'a> {
    One(ShardLock<'a>),
    /// In ascending order.
    Many(Vec<ShardLock<'a>>),
}

impl<'a> Guard<'a> {
    pub(crate) fn one(table: &'a Table, lock: ShardLock<'a>) -> Guard<'a> {
        Guard { table, held: Held::One(lock) }
    }

    /// `locks` are in ascending order of the shards.
    pub(crate) fn many(table: &'a Table, locks: Vec<ShardLock<'a>>) -> Guard<'a> {
        debug_assert!(locks.is_sorted_by_key(ShardLock::index));
        Guard { table, held: Held::Many(locks) }
    }

    /// Whether keys with this hash can be written through this guard.
    #[must_use]
    pub fn holds(&self, hash: u64) -> bool {
        self.lock_of(hash).is_some()
    }

    /// The shard that a hash is on; it stays there for the life of this guard if the guard [holds](Self::holds) it.
    #[must_use]
    pub fn shard(&self, hash: u64) -> u16 {
        self.table.shard_of(hash)
    }

    /// What the table holds for a key; as [`Table::get`], and for a key that is held nobody else can change it.
    #[must_use]
    pub fn get(&self, key: KeyRef<'_>) -> Option<Entry> {
        self.table.get(key)
    }

    /// Sets the value of a key, and returns the entry that was there.
    ///
    /// `seq` is the number of this write, higher than that of the key's entry; `deadline` is in milliseconds since
    /// the start of 1970, 0 for none.
    ///
    /// # Panics
    /// If the guard does not hold the key's shard.
    pub fn put(&mut self, key: KeyRef<'_>, value: Value, seq: u64, deadline: u64) -> Option<Entry> {
        let entry = Entry { value: Some(value), seq, deadline };
        let former = self.write(key.hash, |table| table.put(key, entry));
        self.table.note_put(key.hash, former.as_ref());
        former
    }

    /// Puts a tombstone where the key's entry was, also where there was none; returns the entry that was there.
    ///
    /// # Panics
    /// If the guard does not hold the key's shard.
    pub fn delete(&mut self, key: KeyRef<'_>, seq: u64) -> Option<Entry> {
        self.write(key.hash, |table| table.put(key, Entry::tombstone(seq)))
    }

    /// Drops the key's entry and returns it, leaving nothing: only for a table below which nothing is kept, where
    /// an older version could show through. It goes on no list of changed keys.
    ///
    /// # Panics
    /// If the guard does not hold the key's shard.
    pub fn remove(&mut self, key: KeyRef<'_>) -> Option<Entry> {
        self.write(key.hash, |table| table.remove(key)).map(|stored| stored.entry)
    }

    /// Brings in an entry from a snapshot: sets it if the key has none, a tombstone counting as one. Returns
    /// whether it did.
    ///
    /// It is not put on the list of changed keys, as the snapshot has it. Its sequence must be below that of every
    /// entry that was written to the table since that snapshot.
    ///
    /// # Panics
    /// If the guard does not hold the key's shard.
    pub fn insert_clean(&mut self, key: KeyRef<'_>, entry: Entry) -> bool {
        self.write(key.hash, |table| table.insert_clean(key, entry)).is_ok()
    }

    /// Applies a write that comes back from a log: sets the entry unless the key has one with a higher sequence.
    /// Returns whether it did. It counts as a change. Of writes with one sequence, which are those of a batch, the
    /// one that is applied last stands.
    ///
    /// # Panics
    /// If the guard does not hold the key's shard.
    pub fn replay(&mut self, key: KeyRef<'_>, entry: Entry) -> bool {
        let is_value = !entry.is_tombstone();
        let replaced = self.write(key.hash, |table| table.put_unless_older(key, entry));
        if let Ok(former) = &replaced
            && is_value
        {
            self.table.note_put(key.hash, former.as_ref());
        }
        replaced.is_ok()
    }

    /// Frees the value of a key whose entry is past its deadline at `now`, in milliseconds since the start of 1970.
    /// Returns whether there was one.
    ///
    /// With `keep_stub` a tombstone of the same sequence takes its place, so that an older version that is kept
    /// elsewhere does not show through; otherwise the entry goes. Readers who look at deadlines see no difference,
    /// so that this is no change: there is no new sequence, nothing comes on a list of changed keys, and a key that
    /// is on one stays there.
    ///
    /// # Panics
    /// If the guard does not hold the key's shard.
    pub fn expire(&mut self, key: KeyRef<'_>, now: u64, keep_stub: bool) -> bool {
        self.write(key.hash, |table| table.expire(key, now, keep_stub)).is_some()
    }

    /// Changes a slot under its shard's lock. What `change` returns is dropped outside of the slot's lock, so that
    /// no reader waits while a value is freed.
    fn write<R>(&mut self, hash: u64, change: impl FnOnce(&mut SlotTable) -> R) -> R {
        let Some(lock) = self.lock_of(hash) else {
            panic!("a key of shard {} was written under the guard {self:?}", self.shard(hash));
        };
        self.table.slot(hash).write(lock, change)
    }

    /// The held lock of the shard that a hash is on. The answer stays: a slot joins or leaves a shard only under
    /// that shard's lock.
    fn lock_of(&self, hash: u64) -> Option<&ShardLock<'a>> {
        let shard = self.table.shard_of(hash);
        match &self.held {
            Held::One(lock) => Some(lock).filter(|lock| lock.index() == shard),
            Held::Many(locks) => {
                let place = locks.binary_search_by_key(&shard, ShardLock::index).ok()?;
                locks.get(place)
            }
        }
    }
}

impl fmt::Debug for Guard<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let locks = match &self.held {
            Held::One(lock) => std::slice::from_ref(lock),
            Held::Many(locks) => locks,
        };
        f.debug_list().entries(locks.iter().map(ShardLock::index)).finish()
    }
}
