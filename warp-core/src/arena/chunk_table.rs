//! The first byte of each chunk of an arena, for finding a piece by its address without a lock.
#![expect(unsafe_code, reason = "a table that is zeroed by the system, and pointers to pieces")]

use std::ptr::NonNull;

use super::{Address, UNIT_BYTES};
use crate::chunk::CHUNK_BYTES;
use crate::sync::atomic::{AtomicPtr, Ordering};

/// Units of a chunk, as a power of two.
const CHUNK_UNITS_SHIFT: u32 = (CHUNK_BYTES / UNIT_BYTES).trailing_zeros();
/// Chunks that an address can name.
pub(super) const CHUNKS_MAX: usize = 1 << (u32::BITS - CHUNK_UNITS_SHIFT);

/// The first byte of each chunk. As long as there may be chunks, and zeroed by the system, so that what is not used
/// takes no memory.
#[derive(Debug)]
pub(super) struct ChunkTable(NonNull<AtomicPtr<u8>>);

// SAFETY: the table owns its memory; what is in it is reached through atomics only.
unsafe impl Send for ChunkTable {}
// SAFETY: as above.
unsafe impl Sync for ChunkTable {}

impl ChunkTable {
    #[cfg(not(shuttle))]
    fn layout() -> std::alloc::Layout {
        std::alloc::Layout::array::<AtomicPtr<u8>>(CHUNKS_MAX).expect("the table is small")
    }

    #[cfg(not(shuttle))]
    pub(super) fn new() -> ChunkTable {
        // SAFETY: the layout is not empty; an atomic pointer of zero bytes is a null pointer.
        let memory = unsafe { std::alloc::alloc_zeroed(ChunkTable::layout()) };
        match NonNull::new(memory.cast()) {
            Some(table) => ChunkTable(table),
            None => std::alloc::handle_alloc_error(ChunkTable::layout()),
        }
    }

    /// The tester's atomics are not made of zeros.
    #[cfg(shuttle)]
    pub(super) fn new() -> ChunkTable {
        let table: Box<[AtomicPtr<u8>]> =
            (0..TESTED_CHUNKS).map(|_| AtomicPtr::new(std::ptr::null_mut())).collect();
        ChunkTable(NonNull::from(Box::leak(table)).cast())
    }

    #[inline]
    fn at(&self, chunk: usize) -> &AtomicPtr<u8> {
        debug_assert!(chunk < CHUNKS_MAX);
        // SAFETY: an address's upper bits are below the number of entries; the table lives as long as `self`.
        unsafe { self.0.add(chunk).as_ref() }
    }

    #[inline]
    fn get(&self, chunk: usize) -> *mut u8 {
        // Relaxed: whoever has an address got it through a Release and an Acquire that came after the chunk.
        self.at(chunk).load(Ordering::Relaxed)
    }

    pub(super) fn set(&self, chunk: usize, memory: *mut u8) {
        self.at(chunk).store(memory, Ordering::Relaxed);
    }

    /// The first byte of a piece. The chunk must still be there, as it is for every piece that was not given back.
    #[inline]
    pub(super) fn pointer(&self, address: Address) -> NonNull<u8> {
        let chunk = self.get((address.get() >> CHUNK_UNITS_SHIFT) as usize);
        let units = address.get() & ((1 << CHUNK_UNITS_SHIFT) - 1);
        debug_assert!(!chunk.is_null(), "the chunk of a piece that is in use");
        // SAFETY: the offset is less than a chunk, and the chunk is mapped as long as a piece of it is in use.
        unsafe { NonNull::new_unchecked(chunk.add(units as usize * UNIT_BYTES)) }
    }
}

#[cfg(shuttle)]
const TESTED_CHUNKS: usize = 4;

impl Drop for ChunkTable {
    #[cfg(not(shuttle))]
    fn drop(&mut self) {
        // SAFETY: allocated by `new` with this layout; atomic pointers need no drop.
        unsafe { std::alloc::dealloc(self.0.as_ptr().cast(), ChunkTable::layout()) }
    }

    #[cfg(shuttle)]
    fn drop(&mut self) {
        let table = std::ptr::slice_from_raw_parts_mut(self.0.as_ptr(), TESTED_CHUNKS);
        // SAFETY: made by `new` from a box of this length.
        drop(unsafe { Box::from_raw(table) });
    }
}
