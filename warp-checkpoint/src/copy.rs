//! Copying a layer into another directory, checked on the way and after it.

use warp_io::{Dir, write_all_at};

use crate::access::{BlockCache, LayerAccess};
use crate::checked::Checked;
use crate::error::{Result, io_at};
use crate::format::BLOCK_BYTES;
use crate::layer::Layer;
use crate::names::layer_name;
use crate::raw::Raw;

/// How much is checked and written at a time: whole blocks.
const CHUNK_BYTES: usize = 256 * BLOCK_BYTES;
/// What a copy is called until it is whole.
const PARTIAL_SUFFIX: &str = ".partial";

/// Whether this is the name of a copy that was not completed.
#[must_use]
pub fn is_partial_layer(name: &str) -> bool {
    name.strip_suffix(PARTIAL_SUFFIX).is_some_and(|own| crate::parse_layer_name(own).is_some())
}

impl Layer {
    /// Copies the layer into `to`, where it gets the same name: every block is checked before it is written, and the copy
    /// is synced, read back and checked before it gets its name. A file that has the name is replaced. The name survives a
    /// power loss once the caller has synced the directory.
    ///
    /// `progress` is told how many bytes were written since it was last told.
    ///
    /// # Errors
    /// [`Error::Corrupt`](crate::Error::Corrupt) if the layer, or what the disk gives back, is damaged;
    /// [`Error::Io`](crate::Error::Io). There is nothing of the copy then, if its file can be removed.
    pub fn copy_to(&self, to: &dyn Dir, mut progress: impl FnMut(u64)) -> Result<()> {
        let name = layer_name(self.id());
        let partial = format!("{name}{PARTIAL_SUFFIX}");
        // Of an attempt that a crash ended. Whether there was one, and whether it is gone, the next line finds out.
        let _ = to.remove(&partial);
        let copied = self.write_copy(to, &partial, &mut progress);
        if copied.is_err() {
            // What cannot be removed now is removed by the next attempt.
            let _ = to.remove(&partial);
        }
        copied?;
        to.rename(&partial, &name).map_err(io_at(&name))
    }

    fn write_copy(&self, to: &dyn Dir, partial: &str, progress: &mut impl FnMut(u64)) -> Result<()> {
        let source = self.source();
        let (body_bytes, file_bytes) = (source.layout().body_bytes, source.layout().file_bytes);
        let file = to.create_new(partial).map_err(io_at(partial))?;
        let mut offset = 0;
        while offset < body_bytes {
            let end = body_bytes.min(offset + CHUNK_BYTES);
            write_all_at(&*file, offset as u64, &source.checked(offset..end)?).map_err(io_at(partial))?;
            progress((end - offset) as u64);
            offset = end;
        }
        // What lies behind the body was checked when the layer was opened; the check array has checksums of its own.
        self.check_ends()?;
        source.check_pieces()?;
        let rest = source.unchecked(body_bytes..file_bytes)?;
        write_all_at(&*file, body_bytes as u64, &rest).map_err(io_at(partial))?;
        file.sync_data().map_err(io_at(partial))?;
        progress(rest.len() as u64);
        // Whoever does without maps must not die of one here. What is read once needs no cache.
        let access = match source {
            Checked::Map(_) => LayerAccess::Map,
            Checked::File(_) => LayerAccess::Read(BlockCache::new(0)),
        };
        let copy = Raw::open(partial, &file, &access)?;
        let copy = Layer::of_raw(partial.to_owned(), copy, Some(self.id()), Some(self.info()))?;
        copy.source().check_all(&mut |_| true).map(drop)
    }
}
