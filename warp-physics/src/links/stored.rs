//! The bytes in which the links of a key are stored: `docs/format/stored.md`, "Links".

use std::cmp::Ordering;

use super::{LINK_KEY_BYTES_MAX, LINKS_MAX, LinkError, LinkRef, Links, checked_link, strongest_first};
use crate::bytes::{Reader, len_u32};
use crate::strength::BadStrength;

/// The first byte of stored links; any other belongs to a format that this version cannot read.
const VERSION: u8 = 1;
/// Version and count.
const HEADER_BYTES: usize = 1 + 4;
/// Keyspace, strength and key length; the key follows.
const LINK_HEADER_BYTES: usize = 4 + 8 + 4;

// Counts and key lengths are stored in 32 bits.
const _: () = assert!(LINKS_MAX <= u32::MAX as usize);
const _: () = assert!(LINK_KEY_BYTES_MAX <= u32::MAX as usize);
// All links of a key are one stored value, which may have 1 GiB.
const _: () = assert!(HEADER_BYTES + LINKS_MAX * (LINK_HEADER_BYTES + LINK_KEY_BYTES_MAX) < 1 << 30);

impl Links {
    /// The bytes to store. Equal links give equal bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let keys: usize = self.links.iter().map(|link| link.key.len()).sum();
        let mut out = Vec::with_capacity(HEADER_BYTES + self.links.len() * LINK_HEADER_BYTES + keys);
        out.push(VERSION);
        out.extend(len_u32(self.links.len()).to_le_bytes());
        for link in &self.links {
            out.extend(link.keyspace.to_le_bytes());
            out.extend(link.strength.to_le_bytes());
            out.extend(len_u32(link.key.len()).to_le_bytes());
            out.extend(&link.key);
        }
        out
    }

    /// Reads what [`Links::to_bytes`] made. Whatever the bytes are, memory stays within a small multiple of
    /// their number.
    ///
    /// # Errors
    /// [`BadLinks`] for any bytes that `to_bytes` does not make.
    pub fn from_bytes(bytes: &[u8]) -> Result<Links, BadLinks> {
        Ok(Links { links: StoredLinks::new(bytes)?.iter().map(Into::into).collect() })
    }
}

/// The bytes of [`Links`], read where they are: nothing is copied. The default has no links.
///
/// ```
/// use warp_physics::{Links, StoredLinks};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut links = Links::new();
/// links.declare(0, b"basket:7", 0.9)?;
/// let bytes = links.to_bytes();
/// let keys: Vec<&[u8]> = StoredLinks::new(&bytes)?.iter().map(|link| link.key).collect();
/// assert_eq!(keys, [b"basket:7"]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct StoredLinks<'a> {
    /// The links one after the other, all of them valid.
    bytes: &'a [u8],
    count: u32,
}

impl<'a> StoredLinks<'a> {
    /// Takes what [`Links::to_bytes`] made, which is checked once, here.
    ///
    /// # Errors
    /// [`BadLinks`] for any bytes that `to_bytes` does not make.
    pub fn new(bytes: &'a [u8]) -> Result<StoredLinks<'a>, BadLinks> {
        let mut reader = Reader::new(bytes);
        let version = reader.u8().ok_or(BadLinks::Cut)?;
        if version != VERSION {
            return Err(BadLinks::UnknownVersion(version));
        }
        let count = reader.u32().ok_or(BadLinks::Cut)?;
        if count as usize > LINKS_MAX {
            return Err(BadLinks::TooMany { count });
        }
        let links = StoredLinks { bytes: reader.rest(), count };
        let mut last: Option<LinkRef<'_>> = None;
        let mut is_uniform = true;
        for index in 0..count {
            let link = read_link(&mut reader).ok_or(BadLinks::Cut)?;
            check(link, index)?;
            if let Some(last) = last {
                if strongest_first(last, link) != Ordering::Less {
                    return Err(BadLinks::OutOfOrder { index });
                }
                is_uniform &= last.strength == link.strength;
            }
            last = Some(link);
        }
        if reader.len() > 0 {
            return Err(BadLinks::LeftOver { bytes: reader.len() });
        }
        // Where all are equally strong, they are in the order of their keys, none of which is there twice.
        if !is_uniform && links.hold_a_key_twice() {
            return Err(BadLinks::Twice);
        }
        Ok(links)
    }

    /// How many there are.
    pub fn len(self) -> usize {
        self.count as usize
    }

    /// Whether there are none.
    pub fn is_empty(self) -> bool {
        self.count == 0
    }

    /// The links, strongest first.
    pub fn iter(self) -> impl Iterator<Item = LinkRef<'a>> + Clone {
        let mut reader = Reader::new(self.bytes);
        std::iter::from_fn(move || read_link(&mut reader))
    }

    fn hold_a_key_twice(self) -> bool {
        let mut seen = Seen::default();
        // Few links are hardly ever taken for the same, and then nothing need be sorted.
        if self.iter().all(|link| seen.is_new(link)) {
            return false;
        }
        let mut names: Vec<(u32, &[u8])> = self.iter().map(|link| (link.keyspace, link.key)).collect();
        names.sort_unstable();
        names.windows(2).any(|pair| pair[0] == pair[1])
    }
}

/// Which keys were there, about: one that is new may be taken for one that was there, and never the other way round.
#[derive(Default)]
struct Seen([u64; Seen::WORDS]);

impl Seen {
    const WORDS: usize = 32;
    const BITS: usize = Seen::WORDS * u64::BITS as usize;
    /// 2^64 divided by the golden ratio.
    const SPREAD: u64 = 0x9E37_79B9_7F4A_7C15;

    /// Whether a key was certainly not there before. It is from now on.
    fn is_new(&mut self, LinkRef { keyspace, key, .. }: LinkRef<'_>) -> bool {
        // Keys differ at their beginning, their end, or in their length, mostly.
        let first = key.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
        let last = key.last_chunk().map_or_else(|| short(key), |bytes| u64::from_le_bytes(*bytes));
        let mixed = (first.wrapping_mul(Seen::SPREAD) ^ last).rotate_left(32) ^ u64::from(keyspace);
        let hash = (mixed ^ key.len() as u64).wrapping_mul(Seen::SPREAD);
        let number = (hash >> (u64::BITS / 2)) as usize % Seen::BITS;
        let (word, bit) = (&mut self.0[number / 64], 1_u64 << (number % 64));
        let is_new = *word & bit == 0;
        *word |= bit;
        is_new
    }
}

/// Fewer than eight bytes as a number.
fn short(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// What is wrong with bytes that should be links.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum BadLinks {
    /// The first byte names a format that this version does not know.
    #[error("links in the unknown format {0}")]
    UnknownVersion(u8),
    /// The bytes end within a field.
    #[error("links are cut off")]
    Cut,
    /// There are bytes after the last link.
    #[error("{bytes} bytes after the last link")]
    LeftOver {
        /// How many there are.
        bytes: usize,
    },
    /// The count is more than [`LINKS_MAX`].
    #[error("{count} links of one key; the most is {LINKS_MAX}")]
    TooMany {
        /// The count.
        count: u32,
    },
    /// A link holds what cannot be declared.
    #[error("link {index} is not valid")]
    Invalid {
        /// Which, from 0.
        index: u32,
        /// What is wrong with it.
        #[source]
        source: LinkError,
    },
    /// A link is not behind its predecessor in the order.
    #[error("link {index} is out of order")]
    OutOfOrder {
        /// Which, from 0.
        index: u32,
    },
    /// Two links name the same key.
    #[error("two links to the same key")]
    Twice,
}

/// The next link; `None` if there are too few bytes for one.
#[inline]
fn read_link<'a>(reader: &mut Reader<'a>) -> Option<LinkRef<'a>> {
    let (keyspace, strength, key_bytes) = (reader.u32()?, reader.f64()?, reader.u32()?);
    Some(LinkRef { keyspace, strength, key: reader.bytes(key_bytes as usize)? })
}

fn check(link: LinkRef<'_>, index: u32) -> Result<(), BadLinks> {
    let LinkRef { key, strength, .. } = link;
    let checked = checked_link(key, strength).map_err(|source| BadLinks::Invalid { index, source })?;
    if checked.to_bits() != strength.to_bits() {
        // A negative zero, which is never written.
        let source = BadStrength { strength }.into();
        return Err(BadLinks::Invalid { index, source });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_key_and_the_empty_key_come_back() {
        let mut links = Links::new();
        links.declare(u32::MAX, &vec![7; LINK_KEY_BYTES_MAX], 0.0).unwrap();
        links.declare(0, b"", -0.0).unwrap();
        assert_eq!(Links::from_bytes(&links.to_bytes()), Ok(links));
    }

    #[test]
    fn each_kind_of_damage_is_named() {
        let mut links = Links::new();
        links.declare(1, b"a", 0.5).unwrap();
        links.declare(1, b"b", 0.5).unwrap();
        let good = links.to_bytes();
        let changed = |at: usize, with: &[u8]| {
            let mut bytes = good.clone();
            bytes[at..at + with.len()].copy_from_slice(with);
            Links::from_bytes(&bytes)
        };
        let second = HEADER_BYTES + LINK_HEADER_BYTES + 1;
        assert_eq!(changed(0, &[2]), Err(BadLinks::UnknownVersion(2)));
        assert_eq!(changed(1, &[0xff; 4]), Err(BadLinks::TooMany { count: u32::MAX }));
        assert_eq!(changed(1, &[1]), Err(BadLinks::LeftOver { bytes: LINK_HEADER_BYTES + 1 }));
        assert_eq!(changed(second + LINK_HEADER_BYTES, b"a"), Err(BadLinks::OutOfOrder { index: 1 }));
        assert_eq!(changed(second + 4, &0.6_f64.to_le_bytes()), Err(BadLinks::OutOfOrder { index: 1 }));
        let weaker_twin = [&0.4_f64.to_le_bytes()[..], &1_u32.to_le_bytes(), b"a"].concat();
        assert_eq!(changed(second + 4, &weaker_twin), Err(BadLinks::Twice));
        for strength in [f64::NAN, 1.5, -0.0] {
            let found = changed(HEADER_BYTES + 4, &strength.to_le_bytes());
            assert!(matches!(found, Err(BadLinks::Invalid { index: 0, .. })), "{strength}: {found:?}");
        }
        for len in 0..good.len() {
            assert_eq!(Links::from_bytes(&good[..len]), Err(BadLinks::Cut), "cut to {len}");
        }
    }

    /// Bytes of these links as they are, strongest first.
    fn stored(links: &[(String, f64)]) -> Vec<u8> {
        let mut out = vec![VERSION];
        out.extend(len_u32(links.len()).to_le_bytes());
        for (key, strength) in links {
            out.extend(0_u32.to_le_bytes());
            out.extend(strength.to_le_bytes());
            out.extend(len_u32(key.len()).to_le_bytes());
            out.extend(key.as_bytes());
        }
        out
    }

    #[test]
    fn a_key_is_found_twice_among_few_and_many_and_in_keys_of_any_kind() {
        let names: [fn(usize) -> String; 4] = [
            |number| number.to_string(),
            |number| format!("{number:08}:with much behind it"),
            |number| format!("with much before it:{number:08}"),
            |number| format!("the same at the ends {number} as in any other"),
        ];
        for name in names {
            for count in [2, 3, 10, 100, LINKS_MAX] {
                let strength = |number: usize| 1.0 - number as f64 / LINKS_MAX as f64;
                let mut links: Vec<_> = (0..count).map(|number| (name(number), strength(number))).collect();
                let bytes = stored(&links);
                let read = StoredLinks::new(&bytes).unwrap();
                let keys = links.iter().map(|(key, _)| key.as_bytes());
                assert!(read.iter().map(|link| link.key).eq(keys), "{count} as {:?}", links[0]);
                links[count - 1].0 = name(0);
                let bytes = stored(&links);
                assert_eq!(
                    StoredLinks::new(&bytes).err(),
                    Some(BadLinks::Twice),
                    "{count} as {:?}",
                    links[0]
                );
            }
        }
    }
}
