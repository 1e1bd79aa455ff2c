//! What a segment file is called, and what its header says. `docs/format/wal.md`, section "Segment".

use warp_io::Dir;

use crate::error::{Corruption, Error, Result};
use crate::format::{BLOCK_LEN, VERSION, u16_at, u32_at, u64_at};
use crate::options::Format;
use crate::text::{Cursor, hex};

/// First bytes of a binary segment.
const MAGIC: [u8; 8] = *b"WARPWAL\x1a";
/// First bytes of a JSON segment.
const JSON_START: &[u8] = b"{\"warp\":\"wal\",\"version\":\"";
/// Bytes of the header block that the binary header takes; the rest is blank.
pub(crate) const BINARY_HEADER_BYTES: usize = 44;
/// Digits of a segment's number in its name: all that a 64-bit number needs, so that names sort as numbers do.
const NAME_DIGITS: usize = 20;
const NAME_SUFFIX: &str = ".log";

/// The name of the segment of that number.
pub(crate) fn segment_name(number: u64) -> String {
    format!("{number:0NAME_DIGITS$}{NAME_SUFFIX}")
}

/// The number of the segment of that name, if it is one.
pub(crate) fn segment_number(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(NAME_SUFFIX)?;
    let plain = digits.len() == NAME_DIGITS && digits.bytes().all(|byte| byte.is_ascii_digit());
    if plain { digits.parse().ok() } else { None }
}

/// The names of all segments in a directory, oldest first.
///
/// # Errors
/// [`Error::Io`] if the directory cannot be listed.
pub fn segment_names(dir: &dyn Dir) -> Result<Vec<String>> {
    let mut names = dir.list().map_err(|source| Error::io("", 0, source))?;
    names.retain(|name| segment_number(name).is_some());
    names.sort_unstable();
    Ok(names)
}

/// The header of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub(crate) format: Format,
    pub(crate) number: u64,
    /// Random; frames repeat it, so that those of another segment are not taken for this one's.
    pub(crate) tag: u64,
    /// Size of the file, in bytes.
    pub(crate) capacity: u64,
}

/// Why a segment header cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoHeader {
    Damaged(Corruption),
    /// What is not known, and its number.
    Unsupported(&'static str, u64),
}

impl SegmentHeader {
    /// The first block of the segment.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(BLOCK_LEN);
        match self.format {
            Format::Binary => {
                out.extend_from_slice(&MAGIC);
                out.extend_from_slice(&VERSION.to_le_bytes());
                out.extend_from_slice(&[1, 0, 0, 0, 0, 0]);
                for field in [self.number, self.tag, self.capacity] {
                    out.extend_from_slice(&field.to_le_bytes());
                }
                let crc = crc32c::crc32c(&out);
                out.extend_from_slice(&crc.to_le_bytes());
            }
            Format::Json => {
                out.extend_from_slice(JSON_START);
                hex(&mut out, u64::from(VERSION), 4);
                out.extend_from_slice(b"\",\"format\":\"json\",\"number\":\"");
                hex(&mut out, self.number, 16);
                out.extend_from_slice(b"\",\"tag\":\"");
                hex(&mut out, self.tag, 16);
                out.extend_from_slice(b"\",\"capacity\":\"");
                hex(&mut out, self.capacity, 16);
                out.extend_from_slice(b"\",\"crc\":\"");
                let crc = crc32c::crc32c(&out);
                hex(&mut out, u64::from(crc), 8);
                out.extend_from_slice(b"\"}\n");
            }
        }
        out.resize(BLOCK_LEN, self.format.blank());
        out
    }

    /// The header in the first block of a segment.
    pub(crate) fn decode(block: &[u8]) -> Result<SegmentHeader, NoHeader> {
        if block.starts_with(&MAGIC) {
            SegmentHeader::decode_binary(block)
        } else if block.starts_with(JSON_START) {
            SegmentHeader::decode_json(block)
        } else {
            Err(NoHeader::Damaged(Corruption::BadMagic))
        }
    }

    fn decode_binary(block: &[u8]) -> Result<SegmentHeader, NoHeader> {
        let bytes =
            block.get(..BINARY_HEADER_BYTES).ok_or(NoHeader::Damaged(Corruption::LengthOutOfRange))?;
        let expected = u32_at(bytes, 40);
        let found = crc32c::crc32c(&bytes[..40]);
        if expected != found {
            return Err(NoHeader::Damaged(Corruption::BadChecksum { expected, found }));
        }
        let version = u16_at(bytes, 8);
        if version != VERSION {
            return Err(NoHeader::Unsupported("version", u64::from(version)));
        }
        if bytes[10] != 1 {
            return Err(NoHeader::Unsupported("format", u64::from(bytes[10])));
        }
        Ok(SegmentHeader {
            format: Format::Binary,
            number: u64_at(bytes, 16),
            tag: u64_at(bytes, 24),
            capacity: u64_at(bytes, 32),
        })
    }

    fn decode_json(block: &[u8]) -> Result<SegmentHeader, NoHeader> {
        let malformed = NoHeader::Damaged(Corruption::Malformed);
        let end = block.iter().position(|byte| *byte == b'\n').ok_or(malformed)?;
        // The checksum's digits are followed by `"}`.
        let (covered, tail) = block[..end].split_at_checked(end.wrapping_sub(10)).ok_or(malformed)?;
        let mut tail = Cursor::new(tail);
        let expected = tail.hex32(8).ok_or(malformed)?;
        tail.expect(b"\"}").ok_or(malformed)?;
        let found = crc32c::crc32c(covered);
        if expected != found {
            return Err(NoHeader::Damaged(Corruption::BadChecksum { expected, found }));
        }
        let mut line = Cursor::new(covered);
        line.expect(JSON_START).ok_or(malformed)?;
        let version = line.hex(4).ok_or(malformed)?;
        if version != u64::from(VERSION) {
            return Err(NoHeader::Unsupported("version", version));
        }
        SegmentHeader::decode_json_fields(&mut line).ok_or(malformed)
    }

    fn decode_json_fields(line: &mut Cursor<'_>) -> Option<SegmentHeader> {
        line.expect(b"\",\"format\":\"json\",\"number\":\"")?;
        let number = line.hex(16)?;
        line.expect(b"\",\"tag\":\"")?;
        let tag = line.hex(16)?;
        line.expect(b"\",\"capacity\":\"")?;
        let capacity = line.hex(16)?;
        line.expect(b"\",\"crc\":\"")?;
        line.is_empty().then_some(SegmentHeader { format: Format::Json, number, tag, capacity })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_belong_together() {
        for number in [0, 1, 42, u64::MAX] {
            assert_eq!(segment_number(&segment_name(number)), Some(number));
        }
        assert!(segment_name(9) < segment_name(10));
        for name in ["LOCK", "1.log", "+0000000000000000001.log", "99999999999999999999.log", ".log", ""] {
            assert_eq!(segment_number(name), None, "{name}");
        }
    }

    #[test]
    fn headers_come_back_and_any_flipped_bit_is_noticed() {
        for format in [Format::Binary, Format::Json] {
            let header = SegmentHeader { format, number: 7, tag: 0xfeed_f00d, capacity: 1 << 20 };
            let mut block = header.encode();
            assert_eq!(block.len(), BLOCK_LEN);
            assert_eq!(SegmentHeader::decode(&block), Ok(header));
            let used = block.iter().rposition(|byte| *byte != format.blank()).unwrap() + 1;
            for bit in 0..used * 8 {
                block[bit / 8] ^= 1 << (bit % 8);
                assert_ne!(SegmentHeader::decode(&block), Ok(header), "{format:?} bit {bit}");
                block[bit / 8] ^= 1 << (bit % 8);
            }
        }
    }

    #[test]
    fn a_newer_version_is_named() {
        let mut block =
            SegmentHeader { format: Format::Binary, number: 7, tag: 1, capacity: 1 << 20 }.encode();
        block[8] = 2;
        let crc = crc32c::crc32c(&block[..40]);
        block[40..44].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(SegmentHeader::decode(&block), Err(NoHeader::Unsupported("version", 2)));
    }
}
