//! Immutable, indexed snapshot files that are read in place through a memory map.
//!
//! ```text
//!   LayerWriter --finish--> <id>.warp --map--> Layer      get, iter; each 4 KiB block checked at first touch
//!                                                ^
//!                                  names, newest first
//!                                                |
//!      publish --rename--> MANIFEST-<n> ----- newest      the newest checkpoint that is whole
//! ```
//!
//! **Invariant:** a published file is never modified.
//! **Invariant:** no value outlives its map: bytes that are handed out keep it alive.
//! **Invariant:** bytes are checked before they are trusted, and a damaged file gives an [`Error`] that names the
//! file and the offset, never a wrong value or a panic.
//! **Invariant:** opening costs header, footer and directory, whatever the number of entries.
//! **Invariant:** hashes, sequence numbers, deadlines and values are stored and handed back, not interpreted.
//!
//! ```
//! use warp_checkpoint::{Layer, LayerEntry, LayerOptions, LayerWriter, hash};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let scratch = tempfile::tempdir()?;
//! let path = scratch.path().join("planets.warp");
//! let mut writer = LayerWriter::create(&path, &LayerOptions::default())?;
//! let (key, value) = (b"mercury".as_slice(), Some(b"4879 km".as_slice()));
//! writer.add(&LayerEntry { hash: hash(key), keyspace: 0, key, seq: 1, deadline: 0, value })?;
//! writer.finish()?;
//!
//! let layer = Layer::open(&path)?;
//! let found = layer.get(hash(key), 0, key)?.expect("it was added");
//! assert_eq!(found.value.as_deref(), value);
//! assert_eq!(layer.get(hash(b"vulcan"), 0, b"vulcan")?, None);
//! # Ok(())
//! # }
//! ```
//!
//! The format, with the arguments for its being safe, is described in `docs/format/checkpoint.md`.

mod access;
mod blocks;
mod checked;
mod compress;
mod ends;
mod entry;
mod entry_ref;
mod error;
mod filter;
mod format;
mod hash;
mod index;
mod iter;
mod layer;
mod layer_bytes;
mod manifest;
mod merge;
mod names;
mod place;
mod raw;
mod recover;
mod retention;
mod verify;
mod writer;

pub use access::{BlockCache, LayerAccess};
pub use entry::{LayerEntry, LayerValue};
pub use entry_ref::LayerEntryRef;
pub use error::{Corruption, Error, Result};
pub use format::{ENTRIES_MAX, KEY_BYTES_MAX, VALUE_BYTES_MAX};
pub use hash::hash;
pub use iter::Iter;
pub use layer::{Layer, LayerInfo};
pub use layer_bytes::LayerBytes;
pub use manifest::{MANIFEST_BYTES_MAX, Manifest, PublishError, Published, list, load, publish};
pub use merge::{Merge, MergeReport, merge};
pub use names::{layer_name, manifest_name, parse_layer_name, parse_manifest_name};
pub use recover::{Opened, Rejected, newest, newest_where, newest_with};
pub use retention::{Obsolete, layer_ids, obsolete, remove};
pub use verify::VerifyReport;
pub use writer::{LayerOptions, LayerWriter};
