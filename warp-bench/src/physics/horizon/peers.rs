//! Caches of other projects.

use foyer_memory::{CacheBuilder, EvictionConfig, LfuConfig, S3FifoConfig, SieveConfig};

use super::cost::{Cache, Ours};
use super::sized::weighed;

/// Shards of foyer by default, and entries of one below which there are fewer.
const FOYER_SHARDS: usize = 8;
const FOYER_SHARD_ENTRIES_MIN: usize = 1000;

/// Hit ratios, in the order of the names.
pub(super) fn ratios(entries: usize, keys: &[u32]) -> Vec<f64> {
    all(entries).iter().skip(1).map(|(_, cache)| hit_ratio(&**cache, keys)).collect()
}

/// Shares of requests and of bytes that hit within a budget of bytes, in the order of the names.
pub(super) fn sized(budget: u64, entries: usize, keys: &[u32], sizes: &[u32]) -> Vec<[f64; 2]> {
    let moka = moka::sync::Cache::builder().max_capacity(budget).weigher(|_: &u32, size: &u32| *size).build();
    let quick = quick_cache::sync::Cache::with_weighter(entries, budget, BySize);
    let foyer: foyer_memory::Cache<u32, u32> =
        CacheBuilder::new(usize::try_from(budget).unwrap_or(usize::MAX))
            .with_shards(1)
            .with_eviction_config(S3FifoConfig::default())
            .with_weighter(|_: &u32, size: &u32| *size as usize)
            .build();
    vec![
        // It evicts by and by, and would hold several times the budget meanwhile.
        weighed(
            keys,
            sizes,
            |key| moka.get(&key),
            |key, size| {
                moka.insert(key, size);
                moka.run_pending_tasks();
            },
        ),
        weighed(keys, sizes, |key| quick.get(&key), |key, size| quick.insert(key, size)),
        weighed(
            keys,
            sizes,
            |key| foyer.get(&key).map(|entry| *entry.value()),
            |key, size| _ = foyer.insert(key, size),
        ),
    ]
}

/// An entry weighs what its value says.
#[derive(Clone, Debug)]
struct BySize;

impl quick_cache::Weighter<u32, u32> for BySize {
    fn weight(&self, _: &u32, size: &u32) -> u64 {
        u64::from(*size)
    }
}

fn hit_ratio(cache: &dyn Cache, keys: &[u32]) -> f64 {
    let is_hit = |key: &&u32| {
        let hit = cache.ask(**key);
        cache.settle();
        hit
    };
    keys.iter().filter(is_hit).count() as f64 / keys.len().max(1) as f64
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

    fn settle(&self) {
        self.0.run_pending_tasks();
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
