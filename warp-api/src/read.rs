//! Reads: memory first, then the layers of the current checkpoint.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use warp_checkpoint::LayerValue;
use warp_core::{Entry, EntryRef, KeyRef, Prepared, Value};
use warp_io::Clock;

use crate::behind::FoundBehind;
use crate::entropy::LoadMonitor;
use crate::error::Result;
use crate::layers::LayerList;
use crate::packed::value_of;
use crate::shared::Shared;
use crate::types::Level;

/// What an entry takes beside its key and value, about, in bytes.
pub(crate) const ENTRY_BYTES: usize = 32;

/// A key's present value.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) value: Value,
    pub(crate) seq: u64,
    pub(crate) deadline: u64,
    pub(crate) level: Level,
}

impl Found {
    /// What a live entry in memory says, whose value is `value`.
    fn of(entry: EntryRef<'_>, value: Value) -> Found {
        let level = if entry.packed_from().is_some() { Level::Warm } else { Level::Hot };
        Found { value, seq: entry.seq(), deadline: entry.deadline(), level }
    }
}

/// What one of many lookups saw.
#[derive(Debug)]
pub(crate) enum Seen<'a> {
    /// In memory, for as long as the call that shows it.
    Hot(EntryRef<'a>),
    /// In packed form, in memory.
    Warm(Value),
    Cold(Found),
    Nothing,
}

impl Seen<'_> {
    /// Calls `read` with the value.
    pub(crate) fn read<R>(&self, read: impl FnOnce(Option<&[u8]>) -> R) -> R {
        match self {
            Seen::Hot(entry) => read(entry.value()),
            Seen::Warm(value) => read(Some(value)),
            Seen::Cold(found) => read(Some(&found.value)),
            Seen::Nothing => read(None),
        }
    }

    /// Puts the value in a handle where the caller wants it: a handle is 120 bytes, and each move of one costs what the next
    /// lookup could have begun in.
    #[inline(always)]
    pub(crate) fn value_into(self, slot: &mut Option<Value>) {
        match self {
            Seen::Hot(entry) => entry.value_into(slot),
            Seen::Warm(value) => *slot = Some(value),
            Seen::Cold(found) => *slot = Some(found.value),
            Seen::Nothing => *slot = None,
        }
    }
}

/// What a pass over memory found, and what it leaves to be done when nothing is pinned any more.
#[derive(Default)]
struct Pass<'k> {
    /// Whether partners are ordered of what is read: not where they are read in the same call.
    orders_partners: bool,
    /// Whether the system was asked for the pages of all of them already.
    is_asked: bool,
    hot: u64,
    missed: u64,
    /// Keys that were brought in as partners, and are used for the first time.
    first_used: Vec<KeyRef<'k>>,
    /// Places of keys that memory has nothing for.
    not_in_memory: Vec<usize>,
    /// Those that were found behind another key in its layer.
    behind: Option<FoundBehind>,
}

/// Whether a value was found in a layer.
fn is_cold(found: Option<&Found>) -> bool {
    found.is_some_and(|found| found.level == Level::Cold)
}

/// How long reads from layers have taken of late.
#[derive(Debug, Default)]
pub(crate) struct ColdReads {
    nanos: AtomicU64,
}

impl ColdReads {
    /// The weight of one read in the running mean, as a power of two: an eighth.
    const WEIGHT_SHIFT: u32 = 3;

    pub(crate) fn took(&self, elapsed: Duration) {
        let nanos = u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX);
        // A mean that loses one of two reads at the same moment is as good.
        let mean = self.nanos.load(Ordering::Relaxed);
        let next = mean - (mean >> Self::WEIGHT_SHIFT) + (nanos >> Self::WEIGHT_SHIFT);
        self.nanos.store(next, Ordering::Relaxed);
    }

    pub(crate) fn recent(&self) -> Duration {
        Duration::from_nanos(self.nanos.load(Ordering::Relaxed))
    }
}

/// What a lookup saw, for a write that must not happen if that changed meanwhile.
#[derive(Debug)]
pub(crate) struct Witness {
    /// The sequence of the entry in memory, a tombstone included; `None` if there was none.
    in_memory: Option<u64>,
    /// The layers that were searched, if there was no entry in memory.
    searched: Option<Arc<LayerList>>,
    /// The floor of its keyspace.
    floor: u64,
    /// The deadline of the value that was seen, in Unix milliseconds; 0 for none. Once it has passed, the key is not as
    /// it was, although nobody has written it.
    deadline: u64,
}

impl Shared {
    #[inline]
    pub(crate) fn key<'a>(&self, keyspace: u32, bytes: &'a [u8]) -> KeyRef<'a> {
        KeyRef::new(self.hash_seed, keyspace, bytes)
    }

    /// The value that `key` has now, and what is known of it.
    pub(crate) fn find(&self, key: KeyRef<'_>) -> Result<Option<Found>> {
        match self.table.with(key, |entry| self.found(key.keyspace, entry)) {
            Some(found) => Ok(found),
            None => self.find_cold(key),
        }
    }

    /// Takes note of a read of an entry in its heat, and in what is learned of its uses. Returns whether its partners are to be
    /// brought in, since it was brought in like them: by [`Shared::want_partners`], after the read.
    #[inline]
    fn tell_read(&self, key: &KeyRef<'_>, entry: EntryRef<'_>, is_turn: bool) -> bool {
        let is_told = if is_turn && LoadMonitor::is_counted() {
            entry.touch();
            true
        } else {
            entry.touch_once()
        };
        // Of one that came in unasked the first read is told: only reads that are told, few of an entry, look for that.
        let is_first = is_told && self.note_use_of_brought(key.hash);
        if self.residency.pull.has_begun() {
            self.tell_read_of_short_memory(key, entry);
        }
        is_first
    }

    #[inline(never)]
    fn tell_read_of_short_memory(&self, key: &KeyRef<'_>, entry: EntryRef<'_>) {
        if let Some(learned) = self.residency.pull.learned() {
            learned.read(key.hash, entry.mass());
        }
        if self.residency.rival.follows(key.hash) {
            self.show_hit(*key, entry);
        }
    }

    /// Calls `read` with what memory has for a key, if it is visible, and counts it as a read of the program's. `false` if
    /// memory has nothing, and nothing was counted.
    ///
    /// `read` puts its answer where the caller wants it: a value in a handle is 120 bytes, which each return would move. The key
    /// is lent all the way: what was just written piece by piece and is copied as a whole waits, in many processors, until the
    /// pieces have left their store buffers, and with it the next lookup for the cache misses of the one before.
    #[inline(always)]
    fn read_hot(&self, key: &KeyRef<'_>, read: impl FnOnce(EntryRef<'_>)) -> bool {
        let is_turn = LoadMonitor::is_turn();
        let reading = self.table.reading();
        let Some(entry) = reading.find(key) else {
            LoadMonitor::take_back(is_turn);
            return false;
        };
        let is_first = self.tell_read(key, entry, is_turn);
        let is_visible = self.is_visible(key.keyspace, entry);
        if is_visible {
            read(entry);
        }
        drop(reading);
        if is_first {
            self.want_partners(*key);
        }
        if is_turn {
            self.read_in_turn(*key);
        }
        if is_visible {
            self.counters.reads.hot()
        } else {
            self.counters.reads.missed()
        }
        true
    }

    /// What a lookup sees of a visible entry.
    #[inline(always)]
    fn seen<'a>(&self, key: &KeyRef<'_>, entry: EntryRef<'a>) -> Seen<'a> {
        match entry.packed_from() {
            None => Seen::Hot(entry),
            Some(_) => self.read_warm(key, entry).map_or(Seen::Nothing, Seen::Warm),
        }
    }

    #[inline]
    fn read_value(&self, key: &KeyRef<'_>, entry: EntryRef<'_>, read: impl FnOnce(&[u8])) {
        if entry.packed_from().is_some() {
            if let Some(value) = self.read_warm(key, entry) {
                read(&value);
            }
        } else if let Some(value) = entry.value() {
            read(value);
        }
    }

    /// As [`Shared::find_cold`], counted as a read of the program's, and its partners are ordered.
    #[cold]
    fn read_cold(&self, key: KeyRef<'_>) -> Result<Option<Found>> {
        let found = self.read_cold_timed(key, true)?;
        if is_cold(found.as_ref()) {
            self.want_partners(key);
        }
        Ok(found)
    }

    fn read_cold_timed(&self, key: KeyRef<'_>, is_timed: bool) -> Result<Option<Found>> {
        let found = self.find_cold_timed(key, is_timed)?;
        self.note_cold(key, found.as_ref());
        Ok(found)
    }

    /// Takes note of a read of the program's to which memory had no answer.
    pub(crate) fn note_cold(&self, key: KeyRef<'_>, found: Option<&Found>) {
        if LoadMonitor::is_turn() {
            self.read_in_turn(key);
        }
        match found {
            None => self.counters.reads.missed(),
            Some(found) if found.level == Level::Cold => {
                self.counters.reads.cold();
                self.fetching.note_cold_read(key.hash);
                self.warm.forget(key.hash);
                self.show_miss(key, found.value.len());
            }
            Some(_) => self.counters.reads.hot(),
        }
    }

    /// The value of a key that is not in memory. Memory is asked first, and only then, here, the list of layers: an
    /// entry that moves from memory into a new layer in between is found there.
    pub(crate) fn find_cold(&self, key: KeyRef<'_>) -> Result<Option<Found>> {
        self.find_cold_timed(key, true)
    }

    /// With `is_timed` it counts in how long reads take: not one whose page came while others were waited for.
    fn find_cold_timed(&self, key: KeyRef<'_>, is_timed: bool) -> Result<Option<Found>> {
        let layers = self.layers.load();
        if layers.layers.is_empty() {
            return Ok(None);
        }
        let start = is_timed.then(|| self.time.monotonic());
        let Some(found) = layers.get(key)? else { return Ok(None) };
        if let Some(start) = start {
            self.cold_reads.took(self.time.monotonic().saturating_sub(start));
        }
        Ok(self.of_layer(key, found, &layers))
    }

    /// What the newest version of a key says, which was found in a layer: brings it in, if it is worth it.
    pub(crate) fn of_layer(
        &self,
        key: KeyRef<'_>,
        found: LayerValue,
        searched: &Arc<LayerList>,
    ) -> Option<Found> {
        let live = self.live_in_layer(key.keyspace, found);
        if let Some(found) = &live {
            self.promote(key, found, searched);
        }
        live
    }

    /// What a caller may see of what was found in a layer, as [`Shared::is_visible`] says.
    fn live_in_layer(&self, keyspace: u32, found: LayerValue) -> Option<Found> {
        let entry = Entry { value: found.value.map(Value::from), seq: found.seq, deadline: found.deadline };
        self.live(keyspace, entry, Level::Cold)
    }

    /// As [`Shared::find`], counted as a read of the program's.
    pub(crate) fn find_counted(&self, key: KeyRef<'_>) -> Result<Option<Found>> {
        let mut found = None;
        let is_hot = self.read_hot(&key, |entry| {
            let mut value = None;
            self.seen(&key, entry).value_into(&mut value);
            found = value.map(|value| Found::of(entry, value));
        });
        if is_hot { Ok(found) } else { self.read_cold(key) }
    }

    /// Puts the value that `key` has now where the caller wants it; counted as a read of the program's. An error that is there
    /// stays.
    #[inline(always)]
    pub(crate) fn read_into(&self, key: &KeyRef<'_>, answer: &mut Result<Option<Value>>) {
        let is_hot = self.read_hot(key, |entry| {
            if let Ok(slot) = answer {
                self.seen(key, entry).value_into(slot);
            }
        });
        if !is_hot {
            *answer = self.read_cold(*key).map(|found| found.map(|found| found.value));
        }
    }

    /// Calls `read` with the value that `key` has now, with no lock held; counted as a read of the program's.
    #[inline]
    pub(crate) fn find_with<R>(&self, key: &KeyRef<'_>, read: impl FnOnce(&[u8]) -> R) -> Result<Option<R>> {
        let (mut read, mut answer) = (Some(read), None);
        let mut call = |value: &[u8]| answer = read.take().map(|read| read(value));
        if !self.read_hot(key, |entry| self.read_value(key, entry, &mut call))
            && let Some(found) = self.read_cold(*key)?
        {
            call(&found.value);
        }
        Ok(answer)
    }

    /// Calls `each` with the place of each key and the value that it has when its turn comes, with no lock held; counted
    /// as reads of the program's. What is in memory has its turn first, what is not comes after it.
    pub(crate) fn find_many(&self, keys: &[KeyRef<'_>], each: impl FnMut(usize, Seen<'_>)) -> Result<()> {
        self.find_in_pass(keys, Pass { orders_partners: true, ..Pass::default() }, each)
    }

    fn find_in_pass<'k>(
        &self,
        keys: &[KeyRef<'k>],
        mut pass: Pass<'k>,
        mut each: impl FnMut(usize, Seen<'_>),
    ) -> Result<()> {
        self.table.multi_get_with(keys, |place, entry| match entry {
            Some(entry) if self.is_read(&keys[place], entry, &mut pass) => {
                each(place, self.seen(&keys[place], entry));
            }
            Some(_) => each(place, Seen::Nothing),
            None => pass.not_in_memory.push(place),
        });
        self.end_pass(keys, pass, each)
    }

    /// Puts the value of the first key into `value`, and if it has one, calls `each` with the place among the others, and the
    /// value, of each of them that has one; in one pass where the first one is in memory. Counted as reads of the program's.
    pub(crate) fn find_group(
        &self,
        keys: &[KeyRef<'_>],
        value: &mut Option<Value>,
        mut each: impl FnMut(usize, Seen<'_>),
    ) -> Result<()> {
        let Some((first, others)) = keys.split_first() else { return Ok(()) };
        let mut pass = Pass::default();
        self.table.multi_get_with(keys, |place, entry| match (place.checked_sub(1), entry) {
            (None, Some(entry)) if self.is_read(first, entry, &mut pass) => {
                self.seen(first, entry).value_into(value);
            }
            // Without a value of the first one the others are not asked for.
            (Some(place), Some(entry))
                if value.is_some() && self.is_read(&others[place], entry, &mut pass) =>
            {
                each(place, self.seen(&others[place], entry));
            }
            (Some(place), None) if value.is_some() || pass.hot + pass.missed == 0 => {
                pass.not_in_memory.push(place);
            }
            _ => {}
        });
        if pass.hot + pass.missed > 0 {
            return self.end_pass(others, pass, each);
        }
        // The partners' pages come while the first one's is waited for, unless that has them.
        let hashes = || pass.not_in_memory.iter().map(|place| others[*place].hash).collect::<Vec<u64>>();
        let is_asked = !self.behind.is_usual() && self.prefetch_cold(&hashes());
        let (found, behind) = self.read_cold_with(*first, others, pass.not_in_memory)?;
        *value = found.map(|found| found.value);
        let pass = Pass { is_asked, behind, ..Pass::default() };
        if value.is_some() { self.find_in_pass(others, pass, each) } else { Ok(()) }
    }

    /// Takes note of the lookup of a key, one of many, for which memory has an entry. Returns whether that is visible.
    #[inline(always)] // Short, and called for each key while the memory of the next ones is on its way.
    fn is_read<'k>(&self, key: &KeyRef<'k>, entry: EntryRef<'_>, pass: &mut Pass<'k>) -> bool {
        if !self.is_visible(key.keyspace, entry) {
            pass.missed += 1;
            return false;
        }
        pass.hot += 1;
        let is_turn = LoadMonitor::is_turn();
        if self.tell_read(key, entry, is_turn) && pass.orders_partners {
            pass.first_used.push(*key);
        }
        if is_turn {
            self.read_in_turn(*key);
        }
        true
    }

    /// Does what a pass over memory has left to be done.
    fn end_pass(
        &self,
        keys: &[KeyRef<'_>],
        pass: Pass<'_>,
        mut each: impl FnMut(usize, Seen<'_>),
    ) -> Result<()> {
        let Pass { orders_partners, is_asked, hot, missed, first_used, not_in_memory, mut behind } = pass;
        self.counters.reads.of_memory(hot, missed);
        let mut cold = Vec::new();
        if !not_in_memory.is_empty() {
            let is_waited_for = |place: &&usize| !behind.as_ref().is_some_and(|behind| behind.has(**place));
            let hashes: Vec<u64> =
                not_in_memory.iter().filter(is_waited_for).map(|place| keys[*place].hash).collect();
            // The first one is read at once, and the others come meanwhile.
            let mut is_timed = !is_asked;
            let is_asked = is_asked || self.prefetch_cold(hashes.get(1..).unwrap_or_default());
            for place in not_in_memory {
                let taken = behind.as_mut().and_then(|behind| self.take_behind(behind, place, keys[place]));
                let found = match taken {
                    Some(found) => found,
                    None => {
                        let found = self.read_cold_timed(keys[place], is_timed)?;
                        is_timed &= !is_asked;
                        found
                    }
                };
                if orders_partners && is_cold(found.as_ref()) {
                    cold.push(keys[place]);
                }
                each(place, found.map_or(Seen::Nothing, Seen::Cold));
            }
        }
        // Behind the reads, which may have been of these partners.
        for key in first_used.into_iter().chain(cold) {
            self.want_partners(key);
        }
        Ok(())
    }

    /// As [`Shared::find`], with what a write needs to know that nothing changed since. Brings nothing in.
    pub(crate) fn find_witnessed(&self, key: KeyRef<'_>) -> Result<(Option<Found>, Witness)> {
        // The floor is read first: one that rises during the lookup makes the witness fail.
        let floor = self.floors.of(key.keyspace);
        let deadline = |found: &Option<Found>| found.as_ref().map_or(0, |found| found.deadline);
        let hot = self.table.with(key, |entry| (entry.seq(), self.found(key.keyspace, entry)));
        if let Some((seq, found)) = hot {
            let deadline = deadline(&found);
            return Ok((found, Witness { in_memory: Some(seq), searched: None, floor, deadline }));
        }
        let layers = self.layers.snapshot();
        let found = layers.get(key)?;
        let live = found.and_then(|found| self.live_in_layer(key.keyspace, found));
        let deadline = deadline(&live);
        Ok((live, Witness { in_memory: None, searched: Some(layers), floor, deadline }))
    }

    /// Whether a key is still as `witness` saw it, at this moment. For good, if its lock is held.
    pub(crate) fn holds(&self, witness: &Witness, key: KeyRef<'_>) -> bool {
        if self.floors.of(key.keyspace) != witness.floor || self.expired(witness.deadline) {
            return false;
        }
        match (witness.in_memory, self.table.with(key, |entry| entry.seq())) {
            (Some(seen), Some(present)) => present == seen,
            (None, None) => witness.searched.as_ref().is_some_and(|layers| self.layers.is_current(layers)),
            _ => false,
        }
    }

    /// Whether a caller may see a value in an entry: not in a tombstone, an expired entry, or one below its keyspace's
    /// floor.
    #[inline]
    pub(crate) fn is_visible(&self, keyspace: u32, entry: EntryRef<'_>) -> bool {
        !entry.is_tombstone() && entry.seq() >= self.floors.of(keyspace) && !self.expired(entry.deadline())
    }

    fn found(&self, keyspace: u32, entry: EntryRef<'_>) -> Option<Found> {
        if self.is_visible(keyspace, entry) { Some(Found::of(entry, value_of(entry)?)) } else { None }
    }

    /// An entry as a caller may see it, as [`Shared::is_visible`] says.
    pub(crate) fn live(&self, keyspace: u32, entry: Entry, level: Level) -> Option<Found> {
        let Entry { value, seq, deadline } = entry;
        let is_there = self.is_there(keyspace, seq, deadline);
        Some(Found { value: value.filter(|_| is_there)?, seq, deadline, level })
    }

    /// Whether a value that was put with this sequence and deadline is there still, as far as its keyspace and time say.
    #[inline]
    pub(crate) fn is_there(&self, keyspace: u32, seq: u64, deadline: u64) -> bool {
        seq >= self.floors.of(keyspace) && !self.expired(deadline)
    }

    /// Asks for the pages of those keys that are not in memory, all before the first is waited for, as the physics layer
    /// advises; whether it does.
    #[cold]
    pub(crate) fn prefetch_cold(&self, hashes: &[u64]) -> bool {
        let layers = self.layers.load();
        if layers.layers.is_empty() {
            return false;
        }
        let advised = self.advice.prefetch(hashes.len(), self.cold_reads.recent());
        for hash in advised.iter().filter_map(|index| hashes.get(*index)) {
            layers.prefetch(*hash);
        }
        !advised.is_empty()
    }

    #[inline]
    pub(crate) fn expired(&self, deadline: u64) -> bool {
        deadline != 0 && deadline <= self.time.unix_millis()
    }

    /// Brings a value from a layer into memory, where that hides nothing newer and nobody has to wait for it.
    fn promote(&self, key: KeyRef<'_>, found: &Found, searched: &Arc<LayerList>) {
        if !self.advice.promote(key.bytes) {
            return;
        }
        let bytes = ENTRY_BYTES + key.bytes.len() + found.value.len();
        let Some(mass) = self.comes_in(key.hash, bytes) else { return };
        if self.bring_in(key, found, searched, |entry| entry.set_mass(mass)) {
            self.counters.promotions.add(1);
        }
    }

    /// Brings the value of a key that is likely to be read soon from the layers into memory, as something that was used once: what
    /// speaks for it is not in its past, so that is not asked, and this is no use of it. Returns the length of the value that was
    /// read, and whether it came in.
    pub(crate) fn fetch_cold(&self, key: KeyRef<'_>) -> Result<Option<(usize, bool)>> {
        let layers = self.layers.load();
        let Some(found) = layers.get(key)? else { return Ok(None) };
        let Some(found) = self.live_in_layer(key.keyspace, found) else { return Ok(None) };
        let bytes = ENTRY_BYTES + key.bytes.len() + found.value.len();
        let is_in = self.admit_read(bytes)
            && self.bring_in(key, &found, &layers, |entry| entry.set_mass_before_use(1));
        Ok(Some((found.value.len(), is_in)))
    }

    /// Brings a value from a layer into memory, where that hides nothing newer and nobody has to wait for it; `set_mass` says
    /// with which mass. Returns whether it did.
    pub(crate) fn bring_in(
        &self,
        key: KeyRef<'_>,
        found: &Found,
        searched: &Arc<LayerList>,
        set_mass: impl FnOnce(&mut Prepared<'_>),
    ) -> bool {
        // The copy is made before the lock is taken. A table that is full goes without.
        let Ok(mut prepared) = self.table.prepare(key, &found.value[..], found.deadline) else {
            return false;
        };
        set_mass(&mut prepared);
        let Some(mut guard) = self.table.try_lock(key.hash) else { return false };
        // A floor that was raised since has taken away what is below it, which must not come back.
        let is_there = found.seq >= self.floors.of(key.keyspace);
        let is_in = is_there && self.layers.is_current(searched) && guard.insert_clean(prepared, found.seq);
        if is_in {
            self.expiry.note(key.hash, found.deadline, None);
        }
        is_in
    }
}
