//! Rivals of the horizon, as plain simulators over numbered keys: how often each would have hit.

mod arc;
mod belady;
mod climber;
mod gdsf;
mod lirs;
mod lru;
mod order;
mod s3fifo;
mod sieve;
mod sized;
mod tinylfu;

pub(crate) use arc::Arc;
pub(crate) use belady::{Foreseen, foresee, optimum};
pub(crate) use gdsf::gdsf;
pub(crate) use lirs::Lirs;
pub(crate) use lru::{Lru, lru_sized};
pub(crate) use order::Order;
pub(crate) use s3fifo::S3Fifo;
pub(crate) use sieve::Sieve;
pub(crate) use sized::{
    ArcSized, Lfu, LirsSized, bound, by_distance, by_distance_and_size, foreseen, replay_sized,
};
pub(crate) use tinylfu::TinyLfu;

/// A cache of keys, all of one size.
pub(crate) trait Policy {
    /// Asks for a key, which comes in if it was not there; tells whether it was.
    fn ask(&mut self, key: u32) -> bool;
}

/// The share of requests that hit.
pub(crate) fn replay(policy: &mut dyn Policy, keys: &[u32]) -> f64 {
    keys.iter().filter(|&&key| policy.ask(key)).count() as f64 / keys.len().max(1) as f64
}
