//! Least frequently used, by bytes and by entries: what has the fewest uses goes, and of equals what was not used for
//! longest, until the newcomer fits. By entries each has a size of one.
//!
//! Breslau et al., "Web Caching and Zipf-like Distributions", INFOCOM 1999, tell apart whether uses are forgotten as a
//! key leaves, or known of all keys for ever, which takes more memory than a cache has for it.

use std::collections::BTreeSet;

use super::SizedPolicy;
use crate::physics::policies::Policy;

#[derive(Debug)]
pub(crate) struct Lfu {
    /// Uses, last use, key.
    queue: BTreeSet<(u64, u64, u32)>,
    uses: Vec<u64>,
    /// Last use and size of what is in.
    held: Vec<Option<(u64, u64)>>,
    forgets: bool,
    used: u64,
    asked: u64,
    budget: u64,
}

impl Lfu {
    /// Forgets the uses of what leaves.
    pub(crate) fn new(budget: u64, keys: usize) -> Lfu {
        Lfu {
            queue: BTreeSet::new(),
            uses: vec![0; keys],
            held: vec![None; keys],
            forgets: true,
            used: 0,
            asked: 0,
            budget,
        }
    }

    /// Knows the uses of all keys.
    pub(crate) fn perfect(budget: u64, keys: usize) -> Lfu {
        Lfu { forgets: false, ..Lfu::new(budget, keys) }
    }

    fn remove(&mut self, key: u32) -> bool {
        let Some((last, size)) = self.held[key as usize].take() else { return false };
        self.queue.remove(&(self.uses[key as usize], last, key));
        self.used -= size;
        true
    }

    fn leave(&mut self, key: u32) {
        self.remove(key);
        if self.forgets {
            self.uses[key as usize] = 0;
        }
    }
}

impl SizedPolicy for Lfu {
    fn ask(&mut self, key: u32, size: u64) -> bool {
        self.asked += 1;
        let hit = self.remove(key);
        self.uses[key as usize] += 1;
        if size > self.budget {
            self.leave(key);
            return hit;
        }
        while self.used + size > self.budget
            && let Some(&(_, _, victim)) = self.queue.first()
        {
            self.leave(victim);
        }
        self.queue.insert((self.uses[key as usize], self.asked, key));
        self.held[key as usize] = Some((self.asked, size));
        self.used += size;
        hit
    }

    #[cfg(test)]
    fn used(&self) -> u64 {
        self.used
    }
}

impl Policy for Lfu {
    fn ask(&mut self, key: u32) -> bool {
        SizedPolicy::ask(self, key, 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fewest_uses_go_and_of_equals_the_oldest_until_there_is_room() {
        let mut lfu = Lfu::new(10, 8);
        let mut ask = |key, size| SizedPolicy::ask(&mut lfu, key, size);
        assert!(!ask(0, 4) && ask(0, 4) && !ask(1, 3) && !ask(2, 3));
        // 1 and 2 go for 3, though 0 is older.
        assert!(!ask(3, 5) && ask(0, 4) && ask(3, 5));
        // 3 has two uses and 1 has three: 3 goes.
        assert!(!ask(1, 1) && ask(1, 1) && ask(1, 1) && !ask(4, 5));
        assert!(ask(0, 4) && ask(1, 1) && ask(4, 5) && !ask(3, 5));
    }

    #[test]
    fn uses_are_forgotten_or_not_as_a_key_leaves() {
        // As 2 comes the second time, 1 and 0 are in with three uses each, or 0 with the one since it came back.
        let keys = [0, 0, 1, 1, 1, 2, 0, 2, 0];
        let hits = |mut lfu: Lfu| keys.map(|key| Policy::ask(&mut lfu, key));
        assert_eq!(hits(Lfu::perfect(2, 3)), [false, true, false, true, true, false, false, false, true]);
        assert_eq!(hits(Lfu::new(2, 3)), [false, true, false, true, true, false, false, false, false]);
    }
}
