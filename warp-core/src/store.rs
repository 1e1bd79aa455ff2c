//! The memory behind all slots: the arenas, and what was taken out of the table and waits until nobody reads it.
#![expect(unsafe_code, reason = "gives memory back once nobody can reach it")]

use std::array;

use crossbeam_utils::CachePadded;

use crate::arena::{Address, Arena};
use crate::epoch::{Epochs, Pin};
use crate::fence;
use crate::record::Record;
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering};

/// Arenas of a table. Each can name 32 GiB, and keeps a chunk that is partly used.
const ARENAS: usize = if cfg!(shuttle) { 1 } else { 8 };

/// A shard gathers this many retired pieces before it has them freed, which takes a fence of all processors...
pub(crate) const RETIRED_TOGETHER: usize = if cfg!(shuttle) { 2 } else { 256 };
/// ...or this many bytes.
pub(crate) const RETIRED_BYTES_TOGETHER: u64 = 64 << 10;

/// A piece that was taken out of the table.
#[derive(Debug)]
pub(crate) struct Retired {
    pub(crate) address: Address,
    pub(crate) bytes: usize,
    pub(crate) arena: u8,
    /// Whether it is an entry with a shared value, which is let go of with it.
    pub(crate) has_shared: bool,
}

/// Retired pieces that are waiting for a moment when nobody is pinned in their epoch or an earlier one.
#[derive(Debug)]
struct Sealed {
    epoch: u64,
    pieces: Vec<Retired>,
    bytes: usize,
}

/// The memory behind all slots, and what all slots share.
#[derive(Debug)]
pub(crate) struct Store {
    arenas: [CachePadded<Arena>; ARENAS],
    epochs: &'static Epochs,
    sealed: Mutex<Vec<Sealed>>,
    /// Bytes in `sealed`.
    sealed_bytes: AtomicUsize,
    /// The present tick of heat.
    pub(crate) tick: AtomicU8,
    /// Times that a slot's buckets were replaced by more or fewer.
    pub(crate) resizes: AtomicU64,
    /// The longest of them, in nanoseconds.
    pub(crate) longest_resize: AtomicU64,
}

impl Store {
    pub(crate) fn new() -> Store {
        fence::prepare();
        Store {
            arenas: array::from_fn(|_| CachePadded::new(Arena::new())),
            epochs: Epochs::shared(),
            sealed: Mutex::new(Vec::new()),
            sealed_bytes: AtomicUsize::new(0),
            tick: AtomicU8::new(0),
            resizes: AtomicU64::new(0),
            longest_resize: AtomicU64::new(0),
        }
    }

    /// While the pin lives, nothing that the caller finds is freed.
    #[inline]
    pub(crate) fn pin(&self) -> Pin {
        self.epochs.pin()
    }

    /// The number of the arena that a slot's entries and buckets are in.
    #[inline]
    pub(crate) fn arena_of(slot: usize) -> u8 {
        (slot % ARENAS) as u8
    }

    #[inline]
    pub(crate) fn arena(&self, number: u8) -> &Arena {
        &self.arenas[usize::from(number) % ARENAS]
    }

    pub(crate) fn arenas(&self) -> impl Iterator<Item = (u8, &Arena)> {
        (0_u8..).zip(self.arenas.iter().map(|arena| &**arena))
    }

    pub(crate) fn sealed_bytes(&self) -> usize {
        self.sealed_bytes.load(Ordering::Relaxed)
    }

    /// Frees pieces that were taken out of the table, now or when those who may be reading them have gone.
    pub(crate) fn retire(&self, pieces: Vec<Retired>) {
        if !pieces.is_empty() {
            let bytes = pieces.iter().map(|piece| piece.bytes).sum();
            // Out of reach since before this call, so that nobody who is pinned later than this epoch has them.
            let epoch = self.epochs.advance();
            self.sealed.lock().push(Sealed { epoch, pieces, bytes });
            self.sealed_bytes.fetch_add(bytes, Ordering::Relaxed);
        }
        self.collect();
    }

    /// Frees what nobody can be reading any more.
    fn collect(&self) {
        // The readers are looked at after the lock was had: everything that is sealed was out of reach by then.
        let mut sealed = self.sealed.lock();
        if sealed.is_empty() {
            return;
        }
        let Some(oldest) = self.epochs.oldest_pinned() else { return };
        let free: Vec<Sealed> = sealed.extract_if(.., |sealed| sealed.epoch < oldest).collect();
        drop(sealed);
        for sealed in free {
            self.sealed_bytes.fetch_sub(sealed.bytes, Ordering::Relaxed);
            // SAFETY: the pieces were out of reach when their epoch ended, and nobody is pinned in it or before.
            unsafe { self.free(sealed.pieces) }
        }
    }

    /// # Safety
    /// Nobody can reach the pieces any more.
    unsafe fn free(&self, mut pieces: Vec<Retired>) {
        pieces.sort_unstable_by_key(|piece| piece.arena);
        for of_arena in pieces.chunk_by(|a, b| a.arena == b.arena) {
            let arena = self.arena(of_arena[0].arena);
            for piece in of_arena.iter().filter(|piece| piece.has_shared) {
                // SAFETY: an entry with a shared value, which nobody reads any more.
                unsafe { Record::at(arena.pointer(piece.address)).drop_shared() }
            }
            // SAFETY: retired once, with the bytes that they were taken for, and out of reach.
            unsafe { arena.give(of_arena.iter().map(|piece| (piece.address, piece.bytes))) }
        }
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        for Sealed { pieces, .. } in std::mem::take(self.sealed.get_mut()) {
            // SAFETY: whoever read from the table has borrowed it, and nobody borrows what is being dropped.
            unsafe { self.free(pieces) }
        }
    }
}
