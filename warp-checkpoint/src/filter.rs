//! A blocked Bloom filter: one cache line answers whether a key may be there.
//!
//! Putze, Sanders and Singler, "Cache-, Hash- and Space-Efficient Bloom Filters" (2007), the variant with blocks
//! of one cache line. A key's line is chosen by the upper bits of its hash, so that a walk in hash order walks the
//! filter, too; its bits within the line by a remix of the hash, nine bits for each.

/// Bytes of a line: one cache line, and never two blocks of the file.
pub(crate) const LINE_BYTES: usize = 64;
/// Bits of the filter for each key.
const BITS_PER_KEY: u64 = 12;
/// Bits that a key sets in its line. Seven times nine bits is what one 64-bit mix holds.
const PROBES: u32 = 7;
/// Bits that name a bit in a line.
const PROBE_BITS: u32 = 9;

const _: () = assert!(1 << PROBE_BITS == LINE_BYTES * 8);
const _: () = assert!(PROBES * PROBE_BITS <= u64::BITS);

/// How many lines the filter of so many keys has.
pub(crate) fn lines_for(keys: u64) -> u64 {
    keys.saturating_mul(BITS_PER_KEY).div_ceil(LINE_BYTES as u64 * 8)
}

/// The line of a key.
pub(crate) fn line_of(hash: u64, lines: usize) -> usize {
    let product = u128::from(hash) * lines as u128;
    #[expect(clippy::cast_possible_truncation, reason = "smaller than the number of lines, which is a usize")]
    let line = (product >> u64::BITS) as usize;
    line
}

/// Sets the key's bits in its line.
pub(crate) fn insert(line: &mut [u8; LINE_BYTES], hash: u64) {
    for bit in bits(hash) {
        line[bit / 8] |= 1 << (bit % 8);
    }
}

/// Whether all of the key's bits are set in its line.
pub(crate) fn contains(line: &[u8], hash: u64) -> bool {
    bits(hash).all(|bit| line.get(bit / 8).is_some_and(|byte| byte & (1 << (bit % 8)) != 0))
}

/// The numbers of the key's bits.
fn bits(hash: u64) -> impl Iterator<Item = usize> {
    // Keys of one line share their upper bits; multiplying by an odd number (2^64 over the golden ratio) carries
    // the lower ones, which differ, into every probe.
    let mix = hash.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (0..PROBES).map(move |probe| {
        #[expect(clippy::cast_possible_truncation, reason = "nine bits of it are used")]
        let shifted = (mix >> (probe * PROBE_BITS)) as usize;
        shifted % (LINE_BYTES * 8)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash;

    fn filter_of(keys: std::ops::Range<u64>) -> Vec<[u8; LINE_BYTES]> {
        let lines = usize::try_from(lines_for(keys.end - keys.start)).unwrap();
        let mut filter = vec![[0; LINE_BYTES]; lines];
        for key in keys {
            let hash = hash(&key.to_le_bytes());
            insert(&mut filter[line_of(hash, lines)], hash);
        }
        filter
    }

    fn probe(filter: &[[u8; LINE_BYTES]], key: u64) -> bool {
        let hash = hash(&key.to_le_bytes());
        contains(&filter[line_of(hash, filter.len())], hash)
    }

    #[test]
    fn every_key_is_found_and_few_others() {
        let filter = filter_of(0..100_000);
        assert!((0..100_000).all(|key| probe(&filter, key)));
        let wrong = (100_000..300_000).filter(|&key| probe(&filter, key)).count();
        // 0.4 % were measured; twice that would mean that the probes depend on each other.
        assert!((400..1_600).contains(&wrong), "{wrong} of 200000 absent keys pass");
    }

    #[test]
    fn the_extremes_have_a_line() {
        assert_eq!(lines_for(0), 0);
        assert_eq!(lines_for(1), 1);
        assert_eq!(lines_for(1000), 24); // twelve bits each
        assert_eq!(line_of(u64::MAX, 1), 0);
        assert_eq!(line_of(u64::MAX, 1000), 999);
        assert_eq!(line_of(0, 1000), 0);
    }
}
