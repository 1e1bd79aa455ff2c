//! Reading everything, to say what is wrong and where.

use serde::Serialize;
use warp_checkpoint::{BlockCache, Layer, LayerAccess};
use warp_wal::Start;

use crate::error::{Error, Result};
use crate::from_crates::{checkpoint_error, log_error};
use crate::home::{Home, LOG_DIR};
use crate::progress::Task;
use crate::shared::Shared;

/// Bytes of blocks that are kept while a layer is read from front to back.
const PASSING_BYTES: usize = 1 << 20;

/// What [`WarpEngine::verify`](crate::WarpEngine::verify) read, and what is wrong.
#[derive(Clone, Debug, Default, Serialize)]
#[non_exhaustive]
pub struct VerifyReport {
    /// Checkpoints whose manifests were read.
    pub checkpoints: u64,
    /// Layers that were read to the last byte.
    pub layers: u64,
    /// Entries in those layers.
    pub layer_entries: u64,
    /// Segments of the log that were read.
    pub segments: u64,
    /// Entries in those segments that a recovery from the oldest kept checkpoint would replay.
    pub log_entries: u64,
    /// Everything that is wrong. Empty for a sound database.
    pub problems: Vec<Problem>,
}

/// Something that is wrong with a file.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Problem {
    /// The file, relative to the database's directory.
    pub file: String,
    /// Where in it, in bytes, if that is known.
    pub offset: Option<u64>,
    /// What is wrong.
    pub what: String,
}

impl VerifyReport {
    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.problems.is_empty()
    }
}

impl Problem {
    pub(crate) fn of(error: &Error) -> Problem {
        let file = error.path().map(|path| path.display().to_string()).unwrap_or_default();
        // The causes say it more exactly than the error itself, which names the file as well.
        let what = std::error::Error::source(error).map_or_else(|| error.to_string(), crate::error::chain);
        Problem { file, offset: error.offset(), what }
    }
}

impl Shared {
    pub(crate) fn verify(&self) -> Result<VerifyReport> {
        self.check_open()?;
        let mut report = VerifyReport::default();
        let Some(home) = &self.home else { return Ok(report) };
        // No file is removed while it is read, and checkpoints go on meanwhile: one that is published now is listed or not,
        // and what it needs is there before it.
        let _kept = home.removing.read();
        let current = home.current.load();
        let mut start = Start { from: current.replay_from, durable: current.highest, near: None };
        let manifests = warp_checkpoint::list(&*home.dir).map_err(checkpoint_error)?;
        let mut layers = std::collections::BTreeMap::new();
        for number in manifests {
            match warp_checkpoint::load(&*home.dir, number) {
                Ok(manifest) => {
                    report.checkpoints += 1;
                    start.from = start.from.min(manifest.replay_from);
                    layers.extend(manifest.layers.into_iter().map(|layer| (layer.id, layer)));
                }
                Err(error) => report.problems.push(Problem::of(&checkpoint_error(error))),
            }
        }
        // Never mapped: whoever looks for damage wants to be told of what cannot be read, and not to die of it.
        let access = LayerAccess::Read(BlockCache::new(PASSING_BYTES));
        let total = layers.len() as u64 + 1;
        for (done, layer) in layers.values().enumerate() {
            // Once it is closed, the directory may be somebody else's.
            self.check_open()?;
            self.progress(Task::Verify, done as u64, Some(total));
            match Layer::open_with(&*home.layers_dir, layer, &access).and_then(|layer| layer.verify()) {
                Ok(read) => {
                    report.layers += 1;
                    report.layer_entries += read.entries;
                }
                Err(error) => report.problems.push(Problem::of(&checkpoint_error(error))),
            }
        }
        verify_learned(home, &mut report);
        self.verify_log(home, start, &mut report)?;
        self.progress(Task::Verify, total, Some(total));
        Ok(report)
    }

    fn verify_log(&self, home: &Home, start: Start, report: &mut VerifyReport) -> Result<()> {
        if let Some(log) = self.journal.log().filter(|log| !log.is_poisoned()) {
            // What is written while the log is read is no damage, and everything before this must be sound.
            log.sync().map_err(log_error)?;
        }
        let mut read = warp_wal::verify_in_use(&*home.log_dir, start).map_err(log_error)?;
        if self.journal.log().is_some() {
            // What this engine is writing is no torn tail; it has ended the one that it found.
            read.problems.retain(|problem| problem.found != warp_wal::Corruption::TornTail);
        }
        report.segments = read.replay.segments;
        report.log_entries = read.replay.entries;
        for problem in read.problems {
            let file = format!("{LOG_DIR}/{}", problem.file);
            report.problems.push(Problem {
                file,
                offset: Some(problem.offset),
                what: problem.found.to_string(),
            });
        }
        Ok(())
    }
}

/// Damage in what was learned costs no data, and is damage all the same.
fn verify_learned(home: &Home, report: &mut VerifyReport) {
    for number in warp_checkpoint::list_advice(&*home.dir).unwrap_or_default() {
        let errors = match warp_checkpoint::load_advice(&*home.dir, number) {
            Ok(loaded) => loaded.damaged.into_iter().map(|damaged| damaged.error).collect(),
            // Of a newer program.
            Err(warp_checkpoint::Error::Unsupported { .. }) => Vec::new(),
            Err(error) => vec![error],
        };
        report.problems.extend(errors.into_iter().map(|error| Problem::of(&checkpoint_error(error))));
    }
}
