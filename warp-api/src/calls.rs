//! The public calls that the engine and every keyspace have, written once.
//!
//! A macro rather than a trait, so that a program needs no import for them, and rather than a handle that stands for
//! another, so that each type's own page lists what it can do.

mod deadline;
mod link;
mod read;
mod swap;
mod walk;
mod write;

pub(crate) use deadline::deadline_calls;
pub(crate) use link::{link_calls, link_read_calls};
pub(crate) use read::read_calls;
pub(crate) use swap::swap_calls;
pub(crate) use walk::walk_calls;
pub(crate) use write::write_calls;
