//! What watches have in common: how they wait for the log to become durable, and how far each has come.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering, fence};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

/// The watches of an engine.
#[derive(Debug, Default)]
pub(crate) struct Watches {
    /// Watches that wait at this moment.
    waiting: AtomicUsize,
    lock: Mutex<()>,
    moved: Condvar,
    places: Mutex<Places>,
}

/// How far each watch has come, by a number of its own.
#[derive(Debug, Default)]
struct Places {
    next: u64,
    seqs: BTreeMap<u64, Arc<AtomicU64>>,
}

/// How far one watch has come; known to the metrics as long as it lives.
#[derive(Debug)]
pub(crate) struct Progress {
    id: u64,
    seq: Arc<AtomicU64>,
}

impl Progress {
    /// Everything up to `seq` was handed out.
    pub(crate) fn set(&self, seq: u64) {
        self.seq.store(seq, Ordering::Relaxed);
    }
}

impl Watches {
    /// Waits until the log may have become durable further than it was, for `timeout` at most; not at all if `is_over`.
    pub(crate) fn wait(&self, timeout: Option<Duration>, is_over: impl FnOnce() -> bool) {
        self.waiting.fetch_add(1, Ordering::SeqCst);
        // Pairs with the fence in `wake`: either that sees this watch waiting, or `is_over` sees what it speaks of.
        fence(Ordering::SeqCst);
        let mut guard = self.lock.lock();
        if !is_over() {
            match timeout {
                Some(timeout) => drop(self.moved.wait_for(&mut guard, timeout)),
                None => self.moved.wait(&mut guard),
            }
        }
        drop(guard);
        self.waiting.fetch_sub(1, Ordering::SeqCst);
    }

    /// Lets those who wait look again. Costs a fence and a load if there are none: a writer calls it.
    pub(crate) fn wake(&self) {
        fence(Ordering::SeqCst);
        if self.waiting.load(Ordering::SeqCst) == 0 {
            return;
        }
        // Taking the lock once makes sure that nobody is between looking and waiting.
        drop(self.lock.lock());
        self.moved.notify_all();
    }

    /// Whether anybody waits, and wants what is written to become durable.
    pub(crate) fn are_waiting(&self) -> bool {
        self.waiting.load(Ordering::SeqCst) > 0
    }

    /// Adds a watch to which everything up to `seq` is known.
    pub(crate) fn add(&self, seq: u64) -> Progress {
        let seq = Arc::new(AtomicU64::new(seq));
        let mut places = self.places.lock();
        let id = places.next;
        places.next += 1;
        places.seqs.insert(id, Arc::clone(&seq));
        Progress { id, seq }
    }

    pub(crate) fn remove(&self, progress: &Progress) {
        self.places.lock().seqs.remove(&progress.id);
    }

    /// How many watches there are, and the lowest sequence up to which one of them has handed out everything.
    pub(crate) fn slowest(&self) -> (usize, Option<u64>) {
        let places = self.places.lock();
        let seqs = places.seqs.values().map(|seq| seq.load(Ordering::Relaxed));
        (places.seqs.len(), seqs.min())
    }
}
