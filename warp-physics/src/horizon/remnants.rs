//! Remnants: what is remembered of entries that left, by a part of their hash.

use super::orbit::Orbit;

/// Remnants of one set; the one that was used longest ago goes first.
const WAYS: usize = 16;
const ORBIT_BITS: u32 = 40;

/// A bounded memory of orbits: eight bytes each, in sets of 16 that are chosen by the hash, each first in, first out.
///
/// A remnant is known by its set and 24 bits of the hash, so that one look-up in a million finds a stranger's: advice
/// that is wrong as seldom as that changes nothing.
#[derive(Debug)]
pub(crate) struct Remnants {
    words: Box<[u64]>,
}

impl Remnants {
    /// At most `count` remnants, rounded up to whole sets.
    pub(crate) fn new(count: usize) -> Remnants {
        Remnants { words: vec![0; count.div_ceil(WAYS).max(1) * WAYS].into_boxed_slice() }
    }

    /// How many fit.
    pub(crate) fn capacity(&self) -> usize {
        self.words.len()
    }

    /// Takes out what is remembered under a hash.
    pub(crate) fn take(&mut self, hash: u64) -> Option<Orbit> {
        let tag = tag(hash);
        let word = self.set(hash).iter_mut().find(|word| **word >> ORBIT_BITS == tag)?;
        Some(Orbit::from_bits(std::mem::take(word)))
    }

    /// Remembers an orbit. Returns the one that had to go for it, the one of its set used longest ago.
    pub(crate) fn put(&mut self, hash: u64, orbit: Orbit, age: impl Fn(Orbit) -> u32) -> Option<Orbit> {
        let word = self.set(hash).iter_mut().max_by_key(|word| match **word {
            0 => u32::MAX,
            word => age(Orbit::from_bits(word)),
        })?;
        let former = std::mem::replace(word, tag(hash) << ORBIT_BITS | orbit.to_bits());
        (former != 0).then(|| Orbit::from_bits(former))
    }

    /// The remnant at a place below the capacity, if there is one.
    pub(crate) fn at(&self, place: usize) -> Option<Orbit> {
        self.words.get(place).filter(|&&word| word != 0).map(|&word| Orbit::from_bits(word))
    }

    fn set(&mut self, hash: u64) -> &mut [u64] {
        let sets = self.words.len() / WAYS;
        // The upper half of the product of a 32-bit hash is a set (Lemire 2019).
        let set = (((hash & 0xFFFF_FFFF) * sets as u64) >> 32) as usize;
        &mut self.words[set * WAYS..(set + 1) * WAYS]
    }
}

/// Bits of the hash that neither the set nor the shard is chosen by; never 0, which is a free place.
fn tag(hash: u64) -> u64 {
    ((hash >> 32) & 0xFF_FFFF).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_of_a_full_set_makes_room() {
        let mut remnants = Remnants::new(1);
        assert_eq!(remnants.capacity(), WAYS);
        let orbit = |tick: u32| Orbit::new(tick, 9, 2);
        let hash = |tick: u32| u64::from(tick + 1) << 32 | 77;
        for tick in 0..16 {
            assert_eq!(remnants.put(hash(tick), orbit(tick), |orbit| orbit.age(100)), None);
        }
        assert_eq!(remnants.put(hash(16), orbit(16), |orbit| orbit.age(100)), Some(orbit(0)));
        assert_eq!(remnants.take(hash(0)), None);
        assert_eq!(remnants.take(hash(16)), Some(orbit(16)));
        assert_eq!(remnants.take(hash(16)), None, "it was taken");
        assert_eq!((0..WAYS).filter_map(|place| remnants.at(place)).count(), 15);
    }
}
