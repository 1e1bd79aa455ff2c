//! Hit ratios within a budget of bytes: the cache beside its rivals, those that know what comes, and a bound.

use warp_physics::EventHorizonCache;

use crate::physics::policies::{
    ArcSized, Lfu, LirsSized, bound, by_distance, by_distance_and_size, foreseen, gdsf, lru_sized,
    replay_sized,
};
use crate::physics::trace::Trace;
use crate::report::{Cell, Table};

const NAMES: [&str; 10] = [
    "horizon",
    "GDSF",
    "LRU",
    "LFU",
    "perfect LFU",
    "ARC",
    "LIRS",
    "Belady",
    "Belady-size",
    "at most (PFOO-L)",
];
#[cfg(feature = "peers")]
const PEERS: &[&str] = &["moka", "quick_cache", "foyer, S3-FIFO"];
#[cfg(not(feature = "peers"))]
const PEERS: &[&str] = &[];

const NOTES: [&str; 4] = [
    "Re-implementations but for the horizon, moka, quick_cache and foyer. Perfect LFU knows all uses of all keys.",
    "Belady and Belady-size know what comes: they drop what is used again last, or what takes most bytes times requests",
    "until then. The optimum, NP-hard to know, is not below these two, nor above PFOO-L: hits of the fewest bytes times",
    "requests, or of the fewest for each byte, that add up to the budget times the requests.",
];

/// What a budget is of the bytes of all keys, each at its largest: a hundredth and a tenth.
const SHARES: [u64; 2] = [100, 10];

/// Empty tables: hits of requests, hits of bytes.
pub(super) fn tables() -> [Table; 2] {
    let columns: Vec<&str> =
        ["trace", "hash", "budget"].into_iter().chain(NAMES).chain(PEERS.iter().copied()).collect();
    ["requests", "bytes"].map(|what| {
        let mut table = Table::new(format!("Hit ratio of {what} within a budget of bytes"), &columns);
        NOTES.into_iter().for_each(|note| table.note(note));
        table
    })
}

/// Replays a trace, if it has sizes, and adds a row for each budget to both tables.
pub(super) fn replay_within(trace: &Trace, tables: &mut [Table; 2]) {
    if trace.sizes.is_empty() {
        return;
    }
    let mut largest = vec![0_u32; trace.unique];
    for (&key, &size) in trace.keys.iter().zip(&trace.sizes) {
        largest[key as usize] = largest[key as usize].max(size);
    }
    let all: u64 = largest.iter().copied().map(u64::from).sum();
    for share in SHARES {
        let budget = all / share;
        let entries = trace.unique / usize::try_from(share).unwrap_or(1);
        let both = ratios(trace, budget, entries);
        for (table, place) in tables.iter_mut().zip(0..) {
            let head =
                [Cell::text(&trace.name), Cell::text(format!("{:016x}", trace.hash)), Cell::bytes(budget)];
            table.row_now(head.into_iter().chain(both.iter().map(|both| Cell::share(both[place]))));
        }
    }
}

/// Shares of requests and of bytes that hit, in the order of the names.
fn ratios(trace: &Trace, budget: u64, entries: usize) -> Vec<[f64; 2]> {
    let (keys, sizes, unique) = (&trace.keys[..], &trace.sizes[..], trace.unique);
    let mut both = vec![
        ours(budget, entries, keys, sizes),
        gdsf(budget, unique, keys, sizes),
        lru_sized(budget, unique, keys, sizes),
        replay_sized(&mut Lfu::new(budget, unique), keys, sizes),
        replay_sized(&mut Lfu::perfect(budget, unique), keys, sizes),
        replay_sized(&mut ArcSized::new(budget, unique), keys, sizes),
        replay_sized(&mut LirsSized::new(budget, unique), keys, sizes),
        foreseen(budget, unique, keys, sizes, by_distance),
        foreseen(budget, unique, keys, sizes, by_distance_and_size),
        bound(budget, unique, keys, sizes),
    ];
    #[cfg(feature = "peers")]
    both.extend(super::peers::sized(budget, entries, keys, sizes));
    both.shrink_to_fit();
    both
}

fn ours(budget: u64, entries: usize, keys: &[u32], sizes: &[u32]) -> [f64; 2] {
    let cache: EventHorizonCache<u32, u32> = EventHorizonCache::builder(budget)
        .weigher(|_, &size| size)
        .expected_entries(entries)
        .shards(1)
        .build();
    weighed(keys, sizes, |key| cache.get(&key), |key, size| _ = cache.insert(key, size))
}

/// Replays a trace through a cache that holds sizes as values: shares of requests and of bytes that hit.
pub(super) fn weighed(
    keys: &[u32],
    sizes: &[u32],
    held: impl Fn(u32) -> Option<u32>,
    put: impl Fn(u32, u32),
) -> [f64; 2] {
    let (mut hits, mut bytes, mut hit_bytes) = (0_u64, 0_u64, 0_u64);
    for (&key, &size) in keys.iter().zip(sizes) {
        let size = size.max(1);
        bytes += u64::from(size);
        // An entry of another size than it is asked for with is the same object all the same, as for the rivals.
        let found = held(key);
        if found.is_some() {
            hits += 1;
            hit_bytes += u64::from(size);
        }
        if found != Some(size) {
            put(key, size);
        }
    }
    [hits as f64 / keys.len() as f64, hit_bytes as f64 / bytes as f64]
}
