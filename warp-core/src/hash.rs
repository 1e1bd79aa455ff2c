//! From a key to its hash, and from a hash to its slot.

use xxhash_rust::xxh3::xxh3_64_with_seed;

/// How many slots a table has. Fixed, since the slot is part of what a checkpoint's index is sorted by.
pub const SLOTS: usize = if cfg!(shuttle) { 2 } else { 1 << SLOT_BITS };

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
    (hash >> (u64::BITS - SLOT_BITS)) as usize % SLOTS
}

/// A key as the table takes it: its bytes, its keyspace, and the hash of both, which was computed once.
///
/// The table believes `hash`, which must be that of its own seed: a key with another hash is another key, or is not
/// found.
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
}
