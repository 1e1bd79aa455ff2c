//! The bytes in which the links of a key are stored: `docs/format/stored.md`, "Links".

use std::cmp::Ordering;

use super::{LINK_KEY_BYTES_MAX, LINKS_MAX, Link, LinkError, Links, Origin, checked_link, strongest_first};
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
        let mut reader = Reader::new(bytes);
        let version = reader.u8().ok_or(BadLinks::Cut)?;
        if version != VERSION {
            return Err(BadLinks::UnknownVersion(version));
        }
        let count = reader.u32().ok_or(BadLinks::Cut)?;
        if count as usize > LINKS_MAX {
            return Err(BadLinks::TooMany { count });
        }
        let mut links: Vec<Link> = Vec::with_capacity((reader.len() / LINK_HEADER_BYTES).min(count as usize));
        for index in 0..count {
            let link = read_link(&mut reader, index)?;
            if links.last().is_some_and(|last| strongest_first(last, &link) != Ordering::Less) {
                return Err(BadLinks::OutOfOrder { index });
            }
            links.push(link);
        }
        if reader.len() > 0 {
            return Err(BadLinks::LeftOver { bytes: reader.len() });
        }
        if holds_a_key_twice(&links) {
            return Err(BadLinks::Twice);
        }
        Ok(Links { links })
    }
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

fn read_link(reader: &mut Reader<'_>, index: u32) -> Result<Link, BadLinks> {
    let keyspace = reader.u32().ok_or(BadLinks::Cut)?;
    let strength = reader.f64().ok_or(BadLinks::Cut)?;
    let key_bytes = reader.u32().ok_or(BadLinks::Cut)?;
    let key = reader.bytes(key_bytes as usize).ok_or(BadLinks::Cut)?;
    let checked = checked_link(key, strength).map_err(|source| BadLinks::Invalid { index, source })?;
    if checked.to_bits() != strength.to_bits() {
        // A negative zero, which is never written.
        let source = BadStrength { strength }.into();
        return Err(BadLinks::Invalid { index, source });
    }
    Ok(Link { keyspace, key: key.to_vec(), strength, origin: Origin::Declared })
}

fn holds_a_key_twice(links: &[Link]) -> bool {
    let mut names: Vec<(u32, &[u8])> = links.iter().map(|link| (link.keyspace, &link.key[..])).collect();
    names.sort_unstable();
    names.windows(2).any(|pair| pair[0] == pair[1])
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
}
