//! Least recently used.

use super::Policy;
use super::order::Order;
use super::sized::{Hits, counted};

#[derive(Debug)]
pub(crate) struct Lru {
    order: Order,
    capacity: usize,
}

impl Lru {
    pub(crate) fn new(capacity: usize, keys: usize) -> Lru {
        Lru { order: Order::new(keys), capacity }
    }
}

impl Policy for Lru {
    fn ask(&mut self, key: u32) -> bool {
        let hit = self.order.contains(key);
        if !hit && self.order.len() == self.capacity {
            self.order.pop();
        }
        self.order.push(key);
        hit
    }
}

/// The same for a budget in bytes: shares of requests and of bytes that hit. A key has the size that it was last asked
/// for with.
pub(crate) fn lru_sized(budget: u64, unique: usize, keys: &[u32], sizes: &[u32]) -> [f64; 2] {
    let (mut order, mut held, mut used) = (Order::new(unique), vec![0_u64; unique], 0);
    let mut hits = Hits::default();
    for (&key, &size) in keys.iter().zip(sizes) {
        let size = counted(size);
        let hit = order.remove(key);
        hits.ask(hit, size);
        used -= std::mem::take(&mut held[key as usize]);
        if size > budget {
            continue;
        }
        while used + size > budget {
            let Some(oldest) = order.pop() else { break };
            used -= std::mem::take(&mut held[oldest as usize]);
        }
        held[key as usize] = size;
        used += size;
        order.push(key);
    }
    hits.shares()
}
