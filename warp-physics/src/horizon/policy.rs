//! The policy without storage: who goes, of what is handed in.

#![expect(
    clippy::cast_possible_truncation,
    reason = "ticks wrap on purpose, and the codes are clamped before"
)]

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use super::law::Law;
use super::level::HorizonLevel;
use super::orbit::{MASS_STEPS, Orbit};
use super::stored::StoredLaw;

/// Entries to draw at random for one [`Horizon::choose`]: twice as many gain 0.03 points of hit ratio, half as many
/// lose 0.1, in the mean over the traces that it was tuned on.
pub const SAMPLE_CANDIDATES: usize = 32;
/// The entries that came in last, to be handed to [`Horizon::choose`] as well: where old entries are worth keeping, it
/// is these that must go, and a random draw seldom meets them.
pub const SAMPLE_RECENT: usize = 16;

/// Capacities over which the mass of an unused entry halves.
const HALF_LIFE_CAPACITIES: f32 = 16.0;
/// Entries up to which a tick is one access: ages of 64 capacities must fit in the law's ages.
const ENTRIES_A_TICK: usize = 1 << 19;
/// Uses, in capacities, until which a tie keeps who is in and turns the newcomer away.
const STICKY_CAPACITIES: u64 = 2;
/// Shortest time between two learnings, in accesses, and the length of a full period for small capacities.
const PERIOD_MIN: u64 = 256;
const FULL_PERIOD_MIN: u64 = 1024;
/// Accesses during which the shortest time is that short.
const HASTE_ACCESSES: u64 = 1 << 15;
/// The first learning; each later one doubles the time until the period is reached.
const FIRST_LEARNING: u64 = 64;
/// Weight of one victim in the moving mean that is the temperature.
const TEMPERATURE_GAIN: f32 = 1.0 / 64.0;

/// An entry that may go, or the one that would come in.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Candidate {
    /// What is remembered of it.
    pub orbit: Orbit,
    /// What it takes, in any unit, the same for all of one call; 0 counts as 1.
    pub weight: u64,
}

/// Whom to let go.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Choice {
    /// The candidate at this place of those handed in.
    Evict(usize),
    /// The newcomer: it never crosses the horizon, and is remembered as a remnant only.
    Refuse,
}

/// Something that waits for its next use at the moment, drawn at random, resident or remnant.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Waiting {
    /// What is remembered of it.
    pub orbit: Orbit,
    /// How many it stands for: those it was drawn from, over those drawn.
    pub count: f32,
}

/// The HAWK replacement policy: the worth of an entry is the most hits a unit of memory and time that keeping it
/// can give, by a law of reuse that is learned from the accesses.
///
/// It stores no entries. The caller keeps an [`Orbit`] of five bytes with each entry, and counts accesses; that count,
/// `now`, is the only time there is. All calls take `&self` and no lock; counts of threads that race may be lost, which
/// costs nothing but a little of what is learned. The tables take 283 KB, whatever the capacity.
///
/// - A new key: [`Horizon::born`]. A use, of a resident or of a remnant (a key that left and of which the orbit is
///   still known): [`Horizon::touch`]. An engine whose table holds every key, resident or not, has all remnants for
///   free. Where remnants are thrown away, [`Horizon::lost`] is told.
/// - When memory is short: [`Horizon::choose`], with some [`SAMPLE_CANDIDATES`] entries drawn at random, the
///   [`SAMPLE_RECENT`] that came in last, and the newcomer.
/// - Once [`Horizon::is_due`]: [`Horizon::learn`], at leisure, with a draw of what waits.
///
/// A caller that samples its accesses calls `touch` for the sampled ones alone; `now` must then count the sampled
/// accesses, and the entries given to [`Horizon::new`] be those that fit *times the share that is sampled*, if whole
/// bursts are sampled. An orbit then reflects the sampled uses.
///
/// Sources: the index is Gittins' (Aalto, Ayesta, Righter, "On the Gittins index in the M/G/1 queue", 2009) over the
/// hazard of Kaplan and Meier (1958); the measure of hits a unit of space and time is that of LHD (Beckmann, Chen,
/// Cidon, NSDI'18); sampled victims as in Hyperbolic caching (Blankstein, Sen, Freedman, ATC'17).
///
/// ```
/// use warp_physics::{Candidate, Choice, Horizon, Orbit};
///
/// // A table of its own: key to orbit, for all keys; 100 of them may be resident.
/// let horizon = Horizon::new(100);
/// let mut orbits: Vec<Option<Orbit>> = vec![None; 1000];
/// let mut resident: Vec<usize> = Vec::new();
/// let mut hits = 0;
/// for now in 0..50_000_u64 {
///     // A loop over 300 keys, where least recently used never hits.
///     let key = (now % 300) as usize;
///     let orbit = orbits[key].map_or(horizon.born(now), |orbit| horizon.touch(orbit, now));
///     orbits[key] = Some(orbit);
///     if resident.contains(&key) {
///         hits += 1;
///     } else if resident.len() < 100 {
///         resident.push(key);
///     } else {
///         let candidate = |key: usize| Candidate { orbit: orbits[key].unwrap(), weight: 1 };
///         let drawn: Vec<usize> = (0..32).map(|draw| (now as usize * 37 + draw * 13) % 100).collect();
///         let candidates = drawn.iter().map(|&place| candidate(resident[place]));
///         match horizon.choose(now, candidates, Some(candidate(key))) {
///             Choice::Evict(place) => resident[drawn[place]] = key,
///             Choice::Refuse => {}
///         }
///     }
///     if horizon.is_due(now) {
///         let waiting = orbits.iter().flatten().map(|&orbit| warp_physics::Waiting { orbit, count: 1.0 });
///         horizon.learn(now, waiting);
///     }
/// }
/// assert!(hits > 14_000); // 16,600 is the most that any policy can reach
/// ```
#[derive(Debug)]
pub struct Horizon {
    law: Law,
    /// How many accesses are a tick, as a power of two.
    tick_shift: u32,
    /// Entries that fit, in ticks, as `f32`.
    capacity: AtomicU32,
    entries: AtomicU64,
    uses: AtomicU64,
    learned: AtomicU64,
    due: AtomicU64,
    victims: AtomicU64,
    /// Moving mean of the index of victims, a tick, as `f32`.
    temperature: AtomicU32,
    exponent: f32,
    masses: Masses,
}

impl Horizon {
    /// For some `entries` that fit, at least 1. They fix the length of a tick: above some 524,288 entries one tick is
    /// several accesses. Weight counts in full ([`Horizon::with_exponent`]).
    pub fn new(entries: usize) -> Horizon {
        let entries = entries.max(1);
        let ticks = entries.div_ceil(ENTRIES_A_TICK);
        let tick_shift = ticks.next_power_of_two().trailing_zeros();
        let capacity = entries as f32 / (1_u64 << tick_shift) as f32;
        Horizon {
            law: Law::new(f64::from(capacity)),
            tick_shift,
            capacity: AtomicU32::new(capacity.to_bits()),
            entries: AtomicU64::new(entries as u64),
            uses: AtomicU64::new(0),
            learned: AtomicU64::new(0),
            due: AtomicU64::new(FIRST_LEARNING),
            victims: AtomicU64::new(0),
            temperature: AtomicU32::new(0),
            exponent: 1.0,
            masses: Masses::new(),
        }
    }

    /// How much weight counts: the worth is index / weight^`exponent`. 1 (the default) is for the most hits where a miss
    /// costs the same whatever its size, 0 for the most bytes served, 0.5 is between. Clamped to `0.0..=1.0`; a NaN
    /// counts as 1.
    #[must_use]
    pub fn with_exponent(mut self, exponent: f32) -> Horizon {
        self.exponent = if exponent.is_nan() { 1.0 } else { exponent.clamp(0.0, 1.0) };
        self
    }

    /// Tells how many entries fit by now, where entries of changing size share a budget. The length of a tick stays.
    pub fn set_entries(&self, entries: usize) {
        let entries = entries.max(1);
        let capacity = entries as f32 / (1_u64 << self.tick_shift) as f32;
        self.entries.store(entries as u64, Ordering::Relaxed);
        self.capacity.store(capacity.to_bits(), Ordering::Relaxed);
    }

    /// The entries that fit, as last told.
    pub fn entries(&self) -> u64 {
        self.entries.load(Ordering::Relaxed)
    }

    /// The state of an entry at its first use, at the access `now`.
    pub fn born(&self, now: u64) -> Orbit {
        Orbit::new(self.tick(now), 0, 0)
    }

    /// The state after a use at the access `now`. The wait that ended is counted.
    pub fn touch(&self, orbit: Orbit, now: u64) -> Orbit {
        self.touch_as(orbit, now, 1.0)
    }

    /// The same for a use that stands for several, where one of `count` uses is shown; 0 is for one that is not counted.
    pub fn touch_as(&self, orbit: Orbit, now: u64, count: f32) -> Orbit {
        let tick = self.tick(now);
        let age = orbit.age(tick);
        if count > 0.0 {
            self.law.reused(orbit.class(), age, count);
        }
        // Uses are counted only until the cold start is over, so that a hit writes no line that all threads share.
        if self.is_cold() {
            self.uses.store(self.uses.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        }
        let capacities = age as f32 / self.capacity();
        Orbit::new(tick, self.masses.used(orbit.mass_code(), capacities), wait_class(capacities))
    }

    /// Tells that a remnant was thrown away at the access `now`: whether it would have been used again is not known.
    pub fn lost(&self, orbit: Orbit, now: u64) {
        self.law.lost(orbit.class(), orbit.age(self.tick(now)), 1.0);
    }

    /// The most expected hits an access that keeping the entry can give, at the access `now`.
    pub fn index(&self, orbit: Orbit, now: u64) -> f64 {
        f64::from(self.index_at(orbit, self.tick(now))) / (1_u64 << self.tick_shift) as f64
    }

    /// The index over the weight, by which entries are compared; higher stays. Gravity may compare it between levels
    /// of memory, times what each saves.
    pub fn worth(&self, candidate: Candidate, now: u64) -> f64 {
        f64::from(self.worth_at(candidate, self.tick(now))) / (1_u64 << self.tick_shift) as f64
    }

    /// Who goes: the candidate of the lowest worth, or the newcomer, if it is lower still. Of equal ones the one that
    /// was used longest ago goes; in the beginning, before uses have taught much, the newcomer does. With neither
    /// candidates nor a newcomer it is [`Choice::Refuse`].
    ///
    /// The temperature follows the worth of who goes.
    pub fn choose(
        &self,
        now: u64,
        residents: impl IntoIterator<Item = Candidate>,
        newcomer: Option<Candidate>,
    ) -> Choice {
        let tick = self.tick(now);
        let mut choice = Choice::Refuse;
        let (mut lowest, mut oldest) = match newcomer {
            Some(newcomer) if self.is_cold() => (self.worth_at(newcomer, tick) * (1.0 - 1e-6), u32::MAX),
            Some(newcomer) => (self.worth_at(newcomer, tick), 0),
            None => (f32::INFINITY, 0),
        };
        for (place, candidate) in residents.into_iter().enumerate() {
            let (worth, age) = (self.worth_at(candidate, tick), candidate.orbit.age(tick));
            if worth < lowest || (worth == lowest && age > oldest) {
                (lowest, oldest, choice) = (worth, age, Choice::Evict(place));
            }
        }
        if lowest.is_finite() {
            self.warm(lowest);
        }
        choice
    }

    /// Whether it is time to learn, at the access `now`.
    pub fn is_due(&self, now: u64) -> bool {
        now >= self.due.load(Ordering::Relaxed)
    }

    /// Learns from the accesses since the last time, and from what waits at the access `now`: some 2,000 residents and
    /// as many remnants, drawn at random. Without the remnants the worth of old entries is overrated.
    ///
    /// It takes some 10 to 200 microseconds and allocates nothing that grows; a call while another learns returns.
    pub fn learn(&self, now: u64, waiting: impl IntoIterator<Item = Waiting>) {
        let full = (self.entries() / 4).max(FULL_PERIOD_MIN);
        // Small caches learn more often in the beginning, when each time teaches most.
        let shortest = if now < HASTE_ACCESSES { PERIOD_MIN } else { FULL_PERIOD_MIN };
        let period = (self.entries() / 4).max(shortest);
        self.due.store(now + period.min(now.max(FIRST_LEARNING)), Ordering::Relaxed);
        let since = now.saturating_sub(self.learned.swap(now, Ordering::Relaxed));
        let tick = self.tick(now);
        let waiting = waiting
            .into_iter()
            .map(|waiting| (waiting.orbit.class(), waiting.orbit.age(tick), waiting.count));
        self.law.learn(self.capacity().into(), since as f32 / full as f32, waiting);
    }

    /// The Hawking temperature: a moving mean of the worth of what was evicted or turned away, in expected hits an
    /// access and unit of weight. `None` before the first victim.
    pub fn temperature(&self) -> Option<f64> {
        (self.victims.load(Ordering::Relaxed) > 0)
            .then(|| f64::from(self.temperature_now()) / (1_u64 << self.tick_shift) as f64)
    }

    /// How many were evicted or turned away by [`Horizon::choose`].
    pub fn victims(&self) -> u64 {
        self.victims.load(Ordering::Relaxed)
    }

    /// How far above the temperature an entry is. Before the first victim there is nothing to fear: all are
    /// [`HorizonLevel::Singularity`].
    pub fn level(&self, candidate: Candidate, now: u64) -> HorizonLevel {
        HorizonLevel::of(self.worth_at(candidate, self.tick(now)), self.temperature_now())
    }

    /// Entries that fit, in ticks.
    #[expect(clippy::cast_sign_loss, reason = "above 0")]
    pub(crate) fn capacity_ticks(&self) -> u64 {
        self.capacity().ceil() as u64
    }

    fn capacity(&self) -> f32 {
        f32::from_bits(self.capacity.load(Ordering::Relaxed))
    }

    /// Bytes of memory that the tables take.
    pub(crate) fn bytes(&self) -> usize {
        self.law.bytes() + self.masses.0.len()
    }

    /// Ticks since an entry was last used.
    pub(crate) fn age(&self, orbit: Orbit, now: u64) -> u32 {
        orbit.age(self.tick(now))
    }

    /// The state of an entry that was last used so many ticks before `now`.
    pub(crate) fn aged(&self, now: u64, age: u32, mass: u8, wait: u8) -> Orbit {
        Orbit::new(self.tick(now).wrapping_sub(age), mass, wait)
    }

    /// What was learned, to be stored.
    pub(crate) fn stored(&self) -> StoredLaw {
        StoredLaw {
            tick_shift: self.tick_shift as u8,
            entries: self.entries(),
            uses: self.uses.load(Ordering::Relaxed),
            counts: self.law.counts(),
        }
    }

    /// Adds what was learned earlier; `false` if it says nothing about so many entries.
    pub(crate) fn take(&self, stored: &StoredLaw) -> bool {
        let is_for = stored.is_for(self.tick_shift, self.entries());
        if is_for {
            self.law.add(&stored.counts, self.capacity().into());
            // They are counted until there were some capacities of them, and then no more.
            let scaled = u128::from(stored.uses) * u128::from(self.entries()) / u128::from(stored.entries);
            let scaled = u64::try_from(scaled).unwrap_or(u64::MAX);
            let uses = self.uses.load(Ordering::Relaxed).saturating_add(scaled);
            self.uses.store(uses, Ordering::Relaxed);
        }
        is_for
    }

    fn tick(&self, now: u64) -> u32 {
        (now >> self.tick_shift) as u32
    }

    pub(crate) fn is_cold(&self) -> bool {
        self.uses.load(Ordering::Relaxed) < STICKY_CAPACITIES * self.entries()
    }

    fn index_at(&self, orbit: Orbit, tick: u32) -> f32 {
        self.law.index(orbit.class(), orbit.age(tick))
    }

    fn worth_at(&self, candidate: Candidate, tick: u32) -> f32 {
        let index = self.index_at(candidate.orbit, tick);
        let weight = candidate.weight.max(1) as f32;
        if self.exponent == 1.0 { index / weight } else { index / weight.powf(self.exponent) }
    }

    fn temperature_now(&self) -> f32 {
        f32::from_bits(self.temperature.load(Ordering::Relaxed))
    }

    fn warm(&self, worth: f32) {
        let victims = self.victims.load(Ordering::Relaxed);
        self.victims.store(victims + 1, Ordering::Relaxed);
        // The mean of all while there are few.
        let gain = TEMPERATURE_GAIN.max(1.0 / (victims + 1) as f32);
        let temperature = self.temperature_now();
        self.temperature.store((temperature + (worth - temperature) * gain).to_bits(), Ordering::Relaxed);
    }
}

/// The octave of a wait in capacities, from 2^-7 to 2^3, as 1 to 11.
fn wait_class(capacities: f32) -> u8 {
    // The exponent of a float is the logarithm that is wanted, rounded down; 0 has a very low one.
    let octave = i32::from((capacities.to_bits() >> 23) as u8) - 127;
    ((octave + 7).clamp(0, 10) + 1) as u8
}

/// `log2(2^x + 1)` in steps of the stored mass, for the steps `-OFFSET..256`.
#[derive(Debug)]
struct Masses(Box<[u8]>);

impl Masses {
    /// Below this many steps under one use, the past does not count any more.
    const OFFSET: i32 = 8 * MASS_STEPS as i32;

    fn new() -> Masses {
        let steps = f64::from(MASS_STEPS);
        let sum = |code: i32| ((f64::from(code) / steps).exp2() + 1.0).log2() * steps;
        Masses((-Self::OFFSET..256).map(|code| sum(code).round().min(255.0) as u8).collect())
    }

    /// The mass after one more use, `capacities` after the one before.
    fn used(&self, code: u8, capacities: f32) -> u8 {
        let lost = (capacities * (f32::from(MASS_STEPS) / HALF_LIFE_CAPACITIES)).min(1e6) as i32;
        let kept = (i32::from(code) - lost).max(-Self::OFFSET);
        self.0[(kept + Self::OFFSET) as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(orbit: Orbit) -> Candidate {
        Candidate { orbit, weight: 1 }
    }

    #[test]
    fn mass_grows_by_one_a_use_and_halves_in_sixteen_capacities() {
        let horizon = Horizon::new(100);
        let mut orbit = horizon.born(0);
        assert_eq!(orbit.mass(), 1.0);
        for uses in 2..=20_u32 {
            orbit = horizon.touch(orbit, 0);
            assert!((orbit.mass() / f64::from(uses) - 1.0).abs() < 0.1, "{uses}: {}", orbit.mass());
        }
        let later = horizon.touch(orbit, 1600);
        assert!((later.mass() - 11.0).abs() < 0.7, "{}", later.mass());
        assert!((horizon.touch(orbit, 10_000_000).mass() - 1.0).abs() < 0.02);
    }

    #[test]
    fn waits_are_octaves_of_the_capacity() {
        for (capacities, class) in
            [(0.0, 1), (0.004, 1), (0.01, 1), (0.016, 2), (0.5, 7), (1.0, 8), (7.9, 10), (8.0, 11)]
        {
            assert_eq!(wait_class(capacities), class, "{capacities}");
        }
        assert_eq!(wait_class(f32::INFINITY), 11);
    }

    #[test]
    fn a_tie_keeps_who_is_in_while_little_is_known_and_later_lets_the_oldest_go() {
        let horizon = Horizon::new(1);
        let (resident, newcomer) = (horizon.born(5), horizon.born(5));
        assert_eq!(horizon.choose(5, [candidate(resident)], Some(candidate(newcomer))), Choice::Refuse);
        let mut other = horizon.born(5);
        for _ in 0..3 {
            other = horizon.touch(other, 5);
        }
        let ties = [5, 3, 4].map(|tick| candidate(Orbit::new(tick, 0, 0)));
        // In one bin, so that their worth is the same.
        let ties = ties.map(|tie| Candidate { weight: 1, ..tie });
        assert!(matches!(horizon.choose(5, ties, None), Choice::Evict(_)));
        assert_eq!(horizon.choose(5, [], None), Choice::Refuse);
    }

    #[test]
    fn the_heavier_of_equals_goes_and_the_temperature_is_its_worth() {
        let horizon = Horizon::new(10);
        assert_eq!(horizon.temperature(), None);
        let orbit = horizon.born(0);
        assert_eq!(horizon.level(candidate(orbit), 0), HorizonLevel::Singularity);
        let heavy = Candidate { orbit, weight: 64 };
        assert_eq!(horizon.choose(0, [candidate(orbit), heavy], None), Choice::Evict(1));
        assert_eq!(horizon.temperature(), Some(horizon.worth(heavy, 0)));
        assert_eq!(horizon.level(candidate(orbit), 0), HorizonLevel::Singularity);
        assert_eq!(horizon.level(heavy, 0), HorizonLevel::PhotonSphere);
        assert_eq!(horizon.victims(), 1);
        let flat = Horizon::new(10).with_exponent(0.0);
        assert_eq!(flat.worth(candidate(orbit), 0), flat.worth(heavy, 0));
    }

    #[test]
    fn many_entries_make_a_tick_several_accesses_and_worth_stays_a_figure_an_access() {
        let few = Horizon::new(1 << 19);
        let many = Horizon::new(1 << 22);
        assert_eq!((few.tick_shift, many.tick_shift), (0, 3));
        let ratio = few.index(few.born(0), 0) / many.index(many.born(0), 0);
        assert!(
            (6.0..10.0).contains(&ratio),
            "a wait in capacities is the same, so accesses are 8 times: {ratio}"
        );
    }
}
