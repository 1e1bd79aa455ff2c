//! Opening: the newest sound checkpoint, then the log's tail.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use parking_lot::{Mutex, RwLock};
use warp_checkpoint::{Layer, LayerAccess, Manifest, Obsolete};
use warp_core::{KeyRef, Replayed, Replayer, SLOTS, Table, TableFull, TableOptions};
use warp_io::{Clock, Dir, DirLock};
use warp_physics::{Entanglement, Rules};
use warp_wal::{Apply, Format, Kind, Log, LogOptions, Position, ReplayReport, Start, Until, Worker};

use crate::advice::{Advice, PhysicsAdvice};
use crate::archive::{archive_dir, log_dirs};
use crate::background::{self, Inbox, Threads};
use crate::behind::Behind;
use crate::budget::{Budget, HUGE_PAGES_FROM};
use crate::commit::Waiters;
use crate::counters::Counters;
use crate::demon::DemonState;
use crate::engine::WarpEngine;
use crate::engine_time::EngineTime;
use crate::entropy::LoadMonitor;
use crate::environment::{Background, Environment};
use crate::error::{Error, ErrorKind, Result, chain, directory_error};
use crate::expiry::ExpiryQueue;
use crate::fetching::Fetching;
use crate::floors::{DROPPED, Floors};
use crate::from_crates::{checkpoint_error, log_error, table_full};
use crate::home::{Catalog, Home, LAYERS_DIR, LOG_DIR};
use crate::journal::Journal;
use crate::latency::Latencies;
use crate::laws::AllLaws;
use crate::layers::Layers;
use crate::learned::LearnedState;
use crate::learning::Learning;
use crate::links;
use crate::log_bound::LogBound;
use crate::merge::Backoff;
use crate::names::Names;
use crate::options::{LogFormat, MEMORY_BUDGET_MIN, Options, Recovery};
use crate::order::Order;
use crate::progress::{Progress, Task};
use crate::read::ColdReads;
use crate::read_ahead::ReadAhead;
use crate::readers::{hold_files, settled};
use crate::reason::Requests;
use crate::recovery_report::{Lost, RecoveryReport, Trimmed};
use crate::residency::Residency;
use crate::shared::{SHARDS, Shared};
use crate::tend::Tended;
use crate::types::Seq;
use crate::warm_start::WarmStart;
use crate::wormholes::Network;
use crate::worth::WorthKept;

/// The first sequence number of a database.
const SEQ_FIRST: u64 = 1;
/// No manifest and no layer ever has a number beyond this: a million a second would take 290,000 years. A file that
/// says so is none of the engine's, and what is counted on from it never overflows.
const NUMBER_MAX: u64 = u64::MAX / 2;

pub(crate) fn open(dir: &dyn Dir, options: Options, environment: Environment) -> Result<WarpEngine> {
    let start = environment.clock.monotonic();
    let lock = if options.read_only { hold(dir)? } else { lock(dir, options.create)? };
    let read = || State::recover(Found::read(dir, &options, &environment)?, &options, &environment);
    let state = if options.read_only { settled(read)? } else { read()? };
    tell(&state.report(environment.clock.monotonic().saturating_sub(start)));
    state.start(dir, Some(lock), start, options, &environment)
}

/// Keeps the files of a database as they are for a reader, who may read while an engine has it open. Where there is no
/// database nothing is left behind.
pub(crate) fn hold(dir: &dyn Dir) -> Result<DirLock> {
    look_for_database(dir)?;
    hold_files(dir)
}

/// Looks whether there is a database before a lock is taken, which leaves a file behind.
fn look_for_database(dir: &dyn Dir) -> Result<()> {
    if warp_checkpoint::list(dir).map_err(checkpoint_error)?.is_empty() {
        dir.subdir(LOG_DIR, false).map_err(|error| directory_error("there is no database", error))?;
    }
    Ok(())
}

/// Takes a database's lock. Where there is none, and none may be made, nothing is left behind.
pub(crate) fn lock(dir: &dyn Dir, may_create: bool) -> Result<DirLock> {
    if !may_create {
        look_for_database(dir)?;
    }
    dir.try_lock_exclusive().map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock => Error::new(ErrorKind::Locked, "the database is open elsewhere"),
        _ => directory_error("cannot lock the database", error),
    })
}

/// A checkpoint with what the log has beyond it.
pub(crate) struct State {
    pub(crate) found: Found,
    pub(crate) replay: ReplayReport,
    /// How long that took.
    pub(crate) replay_elapsed: Duration,
    table: Table,
    floors: Floors,
    expiry: ExpiryQueue,
    time: EngineTime,
    journal: Journal,
    /// Whether the log's tail has declared links.
    new_links: bool,
}

impl State {
    /// Replays the log.
    pub(crate) fn recover(found: Found, options: &Options, environment: &Environment) -> Result<State> {
        let table = Table::with_options(table_options(options, found.manifest.hash_seed));
        let floors = Floors::default();
        for (keyspace, floor) in &found.manifest.floors {
            // The write that raised it is durable, and its sequence of no more use to anybody.
            floors.raise(*keyspace, *floor, 0);
        }
        let expiry = ExpiryQueue::default();
        let time = EngineTime::new(Arc::clone(&environment.clock));
        time.seen(found.manifest.time);
        let recovered = Recovered {
            table: &table,
            floors: &floors,
            expiry: &expiry,
            is_full: AtomicBool::new(false),
            has_links: AtomicBool::new(false),
        };
        let start = environment.clock.monotonic();
        let (journal, replay) = replay(&found, options, environment, &time, &recovered)?;
        let replay_elapsed = environment.clock.monotonic().saturating_sub(start);
        if replay.lost.iter().any(|lost| lost.seqs.is_some()) {
            leave_newer_to_layers(&table, &found.layers);
        }
        let new_links = recovered.has_links.into_inner();
        Ok(State { found, replay, replay_elapsed, table, floors, expiry, time, journal, new_links })
    }

    /// What was found, by an opening that took so long.
    fn report(&self, elapsed: Duration) -> RecoveryReport {
        let State { found, replay, .. } = self;
        RecoveryReport {
            checkpoint: (!found.is_new).then_some(found.manifest.number),
            fallback: found.rejected.clone(),
            replayed: replay.entries,
            log_bytes: replay.bytes,
            // With nothing to replay it is what the checkpoint has.
            last_seq: Seq(replay.last_seq.max(found.manifest.replay_from.saturating_sub(1))),
            clean_close: replay.clean_close,
            trimmed: replay.trimmed.as_ref().map(|trimmed| Trimmed {
                file: format!("{LOG_DIR}/{}", trimmed.file),
                offset: trimmed.offset,
                bytes: trimmed.bytes,
            }),
            lost: replay
                .lost
                .iter()
                .map(|lost| Lost {
                    file: format!("{LOG_DIR}/{}", lost.file),
                    offset: lost.offset,
                    bytes: lost.bytes,
                    seqs: lost.seqs,
                })
                .collect(),
            elapsed,
            replay_elapsed: self.replay_elapsed,
        }
    }

    /// Starts an engine with it, whose opening began at `start` by the monotonic clock.
    pub(crate) fn start(
        self,
        dir: &dyn Dir,
        lock: Option<DirLock>,
        start: Duration,
        options: Options,
        environment: &Environment,
    ) -> Result<WarpEngine> {
        let now = environment.clock.monotonic();
        let recovery = self.report(now.saturating_sub(start));
        let State { found, replay, table, floors, expiry, time, journal, new_links, .. } = self;
        let current = ArcSwap::from_pointee(found.manifest.clone());
        let home = Home {
            dir: dir.handle(),
            log_dir: found.log_dir,
            layers_dir: found.layers_dir,
            access: found.access,
            catalog: Mutex::new(Catalog {
                manifest: found.manifest,
                next_manifest: found.next_manifest,
                next_layer: found.next_layer,
                taken: now,
                set_aside: None,
                changes: 0,
                has_failed: false,
                log_bytes: 0,
                segments: 0,
                replayed_bytes: replay.bytes,
                replay_log_bytes: 0,
                may_remove: found.rejected.is_empty() && !found.is_salvaged_from_log,
                is_current_unknown: false,
                backoff: Backoff::default(),
                left_behind: Obsolete::default(),
                garbage_looked: now,
            }),
            current,
            archive: found.archive,
            removing: RwLock::new(()),
            is_held_back: AtomicBool::new(false),
            has_left_behind: AtomicBool::new(!options.read_only),
            lock: Mutex::new(lock),
        };
        let layers = Layers::default();
        layers.publish(found.layers);
        let parts =
            Parts { table, floors, expiry, time, journal, layers, recovery, home: Some(home), new_links };
        start_engine(parts, options, environment)
    }
}

pub(crate) fn in_memory(options: Options, environment: Environment) -> WarpEngine {
    let parts = Parts {
        table: Table::with_options(TableOptions {
            tracked: false,
            ..table_options(&options, environment.seed)
        }),
        floors: Floors::default(),
        expiry: ExpiryQueue::default(),
        time: EngineTime::new(Arc::clone(&environment.clock)),
        journal: Journal::Memory(AtomicU64::new(SEQ_FIRST - 1)),
        layers: Layers::default(),
        recovery: RecoveryReport::default(),
        home: None,
        new_links: false,
    };
    let (shared, inbox) = assemble(parts, options, &environment, environment.seed);
    let shared = Arc::new(shared);
    let threads = match environment.background {
        Background::Threads => Threads::start_worker(&shared, inbox),
        Background::Stepped => Ok(Threads::default()),
    };
    let threads = threads.unwrap_or_else(|error| {
        // Everything works without it, but that memory of what has expired is not given back.
        tracing::error!(%error, "there is no background worker");
        Threads::default()
    });
    WarpEngine::new(shared, threads)
}

fn table_options(options: &Options, seed: u64) -> TableOptions {
    TableOptions { huge_pages: options.budget_bytes() >= HUGE_PAGES_FROM, ..TableOptions::new(SHARDS, seed) }
}

/// What an engine is put together from.
struct Parts {
    table: Table,
    floors: Floors,
    expiry: ExpiryQueue,
    time: EngineTime,
    journal: Journal,
    layers: Layers,
    recovery: RecoveryReport,
    home: Option<Home>,
    /// Whether the log's tail has declared links.
    new_links: bool,
}

fn start_engine(parts: Parts, options: Options, environment: &Environment) -> Result<WarpEngine> {
    let hash_seed =
        parts.home.as_ref().map_or(environment.seed, |home| home.catalog.lock().manifest.hash_seed);
    let read_only = options.read_only;
    let (shared, inbox) = assemble(parts, options, environment, hash_seed);
    let shared = Arc::new(shared);
    if let Err(error) = shared.load_rules() {
        // Who needs the rules is told; everything else can be read.
        tracing::error!(%error, "the rules cannot be read");
    }
    if let Err(error) = shared.load_wormholes() {
        // Likewise: there are no routes.
        tracing::error!(%error, "the wormholes cannot be read");
    }
    if let Err(error) = shared.load_laws() {
        // The defaults hold.
        tracing::error!(%error, "the laws cannot be read");
    }
    if let Err(error) = shared.load_balance() {
        // Slots stay where a new database has them, which changes no answer.
        tracing::error!(%error, "the places of slots cannot be read");
    }
    if let Err(error) = shared.load_names() {
        // Likewise.
        tracing::error!(%error, "the names of keyspaces cannot be read");
    }
    if read_only {
        shared.load_worth();
    }
    let threads = match environment.background {
        _ if read_only => Threads::default(),
        Background::Threads => Threads::start(&shared, inbox)?,
        Background::Stepped => {
            while shared.has_left_behind() {
                shared.remove_one_left_behind();
            }
            Threads::default()
        }
    };
    Ok(WarpEngine::new(shared, threads))
}

fn assemble(parts: Parts, options: Options, environment: &Environment, hash_seed: u64) -> (Shared, Inbox) {
    let (orders, inbox) = background::channels();
    let advice: Arc<dyn Advice> = match &environment.advice {
        Some(advice) => Arc::clone(advice),
        None => Arc::new(PhysicsAdvice { entanglement: options.physics.entanglement }),
    };
    let Parts { table, floors, expiry, time, journal, layers, recovery, home, new_links } = parts;
    let may_have_links = new_links || !layers.load().layers.is_empty();
    let shared = Shared {
        id: next_engine_id(),
        names: ArcSwap::from_pointee(Names::default()),
        names_unread: AtomicBool::new(false),
        clean_below: AtomicU64::new(home.as_ref().map_or(0, |home| home.current.load().replay_from)),
        expiry,
        load: LoadMonitor::new(
            options.physics.entropy,
            options.physics.half_life.max(Duration::from_millis(1)),
            &table,
        ),
        entanglement: ArcSwap::from_pointee(Entanglement::new(Rules::new())),
        counters: Counters::default(),
        demon: DemonState::new(&table),
        learning: Learning::new(&options.physics),
        fetching: Fetching::new(&options.physics, !options.read_only),
        laws: ArcSwap::from_pointee(AllLaws::default()),
        tended: Tended::default(),
        learned: LearnedState::default(),
        worth: WorthKept::default(),
        warm: WarmStart::default(),
        read_ahead: ReadAhead::new(home.is_some() && !options.read_only && options.read_ahead_bytes > 0),
        order: Order::default(),
        latencies: Latencies::default(),
        cold_reads: ColdReads::default(),
        behind: Behind::default(),
        budget: Budget::new(options.budget_bytes().max(MEMORY_BUDGET_MIN), options.when_full),
        log_bound: LogBound::new(
            options.checkpoint_log_bytes,
            options.most_replayed(),
            environment.background == Background::Threads,
            recovery.log_bytes,
        ),
        residency: Residency::new(options.budget_bytes(), options.physics.gravity),
        being_checkpointed: AtomicU64::new(0),
        waiters: Waiters::default(),
        ending: AtomicBool::new(false),
        log_ending: AtomicBool::new(false),
        running: AtomicUsize::new(0),
        rules_unread: AtomicBool::new(false),
        network: Network::new(options.physics.wormholes_learned),
        closed: AtomicBool::new(false),
        table,
        journal,
        layers,
        floors,
        advice,
        time,
        hash_seed,
        options,
        home,
        recovery,
        orders,
        background: environment.background,
        requests: Requests::default(),
        checkpoint_memory: AtomicU64::new(0),
        closed_list_bytes: AtomicU64::new(0),
        aside_keys: AtomicU64::new(0),
        aside_list_bytes: AtomicU64::new(0),
        new_links: AtomicBool::new(new_links),
        may_have_links: AtomicBool::new(may_have_links),
    };
    (shared, inbox)
}

/// A number that no other engine of this process has.
fn next_engine_id() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// What the directory holds.
pub(crate) struct Found {
    pub(crate) manifest: Manifest,
    pub(crate) layers: Vec<Layer>,
    pub(crate) rejected: Vec<String>,
    pub(crate) log_dir: Arc<dyn Dir>,
    pub(crate) layers_dir: Arc<dyn Dir>,
    pub(crate) access: LayerAccess,
    pub(crate) next_manifest: u64,
    pub(crate) next_layer: u64,
    pub(crate) is_new: bool,
    /// There was no manifest, but layers, which nothing names any more: they may be of use to whoever repairs.
    pub(crate) is_salvaged_from_log: bool,
    /// Where segments that the log did not need any more are.
    pub(crate) archive: Option<Arc<dyn Dir>>,
    /// A sequence up to which the log is known to have been durable.
    pub(crate) durable: u64,
    /// Where the replay is to end.
    pub(crate) until: Until,
}

impl Found {
    /// Finds the newest sound checkpoint, or makes the first one of a new database.
    pub(crate) fn read(dir: &dyn Dir, options: &Options, environment: &Environment) -> Result<Found> {
        let may_create = options.create && !options.read_only;
        let (log_dir, layers_dir) = subdirectories(dir, may_create)?;
        let access = options.layer_access();
        let opened =
            warp_checkpoint::newest_with(dir, &*layers_dir, &access, |_| true).map_err(checkpoint_error)?;
        let numbers = warp_checkpoint::list(dir).map_err(checkpoint_error)?;
        let is_new = opened.is_none();
        let (manifest, layers, rejected) = match opened {
            Some(opened) => {
                let rejected =
                    opened.rejected.iter().map(|rejected| describe(rejected.number, &rejected.error));
                (opened.manifest, opened.layers, rejected.collect())
            }
            None if !may_create => return Err(Error::new(ErrorKind::NotFound, "there is no database")),
            None => {
                check_log_alone(&*log_dir, &*layers_dir, options.recovery)?;
                (first_manifest(dir, environment)?, Vec::new(), Vec::new())
            }
        };
        let next_manifest = above(numbers.into_iter().max().unwrap_or(0).max(manifest.number), "manifest")?;
        let used = warp_checkpoint::layer_ids(&*layers_dir).map_err(checkpoint_error)?;
        let is_salvaged_from_log = is_new && !used.is_empty();
        let next_layer = match used.into_iter().max() {
            Some(id) => above(id, "layer")?.max(manifest.next_layer),
            None => manifest.next_layer,
        };
        Ok(Found {
            archive: match archive_dir(options, environment) {
                // Who only reads needs none, but for views.
                Err(error) if options.read_only && error.kind() == ErrorKind::NotFound => None,
                archive => archive?,
            },
            durable: manifest.highest,
            until: Until::default(),
            manifest,
            layers,
            rejected,
            log_dir,
            layers_dir,
            next_manifest,
            next_layer,
            access,
            is_new,
            is_salvaged_from_log,
        })
    }
}

pub(crate) fn describe(number: u64, error: &warp_checkpoint::Error) -> String {
    format!("checkpoint {number}: {}", chain(error))
}

pub(crate) fn subdirectories(dir: &dyn Dir, create: bool) -> Result<(Arc<dyn Dir>, Arc<dyn Dir>)> {
    let open =
        |name| dir.subdir(name, create).map_err(|error| directory_error("cannot open", error).at(name));
    let both = (open(LOG_DIR)?, open(LAYERS_DIR)?);
    if create {
        dir.sync_dir().map_err(|error| directory_error("cannot sync the database directory", error))?;
    }
    Ok(both)
}

/// The number after the largest in use.
fn above(number: u64, what: &str) -> Result<u64> {
    if number > NUMBER_MAX {
        return Err(Error::new(ErrorKind::Corrupt, format!("a {what} with a number that was never given")));
    }
    Ok(number + 1)
}

/// Without any manifest the directory is that of a new database, or of one whose checkpoints are lost. The log alone
/// is enough then, as long as it is whole, and is nothing where there are layers that nobody names any more.
fn check_log_alone(log_dir: &dyn Dir, layers_dir: &dyn Dir, recovery: Recovery) -> Result<()> {
    let has_log = !warp_wal::segment_names(log_dir).map_err(log_error)?.is_empty();
    let begins = warp_wal::first_seq(&[log_dir]).map_err(log_error)?;
    if begins > SEQ_FIRST && recovery != Recovery::Salvage {
        // Before a manifest is made for what cannot be the beginning of a database.
        return Err(Error::new(
            ErrorKind::Corrupt,
            "there is no manifest, and the log does not go back to the first write",
        ));
    }
    let has_layers = !warp_checkpoint::layer_ids(layers_dir).map_err(checkpoint_error)?.is_empty();
    if has_layers {
        let lost = || Error::new(ErrorKind::Corrupt, "there are layers, and no manifest that names them");
        if !has_log {
            return Err(lost());
        }
        let start = Start { from: SEQ_FIRST, durable: 0, near: None };
        let recovery = warp_wal::Recovery::TrimTornTail;
        warp_wal::replay_in(log_dir, recovery, start, Apply::InOrder(&mut |_, _| {}), &mut |_, _| {})
            .map_err(|error| lost().caused_by(error))?;
    }
    if has_log {
        tracing::warn!("no manifest is left; recovering from the log alone");
    }
    Ok(())
}

/// Publishes the first manifest of a new database: no layers, and the log from its beginning.
fn first_manifest(dir: &dyn Dir, environment: &Environment) -> Result<Manifest> {
    let manifest = Manifest { time: environment.clock.unix_millis(), ..nothing(environment) };
    warp_checkpoint::publish(dir, &manifest).map_err(|error| checkpoint_error(error.source))?;
    Ok(manifest)
}

/// The checkpoint before the first write.
pub(crate) fn nothing(environment: &Environment) -> Manifest {
    Manifest {
        number: 1,
        database_id: environment.database_id(),
        hash_seed: environment.seed,
        replay_from: SEQ_FIRST,
        highest: 0,
        layers: Vec::new(),
        next_layer: 1,
        floors: Vec::new(),
        time: 0,
        near: None,
    }
}

/// Where the log is read from, beyond a checkpoint.
pub(crate) fn start_of(manifest: &Manifest, durable: u64) -> Start {
    let near = manifest.near.map(|place| Position { segment: place.segment.into(), offset: place.offset });
    Start { from: manifest.replay_from, durable, near }
}

/// Brings the log's tail into the table.
fn replay(
    found: &Found,
    options: &Options,
    environment: &Environment,
    time: &EngineTime,
    recovered: &Recovered<'_>,
) -> Result<(Journal, ReplayReport)> {
    let start = start_of(&found.manifest, found.durable);
    let recovery = log_recovery(options.recovery);
    // Floors that the log has raised: what it had before them is in memory by then.
    let raised = Mutex::new(BTreeMap::new());
    let worker = || -> Worker<'_> {
        let (expiry, raised) = (recovered.expiry, &raised);
        let mut replayer = recovered.table.replayer(|Replayed { hash, deadline, former, .. }| {
            expiry.note(hash, deadline, former.map(|former| former.deadline));
        });
        Box::new(move |seq, entry| {
            if entry.kind == Kind::KeyspaceFloor {
                let floor = logged_floor(seq, entry);
                recovered.floors.raise(entry.keyspace, floor, seq);
                let mut raised = raised.lock();
                let highest: &mut u64 = raised.entry(entry.keyspace).or_default();
                *highest = floor.max(*highest);
            } else {
                recovered.apply(&mut replayer, found.manifest.hash_seed, seq, entry);
            }
        })
    };
    // Stepped by hand, one seed has to repeat one run.
    let threads = match environment.background {
        Background::Threads => options.recovery_threads,
        Background::Stepped => 1,
    };
    let apply = Apply::Spread { threads, worker: &worker };
    let mut progress = |done, total| {
        if let Some(report) = &options.on_progress {
            report(&Progress { task: Task::Recovery, done, total: Some(total) });
        }
    };
    let (journal, report) = if options.read_only {
        // What a checkpoint needs is in the log; only a view may need what came before.
        let archive = found.archive.as_ref().filter(|_| found.until != Until::default());
        let dirs = log_dirs(&found.log_dir, archive);
        let report = warp_wal::replay_until(&dirs, recovery, start, found.until, apply, &mut progress)
            .map_err(log_error)?;
        (Journal::ReadOnly(report.last_seq.max(start.from.saturating_sub(1))), report)
    } else {
        let clock: Arc<dyn Clock> = Arc::new(time.clone());
        let settings = log_options(options, environment.seed);
        let (log, report) =
            Log::open_in(&*found.log_dir, clock, settings, recovery, start, apply, &mut progress)
                .map_err(log_error)?;
        (Journal::Disk(log), report)
    };
    if recovered.is_full.load(Ordering::Relaxed) {
        return Err(table_full(TableFull));
    }
    time.seen(report.latest_time);
    for (keyspace, floor) in raised.into_inner() {
        recovered.table.remove_below(keyspace, floor);
    }
    Ok((journal, report))
}

/// Takes out of the table what a layer has a newer version of. That is so only where a part of the log is missing: what the
/// log has is otherwise as new as anything in a layer.
fn leave_newer_to_layers(table: &Table, layers: &[Layer]) {
    for slot in 0..SLOTS {
        for (keyspace, key, entry) in table.slot_entries(slot) {
            let hash = table.hash_of(keyspace, &key);
            let is_newer = |layer: &Layer| {
                // What is damaged is for whoever reads the key.
                layer.find(hash, keyspace, &key).is_ok_and(|found| found.is_some_and(|it| it.seq > entry.seq))
            };
            if layers.iter().any(is_newer) {
                table.remove_clean(&[hash], u64::MAX, |of, older| of == keyspace && older.seq() == entry.seq);
            }
        }
    }
}

/// The floor that an entry of the log states: its own sequence, or that of a keyspace that was dropped.
fn logged_floor(seq: u64, entry: &warp_wal::Entry<'_>) -> u64 {
    if entry.value == DROPPED.to_le_bytes() { DROPPED } else { seq }
}

/// What the log's entries are brought into.
struct Recovered<'a> {
    table: &'a Table,
    floors: &'a Floors,
    expiry: &'a ExpiryQueue,
    /// Set when an entry found no place in the table.
    is_full: AtomicBool,
    /// Set when an entry declares links.
    has_links: AtomicBool,
}

impl Recovered<'_> {
    /// Brings one entry of the log into the table; the higher sequence stays.
    fn apply(
        &self,
        replayer: &mut Replayer<'_, impl FnMut(Replayed)>,
        hash_seed: u64,
        seq: u64,
        entry: &warp_wal::Entry<'_>,
    ) {
        let key = KeyRef::new(hash_seed, entry.keyspace, entry.key);
        let is_there = seq >= self.floors.of(entry.keyspace);
        let taken = match entry.kind {
            Kind::Put if is_there => replayer.put(key, entry.value, entry.deadline, seq),
            Kind::Delete if is_there => replayer.delete(key, seq),
            // Where slots are placed and how the load was is not state that an answer depends on.
            _ => return,
        };
        if links::is_links_key(entry.keyspace, entry.key) {
            self.has_links.store(true, Ordering::Relaxed);
        }
        if taken.is_err() {
            self.is_full.store(true, Ordering::Relaxed);
        }
    }
}

pub(crate) fn log_recovery(recovery: Recovery) -> warp_wal::Recovery {
    match recovery {
        Recovery::Strict => warp_wal::Recovery::Strict,
        Recovery::TrimTornTail => warp_wal::Recovery::TrimTornTail,
        Recovery::Salvage => warp_wal::Recovery::Salvage,
    }
}

fn log_options(options: &Options, seed: u64) -> LogOptions {
    LogOptions {
        format: match options.log_format {
            LogFormat::Binary => Format::Binary,
            LogFormat::Json => Format::Json,
        },
        segment_bytes: options.log_segment_bytes,
        buffer_bytes: options.log_buffer_bytes,
        compress_values_from: options.compress_values_from,
        flush_interval: options.flush_interval,
        seed,
        ..LogOptions::default()
    }
}

/// Says what was found, to whoever listens.
fn tell(recovery: &RecoveryReport) {
    for rejected in &recovery.fallback {
        tracing::error!(%rejected, "a checkpoint is damaged; an older one was used, and nothing is removed");
    }
    if let Some(trimmed) = &recovery.trimmed {
        let Trimmed { file, offset, bytes } = trimmed;
        tracing::warn!(%file, offset, bytes, "a torn tail of the log was dropped");
    }
    for lost in &recovery.lost {
        tracing::error!(file = %lost.file, offset = lost.offset, bytes = lost.bytes, "a part of the log is lost");
    }
    let elapsed = recovery.elapsed;
    tracing::info!(replayed = recovery.replayed, last_seq = %recovery.last_seq, ?elapsed, "database opened");
}
