//! Marks: which keys were brought into memory without having been asked for, and not read since.

use std::sync::atomic::{AtomicU64, Ordering};

/// Places that a mark may be in.
const WAYS: usize = 8;
/// No mark.
const UNMARKED: u64 = 0;

/// Hashes of keys that were brought in and not used since, each in one of the few places that follow from it. Where all of
/// these are taken, a later one takes the place of an earlier.
#[derive(Debug, Default)]
pub(crate) struct Marks(Box<[Line]>);

/// Places that lie on one cache line, so that a look at them costs one access.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Line([AtomicU64; WAYS]);

// Otherwise one of them would lie on two.
const _: () = assert!(align_of::<Line>() == size_of::<Line>());

impl Marks {
    /// Room for about so many marks.
    pub(crate) fn new(count: usize) -> Marks {
        Marks((0..count / WAYS).map(|_| Line::default()).collect())
    }

    /// Bytes that they take.
    pub(crate) fn bytes(&self) -> usize {
        size_of_val(&*self.0)
    }

    /// Where the key with this hash may be marked; nowhere if nothing is.
    fn places(&self, hash: u64) -> &[AtomicU64] {
        let Some(line) = hash.checked_rem(self.0.len() as u64) else { return &[] };
        &self.0[usize::try_from(line).unwrap_or(0)].0
    }

    /// Takes note that a key was brought in.
    pub(crate) fn mark(&self, hash: u64) {
        let places = self.places(hash);
        let find = |wanted: u64| places.iter().find(|place| place.load(Ordering::Relaxed) == wanted);
        // One that it has may lie behind a free place, and would be there twice.
        if let Some(place) = find(hash).or_else(|| find(UNMARKED)).or(places.first()) {
            place.store(hash, Ordering::Relaxed);
        }
    }

    /// Takes the mark off a key that is used. Returns whether it had one: then it was brought in, and not used since.
    pub(crate) fn take(&self, hash: u64) -> bool {
        self.places(hash).iter().any(|place| {
            let is_there = place.load(Ordering::Relaxed) == hash;
            // Of two that use it at once one takes it.
            is_there && place.compare_exchange(hash, UNMARKED, Ordering::Relaxed, Ordering::Relaxed).is_ok()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::environment::finalize;

    #[test]
    fn a_mark_is_taken_once_and_few_are_lost() {
        let marks = Marks::new(1024);
        let hashes = || (1..=512).map(finalize);
        hashes().for_each(|hash| marks.mark(hash));
        let found = hashes().filter(|hash| marks.take(*hash)).count();
        assert!((490..=512).contains(&found), "{found}");
        assert!(!hashes().any(|hash| marks.take(hash)));
        marks.mark(7);
        marks.mark(7);
        assert!(marks.take(7) && !marks.take(7));
        assert_eq!(marks.bytes(), 8 << 10);
    }

    #[test]
    fn a_key_is_marked_once_although_a_place_before_its_own_is_free() {
        let marks = Marks::new(WAYS);
        (1..=3).for_each(|hash| marks.mark(hash));
        assert!(marks.take(1));
        marks.mark(3);
        assert!(marks.take(3) && !marks.take(3) && marks.take(2));
    }

    #[test]
    fn without_room_nothing_is_marked() {
        let marks = Marks::new(WAYS - 1);
        marks.mark(7);
        assert!(!marks.take(7) && marks.bytes() == 0);
    }
}
