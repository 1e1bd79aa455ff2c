//! Immutable, indexed snapshot files that are read in place through a memory map, or block by block.
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
//! **Invariant:** no value outlives its map or its cached block: bytes that are handed out keep it alive.
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
//! Beside the manifests there may be a file of what was learned ([`Advice`]): sections of bytes that nobody's answer depends
//! on, so that its absence or damage is no error.
//!
//! The formats, with the arguments for their being safe, are described in `docs/format/checkpoint.md` and
//! `docs/format/advice.md`.

mod access;
mod advice;
mod blocks;
mod checked;
mod compress;
mod copy;
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
mod places;
mod raw;
mod recover;
mod retention;
mod salvage;
mod sparse;
mod verify;
mod writer;

pub use access::{BlockCache, LayerAccess};
pub use advice::{
    ADVICE_BYTES_MAX, ADVICE_NAME_BYTES_MAX, ADVICE_SECTIONS_MAX, Advice, AdviceSection, DamagedSection,
    FoundAdvice, LoadedAdvice, list_advice, load_advice, newest_advice, newest_advice_section, remove_advice,
    write_advice,
};
pub use copy::is_partial_layer;
pub use entry::{LayerEntry, LayerValue};
pub use entry_ref::LayerEntryRef;
pub use error::{Corruption, Error, Result};
pub use format::{ENTRIES_MAX, KEY_BYTES_MAX, VALUE_BYTES_MAX};
pub use hash::hash;
pub use iter::Iter;
pub use layer::{Layer, LayerInfo};
pub use layer_bytes::LayerBytes;
pub use manifest::{LogPlace, MANIFEST_BYTES_MAX, Manifest, PublishError, Published, list, load, publish};
pub use merge::{Merge, MergeReport, Newer, merge};
pub use names::{
    advice_name, layer_name, manifest_name, parse_advice_name, parse_layer_name, parse_manifest_name,
};
pub use recover::{Opened, Rejected, newest, newest_where, newest_with};
pub use retention::{Obsolete, layer_ids, obsolete, remove};
pub use salvage::{Missing, MissingEntry, Salvage};
pub use verify::VerifyReport;
pub use writer::{LayerOptions, LayerWriter};
