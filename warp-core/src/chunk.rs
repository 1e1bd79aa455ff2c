//! Memory from the system, in chunks of the size of a huge page.
#![expect(unsafe_code, reason = "maps and unmaps memory")]

use std::ptr::NonNull;

/// Bytes of a chunk: a huge page of the usual processors, so that the system can back a chunk by one.
/// In a model it is small, so that chunks come and go, and cost little.
pub(crate) const CHUNK_BYTES: usize = if cfg!(shuttle) { 64 << 10 } else { 2 << 20 };
/// Bytes of a page: the unit in which a chunk's memory is given back to the system.
pub(crate) const PAGE_BYTES: usize = 4 << 10;

/// Pages of a chunk.
pub(crate) const CHUNK_PAGES: u32 = if cfg!(shuttle) { 16 } else { 512 };
const _: () = assert!(CHUNK_PAGES as usize * PAGE_BYTES == CHUNK_BYTES);

/// One chunk of zeroed memory, aligned to its size, and unmapped when this is dropped.
#[derive(Debug)]
pub(crate) struct Chunk {
    memory: NonNull<u8>,
    is_huge: bool,
}

// SAFETY: a chunk owns its memory, which is tied to no thread.
unsafe impl Send for Chunk {}

impl Chunk {
    /// The first byte.
    pub(crate) fn memory(&self) -> NonNull<u8> {
        self.memory
    }

    /// Whether the system accepted that a huge page should back it.
    pub(crate) fn is_huge(&self) -> bool {
        self.is_huge
    }
}

#[cfg(not(any(miri, shuttle)))]
mod mapped {
    use std::alloc::{Layout, handle_alloc_error};
    use std::ffi::c_void;
    use std::ptr::{self, NonNull};

    use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous, munmap};

    use super::{CHUNK_BYTES, Chunk, PAGE_BYTES};

    impl Chunk {
        /// Maps a chunk; `huge` asks that a huge page backs it, where the system has them.
        ///
        /// Without memory the process ends, as with any other allocation.
        pub(crate) fn new(huge: bool) -> Chunk {
            // SAFETY: a new anonymous mapping, at an address that the system chooses, touches nothing that exists.
            let mapping = unsafe {
                mmap_anonymous(
                    ptr::null_mut(),
                    2 * CHUNK_BYTES,
                    ProtFlags::READ | ProtFlags::WRITE,
                    MapFlags::PRIVATE | MapFlags::NORESERVE,
                )
            };
            let mapping = mapping.unwrap_or(ptr::null_mut());
            let Some(start) = NonNull::new(mapping.cast::<u8>()) else {
                handle_alloc_error(Layout::new::<[u8; CHUNK_BYTES]>());
            };
            // Twice as much was mapped as is needed; what is before and behind the aligned part goes back.
            let before = start.as_ptr().align_offset(CHUNK_BYTES);
            // SAFETY: at most one chunk's length is skipped of the two that were mapped.
            let memory = unsafe { start.add(before) };
            unmap(start, before);
            // SAFETY: one chunk's length behind `memory` is inside of the mapping, or just its end.
            unmap(unsafe { memory.add(CHUNK_BYTES) }, CHUNK_BYTES - before);
            // SAFETY: the advice changes what backs the chunk's memory, and not what is in it.
            let advised = huge
                && unsafe { madvise(memory.as_ptr().cast::<c_void>(), CHUNK_BYTES, Advice::LinuxHugepage) }
                    .is_ok();
            Chunk { memory, is_huge: advised }
        }

        /// Has the system bring the chunk's memory at once. One that cannot (Linux before 5.14) brings it as it is touched.
        pub(crate) fn touch(&self) {
            // SAFETY: brings in the chunk's own pages, and changes nothing that is in them.
            let _ = unsafe {
                madvise(self.memory.as_ptr().cast::<c_void>(), CHUNK_BYTES, Advice::LinuxPopulateWrite)
            };
        }

        /// Gives pages back to the system; they are zeroed when they are touched again.
        pub(crate) fn discard(&mut self, first_page: usize, pages: usize) {
            assert!((first_page + pages) * PAGE_BYTES <= CHUNK_BYTES, "pages of the chunk");
            // SAFETY: the range is inside of the chunk, and the caller, who has the chunk to itself, says that nothing
            // in it is in use. A refusal leaves the memory as it was, which is right, too.
            let _ = unsafe {
                let start = self.memory.as_ptr().add(first_page * PAGE_BYTES);
                madvise(start.cast::<c_void>(), pages * PAGE_BYTES, Advice::LinuxDontNeed)
            };
        }
    }

    impl Drop for Chunk {
        fn drop(&mut self) {
            unmap(self.memory, CHUNK_BYTES);
        }
    }

    fn unmap(start: NonNull<u8>, bytes: usize) {
        if bytes > 0 {
            // SAFETY: the range is part of a mapping that `Chunk::new` made, and that nobody uses any more. If the
            // system refuses, since it has too many mappings, the memory stays mapped, which harms nothing.
            let _ = unsafe { munmap(start.as_ptr().cast::<c_void>(), bytes) };
        }
    }
}

/// For a tester that knows the allocator only.
#[cfg(any(miri, shuttle))]
mod allocated {
    use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
    use std::ptr::NonNull;

    use super::{CHUNK_BYTES, Chunk};

    fn layout() -> Layout {
        Layout::from_size_align(CHUNK_BYTES, CHUNK_BYTES).expect("both are the same power of two")
    }

    impl Chunk {
        pub(crate) fn new(_huge: bool) -> Chunk {
            // SAFETY: the layout is not empty.
            let memory = NonNull::new(unsafe { alloc_zeroed(layout()) });
            Chunk { memory: memory.unwrap_or_else(|| handle_alloc_error(layout())), is_huge: false }
        }

        pub(crate) fn touch(&self) {}

        pub(crate) fn discard(&mut self, _first_page: usize, _pages: usize) {}
    }

    impl Drop for Chunk {
        fn drop(&mut self) {
            // SAFETY: allocated by `new` with this layout.
            unsafe { dealloc(self.memory.as_ptr(), layout()) }
        }
    }
}
