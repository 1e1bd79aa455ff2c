//! WarpEngine: an embedded, in-memory-first, durable key-value engine that follows the relations of its data.
//!
//! ```text
//!   put  --> slot's shard lock --> log's ring --> frames --> segments        (warp-wal)
//!                  |
//!                table in memory  <-- get                                    (warp-core)
//!                  |                   | not in memory
//!              checkpoint  -------> layers, read in place                    (warp-checkpoint)
//!                  |
//!        links, rules, evenness of load: advice                              (warp-physics)
//! ```
//!
//! **Invariant:** this is the only crate that knows the other four, and it composes them.
//! **Invariant:** a write is acknowledged only at the durability that its caller asked for.
//! **Invariant:** after a crash the engine holds exactly a prefix of the order of writes, with everything that
//! was acknowledged as durable in it.
//! **Invariant:** ignoring all advice of the physics layer changes speed, never an answer.
//!
//! It is not a server, and no query language. A directory has one engine that writes, and any number that read meanwhile, in
//! any process ([`Options::read_only`], [`WarpEngine::open_at`]). Keys are at most [`KEY_BYTES_MAX`] long, values
//! [`VALUE_BYTES_MAX`], and a batch [`BATCH_BYTES_MAX`].
//!
//! ```
//! use warp_api::{Durability, WarpEngine, WriteBatch};
//!
//! # fn main() -> warp_api::Result<()> {
//! # let scratch = tempfile::tempdir().unwrap();
//! # let path = scratch.path();
//! let engine = WarpEngine::open(path)?;
//! engine.put("user:1", "Ada")?;
//! engine.put("profile:1", "mathematician")?;
//! engine.entanglement_rule("user:{id}", &["profile:{id}"], 0.8)?;
//! let user = engine.quantum_get("user:1")?.unwrap();
//! assert_eq!((user.found, user.requested), (1, 1));
//!
//! let mut batch = WriteBatch::new();
//! batch.put("user:2", "Grace").delete("user:1");
//! engine.with_durability(Durability::Sync).write(&batch)?; // on the disk when this returns
//! engine.close()
//! # }
//! ```

// What a program sees.
mod batch;
mod behind;
mod calls;
mod engine;
mod environment;
mod error;
mod keyspace;
mod options;
mod point;
mod progress;
mod put_options;
mod read_ahead;
mod read_view;
mod rules;
mod types;
// A write and a read.
mod commit;
mod estimate;
mod expiry;
mod feed;
mod fetching;
mod floors;
mod journal;
mod keyspaces;
mod laws;
mod layers;
mod learned;
mod learning;
mod limits;
mod links;
mod marks;
mod names;
mod order;
mod packed;
mod pull;
mod quantum;
mod read;
mod residency;
mod rival;
mod running_share;
mod scan;
mod shared;
mod space;
mod system;
mod tend;
mod walk;
mod watch;
mod wormholes;
mod write;
// What happens around them.
mod advice;
mod archive;
mod background;
mod backup;
mod budget;
mod changed;
mod checkpoint;
mod closed;
mod compose;
mod demon;
mod exchange;
mod from_crates;
mod home;
mod hot_list;
mod left_to_log;
mod life;
mod log_bound;
mod merge;
mod open;
mod open_at;
mod pace;
mod readers;
mod reason;
mod recovery_report;
mod repair;
mod side_by_side;
mod verify;
mod warm_start;
// What is measured.
mod counters;
mod engine_time;
mod entropy;
mod latency;
mod metrics;
mod worth;

pub use advice::Advice;
pub use backup::BackupReport;
pub use batch::{Expected, WriteBatch};
pub use checkpoint::CheckpointReport;
pub use commit::Commit;
pub use demon::{DemonMetrics, RebalanceReport};
pub use engine::WarpEngine;
pub use environment::{Background, Environment};
pub use error::{Error, ErrorKind, Result};
pub use exchange::ExchangeReport;
pub use fetching::FetchMetrics;
pub use home::READERS_FILE;
pub use keyspace::{Keyspace, KeyspaceName};
pub use latency::LatencyMetrics;
pub use laws::Laws;
pub use learned::LearnedMetrics;
pub use learning::LearningMetrics;
pub use links::{Entangled, Partner, QuantumOptions};
pub use metrics::{
    CheckpointMetrics, CosmicMetrics, EntanglementMetrics, KeyspaceMetrics, LogMetrics, MemoryMetrics,
    OperationMetrics, RegionMetrics, ResidencyMetrics, ShardMetrics, SpacetimeMetrics,
};
pub use names::{KEYSPACE_NAME_BYTES_MAX, KEYSPACES_MAX};
pub use options::{
    Demon, Durability, LOG_BUFFER_BYTES_MAX, LOG_BUFFER_BYTES_MIN, LOG_SEGMENT_BYTES_MAX,
    LOG_SEGMENT_BYTES_MIN, LogFormat, MEMORY_BUDGET_MIN, Options, Physics, Recovery, WhenFull,
};
pub use point::{PointInTime, PointRange};
pub use progress::{Progress, Task};
pub use put_options::{AccessPattern, Priority, PutOptions};
pub use read_ahead::ReadAheadMetrics;
pub use read_view::{KeyspaceView, ReadView};
pub use readers::hold_files;
pub use reason::{CheckpointReason, ReasonCounts};
pub use recovery_report::{Lost, RecoveryReport, Trimmed};
pub use repair::{DoubtfulKey, LostEntry, LostLayer, RepairReport};
pub use scan::Scan;
pub use types::{
    BATCH_BYTES_MAX, CasOutcome, Deleted, Entry, KEY_BYTES_MAX, Key, Level, Observed, Seq, ShardId, Stored,
    Ttl, Update, VALUE_BYTES_MAX, Value,
};
pub use verify::{Problem, VerifyReport};
pub use warm_start::WarmStartMetrics;
pub use warp_physics::{
    EntropyReport, EntropySample, LINKS_MAX, LearnReport, Link, NetworkStats, Origin, REGION_NAME_BYTES_MAX,
    Route, Rule, RuleId, Rules, Strategy, Topology, WORMHOLES_MAX, Wormhole,
};
pub use watch::{Change, ChangeOp, Watch};
pub use wormholes::WormholeMetrics;
pub use worth::{Worth, WorthMetrics};

#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
