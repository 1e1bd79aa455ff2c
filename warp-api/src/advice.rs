//! Where the physics layer's decisions enter the engine.

use std::fmt::Debug;
use std::time::Duration;

use warp_physics::{layout, prefetch_pays};

/// Decisions that change how fast answers come, and never what they are.
///
/// The engine asks; whatever the answer is, reads and writes return the same. The engine's own implementation
/// asks `warp-physics`; a test hands in one that answers at random.
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
