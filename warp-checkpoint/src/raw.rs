//! A layer file before anything of it was checked.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use warp_io::{File, MappedBytes, read_exact_at};

use crate::access::{BlockCache, LayerAccess};
use crate::error::{Corruption, Error, Result, corrupt, io_at};
use crate::layer_bytes::LayerBytes;

/// The bytes of a file, mapped or to be read.
#[derive(Debug)]
pub(crate) enum Raw {
    Map(MappedBytes),
    File(RawFile),
}

/// A file that is read piece by piece.
#[derive(Debug)]
pub(crate) struct RawFile {
    name: String,
    file: Arc<dyn File>,
    /// Its length when it was opened. A published file does not change.
    bytes: usize,
    /// Where its blocks are kept.
    pub(crate) cache: BlockCache,
}

impl Raw {
    /// The file of that name, as `access` says.
    pub(crate) fn open(name: &str, file: &Arc<dyn File>, access: &LayerAccess) -> Result<Raw> {
        match access {
            LayerAccess::Map => Ok(Raw::Map(file.map().map_err(io_at(name))?)),
            LayerAccess::Read(cache) => RawFile::open(name, file, cache).map(Raw::File),
        }
    }

    /// Length of the file.
    pub(crate) fn len(&self) -> usize {
        match self {
            Raw::Map(map) => map.len(),
            Raw::File(file) => file.len(),
        }
    }

    /// Bytes of the file, which nobody has checked yet. The range lies within its length.
    pub(crate) fn read(&self, range: Range<usize>) -> Result<LayerBytes<'_>> {
        match self {
            Raw::Map(map) => Ok(LayerBytes::mapped(&map[range])),
            Raw::File(file) => file.read(range).map(LayerBytes::read),
        }
    }
}

impl RawFile {
    /// The file of that name, whose blocks are kept in `cache`.
    pub(crate) fn open(name: &str, file: &Arc<dyn File>, cache: &BlockCache) -> Result<RawFile> {
        let bytes = file.len().map_err(io_at(name))?;
        let bytes = usize::try_from(bytes).map_err(|_| {
            let limit = usize::MAX as u64;
            corrupt(name, 0, Corruption::LengthOutOfRange { length: bytes, limit })
        })?;
        Ok(RawFile { name: name.to_owned(), file: Arc::clone(file), bytes, cache: cache.clone() })
    }

    /// Length of the file.
    pub(crate) fn len(&self) -> usize {
        self.bytes
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The bytes of a range.
    pub(crate) fn read(&self, range: Range<usize>) -> Result<Bytes> {
        let mut bytes = vec![0; range.len()];
        self.read_into(range.start, &mut bytes)?;
        Ok(Bytes::from(bytes))
    }

    /// Fills `out` from `start` on. A file that has become shorter is damaged; what else the system answers names the
    /// file and the place.
    pub(crate) fn read_into(&self, start: usize, out: &mut [u8]) -> Result<()> {
        match read_exact_at(&*self.file, start as u64, out) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                let length = start.saturating_add(out.len()) as u64;
                let limit = self.file.len().unwrap_or(0);
                Err(corrupt(&self.name, start as u64, Corruption::LengthOutOfRange { length, limit }))
            }
            Err(source) => Err(Error::Io { file: self.name.clone(), offset: Some(start as u64), source }),
        }
    }

    /// Asks the system to read a range soon.
    pub(crate) fn will_need(&self, range: Range<usize>) {
        self.file.will_need(range.start as u64, range.len() as u64);
    }
}
