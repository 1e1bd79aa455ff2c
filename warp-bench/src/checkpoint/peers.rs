//! The rivals that are opened after a kill: stores of other crates, each used as its documentation shows. Loading gathers
//! records in transactions where a store has such.
#![expect(unsafe_code, reason = "opening LMDB has no safe form")]

use std::path::Path;
use std::time::Duration;

use heed::types::Bytes;
use heed::{CommitOrAbort, Database, Env, EnvOpenOptions};
use redb::{ReadableDatabase, TableDefinition};
use surrealmx::{AolMode, DatabaseOptions, FsyncMode, PersistenceOptions};

use super::stores::Stored;
use crate::keys::{Key, value};
use crate::run::Outcome;

/// Records of one transaction while a store is loaded.
const LOADED_AT_ONCE: usize = 10_000;
const RECORDS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("records");
/// Address space for LMDB, which is told once how large it may become.
const LMDB_BYTES_MAX: usize = 64 << 30;
/// As long as ours takes until it syncs.
const LAZY_SYNC: Duration = Duration::from_millis(100);

/// fjall: a log-structured tree with a journal.
pub(crate) struct Fjall {
    database: fjall::Database,
    keyspace: fjall::Keyspace,
}

impl Fjall {
    /// Opens it, or makes an empty one.
    ///
    /// # Errors
    /// What it answers.
    pub(crate) fn open(dir: &Path) -> Outcome<Fjall> {
        let database = fjall::Database::builder(dir).open()?;
        let keyspace = database.keyspace("records", fjall::KeyspaceCreateOptions::default)?;
        Ok(Fjall { database, keyspace })
    }
}

impl Stored for Fjall {
    fn put(&self, key: &[u8], value: &[u8]) -> Outcome<()> {
        Ok(self.keyspace.insert(key, value)?)
    }

    fn has(&self, key: &Key) -> Outcome<bool> {
        Ok(self.keyspace.get(key)?.is_some_and(|value| value.starts_with(key)))
    }

    fn sync(&self) -> Outcome<()> {
        Ok(self.database.persist(fjall::PersistMode::SyncData)?)
    }
}

/// redb: a copy-on-write tree.
pub(crate) struct Redb(redb::Database);

impl Redb {
    /// Opens it, or makes an empty one.
    ///
    /// # Errors
    /// What it answers.
    pub(crate) fn open(dir: &Path) -> Outcome<Redb> {
        Ok(Redb(redb::Database::create(dir.join("redb"))?))
    }

    fn write(&self, records: &[(&[u8], &[u8])], durability: redb::Durability) -> Outcome<()> {
        let mut transaction = self.0.begin_write()?;
        transaction.set_durability(durability)?;
        {
            let mut table = transaction.open_table(RECORDS)?;
            for (key, value) in records {
                table.insert(*key, *value)?;
            }
        }
        Ok(transaction.commit()?)
    }
}

impl Stored for Redb {
    fn put(&self, key: &[u8], value: &[u8]) -> Outcome<()> {
        self.write(&[(key, value)], redb::Durability::None)
    }

    fn load(&self, keys: &[Key]) -> Outcome<()> {
        for keys in keys.chunks(LOADED_AT_ONCE) {
            let values: Vec<_> = keys.iter().map(value).collect();
            let records: Vec<(&[u8], &[u8])> =
                keys.iter().zip(&values).map(|(key, value)| (&key[..], &value[..])).collect();
            self.write(&records, redb::Durability::Immediate)?;
        }
        Ok(())
    }

    fn has(&self, key: &Key) -> Outcome<bool> {
        let table = self.0.begin_read()?.open_table(RECORDS)?;
        Ok(table.get(&key[..])?.is_some_and(|value| value.value().starts_with(key)))
    }

    fn sync(&self) -> Outcome<()> {
        self.write(&[], redb::Durability::Immediate)
    }
}

/// surrealmx: versions in memory, and a log that is appended to.
pub(crate) struct SurrealMx(surrealmx::Database);

impl SurrealMx {
    /// Opens it, or makes an empty one.
    ///
    /// # Errors
    /// What it answers.
    pub(crate) fn open(dir: &Path) -> Outcome<SurrealMx> {
        let options = PersistenceOptions::new(dir)
            .with_aol_mode(AolMode::AsynchronousAfterCommit)
            .with_fsync_mode(FsyncMode::Interval(LAZY_SYNC));
        Ok(SurrealMx(surrealmx::Database::new_with_persistence(DatabaseOptions::default(), options)?))
    }
}

impl Stored for SurrealMx {
    fn put(&self, key: &[u8], value: &[u8]) -> Outcome<()> {
        Ok(self.0.set(key, value)?)
    }

    fn has(&self, key: &Key) -> Outcome<bool> {
        Ok(self.0.get(&key[..])?.is_some_and(|value| value.starts_with(key)))
    }

    /// It has no call for it: its own thread syncs at intervals.
    fn sync(&self) -> Outcome<()> {
        std::thread::sleep(LAZY_SYNC * 5);
        Ok(())
    }
}

/// LMDB: a copy-on-write tree in a map, in C.
pub(crate) struct Lmdb {
    environment: Env,
    database: Database<'static, Bytes, Bytes>,
}

impl Lmdb {
    /// Opens it, or makes an empty one.
    ///
    /// # Errors
    /// What it answers.
    pub(crate) fn open(dir: &Path) -> Outcome<Lmdb> {
        let mut options = EnvOpenOptions::new();
        options.map_size(LMDB_BYTES_MAX);
        // SAFETY: nobody else has the directory, which is this run's own, and its files are changed through LMDB only.
        let environment = unsafe { options.open(dir) }?;
        let transaction = environment.write_txn()?;
        let database = environment
            .create_databases_and_commit(transaction, |opener, transaction| {
                opener.create_database(transaction, None).map(CommitOrAbort::<_, ()>::Commit)
            })?
            .unwrap_commit();
        Ok(Lmdb { environment, database })
    }
}

impl Stored for Lmdb {
    fn put(&self, key: &[u8], value: &[u8]) -> Outcome<()> {
        let mut transaction = self.environment.write_txn()?;
        self.database.put(&mut transaction, key, value)?;
        Ok(transaction.commit()?)
    }

    fn load(&self, keys: &[Key]) -> Outcome<()> {
        for keys in keys.chunks(LOADED_AT_ONCE) {
            let mut transaction = self.environment.write_txn()?;
            for key in keys {
                self.database.put(&mut transaction, key, &value(key))?;
            }
            transaction.commit()?;
        }
        Ok(())
    }

    fn has(&self, key: &Key) -> Outcome<bool> {
        let transaction = self.environment.read_txn()?;
        Ok(self.database.get(&transaction, key)?.is_some_and(|value| value.starts_with(key)))
    }

    /// Each of its commits is synced.
    fn sync(&self) -> Outcome<()> {
        Ok(self.environment.force_sync()?)
    }
}

/// RocksDB: a log-structured tree in C++.
#[cfg(feature = "rocksdb")]
pub(crate) struct RocksDb(rocksdb::DB);

#[cfg(feature = "rocksdb")]
impl RocksDb {
    /// Opens it, or makes an empty one.
    ///
    /// # Errors
    /// What it answers.
    pub(crate) fn open(dir: &Path) -> Outcome<RocksDb> {
        let mut options = rocksdb::Options::default();
        options.create_if_missing(true);
        Ok(RocksDb(rocksdb::DB::open(&options, dir)?))
    }
}

#[cfg(feature = "rocksdb")]
impl Stored for RocksDb {
    fn put(&self, key: &[u8], value: &[u8]) -> Outcome<()> {
        Ok(self.0.put(key, value)?)
    }

    fn has(&self, key: &Key) -> Outcome<bool> {
        Ok(self.0.get_pinned(key)?.is_some_and(|value| value.starts_with(key)))
    }

    fn sync(&self) -> Outcome<()> {
        Ok(self.0.flush_wal(true)?)
    }
}
