//! What is compared where data outgrows memory: ours, and rivals with the feature `peers` (RocksDB with `rocksdb`).

use std::path::Path;

use warp_api::{Options, WarpEngine};

#[cfg(feature = "peers")]
use super::peers;
use crate::run::Outcome;

/// A store on the disk that was given so much memory.
pub(crate) trait Store: Send + Sync {
    /// Reads a value; returns its length, 0 if there is none.
    fn get(&self, key: &[u8]) -> Outcome<usize>;

    /// Writes a value, as durably as the store does without being asked to wait.
    fn put(&self, key: &[u8], value: &[u8]) -> Outcome<()>;

    /// Writes many values, in the way that the store has for it.
    fn load(&self, records: &mut dyn Iterator<Item = (Vec<u8>, Vec<u8>)>) -> Outcome<()> {
        for (key, value) in records {
            self.put(&key, &value)?;
        }
        Ok(())
    }

    /// Whether it is best loaded in the order of the keys: a tree whose pages do not fit into memory reads and writes one for
    /// each record that comes out of order.
    fn loads_in_order(&self) -> bool {
        false
    }

    /// Done after the load: what was written is on the disk.
    fn settle(&self) -> Outcome<()>;

    /// Reads so far, and how many of them memory of the store's own served; `None` if it does not tell.
    fn reads(&self) -> Option<(u64, u64)> {
        None
    }
}

type Open = fn(&Path, u64) -> Outcome<Box<dyn Store>>;

/// Everything that is compared, ours first. Each is given a directory that is there and empty, and bytes of memory.
pub(crate) const STORES: &[(&str, Open)] = &[
    ("ours", |dir, budget| Ok(Box::new(Ours::open(dir, budget)?))),
    #[cfg(feature = "peers")]
    ("fjall", |dir, budget| Ok(Box::new(peers::Fjall::open(dir, budget)?))),
    #[cfg(feature = "peers")]
    ("redb", |dir, budget| Ok(Box::new(peers::Redb::open(dir, budget)?))),
    #[cfg(feature = "peers")]
    ("lmdb", |dir, budget| Ok(Box::new(peers::Lmdb::open(dir, budget)?))),
    #[cfg(feature = "rocksdb")]
    ("rocksdb", |dir, budget| Ok(Box::new(peers::RocksDb::open(dir, budget)?))),
];

/// Ours, with a memory budget.
struct Ours(WarpEngine);

impl Ours {
    fn open(dir: &Path, budget: u64) -> Outcome<Ours> {
        Ok(Ours(budgeted(budget).open(dir)?))
    }
}

impl Store for Ours {
    fn get(&self, key: &[u8]) -> Outcome<usize> {
        Ok(self.0.with_value(key, <[u8]>::len)?.unwrap_or(0))
    }

    fn put(&self, key: &[u8], value: &[u8]) -> Outcome<()> {
        self.0.put(key, value)?;
        Ok(())
    }

    fn settle(&self) -> Outcome<()> {
        self.0.checkpoint()?;
        Ok(())
    }

    fn reads(&self) -> Option<(u64, u64)> {
        let operations = self.0.cosmic_metrics().operations;
        Some((operations.gets, operations.hits - operations.cold_hits))
    }
}

/// The options with which ours is given so much memory.
pub(crate) fn budgeted(budget: u64) -> Options {
    Options::new().memory_budget(budget)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_store_gives_back_what_was_put() {
        for (name, open) in STORES {
            let dir = tempfile::tempdir().unwrap();
            let store = open(dir.path(), 64 << 20).unwrap_or_else(|error| panic!("{name}: {error}"));
            let mut records = (0..500_u32).map(|n| (n.to_le_bytes().to_vec(), vec![7; 100]));
            store.load(&mut records).unwrap();
            store.settle().unwrap();
            store.put(b"more", b"12345").unwrap();
            assert_eq!(store.get(&3_u32.to_le_bytes()).unwrap(), 100, "{name}");
            assert_eq!(store.get(b"more").unwrap(), 5, "{name}");
            assert_eq!(store.get(b"none").unwrap(), 0, "{name}");
        }
    }
}
