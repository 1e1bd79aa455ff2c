//! What one entry of a layer is, and how it is written. See `docs/format/checkpoint.md`, "Entry".

use std::ops::Range;

use bytes::Bytes;

use crate::error::Corruption;
use crate::format::{KEY_BYTES_MAX, VALUE_BYTES_MAX, u32_at, u64_at};

/// An entry to be added to a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LayerEntry<'a> {
    /// The hash of the key; the same for every layer, and evenly spread over 64 bits.
    pub hash: u64,
    /// The keyspace. The same key in another keyspace is another key.
    pub keyspace: u32,
    /// The key, of at most [`KEY_BYTES_MAX`] bytes.
    pub key: &'a [u8],
    /// The sequence number of the write that made the entry.
    pub seq: u64,
    /// When the entry expires, in Unix milliseconds; 0 for never. Stored and handed back, not interpreted.
    pub deadline: u64,
    /// The value, of at most [`VALUE_BYTES_MAX`] bytes; `None` for a tombstone.
    pub value: Option<&'a [u8]>,
}

/// What a layer holds for a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerValue {
    /// The sequence number of the write that made the entry.
    pub seq: u64,
    /// When the entry expires, in Unix milliseconds; 0 for never.
    pub deadline: u64,
    /// The value; `None` for a tombstone. Bytes of an uncompressed value are a part of the map, which they keep
    /// alive; a compressed one is decompressed into memory of its own.
    pub value: Option<Bytes>,
}

/// Bytes of an entry before its optional fields.
pub(crate) const HEAD_BYTES: usize = 20;
const DEADLINE_BYTES: usize = 8;
const RAW_LENGTH_BYTES: usize = 4;

const TOMBSTONE: u8 = 1;
const COMPRESSED: u8 = 2;
const DEADLINE: u8 = 4;

// The key's length has 24 bits, the value's 32.
const _: () = assert!(KEY_BYTES_MAX < 1 << 24);
const _: () = assert!(VALUE_BYTES_MAX < u32::MAX as usize);

/// A value in the form in which it is stored.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Stored<'a> {
    Tombstone,
    Plain(&'a [u8]),
    Compressed { bytes: &'a [u8], raw_bytes: u32 },
}

impl<'a> Stored<'a> {
    pub(crate) fn bytes(self) -> &'a [u8] {
        match self {
            Stored::Tombstone => &[],
            Stored::Plain(bytes) | Stored::Compressed { bytes, .. } => bytes,
        }
    }
}

/// What precedes an entry's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EntryHead {
    pub(crate) keyspace: u32,
    pub(crate) seq: u64,
    pub(crate) deadline: u64,
    pub(crate) key_bytes: usize,
    /// Length of the stored value; `None` for a tombstone.
    pub(crate) value_bytes: Option<usize>,
    /// Length of the value before it was compressed, if it was.
    pub(crate) raw_bytes: Option<u32>,
}

impl EntryHead {
    /// Length of the head with its optional fields: where the key begins.
    pub(crate) fn key_offset(&self) -> usize {
        HEAD_BYTES
            + if self.deadline == 0 { 0 } else { DEADLINE_BYTES }
            + if self.raw_bytes.is_none() { 0 } else { RAW_LENGTH_BYTES }
    }

    /// Where the key and the value are in an entry, counted from its first byte.
    pub(crate) fn ranges(&self) -> (Range<usize>, Range<usize>) {
        let key_end = self.key_offset() + self.key_bytes;
        (self.key_offset()..key_end, key_end..key_end + self.value_bytes.unwrap_or(0))
    }

    /// Length of the value before compression; 0 for a tombstone.
    pub(crate) fn raw_value_bytes(&self) -> usize {
        self.raw_bytes.map_or(self.value_bytes.unwrap_or(0), |bytes| bytes as usize)
    }

    /// Appends the head. Lengths have been checked against the limits.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        let mut flags = 0;
        flags |= if self.value_bytes.is_none() { TOMBSTONE } else { 0 };
        flags |= if self.raw_bytes.is_some() { COMPRESSED } else { 0 };
        flags |= if self.deadline != 0 { DEADLINE } else { 0 };
        let key_bytes = u32::try_from(self.key_bytes).expect("keys were checked against their limit");
        let value_bytes = u32::try_from(self.value_bytes.unwrap_or(0)).expect("values likewise");
        out.extend_from_slice(&(key_bytes << 8 | u32::from(flags)).to_le_bytes());
        out.extend_from_slice(&value_bytes.to_le_bytes());
        out.extend_from_slice(&self.keyspace.to_le_bytes());
        out.extend_from_slice(&self.seq.to_le_bytes());
        if self.deadline != 0 {
            out.extend_from_slice(&self.deadline.to_le_bytes());
        }
        if let Some(raw_bytes) = self.raw_bytes {
            out.extend_from_slice(&raw_bytes.to_le_bytes());
        }
    }

    /// Reads a head from the first bytes of `bytes`, which may be all that is left of the data area.
    pub(crate) fn decode(bytes: &[u8]) -> Result<EntryHead, Corruption> {
        let needed = |length: usize| {
            let limit = bytes.len() as u64;
            if length as u64 <= limit {
                Ok(())
            } else {
                Err(Corruption::LengthOutOfRange { length: length as u64, limit })
            }
        };
        needed(HEAD_BYTES)?;
        let (flags, key_bytes) = (bytes[0], (u32_at(bytes, 0) >> 8) as usize);
        let value_bytes = u32_at(bytes, 4) as usize;
        let tombstone = flags & TOMBSTONE != 0;
        if flags & !(TOMBSTONE | COMPRESSED | DEADLINE) != 0 || (tombstone && flags & COMPRESSED != 0) {
            return Err(Corruption::BadFlags(flags));
        }
        within(key_bytes, KEY_BYTES_MAX)?;
        within(value_bytes, if tombstone { 0 } else { VALUE_BYTES_MAX })?;
        let mut head = EntryHead {
            keyspace: u32_at(bytes, 8),
            seq: u64_at(bytes, 12),
            deadline: 0,
            key_bytes,
            value_bytes: (!tombstone).then_some(value_bytes),
            raw_bytes: None,
        };
        let mut end = HEAD_BYTES;
        if flags & DEADLINE != 0 {
            needed(end + DEADLINE_BYTES)?;
            head.deadline = u64_at(bytes, end);
            if head.deadline == 0 {
                return Err(Corruption::BadFlags(flags)); // it would be written without the flag
            }
            end += DEADLINE_BYTES;
        }
        if flags & COMPRESSED != 0 {
            needed(end + RAW_LENGTH_BYTES)?;
            let raw_bytes = u32_at(bytes, end);
            within(raw_bytes as usize, VALUE_BYTES_MAX)?;
            head.raw_bytes = Some(raw_bytes);
        }
        Ok(head)
    }
}

/// Longest head with all its optional fields.
pub(crate) const HEAD_BYTES_MAX: usize = HEAD_BYTES + DEADLINE_BYTES + RAW_LENGTH_BYTES;

fn within(length: usize, limit: usize) -> Result<(), Corruption> {
    if length <= limit {
        Ok(())
    } else {
        Err(Corruption::LengthOutOfRange { length: length as u64, limit: limit as u64 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: EntryHead = EntryHead {
        keyspace: 3,
        seq: 9,
        deadline: 0,
        key_bytes: KEY_BYTES_MAX,
        value_bytes: Some(VALUE_BYTES_MAX),
        raw_bytes: None,
    };

    fn encoded(head: EntryHead) -> Vec<u8> {
        let mut bytes = Vec::new();
        head.encode(&mut bytes);
        bytes
    }

    #[test]
    fn heads_come_back() {
        let tombstone = EntryHead { value_bytes: None, key_bytes: 0, ..PLAIN };
        let expiring = EntryHead { deadline: u64::MAX, value_bytes: Some(0), ..PLAIN };
        let compressed = EntryHead { raw_bytes: Some(5000), value_bytes: Some(100), ..expiring };
        for head in [PLAIN, tombstone, expiring, compressed] {
            let bytes = encoded(head);
            assert_eq!(bytes.len(), head.key_offset());
            assert_eq!(EntryHead::decode(&bytes), Ok(head));
            for short in 0..bytes.len() {
                assert!(EntryHead::decode(&bytes[..short]).is_err());
            }
        }
        assert_eq!(encoded(compressed).len(), HEAD_BYTES_MAX);
    }

    #[test]
    fn impossible_heads_are_refused() {
        let plain = encoded(PLAIN);
        let refused = |offset: usize, value: u8| {
            let mut bytes = plain.clone();
            bytes[offset] = value;
            bytes.extend([0; 12]);
            EntryHead::decode(&bytes).unwrap_err()
        };
        assert_eq!(refused(0, 8), Corruption::BadFlags(8));
        assert_eq!(refused(0, TOMBSTONE | COMPRESSED), Corruption::BadFlags(3));
        assert_eq!(refused(0, DEADLINE), Corruption::BadFlags(DEADLINE));
        assert!(matches!(refused(0, TOMBSTONE), Corruption::LengthOutOfRange { limit: 0, .. }));
        assert!(matches!(refused(3, 2), Corruption::LengthOutOfRange { length: 131_136, .. }));
        assert!(matches!(refused(4, 1), Corruption::LengthOutOfRange { .. }));
    }
}
