//! What no cache within a budget of bytes can be above: PFOO-L of Berger, Beckmann, Harchol-Balter, "Practical Bounds
//! on Optimal Caching with Variable Object Sizes", SIGMETRICS 2018, where L is for lower, as it counts misses.
//!
//! A hit takes its object's bytes for the requests since the one before, and all hits together no more than the budget
//! times the requests of the trace. The most hits within that sum are those that take least; the most bytes are those
//! that take least for each. A cache is held to the budget at each request besides, and so does not hit more.

use super::counted;
use crate::physics::policies::belady::next_uses;

/// What a hit would take, and what it is worth.
#[derive(Clone, Copy, Debug)]
struct Interval {
    bytes_times_requests: u128,
    worth: u64,
}

/// Shares of requests and of bytes that no cache's hits are above, each for itself: no cache need reach both.
pub(crate) fn bound(budget: u64, unique: usize, keys: &[u32], sizes: &[u32]) -> [f64; 2] {
    let (mut of_requests, mut of_bytes) = (Vec::new(), Vec::new());
    for (place, next) in next_uses(unique, keys).into_iter().enumerate() {
        let size = counted(sizes[place]);
        if next < keys.len() && size <= budget {
            let bytes_times_requests = u128::from(size) * (next - place) as u128;
            of_requests.push(Interval { bytes_times_requests, worth: 1 });
            of_bytes.push(Interval { bytes_times_requests, worth: counted(sizes[next]) });
        }
    }
    let room = u128::from(budget) * keys.len() as u128;
    let bytes: u64 = sizes.iter().copied().map(counted).sum();
    [most(of_requests, room) as f64 / keys.len() as f64, most(of_bytes, room) as f64 / bytes as f64]
}

/// The most that intervals within some room are worth, with a part of the last one: a knapsack of things that can be
/// cut (Dantzig 1957) is worth no less than one of whole things.
fn most(mut intervals: Vec<Interval>, mut room: u128) -> u64 {
    intervals.sort_unstable_by(|a, b| {
        (a.bytes_times_requests * u128::from(b.worth)).cmp(&(b.bytes_times_requests * u128::from(a.worth)))
    });
    let mut worth = 0;
    for interval in intervals {
        if interval.bytes_times_requests > room {
            // Rounded down, since hits and bytes are whole. The part is below the whole, which has 64 bits.
            let part = u128::from(interval.worth) * room / interval.bytes_times_requests;
            return worth + u64::try_from(part).unwrap_or(interval.worth);
        }
        room -= interval.bytes_times_requests;
        worth += interval.worth;
    }
    worth
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cheapest_hits_fill_the_budget_times_the_requests() {
        // The hit of 0 takes 5 x 4, that of 1 takes 4 x 2, and that of 2 takes 3 x 3.
        let (keys, sizes) = ([0, 1, 2, 1, 0, 2], [5, 4, 3, 4, 5, 3]);
        let within = |budget| bound(budget, 3, &keys, &sizes);
        // 0 is larger than a budget of four; of one of five it gets 13 of its 20, which is worth 3.25 bytes.
        assert_eq!(within(4), [2.0 / 6.0, 7.0 / 24.0]);
        assert_eq!(within(5), [2.0 / 6.0, 10.0 / 24.0]);
        assert_eq!(within(7), [3.0 / 6.0, 12.0 / 24.0]);
    }

    #[test]
    fn cheap_is_what_takes_little_for_what_it_is_worth() {
        let intervals =
            [(9, 1), (20, 5)].map(|(bytes_times_requests, worth)| Interval { bytes_times_requests, worth });
        assert_eq!([19, 20, 28, 29].map(|room| most(intervals.to_vec(), room)), [4, 5, 5, 6]);
    }
}
