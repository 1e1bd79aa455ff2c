//! The settings of a cache.

#![expect(clippy::cast_possible_truncation, reason = "the numbers of settings are floats that a cast clamps")]

use std::fmt;
use std::hash::{BuildHasher, Hash};
use std::time::Duration;

use hashbrown::DefaultHashBuilder;

use super::cache::EventHorizonCache;
use super::policy::Horizon;
use super::shard::{NEVER, Shard};

/// Why an entry left, or did not come in.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Cause {
    /// It evaporated: something else was worth more.
    Evicted,
    /// It never came in: all that were drawn were worth more, or it weighs more than a shard holds.
    Refused,
    /// It was found past its deadline.
    Expired,
    /// Its key was given another value.
    Replaced,
    /// It was removed by the program.
    Removed,
}

/// Shards there are at most by default.
const SHARDS_MAX: usize = 16;
/// Entries that a shard has at least, where the default chooses.
const SHARD_ENTRIES_MIN: u64 = 4096;
/// Bytes that an entry is taken to weigh where there is a weigher and nothing is known.
const WEIGHT_ASSUMED: u64 = 1024;
/// Remnants kept for each entry that fits.
const REMNANTS_DEFAULT: f32 = 4.0;
/// Remnants that are kept however few entries fit, over all shards: 64 KiB, which is what makes small caches learn
/// quickly.
const REMNANTS_MIN: usize = 8192;

pub(crate) type Weigher<K, V> = Box<dyn Fn(&K, &V) -> u32 + Send + Sync>;
pub(crate) type Listener<K, V> = Box<dyn Fn(&K, &V, Cause) + Send + Sync>;
pub(crate) type Clock = Box<dyn Fn() -> Duration + Send + Sync>;

/// The settings of an [`EventHorizonCache`].
///
/// ```
/// use std::time::Duration;
/// use warp_physics::EventHorizonCache;
///
/// let cache: EventHorizonCache<String, Vec<u8>> = EventHorizonCache::builder(64 << 20)
///     .weigher(|key: &String, value: &Vec<u8>| (key.len() + value.len()) as u32)
///     .expected_entries(100_000)
///     .build();
/// cache.insert("a".to_owned(), vec![0; 1000]);
/// assert_eq!(cache.stats().weight, 1001);
/// ```
pub struct EventHorizonCacheBuilder<K, V, S = DefaultHashBuilder> {
    capacity: u64,
    weigher: Option<Weigher<K, V>>,
    listener: Option<Listener<K, V>>,
    clock: Option<Clock>,
    time_to_live: Option<Duration>,
    expected_entries: Option<usize>,
    shards: Option<usize>,
    remnants: f32,
    exponent: f32,
    hasher: S,
}

impl<K, V> EventHorizonCacheBuilder<K, V> {
    pub(crate) fn new(capacity: u64) -> EventHorizonCacheBuilder<K, V> {
        EventHorizonCacheBuilder {
            capacity,
            weigher: None,
            listener: None,
            clock: None,
            time_to_live: None,
            expected_entries: None,
            shards: None,
            remnants: REMNANTS_DEFAULT,
            exponent: 1.0,
            hasher: DefaultHashBuilder::default(),
        }
    }
}

impl<K, V, S> EventHorizonCacheBuilder<K, V, S> {
    /// What an entry weighs, in the unit of the capacity; bytes as a rule. By default each weighs 1, and the capacity is
    /// a number of entries. 0 counts as 1. It is asked once an insert, without a lock held.
    #[must_use]
    pub fn weigher(mut self, weigher: impl Fn(&K, &V) -> u32 + Send + Sync + 'static) -> Self {
        self.weigher = Some(Box::new(weigher));
        self
    }

    /// Is told of what left, once no lock is held, by the thread that made it leave.
    #[must_use]
    pub fn listener(mut self, listener: impl Fn(&K, &V, Cause) + Send + Sync + 'static) -> Self {
        self.listener = Some(Box::new(listener));
        self
    }

    /// The time, since any fixed moment; it is asked at each call of the cache. Without one no time passes, and nothing
    /// expires.
    #[must_use]
    pub fn clock(mut self, clock: impl Fn() -> Duration + Send + Sync + 'static) -> Self {
        self.clock = Some(Box::new(clock));
        self
    }

    /// How long entries live from their last insert on; for ever by default. Needs a [clock](Self::clock).
    #[must_use]
    pub fn time_to_live(mut self, time_to_live: Duration) -> Self {
        self.time_to_live = Some(time_to_live);
        self
    }

    /// How many entries will fit, where a weigher makes that differ from the capacity: by it the remnants and the shards
    /// are sized, and the law starts. By default the capacity over 1,024 where there is a weigher.
    #[must_use]
    pub fn expected_entries(mut self, entries: usize) -> Self {
        self.expected_entries = Some(entries);
        self
    }

    /// Parts with a lock each, rounded up to a power of two, at most 65,536. By default one for each 4,096 entries, at
    /// most 16. Each holds an equal part of the capacity, and nothing that weighs more than that.
    #[must_use]
    pub fn shards(mut self, shards: usize) -> Self {
        self.shards = Some(shards);
        self
    }

    /// Remnants, of eight bytes, that are kept for each entry that fits; 4 by default, at least 8,192 in all. More make
    /// longer reuse known.
    #[must_use]
    pub fn remnants(mut self, an_entry: f32) -> Self {
        self.remnants = an_entry;
        self
    }

    /// How much weight counts against an entry; see [`Horizon::with_exponent`].
    #[must_use]
    pub fn weight_exponent(mut self, exponent: f32) -> Self {
        self.exponent = exponent;
        self
    }

    /// How keys are hashed. The default is fast, and seeded at random for each cache.
    #[must_use]
    pub fn hasher<T: BuildHasher>(self, hasher: T) -> EventHorizonCacheBuilder<K, V, T> {
        let EventHorizonCacheBuilder { capacity, weigher, listener, clock, time_to_live, .. } = self;
        let EventHorizonCacheBuilder { expected_entries, shards, remnants, exponent, .. } = self;
        EventHorizonCacheBuilder {
            capacity,
            weigher,
            listener,
            clock,
            time_to_live,
            expected_entries,
            shards,
            remnants,
            exponent,
            hasher,
        }
    }
}

impl<K: Hash + Eq, V: Clone, S: BuildHasher> EventHorizonCacheBuilder<K, V, S> {
    /// Makes the cache.
    pub fn build(self) -> EventHorizonCache<K, V, S> {
        let assumed = if self.weigher.is_some() { self.capacity / WEIGHT_ASSUMED } else { self.capacity };
        let entries = self.expected_entries.map_or(assumed, |entries| entries as u64).max(1);
        let by_size = usize::try_from(entries / SHARD_ENTRIES_MIN).unwrap_or(usize::MAX).clamp(1, SHARDS_MAX);
        // A default that is not a power of two is rounded down, so that shards keep their least size.
        let shards = match self.shards {
            Some(shards) => shards.clamp(1, 1 << 16).next_power_of_two(),
            None => 1 << by_size.ilog2(),
        };
        let entries = usize::try_from(entries).unwrap_or(usize::MAX);
        let remnants = ((entries as f32 * self.remnants.max(0.0)) as usize).max(REMNANTS_MIN) / shards;
        let horizon = Horizon::new(entries.div_ceil(shards)).with_exponent(self.exponent);
        let (each, left) = (self.capacity / shards as u64, self.capacity % shards as u64);
        let shards = (0..shards as u64).map(|shard| {
            let seed = (shard + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
            Shard::new(each + u64::from(shard < left), remnants, seed)
        });
        let time_to_live = self.time_to_live.map_or(NEVER, nanoseconds);
        EventHorizonCache {
            shards: shards.collect(),
            horizon,
            weigher: self.weigher,
            listener: self.listener,
            clock: self.clock,
            time_to_live,
            hasher: self.hasher,
        }
    }
}

/// A time as deadlines have it; the longest that can be told apart is 584 years.
pub(crate) fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(NEVER - 1).min(NEVER - 1)
}

impl<K, V, S> fmt::Debug for EventHorizonCacheBuilder<K, V, S> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("EventHorizonCacheBuilder")
            .field("capacity", &self.capacity)
            .field("time_to_live", &self.time_to_live)
            .field("expected_entries", &self.expected_entries)
            .field("shards", &self.shards)
            .field("remnants", &self.remnants)
            .field("exponent", &self.exponent)
            .finish_non_exhaustive()
    }
}
