//! From a hash to the blocks in which its entry can be. See `docs/format/checkpoint.md`, "Sparse index".
//!
//! The index has 14 bytes for each entry, too many to stay in the page cache beside data that is larger than memory, so
//! that a lookup through it reads a page of the index and a page of the data. Where entries lie in the order of their
//! hashes, one item for each block of data is enough, as in the tables of Chang et al., "Bigtable" (2006): a hundredth
//! part of it, which stays in the cache, and the lookup reads the one block.

use std::ops::Range;

use crate::checked::Checked;
use crate::error::{Corruption, Result, corrupt};
use crate::format::{Footer, INDEX_ENTRY_BYTES, SPARSE_ENTRIES};
use crate::index::{Index, decode_entry, search};

/// Where the sparse index of an open layer is.
#[derive(Debug)]
pub(crate) struct Sparse {
    column: Range<usize>,
    items: u32,
}

impl Sparse {
    /// `None` if the layer has none.
    pub(crate) fn open(source: &Checked, footer: &Footer) -> Result<Option<Sparse>> {
        let at_footer = |found| corrupt(source.file(), source.layout().footer_offset as u64, found);
        let column = footer.sparse.range(source.layout().body_bytes).map_err(at_footer)?;
        let limit = footer.entries / SPARSE_ENTRIES;
        let items = column.len() / INDEX_ENTRY_BYTES;
        match u32::try_from(items) {
            Ok(0) if column.is_empty() => Ok(None),
            Ok(items) if column.len().is_multiple_of(INDEX_ENTRY_BYTES) && u64::from(items) <= limit => {
                Ok(Some(Sparse { column, items }))
            }
            _ => Err(at_footer(Corruption::LengthOutOfRange { length: column.len() as u64, limit })),
        }
    }

    /// How many items there are.
    pub(crate) fn items(&self) -> u32 {
        self.items
    }

    /// The hash and the offset of the first entry that begins in a block.
    pub(crate) fn at(&self, source: &Checked, item: u32) -> Result<(u64, usize)> {
        Ok(decode_entry(&source.array(self.place_of(item))?))
    }

    /// The first item whose block can have an entry with that hash. So can those that follow, as long as theirs is not
    /// larger.
    pub(crate) fn first_for(&self, source: &Checked, index: &Index, hash: u64) -> Result<u32> {
        let below = |item: u32| Ok(self.at(source, item)?.0 < hash);
        let guess = self.guess(source, index, hash)?;
        // The entries before the first of a block lie in the block before.
        Ok(search(0..self.items, guess, below)?.saturating_sub(1))
    }

    /// The bytes of the column where `hash` probably is, for reading ahead.
    pub(crate) fn probable(&self, source: &Checked, index: &Index, hash: u64) -> Result<Range<usize>> {
        let start = self.place_of(self.guess(source, index, hash)?);
        Ok(start..(start + INDEX_ENTRY_BYTES).min(self.column.end))
    }

    /// As many entries before it in the index as there should be, and all blocks have as many.
    fn guess(&self, source: &Checked, index: &Index, hash: u64) -> Result<u32> {
        let rank = u64::from(index.probable_rank(source, hash)?);
        let item = rank * u64::from(self.items) / u64::from(index.entries().max(1));
        Ok(u32::try_from(item).unwrap_or(u32::MAX).min(self.items - 1))
    }

    fn place_of(&self, item: u32) -> usize {
        self.column.start + item as usize * INDEX_ENTRY_BYTES
    }
}

/// Checks a sparse index against the index, whose entries are shown in their order.
#[derive(Debug, Default)]
pub(crate) struct Compared {
    item: u32,
    last_block: Option<usize>,
}

impl Compared {
    /// Looks at the next entry of the index.
    pub(crate) fn entry(&mut self, source: &Checked, sparse: &Sparse, entry: (u64, usize)) -> Result<()> {
        let block = Some(entry.1 / crate::format::BLOCK_BYTES);
        if block != self.last_block {
            if self.item >= sparse.items || sparse.at(source, self.item)? != entry {
                return Err(self.differs(source, sparse));
            }
            self.item += 1;
            self.last_block = block;
        }
        Ok(())
    }

    /// Checks that there are no more items.
    pub(crate) fn finish(self, source: &Checked, sparse: &Sparse) -> Result<()> {
        if self.item == sparse.items { Ok(()) } else { Err(self.differs(source, sparse)) }
    }

    fn differs(&self, source: &Checked, sparse: &Sparse) -> crate::Error {
        let offset = sparse.place_of(self.item.min(sparse.items - 1));
        corrupt(source.file(), offset as u64, Corruption::OutOfOrder)
    }
}
