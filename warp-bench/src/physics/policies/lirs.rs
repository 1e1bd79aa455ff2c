//! LIRS: Jiang and Zhang, "LIRS: An Efficient Low Inter-reference Recency Set Replacement Policy", SIGMETRICS 2002, with
//! 1 % of the capacity for resident keys of high recency, and at most twice the capacity of keys that are not resident.

use super::Policy;
use super::order::Order;

#[derive(Debug)]
pub(crate) struct Lirs {
    stack: Order,
    queue: Order,
    /// Keys on the stack that are not resident, in the order in which they left.
    ghosts: Order,
    low: Vec<bool>,
    lows: usize,
    low_capacity: usize,
    queue_capacity: usize,
}

impl Lirs {
    pub(crate) fn new(capacity: usize, keys: usize) -> Lirs {
        let queue_capacity = (capacity / 100).max(1);
        Lirs {
            stack: Order::new(keys),
            queue: Order::new(keys),
            ghosts: Order::new(keys),
            low: vec![false; keys],
            lows: 0,
            low_capacity: capacity.saturating_sub(queue_capacity).max(1),
            queue_capacity,
        }
    }

    /// Takes keys off the bottom of the stack until one of low recency is there.
    fn prune(&mut self) {
        while let Some(bottom) = self.stack.oldest().filter(|&key| !self.low[key as usize]) {
            self.stack.pop();
            self.ghosts.remove(bottom);
        }
    }

    /// Makes the bottom of the stack a key of high recency.
    fn demote(&mut self) {
        if let Some(bottom) = self.stack.pop() {
            self.low[bottom as usize] = false;
            self.lows -= 1;
            self.queue.push(bottom);
            self.prune();
        }
    }

    fn promote(&mut self, key: u32) {
        self.low[key as usize] = true;
        self.lows += 1;
        self.stack.push(key);
        if self.lows > self.low_capacity {
            self.demote();
        }
    }
}

impl Policy for Lirs {
    fn ask(&mut self, key: u32) -> bool {
        if self.low[key as usize] {
            self.stack.push(key);
            self.prune();
            return true;
        }
        let hit = self.queue.remove(key);
        if !hit {
            if self.lows < self.low_capacity {
                self.promote(key);
                return false;
            }
            if self.queue.len() >= self.queue_capacity
                && let Some(victim) = self.queue.pop()
                && self.stack.contains(victim)
            {
                self.ghosts.push(victim);
                if self.ghosts.len() > 2 * (self.low_capacity + self.queue_capacity)
                    && let Some(oldest) = self.ghosts.pop()
                {
                    self.stack.remove(oldest);
                }
            }
            self.ghosts.remove(key);
        }
        if self.stack.contains(key) {
            self.promote(key);
        } else {
            self.stack.push(key);
            self.queue.push(key);
        }
        hit
    }
}
