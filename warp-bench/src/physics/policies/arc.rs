//! ARC: Megiddo and Modha, "ARC: A Self-Tuning, Low Overhead Replacement Cache", FAST 2003.

use super::Policy;
use super::order::Order;

#[derive(Debug)]
pub(crate) struct Arc {
    once: Order,
    often: Order,
    once_ghosts: Order,
    often_ghosts: Order,
    target: f64,
    capacity: usize,
}

impl Arc {
    pub(crate) fn new(capacity: usize, keys: usize) -> Arc {
        let order = || Order::new(keys);
        Arc {
            once: order(),
            often: order(),
            once_ghosts: order(),
            often_ghosts: order(),
            target: 0.0,
            capacity,
        }
    }

    fn replace(&mut self, in_often_ghosts: bool) {
        let once = self.once.len() as f64;
        if self.once.len() > 0 && (once > self.target || (in_often_ghosts && once == self.target)) {
            if let Some(key) = self.once.pop() {
                self.once_ghosts.push(key);
            }
        } else if let Some(key) = self.often.pop() {
            self.often_ghosts.push(key);
        }
    }
}

impl Policy for Arc {
    fn ask(&mut self, key: u32) -> bool {
        if self.once.remove(key) || self.often.contains(key) {
            self.often.push(key);
            return true;
        }
        let (once, often) = (self.once_ghosts.len() as f64, self.often_ghosts.len() as f64);
        if self.once_ghosts.contains(key) {
            self.target = (self.target + (often / once).max(1.0)).min(self.capacity as f64);
            self.replace(false);
            self.once_ghosts.remove(key);
            self.often.push(key);
        } else if self.often_ghosts.contains(key) {
            self.target = (self.target - (once / often).max(1.0)).max(0.0);
            self.replace(true);
            self.often_ghosts.remove(key);
            self.often.push(key);
        } else {
            let seen_once = self.once.len() + self.once_ghosts.len();
            let all = seen_once + self.often.len() + self.often_ghosts.len();
            if seen_once == self.capacity {
                if self.once.len() < self.capacity {
                    self.once_ghosts.pop();
                    self.replace(false);
                } else {
                    self.once.pop();
                }
            } else if all >= self.capacity {
                if all == 2 * self.capacity {
                    self.often_ghosts.pop();
                }
                self.replace(false);
            }
            self.once.push(key);
        }
        false
    }
}
