//! The bytes in which wormholes are stored: `docs/format/stored.md`, "Wormholes".

use super::{REGION_NAME_BYTES_MAX, WORMHOLES_MAX, WormholeError, Wormholes};
use crate::bytes::{Reader, len_u32};

/// The first byte of stored wormholes; any other belongs to a format that this version cannot read.
const VERSION: u8 = 1;

// The length of a name is stored in one byte, and the number of wormholes in 32 bits.
const _: () = assert!(REGION_NAME_BYTES_MAX <= u8::MAX as usize);
const _: () = assert!(WORMHOLES_MAX <= u32::MAX as usize);

impl Wormholes {
    /// The bytes to store. Equal sets give equal bytes.
    #[expect(clippy::missing_panics_doc, reason = "names were checked when they were added")]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        out.extend(len_u32(self.len()).to_le_bytes());
        for (a, b, strength) in self.iter() {
            out.extend(strength.to_le_bytes());
            for name in [a, b] {
                out.push(u8::try_from(name.len()).expect("names were checked when they were added"));
                out.extend(name.as_bytes());
            }
        }
        out
    }

    /// Reads what [`Wormholes::to_bytes`] made. Whatever the bytes are, memory stays within a small multiple of
    /// their number.
    ///
    /// # Errors
    /// [`BadWormholes`] for any bytes that `to_bytes` does not make.
    pub fn from_bytes(bytes: &[u8]) -> Result<Wormholes, BadWormholes> {
        let mut reader = Reader::new(bytes);
        let version = reader.u8().ok_or(BadWormholes::Cut)?;
        if version != VERSION {
            return Err(BadWormholes::UnknownVersion(version));
        }
        let count = reader.u32().ok_or(BadWormholes::Cut)?;
        if count as usize > WORMHOLES_MAX {
            return Err(BadWormholes::TooMany { count });
        }
        let mut wormholes = Wormholes::new();
        for index in 0..count {
            let strength = reader.f64().ok_or(BadWormholes::Cut)?;
            let a = read_name(&mut reader, index)?;
            let b = read_name(&mut reader, index)?;
            let last = wormholes.links.last_key_value().map(|((a, b), _)| (&**a, &**b));
            if a > b || last.is_some_and(|last| last >= (a, b)) {
                return Err(BadWormholes::OutOfOrder { index });
            }
            if strength.is_sign_negative() {
                let source = WormholeError::BadStrength(crate::BadStrength { strength });
                return Err(BadWormholes::Invalid { index, source });
            }
            wormholes.establish(a, b, strength).map_err(|source| BadWormholes::Invalid { index, source })?;
        }
        if reader.len() > 0 {
            return Err(BadWormholes::LeftOver { bytes: reader.len() });
        }
        Ok(wormholes)
    }
}

fn read_name<'a>(reader: &mut Reader<'a>, index: u32) -> Result<&'a str, BadWormholes> {
    let length = reader.u8().ok_or(BadWormholes::Cut)?;
    let name = reader.bytes(usize::from(length)).ok_or(BadWormholes::Cut)?;
    std::str::from_utf8(name).map_err(|_| BadWormholes::NotText { index })
}

/// What is wrong with bytes that should be wormholes.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum BadWormholes {
    /// The first byte names a format that this version does not know.
    #[error("wormholes in the unknown format {0}")]
    UnknownVersion(u8),
    /// The bytes end within a field.
    #[error("wormholes are cut off")]
    Cut,
    /// There are bytes after the last one.
    #[error("{bytes} bytes after the last wormhole")]
    LeftOver {
        /// How many there are.
        bytes: usize,
    },
    /// The count is more than [`WORMHOLES_MAX`].
    #[error("{count} wormholes; the most is {WORMHOLES_MAX}")]
    TooMany {
        /// What it says.
        count: u32,
    },
    /// A name is no UTF-8.
    #[error("a name of wormhole {index} is not UTF-8")]
    NotText {
        /// Which wormhole, from 0.
        index: u32,
    },
    /// They are not in ascending order, or the names of one are not.
    #[error("wormhole {index} is out of order")]
    OutOfOrder {
        /// Which wormhole, from 0.
        index: u32,
    },
    /// One could not have been established.
    #[error("wormhole {index} is not valid")]
    Invalid {
        /// Which wormhole, from 0.
        index: u32,
        /// What is wrong with it.
        source: WormholeError,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: usize = 1 + 4;

    fn two() -> Wormholes {
        let mut wormholes = Wormholes::new();
        wormholes.establish("a", "b", 0.5).unwrap();
        wormholes.establish("a", "c", 1.0).unwrap();
        wormholes
    }

    #[test]
    fn each_kind_of_damage_is_named() {
        let good = two().to_bytes();
        assert_eq!(Wormholes::from_bytes(&good), Ok(two()));
        let changed = |at: usize, with: &[u8]| {
            let mut bytes = good.clone();
            bytes[at..at + with.len()].copy_from_slice(with);
            Wormholes::from_bytes(&bytes)
        };
        assert_eq!(changed(0, &[2]), Err(BadWormholes::UnknownVersion(2)));
        assert_eq!(changed(1, &[0xff; 4]), Err(BadWormholes::TooMany { count: u32::MAX }));
        assert_eq!(changed(1, &[1]), Err(BadWormholes::LeftOver { bytes: 12 }));
        let first_name = FIRST + 8 + 1;
        assert_eq!(changed(first_name, &[0xff]), Err(BadWormholes::NotText { index: 0 }));
        assert_eq!(changed(first_name, b"x"), Err(BadWormholes::OutOfOrder { index: 0 }));
        assert_eq!(changed(first_name + 2, b"c"), Err(BadWormholes::OutOfOrder { index: 1 }));
        for strength in [f64::NAN, 1.5, -0.0] {
            let found = changed(FIRST, &strength.to_le_bytes());
            assert!(matches!(found, Err(BadWormholes::Invalid { index: 0, .. })), "{strength}: {found:?}");
        }
        for len in 0..good.len() {
            assert_eq!(Wormholes::from_bytes(&good[..len]), Err(BadWormholes::Cut), "cut to {len}");
        }
    }
}
