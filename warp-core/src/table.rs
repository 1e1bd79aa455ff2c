//! The table: making one, reading it, locking it for writers, and moving slots between shards.
#![expect(unsafe_code, reason = "readers follow addresses while they are pinned")]

use std::convert::Infallible;
use std::fmt;

use crossbeam_utils::CachePadded;

use crate::added::Added;
use crate::arena::{Address, Arena};
use crate::bucket::{Bucket, Fingerprint};
use crate::buckets;
use crate::entry::{Entry, EntryRef};
use crate::epoch::Pin;
use crate::guard::Guard;
use crate::hash::{KeyRef, SLOTS, hash_key, slot_of};
use crate::heat::{HEAT_TICKS, settled};
use crate::memory::{Resizes, SlotLoad, TableMemory, Tally};
use crate::prefetch::prefetch;
use crate::prepared::TableFull;
use crate::record::{NewValue, Record};
use crate::shard::{Shard, ShardLock};
use crate::slot::Slots;
use crate::store::Store;
use crate::sync::atomic::Ordering;
use crate::value::Key;
use crate::writer::{Former, Writer};

/// Lookups whose misses overlap in [`Table::multi_get_with`]: about as many as a processor can wait for at once.
const TOGETHER: usize = 32;
/// Each tick settles this part of the slots: all of them in time, see [`HEAT_TICKS`].
const SETTLED_PART: usize = HEAT_TICKS as usize / 4;

/// A concurrent table from keys to [`Entry`]s.
///
/// Reads need nothing; writes go through a [`Guard`] from one of the lock methods. All methods take `&self`, and
/// a table is `Send + Sync`.
///
/// A thread that holds a [`Guard`] must not lock again, nor call any method that says it takes shards' locks:
/// locks do not nest, and it would wait for itself. The same goes for closures that are called while a guard is held;
/// those of reads may do as they like, but keep replaced entries from being freed while they run.
///
/// ```
/// use warp_core::{KeyRef, Table};
///
/// let table = Table::new(4, 9);
/// let (a, b) = (KeyRef::new(9, 0, b"a"), KeyRef::new(9, 0, b"b"));
///
/// // Two keys under one guard: no other writer gets in between.
/// let (first, second) = (table.prepare(a, "1", 0)?, table.prepare(b, "2", 0)?);
/// let mut guard = table.lock_many(&[a.hash, b.hash]);
/// guard.put(first, 1);
/// guard.put(second, 1);
/// drop(guard);
///
/// assert_eq!(table.len(), 2);
/// assert_eq!(table.close_lists(|| 2).len(), 2);
/// # Ok::<(), warp_core::TableFull>(())
/// ```
pub struct Table {
    slots: Slots,
    shards: Box<[CachePadded<Shard>]>,
    store: Store,
    seed: u64,
    hash: fn(u64, u32, &[u8]) -> u64,
    added: Added,
    /// Whether lists of changed keys are kept, since something lies below the table.
    tracked: bool,
}

/// How a table is made.
#[derive(Debug, Clone, Copy)]
pub struct TableOptions {
    /// The number of shards, which is that of writers that can work at once; brought into 1..=[`SLOTS`].
    pub shards: u16,
    /// The seed of the hashes of all keys, as in [`KeyRef::new`].
    pub seed: u64,
    /// Whether the table keeps lists of changed keys, for snapshots; see [`Table::close_lists`]. They grow by 8 bytes for
    /// each key that is new or changed for the first time since.
    pub tracked: bool,
    /// Whether the system is asked for huge pages once a table has grown beyond some megabytes: reads are faster, and memory
    /// comes two megabytes at a time, in each of 16 places.
    pub huge_pages: bool,
    /// What makes a hash of seed, keyspace and key: [`hash_key`] but for tests, which may want keys that collide.
    pub hash: fn(u64, u32, &[u8]) -> u64,
}

impl TableOptions {
    /// A table with lists of changed keys, and the usual hash.
    #[must_use]
    pub fn new(shards: u16, seed: u64) -> TableOptions {
        TableOptions { shards, seed, tracked: true, huge_pages: true, hash: hash_key }
    }
}

impl Table {
    /// An empty table whose slot `s` starts on shard `s % shards`. The number of shards stays; it is brought into
    /// 1..=[`SLOTS`]. All [`KeyRef`]s that are used with the table are made with the same `seed`.
    #[must_use]
    pub fn new(shards: u16, seed: u64) -> Table {
        Table::with_options(TableOptions::new(shards, seed))
    }

    /// An empty table.
    #[must_use]
    pub fn with_options(options: TableOptions) -> Table {
        let shards = usize::from(options.shards).clamp(1, SLOTS);
        let names = (0..shards).map(shard_name).cycle();
        Table {
            slots: Slots::new(names, options.tracked),
            shards: (0..shards).map(|_| CachePadded::default()).collect(),
            store: Store::new(options.huge_pages),
            seed: options.seed,
            hash: options.hash,
            added: Added::new(),
            tracked: options.tracked,
        }
    }

    /// What the table holds for a key: a copy, which shares long values.
    ///
    /// Tombstones and entries past their deadline are returned like any other: the table has no clock, and what
    /// they mean is for the caller to say.
    #[must_use]
    #[inline]
    pub fn get(&self, key: KeyRef<'_>) -> Option<Entry> {
        // Not by a closure, which would move the copy once more.
        let reading = self.reading();
        let entry = reading.find(&key)?.to_entry();
        Some(entry)
    }

    /// Calls `f` with what the table holds for a key, and returns its answer; `None` if it holds nothing.
    ///
    /// The fastest read: it takes no lock, writes nothing that another thread uses, and copies nothing. What `f` sees stays
    /// as it is until `f` returns; meanwhile, nothing that is replaced or removed is freed, in any table of the process.
    #[inline]
    pub fn with<R>(&self, key: KeyRef<'_>, f: impl FnOnce(EntryRef<'_>) -> R) -> Option<R> {
        Some(f(self.reading().find(&key)?))
    }

    /// Begins to read: [`Table::with`] for a caller with much to do, whom a closure would cost.
    #[inline(always)]
    #[must_use]
    pub fn reading(&self) -> Reading<'_> {
        Reading { table: self, pin: self.store.pin() }
    }

    /// Looks up many keys, and calls `f` with the place of each in `keys` and what the table holds for it.
    ///
    /// Every key is called for once, in the order of `keys`, with no lock held; what [`Table::with`] says of `f` holds
    /// here, too. The cache misses of up to 32 keys overlap, which makes this several times as fast as that many
    /// gets on a table that is larger than the caches. Each lookup is a get of its own: together they are no snapshot.
    pub fn multi_get_with(&self, keys: &[KeyRef<'_>], mut f: impl FnMut(usize, Option<EntryRef<'_>>)) {
        let mut place = 0;
        for together in keys.chunks(TOGETHER) {
            let pin = self.store.pin();
            self.prefetch_all(together.iter().map(|key| key.hash), &pin);
            for key in together {
                // The slot is looked at anew: what `f` did for a key before may have had it grow.
                let found = self.find(key, &pin).map(|record| self.entry_ref(record));
                f(place, found);
                place += 1;
            }
        }
    }

    /// Looks up many keys, as [`Table::multi_get_with`], and returns copies.
    #[must_use]
    pub fn multi_get(&self, keys: &[KeyRef<'_>]) -> Vec<Option<Entry>> {
        let mut entries = Vec::with_capacity(keys.len());
        self.multi_get_with(keys, |_, found| entries.push(found.map(|entry| entry.to_entry())));
        entries
    }

    /// Asks for the memory that a lookup of this hash needs first, without waiting.
    #[inline]
    pub fn prefetch(&self, hash: u64) {
        self.reading().prefetch(hash);
    }

    /// Asks for the memory that lookups of these hashes need, buckets and entries: it waits for buckets alone, of all at once.
    pub fn prefetch_many(&self, hashes: &[u64]) {
        for together in hashes.chunks(TOGETHER) {
            let pin = self.store.pin();
            self.prefetch_all(together.iter().copied(), &pin);
        }
    }

    #[inline]
    fn find<'p>(&'p self, key: &KeyRef<'_>, pin: &'p Pin) -> Option<Record<'p>> {
        self.find_by_parts(key.hash, key.keyspace, key.bytes, pin)
    }

    /// Not inlined, and the key in parts, which are passed in registers: what lies between two lookups stays short, and the
    /// processor gets to the next one while it waits. A key that went through memory could hold that up, see
    /// `docs/performance.md`, "The engine over the table".
    #[inline(never)]
    fn find_by_parts<'p>(
        &'p self,
        hash: u64,
        keyspace: u32,
        bytes: &[u8],
        pin: &'p Pin,
    ) -> Option<Record<'p>> {
        let key = KeyRef { hash, keyspace, bytes };
        let array = self.slots.buckets(slot_of(key.hash)).load(pin);
        let arena = self.store.arena(Store::arena_of(slot_of(key.hash)));
        let print = Fingerprint::of(key.hash);
        let home = array.get(print.home(array.len()))?;
        let first = home.candidates(print).next();
        match first.and_then(|place| home.address_of(place, print)) {
            Some(address) => {
                Record::prefetch(arena.pointer(address));
                let record = record_at(arena, address, pin);
                if record.is_of(&key) {
                    return Some(record);
                }
            }
            None if first.is_none() && !home.was_passed() => return None,
            None => {}
        }
        self.find_elsewhere(hash, keyspace, bytes, pin)
    }

    /// Finds what is not the first entry in its home that may be it: few are, and the others need not pay for the search.
    #[cold]
    #[inline(never)]
    fn find_elsewhere<'p>(
        &'p self,
        hash: u64,
        keyspace: u32,
        bytes: &[u8],
        pin: &'p Pin,
    ) -> Option<Record<'p>> {
        let key = KeyRef { hash, keyspace, bytes };
        let array = self.slots.buckets(slot_of(key.hash)).load(pin);
        let arena = self.store.arena(Store::arena_of(slot_of(key.hash)));
        let found = buckets::find(array, Fingerprint::of(key.hash), |address| {
            let record = record_at(arena, address, pin);
            record.is_of(&key).then_some(record)
        });
        found.map(|(_, record)| record)
    }

    #[inline]
    fn entry_ref<'p>(&self, record: Record<'p>) -> EntryRef<'p> {
        EntryRef::new(record, self.store.tick.load(Ordering::Relaxed))
    }

    /// Asks for the buckets of up to [`TOGETHER`] hashes, and then for the entries that are found there, without waiting
    /// for one before the next.
    #[inline]
    fn prefetch_all(&self, hashes: impl Iterator<Item = u64> + Clone, pin: &Pin) {
        // Asked for twice, which is less than to keep them.
        let array_of = |hash| self.slots.buckets(slot_of(hash)).load(pin);
        hashes.clone().for_each(|hash| prefetch_home(array_of(hash), hash));
        hashes.for_each(|hash| self.prefetch_entry(array_of(hash), hash));
    }

    /// Asks for the entries in the home of a hash that may be its own.
    #[inline]
    pub(crate) fn prefetch_entry(&self, array: &[Bucket], hash: u64) {
        if array.is_empty() {
            return;
        }
        let print = Fingerprint::of(hash);
        let bucket = &array[print.home(array.len())];
        let arena = self.store.arena(Store::arena_of(slot_of(hash)));
        for address in bucket.candidates(print).filter_map(|place| bucket.address_of(place, print)) {
            Record::prefetch(arena.pointer(address));
        }
    }

    /// Asks for what a writer of this hash needs first; returns the slot's buckets.
    #[inline]
    pub(crate) fn prefetch_slot<'p>(&self, hash: u64, pin: &'p Pin) -> &'p [Bucket] {
        let slot = slot_of(hash);
        let buckets = self.slots.buckets(slot).load(pin);
        prefetch_home(buckets, hash);
        self.slots.prefetch_state(slot);
        buckets
    }

    /// Sets the value of a key under a lock of its own; returns what was there. `deadline` is in milliseconds since the
    /// start of 1970, 0 for none; `seq` is higher than that of the key's entry.
    ///
    /// # Errors
    /// [`TableFull`]; nothing was written.
    pub fn put<'v>(
        &self,
        key: KeyRef<'_>,
        value: impl Into<NewValue<'v>>,
        seq: u64,
        deadline: u64,
    ) -> Result<Option<Former>, TableFull> {
        let prepared = self.prepare(key, value, deadline)?;
        Ok(self.lock(key.hash).put(prepared, seq))
    }

    /// Puts a tombstone where the key's entry was, also where there was none; returns what was there.
    ///
    /// # Errors
    /// [`TableFull`]; nothing was written.
    pub fn delete(&self, key: KeyRef<'_>, seq: u64) -> Result<Option<Former>, TableFull> {
        let prepared = self.prepare_tombstone(key)?;
        Ok(self.lock(key.hash).put(prepared, seq))
    }

    /// Waits for the right to write the keys of the shard that `hash` is on at this moment.
    #[must_use]
    pub fn lock(&self, hash: u64) -> Guard<'_> {
        Guard::one(self, self.lock_slot(slot_of(hash)))
    }

    /// As [`Table::lock`], if nobody else holds the shard.
    #[must_use]
    pub fn try_lock(&self, hash: u64) -> Option<Guard<'_>> {
        Some(Guard::one(self, self.try_lock_slot(slot_of(hash))?))
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
        self.slots.shard(slot_of(hash))
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
        loop {
            let from = self.slots.shard(slot);
            if from == to {
                return from;
            }
            let low = self.lock_shard(from.min(to));
            let high = self.lock_shard(from.max(to));
            if self.slots.shard(slot) == from {
                let (from_lock, to_lock) = if from < to { (&low, &high) } else { (&high, &low) };
                self.slots.set_shard(slot, from_lock, to_lock);
                return from;
            }
        }
    }

    /// Calls `f` with every entry with this hash: one, none, or several that collide.
    ///
    /// No lock is held; what [`Table::with`] says of `f` holds here, too.
    pub fn entries(&self, hash: u64, mut f: impl FnMut(EntryRef<'_>)) {
        let slot = slot_of(hash);
        let pin = self.store.pin();
        let arena = self.store.arena(Store::arena_of(slot));
        let array = self.slots.buckets(slot).load(&pin);
        let _: Option<(_, ())> = buckets::find(array, Fingerprint::of(hash), |address| {
            let record = record_at(arena, address, &pin);
            if self.hash_of(record.keyspace(), record.key()) == hash {
                f(self.entry_ref(record));
            }
            None
        });
    }

    /// Calls `f` with every entry, slot by slot, in no order within a slot.
    ///
    /// Each slot is shown as it is at one moment, slots at different moments: an entry that is there throughout
    /// is seen exactly once, one that is written meanwhile in its version before or after, and one that comes or
    /// goes meanwhile once or not at all. Moving slots makes no difference.
    ///
    /// Takes shards' locks, one at a time, each for a few microseconds; none is held while `f` runs. What
    /// [`Table::with`] says of `f` holds here, too, for a slot at a time.
    pub fn for_each(&self, mut f: impl FnMut(EntryRef<'_>)) {
        for slot in 0..SLOTS {
            self.for_each_in(slot, &mut f);
        }
    }

    /// As [`Table::for_each`], for one slot.
    ///
    /// # Panics
    /// If `slot` is not below [`SLOTS`].
    pub fn for_each_in(&self, slot: usize, mut f: impl FnMut(EntryRef<'_>)) {
        let pin = self.store.pin();
        let addresses = self.write_slot(slot, |writer| writer.positions());
        let arena = self.store.arena(Store::arena_of(slot));
        for (_, address) in addresses {
            // Whatever has replaced the entry since, it was there when this thread was pinned already.
            f(self.entry_ref(record_at(arena, address, &pin)));
        }
    }

    /// The keyspace, key and entry of all that is in one slot at one moment, in no order. Takes a shard's lock.
    ///
    /// # Panics
    /// If `slot` is not below [`SLOTS`].
    #[must_use]
    pub fn slot_entries(&self, slot: usize) -> Vec<(u32, Key, Entry)> {
        let mut entries = Vec::new();
        self.for_each_in(slot, |entry| {
            entries.push((entry.keyspace(), Key::from(entry.key()), entry.to_entry()));
        });
        entries
    }

    /// What one slot holds, and how often it was written. Takes a shard's lock.
    ///
    /// # Panics
    /// If `slot` is not below [`SLOTS`].
    #[must_use]
    pub fn slot_load(&self, slot: usize) -> SlotLoad {
        self.write_slot(slot, |writer| SlotLoad {
            shard: self.slots.shard(slot),
            entries: self.slots.count(slot) as u64,
            bytes: writer.state.bytes,
            writes: writer.state.writes,
        })
    }

    /// Calls `f` with the place of each hash in `hashes` and every entry with that hash, as [`Table::entries`] for many
    /// hashes at once: the cache misses of those that come next overlap with the work of `f`.
    pub fn multi_entries(&self, hashes: &[u64], mut f: impl FnMut(usize, EntryRef<'_>)) {
        let groups = || hashes.chunks(TOGETHER);
        // While a group is looked up, the entries of the next and the buckets of the one after are on their way.
        let (mut buckets_of, mut entries_of) = (groups(), groups());
        let pin = self.store.pin();
        (0..2).for_each(|_| self.prefetch_homes(buckets_of.next(), &pin));
        self.prefetch_entries(entries_of.next(), &pin);
        drop(pin);
        let mut place = 0;
        for together in groups() {
            let pin = self.store.pin();
            self.prefetch_homes(buckets_of.next(), &pin);
            self.prefetch_entries(entries_of.next(), &pin);
            for hash in together {
                self.entries(*hash, |entry| f(place, entry));
                place += 1;
            }
        }
    }

    fn prefetch_homes(&self, hashes: Option<&[u64]>, pin: &Pin) {
        for &hash in hashes.into_iter().flatten() {
            prefetch_home(self.slots.buckets(slot_of(hash)).load(pin), hash);
        }
    }

    fn prefetch_entries(&self, hashes: Option<&[u64]>, pin: &Pin) {
        for &hash in hashes.into_iter().flatten() {
            self.prefetch_entry(self.slots.buckets(slot_of(hash)).load(pin), hash);
        }
    }

    /// Begins or ends noting which keys come up new, for whoever keeps them in order; it is off at first.
    ///
    /// While it is on, every put of a value where the table had no entry, a tombstone, or an entry with a deadline
    /// notes the hash of its key, before it returns. So with it on, a key that a later walk over the table does not
    /// find was noted, or has no value. What was noted stays until it is taken.
    pub fn note_added(&self, on: bool) {
        self.added.turn(on);
    }

    /// Whether new keys are noted.
    #[must_use]
    pub fn notes_added(&self) -> bool {
        self.added.is_on()
    }

    /// Takes the hashes that were noted since they were last taken, in any order; some may be there twice. Every put
    /// that returned before the call is among them, or was taken by an earlier call. Gives back what the notes took, but for
    /// room for a few while noting goes on.
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

    /// Notes that a put, of a tombstone or of a value, found `former`, under the lock of the key's shard.
    pub(crate) fn note_put(&self, hash: u64, is_tombstone: bool, former: Option<Former>) {
        // An entry with a deadline may have been taken for dead already.
        let is_new = former.is_none_or(|former| former.is_tombstone || former.deadline != 0);
        if is_new && !is_tombstone && self.added.is_on() {
            let is_there = |hash| {
                let mut is_there = false;
                self.entries(hash, |_| is_there = true);
                is_there
            };
            self.added.note(hash, |hash| self.tracked || is_there(hash));
        }
    }

    /// Lets a tick of heat pass: every entry loses half of its mass; see [`EntryRef::mass`].
    pub fn next_tick(&self) {
        let tick = self.store.tick.load(Ordering::Relaxed).wrapping_add(1);
        self.store.tick.store(tick, Ordering::Relaxed);
        // An eighth of the entries is told anew, so that each is in time.
        for slot in (usize::from(tick) % SETTLED_PART..SLOTS).step_by(SETTLED_PART) {
            let pin = self.store.pin();
            let arena = self.store.arena(Store::arena_of(slot));
            for (_, _, address) in buckets::iter(self.slots.buckets(slot).load(&pin)) {
                let record = record_at(arena, address, &pin);
                record.set_heat(settled(record.heat(), tick));
            }
        }
    }

    /// How many ticks of heat have passed, modulo 256.
    #[must_use]
    pub fn tick(&self) -> u8 {
        self.store.tick.load(Ordering::Relaxed)
    }

    /// Shows the entries of a slot without its lock, from the bucket on that `from` chooses, until `f` says no.
    pub(crate) fn walk(&self, slot: usize, from: usize, mut f: impl FnMut(EntryRef<'_>) -> bool) {
        let pin = self.store.pin();
        let arena = self.store.arena(Store::arena_of(slot));
        let array = self.slots.buckets(slot).load(&pin);
        let (behind, first) = array.split_at(from % array.len().max(1));
        for (_, _, address) in buckets::iter(first).chain(buckets::iter(behind)) {
            if !f(self.entry_ref(record_at(arena, address, &pin))) {
                return;
            }
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

    /// The memory that the table holds, as exact as [`Table::len`]. Walks nothing.
    #[must_use]
    pub fn memory(&self) -> TableMemory {
        // Before those who take from it are looked at, so that a chunk that moves meanwhile counts twice, and never not at all.
        let ready = self.store.spares.as_ref().map_or(0, |spares| spares.bytes());
        let tally = self.tally();
        let fixed = Slots::FIXED_BYTES + size_of_val(&*self.shards);
        let long = self.store.long_values.memory();
        let fixed_and_lists = fixed as u64 + not_negative(tally.list_bytes);
        let (mut held, mut free, mut huge) = (0, 0, 0);
        let (mut resident, mut used) = (long.resident, long.used);
        for (_, arena) in self.store.arenas() {
            let memory = arena.memory();
            held += memory.held;
            free += memory.free;
            huge += memory.huge;
            resident += memory.resident;
            used += memory.used;
        }
        TableMemory {
            entries: not_negative(tally.entries),
            tombstones: not_negative(tally.tombstones),
            key_bytes: not_negative(tally.key_bytes),
            value_bytes: not_negative(tally.value_bytes),
            heap_bytes: not_negative(tally.shared_bytes),
            table_bytes: (held + ready) as u64 + fixed_and_lists,
            free_bytes: (free + ready) as u64,
            ready_bytes: ready as u64,
            huge_bytes: (huge + ready) as u64,
            retired_bytes: not_negative(tally.retired_bytes) + self.store.waiting_bytes() as u64,
            resident_bytes: (resident + ready) as u64 + fixed_and_lists,
            used_bytes: used as u64 + fixed_and_lists,
            packed_entries: not_negative(tally.packed),
            packed_bytes: not_negative(tally.packed_bytes),
            changed: not_negative(tally.listed),
            list_bytes: not_negative(tally.list_bytes),
            pinned_bytes: (long.live as u64).saturating_sub(not_negative(tally.shared_bytes)),
        }
    }

    /// How slots have grown and shrunk since the table was made.
    #[must_use]
    pub fn resizes(&self) -> Resizes {
        self.store.resizes.get()
    }

    /// The number of writes under each shard's lock since the table was made: its load.
    ///
    /// Every call on a guard that changes an entry counts, promotions with [`Guard::insert_clean`] too.
    #[must_use]
    pub fn shard_writes(&self) -> Vec<u64> {
        self.shards.iter().map(|shard| shard.tally().writes).collect()
    }

    /// The hash of a key in this table.
    #[must_use]
    pub fn hash_of(&self, keyspace: u32, key: &[u8]) -> u64 {
        (self.hash)(self.seed, keyspace, key)
    }

    pub(crate) fn can_take_more(&self, slot: usize) -> bool {
        buckets::can_take_more(self.slots.count(slot))
    }

    pub(crate) fn store(&self) -> &Store {
        &self.store
    }

    pub(crate) fn slots(&self) -> &Slots {
        &self.slots
    }

    pub(crate) fn lock_shard(&self, shard: u16) -> ShardLock<'_> {
        self.shards[usize::from(shard)].lock(shard, &self.store)
    }

    pub(crate) fn try_lock_shard(&self, shard: u16) -> Option<ShardLock<'_>> {
        self.shards[usize::from(shard)].try_lock(shard, &self.store)
    }

    /// Changes one slot, under the lock of the shard that it names.
    pub(crate) fn write_slot<R>(&self, slot: usize, change: impl FnOnce(Writer<'_>) -> R) -> R {
        let mut lock = self.lock_slot(slot);
        change(self.slots.writer(slot, &mut lock, &self.store))
    }

    /// As [`Table::lock_slot`], if nobody else holds the shard.
    pub(crate) fn try_lock_slot(&self, slot: usize) -> Option<ShardLock<'_>> {
        self.lock_named(slot, |name| self.try_lock_shard(name).ok_or(())).ok()
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
        loop {
            let name = self.slots.shard(slot);
            let lock = lock(name)?;
            if self.slots.shard(slot) == name {
                return Ok(lock);
            }
        }
    }

    /// The counters of all shards together.
    pub(crate) fn tally(&self) -> Tally {
        let mut sum = Tally::default();
        for shard in &self.shards {
            sum.add(&shard.tally());
        }
        sum
    }
}

/// A thread reads a table: what it sees stays as it is until this is dropped; meanwhile, nothing that is replaced or removed is
/// freed, in any table of the process. Lent by [`Table::reading`].
#[derive(Debug)]
pub struct Reading<'t> {
    table: &'t Table,
    pin: Pin,
}

impl Reading<'_> {
    /// What the table holds for a key.
    #[inline(always)]
    #[must_use]
    pub fn find(&self, key: &KeyRef<'_>) -> Option<EntryRef<'_>> {
        self.table.find(key, &self.pin).map(|record| self.table.entry_ref(record))
    }

    /// As [`Table::prefetch`].
    #[inline]
    pub fn prefetch(&self, hash: u64) {
        prefetch_home(self.table.slots.buckets(slot_of(hash)).load(&self.pin), hash);
    }
}

#[inline]
fn prefetch_home(array: &[Bucket], hash: u64) {
    if let Some(bucket) = array.get(Fingerprint::of(hash).home(array.len())) {
        prefetch(bucket);
    }
}

/// The entry at an address that was found in a bucket while pinned.
#[inline]
fn record_at<'p>(arena: &Arena, address: Address, _pin: &'p Pin) -> Record<'p> {
    // SAFETY: the bucket held the address while this thread was pinned, so that the entry was not retired before, and
    // is not freed before the pin goes. It was written before its address was published.
    unsafe { Record::at(arena.pointer(address)) }
}

impl Drop for Table {
    fn drop(&mut self) {
        for slot in 0..SLOTS {
            let arena = self.store.arena(Store::arena_of(slot));
            let pin = self.store.pin();
            for (_, _, address) in buckets::iter(self.slots.buckets(slot).load(&pin)) {
                // SAFETY: nobody borrows a table that is being dropped; the entry is in one bucket only, and its memory
                // goes with its arena.
                unsafe { record_at(arena, address, &pin).drop_shared() }
            }
        }
        for shard in &mut self.shards {
            self.store.retire(shard.take_all());
        }
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

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests;
