//! The memory behind all slots: the arenas, and what was taken out of the table and waits until nobody reads it.
#![expect(unsafe_code, reason = "gives memory back once nobody can reach it")]

use std::array;
use std::collections::VecDeque;
use std::sync::Arc;

use crossbeam_utils::CachePadded;

use crate::arena::{Address, Arena, Purpose};
use crate::epoch::{Epochs, Pin};
use crate::fence;
use crate::long_values::LongValues;
use crate::record::Record;
use crate::spares::Spares;
use crate::stopwatch::ResizeTimes;
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicU8, AtomicUsize, Ordering};

/// Arenas of a table. Each can name 32 GiB, and keeps a chunk that is partly used.
const ARENAS: u8 = if cfg!(shuttle) { 1 } else { 8 };
const _: () = assert!(ARENAS.is_power_of_two());

/// A shard gathers this many retired pieces, or bytes of them, before it hands them over to be freed.
pub(crate) const RETIRED_TOGETHER: usize = if cfg!(shuttle) { 2 } else { 256 };
pub(crate) const RETIRED_BYTES_TOGETHER: u64 = 64 << 10;
/// Readers are looked at once so many pieces, or bytes of them, wait to be freed since the last time: it takes a fence
/// of all processors, which was measured to take 16 microseconds while others run.
const LOOK_AFTER_PIECES: usize = if cfg!(shuttle) { 2 } else { 4096 };
const LOOK_AFTER_BYTES: usize = 1 << 20;
/// Of what can be freed, so much is at once: nobody's write takes long for it, and it goes faster than it comes.
const FREED_TOGETHER: usize = 2;

/// A piece that was taken out of the table.
#[derive(Debug)]
pub(crate) struct Retired {
    pub(crate) address: Address,
    pub(crate) bytes: usize,
    pub(crate) purpose: Purpose,
    pub(crate) arena: u8,
    /// How much memory goes with the shared value that the entry lets go of; `None` if it has none.
    pub(crate) shared: Option<usize>,
}

impl Retired {
    /// Bytes that are freed with it.
    pub(crate) fn weight(&self) -> usize {
        self.bytes + self.shared.unwrap_or(0)
    }
}

/// Retired pieces of one shard. They can be freed when nobody is pinned in their epoch or an earlier one.
#[derive(Debug)]
struct Sealed {
    epoch: u64,
    pieces: Vec<Retired>,
    bytes: usize,
}

/// What waits to be freed, in the order of epochs.
#[derive(Debug, Default)]
struct Waiting {
    sealed: VecDeque<Sealed>,
    /// What was sealed in an epoch below this one can be freed.
    free_below: u64,
    /// What was added since readers were last looked at.
    pieces: usize,
    bytes: usize,
}

impl Waiting {
    fn add(&mut self, sealed: Sealed) {
        self.pieces += sealed.pieces.len();
        self.bytes += sealed.bytes;
        self.sealed.push_back(sealed);
    }

    /// Looks who is reading.
    fn look(&mut self, epochs: &Epochs) {
        (self.pieces, self.bytes) = (0, 0);
        // Nothing is known of readers that come after this look: it is about what was sealed before it.
        let now = epochs.now();
        if let Some(oldest) = epochs.oldest_pinned() {
            self.free_below = oldest.min(now);
        }
    }

    /// Takes what can be freed, the oldest first.
    fn take(&mut self, count: usize) -> Vec<Sealed> {
        let can_go =
            self.sealed.iter().take(count).take_while(|sealed| sealed.epoch < self.free_below).count();
        self.sealed.drain(..can_go).collect()
    }
}

/// The memory behind all slots, and what all slots share.
#[derive(Debug)]
pub(crate) struct Store {
    arenas: [CachePadded<Arena>; ARENAS as usize],
    pub(crate) long_values: LongValues,
    /// Where huge pages come from; `None` without them.
    pub(crate) spares: Option<Arc<Spares>>,
    epochs: &'static Epochs,
    waiting: Mutex<Waiting>,
    /// Held by whoever moves entries and buckets out of sparse memory: what is to be emptied is marked in the arenas.
    pub(crate) shrinking: Mutex<()>,
    /// Bytes in `waiting`.
    waiting_bytes: AtomicUsize,
    /// The present tick of heat.
    pub(crate) tick: AtomicU8,
    /// How long slots took to grow and shrink.
    pub(crate) resizes: ResizeTimes,
}

impl Store {
    pub(crate) fn new(huge: bool) -> Store {
        fence::prepare();
        let spares = huge.then(Arc::<Spares>::default);
        Store {
            arenas: array::from_fn(|_| CachePadded::new(Arena::new(spares.clone()))),
            long_values: LongValues::new(spares.as_ref()),
            spares,
            epochs: Epochs::shared(),
            waiting: Mutex::new(Waiting::default()),
            shrinking: Mutex::new(()),
            waiting_bytes: AtomicUsize::new(0),
            tick: AtomicU8::new(0),
            resizes: ResizeTimes::default(),
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
        #[expect(clippy::cast_possible_truncation, reason = "there are few arenas")]
        let number = (slot % usize::from(ARENAS)) as u8;
        number
    }

    #[inline]
    pub(crate) fn arena(&self, number: u8) -> &Arena {
        &self.arenas[usize::from(number % ARENAS)]
    }

    pub(crate) fn arenas(&self) -> impl Iterator<Item = (u8, &Arena)> {
        (0_u8..).zip(self.arenas.iter().map(|arena| &**arena))
    }

    pub(crate) fn waiting_bytes(&self) -> usize {
        self.waiting_bytes.load(Ordering::Relaxed)
    }

    /// Takes pieces that were taken out of the table, to be freed when those who may be reading them have gone; and
    /// frees a part of what waits.
    pub(crate) fn retire(&self, pieces: Vec<Retired>) {
        let mut waiting = self.waiting.lock();
        self.seal(&mut waiting, pieces);
        if waiting.pieces >= LOOK_AFTER_PIECES || waiting.bytes >= LOOK_AFTER_BYTES {
            waiting.look(self.epochs);
        }
        let free = waiting.take(FREED_TOGETHER);
        drop(waiting);
        self.free_all(free);
    }

    /// As [`Store::retire`], and frees everything that nobody can be reading any more.
    pub(crate) fn retire_and_free(&self, pieces: Vec<Retired>) {
        let mut waiting = self.waiting.lock();
        self.seal(&mut waiting, pieces);
        if waiting.sealed.is_empty() {
            return;
        }
        waiting.look(self.epochs);
        let free = waiting.take(usize::MAX);
        drop(waiting);
        self.free_all(free);
    }

    fn seal(&self, waiting: &mut Waiting, pieces: Vec<Retired>) {
        if pieces.is_empty() {
            return;
        }
        let bytes = pieces.iter().map(Retired::weight).sum();
        // Out of reach since before this call, so that nobody who is pinned later than this epoch has them.
        let epoch = self.epochs.advance();
        waiting.add(Sealed { epoch, pieces, bytes });
        self.waiting_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    fn free_all(&self, free: Vec<Sealed>) {
        for sealed in free {
            self.waiting_bytes.fetch_sub(sealed.bytes, Ordering::Relaxed);
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
            for piece in of_arena.iter().filter(|piece| piece.shared.is_some()) {
                // SAFETY: an entry with a shared value, which nobody reads any more.
                unsafe { Record::at(arena.pointer(piece.address)).drop_shared() }
            }
            // SAFETY: retired once, with the bytes that they were taken for, and out of reach.
            unsafe { arena.give(of_arena.iter().map(|piece| (piece.address, piece.bytes, piece.purpose))) }
        }
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        if let Some(spares) = &self.spares {
            // Values that outlive the table hold on to where their memory came from.
            spares.empty();
        }
        for Sealed { pieces, .. } in std::mem::take(&mut self.waiting.get_mut().sealed) {
            // SAFETY: whoever read from the table has borrowed it, and nobody borrows what is being dropped.
            unsafe { self.free(pieces) }
        }
    }
}
