//! Reading a layer in place.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use warp_io::{Dir, MappedBytes};

use crate::checked::CheckedMap;
use crate::ends::{check_header, check_trailer};
use crate::entry::{EntryHead, HEAD_BYTES, HEAD_BYTES_MAX, LayerValue};
use crate::error::{Corruption, Result, corrupt, io_at};
use crate::filter;
use crate::format::Footer;
use crate::index::Index;
use crate::names::layer_name;
use crate::place::split_path;
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

/// An open layer: an immutable file of entries, read in place through a memory map.
///
/// A handle is cheap to clone. The map lives as long as any handle, and any value that was read from it; the file
/// may lose its name meanwhile. Each 4 KiB block is checked when it is first touched, and remembered as good until
/// the last handle goes; [`verify`](Layer::verify) reads everything again.
///
/// A disk that fails to deliver a page of a map ends the process with a signal, on every system: that is how maps
/// report errors.
#[derive(Clone, Debug)]
pub struct Layer(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    info: LayerInfo,
    map: CheckedMap,
    index: Index,
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
        Layer::map(&dir, name, None, None)
    }

    /// Opens the layer of that id in `dir`, and trusts what its own footer says.
    ///
    /// # Errors
    /// Those of [`open_in`](Layer::open_in).
    pub fn open_file(dir: &dyn Dir, id: u64) -> Result<Layer> {
        Layer::map(dir, layer_name(id), Some(id), None)
    }

    /// Opens the layer that `info` describes, in `dir`.
    ///
    /// Reads the header, the footer and the directory of the index, whatever the number of entries.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io), with [`std::io::ErrorKind::NotFound`] if the file is missing; [`Error::Corrupt`](crate::Error::Corrupt) if one of
    /// those parts is damaged, or if it is not the file that `info` describes; [`Error::Unsupported`](crate::Error::Unsupported).
    pub fn open_in(dir: &dyn Dir, info: &LayerInfo) -> Result<Layer> {
        Layer::map(dir, layer_name(info.id), Some(info.id), Some(info))
    }

    fn map(dir: &dyn Dir, name: String, id: Option<u64>, info: Option<&LayerInfo>) -> Result<Layer> {
        let map = dir.open(&name, false).and_then(|file| file.map()).map_err(io_at(&name))?;
        Layer::of_map(name, map, id, info)
    }

    /// A layer of bytes that are mapped already.
    pub(crate) fn of_map(
        name: String,
        map: MappedBytes,
        id: Option<u64>,
        info: Option<&LayerInfo>,
    ) -> Result<Layer> {
        let id = check_header(&name, &map, id)?;
        if let Some(info) = info
            && info.bytes != map.len() as u64
        {
            let found = Corruption::LengthOutOfRange { length: map.len() as u64, limit: info.bytes };
            return Err(corrupt(&name, 0, found));
        }
        let (layout, root) = check_trailer(&name, &map, info.map(|info| info.root))?;
        let at_footer = |found| corrupt(&name, layout.footer_offset as u64, found);
        let footer = Footer::decode(&map[layout.footer_offset..layout.trailer_offset]).map_err(at_footer)?;
        if footer.id != id {
            return Err(at_footer(Corruption::WrongNumber { expected: id, found: footer.id }));
        }
        let (data, filter) = sections(&footer, layout.body_bytes).map_err(at_footer)?;
        let info = footer.info(layout.file_bytes as u64, root);
        let map = CheckedMap::new(name, map, layout);
        let index = Index::open(&map, &footer)?;
        let filter_lines = filter.len() / filter::LINE_BYTES;
        Ok(Layer(Arc::new(Inner { info, map, index, data, filter, filter_lines })))
    }

    /// The entry of a key, with its value; `None` if the layer does not know the key. A tombstone is an entry.
    ///
    /// # Errors
    /// [`Error::Corrupt`](crate::Error::Corrupt) if a block that the answer depends on is damaged: the key may or may not be in it.
    #[inline]
    pub fn get(&self, hash: u64, keyspace: u32, key: &[u8]) -> Result<Option<LayerValue>> {
        match self.find(hash, keyspace, key)? {
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
    /// [`Error::Corrupt`](crate::Error::Corrupt), as [`get`](Layer::get).
    pub fn find(&self, hash: u64, keyspace: u32, key: &[u8]) -> Result<Option<LayerEntryRef<'_>>> {
        if !self.may_contain(hash)? {
            return Ok(None);
        }
        let Inner { index, map, .. } = &*self.0;
        let slot = index.slot(map, hash)?;
        for rank in index.lower_bound(map, &slot, hash)?..slot.end {
            let (found, offset) = index.at(map, rank)?;
            if found != hash {
                break;
            }
            let entry = self.entry_at(hash, offset)?;
            if entry.keyspace == keyspace && entry.key == key {
                return Ok(Some(entry));
            }
        }
        Ok(None)
    }

    /// Whether a key of that hash may be in the layer. `false` is certain; `true` is wrong for about 4 absent
    /// hashes in 1000. Touches one cache line.
    ///
    /// # Errors
    /// [`Error::Corrupt`](crate::Error::Corrupt) if the block of the filter is damaged.
    #[inline]
    pub fn may_contain(&self, hash: u64) -> Result<bool> {
        let inner = &*self.0;
        if inner.filter_lines == 0 {
            return Ok(false);
        }
        let line = inner.map.checked(inner.filter_line(hash))?;
        Ok(filter::contains(line, hash))
    }

    /// Asks the system to read the pages of the filter and of the index that a lookup of that hash needs. Waits
    /// for nothing, and changes no answer.
    pub fn prefetch(&self, hash: u64) {
        let inner = &*self.0;
        if inner.filter_lines == 0 {
            return;
        }
        inner.map.will_need(inner.filter_line(hash));
        // The directory was checked when the layer was opened. If it is no longer good, a lookup will say so.
        if let Ok(range) = inner.index.probable(&inner.map, hash) {
            inner.map.will_need(range);
        }
    }

    /// Asks the system to read the first page of each entry of that hash. Reads the filter and the index, best
    /// some time after [`prefetch`](Layer::prefetch). Returns whether there is such an entry.
    ///
    /// # Errors
    /// [`Error::Corrupt`](crate::Error::Corrupt) if a block of the filter or of the index is damaged.
    pub fn prefetch_entry(&self, hash: u64) -> Result<bool> {
        let Inner { index, map, .. } = &*self.0;
        let mut known = false;
        if self.may_contain(hash)? {
            let slot = index.slot(map, hash)?;
            for rank in index.lower_bound(map, &slot, hash)?..slot.end {
                let (found, offset) = index.at(map, rank)?;
                if found != hash {
                    break;
                }
                map.will_need(offset..offset.saturating_add(HEAD_BYTES));
                known = true;
            }
        }
        Ok(known)
    }

    /// All entries, in ascending order of their hashes.
    #[must_use]
    pub fn iter(&self) -> Iter<'_> {
        Iter::new(self)
    }

    /// The entry at a place in the order of hashes, counted from 0; `None` behind the last one. For looking at a sample.
    ///
    /// # Errors
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
    /// [`Error::Corrupt`](crate::Error::Corrupt) if a block of the index that finds that entry is damaged.
    pub fn iter_from(&self, hash: u64) -> Result<Iter<'_>> {
        let Inner { index, map, .. } = &*self.0;
        let slot = index.slot(map, hash)?;
        Ok(Iter::from_rank(self, index.lower_bound(map, &slot, hash)?))
    }

    /// All entries with this hash: none, one, or several whose keys collide.
    ///
    /// # Errors
    /// [`Error::Corrupt`](crate::Error::Corrupt) if a block that the answer depends on is damaged.
    pub fn with_hash(&self, hash: u64) -> Result<Vec<LayerEntryRef<'_>>> {
        let mut found = Vec::new();
        if !self.may_contain(hash)? {
            return Ok(found);
        }
        let Inner { index, map, .. } = &*self.0;
        let slot = index.slot(map, hash)?;
        for rank in index.lower_bound(map, &slot, hash)?..slot.end {
            let (of_rank, offset) = index.at(map, rank)?;
            if of_rank != hash {
                break;
            }
            found.push(self.entry_at(hash, offset)?);
        }
        Ok(found)
    }

    /// Reads the whole file, and checks everything that a reader ever relies on.
    ///
    /// That is every checksum, those of blocks that were checked before included; that every entry and every
    /// compressed value decodes; that entries fill the data area without gap or overlap; that the index names each
    /// of them once, in order, and each key is there once; that the filter passes every key; and every count.
    ///
    /// # Errors
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

    /// Checks header, footer and trailer anew, as opening did.
    pub(crate) fn check_ends(&self) -> Result<()> {
        let Inner { info, map, .. } = &*self.0;
        check_header(map.file(), map.unchecked(), Some(info.id))?;
        check_trailer(map.file(), map.unchecked(), Some(info.root))?;
        Ok(())
    }

    pub(crate) fn map_ref(&self) -> &CheckedMap {
        &self.0.map
    }

    pub(crate) fn index(&self) -> &Index {
        &self.0.index
    }

    pub(crate) fn data(&self) -> Range<usize> {
        self.0.data.clone()
    }

    /// The entry at a rank of the index.
    pub(crate) fn entry_of_rank(&self, rank: u32) -> Result<LayerEntryRef<'_>> {
        let (hash, offset) = self.0.index.at(&self.0.map, rank)?;
        self.entry_at(hash, offset)
    }

    /// The entry at an offset, which is not trusted. Checks the blocks of its head and key.
    pub(crate) fn entry_at(&self, hash: u64, offset: usize) -> Result<LayerEntryRef<'_>> {
        let Inner { map, data, .. } = &*self.0;
        let damaged = |found| corrupt(map.file(), offset as u64, found);
        let beyond = |length: usize| {
            damaged(Corruption::LengthOutOfRange { length: length as u64, limit: data.end as u64 })
        };
        if offset < data.start || offset >= data.end {
            return Err(beyond(offset));
        }
        let head_end = data.end.min(offset + HEAD_BYTES_MAX);
        let head = EntryHead::decode(map.checked(offset..head_end)?).map_err(damaged)?;
        let (key, value) = head.ranges(); // lengths are below 2^31, so the sums do not overflow
        let end = offset.saturating_add(value.end);
        if end > data.end {
            return Err(beyond(end));
        }
        Ok(LayerEntryRef {
            hash,
            keyspace: head.keyspace,
            key: map.checked(offset + key.start..offset + key.end)?,
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
    // Version 1 does not read the sorted column; since it lies in the body, the checksums of blocks cover it.
    footer.sorted.range(body_bytes)?;
    Ok((footer.data.range(body_bytes)?, footer.filter.range(body_bytes)?))
}
