//! Orbits by a part of their keys' hashes, for entries in memory and for those that left alike.

use std::sync::atomic::{AtomicU64, Ordering};

use super::orbit::Orbit;

/// Orbits of one set, which is one cache line.
const WAYS: usize = 8;
const ORBIT_BITS: u32 = 40;
const TAG_MASK: u64 = (1 << (u64::BITS - ORBIT_BITS)) - 1;

#[derive(Debug, Default)]
#[repr(align(64))]
struct Set([AtomicU64; WAYS]);

/// A bounded memory of orbits, eight bytes each, in sets of eight.
///
/// Any number of threads may use it at once, without a lock; one that loses a race loses an orbit, no more. An orbit is known by
/// its set and 24 bits of the hash, so that one look-up in two million finds a stranger's.
#[derive(Debug)]
pub(crate) struct Orbits {
    sets: Box<[Set]>,
}

impl Orbits {
    /// Room for so many, rounded up to whole sets.
    pub(crate) fn new(count: usize) -> Orbits {
        Orbits { sets: (0..count.div_ceil(WAYS).max(1)).map(|_| Set::default()).collect() }
    }

    pub(crate) fn capacity(&self) -> usize {
        self.sets.len() * WAYS
    }

    pub(crate) fn bytes(&self) -> usize {
        size_of_val(&*self.sets)
    }

    /// The place of what is remembered under a hash, and the orbit there.
    pub(crate) fn find(&self, hash: u64) -> Option<(Place<'_>, Orbit)> {
        let tag = tag(hash);
        self.set(hash).0.iter().find_map(|cell| {
            let word = cell.load(Ordering::Relaxed);
            (word >> ORBIT_BITS == tag).then(|| (Place { cell, tag }, Orbit::from_bits(word)))
        })
    }

    /// Remembers an orbit under a hash that is not known. Returns the one that had to go for it, the one of its set that was
    /// used longest ago.
    pub(crate) fn insert(&self, hash: u64, orbit: Orbit, age: impl Fn(Orbit) -> u32) -> Option<Orbit> {
        let aged = |cell: &&AtomicU64| match cell.load(Ordering::Relaxed) {
            0 => u64::from(u32::MAX) + 1,
            word => u64::from(age(Orbit::from_bits(word))),
        };
        let cell = self.set(hash).0.iter().max_by_key(aged)?;
        let former = cell.swap(word(tag(hash), orbit), Ordering::Relaxed);
        (former != 0).then(|| Orbit::from_bits(former))
    }

    /// The orbit at a place below the capacity, if there is one.
    pub(crate) fn at(&self, place: usize) -> Option<Orbit> {
        let word = self.sets.get(place / WAYS)?.0[place % WAYS].load(Ordering::Relaxed);
        (word != 0).then(|| Orbit::from_bits(word))
    }

    fn set(&self, hash: u64) -> &Set {
        // The upper half of the product of other bits than the tag's with the count (Lemire 2019).
        let place = (u128::from(hash.rotate_left(20)) * self.sets.len() as u128) >> 64;
        &self.sets[usize::try_from(place).unwrap_or(0)]
    }
}

/// Where an orbit is remembered.
#[derive(Debug)]
pub(crate) struct Place<'a> {
    cell: &'a AtomicU64,
    tag: u64,
}

impl Place<'_> {
    pub(crate) fn set(&self, orbit: Orbit) {
        self.cell.store(word(self.tag, orbit), Ordering::Relaxed);
    }

    pub(crate) fn clear(&self) {
        self.cell.store(0, Ordering::Relaxed);
    }
}

fn word(tag: u64, orbit: Orbit) -> u64 {
    tag << ORBIT_BITS | orbit.to_bits()
}

/// Bits of the hash that the set is not chosen by; never 0, so that no word that is remembered is 0.
fn tag(hash: u64) -> u64 {
    (hash & TAG_MASK).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_of_a_full_set_makes_room() {
        let orbits = Orbits::new(1);
        assert_eq!((orbits.capacity(), orbits.bytes()), (WAYS, 64));
        let orbit = |tick: u32| Orbit::new(tick, 9, 2);
        for tick in 0..8 {
            assert_eq!(orbits.insert(u64::from(tick) + 5, orbit(tick), |orbit| orbit.age(100)), None);
        }
        assert_eq!(orbits.insert(77, orbit(50), |orbit| orbit.age(100)), Some(orbit(0)));
        assert!(orbits.find(5).is_none());
        let (place, found) = orbits.find(77).unwrap();
        assert_eq!(found, orbit(50));
        place.set(orbit(60));
        assert_eq!(orbits.find(77).map(|(_, orbit)| orbit), Some(orbit(60)));
        place.clear();
        assert!(orbits.find(77).is_none());
        assert_eq!((0..WAYS).filter_map(|place| orbits.at(place)).count(), 7);
    }

    #[test]
    fn hashes_are_spread_over_all_sets() {
        let orbits = Orbits::new(4096);
        let hash = |n: u64| {
            (n + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(29).wrapping_mul(0xD6E8_FEB8_6659_FD93)
        };
        for n in 0..2048 {
            orbits.insert(hash(n), Orbit::new(7, 0, 0), |orbit| orbit.age(9));
        }
        let known = (0..2048).filter(|n| orbits.find(hash(*n)).is_some()).count();
        assert!(known > 1950, "{known} of 2048 in twice as much room");
    }
}
