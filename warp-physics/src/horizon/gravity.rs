//! The horizon with a memory of orbits, for an engine whose entries lie in a table of its own.

use super::orbit::{MASS_STEPS, Orbit};
use super::orbits::Orbits;
use super::policy::{Horizon, Waiting};
use super::stored::StoredLaw;

/// Orbits that are remembered for each entry that fits: its own, and those of keys that left.
pub const ORBITS_AN_ENTRY: usize = 5;
/// Orbits that are shown to the law at a time.
const WAITING_DRAWN: usize = 4096;
/// Uses of an entry, from the third on, that are nearer to each other than this part of the capacity are one: so that what is
/// used all the time is not written to all the time.
const ONE_USE_PART: u64 = 128;
/// A mass, which fades while entries fit some four times over, makes this part of it in uses over as many accesses as fit once.
const USES_OF_MASS: f64 = 0.25;

/// How much the entries of an engine are expected to be used: the law of a [`Horizon`], with the orbits of keys in memory and of
/// keys that left, by their hashes.
///
/// It holds no entries and knows no sizes: the engine draws entries, asks for the [`pull`](Gravity::pull) of each, and
/// weighs it with the cost of a miss and the bytes ([`fall`](crate::fall)). `now` counts accesses. All calls take `&self` and no
/// lock but [`Gravity::learn`], which is for the background.
///
/// ```
/// use warp_physics::Gravity;
///
/// let gravity = Gravity::new(1000, 5000);
/// for now in 0..40_000 {
///     // One key in two is used again and again, the other never.
///     let hash = |n: u64| (n + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
///     let key = if now % 2 == 0 { now / 2 % 300 } else { 1_000_000 + now };
///     gravity.used(hash(key), now, 0, 1.0);
///     if gravity.is_due(now) {
///         gravity.learn(now, 1000, now);
///     }
/// }
/// let hash = |n: u64| (n + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
/// assert!(gravity.pull(hash(7), 40_000, 0) > 4.0 * gravity.pull(hash(1_039_999), 40_000, 0));
/// ```
#[derive(Debug)]
pub struct Gravity {
    horizon: Horizon,
    orbits: Orbits,
}

impl Gravity {
    /// For about so many entries that fit, with room for so many orbits, of eight bytes each; [`ORBITS_AN_ENTRY`] says how many
    /// are good.
    #[must_use]
    pub fn new(entries: usize, orbits: usize) -> Gravity {
        Gravity { horizon: Horizon::new(entries), orbits: Orbits::new(orbits) }
    }

    /// Bytes of memory that it takes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.horizon.bytes() + self.orbits.bytes()
    }

    /// Whether there were enough uses for ties to mean anything: before, what is in does well to stay in.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        !self.horizon.is_cold()
    }

    /// Takes note of a use of the key with this hash, which stands for `count` uses where not all are shown to the law; 0 is for
    /// one that it is not shown. Of a key of which nothing is remembered, `mass` says how often it was used as far as is known.
    /// Returns whether anything was remembered.
    pub fn used(&self, hash: u64, now: u64, mass: u32, count: f32) -> bool {
        let Some((place, orbit)) = self.orbits.find(hash) else {
            let orbit = self.horizon.aged(now, 0, mass_code(mass), 0);
            if let Some(former) = self.orbits.insert(hash, orbit, |orbit| self.horizon.age(orbit, now)) {
                self.horizon.lost(former, now);
            }
            return false;
        };
        // The second use counts however near it is: of much that is used twice at once, nothing is used a third time.
        let is_near = u64::from(self.horizon.age(orbit, now)) * ONE_USE_PART < self.horizon.capacity_ticks();
        if !is_near || orbit.wait() == 0 {
            place.set(self.horizon.touch_as(orbit, now, count));
        }
        true
    }

    /// Forgets a key: what it was used for until now says nothing any more.
    pub fn forget(&self, hash: u64) {
        if let Some((place, _)) = self.orbits.find(hash) {
            place.clear();
        }
    }

    /// The uses of a key to be expected for its room in memory, over as many accesses as entries fit. Of one of which nothing is
    /// remembered, `mass` says how often it was used as far as is known, and it is taken to have waited for as long as that; by a
    /// mass above 1 it is believed even where the law has not seen anything used again.
    #[must_use]
    pub fn pull(&self, hash: u64, now: u64, mass: u32) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "far fewer entries than 2^52")]
        let uses = |orbit| self.horizon.index(orbit, now) * self.horizon.entries() as f64;
        if let Some((_, orbit)) = self.orbits.find(hash) {
            return uses(orbit);
        }
        let age = u32::try_from(self.horizon.capacity_ticks()).unwrap_or(u32::MAX);
        let by_law = uses(self.horizon.aged(now, age, 0, 0)) * f64::midpoint(f64::from(mass), 1.0);
        by_law.max(f64::from(mass.saturating_sub(1)) * USES_OF_MASS)
    }

    /// What was learned so far, without the orbits of keys.
    #[must_use]
    pub fn law(&self) -> StoredLaw {
        self.horizon.stored()
    }

    /// Begins with what was learned earlier, in addition to what was learned since. Returns whether it did: what was learned where far
    /// more or fewer entries fitted says nothing here.
    pub fn take_law(&self, law: &StoredLaw) -> bool {
        self.horizon.take(law)
    }

    /// Whether it is time to learn.
    #[must_use]
    pub fn is_due(&self, now: u64) -> bool {
        self.horizon.is_due(now)
    }

    /// Learns from the uses since the last time. `entries` is how many fit by now; `seed` says where orbits are drawn. Takes
    /// some 10 to 200 microseconds.
    pub fn learn(&self, now: u64, entries: usize, seed: u64) {
        self.horizon.set_entries(entries);
        let among = self.orbits.capacity();
        let drawn = among.min(WAITING_DRAWN);
        #[expect(clippy::cast_precision_loss, reason = "a weight needs no more digits")]
        let count = among as f32 / drawn as f32;
        let mut state = seed | 1;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            usize::try_from((u128::from(state) * among as u128) >> 64).unwrap_or(0)
        };
        let places = (0..drawn).map(|place| if drawn < among { next() } else { place });
        let waiting = places.filter_map(|place| self.orbits.at(place)).map(|orbit| Waiting { orbit, count });
        self.horizon.learn(now, waiting);
    }
}

/// The mass of so many uses, as an orbit has it.
fn mass_code(uses: u32) -> u8 {
    let steps = f64::from(uses.max(1)).log2() * f64::from(MASS_STEPS);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped before")]
    let code = steps.clamp(0.0, 255.0) as u8;
    code
}

const _: () = assert!(size_of::<Orbit>() == 8);

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(n: u64) -> u64 {
        (n + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15)
    }

    #[test]
    fn a_law_that_was_kept_knows_what_it_knew_and_none_is_taken_for_another_capacity() {
        let gravity = Gravity::new(1_000, 5_000);
        for now in 0..60_000_u64 {
            let key = if now % 2 == 0 { now / 2 % 700 } else { 1_000_000 + now };
            gravity.used(hash(key), now, 0, 1.0);
            if gravity.is_due(now) {
                gravity.learn(now, 1_000, now);
            }
        }
        let again = Gravity::new(1_200, 6_000);
        // Of an entry that was used again after a round of the loop.
        let of = |gravity: &Gravity, age| {
            gravity.horizon.index(gravity.horizon.aged(100_000, age, 48, 8), 100_000)
        };
        let before = of(&again, 1_300);
        assert!(of(&gravity, 1_300) > 5.0 * before, "the loop is known, and is not known beforehand");
        let law = gravity.law();
        assert!(again.take_law(&law) && again.is_settled());
        for age in [10, 700, 1_300] {
            let (then, now) = (of(&gravity, age), of(&again, age));
            assert!((now / then - 1.0).abs() < 0.05, "age {age}: {now} for {then}");
        }
        let law = again.law();
        assert!(!Gravity::new(4_000, 20_000).take_law(&law));
        assert!(Gravity::new(4_000, 20_000).law() != law);
    }

    /// A cache of `entries` around it, which admits what pulls more than the weakest of some that it draws.
    fn hits(entries: usize, keys: impl Iterator<Item = u64>) -> usize {
        let gravity = Gravity::new(entries, entries * ORBITS_AN_ENTRY);
        let (mut inside, mut hits) = (Vec::new(), 0);
        for (now, key) in (0..).zip(keys) {
            hits += usize::from(inside.contains(&key));
            gravity.used(hash(key), now, 0, 1.0);
            if gravity.is_due(now) {
                gravity.learn(now, entries, now);
            }
            if inside.contains(&key) {
                continue;
            }
            if inside.len() < entries {
                inside.push(key);
                continue;
            }
            let start = usize::try_from(hash(now) % entries as u64).unwrap();
            let drawn = (0..32).map(|step| (start + step * 7) % entries);
            let pull = |place: usize| gravity.pull(hash(inside[place]), now, 0);
            let weakest = drawn.min_by(|&a, &b| pull(a).total_cmp(&pull(b))).unwrap();
            let (ours, least) = (gravity.pull(hash(key), now, 0), pull(weakest));
            if ours > least && (gravity.is_settled() || ours > 1.02 * least) {
                inside[weakest] = key;
            }
        }
        hits
    }

    #[test]
    fn of_a_loop_that_does_not_fit_a_part_stays() {
        let hits = hits(200, (0..40_000).map(|n| n % 500));
        // Least recently used would have none, and the most that can be had are 0.4 of all.
        assert!(hits > 12_000, "{hits} hits");
    }

    #[test]
    fn what_is_used_once_pushes_nothing_out() {
        let mixed = (0..40_000).map(|n| if n % 2 == 0 { hash(n) % 180 } else { 1_000 + n });
        let hits = hits(200, mixed);
        assert!(hits > 18_000, "{hits} of 20,000 uses of what fits");
    }

    #[test]
    fn what_is_not_remembered_is_judged_by_its_mass() {
        let gravity = Gravity::new(1000, 5000);
        assert!(gravity.pull(hash(1), 5_000, 127) > 20.0 * gravity.pull(hash(1), 5_000, 1));
        assert!(gravity.pull(hash(1), 5_000, 0) < gravity.pull(hash(1), 5_000, 1));
        assert!(!gravity.used(hash(1), 5_000, 0, 1.0));
        let known = gravity.pull(hash(1), 5_000, 127);
        assert!((known - gravity.pull(hash(1), 5_000, 0)).abs() < 1e-12, "it is known by itself now");
        assert!(gravity.used(hash(1), 5_000, 0, 1.0), "the second use is of a key that is remembered");
        gravity.forget(hash(1));
        assert!(gravity.pull(hash(1), 5_000, 127) > 20.0 * known);
        assert!(!gravity.used(hash(1), 5_001, 0, 1.0));
        assert!(gravity.bytes() > 40_000 + 200_000);
    }

    #[test]
    fn a_great_mass_counts_where_nothing_is_used_again() {
        let gravity = Gravity::new(1000, 5000);
        for now in 0..40_000 {
            gravity.used(hash(now), now, 0, 1.0);
            if gravity.is_due(now) {
                gravity.learn(now, 1000, now);
            }
        }
        let told = gravity.pull(hash(100_000), 40_000, 127);
        let newest = gravity.pull(hash(39_999), 40_000, 0);
        assert!(told > 10.0 * newest, "{told} and {newest}");
    }

    #[test]
    fn a_clock_that_is_behind_makes_nothing_old() {
        let gravity = Gravity::new(1000, 64);
        for now in [50_000, 60_000, 60_014] {
            gravity.used(hash(3), now, 0, 1.0);
        }
        let before = gravity.orbits.find(hash(3)).map(|(_, orbit)| orbit);
        // Another thread, which has told of all its uses.
        gravity.used(hash(3), 60_003, 0, 1.0);
        assert_eq!(gravity.orbits.find(hash(3)).map(|(_, orbit)| orbit), before);
        let (behind, ahead) = (gravity.pull(hash(3), 60_003, 0), gravity.pull(hash(3), 60_014, 0));
        assert!((behind - ahead).abs() < 1e-9, "{behind} and {ahead}");
    }

    #[test]
    fn uses_that_are_close_are_one() {
        let gravity = Gravity::new(12_800, 64);
        let orbit = |gravity: &Gravity| gravity.orbits.find(hash(3)).map(|(_, orbit)| orbit);
        gravity.used(hash(3), 999, 0, 1.0);
        let first = orbit(&gravity);
        gravity.used(hash(3), 1_000, 0, 1.0);
        let second = orbit(&gravity);
        assert_ne!(second, first, "the second is told from the first");
        gravity.used(hash(3), 1_099, 0, 1.0);
        assert_eq!(orbit(&gravity), second);
        gravity.used(hash(3), 1_100, 0, 1.0);
        assert_ne!(orbit(&gravity), second);
    }

    #[test]
    fn what_is_used_twice_at_once_comes_in_for_the_second_use() {
        let hits = hits(200, (0..40_000).map(|n| n / 2));
        assert!(hits > 18_000, "{hits} of 20,000");
    }
}
