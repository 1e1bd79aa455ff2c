//! The rivals, each given its memory as its documentation says: half for writes where a store asks for both.
#![expect(unsafe_code, reason = "heed asks its caller to see to it that nobody else changes the file")]

use std::path::Path;

use heed::types::Bytes;
use heed::{CommitOrAbort, Env, EnvOpenOptions};
use redb::{ReadableDatabase, TableDefinition};

use super::store::Store;
use crate::run::Outcome;

/// Records of one transaction of a load.
const LOAD_TOGETHER: usize = 10_000;

/// fjall: a log-structured tree with a journal.
pub(crate) struct Fjall {
    database: fjall::Database,
    keyspace: fjall::Keyspace,
}

impl Fjall {
    /// Opens an empty one.
    ///
    /// # Errors
    /// What it answers.
    pub(crate) fn open(dir: &Path, budget: u64) -> Outcome<Fjall> {
        let database = fjall::Database::builder(dir).cache_size(budget / 2).open()?;
        let options = || fjall::KeyspaceCreateOptions::default().max_memtable_size(budget / 8);
        let keyspace = database.keyspace("records", options)?;
        Ok(Fjall { database, keyspace })
    }
}

impl Store for Fjall {
    fn get(&self, key: &[u8]) -> Outcome<usize> {
        Ok(self.keyspace.get(key)?.map_or(0, |value| value.len()))
    }

    fn put(&self, key: &[u8], value: &[u8]) -> Outcome<()> {
        Ok(self.keyspace.insert(key, value)?)
    }

    fn settle(&self) -> Outcome<()> {
        Ok(self.database.persist(fjall::PersistMode::SyncAll)?)
    }
}

/// redb: a copy-on-write tree.
pub(crate) struct Redb(redb::Database);

const RECORDS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("records");

impl Redb {
    /// Makes an empty one.
    ///
    /// # Errors
    /// What it answers.
    pub(crate) fn open(dir: &Path, budget: u64) -> Outcome<Redb> {
        let cache = usize::try_from(budget)?;
        Ok(Redb(redb::Database::builder().set_cache_size(cache).create(dir.join("redb"))?))
    }

    fn commit(&self, records: &[(Vec<u8>, Vec<u8>)], durability: redb::Durability) -> Outcome<()> {
        let mut transaction = self.0.begin_write()?;
        transaction.set_durability(durability)?;
        {
            let mut table = transaction.open_table(RECORDS)?;
            for (key, value) in records {
                table.insert(&key[..], &value[..])?;
            }
        }
        Ok(transaction.commit()?)
    }
}

impl Store for Redb {
    fn get(&self, key: &[u8]) -> Outcome<usize> {
        let table = self.0.begin_read()?.open_table(RECORDS)?;
        Ok(table.get(key)?.map_or(0, |value| value.value().len()))
    }

    fn put(&self, key: &[u8], value: &[u8]) -> Outcome<()> {
        self.commit(&[(key.to_vec(), value.to_vec())], redb::Durability::None)
    }

    fn loads_in_order(&self) -> bool {
        true
    }

    fn load(&self, records: &mut dyn Iterator<Item = (Vec<u8>, Vec<u8>)>) -> Outcome<()> {
        in_bundles(records, |bundle| self.commit(bundle, redb::Durability::Immediate))
    }

    fn settle(&self) -> Outcome<()> {
        self.commit(&[], redb::Durability::Immediate)
    }
}

/// LMDB: a copy-on-write tree in a map of memory, which the page cache serves.
pub(crate) struct Lmdb {
    environment: Env,
    records: heed::Database<'static, Bytes, Bytes>,
}

/// Address space for LMDB's map; the file takes what it needs.
const MAP_BYTES: usize = 64 << 30;

impl Lmdb {
    /// Makes an empty one. It has no memory of its own: what it is given is the page cache that the group's limit leaves.
    ///
    /// # Errors
    /// What it answers.
    pub(crate) fn open(dir: &Path, _budget: u64) -> Outcome<Lmdb> {
        let mut options = EnvOpenOptions::new();
        options.map_size(MAP_BYTES);
        // SAFETY: the file is in a directory of this run's own, and no other process or handle has it open. Commits need no
        // sync, as those of the others do not wait for theirs; and pages that nobody asked for would take the memory.
        let environment =
            unsafe { options.flags(heed::EnvFlags::NO_SYNC | heed::EnvFlags::NO_READ_AHEAD).open(dir)? };
        let transaction = environment.write_txn()?;
        let records = environment
            .create_databases_and_commit(transaction, |opener, transaction| {
                opener.create_database(transaction, None).map(CommitOrAbort::<_, ()>::Commit)
            })?
            .unwrap_commit();
        Ok(Lmdb { environment, records })
    }

    fn commit(&self, records: &[(Vec<u8>, Vec<u8>)]) -> Outcome<()> {
        let mut transaction = self.environment.write_txn()?;
        for (key, value) in records {
            self.records.put(&mut transaction, key, value)?;
        }
        Ok(transaction.commit()?)
    }
}

impl Store for Lmdb {
    fn get(&self, key: &[u8]) -> Outcome<usize> {
        let transaction = self.environment.read_txn()?;
        Ok(self.records.get(&transaction, key)?.map_or(0, <[u8]>::len))
    }

    fn put(&self, key: &[u8], value: &[u8]) -> Outcome<()> {
        let mut transaction = self.environment.write_txn()?;
        self.records.put(&mut transaction, key, value)?;
        Ok(transaction.commit()?)
    }

    fn loads_in_order(&self) -> bool {
        true
    }

    fn load(&self, records: &mut dyn Iterator<Item = (Vec<u8>, Vec<u8>)>) -> Outcome<()> {
        in_bundles(records, |bundle| self.commit(bundle))
    }

    fn settle(&self) -> Outcome<()> {
        Ok(self.environment.force_sync()?)
    }
}

/// Hands on records, many at a time, until there are no more.
fn in_bundles(
    records: &mut dyn Iterator<Item = (Vec<u8>, Vec<u8>)>,
    mut take: impl FnMut(&[(Vec<u8>, Vec<u8>)]) -> Outcome<()>,
) -> Outcome<()> {
    loop {
        let bundle: Vec<_> = (&mut *records).take(LOAD_TOGETHER).collect();
        if bundle.is_empty() {
            return Ok(());
        }
        take(&bundle)?;
    }
}

/// RocksDB: a log-structured tree in C++.
#[cfg(feature = "rocksdb")]
pub(crate) struct RocksDb(rocksdb::DB);

#[cfg(feature = "rocksdb")]
impl RocksDb {
    /// Makes an empty one.
    ///
    /// # Errors
    /// What it answers.
    pub(crate) fn open(dir: &Path, budget: u64) -> Outcome<RocksDb> {
        let budget = usize::try_from(budget)?;
        let mut blocks = rocksdb::BlockBasedOptions::default();
        blocks.set_block_cache(&rocksdb::Cache::new_lru_cache(budget / 2)?);
        blocks.set_bloom_filter(10.0, false);
        blocks.set_cache_index_and_filter_blocks(true);
        let mut options = rocksdb::Options::default();
        options.create_if_missing(true);
        options.set_block_based_table_factory(&blocks);
        options.set_db_write_buffer_size(budget / 4);
        Ok(RocksDb(rocksdb::DB::open(&options, dir)?))
    }
}

#[cfg(feature = "rocksdb")]
impl Store for RocksDb {
    fn get(&self, key: &[u8]) -> Outcome<usize> {
        Ok(self.0.get_pinned(key)?.map_or(0, |value| value.len()))
    }

    fn put(&self, key: &[u8], value: &[u8]) -> Outcome<()> {
        Ok(self.0.put(key, value)?)
    }

    fn settle(&self) -> Outcome<()> {
        Ok(self.0.flush()?)
    }
}
