//! How even a load is: figures of a list of loads, one a part.
//!
//! In all of them a load that is negative or not a finite number counts as zero, and the answer is `None` where
//! there is no load at all. None depends on the unit of the load, nor on the order of the parts.

/// Evenness: normalized Shannon entropy, `H / log2 N` with `H = -sum p log2 p`, where `p` is a part's share of the
/// load and `N` the number of parts, idle ones included. In `0.0..=1.0`: 1 is the same load on each part, 0 all
/// of it on one. A single part is even by definition.
///
/// ```
/// use warp_physics::normalized_entropy;
///
/// assert_eq!(normalized_entropy(&[5.0, 5.0, 5.0, 5.0]), Some(1.0));
/// assert_eq!(normalized_entropy(&[0.0, 9.0, 0.0, 0.0]), Some(0.0));
/// assert_eq!(normalized_entropy(&[0.0, 0.0]), None);
/// ```
pub fn normalized_entropy(load: &[f64]) -> Option<f64> {
    let parts = Relative::of(load)?;
    if load.len() == 1 {
        return Some(1.0);
    }
    // With x = load / highest load and S = sum x this is ln S - (sum x ln x) / S, which is exact at both ends.
    let inner: f64 = parts.loads().filter(|&x| x > 0.0).map(|x| x * x.ln()).sum();
    let nats = parts.sum.ln() - inner / parts.sum;
    Some((nats / (load.len() as f64).ln()).clamp(0.0, 1.0))
}

/// Shannon entropy `-sum p log2 p` in bits, in `0.0..=log2 N`.
pub fn shannon_bits(load: &[f64]) -> Option<f64> {
    let bits_max = (load.len() as f64).log2();
    normalized_entropy(load).map(|entropy| entropy * bits_max)
}

/// Coefficient of variation: the standard deviation of the loads over their mean, in `0.0..=sqrt(N - 1)`: 0 is
/// the same load on each part.
pub fn coefficient_of_variation(load: &[f64]) -> Option<f64> {
    let parts = Relative::of(load)?;
    let count = load.len() as f64;
    let mean = parts.sum / count;
    let variance = parts.loads().map(|x| (x - mean) * (x - mean)).sum::<f64>() / count;
    Some(variance.sqrt() / mean)
}

/// The highest load over the mean load, in `1.0..=N`: 1 is the same load on each part. It is what users of the
/// busiest part feel.
pub fn max_over_mean(load: &[f64]) -> Option<f64> {
    let parts = Relative::of(load)?;
    Some(load.len() as f64 / parts.sum)
}

/// Loads as shares of the highest one, so that no sum overflows.
struct Relative<'a> {
    load: &'a [f64],
    highest: f64,
    /// Of the shares: `1.0..=N`.
    sum: f64,
}

impl<'a> Relative<'a> {
    /// `None` where there is no load.
    fn of(load: &'a [f64]) -> Option<Relative<'a>> {
        let highest = load.iter().copied().map(counted).fold(0.0, f64::max);
        let mut parts = Relative { load, highest, sum: 0.0 };
        parts.sum = parts.loads().sum();
        (highest > 0.0).then_some(parts)
    }

    fn loads(&self) -> impl Iterator<Item = f64> + '_ {
        self.load.iter().map(|&load| counted(load) / self.highest)
    }
}

fn counted(load: f64) -> f64 {
    if load.is_finite() { load.max(0.0) } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn close(found: Option<f64>, expected: f64) {
        let found = found.expect("a figure");
        assert!((found - expected).abs() < 1e-12, "{found} is not {expected}");
    }

    #[test]
    fn known_loads_have_known_figures() {
        let load = [4.0, 2.0, 1.0, 1.0]; // Shares of 1/2, 1/4, 1/8, 1/8: 1.75 bits of 2.
        close(shannon_bits(&load), 1.75);
        close(normalized_entropy(&load), 0.875);
        close(max_over_mean(&load), 2.0);
        close(coefficient_of_variation(&load), 1.5_f64.sqrt() / 2.0);
    }

    #[test]
    fn near_balance_imbalance_follows_the_square_of_the_variation() {
        // 1 - H is about CoV^2 / (2 ln N): 64 parts, every other one 10 % above and below.
        let load: Vec<f64> = (0..64).map(|part| if part % 2 == 0 { 110.0 } else { 90.0 }).collect();
        close(coefficient_of_variation(&load), 0.1);
        let imbalance = 1.0 - normalized_entropy(&load).unwrap();
        let expected = 0.01 / (2.0 * 64.0_f64.ln());
        assert!((imbalance / expected - 1.0).abs() < 0.01, "{imbalance}, about {expected}");
    }

    #[test]
    fn even_and_one_hot_are_exact() {
        for parts in 2..100 {
            let even = vec![3.0; parts];
            assert_eq!(normalized_entropy(&even), Some(1.0), "{parts}");
            assert_eq!(max_over_mean(&even), Some(1.0), "{parts}");
            assert_eq!(coefficient_of_variation(&even), Some(0.0), "{parts}");
            let mut hot = vec![0.0; parts];
            hot[parts / 2] = 7.0;
            assert_eq!(normalized_entropy(&hot), Some(0.0), "{parts}");
            assert_eq!(max_over_mean(&hot), Some(parts as f64), "{parts}");
            close(coefficient_of_variation(&hot), ((parts - 1) as f64).sqrt());
        }
    }

    #[test]
    fn a_single_part_is_even_and_no_load_has_no_figure() {
        assert_eq!(normalized_entropy(&[5.0]), Some(1.0));
        assert_eq!(shannon_bits(&[5.0]), Some(0.0));
        for none in [&[][..], &[0.0], &[0.0, -0.0], &[-1.0, f64::NAN, f64::INFINITY]] {
            let found = [normalized_entropy, shannon_bits, coefficient_of_variation, max_over_mean]
                .map(|figure| figure(none));
            assert_eq!(found, [None; 4], "{none:?}");
        }
    }

    #[test]
    fn extreme_loads_neither_overflow_nor_vanish() {
        for load in [f64::MAX, f64::MIN_POSITIVE, f64::from_bits(1)] {
            assert_eq!(
                normalized_entropy(&[load, load, load, 0.0]),
                normalized_entropy(&[1.0, 1.0, 1.0, 0.0])
            );
            assert_eq!(max_over_mean(&[load, load, 0.0, 0.0]), Some(2.0));
            assert_eq!(coefficient_of_variation(&[load, 0.0]), Some(1.0));
        }
        assert_eq!(normalized_entropy(&[1.0, f64::NAN]), Some(0.0), "no number is no load");
    }
}
