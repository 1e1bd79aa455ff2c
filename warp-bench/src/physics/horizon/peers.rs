//! Caches of other projects.

use super::cost::{Cache, Ours};

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
    ]
}

#[derive(Debug)]
struct Moka(moka::sync::Cache<u32, u64>);

impl Cache for Moka {
    fn ask(&self, key: u32) -> bool {
        let hit = self.0.get(&key).is_some();
        if !hit {
            self.0.insert(key, u64::from(key));
        }
        hit
    }
}

#[derive(Debug)]
struct Quick(quick_cache::sync::Cache<u32, u64>);

impl Cache for Quick {
    fn ask(&self, key: u32) -> bool {
        let hit = self.0.get(&key).is_some();
        if !hit {
            self.0.insert(key, u64::from(key));
        }
        hit
    }
}
