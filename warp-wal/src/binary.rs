//! Groups and entries as little-endian fields and raw bytes. `docs/format/wal.md`, section "Binary payload".

use crate::entry::{Entry, Kind, VALUE_BYTES_MAX};
use crate::error::Corruption;
use crate::format::{u16_at, u32_at, u64_at};
use crate::payload::{Bad, Values};

/// Size of what stands before the entries of a group: sequence, count, bytes.
pub(crate) const GROUP_HEADER_BYTES: usize = 16;
/// Size of what stands before an entry's optional fields.
const ENTRY_HEADER_BYTES: usize = 20;
/// A deadline follows the header.
const FLAG_DEADLINE: u8 = 1;
/// The value is an LZ4 block, and its raw length follows the header.
const FLAG_LZ4: u8 = 2;
/// A compressed value has to be shorter than the raw one by at least this part of it.
const SAVED_PART_MIN: usize = 8;
/// A shorter LZ4 block cannot make a longer value: one byte stands for at most 255.
const LZ4_RATIO_MAX: usize = 255;

/// Appends an entry; returns how many bytes its value takes.
pub(crate) fn encode_entry(entry: &Entry<'_>, compress_from: Option<usize>, out: &mut Vec<u8>) -> usize {
    let start = out.len();
    let mut flags = 0;
    out.resize(start + ENTRY_HEADER_BYTES, 0);
    if entry.deadline != 0 {
        flags |= FLAG_DEADLINE;
        out.extend_from_slice(&entry.deadline.to_le_bytes());
    }
    let mut stored = entry.value.len();
    if compress_from.is_some_and(|from| entry.value.len() >= from)
        && let Some(bytes) = encode_compressed(entry, out)
    {
        flags |= FLAG_LZ4;
        stored = bytes;
    } else {
        out.extend_from_slice(entry.key);
        out.extend_from_slice(entry.value);
    }
    let header = &mut out[start..start + ENTRY_HEADER_BYTES];
    header[0] = entry.kind as u8;
    header[1] = flags;
    header[2] = entry.level;
    header[4..6].copy_from_slice(&entry.shard.to_le_bytes());
    header[8..12].copy_from_slice(&entry.keyspace.to_le_bytes());
    header[12..16].copy_from_slice(&length(entry.key.len()).to_le_bytes());
    header[16..20].copy_from_slice(&length(stored).to_le_bytes());
    stored
}

/// Appends raw length, key and compressed value, or nothing if that does not save enough.
fn encode_compressed(entry: &Entry<'_>, out: &mut Vec<u8>) -> Option<usize> {
    let start = out.len();
    out.extend_from_slice(&length(entry.value.len()).to_le_bytes());
    out.extend_from_slice(entry.key);
    let at = out.len();
    out.resize(at + lz4_flex::block::get_maximum_output_size(entry.value.len()), 0);
    let saves = |stored: &usize| *stored <= entry.value.len() - entry.value.len() / SAVED_PART_MIN;
    match lz4_flex::block::compress_into(entry.value, &mut out[at..]).ok().filter(saves) {
        Some(stored) if !entry.value.is_empty() => {
            out.truncate(at + stored);
            Some(stored)
        }
        _ => {
            out.truncate(start);
            None
        }
    }
}

/// Writes the header of the group that fills `group`, all but its sequence.
pub(crate) fn finish_group(group: &mut [u8], entries: u32) {
    let bytes = length(group.len() - GROUP_HEADER_BYTES);
    group[8..12].copy_from_slice(&entries.to_le_bytes());
    group[12..16].copy_from_slice(&bytes.to_le_bytes());
}

/// Writes the sequence into a group; returns how many entries it has.
pub(crate) fn set_seq(group: &mut [u8], seq: u64) -> u64 {
    group[0..8].copy_from_slice(&seq.to_le_bytes());
    u64::from(u32_at(group, 8))
}

/// A length that the limits of keys, values and groups keep within 32 bits.
fn length(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

/// Hands out the entries of `groups` groups, the first of which has sequence `first_seq`.
pub(crate) fn decode(
    payload: &[u8],
    first_seq: u64,
    groups: u32,
    values: &mut Values,
    apply: &mut dyn FnMut(u64, &Entry<'_>),
) -> Result<u64, Bad> {
    let mut at = 0;
    let mut entries = 0;
    for index in 0..u64::from(groups) {
        let bad = Bad::at(at, Corruption::Malformed);
        let header = payload.get(at..at + GROUP_HEADER_BYTES).ok_or(bad)?;
        let seq = first_seq.checked_add(index).ok_or(bad)?;
        if u64_at(header, 0) != seq {
            return Err(Bad::at(at, Corruption::MissingSequence { expected: seq, found: u64_at(header, 0) }));
        }
        at += GROUP_HEADER_BYTES;
        let end = at.checked_add(u32_at(header, 12) as usize).filter(|end| *end <= payload.len());
        let group = &payload[..end.ok_or(Bad::at(at, Corruption::LengthOutOfRange))?];
        for _ in 0..u32_at(header, 8) {
            at = decode_entry(group, at, seq, values, apply)?;
            entries += 1;
        }
        if at != group.len() {
            return Err(Bad::at(at, Corruption::Malformed));
        }
    }
    if at == payload.len() { Ok(entries) } else { Err(Bad::at(at, Corruption::Malformed)) }
}

/// Hands out the entry at `at`; returns where the next one starts.
fn decode_entry(
    group: &[u8],
    at: usize,
    seq: u64,
    values: &mut Values,
    apply: &mut dyn FnMut(u64, &Entry<'_>),
) -> Result<usize, Bad> {
    let bad = Bad::at(at, Corruption::LengthOutOfRange);
    let mut rest = group.get(at..).ok_or(bad)?;
    let mut take = |count: usize| {
        let (taken, left) = rest.split_at_checked(count).ok_or(bad)?;
        rest = left;
        Ok(taken)
    };
    let header = take(ENTRY_HEADER_BYTES)?;
    let kind = Kind::from_number(header[0]).ok_or(Bad::unsupported(at, "entry kind", header[0]))?;
    let flags = header[1];
    if flags & !(FLAG_DEADLINE | FLAG_LZ4) != 0 || header[3] != 0 || u16_at(header, 6) != 0 {
        return Err(Bad::unsupported(at, "entry flags", flags));
    }
    let deadline = if flags & FLAG_DEADLINE != 0 { u64_at(take(8)?, 0) } else { 0 };
    let raw = if flags & FLAG_LZ4 != 0 { Some(u32_at(take(4)?, 0) as usize) } else { None };
    let key = take(u32_at(header, 12) as usize)?;
    let stored = take(u32_at(header, 16) as usize)?;
    let end = group.len() - rest.len();
    let value = match raw {
        None => stored,
        Some(raw) => decompress(stored, raw, values).ok_or(Bad::at(at, Corruption::Malformed))?,
    };
    let entry = Entry {
        kind,
        keyspace: u32_at(header, 8),
        shard: u16_at(header, 4),
        level: header[2],
        deadline,
        key,
        value,
    };
    apply(seq, &entry);
    Ok(end)
}

/// The value of `raw` bytes in an LZ4 block. Memory is taken only for what the block can make.
fn decompress<'v>(stored: &[u8], raw: usize, values: &'v mut Values) -> Option<&'v [u8]> {
    if raw > VALUE_BYTES_MAX || raw > stored.len().saturating_mul(LZ4_RATIO_MAX) {
        return None;
    }
    let out = values.room(raw);
    let made = lz4_flex::block::decompress_into(stored, out).ok()?;
    (made == raw).then_some(out)
}
