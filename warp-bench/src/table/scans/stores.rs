//! What is scanned: engines, and for orientation an ordered map of the standard library.

use std::collections::BTreeMap;
use std::sync::{PoisonError, RwLock};

use warp_api::WarpEngine;

use super::groups::Span;
use crate::keys::{Key, Value};
use crate::run::Outcome;
use crate::table::store::{Seen, digest};

/// From which end a scan goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    Forwards,
    Backwards,
}

impl Way {
    pub(super) const ALL: [Way; 2] = [Way::Forwards, Way::Backwards];

    pub(super) fn name(self) -> &'static str {
        match self {
            Way::Forwards => "forwards",
            Way::Backwards => "backwards",
        }
    }
}

/// What a scan has seen so far.
#[derive(Clone, Copy, Debug)]
pub(super) struct Walk {
    way: Way,
    seen: Seen,
    last: Option<Key>,
    is_in_order: bool,
}

impl Walk {
    fn new(way: Way) -> Walk {
        Walk { way, seen: Seen::default(), last: None, is_in_order: true }
    }

    fn visit(&mut self, key: &[u8], value: &[u8]) {
        self.seen.add(Some(digest(value)));
        let follows = |last: &Key| match self.way {
            Way::Forwards => key > &last[..],
            Way::Backwards => key < &last[..],
        };
        self.is_in_order &= self.last.as_ref().is_none_or(follows);
        // A key of another length cannot be one of ours.
        self.last = Key::try_from(key).ok();
        self.is_in_order &= self.last.is_some();
    }

    /// Whether it saw what it must, each key once and in order.
    pub(super) fn is_right(&self, expected: Seen) -> bool {
        self.is_in_order && self.seen == expected
    }
}

/// Something whose keys are in order.
pub(super) trait Ordered: Send + Sync {
    /// Puts a key.
    ///
    /// # Errors
    /// What the store answers.
    fn put(&self, key: &Key, value: &Value) -> Outcome<()>;

    /// Visits every key of a span with its value.
    ///
    /// # Errors
    /// What the store answers.
    fn scan(&self, span: Span, way: Way) -> Outcome<Walk>;
}

impl Ordered for WarpEngine {
    fn put(&self, key: &Key, value: &Value) -> Outcome<()> {
        self.put(key, value)?;
        Ok(())
    }

    fn scan(&self, span: Span, way: Way) -> Outcome<Walk> {
        let mut scan = match span {
            Span::All => self.iter(),
            Span::Group(name) => self.scan_prefix(name),
            Span::Groups(..) => {
                let (low, high) = span.bounds();
                self.range(low..=high)
            }
        };
        let mut walk = Walk::new(way);
        let mut next = || match way {
            Way::Forwards => scan.next(),
            Way::Backwards => scan.next_back(),
        };
        while let Some(item) = next() {
            let (key, value) = item?;
            walk.visit(&key, &value);
        }
        Ok(walk)
    }
}

/// An ordered map under a lock, which readers hold throughout a scan: writers wait for as long.
#[derive(Debug, Default)]
pub(super) struct Map(RwLock<Tree>);

type Tree = BTreeMap<Box<[u8]>, Box<[u8]>>;

impl Ordered for Map {
    fn put(&self, key: &Key, value: &Value) -> Outcome<()> {
        let mut map = self.0.write().unwrap_or_else(PoisonError::into_inner);
        map.insert(Box::from(&key[..]), Box::from(&value[..]));
        Ok(())
    }

    fn scan(&self, span: Span, way: Way) -> Outcome<Walk> {
        let (low, high) = span.bounds();
        let map = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let range =
            map.range::<[u8], _>((std::ops::Bound::Included(&low[..]), std::ops::Bound::Included(&high[..])));
        let mut walk = Walk::new(way);
        match way {
            Way::Forwards => range.for_each(|(key, value)| walk.visit(key, value)),
            Way::Backwards => range.rev().for_each(|(key, value)| walk.visit(key, value)),
        }
        Ok(walk)
    }
}

#[cfg(test)]
mod tests {
    use super::super::groups::Groups;
    use super::*;
    use crate::keys::value;
    use crate::random::Random;

    fn check(store: &dyn Ordered) {
        let groups = Groups::new(3, 2_000);
        for key in &groups.keys {
            store.put(key, &value(key)).unwrap();
        }
        let mut random = Random::new(3, 0);
        for way in Way::ALL {
            for (span, seen) in
                [groups.all(), groups.any_group(&mut random), groups.any_groups(4, &mut random)]
            {
                let walk = store.scan(span, way).unwrap();
                assert!(walk.is_right(seen), "{span:?} {way:?} {walk:?}");
            }
        }
    }

    #[test]
    fn every_store_scans_what_was_put() {
        check(&WarpEngine::in_memory());
        check(&Map::default());
    }

    #[test]
    fn a_walk_out_of_order_or_with_a_key_twice_is_wrong() {
        let [a, b] = [[1; 16], [2; 16]];
        let is_right = |way, keys: &[Key]| {
            let (mut walk, mut expected) = (Walk::new(way), Seen::default());
            for key in keys {
                walk.visit(key, &value(key));
                expected.add(Some(digest(&value(key))));
            }
            walk.is_right(expected)
        };
        assert!(is_right(Way::Forwards, &[a, b]) && is_right(Way::Backwards, &[b, a]));
        assert!(!is_right(Way::Forwards, &[b, a]) && !is_right(Way::Backwards, &[a, b]));
        assert!(!is_right(Way::Forwards, &[a, a]) && !is_right(Way::Backwards, &[a, a]));
        assert!(!Walk::new(Way::Forwards).is_right(Seen { hits: 1, sum: 0 }));
    }
}
