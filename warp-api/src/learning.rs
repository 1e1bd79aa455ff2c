//! Learning entanglement: bursts of reads are looked at, partners learned from them in the background, and partners that are not in
//! memory brought in when a key is read that was not either, or that was brought in like them: so a sequence is brought in step by
//! step, as long as it is followed.
//!
//! A thread puts the keys of a burst of consecutive reads into a buffer of its own, and hands it over when it is full. What is
//! handed over while the background is behind is dropped: a sample is as good.

mod kept;

pub(crate) use kept::LearnedPartners;

use std::cell::RefCell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};
use parking_lot::Mutex;
use serde::Serialize;
use warp_core::{KEY_INLINE_BYTES, Key, KeyRef};
use warp_io::Clock;
use warp_physics::{BELL_KEY_BYTES, Bell, BellOptions, BellStats, Link, Origin, Prediction};

use crate::counters::Counter;
use crate::entropy::LoadMonitor;
use crate::marks::Marks;
use crate::options::Physics;
use crate::shared::Shared;

/// Consecutive reads that are looked at together.
pub(crate) const BURST_READS: u32 = 64;
/// Bursts that may wait for the background, of all threads together.
const BURSTS_MAX: usize = 256;
/// Keys that may wait to be brought in.
const WANTED_MAX: usize = 1024;
/// After so many reads a prediction that has not come true counts as wrong: half of a burst.
const HORIZON: u32 = 32;
/// What the name of a key takes, beside what the learner takes: its bytes are in place, since longer ones are not learned.
const NAME_BYTES: usize = size_of::<Option<Name>>();
/// Keys that were brought in, and whose use is yet to be seen: so many at most, in this part of the memory for learning.
const MARKS_MAX: usize = 4096;
const MARKS_PART: usize = 16;

/// A key with its keyspace.
type Name = (u32, Key);

/// The keys of consecutive reads of one thread.
#[derive(Debug)]
struct Burst {
    engine: u64,
    thread: u64,
    /// Counts the bursts of the thread, so that a gap is seen.
    number: u64,
    keys: Vec<Name>,
}

#[derive(Debug)]
pub(crate) struct Learning {
    on: bool,
    /// The reads of a thread of which the first 64 are looked at.
    every: u32,
    prefetch_bytes: u64,
    options: BellOptions,
    known: Mutex<Known>,
    bursts: (Sender<Burst>, Receiver<Burst>),
    wanted: (Sender<Name>, Receiver<Name>),
    dropped: Counter,
    fetch_reads: Counter,
    fetched: Counter,
    fetched_bytes: Counter,
    fetched_used: Counter,
    /// Keys that were brought in and not used since.
    marks: Marks,
}

#[derive(Debug)]
struct Known {
    bell: Bell,
    /// The key of each place of the learner.
    names: Vec<Option<Name>>,
    /// How many of them there will be.
    places: usize,
    /// The last burst: of which thread, and its number.
    last: (u64, u64),
    /// When bytes to bring in were last allowed, and how many are left.
    allowed: (Duration, f64),
    found: Vec<Prediction>,
}

/// What was learned from reads, and what came of it.
#[derive(Clone, Copy, Debug, Serialize)]
#[non_exhaustive]
pub struct LearningMetrics {
    /// Reads that were looked at, those of keys longer than 38 bytes aside, predictions that were made from them, and how many
    /// came true within 32 reads.
    pub learner: BellStats,
    /// Predictions that came true, of those that were judged: in `0.0..=1.0`; `None` before the first.
    pub precision: Option<f64>,
    /// Keys whose partners are being learned.
    pub tracked: usize,
    /// Memory that this takes, in bytes.
    pub bytes: u64,
    /// Bursts of 64 reads that were dropped, since the background was behind.
    pub dropped: u64,
    /// Values of partners that were read from layers: those that then found no room in memory, too. `cold_hits` has none of them.
    pub fetch_reads: u64,
    /// Partners that were brought into memory before they were read.
    pub fetched: u64,
    /// Bytes of their values.
    pub fetched_bytes: u64,
    /// Those that were read from memory afterwards, by any read, as far as that is known: of the latest 4,000 or so.
    pub fetched_seen_used: u64,
}

thread_local! {
    static BURST: RefCell<Burst> = RefCell::new(Burst { engine: u64::MAX, thread: thread_number(), number: 0, keys: Vec::new() });
}

fn thread_number() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

impl Learning {
    pub(crate) fn new(physics: &Physics) -> Learning {
        let mut marks = 0;
        if physics.learning && physics.prefetch_bytes > 0 {
            marks = (physics.learning_bytes / MARKS_PART / size_of::<AtomicU64>()).min(MARKS_MAX);
        }
        let left = physics.learning_bytes - marks * size_of::<AtomicU64>();
        let places = left / (BELL_KEY_BYTES + NAME_BYTES);
        let options = BellOptions { bytes: places * BELL_KEY_BYTES, horizon: Some(HORIZON) };
        Learning {
            on: physics.learning && places > 0,
            every: physics.learning_every,
            prefetch_bytes: physics.prefetch_bytes,
            options,
            known: Mutex::new(Known {
                bell: Bell::new(options),
                names: Vec::new(),
                places,
                last: (u64::MAX, 0),
                allowed: (Duration::ZERO, 0.0),
                found: Vec::new(),
            }),
            bursts: bounded(BURSTS_MAX),
            wanted: bounded(WANTED_MAX),
            dropped: Counter::default(),
            fetch_reads: Counter::default(),
            fetched: Counter::default(),
            fetched_bytes: Counter::default(),
            fetched_used: Counter::default(),
            marks: Marks::new(marks),
        }
    }

    /// Whether anything is learned at all.
    pub(crate) fn is_on(&self) -> bool {
        self.on
    }

    /// Whether it is time for a burst, after so many reads without one.
    pub(crate) fn is_burst_due(&self, reads: u32) -> bool {
        self.on && reads >= self.every
    }

    /// Takes note of a read of a burst; `is_last` ends it. Returns whether the next one is to follow at once.
    pub(crate) fn note(&self, engine: u64, key: KeyRef<'_>, is_last: bool) -> bool {
        if !self.on {
            // A burst that was begun in another engine.
            return false;
        }
        BURST.with_borrow_mut(|burst| {
            if burst.engine != engine {
                // What was begun in another engine is not whole, and of no use here.
                burst.keys.clear();
                burst.engine = engine;
                burst.number += 1;
            }
            // Names beyond this length would lie on the heap, 64 KiB each at worst, within no bound.
            if key.bytes.len() <= KEY_INLINE_BYTES {
                burst.keys.push((key.keyspace, Key::from(key.bytes)));
            }
            if is_last {
                burst.number += 1;
                let keys = std::mem::take(&mut burst.keys);
                let full = Burst { engine, thread: burst.thread, number: burst.number, keys };
                if self.bursts.0.try_send(full).is_err() {
                    self.dropped.add(1);
                }
            }
            is_last && self.every <= BURST_READS
        })
    }

    /// Bytes that what was learned takes.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes_with(&self.known.lock())
    }

    fn bytes_with(&self, known: &Known) -> u64 {
        let names = known.names.capacity() * NAME_BYTES;
        (known.bell.bytes() + names + self.marks.bytes()) as u64
    }

    /// Takes the mark off a key that is used. Returns whether it had one: then it was brought in, and not used since.
    pub(crate) fn take_mark(&self, hash: u64) -> bool {
        self.marks.take(hash)
    }

    /// Partners that were brought in, the bytes of their values, and those that were then read from memory.
    pub(crate) fn fetched(&self) -> (u64, u64, u64) {
        // Before what it is a part of.
        let used = self.fetched_used.sum();
        (self.fetched.sum(), self.fetched_bytes.sum(), used)
    }

    /// The learned partners of a key, most confident first.
    pub(crate) fn partners(&self, hash: u64, strength_min: f64) -> Vec<Link> {
        if !self.on {
            return Vec::new();
        }
        let mut known = self.known.lock();
        let Known { bell, names, found, .. } = &mut *known;
        bell.partners(hash, found);
        let link = |partner: &Prediction| {
            let (keyspace, key) = names.get(partner.place as usize)?.as_ref()?;
            let strength = partner.confidence;
            Some(Link { keyspace: *keyspace, key: key.to_vec(), strength, origin: Origin::Learned })
        };
        found.iter().filter(|partner| partner.confidence >= strength_min).filter_map(link).collect()
    }

    pub(crate) fn metrics(&self) -> LearningMetrics {
        let known = self.known.lock();
        let learner = known.bell.stats();
        let judged = learner.used + learner.unused;
        LearningMetrics {
            learner,
            precision: (judged > 0).then(|| learner.used as f64 / judged as f64),
            tracked: known.bell.tracked(),
            bytes: self.bytes_with(&known),
            dropped: self.dropped.sum(),
            fetch_reads: self.fetch_reads.sum(),
            fetched: self.fetched.sum(),
            fetched_bytes: self.fetched_bytes.sum(),
            fetched_seen_used: self.fetched_used.sum(),
        }
    }
}

impl Known {
    fn learn(&mut self, hash: u64, keyspace: u32, key: Key) {
        let place = self.bell.observe(hash) as usize;
        if self.names.len() <= place {
            if place >= self.names.capacity() {
                // By halves, and never beyond what is allowed.
                let room = self.places.saturating_sub(self.names.len());
                self.names.reserve_exact(room.min(64 + self.names.len() / 2));
            }
            self.names.resize(place + 1, None);
        }
        self.names[place] = Some((keyspace, key));
    }

    /// Whether so many bytes may be brought in now.
    fn allows(&mut self, now: Duration, per_second: u64) -> bool {
        let (then, left) = self.allowed;
        let gained = now.saturating_sub(then).as_secs_f64() * per_second as f64;
        // Who asks may have looked at the clock before another one who came first.
        self.allowed = (now.max(then), (left + gained).min(per_second as f64));
        self.allowed.1 > 0.0
    }
}

impl Shared {
    /// Takes note of a read whose turn it was: in the load of its shard, and as one of a burst.
    #[cold]
    pub(crate) fn read_in_turn(&self, key: KeyRef<'_>) {
        match LoadMonitor::burst_left() {
            None => {
                let reads = self.load.read(&self.table, key.hash);
                if self.learning.is_burst_due(reads) {
                    LoadMonitor::begin_burst(BURST_READS);
                }
            }
            Some(left) => {
                self.load.read_one(&self.table, key.hash);
                if self.learning.note(self.id, key, left == 0) {
                    LoadMonitor::begin_burst(BURST_READS);
                }
            }
        }
    }

    /// Learns from the bursts that were handed over, and brings in what is wanted. Called by the background.
    pub(crate) fn learn(&self) {
        let bursts = self.learning.bursts.1.try_iter().take(BURSTS_MAX);
        for burst in bursts.filter(|burst| burst.engine == self.id) {
            // For one burst only, since readers ask for partners meanwhile.
            let mut known = self.learning.known.lock();
            if known.last != (burst.thread, burst.number - 1) {
                known.bell.interrupt();
            }
            known.last = (burst.thread, burst.number);
            for (keyspace, key) in burst.keys {
                let hash = self.table.hash_of(keyspace, &key);
                known.learn(hash, keyspace, key);
            }
        }
        self.fetch_wanted();
    }

    /// Takes note of a use of what may have been brought in before it was asked for. `true` if it came as a partner and was
    /// not read since: then it is gone on with its own partners, by [`Shared::want_partners`] once nothing is pinned.
    ///
    /// Without this every few keys of a sequence would be read from the layers, since partners reach only so far. Partners of
    /// what is brought in could be brought in with it, but what is foretold from what was foretold comes true less often; a use
    /// says for certain that the sequence goes on. That it is the first use is seen where heat is told, which an entry that is
    /// read all the time comes to once a tick: so other reads pay nothing for it, and all first uses are seen, sampled or not.
    #[inline(never)] // What a get compiles to stays small, so that the processor gets to the next one while it waits.
    pub(crate) fn note_use_of_brought(&self, hash: u64) -> bool {
        self.warm.note_use(hash);
        let was_fetched = self.learning.take_mark(hash);
        if was_fetched {
            self.learning.fetched_used.add(1);
        }
        was_fetched
    }

    /// Asks that the learned partners of a key that was not in memory, or would not have been, be brought in: of the disk, too,
    /// so not in the middle of a read of the table.
    #[cold]
    pub(crate) fn want_partners(&self, hash: u64) {
        let learned = &self.learning;
        if !learned.on || learned.prefetch_bytes == 0 {
            return;
        }
        let partners: Vec<Name> = {
            let Some(mut known) = learned.known.try_lock() else { return };
            if !known.allows(self.time.monotonic(), learned.prefetch_bytes) {
                return;
            }
            let Known { bell, names, found, .. } = &mut *known;
            bell.worth_fetching(hash, found);
            let mut places = found.iter().map(|partner| partner.place).collect();
            self.advice.fetch(names.len(), &mut places);
            places.into_iter().filter_map(|place| names.get(place as usize)?.clone()).collect()
        };
        let mut ordered = Vec::with_capacity(partners.len());
        for (keyspace, name) in partners {
            let partner = self.key(keyspace, &name);
            let (hash, is_cold) = (partner.hash, self.table.with(partner, |_| ()).is_none());
            if is_cold && learned.wanted.0.try_send((keyspace, name)).is_ok() {
                ordered.push(hash);
            }
        }
        if !ordered.is_empty() {
            // The disk is asked now, and the values are brought in when it has answered.
            self.prefetch_cold(&ordered);
            self.order_fetch();
        }
    }

    /// Brings in what was asked for, as far as the bytes that are allowed a second go.
    pub(crate) fn fetch_wanted(&self) {
        let learned = &self.learning;
        for (keyspace, name) in learned.wanted.1.try_iter().take(WANTED_MAX) {
            let key = self.key(keyspace, &name);
            let now = self.time.monotonic();
            if !learned.known.lock().allows(now, learned.prefetch_bytes)
                || self.table.with(key, |_| ()).is_some()
            {
                continue;
            }
            let Ok(Some((bytes, is_in))) = self.fetch_cold(key) else { continue };
            learned.fetch_reads.add(1);
            let mut known = learned.known.lock();
            known.allowed.1 -= bytes as f64;
            if !is_in {
                continue;
            }
            learned.fetched.add(1);
            learned.fetched_bytes.add(bytes as u64);
            learned.marks.mark(key.hash);
        }
    }
}
