//! Marks: which keys were brought into memory without having been asked for, and not read since.

use std::sync::atomic::{AtomicU64, Ordering};

/// Places that a mark may be in: as many as lie on one cache line.
const WAYS: usize = 8;
/// No mark.
const UNMARKED: u64 = 0;

/// Hashes of keys that were brought in and not used since, each in one of the few places that follow from it. Where all of
/// these are taken, a later one takes the place of an earlier.
#[derive(Debug, Default)]
pub(crate) struct Marks(Box<[AtomicU64]>);

impl Marks {
    /// Room for about so many marks.
    pub(crate) fn new(count: usize) -> Marks {
        Marks((0..count / WAYS * WAYS).map(|_| AtomicU64::new(UNMARKED)).collect())
    }

    /// Bytes that they take.
    pub(crate) fn bytes(&self) -> usize {
        size_of_val(&*self.0)
    }

    /// Where the key with this hash may be marked; nowhere if nothing is.
    fn places(&self, hash: u64) -> &[AtomicU64] {
        let Some(line) = hash.checked_rem((self.0.len() / WAYS) as u64) else { return &[] };
        let first = usize::try_from(line).unwrap_or(0) * WAYS;
        &self.0[first..first + WAYS]
    }

    /// Takes note that a key was brought in.
    pub(crate) fn mark(&self, hash: u64) {
        let places = self.places(hash);
        let is_free = |place: &&AtomicU64| [UNMARKED, hash].contains(&place.load(Ordering::Relaxed));
        if let Some(place) = places.iter().find(is_free).or(places.first()) {
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
    fn without_room_nothing_is_marked() {
        let marks = Marks::new(WAYS - 1);
        marks.mark(7);
        assert!(!marks.take(7) && marks.bytes() == 0);
    }
}
