//! Changing a slot: the one place where entries come, are replaced, and go.
#![expect(
    unsafe_code,
    reason = "the slot's writer reads entries without a pin, since nobody else retires them"
)]

use bytes::Bytes;

use crate::arena::{Address, Arena, Exhausted, Purpose};
use crate::bucket::{Bucket, Fingerprint, PLACES};
use crate::buckets::{self, Array, BucketsCell, Position};
use crate::entry::EntryRef;
use crate::hash::KeyRef;
use crate::heat;
use crate::memory::Tally;
use crate::record::{Contents, Record};
use crate::shard::Counters;
use crate::slot::SlotState;
use crate::stopwatch::Stopwatch;
use crate::store::{Retired, Store};
use crate::sync::atomic::{AtomicU32, Ordering};

/// What the table had for a key before a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Former {
    /// The number of the write that made the entry.
    pub seq: u64,
    /// When it ceased to count, in milliseconds since the start of 1970; 0 for never.
    pub deadline: u64,
    /// Whether it was a tombstone.
    pub is_tombstone: bool,
}

/// A write came too late: the key has a newer entry.
#[derive(Debug)]
pub(crate) struct Older;

/// The exclusive right to change one slot, while its shard's lock is held.
pub(crate) struct Writer<'a> {
    pub(crate) buckets: &'a BucketsCell,
    pub(crate) count: &'a AtomicU32,
    pub(crate) state: &'a mut SlotState,
    pub(crate) counters: &'a Counters,
    pub(crate) retired: &'a mut Vec<Retired>,
    pub(crate) store: &'a Store,
    pub(crate) arena: u8,
    /// Empty buckets for growing, which were made before the lock was taken.
    pub(crate) room: Option<Array>,
}

impl Writer<'_> {
    fn buckets(&self) -> &[Bucket] {
        // SAFETY: only this writer replaces the buckets, in `rebuild`, and no reference to them lives across that:
        // it needs `self` exclusively.
        unsafe { self.buckets.load_unpinned() }
    }

    fn arena(&self) -> &Arena {
        self.store.arena(self.arena)
    }

    /// The entry at an address of this slot.
    fn record(&self, address: Address) -> Record<'_> {
        // SAFETY: an address in a bucket, or of an entry that is about to be, is that of an entry; only this writer
        // retires it, which needs `self` exclusively.
        unsafe { Record::at(self.arena().pointer(address)) }
    }

    pub(crate) fn find(&self, hash: u64, key: KeyRef<'_>) -> Option<(Position, Address)> {
        buckets::find(self.buckets(), Fingerprint::of(hash), |address| {
            self.record(address).is_of(&key).then_some(address)
        })
    }

    /// Sets the entry of a key to one that was prepared, as a write with this sequence.
    #[inline(always)] // On the way of each put.
    pub(crate) fn put(&mut self, hash: u64, new: Address, seq: u64) -> Option<Former> {
        let former = self.overwrite(hash, new, seq);
        if former.is_some() { former } else { self.put_slowly(hash, new, seq) }
    }

    /// What [`Writer::put`] does where there is most to gain: both entries have nothing but a short key and value, and
    /// the key's is the first in its home that may be it. So little is done and written between the one cache miss and
    /// the end that the processor gets to the next put while it waits.
    #[inline(always)] // As `put`.
    fn overwrite(&mut self, hash: u64, new: Address, seq: u64) -> Option<Former> {
        let print = Fingerprint::of(hash);
        let buckets = self.buckets();
        let home = buckets.get(print.home(buckets.len()))?;
        let place = home.candidates(print).next()?;
        let old = home.address_of(place, print)?;
        let (record, former) = (self.record(new), self.record(old));
        let (bytes, former_bytes) = record.plain_bytes_of_same(former)?;
        let was = Former { seq: former.seq(), deadline: 0, is_tombstone: false };
        // SAFETY: the entry is published only below.
        unsafe { self.succeed(record, former, seq) };
        home.publish(place, new);
        let (address, arena) = (old, self.arena);
        self.retired.push(Retired {
            address,
            bytes: former_bytes,
            purpose: Purpose::Entry,
            arena,
            shared: None,
        });
        // The keys are the same, so that what differs is the values.
        let value_bytes = (bytes as u64).wrapping_sub(former_bytes as u64);
        let retired_bytes = former_bytes as u64;
        self.account(&Tally { value_bytes, retired_bytes, writes: 1, ..Tally::default() });
        self.list_change(hash, Some(was));
        Some(was)
    }

    #[inline(never)]
    fn put_slowly(&mut self, hash: u64, new: Address, seq: u64) -> Option<Former> {
        let found = self.find_same(hash, new);
        self.set(hash, new, seq, found)
    }

    /// As [`Writer::put`], unless the entry that is there has a higher sequence: then the prepared one is not used, and
    /// that is the error.
    pub(crate) fn put_unless_older(
        &mut self,
        hash: u64,
        new: Address,
        seq: u64,
    ) -> Result<Option<Former>, Older> {
        let found = self.find_same(hash, new);
        if found.is_some_and(|(_, old)| self.record(old).seq() > seq) {
            return Err(Older);
        }
        Ok(self.set(hash, new, seq, found))
    }

    /// Sets the entry of a key that has none, without counting it as changed; `false` if it has one.
    pub(crate) fn insert_clean(&mut self, hash: u64, new: Address, seq: u64) -> bool {
        if self.find_same(hash, new).is_some() {
            return false;
        }
        self.state.changed.came_in_clean(seq);
        self.insert(hash, new, seq);
        true
    }

    fn find_same(&self, hash: u64, new: Address) -> Option<(Position, Address)> {
        let record = self.record(new);
        self.find(hash, KeyRef { hash, keyspace: record.keyspace(), bytes: record.key() })
    }

    fn set(
        &mut self,
        hash: u64,
        new: Address,
        seq: u64,
        found: Option<(Position, Address)>,
    ) -> Option<Former> {
        let former = match found {
            None => {
                self.insert(hash, new, seq);
                None
            }
            Some((position, old)) => Some(self.replace(position, old, new, seq, 1)),
        };
        self.list_change(hash, former);
        former
    }

    fn insert(&mut self, hash: u64, new: Address, seq: u64) {
        self.make_room();
        let record = self.record(new);
        // SAFETY: the entry is published only below.
        unsafe { record.set_seq(seq) };
        let mut change = Tally { writes: 1, ..Tally::default() };
        change.add_record(record);
        buckets::insert(self.buckets(), Fingerprint::of(hash), new);
        self.count.store(self.count.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        self.account(&change);
    }

    /// Puts another entry in the place of a key's, which counts as so many writes.
    fn replace(&mut self, position: Position, old: Address, new: Address, seq: u64, writes: u64) -> Former {
        let (record, former) = (self.record(new), self.record(old));
        // SAFETY: the entry is published only below.
        unsafe { self.succeed(record, former, seq) };
        let mut change = Tally { writes, ..Tally::default() };
        change.subtract_record(former);
        change.add_record(record);
        let was = former_of(former);
        buckets::replace(self.buckets(), position, new);
        self.retire_entry(old, &mut change);
        self.account(&change);
        was
    }

    /// Makes an entry, which is not published yet, what follows the key's former one.
    ///
    /// # Safety
    /// As [`Record::set_seq`].
    #[inline(always)] // On the way of each put.
    unsafe fn succeed(&self, record: Record<'_>, former: Record<'_>, seq: u64) {
        let tick = self.store.tick.load(Ordering::Relaxed);
        record.set_heat(heat::hotter(former.heat(), record.heat(), tick));
        // SAFETY: the entry is not published, as the caller says.
        unsafe { record.set_seq(seq) };
    }

    /// Notes that a key was written, for who makes snapshots.
    #[inline(always)] // As `succeed`.
    fn list_change(&mut self, hash: u64, former: Option<Former>) {
        let former = former.map(|former| former.seq);
        if self.state.changed.is_news(former) {
            self.with_lists(|slot| slot.changed.written(hash, former));
        }
    }

    /// Puts an entry that was prepared in the place of the key's, if that has the same sequence: the same write in another
    /// form. Returns whether it did.
    pub(crate) fn reform(&mut self, hash: u64, new: Address, seq: u64) -> bool {
        match self.find_same(hash, new) {
            Some((position, old)) if self.record(old).seq() == seq => {
                self.replace(position, old, new, seq, 0);
                true
            }
            _ => false,
        }
    }

    fn list_bytes(&self) -> u64 {
        self.state.changed.memory_bytes() as u64
    }

    /// Works on the slot's list of changed keys, and counts its memory anew.
    pub(crate) fn with_lists<R>(&mut self, work: impl FnOnce(&mut SlotState) -> R) -> R {
        let (before, listed) = (self.list_bytes(), self.state.changed.open().len());
        let answer = work(self.state);
        let list_bytes = self.list_bytes().wrapping_sub(before);
        let listed = (self.state.changed.open().len() as u64).wrapping_sub(listed as u64);
        self.counters.account(&Tally { list_bytes, listed, ..Tally::default() });
        answer
    }

    /// Takes a key's entry out of the slot.
    pub(crate) fn remove(&mut self, key: KeyRef<'_>) -> Option<Former> {
        let (position, address) = self.find(key.hash, key)?;
        let former = former_of(self.record(address));
        self.take_out(position, address);
        self.counters.account(&Tally { writes: 1, ..Tally::default() });
        self.state.writes += 1;
        self.shrink();
        Some(former)
    }

    /// Takes out all entries that `chosen` accepts; returns how many.
    pub(crate) fn remove_all(&mut self, chosen: impl Fn(EntryRef<'_>) -> bool) -> usize {
        let found: Vec<(Position, Address)> = self
            .positions()
            .into_iter()
            .filter(|(_, address)| chosen(EntryRef::new(self.record(*address), 0)))
            .collect();
        self.take_out_all(&found)
    }

    /// Takes out the entries with this hash that `chosen` accepts; returns how many.
    pub(crate) fn remove_hash(
        &mut self,
        hash: u64,
        hash_of: impl Fn(u32, &[u8]) -> u64,
        chosen: impl Fn(EntryRef<'_>) -> bool,
    ) -> usize {
        let mut found = self.positions_of(hash);
        found.retain(|(_, address)| {
            let record = self.record(*address);
            hash_of(record.keyspace(), record.key()) == hash && chosen(EntryRef::new(record, 0))
        });
        self.take_out_all(&found)
    }

    fn take_out_all(&mut self, found: &[(Position, Address)]) -> usize {
        for (position, address) in found {
            self.take_out(*position, *address);
        }
        self.shrink();
        found.len()
    }

    fn take_out(&mut self, position: Position, address: Address) {
        let mut change = Tally::default();
        change.subtract_record(self.record(address));
        buckets::remove(self.buckets(), position);
        self.count.store(self.count.load(Ordering::Relaxed) - 1, Ordering::Relaxed);
        self.retire_entry(address, &mut change);
        self.account(&change);
    }

    /// Frees the value of an entry that is past its deadline at `now`: leaves a tombstone with its sequence, or
    /// nothing. `false` if it is not so; [`Exhausted`] if there is no memory for the tombstone.
    pub(crate) fn expire(&mut self, key: KeyRef<'_>, now: u64, keep_stub: bool) -> Result<bool, Exhausted> {
        let Some((position, address)) = self.find(key.hash, key) else { return Ok(false) };
        let record = self.record(address);
        let seq = record.seq();
        if record.is_tombstone() || !EntryRef::new(record, 0).is_expired(now) {
            return Ok(false);
        }
        if keep_stub {
            let stub = prepare(self.arena(), Contents { key, value: None, deadline: 0 })?;
            self.replace(position, address, stub, seq, 0);
        } else {
            self.take_out(position, address);
            self.shrink();
        }
        Ok(true)
    }

    /// Positions and addresses of all entries.
    pub(crate) fn positions(&self) -> Vec<(Position, Address)> {
        buckets::iter(self.buckets()).map(|(position, _, address)| (position, address)).collect()
    }

    fn positions_of(&self, hash: u64) -> Vec<(Position, Address)> {
        let mut found = Vec::new();
        let print = Fingerprint::of(hash);
        for (position, other, address) in buckets::near(self.buckets(), print) {
            if other == print {
                found.push((position, address));
            }
        }
        found
    }

    /// Moves those of the slot's entries that are in spans which are to be emptied, and its buckets; returns how many
    /// pieces it moved.
    pub(crate) fn leave_spans(&mut self) -> usize {
        let mut leaving = self.positions();
        self.arena().retain_leaving(&mut leaving);
        let mut moved = 0;
        for (position, old) in leaving {
            let record = self.record(old);
            let (bytes, shared) = (record.bytes(), record.shared().map(|_| 0));
            let Ok(new) = self.arena().take(bytes, Purpose::Entry) else { break };
            // SAFETY: the new piece is as large, and ours.
            unsafe { record.copy_to(self.arena().pointer(new)) };
            buckets::replace(self.buckets(), position, new);
            // The value lives on in the new piece.
            self.retire_piece(old, bytes, Purpose::Entry, shared);
            moved += 1;
        }
        if let Some(array) = self.state.array
            && self.arena().is_leaving(array.address)
            && self.rebuild(array.buckets).is_ok()
        {
            moved += 1;
        }
        moved
    }

    fn make_room(&mut self) {
        let count = self.state.array.map_or(0, |array| array.buckets);
        let entries = self.count.load(Ordering::Relaxed) as usize;
        if let Some(buckets) = buckets::grown(count, entries)
            && self.resize(buckets).is_err()
        {
            // Half of an arena is kept for buckets, see `arena.rs`; the last places are used before giving up.
            assert!(entries < count * PLACES, "an arena has no memory for the buckets of its entries");
        }
    }

    fn shrink(&mut self) {
        let count = self.state.array.map_or(0, |array| array.buckets);
        let entries = self.count.load(Ordering::Relaxed) as usize;
        if let Some(buckets) = buckets::resized(count, entries).filter(|buckets| *buckets < count) {
            // Without memory for less, it stays as it is.
            let _ = self.resize(buckets);
        }
    }

    fn resize(&mut self, count: usize) -> Result<(), Exhausted> {
        let start = Stopwatch::start();
        self.rebuild(count)?;
        self.store.resizes.add(&start);
        Ok(())
    }

    /// Puts the slot's entries into other buckets, so many.
    fn rebuild(&mut self, count: usize) -> Result<(), Exhausted> {
        let arena = self.store.arena(self.arena);
        let made = match self.room.take_if(|room| room.buckets == count) {
            Some(room) => Some(room),
            None if count == 0 => None,
            None => Some(buckets::make(arena, count)?),
        };
        // SAFETY: this is the slot's writer.
        let former = unsafe { buckets::resize(self.buckets, arena, &mut self.state.array, made) };
        if let Some(array) = former {
            self.retire_piece(array.address, array.bytes(), Purpose::Buckets, None);
        }
        Ok(())
    }

    fn retire_entry(&mut self, address: Address, change: &mut Tally) {
        let record = self.record(address);
        let (bytes, shared) = (record.bytes(), record.shared().map(Bytes::len));
        let retired = Retired { address, bytes, purpose: Purpose::Entry, arena: self.arena, shared };
        change.retired_bytes = change.retired_bytes.wrapping_add(retired.weight() as u64);
        self.retired.push(retired);
    }

    /// Gives up buckets that were not used: to be freed later, since who holds the lock should not wait for that.
    pub(crate) fn retire_room(&mut self) {
        if let Some(room) = self.room.take() {
            self.retire_piece(room.address, room.bytes(), Purpose::Buckets, None);
        }
    }

    fn retire_piece(&mut self, address: Address, bytes: usize, purpose: Purpose, shared: Option<usize>) {
        let retired = Retired { address, bytes, purpose, arena: self.arena, shared };
        self.counters.account(&Tally { retired_bytes: retired.weight() as u64, ..Tally::default() });
        self.retired.push(retired);
    }

    #[inline(always)] // So that what is known to be zero is not looked at.
    fn account(&mut self, change: &Tally) {
        self.counters.account(change);
        self.state.writes += change.writes;
        let bytes = change.key_bytes.wrapping_add(change.value_bytes);
        self.state.bytes = self.state.bytes.wrapping_add(bytes);
    }

    /// Recounts what the slot believes of itself; see [`Table::validate`](crate::Table::validate).
    pub(crate) fn validate(&self, slot: usize, hash_of: impl Fn(u32, &[u8]) -> u64) -> Result<Tally, String> {
        let buckets = self.buckets();
        buckets::validate(buckets)?;
        if self.state.array.map_or(0, |array| array.buckets) != buckets.len() {
            return Err(format!("has {} buckets, and knows of {:?}", buckets.len(), self.state.array));
        }
        let mut tally = Tally::default();
        let mut seen = std::collections::HashSet::new();
        for (_, address) in self.positions() {
            let record = self.record(address);
            let hash = hash_of(record.keyspace(), record.key());
            let key = KeyRef { hash, keyspace: record.keyspace(), bytes: record.key() };
            if crate::hash::slot_of(hash) != slot {
                return Err(format!("{key:?} belongs into slot {}", crate::hash::slot_of(hash)));
            }
            if !seen.insert((record.keyspace(), record.key())) {
                return Err(format!("{key:?} is there twice"));
            }
            if self.find(hash, key).map(|(_, found)| found) != Some(address) {
                return Err(format!("{key:?} is not found"));
            }
            if self.state.changed.must_list(record.seq()) && !self.state.changed.open().contains(&hash) {
                return Err(format!("{key:?} with sequence {} is on no list", record.seq()));
            }
            tally.add_record(record);
        }
        if let Some(strange) =
            self.state.changed.open().iter().find(|hash| crate::hash::slot_of(**hash) != slot)
        {
            return Err(format!("the hash {strange:#x} is on the wrong list"));
        }
        if tally.entries != u64::from(self.count.load(Ordering::Relaxed))
            || tally.key_bytes + tally.value_bytes != self.state.bytes
        {
            return Err(format!("holds {tally:?}, counts {:?} and {}", self.count, self.state.bytes));
        }
        tally.list_bytes = self.list_bytes();
        tally.listed = self.state.changed.open().len() as u64;
        tally.writes = self.state.writes;
        Ok(tally)
    }
}

fn former_of(record: Record<'_>) -> Former {
    Former { seq: record.seq(), deadline: record.deadline(), is_tombstone: record.is_tombstone() }
}

/// Writes an entry into a piece of its own.
#[inline(always)] // On the way of each put.
pub(crate) fn prepare(arena: &Arena, contents: Contents<'_>) -> Result<Address, Exhausted> {
    let purpose = if contents.value.is_some() { Purpose::Entry } else { Purpose::Tombstone };
    let address = arena.take(contents.bytes(), purpose)?;
    // SAFETY: the piece was just taken for that many bytes, and pieces are aligned to eight.
    unsafe { contents.write_to(arena.pointer(address)) };
    Ok(address)
}
