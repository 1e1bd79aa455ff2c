//! Memory for entries and buckets: small pieces cut from pages by size class, and large ones that are pages.
//!
//! A piece is named by an [`Address`] of 32 bits, so that a bucket of one cache line holds nine of them. A table has
//! several arenas, each with addresses of its own; a slot's entries and buckets are all in one.
//!
//! Size classes and spans follow [Bonwick's slab allocator](https://www.usenix.org/legacy/publications/library/proceedings/bos94/bonwick.html):
//! a span of pages holds pieces of one class, free pieces of a span are chained through their own first bytes, and
//! a span that is empty gives its pages back.
#![expect(unsafe_code, reason = "turns addresses into pointers, and chains free pieces through their memory")]

use std::collections::{BTreeMap, VecDeque};
use std::num::NonZeroU32;
use std::ptr::NonNull;

use crate::chunk::{CHUNK_BYTES, CHUNK_PAGES, PAGE_BYTES};
use crate::front::{FRONT_PIECES, Front, Fronts};
use crate::pages::{Chunks, Pages, RUN_PAGES_MAX};
use crate::record::Record;
use crate::shadow;
use crate::sync::atomic::{AtomicPtr, Ordering};
use crate::sync::{Mutex, MutexGuard};

/// Addresses count in units of this many bytes, so that 32 bits reach 32 GiB.
pub(crate) const UNIT_BYTES: usize = 8;
/// Units of a chunk, as a power of two.
const CHUNK_UNITS_SHIFT: u32 = (CHUNK_BYTES / UNIT_BYTES).trailing_zeros();
/// Chunks that an address can name.
const CHUNKS_MAX: usize = 1 << (u32::BITS - CHUNK_UNITS_SHIFT);
/// Entries are refused beyond this many chunks; the rest is for buckets, which must never be refused. The smallest
/// entries take 16 bytes, with less than 13 bytes of buckets each.
const ENTRY_CHUNKS_MAX: usize = CHUNKS_MAX / 2;
/// Units of a page.
const PAGE_UNITS: u32 = 512;
const _: () = assert!(PAGE_UNITS as usize * UNIT_BYTES == PAGE_BYTES);
/// Larger pieces are runs of pages.
const PIECE_BYTES_MAX: usize = 4096;
/// The largest piece of all.
pub(crate) const RUN_BYTES_MAX: usize = RUN_PAGES_MAX as usize * PAGE_BYTES;
/// Pages of a span; that many, or twice for large classes, waste at most a sixteenth at the end. Where there are
/// shorter runs of free pages only, a span is as long as the longest.
const SPAN_PAGES: u32 = 4;
const LARGE_SPAN_PAGES: u32 = 8;
const LARGE_SPAN_FROM_BYTES: usize = 1024;
/// A span that is shorter than usual holds at least this many pieces.
const SHORT_SPAN_PIECES_MIN: usize = 8;
/// Sparse spans are emptied only if they have so many free bytes.
const LEAVING_BYTES_MIN: usize = 256 << 10;
/// At most this part of an arena is moved in one pass.
const MOVING_PART: usize = 16;
/// At most this part of an arena is kept at hand in pieces that were given back, but [`CACHED_BYTES_MIN`] always:
/// pieces come back by thousands, as readers are looked at seldom, and each that goes to its span and is taken from there
/// again costs two cache misses.
const CACHED_PART: usize = 32;
const CACHED_BYTES_MIN: usize = 64 << 10;
/// So much goes to its spans at once when there is too much: few enough that nobody waits long for the lock.
const UNCACHED_BYTES: usize = 16 << 10;
/// Larger pieces are not kept at hand for each thread.
const FRONT_PIECE_BYTES_MAX: usize = 512;
/// "None" among the numbers of spans.
const NO_SPAN: u32 = u32::MAX;

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
    /// Buckets, which may use it, too. They are in spans of their own, since they cannot be moved.
    Buckets,
}

impl Purpose {
    /// The list of spans that a class has for this purpose.
    fn list(self, class: usize) -> usize {
        if self == Purpose::Buckets { class + CLASSES } else { class }
    }
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
    /// An empty arena; `huge` asks the system for huge pages once it has grown a little.
    pub(crate) fn new(huge: bool) -> Arena {
        Arena { chunks: ChunkTable::new(), fronts: Fronts::new(), heap: Mutex::new(Heap::new(huge)) }
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
        let next = class_of(bytes).and_then(|class| heap.cached[class].back().copied());
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
        front.fill(class, std::iter::from_fn(|| take(&mut heap).ok()).take(FRONT_PIECES));
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
    }

    /// The first byte of a piece, aligned to [`UNIT_BYTES`]; if its size is a multiple of 64, to that.
    ///
    /// The chunk must still be there, as it is for every piece that was not given back.
    #[inline]
    pub(crate) fn pointer(&self, address: Address) -> NonNull<u8> {
        chunks_pointer(&self.chunks, address)
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
        let at_hand =
            self.fronts.all().map(|front| front.count()).map(|(class, count)| class_bytes(class) * count);
        let at_hand: usize = at_hand.sum();
        let heap = self.heap.lock();
        ArenaMemory {
            // A thread may have taken what was at hand just now.
            used: heap.used_bytes.saturating_sub(at_hand),
            held: heap.pages.held_bytes(),
            huge: heap.pages.huge_bytes(),
            free: heap.pages.free_bytes(),
            resident: heap.pages.held_bytes() - heap.pages.absent_bytes(),
        }
    }

    /// Gives free pages back to the system.
    pub(crate) fn discard_free(&self) {
        self.lock_uncached().pages.discard_free();
    }

    /// Gives all cached pieces to their spans: nobody waits for the lock while it is more than a few.
    fn lock_uncached(&self) -> MutexGuard<'_, Heap> {
        self.empty_fronts();
        let steps = self.heap.lock().cached_bytes / UNCACHED_BYTES;
        for _ in 0..steps {
            self.heap.lock().give_most_cached(&self.chunks);
        }
        let mut heap = self.heap.lock();
        heap.empty_cache(&self.chunks);
        heap
    }

    /// Chooses the spans of entries that are at most half full, of classes where that frees much, and takes nothing from
    /// them any more; returns how many. Once their pieces ([`Arena::retain_leaving`]) were
    /// moved elsewhere and given back, the spans go.
    pub(crate) fn choose_leaving(&self) -> usize {
        if !self.heap.lock().may_be_sparse() {
            return 0;
        }
        // A cached piece is in no span that is to be emptied.
        self.lock_uncached().choose_leaving()
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

/// The first byte of each chunk. As long as there may be chunks, and zeroed by the system, so that what is not used
/// takes no memory.
#[derive(Debug)]
struct ChunkTable(NonNull<AtomicPtr<u8>>);

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
    fn new() -> ChunkTable {
        // SAFETY: the layout is not empty; an atomic pointer of zero bytes is a null pointer.
        let memory = unsafe { std::alloc::alloc_zeroed(ChunkTable::layout()) };
        match NonNull::new(memory.cast()) {
            Some(table) => ChunkTable(table),
            None => std::alloc::handle_alloc_error(ChunkTable::layout()),
        }
    }

    /// The tester's atomics are not made of zeros.
    #[cfg(shuttle)]
    fn new() -> ChunkTable {
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

    fn set(&self, chunk: usize, memory: *mut u8) {
        self.at(chunk).store(memory, Ordering::Relaxed);
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

/// Pieces of one class, side by side on a run of pages.
#[derive(Debug)]
struct Span {
    page: u32,
    /// Neighbors in the list of spans of the class that have room.
    before: u32,
    behind: u32,
    live: u16,
    /// Pieces that were never taken begin here.
    fresh: u16,
    /// One more than the first of the chained free pieces; 0 for none.
    free: u16,
    /// Which list of spans it belongs to.
    list: u8,
    pages: u8,
    is_leaving: bool,
}

impl Span {
    /// How many pieces there are on the span's pages.
    fn pieces(&self) -> u16 {
        let pieces = usize::from(self.pages) * PAGE_BYTES / class_bytes(usize::from(self.list) % CLASSES);
        u16::try_from(pieces).expect("a span is at most 32 KiB of pieces of 8 bytes")
    }

    fn is_full(&self) -> bool {
        self.free == 0 && self.fresh == self.pieces()
    }
}

#[derive(Debug)]
struct Heap {
    pages: Pages,
    spans: Vec<Span>,
    /// Numbers of spans that are not in use.
    unused_spans: Vec<u32>,
    /// For each chunk, one more than the span that each page belongs to; 0 for none.
    span_of_page: Vec<Option<Box<[u32; CHUNK_PAGES as usize]>>>,
    /// For each list, the first span that has room.
    roomy: [u32; LISTS],
    /// For each class, pieces of entries that were given back and not to their spans yet: overwriting takes and gives all the
    /// time, and need not look at a span for that. So the lists of cached pieces are the first of the lists of spans.
    cached: [VecDeque<Address>; CLASSES],
    /// Bytes of all cached pieces.
    cached_bytes: usize,
    /// Whether spans are being emptied: what is given back then goes to its span.
    is_leaving: bool,
    /// Runs that are pieces themselves, by their first page.
    runs: BTreeMap<u32, u32>,
    used_bytes: usize,
}

impl Heap {
    fn new(huge: bool) -> Heap {
        let chunks_max = if cfg!(shuttle) { 4 } else { CHUNKS_MAX };
        Heap {
            pages: Pages::new(chunks_max, huge),
            spans: Vec::new(),
            unused_spans: Vec::new(),
            span_of_page: Vec::new(),
            roomy: [NO_SPAN; LISTS],
            cached: [const { VecDeque::new() }; CLASSES],
            cached_bytes: 0,
            is_leaving: false,
            runs: BTreeMap::new(),
            used_bytes: 0,
        }
    }

    fn take(&mut self, bytes: usize, purpose: Purpose, chunks: &ChunkTable) -> Result<Address, Exhausted> {
        let class = class_of(bytes);
        if purpose == Purpose::Entry && self.is_at_limit(class, bytes) {
            self.empty_cache(chunks);
            if self.is_at_limit(class, bytes) {
                return Err(Exhausted);
            }
        }
        let address = match class {
            Some(class) => self.take_of_class(class, purpose.list(class), chunks)?,
            None => {
                let count = pages_for(bytes);
                let page = self.take_pages(count, chunks)?;
                self.runs.insert(page, count);
                Address::of_page(page)
            }
        };
        self.used_bytes += Arena::room(bytes);
        Ok(address)
    }

    /// Whether an entry would need another chunk, and there are as many as entries may have.
    fn is_at_limit(&self, class: Option<usize>, bytes: usize) -> bool {
        if self.pages.held_bytes() / CHUNK_BYTES < ENTRY_CHUNKS_MAX {
            return false;
        }
        let pages = match class {
            Some(class) if !self.cached[class].is_empty() || self.roomy[class] != NO_SPAN => return false,
            Some(class) => span_pages(class),
            None => pages_for(bytes),
        };
        self.pages.longest_free() < pages
    }

    fn take_of_class(
        &mut self,
        class: usize,
        list: usize,
        chunks: &ChunkTable,
    ) -> Result<Address, Exhausted> {
        if let Some(cached) = self.cached.get_mut(list)
            && let Some(address) = cached.pop_back()
        {
            self.cached_bytes -= class_bytes(class);
            return Ok(address);
        }
        if self.roomy[list] == NO_SPAN {
            self.add_span(class, list, chunks)?;
        }
        let number = self.roomy[list];
        let span = &mut self.spans[number as usize];
        let index = if span.free > 0 {
            let index = span.free - 1;
            let piece = chunks_pointer(chunks, piece_address(span.page, class, index));
            // SAFETY: the piece is free, so that its first bytes are ours, and hold what `give` wrote there; every
            // piece is larger than two bytes, and aligned to eight.
            span.free = unsafe { shadow::peek(piece.cast::<u16>()) };
            index
        } else {
            span.fresh += 1;
            span.fresh - 1
        };
        span.live += 1;
        let address = piece_address(span.page, class, index);
        if span.is_full() {
            self.unlink(number);
        }
        Ok(address)
    }

    fn give(&mut self, address: Address, bytes: usize, purpose: Purpose, chunks: &ChunkTable) {
        self.used_bytes -= Arena::room(bytes);
        shadow::given(chunks_pointer(chunks, address), Arena::room(bytes));
        let Some(class) = class_of(bytes) else {
            let count = self.runs.remove(&address.page()).expect("a run that was taken is given back once");
            debug_assert_eq!(count, pages_for(bytes), "a run is given back as it was taken");
            self.give_pages(address.page(), count, chunks);
            return;
        };
        if purpose == Purpose::Buckets {
            self.give_to_span(class, address, chunks)
        } else {
            self.cache(class, address, chunks)
        }
    }

    /// Takes back a piece of an entry that was taken, and not used.
    fn take_back(&mut self, class: usize, address: Address, chunks: &ChunkTable) {
        self.used_bytes -= class_bytes(class);
        self.cache(class, address, chunks);
    }

    /// Keeps a piece at hand, unless its span is to be emptied.
    fn cache(&mut self, class: usize, address: Address, chunks: &ChunkTable) {
        if self.is_leaving {
            return self.give_to_span(class, address, chunks);
        }
        self.cached[class].push_back(address);
        self.cached_bytes += class_bytes(class);
        if self.cached_bytes > (self.pages.held_bytes() / CACHED_PART).max(CACHED_BYTES_MIN) {
            self.give_most_cached(chunks);
        }
    }

    /// Gives some of the cached pieces of that class to their spans that has most.
    fn give_most_cached(&mut self, chunks: &ChunkTable) {
        let bytes = |class: &usize| self.cached[*class].len() * class_bytes(*class);
        let most = (0..CLASSES).max_by_key(bytes).expect("there are classes");
        let count = (UNCACHED_BYTES / class_bytes(most)).min(self.cached[most].len());
        self.give_cached(most, count, chunks);
    }

    /// Gives the oldest of the cached pieces of a class to their spans.
    fn give_cached(&mut self, class: usize, count: usize, chunks: &ChunkTable) {
        let mut cached = std::mem::take(&mut self.cached[class]);
        self.cached_bytes -= count * class_bytes(class);
        for address in cached.drain(..count) {
            self.give_to_span(class, address, chunks);
        }
        self.cached[class] = cached;
    }

    /// Gives all cached pieces to their spans.
    fn empty_cache(&mut self, chunks: &ChunkTable) {
        for class in 0..CLASSES {
            self.give_cached(class, self.cached[class].len(), chunks);
        }
    }

    fn give_to_span(&mut self, class: usize, address: Address, chunks: &ChunkTable) {
        let number = self.span_at(address).expect("a piece that was taken is in a span");
        let span = &mut self.spans[number as usize];
        debug_assert_eq!(usize::from(span.list) % CLASSES, class, "a piece is given back as it was taken");
        let was_full = span.is_full();
        let index = piece_index(span.page, class, address);
        // SAFETY: the piece was given back, so that it is ours; it is larger than two bytes, and aligned to eight.
        unsafe { shadow::poke(chunks_pointer(chunks, address).cast::<u16>(), span.free) };
        span.free = index + 1;
        span.live -= 1;
        if span.live == 0 {
            self.remove_span(number, was_full, chunks);
        } else if was_full && !span.is_leaving {
            self.link(number);
        }
    }

    fn add_span(&mut self, class: usize, list: usize, chunks: &ChunkTable) -> Result<(), Exhausted> {
        let longest = self.pages.longest_free();
        let is_enough = longest as usize * PAGE_BYTES >= SHORT_SPAN_PIECES_MIN * class_bytes(class);
        let pages = if is_enough { span_pages(class).min(longest) } else { span_pages(class) };
        let page = self.take_pages(pages, chunks)?;
        let span = Span {
            page,
            before: NO_SPAN,
            behind: NO_SPAN,
            live: 0,
            fresh: 0,
            free: 0,
            list: u8::try_from(list).expect("there are fewer lists"),
            pages: u8::try_from(pages).expect("a span has few pages"),
            is_leaving: false,
        };
        let number = match self.unused_spans.pop() {
            Some(number) => {
                self.spans[number as usize] = span;
                number
            }
            None => {
                self.spans.push(span);
                u32::try_from(self.spans.len() - 1).expect("there are fewer spans than pages")
            }
        };
        self.name_pages(page, pages, number + 1);
        self.link(number);
        Ok(())
    }

    /// Lets an empty span go.
    fn remove_span(&mut self, number: u32, was_full: bool, chunks: &ChunkTable) {
        let Span { page, pages, is_leaving, .. } = self.spans[number as usize];
        if !is_leaving && !was_full {
            self.unlink(number);
        }
        self.spans[number as usize].is_leaving = false;
        self.unused_spans.push(number);
        self.name_pages(page, pages.into(), 0);
        self.give_pages(page, pages.into(), chunks);
    }

    fn take_pages(&mut self, count: u32, chunks: &ChunkTable) -> Result<u32, Exhausted> {
        let (page, change) = self.pages.take(count).ok_or(Exhausted)?;
        self.chunks_changed(change, chunks);
        Ok(page)
    }

    fn give_pages(&mut self, page: u32, count: u32, chunks: &ChunkTable) {
        // The system may take the pages from here on.
        shadow::left(chunks_pointer(chunks, Address::of_page(page)), count as usize * PAGE_BYTES);
        let change = self.pages.give(page, count);
        self.chunks_changed(change, chunks);
    }

    fn chunks_changed(&mut self, change: Chunks, chunks: &ChunkTable) {
        match change {
            Chunks::Same => {}
            Chunks::Came(number) => {
                let chunk = self.pages.chunk(number).expect("the chunk that came is there");
                chunks.set(number, chunk.memory().as_ptr());
                if self.span_of_page.len() <= number {
                    self.span_of_page.resize_with(number + 1, || None);
                }
                self.span_of_page[number] = Some(Box::new([0; CHUNK_PAGES as usize]));
            }
            Chunks::Went(number) => {
                chunks.set(number, std::ptr::null_mut());
                self.span_of_page[number] = None;
            }
        }
    }

    fn name_pages(&mut self, page: u32, count: u32, name: u32) {
        let names =
            self.span_of_page[(page / CHUNK_PAGES) as usize].as_mut().expect("the chunk of a span is there");
        let first = (page % CHUNK_PAGES) as usize;
        names[first..first + count as usize].fill(name);
    }

    fn span_at(&self, address: Address) -> Option<u32> {
        let page = address.page();
        let names = self.span_of_page.get((page / CHUNK_PAGES) as usize)?.as_ref()?;
        names[(page % CHUNK_PAGES) as usize].checked_sub(1)
    }

    fn link(&mut self, number: u32) {
        let list = usize::from(self.spans[number as usize].list);
        let first = std::mem::replace(&mut self.roomy[list], number);
        let span = &mut self.spans[number as usize];
        (span.before, span.behind) = (NO_SPAN, first);
        if first != NO_SPAN {
            self.spans[first as usize].before = number;
        }
    }

    fn unlink(&mut self, number: u32) {
        let Span { before, behind, list, .. } = self.spans[number as usize];
        match before {
            NO_SPAN => self.roomy[usize::from(list)] = behind,
            _ => self.spans[before as usize].behind = behind,
        }
        if behind != NO_SPAN {
            self.spans[behind as usize].before = before;
        }
        let span = &mut self.spans[number as usize];
        (span.before, span.behind) = (NO_SPAN, NO_SPAN);
    }

    /// Whether so much of the spans is in no piece, taken or cached, that emptying some can be worth it.
    fn may_be_sparse(&self) -> bool {
        let idle = self.pages.held_bytes() - self.pages.free_bytes();
        idle.saturating_sub(self.used_bytes + self.cached_bytes) >= LEAVING_BYTES_MIN
    }

    fn choose_leaving(&mut self) -> usize {
        let (mut chosen, mut gain, mut moving) = (Vec::new(), 0, 0);
        // What moves is there twice for a while.
        let moving_max = (self.pages.held_bytes() / MOVING_PART).max(LEAVING_BYTES_MIN);
        for class in 0..CLASSES {
            let sparse: Vec<u32> = std::iter::successors(Some(self.roomy[class]), |number| {
                self.spans.get(*number as usize).map(|span| span.behind)
            })
            .take_while(|number| *number != NO_SPAN)
            .filter(|number| {
                let span = &self.spans[*number as usize];
                span.live * 2 <= span.pieces()
            })
            .take_while(|number| {
                let span = &self.spans[*number as usize];
                moving += usize::from(span.live) * class_bytes(class);
                moving <= moving_max
            })
            .collect();
            let total = |what: fn(&Span) -> u16| -> usize {
                sparse.iter().map(|number| usize::from(what(&self.spans[*number as usize]))).sum()
            };
            gain += (total(Span::pieces) - total(|span| span.live)) * class_bytes(class);
            // One span alone would only move to another.
            if sparse.len() > 1 {
                chosen.extend(sparse);
            }
        }
        if gain < LEAVING_BYTES_MIN {
            return 0;
        }
        self.is_leaving = !chosen.is_empty();
        for number in &chosen {
            self.unlink(*number);
            self.spans[*number as usize].is_leaving = true;
        }
        chosen.len()
    }

    fn is_leaving(&self, address: Address) -> bool {
        self.span_at(address).is_some_and(|number| self.spans[number as usize].is_leaving)
    }

    fn end_leaving(&mut self) {
        self.is_leaving = false;
        for number in 0..self.spans.len() {
            let span = &mut self.spans[number];
            if std::mem::take(&mut span.is_leaving) && !span.is_full() {
                self.link(u32::try_from(number).expect("spans are counted in 32 bits"));
            }
        }
    }

    fn validate(&self) -> Result<(), String> {
        self.pages.validate()?;
        let cached: usize = (0..CLASSES).map(|class| self.cached[class].len() * class_bytes(class)).sum();
        if cached != self.cached_bytes {
            return Err(format!("{cached} bytes are cached, {} are counted", self.cached_bytes));
        }
        let mut linked = vec![false; self.spans.len()];
        for list in 0..LISTS {
            let mut number = self.roomy[list];
            while number != NO_SPAN {
                if std::mem::replace(&mut linked[number as usize], true) {
                    return Err(format!("span {number} is linked twice"));
                }
                number = self.spans[number as usize].behind;
            }
        }
        let unused: std::collections::HashSet<u32> = self.unused_spans.iter().copied().collect();
        for (number, span) in (0_u32..).zip(&self.spans) {
            let has_room = !span.is_full();
            let is_linked = linked[number as usize];
            if unused.contains(&number) {
                if is_linked {
                    return Err(format!("the unused span {number} is linked"));
                }
            } else if is_linked != (has_room && !span.is_leaving) {
                return Err(format!("span {number} has room: {has_room}, is linked: {is_linked}"));
            } else if span.live > span.fresh || self.span_at(Address::of_page(span.page)) != Some(number) {
                return Err(format!("span {number} counts {span:?}"));
            }
        }
        Ok(())
    }
}

#[inline]
fn chunks_pointer(chunks: &ChunkTable, address: Address) -> NonNull<u8> {
    let chunk = chunks.get((address.get() >> CHUNK_UNITS_SHIFT) as usize);
    let units = address.get() & ((1 << CHUNK_UNITS_SHIFT) - 1);
    debug_assert!(!chunk.is_null(), "the chunk of a piece that is in use");
    // SAFETY: the offset is less than a chunk, and the chunk is mapped as long as a piece of it is in use.
    unsafe { NonNull::new_unchecked(chunk.add(units as usize * UNIT_BYTES)) }
}

fn piece_address(page: u32, class: usize, index: u16) -> Address {
    let units = u32::try_from(class_bytes(class) / UNIT_BYTES).expect("a piece is small");
    let bits = page * PAGE_UNITS + u32::from(index) * units;
    Address::from_bits(bits).expect("the first page is never given out")
}

fn piece_index(page: u32, class: usize, address: Address) -> u16 {
    let units = (address.get() - page * PAGE_UNITS) as usize;
    u16::try_from(units * UNIT_BYTES / class_bytes(class)).expect("a span has few pieces")
}

fn pages_for(bytes: usize) -> u32 {
    debug_assert!(bytes <= RUN_BYTES_MAX);
    u32::try_from(bytes.div_ceil(PAGE_BYTES)).expect("a run is at most a chunk")
}

/// Classes step by 8 bytes up to 512, and by an eighth of a power of two up to 4,096: at most an eighth is wasted, and
/// classes that are multiples of 64 are so exactly.
const FINE_BYTES_MAX: usize = 512;
const FINE_CLASSES: usize = FINE_BYTES_MAX / UNIT_BYTES;
const STEPS: usize = 8;
const CLASSES: usize = FINE_CLASSES + 3 * STEPS;
const _: () = assert!(class_bytes(CLASSES - 1) == PIECE_BYTES_MAX);
/// Entries and buckets have spans of their own.
const LISTS: usize = 2 * CLASSES;
const _: () = assert!(LISTS <= u8::MAX as usize);

/// The class of a piece; `None` if it is a run of pages.
fn class_of(bytes: usize) -> Option<usize> {
    debug_assert!(bytes > 0);
    if bytes <= FINE_BYTES_MAX {
        Some(bytes.div_ceil(UNIT_BYTES) - 1)
    } else if bytes <= PIECE_BYTES_MAX {
        // 513..=1024 is the first doubling, in steps of 64.
        let doubling = (usize::BITS - (bytes - 1).leading_zeros()) as usize - 10;
        let base = FINE_BYTES_MAX << doubling;
        let step = base / STEPS;
        Some(FINE_CLASSES + doubling * STEPS + (bytes - base).div_ceil(step) - 1)
    } else {
        None
    }
}

const fn class_bytes(class: usize) -> usize {
    if class < FINE_CLASSES {
        (class + 1) * UNIT_BYTES
    } else {
        let (doubling, step) = ((class - FINE_CLASSES) / STEPS, (class - FINE_CLASSES) % STEPS);
        let base = FINE_BYTES_MAX << doubling;
        base + base / STEPS * (step + 1)
    }
}

fn span_pages(class: usize) -> u32 {
    if class_bytes(class) > LARGE_SPAN_FROM_BYTES { LARGE_SPAN_PAGES } else { SPAN_PAGES }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests;
