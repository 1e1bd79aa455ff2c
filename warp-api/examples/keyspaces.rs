//! Several sets of keys in one database: with deadlines, scans in order, and batches that span them.

use std::time::Duration;

use warp_api::{ErrorKind, Expected, PutOptions, Result, WarpEngine, WriteBatch};

fn main() -> Result<()> {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let engine = WarpEngine::open(directory.path())?;
    let (accounts, sessions) = (engine.keyspace("accounts")?, engine.keyspace("sessions")?);

    // A session ends by itself; its memory comes back a second or two later.
    sessions.put_with("ada", "token", &PutOptions::new().ttl(Duration::from_secs(1_800)))?;
    println!("the session has {:?} left", sessions.ttl("ada")?);

    // Both or neither, and only if the account is as it was seen.
    accounts.put("ada", "100")?;
    let mut transfer = WriteBatch::new();
    transfer.require_in(&accounts, "ada", Expected::Value(b"100")).put_in(&accounts, "ada", "60");
    transfer.put_in(&accounts, "grace", "40");
    engine.write(&transfer)?;
    let refused = engine.write(&transfer).expect_err("the account has changed since");
    assert_eq!(refused.kind(), ErrorKind::Conflict);

    for item in accounts.range("a".."h") {
        let (name, balance) = item?;
        println!("{name:?} has {balance:?}");
    }
    assert!(engine.is_empty()?, "the default keyspace is one of its own");
    engine.drop_keyspace("sessions")?;
    engine.close()
}
