//! Where writes get their place in the order: the log, or a plain counter where there is none.

use std::sync::atomic::{AtomicU64, Ordering};

use warp_wal::{Admit, Encoded, Log, Pending, Permit};

use crate::error::{Error, ErrorKind, Result};
use crate::from_crates::log_error;

/// The log of a database on disk, or the numbering of one without files.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "there is one for each engine, and it is never moved")]
pub(crate) enum Journal {
    Disk(Log),
    /// The last sequence number given.
    Memory(AtomicU64),
    /// A database opened for reading only; the last sequence number recovered.
    ReadOnly(u64),
}

/// Leave to make one write, had before any lock is taken.
pub(crate) enum Leave<'a> {
    Disk(Permit<'a>),
    Memory,
}

/// A place in the order that is being filled; the write counts once this is dropped.
pub(crate) struct Place<'a> {
    seq: u64,
    _pending: Option<Pending<'a>>,
}

impl Place<'_> {
    pub(crate) fn seq(&self) -> u64 {
        self.seq
    }
}

impl Journal {
    /// The log, if there is one that is written to.
    pub(crate) fn log(&self) -> Option<&Log> {
        match self {
            Journal::Disk(log) => Some(log),
            Journal::Memory(_) | Journal::ReadOnly(_) => None,
        }
    }

    /// Whether anything outlives the engine, so that deletions must leave tombstones.
    pub(crate) fn is_memory(&self) -> bool {
        matches!(self, Journal::Memory(_))
    }

    /// Encodes one group, made by `entries` only where there is a log to hold it.
    pub(crate) fn encode<'e>(
        &self,
        encoded: &mut Encoded,
        entries: impl IntoIterator<Item = warp_wal::Entry<'e>>,
    ) -> Result<()> {
        match self {
            Journal::Disk(log) => log.encode(encoded, entries).map_err(log_error),
            Journal::Memory(_) => Ok(()),
            Journal::ReadOnly(_) => {
                Err(Error::new(ErrorKind::ReadOnly, "the engine is open for reading only"))
            }
        }
    }

    /// Waits for room, as `admit` says. Nobody holds a lock while waiting here.
    pub(crate) fn admit(&self, encoded: &Encoded, admit: Admit) -> Result<Leave<'_>> {
        match self {
            Journal::Disk(log) => Ok(Leave::Disk(log.admit(encoded, admit).map_err(log_error)?)),
            Journal::Memory(_) => Ok(Leave::Memory),
            Journal::ReadOnly(_) => {
                Err(Error::new(ErrorKind::ReadOnly, "the engine is open for reading only"))
            }
        }
    }

    /// Takes the next place in the order. Called under the locks of every key that the write touches; never
    /// waits, and never fails.
    pub(crate) fn reserve<'a>(&'a self, leave: Leave<'a>, encoded: &Encoded) -> Place<'a> {
        match (self, leave) {
            (Journal::Disk(log), Leave::Disk(permit)) => {
                let pending = log.reserve(permit, encoded);
                Place { seq: pending.seq(), _pending: Some(pending) }
            }
            (Journal::Memory(last), _) => {
                Place { seq: last.fetch_add(1, Ordering::Relaxed) + 1, _pending: None }
            }
            _ => unreachable!("a leave is only given by the journal that it is used with"),
        }
    }

    pub(crate) fn last_seq(&self) -> u64 {
        match self {
            Journal::Disk(log) => log.last_seq(),
            Journal::Memory(last) => last.load(Ordering::Relaxed),
            Journal::ReadOnly(last) => *last,
        }
    }

    /// The sequence up to which every write survives a power loss; 0 where nothing does.
    pub(crate) fn durable_seq(&self) -> u64 {
        match self {
            Journal::Disk(log) => log.durable_seq(),
            Journal::Memory(_) => 0,
            Journal::ReadOnly(last) => *last,
        }
    }

    /// Returns once everything up to `seq` survives a power loss. Without files there is nothing to wait for.
    pub(crate) fn sync_to(&self, seq: u64) -> Result<()> {
        match self {
            Journal::Disk(log) => log.sync_to(seq).map_err(log_error),
            Journal::Memory(_) | Journal::ReadOnly(_) => Ok(()),
        }
    }

    /// Asks that what was written so far is synced within the flush interval. Cheap.
    pub(crate) fn want_sync(&self) {
        if let Journal::Disk(log) = self {
            log.want_sync();
        }
    }
}
