//! SIEVE: Zhang et al., "SIEVE is Simpler than LRU: an Efficient Turn-Key Eviction Algorithm for Web Caches", NSDI 2024.

use super::Policy;
use super::order::Order;

#[derive(Debug)]
pub(crate) struct Sieve {
    order: Order,
    was_asked: Vec<bool>,
    /// The key that is looked at next; the oldest if there is none.
    hand: Option<u32>,
    capacity: usize,
}

impl Sieve {
    pub(crate) fn new(capacity: usize, keys: usize) -> Sieve {
        Sieve { order: Order::new(keys), was_asked: vec![false; keys], hand: None, capacity }
    }

    /// Passes over keys that were asked for again, from old to new, and takes out the first one that was not.
    fn evict(&mut self) {
        while let Some(key) = self.hand.or_else(|| self.order.oldest()) {
            self.hand = self.order.behind(key);
            if !std::mem::take(&mut self.was_asked[key as usize]) {
                self.order.remove(key);
                return;
            }
        }
    }
}

impl Policy for Sieve {
    fn ask(&mut self, key: u32) -> bool {
        if self.order.contains(key) {
            self.was_asked[key as usize] = true;
            return true;
        }
        if self.order.len() == self.capacity {
            self.evict();
        }
        self.order.push(key);
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hand_goes_on_where_it_stopped() {
        let mut sieve = Sieve::new(3, 8);
        let mut ask = |key| sieve.ask(key);
        assert!(![0, 1, 2].into_iter().any(&mut ask));
        assert!(ask(0));
        // 0 is passed over, and 1 goes for 3; then 2 goes for 4, though 0 is older and was not asked for again.
        assert!(!ask(3) && !ask(4));
        assert!(ask(0) && ask(3) && ask(4));
        // All were asked for: the hand passes 3, 4 and, from the beginning, 0, and takes 3.
        assert!(!ask(5));
        assert!(ask(0) && ask(4) && !ask(3));
    }
}
