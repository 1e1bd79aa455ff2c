//! Rates of several stores that were measured by turns, and what is said about them.

use crate::latency::median;
use crate::report::Cell;

/// Rates of one operation: of each store, of each run.
#[derive(Clone, Debug)]
pub(crate) struct Series {
    rates: Vec<Vec<f64>>,
}

impl Series {
    pub(crate) fn new(stores: usize) -> Series {
        Series { rates: vec![Vec::new(); stores] }
    }

    /// Keeps a rate, in operations a second.
    pub(crate) fn push(&mut self, store: usize, rate: f64) {
        self.rates[store].push(rate);
    }

    /// Whether there are rates of a store: of some there may be none, if it cannot do what was measured.
    pub(crate) fn has(&self, store: usize) -> bool {
        self.rates.get(store).is_some_and(|rates| !rates.is_empty())
    }

    pub(crate) fn median(&self, store: usize) -> f64 {
        median(&self.rates[store])
    }

    /// Median, least and most of a store's runs.
    pub(crate) fn cells(&self, store: usize) -> [Cell; 3] {
        let rates = &self.rates[store];
        let least = rates.iter().copied().fold(f64::INFINITY, f64::min);
        let most = rates.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        [self.median(store), least, most].map(Cell::rate)
    }

    /// The median of the ratios within a run: what disturbs one of two neighbours disturbs the other too. `NaN` if
    /// one of them lacks the operation.
    pub(crate) fn ratio(&self, over: usize, under: usize) -> f64 {
        let pairs = self.rates[over].iter().zip(&self.rates[under]);
        median(&pairs.map(|(over, under)| over / under).collect::<Vec<_>>())
    }

    /// The store with the highest median among some.
    pub(crate) fn best(&self, among: impl IntoIterator<Item = usize>) -> Option<usize> {
        let measured = among.into_iter().filter(|&store| self.has(store));
        measured.max_by(|&a, &b| self.median(a).total_cmp(&self.median(b)))
    }
}

/// The order of a run: another store begins each time, so that none is always the one after the same other.
pub(crate) fn turns(stores: usize, run: usize) -> impl Iterator<Item = usize> {
    (0..stores).map(move |turn| (turn + run) % stores)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_of_the_same_run_and_the_best_has_the_highest_median() {
        let mut series = Series::new(4);
        for (store, rates) in [(0, [10.0, 40.0, 20.0]), (1, [5.0, 10.0, 10.0]), (2, [90.0, 1.0, 2.0])] {
            rates.into_iter().for_each(|rate| series.push(store, rate));
        }
        assert_eq!(series.ratio(0, 1), 2.0);
        assert_eq!(series.median(0), 20.0);
        assert_eq!(series.best([1, 2, 3]), Some(1));
        assert_eq!(series.best([3]), None);
        assert!(series.ratio(0, 3).is_nan());
    }

    #[test]
    fn every_store_has_its_turn_in_every_run() {
        assert_eq!(turns(3, 0).collect::<Vec<_>>(), [0, 1, 2]);
        assert_eq!(turns(3, 4).collect::<Vec<_>>(), [1, 2, 0]);
    }
}
