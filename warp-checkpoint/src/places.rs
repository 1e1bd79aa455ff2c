//! Where the entries of a layer are, by their hashes, while it is written: in half of the memory that plain pairs take.
//!
//! Pairs are gathered, sorted, and packed into runs as differences of neighbours. Hashes that came in ascending order
//! are close together, and so are the entries that they name: about 7 bytes a pair at ten million entries. Hashes in
//! any other order make runs that overlap, and take about 11.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;

use crate::format::{DATA_END_MAX, SLOT_BITS_MAX};

/// Pairs of a run: what is gathered before it takes less room is half a megabyte.
const RUN_PAIRS: usize = 1 << 15;
/// The fewest bytes that a number of at most so many bytes is taken from.
const WORD_BYTES: usize = 8;
/// Where the length of a difference of hashes is in the byte of lengths.
const HASH_SHIFT: u32 = 4;
/// The bit that says that an offset is lower than the one before.
const BACK: u8 = 8;
/// The longest difference of offsets, and the bits that hold its length.
const OFFSET_BYTES_MAX: u8 = 7;
const _: () = assert!(DATA_END_MAX <= 1 << (8 * OFFSET_BYTES_MAX as u32));
const SLOTS: usize = 1 << SLOT_BITS_MAX;

/// Pairs of a hash and the offset of its entry.
#[derive(Debug)]
pub(crate) struct Places {
    gathered: Vec<(u64, u64)>,
    runs: Vec<Run>,
    /// Pairs whose hash has these upper bits.
    in_slots: Box<[u32]>,
    len: u64,
}

/// Pairs in ascending order. Of each: a byte with the lengths of the two differences to the pair before, and the sign of
/// the second; then both.
#[derive(Debug)]
struct Run {
    bytes: Box<[u8]>,
    pairs: usize,
}

impl Places {
    pub(crate) fn new() -> Places {
        Places { gathered: Vec::new(), runs: Vec::new(), in_slots: vec![0; SLOTS].into(), len: 0 }
    }

    /// How many pairs were added.
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// Bytes of memory that the pairs take.
    pub(crate) fn memory_bytes(&self) -> usize {
        let packed: usize = self.runs.iter().map(|run| run.bytes.len()).sum();
        packed + self.gathered.capacity() * size_of::<(u64, u64)>() + SLOTS * size_of::<u32>()
    }

    pub(crate) fn add(&mut self, hash: u64, offset: u64) {
        self.gathered.push((hash, offset));
        self.in_slots[crate::index::slot_of(hash, SLOT_BITS_MAX)] += 1;
        self.len += 1;
        if self.gathered.len() == RUN_PAIRS {
            self.pack();
        }
    }

    /// How many pairs each slot has, of those that so many upper bits of a hash name.
    pub(crate) fn in_slots(&self, slot_bits: u32) -> impl Iterator<Item = u32> + '_ {
        let together = 1 << (SLOT_BITS_MAX - slot_bits);
        self.in_slots.chunks(together).map(|counts| counts.iter().sum())
    }

    /// All pairs, in ascending order. None can be added any more.
    pub(crate) fn sorted(&mut self) -> Sorted<'_> {
        self.pack();
        self.gathered = Vec::new();
        let mut heads = BinaryHeap::with_capacity(self.runs.len());
        for run in &self.runs {
            let mut rest = Unpack { bytes: &run.bytes, left: run.pairs, last: (0, 0) };
            if let Some(first) = rest.next() {
                heads.push(Head { first: Reverse(first), rest });
            }
        }
        Sorted { heads }
    }

    fn pack(&mut self) {
        if !self.gathered.is_sorted() {
            self.gathered.sort_unstable();
        }
        let mut bytes = Vec::with_capacity(self.gathered.len() * WORD_BYTES + WORD_BYTES);
        let mut last = (0_u64, 0_u64);
        for &(hash, offset) in &self.gathered {
            let (hashes, offsets) = (hash - last.0, offset.abs_diff(last.1));
            let (hash_bytes, offset_bytes) = (bytes_of(hashes), bytes_of(offsets));
            let sign = if offset < last.1 { BACK } else { 0 };
            bytes.push(hash_bytes << HASH_SHIFT | sign | offset_bytes);
            bytes.extend_from_slice(&hashes.to_le_bytes()[..hash_bytes.into()]);
            bytes.extend_from_slice(&offsets.to_le_bytes()[..offset_bytes.into()]);
            last = (hash, offset);
        }
        // So that a whole word can be read wherever a number begins.
        bytes.extend([0; WORD_BYTES]);
        if !self.gathered.is_empty() {
            self.runs.push(Run { bytes: bytes.into(), pairs: self.gathered.len() });
            self.gathered.clear();
        }
    }
}

/// All pairs in ascending order.
#[derive(Debug)]
pub(crate) struct Sorted<'a> {
    heads: BinaryHeap<Head<'a>>,
}

/// The next pair of a run, and what follows it.
#[derive(Debug)]
struct Head<'a> {
    first: Reverse<(u64, u64)>,
    rest: Unpack<'a>,
}

impl PartialEq for Head<'_> {
    fn eq(&self, other: &Head<'_>) -> bool {
        self.first == other.first
    }
}

impl Eq for Head<'_> {}

impl PartialOrd for Head<'_> {
    fn partial_cmp(&self, other: &Head<'_>) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Head<'_> {
    fn cmp(&self, other: &Head<'_>) -> std::cmp::Ordering {
        self.first.cmp(&other.first)
    }
}

impl Iterator for Sorted<'_> {
    type Item = (u64, u64);

    fn next(&mut self) -> Option<(u64, u64)> {
        let mut head = self.heads.peek_mut()?;
        let Reverse(pair) = head.first;
        match head.rest.next() {
            Some(next) => head.first = Reverse(next),
            None => drop(PeekMut::pop(head)),
        }
        Some(pair)
    }
}

#[derive(Debug)]
struct Unpack<'a> {
    bytes: &'a [u8],
    left: usize,
    last: (u64, u64),
}

impl Iterator for Unpack<'_> {
    type Item = (u64, u64);

    #[inline]
    fn next(&mut self) -> Option<(u64, u64)> {
        self.left = self.left.checked_sub(1)?;
        let lengths = self.bytes[0];
        let (hash_bytes, offset_bytes) =
            ((lengths >> HASH_SHIFT).into(), (lengths & OFFSET_BYTES_MAX).into());
        let hashes = number_at(self.bytes, 1, hash_bytes);
        let offsets = number_at(self.bytes, 1 + hash_bytes, offset_bytes);
        self.bytes = &self.bytes[1 + hash_bytes + offset_bytes..];
        let (hash, offset) = self.last;
        let offset = if lengths & BACK == 0 { offset + offsets } else { offset - offsets };
        self.last = (hash + hashes, offset);
        Some(self.last)
    }
}

/// The fewest bytes that hold a number.
fn bytes_of(number: u64) -> u8 {
    u8::try_from((u64::BITS - number.leading_zeros()).div_ceil(8)).expect("a number has at most eight")
}

fn number_at(bytes: &[u8], place: usize, length: usize) -> u64 {
    let word = u64::from_le_bytes(bytes[place..place + WORD_BYTES].try_into().expect("a range of eight"));
    if length == WORD_BYTES { word } else { word & ((1 << (8 * length)) - 1) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pairs: &[(u64, u64)]) -> usize {
        let mut places = Places::new();
        pairs.iter().for_each(|&(hash, offset)| places.add(hash, offset));
        let bytes = places.memory_bytes();
        let mut expected = pairs.to_vec();
        expected.sort_unstable();
        assert_eq!(places.len(), pairs.len() as u64);
        for slot_bits in [0, 3, SLOT_BITS_MAX] {
            let counts: Vec<u32> = places.in_slots(slot_bits).collect();
            assert_eq!(counts.len(), 1 << slot_bits);
            for (slot, count) in counts.into_iter().enumerate() {
                let of_slot = pairs.iter().filter(|pair| crate::index::slot_of(pair.0, slot_bits) == slot);
                assert_eq!(count as usize, of_slot.count());
            }
        }
        assert!(places.sorted().eq(expected.iter().copied()));
        assert!(places.sorted().eq(expected), "a second time");
        bytes
    }

    #[test]
    fn pairs_come_back_in_order() {
        check(&[]);
        check(&[(u64::MAX, (1 << 48) - 1), (0, 32), (u64::MAX, 7), (5, 0), (5, 0)]);
        let count = 3 * RUN_PAIRS as u64 + 17;
        let spread = |n: u64| n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let random: Vec<(u64, u64)> = (0..count).map(|n| (spread(n), 32 + n * 136)).collect();
        check(&random);
        let mut ascending: Vec<u64> = random.iter().map(|pair| pair.0).collect();
        ascending.sort_unstable();
        let ordered: Vec<(u64, u64)> =
            ascending.into_iter().zip(0..).map(|(hash, n)| (hash, 32 + n * 136)).collect();
        let bytes = check(&ordered);
        assert!(bytes < ordered.len() * 9 + (RUN_PAIRS << 4) + (1 << 15), "{bytes} bytes");
    }
}
