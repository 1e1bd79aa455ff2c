//! From a hash to the blocks in which its entry can be. See `docs/format/checkpoint.md`, "Sparse index".
//!
//! The index has 14 bytes for each entry, too many to stay in the page cache beside data that is larger than memory, so
//! that a lookup through it reads a page of the index and a page of the data. Where entries lie in the order of their
//! hashes, one item for each block of data is enough, as in the tables of Chang et al., "Bigtable" (2006): of small
//! entries a thirtieth part of the index, which stays in the cache, and the lookup reads the one block.

use std::ops::Range;

use crate::checked::Checked;
use crate::error::{Corruption, Result, corrupt};
use crate::format::{BLOCK_BYTES, Footer, INDEX_ENTRY_BYTES, SPARSE_ENTRIES};
use crate::index::{Index, decode_entry, search, while_hash};

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

    /// The hash and the offset of the first entry that begins in a block.
    fn at(&self, source: &Checked, item: u32) -> Result<(u64, usize)> {
        Ok(decode_entry(&source.array(self.place_of(item))?))
    }

    /// The first entries of the blocks that can have an entry with that hash, as offsets, the likeliest block first.
    pub(crate) fn items_for<'a>(
        &'a self,
        source: &'a Checked,
        index: &Index,
        hash: u64,
    ) -> Result<impl Iterator<Item = Result<usize>> + 'a> {
        let guess = self.guess(source, index, hash)?;
        let after = search(0..self.items, guess, |item| Ok(self.at(source, item)?.0 < hash))?;
        // Entries with the hash of a block's first may have begun in the block before; all others are there.
        let equal = while_hash(hash, (after..self.items).map(|item| self.at(source, item)));
        let before = after.checked_sub(1).into_iter().map(|item| Ok(self.at(source, item)?.1));
        Ok(equal.chain(before))
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
    last: Option<usize>,
}

impl Compared {
    /// Looks at the next entry of the index.
    pub(crate) fn entry(&mut self, source: &Checked, sparse: &Sparse, entry: (u64, usize)) -> Result<()> {
        let last = self.last.replace(entry.1);
        if last.is_some_and(|last| last >= entry.1) {
            return Err(self.differs(source, sparse));
        }
        if last.is_none_or(|last| last / BLOCK_BYTES != entry.1 / BLOCK_BYTES) {
            if self.item >= sparse.items || sparse.at(source, self.item)? != entry {
                return Err(self.differs(source, sparse));
            }
            self.item += 1;
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
