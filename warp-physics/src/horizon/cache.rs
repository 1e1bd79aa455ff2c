//! A whole cache: the policy with entries, shards, deadlines, loads and listeners around it.

use std::borrow::Borrow;
use std::convert::Infallible;
use std::fmt;
use std::hash::{BuildHasher, Hash};
use std::sync::Arc;
use std::time::Duration;

use hashbrown::DefaultHashBuilder;

use super::builder::{Cause, Clock, EventHorizonCacheBuilder, Listener, Weigher, nanoseconds};
use super::flight::Flight;
use super::level::Levels;
use super::orbit::WAIT_LAST;
use super::policy::Horizon;
use super::shard::{Departures, NEVER, Newcomer, Shard};
use super::stats::EventHorizonStats;

/// A concurrent, bounded cache that learns what is worth keeping: the [HAWK policy](Horizon) with storage.
///
/// A look-up takes a shared lock of one shard and no other; learning is done by whoever inserts, from time to time, with
/// no lock held. **An insert may be refused**: a newcomer that is worth less than all that it could replace stays out,
/// and is only remembered. So a `get` right after an `insert` may find nothing; a cache is asked, and is right to forget.
///
/// Beside keys and values an entry takes some 19 bytes, 4 more once entries differ in weight and 8 more once any has a
/// deadline; remnants take 8 bytes each, and the law 283 KB.
///
/// ```
/// use warp_physics::EventHorizonCache;
///
/// let cache = EventHorizonCache::new(1000);
/// cache.insert("one", 1);
/// assert_eq!(cache.get("one"), Some(1));
/// assert_eq!(cache.get_or_insert_with("two", || 2), 2);
/// assert_eq!(cache.remove("one"), Some(1));
/// let stats = cache.stats();
/// assert_eq!((stats.hits, stats.misses, stats.entries), (1, 1, 1));
/// ```
pub struct EventHorizonCache<K, V, S = DefaultHashBuilder> {
    pub(crate) shards: Box<[Shard<K, V>]>,
    pub(crate) horizon: Horizon,
    pub(crate) weigher: Option<Weigher<K, V>>,
    pub(crate) listener: Option<Listener<K, V>>,
    pub(crate) clock: Option<Clock>,
    pub(crate) time_to_live: u64,
    pub(crate) hasher: S,
}

/// A key of the hot list, with what is remembered of it. What the numbers mean may change between versions: a cache of
/// another version does well to take the keys alone.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct HotKey<K> {
    /// The key.
    pub key: K,
    /// Accesses of its shard since its last use.
    pub age: u32,
    /// Its mass, as the logarithm that an orbit holds.
    pub mass: u8,
    /// The class of its last wait.
    pub wait: u8,
}

impl<K: Hash + Eq, V: Clone> EventHorizonCache<K, V> {
    /// A cache for some number of entries.
    pub fn new(entries: u64) -> EventHorizonCache<K, V> {
        EventHorizonCache::builder(entries).build()
    }

    /// Settings for a cache of this capacity: entries, or the unit of [`EventHorizonCacheBuilder::weigher`]. In a cache of
    /// capacity 0 nothing comes in.
    pub fn builder(capacity: u64) -> EventHorizonCacheBuilder<K, V> {
        EventHorizonCacheBuilder::new(capacity)
    }
}

impl<K: Hash + Eq, V: Clone, S: BuildHasher> EventHorizonCache<K, V, S> {
    /// The value of a key, unless its deadline has passed. It counts as a use.
    pub fn get<Q>(&self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let hash = self.hasher.hash_one(key);
        let mut gone = Departures::new();
        let is = |other: &K| other.borrow() == key;
        let found = self.shard(hash).get(hash, is, self.time(), &self.horizon, &self.hasher, &mut gone);
        self.tell(gone);
        found
    }

    /// Gives a key a value. False if it was turned away, as [`EventHorizonCache`] says; a former value is gone in any
    /// case.
    pub fn insert(&self, key: K, value: V) -> bool {
        self.insert_for(key, value, self.time_to_live)
    }

    /// The same for an entry that lives as long as `time_to_live` from now on, by the cache's clock.
    pub fn insert_with_ttl(&self, key: K, value: V, time_to_live: Duration) -> bool {
        self.insert_for(key, value, nanoseconds(time_to_live))
    }

    fn insert_for(&self, key: K, value: V, time_to_live: u64) -> bool {
        let mut gone = Departures::new();
        let time = self.time();
        let newcomer = self.newcomer(key, value, time, time_to_live);
        let shard = self.shard(newcomer.hash);
        let admitted = shard.insert(newcomer, time, &self.horizon, &self.hasher, &mut gone);
        self.tell(gone);
        self.learn();
        admitted
    }

    /// Takes a key out, and forgets it. A load of it that is under way will not be kept.
    pub fn remove<Q>(&self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let hash = self.hasher.hash_one(key);
        let (key, value) = self.shard(hash).remove(hash, |other| other.borrow() == key, &self.hasher)?;
        if let Some(listener) = &self.listener {
            listener(&key, &value, Cause::Removed);
        }
        Some(value)
    }

    /// Takes all entries out, and forgets all keys; what was learned of classes and ages stays.
    pub fn clear(&self) {
        for shard in &self.shards {
            let gone = shard.clear();
            if let Some(listener) = &self.listener {
                gone.iter().for_each(|(key, value)| listener(key, value, Cause::Removed));
            }
        }
    }

    /// The value of a key, or what `load` makes. Of several callers that miss a key at once one loads, and the others
    /// wait for its value. `load` runs without a lock; it must not ask this cache for the same key. If it panics, one of
    /// those who wait loads instead.
    pub fn get_or_insert_with(&self, key: K, load: impl FnOnce() -> V) -> V
    where
        K: Clone,
    {
        let loaded: Result<V, Infallible> = self.get_or_try_insert_with(key, || Ok(load()));
        match loaded {
            Ok(value) => value,
            Err(never) => match never {},
        }
    }

    /// The same for a load that can fail. If it fails, one of those who wait loads instead.
    ///
    /// # Errors
    /// What the caller's own `load` answers, never that of somebody else.
    pub fn get_or_try_insert_with<E>(&self, key: K, load: impl FnOnce() -> Result<V, E>) -> Result<V, E>
    where
        K: Clone,
    {
        let hash = self.hasher.hash_one(&key);
        let shard = self.shard(hash);
        loop {
            if let Some(value) = self.get(&key) {
                return Ok(value);
            }
            let (flight, leads) = shard.join(&key);
            if !leads {
                match flight.wait() {
                    Some(value) => return Ok(value),
                    None => continue,
                }
            }
            let landing = Landing { shard, flight: &flight };
            // Another flight may have landed between the look-up and the start of this one.
            if let Some(value) = self.peek(hash, &key) {
                flight.land(Some(value.clone()));
                return Ok(value);
            }
            let value = load()?;
            let mut gone = Departures::new();
            let time = self.time();
            let newcomer = self.newcomer(key, value.clone(), time, self.time_to_live);
            shard.insert_loaded(&flight, newcomer, time, &self.horizon, &self.hasher, &mut gone);
            flight.land(Some(value.clone()));
            drop(landing);
            self.tell(gone);
            self.learn();
            return Ok(value);
        }
    }

    /// Counts and the temperature; it asks each shard in turn, so that counts of different shards may be moments apart.
    pub fn stats(&self) -> EventHorizonStats {
        let mut stats = EventHorizonStats { temperature: self.horizon.temperature(), ..Default::default() };
        for shard in &self.shards {
            let (hits, misses) = shard.lookups();
            stats.hits += hits;
            stats.misses += misses;
            shard.read(|inner| {
                stats.admitted += inner.counts.admitted;
                stats.refused += inner.counts.refused;
                stats.evaporated += inner.counts.evaporated;
                stats.expired += inner.counts.expired;
                stats.recaptured += inner.counts.recaptured;
                stats.entries += inner.len() as u64;
                stats.weight += inner.weight();
            });
        }
        stats
    }

    /// How many entries are on each level at the moment. It looks at every entry.
    pub fn levels(&self) -> Levels {
        let mut levels = Levels::default();
        for shard in &self.shards {
            let now = shard.now();
            shard.read(|inner| {
                for (_, _, candidate, _) in inner.each() {
                    let level = self.horizon.level(candidate, now) as usize;
                    levels.entries[level] += 1;
                    levels.weight[level] += candidate.weight;
                }
            });
        }
        levels
    }

    /// The keys that are worth most, the hottest first, at most `limit` of them; keys past their deadline are left out.
    /// It looks at every entry.
    pub fn hot(&self, limit: usize) -> Vec<HotKey<K>>
    where
        K: Clone,
    {
        let time = self.time();
        let mut hot: Vec<(f64, HotKey<K>)> = Vec::new();
        for shard in &self.shards {
            let now = shard.now();
            shard.read(|inner| {
                hot.extend(inner.each().filter(|&(.., deadline)| deadline > time).map(
                    |(key, _, candidate, _)| {
                        let (age, orbit) = (self.horizon.age(candidate.orbit, now), candidate.orbit);
                        let (mass, wait) = (orbit.mass_code(), orbit.wait());
                        (self.horizon.worth(candidate, now), HotKey { key: key.clone(), age, mass, wait })
                    },
                ));
            });
        }
        hot.sort_by(|(one, _), (other, _)| other.total_cmp(one));
        hot.truncate(limit);
        hot.into_iter().map(|(_, key)| key).collect()
    }

    /// Takes over a hot list: each key is remembered as if it had left, so that it is let in with its history once its
    /// value is inserted. The values are the caller's to load, in the order of the list.
    pub fn remember(&self, hot: impl IntoIterator<Item = HotKey<K>>) {
        for HotKey { key, age, mass, wait } in hot {
            let hash = self.hasher.hash_one(&key);
            let shard = self.shard(hash);
            let wait = wait.min(WAIT_LAST);
            shard.remember(hash, self.horizon.aged(shard.now(), age, mass, wait), &self.horizon);
        }
    }

    /// The policy, to look at what it has learned.
    pub fn horizon(&self) -> &Horizon {
        &self.horizon
    }

    /// Looks a key up without counting it as a use.
    fn peek(&self, hash: u64, key: &K) -> Option<V> {
        let time = self.time();
        self.shard(hash).read(|inner| inner.peek(hash, key, time))
    }

    fn newcomer(&self, key: K, value: V, time: u64, time_to_live: u64) -> Newcomer<K, V> {
        let weight = self.weigher.as_ref().map_or(1, |weigh| weigh(&key, &value)).max(1);
        let deadline = if time_to_live == NEVER { NEVER } else { time.saturating_add(time_to_live) };
        Newcomer { hash: self.hasher.hash_one(&key), key, value, weight, deadline }
    }

    /// Bits that neither the place in a shard's table (the lowest) nor its tags (the highest) are made of.
    fn shard(&self, hash: u64) -> &Shard<K, V> {
        &self.shards[(hash >> 40) as usize & (self.shards.len() - 1)]
    }

    fn time(&self) -> u64 {
        self.clock.as_ref().map_or(0, |clock| nanoseconds(clock()))
    }

    fn tell(&self, gone: Departures<K, V>) {
        if let Some(listener) = &self.listener {
            gone.iter().for_each(|(key, value, cause)| listener(key, value, *cause));
        }
    }

    /// Learns, once it is due; the first shard stands for all, as keys are spread by their hash.
    fn learn(&self) {
        let Some(shard) = self.shards.first() else { return };
        let now = shard.now();
        if !self.horizon.is_due(now) {
            return;
        }
        if self.weigher.is_some() {
            let fit = shard.read(super::shard::Inner::entries_that_fit);
            if let Some(entries) = fit {
                self.horizon.set_entries(usize::try_from(entries).unwrap_or(usize::MAX));
            }
        }
        self.horizon.learn(now, shard.waiting(self.shards.len()));
    }
}

/// Ends a flight in every case, also when the load fails or panics.
struct Landing<'a, K: Hash + Eq, V: Clone> {
    shard: &'a Shard<K, V>,
    flight: &'a Arc<Flight<K, V>>,
}

impl<K: Hash + Eq, V: Clone> Drop for Landing<'_, K, V> {
    fn drop(&mut self) {
        self.shard.end(self.flight);
        // Without effect after a value.
        self.flight.land(None);
    }
}

impl<K, V, S> fmt::Debug for EventHorizonCache<K, V, S> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("EventHorizonCache")
            .field("shards", &self.shards.len())
            .field("entries_that_fit", &self.horizon.entries())
            .field("temperature", &self.horizon.temperature())
            .finish_non_exhaustive()
    }
}
