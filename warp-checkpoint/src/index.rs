//! From a hash to the place of its entry. See `docs/format/checkpoint.md`, "Directory and index".
//!
//! The directory says where in the index each slot begins. Within a slot the index is sorted by hash, and hashes
//! are spread evenly, so the place of one is guessed (interpolation search: Perl, Itai, Avni, "Interpolation
//! search, a log log n search", 1978), and the guess corrected in growing steps. Uneven hashes cost time only.

use std::ops::Range;

use crate::checked::Checked;
use crate::error::{Corruption, Result, corrupt};
use crate::format::{
    DATA_END_MAX, Footer, INDEX_ENTRY_BYTES, RANK_BYTES, SLOT_BITS_MAX, SLOT_ENTRIES, u32_at, u64_at,
};

/// First step by which a wrong guess is corrected, in entries: about two cache lines.
const STEP_FIRST: u32 = 8;

/// Where the directory and the index of an open layer are.
#[derive(Debug)]
pub(crate) struct Index {
    directory: Range<usize>,
    index: Range<usize>,
    slot_bits: u32,
    entries: u32,
}

impl Index {
    /// Checks the directory in full. It has a bounded size, so this does not grow with the number of entries.
    pub(crate) fn open(source: &Checked, footer: &Footer) -> Result<Index> {
        let at_footer = |found| corrupt(source.file(), source.layout().footer_offset as u64, found);
        let bad_length = |length: u64, limit: u64| at_footer(Corruption::LengthOutOfRange { length, limit });
        let entries = u32::try_from(footer.entries)
            .map_err(|_| bad_length(footer.entries, crate::format::ENTRIES_MAX))?;
        if footer.slot_bits > SLOT_BITS_MAX {
            return Err(bad_length(footer.slot_bits.into(), SLOT_BITS_MAX.into()));
        }
        let directory_bytes = directory_bytes(footer.slot_bits) as u64;
        if footer.directory.bytes != directory_bytes {
            return Err(bad_length(footer.directory.bytes, directory_bytes));
        }
        let index_bytes = u64::from(entries) * INDEX_ENTRY_BYTES as u64;
        if footer.index.bytes != index_bytes {
            return Err(bad_length(footer.index.bytes, index_bytes));
        }
        let body_bytes = source.layout().body_bytes;
        let index = Index {
            directory: footer.directory.range(body_bytes).map_err(at_footer)?,
            index: footer.index.range(body_bytes).map_err(at_footer)?,
            slot_bits: footer.slot_bits,
            entries,
        };
        index.check_directory(source)?;
        Ok(index)
    }

    /// How many entries there are. A rank is a place among them, in ascending order of hashes.
    pub(crate) fn entries(&self) -> u32 {
        self.entries
    }

    /// The number of the slot that a hash belongs to.
    pub(crate) fn slot_of(&self, hash: u64) -> usize {
        slot_of(hash, self.slot_bits)
    }

    /// The ranks of a slot, for a hash that belongs to it.
    pub(crate) fn slot(&self, source: &Checked, hash: u64) -> Result<Range<u32>> {
        let first = self.directory.start + self.slot_of(hash) * RANK_BYTES;
        let bounds: [u8; 2 * RANK_BYTES] = source.array(first)?;
        let (start, end) = (u32_at(&bounds, 0), u32_at(&bounds, RANK_BYTES));
        // Checked when the file was opened; but a page that is read again may come back damaged.
        if start > end || end > self.entries {
            return Err(corrupt(source.file(), first as u64, Corruption::OutOfOrder));
        }
        Ok(start..end)
    }

    /// The hash and the entry's offset at a rank below [`entries`](Index::entries).
    pub(crate) fn at(&self, source: &Checked, rank: u32) -> Result<(u64, usize)> {
        Ok(decode_entry(&source.array(self.place_of(rank))?))
    }

    /// The same, of a body that is in memory, and was checked.
    pub(crate) fn entry_in(&self, body: &[u8], rank: u32) -> (u64, usize) {
        let start = self.place_of(rank);
        let bytes = body[start..].first_chunk().expect("the index lies in the body");
        decode_entry(bytes)
    }

    fn place_of(&self, rank: u32) -> usize {
        self.index.start + rank as usize * INDEX_ENTRY_BYTES
    }

    /// Where in the file the entries of the index with these ranks are, of those that there are.
    pub(crate) fn bytes_of(&self, ranks: Range<u32>) -> Range<usize> {
        let place = |rank: u32| self.index.start + rank.min(self.entries) as usize * INDEX_ENTRY_BYTES;
        place(ranks.start)..place(ranks.end)
    }

    /// The first rank of `slot` whose hash is `hash` or larger; the end of the slot if there is none.
    pub(crate) fn lower_bound(&self, source: &Checked, slot: &Range<u32>, hash: u64) -> Result<u32> {
        if slot.is_empty() {
            return Ok(slot.start);
        }
        search(slot.clone(), self.guess(slot, hash), |rank| Ok(self.at(source, rank)?.0 < hash))
    }

    /// The offsets of the entries with that hash: none, one, or several whose keys collide.
    pub(crate) fn offsets_of<'a>(
        &'a self,
        source: &'a Checked,
        hash: u64,
    ) -> Result<impl Iterator<Item = Result<usize>> + 'a> {
        let slot = self.slot(source, hash)?;
        let first = self.lower_bound(source, &slot, hash)?;
        Ok(while_hash(hash, (first..slot.end).map(|rank| self.at(source, rank))))
    }

    /// The bytes of the index where `hash` probably is, for reading ahead.
    pub(crate) fn probable(&self, source: &Checked, hash: u64) -> Result<Range<usize>> {
        let start = self.place_of(self.probable_rank(source, hash)?);
        Ok(start.min(self.index.end)..(start + INDEX_ENTRY_BYTES).min(self.index.end))
    }

    /// The rank that `hash` probably has.
    pub(crate) fn probable_rank(&self, source: &Checked, hash: u64) -> Result<u32> {
        let slot = self.slot(source, hash)?;
        Ok(if slot.is_empty() { slot.start } else { self.guess(&slot, hash) })
    }

    /// Where in a slot that is not empty a hash is if the hashes are spread evenly.
    fn guess(&self, slot: &Range<u32>, hash: u64) -> u32 {
        // The part of the hash below the slot's bits, as a fraction of 2^64, times the number of entries.
        let product = u128::from(hash << self.slot_bits) * u128::from(slot.end - slot.start);
        #[expect(clippy::cast_possible_truncation, reason = "below the 32-bit number that was multiplied")]
        let within = (product >> u64::BITS) as u32;
        slot.start + within
    }

    fn check_directory(&self, source: &Checked) -> Result<()> {
        let bytes = source.checked(self.directory.clone())?;
        let mut previous = 0;
        for (place, rank) in bytes.chunks_exact(RANK_BYTES).enumerate() {
            let rank = u32_at(rank, 0);
            if rank < previous || rank > self.entries || (place == 0 && rank != 0) {
                let offset = self.directory.start + place * RANK_BYTES;
                return Err(corrupt(source.file(), offset as u64, Corruption::OutOfOrder));
            }
            previous = rank;
        }
        if previous != self.entries {
            let (expected, found) = (self.entries.into(), previous.into());
            let offset = self.directory.end - RANK_BYTES;
            return Err(corrupt(source.file(), offset as u64, Corruption::Miscounted { expected, found }));
        }
        Ok(())
    }
}

/// The first number of `range`, which is not empty, that is not `below` what is looked for, given a guess in it; the end
/// of the range if all are.
pub(crate) fn search(range: Range<u32>, guess: u32, below: impl Fn(u32) -> Result<bool>) -> Result<u32> {
    let (mut low, mut high) = (range.start, range.end); // the answer is in low..=high
    let mut step = STEP_FIRST;
    if below(guess)? {
        low = guess + 1;
        while high - low > step {
            if below(low + step)? {
                low += step + 1;
                step = step.saturating_mul(2);
            } else {
                high = low + step;
            }
        }
    } else {
        high = guess;
        while high - low > step {
            if below(high - step)? {
                low = high - step + 1;
            } else {
                high -= step;
                step = step.saturating_mul(2);
            }
        }
    }
    while low < high {
        let middle = low + (high - low) / 2;
        if below(middle)? { low = middle + 1 } else { high = middle }
    }
    Ok(low)
}

/// The offsets of pairs of a hash and an offset, as long as they have that hash.
pub(crate) fn while_hash(
    hash: u64,
    pairs: impl Iterator<Item = Result<(u64, usize)>>,
) -> impl Iterator<Item = Result<usize>> {
    let has_hash = move |pair: &Result<(u64, usize)>| !matches!(pair, Ok((other, _)) if *other != hash);
    pairs.take_while(has_hash).map(|pair| Ok(pair?.1))
}

/// The hash and the offset in an entry of the index.
pub(crate) fn decode_entry(bytes: &[u8; INDEX_ENTRY_BYTES]) -> (u64, usize) {
    let upper = u64::from(u32_at(bytes, 8)) | u64::from(bytes[12]) << 32 | u64::from(bytes[13]) << 40;
    // An offset that a smaller machine cannot hold is beyond the data area of any file that it can map.
    (u64_at(bytes, 0), usize::try_from(upper).unwrap_or(usize::MAX))
}

/// The slot that a hash belongs to: its upper bits.
pub(crate) fn slot_of(hash: u64, slot_bits: u32) -> usize {
    debug_assert!(slot_bits <= SLOT_BITS_MAX);
    // Two shifts, since one by all 64 bits is not defined.
    (hash >> 1 >> (u64::BITS - 1 - slot_bits)) as usize
}

/// How many bits name a slot in a layer of so many entries.
pub(crate) fn slot_bits_for(entries: u64) -> u32 {
    (0..SLOT_BITS_MAX).find(|bits| entries <= SLOT_ENTRIES << bits).unwrap_or(SLOT_BITS_MAX)
}

/// Length of a directory: a rank for each slot, and the number of entries at the end.
pub(crate) fn directory_bytes(slot_bits: u32) -> usize {
    ((1 << slot_bits) + 1) * RANK_BYTES
}

/// The bytes of one entry of the index.
pub(crate) fn encode_entry(hash: u64, offset: u64) -> [u8; INDEX_ENTRY_BYTES] {
    debug_assert!(offset < DATA_END_MAX);
    let mut bytes = [0; INDEX_ENTRY_BYTES];
    bytes[..8].copy_from_slice(&hash.to_le_bytes());
    bytes[8..].copy_from_slice(&offset.to_le_bytes()[..INDEX_ENTRY_BYTES - 8]);
    bytes
}

#[cfg(test)]
mod tests {
    use warp_io::SimDisk;

    use super::*;
    use crate::{Layer, LayerEntry, LayerOptions, LayerWriter, hash};

    #[test]
    fn guesses_are_close() {
        let disk = SimDisk::new(1);
        let mut writer = LayerWriter::create_in(&disk.root(), 1, &LayerOptions::default()).unwrap();
        for n in 0..20_000u32 {
            let key = n.to_le_bytes();
            let entry =
                LayerEntry { hash: hash(&key), keyspace: 0, key: &key, seq: 1, deadline: 0, value: None };
            writer.add(&entry).unwrap();
        }
        let layer = Layer::open_in(&disk.root(), &writer.finish().unwrap()).unwrap();
        let (source, index) = (layer.source(), layer.index());
        let mut distance = 0;
        for rank in 0..index.entries() {
            let (hash, _) = index.at(source, rank).unwrap();
            let slot = index.slot(source, hash).unwrap();
            distance += u64::from(index.guess(&slot, hash).abs_diff(rank));
        }
        // About ten entries a slot: a standard deviation of at most half the square root of that.
        assert!(distance < 20_000 * 2, "{distance}");
    }

    #[test]
    fn slots_are_upper_bits() {
        assert_eq!(slot_of(u64::MAX, 0), 0);
        assert_eq!(slot_of(u64::MAX, 1), 1);
        assert_eq!(slot_of(u64::MAX, 12), 4095);
        assert_eq!(slot_of(1 << 52, 12), 1);
        assert_eq!(slot_of((1 << 52) - 1, 12), 0);
    }

    #[test]
    fn small_layers_have_few_slots() {
        assert_eq!(slot_bits_for(0), 0);
        assert_eq!(slot_bits_for(SLOT_ENTRIES), 0);
        assert_eq!(slot_bits_for(SLOT_ENTRIES + 1), 1);
        assert_eq!(slot_bits_for(SLOT_ENTRIES << 12), 12);
        assert_eq!(slot_bits_for(u64::MAX), 12);
        assert_eq!(directory_bytes(0), 8);
        assert_eq!(directory_bytes(12), 4097 * 4);
    }
}
