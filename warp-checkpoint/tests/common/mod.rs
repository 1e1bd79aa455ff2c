//! What the tests of this crate share.
#![allow(dead_code, reason = "each test uses some of it")]

use warp_checkpoint::{
    BlockCache, LayerAccess, LayerEntry, LayerInfo, LayerOptions, LayerWriter, Result, hash,
};
use warp_io::Dir;

/// A map, a cache that holds a layer of a test, one that holds two blocks, and one that holds nothing.
pub(crate) fn accesses() -> [LayerAccess; 4] {
    let read = |bytes| LayerAccess::Read(BlockCache::new(bytes));
    [LayerAccess::Map, read(1 << 20), read(10_000), read(0)]
}

/// An entry of keyspace 0 that never expires.
pub(crate) fn entry<'a>(key: &'a [u8], seq: u64, value: Option<&'a [u8]>) -> LayerEntry<'a> {
    LayerEntry { hash: hash(key), keyspace: 0, key, seq, deadline: 0, value }
}

/// Writes a layer with default options, and syncs its directory.
pub(crate) fn write_layer(dir: &dyn Dir, id: u64, entries: &[LayerEntry<'_>]) -> Result<LayerInfo> {
    let mut writer = LayerWriter::create_in(dir, id, &LayerOptions::default())?;
    for entry in entries {
        writer.add(entry)?;
    }
    let info = writer.finish()?;
    dir.sync_dir().map_err(|source| warp_checkpoint::Error::Io {
        file: String::new(),
        offset: None,
        source,
    })?;
    Ok(info)
}
