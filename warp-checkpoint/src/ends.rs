//! The first and the last bytes of a layer file: what is checked before anything else is looked at.

use crate::error::{Corruption, Error, Result, corrupt};
use crate::format::{
    FOOTER_BYTES, FOOTER_BYTES_MAX, HEADER_BYTES, Layout, TRAILER_BYTES, TRAILER_ROOT_OFFSET, Trailer,
    VERSION, decode_header,
};

/// Checks the header; returns the layer's id.
pub(crate) fn check_header(name: &str, map: &[u8], id: Option<u64>) -> Result<u64> {
    let Some(header) = map.first_chunk::<HEADER_BYTES>() else {
        return Err(too_short(name, map.len()));
    };
    let (found, version) = decode_header(header).map_err(|found| corrupt(name, 0, found))?;
    if version != VERSION {
        return Err(Error::Unsupported { file: name.to_owned(), version });
    }
    match id {
        Some(expected) if expected != found => {
            Err(corrupt(name, 0, Corruption::WrongNumber { expected, found }))
        }
        _ => Ok(found),
    }
}

/// Checks the trailer, and everything behind the check array against the root; returns where things are.
pub(crate) fn check_trailer(name: &str, map: &[u8], root: Option<u32>) -> Result<(Layout, u32)> {
    let Some(trailer) = map.last_chunk::<TRAILER_BYTES>() else {
        return Err(too_short(name, map.len()));
    };
    let trailer_offset = map.len() - TRAILER_BYTES;
    let damaged = |found| corrupt(name, trailer_offset as u64, found);
    let trailer = Trailer::decode(trailer).map_err(damaged)?;
    let out_of_range =
        |length: u64| damaged(Corruption::LengthOutOfRange { length, limit: map.len() as u64 });
    let footer_bytes = trailer.footer_bytes as usize;
    if !(FOOTER_BYTES..=FOOTER_BYTES_MAX).contains(&footer_bytes) {
        return Err(out_of_range(trailer.footer_bytes.into()));
    }
    let layout = usize::try_from(trailer.body_bytes)
        .ok()
        .and_then(|body_bytes| Layout::new(body_bytes, footer_bytes))
        .filter(|layout| layout.file_bytes == map.len() && layout.body_bytes >= HEADER_BYTES)
        .ok_or_else(|| out_of_range(trailer.body_bytes))?;
    let found = crc32c::crc32c(&map[layout.pieces_offset..trailer_offset + TRAILER_ROOT_OFFSET]);
    // The file's own statement first: a manifest that knows another root means another file, not a damaged one.
    for expected in [Some(trailer.root), root].into_iter().flatten() {
        if expected != found {
            return Err(corrupt(
                name,
                layout.pieces_offset as u64,
                Corruption::BadChecksum { expected, found },
            ));
        }
    }
    Ok((layout, found))
}

fn too_short(name: &str, length: usize) -> Error {
    let limit = (HEADER_BYTES + TRAILER_BYTES) as u64;
    corrupt(name, 0, Corruption::LengthOutOfRange { length: length as u64, limit })
}
