//! What is remembered of one entry.

#![expect(clippy::cast_possible_truncation, reason = "bits are masked before")]

/// Classes of mass: one and a half an octave of uses.
pub(crate) const MASS_CLASSES: usize = 8;
/// Classes of the last wait: not known, then eleven octaves around the capacity.
pub(crate) const WAIT_CLASSES: usize = 12;
/// The last class of a wait.
pub(crate) const WAIT_LAST: u8 = 11;
const _: () = assert!(WAIT_LAST as usize + 1 == WAIT_CLASSES);
/// Classes for which the law is learned.
pub(crate) const CLASSES: usize = MASS_CLASSES * WAIT_CLASSES;

const TIME_BITS: u32 = 28;
const TIME_MASK: u32 = (1 << TIME_BITS) - 1;
/// How far the clocks of two threads can be apart.
const AHEAD_MAX: u32 = 1 << 20;
const MASS_SHIFT: u32 = TIME_BITS;
const WAIT_SHIFT: u32 = TIME_BITS + 8;
/// Steps of the stored mass an octave.
pub(crate) const MASS_STEPS: u16 = 48;

/// What is remembered of one entry: when it was last used, how often (its mass), and how long it waited for that use.
///
/// Forty bits. The mass is a decayed count of uses, kept as a logarithm in steps of 1/48 octave up to about 40; it
/// halves each 16 capacities of accesses. The wait is the octave of the last time between two uses, as a share of the
/// capacity, or 0 before there was a second use. What the bits mean may change between versions; a stored orbit
/// belongs to the [`Horizon`](crate::Horizon) that made it.
///
/// ```
/// use warp_physics::{Horizon, Orbit};
///
/// let horizon = Horizon::new(1000);
/// let first = horizon.born(7);
/// let again = horizon.touch(first, 107);
/// assert!(again.mass() > first.mass());
/// assert_eq!(Orbit::from_bytes(again.to_bytes()), again);
/// ```
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Orbit(u64);

impl Orbit {
    pub(crate) fn new(tick: u32, mass: u8, wait: u8) -> Orbit {
        debug_assert!(usize::from(wait) < WAIT_CLASSES, "a wait has its class");
        let tick = u64::from(tick & TIME_MASK);
        Orbit(tick | u64::from(mass) << MASS_SHIFT | u64::from(wait) << WAIT_SHIFT)
    }

    /// The state as the low 40 bits of a word, for a table that packs it with something else.
    pub fn to_bits(self) -> u64 {
        self.0
    }

    /// A state from the low 40 bits of a word; bits above them are ignored. Bits that no orbit has count as the nearest
    /// that one can have.
    pub fn from_bits(bits: u64) -> Orbit {
        let wait = ((bits >> WAIT_SHIFT) & 0xF).min(WAIT_CLASSES as u64 - 1);
        Orbit(bits & ((1 << WAIT_SHIFT) - 1) | wait << WAIT_SHIFT)
    }

    /// The state in five bytes, the lowest first.
    pub fn to_bytes(self) -> [u8; 5] {
        let [a, b, c, d, e, ..] = self.0.to_le_bytes();
        [a, b, c, d, e]
    }

    /// The state that [`Orbit::to_bytes`] gave; other bytes give some state as well.
    pub fn from_bytes([a, b, c, d, e]: [u8; 5]) -> Orbit {
        Orbit::from_bits(u64::from_le_bytes([a, b, c, d, e, 0, 0, 0]))
    }

    /// The decayed count of uses, as of the last use: 1 for an entry used once.
    pub fn mass(self) -> f64 {
        (f64::from(self.mass_code()) / f64::from(MASS_STEPS)).exp2()
    }

    pub(crate) fn mass_code(self) -> u8 {
        ((self.0 >> MASS_SHIFT) & 0xFF) as u8
    }

    pub(crate) fn wait(self) -> u8 {
        ((self.0 >> WAIT_SHIFT) & 0xF) as u8
    }

    /// Ticks since the last use. A use that another thread, whose clock was a little ahead, has told reads as 0. The
    /// counter wraps: what was not used for 2^28 ticks looks young again.
    pub(crate) fn age(self, tick: u32) -> u32 {
        let age = tick.wrapping_sub(self.0 as u32) & TIME_MASK;
        if age > TIME_MASK - AHEAD_MAX { 0 } else { age }
    }

    /// Which law the entry follows.
    pub(crate) fn class(self) -> usize {
        // Three classes each two octaves.
        let mass = (usize::from(self.mass_code()) * 3 / (2 * usize::from(MASS_STEPS))).min(MASS_CLASSES - 1);
        mass * WAIT_CLASSES + usize::from(self.wait())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forty_bits_hold_all_of_it() {
        for (tick, mass, wait) in [(0, 0, 0), (TIME_MASK, 255, 11), (12_345, 48, 3)] {
            let orbit = Orbit::new(tick, mass, wait);
            assert_eq!((orbit.mass_code(), orbit.wait(), orbit.age(tick)), (mass, wait, 0));
            assert_eq!(
                [9, 1 << 27, 200 << 20].map(|age| orbit.age(tick.wrapping_add(age))),
                [9, 1 << 27, 200 << 20]
            );
            assert_eq!(orbit.age(tick.wrapping_sub(9)), 0, "told by a thread that was ahead");
            assert_eq!(Orbit::from_bytes(orbit.to_bytes()), orbit);
            assert_eq!(Orbit::from_bits(orbit.to_bits() | !0 << 40), orbit);
            assert!(orbit.class() < CLASSES);
        }
        assert!(Orbit::from_bytes([0xFF; 5]).class() < CLASSES);
    }
}
