//! The change feed: everything in order, nothing twice, nothing missing, and nothing that a crash takes back.

#![allow(
    clippy::cast_possible_truncation,
    clippy::unwrap_used,
    reason = "a test that cannot go on says so by a panic, and its numbers are small"
)]

#[path = "../common/mod.rs"]
mod common;
mod durable;
mod ends;
mod lag;
mod long;
mod names;
mod order;
mod resume;
mod waiting;

use std::time::Duration;

use warp_api::{Change, ChangeOp, Error, Options, Watch};

/// A change as a writer was told of it, or as the feed shows it: sequence, keyspace, key, what was done.
type Told = (u64, String, Vec<u8>, ChangeOp);

fn told(change: Change) -> Told {
    (change.seq.0, change.keyspace.to_string(), change.key.to_vec(), change.op)
}

fn put(seq: u64, keyspace: &str, key: &str, value: &str) -> Told {
    (seq, keyspace.to_owned(), key.into(), ChangeOp::Put(value.as_bytes().into()))
}

fn delete(seq: u64, keyspace: &str, key: &str) -> Told {
    (seq, keyspace.to_owned(), key.into(), ChangeOp::Delete)
}

fn clear(seq: u64, keyspace: &str) -> Told {
    (seq, keyspace.to_owned(), Vec::new(), ChangeOp::Clear)
}

/// Everything that can be had at this moment.
fn drain(watch: &mut Watch) -> Result<Vec<Told>, Error> {
    let mut all = Vec::new();
    while let Some(change) = watch.try_next()? {
        all.push(told(change));
    }
    Ok(all)
}

/// The next change, which must not take long.
#[track_caller]
fn soon(watch: &mut Watch) -> Told {
    told(watch.next_timeout(Duration::from_secs(20)).unwrap().expect("no change came"))
}

/// Small segments, so that little work rotates them, and few checkpoints, so that they are removed soon.
fn options() -> Options {
    common::small().checkpoints_kept(1)
}
