//! Marks: which keys were asked for without the program's asking, and not read since.

use std::sync::atomic::{AtomicU64, Ordering};

/// Places that a mark may be in.
const WAYS: usize = 8;
/// No mark.
const UNMARKED: u64 = 0;
/// What tells that a key is there, in the stored form of a mark; below it is one more than the kind, above it the upper half of
/// the hash.
const IN_BIT: u64 = 1 << 31;
const TAG_SHIFT: u32 = 32;

/// Why a key was asked for, and whether it is in memory by now.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Mark {
    /// Below 2^30.
    pub(crate) kind: u32,
    pub(crate) is_in: bool,
}

impl Mark {
    fn stored(self, hash: u64) -> u64 {
        let is_in = if self.is_in { IN_BIT } else { 0 };
        tag(hash) | is_in | (u64::from(self.kind) + 1)
    }

    fn of(stored: u64) -> Mark {
        let kind = u32::try_from(stored & (IN_BIT - 1)).unwrap_or(0).saturating_sub(1);
        Mark { kind, is_in: stored & IN_BIT != 0 }
    }
}

/// The part of a hash that a mark keeps. Another part says on which line it is.
fn tag(hash: u64) -> u64 {
    hash >> TAG_SHIFT << TAG_SHIFT
}

/// Keys that were asked for and not used since, each in one of the few places that follow from its hash. Where all of
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

    /// The place of a key's mark, and what is there.
    fn find(&self, hash: u64) -> Option<(&AtomicU64, u64)> {
        let read = |place| (place, AtomicU64::load(place, Ordering::Relaxed));
        let mut places = self.places(hash).iter().map(read);
        places.find(|(_, stored)| *stored != UNMARKED && tag(*stored) == tag(hash))
    }

    /// Takes note that a key was asked for.
    pub(crate) fn mark(&self, hash: u64, mark: Mark) {
        let places = self.places(hash);
        let is_free = |place: &&AtomicU64| place.load(Ordering::Relaxed) == UNMARKED;
        // One that it has may lie behind a free place, and would be there twice.
        let own = self.find(hash).map(|(place, _)| place);
        if let Some(place) = own.or_else(|| places.iter().find(is_free)).or(places.first()) {
            place.store(mark.stored(hash), Ordering::Relaxed);
        }
    }

    /// The mark of a key.
    pub(crate) fn get(&self, hash: u64) -> Option<Mark> {
        self.find(hash).map(|(_, stored)| Mark::of(stored))
    }

    /// Says of a key that it came in, if it is still marked.
    pub(crate) fn came_in(&self, hash: u64) {
        if let Some((place, stored)) = self.find(hash) {
            // One that is used at the same moment has no mark any more.
            let _ = place.compare_exchange(stored, stored | IN_BIT, Ordering::Relaxed, Ordering::Relaxed);
        }
    }

    /// Takes the mark off a key that is used; `None` if it had none.
    pub(crate) fn take(&self, hash: u64) -> Option<Mark> {
        let (place, stored) = self.find(hash)?;
        // Of two that use it at once one takes it.
        let taken = place.compare_exchange(stored, UNMARKED, Ordering::Relaxed, Ordering::Relaxed);
        taken.ok().map(Mark::of)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::environment::finalize;

    const ASKED: Mark = Mark { kind: 0, is_in: false };

    #[test]
    fn a_mark_is_taken_once_and_few_are_lost() {
        let marks = Marks::new(1024);
        let hashes = || (1..=512).map(finalize);
        hashes().for_each(|hash| marks.mark(hash, ASKED));
        let found = hashes().filter(|hash| marks.take(*hash).is_some()).count();
        assert!((490..=512).contains(&found), "{found}");
        assert!(!hashes().any(|hash| marks.take(hash).is_some()));
        let hash = finalize(7);
        marks.mark(hash, ASKED);
        marks.mark(hash, ASKED);
        assert_eq!((marks.take(hash), marks.take(hash)), (Some(ASKED), None));
        assert_eq!(marks.bytes(), 8 << 10);
    }

    #[test]
    fn a_mark_says_why_a_key_was_asked_for_and_whether_it_came_in() {
        let marks = Marks::new(64);
        for kind in [0, 1, (1 << 30) - 1] {
            let hash = finalize(u64::from(kind));
            assert_eq!(marks.get(hash), None);
            marks.came_in(hash);
            assert_eq!(marks.get(hash), None, "nobody asked for it");
            marks.mark(hash, Mark { kind, is_in: false });
            assert_eq!(marks.get(hash), Some(Mark { kind, is_in: false }));
            marks.came_in(hash);
            assert_eq!(marks.take(hash), Some(Mark { kind, is_in: true }));
            assert_eq!(marks.get(hash), None);
        }
    }

    #[test]
    fn a_key_is_marked_once_although_a_place_before_its_own_is_free() {
        let marks = Marks::new(WAYS);
        let hash = |n: u64| n << TAG_SHIFT;
        (1..=3).for_each(|n| marks.mark(hash(n), ASKED));
        assert!(marks.take(hash(1)).is_some());
        marks.mark(hash(3), ASKED);
        assert!(marks.take(hash(3)).is_some() && marks.take(hash(3)).is_none());
        assert!(marks.take(hash(2)).is_some());
    }

    #[test]
    fn without_room_nothing_is_marked() {
        let marks = Marks::new(WAYS - 1);
        marks.mark(7, ASKED);
        assert!(marks.take(7).is_none() && marks.bytes() == 0);
    }
}
