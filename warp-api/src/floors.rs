//! Floors: the sequence below which a keyspace's entries do not exist.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;

use crate::keyspace::{DEFAULT, SYSTEM};
use crate::links;

/// The floor of a keyspace that was dropped: nothing in it exists, whatever its sequence.
pub(crate) const DROPPED: u64 = u64::MAX;

/// The floor of each keyspace: entries with a lower sequence do not exist, wherever they are found.
///
/// Floors are read with every lookup, and change hardly ever. That of the default keyspace is one load; the others
/// are in a map that is replaced as a whole.
#[derive(Debug, Default)]
pub(crate) struct Floors {
    default: AtomicU64,
    others: ArcSwap<BTreeMap<u32, u64>>,
    raised: AtomicU64,
}

impl Floors {
    /// The floor of `keyspace`; 0 for one that was never cleared.
    #[inline]
    pub(crate) fn of(&self, keyspace: u32) -> u64 {
        match keyspace {
            // Acquire pairs with the Release in `raise`: who sees the floor sees every write made below it.
            DEFAULT => self.default.load(Ordering::Acquire),
            SYSTEM => 0,
            other => self.of_other(other),
        }
    }

    #[inline(never)]
    fn of_other(&self, keyspace: u32) -> u64 {
        self.others.load().get(&keyspace).copied().unwrap_or(0)
    }

    /// Whether `keyspace` was dropped. Exact for whoever holds the lock of any key: dropping takes all of them.
    #[inline]
    pub(crate) fn is_dropped(&self, keyspace: u32) -> bool {
        keyspace > DEFAULT && self.of(keyspace) == DROPPED
    }

    /// Raises a floor by the write with sequence `seq`; floors never fall. That of the system keyspace is left alone.
    pub(crate) fn raise(&self, keyspace: u32, floor: u64, seq: u64) {
        // First, so that whoever misses an entry because of the floor knows of the write that raised it.
        self.raised.fetch_max(seq, Ordering::AcqRel);
        match keyspace {
            DEFAULT => drop(self.default.fetch_max(floor, Ordering::AcqRel)),
            SYSTEM => {}
            other => drop(self.others.rcu(|floors| {
                let mut floors = BTreeMap::clone(floors);
                let present = floors.entry(other).or_default();
                *present = floor.max(*present);
                floors
            })),
        }
    }

    /// The highest sequence of a write that raised a floor; 0 if none did since the open, or in the log before it.
    pub(crate) fn raised(&self) -> u64 {
        self.raised.load(Ordering::Acquire)
    }

    /// All floors that were ever raised, in the order of keyspaces, as a manifest keeps them.
    pub(crate) fn all(&self) -> Vec<(u32, u64)> {
        let default = Some((DEFAULT, self.of(DEFAULT))).filter(|(_, floor)| *floor != 0);
        let others = self.others.load();
        default.into_iter().chain(others.iter().map(|(keyspace, floor)| (*keyspace, *floor))).collect()
    }
}

/// Whether an entry exists, as far as `floors` say, which are in the order of keyspaces.
///
/// The links of a dropped keyspace are entries of the system keyspace. Nobody asks for them again, since numbers are
/// not used twice, so that they go with it.
pub(crate) fn exists(floors: &[(u32, u64)], keyspace: u32, key: &[u8], seq: u64) -> bool {
    if floors.is_empty() {
        return true;
    }
    let linked = if keyspace == SYSTEM { links::parse_links_key(key) } else { None };
    let of_dropped = linked.is_some_and(|(linked, _)| floor_in(floors, linked) == DROPPED);
    seq >= floor_in(floors, keyspace) && !of_dropped
}

fn floor_in(floors: &[(u32, u64)], keyspace: u32) -> u64 {
    let place = floors.binary_search_by_key(&keyspace, |(of, _)| *of);
    place.map_or(0, |place| floors[place].1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floors_rise_and_are_listed_in_order() {
        let floors = Floors::default();
        assert!(floors.all().is_empty());
        floors.raise(7, 20, 20);
        floors.raise(DEFAULT, 10, 10);
        floors.raise(3, DROPPED, 30);
        floors.raise(7, 5, 5);
        floors.raise(SYSTEM, 9, 9);
        assert_eq!(floors.all(), [(DEFAULT, 10), (3, DROPPED), (7, 20)]);
        assert_eq!([0, 1, 2, 3, 7].map(|keyspace| floors.of(keyspace)), [0, 10, 0, DROPPED, 20]);
        assert!(floors.is_dropped(3) && !floors.is_dropped(7));
        assert_eq!(floors.raised(), 30);
    }

    #[test]
    fn what_lies_below_a_floor_does_not_exist() {
        let floors = [(1, 10), (3, DROPPED), (7, 20)];
        assert!(!exists(&floors, 1, b"key", 9) && exists(&floors, 1, b"key", 10));
        assert!(exists(&floors, 2, b"key", 1));
        assert!(!exists(&floors, 3, b"key", DROPPED - 1));
        assert!(exists(&floors, SYSTEM, b"links\0\x07\0\0\0key", 1));
        assert!(!exists(&floors, SYSTEM, b"links\0\x03\0\0\0key", 100));
        assert!(exists(&[], 1, b"key", 0));
    }
}
