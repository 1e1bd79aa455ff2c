//! The blocks and their fences.

use std::collections::BTreeMap;
use std::ops::Bound;

use super::{Chunk, ORDER_BLOCK_KEYS_MAX};
use crate::value::Key;

/// Hashes for which room is made at a time when a block grows: a vector that doubles would hold half of its room for
/// nothing.
const GROW: usize = 16;

/// Blocks by their fences: each holds the hashes of the keys from its fence on to the next one. The first fence is the
/// empty key, so that every key has a block.
#[derive(Debug)]
pub(super) struct Blocks {
    map: BTreeMap<Key, Vec<u64>>,
    hashes: usize,
    /// Bytes of the vectors and of fences that are on the heap.
    heap_bytes: usize,
}

/// What became of keys that were to be added to one block.
pub(super) enum Group<'a> {
    Added,
    /// They do not fit in; the block is as it was.
    Crowded {
        group: &'a [(Key, u64)],
        block: Chunk,
    },
}

impl Blocks {
    pub(super) fn new() -> Blocks {
        Blocks::of(Vec::new())
    }

    /// Blocks with their fences in ascending order.
    pub(super) fn of(sorted: Vec<(Key, Vec<u64>)>) -> Blocks {
        let mut blocks = Blocks { map: BTreeMap::from_iter(sorted), hashes: 0, heap_bytes: 0 };
        blocks.map.entry(Key::default()).or_default();
        (blocks.hashes, blocks.heap_bytes) = blocks.recount();
        blocks
    }

    pub(super) fn hashes(&self) -> usize {
        self.hashes
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.heap_bytes + self.map.len() * size_of::<(Key, Vec<u64>)>() * 2
    }

    pub(super) fn forwards(&self, low: &[u8], high: Option<&[u8]>, blocks: usize) -> Chunk {
        let mut chunk = Chunk { low: Key::from(low), high: high.map(Key::from), hashes: Vec::new() };
        let first = self.fence_of(low);
        for (taken, (fence, block)) in self.map.range::<[u8], _>(from(first)).enumerate() {
            if taken > 0 {
                if high.is_some_and(|high| **fence >= *high) {
                    break;
                }
                if taken >= blocks {
                    chunk.high = Some(fence.clone());
                    break;
                }
            }
            chunk.hashes.extend_from_slice(block);
        }
        chunk
    }

    pub(super) fn backwards(&self, low: &[u8], high: Option<&[u8]>, blocks: usize) -> Chunk {
        let mut chunk = Chunk { low: Key::from(low), high: high.map(Key::from), hashes: Vec::new() };
        let below = (Bound::Unbounded, high.map_or(Bound::Unbounded, Bound::Excluded));
        for (taken, (fence, block)) in self.map.range::<[u8], _>(below).rev().enumerate() {
            chunk.hashes.extend_from_slice(block);
            if **fence <= *low {
                break;
            }
            if taken + 1 >= blocks {
                chunk.low = fence.clone();
                break;
            }
        }
        chunk
    }

    /// Whole blocks, from the one that `key` belongs to on, and how many there are.
    pub(super) fn whole(&self, key: &[u8], blocks: usize) -> (Chunk, usize) {
        let low = self.fence_of(key).clone();
        let mut range = self.map.range::<[u8], _>(from(&low));
        let mut chunk = Chunk { low: low.clone(), high: None, hashes: Vec::new() };
        let mut count = 0;
        for (_, block) in range.by_ref().take(blocks) {
            chunk.hashes.extend_from_slice(block);
            count += 1;
        }
        chunk.high = range.next().map(|(fence, _)| fence.clone());
        (chunk, count)
    }

    /// Adds those of the first keys that belong to one block, and takes them off `rest`, which is in order.
    pub(super) fn add_first_group<'a>(&mut self, rest: &mut &'a [(Key, u64)]) -> Group<'a> {
        let Some((first, _)) = rest.first() else { return Group::Added };
        let next = self.map.range::<[u8], _>((Bound::Excluded(&**first), Bound::Unbounded)).next();
        let count = next.map_or(rest.len(), |(next, _)| rest.partition_point(|(key, _)| key < next));
        let (group, behind) = rest.split_at(count);
        *rest = behind;
        let upto = (Bound::Unbounded, Bound::Included(&**first));
        let Some((_, block)) = self.map.range_mut::<[u8], _>(upto).next_back() else {
            unreachable!("the first fence is the empty key")
        };
        let crowded = |blocks: &Blocks| Group::Crowded { group, block: blocks.whole(first, 1).0 };
        if group.len() > ORDER_BLOCK_KEYS_MAX {
            return crowded(self);
        }
        let missing = missing(block, group);
        if missing.is_empty() {
            return Group::Added;
        }
        if block.len() + missing.len() > ORDER_BLOCK_KEYS_MAX {
            return crowded(self);
        }
        let before = block.capacity();
        if block.len() + missing.len() > before {
            block.reserve_exact(missing.len().next_multiple_of(GROW));
        }
        block.extend_from_slice(&missing);
        self.heap_bytes += (block.capacity() - before) * size_of::<u64>();
        self.hashes += missing.len();
        Group::Added
    }

    /// Puts `keys`, which are in order, in place of all blocks of a chunk of whole ones, in blocks of `piece` keys.
    /// Nobody knows where the unreadable hashes belong, so that every new block gets them.
    pub(super) fn replace(&mut self, chunk: &Chunk, keys: &[(Key, u64)], piece: usize, unreadable: &[u64]) {
        let bounds =
            (Bound::Included(&*chunk.low), chunk.high.as_deref().map_or(Bound::Unbounded, Bound::Excluded));
        let old: Vec<Key> = self.map.range::<[u8], _>(bounds).map(|(fence, _)| fence.clone()).collect();
        debug_assert_eq!(old.first(), Some(&chunk.low), "a chunk of whole blocks begins at a fence");
        for fence in old {
            if let Some(block) = self.map.remove(&*fence) {
                self.hashes -= block.len();
                self.heap_bytes -= heap_bytes(&fence, &block);
            }
        }
        let mut last: Option<&Key> = None;
        for keys in keys.chunks(piece) {
            let fence = last.map_or_else(|| chunk.low.clone(), |last| separator(last, &keys[0].0));
            self.insert(
                fence,
                keys.iter().map(|(_, hash)| *hash).chain(unreadable.iter().copied()).collect(),
            );
            last = keys.last().map(|(key, _)| key);
        }
        // Without keys the range falls to the block before, unless there is none.
        if keys.is_empty() && (chunk.low.is_empty() || !unreadable.is_empty()) {
            self.insert(chunk.low.clone(), unreadable.to_vec());
        }
    }

    /// The fences of the blocks that hold more than they should.
    pub(super) fn crowded(&self) -> Vec<Key> {
        let crowded = self.map.iter().filter(|(_, block)| block.len() > ORDER_BLOCK_KEYS_MAX);
        crowded.map(|(fence, _)| fence.clone()).collect()
    }

    pub(super) fn validate(&self) -> Result<(), String> {
        if self.map.first_key_value().is_none_or(|(fence, _)| !fence.is_empty()) {
            return Err("the first fence is not the empty key".into());
        }
        let counted = self.recount();
        if counted != (self.hashes, self.heap_bytes) {
            return Err(format!("{counted:?} is there, {:?} counted", (self.hashes, self.heap_bytes)));
        }
        Ok(())
    }

    fn insert(&mut self, fence: Key, block: Vec<u64>) {
        self.hashes += block.len();
        self.heap_bytes += heap_bytes(&fence, &block);
        self.map.insert(fence, block);
    }

    fn recount(&self) -> (usize, usize) {
        let add = |(hashes, bytes), (fence, block): (&Key, &Vec<u64>)| {
            (hashes + block.len(), bytes + heap_bytes(fence, block))
        };
        self.map.iter().fold((0, 0), add)
    }

    /// The fence of the block that a key belongs to.
    fn fence_of(&self, key: &[u8]) -> &Key {
        let upto = (Bound::Unbounded, Bound::Included(key));
        match self.map.range::<[u8], _>(upto).next_back() {
            Some((fence, _)) => fence,
            None => unreachable!("the first fence is the empty key"),
        }
    }
}

fn from(fence: &Key) -> (Bound<&[u8]>, Bound<&[u8]>) {
    (Bound::Included(fence), Bound::Unbounded)
}

fn heap_bytes(fence: &Key, block: &Vec<u64>) -> usize {
    fence.heap_bytes() + block.capacity() * size_of::<u64>()
}

/// The hashes of `group` that `block` lacks. Keys that share a hash need it once each.
fn missing(block: &[u64], group: &[(Key, u64)]) -> Vec<u64> {
    let lacks = |(index, (_, hash)): (usize, &(Key, u64))| {
        let needed = group[..=index].iter().filter(|(_, other)| other == hash).count();
        let there = block.iter().filter(|other| *other == hash).count();
        (there < needed).then_some(*hash)
    };
    group.iter().enumerate().filter_map(lacks).collect()
}

/// The shortest key that is above `low` and not above `high`.
fn separator(low: &[u8], high: &[u8]) -> Key {
    let same = low.iter().zip(high).take_while(|(low, high)| low == high).count();
    Key::from(&high[..=same])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_separator_is_above_the_low_key_and_not_above_the_high_one() {
        for (low, high, between) in [
            (&b""[..], &b"a"[..], &b"a"[..]),
            (b"a", b"a\0", b"a\0"),
            (b"abc", b"abd", b"abd"),
            (b"abc", b"bcd", b"b"),
            (b"ab", b"abcd", b"abc"),
        ] {
            assert_eq!(separator(low, high), between);
        }
    }

    #[test]
    fn two_keys_of_one_hash_need_it_twice_in_a_block() {
        let group = [(Key::from("a"), 7), (Key::from("b"), 7), (Key::from("c"), 8)];
        assert_eq!(missing(&[], &group), [7, 7, 8]);
        assert_eq!(missing(&[7, 8], &group), [7]);
        assert!(missing(&[7, 8, 7], &group).is_empty());
    }
}
