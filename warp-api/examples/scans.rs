//! Times the first scan of many keys, and what comes after: `cargo run --release -p warp-api --example scans -- 10000000`

use warp_api::{Result, WarpEngine};
use warp_io::{Clock, SystemClock};

fn main() -> Result<()> {
    let keys: u64 = std::env::args().nth(1).and_then(|count| count.parse().ok()).unwrap_or(100_000);
    let clock = SystemClock::new();
    let engine = WarpEngine::in_memory();
    let key = |number: u64| format!("key:{:012}", number * 6_364_136_223 % keys);
    for number in 0..keys {
        engine.put(key(number), [7; 100])?;
    }
    let timed = |what: &str, count: u64, work: &mut dyn FnMut() -> Result<()>| {
        let start = clock.monotonic();
        work()?;
        let elapsed = clock.monotonic() - start;
        println!("{what}: {elapsed:?}, {:?} each", elapsed / u32::try_from(count).unwrap_or(u32::MAX));
        Ok::<(), warp_api::Error>(())
    };
    timed("first scan, to its first item", keys, &mut || {
        assert!(engine.iter().next().is_some());
        Ok(())
    })?;
    println!("{} bytes a key", engine.cosmic_metrics().memory.order_bytes as f64 / keys as f64);
    for _ in 0..2 {
        timed("iterate over all", keys, &mut || {
            let seen = engine.iter().count();
            println!("{seen} keys");
            Ok(())
        })?;
    }
    let mut taken = Vec::new();
    for number in 0..10_000 {
        let prefix = &key(number * 7)[..14];
        let start = clock.monotonic();
        let count = engine.scan_prefix(prefix).count();
        taken.push(clock.monotonic() - start);
        assert!(count <= 100);
    }
    taken.sort();
    println!("scan_prefix of 100 keys: p50 {:?}, p99 {:?}", taken[5_000], taken[9_900]);
    Ok(())
}
