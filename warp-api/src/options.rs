//! Settings: plain data, with a default for everything.

use std::fmt;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use warp_checkpoint::{BlockCache, LayerAccess};
use warp_io::{Dir, OsDir};

use crate::environment::Environment;
use crate::error::{Error, Result, directory_error};
use crate::point::PointInTime;
use crate::progress::Progress;
use crate::read_view::ReadView;
use crate::{WarpEngine, open, open_at};

/// Smallest log segment, in bytes.
pub const LOG_SEGMENT_BYTES_MIN: u64 = warp_wal::SEGMENT_BYTES_MIN;
/// Largest log segment, in bytes.
pub const LOG_SEGMENT_BYTES_MAX: u64 = warp_wal::SEGMENT_BYTES_MAX;
/// Smallest log buffer, in bytes.
pub const LOG_BUFFER_BYTES_MIN: usize = warp_wal::BUFFER_BYTES_MIN;
/// Largest log buffer, in bytes.
pub const LOG_BUFFER_BYTES_MAX: usize = warp_wal::BUFFER_BYTES_MAX;

/// The least that a memory budget has beyond the log's buffer, in bytes.
pub const MEMORY_BUDGET_MIN: u64 = 8 << 20;
/// An open is to replay at most so many times the log that calls for a checkpoint, if nothing else is said: with fewer a load
/// waits for merges half of the time, with more an open takes longer than anybody waits.
const REPLAYED_CALLS: u64 = 16;
/// Blocks of layers take at most this part of the memory budget: they do not make room for entries.
const LAYER_CACHE_PART: u64 = 4;
/// What a machine is taken to have that does not say.
const MEMORY_UNKNOWN: u64 = 4 << 30;

/// The most threads that recover if nothing else is said.
const RECOVERY_THREADS_DEFAULT_MAX: usize = 8;
/// The most that may be asked for.
const RECOVERY_THREADS_MAX: usize = 256;

/// When a write is acknowledged, and so what survives what.
///
/// In all three, what is there after a crash is a prefix of the order in which the writes were made; see
/// `docs/durability.md`.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq, serde::Serialize)]
pub enum Durability {
    /// Acknowledged once it, and every earlier write, is on the disk. Survives a power loss.
    Sync,
    /// Acknowledged at once; handed to the operating system within 10 ms, and on the disk within the flush
    /// interval and one sync. A killed process loses at most the last 10 ms, a power loss at most the flush
    /// interval and one sync.
    #[default]
    Interval,
    /// Acknowledged at once; handed to the operating system within 10 ms. A killed process loses at most the
    /// last 10 ms, a power loss everything since the last sync that something else asked for.
    Os,
}

impl Durability {
    /// The stronger of the two.
    pub(crate) fn stronger(self, other: Option<Durability>) -> Durability {
        match (self, other.unwrap_or(self)) {
            (Durability::Sync, _) | (_, Durability::Sync) => Durability::Sync,
            (Durability::Interval, _) | (_, Durability::Interval) => Durability::Interval,
            (Durability::Os, Durability::Os) => Durability::Os,
        }
    }
}

/// How the log's records are written. Both replay to the same state, and one directory may hold both.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum LogFormat {
    /// Compact and fast.
    #[default]
    Binary,
    /// One line of JSON a record: larger and slower, and readable with any text tool.
    Json,
}

/// What an open may do about a damaged log.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum Recovery {
    /// Nothing: a tail that a crash has torn is an error, too.
    Strict,
    /// Drop a torn tail, which holds nothing that was acknowledged as durable, and report it. Anything else
    /// that is damaged is an error.
    #[default]
    TrimTornTail,
    /// Keep everything that is sound, and list in the [`RecoveryReport`](crate::RecoveryReport) what is lost.
    Salvage,
}

/// Maxwell's demon: whether slots are moved between shards, so that writes fall evenly on the shards' locks.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum Demon {
    /// The background moves them when the load is uneven.
    #[default]
    Auto,
    /// [`WarpEngine::trigger_entropy_rebalancing`] moves them, and nobody else.
    Manual,
    /// Nobody does. Slots that were moved before stay where they are.
    Off,
}

/// Which parts of the physics layer give advice. They change how fast answers come, never what they are.
///
/// ```
/// use warp_api::{Options, Physics};
///
/// let physics = Physics { learning: true, ..Physics::default() };
/// let engine = Options::new().physics(physics).in_memory();
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Physics {
    /// Lay out related keys side by side in checkpoint layers, and, where reads have to wait for the disk, ask for the pages of several keys
    /// together, and bring partners into memory when a key is read from there (`prefetch_bytes`). Links and rules themselves are data, and
    /// are kept in any case.
    pub entanglement: bool,
    /// Measure how evenly the load falls on the shards.
    pub entropy: bool,
    /// Decide by use, size and the cost of reading it again which entry leaves memory, which is packed, and which comes
    /// in once memory is full. Off: any entry leaves, and whatever is read comes in.
    pub gravity: bool,
    /// Learn, once memory gets short, which entries are used again and when, and weigh them by that. Off: gravity weighs them by
    /// decayed counts of their uses, as it does where most entries are smaller than some 500 bytes. What was learned is kept over
    /// restarts. Means nothing without `gravity`.
    pub horizon: bool,
    /// How many times the price of memory a value that is read from a layer has to be worth to come in once memory is full; 1 or
    /// less: as much as what it pushes out. More is for fewer values that come and go. Not NaN. Only where the law of the horizon
    /// holds. Default: 2.
    pub promotion_price: f64,
    /// After an open, bring what was hot before it from the checkpoint's layers into memory, hottest first, a little at a time;
    /// keep a list of what is hot for that, at some of the checkpoints and at a close. See
    /// [`Options::warm_start_bytes`].
    pub warm_start: bool,
    /// Learn from what is read together which keys are partners, and bring partners into memory when a key is read that was not
    /// there either; keep what was learned over restarts. Keys longer than 38 bytes are nobody's partners. Default: no;
    /// `docs/physics.md` says what it costs and where it helps.
    pub learning: bool,
    /// The most memory that this takes, in bytes. Default: 4 MiB, which is some 40,000 keys.
    pub learning_bytes: usize,
    /// Of so many reads of a thread, the first 64 are looked at; 64 or less: all of them. Default: 4,096.
    pub learning_every: u32,
    /// The most bytes of values that are brought into memory a second as partners of what was read from the disk, whether they
    /// were learned, declared, or made by rules (`entanglement`, too, must be on for these); each one counts 4 KiB at the least.
    /// 0 for none. Default: 64 MiB.
    pub prefetch_bytes: u64,
    /// Whether slots are moved so that writes fall evenly on the shards. Default: by the background.
    pub demon: Demon,
    /// The evenness of writes over the shards below which the background moves slots, in `0.0..=1.0`, unless a law says otherwise.
    /// Default: 0.9999, which 64 shards fall below when their loads vary by 3 %.
    pub rebalance_below: f64,
    /// The most shortcuts that the network of wormholes learns from the routes that are asked for; they are part of the
    /// answers then, and are kept over restarts. Default: 0, none: where hops are real passages, a shortcut that nobody has built
    /// is of no use.
    pub wormholes_learned: usize,
    /// Time after which what was measured counts half: the load of shards, at a millisecond at the least, and, at a
    /// second at the least, how much entries were used (their mass) and what routes were asked for. The demon's own
    /// measure of slots fades with each of its looks. Default: 60 s.
    pub half_life: Duration,
    /// Follow the laws of the levels, which [`WarpEngine::set_laws`] sets. Off: they are stored and told, and nothing follows
    /// them, durability included. Default: yes.
    pub laws: bool,
}

impl Default for Physics {
    fn default() -> Physics {
        Physics {
            entanglement: true,
            entropy: true,
            gravity: true,
            horizon: true,
            promotion_price: 2.0,
            warm_start: true,
            learning: false,
            learning_bytes: 4 << 20,
            learning_every: 4096,
            prefetch_bytes: 64 << 20,
            demon: Demon::Auto,
            rebalance_below: 0.9999,
            wormholes_learned: 0,
            half_life: Duration::from_secs(60),
            laws: true,
        }
    }
}

impl Physics {
    /// All advice off. Laws are still followed: they are what the program itself has said, and no advice.
    #[must_use]
    pub fn off() -> Physics {
        Physics {
            entanglement: false,
            entropy: false,
            gravity: false,
            horizon: false,
            warm_start: false,
            learning: false,
            demon: Demon::Off,
            wormholes_learned: 0,
            ..Physics::default()
        }
    }
}

/// What an engine without files does with a put for which its memory budget has no room.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum WhenFull {
    /// Answer `Full`; nothing that was put is lost.
    #[default]
    Refuse,
    /// Evict entries that are worth least: what was put may be gone, as from a cache.
    Evict,
}

/// How a database is opened: settings with defaults, and [`Options::open`].
///
/// ```
/// use warp_api::{Durability, Options};
///
/// # fn main() -> warp_api::Result<()> {
/// # let scratch = tempfile::tempdir().unwrap();
/// # let path = scratch.path();
/// let engine = Options::new().durability(Durability::Sync).log_segment_bytes(1 << 20).open(path)?;
/// engine.put("key", "value")?; // on the disk when this returns
/// engine.close()
/// # }
/// ```
#[derive(Clone)]
pub struct Options {
    pub(crate) durability: Durability,
    pub(crate) flush_interval: Duration,
    pub(crate) checkpoint_interval: Duration,
    pub(crate) checkpoint_log_bytes: u64,
    pub(crate) replay_bytes_max: Option<u64>,
    pub(crate) checkpoints_kept: usize,
    pub(crate) checkpoint_on_drop: bool,
    pub(crate) log_format: LogFormat,
    pub(crate) log_segment_bytes: u64,
    pub(crate) log_buffer_bytes: usize,
    pub(crate) log_archive: Option<PathBuf>,
    pub(crate) memory_budget: Option<u64>,
    pub(crate) when_full: WhenFull,
    pub(crate) compress_values_from: Option<usize>,
    pub(crate) map_layers: bool,
    pub(crate) layer_cache_bytes: usize,
    pub(crate) recovery: Recovery,
    pub(crate) recovery_threads: usize,
    pub(crate) create: bool,
    pub(crate) read_only: bool,
    pub(crate) on_progress: Option<ProgressFn>,
    pub(crate) warm_start_bytes: u64,
    pub(crate) read_ahead_bytes: u64,
    pub(crate) physics: Physics,
}

pub(crate) type ProgressFn = Arc<dyn Fn(&Progress) + Send + Sync>;

impl Default for Options {
    fn default() -> Options {
        Options {
            durability: Durability::Interval,
            flush_interval: Duration::from_millis(100),
            checkpoint_interval: Duration::from_secs(300),
            checkpoint_log_bytes: 256 << 20,
            replay_bytes_max: None,
            checkpoints_kept: 3,
            checkpoint_on_drop: false,
            log_format: LogFormat::Binary,
            log_segment_bytes: 64 << 20,
            log_buffer_bytes: 8 << 20,
            log_archive: None,
            memory_budget: None,
            when_full: WhenFull::Refuse,
            compress_values_from: Some(1024),
            map_layers: true,
            layer_cache_bytes: 64 << 20,
            recovery: Recovery::TrimTornTail,
            recovery_threads: std::thread::available_parallelism()
                .map_or(1, NonZeroUsize::get)
                .min(RECOVERY_THREADS_DEFAULT_MAX),
            create: true,
            read_only: false,
            on_progress: None,
            warm_start_bytes: 1 << 30,
            read_ahead_bytes: u64::MAX,
            physics: Physics::default(),
        }
    }
}

impl Options {
    /// The defaults.
    #[must_use]
    pub fn new() -> Options {
        Options::default()
    }

    /// When writes are acknowledged, unless a handle or a write says otherwise. Default: `Interval`.
    #[must_use]
    pub fn durability(mut self, durability: Durability) -> Options {
        self.durability = durability;
        self
    }

    /// The longest time between two syncs of the log while there is anything to sync. Default: 100 ms.
    #[must_use]
    pub fn flush_interval(mut self, interval: Duration) -> Options {
        self.flush_interval = interval;
        self
    }

    /// The longest time between two checkpoints while anything is written. Default: 5 minutes.
    #[must_use]
    pub fn checkpoint_interval(mut self, interval: Duration) -> Options {
        self.checkpoint_interval = interval;
        self
    }

    /// A checkpoint is due once this many bytes of records have gathered in the log since the last one. Default: 256 MiB.
    ///
    /// What an open has to replay follows from it: up to twice as much; up to three times where at least every fourth
    /// write is to a key that was written since the last checkpoint was due, since the next one then leaves those keys
    /// to the log and writes what nobody has overwritten
    /// ([`CheckpointReport::left_to_log`](crate::CheckpointReport::left_to_log)); and more where writers log faster
    /// than checkpoints follow, see [`replay_bytes_max`](Options::replay_bytes_max).
    #[must_use]
    pub fn checkpoint_log_bytes(mut self, bytes: u64) -> Options {
        self.checkpoint_log_bytes = bytes;
        self
    }

    /// The most bytes of records that an open has to replay, about. Default: sixteen times
    /// [`checkpoint_log_bytes`](Options::checkpoint_log_bytes), 4 GiB, which takes some ten seconds.
    ///
    /// Where writers log faster than checkpoints follow, as beside one that merges large layers, they are slowed down: what they
    /// log may get ahead as the checkpoint that is being taken goes on, and beyond that each thread writes 32 KiB, or one larger
    /// batch, in a tenth of a second; [`CheckpointMetrics::writers_held_up`](crate::CheckpointMetrics::writers_held_up) counts
    /// it. A write that must not wait gets [`ErrorKind::Busy`](crate::ErrorKind::Busy) then. Less means a shorter open after a
    /// crash, and slower loads.
    ///
    /// With less than five times `checkpoint_log_bytes` no checkpoint leaves to the log what is overwritten soon. At
    /// least twice `checkpoint_log_bytes`, and 8 MiB; `u64::MAX` for no bound. Nobody is slowed down for a checkpoint
    /// that has failed, nor in an engine that is stepped by hand
    /// ([`Background::Stepped`](crate::Background::Stepped)).
    #[must_use]
    pub fn replay_bytes_max(mut self, bytes: u64) -> Options {
        self.replay_bytes_max = Some(bytes);
        self
    }

    /// How many checkpoints are kept, with every layer and log segment that they need. At least 1; default: 3.
    #[must_use]
    pub fn checkpoints_kept(mut self, count: usize) -> Options {
        self.checkpoints_kept = count;
        self
    }

    /// Whether dropping the last handle takes a checkpoint, as [`WarpEngine::close`] does. Default: no; the log
    /// is synced in any case.
    #[must_use]
    pub fn checkpoint_on_drop(mut self, yes: bool) -> Options {
        self.checkpoint_on_drop = yes;
        self
    }

    /// How new log segments are written. Default: binary.
    #[must_use]
    pub fn log_format(mut self, format: LogFormat) -> Options {
        self.log_format = format;
        self
    }

    /// The size of a log segment, in bytes, from [`LOG_SEGMENT_BYTES_MIN`] to [`LOG_SEGMENT_BYTES_MAX`]. The first
    /// ones after an open are smaller. Default: 64 MiB.
    #[must_use]
    pub fn log_segment_bytes(mut self, bytes: u64) -> Options {
        self.log_segment_bytes = bytes;
        self
    }

    /// The size of the buffer between writers and the log, in bytes, from [`LOG_BUFFER_BYTES_MIN`] to
    /// [`LOG_BUFFER_BYTES_MAX`]; writers wait when it is full. Default: 8 MiB.
    #[must_use]
    pub fn log_buffer_bytes(mut self, bytes: usize) -> Options {
        self.log_buffer_bytes = bytes;
        self
    }

    /// Keeps the segments of the log that no checkpoint needs any more in the directory at `path`, which is made if there
    /// is none, instead of removing them: [`Options::open_at`] and [`WarpEngine::view_at`] then reach every point in time
    /// since the log began, if it is whole. Default: none.
    ///
    /// One directory belongs to one database. The engine never removes anything from it. A segment that cannot be copied
    /// there, since the disk is full for instance, stays in the log, is reported, and is tried again after the next
    /// checkpoint. See `docs/durability.md`.
    #[must_use]
    pub fn log_archive(mut self, path: impl Into<PathBuf>) -> Options {
        self.log_archive = Some(path.into());
        self
    }

    /// How much memory the engine may take, in bytes: anonymous resident memory of the table, of values, of the log's
    /// buffer, and of what it has learned. At least [`MEMORY_BUDGET_MIN`] more than the log's buffer. Default: half of what
    /// the machine has, or what the process's control groups allow, if that is less.
    ///
    /// Once it is used up, entries that a checkpoint has leave memory, those that are worth least first, and are read from
    /// its layers; what was changed since the last checkpoint cannot leave, so that a checkpoint is taken when that fills
    /// half of the budget, and writers are slowed, and in the end wait, when it fills nearly all. Without files a put beyond
    /// the budget is refused, or evicts, as [`when_full`](Options::when_full) says.
    ///
    /// Mapped pages of layers are the system's page cache, and are not counted; blocks of layers that are kept with
    /// [`map_layers(false)`](Options::map_layers) are. Values that handles of the program keep
    /// alive are counted, and reported as pinned.
    #[must_use]
    pub fn memory_budget(mut self, bytes: u64) -> Options {
        self.memory_budget = Some(bytes);
        self
    }

    /// What an engine without files does with a put beyond the memory budget. Default: [`WhenFull::Refuse`].
    #[must_use]
    pub fn when_full(mut self, what: WhenFull) -> Options {
        self.when_full = what;
        self
    }

    /// Values of at least this many bytes are compressed with LZ4 in the log and in layers, where that saves
    /// at least an eighth. `usize::MAX` turns compression off. Default: 1,024.
    #[must_use]
    pub fn compress_values_from(mut self, bytes: usize) -> Options {
        self.compress_values_from = (bytes != usize::MAX).then_some(bytes);
        self
    }

    /// Whether checkpoint layers are read through memory maps, which is the fastest: nothing is copied, and the system's
    /// page cache is the only one. Default: yes.
    ///
    /// With `false` they are read block by block into a cache of [`layer_cache_bytes`](Options::layer_cache_bytes). Choose
    /// that where the disk may fail and the process must not end by it: a part that the disk cannot read, or that is gone
    /// since the file was cut behind the engine's back, is then an error of the call that needs it, of kind `Io` or
    /// `Corrupt`, with the file and the place. Under a map the system ends the process with a signal instead.
    ///
    /// ```
    /// use warp_api::Options;
    ///
    /// # fn main() -> warp_api::Result<()> {
    /// # let scratch = tempfile::tempdir().unwrap();
    /// # let path = scratch.path();
    /// let engine = Options::new().map_layers(false).layer_cache_bytes(16 << 20).open(path)?;
    /// engine.put("key", "value")?;
    /// engine.close()
    /// # }
    /// ```
    #[must_use]
    pub fn map_layers(mut self, yes: bool) -> Options {
        self.map_layers = yes;
        self
    }

    /// How many bytes of layers are kept in memory with [`map_layers(false)`](Options::map_layers); of no meaning
    /// otherwise. The blocks that are asked for again stay. They count against [`memory_budget`](Options::memory_budget), and
    /// take a quarter of it at most. Default: 64 MiB.
    #[must_use]
    pub fn layer_cache_bytes(mut self, bytes: usize) -> Options {
        self.layer_cache_bytes = bytes;
        self
    }

    /// How layers are read.
    pub(crate) fn layer_access(&self) -> LayerAccess {
        if self.map_layers {
            LayerAccess::Map
        } else {
            let most = usize::try_from(self.budget_bytes() / LAYER_CACHE_PART).unwrap_or(usize::MAX);
            LayerAccess::Read(BlockCache::new(self.layer_cache_bytes.min(most)))
        }
    }

    /// What an open may do about a damaged log. Default: [`Recovery::TrimTornTail`].
    #[must_use]
    pub fn recovery(mut self, recovery: Recovery) -> Options {
        self.recovery = recovery;
        self
    }

    /// How many threads bring the log's tail into memory at an open, the calling one among them; 0 is taken for 1, and more than
    /// 256 are refused.
    /// Default: as many as the machine runs at a time, at most eight: each may hold some megabytes of the log.
    #[must_use]
    pub fn recovery_threads(mut self, threads: usize) -> Options {
        self.recovery_threads = threads;
        self
    }

    /// Whether a database is made where there is none. Default: yes.
    #[must_use]
    pub fn create(mut self, yes: bool) -> Options {
        self.create = yes;
        self
    }

    /// Whether the database is opened for reading only: every write is refused with `ReadOnly`, and no file of the
    /// database is changed. Default: no.
    ///
    /// A directory has one engine that writes, which holds the lock on its file `LOCK`, and any number of readers meanwhile,
    /// in any process. They see what was there when they opened it, and share a lock on the file `READERS`, which is made if
    /// there is none, until they are closed: no file is removed under them. See `docs/durability.md`.
    #[must_use]
    pub fn read_only(mut self, yes: bool) -> Options {
        self.read_only = yes;
        self
    }

    /// Called now and then while long work goes on, on the thread that does the work. It must not call the
    /// engine.
    #[must_use]
    pub fn on_progress(mut self, report: impl Fn(&Progress) + Send + Sync + 'static) -> Options {
        self.on_progress = Some(Arc::new(report));
        self
    }

    /// The most bytes of keys and values that the background brings into memory after an open because they were hot before
    /// it; see [`Physics::warm_start`]. Default: 1 GiB.
    #[must_use]
    pub fn warm_start_bytes(mut self, bytes: u64) -> Options {
        self.warm_start_bytes = bytes;
        self
    }

    /// The most bytes of layer files that the background has the system read into its page cache after an open, so that
    /// reads of what is not in memory need not wait for the disk one by one. It begins only where there is room for all
    /// of them: not if they have more than this, than what the memory budget leaves after the open, or than half of what
    /// the machine has available. The page cache is the system's, which takes it back when it needs it. 0: never.
    /// Default: no bound but those. Nothing is read where a database is open for reading only.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let scratch = tempfile::tempdir()?;
    /// // For a disk whose bandwidth others need, and data of which little is ever read.
    /// let engine = warp_api::Options::new().read_ahead_bytes(0).open(scratch.path())?;
    /// assert_eq!(engine.cosmic_metrics().read_ahead.map(|ahead| ahead.bytes), Some(0));
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn read_ahead_bytes(mut self, bytes: u64) -> Options {
        self.read_ahead_bytes = bytes;
        self
    }

    /// Which parts of the physics layer give advice. Default: all but learned partners and learned wormholes.
    #[must_use]
    pub fn physics(mut self, physics: Physics) -> Options {
        self.physics = physics;
        self
    }

    /// Opens the database in the directory at `path`; it is made if there is none, unless
    /// [`create(false)`](Options::create) was said.
    ///
    /// The cost is that of the newest checkpoint's footers and of the log since then; it does not grow with
    /// the number of entries.
    ///
    /// ```
    /// use warp_api::{Durability, Options};
    ///
    /// # fn main() -> warp_api::Result<()> {
    /// # let scratch = tempfile::tempdir().unwrap();
    /// # let path = scratch.path();
    /// let options = Options::new().memory_budget(256 << 20).durability(Durability::Sync);
    /// let engine = options.open(path)?;
    /// engine.put("key", "survives a power loss once this returns")?;
    /// # engine.close()
    /// # }
    /// ```
    ///
    /// # Errors
    /// `Invalid` for settings outside their limits, `NotFound`, `Locked`, `Io`, `Full`, `Corrupt`, `Unsupported`.
    pub fn open(self, path: impl AsRef<Path>) -> Result<WarpEngine> {
        let path = path.as_ref();
        let may_create = self.create && !self.read_only;
        let dir = OsDir::open(path, may_create)
            .map_err(|error| directory_error("cannot open the database directory", error).at(path))?;
        self.open_in(&dir, Environment::default())
    }

    /// Opens the database in a directory that is handed in, with clock, seed and background work as
    /// `environment` says: a simulated disk, for instance.
    ///
    /// # Errors
    /// As [`Options::open`].
    pub fn open_in(self, dir: &dyn Dir, environment: Environment) -> Result<WarpEngine> {
        self.check()?;
        open::open(dir, self, environment)
    }

    /// The database in the directory at `path` as it was at a point in time, for reading only, whoever has it open
    /// meanwhile.
    ///
    /// It starts from a kept checkpoint, and replays the log up to the point. No file of the database is changed. While the
    /// view is made, and no longer, it shares the lock of readers, as with [`read_only`](Options::read_only).
    ///
    /// # Errors
    /// `OutOfRange` if the point cannot be had; [`Error::points`] says which can. `Invalid` for settings outside their
    /// limits, `NotFound`, `Locked`, `Io`, `Corrupt`, `Unsupported`.
    pub fn open_at(self, path: impl AsRef<Path>, point: PointInTime) -> Result<ReadView> {
        let path = path.as_ref();
        let dir = OsDir::open(path, false)
            .map_err(|error| directory_error("cannot open the database directory", error).at(path))?;
        self.open_at_in(&dir, Environment::default(), point)
    }

    /// As [`Options::open_at`], in a directory that is handed in, with clock and seed as `environment` says.
    ///
    /// # Errors
    /// As [`Options::open_at`].
    pub fn open_at_in(self, dir: &dyn Dir, environment: Environment, point: PointInTime) -> Result<ReadView> {
        self.check()?;
        open_at::open_at(dir, self, environment, point)
    }

    /// An engine without any files: what it holds ends with it, and settings of files mean nothing to it.
    #[must_use]
    pub fn in_memory(self) -> WarpEngine {
        open::in_memory(self, Environment::default())
    }

    /// As [`Options::in_memory`], with clock, seed and background work as `environment` says.
    #[must_use]
    pub fn in_memory_in(self, environment: Environment) -> WarpEngine {
        open::in_memory(self, environment)
    }

    /// The most that an open is to replay.
    pub(crate) fn most_replayed(&self) -> u64 {
        self.replay_bytes_max.unwrap_or_else(|| self.checkpoint_log_bytes.saturating_mul(REPLAYED_CALLS))
    }

    /// The least that a memory budget may be with these options.
    pub(crate) fn budget_bytes_min(&self) -> u64 {
        MEMORY_BUDGET_MIN + self.log_buffer_bytes as u64
    }

    /// The memory budget, that of this machine if none was set.
    pub(crate) fn budget_bytes(&self) -> u64 {
        // The same for all engines of a process: asking reads files of the system's.
        static LIMIT: OnceLock<u64> = OnceLock::new();
        self.memory_budget.unwrap_or_else(|| {
            let limit = LIMIT.get_or_init(|| warp_io::memory_limit().unwrap_or(MEMORY_UNKNOWN));
            let half = limit / 2;
            half.max(MEMORY_BUDGET_MIN + self.log_buffer_bytes as u64)
        })
    }

    pub(crate) fn check(&self) -> Result<()> {
        if !(LOG_SEGMENT_BYTES_MIN..=LOG_SEGMENT_BYTES_MAX).contains(&self.log_segment_bytes) {
            return Err(Error::invalid("log_segment_bytes is outside its limits"));
        }
        if !(LOG_BUFFER_BYTES_MIN..=LOG_BUFFER_BYTES_MAX).contains(&self.log_buffer_bytes) {
            return Err(Error::invalid("log_buffer_bytes is outside its limits"));
        }
        if self.checkpoints_kept == 0 {
            return Err(Error::invalid("checkpoints_kept must be at least 1"));
        }
        if self.budget_bytes() < self.budget_bytes_min() {
            return Err(Error::invalid("memory_budget leaves too little beside log_buffer_bytes"));
        }
        if self.recovery_threads > RECOVERY_THREADS_MAX {
            return Err(Error::invalid("recovery_threads is above its limit"));
        }
        if self.flush_interval.is_zero() || self.checkpoint_interval.is_zero() {
            return Err(Error::invalid("an interval must be longer than zero"));
        }
        if !(0.0..=1.0).contains(&self.physics.rebalance_below) {
            return Err(Error::invalid("rebalance_below is not in 0.0..=1.0"));
        }
        if self.physics.promotion_price.is_nan() {
            return Err(Error::invalid("promotion_price is not a number"));
        }
        Ok(())
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("durability", &self.durability)
            .field("flush_interval", &self.flush_interval)
            .field("checkpoint_interval", &self.checkpoint_interval)
            .field("checkpoint_log_bytes", &self.checkpoint_log_bytes)
            .field("replay_bytes_max", &self.replay_bytes_max)
            .field("checkpoints_kept", &self.checkpoints_kept)
            .field("log_format", &self.log_format)
            .field("log_segment_bytes", &self.log_segment_bytes)
            .field("log_buffer_bytes", &self.log_buffer_bytes)
            .field("log_archive", &self.log_archive)
            .field("memory_budget", &self.memory_budget)
            .field("when_full", &self.when_full)
            .field("compress_values_from", &self.compress_values_from)
            .field("map_layers", &self.map_layers)
            .field("layer_cache_bytes", &self.layer_cache_bytes)
            .field("recovery", &self.recovery)
            .field("recovery_threads", &self.recovery_threads)
            .field("warm_start_bytes", &self.warm_start_bytes)
            .field("read_ahead_bytes", &self.read_ahead_bytes)
            .field("physics", &self.physics)
            .finish_non_exhaustive()
    }
}
