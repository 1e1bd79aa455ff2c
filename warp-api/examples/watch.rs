//! Follow the changes of some keys as they are made, and go on later where a follower stopped.

use std::time::Duration;

use warp_api::{ChangeOp, Result, Seq, WarpEngine, Watch};

fn main() -> Result<()> {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let engine = WarpEngine::open(directory.path())?;

    // From now on, and only keys that begin like this.
    let mut orders = engine.watch("order:")?;
    engine.put("order:1", "3 books")?;
    engine.put("user:1", "Ada")?; // not told
    engine.delete("order:1")?;
    engine.sync()?; // a change is told once it is durable: without this a tenth of a second later
    let seen = follow(&mut orders)?.expect("two changes were made");

    // A follower that was away asks for what came since the last change that it has dealt with.
    drop(orders);
    engine.put("order:2", "1 lamp")?;
    engine.sync()?;
    let mut missed = engine.changes_since(seen, "order:")?;
    assert!(follow(&mut missed)?.is_some_and(|last| last > seen));
    engine.close()
}

/// Prints changes until none comes for a moment; the sequence number of the last one. A follower that was too slow or away
/// for too long gets an error of the kind `Lagged`: then it reads everything anew.
fn follow(changes: &mut Watch) -> Result<Option<Seq>> {
    let mut last = None;
    while let Some(change) = changes.next_timeout(Duration::from_millis(50))? {
        let key = String::from_utf8_lossy(&change.key);
        match &change.op {
            ChangeOp::Put(value) => println!("{} {key} = {value:?}", change.seq),
            other => println!("{} {key}: {other:?}", change.seq),
        }
        last = Some(change.seq);
    }
    Ok(last)
}
