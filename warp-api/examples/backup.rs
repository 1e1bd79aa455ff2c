//! Back up a database while it is written to, look whether its files are sound, and mend what is not.

use warp_api::{Result, WarpEngine};

fn main() -> Result<()> {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let (data, copy) = (directory.path().join("data"), directory.path().join("copy"));
    let engine = WarpEngine::open(&data)?;
    for number in 0..1_000 {
        engine.put(format!("key:{number}"), "value")?;
    }
    engine.checkpoint()?; // what is in a checkpoint is copied once; the log's tail with each backup
    let first = engine.backup(&copy)?;
    engine.put("key:0", "another value")?;
    let second = engine.backup(&copy)?; // writes what is new since the first
    println!("{} bytes, then {}", first.bytes_written, second.bytes_written);
    assert!(second.incremental && second.bytes_written < first.bytes_written);

    // Reads all files that recovery would rely on, beside the engine that uses them.
    let report = engine.verify()?;
    println!("{} layers, {} segments of the log", report.layers, report.segments);
    assert!(report.problems.is_empty());
    engine.close()?;

    // A backup is a database. Repairing a sound one changes nothing; of a damaged one it says what is lost.
    let repaired = WarpEngine::repair(&copy)?;
    assert!(repaired.was_sound && repaired.lost_entries.is_empty());
    let restored = WarpEngine::open(&copy)?;
    assert_eq!(restored.get("key:0")?.as_deref(), Some(&b"another value"[..]));
    restored.close()
}
