//! Building the order of many keys at once, in a bounded amount of memory beside the result.

use super::blocks::Blocks;
use super::{Chunk, FILL, Kept, OrderedKeys};
use crate::value::Key;

/// Keys that a part is meant to have: a part is sorted in the processor's cache.
const PART_KEYS: usize = 1 << 15;

/// The most parts: their boundaries should fit in the cache, too.
const PARTS_MAX: usize = 1 << 12;

/// Keys that are gathered in one round, of 16 bytes each: 256 MiB. More keys take more rounds, each of which asks for
/// all keys again.
const ROUND_KEYS: usize = 1 << 24;

/// What a key of the present round may take: its item, and its part of what runs leave empty.
pub const ORDER_WORK_KEY_BYTES: usize = size_of::<Item>() + size_of::<Item>() / 8;

/// The head of a key, and its hash.
type Item = (u64, u64);

/// Items of a run: a page.
const RUN_ITEMS: usize = 4096 / size_of::<Item>();

/// Bytes of a key that are sorted by.
const HEAD_BYTES: usize = size_of::<u64>();

/// Builds an [`OrderedKeys`] of keys that come in any order, by distribution sort (Frazer and McKellar, "Samplesort",
/// 1970): a sample divides the keys into parts, and a part is sorted by the eight bytes that follow what all of its
/// keys begin with. No key is kept, and blocks divide where those bytes do.
///
/// Takes 16 bytes a key beside the result while it works, and little more than 256 MiB of that: for more keys than that is
/// enough for, there are several rounds. In each, *every* key is to be given to [`OrderBuilder::add`] once.
///
/// ```
/// use warp_core::{Key, Kept, OrderBuilder, hash_key};
///
/// let keys = ["pear", "apple", "plum"].map(Key::from);
/// let mut builder = OrderBuilder::new(keys.to_vec(), keys.len());
/// while builder.next_round() {
///     keys.iter().for_each(|key| builder.add(key, hash_key(0, 0, key)));
/// }
/// // So few keys are never looked up.
/// let order = builder.finish(&mut |_| Kept::default());
/// assert_eq!(order.len(), 3);
/// ```
#[derive(Debug)]
pub struct OrderBuilder {
    /// Where parts begin, in ascending order; what is below the first is a part, too.
    bounds: Vec<Key>,
    /// What all of `bounds` begin with.
    common: Vec<u8>,
    /// The heads of what follows that, in each of `bounds`.
    heads: Vec<u64>,
    /// The present round's keys.
    gathered: Gathered,
    parts: usize,
    parts_a_round: usize,
    round: usize,
    blocks: Vec<(Key, Vec<u64>)>,
}

impl OrderBuilder {
    /// A builder for about `expected` keys, of which `sample` is an even choice: a few hundred for every 32,768 make
    /// even parts. Neither is relied on for more than speed and memory.
    #[must_use]
    pub fn new(sample: Vec<Key>, expected: usize) -> OrderBuilder {
        OrderBuilder::with_rounds(sample, expected, ROUND_KEYS)
    }

    /// As [`OrderBuilder::new`], with no more than about `bytes` beside the result, if that is less: a round then gathers
    /// fewer keys, a part of 32,768 at least, and there are more rounds.
    #[must_use]
    pub fn with_memory(sample: Vec<Key>, expected: usize, bytes: usize) -> OrderBuilder {
        let keys = bytes / ORDER_WORK_KEY_BYTES;
        OrderBuilder::with_rounds(sample, expected, keys.clamp(1, ROUND_KEYS))
    }

    fn with_rounds(mut sample: Vec<Key>, expected: usize, round_keys: usize) -> OrderBuilder {
        sample.sort_unstable();
        let count = expected.div_ceil(PART_KEYS).clamp(1, PARTS_MAX);
        let mut bounds: Vec<Key> =
            (0..count).filter_map(|part| sample.get(part * sample.len() / count)).cloned().collect();
        // The largest of the sample bounds a part, too: one that is open to a side has nothing in common.
        bounds.extend(sample.last().cloned());
        bounds.dedup();
        let common = common_prefix(bounds.first(), bounds.last()).to_vec();
        let heads = bounds.iter().map(|bound| head(&bound[common.len()..])).collect();
        let parts = bounds.len() + 1;
        let parts_a_round = parts.div_ceil(expected.div_ceil(round_keys).max(1));
        OrderBuilder {
            bounds,
            common,
            heads,
            gathered: Gathered::new(parts_a_round, expected.min(round_keys)),
            parts,
            parts_a_round,
            round: 0,
            blocks: Vec::new(),
        }
    }

    /// Begins the next round, in which every key is to be added once. `false` if there is none: then it is time to
    /// [finish](OrderBuilder::finish).
    pub fn next_round(&mut self) -> bool {
        self.end_round();
        self.round += 1;
        (self.round - 1) * self.parts_a_round < self.parts
    }

    /// Adds a key, if it is the turn of its part. Each key is added once a round; two keys may share a hash.
    pub fn add(&mut self, key: &[u8], hash: u64) {
        let part = self.part_of(key);
        if part / self.parts_a_round + 1 == self.round {
            let common = common_prefix(self.bound_below(part), self.bounds.get(part)).len();
            self.gathered.push(part % self.parts_a_round, (head(&key[common..]), hash));
        }
    }

    /// The order of all keys that were added. `resolve` is that of [`OrderedKeys`]; it is asked where more keys than a
    /// block holds look alike in the bytes that they were sorted by.
    pub fn finish(mut self, resolve: &mut impl FnMut(&Chunk) -> Kept) -> OrderedKeys {
        self.end_round();
        // Its memory goes before the tree is made.
        self.gathered = Gathered::default();
        let order = OrderedKeys::of(Blocks::of(self.blocks));
        order.divide_crowded(resolve);
        order
    }

    /// The part of a key: the number of bounds that are not above it.
    fn part_of(&self, key: &[u8]) -> usize {
        match key.strip_prefix(&*self.common) {
            None => self.bounds.partition_point(|bound| **bound <= *key),
            Some(rest) => {
                let head = head(rest);
                let first = self.heads.partition_point(|of_bound| *of_bound < head);
                if self.heads.get(first) != Some(&head) {
                    return first;
                }
                first + self.bounds[first..].partition_point(|bound| **bound <= *key)
            }
        }
    }

    fn bound_below(&self, part: usize) -> Option<&Key> {
        self.bounds.get(part.checked_sub(1)?)
    }

    fn end_round(&mut self) {
        let Some(round) = self.round.checked_sub(1) else { return };
        let first = round * self.parts_a_round;
        let mut items = Vec::new();
        for part in first..self.parts.min(first + self.parts_a_round) {
            self.gathered.take(part - first, &mut items);
            items.sort_unstable();
            self.append(part, &items);
        }
        self.gathered.clear();
    }

    /// Makes blocks of a part's items, which are sorted.
    fn append(&mut self, part: usize, items: &[Item]) {
        let low = self.bound_below(part).cloned().unwrap_or_default();
        let common = common_prefix(self.bound_below(part), self.bounds.get(part)).to_vec();
        let mut rest = items;
        let mut below: Option<u64> = None;
        while !rest.is_empty() {
            let (block, behind) = rest.split_at(cut(rest));
            let fence = below.map_or_else(|| low.clone(), |below| fence(&common, below, block[0].0));
            self.blocks.push((fence, block.iter().map(|(_, hash)| *hash).collect()));
            below = block.last().map(|(head, _)| *head);
            rest = behind;
        }
    }
}

/// Items by part, in runs of one large vector: vectors of their own would lie between what lasts, and the allocator could
/// not give their memory back.
#[derive(Debug, Default)]
struct Gathered {
    items: Vec<Item>,
    parts: Vec<Runs>,
}

/// Where the items of a part are.
#[derive(Clone, Debug, Default)]
struct Runs {
    /// The places where its runs begin.
    starts: Vec<usize>,
    /// Items in all of them; all but the last run are full.
    len: usize,
}

impl Gathered {
    fn new(parts: usize, expected: usize) -> Gathered {
        let parts = vec![Runs::default(); parts];
        // Memory that is not used stays with the system.
        Gathered { items: Vec::with_capacity(expected + parts.len() * RUN_ITEMS), parts }
    }

    fn push(&mut self, part: usize, item: Item) {
        let Runs { starts, len } = &mut self.parts[part];
        let within = *len % RUN_ITEMS;
        if within == 0 {
            starts.push(self.items.len());
            self.items.resize(self.items.len() + RUN_ITEMS, Item::default());
        }
        if let Some(start) = starts.last() {
            self.items[start + within] = item;
            *len += 1;
        }
    }

    /// Makes `items` those of a part.
    fn take(&mut self, part: usize, items: &mut Vec<Item>) {
        let Runs { starts, len } = std::mem::take(&mut self.parts[part]);
        items.clear();
        starts.iter().for_each(|start| items.extend_from_slice(&self.items[*start..*start + RUN_ITEMS]));
        items.truncate(len);
    }

    /// Makes room for another round.
    fn clear(&mut self) {
        self.items.clear();
    }
}

/// How many of the first items go into one block: heads that are the same stay together.
fn cut(items: &[Item]) -> usize {
    let end = items.len().min(FILL);
    let last = items[end - 1].0;
    end + items[end..].iter().take_while(|(head, _)| *head == last).count()
}

/// The first eight bytes of a key, as a number in the order of keys. A shorter key is filled up with zeros, which puts
/// it together with the one that has those zeros.
fn head(key: &[u8]) -> u64 {
    let mut bytes = [0; HEAD_BYTES];
    let count = key.len().min(HEAD_BYTES);
    bytes[..count].copy_from_slice(&key[..count]);
    bytes.iter().fold(0, |head, byte| head << u8::BITS | u64::from(*byte))
}

/// The shortest key that is above all keys with the head `below`, and not above those with the head `head`; all begin
/// with `common`.
///
/// It ends with the first byte in which `head` is the larger, which is not zero: so that a key which has it is not
/// one that was filled up before.
fn fence(common: &[u8], below: u64, head: u64) -> Key {
    let same_bytes = (below ^ head).leading_zeros() / u8::BITS;
    let bytes = (0..=same_bytes).map(|index| head.rotate_left((index + 1) * u8::BITS) & u64::from(u8::MAX));
    let bytes = bytes.map(|byte| u8::try_from(byte).unwrap_or(u8::MAX));
    Key::from(common.iter().copied().chain(bytes).collect::<Vec<u8>>())
}

/// What both keys begin with, and all keys between them; nothing, where one is missing.
fn common_prefix<'a>(low: Option<&'a Key>, high: Option<&Key>) -> &'a [u8] {
    let (Some(low), Some(high)) = (low, high) else { return &[] };
    let same = low.iter().zip(high.iter()).take_while(|(low, high)| low == high).count();
    &low[..same]
}
