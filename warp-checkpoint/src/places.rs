//! Where the entries of a layer are, by their hashes, while it is written: in memory that does not grow with their number.
//!
//! Pairs are gathered, sorted, and packed into runs as differences of neighbours. Hashes that came in ascending order
//! are close together, and so are the entries that they name: about 7 bytes a pair at ten million entries. Hashes in
//! any other order make runs that overlap, and take about 11. The first runs stay in memory, the others go to a file that has
//! no name, and come back one after the other, or, where they overlap, together.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;
use std::io;
use std::sync::Arc;

use warp_io::{Dir, File, read_exact_at, write_all_at};

use crate::format::{DATA_END_MAX, SLOT_BITS_MAX};

/// Pairs of a run: what is gathered before it takes less room is half a megabyte.
const RUN_PAIRS: usize = 1 << 15;
/// The same where there is little memory, at least: shorter runs would be too many.
const RUN_PAIRS_MIN: usize = 1 << 11;
/// Runs stay in memory up to so many bytes.
const IN_MEMORY_BYTES: usize = 1 << 20;
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
    spill: Spill,
    /// Pairs of a run, and what all runs in memory may take.
    run_pairs: usize,
    in_memory_max: usize,
    /// Bytes of the runs in memory.
    in_memory: usize,
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
    bytes: Bytes,
    pairs: usize,
    first: (u64, u64),
}

/// The bytes of a run.
#[derive(Debug)]
enum Bytes {
    Here(Arc<[u8]>),
    /// In the file, from an offset on.
    There {
        offset: u64,
        len: usize,
    },
}

/// A file for runs, made when the first goes there.
#[derive(Debug)]
struct Spill {
    dir: Arc<dyn Dir>,
    /// The name that it has for a moment.
    name: String,
    file: Option<Arc<dyn File>>,
    written: u64,
}

impl Spill {
    fn write(&mut self, bytes: &[u8]) -> io::Result<Bytes> {
        let file = match &self.file {
            Some(file) => file,
            None => {
                // One that a crash in just this place has left.
                let _ = self.dir.remove(&self.name);
                let file = self.dir.create_new(&self.name)?;
                // It lives as long as it is open. Another writer of a layer of that name may have removed it just now.
                match self.dir.remove(&self.name) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                    _ => {}
                }
                self.file.insert(file)
            }
        };
        let offset = self.written;
        write_all_at(&**file, offset, bytes)?;
        self.written += bytes.len() as u64;
        Ok(Bytes::There { offset, len: bytes.len() })
    }

    fn read(&self, bytes: &Bytes) -> io::Result<Arc<[u8]>> {
        match (bytes, &self.file) {
            (Bytes::Here(bytes), _) => Ok(Arc::clone(bytes)),
            (Bytes::There { offset, len }, Some(file)) => {
                let mut bytes = vec![0; *len];
                read_exact_at(&**file, *offset, &mut bytes)?;
                Ok(bytes.into())
            }
            (Bytes::There { .. }, None) => Err(io::ErrorKind::NotFound.into()),
        }
    }
}

impl Places {
    /// No pairs; a file in `dir` takes those for which there is no memory, and has the name `name` for a moment.
    pub(crate) fn new(dir: Arc<dyn Dir>, name: String) -> Places {
        Places {
            spill: Spill { dir, name, file: None, written: 0 },
            run_pairs: RUN_PAIRS,
            in_memory_max: IN_MEMORY_BYTES,
            in_memory: 0,
            gathered: Vec::new(),
            runs: Vec::new(),
            in_slots: vec![0; SLOTS].into(),
            len: 0,
        }
    }

    /// From now on pairs take no more than about so many bytes, half of them gathered and half in runs.
    pub(crate) fn limit_memory(&mut self, bytes: usize) {
        let pairs = (bytes / 2 / size_of::<(u64, u64)>()).clamp(RUN_PAIRS_MIN, RUN_PAIRS);
        // A vector that grows has room for a power of two.
        self.run_pairs = 1 << pairs.ilog2();
        self.in_memory_max = IN_MEMORY_BYTES.min(bytes / 2);
    }

    /// Gives up what is in memory.
    pub(crate) fn clear(&mut self) {
        (self.runs, self.gathered, self.in_memory) = (Vec::new(), Vec::new(), 0);
        self.spill.file = None;
    }

    /// How many pairs were added.
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// Bytes of memory that the pairs take.
    pub(crate) fn memory_bytes(&self) -> usize {
        let runs = self.runs.capacity() * size_of::<Run>();
        self.in_memory + runs + self.gathered.capacity() * size_of::<(u64, u64)>() + SLOTS * size_of::<u32>()
    }

    /// # Errors
    /// What the file answers that takes the pairs.
    pub(crate) fn add(&mut self, hash: u64, offset: u64) -> io::Result<()> {
        self.gathered.push((hash, offset));
        self.in_slots[crate::index::slot_of(hash, SLOT_BITS_MAX)] += 1;
        self.len += 1;
        if self.gathered.len() >= self.run_pairs {
            self.pack()?;
        }
        Ok(())
    }

    /// How many pairs each slot has, of those that so many upper bits of a hash name.
    pub(crate) fn in_slots(&self, slot_bits: u32) -> impl Iterator<Item = u32> + '_ {
        let together = 1 << (SLOT_BITS_MAX - slot_bits);
        self.in_slots.chunks(together).map(|counts| counts.iter().sum())
    }

    /// All pairs, in ascending order; an error is the last item. No pair can be added any more.
    ///
    /// # Errors
    /// What the file answers that takes the pairs.
    pub(crate) fn sorted(&mut self) -> io::Result<Sorted<'_>> {
        self.pack()?;
        self.gathered = Vec::new();
        let heads = self.runs.iter().map(|run| Head { first: Reverse(run.first), run, rest: None });
        Ok(Sorted { spill: &self.spill, heads: heads.collect() })
    }

    fn pack(&mut self) -> io::Result<()> {
        let Some(&(hash, offset)) = self.gathered.iter().min() else { return Ok(()) };
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
        let (pairs, first) = (self.gathered.len(), (hash, offset));
        let bytes = if self.in_memory + bytes.len() <= self.in_memory_max {
            self.in_memory += bytes.len();
            Bytes::Here(bytes.into())
        } else {
            self.spill.write(&bytes)?
        };
        self.runs.push(Run { bytes, pairs, first });
        self.gathered.clear();
        Ok(())
    }
}

/// All pairs in ascending order.
#[derive(Debug)]
pub(crate) struct Sorted<'a> {
    spill: &'a Spill,
    heads: BinaryHeap<Head<'a>>,
}

/// The next pair of a run, and what follows it.
#[derive(Debug)]
struct Head<'a> {
    first: Reverse<(u64, u64)>,
    run: &'a Run,
    /// `None` until the first pair was taken: what is behind it is not read before.
    rest: Option<Unpack>,
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
    type Item = io::Result<(u64, u64)>;

    fn next(&mut self) -> Option<io::Result<(u64, u64)>> {
        let mut head = self.heads.peek_mut()?;
        let Reverse(pair) = head.first;
        if head.rest.is_none() {
            match self.spill.read(&head.run.bytes) {
                Ok(bytes) => {
                    let mut rest = Unpack { bytes, at: 0, left: head.run.pairs, last: (0, 0) };
                    // It is the head already.
                    let _ = rest.next();
                    head.rest = Some(rest);
                }
                Err(error) => {
                    drop(head);
                    self.heads.clear();
                    return Some(Err(error));
                }
            }
        }
        match head.rest.as_mut().and_then(Unpack::next) {
            Some(next) => head.first = Reverse(next),
            None => drop(PeekMut::pop(head)),
        }
        Some(Ok(pair))
    }
}

#[derive(Debug)]
struct Unpack {
    bytes: Arc<[u8]>,
    at: usize,
    left: usize,
    last: (u64, u64),
}

impl Iterator for Unpack {
    type Item = (u64, u64);

    #[inline]
    fn next(&mut self) -> Option<(u64, u64)> {
        self.left = self.left.checked_sub(1)?;
        let bytes = &self.bytes[self.at..];
        let lengths = bytes[0];
        let (hash_bytes, offset_bytes) =
            ((lengths >> HASH_SHIFT).into(), (lengths & OFFSET_BYTES_MAX).into());
        let hashes = number_at(bytes, 1, hash_bytes);
        let offsets = number_at(bytes, 1 + hash_bytes, offset_bytes);
        self.at += 1 + hash_bytes + offset_bytes;
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
    use warp_io::{Fault, OpKind, SimDisk};

    use super::*;

    fn places(disk: &SimDisk) -> Places {
        Places::new(Arc::new(disk.root()), "places.tmp".to_owned())
    }

    fn check(pairs: &[(u64, u64)]) -> usize {
        let disk = SimDisk::new(1);
        let mut places = places(&disk);
        pairs.iter().for_each(|&(hash, offset)| places.add(hash, offset).unwrap());
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
        for time in 0..2 {
            assert!(places.sorted().unwrap().map(Result::unwrap).eq(expected.iter().copied()), "time {time}");
        }
        assert!(disk.files().is_empty(), "the file has no name: {:?}", disk.files());
        bytes
    }

    #[test]
    fn memory_stays_within_a_limit_and_no_pair_is_lost() {
        const PAIRS: u64 = 40_000;
        let disk = SimDisk::new(1);
        let mut places = places(&disk);
        places.limit_memory(128 << 10);
        let others = places.memory_bytes();
        for pair in 0..PAIRS {
            places.add(pair << 40, pair * 9).unwrap();
            let bytes = places.memory_bytes() - others;
            assert!(bytes <= 130 << 10, "{bytes} bytes for {pair} pairs");
        }
        let sorted: Vec<(u64, u64)> = places.sorted().unwrap().map(Result::unwrap).collect();
        assert!(sorted.into_iter().eq((0..PAIRS).map(|pair| (pair << 40, pair * 9))));
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
        check(&ordered);
    }

    #[test]
    fn memory_does_not_grow_with_the_number_of_pairs() {
        let pairs = |count: u64| -> Vec<(u64, u64)> { (0..count).map(|n| (n << 40, 32 + n * 136)).collect() };
        let (some, many) = (check(&pairs(200_000)), check(&pairs(400_000)));
        assert!(many < IN_MEMORY_BYTES + (RUN_PAIRS << 4) + (1 << 19), "{many} bytes");
        assert!(many < some + (1 << 17), "{some} and {many} bytes");
        // Of runs that do not overlap one is read at a time.
        let disk = SimDisk::new(1);
        let mut places = places(&disk);
        pairs(400_000).iter().for_each(|&(hash, offset)| places.add(hash, offset).unwrap());
        let mut sorted = places.sorted().unwrap();
        while sorted.by_ref().nth(999).is_some() {
            assert!(sorted.heads.iter().filter(|head| head.rest.is_some()).count() <= 1);
        }
    }

    #[test]
    fn a_file_that_cannot_be_made_or_read_is_an_error() {
        let disk = SimDisk::new(1);
        let mut places = places(&disk);
        disk.inject_when(|operation| (operation.kind == OpKind::CreateNew).then_some(Fault::NoSpace));
        let failed = (0..400_000).find_map(|n| places.add(n << 40, n).err());
        assert_eq!(failed.map(|error| error.kind()), Some(io::ErrorKind::StorageFull));
    }
}
