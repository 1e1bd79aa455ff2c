//! Reading a layer in place.

use std::ops::{Deref, Range};
use std::path::Path;
use std::sync::Arc;

use warp_io::Dir;

use crate::access::LayerAccess;
use crate::checked::Checked;
use crate::ends::Whole;
use crate::entry::{EntryHead, HEAD_BYTES, HEAD_BYTES_MAX, LayerValue};
use crate::error::{Corruption, Result, corrupt, io_at};
use crate::filter;
use crate::format::{BLOCK_BYTES, Footer};
use crate::index::Index;
use crate::layer_bytes::LayerBytes;
use crate::names::layer_name;
use crate::place::split_path;
use crate::raw::Raw;
use crate::sparse::Sparse;
use crate::{Iter, LayerEntryRef, VerifyReport};

/// What a manifest records of a layer: enough to know the file again, and to choose which ones to merge.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LayerInfo {
    /// The number that names the file. Ids are never used twice in a database.
    pub id: u64,
    /// Length of the file.
    pub bytes: u64,
    /// Entries, tombstones included.
    pub entries: u64,
    /// Entries that are tombstones.
    pub tombstones: u64,
    /// The smallest sequence number of an entry; 0 if there is none.
    pub seq_min: u64,
    /// The largest sequence number of an entry; 0 if there is none.
    pub seq_max: u64,
    /// The checksum of the footer, and through it of everything.
    pub root: u32,
    /// Bytes of all values before compression.
    pub raw_value_bytes: u64,
    /// Bytes of all values as they are stored.
    pub stored_value_bytes: u64,
}

/// An open layer: an immutable file of entries, read in place through a memory map, or block by block ([`LayerAccess`]).
///
/// A handle is cheap to clone. The map, or the open file, lives as long as any handle, and a map as any value that was read
/// from it; the file may lose its name meanwhile. Each 4 KiB block is checked when it is first touched, and remembered as good
/// until the last handle goes; one that is read is checked each time that it comes into the cache.
/// [`verify`](Layer::verify) reads everything again.
///
/// A disk that fails to deliver a page of a map ends the process with a signal, on every system: that is how maps
/// report errors. Where files are read instead, it is an [`Error::Io`](crate::Error::Io) with its offset.
#[derive(Clone, Debug)]
pub struct Layer(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    info: LayerInfo,
    source: Checked,
    index: Index,
    sparse: Option<Sparse>,
    data: Range<usize>,
    filter: Range<usize>,
    filter_lines: usize,
}

impl Layer {
    /// Opens the layer file at `path`, and trusts what its own footer says.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io), [`Error::Corrupt`](crate::Error::Corrupt), or [`Error::Unsupported`](crate::Error::Unsupported).
    pub fn open(path: impl AsRef<Path>) -> Result<Layer> {
        let (dir, name) = split_path(path.as_ref())?;
        Layer::open_named(&dir, name, None, None, &LayerAccess::Map)
    }

    /// Opens the layer of that id in `dir`, through a map or through a cache of blocks, and trusts what its own footer says.
    ///
    /// # Errors
    /// Those of [`open_in`](Layer::open_in).
    pub fn open_file(dir: &dyn Dir, id: u64, access: &LayerAccess) -> Result<Layer> {
        Layer::open_named(dir, layer_name(id), Some(id), None, access)
    }

    /// Opens the layer that `info` describes, in `dir`.
    ///
    /// Reads the header, the footer and the directory of the index, whatever the number of entries.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io), with [`std::io::ErrorKind::NotFound`] if the file is missing; [`Error::Corrupt`](crate::Error::Corrupt) if one of
    /// those parts is damaged, or if it is not the file that `info` describes; [`Error::Unsupported`](crate::Error::Unsupported).
    pub fn open_in(dir: &dyn Dir, info: &LayerInfo) -> Result<Layer> {
        Layer::open_with(dir, info, &LayerAccess::Map)
    }

    /// As [`open_in`](Layer::open_in), through a map or through a cache of blocks, as `access` says.
    ///
    /// # Errors
    /// Those of [`open_in`](Layer::open_in).
    pub fn open_with(dir: &dyn Dir, info: &LayerInfo, access: &LayerAccess) -> Result<Layer> {
        Layer::open_named(dir, layer_name(info.id), Some(info.id), Some(info), access)
    }

    fn open_named(
        dir: &dyn Dir,
        name: String,
        id: Option<u64>,
        info: Option<&LayerInfo>,
        access: &LayerAccess,
    ) -> Result<Layer> {
        let file = dir.open(&name, false).map_err(io_at(&name))?;
        let raw = Raw::open(&name, &file, access)?;
        Layer::of_raw(name, raw, id, info)
    }

    /// A layer of a file that is open already.
    pub(crate) fn of_raw(name: String, raw: Raw, id: Option<u64>, info: Option<&LayerInfo>) -> Result<Layer> {
        let whole = Whole { name: &name, bytes: raw.len(), read: |range| raw.read(range) };
        let id = whole.check_header(id)?;
        if let Some(info) = info
            && info.bytes != whole.bytes as u64
        {
            let found = Corruption::LengthOutOfRange { length: whole.bytes as u64, limit: info.bytes };
            return Err(corrupt(&name, 0, found));
        }
        let end = whole.check_trailer(info.map(|info| info.root))?;
        let layout = end.layout;
        let at_footer = |found| corrupt(&name, layout.footer_offset as u64, found);
        let footer = Footer::decode(end.footer()).map_err(at_footer)?;
        if footer.id != id {
            return Err(at_footer(Corruption::WrongNumber { expected: id, found: footer.id }));
        }
        let (data, filter) = sections(&footer, layout.body_bytes).map_err(at_footer)?;
        let info = footer.info(layout.file_bytes as u64, end.root);
        let pieces = end.pieces().to_vec();
        let source = Checked::new(name.clone(), raw, layout, &pieces);
        let index = Index::open(&source, &footer)?;
        let sparse = Sparse::open(&source, &footer)?;
        let filter_lines = filter.len() / filter::LINE_BYTES;
        Ok(Layer(Arc::new(Inner { info, source, index, sparse, data, filter, filter_lines })))
    }

    /// The entry of a key, with its value; `None` if the layer does not know the key. A tombstone is an entry.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io) if the layer is not mapped and its file cannot be read;
    /// [`Error::Corrupt`](crate::Error::Corrupt) if a block that the answer depends on is damaged: the key may or may not be in it.
    #[inline]
    pub fn get(&self, hash: u64, keyspace: u32, key: &[u8]) -> Result<Option<LayerValue>> {
        if self.may_contain(hash)? { self.get_unfiltered(hash, keyspace, key) } else { Ok(None) }
    }

    /// As [`get`](Layer::get), without asking the filter first: for keys that are nearly always there, of which it would
    /// only be one more page to read.
    ///
    /// # Errors
    /// Those of [`get`](Layer::get).
    #[inline]
    pub fn get_unfiltered(&self, hash: u64, keyspace: u32, key: &[u8]) -> Result<Option<LayerValue>> {
        match self.find_unfiltered(hash, keyspace, key)? {
            None => Ok(None),
            Some(entry) => {
                let value = entry.value()?;
                Ok(Some(LayerValue { seq: entry.seq, deadline: entry.deadline, value }))
            }
        }
    }

    /// The entry of a key, without looking at its value yet.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io) if the layer is not mapped and its file cannot be read;
    /// [`Error::Corrupt`](crate::Error::Corrupt), as [`get`](Layer::get).
    pub fn find(&self, hash: u64, keyspace: u32, key: &[u8]) -> Result<Option<LayerEntryRef<'_>>> {
        if self.may_contain(hash)? { self.find_unfiltered(hash, keyspace, key) } else { Ok(None) }
    }

    /// As [`find`](Layer::find), without asking the filter first, as [`get_unfiltered`](Layer::get_unfiltered).
    ///
    /// # Errors
    /// Those of [`find`](Layer::find).
    #[inline]
    pub fn find_unfiltered(&self, hash: u64, keyspace: u32, key: &[u8]) -> Result<Option<LayerEntryRef<'_>>> {
        match &self.0.sparse {
            Some(sparse) => self.find_in_blocks(sparse, hash, keyspace, key),
            None => self.find_in_index(hash, keyspace, key),
        }
    }

    fn find_in_index(&self, hash: u64, keyspace: u32, key: &[u8]) -> Result<Option<LayerEntryRef<'_>>> {
        let Inner { index, source, .. } = &*self.0;
        for offset in index.offsets_of(source, hash)? {
            let entry = self.entry_at(hash, offset?)?;
            if entry.keyspace == keyspace && *entry.key == *key {
                return Ok(Some(entry));
            }
        }
        Ok(None)
    }

    fn find_in_blocks(
        &self,
        sparse: &Sparse,
        hash: u64,
        keyspace: u32,
        key: &[u8],
    ) -> Result<Option<LayerEntryRef<'_>>> {
        let Inner { index, source, .. } = &*self.0;
        for first in sparse.items_for(source, index, hash)? {
            if let Some(entry) = self.find_in_block(first?, hash, keyspace, key)? {
                return Ok(Some(entry));
            }
        }
        Ok(None)
    }

    /// Looks at the entry at `first`, which is not trusted, and at those behind it that begin in the same block.
    fn find_in_block(
        &self,
        first: usize,
        hash: u64,
        keyspace: u32,
        key: &[u8],
    ) -> Result<Option<LayerEntryRef<'_>>> {
        let Inner { source, data, .. } = &*self.0;
        let end = (first / BLOCK_BYTES + 1).saturating_mul(BLOCK_BYTES).min(data.end);
        let block = source.checked(first.min(end)..end)?;
        let mut offset = first;
        loop {
            // Nearly all heads and keys are in the block, which was checked.
            let head =
                self.head_at(offset, |range| match block.get(range.start - first..range.end - first) {
                    Some(bytes) => Ok(LayerBytes::mapped(bytes)),
                    None => source.checked(range),
                })?;
            let (of_key, of_value) = head.ranges();
            if head.keyspace == keyspace && head.key_bytes == key.len() {
                let is_other = block
                    .get(offset - first + of_key.start..offset - first + of_key.end)
                    .is_some_and(|other| other != key);
                if !is_other {
                    let entry = self.entry_with_head(hash, offset, head)?;
                    if *entry.key == *key {
                        return Ok(Some(entry));
                    }
                }
            }
            offset += of_value.end;
            if offset >= end {
                return Ok(None);
            }
        }
    }

    /// Whether a key of that hash may be in the layer. `false` is certain; `true` is wrong for about 4 absent
    /// hashes in 1000. Touches one cache line; of a layer that is not mapped, a block or two.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io) if the layer is not mapped and its file cannot be read;
    /// [`Error::Corrupt`](crate::Error::Corrupt) if the block of the filter is damaged.
    #[inline]
    pub fn may_contain(&self, hash: u64) -> Result<bool> {
        let inner = &*self.0;
        if inner.filter_lines == 0 {
            return Ok(false);
        }
        let line: [u8; filter::LINE_BYTES] = inner.source.array(inner.filter_line(hash).start)?;
        Ok(filter::contains(&line, hash))
    }

    /// Asks the system to read the page of the filter that a lookup of that hash needs, and what
    /// [`prefetch_unfiltered`](Layer::prefetch_unfiltered) asks for. Changes no answer.
    pub fn prefetch(&self, hash: u64) {
        let inner = &*self.0;
        if inner.filter_lines > 0 {
            inner.source.will_need(inner.filter_line(hash));
            self.prefetch_unfiltered(hash);
        }
    }

    /// Asks the system to read the page that a lookup of that hash needs beside the filter: of the data, where a sparse index
    /// tells which, or else of the index. The sparse index is read for that; it is mostly in the page cache.
    pub fn prefetch_unfiltered(&self, hash: u64) {
        let Inner { index, source, sparse, .. } = &*self.0;
        let Some(sparse) = sparse else { return self.prefetch_index(hash) };
        // What is damaged is said by the lookup.
        if let Ok(mut items) = sparse.items_for(source, index, hash)
            && let Some(Ok(first)) = items.next()
        {
            source.will_need(first..first.saturating_add(HEAD_BYTES));
        }
    }

    /// Asks the system to read the pages of the filter and of the index that [`with_hash`](Layer::with_hash) needs. Waits for
    /// nothing, and changes no answer.
    pub fn prefetch_hash(&self, hash: u64) {
        let inner = &*self.0;
        if inner.filter_lines > 0 {
            inner.source.will_need(inner.filter_line(hash));
            self.prefetch_index(hash);
        }
    }

    fn prefetch_index(&self, hash: u64) {
        // The directory was checked when the layer was opened. If it is no longer good, a lookup will say so.
        if let Ok(range) = self.0.index.probable(&self.0.source, hash) {
            self.0.source.will_need(range);
        }
    }

    /// All entries, in ascending order of their hashes.
    #[must_use]
    pub fn iter(&self) -> Iter<'_> {
        Iter::new(self)
    }

    /// The entry at a place in the order of hashes, counted from 0; `None` behind the last one. For looking at a sample.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io) if the layer is not mapped and its file cannot be read;
    /// [`Error::Corrupt`](crate::Error::Corrupt) if a block of the index or of the entry is damaged.
    pub fn nth(&self, place: u32) -> Result<Option<LayerEntryRef<'_>>> {
        if place >= self.0.index.entries() {
            return Ok(None);
        }
        self.entry_of_rank(place).map(Some)
    }

    /// The entries from the first one on whose hash is `hash` or larger, in ascending order of their hashes.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io) if the layer is not mapped and its file cannot be read;
    /// [`Error::Corrupt`](crate::Error::Corrupt) if a block of the index that finds that entry is damaged.
    pub fn iter_from(&self, hash: u64) -> Result<Iter<'_>> {
        let Inner { index, source, .. } = &*self.0;
        let slot = index.slot(source, hash)?;
        Ok(Iter::from_rank(self, index.lower_bound(source, &slot, hash)?))
    }

    /// All entries with this hash: none, one, or several whose keys collide.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io) if the layer is not mapped and its file cannot be read;
    /// [`Error::Corrupt`](crate::Error::Corrupt) if a block that the answer depends on is damaged.
    pub fn with_hash(&self, hash: u64) -> Result<Vec<LayerEntryRef<'_>>> {
        if !self.may_contain(hash)? {
            return Ok(Vec::new());
        }
        let Inner { index, source, .. } = &*self.0;
        index.offsets_of(source, hash)?.map(|offset| self.entry_at(hash, offset?)).collect()
    }

    /// Reads the whole file, and checks everything that a reader ever relies on.
    ///
    /// That is every checksum, those of blocks that were checked before included; that every entry and every
    /// compressed value decodes; that entries fill the data area without gap or overlap; that the index names each
    /// of them once, in order, and each key is there once; that the filter passes every key; and every count.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io) if the layer is not mapped and its file cannot be read;
    /// [`Error::Corrupt`](crate::Error::Corrupt) with the first fault that was found.
    pub fn verify(&self) -> Result<VerifyReport> {
        crate::verify::verify(self, &mut |_| true)
    }

    /// What a manifest records of this layer.
    #[must_use]
    pub fn info(&self) -> &LayerInfo {
        &self.0.info
    }

    /// The number that names the file.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.0.info.id
    }

    /// Length of the file.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.0.info.bytes
    }

    /// Whether it is known that the entries lie in the order of their hashes, as in layers with a sparse index.
    #[must_use]
    pub fn is_in_hash_order(&self) -> bool {
        self.0.sparse.is_some()
    }

    /// Checks header, footer and trailer anew, as opening did.
    pub(crate) fn check_ends(&self) -> Result<()> {
        let Inner { info, source, .. } = &*self.0;
        let bytes = source.layout().file_bytes;
        let whole = Whole { name: source.file(), bytes, read: |range| source.unchecked(range) };
        whole.check_header(Some(info.id))?;
        whole.check_trailer(Some(info.root))?;
        Ok(())
    }

    pub(crate) fn source(&self) -> &Checked {
        &self.0.source
    }

    pub(crate) fn index(&self) -> &Index {
        &self.0.index
    }

    pub(crate) fn sparse(&self) -> Option<&Sparse> {
        self.0.sparse.as_ref()
    }

    pub(crate) fn data(&self) -> Range<usize> {
        self.0.data.clone()
    }

    /// The entry at a rank of the index.
    pub(crate) fn entry_of_rank(&self, rank: u32) -> Result<LayerEntryRef<'_>> {
        let (hash, offset) = self.0.index.at(&self.0.source, rank)?;
        self.entry_at(hash, offset)
    }

    /// The head of the entry at an offset, which is not trusted; `read` gives the bytes of a range of the body.
    #[inline]
    pub(crate) fn head_at<B: Deref<Target = [u8]>>(
        &self,
        offset: usize,
        read: impl FnOnce(Range<usize>) -> Result<B>,
    ) -> Result<EntryHead> {
        let Inner { source, data, .. } = &*self.0;
        let damaged = |found| corrupt(source.file(), offset as u64, found);
        let beyond = |length: usize| {
            damaged(Corruption::LengthOutOfRange { length: length as u64, limit: data.end as u64 })
        };
        if offset < data.start || offset >= data.end {
            return Err(beyond(offset));
        }
        let head = read(offset..data.end.min(offset + HEAD_BYTES_MAX))?;
        let head = EntryHead::decode(&head).map_err(damaged)?;
        // Lengths are below 2^31, so the sums do not overflow.
        let end = offset.saturating_add(head.ranges().1.end);
        if end > data.end { Err(beyond(end)) } else { Ok(head) }
    }

    /// The entry at an offset, which is not trusted. Checks the blocks of its head and key.
    pub(crate) fn entry_at(&self, hash: u64, offset: usize) -> Result<LayerEntryRef<'_>> {
        let head = self.head_at(offset, |range| self.0.source.checked(range))?;
        self.entry_with_head(hash, offset, head)
    }

    /// The entry at an offset whose head was read. Checks the blocks of its key.
    pub(crate) fn entry_with_head(
        &self,
        hash: u64,
        offset: usize,
        head: EntryHead,
    ) -> Result<LayerEntryRef<'_>> {
        let source = &self.0.source;
        let (key, value) = head.ranges();
        Ok(LayerEntryRef {
            hash,
            keyspace: head.keyspace,
            key: source.checked(offset + key.start..offset + key.end)?,
            seq: head.seq,
            deadline: head.deadline,
            layer: self,
            head,
            value: offset + value.start..offset + value.end,
        })
    }
}

impl Inner {
    fn filter_line(&self, hash: u64) -> Range<usize> {
        let start = self.filter.start + filter::line_of(hash, self.filter_lines) * filter::LINE_BYTES;
        start..start + filter::LINE_BYTES
    }
}

/// Where the data area and the filter are.
fn sections(footer: &Footer, body_bytes: usize) -> Result<(Range<usize>, Range<usize>), Corruption> {
    let filter_bytes = filter::lines_for(footer.entries).saturating_mul(filter::LINE_BYTES as u64);
    if footer.filter.bytes != filter_bytes {
        return Err(Corruption::LengthOutOfRange { length: footer.filter.bytes, limit: filter_bytes });
    }
    Ok((footer.data.range(body_bytes)?, footer.filter.range(body_bytes)?))
}
