//! The small types of the public interface: sequence numbers, keys, outcomes.

use std::fmt;
use std::time::{Duration, SystemTime};

pub use warp_core::{Key, Value};

/// Longest key, in bytes. The log takes slightly longer ones, which the engine makes of the program's.
pub const KEY_BYTES_MAX: usize = 64 << 10;
/// Longest value, in bytes.
pub const VALUE_BYTES_MAX: usize = warp_wal::VALUE_BYTES_MAX;
/// Largest batch, in bytes of its keys and values with what the log adds to them; a batch of one write may have the longest
/// key and value.
pub const BATCH_BYTES_MAX: usize = warp_wal::GROUP_BYTES_MAX;

/// A sequence number: the place of a write in the order of all writes.
///
/// Starts at 1 and strictly increases over the life of a database, with gaps where it was not closed cleanly.
/// All writes of a batch share one.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd, serde::Serialize)]
pub struct Seq(pub u64);

impl fmt::Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The number of a shard, which is one of the engine's writer locks.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, serde::Serialize)]
pub struct ShardId(pub u16);

impl fmt::Display for ShardId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Where an entry is: in memory, or in the checkpoint layers only.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, serde::Serialize)]
#[non_exhaustive]
pub enum Level {
    /// In memory, as it was written.
    Hot,
    /// In memory, compressed.
    Warm,
    /// In a checkpoint layer only, read in place.
    Cold,
}

/// How many levels there are.
pub(crate) const LEVELS: usize = 3;

impl Level {
    /// The number that stands for the level in the log.
    pub(crate) fn code(self) -> u8 {
        match self {
            Level::Hot => 0,
            Level::Warm => 1,
            Level::Cold => 2,
        }
    }
}

/// A value, and what is known of it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Entry {
    /// The value.
    pub value: Value,
    /// The write that put it, or that gave it its deadline.
    pub seq: Seq,
    /// When it expires, to the millisecond; `None` if never.
    pub expires_at: Option<SystemTime>,
    /// Where it was found.
    pub level: Level,
}

/// How long a key has until it expires.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Ttl {
    /// It has no value.
    Missing,
    /// It has a value, without a deadline.
    Forever,
    /// It has a value for this long, in whole milliseconds.
    Left(Duration),
}

/// What a compare-and-swap did.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum CasOutcome {
    /// The expectation held, and the key was changed at this sequence number.
    Swapped(Seq),
    /// The expectation did not hold; this is what the key has instead. Nothing was written.
    Conflict(Option<Value>),
}

/// What an update's closure decides.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Update {
    /// Leave the key as it is.
    Keep,
    /// Give it this value.
    Put(Vec<u8>),
    /// Delete it.
    Delete,
}

/// What [`WarpEngine::cosmic_put`](crate::WarpEngine::cosmic_put) did.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Stored {
    /// The write's place in the order of writes.
    pub seq: Seq,
    /// The shard whose lock it was made under.
    pub shard: ShardId,
    /// Where the entry is now.
    pub level: Level,
    /// How long the call took.
    pub elapsed: Duration,
}

/// What [`WarpEngine::cosmic_get`](crate::WarpEngine::cosmic_get) found.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Observed {
    /// The value.
    pub value: Value,
    /// The shard that its slot belongs to.
    pub shard: ShardId,
    /// Where it was found.
    pub level: Level,
    /// How long the call took.
    pub elapsed: Duration,
}

/// What [`WarpEngine::cosmic_delete`](crate::WarpEngine::cosmic_delete) did.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Deleted {
    /// Whether there was anything to delete.
    pub existed: bool,
    /// The deletion's place in the order of writes; `None` if there was nothing to delete.
    pub seq: Option<Seq>,
    /// The shard that the key's slot belongs to.
    pub shard: ShardId,
    /// Where the entry was; `None` if there was none.
    pub level: Option<Level>,
    /// How long the call took.
    pub elapsed: Duration,
}
