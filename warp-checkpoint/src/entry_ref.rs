//! An entry of an open layer, with its value still unread.

use std::ops::Range;

use bytes::Bytes;

use crate::Layer;
use crate::compress::decompress;
use crate::entry::{EntryHead, Stored};
use crate::error::{Result, corrupt};

/// An entry of a layer, read in place.
#[derive(Clone, Debug)]
pub struct LayerEntryRef<'a> {
    /// The hash of the key, as it was given when the entry was added.
    pub hash: u64,
    /// The keyspace.
    pub keyspace: u32,
    /// The key.
    pub key: &'a [u8],
    /// The sequence number of the write that made the entry.
    pub seq: u64,
    /// When the entry expires, in Unix milliseconds; 0 for never.
    pub deadline: u64,
    pub(crate) layer: &'a Layer,
    pub(crate) head: EntryHead,
    /// Where the stored value is in the file.
    pub(crate) value: Range<usize>,
}

impl<'a> LayerEntryRef<'a> {
    /// Whether the entry says that the key was deleted.
    #[must_use]
    pub fn is_tombstone(&self) -> bool {
        self.head.value_bytes.is_none()
    }

    /// Length of the value, before compression; 0 for a tombstone.
    #[must_use]
    pub fn value_bytes(&self) -> usize {
        self.head.raw_value_bytes()
    }

    /// The layer that holds the entry.
    #[must_use]
    pub fn layer(&self) -> &'a Layer {
        self.layer
    }

    /// The value; `None` for a tombstone. Not copied unless it is compressed; the bytes keep the map alive.
    ///
    /// # Errors
    /// [`Error::Corrupt`](crate::Error::Corrupt) if a block of the value is damaged.
    pub fn value(&self) -> Result<Option<Bytes>> {
        let map = self.layer.map_ref();
        match (self.head.value_bytes, self.head.raw_bytes) {
            (None, _) => Ok(None),
            (Some(_), None) => Ok(Some(map.checked_shared(self.value.clone())?)),
            (Some(_), Some(raw_bytes)) => {
                let raw = decompress(map.checked(self.value.clone())?, raw_bytes as usize)
                    .map_err(|found| corrupt(map.file(), self.value.start as u64, found))?;
                Ok(Some(raw.into()))
            }
        }
    }

    /// The value in the form in which it is stored.
    pub(crate) fn stored(&self) -> Result<Stored<'a>> {
        if self.is_tombstone() {
            return Ok(Stored::Tombstone);
        }
        let bytes = self.layer.map_ref().checked(self.value.clone())?;
        Ok(match self.head.raw_bytes {
            None => Stored::Plain(bytes),
            Some(raw_bytes) => Stored::Compressed { bytes, raw_bytes },
        })
    }

    /// The offset behind the entry.
    pub(crate) fn end(&self) -> usize {
        self.value.end
    }
}
