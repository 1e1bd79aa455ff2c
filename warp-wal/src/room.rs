//! Where callers wait for room.

use crate::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::sync::{Condvar, Mutex};

/// How long a waiter sleeps at most before it looks again whether it can do the work itself.
const WAIT_MAX: Duration = Duration::from_millis(1);
/// Where those wait who cannot help themselves at this moment.
#[derive(Debug, Default)]
pub(crate) struct Room {
    waiters: AtomicUsize,
    lock: Mutex<()>,
    changed: Condvar,
}

impl Room {
    /// Waits for a change, but not for long: whoever waits may be the only one who can make it.
    pub(crate) fn wait(&self) {
        self.waiters.fetch_add(1, Ordering::SeqCst);
        let mut guard = self.lock.lock();
        self.changed.wait_for(&mut guard, WAIT_MAX);
        drop(guard);
        self.waiters.fetch_sub(1, Ordering::SeqCst);
    }

    pub(crate) fn notify(&self) {
        if self.waiters.load(Ordering::SeqCst) > 0 {
            self.changed.notify_all();
        }
    }
}
