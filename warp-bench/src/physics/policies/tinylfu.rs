//! W-TinyLFU: Einziger, Friedman, Manes, "TinyLFU: A Highly Efficient Cache Admission Policy", ACM ToS 2017: a window,
//! then a segmented LRU behind a sketch of four rows of four-bit counts. The window is 1 %, and stays so or adapts.

use super::Policy;
use super::climber::Climber;
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
    /// Adapts the window; none for one that stays as it is.
    climber: Option<Climber>,
}

const COUNT_MAX: u8 = 15;

impl TinyLfu {
    /// With a window that stays at 1 %.
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
            climber: None,
        }
    }

    /// With a window that begins at 1 % and adapts.
    pub(crate) fn adaptive(capacity: usize, keys: usize) -> TinyLfu {
        let fixed = TinyLfu::new(capacity, keys);
        TinyLfu { climber: Some(Climber::new(capacity, fixed.window_capacity)), ..fixed }
    }

    /// Changes the window: it gives its oldest keys to the main part, or gets those that are next to go there.
    fn resize(&mut self, window_capacity: usize) {
        self.main_capacity = (self.window_capacity + self.main_capacity).saturating_sub(window_capacity);
        self.protected_capacity = self.main_capacity * 4 / 5;
        self.window_capacity = window_capacity;
        while self.window.len() > self.window_capacity
            && let Some(key) = self.window.pop()
        {
            self.probation.push(key);
        }
        while self.protected.len() > self.protected_capacity
            && let Some(key) = self.protected.pop()
        {
            self.probation.push(key);
        }
        while self.probation.len() + self.protected.len() > self.main_capacity
            && let Some(key) = self.probation.pop().or_else(|| self.protected.pop())
        {
            self.window.push(key);
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

    /// Looks for a key, and lets it in if it was not there.
    fn look_up(&mut self, key: u32) -> bool {
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

impl Policy for TinyLfu {
    fn ask(&mut self, key: u32) -> bool {
        self.count(key);
        let hit = self.look_up(key);
        if let Some(window_capacity) = self.climber.as_mut().and_then(|climber| climber.ask(hit)) {
            self.resize(window_capacity);
        }
        hit
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::physics::policies::{Lru, replay};
    use crate::random::Random;

    #[test]
    fn a_window_that_changes_loses_no_entry() {
        let mut cache = TinyLfu::new(100, 1_000);
        let held = |cache: &TinyLfu| {
            let all = [&cache.window, &cache.probation, &cache.protected];
            (0..1_000).filter(|&key| all.iter().filter(|order| order.contains(key)).count() == 1).count()
        };
        let mut random = Random::new(1, 0);
        for window in [1, 80, 40, 80, 1, 2] {
            for _ in 0..2_000 {
                let most = 1 + random.below(999);
                cache.ask(u32::try_from(random.below(most)).unwrap());
            }
            cache.resize(window);
            let lens = [cache.window.len(), cache.probation.len() + cache.protected.len(), held(&cache)];
            assert_eq!(lens, [window, 100 - window, 100]);
            assert!(cache.protected.len() <= (100 - window) * 4 / 5);
        }
    }

    #[test]
    fn an_adaptive_window_grows_where_recency_is_all_and_stays_small_in_a_loop() {
        // Each key is asked for twice, the second time after some 40 others.
        let twice: Vec<u32> = (0..100_000).flat_map(|turn| [turn + 20, turn]).collect();
        let by = |policy: &mut dyn Policy, keys: &[u32]| replay(policy, keys);
        let fixed = by(&mut TinyLfu::new(100, 200_000), &twice);
        let adaptive = by(&mut TinyLfu::adaptive(100, 200_000), &twice);
        let recent = by(&mut Lru::new(100, 200_000), &twice);
        assert!(fixed < 0.1 && adaptive > 0.4 && recent > 0.49, "{fixed} {adaptive} {recent}");
        let around: Vec<u32> = (0..200_000).map(|turn| turn % 150).collect();
        let fixed = by(&mut TinyLfu::new(100, 200), &around);
        let adaptive = by(&mut TinyLfu::adaptive(100, 200), &around);
        assert!(adaptive > 0.8 * fixed && fixed > 0.5, "{fixed} {adaptive}");
    }
}
