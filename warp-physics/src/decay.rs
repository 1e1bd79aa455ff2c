//! Forgetting: what happened counts half as much after each half-life.

use std::time::Duration;

/// The share of a past amount that still counts: `2^(-elapsed / half_life)`, in `0.0..=1.0`. A half-life of zero
/// counts as the shortest one there is, a nanosecond.
pub(crate) fn share_kept(elapsed: Duration, half_life: Duration) -> f64 {
    let half_life = half_life.max(Duration::from_nanos(1));
    (-elapsed.as_secs_f64() / half_life.as_secs_f64()).exp2()
}

/// An amount per second, in which recent seconds weigh most: both the amount and the seconds decay alike, so
/// that a steady rate is shown exactly from the first interval on.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Rate {
    amount: f64,
    seconds: f64,
}

impl Rate {
    /// Adds what happened within `elapsed`, of which `kept` is the share kept.
    pub(crate) fn add(&mut self, amount: f64, elapsed: Duration, kept: f64) {
        self.amount = self.amount * kept + amount;
        self.seconds = self.seconds * kept + elapsed.as_secs_f64();
    }

    /// The amount per second; `None` before any time has passed.
    pub(crate) fn per_second(self) -> Option<f64> {
        (self.seconds > 0.0).then(|| self.amount / self.seconds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn each_half_life_leaves_exactly_half() {
        for half_lives in 0..100_u32 {
            let kept = share_kept(SECOND * 3 * half_lives, SECOND * 3);
            assert_eq!(kept, 0.5_f64.powi(half_lives.cast_signed()), "{half_lives} half-lives");
        }
    }

    #[test]
    fn extreme_times_stay_in_range() {
        assert_eq!(share_kept(Duration::ZERO, Duration::ZERO), 1.0);
        assert_eq!(share_kept(SECOND, Duration::ZERO), 0.0);
        assert_eq!(share_kept(Duration::MAX, SECOND), 0.0);
        assert_eq!(share_kept(Duration::MAX, Duration::MAX), 0.5);
    }

    #[test]
    fn a_steady_rate_is_exact_and_a_new_one_takes_over() {
        let mut rate = Rate::default();
        assert_eq!(rate.per_second(), None);
        for _ in 0..3 {
            rate.add(70.0, SECOND, 0.5);
            assert_eq!(rate.per_second(), Some(70.0));
        }
        for _ in 0..60 {
            rate.add(10.0, SECOND, 0.5);
        }
        let now = rate.per_second().unwrap();
        assert!((now - 10.0).abs() < 1e-9, "{now}");
    }
}
