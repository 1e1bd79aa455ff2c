//! Views of points in time: the checkpoint to start from, and the log up to the point.

use std::sync::Arc;
use std::time::Duration;

use warp_checkpoint::{LayerAccess, Manifest, Opened};
use warp_io::{Clock, Dir};
use warp_wal::Until;

use crate::archive::{archive_dir, log_dirs};
use crate::environment::{Background, Environment};
use crate::error::{Error, ErrorKind, Result};
use crate::from_crates::{checkpoint_error, log_error};
use crate::open::{self, Found, State, describe, log_recovery, nothing, start_of, subdirectories};
use crate::options::{Options, Recovery};
use crate::point::{PointInTime, PointRange, millis_of, time_of};
use crate::read_view::ReadView;
use crate::readers::settled;
use crate::shared::Shared;
use crate::types::Seq;

/// The view of a database that others may have open. Its files are held until everything was read that has to be.
pub(crate) fn open_at(
    dir: &dyn Dir,
    options: Options,
    environment: Environment,
    point: PointInTime,
) -> Result<ReadView> {
    let options = options.read_only(true);
    let start = environment.clock.monotonic();
    let _held = open::hold(dir)?;
    let (log_dir, layers_dir) = subdirectories(dir, false)?;
    let archive = archive_dir(&options, &environment)?;
    let access = options.layer_access();
    let history = History { dir, log_dir, layers_dir, access, archive, options: &options, last: None };
    let still = Still::new(&environment, point);
    let (state, seq) = settled(|| history.find(point, &still))?;
    let engine = state.start(dir, None, start, options, &still.environment)?;
    Ok(ReadView::new(engine, seq))
}

/// The view of a database that is open.
pub(crate) fn view_at(shared: &Shared, point: PointInTime) -> Result<ReadView> {
    shared.check_open()?;
    let needed = |last: u64| match point {
        PointInTime::Seq(seq) => seq.0.min(last),
        PointInTime::Time(_) => last,
    };
    of_open(shared, needed, point, |history, still, _| history.find(point, still))
}

/// The view of a database that is open as it is now: from the newest checkpoint, whatever had expired when that was taken.
pub(crate) fn latest(shared: &Shared) -> Result<ReadView> {
    shared.check_open()?;
    let now = PointInTime::Time(time_of(shared.time.unix_millis()));
    of_open(shared, |last| last, now, |history, still, last| history.latest(last, still))
}

/// A view of a database that is open. Given its last sequence, `needed` says up to where its log is synced first, and `find`
/// finds the state.
fn of_open(
    shared: &Shared,
    needed: impl FnOnce(u64) -> u64,
    point: PointInTime,
    find: impl FnOnce(&History<'_>, &Still, u64) -> Result<(State, Seq)>,
) -> Result<ReadView> {
    let Some(home) = &shared.home else {
        return Err(Error::new(ErrorKind::Unsupported, "an engine without files has no history"));
    };
    let environment = Environment {
        clock: Arc::new(shared.time.clone()),
        seed: shared.hash_seed,
        background: Background::Stepped,
        advice: Some(Arc::clone(&shared.advice)),
        log_archive: home.archive.clone(),
    };
    let mut options = shared.options.clone().read_only(true);
    // The caller's code is not to run while removal waits.
    options.on_progress = None;
    let start = environment.clock.monotonic();
    // Until everything that is read has been read: a file that was opened can be read after it was removed, but what
    // is listed has to be there until it is opened, and together with what it needs. From before the last sequence is
    // asked for: a checkpoint that is taken in between is too new for it, and must not have the older ones removed.
    let _held = home.removing.read();
    let last = shared.journal.last_seq();
    let needed = needed(last);
    if shared.journal.durable_seq() < needed {
        shared.journal.sync_to(needed)?;
        shared.waiters.wake(shared.journal.durable_seq());
    }
    let history = History {
        dir: &*home.dir,
        log_dir: Arc::clone(&home.log_dir),
        layers_dir: Arc::clone(&home.layers_dir),
        // One bound for what the engine and its views keep of layers.
        access: home.access.clone(),
        archive: home.archive.clone(),
        options: &options,
        last: Some(last),
    };
    let still = Still::new(&environment, point);
    let (state, seq) = find(&history, &still, last)?;
    let engine = state.start(&*home.dir, None, start, options, &still.environment)?;
    Ok(ReadView::new(engine, seq))
}

/// The world of a view: time stands still in it.
struct Still {
    environment: Environment,
}

impl Still {
    fn new(environment: &Environment, point: PointInTime) -> Still {
        let unix_millis = match point {
            // Engine time is never before the latest time that was found in checkpoint and log, so that this leaves it
            // at that of the point.
            PointInTime::Seq(_) => 0,
            PointInTime::Time(time) => millis_of(time).min(environment.clock.unix_millis()),
        };
        let clock = Arc::new(StillClock { unix_millis, clock: Arc::clone(&environment.clock) });
        Still { environment: Environment { clock, ..environment.clone() } }
    }
}

/// A clock whose wall time stands still.
#[derive(Debug)]
struct StillClock {
    unix_millis: u64,
    clock: Arc<dyn Clock>,
}

impl Clock for StillClock {
    fn unix_millis(&self) -> u64 {
        self.unix_millis
    }

    fn monotonic(&self) -> Duration {
        self.clock.monotonic()
    }
}

/// What is left of a database's past.
struct History<'a> {
    dir: &'a dyn Dir,
    log_dir: Arc<dyn Dir>,
    layers_dir: Arc<dyn Dir>,
    access: LayerAccess,
    archive: Option<Arc<dyn Dir>>,
    options: &'a Options,
    /// The last sequence, if it is known; everything that the point needs up to there is durable.
    last: Option<u64>,
}

impl History<'_> {
    /// The state at a point, and the point's sequence.
    ///
    /// It starts from the newest checkpoint that holds nothing beyond the point, and that is as old as the point: a
    /// checkpoint leaves out what had expired when it was taken. If there is none as old, the oldest that holds nothing
    /// beyond it will do for a sequence, at the time of the checkpoint.
    fn find(&self, point: PointInTime, still: &Still) -> Result<(State, Seq)> {
        if let (PointInTime::Seq(seq), Some(last)) = (point, self.last)
            && seq.0 > last
        {
            return Err(self.refusal(Some(last))?);
        }
        let mut too_young: Option<State> = None;
        let mut below = u64::MAX;
        let mut rejected = Vec::new();
        while let Some(opened) = self.newest(point, below)? {
            below = opened.manifest.number;
            rejected.extend(opened.rejected.iter().map(|one| describe(one.number, &one.error)));
            match self.recover(point, opened, still) {
                Ok(state) if is_as_old(point, &state) => return self.answer(point, state, rejected),
                Ok(state) => too_young = Some(state),
                // What a better answer would need is damaged.
                Err(error) if too_young.is_some() => {
                    tracing::warn!(%error, "an older checkpoint cannot be used for a view");
                    break;
                }
                Err(error) => return Err(error),
            }
        }
        if self.is_whole()? {
            let manifest = nothing(&still.environment);
            let opened = Opened { manifest, layers: Vec::new(), rejected: Vec::new() };
            match self.recover(point, opened, still) {
                Ok(state) => return self.answer(point, state, rejected),
                Err(error) if too_young.is_some() => {
                    tracing::warn!(%error, "the log cannot be used from its beginning on for a view");
                }
                Err(error) => return Err(error),
            }
        }
        match too_young {
            Some(state) => self.answer(point, state, rejected),
            None => Err(self.refusal(self.last)?),
        }
    }

    /// The state at the last sequence, from the newest checkpoint.
    fn latest(&self, last: u64, still: &Still) -> Result<(State, Seq)> {
        let point = PointInTime::Seq(Seq(last));
        let opened = match self.newest(point, u64::MAX)? {
            Some(opened) => opened,
            None if self.is_whole()? => {
                Opened { manifest: nothing(&still.environment), layers: Vec::new(), rejected: Vec::new() }
            }
            None => return Err(self.refusal(self.last)?),
        };
        let rejected = opened.rejected.iter().map(|one| describe(one.number, &one.error)).collect();
        let state = self.recover(point, opened, still)?;
        self.answer(point, state, rejected)
    }

    /// The newest checkpoint below a number that holds nothing beyond the point.
    fn newest(&self, point: PointInTime, below: u64) -> Result<Option<Opened>> {
        let holds_nothing_beyond = |manifest: &Manifest| match point {
            PointInTime::Seq(seq) => manifest.highest <= seq.0,
            // What a checkpoint holds was in the log when it was published.
            PointInTime::Time(time) => manifest.time <= millis_of(time),
        };
        let is_wanted = |manifest: &Manifest| manifest.number < below && holds_nothing_beyond(manifest);
        match warp_checkpoint::newest_with(self.dir, &*self.layers_dir, &self.access, is_wanted) {
            // The log alone may do.
            Err(error @ warp_checkpoint::Error::NoUsableManifest { .. }) if self.is_whole()? => {
                tracing::error!(%error, "no checkpoint can be used for a view");
                Ok(None)
            }
            opened => opened.map_err(checkpoint_error),
        }
    }

    /// Replays the log from a checkpoint to the point.
    fn recover(&self, point: PointInTime, opened: Opened, still: &Still) -> Result<State> {
        let Opened { manifest, layers, .. } = opened;
        let last = self.last.unwrap_or(u64::MAX);
        let until = match point {
            PointInTime::Seq(seq) => Until { seq: seq.0, time: u64::MAX },
            PointInTime::Time(time) => Until { seq: last, time: millis_of(time) },
        };
        // Of an open database all that is asked for was synced.
        let durable = self.last.map_or(manifest.highest, |last| last.min(until.seq)).max(manifest.highest);
        let found = Found {
            access: self.access.clone(),
            next_manifest: manifest.number,
            next_layer: manifest.next_layer,
            is_new: layers.is_empty() && manifest.highest == 0,
            manifest,
            layers,
            rejected: Vec::new(),
            log_dir: Arc::clone(&self.log_dir),
            layers_dir: Arc::clone(&self.layers_dir),
            archive: self.archive.clone(),
            is_salvaged_from_log: false,
            durable,
            until,
        };
        // From the beginning of the log on, a hole is not to be passed over: nothing would tell what was in it.
        let from_nothing = found.is_new && self.options.recovery == Recovery::Salvage;
        let recovery = if from_nothing { Recovery::TrimTornTail } else { self.options.recovery };
        State::recover(found, &self.options.clone().recovery(recovery), &still.environment)
    }

    /// The answer, unless the log ends before the point.
    fn answer(&self, point: PointInTime, mut state: State, rejected: Vec<String>) -> Result<(State, Seq)> {
        state.found.rejected = rejected;
        let has = state.replay.last_seq.max(state.found.manifest.replay_from.saturating_sub(1));
        match point {
            PointInTime::Seq(seq) if seq.0 > has && !state.replay.stopped => {
                Err(self.refusal(Some(self.last.unwrap_or(has)))?)
            }
            PointInTime::Seq(seq) => Ok((state, seq)),
            PointInTime::Time(_) => Ok((state, Seq(has.min(self.last.unwrap_or(u64::MAX))))),
        }
    }

    fn log_dirs(&self) -> Vec<&dyn Dir> {
        log_dirs(&self.log_dir, self.archive.as_ref())
    }

    /// Whether the log is there from its beginning, so that no checkpoint is needed.
    fn is_whole(&self) -> Result<bool> {
        Ok(warp_wal::first_seq(&self.log_dirs()).map_err(log_error)? == 1)
    }

    /// The error that says which points can be had; `last` is the last sequence, if it is known.
    fn refusal(&self, last: Option<u64>) -> Result<Error> {
        let mut oldest: Option<Manifest> = None;
        let mut newest: Option<Manifest> = None;
        for number in warp_checkpoint::list(self.dir).map_err(checkpoint_error)? {
            let Ok(manifest) = warp_checkpoint::load(self.dir, number) else { continue };
            oldest.get_or_insert_with(|| manifest.clone());
            newest = Some(manifest);
        }
        let (first, since) = match &oldest {
            _ if self.is_whole()? => (0, 0),
            Some(oldest) => (oldest.highest, oldest.time),
            None => return Err(Error::new(ErrorKind::Corrupt, "there is no checkpoint and no whole log")),
        };
        let last = match last {
            Some(last) => last,
            None => self.end(&newest.unwrap_or_default())?,
        };
        Ok(PointRange::new(first, last, since).refuse())
    }

    /// The last sequence of the log, of which `newest` is the newest checkpoint.
    fn end(&self, newest: &Manifest) -> Result<u64> {
        let start = start_of(newest, newest.highest);
        let recovery = log_recovery(self.options.recovery);
        let until = Until::default();
        let report = warp_wal::replay_until(
            &[&*self.log_dir],
            recovery,
            start,
            until,
            warp_wal::Apply::InOrder(&mut |_, _| {}),
            &mut |_, _| {},
        );
        Ok(report.map_err(log_error)?.last_seq.max(newest.highest))
    }
}

/// Whether a state has everything that was there at the point.
fn is_as_old(point: PointInTime, state: &State) -> bool {
    match point {
        PointInTime::Seq(_) => state.found.manifest.time <= state.replay.latest_time,
        PointInTime::Time(_) => true,
    }
}
