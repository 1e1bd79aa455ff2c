//! ARC by bytes: what the paper counts in pages is bytes here. The four lists and the target have lengths in bytes, and
//! room is made by its rule until the newcomer fits. A hit among the ghosts moves the target by the size of what was
//! asked for where the paper moves it by one. With sizes of one it is `Arc`.

use super::SizedPolicy;
use super::order::SizedOrder;

#[derive(Debug)]
pub(crate) struct ArcSized {
    once: SizedOrder,
    often: SizedOrder,
    once_ghosts: SizedOrder,
    often_ghosts: SizedOrder,
    target: f64,
    budget: u64,
}

impl ArcSized {
    pub(crate) fn new(budget: u64, keys: usize) -> ArcSized {
        let order = || SizedOrder::new(keys);
        ArcSized {
            once: order(),
            often: order(),
            once_ghosts: order(),
            often_ghosts: order(),
            target: 0.0,
            budget,
        }
    }

    fn make_room(&mut self, size: u64, in_often_ghosts: bool) {
        while self.once.bytes() + self.often.bytes() + size > self.budget {
            let once = self.once.bytes() as f64;
            let long = once > self.target || (in_often_ghosts && once == self.target);
            // Where one of them cannot give room any more, the other one does.
            if (long || self.often.is_empty())
                && let Some((key, size)) = self.once.pop()
            {
                self.once_ghosts.push(key, size);
            } else if let Some((key, size)) = self.often.pop() {
                self.often_ghosts.push(key, size);
            }
        }
    }

    /// Forgets ghosts: all that is known is at most twice the budget.
    fn forget(&mut self) {
        let known = |arc: &ArcSized| {
            arc.once.bytes() + arc.often.bytes() + arc.once_ghosts.bytes() + arc.often_ghosts.bytes()
        };
        while known(self) > 2 * self.budget {
            if self.often_ghosts.pop().is_none() {
                self.once_ghosts.pop();
            }
        }
    }
}

impl SizedPolicy for ArcSized {
    fn ask(&mut self, key: u32, size: u64) -> bool {
        let hit = self.once.remove(key).or_else(|| self.often.remove(key)).is_some();
        let (once, often) = (self.once_ghosts.bytes() as f64, self.often_ghosts.bytes() as f64);
        let in_once_ghosts = self.once_ghosts.remove(key).is_some();
        let in_often_ghosts = self.often_ghosts.remove(key).is_some();
        if size > self.budget {
            return hit;
        }
        if in_once_ghosts {
            let step = size as f64 * (often / once).max(1.0);
            self.target = (self.target + step).min(self.budget as f64);
        } else if in_often_ghosts {
            let step = size as f64 * (once / often).max(1.0);
            self.target = (self.target - step).max(0.0);
        }
        if hit || in_once_ghosts || in_often_ghosts {
            self.make_room(size, in_often_ghosts);
            self.often.push(key, size);
        } else {
            while self.once.bytes() + self.once_ghosts.bytes() + size > self.budget {
                if self.once_ghosts.pop().is_none() {
                    self.once.pop();
                }
            }
            self.make_room(size, false);
            self.once.push(key, size);
        }
        self.forget();
        hit
    }

    #[cfg(test)]
    fn used(&self) -> u64 {
        self.once.bytes() + self.often.bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hit_among_the_ghosts_moves_the_target_by_its_size() {
        let mut arc = ArcSized::new(10, 8);
        // 0 is used twice, so that 1 and not 0 goes for 2, and is a ghost.
        assert!(!arc.ask(0, 4) && arc.ask(0, 4) && !arc.ask(1, 5) && !arc.ask(2, 5));
        assert_eq!((arc.used(), arc.target), (9, 0.0));
        // It comes back, and its five bytes are the target. 2 has no more than that, and so 0 goes.
        assert!(!arc.ask(1, 5));
        assert_eq!(arc.target, 5.0);
        assert!(arc.ask(2, 5) && arc.ask(1, 5) && !arc.ask(0, 4));
        assert_eq!(arc.target, 1.0);
    }

    #[test]
    fn what_is_new_and_large_takes_the_place_of_several() {
        let mut arc = ArcSized::new(10, 8);
        assert!(![0, 1, 2].into_iter().any(|key| arc.ask(key, 3)));
        // Two have to go for five bytes, the oldest ones, and nothing for eleven.
        assert!(!arc.ask(3, 5) && !arc.ask(4, 11));
        assert_eq!(arc.used(), 8);
        assert!(arc.ask(2, 3) && arc.ask(3, 5) && !arc.ask(4, 11));
    }
}
