//! An append-only log of entries in rotating segments.
//!
//! ```text
//!   encode, admit, reserve, commit            tick / sync_to               replay
//!   writers ------------------------> ring --------------> segments ---------------> entries in order
//!             place and order by              frames, group           every frame checked,
//!             one fetch_add                   commit                  torn tail told from damage
//! ```
//!
//! **Invariant:** it does not interpret keys or values and knows no store.
//! **Invariant:** an entry reported durable is returned by every later replay until its segment is removed.
//! **Invariant:** what a replay returns is a prefix of the order of sequences; a group is all or nothing.
//! **Invariant:** a sequence is never given twice, also not across a crash that lost it.
//! **Invariant:** after a failed write or sync nothing more is written.
//! **Invariant:** there is no thread in this crate, and no clock but the one that is handed in.
//!
//! Limits: keys of at most [`KEY_BYTES_MAX`], values of at most [`VALUE_BYTES_MAX`], and groups of at most
//! [`GROUP_BYTES_MAX`] bytes. The files are described in `docs/format/wal.md`.
//!
//! ```
//! use warp_wal::{Entry, Log, LogOptions};
//!
//! # fn main() -> warp_wal::Result<()> {
//! # let scratch = tempfile::tempdir().unwrap();
//! # let path = scratch.path();
//! let log = Log::open(path, LogOptions::default())?;
//! log.append(&[Entry::put(b"key", b"value"), Entry::delete(b"other")])?; // one group, all or nothing
//! log.sync()?; // it survives a power loss from here on
//! log.close()?;
//!
//! let mut keys = Vec::new();
//! warp_wal::replay(path, |_seq, entry| keys.push(entry.key.to_vec()))?;
//! assert_eq!(keys, [&b"key"[..], b"other"]);
//! # Ok(())
//! # }
//! ```

// What is stored
mod entry;
mod error;
mod options;
// The format
mod binary;
mod format;
mod frame;
mod json;
mod payload;
mod segment;
mod text;
// Writing
mod admission;
mod archive;
mod commit;
mod encoded;
mod exclusive;
mod log;
mod maintain;
mod parking;
mod permit;
mod prepare;
mod ring;
mod room;
mod spares;
mod stats;
mod sync;
mod tick;
mod writer;
// Reading
mod convert;
mod decide;
mod deliver;
mod dump;
mod empty;
mod follow;
mod lives;
mod open;
mod outline;
mod reader;
mod recovery;
mod replay;
mod report;

#[cfg(all(test, shuttle))]
mod models;

pub use archive::Archived;
pub use convert::{ConvertOptions, ConvertReport, convert};
pub use deliver::{Apply, Worker};
pub use dump::dump;
pub use empty::write_empty;
pub use encoded::Encoded;
pub use entry::{Entry, GROUP_BYTES_MAX, KEY_BYTES_MAX, Kind, VALUE_BYTES_MAX};
pub use error::{Corruption, Error, Result};
pub use follow::Follower;
pub use log::{Log, replay};
pub use options::{
    Admit, BUFFER_BYTES_MAX, BUFFER_BYTES_MIN, Format, LogOptions, Position, Recovery, SEGMENT_BYTES_MAX,
    SEGMENT_BYTES_MIN, Start, Until,
};
pub use permit::{Pending, Permit};
pub use replay::{first_seq, replay_in, replay_until, verify, verify_in_use};
pub use report::{DumpReport, Lost, Problem, ReplayReport, Tick, Trimmed, VerifyReport};
pub use segment::segment_names;
pub use spares::Hold;
pub use stats::LogStats;
