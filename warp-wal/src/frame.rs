//! What a frame header looks like. A frame is all or nothing on disk. `docs/format/wal.md`, section "Frame".

use crate::error::Corruption;
use crate::format::{BINARY_FRAME_HEADER_BYTES, FRAME_ALIGN_BYTES, JSON_FRAME_HEADER_BYTES, u32_at, u64_at};
use crate::options::Format;
use crate::text::{Cursor, hex};

/// First bytes of a binary frame header.
const MAGIC: [u8; 4] = *b"wfrm";
/// First bytes of a JSON frame header.
const JSON_START: &[u8] = b"{\"frame\":\"";

/// What a frame is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum FrameKind {
    /// It holds groups.
    Data = 1,
    /// It holds nothing; its header carries the watermark.
    Mark = 2,
    /// The first frame after an open; it holds a [`Statement`].
    Open = 3,
    /// The last frame before a close.
    Close = 4,
}

const KINDS: [(FrameKind, &[u8; 4]); 4] = [
    (FrameKind::Data, b"data"),
    (FrameKind::Mark, b"mark"),
    (FrameKind::Open, b"open"),
    (FrameKind::Close, b"shut"),
];

/// The header of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FrameHeader {
    pub(crate) kind: FrameKind,
    /// The tag of the segment.
    pub(crate) tag: u64,
    /// Where in the segment it stands.
    pub(crate) offset: u64,
    /// Sequence of the first group; without groups, the next one that will be given.
    pub(crate) first_seq: u64,
    /// How many groups there are; each takes the next sequence.
    pub(crate) groups: u32,
    pub(crate) payload_bytes: u32,
    pub(crate) payload_crc: u32,
    /// Wall-clock time, in milliseconds since the Unix epoch; never goes back along a log.
    pub(crate) time: u64,
    /// Every sequence up to here was durable when the frame was written.
    pub(crate) watermark: u64,
}

/// Why there is no frame header at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoFrame {
    /// Prewritten space.
    Blank,
    /// Something else.
    Damaged(Corruption),
    /// A whole header whose kind is not known.
    UnknownKind(u64),
}

impl FrameHeader {
    /// The sequence behind the last group.
    pub(crate) fn next_seq(&self) -> u64 {
        self.first_seq.saturating_add(u64::from(self.groups))
    }

    /// Where the frame ends in its segment.
    pub(crate) fn end(&self, format: Format) -> u64 {
        self.offset
            .saturating_add(format.frame_header_bytes() as u64)
            .saturating_add(u64::from(self.payload_bytes))
    }

    /// Writes the header over the first bytes of `out`, which holds at least as many as a header has.
    pub(crate) fn encode(&self, format: Format, out: &mut [u8]) {
        match format {
            Format::Binary => self.encode_binary(&mut out[..BINARY_FRAME_HEADER_BYTES]),
            Format::Json => out[..JSON_FRAME_HEADER_BYTES].copy_from_slice(&self.encode_json()),
        }
    }

    fn encode_binary(&self, out: &mut [u8]) {
        out[0..4].copy_from_slice(&MAGIC);
        out[8..16].copy_from_slice(&self.tag.to_le_bytes());
        out[16..24].copy_from_slice(&self.offset.to_le_bytes());
        out[24..32].copy_from_slice(&self.first_seq.to_le_bytes());
        out[32..36].copy_from_slice(&self.groups.to_le_bytes());
        out[36..40].copy_from_slice(&self.payload_bytes.to_le_bytes());
        out[40..44].copy_from_slice(&self.payload_crc.to_le_bytes());
        out[44] = self.kind as u8;
        out[45..48].fill(0);
        out[48..56].copy_from_slice(&self.time.to_le_bytes());
        out[56..64].copy_from_slice(&self.watermark.to_le_bytes());
        let crc = crc32c::crc32c(&out[8..64]);
        out[4..8].copy_from_slice(&crc.to_le_bytes());
    }

    fn encode_json(&self) -> Vec<u8> {
        let mut line = Vec::with_capacity(JSON_FRAME_HEADER_BYTES);
        line.extend_from_slice(JSON_START);
        let word = KINDS.iter().find(|(kind, _)| *kind == self.kind).map_or(b"    ", |(_, word)| *word);
        line.extend_from_slice(word);
        line.extend_from_slice(b"\",\"flags\":\"00\",\"tag\":\"");
        hex(&mut line, self.tag, 16);
        line.extend_from_slice(b"\",\"offset\":\"");
        hex(&mut line, self.offset, 16);
        line.extend_from_slice(b"\",\"first\":\"");
        hex(&mut line, self.first_seq, 16);
        line.extend_from_slice(b"\",\"groups\":\"");
        hex(&mut line, u64::from(self.groups), 8);
        line.extend_from_slice(b"\",\"bytes\":\"");
        hex(&mut line, u64::from(self.payload_bytes), 8);
        line.extend_from_slice(b"\",\"payload_crc\":\"");
        hex(&mut line, u64::from(self.payload_crc), 8);
        line.extend_from_slice(b"\",\"time\":\"");
        hex(&mut line, self.time, 16);
        line.extend_from_slice(b"\",\"watermark\":\"");
        hex(&mut line, self.watermark, 16);
        line.extend_from_slice(b"\",\"crc\":\"");
        let crc = crc32c::crc32c(&line);
        hex(&mut line, u64::from(crc), 8);
        line.extend_from_slice(b"\"}\n");
        line
    }

    /// Whether a header may begin with these bytes: a cheap test before the whole one.
    pub(crate) fn looks_like(format: Format, bytes: &[u8]) -> bool {
        match format {
            Format::Binary => bytes.starts_with(&MAGIC),
            Format::Json => bytes.starts_with(JSON_START),
        }
    }

    /// The header at the start of `bytes`.
    pub(crate) fn decode(format: Format, bytes: &[u8]) -> Result<FrameHeader, NoFrame> {
        // Behind the next place where a frame may start there may be one.
        let own = &bytes[..bytes.len().min(FRAME_ALIGN_BYTES)];
        if own.iter().all(|byte| *byte == format.blank()) {
            return Err(NoFrame::Blank);
        }
        let Some(bytes) = bytes.get(..format.frame_header_bytes()) else {
            return Err(NoFrame::Damaged(Corruption::LengthOutOfRange));
        };
        if !FrameHeader::looks_like(format, bytes) {
            return Err(NoFrame::Damaged(Corruption::BadMagic));
        }
        match format {
            Format::Binary => FrameHeader::decode_binary(bytes),
            Format::Json => FrameHeader::decode_json(bytes),
        }
    }

    fn decode_binary(bytes: &[u8]) -> Result<FrameHeader, NoFrame> {
        let expected = u32_at(bytes, 4);
        let found = crc32c::crc32c(&bytes[8..64]);
        if expected != found {
            return Err(NoFrame::Damaged(Corruption::BadChecksum { expected, found }));
        }
        // A flag that is not known may change what the frame means.
        if bytes[45..48] != [0; 3] {
            return Err(NoFrame::UnknownKind(u64::from(u32_at(bytes, 44))));
        }
        let kind = KINDS.iter().map(|(kind, _)| *kind).find(|kind| *kind as u8 == bytes[44]);
        Ok(FrameHeader {
            kind: kind.ok_or(NoFrame::UnknownKind(u64::from(bytes[44])))?,
            tag: u64_at(bytes, 8),
            offset: u64_at(bytes, 16),
            first_seq: u64_at(bytes, 24),
            groups: u32_at(bytes, 32),
            payload_bytes: u32_at(bytes, 36),
            payload_crc: u32_at(bytes, 40),
            time: u64_at(bytes, 48),
            watermark: u64_at(bytes, 56),
        })
    }

    fn decode_json(bytes: &[u8]) -> Result<FrameHeader, NoFrame> {
        let malformed = NoFrame::Damaged(Corruption::Malformed);
        // The checksum's digits are followed by `"}` and the newline.
        let (covered, end) = bytes.split_at(JSON_FRAME_HEADER_BYTES - 11);
        let mut end = Cursor::new(end);
        let expected = end.hex32(8).ok_or(malformed)?;
        end.expect(b"\"}\n").ok_or(malformed)?;
        let found = crc32c::crc32c(covered);
        if expected != found {
            return Err(NoFrame::Damaged(Corruption::BadChecksum { expected, found }));
        }
        let mut line = Cursor::new(covered);
        line.expect(JSON_START).ok_or(malformed)?;
        let word = line.take(4).ok_or(malformed)?;
        let kind = KINDS.iter().find(|(_, known)| *known == word).map(|(kind, _)| *kind);
        let kind =
            kind.ok_or_else(|| NoFrame::UnknownKind(word.iter().map(|byte| u64::from(*byte)).sum()))?;
        FrameHeader::decode_json_fields(kind, &mut line).ok_or(malformed)
    }

    fn decode_json_fields(kind: FrameKind, line: &mut Cursor<'_>) -> Option<FrameHeader> {
        line.expect(b"\",\"flags\":\"00\",\"tag\":\"")?;
        let tag = line.hex(16)?;
        line.expect(b"\",\"offset\":\"")?;
        let offset = line.hex(16)?;
        line.expect(b"\",\"first\":\"")?;
        let first_seq = line.hex(16)?;
        line.expect(b"\",\"groups\":\"")?;
        let groups = line.hex32(8)?;
        line.expect(b"\",\"bytes\":\"")?;
        let payload_bytes = line.hex32(8)?;
        line.expect(b"\",\"payload_crc\":\"")?;
        let payload_crc = line.hex32(8)?;
        line.expect(b"\",\"time\":\"")?;
        let time = line.hex(16)?;
        line.expect(b"\",\"watermark\":\"")?;
        let watermark = line.hex(16)?;
        line.expect(b"\",\"crc\":\"")?;
        Some(FrameHeader {
            kind,
            tag,
            offset,
            first_seq,
            groups,
            payload_bytes,
            payload_crc,
            time,
            watermark,
        })
    }
}

/// What an open frame says about the log before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Statement {
    /// Number of the segment in which the log before ended; 0 if there was none.
    pub(crate) end_segment: u64,
    /// Where it ended there. What lies beyond is not part of the log.
    pub(crate) end_offset: u64,
    /// Every sequence up to here that is part of the log was recovered.
    pub(crate) last_seq: u64,
    /// The first sequence to come.
    pub(crate) next_seq: u64,
    /// Damage before this place was accepted: it was opened with `Recovery::Salvage`.
    pub(crate) salvaged: bool,
}

/// Size of a binary statement.
const STATEMENT_BYTES: usize = 40;

impl Statement {
    /// The payload of an open frame.
    pub(crate) fn encode(&self, format: Format) -> Vec<u8> {
        let mut out = Vec::new();
        match format {
            Format::Binary => {
                for field in [self.end_segment, self.end_offset, self.last_seq, self.next_seq] {
                    out.extend_from_slice(&field.to_le_bytes());
                }
                out.extend_from_slice(&u64::from(self.salvaged).to_le_bytes());
            }
            Format::Json => {
                out.extend_from_slice(b"{\"end_segment\":\"");
                hex(&mut out, self.end_segment, 16);
                out.extend_from_slice(b"\",\"end_offset\":\"");
                hex(&mut out, self.end_offset, 16);
                out.extend_from_slice(b"\",\"last\":\"");
                hex(&mut out, self.last_seq, 16);
                out.extend_from_slice(b"\",\"next\":\"");
                hex(&mut out, self.next_seq, 16);
                out.extend_from_slice(b"\",\"salvaged\":\"");
                hex(&mut out, u64::from(self.salvaged), 2);
                out.extend_from_slice(b"\"}\n");
            }
        }
        out
    }

    /// The statement in that payload.
    pub(crate) fn decode(format: Format, bytes: &[u8]) -> Option<Statement> {
        match format {
            Format::Binary => {
                let bytes = (bytes.len() == STATEMENT_BYTES).then_some(bytes)?;
                Some(Statement {
                    end_segment: u64_at(bytes, 0),
                    end_offset: u64_at(bytes, 8),
                    last_seq: u64_at(bytes, 16),
                    next_seq: u64_at(bytes, 24),
                    salvaged: u64_at(bytes, 32) != 0,
                })
            }
            Format::Json => {
                let mut line = Cursor::new(bytes);
                line.expect(b"{\"end_segment\":\"")?;
                let end_segment = line.hex(16)?;
                line.expect(b"\",\"end_offset\":\"")?;
                let end_offset = line.hex(16)?;
                line.expect(b"\",\"last\":\"")?;
                let last_seq = line.hex(16)?;
                line.expect(b"\",\"next\":\"")?;
                let next_seq = line.hex(16)?;
                line.expect(b"\",\"salvaged\":\"")?;
                let salvaged = line.hex(2)? != 0;
                line.expect(b"\"}\n")?;
                line.is_empty().then_some(Statement { end_segment, end_offset, last_seq, next_seq, salvaged })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> FrameHeader {
        FrameHeader {
            kind: FrameKind::Data,
            tag: 0x0123_4567_89ab_cdef,
            offset: 8192,
            first_seq: 77,
            groups: 3,
            payload_bytes: 400,
            payload_crc: 0xdead_beef,
            time: 1_700_000_000_000,
            watermark: 76,
        }
    }

    #[test]
    fn headers_come_back_and_any_flipped_bit_is_noticed() {
        for format in [Format::Binary, Format::Json] {
            for (kind, _) in KINDS {
                let header = FrameHeader { kind, ..header() };
                let mut bytes = vec![0xAA; format.frame_header_bytes()];
                header.encode(format, &mut bytes);
                assert_eq!(FrameHeader::decode(format, &bytes), Ok(header));
                for bit in 0..bytes.len() * 8 {
                    bytes[bit / 8] ^= 1 << (bit % 8);
                    assert!(FrameHeader::decode(format, &bytes).is_err(), "{format:?} bit {bit}");
                    bytes[bit / 8] ^= 1 << (bit % 8);
                }
            }
        }
    }

    #[test]
    fn blank_space_is_no_damage() {
        for format in [Format::Binary, Format::Json] {
            let bytes = vec![format.blank(); 512];
            assert_eq!(FrameHeader::decode(format, &bytes), Err(NoFrame::Blank));
            assert_eq!(FrameHeader::decode(format, &bytes[..10]), Err(NoFrame::Blank));
        }
    }

    #[test]
    fn statements_come_back() {
        let statement =
            Statement { end_segment: 3, end_offset: 9000, last_seq: 41, next_seq: 1 << 32, salvaged: true };
        for format in [Format::Binary, Format::Json] {
            let bytes = statement.encode(format);
            assert_eq!(Statement::decode(format, &bytes), Some(statement));
            assert_eq!(Statement::decode(format, &bytes[..bytes.len() - 1]), None);
        }
    }
}
