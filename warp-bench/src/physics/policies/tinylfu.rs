//! W-TinyLFU: Einziger, Friedman, Manes, "TinyLFU: A Highly Efficient Cache Admission Policy", ACM ToS 2017, with a window
//! of 1 % and no adaptation of it: window, then a segmented LRU behind a sketch of four rows of four-bit counts.

use super::Policy;
use super::order::Order;

#[derive(Debug)]
pub(crate) struct TinyLfu {
    window: Order,
    probation: Order,
    protected: Order,
    window_capacity: usize,
    protected_capacity: usize,
    main_capacity: usize,
    sketch: Vec<[u8; 4]>,
    counted: usize,
    sample: usize,
}

const COUNT_MAX: u8 = 15;

impl TinyLfu {
    pub(crate) fn new(capacity: usize, keys: usize) -> TinyLfu {
        let window_capacity = (capacity / 100).max(1);
        let main_capacity = capacity.saturating_sub(window_capacity).max(1);
        let order = || Order::new(keys);
        TinyLfu {
            window: order(),
            probation: order(),
            protected: order(),
            window_capacity,
            protected_capacity: main_capacity * 4 / 5,
            main_capacity,
            sketch: vec![[0; 4]; capacity.next_power_of_two().max(16)],
            counted: 0,
            sample: 10 * capacity,
        }
    }

    fn cells(&self, key: u32) -> [usize; 4] {
        [0x9E37_79B9_7F4A_7C15_u64, 0xBF58_476D_1CE4_E5B9, 0x94D0_49BB_1331_11EB, 0xD6E8_FEB8_6659_FD93].map(
            |factor| ((u64::from(key) + 1).wrapping_mul(factor) >> 32) as usize & (self.sketch.len() - 1),
        )
    }

    fn frequency(&self, key: u32) -> u8 {
        self.cells(key).iter().enumerate().map(|(row, &cell)| self.sketch[cell][row]).min().unwrap_or(0)
    }

    fn count(&mut self, key: u32) {
        for (row, cell) in self.cells(key).into_iter().enumerate() {
            self.sketch[cell][row] = (self.sketch[cell][row] + 1).min(COUNT_MAX);
        }
        self.counted += 1;
        if self.counted >= self.sample {
            self.counted /= 2;
            self.sketch.iter_mut().flatten().for_each(|count| *count /= 2);
        }
    }
}

impl Policy for TinyLfu {
    fn ask(&mut self, key: u32) -> bool {
        self.count(key);
        if self.window.contains(key) {
            self.window.push(key);
            return true;
        }
        if self.protected.contains(key) {
            self.protected.push(key);
            return true;
        }
        if self.probation.remove(key) {
            self.protected.push(key);
            if self.protected.len() > self.protected_capacity
                && let Some(demoted) = self.protected.pop()
            {
                self.probation.push(demoted);
            }
            return true;
        }
        self.window.push(key);
        if self.window.len() > self.window_capacity
            && let Some(candidate) = self.window.pop()
        {
            if self.probation.len() + self.protected.len() < self.main_capacity {
                self.probation.push(candidate);
            } else if let Some(victim) = self.probation.oldest().or(self.protected.oldest())
                && self.frequency(candidate) > self.frequency(victim)
            {
                let _ = self.probation.remove(victim) || self.protected.remove(victim);
                self.probation.push(candidate);
            }
        }
        false
    }
}
