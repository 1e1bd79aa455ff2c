//! Hill climbing, for the window of W-TinyLFU: Einziger, Eytan, Friedman, Manes, "Adaptive Software Cache Management",
//! Middleware 2018.
//!
//! The window takes a step after each sample of requests: in the direction of the last one where the hit ratio was not
//! below that of the sample before, else back. With steps that fade, as Caffeine has them, the mean hit ratio of the
//! traces was the same.

/// Requests of a sample, in entries of the cache.
const SAMPLE: usize = 10;
/// In shares of the cache.
const STEP: f64 = 0.05;
const WINDOW_MAX: f64 = 0.8;

#[derive(Debug)]
pub(super) struct Climber {
    window: f64,
    window_min: f64,
    window_max: f64,
    /// Entries, negative for a window that becomes smaller.
    step: f64,
    sample: usize,
    asked: usize,
    hits: usize,
    former_hits: usize,
}

impl Climber {
    /// For a cache with a window, which is never smaller than at first.
    pub(super) fn new(capacity: usize, window: usize) -> Climber {
        let (sample, capacity, window) = (SAMPLE * capacity, capacity as f64, window as f64);
        Climber {
            window,
            window_min: window,
            window_max: (WINDOW_MAX * capacity).max(window),
            step: STEP * capacity,
            sample,
            asked: 0,
            hits: 0,
            former_hits: 0,
        }
    }

    /// Counts a request; after the last one of a sample it tells the size that the window is to have.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "between window_min and window_max"
    )]
    pub(super) fn ask(&mut self, hit: bool) -> Option<usize> {
        self.asked += 1;
        self.hits += usize::from(hit);
        if self.asked < self.sample {
            return None;
        }
        if self.hits < self.former_hits {
            self.step = -self.step;
        }
        self.former_hits = std::mem::take(&mut self.hits);
        self.asked = 0;
        self.window = (self.window + self.step).clamp(self.window_min, self.window_max);
        Some(self.window.round() as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_goes_on_while_hits_do_not_become_fewer_and_then_turns() {
        let mut climber = Climber::new(100, 1);
        let mut sample = |hits| {
            let windows: Vec<usize> = (0..1_000).filter_map(|turn| climber.ask(turn < hits)).collect();
            <[usize; 1]>::try_from(windows).unwrap()[0]
        };
        assert_eq!([500, 600, 600, 599, 600].map(&mut sample), [6, 11, 16, 11, 6]);
        // Not below what it began with, nor above 80 entries.
        assert_eq!([600, 600].map(&mut sample), [1, 1]);
        assert_eq!(sample(1), 6);
        assert_eq!([1; 20].map(&mut sample)[14..], [80; 6][..]);
    }
}
