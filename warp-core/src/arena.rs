//! Memory for entries and buckets: small pieces cut from pages by size class, and large ones that are pages.
//!
//! A piece is named by an [`Address`] of 32 bits, so that a bucket of one cache line holds nine of them. A table has
//! several arenas, each with addresses of its own; a slot's entries and buckets are all in one.
//!
//! Size classes and spans follow [Bonwick's slab allocator](https://www.usenix.org/legacy/publications/library/proceedings/bos94/bonwick.html):
//! a span of pages holds pieces of one class, free pieces of a span are chained through their own first bytes, and
//! a span that is empty gives its pages back.
#![expect(unsafe_code, reason = "what is given back must be reached by nobody any more")]

mod chunk_table;
mod classes;
mod heap;

use std::num::NonZeroU32;
use std::ptr::NonNull;
use std::sync::Arc;

use chunk_table::ChunkTable;
use classes::{class_bytes, class_of};
use heap::Heap;

use crate::chunk::PAGE_BYTES;
use crate::front::{FRONT_PIECES, Front, Fronts};
use crate::pages::RUN_PAGES_MAX;
use crate::record::Record;
use crate::shadow;
use crate::spares::Spares;
use crate::sync::{Mutex, MutexGuard};

/// Addresses count in units of this many bytes, so that 32 bits reach 32 GiB.
pub(crate) const UNIT_BYTES: usize = 8;
/// Units of a page.
const PAGE_UNITS: u32 = 512;
const _: () = assert!(PAGE_UNITS as usize * UNIT_BYTES == PAGE_BYTES);
/// The largest piece of all.
pub(crate) const RUN_BYTES_MAX: usize = RUN_PAGES_MAX as usize * PAGE_BYTES;
/// Larger pieces are not kept at hand for each thread.
const FRONT_PIECE_BYTES_MAX: usize = 512;

/// Where a piece is in its arena, in units of [`UNIT_BYTES`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Address(NonZeroU32);

impl Address {
    pub(crate) fn get(self) -> u32 {
        self.0.get()
    }

    #[inline]
    pub(crate) fn from_bits(bits: u32) -> Option<Address> {
        NonZeroU32::new(bits).map(Address)
    }

    fn of_page(page: u32) -> Address {
        Address(NonZeroU32::new(page * PAGE_UNITS).expect("the first page is never given out"))
    }

    fn page(self) -> u32 {
        self.get() / PAGE_UNITS
    }
}

/// Why there is no memory for an entry: the arena has given out all of its addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Exhausted;

/// What a piece is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    Entry,
    /// An entry without a value, which may use what others must leave: a full table is emptied by deletions.
    Tombstone,
    /// Buckets, which may use it, too. They are in spans of their own: they go when a slot grows, and entries stay.
    Buckets,
}

/// An arena: memory that is named by [`Address`]es.
#[derive(Debug)]
pub(crate) struct Arena {
    /// The first byte of each chunk, for finding pieces without the lock.
    chunks: ChunkTable,
    /// Locked before the heap, by whoever locks both.
    fronts: Fronts,
    heap: Mutex<Heap>,
}

/// Which spans are emptied, so that their pages are free.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sparse {
    /// Those of which at most so many eighths are live...
    eighths_max: u32,
    /// ...if they have so many free bytes together.
    gain_min: usize,
}

impl Sparse {
    /// Of which half is free.
    pub(crate) const HALF: Sparse = Sparse { eighths_max: 4, gain_min: 256 << 10 };
    pub(crate) const QUARTER: Sparse = Sparse { eighths_max: 6, gain_min: 64 << 10 };
    pub(crate) const EIGHTH: Sparse = Sparse { eighths_max: 7, gain_min: 32 << 10 };
}

/// What an arena holds, in bytes.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ArenaMemory {
    /// Pieces that were taken and not given back, rounded up to their class.
    pub(crate) used: usize,
    /// All memory that was got from the system.
    pub(crate) held: usize,
    /// The part of `held` that is backed by huge pages, if the system does as it was asked.
    pub(crate) huge: usize,
    /// The part of `held` that is in no span and no run.
    pub(crate) free: usize,
    /// The part of `held` that the system has not taken back, and that was touched.
    pub(crate) resident: usize,
}

impl Arena {
    /// An empty arena. Once it has grown a little, it takes `huge_chunks`, if there are any.
    pub(crate) fn new(huge_chunks: Option<Arc<Spares>>) -> Arena {
        Arena { chunks: ChunkTable::new(), fronts: Fronts::new(), heap: Mutex::new(Heap::new(huge_chunks)) }
    }

    /// Takes a piece of at least `bytes`, and at most [`RUN_BYTES_MAX`]. Its memory is not zeroed.
    pub(crate) fn take(&self, bytes: usize, purpose: Purpose) -> Result<Address, Exhausted> {
        let at_hand = class_of(bytes).filter(|class| class_bytes(*class) <= FRONT_PIECE_BYTES_MAX);
        let taken = match at_hand {
            Some(class) if purpose == Purpose::Entry => self.take_at_hand(class),
            _ => self.take_apart(bytes, purpose),
        };
        let address = taken.or_else(|_| {
            // The last pieces may be at hand for other threads.
            self.empty_fronts();
            self.take_apart(bytes, purpose)
        })?;
        shadow::taken(self.pointer(address), bytes);
        Ok(address)
    }

    /// Takes a piece that is not at hand for this thread.
    fn take_apart(&self, bytes: usize, purpose: Purpose) -> Result<Address, Exhausted> {
        let mut heap = self.heap.lock();
        let address = heap.take(bytes, purpose, &self.chunks)?;
        let next = class_of(bytes).and_then(|class| heap.next_cached(class));
        drop(heap);
        self.ask_for(next);
        Ok(address)
    }

    /// Asks for a piece that is likely to be taken next, so that it has come when it is its turn.
    #[inline]
    fn ask_for(&self, next: Option<Address>) {
        if let Some(next) = next {
            Record::prefetch(self.pointer(next));
        }
    }

    /// Takes a piece for an entry from those that are at hand for this thread.
    #[inline]
    fn take_at_hand(&self, class: usize) -> Result<Address, Exhausted> {
        let mut front = self.fronts.own();
        if let Some(address) = front.take(class) {
            self.ask_for(front.next());
            return Ok(address);
        }
        if front.wants(class) {
            self.take_and_fill(&mut front, class)
        } else {
            self.take_apart(class_bytes(class), Purpose::Entry)
        }
    }

    #[inline(never)]
    fn take_and_fill(&self, front: &mut Front, class: usize) -> Result<Address, Exhausted> {
        let mut heap = self.heap.lock();
        let take = |heap: &mut Heap| heap.take(class_bytes(class), Purpose::Entry, &self.chunks);
        let (former, pieces) = front.empty();
        pieces.for_each(|piece| heap.take_back(former, piece, &self.chunks));
        let address = take(&mut heap)?;
        front.fill(class, heap.take_cached(class, FRONT_PIECES));
        if front.next().is_none() {
            front.fill(class, std::iter::from_fn(|| take(&mut heap).ok()).take(FRONT_PIECES));
        }
        Ok(address)
    }

    /// Gives what is at hand for the threads back to the heap.
    fn empty_fronts(&self) {
        for mut front in self.fronts.all() {
            let (class, pieces) = front.empty();
            pieces.for_each(|piece| self.heap.lock().take_back(class, piece, &self.chunks));
        }
    }

    /// Gives pieces back, each with the number of bytes and the purpose that it was taken for.
    ///
    /// # Safety
    /// Each was taken from this arena like that, is given back once, and nobody reaches it any more.
    pub(crate) unsafe fn give(&self, pieces: impl IntoIterator<Item = (Address, usize, Purpose)>) {
        let mut heap = self.heap.lock();
        for (address, bytes, purpose) in pieces {
            heap.give(address, bytes, purpose, &self.chunks);
        }
        heap.trim_cache(&self.chunks);
    }

    /// The first byte of a piece, aligned to [`UNIT_BYTES`]; if its size is a multiple of 64, to that.
    ///
    /// The chunk must still be there, as it is for every piece that was not given back.
    #[inline]
    pub(crate) fn pointer(&self, address: Address) -> NonNull<u8> {
        self.chunks.pointer(address)
    }

    /// The bytes that a piece taken for `bytes` really has.
    pub(crate) fn room(bytes: usize) -> usize {
        match class_of(bytes) {
            Some(class) => class_bytes(class),
            None => bytes.next_multiple_of(PAGE_BYTES),
        }
    }

    /// The bytes that a value of that length takes which is in a piece of its own, or in none if it is too large.
    pub(crate) fn room_of_value(bytes: usize) -> usize {
        if bytes == 0 || bytes > RUN_BYTES_MAX { bytes } else { Arena::room(bytes) }
    }

    pub(crate) fn memory(&self) -> ArenaMemory {
        let bytes = |(class, count)| class_bytes(class) * count;
        let at_hand: usize = self.fronts.all().map(|front| bytes(front.count())).sum();
        let mut memory = self.heap.lock().memory();
        // A thread may have taken what was at hand just now.
        memory.used = memory.used.saturating_sub(at_hand);
        memory
    }

    /// Gives free pages back to the system.
    pub(crate) fn discard_free(&self) {
        self.lock_uncached().pages.discard_free();
    }

    /// Gives all cached pieces to their spans: nobody waits for the lock while it is more than a few.
    fn lock_uncached(&self) -> MutexGuard<'_, Heap> {
        self.empty_fronts();
        let steps = self.heap.lock().uncaching_steps();
        for _ in 0..steps {
            self.heap.lock().give_most_cached(&self.chunks);
        }
        let mut heap = self.heap.lock();
        heap.empty_cache(&self.chunks);
        heap
    }

    /// Chooses sparse spans, and takes nothing from them any more; returns how many. Once their pieces ([`Arena::is_leaving`]) were
    /// moved elsewhere and given back, the spans go.
    pub(crate) fn choose_leaving(&self, sparse: Sparse) -> usize {
        if !self.heap.lock().may_be_sparse(sparse) {
            return 0;
        }
        // A cached piece is in no span that is to be emptied.
        self.lock_uncached().choose_leaving(sparse)
    }

    /// Whether a piece is in a span that is to be emptied.
    pub(crate) fn is_leaving(&self, address: Address) -> bool {
        self.heap.lock().is_leaving(address)
    }

    /// Keeps those of the pieces that are in a span which is to be emptied.
    pub(crate) fn retain_leaving<T>(&self, pieces: &mut Vec<(T, Address)>) {
        let heap = self.heap.lock();
        pieces.retain(|(_, address)| heap.is_leaving(*address));
    }

    /// Lets spans that were to be emptied, and are not, be used again.
    pub(crate) fn end_leaving(&self) {
        self.heap.lock().end_leaving();
    }

    pub(crate) fn validate(&self) -> Result<(), String> {
        self.heap.lock().validate()
    }

    /// Takes every piece that is left, and lets no chunk come any more: as of an arena that is full.
    #[cfg(all(test, not(shuttle)))]
    pub(crate) fn exhaust(&self) {
        self.heap.lock().pages.end_growing();
        while self.take(UNIT_BYTES, Purpose::Tombstone).is_ok() {}
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests;
