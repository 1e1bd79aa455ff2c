//! LIRS by bytes: what the paper counts in blocks is bytes here. Keys of low recency take at most 99 % of the budget.
//! Room is made from the queue until the newcomer fits, and once that is empty from the bottom of the stack. Keys that
//! are not resident are known up to twice the budget. With sizes of one it is `Lirs`.

use super::SizedPolicy;
use super::order::SizedOrder;
use crate::physics::policies::Order;

#[derive(Debug)]
pub(crate) struct LirsSized {
    stack: Order,
    queue: SizedOrder,
    /// Keys on the stack that are not resident, in the order in which they left.
    ghosts: SizedOrder,
    /// Sizes of keys of low recency; zero for others.
    low: Vec<u64>,
    low_bytes: u64,
    low_budget: u64,
    /// Whether anything has had to go.
    full: bool,
    budget: u64,
}

impl LirsSized {
    pub(crate) fn new(budget: u64, keys: usize) -> LirsSized {
        LirsSized {
            stack: Order::new(keys),
            queue: SizedOrder::new(keys),
            ghosts: SizedOrder::new(keys),
            low: vec![0; keys],
            low_bytes: 0,
            low_budget: budget.saturating_sub((budget / 100).max(1)).max(1),
            full: false,
            budget,
        }
    }

    /// Takes keys off the bottom of the stack until one of low recency is there.
    fn prune(&mut self) {
        while let Some(bottom) = self.stack.oldest().filter(|&key| self.low[key as usize] == 0) {
            self.stack.pop();
            self.ghosts.remove(bottom);
        }
    }

    /// Makes the bottom of the stack a key of high recency.
    fn demote(&mut self) {
        if let Some(bottom) = self.stack.pop() {
            let size = std::mem::take(&mut self.low[bottom as usize]);
            self.low_bytes -= size;
            self.queue.push(bottom, size);
            self.prune();
        }
    }

    fn promote(&mut self, key: u32, size: u64) {
        self.low[key as usize] = size;
        self.low_bytes += size;
        self.stack.push(key);
        while self.low_bytes > self.low_budget {
            self.demote();
        }
    }

    fn make_room(&mut self, size: u64) {
        while self.low_bytes + self.queue.bytes() + size > self.budget {
            self.full = true;
            let Some((victim, size)) = self.queue.pop() else {
                self.demote();
                continue;
            };
            if self.stack.contains(victim) {
                self.ghosts.push(victim, size);
            }
            while self.ghosts.bytes() > 2 * self.budget
                && let Some((oldest, _)) = self.ghosts.pop()
            {
                self.stack.remove(oldest);
            }
        }
    }
}

impl SizedPolicy for LirsSized {
    fn ask(&mut self, key: u32, size: u64) -> bool {
        let low = std::mem::take(&mut self.low[key as usize]);
        if low > 0 {
            self.low_bytes -= low;
            self.stack.push(key);
            self.prune();
        }
        let hit = low > 0 || self.queue.remove(key).is_some();
        if size > self.budget {
            self.stack.remove(key);
            self.ghosts.remove(key);
            return hit;
        }
        self.make_room(size);
        self.ghosts.remove(key);
        // Until something has had to go, what comes is of low recency while that has room. Later it is not: what a
        // large object leaves free would go to whatever small one comes next.
        let has_room = !self.full && self.low_bytes + size <= self.low_budget;
        if low > 0 || self.stack.contains(key) || has_room {
            self.promote(key, size);
        } else {
            self.stack.push(key);
            self.queue.push(key, size);
            self.prune();
        }
        hit
    }

    #[cfg(test)]
    fn used(&self) -> u64 {
        self.low_bytes + self.queue.bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_use_on_the_stack_takes_the_place_of_the_bottom() {
        // 99 bytes for keys of low recency, which 0 and 1 take but for 9, and one for the others.
        let mut lirs = LirsSized::new(100, 8);
        assert!(!lirs.ask(0, 50) && !lirs.ask(1, 40));
        // 3 takes 2's place in the queue; 2 comes back while it is on the stack, and 0 goes down into the queue.
        assert!(!lirs.ask(2, 10) && !lirs.ask(3, 10) && !lirs.ask(2, 10));
        assert_eq!((lirs.low[..4].to_vec(), lirs.used()), (vec![0, 40, 10, 0], 100));
        // The next one takes 0's place, which is on the stack no more, and stays in the queue though there is room.
        assert!(!lirs.ask(4, 20));
        assert_eq!((lirs.low_bytes, lirs.used()), (50, 70));
        assert!(lirs.ask(1, 40) && lirs.ask(2, 10) && lirs.ask(4, 20) && !lirs.ask(0, 50));
    }

    #[test]
    fn what_is_new_and_large_takes_the_place_of_the_bottom_where_the_queue_has_too_little() {
        let mut lirs = LirsSized::new(100, 8);
        assert!(!lirs.ask(0, 50) && !lirs.ask(1, 40) && !lirs.ask(2, 60) && !lirs.ask(3, 101));
        assert_eq!(lirs.used(), 100);
        assert!(lirs.ask(1, 40) && lirs.ask(2, 60) && !lirs.ask(0, 50) && !lirs.ask(3, 101));
    }

    #[test]
    fn what_becomes_of_low_recency_takes_the_place_of_several() {
        let mut lirs = LirsSized::new(1_000, 8);
        assert!(
            ![0, 1, 2, 3, 4].into_iter().any(|key| lirs.ask(key, 2)) && !lirs.ask(5, 970) && !lirs.ask(6, 20)
        );
        assert_eq!((lirs.low_bytes, lirs.used()), (980, 1_000));
        // Ten bytes more than there may be: five keys go down, and none has to leave.
        assert!(lirs.ask(6, 20));
        assert_eq!((lirs.low_bytes, lirs.used()), (990, 1_000));
    }
}
