//! The handle that programs hold.

use std::io::{BufRead, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::background::Threads;
use crate::calls::{
    deadline_calls, link_calls, link_read_calls, read_calls, swap_calls, walk_calls, write_calls,
};
use crate::checkpoint::CheckpointReport;
use crate::commit::Commit;
use crate::error::Result;
use crate::exchange::ExchangeReport;
use crate::keyspace::{DEFAULT, DEFAULT_NAME, Keyspace};
use crate::life::Life;
use crate::options::{Durability, Options};
use crate::reason::CheckpointReason;
use crate::recovery_report::RecoveryReport;
use crate::shared::Shared;
use crate::space::Space;
use crate::types::Seq;
use crate::verify::VerifyReport;
use crate::watch::Watch;
use crate::write::Terms;

/// An open database, or one without files: a handle that is cheap to clone and may be used from any thread.
///
/// Every read and every write of one key is linearizable. A write is acknowledged, by its call returning, as
/// the [`Durability`] of the handle or of the write says. The database is closed by [`WarpEngine::close`], or
/// by dropping the last handle, those of keyspaces included. The calls for keys and values are those of the keyspace
/// `default`; [`WarpEngine::keyspace`] gives others.
///
/// ```
/// use warp_api::WarpEngine;
///
/// # fn main() -> warp_api::Result<()> {
/// # let scratch = tempfile::tempdir().unwrap();
/// # let path = scratch.path();
/// let engine = WarpEngine::open(path)?;
/// engine.put("greeting", "hello")?;
/// assert_eq!(engine.get("greeting")?.as_deref(), Some(&b"hello"[..]));
/// engine.close()
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct WarpEngine {
    pub(crate) shared: Arc<Shared>,
    durability: Durability,
    life: Arc<Life>,
}

impl WarpEngine {
    /// Opens the database in the directory at `path` with the default [`Options`]; it is made if there is none.
    ///
    /// # Errors
    /// As [`Options::open`].
    pub fn open(path: impl AsRef<Path>) -> Result<WarpEngine> {
        Options::new().open(path)
    }

    /// An engine without any files: what it holds ends with it.
    #[must_use]
    pub fn in_memory() -> WarpEngine {
        Options::new().in_memory()
    }

    pub(crate) fn new(shared: Arc<Shared>, threads: Threads) -> WarpEngine {
        let life = Arc::new(Life::new(Arc::clone(&shared), threads));
        WarpEngine { durability: shared.options.durability, shared, life }
    }

    /// Closes the database: takes a checkpoint if anything was written since the last, syncs the log, and ends
    /// the background threads. Calls on other handles then answer `Closed`.
    ///
    /// # Errors
    /// `Io`, `Full` or `Poisoned` if the checkpoint or the log could not be written; the database is closed all
    /// the same, and the next open replays the log. `Closed` if it was closed before.
    pub fn close(self) -> Result<()> {
        self.life.end(true)
    }

    /// The same engine, with another default durability for every write made through the returned handle.
    #[must_use]
    pub fn with_durability(&self, durability: Durability) -> WarpEngine {
        WarpEngine { durability, ..self.clone() }
    }

    /// The keyspace of that name, which is made, as durably as any write, if there is none. The name `default` is that
    /// of the keyspace that the engine's own calls are about.
    ///
    /// A name is 1 to [`KEYSPACE_NAME_BYTES_MAX`](crate::KEYSPACE_NAME_BYTES_MAX) bytes long; there are at most
    /// [`KEYSPACES_MAX`](crate::KEYSPACES_MAX) at one time. The handle has the durability of this one.
    ///
    /// # Errors
    /// `Invalid` beyond these limits; `Closed`; `Corrupt` or `Io` if the names could not be read; as
    /// [`put`](WarpEngine::put) if it has to be made.
    pub fn keyspace(&self, name: impl AsRef<str>) -> Result<Keyspace> {
        let shared = &self.shared;
        shared.check_open()?;
        let (number, name) = shared.make_keyspace(name.as_ref(), self.terms())?;
        Ok(Keyspace::new(Arc::clone(shared), number, name, self.durability, Arc::clone(&self.life)))
    }

    /// The names of all keyspaces, in order; `default` is always among them.
    ///
    /// # Errors
    /// `Closed`; `Corrupt` or `Io` if the names could not be read.
    pub fn keyspaces(&self) -> Result<Vec<String>> {
        self.shared.check_open()?;
        let names = self.shared.names()?;
        let mut all: Vec<String> = names.iter().map(|(name, _)| name.to_string()).collect();
        all.push(DEFAULT_NAME.to_owned());
        all.sort_unstable();
        Ok(all)
    }

    /// Drops a keyspace with everything in it, its declared links included, at once and as a whole; `false`, with
    /// nothing written, if there is none of that name. Handles to it answer `NotFound` from then on. A keyspace that
    /// is made under the name later is another one.
    ///
    /// ```
    /// use warp_api::{ErrorKind, WarpEngine};
    ///
    /// # fn main() -> warp_api::Result<()> {
    /// let engine = WarpEngine::in_memory();
    /// let old = engine.keyspace("cache")?;
    /// old.put("key", "value")?;
    /// assert!(engine.drop_keyspace("cache")?);
    /// assert_eq!(old.get("key").unwrap_err().kind(), ErrorKind::NotFound);
    /// assert!(engine.keyspace("cache")?.is_empty()?);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`delete`](WarpEngine::delete); `Invalid` for the keyspace `default`, which can be cleared instead.
    pub fn drop_keyspace(&self, name: impl AsRef<str>) -> Result<bool> {
        self.shared.check_writable()?;
        self.shared.drop_keyspace(name.as_ref(), self.terms())
    }

    /// Returns once every earlier write, whoever made it, survives a power loss.
    ///
    /// # Errors
    /// `Io` if the sync failed, `Poisoned` if an earlier one did, `Closed`.
    pub fn sync(&self) -> Result<()> {
        self.shared.check_open()?;
        self.shared.sync_to(self.shared.journal.last_seq())
    }

    /// A promise that the write with this sequence number becomes durable; asking starts a sync.
    ///
    /// For a number that was not given yet the promise is broken at once, as `Invalid`.
    pub fn durable(&self, seq: Seq) -> Commit {
        Commit::new(Arc::clone(&self.shared), seq.0)
    }

    /// The last sequence number given.
    #[must_use]
    pub fn last_seq(&self) -> Seq {
        Seq(self.shared.journal.last_seq())
    }

    /// The sequence number up to which every write survives a power loss; 0 for an engine without files.
    #[must_use]
    pub fn durable_seq(&self) -> Seq {
        Seq(self.shared.journal.durable_seq())
    }

    /// Takes a checkpoint now, while reads and writes go on.
    ///
    /// ```
    /// use warp_api::WarpEngine;
    ///
    /// # fn main() -> warp_api::Result<()> {
    /// # let scratch = tempfile::tempdir().unwrap();
    /// # let path = scratch.path();
    /// let engine = WarpEngine::open(path)?;
    /// engine.put("key", "value")?;
    /// assert_eq!(engine.checkpoint()?.entries, 1);
    /// # engine.close()
    /// # }
    /// ```
    ///
    /// # Errors
    /// `Unsupported` for an engine without files; `Io` or `Full` if it could not be written: the checkpoint before
    /// stands, and nothing is lost; `ReadOnly`, `Poisoned`, `Closed`.
    pub fn checkpoint(&self) -> Result<CheckpointReport> {
        self.shared.take_checkpoint(CheckpointReason::Demand)
    }

    /// What the open of this engine found.
    #[must_use]
    pub fn recovery_report(&self) -> &RecoveryReport {
        &self.shared.recovery
    }

    /// The changes from now on of keys that begin with `prefix`, in all keyspaces: see [`Watch`].
    ///
    /// # Errors
    /// `Unsupported` for an engine without files, `Closed`. One that is open for reading only has no changes to come: the
    /// iterator ends at once.
    pub fn watch(&self, prefix: impl AsRef<[u8]>) -> Result<Watch> {
        self.shared.check_open()?;
        Watch::from_now(&self.shared, None, prefix.as_ref())
    }

    /// The changes with numbers above `seq` of keys that begin with `prefix`, in all keyspaces: from the log, and then as
    /// they come; see [`Watch`]. `Seq(0)` asks for everything.
    ///
    /// ```
    /// use warp_api::{ErrorKind, Seq, WarpEngine};
    ///
    /// # fn main() -> warp_api::Result<()> {
    /// # let scratch = tempfile::tempdir().unwrap();
    /// # let path = scratch.path();
    /// let engine = WarpEngine::open(path)?;
    /// let first = engine.put("a", "1")?;
    /// engine.put("b", "2")?;
    /// engine.close()?;
    ///
    /// let engine = WarpEngine::open(path)?;
    /// let mut changes = engine.changes_since(first, "")?;
    /// assert_eq!(&changes.try_next()?.unwrap().key[..], b"b");
    /// assert!(changes.try_next()?.is_none());
    /// # engine.close()
    /// # }
    /// ```
    ///
    /// # Errors
    /// `Lagged` if changes behind `seq` are not in the log any more; `Invalid` if `seq` was not given yet; `Unsupported` for
    /// an engine without files; `Corrupt` or `Io` if the log cannot be read; `Closed`.
    pub fn changes_since(&self, seq: Seq, prefix: impl AsRef<[u8]>) -> Result<Watch> {
        self.shared.check_open()?;
        Watch::since(&self.shared, None, prefix.as_ref(), seq)
    }

    /// Reads every file of the database, checks every checksum, and says what is wrong and where. Layers are read, and not
    /// mapped, for this: what the disk cannot read is a problem in the report.
    ///
    /// # Errors
    /// `Closed`; `Io` if the directory itself cannot be read. Damage is no error, but in the report.
    pub fn verify(&self) -> Result<VerifyReport> {
        self.shared.verify()
    }

    /// Writes everything that was put, and all keyspaces, declared links, rules, declared wormholes and laws, as lines of
    /// JSON, without loss; keys in order, by keyspaces.
    ///
    /// Of the keys it holds at most a sixteenth of the memory budget at a time, and those with declared links: where they are
    /// more, it looks through all of them again for each such part.
    ///
    /// ```
    /// use warp_api::WarpEngine;
    ///
    /// # fn main() -> warp_api::Result<()> {
    /// let engine = WarpEngine::in_memory();
    /// engine.put("key", "value")?;
    /// let mut lines = Vec::new();
    /// assert_eq!(engine.export(&mut lines)?.entries, 1);
    ///
    /// let other = WarpEngine::in_memory();
    /// other.import(&lines[..])?;
    /// assert_eq!(other.get("key")?.as_deref(), Some(&b"value"[..]));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`WarpEngine::get`]; `Io` if `out` fails.
    pub fn export(&self, out: impl Write) -> Result<ExchangeReport> {
        self.shared.export(out)
    }

    /// Reads what [`WarpEngine::export`] wrote. Keys that are there already are overwritten, and so are links, rules,
    /// wormholes and laws of levels.
    ///
    /// # Errors
    /// As [`put`](WarpEngine::put); `Invalid`, with the number of the line, for a line that is none of an export's, or longer than one with the
    /// largest value that the engine can hold. What the lines before it said may have been written.
    pub fn import(&self, lines: impl BufRead) -> Result<ExchangeReport> {
        self.shared.import(lines, self.terms())
    }

    /// Does what is due of the background work of an engine that was opened with
    /// [`Background::Stepped`](crate::Background::Stepped). Returns how long nothing more will be due if
    /// nothing is written.
    pub fn step(&self) -> Duration {
        self.shared.step()
    }

    /// Threads of the engine's own.
    pub(crate) fn threads(&self) -> usize {
        self.shared.running.load(Ordering::Relaxed)
    }

    pub(crate) fn terms(&self) -> Terms {
        Terms { durability: self.durability, no_wait: false }
    }

    /// The keyspace that the engine's own calls are about.
    pub(crate) fn space(&self) -> Space<'_> {
        Space { shared: &self.shared, keyspace: DEFAULT, durability: self.durability }
    }
}

read_calls!(WarpEngine);
write_calls!(WarpEngine);
swap_calls!(WarpEngine);
deadline_calls!(WarpEngine);
walk_calls!(WarpEngine);
link_read_calls!(WarpEngine);
link_calls!(WarpEngine);
