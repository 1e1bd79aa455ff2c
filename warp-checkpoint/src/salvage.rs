//! What is left of a damaged layer. `docs/format/checkpoint.md`, section "Salvage".
//!
//! Every block that its checksum speaks for is believed, whatever is wrong elsewhere in the file: header, footer, root,
//! directory and filter can all be done without. Entries are found by the index where that is whole, and by walking from
//! one to the next where it is not. The file is read, never mapped: a block that the disk cannot give is one more damaged
//! block, and does not end the process.

use std::collections::BTreeMap;
use std::ops::Range;

use bytes::Bytes;
use warp_io::Dir;

use crate::LayerEntry;
use crate::access::BlockCache;
use crate::compress::decompress;
use crate::ends::Whole;
use crate::entry::{EntryHead, HEAD_BYTES, HEAD_BYTES_MAX};
use crate::error::{Corruption, Result, corrupt, io_at};
use crate::filter;
use crate::format::{
    BLOCK_BYTES, CHECK_BYTES, FOOTER_BYTES, Footer, HEADER_BYTES, INDEX_ENTRY_BYTES, Layout, SECTION_ALIGN,
    u32_at,
};
use crate::index::decode_entry;
use crate::layer::LayerInfo;
use crate::layer_bytes::LayerBytes;
use crate::names::layer_name;
use crate::raw::RawFile;

/// Blocks that are kept while the file is read, from front to back as a rule.
const KEPT_BYTES: usize = 1 << 20;
/// Blocks that are read at once, unless one of them cannot be.
const RUN_BLOCKS: usize = 64;

/// A layer file that may be damaged anywhere.
#[derive(Debug)]
pub struct Salvage {
    file: RawFile,
    /// The file's number in its cache.
    number: u64,
    layout: Layout,
    /// For each block of the body its checksum, if it was right.
    good: Vec<Option<u32>>,
    data: Range<usize>,
    index: Range<usize>,
    filter: Range<usize>,
    entries: u64,
}

/// What [`Salvage::read`] did not find.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Missing {
    /// Entries of which something is known, in the order of the file.
    pub entries: Vec<MissingEntry>,
    /// Entries of which nothing is known but that they were there.
    pub unknown: u64,
    /// The damaged parts of the file: offset and length.
    pub damaged: Vec<(u64, u64)>,
}

/// An entry that was lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MissingEntry {
    /// Where it is in the file.
    pub offset: u64,
    /// The hash of its key, if the index has it or the key can be read.
    pub hash: Option<u64>,
    /// Its keyspace, key and sequence number, if only its value is lost.
    pub key: Option<(u32, Vec<u8>, u64)>,
}

impl Salvage {
    /// Looks at the file of the layer that `info` describes, in `dir`.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io), with [`std::io::ErrorKind::NotFound`] if it is missing;
    /// [`Error::Corrupt`](crate::Error::Corrupt) if it was cut, so that there are no checksums to believe. What the disk cannot
    /// read is damage, not an error.
    pub fn open(dir: &dyn Dir, info: &LayerInfo) -> Result<Salvage> {
        let name = layer_name(info.id);
        let file = dir.open(&name, false).map_err(io_at(&name))?;
        let file = RawFile::open(&name, &file, &BlockCache::new(KEPT_BYTES))?;
        let read = |range: Range<usize>| file.read(range).map(LayerBytes::read);
        let end = Whole { name: &name, bytes: file.len(), read }.check_trailer(Some(info.root)).ok();
        let whole = end.and_then(|end| Some((end.layout, Footer::decode(end.footer()).ok()?)));
        let known = whole.or_else(|| {
            let layout = layout_of(usize::try_from(info.bytes).ok()?)?;
            (layout.file_bytes <= file.len()).then_some(())?;
            Some((layout, footer_of(info, &layout)?))
        });
        let cut = || {
            let found = Corruption::LengthOutOfRange { length: file.len() as u64, limit: info.bytes };
            corrupt(&name, 0, found)
        };
        let (layout, footer) = known.ok_or_else(cut)?;
        let range = |section: crate::format::Section| section.range(layout.body_bytes).map_err(|_| cut());
        let (data, index, filter) = (range(footer.data)?, range(footer.index)?, range(footer.filter)?);
        let good = good_blocks(&file, &layout);
        let number = file.cache.add_file();
        Ok(Salvage { file, number, layout, good, data, index, filter, entries: footer.entries })
    }

    /// Calls `each` with every entry that is whole, in the order of the file, and returns what is missing. `hash_of` is the
    /// hash of a key in a keyspace.
    pub fn read(
        &self,
        hash_of: impl Fn(u32, &[u8]) -> u64,
        mut each: impl FnMut(&LayerEntry<'_>),
    ) -> Missing {
        let mut missing = Missing { damaged: self.damaged(), ..Missing::default() };
        let indexed = self.indexed();
        let index_is_whole = indexed.len() as u64 == self.entries;
        let (mut whole, mut at) = (0, self.data.start);
        // Where the footer is damaged, what follows the last entry is taken for data as well.
        while at < self.data.end && whole + (missing.entries.len() as u64) < self.entries {
            let may_be = !index_is_whole || indexed.contains_key(&at);
            let Some((head, key)) = may_be.then(|| self.entry(at)).flatten() else {
                if let Some(hash) = indexed.get(&at) {
                    missing.entries.push(MissingEntry { offset: at as u64, hash: Some(*hash), key: None });
                }
                // The index knows where the next one begins, if anything does.
                match indexed.range(at + 1..).next() {
                    Some((next, _)) => at = *next,
                    None => break,
                }
                continue;
            };
            let hash = hash_of(head.keyspace, &key);
            let value = head.ranges().1;
            let value = at + value.start..at + value.end;
            match self.value(&head, value.clone()) {
                Some(stored) => {
                    whole += 1;
                    let EntryHead { keyspace, seq, deadline, .. } = head;
                    each(&LayerEntry { hash, keyspace, key: &key, seq, deadline, value: stored.as_deref() });
                }
                None => missing.entries.push(MissingEntry {
                    offset: at as u64,
                    hash: Some(hash),
                    key: Some((head.keyspace, key.to_vec(), head.seq)),
                }),
            }
            at = value.end;
        }
        missing.unknown = self.entries.saturating_sub(whole + missing.entries.len() as u64);
        missing
    }

    /// Whether an entry of that hash may be among those of which nothing is known: not if the filter is whole there, and
    /// does not know it.
    #[must_use]
    pub fn may_hold(&self, hash: u64) -> bool {
        let lines = self.filter.len() / filter::LINE_BYTES;
        if lines == 0 {
            return self.entries > 0;
        }
        let start = self.filter.start + filter::line_of(hash, lines) * filter::LINE_BYTES;
        self.bytes(start..start + filter::LINE_BYTES).is_none_or(|line| filter::contains(&line, hash))
    }

    /// The bytes of a range, if all of its blocks are whole.
    fn bytes(&self, range: Range<usize>) -> Option<Bytes> {
        if range.start > range.end || range.end > self.layout.body_bytes {
            return None;
        }
        if range.is_empty() {
            return Some(Bytes::new());
        }
        let (first, end) = (range.start / BLOCK_BYTES, range.end.div_ceil(BLOCK_BYTES));
        if self.good[first..end].contains(&None) {
            return None;
        }
        let start = first * BLOCK_BYTES;
        let within = range.start - start..range.end - start;
        if first + 1 == end {
            return Some(self.block(first)?.slice(within));
        }
        let mut bytes = Vec::with_capacity(self.layout.block(end - 1).end - start);
        for block in first..end {
            bytes.extend_from_slice(&self.block(block)?);
        }
        Some(Bytes::from(bytes).slice(within))
    }

    /// A block that was good when the file was opened, if it still is.
    fn block(&self, block: usize) -> Option<Bytes> {
        if let Some(bytes) = self.file.cache.get(self.number, block as u64) {
            return Some(bytes);
        }
        let bytes = self.file.read(self.layout.block(block)).ok()?;
        (Some(crc32c::crc32c(&bytes)) == self.good[block]).then_some(())?;
        self.file.cache.insert(self.number, block as u64, bytes.clone());
        Some(bytes)
    }

    /// The offsets of entries that the index has, with their hashes, as far as it is whole.
    fn indexed(&self) -> BTreeMap<usize, u64> {
        let ranks = self.index.clone().step_by(INDEX_ENTRY_BYTES);
        let entry = |start: usize| {
            let bytes = self.bytes(start..start + INDEX_ENTRY_BYTES)?;
            let (hash, offset) = decode_entry(bytes.first_chunk()?);
            Some((offset, hash))
        };
        ranks.filter_map(entry).filter(|(offset, _)| self.data.contains(offset)).collect()
    }

    /// The head and the key of the entry at an offset, if they are whole and possible.
    fn entry(&self, at: usize) -> Option<(EntryHead, Bytes)> {
        let head_end = self.data.end.min(at + HEAD_BYTES_MAX);
        let bytes = self.bytes(at..head_end).or_else(|| {
            // The longest head may reach into a damaged block that this one does not.
            let end = (at / BLOCK_BYTES + 1) * BLOCK_BYTES;
            (end >= at + HEAD_BYTES && end < head_end).then(|| self.bytes(at..end)).flatten()
        })?;
        let head = EntryHead::decode(&bytes).ok()?;
        // No write has the number 0: that is padding.
        let end = at.checked_add(head.ranges().1.end).filter(|end| head.seq != 0 && *end <= self.data.end)?;
        let key = head.ranges().0;
        debug_assert!(end >= at + key.end);
        Some((head, self.bytes(at + key.start..at + key.end)?))
    }

    /// The value of an entry, if it is whole: `Some(None)` for a tombstone.
    #[expect(clippy::option_option, reason = "whether it is whole, and whether there is one")]
    fn value(&self, head: &EntryHead, range: Range<usize>) -> Option<Option<Vec<u8>>> {
        match (head.value_bytes, head.raw_bytes) {
            (None, _) => Some(None),
            (Some(_), None) => Some(Some(self.bytes(range)?.to_vec())),
            (Some(_), Some(raw)) => Some(Some(decompress(&self.bytes(range)?, raw as usize).ok()?)),
        }
    }

    fn damaged(&self) -> Vec<(u64, u64)> {
        let bad = self.good.iter().enumerate().filter(|(_, good)| good.is_none());
        bad.map(|(block, _)| {
            let range = self.layout.block(block);
            (range.start as u64, range.len() as u64)
        })
        .collect()
    }

    /// The name of the file.
    #[must_use]
    pub fn file(&self) -> &str {
        self.file.name()
    }
}

/// Of each block of the body its checksum, if the block can be read and the checksum is right.
fn good_blocks(file: &RawFile, layout: &Layout) -> Vec<Option<u32>> {
    let check = |block: usize, bytes: &[u8], expected: &[u8]| {
        let expected = u32_at(expected, block * CHECK_BYTES);
        (crc32c::crc32c(bytes) == expected).then_some(expected)
    };
    let mut good = Vec::with_capacity(layout.blocks());
    for first in (0..layout.blocks()).step_by(RUN_BLOCKS) {
        let run = first..layout.blocks().min(first + RUN_BLOCKS);
        let place = |block: usize| layout.checks_offset + block * CHECK_BYTES;
        let expected = file.read(place(run.start)..place(run.end));
        let bytes = file.read(first * BLOCK_BYTES..layout.block(run.end - 1).end);
        if let (Ok(expected), Ok(bytes)) = (&expected, &bytes) {
            let blocks = bytes.chunks(BLOCK_BYTES).enumerate();
            good.extend(blocks.map(|(block, bytes)| check(block, bytes, expected)));
            continue;
        }
        // One by one, to lose no more than the disk does.
        good.extend(run.map(|block| {
            let expected = file.read(place(block)..place(block + 1)).ok()?;
            check(0, &file.read(layout.block(block)).ok()?, &expected)
        }));
    }
    good
}

/// The layout of a file of that length, with the footer of this version.
fn layout_of(file_bytes: usize) -> Option<Layout> {
    let (mut low, mut high) = (HEADER_BYTES, file_bytes);
    while low < high {
        let middle = low.midpoint(high);
        if Layout::new(middle, FOOTER_BYTES)?.file_bytes < file_bytes {
            low = middle + 1
        } else {
            high = middle
        }
    }
    Layout::new(low, FOOTER_BYTES).filter(|layout| layout.file_bytes == file_bytes)
}

/// Where the sections are, as the number of entries tells: they follow each other up to the end of the body. The sparse index,
/// of which it tells nothing, is taken for the end of the data.
fn footer_of(info: &LayerInfo, layout: &Layout) -> Option<Footer> {
    let mut footer = Footer { id: info.id, entries: info.entries, ..Footer::default() };
    footer.slot_bits = crate::index::slot_bits_for(info.entries);
    let mut end = layout.body_bytes as u64;
    let mut before = |bytes: u64| {
        let offset = end.checked_sub(bytes)? / SECTION_ALIGN as u64 * SECTION_ALIGN as u64;
        end = offset;
        Some(crate::format::Section { offset, bytes })
    };
    footer.filter = before(filter::lines_for(info.entries).checked_mul(filter::LINE_BYTES as u64)?)?;
    footer.index = before(info.entries.checked_mul(INDEX_ENTRY_BYTES as u64)?)?;
    footer.directory = before(crate::index::directory_bytes(footer.slot_bits) as u64)?;
    let start = HEADER_BYTES as u64;
    footer.data = crate::format::Section { offset: start, bytes: end.checked_sub(start)? };
    Some(footer)
}
