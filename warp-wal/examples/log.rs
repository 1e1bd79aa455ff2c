//! A small inventory that is kept in memory and survives, because every change goes to the log first.
//!
//! Run it with `cargo run -p warp-wal --example log`.

use std::collections::BTreeMap;

use warp_wal::{Entry, Kind, Log, LogOptions, Result, replay};

type Inventory = BTreeMap<Vec<u8>, Vec<u8>>;

/// What an entry means is for its user to say; the log only keeps it.
fn apply(inventory: &mut Inventory, entry: &Entry<'_>) {
    match entry.kind {
        Kind::Put => inventory.insert(entry.key.to_vec(), entry.value.to_vec()),
        _ => inventory.remove(entry.key),
    };
}

fn main() -> Result<()> {
    let scratch = tempfile::tempdir().expect("a directory for temporary files");
    let path = scratch.path();

    let log = Log::open(path, LogOptions::default())?;
    let mut inventory = Inventory::new();
    let changes: [&[Entry<'_>]; 3] = [
        &[Entry::put(b"apples", b"12"), Entry::put(b"pears", b"3")], // one group: both or neither
        &[Entry::delete(b"pears")],
        &[Entry::put(b"plums", b"40")],
    ];
    for group in changes {
        log.append(group)?;
        group.iter().for_each(|entry| apply(&mut inventory, entry));
    }
    log.sync()?; // one wait for all three: from here on they survive a power loss
    println!("{} groups in {} sync", log.last_seq(), log.stats().syncs);
    drop(log); // not closed: as if the process had been killed

    let mut recovered = Inventory::new();
    let report = replay(path, |_seq, entry| apply(&mut recovered, entry))?;
    println!("{} entries read from {} segments", report.entries, report.segments);
    assert_eq!(recovered, inventory);
    Ok(())
}
