//! Keys in order, each at most once, with their sizes and the sum of those.

use crate::physics::policies::Order;

#[derive(Debug)]
pub(super) struct SizedOrder {
    order: Order,
    /// Of keys that are inside; others have what they had.
    sizes: Vec<u64>,
    bytes: u64,
}

impl SizedOrder {
    pub(super) fn new(keys: usize) -> SizedOrder {
        SizedOrder { order: Order::new(keys), sizes: vec![0; keys], bytes: 0 }
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn is_empty(&self) -> bool {
        self.order.len() == 0
    }

    /// Puts a key behind all others; one that is in already moves, and has the new size.
    pub(super) fn push(&mut self, key: u32, size: u64) {
        self.remove(key);
        self.order.push(key);
        self.sizes[key as usize] = size;
        self.bytes += size;
    }

    /// Takes out the key that came first, and tells its size.
    pub(super) fn pop(&mut self) -> Option<(u32, u64)> {
        let key = self.order.oldest()?;
        self.remove(key).map(|size| (key, size))
    }

    /// Takes a key out, and tells its size if it was inside.
    pub(super) fn remove(&mut self, key: u32) -> Option<u64> {
        let size = self.order.remove(key).then_some(self.sizes[key as usize])?;
        self.bytes -= size;
        Some(size)
    }
}
