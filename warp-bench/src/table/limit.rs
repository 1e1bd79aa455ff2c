//! The limit of the machine: what a hash index of one cache line a bucket over an array of records reaches, written
//! for one size of key and value, filled once and only read.
//!
//! ```text
//! hash --> bucket of 64 bytes: 7 tags, 7 numbers of records --> record of 128 bytes: key, value
//! ```
//!
//! Nothing with keys of any length, writers and growth gets beyond it; how near a table comes is a figure that does
//! not depend on the machine's mood. There are two: *raw* is one flat array of buckets; *directory and pin* adds
//! what a table needs that grows by slots and frees memory under readers, which is a load of the slot's place
//! before the bucket, and a store to the thread's own cache line before and after each read.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering, compiler_fence};

use warp_core::hash_key;

use super::pages::{Pages, array, prefetch};
use super::store::{BATCH_KEYS, Read, ReadPass, Seen, digest};
use crate::keys::{KEY_BYTES, Key, VALUE_BYTES, value};

/// Keys that a bucket takes.
const BUCKET_KEYS: usize = 7;
/// Keys a bucket on average: few enough that one key in fifty lies in the bucket after its own.
const BUCKET_KEYS_MEAN: usize = 4;
/// Slots of the directory, as many as the table has.
const SLOTS: usize = warp_core::SLOTS;
const SLOT_SHIFT: u32 = u64::BITS - SLOTS.ilog2();
const SEED: u64 = 0x11417;

/// A bucket: a cache line.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
struct Bucket {
    /// A byte of hash a key in the low seven bytes, 0 where there is none; filled from the lowest on.
    tags: u64,
    records: [u32; BUCKET_KEYS],
}

const EMPTY: Bucket = Bucket { tags: 0, records: [0; BUCKET_KEYS] };

/// A key with its value: two cache lines that the processor fetches as a pair.
#[derive(Clone, Copy, Debug)]
#[repr(align(128))]
struct Record {
    key: Key,
    value: [u8; VALUE_BYTES],
}

const _: () = assert!(size_of::<Bucket>() == 64);
const _: () = assert!(size_of::<Record>() == 128);

/// The buckets of a slot: from where, and how many.
#[derive(Clone, Copy, Debug, Default)]
struct Place {
    start: u32,
    count: u32,
}

/// An index over records. `DIRECTORY` is whether it has the slot directory and the pin.
#[derive(Debug)]
struct Limit<const DIRECTORY: bool> {
    records: Arc<Vec<Record>>,
    buckets: Vec<Bucket>,
    /// One place for all without the directory.
    places: Vec<Place>,
}

/// A limit with what it is called.
pub(crate) struct Named {
    pub(crate) name: String,
    pub(crate) pass: Box<dyn ReadPass>,
}

/// All limits, filled with the keys: raw, then directory and pin, each in both sizes of pages.
pub(crate) fn limits(keys: &[Key]) -> Vec<Named> {
    let mut limits = Vec::new();
    for pages in Pages::ALL {
        let mut records = array(keys.len(), Record { key: [0; KEY_BYTES], value: [0; VALUE_BYTES] }, pages);
        for (record, key) in records.iter_mut().zip(keys) {
            *record = Record { key: *key, value: value(key) };
        }
        // Both indexes of a size of pages have the same records, which is where the memory goes.
        let records = Arc::new(records);
        let raw = Box::new(Limit::<false>::new(Arc::clone(&records), pages));
        let directory = Box::new(Limit::<true>::new(records, pages));
        limits.push(Named { name: raw_name(pages), pass: raw });
        limits.push(Named { name: directory_name(pages), pass: directory });
    }
    limits
}

pub(crate) fn raw_name(pages: Pages) -> String {
    format!("limit, raw, {}", pages.name())
}

pub(crate) fn directory_name(pages: Pages) -> String {
    format!("limit, directory and pin, {}", pages.name())
}

fn hash(key: &Key) -> u64 {
    hash_key(SEED, 0, key)
}

impl<const DIRECTORY: bool> Limit<DIRECTORY> {
    fn new(records: Arc<Vec<Record>>, pages: Pages) -> Self {
        let mut keys = vec![0_usize; if DIRECTORY { SLOTS } else { 1 }];
        for record in records.iter() {
            keys[slot::<DIRECTORY>(hash(&record.key))] += 1;
        }
        let mut places = Vec::with_capacity(keys.len());
        let mut start = 0;
        for keys in keys {
            let count = keys / BUCKET_KEYS_MEAN + 1;
            places.push(Place { start: narrow(start), count: narrow(count) });
            start += count;
        }
        let mut limit = Limit { records, buckets: array(start, EMPTY, pages), places };
        for record in 0..limit.records.len() {
            limit.insert(record);
        }
        limit
    }

    fn insert(&mut self, record: usize) {
        let hash = hash(&self.records[record].key);
        let (place, mut at) = self.bucket_of(hash);
        loop {
            let bucket = &mut self.buckets[at];
            let used = used(bucket.tags);
            if used < BUCKET_KEYS {
                bucket.tags |= tag(hash) << (8 * used);
                bucket.records[used] = narrow(record);
                return;
            }
            at = next(place, at);
        }
    }

    /// The buckets that a hash is looked for in, and the one to begin with.
    #[inline]
    fn bucket_of(&self, hash: u64) -> (Place, usize) {
        let place = self.places[slot::<DIRECTORY>(hash)];
        let within = if DIRECTORY { hash << (u64::BITS - SLOT_SHIFT) } else { hash };
        // The upper half of the product is evenly spread below `count`, without a division.
        let product = u128::from(within) * u128::from(place.count);
        let bucket =
            usize::try_from(product >> 64).expect("the upper half of the product is below the count");
        (place, place.start as usize + bucket)
    }

    #[inline]
    fn find(&self, key: &Key, hash: u64) -> Option<&Record> {
        let (place, mut at) = self.bucket_of(hash);
        loop {
            let bucket = &self.buckets[at];
            let mut matches = matches(bucket.tags, tag(hash));
            while matches != 0 {
                let record = &self.records[bucket.records[first(matches)] as usize];
                if record.key == *key {
                    return Some(record);
                }
                matches &= matches - 1;
            }
            if used(bucket.tags) < BUCKET_KEYS {
                return None;
            }
            at = next(place, at);
        }
    }

    /// Calls `read` between two stores to the thread's own line, where this limit has them.
    #[inline]
    fn pinned<T>(read: impl FnOnce() -> T) -> T {
        if !DIRECTORY {
            return read();
        }
        PIN.with(|Pin(pin)| {
            pin.store(1, Ordering::Relaxed);
            // The order against the reads is left to whoever frees memory, who can have the kernel run a barrier on
            // every processor; the reader only keeps the compiler from moving the stores.
            compiler_fence(Ordering::SeqCst);
            let result = read();
            pin.store(0, Ordering::Release);
            result
        })
    }
}

impl<const DIRECTORY: bool> Read for Limit<DIRECTORY> {
    #[inline]
    fn with_value(&self, key: &Key) -> Option<u64> {
        Self::pinned(|| self.find(key, hash(key)).map(|record| digest(&record.value)))
    }

    fn multi_get(&self, keys: &[Key], seen: &mut Seen) {
        Self::pinned(|| {
            let mut hashes = [0; BATCH_KEYS];
            for (place, key) in hashes.iter_mut().zip(keys) {
                *place = hash(key);
                prefetch(&self.buckets[self.bucket_of(*place).1]);
            }
            for &hash in &hashes[..keys.len()] {
                let bucket = &self.buckets[self.bucket_of(hash).1];
                let matches = matches(bucket.tags, tag(hash));
                if matches != 0 {
                    let record = &self.records[bucket.records[first(matches)] as usize];
                    prefetch(record);
                    prefetch(&record.value[64 - KEY_BYTES]);
                }
            }
            for (key, &hash) in keys.iter().zip(&hashes) {
                seen.add(self.find(key, hash).map(|record| digest(&record.value)));
            }
        });
    }
}

/// A cache line, and the one that the processor fetches with it.
#[repr(align(128))]
struct Pin(AtomicU64);

thread_local! {
    static PIN: Pin = const { Pin(AtomicU64::new(0)) };
}

#[inline]
fn slot<const DIRECTORY: bool>(hash: u64) -> usize {
    if DIRECTORY { (hash >> SLOT_SHIFT) as usize } else { 0 }
}

/// The byte by which a bucket knows a key: never 0, which marks a free place.
#[inline]
fn tag(hash: u64) -> u64 {
    (hash & 0xFF).max(1)
}

/// The highest bit of each of the seven tags.
const HIGH_BITS: u64 = 0x0080_8080_8080_8080;
const LOW_BITS: u64 = 0x0001_0101_0101_0101;

/// The high bits of the bytes in which `tags` equals `tag`, and now and then of one above such a byte, which the
/// comparison of keys sorts out.
#[inline]
fn matches(tags: u64, tag: u64) -> u64 {
    let differences = tags ^ (LOW_BITS * tag);
    differences.wrapping_sub(LOW_BITS) & !differences & HIGH_BITS
}

/// The number of the lowest byte that matched.
#[inline]
fn first(matches: u64) -> usize {
    (matches.trailing_zeros() / 8) as usize
}

/// How many places of a bucket are taken.
#[inline]
fn used(tags: u64) -> usize {
    (8 - tags.leading_zeros() / 8) as usize
}

fn next(place: Place, at: usize) -> usize {
    let end = (place.start + place.count) as usize;
    if at + 1 < end { at + 1 } else { place.start as usize }
}

fn narrow(number: usize) -> u32 {
    u32::try_from(number).expect("the limits are measured with fewer than 2^32 keys")
}

#[cfg(test)]
mod tests {
    use super::super::store::Reading;
    use super::*;
    use crate::keys::keys;

    #[test]
    fn every_limit_finds_what_is_there_and_nothing_else() {
        let keys = keys(1, 60_000);
        let (there, absent) = keys.split_at(50_000);
        let mut expected = Seen::default();
        for key in there {
            expected.add(Some(digest(&value(key))));
        }
        for limit in limits(there) {
            for how in [Reading::Get, Reading::With, Reading::Multi] {
                assert_eq!(limit.pass.read(how, there), expected, "{}", limit.name);
                assert_eq!(limit.pass.read(how, absent), Seen::default(), "{}", limit.name);
            }
        }
    }

    #[test]
    fn tags_match_where_they_are_equal() {
        let tags = 0x0000_0000_05FF_0501;
        assert_eq!(matches(tags, 5) & 0x8080_8080, 0x8000_8000);
        assert_eq!((first(matches(tags, 5)), first(matches(tags, 0xFF))), (1, 2));
        assert_eq!(matches(tags, 9), 0);
        assert_eq!((used(0), used(tags), used(0x0001_0101_0101_0101)), (0, 4, 7));
    }
}
