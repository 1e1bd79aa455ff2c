//! How the bytes of layers are reached: through a map, or read into a bounded cache of blocks.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use quick_cache::Weighter;
use quick_cache::sync::Cache;

use crate::format::BLOCK_BYTES;

/// How the bytes of a layer are reached.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub enum LayerAccess {
    /// Through a memory map: the fastest, and values are handed out without a copy. The system answers a page that it
    /// cannot read by ending the process with a signal (`SIGBUS`), on a failing disk as for a file that was cut.
    #[default]
    Map,
    /// By reading blocks into this cache. A block that cannot be read, or is not there any more, is an error of the call
    /// that asked for it.
    Read(BlockCache),
}

/// Blocks of layers that were read and found to be sound, within a bound. A handle; clones share the blocks.
///
/// The blocks that stay are those that are asked for again: one that is read once, as by a scan, leaves first. That is
/// decided by the crate `quick_cache`, whose policy is close to S3-FIFO (Yang et al., "FIFO queues are all you need for
/// cache eviction", SOSP 2023). Blocks of a layer that was closed leave in the same way.
///
/// ```
/// use warp_checkpoint::{BlockCache, Layer, LayerAccess, LayerEntry, LayerOptions, LayerWriter, hash};
/// use warp_io::OsDir;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let scratch = tempfile::tempdir()?;
/// let dir = OsDir::open(scratch.path(), false)?;
/// let mut writer = LayerWriter::create_in(&dir, 1, &LayerOptions::default())?;
/// let (key, value) = (b"earth".as_slice(), Some(b"12756 km".as_slice()));
/// writer.add(&LayerEntry { hash: hash(key), keyspace: 0, key, seq: 1, deadline: 0, value })?;
/// let info = writer.finish()?;
///
/// let cache = BlockCache::new(1 << 20);
/// let layer = Layer::open_with(&dir, &info, &LayerAccess::Read(cache.clone()))?;
/// assert_eq!(layer.get(hash(key), 0, key)?.and_then(|found| found.value).as_deref(), value);
/// assert!(cache.bytes() > 0);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct BlockCache(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    blocks: Cache<Place, Bytes, Weight>,
    next_file: AtomicU64,
}

/// The number of an open file, and that of a block in it.
type Place = (u64, u64);

/// What a block takes beside its bytes, about: its key and links in the cache, and the counter of its bytes.
const BLOCK_OVERHEAD_BYTES: u64 = 128;

/// What a block counts against the bound.
#[derive(Clone, Copy, Debug)]
struct Weight;

impl Weighter<Place, Bytes> for Weight {
    fn weight(&self, _: &Place, block: &Bytes) -> u64 {
        block.len() as u64 + BLOCK_OVERHEAD_BYTES
    }
}

impl BlockCache {
    /// A cache of about `bytes` bytes at most, with what it needs for itself. One that is too small for a block keeps
    /// nothing, and every read goes to the file.
    #[must_use]
    pub fn new(bytes: usize) -> BlockCache {
        let blocks = bytes / BLOCK_BYTES;
        BlockCache(Arc::new(Inner {
            blocks: Cache::with_weighter(blocks, bytes as u64, Weight),
            next_file: AtomicU64::new(0),
        }))
    }

    /// Bytes that it holds at present.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.0.blocks.weight()
    }

    /// A number for a file whose blocks come in: never that of another one.
    pub(crate) fn add_file(&self) -> u64 {
        // Relaxed: the number has to be another one each time, and orders nothing.
        self.0.next_file.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn get(&self, file: u64, block: u64) -> Option<Bytes> {
        self.0.blocks.get(&(file, block))
    }

    /// Whether it has a block, which does not count as asking for it.
    pub(crate) fn contains(&self, file: u64, block: u64) -> bool {
        self.0.blocks.contains_key(&(file, block))
    }

    pub(crate) fn insert(&self, file: u64, block: u64, bytes: Bytes) {
        self.0.blocks.insert((file, block), bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_stays_within_its_bound() {
        let cache = BlockCache::new(100 * BLOCK_BYTES);
        let file = cache.add_file();
        for block in 0..1_000 {
            cache.insert(file, block, Bytes::from(vec![1; BLOCK_BYTES]));
        }
        let bytes = cache.bytes();
        assert!((50 * BLOCK_BYTES as u64..=100 * BLOCK_BYTES as u64).contains(&bytes), "{bytes}");
        assert_ne!(cache.add_file(), file);
        let none = BlockCache::new(0);
        none.insert(0, 0, Bytes::from(vec![1; BLOCK_BYTES]));
        assert_eq!((none.get(0, 0), none.bytes()), (None, 0));
    }
}
