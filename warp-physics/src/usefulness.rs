//! Usefulness: what came of acting beforehand, and where it still pays.

use std::collections::HashMap;

/// It pays where this share of what was made ready was used.
const USED_SHARE_MIN: f32 = 0.3;
/// What is taken for known where nothing has been made ready: two of four were used.
const PRIOR: UseShare = UseShare { made: 4.0, used: 2.0 };
/// One in so many cases that do not pay is acted on all the same, to keep measuring.
const PROBE_ONE_IN: u64 = 128;
/// Counts of a kind are halved here, so that what is old fades.
const HALVED_AT: f32 = 1024.0;
/// So many that were not used are forgiven: they may be what was ordered a moment ago.
const FORGIVEN: f32 = 124.0;
/// Kinds that are told apart at most; for one more another is forgotten.
const KINDS_MAX: usize = 4096;

/// How much of what was made ready was used, decayed.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct UseShare {
    pub(crate) made: f32,
    pub(crate) used: f32,
}

impl UseShare {
    pub(crate) fn count_made(&mut self, halved_at: f32) {
        self.made += 1.0;
        if self.made >= halved_at {
            self.made /= 2.0;
            self.used /= 2.0;
        }
    }

    /// Of what was counted as made before.
    pub(crate) fn count_used(&mut self) {
        self.used = (self.used + 1.0).min(self.made);
    }

    /// Whether enough was used, with so many that were not forgiven.
    pub(crate) fn is_worth(self, forgiven: f32) -> bool {
        let judged = (self.made - forgiven).max(0.0) + PRIOR.made;
        self.used + PRIOR.used >= USED_SHARE_MIN * judged
    }
}

/// Picks the cases that are acted on to keep measuring.
#[derive(Clone, Debug)]
pub(crate) struct Probes(u64);

impl Probes {
    pub(crate) fn new() -> Probes {
        Probes(0x9E37_79B9_7F4A_7C15)
    }

    pub(crate) fn is_turn(&mut self) -> bool {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.is_multiple_of(PROBE_ONE_IN)
    }
}

/// Throttle by measured use: of values that are ordered before they are read, which kinds are read afterwards.
///
/// Counts, for each kind, how many were ordered and how many of these were used; halved now and then, so that what is old fades. A
/// kind of which less than 30 % were used is ordered in one of 128 cases only, by which it is noticed when that changes. What was ordered
/// a moment ago cannot have been used yet, so that 124 that were not used are forgiven: a kind that nobody uses is ordered so often.
///
/// The share, what is taken for known before the first, and the cases that are tried all the same are those of
/// [`Bell`](crate::Bell), which counts a prediction once its outcome is known.
///
/// ```
/// use warp_physics::Usefulness;
///
/// let mut usefulness = Usefulness::new();
/// let (profiles, invoices) = (1, 2);
/// for _ in 0..200 {
///     usefulness.ordered(profiles);
///     usefulness.used(profiles);
///     usefulness.ordered(invoices); // which nobody reads
/// }
/// assert!(usefulness.is_worth(profiles));
/// let tried = (0..10_000).filter(|_| usefulness.is_worth(invoices)).count();
/// assert!((20..300).contains(&tried));
/// ```
#[derive(Clone, Debug)]
pub struct Usefulness {
    kinds: HashMap<u32, UseShare>,
    probes: Probes,
}

impl Usefulness {
    /// One that has counted nothing: every kind is worth ordering.
    #[must_use]
    pub fn new() -> Usefulness {
        Usefulness { kinds: HashMap::new(), probes: Probes::new() }
    }

    /// Whether a value of this kind is to be ordered. Asking again may be answered otherwise: see above.
    pub fn is_worth(&mut self, kind: u32) -> bool {
        self.kinds.get(&kind).is_none_or(|share| share.is_worth(FORGIVEN)) || self.probes.is_turn()
    }

    /// Counts that a value of this kind was ordered.
    pub fn ordered(&mut self, kind: u32) {
        if self.kinds.len() >= KINDS_MAX && !self.kinds.contains_key(&kind) {
            let another = self.kinds.keys().next().copied();
            another.and_then(|another| self.kinds.remove(&another));
        }
        self.kinds.entry(kind).or_default().count_made(HALVED_AT);
    }

    /// Counts that one that was ordered was used, once at most for each.
    pub fn used(&mut self, kind: u32) {
        if let Some(share) = self.kinds.get_mut(&kind) {
            share.count_used();
        }
    }

    /// Takes back that one was ordered, of which nothing will come for reasons that are not its own.
    pub fn cancelled(&mut self, kind: u32) {
        if let Some(share) = self.kinds.get_mut(&kind) {
            share.made = (share.made - 1.0).max(share.used);
        }
    }

    /// Bytes of memory that it takes, about.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.kinds.capacity() * (size_of::<(u32, UseShare)>() + 1)
    }
}

impl Default for Usefulness {
    fn default() -> Usefulness {
        Usefulness::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_that_nobody_uses_is_ordered_no_more_and_again_once_it_is_used() {
        let mut usefulness = Usefulness::new();
        let mut ordered = 0;
        for _ in 0..10_000 {
            if usefulness.is_worth(7) {
                usefulness.ordered(7);
                ordered += 1;
            }
        }
        assert!((150..500).contains(&ordered), "{ordered}");
        assert!(usefulness.is_worth(8), "another kind is none of its business");
        // Only what is ordered can be used.
        let mut asked = 0;
        while usefulness.kinds.get(&7).is_some_and(|share| !share.is_worth(FORGIVEN)) {
            asked += 1;
            if usefulness.is_worth(7) {
                usefulness.ordered(7);
                usefulness.used(7);
            }
        }
        assert!((1..100_000).contains(&asked), "{asked}");
    }

    #[test]
    fn a_kind_that_is_used_later_is_ordered_all_along() {
        let mut usefulness = Usefulness::new();
        let mut withheld = 0;
        for round in 0..50 {
            for _ in 0..100 {
                let is_worth = usefulness.is_worth(7);
                withheld += u32::from(!is_worth);
                usefulness.ordered(7);
            }
            (0..100).for_each(|_| usefulness.used(7));
            assert_eq!(withheld, 0, "round {round}");
        }
    }

    #[test]
    fn what_is_taken_back_does_not_count() {
        let mut usefulness = Usefulness::new();
        for _ in 0..10_000 {
            assert!(usefulness.is_worth(7));
            usefulness.ordered(7);
            usefulness.cancelled(7);
        }
    }

    #[test]
    fn kinds_are_bounded_and_no_more_is_used_than_was_ordered() {
        let mut usefulness = Usefulness::new();
        usefulness.used(5);
        usefulness.cancelled(5);
        assert!(usefulness.kinds.is_empty());
        for kind in 0..10 * 4096 {
            usefulness.ordered(kind);
            usefulness.used(kind);
            usefulness.used(kind);
        }
        assert_eq!(usefulness.kinds.len(), KINDS_MAX);
        assert!(usefulness.kinds.values().all(|share| share.used <= share.made));
        assert!(usefulness.bytes() < 256 << 10, "{}", usefulness.bytes());
    }
}
