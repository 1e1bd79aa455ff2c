//! Which record a request names: a few are asked for often, most of them seldom.

use crate::random::Random;

/// The skew that YCSB uses: with a million records about half of the requests go to the first 1,000 ranks.
pub(crate) const YCSB_THETA: f64 = 0.99;

/// Zipfian ranks `0..items`, rank 0 the most likely: probability proportional to `1 / (rank + 1)^theta`.
///
/// Gray, Sundaresan, Englert, Baclawski, Weinberger, "Quickly generating billion-record synthetic databases",
/// SIGMOD 1994, as in YCSB's `ZipfianGenerator`.
#[derive(Clone, Debug)]
pub(crate) struct Zipf {
    items: usize,
    theta: f64,
    alpha: f64,
    zeta: f64,
    eta: f64,
}

impl Zipf {
    /// The distribution over `items` ranks (at least 2), for `theta` in `0.0..1.0`. Costs one pass over the ranks.
    pub(crate) fn new(items: usize, theta: f64) -> Zipf {
        let items = items.max(2);
        let zeta = zeta(items, theta);
        let eta = (1.0 - (2.0 / items as f64).powf(1.0 - theta)) / (1.0 - self::zeta(2, theta) / zeta);
        Zipf { items, theta, alpha: 1.0 / (1.0 - theta), zeta, eta }
    }

    /// The next rank.
    pub(crate) fn rank(&self, random: &mut Random) -> usize {
        let unit = random.unit();
        let scaled = unit * self.zeta;
        if scaled < 1.0 {
            return 0;
        }
        if scaled < 1.0 + 0.5_f64.powf(self.theta) {
            return 1;
        }
        let rank = self.items as f64 * (self.eta * unit - self.eta + 1.0).powf(self.alpha);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 <= rank <= items")]
        let rank = rank as usize;
        rank.min(self.items - 1)
    }

    /// The next record: a rank, scattered over all records, so that popular ones do not lie side by side. Two
    /// ranks may fall on one record, as in YCSB's `ScrambledZipfianGenerator`.
    pub(crate) fn scrambled(&self, random: &mut Random) -> usize {
        scatter(self.rank(random), self.items)
    }
}

fn zeta(items: usize, theta: f64) -> f64 {
    (1..=items).map(|rank| (rank as f64).powf(-theta)).sum()
}

/// FNV-1a of the rank's eight bytes, as YCSB's `fnvhash64` does it, modulo the number of records.
fn scatter(rank: usize, items: usize) -> usize {
    let hash = (rank as u64).to_le_bytes().iter().fold(0xCBF2_9CE4_8422_2325_u64, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3)
    });
    usize::try_from(hash % items as u64).expect("a remainder of a usize fits a usize")
}

#[cfg(test)]
mod tests {
    use super::*;

    const ITEMS: usize = 10_000;
    const DRAWS: usize = 400_000;

    fn histogram(mut draw: impl FnMut(&Zipf, &mut Random) -> usize) -> Vec<u32> {
        let zipf = Zipf::new(ITEMS, YCSB_THETA);
        let mut random = Random::new(42, 0);
        let mut counts = vec![0; ITEMS];
        for _ in 0..DRAWS {
            counts[draw(&zipf, &mut random)] += 1;
        }
        counts
    }

    /// Gray's method is exact for the first two ranks, and close for the sum of many.
    #[test]
    fn shares_follow_the_formula() {
        let counts = histogram(|zipf, random| zipf.rank(random));
        let total = zeta(ITEMS, YCSB_THETA);
        for (ranks, tolerance) in [(1, 0.02), (2, 0.02), (100, 0.05), (1000, 0.05)] {
            let expected = zeta(ranks, YCSB_THETA) / total;
            let share = f64::from(counts[..ranks].iter().sum::<u32>()) / DRAWS as f64;
            assert!((share / expected - 1.0).abs() < tolerance, "{ranks} ranks: {share} against {expected}");
        }
    }

    #[test]
    fn scattering_keeps_the_skew_and_moves_the_peak() {
        let mut counts = histogram(|zipf, random| zipf.scrambled(random));
        let peak = counts.iter().enumerate().max_by_key(|&(_, count)| count).map(|(record, _)| record);
        assert_eq!(peak, Some(scatter(0, ITEMS)));
        counts.sort_unstable_by(|a, b| b.cmp(a));
        let hottest = f64::from(counts[..ITEMS / 100].iter().sum::<u32>()) / DRAWS as f64;
        assert!((0.45..0.70).contains(&hottest), "share of the hottest 1 %: {hottest}");
    }
}
