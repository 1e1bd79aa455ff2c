//! Reads: memory first, then the layers of the current checkpoint.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use warp_core::{Entry, KeyRef, Value};
use warp_io::Clock;

use crate::error::Result;
use crate::layers::LayerList;
use crate::shared::Shared;
use crate::types::Level;

/// Keys that are looked up in memory together, so that the waits for memory overlap.
const READ_TOGETHER: usize = 32;

/// A key's present value.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) value: Value,
    pub(crate) seq: u64,
    pub(crate) deadline: u64,
    pub(crate) level: Level,
}

/// How long reads from layers have taken of late.
#[derive(Debug, Default)]
pub(crate) struct ColdReads {
    nanos: AtomicU64,
}

impl ColdReads {
    /// The weight of one read in the running mean, as a power of two: an eighth.
    const WEIGHT_SHIFT: u32 = 3;

    fn took(&self, elapsed: Duration) {
        let nanos = u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX);
        // A mean that loses one of two reads at the same moment is as good.
        let mean = self.nanos.load(Ordering::Relaxed);
        let next = mean - (mean >> Self::WEIGHT_SHIFT) + (nanos >> Self::WEIGHT_SHIFT);
        self.nanos.store(next, Ordering::Relaxed);
    }

    fn recent(&self) -> Duration {
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
}

impl Shared {
    pub(crate) fn key<'a>(&self, keyspace: u32, bytes: &'a [u8]) -> KeyRef<'a> {
        KeyRef::new(self.hash_seed, keyspace, bytes)
    }

    /// The value that `key` has now.
    pub(crate) fn find(&self, key: KeyRef<'_>) -> Result<Option<Found>> {
        match self.table.get(key) {
            Some(entry) => Ok(self.live(key.keyspace, entry, Level::Hot)),
            None => self.find_cold(key),
        }
    }

    /// The value of a key that is not in memory. Memory is asked first, and only then, here, the list of layers: an
    /// entry that moves from memory into a new layer in between is found there.
    fn find_cold(&self, key: KeyRef<'_>) -> Result<Option<Found>> {
        let layers = self.layers.load();
        if layers.layers.is_empty() {
            return Ok(None);
        }
        let start = self.time.monotonic();
        let Some(found) = layers.get(key)? else { return Ok(None) };
        self.cold_reads.took(self.time.monotonic().saturating_sub(start));
        let entry = Entry { value: found.value.map(Value::from), seq: found.seq, deadline: found.deadline };
        let live = self.live(key.keyspace, entry, Level::Cold);
        if let Some(found) = &live {
            self.promote(key, found, &layers);
        }
        Ok(live)
    }

    /// As [`Shared::find`], counted as a read of the program's.
    pub(crate) fn find_counted(&self, key: KeyRef<'_>) -> Result<Option<Found>> {
        let found = self.find(key)?;
        self.count_read(key.hash, found.as_ref().map(|found| found.level));
        Ok(found)
    }

    /// Calls `read` with the value that `key` has now, with no lock held; counted as a read of the program's.
    pub(crate) fn find_with<R>(&self, key: KeyRef<'_>, read: impl FnOnce(&[u8]) -> R) -> Result<Option<R>> {
        if let Some(entry) = self.table.get(key) {
            let value = self.visible(key.keyspace, &entry);
            self.count_read(key.hash, value.map(|_| Level::Hot));
            return Ok(value.map(|value| read(value)));
        }
        let found = self.find_cold(key)?;
        self.count_read(key.hash, found.as_ref().map(|found| found.level));
        Ok(found.map(|found| read(&found.value)))
    }

    /// Calls `each` with the place of each key and the value that it has when its turn comes, in the order of the keys
    /// and with no lock held; counted as reads of the program's.
    pub(crate) fn find_many(
        &self,
        keys: &[KeyRef<'_>],
        mut each: impl FnMut(usize, Option<Found>),
    ) -> Result<()> {
        self.prefetch_cold(keys);
        let mut in_memory: Vec<Option<Entry>> = Vec::with_capacity(keys.len().min(READ_TOGETHER));
        for (group, keys) in keys.chunks(READ_TOGETHER).enumerate() {
            in_memory.clear();
            in_memory.resize(keys.len(), None);
            self.table.multi_get(keys, |place, entry| in_memory[place] = entry);
            for (place, (key, entry)) in keys.iter().zip(&mut in_memory).enumerate() {
                let found = match entry.take() {
                    Some(entry) => self.live(key.keyspace, entry, Level::Hot),
                    None => self.find_cold(*key)?,
                };
                self.count_read(key.hash, found.as_ref().map(|found| found.level));
                each(group * READ_TOGETHER + place, found);
            }
        }
        Ok(())
    }

    /// Counts a read of a key, whose value was found in `level` or not at all.
    fn count_read(&self, hash: u64, level: Option<Level>) {
        self.load.read(&self.table, hash);
        self.counters.gets.add(1);
        if let Some(level) = level {
            self.counters.hits.add(1);
            if level == Level::Cold {
                self.counters.cold_hits.add(1);
            }
        }
    }

    /// As [`Shared::find`], with what a write needs to know that nothing changed since. Brings nothing in.
    pub(crate) fn find_witnessed(&self, key: KeyRef<'_>) -> Result<(Option<Found>, Witness)> {
        // The floor is read first: one that rises during the lookup makes the witness fail.
        let floor = self.floors.of(key.keyspace);
        if let Some(entry) = self.table.get(key) {
            let witness = Witness { in_memory: Some(entry.seq), searched: None, floor };
            return Ok((self.live(key.keyspace, entry, Level::Hot), witness));
        }
        let layers = self.layers.snapshot();
        let found = layers.get(key)?;
        let live = found.and_then(|found| {
            let entry =
                Entry { value: found.value.map(Value::from), seq: found.seq, deadline: found.deadline };
            self.live(key.keyspace, entry, Level::Cold)
        });
        Ok((live, Witness { in_memory: None, searched: Some(layers), floor }))
    }

    /// Whether the key is still as `witness` saw it. `present` is its entry in memory, read under its lock.
    pub(crate) fn holds(&self, witness: &Witness, keyspace: u32, present: Option<&Entry>) -> bool {
        if self.floors.of(keyspace) != witness.floor {
            return false;
        }
        match (witness.in_memory, present) {
            (Some(seen), Some(entry)) => entry.seq == seen,
            (None, None) => witness.searched.as_ref().is_some_and(|layers| self.layers.is_current(layers)),
            _ => false,
        }
    }

    /// The value of an entry that a caller may see: `None` for a tombstone, an expired entry, or one below its
    /// keyspace's floor.
    fn visible<'e>(&self, keyspace: u32, entry: &'e Entry) -> Option<&'e Value> {
        let value = entry.value.as_ref()?;
        let is_there = entry.seq >= self.floors.of(keyspace) && !self.expired(entry.deadline);
        is_there.then_some(value)
    }

    /// As [`Shared::visible`], with what is known of the value.
    pub(crate) fn live(&self, keyspace: u32, entry: Entry, level: Level) -> Option<Found> {
        self.visible(keyspace, &entry)?;
        let Entry { value, seq, deadline } = entry;
        Some(Found { value: value?, seq, deadline, level })
    }

    /// Asks for the pages of keys that are not in memory, all before the first is waited for, as the physics layer
    /// advises.
    pub(crate) fn prefetch_cold(&self, keys: &[KeyRef<'_>]) {
        let layers = self.layers.load();
        if layers.layers.is_empty() {
            return;
        }
        for index in self.advice.prefetch(keys.len(), self.cold_reads.recent()) {
            if let Some(key) = keys.get(index)
                && self.table.get(*key).is_none()
            {
                layers.prefetch(key.hash);
            }
        }
    }

    pub(crate) fn expired(&self, deadline: u64) -> bool {
        deadline != 0 && deadline <= self.time.unix_millis()
    }

    /// Brings a value from a layer into memory, where that hides nothing newer and nobody has to wait for it.
    fn promote(&self, key: KeyRef<'_>, found: &Found, searched: &Arc<LayerList>) {
        if !self.advice.promote(key.bytes) {
            return;
        }
        // The copy is made before the lock is taken.
        let value = Value::from(&found.value[..]);
        let Some(mut guard) = self.table.try_lock(key.hash) else { return };
        if self.layers.is_current(searched) {
            let entry = Entry { value: Some(value), seq: found.seq, deadline: found.deadline };
            if guard.insert_clean(key, entry) {
                self.expiry.note(key.hash, found.deadline, None);
                self.counters.promotions.add(1);
            }
        }
    }
}
