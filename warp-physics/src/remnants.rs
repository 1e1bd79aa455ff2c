//! Remnants: what is remembered of entries that left memory.

#![expect(clippy::cast_possible_truncation, reason = "takes some bits of hashes and cells")]

use std::sync::atomic::{AtomicU32, Ordering};

/// Bits of a cell: the upper ones are a fingerprint of the key, then the logarithm of the mass, then the tick.
const TICK_BITS: u32 = 8;
const LEVEL_BITS: u32 = 3;
const PRINT_SHIFT: u32 = TICK_BITS + LEVEL_BITS;
const LEVEL_MAX: u32 = (1 << LEVEL_BITS) - 1;

/// A bounded memory of keys that are not in memory and how often they were used: ghosts, in the words of caches.
///
/// Each hash has one cell, which the key that was noted last has; a cell holds 21 bits of its hash, so that about one
/// answer in two million is about another key. Times are *ticks*, which the owner counts: with each, a remnant loses half
/// of its mass. Any number of threads may use it at once; one that loses a race loses a remnant, no more.
///
/// Source: ghost lists as in [ARC](https://www.usenix.org/conference/fast-03/arc-self-tuning-low-overhead-replacement-cache),
/// in a table without links.
///
/// ```
/// use warp_physics::Remnants;
///
/// let remnants = Remnants::new(1024);
/// remnants.note(77, 7, 0);
/// assert_eq!(remnants.mass(77, 0), Some(7));
/// assert_eq!(remnants.mass(77, 2), Some(1));
/// assert_eq!(remnants.mass(78, 0), None);
/// ```
#[derive(Debug)]
pub struct Remnants {
    cells: Box<[AtomicU32]>,
}

impl Remnants {
    /// Room for about so many remnants, of four bytes each; at least one.
    #[must_use]
    pub fn new(count: usize) -> Remnants {
        Remnants { cells: (0..count.max(1)).map(|_| AtomicU32::new(0)).collect() }
    }

    /// Bytes of memory that it takes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        size_of_val(&*self.cells)
    }

    /// Notes that the key with this hash had a mass of about `mass` at `tick`. From 0 to 127; larger ones count as that.
    pub fn note(&self, hash: u64, mass: u32, tick: u8) {
        let level = mass.saturating_add(1).ilog2().min(LEVEL_MAX);
        let cell = print_of(hash) << PRINT_SHIFT | level << TICK_BITS | u32::from(tick);
        self.cell(hash).store(cell, Ordering::Relaxed);
    }

    /// The mass that is left at `tick` of the key with this hash; `None` if nothing is known of it. After 256 ticks an old
    /// remnant may look like a new one.
    #[must_use]
    pub fn mass(&self, hash: u64, tick: u8) -> Option<u32> {
        let cell = self.cell(hash).load(Ordering::Relaxed);
        if cell >> PRINT_SHIFT != print_of(hash) {
            return None;
        }
        let age = u32::from(tick.wrapping_sub(cell as u8));
        Some((1 << ((cell >> TICK_BITS) & LEVEL_MAX).saturating_sub(age)) - 1)
    }

    fn cell(&self, hash: u64) -> &AtomicU32 {
        // The upper half of the product of the middle bits and the count: fair, and without a division.
        let place = (u128::from(hash.rotate_left(20)) * self.cells.len() as u128) >> 64;
        &self.cells[place as usize]
    }
}

/// Bits of a hash that have no part in choosing its cell; never 0, which an empty cell has.
fn print_of(hash: u64) -> u32 {
    ((hash as u32) & ((1 << (u32::BITS - PRINT_SHIFT)) - 1)).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(n: u64) -> u64 {
        n.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ (n << 7)
    }

    #[test]
    fn most_of_as_many_as_there_is_room_for_are_remembered() {
        let remnants = Remnants::new(4096);
        for n in 0..2048 {
            remnants.note(hash(n), 3, 9);
        }
        let known = (0..2048).filter(|n| remnants.mass(hash(*n), 9) == Some(3)).count();
        assert!(known > 1400, "{known} of 2048");
        let strange = (10_000..60_000).filter(|n| remnants.mass(hash(*n), 9).is_some()).count();
        assert!(strange < 10, "{strange} that were never noted");
    }

    #[test]
    fn mass_halves_with_each_tick() {
        let remnants = Remnants::new(1);
        remnants.note(5, u32::MAX, 250);
        assert_eq!([250, 251, 0, 5].map(|tick| remnants.mass(5, tick)), [127, 63, 1, 0].map(Some));
    }
}
