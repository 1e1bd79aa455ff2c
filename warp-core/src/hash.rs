//! From a key to its hash, and from a hash to its slot.

use xxhash_rust::xxh3::xxh3_64_with_seed;

/// How many slots a table has. Fixed, since the slot is part of what a checkpoint's index is sorted by.
pub const SLOTS: usize = 1 << SLOT_BITS;

/// The bits of a hash that name the slot: its highest.
const SLOT_BITS: u32 = 12;

/// Spreads the number of a keyspace over the seed: 2^64 divided by the golden ratio, which is odd, so that two
/// keyspaces never share a seed.
const KEYSPACE_FACTOR: u64 = 0x9E37_79B9_7F4A_7C15;

// Slots are counted in u16 beside shards, of which there are at most as many.
const _: () = assert!(SLOTS <= u16::MAX as usize);

/// The hash that names a key's slot, and finds it there:
/// `XXH3-64(key, seed XOR (keyspace * 0x9E3779B97F4A7C15 mod 2^64))`.
///
/// [XXH3](https://xxhash.com) in its seeded form with the default secret. `seed` should be random and kept for
/// the life of a database, so that keys that collide cannot be prepared without knowing it. It is a fast hash and
/// no cryptographic one: somebody who can measure a running program closely may still find collisions, which make
/// the operations on those keys slow, and no answer wrong.
#[must_use]
pub fn hash_key(seed: u64, keyspace: u32, key: &[u8]) -> u64 {
    xxh3_64_with_seed(key, seed ^ u64::from(keyspace).wrapping_mul(KEYSPACE_FACTOR))
}

/// The slot that a hash names: its top 12 bits, below [`SLOTS`]. Sorting hashes sorts them by slot.
#[must_use]
pub fn slot_of(hash: u64) -> usize {
    (hash >> (u64::BITS - SLOT_BITS)) as usize
}

/// The hash as hashbrown wants it: it tags an entry with the top 7 bits and picks the bucket by the low ones.
///
/// All hashes of a slot have the same top 12 bits, so those must be in neither place. After turning by half, the
/// tag is made of bits 25 to 31 and the bucket of bits 32 to 51, enough for a million buckets a slot.
pub(crate) fn bucket_hash(hash: u64) -> u64 {
    hash.rotate_left(u64::BITS / 2)
}

/// A key as the table takes it: its bytes, its keyspace, and the hash of both, which was computed once.
///
/// The table believes `hash`: two keys are the same if all three fields are. Using [`KeyRef::new`] with one seed
/// for all keys of a table keeps that equal to comparing keyspace and bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyRef<'a> {
    /// What [`hash_key`] makes of the other two.
    pub hash: u64,
    /// A number that separates keys with the same bytes.
    pub keyspace: u32,
    /// The key itself. The empty key is a key.
    pub bytes: &'a [u8],
}

impl<'a> KeyRef<'a> {
    /// A key with its hash under `seed`.
    #[must_use]
    pub fn new(seed: u64, keyspace: u32, bytes: &'a [u8]) -> KeyRef<'a> {
        KeyRef { hash: hash_key(seed, keyspace, bytes), keyspace, bytes }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn the_formula_is_the_documented_one() {
        // XXH3-64 of the empty input with seed 0, as the reference implementation gives it.
        assert_eq!(hash_key(0, 0, b""), 0x2D06_8005_38D3_94C2);
        assert_eq!(hash_key(7, 0, b"key"), xxh3_64_with_seed(b"key", 7));
        assert_eq!(hash_key(7, 1, b"key"), xxh3_64_with_seed(b"key", 7 ^ 0x9E37_79B9_7F4A_7C15));
        assert_eq!(
            hash_key(7, u32::MAX, b"key"),
            xxh3_64_with_seed(b"key", 7 ^ 0xFFFF_FFFF_u64.wrapping_mul(0x9E37_79B9_7F4A_7C15))
        );
    }

    #[test]
    fn the_slot_is_the_top_twelve_bits() {
        assert_eq!(slot_of(0), 0);
        assert_eq!(slot_of((1 << 52) - 1), 0);
        assert_eq!(slot_of(1 << 52), 1);
        assert_eq!(slot_of(u64::MAX), SLOTS - 1);
    }

    #[test]
    fn hashes_of_one_slot_differ_where_hashbrown_looks() {
        let hashes: Vec<u64> = (0_u64..)
            .map(|number| hash_key(1, 0, &number.to_le_bytes()))
            .filter(|hash| slot_of(*hash) == 5)
            .take(256)
            .map(bucket_hash)
            .collect();
        let tags: HashSet<u64> = hashes.iter().map(|hash| hash >> 57).collect();
        let buckets: HashSet<u64> = hashes.iter().map(|hash| hash % 4096).collect();
        assert!(tags.len() > 90, "{} of 128 tags are in use", tags.len());
        assert!(buckets.len() > 220, "256 keys share {} buckets", buckets.len());
    }
}
