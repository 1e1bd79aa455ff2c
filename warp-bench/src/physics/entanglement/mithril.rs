//! Mithril: Yang et al., "Mithril: Mining Sporadic Associations for Cache Prefetching", SoCC 2017.
//!
//! It records when each key missed. Keys that missed a few times are set aside, and once there are enough of them they are
//! compared: of two that missed at about the same times the later one is fetched whenever the earlier one is read.
//!
//! Settings are those of the authors' code (libCacheSim), but where another one did better on the traces of this benchmark, which is
//! said beside it. Left out are the fetching of blocks in sequence, as keys have no neighbours, and the limits of the tables: every key
//! has room in them, as it has in the learner's.

use super::simulated::Partners;

/// A key is compared if it missed so often.
const SUPPORT_MIN: usize = 2;
/// A key that misses more often than this before it is compared is not sporadic, and begins anew.
const SUPPORT_MAX: usize = 8;
/// At about the same time: at most so many reads apart.
const LOOKAHEAD: u32 = 20;
/// So many keys are compared at a time. The authors wait for 2,560, which few of these traces have missed before they end.
const MINED: usize = 128;
/// Associations of a key, as many as the learner has; of more the oldest goes. The authors keep two.
const ASSOCIATED: usize = 4;
/// Ways through the cache that a fetched key is given to be read.
const ROUNDS: u8 = 2;

#[derive(Debug)]
pub(super) struct Mithril {
    /// Counts reads.
    now: u32,
    /// When each key missed, since it was last compared.
    misses: Vec<Vec<u32>>,
    /// Keys that missed often enough to be compared.
    sporadic: Vec<u32>,
    associated: Vec<Vec<u32>>,
}

impl Mithril {
    pub(super) fn new(keys: usize) -> Mithril {
        Mithril {
            now: 0,
            misses: vec![Vec::new(); keys],
            sporadic: Vec::new(),
            associated: vec![Vec::new(); keys],
        }
    }

    fn record(&mut self, key: u32) {
        let misses = &mut self.misses[key as usize];
        if misses.len() == SUPPORT_MAX {
            misses.clear();
            self.sporadic.retain(|&other| other != key);
            return;
        }
        misses.push(self.now);
        if misses.len() == SUPPORT_MIN {
            self.sporadic.push(key);
        }
        if self.sporadic.len() == MINED {
            self.mine();
        }
    }

    /// Compares each key with those whose first miss came soon after its own. It is associated with the first that goes with it,
    /// and with each that was once the very next to miss.
    fn mine(&mut self) {
        let mut keys = std::mem::take(&mut self.sporadic);
        keys.sort_by_key(|&key| self.misses[key as usize][0]);
        for (place, &key) in keys.iter().enumerate() {
            let misses = &self.misses[key as usize];
            let mut is_first = true;
            for &later in &keys[place + 1..] {
                let others = &self.misses[later as usize];
                if others[0] - misses[0] > LOOKAHEAD {
                    break;
                }
                let Some(apart) = least_apart(misses, others) else { continue };
                if is_first || apart == 1 {
                    associate(&mut self.associated[key as usize], later);
                }
                is_first = false;
            }
        }
        for key in keys {
            self.misses[key as usize].clear();
        }
    }
}

/// The fewest reads between misses of two keys, if these are as many and all at about the same times. (The authors let one of them
/// differ, which brings in keys that are not related.)
fn least_apart(misses: &[u32], others: &[u32]) -> Option<u32> {
    let apart = || misses.iter().zip(others).map(|(one, other)| one.abs_diff(*other));
    let go_together = misses.len() == others.len() && apart().all(|reads| reads <= LOOKAHEAD);
    apart().min().filter(|_| go_together)
}

fn associate(associated: &mut Vec<u32>, key: u32) {
    if associated.contains(&key) {
        return;
    }
    if associated.len() == ASSOCIATED {
        associated.remove(0);
    }
    associated.push(key);
}

impl Partners for Mithril {
    /// The ways through the cache that are left.
    type Link = u8;

    fn read(&mut self, key: u32, was_there: bool, found: &mut Vec<(u32, u8)>) {
        if !was_there {
            self.record(key);
        }
        self.now += 1;
        found.extend(self.associated[key as usize].iter().map(|&other| (other, ROUNDS)));
    }

    fn used(&mut self, _rounds: &u8) {}

    fn unused(&mut self, rounds: &u8) -> Option<u8> {
        (*rounds > 1).then(|| rounds - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is associated with key 0 once it and others missed at these times.
    fn mined(misses: &[(u32, &[u32])]) -> Vec<u32> {
        let mut times: Vec<(u32, u32)> =
            misses.iter().flat_map(|&(key, times)| times.iter().map(move |&time| (time, key))).collect();
        times.sort_unstable();
        let mut mithril = Mithril::new(8);
        for (time, key) in times {
            mithril.now = time;
            mithril.record(key);
        }
        mithril.mine();
        assert!(mithril.sporadic.is_empty());
        mithril.associated.swap_remove(0)
    }

    #[test]
    fn the_first_that_goes_with_a_key_and_each_that_was_the_next_are_associated() {
        let key = (0, &[100, 200][..]);
        assert_eq!(mined(&[key, (1, &[105, 220])]), [1]);
        assert_eq!(mined(&[key, (1, &[105, 221])]), [0; 0]);
        assert_eq!(mined(&[key, (1, &[105, 205, 206])]), [0; 0]);
        assert_eq!(mined(&[key, (1, &[105])]), [0; 0]);
        // Who missed first leads to the other, and not the other way.
        assert_eq!(mined(&[key, (1, &[99, 199])]), [0; 0]);
        assert_eq!(mined(&[key, (1, &[105, 205]), (2, &[106, 206])]), [1]);
        assert_eq!(mined(&[key, (1, &[105, 205]), (2, &[106, 201])]), [1, 2]);
    }

    #[test]
    fn a_key_that_misses_too_often_begins_anew() {
        let often: Vec<u32> = (0..9).map(|miss| 100 * miss).collect();
        let beside: Vec<u32> = often.iter().map(|time| time + 1).collect();
        assert_eq!(mined(&[(0, &often[..8]), (1, &beside[..8])]), [1]);
        assert_eq!(mined(&[(0, &often), (1, &beside)]), [0; 0]);
        let [again, behind] = [&often, &beside].map(|times| [&times[..], &[2000, 2100]].concat());
        assert_eq!(mined(&[(0, &again), (1, &behind)]), [1]);
    }

    #[test]
    fn the_oldest_association_goes() {
        let mut associated = Vec::new();
        for key in [1, 2, 3, 4, 2, 5] {
            associate(&mut associated, key);
        }
        assert_eq!(associated, [2, 3, 4, 5]);
    }

    #[test]
    fn as_soon_as_there_are_enough_keys_they_are_compared_and_their_partners_told() {
        let mut mithril = Mithril::new(MINED);
        let mut found = Vec::new();
        for _ in 0..SUPPORT_MIN {
            for key in 0..u32::try_from(MINED).unwrap() {
                mithril.read(key, false, &mut found);
            }
        }
        // It is told from the miss on that makes enough.
        assert!(found.is_empty(), "{found:?}");
        mithril.read(0, true, &mut found);
        assert_eq!(found, [(1, ROUNDS)]);
        assert!(mithril.misses[0].is_empty());
    }
}
