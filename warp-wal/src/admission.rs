//! Who may write: room in the ring and space on disk, both given out by one compare-and-swap.
//!
//! ```text
//!   bit 63     62 ........ 32          31 ........ 0
//!   gate shut  words free in the ring  blocks free on disk
//! ```
//!
//! Space on disk is charged at what a group takes at worst: a frame of its own, at the start of a block. What
//! turned out not to be needed is given back once it is written.

use crate::sync::atomic::{AtomicU64, Ordering};

use crossbeam_utils::CachePadded;

const GATE: u64 = 1 << 63;
const RING_SHIFT: u32 = 32;
const DISK_MASK: u64 = (1 << RING_SHIFT) - 1;

const _: () = assert!(crate::options::BUFFER_BYTES_MAX / 8 < 1 << (63 - RING_SHIFT));

/// What an admission takes, and gives back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Charge {
    /// Words of the ring.
    pub(crate) words: u64,
    /// Blocks on disk.
    pub(crate) blocks: u64,
}

/// What there is too little of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Short {
    /// Nobody is admitted at this moment.
    Gate,
    /// Room in the ring.
    Ring,
    /// Space on disk.
    Disk,
}

/// The counter.
#[derive(Debug)]
pub(crate) struct Admission {
    free: CachePadded<AtomicU64>,
    words: u64,
}

impl Admission {
    pub(crate) fn new(words: u64, blocks: u64) -> Admission {
        let free = words << RING_SHIFT | blocks.min(DISK_MASK);
        Admission { free: CachePadded::new(AtomicU64::new(free)), words }
    }

    /// Takes a charge, if that leaves at least `kept` blocks on disk. Returns the words of the ring that are left.
    pub(crate) fn take(&self, charge: Charge, kept: u64) -> Result<u64, Short> {
        let check = |free: u64| {
            if free & GATE != 0 {
                return Err(Short::Gate);
            }
            if free & DISK_MASK < charge.blocks.saturating_add(kept) {
                return Err(Short::Disk);
            }
            if free >> RING_SHIFT < charge.words {
                return Err(Short::Ring);
            }
            Ok(free - (charge.words << RING_SHIFT) - charge.blocks)
        };
        let mut free = self.free.load(Ordering::Relaxed);
        loop {
            // Acquire pairs with the Release in `give`: the words that were given back are seen as zeros.
            let left = check(free)?;
            match self.free.compare_exchange_weak(free, left, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return Ok(left >> RING_SHIFT),
                Err(now) => free = now,
            }
        }
    }

    /// Gives back, or gives what is new.
    pub(crate) fn give(&self, charge: Charge) {
        if charge != Charge::default() {
            self.free.fetch_add(charge.words << RING_SHIFT | charge.blocks, Ordering::AcqRel);
        }
    }

    /// Admits nobody until [`Admission::open_gate`]. Returns whether the gate was open: only who shut it may open it.
    pub(crate) fn shut_gate(&self) -> bool {
        self.free.fetch_or(GATE, Ordering::AcqRel) & GATE == 0
    }

    pub(crate) fn open_gate(&self) {
        self.free.fetch_and(!GATE, Ordering::AcqRel);
    }

    /// Takes words although the gate is shut. Only for who shut it, and while nobody else has any.
    pub(crate) fn take_words_behind_gate(&self, words: u64) {
        self.free.fetch_sub(words.min(self.words) << RING_SHIFT, Ordering::AcqRel);
    }

    /// Whether the gate is shut and everything that was given out was given back: nobody is admitted.
    pub(crate) fn is_quiet(&self) -> bool {
        self.free.load(Ordering::Acquire) >> RING_SHIFT == self.words | GATE >> RING_SHIFT
    }

    /// Sets the blocks that are free. Only while the gate is shut and nobody is admitted.
    pub(crate) fn set_blocks(&self, blocks: u64) {
        let set = |free: u64| Some(free & !DISK_MASK | blocks.min(DISK_MASK));
        // The closure never refuses.
        let _ = self.free.fetch_update(Ordering::AcqRel, Ordering::Acquire, set);
    }

    pub(crate) fn free_blocks(&self) -> u64 {
        self.free.load(Ordering::Acquire) & DISK_MASK
    }

    pub(crate) fn used_words(&self) -> u64 {
        self.words - ((self.free.load(Ordering::Acquire) & !GATE) >> RING_SHIFT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_given_twice() {
        let admission = Admission::new(10, 5);
        let charge = Charge { words: 4, blocks: 2 };
        assert_eq!(admission.take(charge, 4), Err(Short::Disk));
        assert_eq!(admission.take(charge, 3), Ok(6));
        assert_eq!(admission.take(Charge { words: 7, blocks: 0 }, 0), Err(Short::Ring));
        assert_eq!(admission.take(Charge { words: 6, blocks: 3 }, 0), Ok(0));
        assert_eq!((admission.used_words(), admission.free_blocks()), (10, 0));
        assert!(admission.shut_gate());
        assert!(!admission.shut_gate(), "somebody has it shut");
        assert!(!admission.is_quiet());
        admission.give(Charge { words: 10, blocks: 5 });
        assert!(admission.is_quiet());
        assert_eq!(admission.take(charge, 0), Err(Short::Gate));
        admission.set_blocks(9);
        admission.open_gate();
        assert_eq!(admission.take(Charge { words: 10, blocks: 9 }, 0), Ok(0));
    }
}
