//! What is due now by the clock. There is no thread in this crate: one calls [`Log::tick`] in a loop.

use crate::sync::atomic::Ordering;
use std::time::Duration;

use crate::admission::Charge;
use crate::error::{Error, Result};
use crate::format::usable_blocks;
use crate::frame::FrameKind;
use crate::log::Log;
use crate::report::Tick;
use crate::writer::Writer;

/// Segments that should be ready behind the active one: the reserve and one to go on in.
const READY_MIN: usize = 2;
/// Segments that are prepared ahead at most, however small they are.
const READY_MAX: usize = 8;
/// How long the preparing of a segment pauses after a step, in times of that step, while there is room: writing one through
/// without pauses takes a processor and the disk for a tenth of a second, which those who read and write would feel.
const PREPARING_PAUSE: f64 = 4.0;
/// A step that took longer, on a disk that hangs, counts as so long.
const STEP_COUNTED_MAX: Duration = Duration::from_secs(1);

impl Log {
    /// Does whatever is due by the clock: hands bytes to the system before they are older than
    /// `write_interval`, syncs before bytes that somebody [wants synced](Log::want_sync) are older than
    /// `flush_interval`, writes the watermark when
    /// nothing follows a sync, and goes on with preparing segments, by one bounded step.
    ///
    /// To be called again once [`Tick::next`] has passed, and every `write_interval` while there is traffic;
    /// [`Log::wait_for_work`] sleeps just so long.
    ///
    /// ```no_run
    /// # fn main() -> warp_wal::Result<()> {
    /// # let log = warp_wal::Log::open("log", warp_wal::LogOptions::default())?;
    /// loop {
    ///     let tick = log.tick()?; // poisoned or closed: the thread ends
    ///     log.wait_for_work(tick.next);
    /// }
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::Io`] if a write or a sync fails, which poisons the log; [`Error::Poisoned`]; [`Error::Closed`]. A
    /// full disk is no error here, nor are too many open files: it is tried again.
    pub fn tick(&self) -> Result<Tick> {
        self.check_open()?;
        let now = self.clock.monotonic();
        let mut next = self.write_due(now)?;
        next = next.min(self.sync_due(now)?);
        next = next.min(self.watermark_due(now)?);
        next = next.min(self.preparation_due(now)?);
        Ok(Tick { next })
    }

    /// Sleeps until there is something to do for [`Log::tick`], or for `timeout`.
    ///
    /// While there is traffic it sleeps for `write_interval` at most, and appends do not wake it: they cost no
    /// system call. After an interval without any it sleeps for as long as it was told, and the first
    /// append wakes it.
    pub fn wait_for_work(&self, timeout: Duration) {
        let last_seq = self.last_seq();
        let traffic = self.seen_seq.swap(last_seq, Ordering::Relaxed) != last_seq;
        let timeout = if traffic { timeout.min(self.options.write_interval) } else { timeout };
        self.parking.wait(timeout, !traffic, || self.last_seq() != last_seq || self.is_poisoned());
    }

    /// Wakes [`Log::wait_for_work`], or keeps it from sleeping the next time.
    pub fn unpark(&self) {
        self.parking.wake();
    }

    /// Hands ready records to the system if they may be as old as they are allowed to be.
    fn write_due(&self, now: Duration) -> Result<Duration> {
        // Taken back before the ring is read: what fills it from here on asks again.
        let wanted = self.drain_wanted.swap(false, Ordering::Relaxed);
        let mut writer = self.writer.lock();
        if self.ring.next_seq() == writer.consumer.seq() + 1 {
            return Ok(Duration::MAX);
        }
        let due = writer.drained_at.saturating_add(self.options.write_interval);
        if now < due && !wanted {
            return Ok(due - now);
        }
        self.drain(&mut writer)?;
        let left = self.ring.next_seq() != writer.consumer.seq() + 1;
        Ok(if left { self.options.write_interval } else { Duration::MAX })
    }

    /// Syncs if written frames may be as old as they are allowed to be, or fill several segments.
    fn sync_due(&self, now: Duration) -> Result<Duration> {
        let (since, segments) = {
            let writer = self.writer.lock();
            (writer.unsynced_since, writer.unsynced.len())
        };
        let Some(since) = since else { return Ok(Duration::MAX) };
        if !self.sync_wanted.load(Ordering::Relaxed) && segments == 0 {
            return Ok(Duration::MAX);
        }
        let due = since.saturating_add(self.flush_pause());
        if now < due && segments == 0 {
            return Ok(due - now);
        }
        // Taken back before the sync begins: a wish that comes meanwhile is for the next one. Acquire pairs with
        // the Release in `want_sync`: what was committed before the wish is in the sync.
        self.sync_wanted.swap(false, Ordering::Acquire);
        self.sync_to(self.last_seq())?;
        Ok(Duration::MAX)
    }

    /// Writes the watermark if nothing has followed the last sync for long enough.
    fn watermark_due(&self, now: Duration) -> Result<Duration> {
        let synced_at = self.commit.synced_at();
        let mut writer = self.writer.lock();
        let unwritten = self.ring.next_seq() != writer.consumer.seq() + 1;
        if unwritten || self.durable.load(Ordering::Acquire) <= writer.watermark {
            return Ok(Duration::MAX);
        }
        let due = synced_at.saturating_add(self.flush_pause());
        if now < due {
            return Ok(due - now);
        }
        self.write_watermark(&mut writer)?;
        Ok(Duration::MAX)
    }

    /// Writes a frame that holds nothing but the watermark, if there is space for it.
    fn write_watermark(&self, writer: &mut Writer) -> Result<()> {
        let charge = Charge { words: 0, blocks: 1 };
        if self.admission.take(charge, 0).is_err() {
            return Ok(());
        }
        if self.ring.next_seq() != writer.consumer.seq() + 1 {
            // Its segment may have been made for just the group that was reserved meanwhile, which then opened the gate.
            self.admission.give(charge);
            return Ok(());
        }
        if writer.payload_room(self.options.format).is_none() {
            self.next_segment(writer)?;
        }
        self.write_bare_frame(writer, FrameKind::Mark, &[])?;
        self.counters.watermark_frames.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Goes on with preparing segments, by one step.
    fn preparation_due(&self, now: Duration) -> Result<Duration> {
        // Whoever holds the lock is preparing.
        let Some(mut preparer) = self.preparer.try_lock() else { return Ok(self.options.write_interval) };
        let ready = self.ready.lock().len();
        let next_blocks = usable_blocks(preparer.next_bytes, self.group_blocks_max());
        // Less than half a segment is little room.
        let little = next_blocks / 2;
        let above_little = self.admission.free_blocks().saturating_sub(self.kept_blocks() + little);
        let short = above_little == 0;
        let wanted = preparer.in_progress() || ready < READY_MIN || (short && ready < READY_MAX);
        if !wanted {
            return Ok(Duration::MAX);
        }
        let share = if ready == 0 { 0.0 } else { above_little as f64 / little.max(1) as f64 };
        let due = preparer.stepped.saturating_add(pause(preparer.step_took, share));
        if now < due {
            return Ok(due - now);
        }
        let begun = self.clock.monotonic();
        match self.prepare_step(&mut preparer, false) {
            Ok(()) => {
                preparer.stepped = self.clock.monotonic();
                preparer.step_took = preparer.stepped.saturating_sub(begun);
                Ok(pause(preparer.step_took, share))
            }
            // There is no space, or too many files are open: it is tried again.
            Err(Error::Full | Error::Io { .. }) if !self.is_poisoned() => {
                Ok(preparer.retry_at.map_or(Duration::MAX, |at| at.saturating_sub(now)))
            }
            Err(error) => Err(error),
        }
    }

    /// How long after a write its sync is due: records may have waited for `write_interval` before it.
    fn flush_pause(&self) -> Duration {
        self.options.flush_interval.saturating_sub(self.options.write_interval)
    }
}

/// The pause after a step of preparing that took so long, while there is that share of half a segment more than the half which is
/// little room: the less room, the shorter.
fn pause(step: Duration, share: f64) -> Duration {
    step.min(STEP_COUNTED_MAX).mul_f64(PREPARING_PAUSE * share.min(1.0))
}

#[cfg(all(test, not(shuttle)))]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicU64;

    use super::*;
    use crate::deliver::Apply;
    use crate::entry::Entry;
    use crate::options::{LogOptions, Recovery, Start};

    /// A clock that goes on by a millisecond with each look at it.
    #[derive(Debug, Default)]
    struct Walking(AtomicU64);

    impl warp_io::Clock for Walking {
        fn unix_millis(&self) -> u64 {
            0
        }

        fn monotonic(&self) -> Duration {
            Duration::from_millis(self.0.fetch_add(1, Ordering::Relaxed))
        }
    }

    #[test]
    fn pauses_get_shorter_as_room_gets_less() {
        let step = Duration::from_millis(2);
        assert_eq!(pause(step, 0.0), Duration::ZERO);
        assert_eq!(pause(step, 0.5), 2 * step);
        assert_eq!((pause(step, 1.0), pause(step, 17.5)), (4 * step, 4 * step));
        assert_eq!(pause(Duration::MAX, 1.0), Duration::from_secs(4));
    }

    #[test]
    fn a_segment_that_nobody_is_in_need_of_is_made_with_pauses() {
        let disk = warp_io::SimDisk::new(1);
        let options =
            LogOptions { segment_bytes: 4 << 20, compress_values_from: None, ..LogOptions::default() };
        let clock = Arc::new(Walking::default());
        let apply = Apply::InOrder(&mut |_, _| ());
        let (log, _) = Log::open_in(
            &disk.root(),
            clock,
            options,
            Recovery::default(),
            Start::default(),
            apply,
            &mut |_, _| (),
        )
        .unwrap();
        let are_ready = || log.ready.lock().len() >= READY_MIN && !log.preparer.lock().in_progress();
        while !are_ready() {
            log.tick().unwrap();
        }
        // Into the next segment.
        let value = vec![7; 64 << 10];
        while are_ready() {
            log.append(&[Entry::put(b"key", &value)]).unwrap();
            log.sync().unwrap();
        }
        let first = log.tick().unwrap().next;
        let second = log.tick().unwrap().next;
        assert!(second > Duration::ZERO && second < first, "{first:?} after a step, {second:?} without one");
        while !are_ready() {
            log.tick().unwrap();
        }
    }
}
