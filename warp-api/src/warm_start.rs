//! Warm start: after an open, bringing in from the layers what was hot before, hottest first, a little at a time.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::Mutex;
use serde::Serialize;
use warp_checkpoint::{LayerBytes, LayerEntryRef};
use warp_core::Value;
use warp_io::Clock;

use crate::hot_list::HotGroup;
use crate::layers::LayerList;
use crate::marks::{Mark, Marks};
use crate::pace::times;
use crate::read::{ENTRY_BYTES, Found};
use crate::shared::Shared;
use crate::types::Level;

/// How long one step goes on, about: what it reads is not under its control.
const STEP: Duration = Duration::from_micros(300);
/// Hashes that are looked up in one step at most; their pages are asked for together.
const STEP_HASHES: usize = 64;
/// The shortest pause between two steps, in which the worker keeps out of the way of requests.
const PAUSE_MIN: Duration = Duration::from_micros(300);
/// The pause is as many times as long as the step before: where the disk or the processors are busy, it is longer.
const PAUSE_FOR_STEP: u32 = 3;
/// The longest pause, however slow the laws want it: what they say may change.
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// Places for marks of keys that were brought in and not read yet: twice as many as are marked, so that hardly any is lost.
const MARKS: usize = 4096;
const MARKED: usize = MARKS / 2;
/// Of longer lists a part is marked, chosen by the bits of the hash from this one on.
const MARKED_SHIFT: u32 = 20;

/// What is yet to be brought in, and what was.
#[derive(Debug, Default)]
pub(crate) struct WarmStart {
    /// Whether there is anything to do; looked at by the worker between its other work.
    is_under_way: AtomicBool,
    waiting: Mutex<Waiting>,
    /// Held by whoever takes a step: the worker, or beside it a program's own thread that takes a checkpoint.
    stepping: Mutex<()>,
    listed: AtomicU64,
    looked_up: AtomicU64,
    entries: AtomicU64,
    bytes: AtomicU64,
    damaged: AtomicU64,
    /// Those of the entries that were read since, as far as they are marked.
    used: AtomicU64,
    marked: OnceLock<Marked>,
    nanos: AtomicU64,
    /// How long the last step took.
    step_nanos: AtomicU64,
}

/// Which of the entries that were brought in were not read yet, as far as they are marked.
#[derive(Debug)]
struct Marked {
    marks: Marks,
    /// One entry in so many is marked, and stands for as many: a power of two.
    one_in: u64,
}

impl Marked {
    fn has(&self, hash: u64) -> bool {
        (hash >> MARKED_SHIFT).is_multiple_of(self.one_in)
    }
}

#[derive(Debug, Default)]
struct Waiting {
    /// Groups in descending order of mass, turned round: the hottest is last.
    groups: Vec<HotGroup>,
    /// Hashes of the last group that were looked up.
    done: usize,
    is_begun: bool,
    /// When the first step began, by the monotonic clock.
    since: Duration,
}

/// Warm start: entries that were hot before the open, and that the background has brought into memory since.
#[derive(Clone, Copy, Debug, Default, Serialize)]
#[non_exhaustive]
pub struct WarmStartMetrics {
    /// Entries of the hot list that was found.
    pub listed: u64,
    /// Those of them that were looked up so far. What is in memory already, was deleted or has expired comes to nothing.
    pub looked_up: u64,
    /// Entries that were brought in.
    pub entries: u64,
    /// Bytes of their keys and values.
    pub bytes: u64,
    /// Entries that were then read from memory; of a list of more than 2,048 an estimate, from those of a part of all hashes.
    pub used: u64,
    /// Entries that could not be read, since their layer is damaged.
    pub damaged: u64,
    /// Whether there is more to bring in.
    pub under_way: bool,
    /// Nanoseconds from the first step to the last, pauses included.
    pub elapsed_nanos: u64,
}

impl WarmStart {
    /// Takes a list, in descending order of mass.
    pub(crate) fn begin(&self, mut groups: Vec<HotGroup>) {
        groups.retain(|group| !group.hashes.is_empty());
        let listed: usize = groups.iter().map(|group| group.hashes.len()).sum();
        groups.reverse();
        *self.waiting.lock() = Waiting { groups, ..Waiting::default() };
        self.listed.store(listed as u64, Ordering::Relaxed);
        if listed > 0 {
            let one_in = listed.div_ceil(MARKED).next_power_of_two() as u64;
            self.marked.get_or_init(|| Marked { marks: Marks::new(MARKS), one_in });
        }
        self.is_under_way.store(listed > 0, Ordering::Release);
    }

    /// What is yet to be brought in, in any order.
    pub(crate) fn waiting(&self) -> Vec<HotGroup> {
        if !self.is_under_way() {
            return Vec::new();
        }
        let waiting = self.waiting.lock();
        let mut groups = waiting.groups.clone();
        if let Some(last) = groups.last_mut() {
            last.hashes.drain(..waiting.done);
        }
        groups
    }

    /// Bytes of memory that the list takes, at most.
    pub(crate) fn held_bytes(&self) -> u64 {
        let hashes = if self.is_under_way() { self.listed.load(Ordering::Relaxed) } else { 0 };
        hashes * size_of::<u64>() as u64 + self.marked.get().map_or(0, |marked| marked.marks.bytes() as u64)
    }

    /// Marks an entry that is about to be brought in.
    fn mark(&self, hash: u64) {
        if let Some(marked) = self.marked.get().filter(|marked| marked.has(hash)) {
            marked.marks.mark(hash, Mark::default());
        }
    }

    /// Takes note that an entry was brought in.
    fn brought_in(&self, bytes: usize) {
        self.entries.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Takes note of a read of an entry in memory, if it was brought in and not read before.
    pub(crate) fn note_use(&self, hash: u64) {
        if let Some(marked) = self.marked.get().filter(|marked| marked.has(hash))
            && marked.marks.take(hash).is_some()
        {
            self.used.fetch_add(marked.one_in, Ordering::Relaxed);
        }
    }

    /// Takes note that an entry is not in memory, or not any more.
    pub(crate) fn forget(&self, hash: u64) {
        if let Some(marked) = self.marked.get().filter(|marked| marked.has(hash)) {
            marked.marks.take(hash);
        }
    }

    /// Whether there is anything to bring in.
    pub(crate) fn is_under_way(&self) -> bool {
        self.is_under_way.load(Ordering::Acquire)
    }

    /// The next hashes, and their mass; `None` if there are no more.
    fn next(&self, now: Duration) -> Option<(u32, Vec<u64>)> {
        let mut waiting = self.waiting.lock();
        if !waiting.is_begun {
            waiting.is_begun = true;
            waiting.since = now;
        }
        let done = waiting.done;
        let group = waiting.groups.last()?;
        let hashes = group.hashes[done..].iter().take(STEP_HASHES).copied().collect();
        Some((group.mass, hashes))
    }

    /// Takes note that so many of the last hashes need no more looking at.
    fn advance(&self, count: usize, start: Duration, now: Duration) {
        let step = u64::try_from(now.saturating_sub(start).as_nanos()).unwrap_or(u64::MAX);
        self.step_nanos.store(step, Ordering::Relaxed);
        let mut waiting = self.waiting.lock();
        waiting.done += count;
        if waiting.groups.last().is_some_and(|group| waiting.done >= group.hashes.len()) {
            waiting.groups.pop();
            waiting.done = 0;
        }
        let elapsed = u64::try_from(now.saturating_sub(waiting.since).as_nanos()).unwrap_or(u64::MAX);
        self.nanos.store(elapsed, Ordering::Relaxed);
        self.looked_up.fetch_add(count as u64, Ordering::Relaxed);
        if waiting.groups.is_empty() {
            self.is_under_way.store(false, Ordering::Release);
        }
    }

    /// Entries that were brought in, the bytes of their keys and values, and those that were then read from memory.
    pub(crate) fn brought(&self) -> (u64, u64, u64) {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let entries = count(&self.entries);
        (entries, count(&self.bytes), count(&self.used).min(entries))
    }

    /// Gives up what is left.
    fn end(&self) {
        *self.waiting.lock() = Waiting::default();
        self.is_under_way.store(false, Ordering::Release);
    }

    pub(crate) fn metrics(&self) -> WarmStartMetrics {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let (entries, bytes, used) = self.brought();
        WarmStartMetrics {
            listed: of(&self.listed),
            looked_up: of(&self.looked_up),
            entries,
            bytes,
            used,
            damaged: of(&self.damaged),
            under_way: self.is_under_way(),
            elapsed_nanos: of(&self.nanos),
        }
    }
}

impl Shared {
    /// Whether so many more bytes may be brought into memory for no request's sake.
    pub(crate) fn has_room(&self, bytes: usize) -> bool {
        let brought = self.warm.bytes.load(Ordering::Relaxed);
        brought.saturating_add(bytes as u64) <= self.options.warm_start_bytes
            && self.admit_read(ENTRY_BYTES + bytes)
            && !self.is_memory_full()
    }

    /// How long the worker is to keep out of the way before the next step.
    pub(crate) fn warm_pause(&self) -> Duration {
        let last = Duration::from_nanos(self.warm.step_nanos.load(Ordering::Relaxed));
        times(PAUSE_MIN.max(last * PAUSE_FOR_STEP), 1.0 / self.laws(Level::Hot).pace).min(PAUSE_MAX)
    }

    /// Brings in a few of the entries that were hot before the open.
    pub(crate) fn warm_step(&self) {
        if !self.warm.is_under_way() || self.laws(Level::Hot).pace == 0.0 {
            return;
        }
        let Some(_alone) = self.warm.stepping.try_lock() else { return };
        let start = self.time.monotonic();
        let Some((mass, hashes)) = self.warm.next(start) else { return self.warm.end() };
        let layers = self.layers.snapshot();
        // All pages of the step are on their way before the first is waited for.
        for &hash in &hashes {
            layers.prefetch_hash(hash);
        }
        let mut done = 0;
        for &hash in &hashes {
            if !self.warm_hash(hash, mass, &layers) {
                tracing::info!("there is no room to bring more of what was hot into memory");
                return self.warm.end();
            }
            done += 1;
            if self.time.monotonic().saturating_sub(start) >= STEP {
                break;
            }
        }
        self.warm.advance(done, start, self.time.monotonic());
        if !self.warm.is_under_way() {
            let WarmStartMetrics { entries, bytes, .. } = self.warm.metrics();
            tracing::info!(entries, bytes, "what was hot is in memory again");
        }
    }

    /// Brings in what the layers have for a hash, which may be several keys, or none. `false` if there is no room.
    fn warm_hash(&self, hash: u64, mass: u32, layers: &Arc<LayerList>) -> bool {
        let mut seen: Vec<(u32, LayerBytes<'_>)> = Vec::new();
        for layer in &layers.layers {
            let Ok(entries) = layer.with_hash(hash) else {
                // An older version must not come in where a newer one cannot be read.
                self.warm.damaged.fetch_add(1, Ordering::Relaxed);
                return true;
            };
            for entry in entries {
                let key = (entry.keyspace, entry.key.clone());
                if !seen.contains(&key) {
                    seen.push(key);
                    if !self.warm_entry(&entry, mass, layers) {
                        return false;
                    }
                }
            }
        }
        true
    }

    /// Brings in the newest version that the layers have of a key, unless memory knows the key. `false` if there is no room.
    fn warm_entry(&self, entry: &LayerEntryRef<'_>, mass: u32, layers: &Arc<LayerList>) -> bool {
        let key = self.key(entry.keyspace, &entry.key);
        // Another hash would be none that this database has written.
        let is_wanted = key.hash == entry.hash
            && !entry.is_tombstone()
            && !self.expired(entry.deadline)
            && self.table.with(key, |_| ()).is_none()
            && self.advice.promote(key.bytes);
        if !is_wanted {
            return true;
        }
        let bytes = entry.key.len() + entry.value_bytes();
        if !self.has_room(bytes) {
            return false;
        }
        match entry.value() {
            Ok(Some(value)) => {
                let found = Found {
                    value: Value::from(value),
                    seq: entry.seq,
                    deadline: entry.deadline,
                    level: Level::Cold,
                };
                // Before it is there, so that its first read finds the mark; and with a mass by which that read is told.
                self.warm.mark(key.hash);
                if self.bring_in(key, &found, layers, |entry| entry.set_mass_before_use(mass)) {
                    self.warm.brought_in(bytes);
                } else {
                    self.warm.forget(key.hash);
                }
            }
            Ok(None) => {}
            Err(_) => {
                self.warm.damaged.fetch_add(1, Ordering::Relaxed);
            }
        }
        true
    }
}
