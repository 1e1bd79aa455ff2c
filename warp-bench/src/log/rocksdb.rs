//! RocksDB: a log-structured tree in C++, which gathers what several threads commit at the same time.

use std::path::Path;

use rocksdb::{DB, Options, WriteOptions};

use super::committer::{Committer, Mode};
use crate::run::Outcome;

/// It, with default options.
pub(crate) struct RocksDb {
    database: DB,
    options: WriteOptions,
}

impl RocksDb {
    /// Makes an empty one. Lazy commits are in its log when they return, and nobody syncs it.
    ///
    /// # Errors
    /// What it answers.
    pub(crate) fn open(dir: &Path, mode: Mode) -> Outcome<RocksDb> {
        let mut made = Options::default();
        made.create_if_missing(true);
        let mut options = WriteOptions::default();
        options.set_sync(mode == Mode::Sync);
        Ok(RocksDb { database: DB::open(&made, dir)?, options })
    }
}

impl Committer for RocksDb {
    fn commit(&self, _: usize, key: &[u8], value: &[u8]) -> Outcome<()> {
        Ok(self.database.put_opt(key, value, &self.options)?)
    }
}
