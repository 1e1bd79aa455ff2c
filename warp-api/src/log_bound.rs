//! How far the log may get ahead of the checkpoints, so that what an open has to replay is bounded.
//!
//! A checkpoint is due when the log has grown by the bytes that call for one. Mostly it is done long before as many more were
//! logged. Where writers log faster than that, what they may log grows with the progress of the checkpoint, and they wait for it in
//! small pieces instead of all at once at its end: as the debt limits of RocksDB's
//! [write stalls](https://github.com/facebook/rocksdb/wiki/Write-Stalls) do for its compactions.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::counters::Counter;
use crate::error::{Error, ErrorKind, Result};
use crate::shared::Shared;

/// The log's tail, which an open replays, is kept below so many times the bytes that call for a checkpoint...
const TAIL_MAX: u64 = 4;
/// ...and no layers are merged that can wait, once it is so many times as long.
const TAIL_PRESSED: u64 = 2;
/// What writers may log during a checkpoint, at the least: nobody is held up for less.
const ROOM_MIN_BYTES: u64 = 4 << 20;
/// The part of the room that there is before the checkpoint has made any progress: its first steps take a while.
const ROOM_AT_ONCE: f64 = 0.125;
/// A checkpoint writes its bytes, and reads them back.
const PASSES: f64 = 2.0;
/// How long a writer waits before it looks again...
const WAIT: Duration = Duration::from_millis(1);
/// ...and how often it does before it goes on in any case: whatever keeps a checkpoint from going on, writers are slow, and not stuck.
const WAITS_MAX: u32 = 100;
/// The bound where there is none.
const UNBOUNDED: u64 = u64::MAX;

/// Up to where writers may log, counted in the bytes that the log has taken in since the open.
#[derive(Debug)]
pub(crate) struct LogBound {
    /// The bytes that call for a checkpoint.
    call: u64,
    /// Whether somebody takes checkpoints whom writers can wait for.
    has_worker: bool,
    until: AtomicU64,
    /// How often writers were held up, and for how long.
    pub(crate) waits: Counter,
    pub(crate) waited_nanos: Counter,
}

/// What writers may log while a checkpoint is being taken.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ahead {
    /// Where the log was when it began.
    from: u64,
    /// So many bytes in all.
    room: u64,
}

impl LogBound {
    /// A checkpoint is called for by `call` bytes, which is the most there is if nothing is bounded; the open has replayed `replayed`.
    pub(crate) fn new(call: u64, has_worker: bool, replayed: u64) -> LogBound {
        let bound = LogBound {
            call,
            has_worker,
            until: AtomicU64::new(UNBOUNDED),
            waits: Counter::default(),
            waited_nanos: Counter::default(),
        };
        bound.allow(Ahead::of(call, 0, replayed).room);
        bound
    }

    /// A checkpoint begins, when the log is at `from` and its tail has `tail` bytes.
    pub(crate) fn begin(&self, from: u64, tail: u64) -> Ahead {
        Ahead::of(self.call, from, tail)
    }

    /// That checkpoint has written and read back `done` bytes, and is to write about `total`.
    pub(crate) fn go_on(&self, ahead: &Ahead, done: u64, total: u64) {
        self.allow(ahead.until(done, total));
    }

    /// A checkpoint was published that began when the log was at `from`.
    pub(crate) fn published(&self, from: u64) {
        self.allow(from.saturating_add(Ahead::of(self.call, from, 0).room));
    }

    /// Holds nobody up until the next checkpoint begins.
    pub(crate) fn lift(&self) {
        self.allow(UNBOUNDED);
    }

    fn allow(&self, until: u64) {
        if self.has_worker {
            self.until.store(until, Ordering::Relaxed);
        }
    }

    /// Whether the tail is so long that a checkpoint should not be longer than it must.
    pub(crate) fn is_pressed(&self, tail: u64) -> bool {
        tail >= self.call.saturating_mul(TAIL_PRESSED)
    }

    fn has_room(&self, logged: u64) -> bool {
        logged < self.until.load(Ordering::Relaxed)
    }
}

impl Ahead {
    fn of(call: u64, from: u64, tail: u64) -> Ahead {
        let rest = call.saturating_mul(TAIL_MAX).saturating_sub(tail);
        // What comes now is the tail when the next one begins, which will need room as well. A tail that is too long already, as after
        // a checkpoint that failed, does not stop writers.
        let room = rest.clamp(call, call.saturating_mul(TAIL_MAX - 1));
        Ahead { from, room: room.max(ROOM_MIN_BYTES) }
    }

    fn until(&self, done: u64, total: u64) -> u64 {
        if self.room == UNBOUNDED {
            return UNBOUNDED;
        }
        #[expect(clippy::cast_precision_loss, reason = "a bound need not be exact to the byte")]
        let progress = done as f64 / (total.max(1) as f64 * PASSES);
        let part = ROOM_AT_ONCE + (1.0 - ROOM_AT_ONCE) * progress.min(1.0);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "a part of the room, and that is all that is needed"
        )]
        let now = (self.room as f64 * part) as u64;
        self.from.saturating_add(now.max(ROOM_MIN_BYTES))
    }
}

impl Shared {
    /// Returns once the log is not too far ahead of the checkpoints, or after a tenth of a second. For a writer that holds no lock.
    ///
    /// # Errors
    /// `Busy` if it is, and the caller does not want to wait; those of a write to an engine that takes none any more.
    #[inline]
    pub(crate) fn wait_for_checkpoint(&self, no_wait: bool) -> Result<()> {
        if self.is_log_too_far_ahead() { self.wait_for_room_in_log(no_wait) } else { Ok(()) }
    }

    /// Whether writers wait for a checkpoint now.
    pub(crate) fn is_log_too_far_ahead(&self) -> bool {
        self.journal.log().is_some_and(|log| !self.log_bound.has_room(log.taken_bytes()))
    }

    #[cold]
    fn wait_for_room_in_log(&self, no_wait: bool) -> Result<()> {
        self.wake_worker();
        if no_wait {
            let why = "the log is as far ahead of the checkpoints as it may be";
            return Err(Error::new(ErrorKind::Busy, why));
        }
        self.log_bound.waits.add(1);
        for _ in 0..WAITS_MAX {
            std::thread::sleep(WAIT);
            self.log_bound.waited_nanos.add(u64::try_from(WAIT.as_nanos()).unwrap_or(u64::MAX));
            self.check_writable()?;
            if !self.is_log_too_far_ahead() {
                break;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn what_may_be_logged_grows_with_the_progress_of_a_checkpoint() {
        let bound = LogBound::new(64 * MIB, true, 0);
        assert!(bound.has_room(192 * MIB - 1) && !bound.has_room(192 * MIB));
        // Of four times as much 100 are logged.
        let ahead = bound.begin(1_000 * MIB, 100 * MIB);
        let until = |done| ahead.until(done, 50 * MIB) - 1_000 * MIB;
        assert_eq!((until(0), until(100 * MIB), until(900 * MIB)), (156 * MIB / 8, 156 * MIB, 156 * MIB));
        assert!((1..100).all(|done| until(done * MIB) > until((done - 1) * MIB)));
        bound.go_on(&ahead, 0, 50 * MIB);
        assert!(bound.has_room(1_019 * MIB) && !bound.has_room(1_020 * MIB));
        bound.published(1_000 * MIB);
        assert!(bound.has_room(1_192 * MIB - 1) && !bound.has_room(1_192 * MIB));
        bound.lift();
        assert!(bound.has_room(u64::MAX - 1));
    }

    #[test]
    fn a_tail_that_is_too_long_already_leaves_room_for_one_more_call() {
        assert_eq!(Ahead::of(64 * MIB, 0, 1_000 * MIB).room, 64 * MIB);
        assert_eq!(Ahead::of(1, 0, 1_000 * MIB).until(0, 1), ROOM_MIN_BYTES);
        // An open that has replayed as much begins with as little.
        assert!(!LogBound::new(64 * MIB, true, 1_000 * MIB).has_room(64 * MIB));
    }

    #[test]
    fn without_a_bound_there_is_always_room() {
        let bound = LogBound::new(u64::MAX, true, 7);
        let ahead = bound.begin(1 << 40, 1 << 50);
        bound.go_on(&ahead, 0, 1);
        assert!(bound.has_room(1 << 62) && !bound.is_pressed(1 << 62));
        bound.published(1 << 40);
        assert!(bound.has_room(1 << 62));
        let stepped = LogBound::new(MIB, false, 0);
        stepped.published(0);
        assert!(stepped.has_room(1 << 62) && stepped.is_pressed(2 * MIB));
    }
}
