//! Views: a database as it was at a point in time, for reading only.

use std::path::Path;
use std::time::SystemTime;

use warp_io::Clock;

use crate::calls::{link_read_calls, read_calls, walk_calls};
use crate::engine::WarpEngine;
use crate::error::{Error, ErrorKind, Result};
use crate::keyspace::{DEFAULT_NAME, Keyspace};
use crate::open_at;
use crate::options::Options;
use crate::point::{PointInTime, time_of};
use crate::recovery_report::RecoveryReport;
use crate::shared::Shared;
use crate::space::Space;
use crate::types::Seq;

/// A database as it was at a point in time: a handle that is cheap to clone and may be used from any thread.
///
/// Got from [`WarpEngine::open_at`] and [`WarpEngine::view_at`]. It has the engine's calls that read, and time stands
/// still in it: what had a deadline that was yet to come has one forever. It changes nothing on the disk; what was
/// written since the checkpoint that it starts from is in memory. See `docs/durability.md` for which points can be had.
///
/// ```
/// use warp_api::{PointInTime, WarpEngine};
///
/// # fn main() -> warp_api::Result<()> {
/// # let scratch = tempfile::tempdir().unwrap();
/// # let path = scratch.path();
/// let engine = WarpEngine::open(path)?;
/// let before = engine.put("key", "old")?;
/// engine.put("key", "new")?;
/// let view = engine.view_at(PointInTime::Seq(before))?;
/// assert_eq!(view.get("key")?.as_deref(), Some(&b"old"[..]));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct ReadView {
    /// An engine for reading only, whose log ends at the point and whose clock stands still.
    engine: WarpEngine,
    seq: Seq,
}

impl ReadView {
    pub(crate) fn new(engine: WarpEngine, seq: Seq) -> ReadView {
        ReadView { engine, seq }
    }

    /// The point: every write up to this sequence number is in the view, and none beyond.
    #[must_use]
    pub fn seq(&self) -> Seq {
        self.seq
    }

    /// The time that deadlines are compared with. That of the point, to the millisecond; or that of the checkpoint which
    /// the view starts from, if there is none that is as old as the point.
    #[must_use]
    pub fn time(&self) -> SystemTime {
        time_of(self.engine.shared.time.unix_millis())
    }

    /// Which checkpoint the view starts from, and what was replayed of the log.
    #[must_use]
    pub fn recovery_report(&self) -> &RecoveryReport {
        self.engine.recovery_report()
    }

    /// The keyspace of that name, as it was.
    ///
    /// # Errors
    /// `NotFound` if there was none; `Invalid` for a name outside the limits; `Corrupt` or `Io` if the names could not be
    /// read.
    pub fn keyspace(&self, name: impl AsRef<str>) -> Result<KeyspaceView> {
        let name = name.as_ref();
        crate::names::check(name)?;
        if name != DEFAULT_NAME && self.engine.shared.names()?.get(name).is_none() {
            return Err(Error::new(ErrorKind::NotFound, "there was no keyspace of that name"));
        }
        Ok(KeyspaceView(self.engine.keyspace(name)?))
    }

    /// The names of all keyspaces that there were, in order; `default` is always among them.
    ///
    /// # Errors
    /// `Corrupt` or `Io` if the names could not be read.
    pub fn keyspaces(&self) -> Result<Vec<String>> {
        self.engine.keyspaces()
    }

    /// The keyspace that the view's own calls are about.
    fn space(&self) -> Space<'_> {
        self.engine.space()
    }

    /// What the view is made of.
    pub(crate) fn shared(&self) -> &Shared {
        &self.engine.shared
    }
}

read_calls!(ReadView);
walk_calls!(ReadView);
link_read_calls!(ReadView);

/// A keyspace as it was at a point in time, got from [`ReadView::keyspace`].
#[derive(Clone, Debug)]
pub struct KeyspaceView(Keyspace);

impl KeyspaceView {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.0.name()
    }

    fn space(&self) -> Space<'_> {
        self.0.space()
    }
}

read_calls!(KeyspaceView);
walk_calls!(KeyspaceView);
link_read_calls!(KeyspaceView);

impl WarpEngine {
    /// The database in the directory at `path` as it was at a point in time, whoever has it open meanwhile. As
    /// [`Options::open_at`] with the default options.
    ///
    /// # Errors
    /// As [`Options::open_at`].
    pub fn open_at(path: impl AsRef<Path>, point: PointInTime) -> Result<ReadView> {
        Options::new().open_at(path, point)
    }

    /// This database as it was at a point in time, while reads and writes of it go on.
    ///
    /// What the point needs of the log is synced first. The view outlives the engine, and keeps no file from being
    /// removed; while it is made, checkpoints wait with removing what no longer is needed.
    ///
    /// # Errors
    /// `OutOfRange` if the point cannot be had; [`Error::points`] says which can. `Unsupported` for an engine without
    /// files; `Closed`; `Poisoned` if the log has failed, and the point is a time, or not durable; `Io`; `Corrupt` if what it needs is damaged.
    pub fn view_at(&self, point: PointInTime) -> Result<ReadView> {
        open_at::view_at(&self.shared, point)
    }
}
