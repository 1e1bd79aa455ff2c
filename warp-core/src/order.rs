//! Keys in order, held by their hashes.
//!
//! ```text
//!   fences:   ""            "car"           "dog"                one key a block: what lies between two fences
//!             |             |               |                    belongs to the block of the lower one
//!   blocks:   [9f.. 03..]   [c1.. 77.. 2a]  [e0.. 41.. 5b..]     hashes of the keys there, in no order
//! ```
//!
//! A key is found by its fence, and within a block nothing is looked for: whoever reads a block looks all its hashes
//! up, takes the keys that lie between the fences, and sorts those few. So a new key costs one search among the
//! fences and eight bytes, no key but a fence is kept, and hashes that collide need no care: in which block a hash
//! stands says which of its keys is meant there, and if two of them are in one block, its hash is there twice.
//!
//! What is gone stays in its block until that is written anew, and is passed over meanwhile.

mod blocks;
mod build;

use std::fmt;

use parking_lot::{Mutex, RwLock};

use self::blocks::{Blocks, Group};
pub use self::build::{ORDER_WORK_KEY_BYTES, OrderBuilder};
use crate::value::Key;

/// The most hashes that a block holds, unless many keys of a block could not be read when it was to be divided.
///
/// A scan looks up whole blocks, so that smaller ones waste less of a short scan; larger ones share the cost of a
/// fence and its node, about 130 bytes, among more keys.
pub const ORDER_BLOCK_KEYS_MAX: usize = 64;

/// Hashes of a block that is written anew in the middle of growth: room for a third more.
const FILL: usize = 48;

/// Up to this many keys stay one block. Less than the limit, so that a block that was just written has room.
const UNDIVIDED_MAX: usize = 56;

/// Blocks that a merge adds to under one lock, so that no scan waits for long.
const GROUPS_A_LOCK: usize = 64;

/// Neighbours that a sweep looks at together, and joins if they fit into fewer blocks.
const SWEEP_BLOCKS: usize = 4;

const _: () = assert!(FILL < UNDIVIDED_MAX && UNDIVIDED_MAX < ORDER_BLOCK_KEYS_MAX);

/// An ordered set of keys that holds their 64-bit hashes: 9 to 13 bytes a key, whatever its length.
///
/// It is a superset: every key that was added is in it for as long as it is present, and a hash whose key is gone
/// may be. Whoever reads it looks the hashes up, as told by the docs of [`Chunk`]. Present or gone is for the caller
/// to say, in the `resolve` that [`OrderedKeys::merge`] and [`OrderedKeys::sweep`] take: given a chunk, it names all
/// keys of the chunk's range that are present and have one of the chunk's hashes. It may leave out a key only if that
/// will be added again should it come back, and it is called with no lock held that a reader waits for.
///
/// All methods take `&self`; readers wait for the change of a few blocks at most, and never for a `resolve`.
///
/// ```
/// use warp_core::{Chunk, Key, Kept, OrderedKeys, hash_key};
///
/// let mut present: Vec<Key> = (0..1000).map(|number| Key::from(format!("{number:04}"))).collect();
/// let hashed = |keys: &[Key]| keys.iter().map(|key| (key.clone(), hash_key(0, 0, key))).collect::<Vec<_>>();
/// // This resolve knows its keys by heart; a real one looks up `chunk.hashes`.
/// let mut resolve = |chunk: &Chunk| {
///     let keys = present.iter().filter(|key| chunk.contains(key)).cloned().collect::<Vec<_>>();
///     Kept { keys: hashed(&keys), unreadable: Vec::new() }
/// };
/// let order = OrderedKeys::new();
/// order.merge(hashed(&present), &mut resolve);
///
/// let chunk = order.forwards(b"0123", Some(b"0200"), 1);
/// assert_eq!(&*chunk.low, b"0123");
/// assert!(chunk.hashes.contains(&hash_key(0, 0, b"0123")));
/// ```
pub struct OrderedKeys {
    blocks: RwLock<Blocks>,
    /// Held by whoever changes blocks: what one has read of a block stays true until it writes it anew. Where the
    /// next sweep begins.
    upkeep: Mutex<Key>,
}

/// A part of the order: a range of keys, and the hashes of all that lie in it.
///
/// A hash may be there for a key that is gone, or for one of another range: only keys from `low` on and below `high`
/// count. To read a chunk, look up every hash, drop what is not in the range, sort, and drop what is there twice.
///
/// A hash that is there once stands for one key: it need not be looked for further once a key in the range was found
/// that had been merged. One that is there twice stands for two that collide.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    /// The first key that the chunk speaks of.
    pub low: Key,
    /// The first key behind it; `None` if it goes on to the end.
    pub high: Option<Key>,
    /// The hashes, in no order.
    pub hashes: Vec<u64>,
}

/// What a `resolve` has found for a chunk.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Kept {
    /// Keys that are present, with their hashes, in any order; what is not in the chunk's range is left out again.
    pub keys: Vec<(Key, u64)>,
    /// Hashes whose keys could not be read now, and must not be lost for that.
    pub unreadable: Vec<u64>,
}

impl Chunk {
    /// Whether a key is in the chunk's range.
    #[must_use]
    pub fn contains(&self, key: &[u8]) -> bool {
        *self.low <= *key && self.high.as_ref().is_none_or(|high| *key < **high)
    }
}

impl OrderedKeys {
    /// An empty set.
    #[must_use]
    pub fn new() -> OrderedKeys {
        OrderedKeys::of(Blocks::new())
    }

    fn of(blocks: Blocks) -> OrderedKeys {
        OrderedKeys { blocks: RwLock::new(blocks), upkeep: Mutex::default() }
    }

    /// The first blocks, at most `blocks` of them and at least one, of the range from `low` to before `high`. A scan
    /// goes on from the end of the chunk.
    #[must_use]
    pub fn forwards(&self, low: &[u8], high: Option<&[u8]>, blocks: usize) -> Chunk {
        self.blocks.read().forwards(low, high, blocks)
    }

    /// The last blocks, at most `blocks` of them and at least one, of the range from `low` to before `high`. A scan
    /// goes on down from the start of the chunk.
    #[must_use]
    pub fn backwards(&self, low: &[u8], high: Option<&[u8]>, blocks: usize) -> Chunk {
        self.blocks.read().backwards(low, high, blocks)
    }

    /// Adds keys with their hashes; what is there already is added no second time. Other keys that have one of the
    /// hashes should be among them.
    pub fn merge(&self, mut added: Vec<(Key, u64)>, resolve: &mut impl FnMut(&Chunk) -> Kept) {
        let _alone = self.upkeep.lock();
        added.sort_unstable();
        added.dedup();
        let mut rest = &added[..];
        while !rest.is_empty() {
            let crowded = {
                let mut blocks = self.blocks.write();
                let mut crowded = None;
                for _ in 0..GROUPS_A_LOCK {
                    match blocks.add_first_group(&mut rest) {
                        Group::Added => {}
                        Group::Crowded { group, block } => {
                            crowded = Some((group, block));
                            break;
                        }
                    }
                }
                crowded
            };
            if let Some((group, block)) = crowded {
                self.rewrite(&block, group, resolve);
            }
        }
    }

    /// Looks through the next few blocks, and writes them anew if much of them is gone; each call goes on where the
    /// one before ended, and from the start again after the end. Returns how many hashes it has looked at.
    pub fn sweep(&self, resolve: &mut impl FnMut(&Chunk) -> Kept) -> usize {
        let mut next = self.upkeep.lock();
        let (chunk, blocks) = self.blocks.read().whole(&next, SWEEP_BLOCKS);
        let kept = resolve(&chunk);
        let (before, after) = (chunk.hashes.len(), kept.keys.len() + kept.unreadable.len());
        let is_sparse = blocks > 1 && after.div_ceil(FILL) < blocks - blocks / 2;
        if after < before - before / 4 || is_sparse {
            self.replace(&chunk, kept, &[]);
        }
        *next = chunk.high.unwrap_or_default();
        before
    }

    /// How many hashes are held, those of keys that are gone included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.blocks.read().hashes()
    }

    /// Whether no hash is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The memory held, in bytes: blocks with their slack, fences, and the nodes of the tree that these are in, which
    /// are counted as half full, the least that a tree with many keys added in order comes to. The allocator's own
    /// rounding is not in it.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.blocks.read().memory_bytes()
    }

    /// Recounts what the set believes about itself, for tests: the first block begins at the empty key, and the
    /// counters match what is there.
    ///
    /// # Errors
    /// The first thing that is wrong, in words.
    pub fn validate(&self) -> Result<(), String> {
        self.blocks.read().validate()
    }

    /// Writes one block anew, or several neighbours: with what is kept of them, and with `extra`.
    fn rewrite(&self, chunk: &Chunk, extra: &[(Key, u64)], resolve: &mut impl FnMut(&Chunk) -> Kept) {
        self.replace(chunk, resolve(chunk), extra);
    }

    fn replace(&self, chunk: &Chunk, kept: Kept, extra: &[(Key, u64)]) {
        let Kept { mut keys, unreadable } = kept;
        keys.retain(|(key, _)| chunk.contains(key));
        let last = keys.iter().map(|(key, _)| key).max();
        // Keys that come in order are packed, since no more will come in between; others leave room everywhere.
        let in_order = extra.first().is_some_and(|(first, _)| last.is_none_or(|last| last < first));
        keys.extend_from_slice(extra);
        keys.sort_unstable();
        keys.dedup();
        let piece = if keys.len() <= UNDIVIDED_MAX {
            UNDIVIDED_MAX
        } else if in_order {
            FILL
        } else {
            keys.len().div_ceil(keys.len().div_ceil(FILL))
        };
        self.blocks.write().replace(chunk, &keys, piece, &unreadable);
    }

    /// Divides the blocks that hold more than they should, as after a build in which many keys looked alike.
    fn divide_crowded(&self, resolve: &mut impl FnMut(&Chunk) -> Kept) {
        let _alone = self.upkeep.lock();
        let crowded = self.blocks.read().crowded();
        for fence in crowded {
            let (chunk, _) = self.blocks.read().whole(&fence, 1);
            self.rewrite(&chunk, &[], resolve);
        }
    }
}

impl Default for OrderedKeys {
    fn default() -> OrderedKeys {
        OrderedKeys::new()
    }
}

impl fmt::Debug for OrderedKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OrderedKeys").field("len", &self.len()).finish_non_exhaustive()
    }
}
