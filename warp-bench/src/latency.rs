//! How long single operations took.

use std::time::Duration;

use hdrhistogram::Histogram;

use crate::report::Cell;

/// Longest time that is told apart; longer ones count as this.
const TIME_MAX_NS: u64 = 60_000_000_000;
/// Decimal digits of a recorded time.
const DIGITS: u8 = 3;

/// Times of operations, in nanoseconds.
#[derive(Clone, Debug)]
pub(crate) struct Latency(Histogram<u64>);

impl Latency {
    pub(crate) fn new() -> Latency {
        Latency(
            Histogram::new_with_bounds(1, TIME_MAX_NS, DIGITS).expect("the bounds and digits are in range"),
        )
    }

    pub(crate) fn record(&mut self, time: Duration) {
        self.0.saturating_record(u64::try_from(time.as_nanos()).unwrap_or(TIME_MAX_NS));
    }

    pub(crate) fn add(&mut self, other: &Latency) {
        self.0.add(&other.0).expect("all histograms have the same bounds");
    }

    /// How many operations were recorded.
    pub(crate) fn count(&self) -> u64 {
        self.0.len()
    }

    /// The time below which `share` of the operations stayed; `None` if there were none.
    pub(crate) fn quantile(&self, share: f64) -> Option<Duration> {
        (!self.0.is_empty()).then(|| Duration::from_nanos(self.0.value_at_quantile(share)))
    }

    /// The cells of [`Latency::COLUMNS`].
    pub(crate) fn cells(&self) -> [Cell; 4] {
        let longest = (!self.0.is_empty()).then(|| Duration::from_nanos(self.0.max()));
        [self.quantile(0.5), self.quantile(0.99), self.quantile(0.999), longest]
            .map(|time| time.map_or(Cell::Absent(()), Cell::time))
    }

    /// How many operations stayed below each power of two of nanoseconds, but not below the power before it. Powers that
    /// none of them reached, or all exceeded, are left out.
    pub(crate) fn powers(&self) -> Vec<(Duration, u64)> {
        let mut counts = [0; TIME_MAX_NS.ilog2() as usize + 2];
        for recorded in self.0.iter_recorded() {
            // Times that are not told apart lie between the same two powers.
            let power = recorded.value_iterated_to().checked_ilog2().unwrap_or(0);
            counts[power as usize] += recorded.count_at_value();
        }
        let powers = (1..).map(|power| Duration::from_nanos(1 << power)).zip(counts);
        let skipped = counts.iter().take_while(|count| **count == 0).count();
        let end = counts.iter().rposition(|count| *count > 0).map_or(0, |last| last + 1);
        powers.take(end).skip(skipped).collect()
    }

    pub(crate) const COLUMNS: [&str; 4] = ["p50", "p99", "p99.9", "longest"];
}

/// The middle one of some numbers; `NaN` if there are none.
pub(crate) fn median(numbers: &[f64]) -> f64 {
    let mut sorted = numbers.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        odd if !odd.is_multiple_of(2) => sorted[odd / 2],
        even => f64::midpoint(sorted[even / 2 - 1], sorted[even / 2]),
    }
}

/// The middle one of some times; zero if there are none.
pub(crate) fn median_time(times: &[Duration]) -> Duration {
    let seconds: Vec<f64> = times.iter().map(Duration::as_secs_f64).collect();
    Duration::try_from_secs_f64(median(&seconds)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_those_of_what_was_recorded() {
        let mut latency = Latency::new();
        assert_eq!(latency.quantile(0.5), None);
        let mut other = Latency::new();
        for micros in 1..=500 {
            latency.record(Duration::from_micros(micros));
            other.record(Duration::from_micros(micros + 500));
        }
        latency.add(&other);
        let median = latency.quantile(0.5).unwrap();
        assert!(median >= Duration::from_micros(499) && median <= Duration::from_micros(502), "{median:?}");
        assert!(latency.quantile(0.999).unwrap() >= Duration::from_micros(999));
    }

    #[test]
    fn every_time_is_below_its_power_of_two_and_not_below_the_one_before() {
        let mut latency = Latency::new();
        assert_eq!(latency.powers(), []);
        for nanos in [0, 1, 1_023, 1_024, 2_047, 8_191, 8_192, 10_000] {
            latency.record(Duration::from_nanos(nanos));
        }
        let below = |nanos, count| (Duration::from_nanos(nanos), count);
        let powers = latency.powers();
        assert_eq!(powers[0], below(2, 2));
        assert!(powers[1..9].iter().all(|(_, count)| *count == 0));
        assert_eq!(
            powers[9..],
            [below(1 << 10, 1), below(1 << 11, 2), below(1 << 12, 0), below(1 << 13, 1), below(1 << 14, 2)]
        );
        latency.record(Duration::from_secs(1_000));
        assert_eq!(latency.powers().last(), Some(&below(1 << 36, 1)));
    }

    #[test]
    fn the_median_is_the_middle() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
        assert!(median(&[]).is_nan());
    }
}
