//! Evenness of load over time, from counters that only grow.

use std::time::Duration;

use crate::decay::{Rate, share_kept};
use crate::entropy::{coefficient_of_variation, max_over_mean, normalized_entropy, shannon_bits};

/// Below this many remembered operations there is no load to speak of.
const LOAD_MIN: f64 = 1.0;

/// Evenness of load over shards: normalized Shannon entropy of decayed load. 1 is even, 0 is all on one shard.
///
/// The caller counts the operations of each part (a shard, a level) since the start, and shows the counters from
/// time to time; an operation counts half as much after each half-life. Time is a duration since any fixed
/// moment.
///
/// ```
/// use std::time::Duration;
/// use warp_physics::EntropyMonitor;
///
/// let mut monitor = EntropyMonitor::new(2, Duration::from_secs(10));
/// monitor.observe(Duration::from_secs(1), &[500, 500]);
/// assert_eq!(monitor.report().entropy, Some(1.0));
/// monitor.observe(Duration::from_secs(2), &[9_500, 500]); // all new operations on the first part
/// assert!(monitor.report().entropy < Some(0.5));
/// ```
#[derive(Clone, Debug)]
pub struct EntropyMonitor {
    half_life: Duration,
    /// The counters as last shown.
    totals: Vec<u64>,
    /// Decayed operations a part, as of `seen`.
    load: Vec<f64>,
    /// When the counters were last shown.
    seen: Option<Duration>,
    operations: Rate,
    entropy_change: Rate,
    /// Decayed sum of how far the entropy went from one look to the next, how far predictions were off, and their number.
    wander: [f64; 3],
    predicted: Option<f64>,
    entropy: Option<f64>,
    observations: u64,
}

impl EntropyMonitor {
    /// For counters that are zero now, one a part.
    pub fn new(parts: usize, half_life: Duration) -> EntropyMonitor {
        EntropyMonitor {
            half_life,
            totals: vec![0; parts],
            load: vec![0.0; parts],
            seen: None,
            operations: Rate::default(),
            entropy_change: Rate::default(),
            wander: [0.0; 3],
            predicted: None,
            entropy: None,
            observations: 0,
        }
    }

    /// For counters that have these values at the time `now`: only what comes later is load.
    pub fn starting_at(now: Duration, totals: &[u64], half_life: Duration) -> EntropyMonitor {
        let mut monitor = EntropyMonitor::new(totals.len(), half_life);
        monitor.totals.copy_from_slice(totals);
        monitor.seen = Some(now);
        monitor
    }

    /// Takes the counters as they are at the time `now`.
    ///
    /// A counter that is lower than before was started again, and counts from zero. A part without a counter
    /// counts as idle; counters beyond the known parts add parts. A time before the last one counts as the
    /// last one.
    pub fn observe(&mut self, now: Duration, totals: &[u64]) {
        if totals.len() > self.totals.len() {
            self.totals.resize(totals.len(), 0);
            self.load.resize(totals.len(), 0.0);
        }
        let elapsed = now.saturating_sub(self.seen.unwrap_or(now));
        let kept = share_kept(elapsed, self.half_life);
        self.load.iter_mut().for_each(|load| *load *= kept);
        let mut operations = 0.0;
        for ((total, load), &new) in self.totals.iter_mut().zip(&mut self.load).zip(totals) {
            let made = new.checked_sub(*total).unwrap_or(new) as f64;
            *total = new;
            *load += made;
            operations += made;
        }
        // What the first call finds was made in a time that is not known.
        if self.seen.is_some() {
            self.operations.add(operations, elapsed, kept);
        }
        self.follow_entropy(elapsed, kept);
        self.seen = Some(now.max(self.seen.unwrap_or(now)));
        self.observations += 1;
    }

    /// The figures as of the last call of [`EntropyMonitor::observe`].
    pub fn report(&self) -> EntropyReport {
        let load = if self.is_loaded() { &self.load[..] } else { &[] };
        EntropyReport {
            entropy: self.entropy,
            shannon_bits: shannon_bits(load),
            imbalance: self.entropy.map(|entropy| 1.0 - entropy),
            coefficient_of_variation: coefficient_of_variation(load),
            max_over_mean: max_over_mean(load),
            temperature: self.operations.per_second(),
            trend: self.entropy_change.per_second(),
            stability: self.mean_wander(0).map(|step| 1.0 - step),
            predicted: self.predicted,
            prediction_error: self.mean_wander(1),
            operations: self.load.iter().sum(),
            load: self.load.clone(),
            half_life: self.half_life,
            observations: self.observations,
        }
    }

    fn is_loaded(&self) -> bool {
        self.load.iter().sum::<f64>() >= LOAD_MIN
    }

    fn follow_entropy(&mut self, elapsed: Duration, kept: f64) {
        let former = self.entropy;
        self.entropy = if self.is_loaded() { normalized_entropy(&self.load) } else { None };
        let (Some(former), Some(entropy)) = (former, self.entropy) else {
            self.entropy_change = Rate::default();
            self.predicted = None;
            return;
        };
        self.entropy_change.add(entropy - former, elapsed, kept);
        if elapsed.is_zero() {
            return;
        }
        if let Some(predicted) = self.predicted {
            let steps = [(entropy - former).abs(), (entropy - predicted).abs(), 1.0];
            self.wander.iter_mut().zip(steps).for_each(|(sum, step)| *sum = *sum * kept + step);
        }
        let trend = self.entropy_change.per_second().unwrap_or(0.0);
        self.predicted = Some((entropy + trend * elapsed.as_secs_f64()).clamp(0.0, 1.0));
    }

    /// One of the sums of `wander` over their number.
    fn mean_wander(&self, which: usize) -> Option<f64> {
        (self.wander[2] > 0.0).then(|| self.wander[which] / self.wander[2])
    }
}

/// How even the load is, and how much of it there is. What is not known is `None`.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
#[non_exhaustive]
pub struct EntropyReport {
    /// Evenness: see [`normalized_entropy`]. In `0.0..=1.0`, higher is more even; `None` without load, which is
    /// when less than one operation is remembered.
    pub entropy: Option<f64>,
    /// Shannon entropy of the shares of load in bits, in `0.0..=log2 N`, higher is more even.
    pub shannon_bits: Option<f64>,
    /// `1 - entropy`, in `0.0..=1.0`, higher is less even.
    pub imbalance: Option<f64>,
    /// Standard deviation over mean of the loads, in `0.0..=sqrt(N - 1)`, higher is less even.
    pub coefficient_of_variation: Option<f64>,
    /// Highest load over mean load, in `1.0..=N`, higher is less even.
    pub max_over_mean: Option<f64>,
    /// Operations per second, all parts together, where a second weighs half as much after each half-life: not
    /// negative; `None` before any time has passed between observations.
    pub temperature: Option<f64>,
    /// Change of the entropy per second, with the same weights: above zero where the load becomes more even.
    /// `None` without load before and after some time.
    pub trend: Option<f64>,
    /// `1 -` the decayed mean of how far the entropy goes from one observation to the next: in `0.0..=1.0`, 1 where it stays as it
    /// is. `None` before the second step with load.
    pub stability: Option<f64>,
    /// The entropy that the next observation will find if it comes as long after this one as this came after the one before:
    /// `entropy + trend * time`, brought into `0.0..=1.0`. `None` before the first step with load.
    pub predicted: Option<f64>,
    /// The decayed mean of how far such predictions were off, in `0.0..=1.0`. Compare it with `1 - stability`, which is how far
    /// it would have been off to say that nothing changes. `None` before the first prediction was put to the test.
    pub prediction_error: Option<f64>,
    /// Remembered operations, all parts together: the sum of `load`. What the figures rest on.
    pub operations: f64,
    /// Remembered operations of each part: one made just now counts 1, one made a half-life ago 0.5.
    pub load: Vec<f64>,
    /// After how long an operation counts half.
    pub half_life: Duration,
    /// How often the counters were shown.
    pub observations: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    const HALF_LIFE: Duration = Duration::from_secs(10);

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn load_halves_exactly_with_each_half_life() {
        let mut monitor = EntropyMonitor::new(2, HALF_LIFE);
        monitor.observe(seconds(0), &[4096, 1024]);
        for half_lives in 1..=10_u64 {
            monitor.observe(seconds(10 * half_lives), &[4096, 1024]);
            let share = 1.0 / (1 << half_lives) as f64;
            assert_eq!(monitor.report().load, [4096.0 * share, 1024.0 * share]);
        }
        assert_eq!(monitor.report().observations, 11);
    }

    #[test]
    fn without_load_there_are_no_figures() {
        let mut monitor = EntropyMonitor::new(3, HALF_LIFE);
        let report = monitor.report();
        assert_eq!((report.entropy, report.temperature, report.observations), (None, None, 0));
        monitor.observe(seconds(1), &[0; 3]);
        monitor.observe(seconds(2), &[0; 3]);
        let report = monitor.report();
        assert_eq!((report.entropy, report.imbalance, report.shannon_bits), (None, None, None));
        assert_eq!((report.coefficient_of_variation, report.max_over_mean, report.trend), (None, None, None));
        assert_eq!(report.temperature, Some(0.0), "that nothing happens is known by now");
    }

    #[test]
    fn a_load_that_is_forgotten_is_no_load() {
        let mut monitor = EntropyMonitor::new(2, HALF_LIFE);
        monitor.observe(seconds(0), &[8, 8]);
        monitor.observe(seconds(40), &[8, 8]);
        assert_eq!(monitor.report().entropy, Some(1.0), "one operation is remembered");
        monitor.observe(seconds(41), &[8, 8]);
        assert_eq!((monitor.report().entropy, monitor.report().max_over_mean), (None, None));
        assert!(monitor.report().operations > 0.9);
    }

    #[test]
    fn a_counter_that_goes_back_counts_from_zero() {
        let mut monitor = EntropyMonitor::new(2, HALF_LIFE);
        monitor.observe(seconds(0), &[100, 100]);
        monitor.observe(seconds(0), &[30, 101]);
        assert_eq!(monitor.report().load, [130.0, 101.0]);
    }

    #[test]
    fn temperature_is_the_rate_of_operations() {
        let mut monitor = EntropyMonitor::starting_at(seconds(5), &[1_000_000, 7], HALF_LIFE);
        for step in 1..=20 {
            monitor.observe(seconds(5 + step), &[1_000_000 + 300 * step, 7 + 100 * step]);
            let found = monitor.report().temperature.unwrap();
            assert!((found - 400.0).abs() < 1e-9, "{found}");
        }
    }

    #[test]
    fn what_the_first_call_finds_is_load_but_has_no_rate() {
        let mut monitor = EntropyMonitor::new(2, HALF_LIFE);
        monitor.observe(seconds(100), &[1_000_000, 1_000_000]);
        assert_eq!((monitor.report().entropy, monitor.report().temperature), (Some(1.0), None));
        monitor.observe(seconds(101), &[1_000_050, 1_000_000]);
        assert_eq!(monitor.report().temperature, Some(50.0));
    }

    #[test]
    fn trend_tells_the_direction() {
        let mut monitor = EntropyMonitor::new(2, HALF_LIFE);
        monitor.observe(seconds(0), &[1000, 1000]);
        assert_eq!(monitor.report().trend, None);
        monitor.observe(seconds(2), &[2000, 1000]);
        let report = monitor.report();
        assert_eq!(report.trend, Some((report.entropy.unwrap() - 1.0) / 2.0));
        monitor.observe(seconds(4), &[2000, 9000]);
        assert!(monitor.report().trend < Some(0.0));
        monitor.observe(seconds(6), &[9000, 9000]);
        monitor.observe(seconds(60), &[20_000, 20_000]);
        assert!(monitor.report().trend > Some(0.0), "{:?}", monitor.report().trend);
    }

    #[test]
    fn a_steady_change_is_predicted_and_a_jump_is_not() {
        let mut monitor = EntropyMonitor::new(2, Duration::from_secs(1_000_000));
        let mut totals = [1_000_000, 1_000_000];
        for step in 1..=20 {
            monitor.observe(seconds(step), &totals);
            totals[0] += 10_000;
        }
        let steady = monitor.report();
        let (off, step) = (steady.prediction_error.unwrap(), 1.0 - steady.stability.unwrap());
        assert!(step > 0.0 && off < step, "{off} is not better than {step}, to say that nothing changes");
        assert!(steady.predicted < steady.entropy);
        totals[1] += 200_000;
        monitor.observe(seconds(21), &totals);
        assert!(monitor.report().prediction_error.unwrap() > off);
        assert_eq!(EntropyMonitor::new(2, HALF_LIFE).report().stability, None);
    }

    #[test]
    fn a_trend_ends_with_the_load_and_starts_anew() {
        let mut monitor = EntropyMonitor::new(2, HALF_LIFE);
        monitor.observe(seconds(0), &[1000, 1000]);
        monitor.observe(seconds(1), &[2000, 1000]);
        assert!(monitor.report().trend.is_some());
        monitor.observe(seconds(1000), &[2000, 1000]);
        assert_eq!((monitor.report().entropy, monitor.report().trend), (None, None));
        monitor.observe(seconds(1001), &[2500, 1500]);
        assert_eq!(monitor.report().trend, None, "there is nothing yet to compare with");
        monitor.observe(seconds(1002), &[2500, 1500]);
        let trend = monitor.report().trend.expect("two observations with load");
        assert!(trend.abs() < 1e-9, "{trend}");
    }

    #[test]
    fn time_never_goes_back_and_parts_may_come_late() {
        let mut monitor = EntropyMonitor::new(1, HALF_LIFE);
        monitor.observe(seconds(20), &[64]);
        monitor.observe(seconds(10), &[64, 64]);
        assert_eq!(monitor.report().load, [64.0, 64.0]);
        monitor.observe(seconds(30), &[65]);
        assert_eq!(monitor.report().load, [33.0, 32.0], "ten seconds since 20");
    }

    #[test]
    fn a_report_is_written_as_plain_numbers() {
        let mut monitor = EntropyMonitor::new(2, HALF_LIFE);
        monitor.observe(seconds(1), &[2, 2]);
        let json = serde_json::to_value(monitor.report()).unwrap();
        assert_eq!(json["entropy"], 1.0);
        assert_eq!(json["load"], serde_json::json!([2.0, 2.0]));
        assert!(json["temperature"].is_null());
    }
}
