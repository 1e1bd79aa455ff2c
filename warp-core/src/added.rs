//! Notes of which keys came up new, for whoever keeps the keys in an order.

use crate::hash::{SLOTS, slot_of};
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::OnceLock;

/// Hashes that a slot's list may hold before it is looked through for those that are needless.
const LIST_MIN: usize = 64;
/// Hashes for which a slot's list keeps room when they are taken: of all lists, a quarter of a megabyte.
const LIST_KEPT: usize = 8;

const WORD_BITS: usize = u64::BITS as usize;
const WORDS: usize = SLOTS.div_ceil(WORD_BITS);

/// A list of hashes a slot, which costs nothing until it is turned on.
#[derive(Debug)]
pub(crate) struct Added {
    on: AtomicBool,
    /// A bit a slot whose list is not empty, so that taking the lists looks only at those.
    waiting: [AtomicU64; WORDS],
    lists: OnceLock<Box<[Mutex<List>]>>,
}

#[derive(Debug, Default)]
struct List {
    hashes: Vec<u64>,
    /// The length at which the list is looked through next.
    look_at: usize,
}

impl Added {
    pub(crate) fn new() -> Added {
        Added {
            on: AtomicBool::new(false),
            waiting: std::array::from_fn(|_| AtomicU64::new(0)),
            lists: OnceLock::new(),
        }
    }

    pub(crate) fn turn(&self, on: bool) {
        if on {
            self.lists.get_or_init(|| (0..SLOTS).map(|_| Mutex::default()).collect());
        }
        // Release pairs with the Acquire in `is_on`: who sees it on finds the lists.
        self.on.store(on, Ordering::Release);
    }

    pub(crate) fn is_on(&self) -> bool {
        self.on.load(Ordering::Acquire)
    }

    /// Notes a hash. A list that has grown is rid of what is there twice, and of hashes for which `matters` says no.
    pub(crate) fn note(&self, hash: u64, matters: impl Fn(u64) -> bool) {
        let Some(lists) = self.lists.get() else { return };
        let slot = slot_of(hash);
        let mut list = lists[slot].lock();
        if list.hashes.len() >= list.look_at.max(LIST_MIN) {
            list.hashes.sort_unstable();
            list.hashes.dedup();
            list.hashes.retain(|hash| matters(*hash));
            // Doubling keeps the cost of looking constant a note.
            list.look_at = list.hashes.len() * 2;
        }
        list.hashes.push(hash);
        if list.hashes.len() == 1 {
            // Under the list's lock, so that a taker who cleared the bit either takes this hash too, or finds the
            // bit the next time.
            self.waiting[slot / WORD_BITS].fetch_or(1 << (slot % WORD_BITS), Ordering::AcqRel);
        }
    }

    /// Takes what was noted. While this is on, the lists keep room for a few that come; once it is off, none.
    pub(crate) fn take(&self) -> Vec<u64> {
        let mut taken = Vec::new();
        let Some(lists) = self.lists.get() else { return taken };
        for (index, word) in self.waiting.iter().enumerate() {
            // Looked at first: most often nothing waits, and a load leaves the cache line shared.
            if word.load(Ordering::Acquire) == 0 {
                continue;
            }
            let mut bits = word.swap(0, Ordering::AcqRel);
            while bits != 0 {
                let slot = index * WORD_BITS + bits.trailing_zeros() as usize;
                bits &= bits - 1;
                let mut list = lists[slot].lock();
                taken.append(&mut list.hashes);
                list.hashes.shrink_to(LIST_KEPT);
                list.look_at = 0;
            }
        }
        if !self.is_on() {
            lists.iter().for_each(|list| list.lock().hashes.shrink_to_fit());
        }
        taken
    }

    /// Bytes that the lists hold.
    pub(crate) fn memory_bytes(&self) -> usize {
        let Some(lists) = self.lists.get() else { return 0 };
        let held: usize = lists.iter().map(|list| list.lock().hashes.capacity() * size_of::<u64>()).sum();
        held + size_of_val(&**lists)
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;

    #[test]
    fn what_is_noted_is_taken_once() {
        let added = Added::new();
        added.note(7, |_| true);
        assert_eq!((added.take().len(), added.memory_bytes()), (0, 0), "it was not turned on");
        added.turn(true);
        let hashes = [0, 1, 1 << 52, 63 << 52, 64 << 52, u64::MAX];
        hashes.iter().for_each(|hash| added.note(*hash, |_| true));
        assert_eq!(added.take(), hashes);
        assert!(added.take().is_empty());
        added.note(1, |_| true);
        assert_eq!(added.take(), [1]);
    }

    #[test]
    fn lists_give_their_room_back_once_nothing_is_noted_any_more() {
        let added = Added::new();
        added.turn(true);
        let empty = added.memory_bytes();
        (0..10_000).for_each(|number| added.note(number << 45, |_| true));
        assert_eq!(added.take().len(), 10_000);
        let kept = added.memory_bytes() - empty;
        let kept_max = 10_000_usize.div_ceil(1 << 7) * LIST_KEPT * size_of::<u64>();
        assert!(kept > 0 && kept <= kept_max, "{kept} bytes are kept for what comes");
        added.turn(false);
        assert!(added.take().is_empty());
        assert_eq!(added.memory_bytes(), empty);
    }

    #[test]
    fn a_list_holds_no_more_than_twice_what_matters() {
        let added = Added::new();
        added.turn(true);
        for number in 0..10_000 {
            added.note(number % 40, |_| true);
            added.note(1_000 + number, |hash| hash < 1_000);
        }
        assert!(added.memory_bytes() < 64 * SLOTS);
        let mut taken = added.take();
        assert!(taken.len() <= 2 * LIST_MIN, "{}", taken.len());
        taken.sort_unstable();
        taken.dedup();
        assert!((0..40).all(|hash| taken.contains(&hash)));
    }
}
