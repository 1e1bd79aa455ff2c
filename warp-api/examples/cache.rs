//! The engine as a cache: without files, within a budget of memory, and what is worth least leaves when it is full.

use warp_api::{Options, Result, WhenFull};

const BUDGET: u64 = 32 << 20;

fn main() -> Result<()> {
    let cache = Options::new().memory_budget(BUDGET).when_full(WhenFull::Evict).in_memory();

    // Three times as much as fits, while some pages are asked for again and again.
    let page = vec![b'x'; 4_000];
    let mut misses = 0;
    for number in 0..24_000 {
        cache.put(format!("page:{number}"), &page)?;
        let popular = format!("page:{}", number % 100);
        if cache.get(&popular)?.is_none() {
            misses += 1;
            cache.put(&popular, &page)?;
        }
    }

    let metrics = cache.cosmic_metrics();
    println!("{} entries were evicted, {misses} of the popular ones were missed", metrics.residency.evicted);
    assert!(metrics.residency.evicted > 0 && misses < 2_400);
    assert!(metrics.memory.held_bytes <= BUDGET + BUDGET / 32);
    cache.close()
}
