//! A cache that learns what is worth keeping, in front of something slow.
//!
//! `cargo run -p warp-physics --example event_horizon`

use std::collections::HashMap;
use std::io;

use warp_physics::{EventHorizonCache, HorizonLevel};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // What is slow, and what it holds.
    let slow: HashMap<u32, String> = (0..2000).map(|key| (key, format!("value {key}"))).collect();
    let load = |key: u32| slow.get(&key).cloned().ok_or_else(|| io::Error::from(io::ErrorKind::NotFound));

    // 4 KiB for some 100 values; a loop over 400 of them leaves nothing behind in a cache that keeps the latest.
    let cache = EventHorizonCache::builder(4096)
        .weigher(|_: &u32, value: &String| u32::try_from(value.len() + 32).unwrap_or(u32::MAX))
        .expected_entries(100)
        .build();
    for turn in 0..40_000_u32 {
        cache.get_or_try_insert_with(turn % 400, || load(turn % 400))?;
    }
    assert!(cache.get_or_try_insert_with(9999, || load(9999)).is_err());

    let stats = cache.stats();
    println!("hits {} of {}, {} evaporated", stats.hits, stats.hits + stats.misses, stats.evaporated);
    println!("temperature {:?} expected hits an access and byte", stats.temperature);
    let levels = cache.levels();
    for level in HorizonLevel::ALL {
        println!("{level:<16?} {} entries", levels.entries[level as usize]);
    }
    assert!(stats.hit_ratio() > Some(0.15), "of at most a quarter");
    assert!(stats.weight <= 4096);
    Ok(())
}
