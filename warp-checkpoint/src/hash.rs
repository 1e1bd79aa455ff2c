//! A hash for files that are used without an engine.

/// The XXH3-64 hash of `key`, with seed 0.
///
/// Layers store the hash that they are given, and never compute one. An engine has a seed of its own, so that
/// nobody can choose keys that collide; a program that uses layer files alone, with keys that it trusts, may take
/// this. Any other hash whose 64 bits are spread evenly does as well.
///
/// ```
/// assert_eq!(warp_checkpoint::hash(b"mercury"), warp_checkpoint::hash(b"mercury"));
/// assert_ne!(warp_checkpoint::hash(b"mercury"), warp_checkpoint::hash(b"venus"));
/// ```
#[must_use]
pub fn hash(key: &[u8]) -> u64 {
    xxhash_rust::xxh3::xxh3_64(key)
}
