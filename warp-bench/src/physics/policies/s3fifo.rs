//! S3-FIFO: Yang et al., "FIFO queues are all you need for cache eviction", SOSP 2023, with a tenth for newcomers, and
//! two hits for a place in the main queue.

use super::Policy;
use super::order::Order;

#[derive(Debug)]
pub(crate) struct S3Fifo {
    small: Order,
    main: Order,
    ghosts: Order,
    hits: Vec<u8>,
    capacity: usize,
    small_capacity: usize,
}

const HITS_MAX: u8 = 3;
const HITS_TO_STAY: u8 = 2;

impl S3Fifo {
    pub(crate) fn new(capacity: usize, keys: usize) -> S3Fifo {
        let order = || Order::new(keys);
        let small_capacity = (capacity / 10).max(1);
        S3Fifo {
            small: order(),
            main: order(),
            ghosts: order(),
            hits: vec![0; keys],
            capacity,
            small_capacity,
        }
    }

    fn evict(&mut self) {
        while self.small.len() + self.main.len() >= self.capacity {
            if self.small.len() >= self.small_capacity || self.main.len() == 0 {
                let Some(key) = self.small.pop() else { return };
                if self.hits[key as usize] >= HITS_TO_STAY {
                    self.hits[key as usize] = 0;
                    self.main.push(key);
                } else {
                    self.ghosts.push(key);
                    if self.ghosts.len() > self.capacity - self.small_capacity {
                        self.ghosts.pop();
                    }
                }
            } else if let Some(key) = self.main.pop()
                && self.hits[key as usize] > 0
            {
                self.hits[key as usize] -= 1;
                self.main.push(key);
            }
        }
    }
}

impl Policy for S3Fifo {
    fn ask(&mut self, key: u32) -> bool {
        let hits = self.hits[key as usize];
        if self.small.contains(key) || self.main.contains(key) {
            self.hits[key as usize] = (hits + 1).min(HITS_MAX);
            return true;
        }
        self.evict();
        self.hits[key as usize] = 0;
        if self.ghosts.remove(key) {
            self.main.push(key)
        } else {
            self.small.push(key)
        }
        false
    }
}
