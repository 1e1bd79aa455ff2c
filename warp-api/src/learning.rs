//! Learning entanglement: bursts of reads are looked at, and partners learned from them in the background.
//!
//! A thread puts the keys of a burst of consecutive reads into a buffer of its own, and hands it over when it is full. What is
//! handed over while the background is behind is dropped: a sample is as good.

mod kept;

pub(crate) use kept::LearnedPartners;

use std::cell::RefCell;
use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam_channel::{Receiver, Sender, bounded};
use parking_lot::Mutex;
use serde::Serialize;
use warp_core::{KEY_INLINE_BYTES, Key, KeyRef};
use warp_physics::{BELL_KEY_BYTES, Bell, BellOptions, BellStats, Link, Origin, Prediction};

use crate::advice::Advice;
use crate::counters::Counter;
use crate::entropy::LoadMonitor;
use crate::options::Physics;
use crate::shared::Shared;

/// Consecutive reads that are looked at together.
pub(crate) const BURST_READS: u32 = 64;
/// Bursts that may wait for the background, of all threads together.
const BURSTS_MAX: usize = 256;
/// After so many reads a prediction that has not come true counts as wrong: half of a burst.
const HORIZON: u32 = 32;
/// What the name of a key takes, beside what the learner takes: its bytes are in place, since longer ones are not learned.
const NAME_BYTES: usize = size_of::<Option<Name>>();

/// A key with its keyspace.
pub(crate) type Name = (u32, Key);

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
    options: BellOptions,
    known: Mutex<Known>,
    bursts: (Sender<Burst>, Receiver<Burst>),
    dropped: Counter,
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
        let places = physics.learning_bytes / (BELL_KEY_BYTES + NAME_BYTES);
        let options = BellOptions { bytes: places * BELL_KEY_BYTES, horizon: Some(HORIZON) };
        Learning {
            on: physics.learning && places > 0,
            every: physics.learning_every,
            options,
            known: Mutex::new(Known {
                bell: Bell::new(options),
                names: Vec::new(),
                places,
                last: (u64::MAX, 0),
                found: Vec::new(),
            }),
            bursts: bounded(BURSTS_MAX),
            dropped: Counter::default(),
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
        (known.bell.bytes() + names) as u64
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

    /// Those of the learned partners of a key that are to be brought in, as far as that can be told without waiting.
    pub(crate) fn worth_fetching(&self, hash: u64, advice: &dyn Advice) -> Vec<Name> {
        let Some(mut known) = self.on.then(|| self.known.try_lock()).flatten() else { return Vec::new() };
        let Known { bell, names, found, .. } = &mut *known;
        bell.worth_fetching(hash, found);
        let mut places = found.iter().map(|partner| partner.place).collect();
        advice.fetch(names.len(), &mut places);
        places.into_iter().filter_map(|place| names.get(place as usize)?.clone()).collect()
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

    /// Learns from the bursts that were handed over. Called by the background.
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
    }
}
