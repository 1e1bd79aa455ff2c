//! How hot an entry is: a decayed count of its uses, in one byte.
//!
//! A logarithmic counter ([Morris 1978](https://doi.org/10.1145/359619.359627)) that loses half of its count with each
//! tick. The upper three bits are the logarithm of the count, the lower five the tick at which it was so, so that
//! nothing has to walk the entries for them to cool: a tick takes one from the logarithm. The table's owner says when
//! a tick has passed ([`Table::next_tick`](crate::Table::next_tick)), and how long that is.

use std::cell::Cell;

/// Ticks are told apart modulo this. An entry that was not used for as long would look hot again, which is why
/// [`Table::next_tick`](crate::Table::next_tick) tells a part of all entries anew, and each in a quarter of that time.
pub const HEAT_TICKS: u8 = 32;
const LEVEL_SHIFT: u32 = 5;
const LEVEL_MAX: u8 = 7;
const _: () = assert!(1 << LEVEL_SHIFT == HEAT_TICKS as u32);

/// The level that is left at `tick`: the logarithm of the decayed count.
fn level(heat: u8, tick: u8) -> u8 {
    let age = tick.wrapping_sub(heat) % HEAT_TICKS;
    (heat >> LEVEL_SHIFT).saturating_sub(age)
}

/// The heat after one more use at `tick`. Each level is reached with half the chance of the one below, so that level
/// `n` stands for about `2^n - 1` uses.
pub(crate) fn used(heat: u8, tick: u8) -> u8 {
    let level = level(heat, tick);
    let rises = level < LEVEL_MAX && random() & ((1 << level) - 1) == 0;
    ((level + u8::from(rises)) << LEVEL_SHIFT) | (tick % HEAT_TICKS)
}

/// Whether heat was told at `tick`, and is not that of an entry without a use.
#[inline]
pub(crate) fn is_used_at(heat: u8, tick: u8) -> bool {
    heat % HEAT_TICKS == tick % HEAT_TICKS && heat >= HEAT_TICKS
}

/// The heat of so many uses at `tick`.
pub(crate) fn of_mass(uses: u32, tick: u8) -> u8 {
    let level = u8::try_from(uses.saturating_add(1).ilog2()).unwrap_or(LEVEL_MAX).min(LEVEL_MAX);
    (level << LEVEL_SHIFT) | (tick % HEAT_TICKS)
}

/// The same, told as of the tick before: so that the next use counts, whenever it comes ([`is_used_at`]).
pub(crate) fn of_mass_before(uses: u32, tick: u8) -> u8 {
    of_mass(uses.saturating_mul(2).saturating_add(1), tick.wrapping_sub(1))
}

/// The hotter of two at `tick`.
pub(crate) fn hotter(a: u8, b: u8, tick: u8) -> u8 {
    if level(a, tick) < level(b, tick) { b } else { a }
}

/// The same heat, told from `tick` on: keeps a cold entry from looking hot when ticks come round.
pub(crate) fn settled(heat: u8, tick: u8) -> u8 {
    (level(heat, tick) << LEVEL_SHIFT) | (tick % HEAT_TICKS)
}

/// The mass of an entry: an estimate of its uses, halved with each tick since. From 0 to 127.
pub(crate) fn mass(heat: u8, tick: u8) -> u32 {
    (1 << level(heat, tick)) - 1
}

/// A random number, from a generator of this thread's own (xorshift, Marsaglia 2003).
fn random() -> u32 {
    thread_local! {
        static STATE: Cell<u32> = const { Cell::new(0x9E37_79B9) };
    }
    let mut state = STATE.get();
    state ^= state << 13;
    state ^= state >> 17;
    state ^= state << 5;
    STATE.set(state);
    state
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uses_add_up_in_the_mean() {
        for uses in [1_u32, 7, 30, 100] {
            let total: u32 = (0..2000).map(|_| mass((0..uses).fold(0, |heat, _| used(heat, 3)), 3)).sum();
            let mean = f64::from(total) / 2000.0;
            assert!((mean / f64::from(uses) - 1.0).abs() < 0.2, "{uses} uses weigh {mean}");
        }
    }

    #[test]
    fn heat_of_a_mass_has_that_mass() {
        for mass_of in [0, 1, 3, 7, 15, 31, 63, 127] {
            assert_eq!(mass(of_mass(mass_of, 40), 40), mass_of);
        }
        assert_eq!(mass(of_mass(u32::MAX, 0), 0), 127);
        for (mass_of, tick) in [(0, 40), (1, 0), (1, 40), (31, 255), (63, 32)] {
            let before = of_mass_before(mass_of, tick);
            assert_eq!(mass(before, tick), mass_of);
            assert!(!is_used_at(before, tick) && is_used_at(of_mass(mass_of.max(1), tick), tick));
        }
        let (cold, hot) = (of_mass(7, 3), of_mass(15, 1));
        // Two ticks have taken three quarters of the larger mass.
        assert_eq!(hotter(cold, hot, 3), cold);
        assert_eq!(hotter(cold, hot, 1), hot);
    }

    #[test]
    fn a_tick_takes_half_and_ticks_come_round() {
        let hot = (5 << LEVEL_SHIFT) | 30;
        assert_eq!([30, 31, 0, 1, 2, 3, 4].map(|tick| mass(hot, tick)), [31, 15, 7, 3, 1, 0, 0]);
        // Settled in time, it stays cold when its tick comes round.
        assert_eq!(mass(hot, 30), 31);
        assert_eq!(mass(settled(hot, 4), 30), 0);
    }

    #[test]
    fn the_hottest_stays_within_a_byte() {
        let heat = (0..100_000).fold(0, |heat, _| used(heat, 31));
        assert_eq!(mass(heat, 31), 127);
    }
}
