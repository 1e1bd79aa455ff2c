//! How often something was so of late.

use std::sync::atomic::{AtomicU32, Ordering};

/// A running mean of answers yes and no, in which one weighs `2^-SHIFT`. It begins at no.
///
/// Relaxed, and notes that are made at the same time may overwrite each other: it is a guess about what is next.
#[derive(Debug, Default)]
pub(crate) struct RunningShare<const SHIFT: u32>(AtomicU32);

impl<const SHIFT: u32> RunningShare<SHIFT> {
    /// The share of a thing that is always so.
    pub(crate) const ONE: u32 = 1 << 16;

    /// The share, as a part of [`ONE`](Self::ONE).
    pub(crate) fn get(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }

    pub(crate) fn note(&self, is_so: bool) {
        let mean = self.get();
        let next = mean - (mean >> SHIFT) + ((u32::from(is_so) * Self::ONE) >> SHIFT);
        if next != mean {
            self.0.store(next, Ordering::Relaxed);
        }
    }
}
