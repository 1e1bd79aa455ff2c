//! Backups of a running engine: directories that open as databases.
//!
//! ```text
//!   engine --checkpoint, if much log has gathered--> layers --------- copied, unless they are there ----+
//!                                                    log since then -- replayed, written as one layer --+--> manifest
//!                                                                      empty log, written once ---------+
//! ```
//!
//! What the log has is written as a layer, so that the log of a backup is empty, is the same one for every backup in that
//! directory, and never changes. So a new backup takes the place of the one before in a single step, the renaming of its
//! manifest, as a checkpoint does: a crash leaves either.

mod target;

use std::path::Path;
use std::time::Duration;

use warp_checkpoint::{Layer, LayerAccess, LayerEntry, LayerInfo, LayerOptions, LayerWriter, Manifest};
use warp_core::SLOTS;
use warp_io::{Clock, Dir, OsDir};

use self::target::{Target, target_error};
use crate::engine::WarpEngine;
use crate::error::{Error, ErrorKind, Result, directory_error};
use crate::floors::exists;
use crate::from_crates::checkpoint_error;
use crate::home::Home;
use crate::open_at;
use crate::progress::Task;
use crate::reason::CheckpointReason;
use crate::shared::Shared;
use crate::types::Seq;

/// A checkpoint is taken first if more log than this has gathered, in bytes of records: what the log has is held in
/// memory while it is written, and is written anew by every backup.
const TAIL_BYTES_MAX: u64 = 8 << 20;
/// Layers that backups make themselves have ids from here on, each somewhere at random: the ids of an engine are counted
/// up from 1, and never come to be there.
const TAIL_IDS_FROM: u64 = 1 << 61;
/// The ids of layers that are made in a backup, once it is opened, are so far from those of the database, at least.
const OPENED_IDS_APART: u64 = 1 << 32;

/// What [`WarpEngine::backup`] did.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct BackupReport {
    /// The backup holds every write up to this sequence number, and none beyond.
    pub seq: Seq,
    /// Whether there was an earlier backup, whose layers were used again as far as they fit.
    pub incremental: bool,
    /// Layers of the backup.
    pub layers: usize,
    /// Layers among them that were copied by this call.
    pub layers_copied: usize,
    /// Entries that the log had and the copied layers had not; they are a layer of their own.
    pub tail_entries: u64,
    /// Bytes of all layers of the backup.
    pub bytes: u64,
    /// Bytes of layers that this call wrote.
    pub bytes_written: u64,
    /// Files of the earlier backup that were removed, since this one does not need them.
    pub removed_files: usize,
    /// How long it took.
    pub elapsed: Duration,
}

impl WarpEngine {
    /// Makes a copy of the database in the directory at `to`, which opens as a database, while reads and writes go on. It
    /// holds everything up to the sequence number that the report names, and nothing beyond.
    ///
    /// `to` is made if there is none; it is empty, or holds an earlier backup of this database. Of that every layer that
    /// is needed again stays as it is, so that the cost follows what has changed. A crash at any moment, and any error,
    /// leaves the earlier backup or the new one; what the new one does not need is removed last. Nothing is shared with the
    /// database: layers are copied, and checked while they are. One backup at a time is written to a directory.
    ///
    /// If much has been written since the last checkpoint, one is taken first. Progress is told to
    /// [`on_progress`](crate::Options::on_progress), in bytes of layers. An engine that is open for reading only can be
    /// backed up, too: so the database of another process can be, see `docs/durability.md`.
    ///
    /// ```
    /// use warp_api::WarpEngine;
    ///
    /// # fn main() -> warp_api::Result<()> {
    /// # let scratch = tempfile::tempdir().unwrap();
    /// # let (path, to) = (scratch.path().join("data"), scratch.path().join("backup"));
    /// let engine = WarpEngine::open(path)?;
    /// let seq = engine.put("key", "value")?;
    /// let report = engine.backup(&to)?;
    /// assert_eq!(report.seq, seq);
    /// engine.put("key", "later")?;
    ///
    /// let copy = WarpEngine::open(&to)?;
    /// assert_eq!(copy.get("key")?.as_deref(), Some(&b"value"[..]));
    /// # copy.close()?;
    /// # engine.close()
    /// # }
    /// ```
    ///
    /// # Errors
    /// `Unsupported` for an engine without files; `Invalid` if `to` is a file, or a directory that holds anything but an earlier
    /// backup of this database to which nobody has written; nothing was written then. `Locked` if somebody has the backup
    /// open. `Conflict` if the earlier backup has another layer under the name of one of this database's. `Full` if there is
    /// no space for it: the database is as it was, and so is the earlier backup. `Corrupt` if what has to be copied is
    /// damaged; [`Error::path`] says where. `Io`, `Closed`; `Poisoned` if the log has failed and not everything up to its
    /// last number is durable.
    pub fn backup(&self, to: impl AsRef<Path>) -> Result<BackupReport> {
        let to = to.as_ref();
        self.shared.check_backup()?;
        let dir = OsDir::open(to, true).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotADirectory | std::io::ErrorKind::AlreadyExists => {
                Error::invalid("a backup goes into a directory").caused_by(error).at(to)
            }
            _ => directory_error("cannot open the directory of the backup", error).at(to),
        })?;
        self.backup_in(&dir)
    }

    /// As [`WarpEngine::backup`], into a directory that is handed in.
    ///
    /// # Errors
    /// As [`WarpEngine::backup`].
    pub fn backup_in(&self, to: &dyn Dir) -> Result<BackupReport> {
        let start = self.shared.time.monotonic();
        let home = self.shared.check_backup()?;
        let mut target = Target::open(to, home.current.load().database_id)?;
        self.shared.shorten_tail(home);
        let view = open_at::latest(&self.shared)?;
        let seq = view.seq();
        let mut report = BackupReport {
            seq,
            incremental: target.earlier.is_some(),
            layers: 0,
            layers_copied: 0,
            tail_entries: 0,
            bytes: 0,
            bytes_written: 0,
            removed_files: 0,
            elapsed: Duration::ZERO,
        };
        if !target.is_up_to_date(seq) {
            let state = view.shared();
            let manifest = write(&self.shared, state, &mut target, seq, &mut report)?;
            target.publish(manifest)?;
        }
        report.removed_files = target.remove_needless()?;
        if let Some(manifest) = &target.earlier {
            report.layers = manifest.layers.len();
            report.bytes = manifest.layers.iter().map(|layer| layer.bytes).sum();
        }
        report.elapsed = self.shared.time.monotonic().saturating_sub(start);
        tracing::info!(%seq, copied = report.layers_copied, bytes = report.bytes_written, "backup taken");
        Ok(report)
    }
}

impl Shared {
    /// The directory to back up, if there is one.
    fn check_backup(&self) -> Result<&Home> {
        self.check_open()?;
        let nothing = || Error::new(ErrorKind::Unsupported, "an engine without files has nothing to back up");
        self.home.as_ref().ok_or_else(nothing)
    }

    /// Takes a checkpoint if much log has gathered since the last.
    fn shorten_tail(&self, home: &Home) {
        let Some(log) = self.journal.log() else { return };
        let tail = home.catalog.lock().tail_bytes(log.taken_bytes());
        if tail > TAIL_BYTES_MAX {
            // Without it the tail is longer, which costs memory; the failure is reported where it happens.
            let _ = self.take_checkpoint(CheckpointReason::Demand);
        }
    }
}

/// Writes what the backup of a view needs and the target has not; returns its manifest. Progress is told to the engine.
fn write(
    engine: &Shared,
    view: &Shared,
    target: &mut Target,
    seq: Seq,
    report: &mut BackupReport,
) -> Result<Manifest> {
    let home = view.home.as_ref().ok_or_else(Error::closed)?;
    let manifest = home.current.load();
    let list = view.layers.snapshot();
    let missing: Vec<&Layer> = list.layers.iter().filter(|layer| !target.has(layer.info())).collect();
    let total: u64 = missing.iter().map(|layer| layer.bytes()).sum();
    let mut done = 0;
    engine.progress(Task::Backup, 0, Some(total));
    for layer in missing {
        target.make_room_for(layer)?;
        let copied = layer.copy_to(&*target.layers, |bytes| {
            done += bytes;
            engine.progress(Task::Backup, done, Some(total));
        });
        copied.map_err(copy_error)?;
        report.layers_copied += 1;
        report.bytes_written += layer.bytes();
    }
    let floors = view.floors.all();
    let mut layers = manifest.layers.clone();
    if let Some(tail) = write_tail(view, target, &floors, seq)? {
        report.tail_entries = tail.entries;
        report.bytes_written += tail.bytes;
        layers.insert(0, tail);
    }
    target.layers.sync_dir().map_err(|error| target_error(error, "cannot sync the layers of the backup"))?;
    Ok(Manifest {
        replay_from: seq.0 + 1,
        highest: seq.0,
        layers,
        // Whoever opens the backup for writing makes layers of other ids than the database does.
        next_layer: manifest.next_layer.saturating_add(OPENED_IDS_APART).max(TAIL_IDS_FROM * 2),
        floors,
        time: view.time.unix_millis(),
        near: None,
        ..Manifest::clone(&manifest)
    })
}

/// Writes what the log had beyond the layers as a layer of its own; `None` if that is nothing.
fn write_tail(
    view: &Shared,
    target: &mut Target,
    floors: &[(u32, u64)],
    seq: Seq,
) -> Result<Option<LayerInfo>> {
    let is_lowest = view.layers.snapshot().layers.is_empty();
    let mut writer: Option<LayerWriter> = None;
    for slot in 0..SLOTS {
        for (keyspace, key, entry) in view.table.slot_entries(slot) {
            let is_gone = !exists(floors, keyspace, &key, entry.seq);
            // With no layer below there is nothing that a tombstone would have to hide.
            if is_gone || (is_lowest && entry.is_tombstone()) {
                continue;
            }
            let writer = match &mut writer {
                Some(writer) => writer,
                none => none.insert(start_tail(view, target, seq)?),
            };
            let hash = view.table.hash_of(keyspace, &key);
            let value = entry.value.as_deref();
            let (seq, deadline) = (entry.seq, entry.deadline);
            let entry = LayerEntry { hash, keyspace, key: &key, seq, deadline, value };
            writer.add(&entry).map_err(copy_error)?;
        }
    }
    let access = view.home.as_ref().map_or(LayerAccess::Map, |home| home.access.clone());
    writer.map(|writer| writer.finish_with(&access, &mut |_| true)).transpose().map_err(copy_error)
}

fn start_tail(view: &Shared, target: &mut Target, seq: Seq) -> Result<LayerWriter> {
    let id = target.free_layer_id(TAIL_IDS_FROM, view.hash_seed ^ seq.0)?;
    let options = LayerOptions { compress_from: view.options.compress_values_from };
    LayerWriter::create_in(&*target.layers, id, &options).map_err(copy_error)
}

/// An error of a copy: damage is that of the database, unless it is in a file that only the backup has.
fn copy_error(error: warp_checkpoint::Error) -> Error {
    let is_partial = error.file().is_some_and(warp_checkpoint::is_partial_layer);
    let public = checkpoint_error(error);
    match public.kind() {
        ErrorKind::Corrupt | ErrorKind::Unsupported if !is_partial => public,
        kind => Error::new(kind, "cannot write the backup").caused_by(public),
    }
}
