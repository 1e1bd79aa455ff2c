//! The same write, acknowledged in three ways, and a commit that is waited for later.

use warp_api::{Durability, PutOptions, Result, WarpEngine};

fn main() -> Result<()> {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let engine = WarpEngine::open(directory.path())?; // Durability::Interval, unless told otherwise

    // Acknowledged at once; on the disk within the flush interval of 100 ms.
    let interval = engine.put("a", "1")?;
    // Acknowledged at once; on the disk when something else is synced.
    let os = engine.put_with("b", "2", &PutOptions::new().durability(Durability::Os))?;
    // On the disk when this returns, and with it everything before.
    let sync = engine.put_with("c", "3", &PutOptions::new().durability(Durability::Sync))?;
    assert!(interval < os && os < sync && sync <= engine.durable_seq());

    // Write now, wait later: asking starts a sync, and other work can be done meanwhile.
    let seq = engine.put("d", "4")?;
    let commit = engine.durable(seq);
    println!("sequence {seq} is durable: {}", commit.is_done());
    commit.wait()?;
    assert!(engine.durable_seq() >= seq);
    engine.close()
}
