//! A mistake, and the database as it was before it: while it is open, and after it was closed.

use std::time::SystemTime;

use warp_api::{Durability, ErrorKind, Options, PointInTime, Result, Seq, WarpEngine};

#[expect(clippy::disallowed_methods, reason = "a program of its own takes the system's time")]
fn main() -> Result<()> {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let (data, archive) = (directory.path().join("data"), directory.path().join("archive"));
    // With an archive the log is kept from its beginning on; without, as far back as the kept checkpoints reach.
    let options = || Options::new().log_archive(&archive);
    let engine = options().durability(Durability::Sync).open(&data)?;
    engine.put("balance", "100")?;
    let before = engine.last_seq();
    engine.put("balance", "0")?; // the mistake
    engine.delete("owner")?;

    // A view is read as an engine is; the engine goes on meanwhile.
    let view = engine.view_at(PointInTime::Seq(before))?;
    let balance = view.get("balance")?.expect("it was there");
    println!("at sequence {}, recorded at {:?}: {balance:?}", view.seq(), view.time());
    engine.put("balance", &balance)?;
    assert_eq!(engine.get("balance")?.as_deref(), Some(&b"100"[..]));
    engine.close()?;

    // The same of a directory, and by time. Another process may have the database open meanwhile.
    let then = WarpEngine::open_at(&data, PointInTime::Time(SystemTime::now()))?;
    assert_eq!(then.get("balance")?.as_deref(), Some(&b"100"[..]));
    drop(then);
    let mistake = options().open_at(&data, PointInTime::Seq(Seq(before.0 + 1)))?;
    assert_eq!(mistake.get("balance")?.as_deref(), Some(&b"0"[..]));
    drop(mistake);

    // What cannot be had is refused, with what can.
    let error =
        options().open_at(&data, PointInTime::Seq(Seq(1_000))).expect_err("nothing was written there");
    assert_eq!(error.kind(), ErrorKind::OutOfRange);
    println!("{error}");
    Ok(())
}
