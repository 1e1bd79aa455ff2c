//! Marks: which keys were asked for without the program's asking, and not read since.

use std::sync::atomic::{AtomicU64, Ordering};

/// Places that a mark may be in.
const WAYS: usize = 8;
/// No mark.
const UNMARKED: u64 = 0;
/// The stored form of a mark: one more than its kind, above that how far it has come, and above that the upper half of the hash.
const KIND_BITS: u32 = 30;
const TAG_SHIFT: u32 = 32;

/// How far a key has come that was asked for.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) enum Stage {
    /// The background is to see to it.
    #[default]
    Ordered,
    /// The disk was asked for it.
    Asked,
    /// It was brought into memory.
    In,
}

/// Why a key was asked for, and how far it has come.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Mark {
    /// Below 2^29.
    pub(crate) kind: u32,
    pub(crate) stage: Stage,
}

impl Mark {
    pub(crate) fn ordered(kind: u32) -> Mark {
        Mark { kind, stage: Stage::Ordered }
    }

    fn stored(self, hash: u64) -> u64 {
        debug_assert!(self.kind < 1 << (KIND_BITS - 1));
        tag(hash) | (self.stage as u64) << KIND_BITS | (u64::from(self.kind) + 1)
    }

    fn of(stored: u64) -> Mark {
        let stage = match stored >> KIND_BITS & 3 {
            0 => Stage::Ordered,
            1 => Stage::Asked,
            _ => Stage::In,
        };
        let kind = u32::try_from(stored & ((1 << KIND_BITS) - 1)).unwrap_or(0);
        Mark { kind: kind.saturating_sub(1), stage }
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

    /// Takes note that a key was asked for. Two at once may lose a mark of the same line.
    pub(crate) fn mark(&self, hash: u64, mark: Mark) {
        let places = self.places(hash);
        if let Some((place, _)) = self.find(hash) {
            return place.store(mark.stored(hash), Ordering::Relaxed);
        }
        // The latest comes first. Where all places are taken the oldest leaves: what nobody reads would stay for good.
        let mut moved = mark.stored(hash);
        for place in places {
            moved = place.swap(moved, Ordering::Relaxed);
            if moved == UNMARKED {
                break;
            }
        }
    }

    /// The mark of a key.
    pub(crate) fn get(&self, hash: u64) -> Option<Mark> {
        self.find(hash).map(|(_, stored)| Mark::of(stored))
    }

    /// Says of a key how far it has come, if it is still marked.
    pub(crate) fn advance(&self, hash: u64, stage: Stage) {
        if let Some((place, stored)) = self.find(hash) {
            let next = Mark { stage, ..Mark::of(stored) }.stored(hash);
            // One that is used at the same moment has no mark any more.
            let _ = place.compare_exchange(stored, next, Ordering::Relaxed, Ordering::Relaxed);
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

    const ANY: Mark = Mark { kind: 0, stage: Stage::Ordered };

    #[test]
    fn a_mark_is_taken_once_and_few_are_lost() {
        let marks = Marks::new(1024);
        let hashes = || (1..=512).map(finalize);
        hashes().for_each(|hash| marks.mark(hash, ANY));
        let found = hashes().filter(|hash| marks.take(*hash).is_some()).count();
        assert!((490..=512).contains(&found), "{found}");
        assert!(!hashes().any(|hash| marks.take(hash).is_some()));
        let hash = finalize(7);
        marks.mark(hash, ANY);
        marks.mark(hash, ANY);
        assert_eq!((marks.take(hash), marks.take(hash)), (Some(ANY), None));
        assert_eq!(marks.bytes(), 8 << 10);
    }

    #[test]
    fn marks_that_nobody_takes_leave_for_later_ones() {
        let marks = Marks::new(4096);
        (1..=40_000).for_each(|n| marks.mark(finalize(n), ANY));
        let later = || (100_001..=101_000).map(finalize);
        later().for_each(|hash| marks.mark(hash, ANY));
        let found = later().filter(|hash| marks.take(*hash).is_some()).count();
        assert!(found >= 990, "{found}");
    }

    #[test]
    fn a_mark_says_why_a_key_was_asked_for_and_how_far_it_has_come() {
        let marks = Marks::new(64);
        for kind in [0, 1, (1 << 29) - 1] {
            let hash = finalize(u64::from(kind));
            assert_eq!(marks.get(hash), None);
            marks.advance(hash, Stage::In);
            assert_eq!(marks.get(hash), None, "nobody asked for it");
            marks.mark(hash, Mark::ordered(kind));
            for stage in [Stage::Ordered, Stage::Asked, Stage::In] {
                marks.advance(hash, stage);
                assert_eq!(marks.get(hash), Some(Mark { kind, stage }));
            }
            assert_eq!(marks.take(hash), Some(Mark { kind, stage: Stage::In }));
            assert_eq!(marks.get(hash), None);
        }
    }

    #[test]
    fn a_key_is_marked_once_although_a_place_before_its_own_is_free() {
        let marks = Marks::new(WAYS);
        let hash = |n: u64| n << TAG_SHIFT;
        (1..=3).for_each(|n| marks.mark(hash(n), ANY));
        assert!(marks.take(hash(1)).is_some());
        marks.mark(hash(3), ANY);
        assert!(marks.take(hash(3)).is_some() && marks.take(hash(3)).is_none());
        assert!(marks.take(hash(2)).is_some());
    }

    #[test]
    fn without_room_nothing_is_marked() {
        let marks = Marks::new(WAYS - 1);
        marks.mark(7, ANY);
        assert!(marks.take(7).is_none() && marks.bytes() == 0);
    }
}
