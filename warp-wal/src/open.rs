//! Opening a log: reading what there is, and starting a life of its own.
//!
//! In this order, so that a crash at any point leaves a log that the next open understands: what was read, and
//! may be in the system's memory only, is made durable; segments that nothing was written to are removed; a
//! new segment is prepared; its open frame is written and synced; only then is the log open.

use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use crate::sync::Mutex;
use warp_io::{Clock, Dir, write_all_at};

use crate::admission::Admission;
use crate::commit::Commit;
use crate::deliver::Apply;
use crate::error::{Corruption, Error, Result};
use crate::format::{BLOCK_BYTES, FIRST_SEGMENT_BYTES, GROUPS_PER_SEGMENT_MIN, align_block, usable_blocks};
use crate::frame::{FrameKind, Statement};
use crate::log::Log;
use crate::options::{
    BUFFER_BYTES_MAX, BUFFER_BYTES_MIN, LogOptions, Recovery, SEGMENT_BYTES_MAX, SEGMENT_BYTES_MIN, Start,
};
use crate::parking::Parking;
use crate::permit::RING_BYTES_MAX;
use crate::prepare::{Preparer, is_full, total};
use crate::reader::Segment;
use crate::recovery::{Found, walk};
use crate::report::ReplayReport;
use crate::ring::Ring;
use crate::room::Room;
use crate::spares::{self, Spares};
use crate::stats::Counters;
use crate::writer::{Active, Retired, Writer};

/// How much is made durable in one step.
const REWRITE_CHUNK_BYTES: u64 = 1 << 20;

/// A log that has come so far is not opened again: no sequence is ever too large to be counted on from. At a
/// billion groups a second that takes 500 years.
const SEQ_MAX: u64 = u64::MAX - (1 << 40);
/// No segment ever has a number beyond this: a million a second would take 290,000 years. A file that says so is none
/// of the log's, and what is counted on from it never overflows.
const NUMBER_MAX: u64 = u64::MAX / 2;

impl Log {
    /// Opens the log in `dir`, which nobody else may have open: reads what it holds, hands out every entry from
    /// `start.from` on as `apply` says, and starts a segment of its own.
    ///
    /// `progress` is told how many bytes of how many were read.
    ///
    /// # Errors
    /// [`Error::Invalid`] if an option is out of range; [`Error::Corrupt`] and [`Error::Unsupported`] if the log
    /// cannot be read as `recovery` asks, and nothing was changed then; [`Error::Full`] if there is no space for a
    /// segment; [`Error::Io`]. After any error the entries that were handed out are not to be used.
    pub fn open_in(
        dir: &dyn Dir,
        clock: Arc<dyn Clock>,
        options: LogOptions,
        recovery: Recovery,
        start: Start,
        apply: Apply<'_>,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<(Log, ReplayReport)> {
        let options = checked(options)?;
        let found = walk(dir, recovery, start, apply, progress)?;
        if found.statement.next_seq > SEQ_MAX {
            return Err(Error::Invalid { what: "sequence numbers are used up" });
        }
        if let Some(absurd) = found.segments.iter().find(|segment| segment.number > NUMBER_MAX) {
            return Err(Error::corrupt(&absurd.name, 0, Corruption::Misplaced));
        }
        let number_max = found.segments.iter().map(|segment| segment.number).max().unwrap_or(0);
        make_durable(dir, &found).map_err(full_or)?;
        let retired = remove_unused(dir, &found);
        spares::remove_left(dir)?;
        // Space is free only once nobody holds the removed files any more.
        let Found { report, segments, statement, .. } = found;
        drop(segments);
        let log = Log::start(dir.handle(), clock, options, &statement, number_max + 1, retired)?;
        log.begin_life(&statement, report.latest_time).map_err(full_or)?;
        if let Some(trimmed) = &report.trimmed {
            tracing::warn!(
                file = trimmed.file,
                offset = trimmed.offset,
                bytes = trimmed.bytes,
                "an incomplete end of the log was dropped"
            );
        }
        Ok((log, report))
    }

    fn start(
        dir: Arc<dyn Dir>,
        clock: Arc<dyn Clock>,
        options: LogOptions,
        statement: &Statement,
        next_number: u64,
        retired: Vec<Retired>,
    ) -> Result<Log> {
        let first_bytes = options.segment_bytes.min(FIRST_SEGMENT_BYTES);
        let group_blocks_max = first_bytes / BLOCK_BYTES / GROUPS_PER_SEGMENT_MIN;
        let (seed, bytes_max) = (options.seed, options.segment_bytes);
        let spares = Arc::new(Spares::default());
        let mut preparer = Preparer::new(
            Arc::clone(&dir),
            Arc::clone(&spares),
            options.format,
            seed,
            next_number,
            first_bytes,
            bytes_max,
        );
        let active = preparer.make(first_bytes).map_err(full_or)?;
        let mut ready = VecDeque::new();
        let mut full = false;
        match preparer.make(first_bytes) {
            Ok(segment) => ready.push_back(segment),
            Err(error) if is_full(&error) => full = true,
            Err(error) => return Err(error),
        }
        preparer.grow();
        let next_seq = statement.next_seq.max(1);
        let (ring, consumer) = Ring::new(options.buffer_bytes, next_seq);
        let active = Active::new(active, group_blocks_max.saturating_sub(1), next_seq - 1);
        // Numbers go on without a gap only after a clean end.
        let is_clean = statement.next_seq == statement.last_seq.saturating_add(1) && !statement.salvaged;
        let needless = is_clean.then(|| (active.name.clone(), next_seq));
        let kept_blocks = usable_blocks(first_bytes, group_blocks_max);
        let ready_blocks = total(&ready, |segment| usable_blocks(segment.capacity, group_blocks_max));
        // The open frame takes a block of the active segment.
        let blocks = active.usable_blocks().saturating_sub(1) + ready_blocks;
        Ok(Log {
            admission: Admission::new(ring.capacity(), blocks),
            writer: Mutex::new(Writer::new(active, consumer)),
            ring,
            // As many as the ring lets in, so that it never grows under a caller's lock.
            large: Mutex::new(HashMap::with_capacity(options.buffer_bytes / RING_BYTES_MAX + 1)),
            large_bytes: AtomicU64::new(0),
            preparer: Mutex::new(preparer),
            ready: Mutex::new(ready),
            retired: Mutex::new(retired),
            removing: Mutex::new(()),
            spares,
            commit: Commit::default(),
            room: Room::default(),
            parking: Parking::default(),
            written: AtomicU64::new(next_seq - 1),
            durable: AtomicU64::new(statement.last_seq),
            seen_seq: AtomicU64::new(next_seq - 1),
            group_blocks_max: AtomicU64::new(group_blocks_max),
            kept_blocks: AtomicU64::new(kept_blocks),
            needless,
            sync_wanted: AtomicBool::new(false),
            drain_wanted: AtomicBool::new(false),
            full: AtomicBool::new(full),
            poisoned: AtomicBool::new(false),
            closing: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            counters: Counters::default(),
            lock: None,
            dir,
            clock,
            options,
        })
    }

    /// States where the log before ended; from here on later opens hold on to that.
    ///
    /// Its watermark is that of the log before, although all numbers up to its own are settled: a crash may leave
    /// its header and not the statement, and then nothing may say that those numbers were durable.
    fn begin_life(&self, statement: &Statement, latest_time: u64) -> Result<()> {
        let payload = statement.encode(self.options.format);
        let mut writer = self.writer.lock();
        writer.time = latest_time;
        self.write_bare_frame(&mut writer, FrameKind::Open, &payload)?;
        for (file, name) in writer.take_unsynced() {
            file.sync_data().map_err(|source| self.fail(Error::io(&name, 0, source)))?;
        }
        writer.active.has_open_frame = true;
        let settled = statement.next_seq.max(1) - 1;
        self.durable.store(settled, Ordering::Release);
        writer.watermark = settled;
        writer.drained_at = self.clock.monotonic();
        Ok(())
    }
}

/// The options, rounded, if they are within their limits.
fn checked(mut options: LogOptions) -> Result<LogOptions> {
    if !(SEGMENT_BYTES_MIN..=SEGMENT_BYTES_MAX).contains(&options.segment_bytes) {
        return Err(Error::Invalid { what: "segment_bytes is out of range" });
    }
    if !(BUFFER_BYTES_MIN..=BUFFER_BYTES_MAX).contains(&options.buffer_bytes) {
        return Err(Error::Invalid { what: "buffer_bytes is out of range" });
    }
    options.segment_bytes = align_block(options.segment_bytes);
    options.buffer_bytes = options.buffer_bytes.next_power_of_two();
    Ok(options)
}

fn full_or(error: Error) -> Error {
    if is_full(&error) { Error::Full } else { error }
}

/// Makes durable what was read and may be in the system's memory only.
///
/// The bytes are written again before the sync: if an earlier sync of them failed, the system may hold them as
/// clean, and would answer a sync with success without writing them.
fn make_durable(dir: &dyn Dir, found: &Found) -> Result<()> {
    for (index, start, end) in &found.unsynced {
        let segment = &found.segments[*index];
        rewrite(dir, segment, *start, *end)?;
    }
    Ok(())
}

fn rewrite(dir: &dyn Dir, segment: &Segment, start: u64, end: u64) -> Result<()> {
    let fail = |offset| move |source| Error::io(&segment.name, offset, source);
    let file = dir.open(&segment.name, true).map_err(fail(start))?;
    let mut buffer = Vec::new();
    let mut at = start;
    while at < end {
        let len = usize::try_from(REWRITE_CHUNK_BYTES.min(end - at)).unwrap_or(usize::MAX);
        buffer.resize(len, 0);
        warp_io::read_exact_at(&*file, at, &mut buffer).map_err(fail(at))?;
        write_all_at(&*file, at, &buffer).map_err(fail(at))?;
        at += len as u64;
    }
    file.sync_data().map_err(fail(start))
}

/// Removes segments that nothing was written to; returns the others. One that cannot be removed stays among them: it
/// holds nothing, and goes with the segments before it.
fn remove_unused(dir: &dyn Dir, found: &Found) -> Vec<Retired> {
    let mut retired = Vec::new();
    for (index, segment) in found.segments.iter().enumerate() {
        if found.unused.contains(&index) {
            match dir.remove(&segment.name) {
                Ok(()) => continue,
                Err(error) => tracing::warn!(%error, file = segment.name, "an unused segment stays"),
            }
        }
        let last_seq = found.last_seqs.get(index).copied().unwrap_or(0);
        retired.push(Retired { name: segment.name.clone(), last_seq, bytes: segment.len });
    }
    retired
}
