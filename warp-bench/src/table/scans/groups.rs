//! The keys of the scans: groups under a common prefix, and what a scan of some of them must find.

use crate::keys::{KEY_BYTES, Key, shuffled, value};
use crate::random::Random;
use crate::table::store::{Seen, digest};

/// Keys that share a prefix.
pub(super) const GROUP_KEYS: usize = 100;
/// The first half of a key names its group.
pub(super) const NAME_BYTES: usize = KEY_BYTES / 2;
/// The stream of random numbers that names and keys are drawn from: one that nothing else uses.
const STREAM: u64 = u64::MAX - 1;

pub(super) type Name = [u8; NAME_BYTES];

/// What a scan goes over.
#[derive(Clone, Copy, Debug)]
pub(super) enum Span {
    All,
    /// The keys of one group, by their prefix.
    Group(Name),
    /// The keys of all groups from one to another, both included.
    Groups(Name, Name),
}

impl Span {
    /// The first and the last key that may be in it.
    pub(super) fn bounds(self) -> (Key, Key) {
        let (low, high) = match self {
            Span::All => ([0; NAME_BYTES], [u8::MAX; NAME_BYTES]),
            Span::Group(name) => (name, name),
            Span::Groups(low, high) => (low, high),
        };
        (key(low, [0; NAME_BYTES]), key(high, [u8::MAX; NAME_BYTES]))
    }
}

fn key(name: Name, rest: [u8; NAME_BYTES]) -> Key {
    let mut key = [0; KEY_BYTES];
    key[..NAME_BYTES].copy_from_slice(&name);
    key[NAME_BYTES..].copy_from_slice(&rest);
    key
}

/// The key of a number in the group that [`Groups`] leaves to others.
pub(super) fn foreign_key(number: u64) -> Key {
    key(FOREIGN, number.to_le_bytes())
}

/// The name of a group whose keys are no part of the groups.
pub(super) const FOREIGN: Name = [u8::MAX; NAME_BYTES];

/// All groups, in the order of their names.
#[derive(Debug)]
pub(super) struct Groups {
    names: Vec<Name>,
    /// What there is to be seen in all groups before each one, and last in all of them.
    seen_before: Vec<Seen>,
    /// The keys of all groups, in random order.
    pub(super) keys: Vec<Key>,
}

impl Groups {
    /// As many groups as hold `keys` keys, and at least one.
    pub(super) fn new(seed: u64, keys: usize) -> Groups {
        let mut random = Random::new(seed, STREAM);
        let mut names: Vec<Name> =
            (0..(keys / GROUP_KEYS).max(1)).map(|_| random.next_u64().to_le_bytes()).collect();
        names.sort_unstable();
        let mut groups = Groups { names, seen_before: vec![Seen::default()], keys: Vec::new() };
        let mut seen = Seen::default();
        for name in &groups.names {
            for _ in 0..GROUP_KEYS {
                let key = key(*name, random.next_u64().to_le_bytes());
                seen.add(Some(digest(&value(&key))));
                groups.keys.push(key);
            }
            groups.seen_before.push(seen);
        }
        groups.keys = shuffled(&groups.keys, seed);
        groups
    }

    /// Everything, and what a scan of it must find.
    pub(super) fn all(&self) -> (Span, Seen) {
        (Span::All, self.seen(0, self.names.len()))
    }

    /// One group, and what a scan of it must find.
    pub(super) fn any_group(&self, random: &mut Random) -> (Span, Seen) {
        let place = random.below(self.names.len());
        (Span::Group(self.names[place]), self.seen(place, place + 1))
    }

    /// So many groups that are neighbours, or all if there are fewer, and what a scan of them must find.
    pub(super) fn any_groups(&self, count: usize, random: &mut Random) -> (Span, Seen) {
        let count = count.min(self.names.len());
        let first = random.below(self.names.len() - count + 1);
        let span = Span::Groups(self.names[first], self.names[first + count - 1]);
        (span, self.seen(first, first + count))
    }

    fn seen(&self, first: usize, end: usize) -> Seen {
        let (before, upto) = (self.seen_before[first], self.seen_before[end]);
        Seen { hits: upto.hits - before.hits, sum: upto.sum.wrapping_sub(before.sum) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_holds_as_many_keys_as_it_says() {
        let groups = Groups::new(1, 1_050);
        assert_eq!(groups.keys.len(), 1_000);
        let mut random = Random::new(1, 0);
        for (span, seen, count) in [(groups.all(), 1_000), (groups.any_group(&mut random), 100)]
            .into_iter()
            .chain([(groups.any_groups(3, &mut random), 300), (groups.any_groups(99, &mut random), 1_000)])
            .map(|((span, seen), count)| (span, seen, count))
        {
            let (low, high) = span.bounds();
            let mut found = Seen::default();
            for key in groups.keys.iter().filter(|key| (low..=high).contains(*key)) {
                found.add(Some(digest(&value(key))));
            }
            assert_eq!((found, found.hits), (seen, count), "{span:?}");
        }
        let (low, high) = Span::Group(FOREIGN).bounds();
        assert!((low..=high).contains(&foreign_key(7)));
    }
}
