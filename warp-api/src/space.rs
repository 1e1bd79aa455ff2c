//! The calls for keys and values of one keyspace, which the engine and every keyspace share.

mod batch;
mod deadline;
mod links;
mod read;
mod swap;
mod walk;
mod write;

use std::sync::Arc;

use warp_core::KeyRef;

use crate::error::{Error, ErrorKind, Result};
use crate::options::Durability;
use crate::shared::Shared;
use crate::write::{Op, Terms, Written};

/// A keyspace as a handle sees it: where its keys are, and how durable a write through the handle is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Space<'a> {
    pub(crate) shared: &'a Arc<Shared>,
    pub(crate) keyspace: u32,
    pub(crate) durability: Durability,
}

impl<'a> Space<'a> {
    /// Refuses a call on a closed engine or a dropped keyspace.
    fn check(self) -> Result<()> {
        self.shared.check_keyspace(self.keyspace)
    }

    /// As [`Space::check`], for a call that may write.
    fn check_writable(self) -> Result<()> {
        self.shared.check_writable()?;
        self.check()
    }

    fn key<'k>(self, bytes: &'k [u8]) -> KeyRef<'k> {
        self.shared.key(self.keyspace, bytes)
    }

    fn terms(self, durability: Option<Durability>, no_wait: bool) -> Terms {
        Terms { durability: durability.unwrap_or(self.durability), no_wait }
    }

    /// The terms of a write without options.
    fn own_terms(self) -> Terms {
        self.terms(None, false)
    }

    /// Makes one change that nothing is required for.
    fn write_op(self, op: Op<'_>, terms: Terms) -> Result<Written> {
        let shared = self.shared;
        let written = shared.latencies.writes.around(&shared.time, || shared.write_one(op, None, terms))?;
        written.ok_or_else(unconditional)
    }
}

/// A write without a condition never fails one.
fn unconditional() -> Error {
    Error::new(ErrorKind::Conflict, "the write was refused")
}
