//! Free pieces at hand for each thread, so that threads that write meet at an arena's lock once in a dozen entries.
//!
//! The magazines of [Bonwick and Adams, "Magazines and Vmem" (2001)](https://www.usenix.org/legacy/event/usenix01/bonwick.html),
//! of one size class at a time. A thread has the same one each time, nearly always alone: its lock is a cache line that
//! stays with the processor.

use crossbeam_utils::CachePadded;

use crate::arena::Address;
use crate::sync::{Mutex, MutexGuard};

/// Threads beyond so many share magazines.
const FRONTS: usize = if cfg!(any(shuttle, miri)) { 1 } else { 16 };
/// Pieces of a full magazine: it fills a cache line.
pub(crate) const FRONT_PIECES: usize = if cfg!(shuttle) { 2 } else { 12 };
/// So many pieces of other classes are asked for in a row before a magazine changes to another class: where sizes are
/// mixed, it would be filled and emptied all the time.
const STRANGERS_MAX: u8 = 16;

/// The magazines of an arena.
#[derive(Debug)]
pub(crate) struct Fronts([CachePadded<Mutex<Front>>; FRONTS]);

/// A magazine: a stack of free pieces of one class.
#[derive(Debug, Default)]
pub(crate) struct Front {
    class: u8,
    len: u8,
    strangers: u8,
    pieces: [Option<Address>; FRONT_PIECES],
}

impl Fronts {
    pub(crate) fn new() -> Fronts {
        Fronts(std::array::from_fn(|_| CachePadded::new(Mutex::new(Front::default()))))
    }

    /// That of the calling thread.
    #[inline]
    pub(crate) fn own(&self) -> MutexGuard<'_, Front> {
        self.0[own_number() % FRONTS].lock()
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = MutexGuard<'_, Front>> {
        self.0.iter().map(|front| front.lock())
    }
}

impl Front {
    /// Takes a piece of `class`, if there is one.
    #[inline]
    pub(crate) fn take(&mut self, class: usize) -> Option<Address> {
        if usize::from(self.class) != class {
            return None;
        }
        self.len = self.len.checked_sub(1)?;
        self.strangers = 0;
        self.pieces[usize::from(self.len)]
    }

    /// The piece that is taken next.
    #[inline]
    pub(crate) fn next(&self) -> Option<Address> {
        self.pieces[usize::from(self.len.checked_sub(1)?)]
    }

    /// Whether pieces of `class`, of which it has none, are to come in.
    pub(crate) fn wants(&mut self, class: usize) -> bool {
        self.strangers = self.strangers.saturating_add(1);
        self.len == 0 || usize::from(self.class) == class || self.strangers > STRANGERS_MAX
    }

    /// Fills it, which is empty, with pieces of `class`; the first one is taken first.
    pub(crate) fn fill(&mut self, class: usize, pieces: impl Iterator<Item = Address>) {
        debug_assert_eq!(self.len, 0);
        (self.class, self.strangers) = (u8::try_from(class).expect("there are fewer classes"), 0);
        for (place, piece) in self.pieces.iter_mut().zip(pieces) {
            *place = Some(piece);
            self.len += 1;
        }
        self.pieces[..usize::from(self.len)].reverse();
    }

    /// Gives up all pieces: their class and themselves.
    pub(crate) fn empty(&mut self) -> (usize, impl Iterator<Item = Address> + use<>) {
        let len = usize::from(std::mem::take(&mut self.len));
        (self.class.into(), self.pieces.into_iter().take(len).flatten())
    }

    /// The class of its pieces, and how many there are.
    pub(crate) fn count(&self) -> (usize, usize) {
        (self.class.into(), self.len.into())
    }
}

/// A number of the calling thread's own.
#[cfg(not(shuttle))]
#[inline]
fn own_number() -> usize {
    use std::cell::Cell;
    use std::sync::atomic::{AtomicUsize, Ordering};

    static NEXT: AtomicUsize = AtomicUsize::new(1);
    thread_local! {
        /// 0 until it is asked for.
        static OWN: Cell<usize> = const { Cell::new(0) };
    }
    OWN.with(|own| {
        if own.get() == 0 {
            // Relaxed: any number does.
            own.set(NEXT.fetch_add(1, Ordering::Relaxed));
        }
        own.get()
    })
}

#[cfg(shuttle)]
fn own_number() -> usize {
    0
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;

    fn pieces(first: u32) -> impl Iterator<Item = Address> {
        (first..).map(|bits| Address::from_bits(bits).expect("not zero"))
    }

    #[test]
    fn pieces_come_in_their_order_and_a_stranger_has_to_insist() {
        let mut front = Front::default();
        assert!(front.wants(3) && front.take(3).is_none());
        front.fill(3, pieces(1));
        assert_eq!(front.count(), (3, FRONT_PIECES));
        assert_eq!(front.take(3), pieces(1).next());
        assert_eq!(front.next(), pieces(2).next());
        let refusals = (0..100).take_while(|_| front.take(4).is_none() && !front.wants(4)).count();
        assert_eq!(refusals, usize::from(STRANGERS_MAX));
        let (class, left) = front.empty();
        assert_eq!((class, left.count()), (3, FRONT_PIECES - 1));
        assert_eq!((front.count().1, front.next()), (0, None));
    }

    #[test]
    fn each_thread_has_a_number() {
        let own = own_number();
        assert_eq!(own, own_number());
        assert_ne!(own, std::thread::spawn(own_number).join().unwrap());
    }
}
