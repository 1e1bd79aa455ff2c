//! The heap of an arena: what the thread that holds its lock sees of spans, free pieces and runs of pages.
#![expect(unsafe_code, reason = "chains free pieces through their memory")]

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::sync::Arc;

use super::chunk_table::{CHUNKS_MAX, ChunkTable};
use super::classes::{CLASSES, class_bytes, class_of};
use super::{Address, Arena, ArenaMemory, Exhausted, PAGE_UNITS, Purpose, RUN_BYTES_MAX, Sparse, UNIT_BYTES};
use crate::chunk::{CHUNK_BYTES, CHUNK_PAGES, PAGE_BYTES};
use crate::pages::{Chunks, Pages};
use crate::shadow;
use crate::spares::Spares;

/// Entries are refused beyond this many chunks; the rest is for buckets, which must never be refused. The smallest
/// entries take 16 bytes, with less than 13 bytes of buckets each.
const ENTRY_CHUNKS_MAX: usize = CHUNKS_MAX / 2;
/// Pages of a span; that many, or twice for large classes, waste at most a sixteenth at the end. Where there are
/// shorter runs of free pages only, a span is as long as the longest.
const SPAN_PAGES: u32 = 4;
const LARGE_SPAN_PAGES: u32 = 8;
const LARGE_SPAN_FROM_BYTES: usize = 1024;
/// A span that is shorter than usual holds at least this many pieces.
const SHORT_SPAN_PIECES_MIN: usize = 8;
/// At most this part of an arena is moved in one pass, but so many bytes always.
const MOVING_PART: usize = 16;
const MOVING_BYTES_MIN: usize = 256 << 10;
/// At most this part of an arena is kept at hand in pieces that were given back, but [`CACHED_BYTES_MIN`] always:
/// pieces come back by thousands, as readers are looked at seldom, and each that goes to its span and is taken from there
/// again costs two cache misses.
const CACHED_PART: usize = 32;
pub(super) const CACHED_BYTES_MIN: usize = 64 << 10;
/// So much goes to its spans at once when there is too much: few enough that nobody waits long for the lock.
pub(super) const UNCACHED_BYTES: usize = 16 << 10;
/// For each class one for entries and one for buckets.
const LISTS: usize = 2 * CLASSES;
const _: () = assert!(LISTS <= u8::MAX as usize);
/// "None" among the numbers of spans.
const NO_SPAN: u32 = u32::MAX;

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

/// The pages of an arena, and what they are used for.
#[derive(Debug)]
pub(super) struct Heap {
    pub(super) pages: Pages,
    spans: Vec<Span>,
    /// Numbers of spans that are not in use.
    unused_spans: Vec<u32>,
    /// For each chunk, one more than the span that each page belongs to; 0 for none.
    span_of_page: Vec<Option<Box<[u32; CHUNK_PAGES as usize]>>>,
    /// For each list, the first span that has room.
    roomy: [u32; LISTS],
    /// For each class, pieces of entries that were given back and not to their spans yet: overwriting takes and gives all the
    /// time, and need not look at a span for that. So the lists of cached pieces are the first of the lists of spans.
    pub(super) cached: [VecDeque<Address>; CLASSES],
    /// Bytes of all cached pieces.
    cached_bytes: usize,
    /// Whether spans are being emptied: what is given back then goes to its span.
    is_leaving: bool,
    /// Runs that are pieces themselves, by their first page.
    runs: BTreeMap<u32, u32>,
    used_bytes: usize,
}

impl Heap {
    pub(super) fn new(huge_chunks: Option<Arc<Spares>>) -> Heap {
        let chunks_max = if cfg!(shuttle) { 4 } else { CHUNKS_MAX };
        Heap {
            pages: Pages::new(chunks_max, huge_chunks),
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

    pub(super) fn take(
        &mut self,
        bytes: usize,
        purpose: Purpose,
        chunks: &ChunkTable,
    ) -> Result<Address, Exhausted> {
        let class = class_of(bytes);
        if purpose == Purpose::Entry && self.is_at_limit(class, bytes) {
            self.empty_cache(chunks);
            if self.is_at_limit(class, bytes) {
                return Err(Exhausted);
            }
        }
        let address = match class {
            Some(class) => self.take_of_class(class, list_of(class, purpose), chunks)?,
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
            let piece = chunks.pointer(piece_address(span.page, class, index));
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

    pub(super) fn give(&mut self, address: Address, bytes: usize, purpose: Purpose, chunks: &ChunkTable) {
        self.used_bytes -= Arena::room(bytes);
        shadow::given(chunks.pointer(address), Arena::room(bytes));
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
    pub(super) fn take_back(&mut self, class: usize, address: Address, chunks: &ChunkTable) {
        self.used_bytes -= class_bytes(class);
        self.cache(class, address, chunks);
        self.trim_cache(chunks);
    }

    /// Keeps a piece at hand, unless its span is to be emptied.
    fn cache(&mut self, class: usize, address: Address, chunks: &ChunkTable) {
        if self.is_leaving {
            return self.give_to_span(class, address, chunks);
        }
        self.cached[class].push_back(address);
        self.cached_bytes += class_bytes(class);
    }

    /// Gives pieces to their spans while too much is cached.
    pub(super) fn trim_cache(&mut self, chunks: &ChunkTable) {
        while self.cached_bytes > (self.pages.held_bytes() / CACHED_PART).max(CACHED_BYTES_MIN) {
            self.give_most_cached(chunks);
        }
    }

    /// Takes up to `count` cached pieces of a class.
    pub(super) fn take_cached(&mut self, class: usize, count: usize) -> impl Iterator<Item = Address> {
        let cached = &mut self.cached[class];
        let count = count.min(cached.len());
        self.cached_bytes -= count * class_bytes(class);
        self.used_bytes += count * class_bytes(class);
        cached.drain(cached.len() - count..).rev()
    }

    /// Gives some of the cached pieces of that class to their spans that has most.
    pub(super) fn give_most_cached(&mut self, chunks: &ChunkTable) {
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
    pub(super) fn empty_cache(&mut self, chunks: &ChunkTable) {
        for class in 0..CLASSES {
            self.give_cached(class, self.cached[class].len(), chunks);
        }
    }

    /// The piece of an entry that will be taken next, if it was given back before.
    pub(super) fn next_cached(&self, class: usize) -> Option<Address> {
        self.cached[class].back().copied()
    }

    /// How often [`Heap::give_most_cached`] must be called until few cached pieces are left.
    pub(super) fn uncaching_steps(&self) -> usize {
        self.cached_bytes / UNCACHED_BYTES
    }

    fn give_to_span(&mut self, class: usize, address: Address, chunks: &ChunkTable) {
        let number = self.span_at(address).expect("a piece that was taken is in a span");
        let span = &mut self.spans[number as usize];
        debug_assert_eq!(usize::from(span.list) % CLASSES, class, "a piece is given back as it was taken");
        let was_full = span.is_full();
        let index = piece_index(span.page, class, address);
        // SAFETY: the piece was given back, so that it is ours; it is larger than two bytes, and aligned to eight.
        unsafe { shadow::poke(chunks.pointer(address).cast::<u16>(), span.free) };
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
        shadow::left(chunks.pointer(Address::of_page(page)), count as usize * PAGE_BYTES);
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
    pub(super) fn may_be_sparse(&self, sparse: Sparse) -> bool {
        let idle = self.pages.held_bytes() - self.pages.free_bytes();
        idle.saturating_sub(self.used_bytes + self.cached_bytes) >= sparse.gain_min
    }

    /// Chooses spans to be emptied.
    pub(super) fn choose_leaving(&mut self, sparse: Sparse) -> usize {
        let (mut chosen, mut gain, mut moving) = (Vec::new(), 0, 0);
        // What moves is there twice for a while.
        let moving_max = (self.pages.held_bytes() / MOVING_PART).max(MOVING_BYTES_MIN);
        for list in 0..LISTS {
            let class = list % CLASSES;
            let leaving: Vec<u32> = std::iter::successors(Some(self.roomy[list]), |number| {
                self.spans.get(*number as usize).map(|span| span.behind)
            })
            .take_while(|number| *number != NO_SPAN)
            .filter(|number| {
                let span = &self.spans[*number as usize];
                u32::from(span.live) * 8 <= u32::from(span.pieces()) * sparse.eighths_max
            })
            .take_while(|number| {
                let span = &self.spans[*number as usize];
                moving += usize::from(span.live) * class_bytes(class);
                moving <= moving_max
            })
            .collect();
            let total = |what: fn(&Span) -> u16| -> usize {
                leaving.iter().map(|number| usize::from(what(&self.spans[*number as usize]))).sum()
            };
            // One span alone would only move to another.
            if leaving.len() > 1 {
                gain += (total(Span::pieces) - total(|span| span.live)) * class_bytes(class);
                chosen.extend(leaving);
            }
        }
        if gain < sparse.gain_min {
            return 0;
        }
        self.is_leaving = !chosen.is_empty();
        for number in &chosen {
            self.unlink(*number);
            self.spans[*number as usize].is_leaving = true;
        }
        chosen.len()
    }

    pub(super) fn is_leaving(&self, address: Address) -> bool {
        self.span_at(address).is_some_and(|number| self.spans[number as usize].is_leaving)
    }

    pub(super) fn end_leaving(&mut self) {
        self.is_leaving = false;
        for number in 0..self.spans.len() {
            let span = &mut self.spans[number];
            if std::mem::take(&mut span.is_leaving) && !span.is_full() {
                self.link(u32::try_from(number).expect("spans are counted in 32 bits"));
            }
        }
    }

    pub(super) fn memory(&self) -> ArenaMemory {
        ArenaMemory {
            used: self.used_bytes,
            held: self.pages.held_bytes(),
            huge: self.pages.huge_bytes(),
            free: self.pages.free_bytes(),
            resident: self.pages.held_bytes() - self.pages.absent_bytes(),
        }
    }

    pub(super) fn validate(&self) -> Result<(), String> {
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
        let unused: HashSet<u32> = self.unused_spans.iter().copied().collect();
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

/// The list of spans that a class has for a purpose.
fn list_of(class: usize, purpose: Purpose) -> usize {
    if purpose == Purpose::Buckets { class + CLASSES } else { class }
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

fn span_pages(class: usize) -> u32 {
    if class_bytes(class) > LARGE_SPAN_FROM_BYTES { LARGE_SPAN_PAGES } else { SPAN_PAGES }
}
