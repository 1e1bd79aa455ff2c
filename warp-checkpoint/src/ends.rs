//! The first and the last bytes of a layer file: what is checked before anything else is looked at.

use std::ops::Range;

use crate::error::{Corruption, Error, Result, corrupt};
use crate::format::{
    CHECK_BYTES, FOOTER_BYTES, FOOTER_BYTES_MAX, HEADER_BYTES, Layout, TRAILER_BYTES, TRAILER_ROOT_OFFSET,
    Trailer, VERSION, decode_header,
};
use crate::layer_bytes::LayerBytes;

/// A file of so many bytes, and what reads some of them.
pub(crate) struct Whole<'a, R> {
    pub(crate) name: &'a str,
    pub(crate) bytes: usize,
    pub(crate) read: R,
}

/// What the end of a sound file says.
pub(crate) struct End<'a> {
    pub(crate) layout: Layout,
    pub(crate) root: u32,
    /// The bytes from `layout.pieces_offset` on.
    tail: LayerBytes<'a>,
}

impl End<'_> {
    /// The checksums of the check array's pieces.
    pub(crate) fn pieces(&self) -> &[u8] {
        &self.tail[..self.layout.footer_offset - self.layout.pieces_offset]
    }

    pub(crate) fn footer(&self) -> &[u8] {
        &self.tail[self.pieces().len()..self.layout.trailer_offset - self.layout.pieces_offset]
    }
}

impl<'a, R: Fn(Range<usize>) -> Result<LayerBytes<'a>>> Whole<'_, R> {
    /// Checks the header; returns the layer's id.
    pub(crate) fn check_header(&self, id: Option<u64>) -> Result<u64> {
        if self.bytes < HEADER_BYTES {
            return Err(self.too_short());
        }
        let bytes = (self.read)(0..HEADER_BYTES)?;
        let header = bytes.first_chunk::<HEADER_BYTES>().ok_or_else(|| self.too_short())?;
        let (found, version) = decode_header(header).map_err(|found| corrupt(self.name, 0, found))?;
        if version != VERSION {
            return Err(Error::Unsupported { file: self.name.to_owned(), version });
        }
        match id {
            Some(expected) if expected != found => {
                Err(corrupt(self.name, 0, Corruption::WrongNumber { expected, found }))
            }
            _ => Ok(found),
        }
    }

    /// Checks the trailer, and everything behind the check array against the root; returns where things are.
    pub(crate) fn check_trailer(&self, root: Option<u32>) -> Result<End<'a>> {
        let Some(trailer_offset) = self.bytes.checked_sub(TRAILER_BYTES) else {
            return Err(self.too_short());
        };
        let bytes = (self.read)(trailer_offset..self.bytes)?;
        let trailer = bytes.last_chunk::<TRAILER_BYTES>().ok_or_else(|| self.too_short())?;
        let damaged = |found| corrupt(self.name, trailer_offset as u64, found);
        let trailer = Trailer::decode(trailer).map_err(damaged)?;
        let out_of_range =
            |length: u64| damaged(Corruption::LengthOutOfRange { length, limit: self.bytes as u64 });
        let footer_bytes = trailer.footer_bytes as usize;
        if !(FOOTER_BYTES..=FOOTER_BYTES_MAX).contains(&footer_bytes) {
            return Err(out_of_range(trailer.footer_bytes.into()));
        }
        let layout = usize::try_from(trailer.body_bytes)
            .ok()
            .and_then(|body_bytes| Layout::new(body_bytes, footer_bytes))
            .filter(|layout| layout.file_bytes == self.bytes && layout.body_bytes >= HEADER_BYTES)
            .ok_or_else(|| out_of_range(trailer.body_bytes))?;
        let tail = (self.read)(layout.pieces_offset..self.bytes)?;
        let covered = tail.len() - (TRAILER_BYTES - TRAILER_ROOT_OFFSET);
        let found = crc32c::crc32c(&tail[..covered]);
        // The file's own statement first: a manifest that knows another root means another file, not a damaged one.
        for expected in [Some(trailer.root), root].into_iter().flatten() {
            if expected != found {
                let found = Corruption::BadChecksum { expected, found };
                return Err(corrupt(self.name, layout.pieces_offset as u64, found));
            }
        }
        debug_assert_eq!((layout.footer_offset - layout.pieces_offset) % CHECK_BYTES, 0);
        Ok(End { layout, root: found, tail })
    }

    fn too_short(&self) -> Error {
        let limit = (HEADER_BYTES + TRAILER_BYTES) as u64;
        corrupt(self.name, 0, Corruption::LengthOutOfRange { length: self.bytes as u64, limit })
    }
}
