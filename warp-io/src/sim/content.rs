//! What a file holds: bytes in shared chunks, so that keeping every former state of a disk costs little.

use std::fmt;
use std::sync::{Arc, OnceLock};

use super::random::Digest;

/// Longest file. It bounds the chunk table that a single write far behind the end can ask for.
pub(super) const FILE_BYTES_MAX: u64 = 1 << 32;
/// Bytes that one write copies when the state before it is kept, in balance with the 8 bytes a chunk of the
/// table that it copies too: both are near 2 KiB for a file of 512 KiB.
const CHUNK_BYTES: usize = 2048;

/// Bytes that are cheap to clone; clones share all chunks that were not written since.
///
/// An absent chunk reads as zeros, and so do the bytes of the last chunk behind the length.
#[derive(Clone, Default)]
pub(super) struct Content {
    len: u64,
    chunks: Arc<Vec<Option<Arc<Chunk>>>>,
}

impl Content {
    pub(super) fn of(bytes: &[u8]) -> Content {
        let mut content = Content::default();
        content.write(0, bytes);
        content
    }

    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Copies bytes from `offset` on into `out`; returns how many there were.
    pub(super) fn read(&self, offset: u64, out: &mut [u8]) -> usize {
        let available = usize::try_from(self.len.saturating_sub(offset)).unwrap_or(usize::MAX);
        let count = out.len().min(available);
        for (place, part) in pieces(offset, count) {
            let out = &mut out[part];
            match self.chunks.get(place.chunk).and_then(Option::as_ref) {
                Some(chunk) => out.copy_from_slice(&chunk.bytes[place.start..place.start + out.len()]),
                None => out.fill(0),
            }
        }
        count
    }

    /// Puts `bytes` at `offset`, which with them must not exceed [`FILE_BYTES_MAX`]; a gap reads as zeros.
    pub(super) fn write(&mut self, offset: u64, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        self.grow(offset + bytes.len() as u64);
        let chunks = Arc::make_mut(&mut self.chunks);
        for (place, part) in pieces(offset, bytes.len()) {
            let chunk = Arc::make_mut(chunks[place.chunk].get_or_insert_default());
            let bytes = &bytes[part];
            chunk.bytes[place.start..place.start + bytes.len()].copy_from_slice(bytes);
            chunk.digest = OnceLock::new();
        }
    }

    /// Makes the content at least `len` bytes long, with zeros.
    pub(super) fn grow(&mut self, len: u64) {
        if len > self.len {
            self.len = len;
            let count = chunks_for(len);
            if count > self.chunks.len() {
                Arc::make_mut(&mut self.chunks).resize(count, None);
            }
        }
    }

    /// Makes the content `len` bytes long: cut, or grown with zeros.
    pub(super) fn set_len(&mut self, len: u64) {
        if len >= self.len {
            return self.grow(len);
        }
        self.len = len;
        let chunks = Arc::make_mut(&mut self.chunks);
        chunks.truncate(chunks_for(len));
        let (_, within) = split(len);
        if within > 0
            && let Some(Some(last)) = chunks.last_mut()
        {
            let last = Arc::make_mut(last);
            last.bytes[within..].fill(0);
            last.digest = OnceLock::new();
        }
    }

    pub(super) fn to_vec(&self) -> Vec<u8> {
        let mut bytes = vec![0; usize::try_from(self.len).unwrap_or(usize::MAX)];
        self.read(0, &mut bytes);
        bytes
    }

    /// A hash of the length and the bytes, which costs only the chunks that no clone was asked for yet.
    pub(super) fn digest(&self) -> u64 {
        static HOLE: OnceLock<u64> = OnceLock::new();
        let mut digest = Digest::new();
        digest.number(self.len);
        for chunk in self.chunks.iter() {
            digest.number(match chunk {
                Some(chunk) => chunk.digest(),
                None => *HOLE.get_or_init(|| Chunk::default().digest()),
            });
        }
        digest.value()
    }
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Content").field("len", &self.len).finish_non_exhaustive()
    }
}

struct Chunk {
    bytes: [u8; CHUNK_BYTES],
    /// Computed at most once for all the states that share the chunk.
    digest: OnceLock<u64>,
}

impl Chunk {
    fn digest(&self) -> u64 {
        *self.digest.get_or_init(|| {
            let mut digest = Digest::new();
            digest.bytes(&self.bytes);
            digest.value()
        })
    }
}

impl Default for Chunk {
    fn default() -> Chunk {
        Chunk { bytes: [0; CHUNK_BYTES], digest: OnceLock::new() }
    }
}

impl Clone for Chunk {
    fn clone(&self) -> Chunk {
        // Cloned to be written to, which makes the digest another.
        Chunk { bytes: self.bytes, digest: OnceLock::new() }
    }
}

/// Where a run of bytes lies: a chunk, and the place in it.
struct Place {
    chunk: usize,
    start: usize,
}

/// Cuts `count` bytes at `offset` at the edges of chunks: where each piece lies, and its range in the whole.
fn pieces(offset: u64, count: usize) -> impl Iterator<Item = (Place, std::ops::Range<usize>)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        if done == count {
            return None;
        }
        let (chunk, start) = split(offset + done as u64);
        let from = done;
        done += (CHUNK_BYTES - start).min(count - done);
        Some((Place { chunk, start }, from..done))
    })
}

/// The chunk that holds the byte at `offset`, and its place there.
fn split(offset: u64) -> (usize, usize) {
    let chunk = usize::try_from(offset / CHUNK_BYTES as u64).unwrap_or(usize::MAX);
    let start = usize::try_from(offset % CHUNK_BYTES as u64).unwrap_or(0);
    (chunk, start)
}

fn chunks_for(len: u64) -> usize {
    usize::try_from(len.div_ceil(CHUNK_BYTES as u64)).unwrap_or(usize::MAX)
}
