//! How fast a checkpoint works: no slower than it must, and otherwise in small steps with pauses, so that it does not
//! show in the latencies of reads and writes.
//!
//! With `B` bytes to be written, and `T` the time until the next checkpoint is due, the rate is `B / (T / 2)`, and at
//! least [`RATE_MIN_BYTES`] a second: it is done after half of that time. `T` is the interval between two, or the time in
//! which the log grows by the bytes that call for one, at the rate at which it grew since the last or grows now,
//! whichever is shorter. The laws of the cold level multiply it by their pace. A checkpoint that somebody waits for has no
//! rate, nor has one that a writer had to wait for (`log_bound.rs`); one on demand pauses only while others use the
//! engine, for as long as it worked, divided by that pace.
//!
//! A checkpoint may take minutes, and the worker's other duties do not wait for it: they are done between two steps.

use std::time::Duration;

use warp_io::Clock;
use warp_wal::Log;

use crate::environment::Background;
use crate::error::{Error, ErrorKind};
use crate::log_bound::Ahead;
use crate::reason::CheckpointReason;
use crate::shared::Shared;
use crate::types::Level;

/// Work between two looks at the clock, in bytes of the layer: a fraction of a millisecond.
const STEP_BYTES: u64 = 16 << 10;
/// The lowest rate. With less, a checkpoint would take longer than there is any use in.
const RATE_MIN_BYTES: u64 = 16 << 20;
/// The part of the time until the next one is due in which a checkpoint is to be done.
const TIME_SHARE: f64 = 0.5;
/// The shortest pause: what is shorter costs more than it gives.
const PAUSE_MIN: Duration = Duration::from_millis(1);
/// The longest pause, after which it looks again whether it is pressed.
const PAUSE_MAX: Duration = Duration::from_millis(10);
/// The part of a checkpoint's time that writing the entries takes, before index, filter, and reading back.
const WRITING_PART: f64 = 0.75;
/// How often the rate is computed anew.
const RATE_INTERVAL: Duration = Duration::from_millis(100);

/// Why a checkpoint does not go on.
#[derive(Debug)]
pub(crate) enum Stop {
    /// The engine is being closed, and the work can be left undone.
    BrokenOff,
    Failed(Error),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Stop {
        Stop::Failed(error)
    }
}

/// Paces one checkpoint.
#[derive(Debug)]
pub(crate) struct Pace<'a> {
    shared: &'a Shared,
    reason: CheckpointReason,
    /// Whether the work can be left undone when the engine is closed.
    may_break_off: bool,
    /// Bytes that are to be written, about.
    total: u64,
    done: u64,
    /// Bytes at the last look at the clock.
    looked: u64,
    started: Duration,
    /// When the last pause ended.
    resumed: Duration,
    rate: f64,
    rated: Duration,
    /// The log's count of bytes at the start, and its growth a second until then.
    log_bytes: u64,
    log_rate: f64,
    /// What others had done when the last pause ended.
    activity: u64,
    /// Entries that are to be read, of the table and of layers, and that were.
    entries_total: u64,
    entries_read: u64,
    /// `done` when all entries were written, and what is left is to be read back.
    written: Option<u64>,
    /// How far writers may go meanwhile, and how often some had had to wait when this began.
    ahead: Ahead,
    waits: u64,
}

impl<'a> Pace<'a> {
    /// Begins to pace a checkpoint that follows another `since` ago, after which the log has grown by `logged` bytes.
    pub(crate) fn new(
        shared: &'a Shared,
        reason: CheckpointReason,
        may_break_off: bool,
        since: Duration,
        logged: u64,
        ahead: Ahead,
    ) -> Pace<'a> {
        let now = shared.time.monotonic();
        let log_bytes = shared.journal.log().map_or(0, Log::taken_bytes);
        shared.log_bound.go_on(&ahead, 0.0);
        Pace {
            shared,
            reason,
            may_break_off,
            total: 0,
            done: 0,
            looked: 0,
            started: now,
            resumed: now,
            rate: f64::INFINITY,
            rated: Duration::ZERO,
            log_bytes,
            log_rate: per_second(logged, since),
            activity: shared.activity(),
            entries_total: 0,
            entries_read: 0,
            written: None,
            ahead,
            waits: shared.log_bound.waits(),
        }
    }

    /// Says how many bytes are to be written, about, and how many entries to be read for it.
    pub(crate) fn expect(&mut self, bytes: u64, entries: u64) {
        (self.total, self.entries_total) = (bytes, entries);
    }

    /// Takes note of entries that were read, written again or not.
    pub(crate) fn has_read(&mut self, entries: u64) {
        self.entries_read += entries;
        self.let_writers_go_on();
    }

    /// All entries are written: what comes is the index, and reading back.
    pub(crate) fn finishing(&mut self) {
        self.written = Some(self.done);
    }

    /// Lets writers log as much as the progress allows.
    fn let_writers_go_on(&self) {
        #[expect(clippy::cast_precision_loss, reason = "a part need not be exact to the byte")]
        let part = |done: u64, total: u64| (done as f64 / total.max(1) as f64).min(1.0);
        let progress = match self.written {
            None => WRITING_PART * part(self.entries_read, self.entries_total),
            Some(written) => WRITING_PART + (1.0 - WRITING_PART) * part(self.done - written, written),
        };
        self.shared.log_bound.go_on(&self.ahead, progress);
    }

    /// Takes note of work that was worth writing so many bytes, and pauses if it is time.
    pub(crate) fn step(&mut self, bytes: u64) -> Result<(), Stop> {
        self.done += bytes;
        if self.done - self.looked < STEP_BYTES {
            return Ok(());
        }
        self.looked = self.done;
        self.look()
    }

    /// Pauses if it is time, or breaks off.
    pub(crate) fn look(&mut self) -> Result<(), Stop> {
        let shared = self.shared;
        if shared.is_ending() {
            return if self.may_break_off { Err(Stop::BrokenOff) } else { Ok(()) };
        }
        shared.check_writable()?;
        self.let_writers_go_on();
        if self.has_threads() {
            shared.tend_beside_checkpoint();
        }
        let is_waited_for =
            self.reason.is_urgent() || shared.requests.is_urgent() || self.waits != shared.log_bound.waits();
        if is_waited_for || !self.has_threads() {
            return Ok(());
        }
        let pause = self.pause(shared.time.monotonic());
        if pause >= PAUSE_MIN {
            shared.read_ahead_for(pause.min(PAUSE_MAX));
            self.resumed = shared.time.monotonic();
            self.activity = shared.activity();
        }
        Ok(())
    }

    /// Only what runs in a thread of its own can wait without keeping somebody from working.
    fn has_threads(&self) -> bool {
        self.shared.background == Background::Threads
    }

    fn pause(&mut self, now: Duration) -> Duration {
        let by_law = self.shared.laws(Level::Cold).pace;
        if self.reason == CheckpointReason::Demand {
            return if self.shared.activity() != self.activity {
                times(now.saturating_sub(self.resumed), 1.0 / by_law)
            } else {
                Duration::ZERO
            };
        }
        if self.rated == Duration::ZERO || now.saturating_sub(self.rated) >= RATE_INTERVAL {
            self.rated = now;
            self.rate = self.rate_at(now);
        }
        #[expect(clippy::cast_precision_loss, reason = "a rate need not be exact to the byte")]
        let due =
            Duration::try_from_secs_f64(self.done as f64 / (self.rate * by_law)).unwrap_or(Duration::MAX);
        self.started.saturating_add(due).saturating_sub(now)
    }

    /// The rate, in bytes a second.
    fn rate_at(&self, now: Duration) -> f64 {
        let options = &self.shared.options;
        let logged = self.shared.journal.log().map_or(0, Log::taken_bytes);
        let now_rate = per_second(logged.saturating_sub(self.log_bytes), now.saturating_sub(self.started));
        rate(
            self.total.max(self.done),
            self.log_rate.max(now_rate),
            options.checkpoint_interval,
            options.checkpoint_log_bytes,
        )
    }
}

impl Shared {
    /// A number that changes when somebody uses the engine.
    fn activity(&self) -> u64 {
        self.journal.last_seq().wrapping_add(self.counters.reads.sums().0)
    }
}

#[expect(clippy::cast_precision_loss, reason = "a rate need not be exact to the byte")]
fn rate(bytes: u64, log_rate: f64, interval: Duration, log_bytes: u64) -> f64 {
    let until_full = if log_rate > 0.0 { log_bytes as f64 / log_rate } else { f64::INFINITY };
    let until_due = interval.as_secs_f64().min(until_full);
    (bytes as f64 / (until_due * TIME_SHARE)).max(RATE_MIN_BYTES as f64)
}

/// A multiple of a time, the longest there is if it is longer than that.
pub(crate) fn times(time: Duration, factor: f64) -> Duration {
    Duration::try_from_secs_f64(time.as_secs_f64() * factor).unwrap_or(Duration::MAX)
}

#[expect(clippy::cast_precision_loss, reason = "a rate need not be exact to the byte")]
fn per_second(bytes: u64, time: Duration) -> f64 {
    if time.is_zero() { 0.0 } else { bytes as f64 / time.as_secs_f64() }
}

/// The answer to a caller whose checkpoint was broken off.
pub(crate) fn broken_off() -> Error {
    Error::new(ErrorKind::Closed, "the engine was closed before the checkpoint was done")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_what_half_of_the_time_asks_for() {
        let (minutes, gib) = (Duration::from_secs(300), 1_u64 << 30);
        let close = |found: f64, expected: f64| assert!((found / expected - 1.0).abs() < 1e-9, "{found}");
        // Nothing is logged: five minutes for 30 GiB.
        close(rate(30 * gib, 0.0, minutes, gib), (30 * gib) as f64 / 150.0);
        // A log that is full after four seconds: two for 1 GiB.
        close(rate(gib, gib as f64 / 4.0, minutes, gib), gib as f64 / 2.0);
        // Little to do is done at the lowest rate.
        close(rate(1000, 0.0, minutes, gib), RATE_MIN_BYTES as f64);
        assert!(rate(gib, 0.0, minutes, u64::MAX).is_finite());
    }

    #[test]
    fn a_time_can_be_multiplied_by_anything() {
        let second = Duration::from_secs(1);
        assert_eq!(times(second, 1.0 / 0.25), 4 * second);
        assert_eq!(times(second, 1.0 / 0.0), Duration::MAX);
        assert_eq!(times(Duration::ZERO, 1.0 / 0.0), Duration::MAX, "0 times infinity is no number");
    }
}
