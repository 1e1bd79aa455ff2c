//! What is wrong with a database, and what there is to build upon.

use std::collections::BTreeMap;
use std::sync::Arc;

use warp_checkpoint::{Layer, LayerInfo, Manifest, layer_name, manifest_name};
use warp_io::Dir;
use warp_wal::{Apply, Start};

use crate::environment::Environment;
use crate::error::{Error, ErrorKind, Result};
use crate::from_crates::{checkpoint_error, log_error};
use crate::home::{LAYERS_DIR, LOG_DIR};
use crate::open::nothing;
use crate::options::Options;
use crate::progress::{Progress, Task};
use crate::recovery_report::Lost;
use crate::verify::Problem;

/// Everything that was looked at.
pub(super) struct Survey {
    log_dir: Arc<dyn Dir>,
    /// The numbers of all manifests, damaged ones included, ascending.
    pub(super) numbers: Vec<u64>,
    /// Those that can be read, ascending.
    manifests: Vec<Manifest>,
    /// Every layer that one of them names, and whether it is sound.
    layers: BTreeMap<u64, (LayerInfo, bool)>,
    /// The ids of all layer files.
    ids: Vec<u64>,
    pub(super) problems: Vec<Problem>,
    pub(super) next_manifest: u64,
    pub(super) last_seq: u64,
    /// Where the log ends, if that is before what a checkpoint knows to have been durable: nobody knows what came behind.
    ends_early: Option<(String, u64)>,
}

/// What a repair builds upon.
pub(super) struct Base {
    /// The checkpoint; `None` if there is none that can be read.
    pub(super) manifest: Option<Manifest>,
    /// Where the log is replayed from.
    pub(super) replay_from: u64,
    /// A sequence up to which the log was durable.
    pub(super) highest: u64,
    /// Whether the log is whole from the first write on, so that nothing else is needed.
    pub(super) is_log_enough: bool,
}

impl Survey {
    pub(super) fn read(
        dir: &dyn Dir,
        log_dir: &Arc<dyn Dir>,
        layers_dir: &Arc<dyn Dir>,
        options: &Options,
    ) -> Result<Survey> {
        let numbers = warp_checkpoint::list(dir).map_err(checkpoint_error)?;
        let ids = warp_checkpoint::layer_ids(&**layers_dir).map_err(checkpoint_error)?;
        let mut survey = Survey {
            log_dir: Arc::clone(log_dir),
            next_manifest: numbers.last().map_or(1, |last| last.saturating_add(1)),
            numbers,
            manifests: Vec::new(),
            layers: BTreeMap::new(),
            ids,
            problems: Vec::new(),
            last_seq: 0,
            ends_early: None,
        };
        for number in survey.numbers.clone() {
            match warp_checkpoint::load(dir, number) {
                Ok(manifest) => survey.manifests.push(manifest),
                Err(error @ warp_checkpoint::Error::Unsupported { .. }) => {
                    return Err(checkpoint_error(error));
                }
                Err(error) => {
                    let problem = Problem::of(&checkpoint_error(error));
                    survey.problems.push(Problem { file: manifest_name(number), ..problem });
                }
            }
        }
        survey.read_layers(layers_dir, options)?;
        survey.read_log()?;
        Ok(survey)
    }

    fn read_layers(&mut self, layers_dir: &Arc<dyn Dir>, options: &Options) -> Result<()> {
        let named: BTreeMap<u64, LayerInfo> = self
            .manifests
            .iter()
            .flat_map(|manifest| &manifest.layers)
            .map(|info| (info.id, *info))
            .collect();
        let total = named.len() as u64 + 1;
        let access = options.layer_access();
        for (done, (id, info)) in named.into_iter().enumerate() {
            if let Some(report) = &options.on_progress {
                report(&Progress { task: Task::Repair, done: done as u64, total: Some(total) });
            }
            let read = Layer::open_with(&**layers_dir, &info, &access).and_then(|layer| layer.verify());
            self.layers.insert(id, (info, read.is_ok()));
            match read {
                Ok(_) => {}
                Err(error @ warp_checkpoint::Error::Unsupported { .. }) => {
                    return Err(checkpoint_error(error));
                }
                Err(error) => {
                    let file = format!("{LAYERS_DIR}/{}", layer_name(id));
                    self.problems.push(Problem { file, ..Problem::of(&checkpoint_error(error)) });
                }
            }
        }
        Ok(())
    }

    fn read_log(&mut self) -> Result<()> {
        let from = self.manifests.iter().map(|manifest| manifest.replay_from).min();
        let start = Start { from: from.unwrap_or(0), durable: self.highest(), near: None };
        match warp_wal::verify(&*self.log_dir, start) {
            Ok(read) => {
                self.last_seq = read.replay.last_seq.max(self.highest());
                let highest = self.highest();
                let is_end = |lost: &&warp_wal::Lost| lost.seqs.is_some_and(|(_, last)| last >= highest);
                self.ends_early = read
                    .replay
                    .lost
                    .iter()
                    .rev()
                    .find(is_end)
                    .map(|lost| (format!("{LOG_DIR}/{}", lost.file), lost.offset));
                // A torn tail is no damage: an open drops it.
                let found = read.problems.iter();
                for problem in found.filter(|problem| problem.found != warp_wal::Corruption::TornTail) {
                    self.problems.push(Problem {
                        file: format!("{LOG_DIR}/{}", problem.file),
                        offset: Some(problem.offset),
                        what: problem.found.to_string(),
                    });
                }
            }
            Err(error) => match log_error(error) {
                error if error.kind() == ErrorKind::Corrupt => self.problems.push(Problem::of(&error)),
                error => return Err(error),
            },
        }
        Ok(())
    }

    /// The highest sequence that a checkpoint knows to have been durable.
    fn highest(&self) -> u64 {
        self.manifests.iter().map(|manifest| manifest.highest).max().unwrap_or(0)
    }

    pub(super) fn is_sound(&self) -> bool {
        self.problems.is_empty() && !self.manifests.is_empty()
    }

    /// The files that have problems, each once.
    pub(super) fn damaged_files(&self) -> Vec<String> {
        let mut files: Vec<String> = self.problems.iter().map(|problem| problem.file.clone()).collect();
        files.retain(|file| !file.is_empty());
        files.sort_unstable();
        files.dedup();
        files
    }

    /// The files of all layers that are not damaged.
    pub(super) fn layer_files(&self) -> Vec<String> {
        let damaged = self.damaged_files();
        let all = self.ids.iter().map(|id| format!("{LAYERS_DIR}/{}", layer_name(*id)));
        all.filter(|file| !damaged.contains(file)).collect()
    }

    pub(super) fn ids(&self) -> &[u64] {
        &self.ids
    }

    /// Whether a layer was read to its end, and nothing was wrong.
    pub(super) fn is_sound_layer(&self, id: u64) -> bool {
        self.layers.get(&id).is_some_and(|(_, is_sound)| *is_sound)
    }

    /// What is lost behind a log that ends early: the numbers from the first one on that no checkpoint has.
    pub(super) fn lost_end(&self) -> Option<Lost> {
        let (file, offset) = self.ends_early.clone()?;
        let first = self.highest().saturating_add(1);
        Some(Lost { file, offset, bytes: 0, seqs: Some((first, first)) })
    }

    /// Whether the log can be read from a sequence on without a loss.
    fn is_log_whole(&self, from: u64) -> bool {
        let start = Start { from, durable: self.highest(), near: None };
        let apply = Apply::InOrder(&mut |_, _| {});
        warp_wal::replay_in(&*self.log_dir, warp_wal::Recovery::TrimTornTail, start, apply, &mut |_, _| {})
            .is_ok_and(|report| report.lost.iter().all(|lost| lost.seqs.is_none()))
    }

    /// What loses the least: a checkpoint whose layers and log are whole, the newest one; or the newest one, or another
    /// form of it that a merge has left, with as much of the log as there is.
    pub(super) fn base(&self, environment: &Environment) -> Result<Base> {
        let highest = self.highest();
        let has_layers =
            |manifest: &Manifest| manifest.layers.iter().all(|info| self.is_sound_layer(info.id));
        let newest_first = || self.manifests.iter().rev();
        let whole =
            newest_first().find(|manifest| has_layers(manifest) && self.is_log_whole(manifest.replay_from));
        let Some(newest) = self.manifests.last() else { return self.base_without_manifest(environment) };
        let of = |manifest: &Manifest, replay_from| {
            Ok(Base { manifest: Some(manifest.clone()), replay_from, highest, is_log_enough: false })
        };
        if let Some(manifest) = whole {
            return of(manifest, manifest.replay_from);
        }
        let same = newest_first().find(|other| other.replay_from == newest.replay_from && has_layers(other));
        let manifest = same.unwrap_or(newest);
        // More of the log than is needed may have what a layer has lost.
        let mut starts: Vec<u64> = newest_first().map(|manifest| manifest.replay_from).collect();
        starts.sort_unstable();
        let start = starts.into_iter().find(|from| *from <= manifest.replay_from && self.is_log_whole(*from));
        of(manifest, start.unwrap_or(manifest.replay_from))
    }

    fn base_without_manifest(&self, environment: &Environment) -> Result<Base> {
        let is_log_enough =
            warp_wal::first_seq(&[&*self.log_dir]).map_err(log_error)? == 1 && self.is_log_whole(1);
        if !is_log_enough
            && self.ids.is_empty()
            && warp_wal::segment_names(&*self.log_dir).map_err(log_error)?.is_empty()
        {
            return Err(Error::new(ErrorKind::Corrupt, "nothing is left of the database"));
        }
        let first = nothing(environment).replay_from;
        Ok(Base {
            manifest: None,
            replay_from: if is_log_enough { first } else { 0 },
            highest: 0,
            is_log_enough,
        })
    }
}
