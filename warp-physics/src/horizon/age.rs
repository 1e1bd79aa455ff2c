//! Ages in bins: eight an octave, so that a bin is at most an eighth as wide as the age that it stands for.

/// Bins of an age. The last one holds every age from 2^25 - 2^21 up.
pub(crate) const AGE_BINS: usize = 184;

/// Bins an octave, and the ages that have a bin of their own.
const PER_OCTAVE: u32 = 8;

/// The bin of an age.
pub(crate) fn bin(age: u32) -> usize {
    if age < PER_OCTAVE {
        return age as usize;
    }
    let octave = age.ilog2() - PER_OCTAVE.ilog2();
    ((octave * PER_OCTAVE + (age >> octave)) as usize).min(AGE_BINS - 1)
}

/// The lowest age of a bin; of the bin behind the last one, where the last one ends.
pub(crate) fn lowest(bin: usize) -> u64 {
    let (bin, per) = (bin as u64, u64::from(PER_OCTAVE));
    if bin < per {
        return bin;
    }
    let octave = bin / per - 1;
    (per + bin % per) << octave
}

/// How many ages a bin holds.
pub(crate) fn width(bin: usize) -> f32 {
    (lowest(bin + 1) - lowest(bin)) as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_age_lies_within_its_bin_and_bins_follow_each_other() {
        for age in (0..4096).chain((12..25).flat_map(|octave| {
            let start = 1_u32 << octave;
            [start - 1, start, start + 1, start + start / 3]
        })) {
            let place = bin(age);
            let end = lowest(place + 1);
            assert!(lowest(place) <= u64::from(age) && u64::from(age) < end, "{age} in {place}");
        }
        assert_eq!(bin(u32::MAX), AGE_BINS - 1);
        assert!((0..AGE_BINS).all(|place| width(place) >= 1.0));
    }
}
