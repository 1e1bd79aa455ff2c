//! How far the log may get ahead of the checkpoints, so that what an open has to replay is bounded.
//!
//! A checkpoint is due when the log has grown by the bytes that call for one. Mostly it is done long before as many more were
//! logged. Where writers log faster than that, what they may log grows with the progress of the checkpoint, and they wait for it in
//! small pieces instead of all at once at its end: as the debt limits of RocksDB's
//! [write stalls](https://github.com/facebook/rocksdb/wiki/Write-Stalls) do for its compactions.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::error::{Error, ErrorKind, Result};
use crate::shared::Shared;

/// What writers may log during a checkpoint, at the least: nobody is held up for less.
const ROOM_MIN_BYTES: u64 = 4 << 20;
/// The part of the room that there is before the checkpoint has made any progress: its first steps take a while.
const ROOM_AT_ONCE: f64 = 0.125;
/// A writer that has waited goes on once there is room for so much: it would wait again at once for less.
const GO_ON_BYTES: u64 = ROOM_MIN_BYTES / 2;
/// How long a writer waits before it looks again...
const WAIT: Duration = Duration::from_millis(1);
/// ...and how often it does before it goes on in any case: whatever keeps a checkpoint from going on, writers are slow, and not
/// stuck.
const WAITS_MAX: u32 = 100;
/// The bound where there is none.
const UNBOUNDED: u64 = u64::MAX;

/// Up to where writers may log, counted in the bytes that the log has taken in since the open.
#[derive(Debug)]
pub(crate) struct LogBound {
    /// The bytes that call for a checkpoint.
    call: u64,
    /// The most that an open is to replay: the log's tail.
    most: u64,
    /// Whether somebody takes checkpoints whom writers can wait for.
    has_worker: bool,
    until: AtomicU64,
    /// How often writers were held up, and for how long at least.
    waits: AtomicU64,
    waited_nanos: AtomicU64,
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
    /// A checkpoint is called for by `call` bytes, and an open is to replay `most` at most; this one has replayed `replayed`.
    pub(crate) fn new(call: u64, most: u64, has_worker: bool, replayed: u64) -> LogBound {
        let bound = LogBound {
            call,
            most,
            has_worker,
            until: AtomicU64::new(UNBOUNDED),
            waits: AtomicU64::new(0),
            waited_nanos: AtomicU64::new(0),
        };
        bound.allow(bound.begin(0, replayed).room);
        bound
    }

    /// A checkpoint begins, when the log is at `from` and its tail has `tail` bytes.
    pub(crate) fn begin(&self, from: u64, tail: u64) -> Ahead {
        // What comes now is the tail when the next one begins, which will need room as well. A tail that is too long already, as after
        // a checkpoint that failed, does not stop writers.
        let room_max = self.most.saturating_sub(self.call).max(self.call);
        let room = self.most.saturating_sub(tail).clamp(self.call, room_max);
        Ahead { from, room: room.max(ROOM_MIN_BYTES) }
    }

    /// That checkpoint is done to this part, in `0.0..=1.0`.
    pub(crate) fn go_on(&self, ahead: &Ahead, progress: f64) {
        self.allow(ahead.until(progress));
    }

    /// A checkpoint was published that began when the log was at `began`, and whose replay begins at `from`. Writers
    /// come to where the next one is due in any case.
    pub(crate) fn published(&self, from: u64, began: u64) {
        let until = from.saturating_add(self.begin(from, 0).room);
        self.allow(until.max(began.saturating_add(self.call)));
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

    /// How often writers were held up.
    pub(crate) fn waits(&self) -> u64 {
        self.waits.load(Ordering::Relaxed)
    }

    /// For how long, at least, all together.
    pub(crate) fn waited_nanos(&self) -> u64 {
        self.waited_nanos.load(Ordering::Relaxed)
    }

    /// Whether writers may log on when the log is at `logged`.
    pub(crate) fn has_room(&self, logged: u64) -> bool {
        logged < self.until.load(Ordering::Relaxed)
    }
}

impl Ahead {
    fn until(&self, progress: f64) -> u64 {
        if self.room == UNBOUNDED {
            return UNBOUNDED;
        }
        let part = ROOM_AT_ONCE + (1.0 - ROOM_AT_ONCE) * progress;
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
        if self.has_room_in_log(0) { Ok(()) } else { self.wait_for_room_in_log(no_wait) }
    }

    /// Whether the log may take in so much, and more.
    fn has_room_in_log(&self, bytes: u64) -> bool {
        self.journal.log().is_none_or(|log| self.log_bound.has_room(log.taken_bytes() + bytes))
    }

    #[cold]
    fn wait_for_room_in_log(&self, no_wait: bool) -> Result<()> {
        self.wake_worker();
        if no_wait {
            let why = "the log is as far ahead of the checkpoints as it may be";
            return Err(Error::new(ErrorKind::Busy, why));
        }
        self.log_bound.waits.fetch_add(1, Ordering::Relaxed);
        for _ in 0..WAITS_MAX {
            std::thread::sleep(WAIT);
            let nanos = u64::try_from(WAIT.as_nanos()).unwrap_or(u64::MAX);
            self.log_bound.waited_nanos.fetch_add(nanos, Ordering::Relaxed);
            self.check_writable()?;
            if self.has_room_in_log(GO_ON_BYTES) {
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
        let bound = LogBound::new(64 * MIB, 256 * MIB, true, 0);
        assert!(bound.has_room(192 * MIB - 1) && !bound.has_room(192 * MIB));
        // Of 256 as much as 100 are logged.
        let ahead = bound.begin(1_000 * MIB, 100 * MIB);
        let until = |progress| ahead.until(progress) - 1_000 * MIB;
        assert_eq!((until(0.0), until(1.0)), (156 * MIB / 8, 156 * MIB));
        assert!((1..100).all(|done| until(f64::from(done) / 100.0) > until(f64::from(done - 1) / 100.0)));
        bound.go_on(&ahead, 0.0);
        assert!(bound.has_room(1_019 * MIB) && !bound.has_room(1_020 * MIB));
        bound.published(1_000 * MIB, 1_000 * MIB);
        assert!(bound.has_room(1_192 * MIB - 1) && !bound.has_room(1_192 * MIB));
        // What is left to the log takes some of the room, but never what calls for the next checkpoint.
        bound.published(1_000 * MIB, 1_064 * MIB);
        assert!(bound.has_room(1_192 * MIB - 1) && !bound.has_room(1_192 * MIB));
        bound.published(1_000 * MIB, 1_190 * MIB);
        assert!(bound.has_room(1_254 * MIB - 1) && !bound.has_room(1_254 * MIB));
        bound.lift();
        assert!(bound.has_room(u64::MAX - 1));
    }

    #[test]
    fn a_tail_that_is_too_long_already_leaves_room_for_one_more_call() {
        let bound = |call, most, replayed| LogBound::new(call, most, true, replayed);
        assert_eq!(bound(64 * MIB, 256 * MIB, 0).begin(0, 1_000 * MIB).room, 64 * MIB);
        assert_eq!(bound(1, 4, 0).begin(0, 1_000 * MIB).until(0.0), ROOM_MIN_BYTES);
        // A bound below twice the call is taken for that.
        assert_eq!(bound(64 * MIB, MIB, 0).begin(0, 64 * MIB).room, 64 * MIB);
        // An open that has replayed as much begins with as little.
        assert!(!bound(64 * MIB, 256 * MIB, 1_000 * MIB).has_room(64 * MIB));
    }

    #[test]
    fn without_a_bound_there_is_always_room() {
        for unbounded in [
            LogBound::new(u64::MAX, u64::MAX, true, 7),
            LogBound::new(MIB, u64::MAX, true, 7),
            LogBound::new(MIB, 2 * MIB, false, 7),
        ] {
            assert!(unbounded.has_room(1 << 62));
            let ahead = unbounded.begin(1 << 40, 1 << 50);
            unbounded.go_on(&ahead, 0.5);
            assert!(unbounded.has_room(1 << 61), "{unbounded:?}");
            unbounded.published(1 << 40, 1 << 41);
            assert!(unbounded.has_room(1 << 62));
        }
    }
}
