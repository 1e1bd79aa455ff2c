//! How an idle log thread sleeps long, and is woken by the first append.

use crate::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::sync::{Condvar, Mutex};

/// Where the log thread sleeps.
#[derive(Debug, Default)]
pub(crate) struct Parking {
    /// Set while the thread wants to be woken by an append.
    parked: AtomicBool,
    /// Set by whoever woke the thread.
    woken: Mutex<bool>,
    changed: Condvar,
}

impl Parking {
    /// Sleeps for `timeout`, or until [`Parking::wake`]; if `park` is set, an append wakes it, too, and it does
    /// not sleep at all if `has_work` finds some.
    pub(crate) fn wait(&self, timeout: Duration, park: bool, has_work: impl Fn() -> bool) {
        let mut woken = self.woken.lock();
        if park {
            // SeqCst, here and in `wake_if_parked`: a producer adds to the ring's tail and then reads `parked`,
            // the thread sets `parked` and then reads the tail. One of the two sees the other.
            self.parked.store(true, Ordering::SeqCst);
        }
        let stay = *woken || (park && has_work());
        if !stay {
            self.changed.wait_for(&mut woken, timeout);
        }
        self.parked.store(false, Ordering::SeqCst);
        *woken = false;
    }

    /// Wakes the thread if it wants to be woken by an append.
    pub(crate) fn wake_if_parked(&self) {
        if self.parked.load(Ordering::SeqCst) && self.parked.swap(false, Ordering::SeqCst) {
            self.wake();
        }
    }

    /// Wakes the thread, or keeps it from its next sleep.
    pub(crate) fn wake(&self) {
        *self.woken.lock() = true;
        self.changed.notify_all();
    }
}
