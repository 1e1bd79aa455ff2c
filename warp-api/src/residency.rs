//! Residency: which entries are in memory, and in which form. Gravity says which fall; this lets them.

use std::collections::HashMap;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use parking_lot::RwLock;
use warp_core::{EntryRef, KeyRef, Leaving, SLOTS, Value};
use warp_physics::{Body, Fall, ReadCosts, Remnants};

use crate::environment::finalize;
use crate::keyspace::SYSTEM;
use crate::options::WhenFull;
use crate::packed::{PACK_BYTES_MIN, value_of, with_packed};
use crate::pull::Pull;
use crate::put_options::{AccessPattern, Priority, PutOptions};
use crate::rival::Rival;
use crate::shared::Shared;
use crate::write::Hints;

/// Entries that are looked at together.
const SAMPLE: usize = 64;
/// Of these, so many fall: those that are worth least. Fewer where the worth is known better.
const FALLING: usize = 12;
const FALLING_BY_LAW: usize = 4;
/// A use that no entry has had yet is expected all the same: without this, entries of no mass could not be told apart by
/// their sizes.
const MASS_MIN: f64 = 0.25;
/// Of so many values that are kept out of memory, the price is looked at anew at one: while nothing comes in, nothing falls.
const PRICED_EVERY: u64 = 16;
/// Before much was learned, a value has to be worth so much more than what is in memory to come in.
const UNSETTLED_MARGIN: f64 = 1.02;
/// Samples in a row without anything that may fall, before it is said that there is nothing.
const FRUITLESS_MAX: usize = 64;
/// The same for a read, which can do without.
const FRUITLESS_READ_MAX: usize = 2;
/// Slots that are looked at for a sample: a small table has few entries in a slot, or none.
const SAMPLE_SLOTS: usize = SLOTS / 8;
/// Remnants, for each so many bytes of the budget: at four bytes each they take a 64th of it.
const BUDGET_BYTES_PER_REMNANT: u64 = 256;
const REMNANTS_MAX: u64 = 1 << 26;
/// Bytes that pinned entries may take, as a part of the budget; those beyond are not pinned.
const PINNED_PART: u64 = 2;
/// Pins of keys that are no more are looked for at one of so many pins that find no room.
const PINS_SWEPT_EVERY: u64 = 256;
/// What reads from the levels take. Only their relations matter, and they are the same at all times: what was worth keeping
/// yesterday can be compared with what comes today.
const COSTS: ReadCosts = ReadCosts { hot: 100.0, unpack_byte: 0.4, cold: 20_000.0 };
/// The weight of one observation in running means, as a power of two: a sixteenth.
const MEAN_SHIFT: u32 = 4;
/// In one of so many samples values are packed that are not likely to get smaller: others may have come since.
const PACKING_TRIED_EVERY: u64 = 64;
/// One, in the fixed-point numbers of the packing ratio.
const RATIO_ONE: u32 = 1 << 10;

/// Who is in memory, and what is remembered of those who were.
#[derive(Debug)]
pub(crate) struct Residency {
    /// What is learned of the uses of entries.
    pub(crate) pull: Pull,
    /// What another cache would have in its place.
    pub(crate) rival: Rival,
    /// The remnants where nothing is learned, made once the first entry leaves memory: most engines never need them.
    remnants: OnceLock<Remnants>,
    remnants_max: usize,
    /// The worth of what fell last, in nanoseconds a byte, as bits of an `f32`: the price of memory.
    price: AtomicU32,
    /// What packing leaves of a value, in parts of [`RATIO_ONE`].
    ratio: AtomicU32,
    /// Where the next sample is taken: a counter, scrambled.
    turn: AtomicU64,
    pinned: RwLock<Pins>,
    has_pinned: AtomicBool,
    pub(crate) evicted: AtomicU64,
    pub(crate) evicted_bytes: AtomicU64,
    pub(crate) packed: AtomicU64,
    pub(crate) packed_saved_bytes: AtomicU64,
    pub(crate) warm_reads: AtomicU64,
    pub(crate) unpacked: AtomicU64,
    pub(crate) kept_out: AtomicU64,
    pub(crate) returned: AtomicU64,
}

/// Keys that stay in memory, by their hashes, with the bytes that each counts for.
#[derive(Debug, Default)]
struct Pins {
    bytes_of: HashMap<u64, u64>,
    bytes: u64,
    /// Pins that were not followed, since too much is pinned already.
    refused: u64,
}

impl Pins {
    fn remove(&mut self, hash: u64) {
        self.bytes -= self.bytes_of.remove(&hash).unwrap_or(0);
    }

    /// Adds a pin that is not there, unless there would be more than `max` bytes.
    fn insert(&mut self, hash: u64, bytes: u64, max: u64) -> bool {
        let fits = self.bytes + bytes <= max;
        if fits {
            self.bytes_of.insert(hash, bytes);
            self.bytes += bytes;
        }
        fits
    }

    /// Bytes that the pins themselves take.
    fn memory_bytes(&self) -> usize {
        // A byte of control for each place.
        self.bytes_of.capacity() * (size_of::<(u64, u64)>() + 1)
    }

    fn retain(&mut self, stays: impl Fn(u64) -> bool) {
        self.bytes_of.retain(|hash, _| stays(*hash));
        self.bytes = self.bytes_of.values().sum();
    }
}

/// An entry of a sample.
#[derive(Debug)]
struct Candidate {
    leaving: Leaving,
    /// Whether a layer has it, or it may be lost; otherwise it can be packed at most.
    may_leave: bool,
    /// By its heat.
    mass: u32,
    bytes: usize,
    way: Fall,
    worth: f64,
    /// To be packed: what for.
    packable: Option<(u32, Vec<u8>, Value, u64)>,
}

impl Residency {
    pub(crate) fn new(budget: u64, on: bool) -> Residency {
        let remnants = if on { (budget / BUDGET_BYTES_PER_REMNANT).min(REMNANTS_MAX) } else { 0 };
        Residency {
            pull: Pull::default(),
            rival: Rival::default(),
            remnants: OnceLock::new(),
            remnants_max: usize::try_from(remnants).unwrap_or(1),
            price: AtomicU32::new(0),
            ratio: AtomicU32::new(RATIO_ONE / 2),
            turn: AtomicU64::new(0),
            pinned: RwLock::default(),
            has_pinned: AtomicBool::new(false),
            evicted: AtomicU64::new(0),
            evicted_bytes: AtomicU64::new(0),
            packed: AtomicU64::new(0),
            packed_saved_bytes: AtomicU64::new(0),
            warm_reads: AtomicU64::new(0),
            unpacked: AtomicU64::new(0),
            kept_out: AtomicU64::new(0),
            returned: AtomicU64::new(0),
        }
    }

    /// Bytes of memory that this takes.
    pub(crate) fn bytes(&self) -> u64 {
        let pins = self.pinned.read().memory_bytes() as u64;
        self.pull.bytes()
            + self.rival.bytes()
            + self.remnants.get().map_or(0, |remnants| remnants.bytes() as u64)
            + pins
    }

    /// How many of a sample of so many fall.
    fn falling(&self, count: usize) -> usize {
        let falling = if self.pull.learned().is_some() { FALLING_BY_LAW } else { FALLING };
        // Of a small sample the same part, so that what is good is not taken because nothing else was there.
        (count * falling).div_ceil(SAMPLE).min(count)
    }

    /// How much an entry is used, or expected to be, whose heat says so much.
    fn mass_of(&self, hash: u64, heat: u32) -> f64 {
        self.pull.learned().map_or_else(|| f64::from(heat).max(MASS_MIN), |learned| learned.of(hash, heat))
    }

    /// Remembers an entry that leaves. The law has its uses already.
    fn note_leaving(&self, hash: u64, mass: u32, tick: u8) {
        if self.pull.learned().is_none() {
            self.remnants().note(hash, mass, tick);
        }
    }

    fn remnants(&self) -> &Remnants {
        self.remnants.get_or_init(|| Remnants::new(self.remnants_max))
    }

    /// The price of memory: what the entries that fell last were worth, in nanoseconds a byte. 0 if none has fallen.
    pub(crate) fn price(&self) -> f64 {
        f64::from(f32::from_bits(self.price.load(Ordering::Relaxed)))
    }

    fn fell_at(&self, worth: f64) {
        let (mean, weight) = (self.price(), 1.0 / f64::from(1 << MEAN_SHIFT));
        let next = if mean == 0.0 { worth } else { mean + (worth - mean) * weight };
        #[expect(clippy::cast_possible_truncation, reason = "a mean of estimates")]
        self.price.store((next as f32).to_bits(), Ordering::Relaxed);
    }

    fn packed_to(&self, raw: usize, packed: usize) {
        let now = u32::try_from(packed.saturating_mul(RATIO_ONE as usize) / raw.max(1)).unwrap_or(RATIO_ONE);
        let mean = self.ratio.load(Ordering::Relaxed);
        self.ratio.store(mean - (mean >> MEAN_SHIFT) + (now.min(RATIO_ONE) >> MEAN_SHIFT), Ordering::Relaxed);
    }

    /// Bytes that packing a value of that length is likely to save.
    fn saving(&self, raw: usize) -> usize {
        raw - raw.saturating_mul(self.ratio.load(Ordering::Relaxed) as usize) / RATIO_ONE as usize
    }

    /// The same for a value of a sample; in some of these, more than is likely, so that packing is tried again.
    fn saving_in_sample(&self, raw: usize) -> usize {
        let is_trial = self.turn.load(Ordering::Relaxed).is_multiple_of(PACKING_TRIED_EVERY);
        if is_trial { self.saving(raw).max(raw / 2) } else { self.saving(raw) }
    }

    fn is_pinned(&self, hash: u64) -> bool {
        self.has_pinned.load(Ordering::Relaxed) && self.pinned.read().bytes_of.contains_key(&hash)
    }

    /// A random slot and a random place in it.
    fn next_place(&self) -> (usize, usize) {
        let bits = finalize(self.turn.fetch_add(1, Ordering::Relaxed));
        let slot = usize::try_from(bits % SLOTS as u64).expect("there are few slots");
        (slot, usize::try_from(bits >> 33).expect("31 bits"))
    }
}

/// What the options of a put say of its use.
pub(crate) fn hints_of(options: &PutOptions) -> Hints {
    let of_pattern = match options.access_pattern {
        None | Some(AccessPattern::Balanced) => 1,
        Some(AccessPattern::Hot) => 15,
        Some(AccessPattern::Warm) => 3,
        Some(AccessPattern::Cold) => 0,
    };
    let mass = match options.priority {
        None | Some(Priority::Normal) => of_pattern,
        Some(Priority::Critical) => 127,
        Some(Priority::High) => of_pattern * 4 + 3,
        Some(Priority::Low) => of_pattern / 4,
        Some(Priority::Background) => 0,
    };
    let is_told = options.access_pattern.is_some() || options.priority.is_some();
    Hints { mass: is_told.then_some(mass), pin: options.pin }
}

/// What to do about a shard that somebody writes to.
#[derive(Clone, Copy)]
enum Locks {
    Wait,
    /// For reads, which wait for nobody.
    PassBy,
}

impl Shared {
    /// Lets entries fall that are worth least, until about so many bytes of memory are freed, or nothing may fall any
    /// more. Returns the bytes that were freed: they can be used once nobody reads them.
    pub(crate) fn let_fall(&self, bytes: u64) -> u64 {
        self.let_fall_unless(bytes, FRUITLESS_MAX, Locks::Wait)
    }

    /// The same for the sake of a read: gives up sooner, and waits for no writer.
    pub(crate) fn let_fall_for_read(&self, bytes: u64) -> u64 {
        self.let_fall_unless(bytes, FRUITLESS_READ_MAX, Locks::PassBy)
    }

    fn let_fall_unless(&self, bytes: u64, fruitless_max: usize, locks: Locks) -> u64 {
        let may_leave = self.home.is_some() || self.options.when_full == WhenFull::Evict;
        if !may_leave {
            return 0;
        }
        let (mut freed, mut fruitless) = (0, 0);
        while freed < bytes && fruitless < fruitless_max {
            let gained = self.let_some_fall(bytes - freed, locks);
            freed += gained;
            fruitless = if gained == 0 { fruitless + 1 } else { 0 };
        }
        match locks {
            _ if freed == 0 => {}
            Locks::Wait => self.table.collect(),
            Locks::PassBy => self.table.try_collect(),
        }
        freed
    }

    /// Looks at a sample, and lets those of it fall that are worth least: until so many bytes are freed, but not many.
    fn let_some_fall(&self, bytes: u64, locks: Locks) -> u64 {
        let mut candidates = self.sample_of_least_worth();
        let mut sum = 0;
        candidates.retain(|candidate| {
            let goes = sum < bytes;
            sum += candidate.bytes as u64;
            goes
        });
        let tick = self.table.tick();
        let mut leaving = Vec::with_capacity(candidates.len());
        let mut gained = 0;
        for candidate in candidates {
            let packed = candidate.packable.as_ref().map_or(0, |_| self.pack(&candidate, locks));
            if packed == 0 && candidate.may_leave {
                self.residency.note_leaving(candidate.leaving.hash, candidate.mass, tick);
                leaving.push(candidate.leaving);
            }
            gained += packed;
            self.residency.fell_at(candidate.worth);
        }
        leaving.sort_unstable_by_key(|leaving| leaving.hash);
        let (count, bytes) = match locks {
            Locks::Wait => self.table.evict(&leaving),
            Locks::PassBy => self.table.try_evict(&leaving),
        };
        self.residency.evicted.fetch_add(count as u64, Ordering::Relaxed);
        self.residency.evicted_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        gained + bytes as u64
    }

    /// Those of a sample that are worth least, in the order of their worth.
    fn sample_of_least_worth(&self) -> Vec<Candidate> {
        let mut candidates = self.sample();
        let falling = self.residency.falling(candidates.len());
        if falling > 0 {
            candidates.select_nth_unstable_by(falling - 1, |a, b| a.worth.total_cmp(&b.worth));
        }
        candidates.truncate(falling);
        candidates.sort_unstable_by(|a, b| a.worth.total_cmp(&b.worth));
        candidates
    }

    /// Looks at the price of memory without letting anything fall.
    fn look_at_price(&self) {
        for candidate in self.sample_of_least_worth() {
            self.residency.fell_at(candidate.worth);
        }
    }

    fn sample(&self) -> Vec<Candidate> {
        let (first, from) = self.residency.next_place();
        let has_files = self.home.is_some();
        let clean_below = self.clean_below.load(Ordering::Acquire);
        let mut candidates = Vec::with_capacity(SAMPLE);
        let mut look = |entry: EntryRef<'_>| {
            let is_clean = if has_files { entry.seq() < clean_below } else { entry.keyspace() != SYSTEM };
            let hash = self.table.hash_of(entry.keyspace(), entry.key());
            // What was changed may not leave; but it may be packed.
            if self.residency.is_pinned(hash) || (!is_clean && entry.keyspace() == SYSTEM) {
                return;
            }
            if let Some(candidate) = self.weigh(entry, hash, is_clean) {
                candidates.push(candidate);
            }
        };
        let mut left = SAMPLE;
        for step in 0..SAMPLE_SLOTS {
            left -= self.table.sample((first + step) % SLOTS, from, left, &mut look).min(left);
            if left == 0 {
                break;
            }
        }
        candidates
    }

    /// What an entry is worth, and how it would fall; `None` if it may not.
    fn weigh(&self, entry: EntryRef<'_>, hash: u64, may_leave: bool) -> Option<Candidate> {
        let raw = entry.value().map_or(0, <[u8]>::len);
        let can_pack = self.options.physics.gravity && raw >= PACK_BYTES_MIN && entry.packed_from().is_none();
        let mass = if self.options.physics.gravity { entry.mass() } else { 0 };
        let body = Body {
            mass: self.residency.mass_of(hash, mass),
            bytes: entry.memory_bytes(),
            saved_by_packing: if can_pack { self.residency.saving_in_sample(raw) } else { 0 },
        };
        let (way, worth) = self.advice.fall(body, COSTS);
        let way = match (can_pack, may_leave) {
            (false, false) => return None,
            (false, true) => Fall::Leave,
            (true, false) => Fall::Pack,
            (true, true) => way,
        };
        let packable = match way {
            Fall::Pack => {
                Some((entry.keyspace(), entry.key().to_vec(), entry.value_handle()?, entry.deadline()))
            }
            Fall::Leave => None,
        };
        let leaving = Leaving { hash, seq: entry.seq() };
        Some(Candidate { leaving, may_leave, mass, bytes: body.bytes, way, worth, packable })
    }

    /// Puts an entry into packed form; returns the bytes that this freed, 0 if it was not done.
    fn pack(&self, candidate: &Candidate, locks: Locks) -> u64 {
        let Some((keyspace, key, value, deadline)) = &candidate.packable else { return 0 };
        let key = KeyRef { hash: candidate.leaving.hash, keyspace: *keyspace, bytes: key };
        debug_assert_eq!(candidate.way, Fall::Pack);
        let packed = with_packed(value, |packed| {
            let prepared = self.table.prepare(key, packed, *deadline).ok()?;
            let after = prepared.memory_bytes();
            let mut guard = match locks {
                Locks::Wait => self.table.lock(key.hash),
                Locks::PassBy => self.table.try_lock(key.hash)?,
            };
            let is_done = guard.reform(prepared, candidate.leaving.seq);
            is_done.then_some(after)
        });
        let Some(Some(after)) = packed else {
            if packed.is_none() {
                self.residency.packed_to(value.len(), value.len());
            }
            return 0;
        };
        self.residency.packed_to(candidate.bytes, after);
        let saved = (candidate.bytes as u64).saturating_sub(after as u64);
        self.residency.packed.fetch_add(1, Ordering::Relaxed);
        self.residency.packed_saved_bytes.fetch_add(saved, Ordering::Relaxed);
        saved
    }

    /// Reads a packed value; and unpacks it for good if that is worth the memory.
    #[cold]
    pub(crate) fn read_warm(&self, key: &KeyRef<'_>, entry: EntryRef<'_>) -> Option<Value> {
        let value = value_of(entry)?;
        // Each of these uses has its price, and a tick only passes with what comes into memory: all are told, or an entry that
        // is read all the time would stay packed while nothing else comes.
        entry.touch();
        self.residency.warm_reads.fetch_add(1, Ordering::Relaxed);
        // Packed form was worth the price of memory, when it was; by now it may have been used more.
        let worth = self.residency.mass_of(key.hash, entry.mass()) * COSTS.unpack_byte;
        if worth > self.residency.price() && self.admit_read(value.len()) {
            self.unpack_for_good(*key, &value, entry);
        }
        Some(value)
    }

    fn unpack_for_good(&self, key: KeyRef<'_>, value: &Value, entry: EntryRef<'_>) {
        let Ok(prepared) = self.table.prepare(key, value, entry.deadline()) else { return };
        let Some(mut guard) = self.table.try_lock(key.hash) else { return };
        if guard.reform(prepared, entry.seq()) {
            self.residency.unpacked.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Whether a value of so many bytes that was read from a layer comes into memory, and with which mass.
    ///
    /// While there is room, it does. Later it does if it is worth the price of memory, by the law where one is learned, and by
    /// how often it was used before otherwise: what is read once, as by a scan, pushes nothing out.
    pub(crate) fn comes_in(&self, hash: u64, bytes: usize) -> Option<u32> {
        let residency = &self.residency;
        let learned = residency.pull.learned();
        let is_remembered = learned.is_some_and(|learned| learned.used(hash));
        if learned.is_some() {
            self.want_law();
        }
        if !self.options.physics.gravity || !self.is_memory_full() {
            return self.admit_read(bytes).then_some(1);
        }
        let tick = self.table.tick();
        let (known, mass, margin) = match learned {
            Some(learned) => {
                let times = self.options.physics.promotion_price.max(1.0);
                (
                    Some(0),
                    learned.of(hash, 0),
                    if learned.is_settled() { times } else { times * UNSETTLED_MARGIN },
                )
            }
            None => {
                let known = residency.remnants().mass(hash, tick);
                (known, known.map_or(MASS_MIN, |mass| f64::from(mass + 1)), 1.0)
            }
        };
        // A long value will be packed before it leaves again: it is weighed as what it then takes.
        let saved = if bytes >= PACK_BYTES_MIN { residency.saving(bytes) } else { 0 };
        let body = Body { mass, bytes: (bytes - saved).max(1), saved_by_packing: 0 };
        let is_worth_it = known.is_some() && self.advice.fall(body, COSTS).1 >= residency.price() * margin;
        if is_worth_it && self.admit_read(bytes) {
            // The law lets keys in as well of which nothing is remembered; without it nothing else comes in.
            if is_remembered || learned.is_none() {
                residency.returned.fetch_add(1, Ordering::Relaxed);
            }
            // Its first use in memory tells it from those that come and go.
            return known;
        }
        residency.note_leaving(hash, known.map_or(0, |mass| mass + 1), tick);
        let kept_out = residency.kept_out.fetch_add(1, Ordering::Relaxed);
        if learned.is_some() && kept_out.is_multiple_of(PRICED_EVERY) {
            self.look_at_price();
        }
        None
    }

    /// Pins a key that was just put, or unpins it.
    pub(crate) fn pin(&self, hash: u64, bytes: usize, pin: bool) {
        let residency = &self.residency;
        if !pin && !residency.has_pinned.load(Ordering::Relaxed) {
            return;
        }
        let mut pins = residency.pinned.write();
        pins.remove(hash);
        let max = self.budget.limit() / PINNED_PART;
        if pin && !pins.insert(hash, bytes as u64, max) {
            // Keys that have expired or were cleared give up their pins when room is short.
            if pins.refused.is_multiple_of(PINS_SWEPT_EVERY) {
                pins.retain(|hash| self.is_in_memory(hash));
                pins.insert(hash, bytes as u64, max);
            }
            pins.refused += 1;
        }
        residency.has_pinned.store(!pins.bytes_of.is_empty(), Ordering::Relaxed);
    }

    /// Whether a key with this hash has a value that may be seen, in memory.
    fn is_in_memory(&self, hash: u64) -> bool {
        let mut is_there = false;
        self.table.entries(hash, |entry| is_there |= self.is_visible(entry.keyspace(), entry));
        is_there
    }

    /// How many keys are pinned.
    pub(crate) fn pinned_keys(&self) -> u64 {
        self.residency.pinned.read().bytes_of.len() as u64
    }
}
