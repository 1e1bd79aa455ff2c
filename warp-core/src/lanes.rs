//! Comparing eight short numbers at once.
#![expect(unsafe_code, reason = "calls the processor's instructions for it")]

/// Numbers of 16 bits in a word.
pub(crate) const LANES: usize = 4;

/// Which of the lanes of two words are equal to `wanted`, as eight bits.
#[inline]
pub(crate) fn equal_lanes(words: [u64; 2], wanted: u16) -> u32 {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    // SAFETY: every processor of this architecture has SSE2.
    unsafe {
        use std::arch::x86_64::{
            _mm_cmpeq_epi16, _mm_movemask_epi8, _mm_packs_epi16, _mm_set_epi64x, _mm_set1_epi16,
            _mm_setzero_si128,
        };
        let lanes = _mm_set_epi64x(words[1].cast_signed(), words[0].cast_signed());
        let equal = _mm_cmpeq_epi16(lanes, _mm_set1_epi16(wanted.cast_signed()));
        _mm_movemask_epi8(_mm_packs_epi16(equal, _mm_setzero_si128())).cast_unsigned()
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    {
        equal_lanes_portably(words, wanted)
    }
}

#[cfg(any(test, miri, not(target_arch = "x86_64")))]
fn equal_lanes_portably(words: [u64; 2], wanted: u16) -> u32 {
    let lanes = words.into_iter().flat_map(|word| (0..LANES).map(move |lane| (word >> (16 * lane)) & 0xFFFF));
    lanes.enumerate().fold(0, |bits, (place, lane)| bits | (u32::from(lane == u64::from(wanted)) << place))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_agree() {
        let words = [0x0001_0000_FFFF_8000, 0x0000_7FFF_0001_0000];
        for wanted in [0, 1, 0x7FFF, 0x8000, 0xFFFF, 2] {
            assert_eq!(equal_lanes(words, wanted), equal_lanes_portably(words, wanted), "{wanted:#x}");
        }
    }
}
