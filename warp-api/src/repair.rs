//! Making a damaged database sound again: what is sound is kept, and what is lost is listed.
//!
//! ```text
//!   survey: every manifest, layer and segment --sound--> nothing to do
//!        |
//!   copies of what is damaged, in a subdirectory
//!        |
//!   a base: the newest checkpoint that is whole with its log; else the newest, each damaged layer written anew
//!        |
//!   its manifest --> the log replayed, what is damaged of it passed over --> a checkpoint --> the rest is removed
//! ```
//!
//! Until the new manifest has its name nothing of the database has changed; from then on every open starts from it. So a
//! repair that a crash ends can be made again.

mod layers;
mod survey;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use warp_checkpoint::{Manifest, Obsolete};
use warp_io::{Clock, Dir, DirLock, LockKind, OsDir, write_all_at};

use self::layers::{Rebuilt, Suspect};
use self::survey::{Base, Survey};
use crate::engine::WarpEngine;
use crate::environment::{Background, Environment};
use crate::error::{Error, ErrorKind, Result, directory_error};
use crate::from_crates::checkpoint_error;
use crate::home::{LAYERS_DIR, LOG_DIR, READERS_FILE};
use crate::keyspace::{DEFAULT, DEFAULT_NAME, SYSTEM};
use crate::open::{Found, State, lock, subdirectories};
use crate::options::{Options, Recovery};
use crate::recovery_report::Lost;
use crate::types::Seq;
use crate::verify::Problem;

/// What the subdirectory of damaged files is called, with a number behind it.
const ASIDE: &str = "damaged-";
/// The report, in that subdirectory.
const REPORT_FILE: &str = "REPORT.json";
/// How much is copied at a time.
const CHUNK_BYTES: usize = 1 << 20;
/// How much at a time where not all of a chunk can be read.
const PIECE_BYTES: usize = 4096;

/// What [`WarpEngine::repair`] found and did.
#[derive(Clone, Debug, Default, Serialize)]
#[non_exhaustive]
pub struct RepairReport {
    /// Whether nothing was wrong: then nothing was changed.
    pub was_sound: bool,
    /// Everything that was wrong.
    pub problems: Vec<Problem>,
    /// The subdirectory with copies of the damaged files, and with this report, as far as it was known then.
    pub kept_aside: Option<String>,
    /// The files that were copied there.
    pub files: Vec<String>,
    /// The number of the checkpoint that was built upon; `None` if none could be read.
    pub checkpoint: Option<u64>,
    /// Entries of damaged layers that are whole, and were kept.
    pub entries_salvaged: u64,
    /// Entries that are lost, each of which is known to have been the last version of its key. Where the key can still
    /// be told, it has no value any more: an older one is not given back in its place.
    pub lost_entries: Vec<LostEntry>,
    /// Keys whose last version may be lost. They have the version that is named here.
    pub doubtful: Vec<DoubtfulKey>,
    /// Layers of which something, or everything, is lost without knowing what. Keys that were written in them
    /// may have an older version, or none.
    pub lost_layers: Vec<LostLayer>,
    /// Parts of the log that are lost. Keys that were written with these sequence numbers have the version before, or none.
    /// A part of no bytes is the end of a log that ends too early: there may have been any number of writes behind it.
    pub lost: Vec<Lost>,
    /// The last sequence number that was recovered.
    pub last_seq: Seq,
    /// How long it took.
    pub elapsed: Duration,
}

/// An entry that was lost with a damaged place of a layer.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[non_exhaustive]
pub struct LostEntry {
    /// The file, relative to the database's directory.
    pub file: String,
    /// Where the entry is in it, in bytes.
    pub offset: u64,
    /// The keyspace and the key, where they can still be told.
    pub key: Option<(String, Vec<u8>)>,
    /// The sequence number of the write that is lost, where it can still be told.
    pub seq: Option<Seq>,
    /// The sequence number of the newest older version, if there is one. It was not given back.
    pub older: Option<Seq>,
}

/// A key whose last version may be lost.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[non_exhaustive]
pub struct DoubtfulKey {
    /// The keyspace; `system` for what the engine keeps for itself: names of keyspaces, links and rules.
    pub keyspace: String,
    /// The key.
    pub key: Vec<u8>,
    /// The sequence number of the version that it has now.
    pub seq: Seq,
}

/// A layer of which entries are lost that nothing is known of.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[non_exhaustive]
pub struct LostLayer {
    /// The file, relative to the database's directory.
    pub file: String,
    /// How many entries that are.
    pub entries: u64,
    /// Their sequence numbers lie between these.
    pub seqs: (Seq, Seq),
}

impl RepairReport {
    /// Whether something is lost, or may be.
    #[must_use]
    pub fn is_lossless(&self) -> bool {
        self.lost_entries.is_empty()
            && self.doubtful.is_empty()
            && self.lost_layers.is_empty()
            && self.lost.is_empty()
    }
}

impl WarpEngine {
    /// Makes the database in the directory at `path`, which nobody may have open, sound again, and says what is lost. As
    /// [`Options::repair`] with the default options.
    ///
    /// ```
    /// use warp_api::WarpEngine;
    ///
    /// # fn main() -> warp_api::Result<()> {
    /// # let scratch = tempfile::tempdir().unwrap();
    /// # let path = scratch.path();
    /// WarpEngine::open(path)?.close()?;
    /// assert!(WarpEngine::repair(path)?.was_sound);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`Options::repair`].
    pub fn repair(path: impl AsRef<Path>) -> Result<RepairReport> {
        Options::new().repair(path)
    }
}

impl Options {
    /// Reads every file of the database in the directory at `path`, which nobody may have open or be reading, and makes it
    /// sound again. A sound one is left as it is.
    ///
    /// Nothing that is damaged is overwritten before a copy of it was made in a subdirectory, `damaged-<n>`, which the report
    /// names. A crash in the middle leaves a database that can be repaired again. Entries that are lost are listed; a
    /// key whose last version is known to be lost has no value afterwards, whatever older version there is. Memory for
    /// 24 bytes an entry of each damaged layer is needed, and space for what is written anew. Layers are read as with
    /// [`map_layers(false)`](Options::map_layers), whatever that option says: a part that the disk cannot read counts as damaged.
    ///
    /// # Errors
    /// `NotFound` if there is no database; `Locked` if somebody has it open, or reads it; `Unsupported` if a newer program wrote
    /// it; `Corrupt` if nothing is left of it; `Full` or `Io`: what was damaged is as it was.
    pub fn repair(self, path: impl AsRef<Path>) -> Result<RepairReport> {
        let path = path.as_ref();
        let dir = OsDir::open(path, false)
            .map_err(|error| directory_error("cannot open the database directory", error).at(path))?;
        self.repair_in(&dir, Environment::default())
    }

    /// As [`Options::repair`], in a directory that is handed in, with clock and seed as `environment` says.
    ///
    /// # Errors
    /// As [`Options::repair`].
    pub fn repair_in(self, dir: &dyn Dir, environment: Environment) -> Result<RepairReport> {
        self.check()?;
        let environment = Environment { background: Background::Stepped, ..environment };
        let options = self.recovery(Recovery::Salvage).checkpoints_kept(1).create(false).read_only(false);
        // A map of a file that the disk cannot read in full would end the process.
        let options = options.map_layers(false);
        let start = environment.clock.monotonic();
        let held = lock(dir, false)?;
        let readers = dir
            .try_lock(READERS_FILE, LockKind::Exclusive)
            .map_err(|error| directory_error("the database is being read", error))?;
        let repair = Repair { dir, options, environment, report: RepairReport::default() };
        let mut report = repair.run(held, readers)?;
        report.1.elapsed = report.0.monotonic().saturating_sub(start);
        Ok(report.1)
    }
}

struct Repair<'a> {
    dir: &'a dyn Dir,
    options: Options,
    environment: Environment,
    report: RepairReport,
}

impl Repair<'_> {
    fn run(mut self, held: DirLock, readers: DirLock) -> Result<(Arc<dyn Clock>, RepairReport)> {
        let clock = Arc::clone(&self.environment.clock);
        let (log_dir, layers_dir) = subdirectories(self.dir, true)?;
        let survey = Survey::read(self.dir, &log_dir, &layers_dir, &self.options)?;
        self.report.problems.clone_from(&survey.problems);
        if survey.is_sound() {
            self.report.was_sound = true;
            self.report.last_seq = Seq(survey.last_seq);
            return Ok((clock, self.report));
        }
        let base = survey.base(&self.environment)?;
        self.report.checkpoint = base.manifest.as_ref().map(|manifest| manifest.number);
        let mut damaged = survey.damaged_files();
        if base.manifest.is_none() && !base.is_log_enough {
            // All layers become one: copies of all of them are kept.
            damaged.extend(survey.layer_files());
        }
        self.keep_aside(&damaged)?;
        let access = self.options.layer_access();
        let rebuilt =
            layers::rebuild(&survey, &base, &*layers_dir, &access, &self.environment, &mut self.report)?;
        self.write_report()?;
        self.publish(&survey, &base, &rebuilt)?;
        drop(readers);
        let engine = self.recover(held)?;
        self.settle(&engine, rebuilt.suspects);
        self.report.last_seq = engine.recovery_report().last_seq;
        self.report.lost.extend(engine.recovery_report().lost.iter().cloned());
        if self.report.lost.iter().all(|lost| lost.seqs.is_none()) {
            self.report.lost.extend(survey.lost_end());
        }
        engine.checkpoint()?;
        engine.close()?;
        self.write_report()?;
        Ok((clock, self.report))
    }

    /// Copies damaged files into a new subdirectory.
    fn keep_aside(&mut self, files: &[String]) -> Result<()> {
        let failed = |error| directory_error("cannot keep the damaged files aside", error);
        let used = self.dir.list_dirs().map_err(failed)?;
        let number = (1_u64..).find(|number| !used.contains(&format!("{ASIDE}{number}"))).unwrap_or(0);
        let name = format!("{ASIDE}{number}");
        let aside = self.dir.subdir(&name, true).map_err(failed)?;
        self.dir.sync_dir().map_err(failed)?;
        for file in files {
            let (from, to, own) = match file.split_once('/') {
                Some((place, own)) => {
                    let to = aside.subdir(place, true).map_err(failed)?;
                    (self.dir.subdir(place, false).map_err(failed)?, to, own)
                }
                None => (self.dir.handle(), Arc::clone(&aside), &**file),
            };
            if copy(&*from, &*to, own).map_err(|error| failed(error).at(file))? {
                self.report.files.push(file.clone());
            }
        }
        aside.sync_dir().map_err(failed)?;
        self.report.kept_aside = Some(name);
        Ok(())
    }

    /// Writes what is known by now beside the copies.
    fn write_report(&self) -> Result<()> {
        let Some(name) = &self.report.kept_aside else { return Ok(()) };
        let text = serde_json::to_vec_pretty(&self.report)
            .map_err(|error| Error::new(ErrorKind::Io, "cannot write the report").caused_by(error))?;
        let written = self.dir.subdir(name, false).and_then(|aside| {
            let partial = format!("{REPORT_FILE}.partial");
            // Of the first time. Whether there was one, the next line finds out.
            let _ = aside.remove(&partial);
            let file = aside.create_new(&partial)?;
            write_all_at(&*file, 0, &text)?;
            file.sync_data()?;
            aside.rename(&partial, REPORT_FILE)?;
            aside.sync_dir()
        });
        written.map_err(|error| directory_error("cannot write the report", error))
    }

    /// Makes the base with its new layers the newest checkpoint, and the only one.
    fn publish(&self, survey: &Survey, base: &Base, rebuilt: &Rebuilt) -> Result<()> {
        let manifest = Manifest {
            number: survey.next_manifest,
            replay_from: base.replay_from,
            highest: base.highest,
            layers: rebuilt.layers.clone(),
            next_layer: rebuilt.next_layer,
            near: None,
            ..rebuilt.manifest.clone()
        };
        warp_checkpoint::publish(self.dir, &manifest).map_err(|error| checkpoint_error(error.source))?;
        let others = survey.numbers.iter().copied().filter(|number| *number != manifest.number);
        let obsolete = Obsolete { manifests: others.collect(), ..Obsolete::default() };
        let layers_dir = self.dir.subdir(LAYERS_DIR, false);
        let layers_dir = layers_dir.map_err(|error| directory_error("cannot open the layers", error))?;
        warp_checkpoint::remove(self.dir, &*layers_dir, &obsolete).map_err(checkpoint_error)?;
        Ok(())
    }

    /// Opens the database. A segment that cannot be read at all goes, since there is a copy of it.
    fn recover(&mut self, held: DirLock) -> Result<WarpEngine> {
        let start = self.environment.clock.monotonic();
        loop {
            let found = Found::read(self.dir, &self.options, &self.environment)?;
            match State::recover(found, &self.options, &self.environment) {
                Ok(state) => {
                    return state.start(self.dir, Some(held), start, self.options.clone(), &self.environment);
                }
                Err(error) if error.kind() == ErrorKind::Corrupt && self.give_up(&error)? => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Removes the segment that an error names, and lists it as lost; `false` if it names none.
    fn give_up(&mut self, error: &Error) -> Result<bool> {
        let failed = |error| directory_error("cannot remove a segment that cannot be read", error);
        let path = error.path().map(|path| path.display().to_string()).unwrap_or_default();
        let Some(own) = path.strip_prefix(&format!("{LOG_DIR}/")) else { return Ok(false) };
        let log_dir = self.dir.subdir(LOG_DIR, false).map_err(failed)?;
        let Ok(file) = log_dir.open(own, false) else { return Ok(false) };
        let bytes = file.len().map_err(failed)?;
        drop(file);
        if !self.report.files.contains(&path) {
            let aside = self.report.kept_aside.clone().unwrap_or_default();
            let to = self.dir.subdir(&aside, false).and_then(|aside| aside.subdir(LOG_DIR, true));
            copy(&*log_dir, &*to.map_err(failed)?, own).map_err(failed)?;
            self.report.files.push(path.clone());
        }
        log_dir.remove(own).and_then(|()| log_dir.sync_dir()).map_err(failed)?;
        self.report.lost.push(Lost { file: path, offset: 0, bytes, seqs: None });
        Ok(true)
    }

    /// Sorts out what of the suspects is lost: not what has a newer version somewhere.
    fn settle(&mut self, engine: &WarpEngine, suspects: Vec<Suspect>) {
        let shared = &engine.shared;
        let list = shared.layers.snapshot();
        let name = |number: u32| match number {
            SYSTEM => "system".to_owned(),
            DEFAULT => DEFAULT_NAME.to_owned(),
            _ => shared
                .names()
                .ok()
                .and_then(|names| {
                    names.iter().find(|(_, of)| *of == number).map(|(name, _)| name.to_string())
                })
                .unwrap_or_else(|| format!("#{number}")),
        };
        for suspect in suspects {
            let is_same = |keyspace: u32, key: &[u8]| {
                suspect.key.as_ref().is_none_or(|(of, known)| *of == keyspace && known[..] == *key)
            };
            let mut is_newer = false;
            if let Some(hash) = suspect.hash {
                shared.table.entries(hash, |entry| is_newer |= is_same(entry.keyspace(), entry.key()));
                for layer in &list.layers[..suspect.layer.min(list.layers.len())] {
                    let found = layer.with_hash(hash).unwrap_or_default();
                    is_newer |= found.iter().any(|entry| is_same(entry.keyspace, &entry.key));
                }
            }
            if is_newer {
                continue;
            }
            match (suspect.key, suspect.stays) {
                (Some((keyspace, key)), Some(seq)) => {
                    self.report.doubtful.push(DoubtfulKey { keyspace: name(keyspace), key, seq: Seq(seq) });
                }
                (key, _) => self.report.lost_entries.push(LostEntry {
                    file: suspect.file,
                    offset: suspect.offset,
                    key: key.map(|(keyspace, key)| (name(keyspace), key)),
                    seq: suspect.seq.map(Seq),
                    older: suspect.older.map(Seq),
                }),
            }
        }
    }
}

/// Copies a file, so that the copy is durable; `false` if there is none. What the disk cannot read is zeros in the copy.
fn copy(from: &dyn Dir, to: &dyn Dir, name: &str) -> std::io::Result<bool> {
    let source = match from.open(name, false) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
        source => source?,
    };
    let target = to.create_new(name)?;
    let bytes = source.len()?;
    let mut buffer = vec![0; CHUNK_BYTES];
    let mut offset = 0;
    while offset < bytes {
        let len = usize::try_from(bytes - offset).unwrap_or(usize::MAX).min(CHUNK_BYTES);
        if warp_io::read_exact_at(&*source, offset, &mut buffer[..len]).is_err() {
            // Piece by piece, to lose no more than the disk does.
            for (piece, bytes) in buffer[..len].chunks_mut(PIECE_BYTES).enumerate() {
                if warp_io::read_exact_at(&*source, offset + (piece * PIECE_BYTES) as u64, bytes).is_err() {
                    bytes.fill(0);
                }
            }
        }
        write_all_at(&*target, offset, &buffer[..len])?;
        offset += len as u64;
    }
    target.sync_data()?;
    to.sync_dir()?;
    Ok(true)
}

/// A key, for those who need one that outlives what it was read from.
pub(crate) type OwnedKey = (u32, Vec<u8>);
