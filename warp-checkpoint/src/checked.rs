//! The bytes of a layer's body, of which each block is checked before its first byte is handed out.

mod file;
mod map;

use std::ops::Range;

use bytes::Bytes;

use self::file::CheckedFile;
use self::map::CheckedMap;
use crate::error::{Corruption, Result, corrupt};
use crate::format::Layout;
use crate::layer_bytes::LayerBytes;
use crate::raw::Raw;

/// Blocks that are checked in one step when all are.
const BLOCKS_TOGETHER: usize = 32;

/// A body that is only seen through checksums: mapped, or read block by block.
#[derive(Debug)]
pub(crate) enum Checked {
    Map(CheckedMap),
    File(CheckedFile),
}

impl Checked {
    /// The body of a file with `layout`, which the caller has checked to be that of the file; so is `pieces`, the
    /// checksums of the check array's pieces.
    pub(crate) fn new(name: String, raw: Raw, layout: Layout, pieces: &[u8]) -> Checked {
        match raw {
            Raw::Map(map) => Checked::Map(CheckedMap::new(name, map, layout)),
            Raw::File(file) => Checked::File(CheckedFile::new(file, layout, pieces)),
        }
    }

    pub(crate) fn file(&self) -> &str {
        match self {
            Checked::Map(map) => map.file(),
            Checked::File(file) => file.name(),
        }
    }

    #[inline]
    pub(crate) fn layout(&self) -> &Layout {
        match self {
            Checked::Map(map) => map.layout(),
            Checked::File(file) => file.layout(),
        }
    }

    /// The bytes of `range`, after checking those of its blocks that were not checked before.
    #[inline]
    pub(crate) fn checked(&self, range: Range<usize>) -> Result<LayerBytes<'_>> {
        self.check_range(&range)?;
        match self {
            Checked::Map(map) => map.checked(range).map(LayerBytes::mapped),
            Checked::File(file) => file.checked(range),
        }
    }

    /// The `N` bytes from `start` on, likewise.
    #[inline]
    pub(crate) fn array<const N: usize>(&self, start: usize) -> Result<[u8; N]> {
        let mut array = [0; N];
        array.copy_from_slice(&self.checked(start..start.saturating_add(N))?);
        Ok(array)
    }

    /// Like [`checked`](Checked::checked), as bytes that keep the map alive, or that are a copy.
    pub(crate) fn checked_shared(&self, range: Range<usize>) -> Result<Bytes> {
        self.check_range(&range)?;
        match self {
            Checked::Map(map) => map.checked_shared(range),
            Checked::File(file) => file.checked_shared(range),
        }
    }

    /// Asks the system to read the pages of `range` soon.
    pub(crate) fn will_need(&self, range: Range<usize>) {
        match self {
            Checked::Map(map) => map.will_need(range),
            Checked::File(file) => file.will_need(range),
        }
    }

    /// Checks every block anew, whether it was checked before or not; returns how many there are. Calls `step` with the
    /// number of bytes that were checked since; if it says no, the rest is not checked.
    pub(crate) fn check_all(&self, step: &mut dyn FnMut(u64) -> bool) -> Result<u64> {
        let is_whole = match self {
            Checked::Map(map) => map.check_all(step),
            Checked::File(file) => file.check_all(step),
        }?;
        if is_whole {
            Ok(self.layout().blocks() as u64)
        } else {
            Err(crate::Error::Stopped { file: self.file().to_owned() })
        }
    }

    /// The body, where all of it is in memory, for who has just [checked all](Checked::check_all) of it.
    pub(crate) fn whole(&self) -> Option<&[u8]> {
        match self {
            Checked::Map(map) => Some(&map.unchecked()[..map.layout().body_bytes]),
            Checked::File(_) => None,
        }
    }

    /// Bytes of the file as they are now, for those parts that have checksums of another kind. The range lies in the file.
    pub(crate) fn unchecked(&self, range: Range<usize>) -> Result<LayerBytes<'_>> {
        match self {
            Checked::Map(map) => Ok(LayerBytes::mapped(&map.unchecked()[range])),
            Checked::File(file) => file.unchecked(range),
        }
    }

    /// Checks the check array anew.
    pub(crate) fn check_pieces(&self) -> Result<()> {
        match self {
            Checked::Map(map) => map.check_pieces(),
            Checked::File(file) => file.check_pieces(),
        }
    }

    #[inline]
    fn check_range(&self, range: &Range<usize>) -> Result<()> {
        let limit = self.layout().body_bytes;
        if range.start <= range.end && range.end <= limit {
            return Ok(());
        }
        let found = Corruption::LengthOutOfRange { length: range.end as u64, limit: limit as u64 };
        Err(corrupt(self.file(), range.start as u64, found))
    }
}
