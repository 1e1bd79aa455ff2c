//! Constants and fixed-size pieces of a layer file. Described in `docs/format/checkpoint.md`, "Layer files".

use std::ops::Range;

use rkyv::rancor;
use rkyv::util::AlignedVec;
use rkyv::{Archive, Deserialize, Serialize};

use crate::error::Corruption;
use crate::layer::LayerInfo;

/// Longest key, in bytes: 64 KiB, and 64 bytes for what a program may put before keys of its own that are that long.
/// The empty key is a key.
pub const KEY_BYTES_MAX: usize = (64 << 10) + 64;
/// Longest value, in bytes, before compression.
pub const VALUE_BYTES_MAX: usize = 1 << 30;
/// Most entries of one layer: the directory counts in 32 bits.
pub const ENTRIES_MAX: u64 = u32::MAX as u64;

pub(crate) const VERSION: u16 = 1;
pub(crate) const HEADER_MAGIC: [u8; 8] = *b"WARPLAYR";
pub(crate) const TRAILER_MAGIC: [u8; 8] = *b"WARPLEND";
pub(crate) const HEADER_BYTES: usize = 32;
pub(crate) const TRAILER_BYTES: usize = 24;

/// What one checksum covers: the page of a memory map, which is what a first touch reads anyway.
pub(crate) const BLOCK_BYTES: usize = 4096;
/// Bytes of a CRC-32C.
pub(crate) const CHECK_BYTES: usize = 4;
/// Blocks whose checksums fill one piece of the check array, which is again a block.
pub(crate) const BLOCKS_PER_PIECE: usize = BLOCK_BYTES / CHECK_BYTES;

/// Where a section begins: at a multiple of a cache line, so that a line of the filter is one.
pub(crate) const SECTION_ALIGN: usize = 64;
const _: () = assert!(BLOCK_BYTES.is_multiple_of(SECTION_ALIGN));
const _: () = assert!(SECTION_ALIGN == crate::filter::LINE_BYTES);

/// Most bits of a hash that name a slot: 4096 slots, a directory of 16 KiB.
pub(crate) const SLOT_BITS_MAX: u32 = 12;
/// A layer gets the fewest slots that leave at most so many entries for each, so that small layers stay small.
pub(crate) const SLOT_ENTRIES: u64 = 16;
/// Bytes of one number of the directory.
pub(crate) const RANK_BYTES: usize = 4;
/// Bytes of one entry of the index: the hash, and 48 bits of offset.
pub(crate) const INDEX_ENTRY_BYTES: usize = 14;
/// A layer has a sparse index if its blocks have at least so many entries each, on average: with fewer, it is no smaller
/// than the index by much.
pub(crate) const SPARSE_ENTRIES: u64 = 4;
/// One more than the largest offset that the index can hold.
pub(crate) const DATA_END_MAX: u64 = 1 << 48;

/// Longest footer that is believed. Version 1 writes [`FOOTER_BYTES`]; the rest is room for later ones.
pub(crate) const FOOTER_BYTES_MAX: usize = BLOCK_BYTES;
pub(crate) const FOOTER_BYTES: usize = 144;
/// The same as a field of the trailer.
const FOOTER_LENGTH: u32 = 144;
const _: () = assert!(FOOTER_LENGTH as usize == FOOTER_BYTES);

/// A part of the body: `bytes` bytes from `offset` on.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Section {
    pub(crate) offset: u64,
    pub(crate) bytes: u64,
}

impl Section {
    /// The section's bytes in the body.
    pub(crate) fn range(self, body_bytes: usize) -> Result<Range<usize>, Corruption> {
        let limit = body_bytes as u64;
        let end = self.offset.saturating_add(self.bytes);
        let out_of_range = Corruption::LengthOutOfRange { length: end, limit };
        if end > limit {
            return Err(out_of_range);
        }
        match (usize::try_from(self.offset), usize::try_from(end)) {
            (Ok(start), Ok(end)) => Ok(start..end),
            _ => Err(out_of_range),
        }
    }
}

/// What a layer says of itself at its end. Field order leaves no padding.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Footer {
    pub(crate) id: u64,
    pub(crate) entries: u64,
    pub(crate) tombstones: u64,
    pub(crate) seq_min: u64,
    pub(crate) seq_max: u64,
    pub(crate) raw_value_bytes: u64,
    pub(crate) stored_value_bytes: u64,
    pub(crate) data: Section,
    pub(crate) directory: Section,
    pub(crate) index: Section,
    pub(crate) filter: Section,
    pub(crate) sparse: Section,
    pub(crate) slot_bits: u32,
    pub(crate) reserved: u32,
}

const _: () = assert!(size_of::<ArchivedFooter>() == FOOTER_BYTES);
const _: () = assert!(align_of::<ArchivedFooter>() == 8);
const _: () = assert!(FOOTER_BYTES <= FOOTER_BYTES_MAX);

impl Footer {
    /// What a manifest records of a file that has this footer.
    pub(crate) fn info(&self, file_bytes: u64, root: u32) -> LayerInfo {
        LayerInfo {
            id: self.id,
            bytes: file_bytes,
            entries: self.entries,
            tombstones: self.tombstones,
            seq_min: self.seq_min,
            seq_max: self.seq_max,
            root,
            raw_value_bytes: self.raw_value_bytes,
            stored_value_bytes: self.stored_value_bytes,
        }
    }

    pub(crate) fn encode(&self) -> AlignedVec {
        rkyv::to_bytes::<rancor::Error>(self).expect("a struct of integers always fits in memory")
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Footer, Corruption> {
        let mut aligned = AlignedVec::<16>::with_capacity(bytes.len());
        aligned.extend_from_slice(bytes);
        rkyv::from_bytes::<Footer, rancor::Error>(&aligned).map_err(|_| Corruption::BadArchive)
    }
}

/// Where the parts of a file are, as its length and its trailer tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    /// Length of the body: header, data, directory, index, filter, sparse index.
    pub(crate) body_bytes: usize,
    /// Where the checksums of the body's blocks begin: at the body's end.
    pub(crate) checks_offset: usize,
    /// Where the checksums of the check array's pieces begin.
    pub(crate) pieces_offset: usize,
    pub(crate) footer_offset: usize,
    pub(crate) trailer_offset: usize,
    pub(crate) file_bytes: usize,
}

impl Layout {
    /// The layout of a file with so long a body and footer; `None` if no file can be so long.
    pub(crate) fn new(body_bytes: usize, footer_bytes: usize) -> Option<Layout> {
        let blocks = body_bytes.div_ceil(BLOCK_BYTES);
        let checks_bytes = blocks.checked_mul(CHECK_BYTES)?;
        let pieces_bytes = checks_bytes.div_ceil(BLOCK_BYTES) * CHECK_BYTES;
        let pieces_offset = body_bytes.checked_add(checks_bytes)?;
        let footer_offset = pieces_offset.checked_add(pieces_bytes)?;
        let trailer_offset = footer_offset.checked_add(footer_bytes)?;
        let file_bytes = trailer_offset.checked_add(TRAILER_BYTES)?;
        Some(Layout {
            body_bytes,
            checks_offset: body_bytes,
            pieces_offset,
            footer_offset,
            trailer_offset,
            file_bytes,
        })
    }

    /// How many blocks the body has; the last one may be short.
    pub(crate) fn blocks(&self) -> usize {
        self.body_bytes.div_ceil(BLOCK_BYTES)
    }

    /// How many pieces the check array has; the last one may be short.
    pub(crate) fn pieces(&self) -> usize {
        (self.pieces_offset - self.checks_offset).div_ceil(BLOCK_BYTES)
    }

    /// The bytes of a block.
    pub(crate) fn block(&self, block: usize) -> Range<usize> {
        let start = block * BLOCK_BYTES;
        start..(start + BLOCK_BYTES).min(self.body_bytes)
    }

    /// The bytes of a piece of the check array.
    pub(crate) fn piece(&self, piece: usize) -> Range<usize> {
        let start = self.checks_offset + piece * BLOCK_BYTES;
        start..(start + BLOCK_BYTES).min(self.pieces_offset)
    }
}

/// The first bytes of a layer file.
pub(crate) fn encode_header(id: u64) -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    header[..8].copy_from_slice(&HEADER_MAGIC);
    header[8..16].copy_from_slice(&id.to_le_bytes());
    header[16..18].copy_from_slice(&VERSION.to_le_bytes());
    let check = crc32c::crc32c(&header[..HEADER_BYTES - CHECK_BYTES]);
    header[HEADER_BYTES - CHECK_BYTES..].copy_from_slice(&check.to_le_bytes());
    header
}

/// The id and the version that a header states. The version is not judged.
pub(crate) fn decode_header(header: &[u8; HEADER_BYTES]) -> Result<(u64, u16), Corruption> {
    if header[..8] != HEADER_MAGIC {
        return Err(Corruption::BadMagic);
    }
    let expected = u32_at(header, HEADER_BYTES - CHECK_BYTES);
    let found = crc32c::crc32c(&header[..HEADER_BYTES - CHECK_BYTES]);
    if expected != found {
        return Err(Corruption::BadChecksum { expected, found });
    }
    Ok((u64_at(header, 8), u16_at(header, 16)))
}

/// The last bytes of a layer file, without their magic.
pub(crate) struct Trailer {
    pub(crate) body_bytes: u64,
    pub(crate) footer_bytes: u32,
    pub(crate) root: u32,
}

/// Offset of the root in the trailer. What lies before it is covered by the root.
pub(crate) const TRAILER_ROOT_OFFSET: usize = 12;

impl Trailer {
    /// The part of a trailer that its root covers, for the footer that this version writes.
    pub(crate) fn encode_before_root(body_bytes: u64) -> [u8; TRAILER_ROOT_OFFSET] {
        let mut bytes = [0; TRAILER_ROOT_OFFSET];
        bytes[..8].copy_from_slice(&body_bytes.to_le_bytes());
        bytes[8..].copy_from_slice(&FOOTER_LENGTH.to_le_bytes());
        bytes
    }

    pub(crate) fn decode(trailer: &[u8; TRAILER_BYTES]) -> Result<Trailer, Corruption> {
        if trailer[16..] != TRAILER_MAGIC {
            return Err(Corruption::BadMagic);
        }
        Ok(Trailer {
            body_bytes: u64_at(trailer, 0),
            footer_bytes: u32_at(trailer, 8),
            root: u32_at(trailer, TRAILER_ROOT_OFFSET),
        })
    }
}

/// The `u16` at `offset`, which the caller has checked to be inside.
pub(crate) fn u16_at(bytes: &[u8], offset: usize) -> u16 {
    u16::from_le_bytes([bytes[offset], bytes[offset + 1]])
}

/// The `u32` at `offset`, which the caller has checked to be inside.
pub(crate) fn u32_at(bytes: &[u8], offset: usize) -> u32 {
    u32::from_le_bytes(bytes[offset..offset + 4].try_into().expect("a range of four"))
}

/// The `u64` at `offset`, which the caller has checked to be inside.
pub(crate) fn u64_at(bytes: &[u8], offset: usize) -> u64 {
    u64::from_le_bytes(bytes[offset..offset + 8].try_into().expect("a range of eight"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_layout_of_small_and_large_bodies() {
        let small = Layout::new(32, FOOTER_BYTES).unwrap();
        assert_eq!((small.blocks(), small.pieces()), (1, 1));
        assert_eq!(small.file_bytes, 32 + 4 + 4 + FOOTER_BYTES + TRAILER_BYTES);
        let body = BLOCKS_PER_PIECE * BLOCK_BYTES + 1;
        let large = Layout::new(body, FOOTER_BYTES).unwrap();
        assert_eq!((large.blocks(), large.pieces()), (BLOCKS_PER_PIECE + 1, 2));
        assert_eq!(large.block(BLOCKS_PER_PIECE), body - 1..body);
        assert_eq!(large.piece(1), body + BLOCK_BYTES..body + BLOCK_BYTES + 4);
        assert_eq!(Layout::new(usize::MAX, 0), None);
    }

    #[test]
    fn a_section_stays_in_the_body() {
        assert_eq!(Section { offset: 32, bytes: 8 }.range(40), Ok(32..40));
        assert!(Section { offset: 32, bytes: 9 }.range(40).is_err());
        assert!(Section { offset: u64::MAX, bytes: 2 }.range(40).is_err());
    }

    #[test]
    fn a_footer_comes_back() {
        let footer = Footer { id: 7, seq_max: u64::MAX, slot_bits: 12, ..Footer::default() };
        let bytes = footer.encode();
        assert_eq!(bytes.len(), FOOTER_BYTES);
        assert_eq!(Footer::decode(&bytes), Ok(footer));
        assert_eq!(Footer::decode(&bytes[..FOOTER_BYTES - 1]), Err(Corruption::BadArchive));
    }
}
