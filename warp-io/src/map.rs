//! A file's bytes read in place through a memory map. The only unsafe code of this crate.
#![expect(unsafe_code, reason = "mapping memory is unsafe by nature; the contract is at File::map")]

use std::fmt;
use std::fs;
use std::io;
use std::ops::Deref;
use std::sync::Arc;

use memmap2::{Mmap, MmapOptions};

/// Read-only bytes of a file, kept alive by every clone. Aligned to at least 16 bytes at the start.
#[derive(Clone)]
pub struct MappedBytes(Arc<Source>);

enum Source {
    Mapped(Mmap),
    /// Bytes, and the aligned place that they start at.
    #[cfg(feature = "sim")]
    Owned(Box<[u8]>, usize),
    Empty,
}

/// What the start of every map is aligned to; the system aligns its own to pages.
#[cfg(feature = "sim")]
const ALIGN_BYTES: usize = 16;

impl MappedBytes {
    /// Maps the whole of `file`.
    pub(crate) fn map(file: &fs::File) -> io::Result<MappedBytes> {
        if file.metadata()?.len() == 0 {
            return Ok(MappedBytes(Arc::new(Source::Empty)));
        }
        // SAFETY: the bytes stay as they are while the map lives, which is the rule that `File::map` states
        // and that its callers keep: published files are never modified, and the directory's lock keeps other
        // processes out.
        let map = unsafe { MmapOptions::new().map(file)? };
        // Point reads dominate: where there is no room for the whole file, reading ahead of each page would only fill the
        // page cache with what nobody asked for.
        // Only a hint: a system that does not take it maps all the same.
        let _ = map.advise(memmap2::Advice::Random);
        Ok(MappedBytes(Arc::new(Source::Mapped(map))))
    }

    /// Bytes that `fill` provides, for directories that have no system files behind them.
    #[cfg(feature = "sim")]
    pub(crate) fn filled(len: usize, fill: impl FnOnce(&mut [u8])) -> MappedBytes {
        let mut bytes = vec![0; len + ALIGN_BYTES - 1].into_boxed_slice();
        // The allocation does not move when the box does, so the place stays aligned.
        let start = (ALIGN_BYTES - bytes.as_ptr().addr() % ALIGN_BYTES) % ALIGN_BYTES;
        fill(&mut bytes[start..start + len]);
        MappedBytes(Arc::new(Source::Owned(bytes, start)))
    }

    /// Asks the system to read the pages of `range` soon, without waiting. Only a hint: nothing happens where
    /// there is no map, or where the range is empty or reaches past the end.
    pub fn will_need(&self, range: std::ops::Range<usize>) {
        if let Source::Mapped(map) = &*self.0
            && range.start < range.end
            && range.end <= map.len()
        {
            // A failed hint costs nothing but the hint.
            let _ = map.advise_range(memmap2::Advice::WillNeed, range.start, range.end - range.start);
        }
    }
}

impl Deref for MappedBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &*self.0 {
            Source::Mapped(map) => map,
            #[cfg(feature = "sim")]
            Source::Owned(bytes, start) => &bytes[*start..bytes.len() - (ALIGN_BYTES - 1 - start)],
            Source::Empty => &[],
        }
    }
}

impl AsRef<[u8]> for MappedBytes {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl fmt::Debug for MappedBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MappedBytes").field("len", &self.len()).finish()
    }
}
