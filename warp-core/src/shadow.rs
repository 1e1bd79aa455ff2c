//! What the address sanitizer is told of pieces: that those which are free must not be touched.
//!
//! Without `--cfg warp_asan` all of this is nothing: the table has its memory from the system in chunks, of which a
//! sanitizer knows nothing of its own.
#![expect(unsafe_code, reason = "reads and writes through pointers, and calls the sanitizer")]

use std::ptr::NonNull;

#[cfg(warp_asan)]
unsafe extern "C" {
    fn __asan_poison_memory_region(start: *const std::ffi::c_void, bytes: usize);
    fn __asan_unpoison_memory_region(start: *const std::ffi::c_void, bytes: usize);
}

/// A piece was taken: it may be touched.
#[inline]
pub(crate) fn taken(piece: NonNull<u8>, bytes: usize) {
    #[cfg(warp_asan)]
    // SAFETY: the sanitizer notes it, and nothing else.
    unsafe {
        __asan_unpoison_memory_region(piece.as_ptr().cast(), bytes);
    }
    let _ = (piece, bytes);
}

/// A piece was given back: touching it is a mistake.
#[inline]
pub(crate) fn given(piece: NonNull<u8>, bytes: usize) {
    #[cfg(warp_asan)]
    // SAFETY: as above.
    unsafe {
        __asan_poison_memory_region(piece.as_ptr().cast(), bytes);
    }
    #[cfg(shuttle)]
    // SAFETY: the piece is free and has that many bytes. Readers that are there nevertheless shall see it.
    unsafe {
        piece.write_bytes(0xDB, bytes);
    }
    let _ = (piece, bytes);
}

/// Pages are no pieces any more; what comes there next is for others to say.
#[inline]
pub(crate) fn left(pages: NonNull<u8>, bytes: usize) {
    taken(pages, bytes);
}

/// Reads the link in a free piece.
///
/// # Safety
/// The pointer is aligned, and to memory that is ours to read.
#[inline]
pub(crate) unsafe fn peek(link: NonNull<u16>) -> u16 {
    taken(link.cast(), size_of::<u16>());
    // SAFETY: as the caller promises.
    unsafe { link.read() }
}

/// Writes the link in a free piece.
///
/// # Safety
/// The pointer is aligned, and to memory that is ours to write.
#[inline]
pub(crate) unsafe fn poke(link: NonNull<u16>, value: u16) {
    taken(link.cast(), size_of::<u16>());
    // SAFETY: as the caller promises.
    unsafe { link.write(value) };
    #[cfg(warp_asan)]
    given(link.cast(), size_of::<u16>());
}
