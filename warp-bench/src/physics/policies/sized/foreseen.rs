//! Caches that know what comes, by a rule of thumb: to know the optimum for objects of different sizes is NP-hard.
//!
//! Berger, Beckmann, Harchol-Balter, "Practical Bounds on Optimal Caching with Variable Object Sizes", SIGMETRICS 2018,
//! compare Belady, which drops what is used again last, and Belady-size, which drops what would take the most bytes
//! times requests until then. A cache can do what they do, so that the optimum is not below them.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use super::{Hits, counted};
use crate::physics::policies::belady::next_uses;

/// How little an object is worth, from the requests until its next use and its size.
pub(crate) type Far = fn(distance: u64, size: u64) -> u64;

/// Belady.
pub(crate) fn by_distance(distance: u64, _: u64) -> u64 {
    distance
}

/// Belady-size.
pub(crate) fn by_distance_and_size(distance: u64, size: u64) -> u64 {
    distance * size
}

/// Shares of requests and of bytes that hit, where what is farthest goes until the newcomer fits. A newcomer that would
/// go itself, or is not used again, does not come in, and nothing goes for it.
///
/// Ranks all that is held for each newcomer that does not fit, which traces of some ten thousand requests allow.
pub(crate) fn foreseen(budget: u64, unique: usize, keys: &[u32], sizes: &[u32], far: Far) -> [f64; 2] {
    // Next use and size.
    let mut held: BTreeMap<u32, (usize, u64)> = BTreeMap::new();
    let (mut used, mut hits) = (0, Hits::default());
    let requests = keys.iter().zip(sizes).zip(next_uses(unique, keys));
    for (place, ((&key, &size), next)) in requests.enumerate() {
        let size = counted(size);
        let known = held.remove(&key);
        hits.ask(known.is_some(), size);
        used -= known.map_or(0, |(_, size)| size);
        if next == keys.len() || size > budget {
            continue;
        }
        let rank = |next: usize, size| far((next - place) as u64, size);
        let (mut left, mut victims) = (used, Vec::new());
        if used + size > budget {
            let mut ranked: Vec<_> =
                held.iter().map(|(&key, &(next, size))| (rank(next, size), key, size)).collect();
            ranked.sort_unstable_by_key(|&(rank, ..)| Reverse(rank));
            for (_, victim, freed) in ranked.into_iter().take_while(|&(other, ..)| other > rank(next, size)) {
                if left + size <= budget {
                    break;
                }
                left -= freed;
                victims.push(victim);
            }
        }
        if left + size <= budget {
            victims.iter().for_each(|victim| _ = held.remove(victim));
            held.insert(key, (next, size));
            used = left + size;
        }
    }
    hits.shares()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn belady_drops_what_comes_last_and_belady_size_what_takes_most() {
        // As 2 comes, one of three has to go: by distance 2 itself, which is used after three requests, by bytes times
        // requests 0, as six times two is more than three times three.
        let (keys, sizes) = ([0, 1, 2, 1, 0, 2], [6, 2, 3, 2, 6, 3]);
        assert_eq!(foreseen(10, 3, &keys, &sizes, by_distance), [2.0 / 6.0, 8.0 / 22.0]);
        assert_eq!(foreseen(10, 3, &keys, &sizes, by_distance_and_size), [2.0 / 6.0, 5.0 / 22.0]);
    }

    #[test]
    fn nothing_goes_for_what_does_not_come_in() {
        // 0 is used after 2, but without it there is no room for 2 yet, and 1 is used before.
        let (keys, sizes) = ([0, 1, 2, 1, 2, 0], [2, 7, 5, 7, 5, 2]);
        assert_eq!(foreseen(10, 3, &keys, &sizes, by_distance), [2.0 / 6.0, 9.0 / 28.0]);
    }

    #[test]
    fn what_is_not_used_again_has_no_room() {
        // 0 would take two bytes for the two requests that there are, and 1 nine for one.
        let (keys, sizes) = ([0, 1, 1], [2, 9, 9]);
        assert_eq!(foreseen(10, 2, &keys, &sizes, by_distance_and_size), [1.0 / 3.0, 9.0 / 20.0]);
    }
}
