//! The right to write.

use std::fmt;

use crate::arena::Address;
use crate::entry::{Entry, EntryRef};
use crate::hash::{KeyRef, slot_of};
use crate::prepared::{Prepared, TableFull};
use crate::shard::ShardLock;
use crate::table::Table;
use crate::writer::{Former, Older, Writer};

/// The exclusive right to write the keys of one shard, of several, or of all.
///
/// Got from [`Table::lock`], [`Table::try_lock`], [`Table::lock_many`] or [`Table::lock_all`]; dropping it gives
/// the right back. While it lives, no slot joins or leaves the shards that it holds, and readers go on.
///
/// Nothing that a guard does can fail, but [`Guard::expire`], which takes memory. The methods that write panic if the key's shard is not held, since a write
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

    /// Calls `f` with what the table holds for a key; as [`Table::with`], and for a key that is held nobody else can
    /// change it.
    pub fn with<R>(&self, key: KeyRef<'_>, f: impl FnOnce(EntryRef<'_>) -> R) -> Option<R> {
        self.table.with(key, f)
    }

    /// Sets the entry of a key to one that was prepared; returns what was there.
    ///
    /// `seq` is the number of this write, higher than that of the key's entry.
    ///
    /// # Panics
    /// If the guard does not hold the key's shard.
    pub fn put(&mut self, prepared: Prepared<'_>, seq: u64) -> Option<Former> {
        let (hash, is_tombstone, table) = (prepared.hash(), prepared.is_tombstone(), self.table);
        let former = self.write(prepared, |writer, new| Some(writer.put(hash, new, seq))).flatten();
        table.note_put(hash, is_tombstone, former);
        former
    }

    /// Drops the key's entry, leaving nothing: only for a table below which nothing is kept, where an older version
    /// could show through. It goes on no list of changed keys. Returns what was there.
    ///
    /// # Panics
    /// If the guard does not hold the key's shard.
    pub fn remove(&mut self, key: KeyRef<'_>) -> Option<Former> {
        self.writer(key.hash).remove(key)
    }

    /// Brings in an entry from a snapshot: sets it if the key has none, a tombstone counting as one. Returns
    /// whether it did.
    ///
    /// It is not put on the list of changed keys, as the snapshot has it. Its sequence must be below that of every
    /// entry that was written to the table since that snapshot.
    ///
    /// # Panics
    /// If the guard does not hold the key's shard.
    pub fn insert_clean(&mut self, prepared: Prepared<'_>, seq: u64) -> bool {
        let hash = prepared.hash();
        self.write(prepared, |writer, new| writer.insert_clean(hash, new, seq).then_some(())).is_some()
    }

    /// Applies a write that comes back from a log: sets the entry unless the key has one with a higher sequence.
    /// Returns what the table had for the key before. It counts as a change. Of writes with one sequence, which are those of
    /// a batch, the one that is applied last stands.
    ///
    /// # Errors
    /// [`Older`]: the key has an entry with a higher sequence, which stays.
    ///
    /// # Panics
    /// If the guard does not hold the key's shard.
    pub(crate) fn replay(&mut self, prepared: Prepared<'_>, seq: u64) -> Result<Option<Former>, Older> {
        let (hash, is_tombstone, table) = (prepared.hash(), prepared.is_tombstone(), self.table);
        let written = self.write(prepared, |writer, new| writer.put_unless_older(hash, new, seq).ok());
        let former = written.ok_or(Older)?;
        table.note_put(hash, is_tombstone, former);
        Ok(former)
    }

    /// Frees the value of an entry that is past its deadline at `now`, in milliseconds since the start of 1970.
    /// Returns whether it did.
    ///
    /// With `keep_stub` a tombstone with the same sequence stays, for a table below which an older version could show
    /// through; without, nothing does. It is no write: the key is neither put on the list of changed keys nor taken
    /// off it.
    ///
    /// # Errors
    /// [`TableFull`] if there is no memory for the tombstone: the entry is as it was, and due to be freed later.
    ///
    /// # Panics
    /// If the guard does not hold the key's shard.
    pub fn expire(&mut self, key: KeyRef<'_>, now: u64, keep_stub: bool) -> Result<bool, TableFull> {
        self.writer(key.hash).expire(key, now, keep_stub).map_err(|_| TableFull)
    }

    /// Puts the key's entry into another form: sets it to one that was prepared, if the entry that is there has this
    /// sequence. Returns whether it did. It is no write: the key is not put on the list of changed keys.
    ///
    /// # Panics
    /// If the guard does not hold the key's shard.
    pub fn reform(&mut self, prepared: Prepared<'_>, seq: u64) -> bool {
        let hash = prepared.hash();
        self.write(prepared, |writer, new| writer.reform(hash, new, seq).then_some(())).is_some()
    }

    /// Changes a slot by what was prepared. `change` answers `None` if it did not put the entry in its place, whose memory
    /// then goes back.
    #[inline(always)] // On the way of each put.
    fn write<R>(
        &mut self,
        mut prepared: Prepared<'_>,
        change: impl FnOnce(&mut Writer<'_>, Address) -> Option<R>,
    ) -> Option<R> {
        assert!(prepared.is_for(self.table), "an entry is put into the table that it was prepared for");
        let mut writer = self.writer(prepared.hash());
        writer.room = prepared.room().take();
        let answer = change(&mut writer, prepared.address());
        writer.retire_room();
        if answer.is_some() {
            prepared.keep();
        }
        answer
    }

    /// The right to change a slot.
    #[inline(always)] // On the way of each put.
    fn writer(&mut self, hash: u64) -> Writer<'_> {
        let (table, shard) = (self.table, self.shard(hash));
        let lock = match &mut self.held {
            Held::One(lock) => Some(lock).filter(|lock| lock.index() == shard),
            Held::Many(locks) => {
                let place = locks.binary_search_by_key(&shard, ShardLock::index);
                place.ok().map(|place| &mut locks[place])
            }
        };
        match lock {
            Some(lock) => table.slots().writer(slot_of(hash), lock, table.store()),
            None => panic!("a key of shard {shard} was written under a guard that does not hold it"),
        }
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
