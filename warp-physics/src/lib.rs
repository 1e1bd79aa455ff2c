//! Advice for a key-value store: which keys belong together, and how even its load is.
//!
//! ```text
//!   key, declared Links, Rules  --Entanglement-->  partners, strongest first  --layout-->  an order of entries
//!   accesses, what was drawn    --Horizon------->  who leaves memory, or does not come in
//!   counters of each shard      --EntropyMonitor-->  EntropyReport: evenness, operations a second, trend
//! ```
//!
//! The words of physics are names of types; each one's first line gives the plain term.
//!
//! **Invariant:** no I/O, clock, thread or unsafe: numbers go in, a decision comes out, and time is an argument.
//! **Invariant:** ignoring all of it changes speed, never results.
//! **Invariant:** no figure is a constant; what is not known is `None`.
//!
//! ```
//! use warp_physics::{Entanglement, PARTNERS_DEFAULT, Rules, STRENGTH_MIN_DEFAULT};
//!
//! let graph = Entanglement::new(Rules::common());
//! let partners = graph.partners(0, b"user:42", None, PARTNERS_DEFAULT, STRENGTH_MIN_DEFAULT);
//! assert_eq!(partners.len(), 3);
//! assert_eq!(partners[0].key, b"profile:42");
//! ```

mod strength;
// What is known of related keys.
mod links;
mod template;
// What rules make of it.
mod rules;
// How rules are found.
mod matching;
// What is answered, and what came of it.
mod bell;
mod entanglement;
mod layout;
mod usefulness;
// What is worth its memory.
mod gravity;
mod prefetch;
mod remnants;
// What another would have kept.
mod shadow;
// How even the load is, at a moment.
mod entropy;
// How even it is over time.
mod decay;
mod monitor;
// What stays in memory.
mod horizon;
// What is done about it.
mod balance;
mod demon;
// Which way leads from one region to another.
mod network;
mod space_saving;
mod wormholes;
// How stored values are read.
mod bytes;

pub use balance::{BadBalance, Balance, EntropySample, SAMPLES_MAX};
pub use bell::{
    BELL_KEY_BYTES, BELL_STORED_BYTES, BELL_STORED_KEY_BYTES, BadBell, Bell, BellOptions, BellStats,
    Prediction,
};
pub use demon::{Plan, SlotMove, Strategy, imbalance_by_chance, plan_moves};
pub use entanglement::{
    Edge, Entanglement, EntanglementStats, KIND_LEARNED, PARTNERS_DEFAULT, STRENGTH_MIN_DEFAULT, wanted_links,
};
pub use entropy::{coefficient_of_variation, max_over_mean, normalized_entropy, shannon_bits};
pub use gravity::{Body, Fall, ReadCosts, fall};
pub use horizon::{
    BadLaw, Candidate, Cause, Choice, EventHorizonCache, EventHorizonCacheBuilder, EventHorizonStats,
    Gravity, Horizon, HorizonLevel, HotKey, LAW_STORED_BYTES_MAX, Levels, ORBITS_AN_ENTRY, Orbit,
    SAMPLE_CANDIDATES, SAMPLE_RECENT, StoredLaw, Waiting,
};
pub use layout::layout;
pub use links::{
    BadLinks, LINK_KEY_BYTES_MAX, LINKS_MAX, Link, LinkError, LinkRef, Links, Origin, StoredLinks,
};
pub use monitor::{EntropyMonitor, EntropyReport};
pub use network::{
    BadTraffic, LearnReport, NetworkOptions, NetworkStats, RegionId, Route, Routes, Topology, Wormhole,
    WormholeNetwork,
};
pub use prefetch::{PREFETCH_FROM, prefetch_pays};
pub use remnants::Remnants;
pub use rules::{BadRules, RULES_MAX, Rule, RuleError, RuleId, Rules, TEMPLATES_MAX};
pub use shadow::{LruShadow, ShadowCounts};
pub use strength::{BadStrength, check_strength};
pub use template::{TEMPLATE_BYTES_MAX, Template};
pub use usefulness::Usefulness;
pub use wormholes::{BadWormholes, REGION_NAME_BYTES_MAX, WORMHOLES_MAX, WormholeError, Wormholes};
