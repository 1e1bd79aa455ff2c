//! Caches of other projects.

use foyer_memory::{CacheBuilder, EvictionConfig, LfuConfig, S3FifoConfig, SieveConfig};

use super::cost::{Cache, Ours};

/// Shards of foyer by default, and entries of one below which there are fewer.
const FOYER_SHARDS: usize = 8;
const FOYER_SHARD_ENTRIES_MIN: usize = 1000;

/// Hit ratios, in the order of the names.
pub(super) fn ratios(entries: usize, keys: &[u32]) -> Vec<f64> {
    all(entries).iter().skip(1).map(|(_, cache)| hit_ratio(&**cache, keys)).collect()
}

fn hit_ratio(cache: &dyn Cache, keys: &[u32]) -> f64 {
    let hits = keys.iter().filter(|&&key| cache.ask(key)).count();
    hits as f64 / keys.len().max(1) as f64
}

/// Ours and the others.
pub(super) fn all(entries: usize) -> Vec<(&'static str, Box<dyn Cache>)> {
    vec![
        ("horizon", Box::new(Ours::new(entries))),
        ("moka", Box::new(Moka(moka::sync::Cache::new(entries as u64)))),
        ("quick_cache", Box::new(Quick(quick_cache::sync::Cache::new(entries)))),
        ("foyer, S3-FIFO", Box::new(Foyer::new(entries, S3FifoConfig::default()))),
        ("foyer, LFU", Box::new(Foyer::new(entries, LfuConfig::default()))),
        ("foyer, SIEVE", Box::new(Foyer::new(entries, SieveConfig))),
    ]
}

#[derive(Debug)]
struct Moka(moka::sync::Cache<u32, u64>);

impl Cache for Moka {
    fn has(&self, key: u32) -> bool {
        self.0.get(&key).is_some()
    }

    fn put(&self, key: u32) {
        self.0.insert(key, u64::from(key));
    }
}

#[derive(Debug)]
struct Quick(quick_cache::sync::Cache<u32, u64>);

impl Cache for Quick {
    fn has(&self, key: u32) -> bool {
        self.0.get(&key).is_some()
    }

    fn put(&self, key: u32) {
        self.0.insert(key, u64::from(key));
    }
}

#[derive(Debug)]
struct Foyer(foyer_memory::Cache<u32, u64>);

impl Foyer {
    /// With as many shards as a small cache has entries for.
    fn new(entries: usize, policy: impl Into<EvictionConfig>) -> Foyer {
        let shards = (entries / FOYER_SHARD_ENTRIES_MIN).clamp(1, FOYER_SHARDS);
        Foyer(CacheBuilder::new(entries).with_shards(shards).with_eviction_config(policy).build())
    }
}

impl Cache for Foyer {
    fn has(&self, key: u32) -> bool {
        self.0.get(&key).is_some()
    }

    fn put(&self, key: u32) {
        self.0.insert(key, u64::from(key));
    }
}
