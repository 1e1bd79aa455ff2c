//! Nothing but reads on a filled store, for programs that count instructions and cache misses.

use std::hint::black_box;

use super::kinds::kind;
use super::store::{Reading, Seen, StorePass};
use crate::keys::{Spread, keys, requests};
use crate::run::Outcome;

/// What is read, and how often.
#[derive(Debug, clap::Args)]
pub(crate) struct GetsArguments {
    /// Keys in the store.
    #[arg(long, default_value_t = 1_000_000)]
    keys: usize,
    /// Reads. With 0 the program only fills the store, which is what has to be subtracted from the other counts.
    #[arg(long, default_value_t = 10_000_000)]
    gets: usize,
    /// How it reads.
    #[arg(long, value_enum, default_value_t = How::Get)]
    how: How,
    /// The store: ours, or with the feature `peers` one of the rivals.
    #[arg(long, default_value = "ours")]
    store: String,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum How {
    Get,
    With,
    Multi,
}

/// Requests that are made ahead of time; further reads go round. Enough of them that a round leaves the caches.
const REQUESTS_MAX: usize = 1 << 20;

/// Fills the store and reads.
///
/// # Errors
/// An unknown store; reads that did not find their key.
pub(crate) fn gets(arguments: &GetsArguments, seed: u64) -> Outcome<()> {
    let store = (kind(&arguments.store)?.empty)();
    let keys = keys(seed, arguments.keys.max(1));
    store.insert_all(&keys);
    // As many whatever is asked for, so that a run with 0 reads does the same otherwise.
    let requests = requests(Spread::Uniform, &keys, 1, REQUESTS_MAX, seed);
    let how = match arguments.how {
        How::Get => Reading::Get,
        How::With => Reading::With,
        How::Multi => Reading::Multi,
    };
    let mut seen = Seen::default();
    let mut left = arguments.gets;
    while left > 0 {
        let round = left.min(REQUESTS_MAX);
        seen.merge(warp_bench_only_gets(&*store, how, &requests[0].keys[..round]));
        left -= round;
    }
    println!("{} reads found {} keys", arguments.gets, seen.hits);
    if seen.hits == arguments.gets as u64 { Ok(()) } else { Err("not every key was found".into()) }
}

/// A function of its own under a name that nothing else has, for `callgrind --toggle-collect`.
#[inline(never)]
fn warp_bench_only_gets(store: &dyn StorePass, how: Reading, keys: &[crate::keys::Key]) -> Seen {
    black_box(store.read(how, black_box(keys)))
}
