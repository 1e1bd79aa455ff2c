//! What the tests of this crate share.
#![allow(dead_code, reason = "each test uses some of it")]

use warp_checkpoint::{
    BlockCache, LayerAccess, LayerEntry, LayerInfo, LayerOptions, LayerWriter, Result, hash,
};
use warp_io::Dir;

pub(crate) const BLOCK: usize = 4096;

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

/// Makes all checksums right, as docs/format/checkpoint.md describes them.
pub(crate) fn reseal(bytes: &mut [u8]) {
    fn put(bytes: &mut [u8], offset: usize, check: u32) {
        bytes[offset..offset + 4].copy_from_slice(&check.to_le_bytes());
    }
    let header = crc32c::crc32c(&bytes[..28]);
    put(bytes, 28, header);
    let end = bytes.len();
    let body = usize::try_from(u64::from_le_bytes(
        bytes[end - 24..end - 16].try_into().expect("a number in a whole file"),
    ))
    .expect("a number in a whole file");
    let checks = body.div_ceil(BLOCK) * 4;
    for block in 0..body.div_ceil(BLOCK) {
        let check = crc32c::crc32c(&bytes[block * BLOCK..body.min((block + 1) * BLOCK)]);
        put(bytes, body + block * 4, check);
    }
    for piece in 0..checks.div_ceil(BLOCK) {
        let check = crc32c::crc32c(&bytes[body + piece * BLOCK..body + checks.min((piece + 1) * BLOCK)]);
        put(bytes, body + checks + piece * 4, check);
    }
    let root = crc32c::crc32c(&bytes[body + checks..end - 12]);
    put(bytes, end - 12, root);
}

/// Length of the body, as the trailer states it.
pub(crate) fn body_bytes(bytes: &[u8]) -> usize {
    usize::try_from(u64::from_le_bytes(
        bytes[bytes.len() - 24..bytes.len() - 16].try_into().expect("a number in a whole file"),
    ))
    .expect("a number in a whole file")
}
