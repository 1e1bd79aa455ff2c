//! Seeded numbers: the same seed gives the same requests on every machine.

/// SplitMix64: a full-period generator of one 64-bit word of state.
///
/// Steele, Lea, Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014, with the constants of
/// Vigna's reference implementation.
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

const GOLDEN_GAMMA: u64 = 0x9E37_79B9_7F4A_7C15;

impl Random {
    /// The generator of one stream of one run; streams of one seed do not overlap in practice.
    pub(crate) fn new(seed: u64, stream: u64) -> Random {
        // A few rounds part streams whose numbers differ in one bit only.
        let mut random = Random(seed ^ mix(stream.wrapping_add(GOLDEN_GAMMA)));
        random.next_u64();
        random
    }

    pub(crate) fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(GOLDEN_GAMMA);
        mix(self.0)
    }

    /// A number in `0..limit`, by multiplication (Lemire 2019); the bias is below 2^-32 for 32-bit limits.
    /// A limit of 0 gives 0.
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        let product = u128::from(self.next_u64()) * limit as u128;
        usize::try_from(product >> 64).expect("the upper half of the product is below the limit")
    }

    /// A number in `0.0..1.0` with 53 random bits.
    pub(crate) fn unit(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

fn mix(mut word: u64) -> u64 {
    word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    word ^ (word >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first outputs for seed 1234567 that Vigna's splitmix64.c gives, as listed by the Rosetta Code task
    /// "Pseudo-random numbers/Splitmix64".
    #[test]
    fn matches_the_reference_outputs() {
        let mut random = Random(1_234_567);
        let outputs: Vec<u64> = (0..3).map(|_| random.next_u64()).collect();
        assert_eq!(
            outputs,
            [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]
        );
    }

    #[test]
    fn below_and_unit_stay_in_range_and_fill_it() {
        let mut random = Random::new(7, 0);
        let mut seen = [0_u32; 10];
        for _ in 0..10_000 {
            seen[random.below(10)] += 1;
            assert!((0.0..1.0).contains(&random.unit()));
        }
        assert!(seen.iter().all(|&count| (800..1200).contains(&count)), "{seen:?}");
        assert_eq!(random.below(0), 0);
    }

    #[test]
    fn streams_of_one_seed_differ() {
        assert_ne!(Random::new(1, 0).next_u64(), Random::new(1, 1).next_u64());
    }
}
