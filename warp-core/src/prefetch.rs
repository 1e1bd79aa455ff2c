//! Asking for a cache line before it is needed.
#![expect(unsafe_code, reason = "the instruction takes a raw pointer")]

/// Asks for the cache line at `pointer`, and waits for nothing. The pointer may be any value at all.
#[inline]
pub(crate) fn prefetch<T>(pointer: *const T) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    // SAFETY: a prefetch is a hint that reads nothing the program can see, and an address that is not mapped is
    // ignored by the processor.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(pointer.cast());
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    let _ = pointer;
}
