//! An entry of an open layer, with its value still unread.

use std::ops::Range;

use bytes::Bytes;

use crate::Layer;
use crate::compress::decompress;
use crate::entry::EntryHead;
use crate::error::{Result, corrupt};
use crate::format::BLOCK_BYTES;
use crate::layer_bytes::LayerBytes;

/// An entry of a layer, read in place.
#[derive(Clone, Debug)]
pub struct LayerEntryRef<'a> {
    /// The hash of the key, as it was given when the entry was added.
    pub hash: u64,
    /// The keyspace.
    pub keyspace: u32,
    /// The key.
    pub key: LayerBytes<'a>,
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

    /// The entry that lies next in the file, in whichever order they were added; `None` if its head does not begin before
    /// `limit`, an offset in the file such as [`block_end`](Self::block_end), or its key ends more than a block behind that.
    /// So who has laid related entries side by side finds one from the other without the index. In a layer
    /// [in the order of hashes](Layer::is_in_hash_order) what lies behind is unrelated.
    ///
    /// The blocks of its head and key are read, whoever it is. Layers do not hold hashes beside their entries: `hash` makes
    /// that of a key in a keyspace.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io) if the layer is not mapped and its file cannot be read;
    /// [`Error::Corrupt`](crate::Error::Corrupt) if a block that its head or key is in is damaged.
    pub fn behind(
        &self,
        limit: u64,
        hash: impl FnOnce(u32, &[u8]) -> u64,
    ) -> Result<Option<LayerEntryRef<'a>>> {
        let (start, limit) = (self.value.end, usize::try_from(limit).unwrap_or(usize::MAX));
        if start >= self.layer.data().end.min(limit) {
            return Ok(None);
        }
        let head = self.layer.head_at(start, |range| self.layer.source().checked(range))?;
        if start + head.ranges().0.end > limit.saturating_add(BLOCK_BYTES) {
            return Ok(None);
        }
        let mut next = self.layer.entry_with_head(0, start, head)?;
        next.hash = hash(next.keyspace, &next.key);
        Ok(Some(next))
    }

    /// Where in the file the block ends in which the entry does: up to there its neighbours' bytes are read with its own.
    #[must_use]
    pub fn block_end(&self) -> u64 {
        (self.value.end / BLOCK_BYTES + 1).saturating_mul(BLOCK_BYTES) as u64
    }

    /// The value; `None` for a tombstone. Of a layer that is mapped it is not copied unless it is compressed, and the bytes
    /// keep the map alive.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io) if the layer is not mapped and its file cannot be read;
    /// [`Error::Corrupt`](crate::Error::Corrupt) if a block of the value is damaged.
    pub fn value(&self) -> Result<Option<Bytes>> {
        let source = self.layer.source();
        match (self.head.value_bytes, self.head.raw_bytes) {
            (None, _) => Ok(None),
            (Some(_), None) => Ok(Some(source.checked_shared(self.value.clone())?)),
            (Some(_), Some(raw_bytes)) => {
                let raw = decompress(&source.checked(self.value.clone())?, raw_bytes as usize)
                    .map_err(|found| corrupt(source.file(), self.value.start as u64, found))?;
                Ok(Some(raw.into()))
            }
        }
    }

    /// The value in the form in which it is stored; `None` for a tombstone.
    pub(crate) fn stored(&self) -> Result<Option<LayerBytes<'a>>> {
        if self.is_tombstone() { Ok(None) } else { self.layer.source().checked(self.value.clone()).map(Some) }
    }
}
