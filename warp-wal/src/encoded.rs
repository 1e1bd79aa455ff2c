//! A group of entries in the form in which it goes to disk.

use std::borrow::Borrow;

use crate::binary;
use crate::entry::{Entry, GROUP_BYTES_MAX, KEY_BYTES_MAX, VALUE_BYTES_MAX};
use crate::error::{Error, Result};
use crate::json;
use crate::options::Format;

/// One group, encoded; a buffer that can be used again and again. Made by [`Log::encode`](crate::Log::encode).
#[derive(Clone, Debug, Default)]
pub struct Encoded {
    pub(crate) bytes: Vec<u8>,
    pub(crate) raw_value_bytes: usize,
    pub(crate) stored_value_bytes: usize,
    entries: u32,
}

impl Encoded {
    /// An empty buffer.
    #[must_use]
    pub fn new() -> Encoded {
        Encoded::default()
    }

    /// How many entries the group has.
    #[must_use]
    pub fn entries(&self) -> u32 {
        self.entries
    }

    /// Size of the encoded group, in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether there is no group in the buffer.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries == 0
    }

    /// Gives the buffer back to the system if it has grown beyond `bytes_max`, which empties it.
    pub fn shrink(&mut self, bytes_max: usize) {
        if self.bytes.capacity() > bytes_max {
            *self = Encoded::default();
        }
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.raw_value_bytes = 0;
        self.stored_value_bytes = 0;
        self.entries = 0;
    }

    /// Replaces the content by the group of these entries.
    pub(crate) fn fill<'e, E: Borrow<Entry<'e>>>(
        &mut self,
        format: Format,
        compress_from: Option<usize>,
        entries: impl IntoIterator<Item = E>,
    ) -> Result<()> {
        self.clear();
        let answer = self.fill_entries(format, compress_from, entries);
        if answer.is_err() {
            self.clear();
        }
        answer
    }

    fn fill_entries<'e, E: Borrow<Entry<'e>>>(
        &mut self,
        format: Format,
        compress_from: Option<usize>,
        entries: impl IntoIterator<Item = E>,
    ) -> Result<()> {
        if format == Format::Binary {
            self.bytes.resize(binary::GROUP_HEADER_BYTES, 0);
        }
        let mut group_bytes = 0;
        for entry in entries {
            let entry = entry.borrow();
            group_bytes += entry.key.len() + entry.value.len();
            check("key", entry.key.len(), KEY_BYTES_MAX)?;
            check("value", entry.value.len(), VALUE_BYTES_MAX)?;
            // One entry alone is a group whatever its key and value are.
            check("group", if self.entries == 0 { 0 } else { group_bytes }, GROUP_BYTES_MAX)?;
            let stored = match format {
                Format::Binary => binary::encode_entry(entry, compress_from, &mut self.bytes),
                Format::Json => {
                    json::encode_entry(entry, &mut self.bytes);
                    entry.value.len()
                }
            };
            // Many tiny entries are mostly headers, and their encoding has to fit in 32 bits, too.
            check("group", self.bytes.len(), ENCODED_BYTES_MAX)?;
            self.raw_value_bytes += entry.value.len();
            self.stored_value_bytes += stored;
            self.entries += 1;
        }
        if self.entries == 0 {
            return Err(Error::Invalid { what: "a group without entries" });
        }
        if format == Format::Binary {
            binary::finish_group(&mut self.bytes, self.entries);
        }
        Ok(())
    }
}

/// Largest encoded group, in bytes: base64 makes four bytes of three, and every entry has a header.
const ENCODED_BYTES_MAX: usize = (1 << 31) - (1 << 20);
const _: () = assert!(ENCODED_BYTES_MAX >= GROUP_BYTES_MAX / 3 * 4 + KEY_BYTES_MAX);

fn check(what: &'static str, bytes: usize, limit: usize) -> Result<()> {
    if bytes <= limit {
        return Ok(());
    }
    Err(Error::TooLarge { what, bytes: bytes as u64, limit: limit as u64 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_value_goes_with_any_key_but_with_nothing_else() {
        // Zeros of which the system has none until they are written.
        let (key, value) = (vec![b'k'; KEY_BYTES_MAX], vec![0; VALUE_BYTES_MAX]);
        let largest = Entry::put(&key, &value);
        let mut encoded = Encoded::new();
        encoded.fill(Format::Binary, Some(64), [&largest]).unwrap();
        assert_eq!(encoded.entries(), 1);
        let refused = encoded.fill(Format::Binary, Some(64), [&Entry::put(b"a", b""), &largest]);
        assert!(matches!(refused, Err(Error::TooLarge { what: "group", .. })), "{refused:?}");
    }
}
