//! Large arrays in pages of a chosen size, and the hint that fetches a cache line early.

#![expect(unsafe_code, reason = "neither advice about pages nor a prefetch has a safe form")]

use rustix::mm::{Advice, madvise};

/// Pages that an array is asked to lie in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pages {
    /// 4 KiB, also where the system gives huge ones to everybody.
    Small,
    /// 2 MiB, where the system gives them on request.
    Huge,
}

impl Pages {
    pub(crate) const ALL: [Pages; 2] = [Pages::Small, Pages::Huge];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Pages::Small => "4 KiB",
            Pages::Huge => "huge",
        }
    }
}

/// What advice is rounded to: the kernel refuses ranges that do not begin at a page.
const PAGE_BYTES: usize = 4096;

/// An array of `len` copies of `value` in pages of the size asked for. Where the system refuses, it lies in whatever
/// it gives.
pub(crate) fn array<T: Copy>(len: usize, value: T, pages: Pages) -> Vec<T> {
    let mut array = Vec::with_capacity(len);
    // Before the first touch, which is when the kernel chooses the size of a page.
    let room = array.spare_capacity_mut();
    let (start, bytes) = (room.as_mut_ptr().cast::<u8>(), size_of_val(room));
    let skipped = start.align_offset(PAGE_BYTES);
    let whole = bytes.saturating_sub(skipped) / PAGE_BYTES * PAGE_BYTES;
    if whole > 0 {
        let advice = match pages {
            Pages::Small => Advice::LinuxNoHugepage,
            Pages::Huge => Advice::LinuxHugepage,
        };
        // SAFETY: `skipped + whole <= bytes`, so the range lies within the vector's own memory. Both pieces of
        // advice change how the kernel backs it, and neither changes what it holds. A refusal changes nothing.
        let _ = unsafe { madvise(start.add(skipped).cast(), whole, advice) };
    }
    array.resize(len, value);
    array
}

/// Asks for the cache line that `place` begins in, without waiting for it.
#[inline]
pub(crate) fn prefetch<T>(place: &T) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a prefetch is a hint that never faults, and the processors of this architecture all have it.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(place).cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = place;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrays_hold_what_they_were_filled_with() {
        for pages in Pages::ALL {
            for len in [0, 1, 1_000, 1_000_000] {
                let array = array(len, 7_u64, pages);
                assert_eq!(array.len(), len);
                assert!(array.iter().all(|&word| word == 7));
                array.iter().for_each(prefetch);
            }
        }
    }
}
