//! What stays in memory: the horizon is the price below which an entry does not stay.
//!
//! ```text
//!   accesses ── Orbit (5 bytes an entry) ──┐
//!   remnants of what left ─────────────────┼── law (reuse by class and age) ── index of each class and age
//!   samples of what is still waiting ──────┘                                         │
//!   K entries and a newcomer ──────────────── Horizon::choose ────── who goes, or the newcomer stays out
//! ```
//!
//! [`Horizon`] is the policy without storage: an engine whose entries lie in its own table hands in what it drew.
//! [`Gravity`] remembers orbits for it, and [`EventHorizonCache`] is a whole cache around it.

mod age;
mod builder;
mod cache;
mod flight;
mod gravity;
mod law;
mod level;
mod orbit;
mod orbits;
mod policy;
mod remnants;
mod shard;
mod stats;
mod stored;

pub use builder::{Cause, EventHorizonCacheBuilder};
pub use cache::{EventHorizonCache, HotKey};
pub use gravity::{Gravity, ORBITS_AN_ENTRY};
pub use level::{HorizonLevel, Levels};
pub use orbit::Orbit;
pub use policy::{Candidate, Choice, Horizon, SAMPLE_CANDIDATES, SAMPLE_RECENT, Waiting};
pub use stats::EventHorizonStats;
pub use stored::{BadLaw, LAW_STORED_BYTES_MAX, StoredLaw};
