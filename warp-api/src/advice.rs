//! Where the physics layer's decisions enter the engine.

use std::fmt::Debug;
use std::time::Duration;

use warp_physics::{Body, Fall, Plan, ReadCosts, Strategy, fall, layout, plan_moves, prefetch_pays};

/// Decisions that change how fast answers come, and never what they are.
///
/// The engine asks; whatever the answer is, reads and writes return the same. The engine's own implementation
/// asks `warp-physics`; a test hands in one that answers at random. What has an answer here already is what
/// `warp-physics` says.
pub trait Advice: Debug + Send + Sync + 'static {
    /// The order in which `count` entries are laid out in a checkpoint layer, as a permutation of `0..count`.
    /// `partners` gives, for an entry, those of the others that belong with it. An answer that is no
    /// permutation is not followed.
    fn layout(&self, count: usize, partners: &mut dyn FnMut(usize) -> Vec<usize>) -> Vec<usize>;

    /// Whether a value that was found in a layer is brought into memory.
    fn promote(&self, key: &[u8]) -> bool;

    /// Which of `count` keys, all about to be read, are asked for from the disk beforehand, given how long reads
    /// from layers have taken of late. An answer out of range is not followed.
    fn prefetch(&self, count: usize, recent_read: Duration) -> Vec<usize>;

    /// How an entry falls if memory is short, and what it is worth there: of those that are looked at together, the ones of
    /// least worth fall, and what comes in has to be worth as much as what fell. What cannot be packed leaves, and what may
    /// not leave is packed, whatever the answer is.
    fn fall(&self, body: Body, costs: ReadCosts) -> (Fall, f64) {
        fall(body, costs)
    }

    /// Chooses, after a read from a layer, which of `known` keys are brought into memory, if they are not there. `partners`
    /// has the numbers of those that were learned to follow it. A number out of range is not followed.
    fn fetch(&self, known: usize, partners: &mut Vec<u32>) {
        let _ = (known, partners);
    }

    /// Whether the partners, declared or by rule, of a key that was read from a layer are brought into memory, given how long reads
    /// from layers have taken of late.
    fn fetch_related(&self, recent_read: Duration) -> bool {
        prefetch_pays(recent_read)
    }

    /// Which slots, on these shards and with this load, move to other shards. A move of a slot or to a shard that there is not
    /// is not followed.
    fn moves(&self, load: &[f64], shard_of: &[u16], shards: u16, strategy: Strategy) -> Plan {
        plan_moves(load, shard_of, shards, strategy)
    }
}

/// The physics layer's answers.
#[derive(Debug)]
pub(crate) struct PhysicsAdvice {
    pub(crate) entanglement: bool,
}

impl Advice for PhysicsAdvice {
    fn layout(&self, count: usize, partners: &mut dyn FnMut(usize) -> Vec<usize>) -> Vec<usize> {
        if self.entanglement { layout(count, partners) } else { (0..count).collect() }
    }

    fn promote(&self, _key: &[u8]) -> bool {
        true
    }

    fn prefetch(&self, count: usize, recent_read: Duration) -> Vec<usize> {
        if self.entanglement && prefetch_pays(recent_read) { (0..count).collect() } else { Vec::new() }
    }
}
