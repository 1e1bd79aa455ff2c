//! Taking a checkpoint: what changed since the last one becomes a layer, and a manifest names it.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use parking_lot::MutexGuard;
use warp_checkpoint::{Layer, Manifest, Obsolete, Published};
use warp_io::Clock;

use crate::changed::{Come, Kept};
use crate::closed::ClosedLists;
use crate::compose::{Compose, Composed};
use crate::error::{Error, ErrorKind, Result};
use crate::from_crates::{checkpoint_error, log_error};
use crate::home::{Catalog, Home};
use crate::left_to_log::{JustClosed, Parts, ReplayStart};
use crate::pace::{Pace, Stop, broken_off};
use crate::reason::CheckpointReason;
use crate::shared::Shared;
use crate::types::Seq;

/// So many files that no checkpoint needs are removed at once, whoever waits.
const FEW_FILES: u64 = 16;

/// What a checkpoint did.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct CheckpointReport {
    /// The number of the checkpoint's manifest.
    pub number: u64,
    /// Why it was taken.
    pub reason: CheckpointReason,
    /// Recovery from this checkpoint replays the log from here on.
    pub replay_from: Seq,
    /// Entries that were written: those that changed since the checkpoint before, but for what was left to the log,
    /// then or now.
    pub entries: u64,
    /// Entries that changed, and were not: they were written lately, and a recovery has them from the log. More than
    /// none only in a checkpoint that was due by the size of the log, where most writes are to keys that were written
    /// a little before.
    pub left_to_log: u64,
    /// Older layers that were merged into the new one.
    pub merged_layers: usize,
    /// Entries that were taken over from them.
    pub merged_entries: u64,
    /// Bytes of the new layer; 0 if there is none, since nothing had changed or nothing was left.
    pub bytes: u64,
    /// Layers that a read may have to look at from now on.
    pub layers: usize,
    /// How long it took.
    pub elapsed: Duration,
}

/// Why a checkpoint was not taken.
enum Failed {
    /// While the layer was written of other layers, too: without them it may succeed.
    Merging(Stop),
    Otherwise(Stop),
}

impl<E: Into<Stop>> From<E> for Failed {
    fn from(error: E) -> Failed {
        Failed::Otherwise(error.into())
    }
}

/// A checkpoint that is being taken: what it counts is counted no more once it has ended, also by a panic in the program's
/// own report of progress.
struct UnderWay<'a> {
    shared: &'a Shared,
    is_published: Cell<bool>,
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        let shared = self.shared;
        if !self.is_published.get() {
            // Waiting for the next would be of no use: it may fail as well.
            shared.log_bound.lift();
        }
        shared.checkpoint_memory.store(0, Ordering::Relaxed);
        shared.closed_list_bytes.store(0, Ordering::Relaxed);
        shared.budget.checkpoint_ended();
        shared.being_checkpointed.store(0, Ordering::Relaxed);
        if !self.is_published.get() {
            shared.count_aside(None);
        }
    }
}

impl Shared {
    /// Takes a checkpoint now; waits for one that is being taken.
    pub(crate) fn take_checkpoint(&self, reason: CheckpointReason) -> Result<CheckpointReport> {
        self.check_writable()?;
        let Some(home) = &self.home else {
            return Err(Error::new(ErrorKind::Unsupported, "an engine without files takes no checkpoints"));
        };
        let mut catalog = home.catalog.lock();
        // The engine may have been closed, and the directory be somebody else's, while this waited.
        self.check_open()?;
        let under_way = UnderWay { shared: self, is_published: Cell::new(false) };
        let outcome = match self.checkpoint_locked(home, &mut catalog, reason, true) {
            Err(Failed::Merging(Stop::Failed(error))) if self.check_writable().is_ok() => {
                // A layer that cannot be read, or a disk with too little space for all of them, must not keep what
                // changed from being written.
                let why = crate::error::chain(&error);
                tracing::error!(why, "merging layers failed; the checkpoint is taken without");
                catalog.backoff.failed();
                self.counters.merge_failures.add(1);
                self.checkpoint_locked(home, &mut catalog, reason, false)
            }
            outcome => outcome,
        };
        match outcome {
            Ok(report) => {
                under_way.is_published.set(true);
                self.counters.checkpoints.add(1);
                self.counters.checkpoint_reasons.count(reason);
                tracing::info!(
                    number = report.number,
                    ?reason,
                    entries = report.entries,
                    bytes = report.bytes,
                    layers = report.layers,
                    merged = report.merged_layers,
                    "checkpoint taken"
                );
                Ok(report)
            }
            Err(Failed::Merging(Stop::BrokenOff) | Failed::Otherwise(Stop::BrokenOff)) => Err(broken_off()),
            Err(Failed::Merging(Stop::Failed(error)) | Failed::Otherwise(Stop::Failed(error))) => {
                self.counters.checkpoint_failures.add(1);
                tracing::error!(%error, "checkpoint failed");
                Err(error)
            }
        }
    }

    fn checkpoint_locked(
        &self,
        home: &Home,
        catalog: &mut Catalog,
        reason: CheckpointReason,
        may_merge: bool,
    ) -> Result<CheckpointReport, Failed> {
        let start = self.time.monotonic();
        let since = start.saturating_sub(catalog.taken);
        // Whatever the outcome, the next attempt that is due by time or size is a full interval away.
        catalog.taken = start;
        let log =
            self.journal.log().ok_or_else(|| Error::new(ErrorKind::ReadOnly, "no log to checkpoint"))?;
        let stats = log.stats();
        let logged = stats.payload_bytes.saturating_sub(catalog.log_bytes);
        catalog.log_bytes = stats.payload_bytes;
        catalog.segments = stats.segments;
        let since = catalog.set_aside.as_ref().map_or(since, |aside| start.saturating_sub(aside.closed_at));
        // Until it is published.
        catalog.has_failed = true;
        let Parts { mut closed, later, now, replay, left_from, expected, has_links } =
            self.close_for_checkpoint(catalog, reason, log);
        self.being_checkpointed.store(closed.len() as u64, Ordering::Relaxed);
        let new_bytes = self.expected_bytes(expected);
        let merged = if may_merge { self.plan_merge(catalog, reason, new_bytes, left_from) } else { 0 };
        let ahead = self.log_bound.begin(now.taken_bytes, catalog.tail_bytes(now.taken_bytes));
        let mut pace = Pace::new(self, reason, merged > 0, since, logged, ahead);
        let mut come = Come::default();
        let written = self.write_changed(
            home,
            catalog,
            &mut Writing {
                closed: &mut closed,
                merged,
                has_links,
                left_from,
                expected,
                pace: &mut pace,
                come: &mut come,
            },
            replay,
        );
        if written.is_err() && has_links {
            self.new_links.store(true, Ordering::Release);
        }
        let written = written?;
        catalog.has_failed = false;
        catalog.replayed_bytes = 0;
        catalog.replay_log_bytes = replay.taken_bytes;
        self.log_bound.published(replay.taken_bytes, now.taken_bytes);
        // Clean now: a layer has them, and readers know of it. Tombstones have no more to say in memory.
        self.clean_below.store(replay.seq, Ordering::Release);
        closed.published();
        come.stubs.sort_unstable();
        self.table.remove_clean(&come.stubs, replay.seq, |_, entry| entry.is_tombstone());
        catalog.set_aside = later.map(JustClosed::keep);
        self.being_checkpointed.store(0, Ordering::Relaxed);
        self.budget.say_freed();
        if merged > 0 {
            catalog.backoff.succeeded();
            self.counters.merges.add(1);
        }
        self.counters.checkpoint_entries.add(written.changed);
        self.counters.left_to_log.add(come.left);
        self.counters.checkpoint_bytes.add(written.bytes() - written.merged_bytes);
        self.counters.merged_bytes.add(written.merged_bytes);
        self.remove_obsolete(home, catalog);
        Ok(CheckpointReport {
            number: catalog.manifest.number,
            reason,
            replay_from: Seq(catalog.manifest.replay_from),
            entries: written.changed,
            left_to_log: come.left,
            merged_layers: merged,
            merged_entries: written.merged,
            bytes: written.bytes(),
            layers: catalog.manifest.layers.len(),
            elapsed: self.time.monotonic().saturating_sub(start),
        })
    }

    /// Writes the layer, and publishes the manifest that names it.
    fn write_changed(
        &self,
        home: &Home,
        catalog: &mut Catalog,
        writing: &mut Writing<'_, '_>,
        replay: ReplayStart,
    ) -> Result<Composed, Failed> {
        let log = self.journal.log().ok_or_else(Error::closed)?;
        let merged = writing.merged;
        let list = self.layers.snapshot();
        // Floors are taken after the lists were closed, so that every floor below the start of replay is among them; and
        // used throughout, so that what is left out is what the manifest says does not exist.
        let is_lowest = merged == catalog.manifest.layers.len();
        let kept = Kept { floors: self.floors.all(), is_lowest, left_from: writing.left_from };
        let composed = self.write_layer(home, catalog, writing, &list.layers[..merged], &kept);
        let composed = composed
            .map_err(|stop| if merged > 0 { Failed::Merging(stop) } else { Failed::Otherwise(stop) })?;
        // Read last: a clear or a drop that came meanwhile has taken entries away before they were looked at.
        let seen = writing.come.highest.max(self.floors.raised());
        let highest = seen.max(replay.seq.saturating_sub(1));
        // A manifest never speaks of what the log has not got: recovery would take that for damage.
        log.sync_to(highest).map_err(log_error)?;
        self.waiters.wake(self.journal.durable_seq());
        let unchanged = composed.layer.is_none()
            && merged == 0
            && catalog.manifest.replay_from == replay.seq
            && catalog.manifest.floors == kept.floors;
        if unchanged {
            return Ok(composed);
        }
        let mut layers = catalog.manifest.layers.clone();
        layers.splice(..merged, composed.layer);
        let next = Manifest {
            replay_from: replay.seq,
            highest,
            layers,
            floors: kept.floors,
            near: replay.near,
            ..catalog.manifest.clone()
        };
        let open = |layer| Layer::open_with(&*home.layers_dir, layer, &home.access);
        let opened = composed.layer.as_ref().map(open).transpose();
        let opened = opened.map_err(checkpoint_error)?;
        self.publish(home, catalog, next)?;
        if merged > 0 || opened.is_some() {
            let mut layers = list.layers.clone();
            layers.splice(..merged, opened);
            self.layers.publish(layers);
        }
        Ok(composed)
    }

    fn write_layer(
        &self,
        home: &Home,
        catalog: &mut Catalog,
        writing: &mut Writing<'_, '_>,
        inputs: &[Layer],
        kept: &Kept,
    ) -> Result<Composed, Stop> {
        if writing.closed.len() == 0 && inputs.is_empty() {
            return Ok(Composed::default());
        }
        let id = catalog.next_layer;
        // Spent even if writing fails: a name is never used twice.
        catalog.next_layer = catalog.next_layer.saturating_add(1);
        let composed = Compose::new(self, home, id, kept, writing).and_then(|compose| compose.run(inputs));
        if composed.as_ref().map_or(true, |composed| composed.layer.is_none()) {
            // Best effort: what stays behind is removed by the next checkpoint or open.
            let _ = home.layers_dir.remove(&warp_checkpoint::layer_name(id));
        }
        composed
    }

    /// Bytes that a layer of so many entries has, about: those of the table are taken for average.
    pub(crate) fn expected_bytes(&self, entries: u64) -> u64 {
        /// What a layer has for an entry beside its key and value: head, index, filter.
        const ENTRY_BYTES: u64 = 36;
        let memory = self.table.memory();
        let average = (memory.key_bytes + memory.value_bytes) / memory.entries.max(1);
        entries * (average + ENTRY_BYTES)
    }

    /// Publishes `next` under the next number; the catalog then names it as the newest.
    pub(crate) fn publish(&self, home: &Home, catalog: &mut Catalog, next: Manifest) -> Result<()> {
        self.check_writable()?;
        let next = Manifest {
            number: catalog.next_manifest,
            next_layer: catalog.next_layer,
            time: self.time.unix_millis(),
            ..next
        };
        // The number is spent even if publishing fails: whether it took place may then be unknown.
        catalog.next_manifest = catalog.next_manifest.saturating_add(1);
        warp_checkpoint::publish(&*home.dir, &next).map_err(|error| {
            catalog.is_current_unknown |= error.published != Published::No;
            checkpoint_error(error.source)
        })?;
        catalog.is_current_unknown = false;
        home.current.store(Arc::new(next.clone()));
        catalog.manifest = next;
        Ok(())
    }

    /// Whether there may be files that the former opener, or a reader that held them, left behind.
    pub(crate) fn has_left_behind(&self) -> bool {
        self.home.as_ref().is_some_and(|home| home.has_left_behind.load(Ordering::Relaxed))
    }

    /// Removes one of the files that were left behind: giving gigabytes back to the file system takes seconds, and neither
    /// other work nor a checkpoint nor the end of the engine waits for more than one file. What is there at the end the next
    /// opener removes.
    pub(crate) fn remove_one_left_behind(&self) {
        let Some(home) = &self.home else { return };
        if !home.has_left_behind.load(Ordering::Relaxed) {
            return;
        }
        let mut catalog = home.catalog.lock();
        if self.is_ending() {
            return;
        }
        let removed = self.remove_some_obsolete(home, &mut catalog, Portion::OneFile);
        if removed == 0 {
            home.has_left_behind.store(false, Ordering::Relaxed);
        }
        // To whoever waits for it, rather than to the next file.
        MutexGuard::unlock_fair(catalog);
    }

    /// Removes what no kept checkpoint needs: manifests, layers, and segments of the log; or one of these files, if others
    /// are just being removed one by one. A failure is reported, and tried again after the next checkpoint: what should have
    /// gone harms nobody.
    pub(crate) fn remove_obsolete(&self, home: &Home, catalog: &mut Catalog) {
        let has_many = home.has_left_behind.load(Ordering::Relaxed);
        let portion = if has_many { Portion::OneFile } else { Portion::Everything };
        self.remove_some_obsolete(home, catalog, portion);
    }

    /// Returns how many files went.
    fn remove_some_obsolete(&self, home: &Home, catalog: &mut Catalog, portion: Portion) -> usize {
        if !catalog.may_remove || catalog.is_current_unknown || self.check_open().is_err() {
            return 0;
        }
        self.try_remove_obsolete(home, catalog, portion).unwrap_or_else(|error| {
            tracing::warn!(%error, "files that no checkpoint needs could not be removed");
            // A manifest that has not gone is looked for again, before the layers that it names.
            catalog.left_behind = Obsolete::default();
            0
        })
    }

    fn find_obsolete(&self, home: &Home) -> Result<Obsolete> {
        // A log that has no space left is worth more than older checkpoints.
        let is_full = self.journal.log().is_some_and(|log| log.stats().full);
        let kept = if is_full { 1 } else { self.options.checkpoints_kept };
        warp_checkpoint::obsolete(&*home.dir, &*home.layers_dir, kept).map_err(checkpoint_error)
    }

    /// Whether there are no more files to remove, and segments of the log, than a short run leaves, which are gone at once. One by
    /// one they would become more with each run.
    fn are_few(&self, obsolete: &Obsolete) -> bool {
        let segments = self.journal.log().map_or(0, |log| log.stats().segments);
        let files = (obsolete.layers.len() + obsolete.temporary_layers.len()) as u64;
        files + segments <= FEW_FILES
    }

    fn try_remove_obsolete(&self, home: &Home, catalog: &mut Catalog, portion: Portion) -> Result<usize> {
        // What goes file by file is looked for once.
        if portion == Portion::Everything || catalog.left_behind.is_empty() {
            catalog.left_behind = self.find_obsolete(home)?;
        }
        let Some(nobody_reads) = self.may_remove_files(home)? else { return Ok(0) };
        let portion = if self.are_few(&catalog.left_behind) { Portion::Everything } else { portion };
        let obsolete = match portion {
            Portion::Everything => std::mem::take(&mut catalog.left_behind),
            Portion::OneFile => take_one_file(&mut catalog.left_behind),
        };
        let temporary = obsolete.temporary.len() + obsolete.temporary_layers.len();
        let files = obsolete.manifests.len() + obsolete.layers.len() + temporary;
        // The manifests go first, then what only they needed: a crash in between leaves no checkpoint in want.
        let log_from =
            warp_checkpoint::remove(&*home.dir, &*home.layers_dir, &obsolete).map_err(checkpoint_error)?;
        self.counters.removed_files.add(files as u64);
        drop(nobody_reads);
        match portion {
            Portion::Everything => Ok(files + self.retire_segments(home, log_from)?),
            // The log is cut once everything else is gone.
            Portion::OneFile if files > 0 => Ok(files),
            Portion::OneFile => {
                let oldest = self.journal.log().and_then(warp_wal::Log::end_of_oldest).unwrap_or(0);
                self.retire_segments(home, log_from.min(oldest))
            }
        }
    }
}

/// One layer, or a file that is beside the layers; and all the small files, with the first of them.
fn take_one_file(files: &mut Obsolete) -> Obsolete {
    let layers: Vec<u64> = files.layers.drain(..files.layers.len().min(1)).collect();
    let beside = files.temporary_layers.len().min(1 - layers.len());
    Obsolete {
        layers,
        temporary_layers: files.temporary_layers.drain(..beside).collect(),
        manifests: std::mem::take(&mut files.manifests),
        temporary: std::mem::take(&mut files.temporary),
        log_from: files.log_from,
    }
}

/// How much is removed at once of what no checkpoint needs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Portion {
    Everything,
    /// One layer, or one segment of the log. All the small files beside the layers go with it.
    OneFile,
}

/// What a layer is written from, and how fast.
pub(crate) struct Writing<'a, 'b> {
    pub(crate) closed: &'a mut ClosedLists<'b>,
    /// How many of the newest layers are merged into it.
    pub(crate) merged: usize,
    /// Whether links were declared since the last checkpoint.
    pub(crate) has_links: bool,
    /// Entries with this sequence or a higher one are left to the log; `u64::MAX` if none are.
    pub(crate) left_from: u64,
    /// As many changed entries are written, about.
    pub(crate) expected: u64,
    pub(crate) pace: &'a mut Pace<'b>,
    pub(crate) come: &'a mut Come,
}
