//! The stores that are filled, killed and opened: ours, and with the feature `peers` those of other crates.

use std::path::Path;
use std::time::Duration;

use warp_api::{Options, WarpEngine};

#[cfg(feature = "peers")]
use super::peers;
use crate::keys::{Key, next_value, value};
use crate::run::Outcome;

/// What a store says of its own recovery.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Recovered {
    /// The part of opening that replayed the log.
    pub(crate) elapsed: Duration,
    pub(crate) log_bytes: u64,
    pub(crate) records: u64,
}

/// A store with small records.
pub(crate) trait Stored {
    /// Puts a record. It need not be durable yet.
    ///
    /// # Errors
    /// What the store answers.
    fn put(&self, key: &[u8], value: &[u8]) -> Outcome<()>;

    /// Whether a key is there, with a value that begins with it.
    ///
    /// # Errors
    /// What the store answers.
    fn has(&self, key: &Key) -> Outcome<bool>;

    /// Makes everything durable that was put.
    ///
    /// # Errors
    /// What the store answers.
    fn sync(&self) -> Outcome<()>;

    /// Puts the record of each key, in the way that the store is best filled.
    ///
    /// # Errors
    /// What the store answers.
    fn load(&self, keys: &[Key]) -> Outcome<()> {
        keys.iter().try_for_each(|key| self.put(key, &value(key)))
    }

    /// Goes on writing: the record of `key`, for the `count`th time.
    ///
    /// # Errors
    /// What the store answers.
    fn overwrite(&self, key: &Key, count: u64) -> Outcome<()> {
        self.put(key, &next_value(key, count))
    }

    /// What it says of its recovery, if it says anything.
    fn recovered(&self) -> Option<Recovered> {
        None
    }
}

/// The engine.
struct Ours(WarpEngine);

impl Stored for Ours {
    fn put(&self, key: &[u8], value: &[u8]) -> Outcome<()> {
        self.0.put(key, value)?;
        Ok(())
    }

    fn has(&self, key: &Key) -> Outcome<bool> {
        Ok(self.0.with_value(key, |value| value.starts_with(key))?.unwrap_or(false))
    }

    fn sync(&self) -> Outcome<()> {
        Ok(self.0.sync()?)
    }

    fn recovered(&self) -> Option<Recovered> {
        let report = self.0.recovery_report();
        Some(Recovered {
            elapsed: report.replay_elapsed,
            log_bytes: report.log_bytes,
            records: report.replayed,
        })
    }
}

pub(crate) const OURS: &str = "ours";
/// Ours with `map_layers(false)`.
pub(crate) const OURS_READ: &str = "ours, not mapped";

type Open = fn(&Path, bool) -> Outcome<Box<dyn Stored>>;

/// The stores by name; each is opened in a directory that is there, and, if that is asked for and it can, for reading only.
const STORES: &[(&str, Open)] = &[
    (OURS, |dir, read_only| Ok(Box::new(Ours(Options::new().read_only(read_only).open(dir)?)))),
    (OURS_READ, |dir, read_only| {
        Ok(Box::new(Ours(Options::new().map_layers(false).read_only(read_only).open(dir)?)))
    }),
    #[cfg(feature = "peers")]
    ("fjall", |dir, _| Ok(Box::new(peers::Fjall::open(dir)?))),
    #[cfg(feature = "peers")]
    ("redb", |dir, _| Ok(Box::new(peers::Redb::open(dir)?))),
    #[cfg(feature = "peers")]
    ("surrealmx", |dir, _| Ok(Box::new(peers::SurrealMx::open(dir)?))),
    #[cfg(feature = "peers")]
    ("lmdb", |dir, _| Ok(Box::new(peers::Lmdb::open(dir)?))),
    #[cfg(feature = "rocksdb")]
    ("rocksdb", |dir, _| Ok(Box::new(peers::RocksDb::open(dir)?))),
];

/// The names of all stores that are opened in this process's own children.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    STORES.iter().map(|(name, _)| *name)
}

/// Opens a store by its name.
///
/// # Errors
/// What the store answers; a name that none has.
pub(crate) fn open(name: &str, dir: &Path, read_only: bool) -> Outcome<Box<dyn Stored>> {
    let found = STORES.iter().find(|(other, _)| *other == name);
    let (_, open) = found.ok_or_else(|| format!("no store is called {name:?}"))?;
    open(dir, read_only)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::keys;

    #[test]
    fn every_store_keeps_what_was_synced() {
        let keys = keys(1, 300);
        for name in names() {
            let dir = tempfile::tempdir().unwrap();
            let store = open(name, dir.path(), false).unwrap();
            store.load(&keys[..200]).unwrap();
            store.overwrite(&keys[0], 7).unwrap();
            store.sync().unwrap();
            drop(store);
            let store = open(name, dir.path(), false).unwrap();
            for (place, key) in keys.iter().enumerate() {
                assert_eq!(store.has(key).unwrap(), place < 200, "{name}: {place}");
            }
        }
        assert!(open("nobody", Path::new("."), true).is_err());
    }
}
