//! Usefulness: what came of acting beforehand, and where it still pays.

use std::collections::HashMap;

/// It pays where this share of what was made ready was used.
const USED_SHARE_MIN: f32 = 0.3;
/// What is taken for known where nothing has been made ready: two of four were used.
const PRIOR: UseShare = UseShare { made: 4.0, used: 2.0 };
/// Counts are halved here, so that what is old fades.
pub(crate) const HALVED_AT: f32 = 256.0;
/// One in so many cases that do not pay is acted on all the same, to keep measuring.
const PROBE_ONE_IN: u64 = 128;
/// Kinds that are told apart at most; with one more all counts begin anew.
const KINDS_MAX: usize = 1024;

/// How much of what was made ready was used, decayed.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct UseShare {
    pub(crate) made: f32,
    pub(crate) used: f32,
}

impl UseShare {
    pub(crate) fn count_made(&mut self) {
        self.made += 1.0;
        if self.made >= HALVED_AT {
            self.made /= 2.0;
            self.used /= 2.0;
        }
    }

    /// Of what was counted as made before.
    pub(crate) fn count_used(&mut self) {
        self.used = (self.used + 1.0).min(self.made);
    }

    pub(crate) fn is_worth(self) -> bool {
        (self.used + PRIOR.used) / (self.made + PRIOR.made) >= USED_SHARE_MIN
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

/// Throttle by measured use: of values that are fetched before they are read, which kinds are read afterwards.
///
/// Counts, for each kind of fetched values, how many were used; halved now and then, so that what is old fades. A kind of which
/// less than 30 % were used is fetched in one of 128 cases only, by which it is noticed when that changes. What was fetched a moment
/// ago counts as not used as long as it is not.
///
/// Source: the calibration of [`Bell`](crate::Bell), for kinds that are given.
///
/// ```
/// use warp_physics::Usefulness;
///
/// let mut usefulness = Usefulness::new();
/// let (profiles, invoices) = (1, 2);
/// for _ in 0..100 {
///     usefulness.fetched(profiles);
///     usefulness.used(profiles);
///     usefulness.fetched(invoices); // which nobody reads
/// }
/// assert!(usefulness.is_worth_fetching(profiles));
/// let tried = (0..10_000).filter(|_| usefulness.is_worth_fetching(invoices)).count();
/// assert!((20..300).contains(&tried));
/// ```
#[derive(Clone, Debug)]
pub struct Usefulness {
    kinds: HashMap<u32, UseShare>,
    probes: Probes,
}

impl Usefulness {
    /// One that has counted nothing: every kind is worth fetching.
    #[must_use]
    pub fn new() -> Usefulness {
        Usefulness { kinds: HashMap::new(), probes: Probes::new() }
    }

    /// Whether a value of this kind is to be fetched. Asking again may be answered otherwise: see above.
    pub fn is_worth_fetching(&mut self, kind: u32) -> bool {
        self.kinds.get(&kind).is_none_or(|share| share.is_worth()) || self.probes.is_turn()
    }

    /// Counts that a value of this kind was fetched.
    pub fn fetched(&mut self, kind: u32) {
        if self.kinds.len() >= KINDS_MAX && !self.kinds.contains_key(&kind) {
            self.kinds.clear();
        }
        self.kinds.entry(kind).or_default().count_made();
    }

    /// Counts that one that was fetched was used, once at most for each.
    pub fn used(&mut self, kind: u32) {
        if let Some(share) = self.kinds.get_mut(&kind) {
            share.count_used();
        }
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
    fn a_kind_that_nobody_uses_is_fetched_no_more_and_again_once_it_is_used() {
        let mut usefulness = Usefulness::new();
        let mut fetched = 0;
        for _ in 0..10_000 {
            if usefulness.is_worth_fetching(7) {
                usefulness.fetched(7);
                fetched += 1;
            }
        }
        assert!((20..300).contains(&fetched), "{fetched}");
        assert!(usefulness.is_worth_fetching(8), "another kind is none of its business");
        // Only what is fetched can be used.
        let mut asked = 0;
        while usefulness.kinds.get(&7).is_some_and(|share| !share.is_worth()) {
            asked += 1;
            if usefulness.is_worth_fetching(7) {
                usefulness.fetched(7);
                usefulness.used(7);
            }
        }
        assert!(asked < 100_000, "{asked}");
    }

    #[test]
    fn kinds_are_bounded_and_no_more_is_used_than_was_fetched() {
        let mut usefulness = Usefulness::new();
        usefulness.used(5);
        assert!(usefulness.kinds.is_empty());
        for kind in 0..10 * 1024 {
            usefulness.fetched(kind);
            usefulness.used(kind);
            usefulness.used(kind);
        }
        assert!(usefulness.kinds.len() <= KINDS_MAX);
        assert!(usefulness.kinds.values().all(|share| share.used <= share.made));
    }
}
