//! When memory that was taken out of the table may be used again: once nobody can still be reading it.
//!
//! Epoch-based reclamation ([Fraser 2004](https://www.cl.cam.ac.uk/techreports/UCAM-CL-TR-579.pdf)), with a pin of
//! its own: a thread that reads stores the present epoch in a place of its own (its seat), and clears it afterwards. Who retires
//! memory first takes it out of the table, then moves the epoch on with [`Epochs::advance`]; what was retired in an
//! epoch below every one that is pinned ([`Epochs::oldest_pinned`]) can be reached by nobody.
//!
//! A pin is two stores to the thread's own cache line and no fence (see `fence.rs`), so that the misses of one lookup
//! overlap with those of the next.

use std::fmt;
use std::marker::PhantomData;
use std::sync::OnceLock;

use crossbeam_utils::CachePadded;

use crate::fence;
use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// The first epoch. 0 says that a thread is not pinned.
const EPOCH_FIRST: u64 = 1;

/// The present epoch, and the seats of the threads that read.
pub(crate) struct Epochs {
    now: CachePadded<AtomicU64>,
    /// Seats are never freed: there are as many as there ever were threads at once.
    first: OnceLock<&'static Seat>,
}

/// Where one thread says what it may be reading.
#[derive(Debug)]
struct Seat {
    cell: CachePadded<Cell>,
    next: OnceLock<&'static Seat>,
}

#[derive(Debug)]
struct Cell {
    /// The epoch in which its thread was pinned; 0 if it is not.
    pinned: AtomicU64,
    /// Whether a thread has it.
    taken: AtomicBool,
}

impl Epochs {
    #[cfg(not(any(loom, shuttle)))]
    const fn new() -> Epochs {
        Epochs { now: CachePadded::new(AtomicU64::new(EPOCH_FIRST)), first: OnceLock::new() }
    }

    #[cfg(any(loom, shuttle))]
    pub(crate) fn new() -> Epochs {
        Epochs { now: CachePadded::new(AtomicU64::new(EPOCH_FIRST)), first: OnceLock::new() }
    }

    /// Moves on to the next epoch; returns the one that ends. What was taken out of reach before this call was so in
    /// that epoch or an earlier one.
    pub(crate) fn advance(&self) -> u64 {
        // Release pairs with the Acquire in `Seat::pin`: who is pinned in a later epoch sees what was taken out.
        self.now.fetch_add(1, Ordering::AcqRel)
    }

    /// The present epoch.
    pub(crate) fn now(&self) -> u64 {
        self.now.load(Ordering::Acquire)
    }

    /// The oldest epoch in which a thread is pinned; `u64::MAX` if none is. `None` if that cannot be known now.
    pub(crate) fn oldest_pinned(&self) -> Option<u64> {
        if !fence::heavy() {
            return None;
        }
        let mut oldest = u64::MAX;
        let mut seat = self.first.get();
        while let Some(Seat { cell, next }) = seat {
            // Acquire pairs with the Release in `Seat::unpin`: what the thread read, it read before.
            match cell.pinned.load(Ordering::Acquire) {
                0 => {}
                epoch => oldest = oldest.min(epoch),
            }
            seat = next.get();
        }
        Some(oldest)
    }

    /// A seat that no other thread has.
    fn take_seat(&self) -> &'static Seat {
        let mut link = &self.first;
        loop {
            let mut is_new = false;
            let seat: &'static Seat = link.get_or_init(|| {
                is_new = true;
                Box::leak(Box::new(Seat::taken()))
            });
            if is_new || !seat.cell.taken.swap(true, Ordering::AcqRel) {
                return seat;
            }
            link = &seat.next;
        }
    }
}

impl fmt::Debug for Epochs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Epochs").finish_non_exhaustive()
    }
}

impl Seat {
    fn taken() -> Seat {
        let cell = Cell { pinned: AtomicU64::new(0), taken: AtomicBool::new(true) };
        Seat { cell: CachePadded::new(cell), next: OnceLock::new() }
    }

    #[inline]
    fn pin(&self, epochs: &Epochs) {
        // Release, as in `unpin`: who looks may see this pin and not that the one before has ended, and what was read
        // under that one was read before, too.
        self.cell.pinned.store(epochs.now.load(Ordering::Acquire), Ordering::Release);
        fence::light();
    }

    #[inline]
    fn unpin(&self) {
        self.cell.pinned.store(0, Ordering::Release);
    }

    /// Gives the seat to whoever asks next.
    fn give_back(&self) {
        self.cell.taken.store(false, Ordering::Release);
    }
}

/// While it lives, nothing that its thread can reach in a table is freed.
///
/// Keeps memory from being used again for as long as it lives, in every table of the process.
#[derive(Debug)]
pub(crate) struct Pin {
    /// Only the thread that is pinned can take it back.
    _not_send: PhantomData<*const ()>,
    #[cfg(any(loom, shuttle))]
    seat: &'static Seat,
}

#[cfg(not(any(loom, shuttle)))]
mod of_process {
    use std::cell::Cell;
    use std::marker::PhantomData;

    use super::{Epochs, Pin, Seat};

    static EPOCHS: Epochs = Epochs::new();

    /// What a thread knows of itself. Without a destructor, so that reaching it costs no check.
    struct Local {
        seat: Cell<Option<&'static Seat>>,
        /// How many pins the thread holds: those inside of others cost nothing.
        pins: Cell<usize>,
    }

    thread_local! {
        static LOCAL: Local = const { Local { seat: Cell::new(None), pins: Cell::new(0) } };
        static AT_EXIT: AtExit = const { AtExit };
    }

    /// Gives the thread's seat back when the thread ends.
    struct AtExit;

    impl Drop for AtExit {
        fn drop(&mut self) {
            LOCAL.with(|local| {
                if let Some(seat) = local.seat.take() {
                    seat.give_back();
                }
            });
        }
    }

    impl Epochs {
        /// Those of the process, which all tables share.
        pub(crate) fn shared() -> &'static Epochs {
            &EPOCHS
        }

        /// Pins the calling thread.
        #[inline]
        pub(crate) fn pin(&'static self) -> Pin {
            LOCAL.with(|local| {
                let pins = local.pins.get();
                if pins == 0 {
                    local.seat.get().unwrap_or_else(|| first_pin(local)).pin(self);
                }
                local.pins.set(pins + 1);
            });
            Pin { _not_send: PhantomData }
        }
    }

    impl Drop for Pin {
        #[inline]
        fn drop(&mut self) {
            LOCAL.with(|local| {
                let pins = local.pins.get() - 1;
                local.pins.set(pins);
                if pins == 0
                    && let Some(seat) = local.seat.get()
                {
                    seat.unpin();
                }
            });
        }
    }

    #[cold]
    fn first_pin(local: &Local) -> &'static Seat {
        let seat = EPOCHS.take_seat();
        local.seat.set(Some(seat));
        // A thread that reads while it ends keeps its seat for good, which costs a cache line and nothing else.
        let _ = AT_EXIT.try_with(|_| ());
        seat
    }
}

/// In a model the threads are not the system's: every pin looks for a seat of its own.
#[cfg(any(loom, shuttle))]
mod of_model {
    use std::marker::PhantomData;

    use super::{Epochs, Pin};

    impl Epochs {
        pub(crate) fn shared() -> &'static Epochs {
            Box::leak(Box::new(Epochs::new()))
        }

        pub(crate) fn pin(&'static self) -> Pin {
            let seat = self.take_seat();
            seat.pin(self);
            Pin { _not_send: PhantomData, seat }
        }
    }

    impl Drop for Pin {
        fn drop(&mut self) {
            self.seat.unpin();
            self.seat.give_back();
        }
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use std::sync::mpsc;
    use std::thread;

    use super::*;

    #[test]
    fn a_pinned_thread_holds_its_epoch_back_until_the_outermost_pin_goes() {
        let epochs = Epochs::shared();
        let (pinned, is_pinned) = mpsc::channel();
        let (let_go, may_go) = mpsc::channel::<()>();
        let reader = thread::spawn(move || {
            let outer = epochs.pin();
            let inner = epochs.pin();
            pinned.send(()).unwrap();
            may_go.recv().unwrap();
            drop(inner);
            pinned.send(()).unwrap();
            may_go.recv().unwrap();
            drop(outer);
        });
        is_pinned.recv().unwrap();
        let retired = epochs.advance();
        assert!(epochs.oldest_pinned().unwrap() <= retired);
        let_go.send(()).unwrap();
        is_pinned.recv().unwrap();
        assert!(epochs.oldest_pinned().unwrap() <= retired);
        let_go.send(()).unwrap();
        reader.join().unwrap();
        // Other tests may be pinned, but in a later epoch sooner or later.
        while epochs.oldest_pinned().unwrap() <= retired {
            thread::yield_now();
        }
    }

    #[test]
    fn places_of_threads_that_ended_are_used_again() {
        let epochs = Epochs::shared();
        let count = || std::iter::successors(epochs.first.get(), |seat| seat.next.get()).count();
        for _ in 0..1000 {
            thread::spawn(move || drop(epochs.pin())).join().unwrap();
        }
        assert!(count() < 500, "{} seats for one thread at a time", count());
    }
}
