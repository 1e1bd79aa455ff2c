//! The rivals: stores of other crates, and a log, each used as its documentation shows.
//!
//! `Sync` is one durable commit for each record, from as many threads as there are, so that a store that can gathers
//! what is committed at the same time. `Lazy` is the way in which the store itself says that commits are not waited for.

use std::future::poll_fn;
use std::path::Path;
use std::time::Duration;

use okaywal::{LogVoid, WriteAheadLog};
use redb::TableDefinition;
use surrealmx::{AolMode, DatabaseOptions, FsyncMode, PersistenceOptions};
use tokio::runtime::Runtime;

use super::committer::{Committer, Committing, Mode};
use crate::run::Outcome;

/// fjall: a log-structured tree with a journal.
pub(crate) struct Fjall {
    database: fjall::Database,
    keyspace: fjall::Keyspace,
    mode: Mode,
}

impl Fjall {
    /// Opens an empty one.
    ///
    /// # Errors
    /// What it answers.
    pub(crate) fn open(dir: &Path, mode: Mode) -> Outcome<Fjall> {
        let database = fjall::Database::builder(dir).open()?;
        let keyspace = database.keyspace("records", fjall::KeyspaceCreateOptions::default)?;
        Ok(Fjall { database, keyspace, mode })
    }
}

impl Committer for Fjall {
    fn commit(&self, _: usize, key: &[u8], value: &[u8]) -> Outcome<()> {
        self.keyspace.insert(key, value)?;
        if self.mode == Mode::Sync {
            self.database.persist(fjall::PersistMode::SyncData)?;
        }
        Ok(())
    }
}

/// redb: a copy-on-write tree.
pub(crate) struct Redb {
    database: redb::Database,
    mode: Mode,
}

const RECORDS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("records");

impl Redb {
    /// Makes an empty one.
    ///
    /// # Errors
    /// What it answers.
    pub(crate) fn open(dir: &Path, mode: Mode) -> Outcome<Redb> {
        Ok(Redb { database: redb::Database::create(dir.join("redb"))?, mode })
    }

    fn put(&self, key: &[u8], value: &[u8], durability: redb::Durability) -> Outcome<()> {
        let mut transaction = self.database.begin_write()?;
        transaction.set_durability(durability)?;
        transaction.open_table(RECORDS)?.insert(key, value)?;
        Ok(transaction.commit()?)
    }
}

impl Committer for Redb {
    fn commit(&self, _: usize, key: &[u8], value: &[u8]) -> Outcome<()> {
        let durability = match self.mode {
            Mode::Sync => redb::Durability::Immediate,
            Mode::Lazy => redb::Durability::None,
        };
        self.put(key, value, durability)
    }

    /// Pages that lazy commits have left behind are freed by a durable one only.
    fn settle(&self) -> Outcome<()> {
        self.put(b"settled", b"", redb::Durability::Immediate)
    }
}

/// surrealkv: a log-structured tree whose commits are futures of a runtime.
pub(crate) struct SurrealKv {
    tree: surrealkv::Tree,
    runtime: Runtime,
    mode: Mode,
}

impl SurrealKv {
    /// Opens an empty one, and a runtime for it.
    ///
    /// # Errors
    /// What it answers.
    pub(crate) fn open(dir: &Path, mode: Mode) -> Outcome<SurrealKv> {
        let runtime = Runtime::new()?;
        let entered = runtime.enter();
        let tree = surrealkv::TreeBuilder::new().with_path(dir.to_path_buf()).build()?;
        drop(entered);
        Ok(SurrealKv { tree, runtime, mode })
    }

    async fn put(&self, key: &[u8], value: &[u8]) -> Outcome<()> {
        let mut transaction = self.tree.begin()?;
        transaction.set_durability(match self.mode {
            Mode::Sync => surrealkv::Durability::Immediate,
            Mode::Lazy => surrealkv::Durability::Eventual,
        });
        transaction.set(key, value)?;
        Ok(transaction.commit().await?)
    }
}

impl Committer for SurrealKv {
    fn commit(&self, _: usize, key: &[u8], value: &[u8]) -> Outcome<()> {
        self.runtime.block_on(self.put(key, value))
    }

    fn commit_later<'a>(&'a self, key: &'a [u8], value: &'a [u8]) -> Option<Committing<'a>> {
        let mut put = Box::pin(self.put(key, value));
        // What it spawns goes to its own runtime; what it awaits can be polled by anybody. Entered for each poll, as
        // those of other commits come in between.
        Some(Box::pin(poll_fn(move |context| {
            let _entered = self.runtime.enter();
            put.as_mut().poll(context)
        })))
    }
}

/// surrealmx: versions in memory, and a log that is appended to.
pub(crate) struct SurrealMx(surrealmx::Database);

/// As long as ours takes until it syncs, in milliseconds.
const LAZY_SYNC_MS: u64 = 100;
const LAZY_SYNC: Duration = Duration::from_millis(LAZY_SYNC_MS);

impl SurrealMx {
    /// Opens an empty one.
    ///
    /// # Errors
    /// What it answers.
    pub(crate) fn open(dir: &Path, mode: Mode) -> Outcome<SurrealMx> {
        let (log, sync) = match mode {
            Mode::Sync => (AolMode::SynchronousOnCommit, FsyncMode::EveryAppend),
            Mode::Lazy => (AolMode::AsynchronousAfterCommit, FsyncMode::Interval(LAZY_SYNC)),
        };
        let options = PersistenceOptions::new(dir).with_aol_mode(log).with_fsync_mode(sync);
        Ok(SurrealMx(surrealmx::Database::new_with_persistence(DatabaseOptions::default(), options)?))
    }
}

impl Committer for SurrealMx {
    fn commit(&self, _: usize, key: &[u8], value: &[u8]) -> Outcome<()> {
        Ok(self.0.set(key, value)?)
    }
}

/// sled: a tree over a log-structured page store.
pub(crate) struct Sled {
    database: sled::Db,
    mode: Mode,
}

impl Sled {
    /// Opens an empty one.
    ///
    /// # Errors
    /// What it answers.
    pub(crate) fn open(dir: &Path, mode: Mode) -> Outcome<Sled> {
        let config = sled::Config::new().path(dir).flush_every_ms(Some(LAZY_SYNC_MS));
        Ok(Sled { database: config.open()?, mode })
    }
}

impl Committer for Sled {
    fn commit(&self, _: usize, key: &[u8], value: &[u8]) -> Outcome<()> {
        self.database.insert(key, value)?;
        if self.mode == Mode::Sync {
            self.database.flush()?;
        }
        Ok(())
    }
}

/// okaywal: a log without a store, which gathers what several threads commit at the same time.
pub(crate) struct OkayWal(WriteAheadLog);

impl OkayWal {
    /// Makes an empty one, which throws away what is beyond its checkpoint.
    ///
    /// # Errors
    /// What it answers.
    pub(crate) fn open(dir: &Path) -> Outcome<OkayWal> {
        Ok(OkayWal(WriteAheadLog::recover(dir, LogVoid)?))
    }
}

impl Committer for OkayWal {
    fn commit(&self, _: usize, key: &[u8], value: &[u8]) -> Outcome<()> {
        let mut entry = self.0.begin_entry()?;
        entry.write_chunk(&[key, value].concat())?;
        entry.commit()?;
        Ok(())
    }
}
