//! What an open found.

use std::time::Duration;

use serde::Serialize;

use crate::types::Seq;

/// What an open found, and what it did about it.
#[derive(Clone, Debug, Default, Serialize)]
#[non_exhaustive]
pub struct RecoveryReport {
    /// The number of the checkpoint that the open started from; `None` for a new database or one without files.
    pub checkpoint: Option<u64>,
    /// Newer checkpoints that were damaged, so that an older one was used: what was wrong with each.
    pub fallback: Vec<String>,
    /// Entries that were replayed from the log.
    pub replayed: u64,
    /// Bytes of log that were read.
    pub log_bytes: u64,
    /// The last sequence number recovered.
    pub last_seq: Seq,
    /// Whether the log ended with a clean close.
    pub clean_close: bool,
    /// The torn tail that was dropped: nothing in it was acknowledged as durable, as far as the log can tell.
    pub trimmed: Option<Trimmed>,
    /// What [`Recovery::Salvage`](crate::Recovery::Salvage) had to leave out.
    pub lost: Vec<Lost>,
    /// How long the open took.
    pub elapsed: Duration,
    /// The part of it that the replay of the log took.
    pub replay_elapsed: Duration,
}

/// A torn tail that was dropped.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Trimmed {
    /// The file in which it starts, relative to the database's directory.
    pub file: String,
    /// Where in that file it starts, in bytes.
    pub offset: u64,
    /// Bytes that were dropped, in that file and later ones.
    pub bytes: u64,
}

/// A damaged place that was left out.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Lost {
    /// The file, relative to the database's directory.
    pub file: String,
    /// Where in that file, in bytes.
    pub offset: u64,
    /// How many bytes.
    pub bytes: u64,
    /// The first and last sequence number that were in it, where that is known.
    pub seqs: Option<(u64, u64)>,
}
