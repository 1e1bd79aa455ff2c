//! Memory for long values, which entries share with the handles that the table gives out.
//!
//! They come from arenas of their own and not from the allocator, so that what they take can be told exactly, and goes
//! back to the system page by page when they are freed. A value may outlive its table: it keeps its arena.
#![expect(unsafe_code, reason = "fills pieces of an arena, and reads them")]

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use crate::arena::{Address, Arena, Purpose, RUN_BYTES_MAX};
use crate::spares::Spares;
use crate::sync::atomic::{AtomicUsize, Ordering};

/// Arenas, so that two writers seldom meet at one.
const ARENAS: usize = 8;

/// The memory of a table's long values.
#[derive(Debug)]
pub(crate) struct LongValues {
    arenas: [Arc<ValueArena>; ARENAS],
}

/// An arena that lives until the table and the last value in it are gone.
#[derive(Debug)]
struct ValueArena {
    arena: Arena,
    /// Lengths of the values that are alive.
    live_bytes: AtomicUsize,
    /// What is in no arena, being too large for a piece: bytes of allocations of their own.
    apart_bytes: AtomicUsize,
}

/// What long values take, in bytes.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct LongMemory {
    /// Memory of the system's that is in use or kept at hand.
    pub(crate) resident: usize,
    /// The part of it that values take, rounded up to their pieces.
    pub(crate) used: usize,
    /// The lengths of the values.
    pub(crate) live: usize,
}

impl LongValues {
    pub(crate) fn new(huge_chunks: Option<&Arc<Spares>>) -> LongValues {
        LongValues {
            arenas: std::array::from_fn(|_| {
                Arc::new(ValueArena {
                    arena: Arena::new(huge_chunks.map(Arc::clone)),
                    live_bytes: AtomicUsize::new(0),
                    apart_bytes: AtomicUsize::new(0),
                })
            }),
        }
    }

    /// A copy of a value, in an arena that `spread` chooses.
    pub(crate) fn copy(&self, bytes: &[u8], spread: usize) -> Bytes {
        if bytes.is_empty() {
            return Bytes::new();
        }
        let arena = &self.arenas[spread % ARENAS];
        // A model has no room for values; and an arena that has given out all of its addresses is no reason to refuse one.
        let piece = if bytes.len() > RUN_BYTES_MAX || cfg!(shuttle) {
            None
        } else {
            arena.arena.take(bytes.len(), Purpose::Entry).ok()
        };
        arena.live_bytes.fetch_add(bytes.len(), Ordering::Relaxed);
        let place = match piece {
            Some(address) => {
                let to = arena.arena.pointer(address);
                // SAFETY: the piece was just taken for that many bytes, and nobody else knows of it.
                unsafe { to.copy_from_nonoverlapping(std::ptr::NonNull::from(bytes).cast(), bytes.len()) }
                Place::Piece(address, bytes.len())
            }
            None => {
                arena.apart_bytes.fetch_add(bytes.len(), Ordering::Relaxed);
                Place::Apart(bytes.into())
            }
        };
        Bytes::from_owner(LongValue { arena: Arc::clone(arena), place })
    }

    pub(crate) fn memory(&self) -> LongMemory {
        let mut sum = LongMemory::default();
        for arena in &self.arenas {
            let memory = arena.arena.memory();
            let apart = arena.apart_bytes.load(Ordering::Relaxed);
            sum.resident += memory.resident + apart;
            sum.used += memory.used + apart;
            sum.live += arena.live_bytes.load(Ordering::Relaxed);
        }
        sum
    }

    /// Gives free memory back to the system.
    pub(crate) fn discard_free(&self) {
        for arena in &self.arenas {
            arena.arena.discard_free();
        }
    }
}

/// A value that is in an arena, or as large as that it has an allocation of its own.
struct LongValue {
    arena: Arc<ValueArena>,
    place: Place,
}

enum Place {
    Piece(Address, usize),
    Apart(Box<[u8]>),
}

impl AsRef<[u8]> for LongValue {
    fn as_ref(&self) -> &[u8] {
        match &self.place {
            // SAFETY: the piece has that many bytes, which were written before the value was made, are not changed, and are
            // given back when it is dropped.
            Place::Piece(address, len) => unsafe {
                std::slice::from_raw_parts(self.arena.arena.pointer(*address).as_ptr(), *len)
            },
            Place::Apart(bytes) => bytes,
        }
    }
}

impl Drop for LongValue {
    fn drop(&mut self) {
        let len = self.as_ref().len();
        self.arena.live_bytes.fetch_sub(len, Ordering::Relaxed);
        match &self.place {
            // SAFETY: taken by `copy` like that, given back once, and nobody has the value any more.
            Place::Piece(address, len) => unsafe {
                self.arena.arena.give([(*address, *len, Purpose::Entry)]);
            },
            Place::Apart(_) => {
                self.arena.apart_bytes.fetch_sub(len, Ordering::Relaxed);
            }
        }
    }
}

impl fmt::Debug for LongValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LongValue").field("len", &self.as_ref().len()).finish_non_exhaustive()
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;

    #[test]
    fn values_of_every_kind_outlive_their_memory_and_give_it_back() {
        let values = LongValues::new(Some(&Arc::default()));
        let lengths = [1, 513, 4096, 4097, 100_000, RUN_BYTES_MAX, RUN_BYTES_MAX + 1];
        let source: Vec<u8> = (0..=250_u8).cycle().take(RUN_BYTES_MAX + 1).collect();
        let kept: Vec<Bytes> = lengths.iter().map(|len| values.copy(&source[..*len], *len)).collect();
        let memory = values.memory();
        assert_eq!(memory.live, lengths.iter().sum::<usize>());
        assert!(memory.used >= memory.live && memory.resident >= memory.used, "{memory:?}");
        let arenas = values.arenas.clone();
        drop(values);
        for (len, value) in lengths.iter().zip(&kept) {
            assert!(value[..] == source[..*len], "{len}");
        }
        drop(kept);
        for arena in &arenas {
            assert_eq!(arena.live_bytes.load(Ordering::Relaxed), 0);
            assert_eq!(arena.arena.memory().used, 0);
            assert_eq!(arena.apart_bytes.load(Ordering::Relaxed), 0);
        }
    }

    #[test]
    fn freed_memory_goes_back_to_the_system() {
        let values = LongValues::new(Some(&Arc::default()));
        let many: Vec<Bytes> = (0..2000).map(|at| values.copy(&vec![7; 8000], at)).collect();
        let full = values.memory().resident;
        drop(many);
        values.discard_free();
        let left = values.memory().resident;
        assert!(left < full / 4, "{left} of {full} bytes are left");
    }
}
