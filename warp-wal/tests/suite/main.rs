//! The log as its callers see it, on a simulated disk.

#![expect(clippy::unwrap_used, reason = "a helper that fails fails the test")]

mod basic;
mod convert;
mod crash;
mod damage;
mod faults;
mod follow;
mod intervals;
mod property;
mod threads;

use std::sync::Arc;

use warp_io::{SimClock, SimDisk};
use warp_wal::{Apply, Entry, Format, Kind, Log, LogOptions, Recovery, ReplayReport, Result, Start};

/// An entry that owns what it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Owned {
    kind: Kind,
    keyspace: u32,
    shard: u16,
    level: u8,
    deadline: u64,
    key: Vec<u8>,
    value: Vec<u8>,
}

impl Owned {
    fn of(entry: &Entry<'_>) -> Owned {
        Owned {
            kind: entry.kind,
            keyspace: entry.keyspace,
            shard: entry.shard,
            level: entry.level,
            deadline: entry.deadline,
            key: entry.key.to_vec(),
            value: entry.value.to_vec(),
        }
    }

    fn put(key: &str, value: &[u8]) -> Owned {
        Owned::of(&Entry::put(key.as_bytes(), value))
    }

    fn entry(&self) -> Entry<'_> {
        Entry {
            kind: self.kind,
            keyspace: self.keyspace,
            shard: self.shard,
            level: self.level,
            deadline: self.deadline,
            key: &self.key,
            value: &self.value,
        }
    }
}

/// What was read, in its order.
type Entries = Vec<(u64, Owned)>;

/// The smallest segments and the smallest ring.
fn small() -> LogOptions {
    LogOptions {
        segment_bytes: 64 << 10,
        buffer_bytes: 16 << 10,
        compress_values_from: Some(256),
        seed: 7,
        ..LogOptions::default()
    }
}

fn small_json() -> LogOptions {
    LogOptions { format: Format::Json, ..small() }
}

fn clock() -> Arc<SimClock> {
    Arc::new(SimClock::new(1_700_000_000_000))
}

fn open_as(
    disk: &SimDisk,
    options: LogOptions,
    recovery: Recovery,
    start: Start,
) -> Result<(Log, ReplayReport, Entries)> {
    let mut entries = Vec::new();
    let mut apply = |seq: u64, entry: &Entry<'_>| entries.push((seq, Owned::of(entry)));
    let (log, report) = Log::open_in(
        &disk.root(),
        clock(),
        options,
        recovery,
        start,
        Apply::InOrder(&mut apply),
        &mut |_, _| {},
    )?;
    Ok((log, report, entries))
}

#[track_caller]
fn open(disk: &SimDisk) -> (Log, ReplayReport, Entries) {
    open_as(disk, small(), Recovery::TrimTornTail, Start::default()).unwrap()
}

fn replay_as(disk: &SimDisk, recovery: Recovery, start: Start) -> Result<(ReplayReport, Entries)> {
    let mut entries = Vec::new();
    let mut apply = |seq: u64, entry: &Entry<'_>| entries.push((seq, Owned::of(entry)));
    let report =
        warp_wal::replay_in(&disk.root(), recovery, start, Apply::InOrder(&mut apply), &mut |_, _| {})?;
    Ok((report, entries))
}

#[track_caller]
fn replay(disk: &SimDisk) -> (ReplayReport, Entries) {
    replay_as(disk, Recovery::TrimTornTail, Start::default()).unwrap()
}

fn append(log: &Log, group: &[Owned]) -> Result<u64> {
    let entries: Vec<Entry<'_>> = group.iter().map(Owned::entry).collect();
    log.append(&entries)
}
