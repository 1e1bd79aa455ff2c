//! What a plain cache by least recent use would serve in the same memory: a small model of one beside the real thing.

use hashbrown::HashMap;

/// At the start one key in so many is followed...
const ONE_IN_LOG_START: u32 = 4;
/// ...and never fewer than one in so many.
const ONE_IN_LOG_MAX: u32 = 30;
/// The filter looks at the bits of a hash from this one on: those below and above say where an entry lies.
const FILTER_SHIFT: u32 = 20;
/// The end of the list.
const NOBODY: u32 = u32::MAX;

/// A model of a cache that keeps what was used last, for comparison: it is shown the uses of a fixed part of the keys, and has that
/// part of the memory (SHARDS: Waldspurger et al., "Efficient MRC Construction with SHARDS", FAST 2015). It holds hashes and
/// sizes, no entries.
///
/// Which keys it follows depends on their hashes alone, so that of each of them it sees every use. Once they are more than it has
/// room for, every other one is given up.
///
/// Nothing is counted until the model has been full: before, a cache by least recent use has all that any other has.
///
/// ```
/// use warp_physics::LruShadow;
///
/// let mut shadow = LruShadow::new(1024, 64_000);
/// let followed: Vec<u64> = (0..10_000_u64)
///     .map(|n| (n + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15))
///     .filter(|hash| LruShadow::follows(shadow.filter(), *hash))
///     .collect();
/// for hash in followed {
///     shadow.read(hash, 100, false);
/// }
/// // Each was used once: nothing had them.
/// assert!(shadow.counts().reads > 8_000 && shadow.counts().lru_hits == 0);
/// ```
#[derive(Debug)]
pub struct LruShadow {
    /// One key in `2^` so many is followed.
    one_in_log: u32,
    entries_max: usize,
    /// Bytes of the cache that this is a model of.
    capacity: u64,
    /// Bytes that the entries of the model take.
    bytes: u64,
    has_been_full: bool,
    places: HashMap<u64, u32>,
    nodes: Vec<Node>,
    /// Places of nodes that are in no list.
    free: Vec<u32>,
    newest: u32,
    oldest: u32,
    counts: ShadowCounts,
}

#[derive(Clone, Copy, Debug)]
struct Node {
    hash: u64,
    bytes: u64,
    newer: u32,
    older: u32,
}

/// Uses of all keys since the model was full, estimated from those that it follows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ShadowCounts {
    /// Reads that found a value.
    pub reads: u64,
    /// Those that the real cache served.
    pub hits: u64,
    /// Those that a cache by least recent use would have served.
    pub lru_hits: u64,
}

impl LruShadow {
    /// A model of a cache of `capacity` bytes that holds at most `entries_max` entries; what it takes itself,
    /// [`LruShadow::memory_bytes`] says.
    #[must_use]
    pub fn new(entries_max: usize, capacity: u64) -> LruShadow {
        LruShadow {
            one_in_log: ONE_IN_LOG_START,
            entries_max: entries_max.clamp(1, NOBODY as usize / 2),
            capacity,
            bytes: 0,
            has_been_full: false,
            places: HashMap::new(),
            nodes: Vec::new(),
            free: Vec::new(),
            newest: NOBODY,
            oldest: NOBODY,
            counts: ShadowCounts::default(),
        }
    }

    /// Which keys it follows: for [`LruShadow::follows`], so that others need not be told, nor the model be locked for them.
    #[must_use]
    pub fn filter(&self) -> u64 {
        ((1 << self.one_in_log) - 1) << FILTER_SHIFT
    }

    /// Whether a key is followed by a model with this filter.
    #[inline]
    #[must_use]
    pub fn follows(filter: u64, hash: u64) -> bool {
        hash & filter == 0
    }

    /// From now on the cache has so many bytes.
    pub fn set_capacity(&mut self, capacity: u64) {
        self.capacity = capacity;
    }

    /// Takes note of a read of a key that has a value, whose entry takes so many bytes; `is_hit` says whether the real cache
    /// served it.
    pub fn read(&mut self, hash: u64, bytes: u64, is_hit: bool) {
        if !LruShadow::follows(self.filter(), hash) {
            return;
        }
        if self.has_been_full {
            let weight = 1 << self.one_in_log;
            self.counts.reads += weight;
            self.counts.hits += if is_hit { weight } else { 0 };
            self.counts.lru_hits += if self.places.contains_key(&hash) { weight } else { 0 };
        }
        self.written(hash, bytes);
    }

    /// Takes note of a write of a key, whose entry takes so many bytes.
    pub fn written(&mut self, hash: u64, bytes: u64) {
        if !LruShadow::follows(self.filter(), hash) {
            return;
        }
        self.removed(hash);
        if bytes > self.capacity {
            return;
        }
        self.push(hash, bytes);
        self.shrink();
        while self.places.len() > self.entries_max && self.one_in_log < ONE_IN_LOG_MAX {
            self.follow_half();
        }
    }

    /// Takes note that a key has no value any more.
    pub fn removed(&mut self, hash: u64) {
        if let Some(place) = self.places.remove(&hash) {
            self.unlink(place);
        }
    }

    /// Takes note that no key has a value any more: as a new one, but for what was counted. So nothing is counted until it has been
    /// full again.
    pub fn clear(&mut self) {
        *self = LruShadow { counts: self.counts, ..LruShadow::new(self.entries_max, self.capacity) };
    }

    /// What was counted.
    #[must_use]
    pub fn counts(&self) -> ShadowCounts {
        self.counts
    }

    /// Bytes of memory that it takes.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        // A byte of control for each place of the map.
        self.places.capacity() * (size_of::<(u64, u32)>() + 1)
            + self.nodes.capacity() * size_of::<Node>()
            + self.free.capacity() * size_of::<u32>()
    }

    /// Lets those go that were used longest ago, as far as the part of the memory that there is for them calls for it. One
    /// stays, since the part may be smaller than an entry that the whole has room for.
    fn shrink(&mut self) {
        while self.bytes > self.capacity >> self.one_in_log && self.places.len() > 1 {
            self.has_been_full = true;
            let oldest = self.nodes[self.oldest as usize].hash;
            self.removed(oldest);
        }
    }

    /// Gives up every other key.
    fn follow_half(&mut self) {
        self.one_in_log += 1;
        let filter = self.filter();
        let given_up: Vec<u64> =
            self.places.keys().copied().filter(|hash| !LruShadow::follows(filter, *hash)).collect();
        given_up.into_iter().for_each(|hash| self.removed(hash));
    }

    fn push(&mut self, hash: u64, bytes: u64) {
        let node = Node { hash, bytes, newer: NOBODY, older: self.newest };
        let place = match self.free.pop() {
            Some(place) => {
                self.nodes[place as usize] = node;
                place
            }
            None => {
                self.nodes.push(node);
                // There are never more than `entries_max` and one, which is below this.
                u32::try_from(self.nodes.len() - 1).unwrap_or(NOBODY)
            }
        };
        match self.nodes.get_mut(self.newest as usize) {
            Some(newest) => newest.newer = place,
            None => self.oldest = place,
        }
        self.newest = place;
        self.places.insert(hash, place);
        self.bytes += bytes;
    }

    fn unlink(&mut self, place: u32) {
        let Node { bytes, newer, older, .. } = self.nodes[place as usize];
        match self.nodes.get_mut(newer as usize) {
            Some(newer) => newer.older = older,
            None => self.newest = older,
        }
        match self.nodes.get_mut(older as usize) {
            Some(older) => older.newer = newer,
            None => self.oldest = newer,
        }
        self.bytes -= bytes;
        self.free.push(place);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: u64 = 100;

    fn hash(n: u64) -> u64 {
        let mixed = (n + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        (mixed ^ mixed >> 29).wrapping_mul(0xBF58_476D_1CE4_E5B9) ^ mixed >> 31
    }

    /// Hits of a cache by least recent use that holds so many entries of one size, once it has been full, and reads since.
    fn exact(entries: usize, keys: impl Iterator<Item = u64>) -> (u64, u64) {
        let (mut inside, mut is_full, mut reads, mut hits) = (Vec::new(), false, 0, 0);
        for key in keys {
            let found = inside.iter().position(|other| *other == key);
            reads += u64::from(is_full);
            hits += u64::from(is_full && found.is_some());
            found.map(|place| inside.remove(place));
            inside.push(key);
            if inside.len() > entries {
                is_full = true;
                inside.remove(0);
            }
        }
        (reads, hits)
    }

    /// Skewed keys: the lower half of all is read three times as often as the upper one, and so on in it.
    fn skewed(count: u64) -> impl Iterator<Item = u64> {
        (0..count).map(|n| {
            let (first, second) = (hash(2 * n), hash(2 * n + 1));
            (second % 8_000) >> (first % 4)
        })
    }

    #[test]
    fn it_serves_what_a_cache_of_that_size_would() {
        let mut shadow = LruShadow::new(2048, 2_000 * SIZE);
        let keys = || skewed(200_000);
        keys().for_each(|key| shadow.read(hash(key), SIZE, key % 2 == 0));
        let (reads, hits) = exact(2_000, keys());
        let ShadowCounts { reads: ours, hits: served, lru_hits } = shadow.counts();
        let share = |part: u64, of: u64| part as f64 / of as f64;
        assert!(
            (share(lru_hits, ours) - share(hits, reads)).abs() < 0.04,
            "{lru_hits} of {ours}, {hits} of {reads}"
        );
        assert!((share(ours, reads) - 1.0).abs() < 0.15, "{ours} for {reads}");
        assert!((share(served, ours) - 0.5).abs() < 0.1, "{served} of {ours}");
    }

    #[test]
    fn a_scan_drives_out_what_is_hot() {
        let mut shadow = LruShadow::new(2048, 1_000 * SIZE);
        for round in 0..20 {
            (0..500).for_each(|key| shadow.read(hash(key), SIZE, true));
            (0..5_000).for_each(|key| shadow.read(hash(1_000_000 + round * 5_000 + key), SIZE, false));
        }
        let counts = shadow.counts();
        assert!(counts.lru_hits == 0 && counts.hits > 7_000, "{counts:?}");
    }

    #[test]
    fn it_stays_within_its_entries_by_following_fewer_keys() {
        let mut shadow = LruShadow::new(100, u64::MAX);
        let filter = shadow.filter();
        (0..100_000).for_each(|key| shadow.written(hash(key), SIZE));
        assert!(shadow.filter() > filter && shadow.places.len() <= 100 && shadow.places.len() > 20);
        assert!(shadow.memory_bytes() < 16 << 10, "{} bytes", shadow.memory_bytes());
        assert_eq!(shadow.bytes, SIZE * shadow.places.len() as u64);
        assert_eq!(shadow.counts(), ShadowCounts::default(), "it was never full");
    }

    #[test]
    fn what_is_removed_or_too_long_is_not_there() {
        let mut shadow = LruShadow::new(100, 160);
        let mut followed = (0..).map(hash).filter(|hash| LruShadow::follows(shadow.filter(), *hash));
        let (a, b, c) = (followed.next().unwrap(), followed.next().unwrap(), followed.next().unwrap());
        shadow.written(a, 8);
        shadow.written(b, 8);
        assert!(
            shadow.has_been_full && !shadow.places.contains_key(&a),
            "a sixteenth of 160 bytes has room for one"
        );
        shadow.read(b, 8, true);
        shadow.removed(b);
        shadow.read(b, 8, true);
        shadow.written(c, 161);
        assert!(!shadow.places.contains_key(&c));
        assert_eq!(shadow.counts(), ShadowCounts { reads: 32, hits: 32, lru_hits: 16 });
        shadow.removed(b);
        assert_eq!((shadow.bytes, shadow.newest, shadow.oldest), (0, NOBODY, NOBODY));
    }

    #[test]
    fn what_is_cleared_counts_again_once_it_is_full_again() {
        let mut shadow = LruShadow::new(40, 1_000 * SIZE);
        let start = shadow.filter();
        (0..10_000).for_each(|key| shadow.read(hash(key), SIZE, true));
        let before = shadow.counts();
        assert!(before.reads > 0 && shadow.filter() > start);
        shadow.clear();
        assert_eq!((shadow.counts(), shadow.filter(), shadow.memory_bytes()), (before, start, 0));
        (0..500).for_each(|key| shadow.read(hash(key), SIZE, true));
        assert_eq!(shadow.counts(), before, "half full");
        (0..10_000).for_each(|key| shadow.read(hash(key), SIZE, true));
        assert!(shadow.counts().reads > before.reads);
    }
}
