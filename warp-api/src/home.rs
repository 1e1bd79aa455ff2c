//! The database's directory, its lock, and the checkpoints that it holds.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use arc_swap::ArcSwap;
use parking_lot::{Mutex, RwLock};
use warp_checkpoint::{LayerAccess, Manifest, Obsolete};
use warp_io::{Dir, DirLock};

use crate::left_to_log::SetAside;
use crate::merge::Backoff;

/// Subdirectory of the log's segments.
pub(crate) const LOG_DIR: &str = "wal";
/// The file whose lock those share who read the directory while an engine has it open.
pub const READERS_FILE: &str = "READERS";
/// Subdirectory of the checkpoint layers.
pub(crate) const LAYERS_DIR: &str = "layers";

/// Where an engine's files are.
#[derive(Debug)]
pub(crate) struct Home {
    pub(crate) dir: Arc<dyn Dir>,
    pub(crate) log_dir: Arc<dyn Dir>,
    pub(crate) layers_dir: Arc<dyn Dir>,
    /// How the layers are read.
    pub(crate) access: LayerAccess,
    /// Where segments go that the log does not need any more; `None` if they are removed.
    pub(crate) archive: Option<Arc<dyn Dir>>,
    /// Held by whoever takes a checkpoint or merges: one at a time.
    pub(crate) catalog: Mutex<Catalog>,
    /// The newest published manifest, for those who do not wait.
    pub(crate) current: ArcSwap<Manifest>,
    /// Held for reading by whoever opens files that no checkpoint may need any more, and for writing by whoever removes
    /// such files.
    pub(crate) removing: RwLock<()>,
    /// Whether readers of another handle kept files from being removed when that was last tried.
    pub(crate) is_held_back: AtomicBool,
    /// Whether there may be many files to remove, as a crash or a reader leaves them: they go one by one until it is not so.
    pub(crate) has_left_behind: AtomicBool,
    /// The database's lock, or, if it is open for reading only, the hold on its files. Given back when the engine is
    /// closed, whatever handles are left.
    pub(crate) lock: Mutex<Option<DirLock>>,
}

/// What the newest checkpoint is, and what the next one will be called.
#[derive(Debug)]
pub(crate) struct Catalog {
    /// The newest published manifest.
    pub(crate) manifest: Manifest,
    /// The number of the next manifest; above every number in use, damaged ones included.
    pub(crate) next_manifest: u64,
    /// The id of the next layer; above every id in use.
    pub(crate) next_layer: u64,
    /// When the last checkpoint was taken or found, by the monotonic clock.
    pub(crate) taken: Duration,
    /// What the next checkpoint that is due by the size of the log writes, leaving what came since to it.
    pub(crate) set_aside: Option<SetAside>,
    /// Changes of keys that the engine had made when the lists of changed keys were last closed.
    pub(crate) changes: u64,
    /// Whether the last checkpoint was not published.
    pub(crate) has_failed: bool,
    /// The log's count of record bytes when the last checkpoint was taken, found, or put off.
    pub(crate) log_bytes: u64,
    /// Segments of the log that had been written to by then.
    pub(crate) segments: u64,
    /// Bytes of log that the open replayed, and that no checkpoint has made needless since.
    pub(crate) replayed_bytes: u64,
    /// What the log had taken in since the open where the replay of the newest checkpoint begins; 0 if that is before the open.
    pub(crate) replay_log_bytes: u64,
    /// Whether files that no kept checkpoint needs may go. Not after a fallback to an older checkpoint, whose
    /// newer ones may be of use to whoever repairs them.
    pub(crate) may_remove: bool,
    /// Whether publishing failed, and it is unknown whether it took place: both manifests must find their files then, until
    /// a later one is published.
    pub(crate) is_current_unknown: bool,
    /// How long merging is left out after it failed.
    pub(crate) backoff: Backoff,
    /// What is still to be removed of the files that were found to be left behind. Nothing ever needs one of them again.
    pub(crate) left_behind: Obsolete,
    /// When the layers were last looked at for garbage, by the monotonic clock.
    pub(crate) garbage_looked: Duration,
}

impl Catalog {
    /// Bytes of log that an open would replay now, when the log has taken in `taken_bytes`.
    pub(crate) fn tail_bytes(&self, taken_bytes: u64) -> u64 {
        taken_bytes.saturating_sub(self.replay_log_bytes) + self.replayed_bytes
    }
}
