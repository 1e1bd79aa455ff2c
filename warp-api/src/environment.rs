//! What an engine takes from the world around it: time, chance, advice, and threads.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;

use warp_io::{Clock, Dir, SystemClock};

use crate::advice::Advice;

/// The components that an engine is handed when it is opened.
///
/// The default is what a program wants: the system's clock, a random seed, and threads of its own. A test hands
/// in a simulated clock and a fixed seed, and steps the background work by hand, so that one seed repeats one
/// run.
#[derive(Clone, Debug)]
pub struct Environment {
    /// Where the time comes from.
    pub clock: Arc<dyn Clock>,
    /// What every choice by chance follows from.
    pub seed: u64,
    /// Who does the background work.
    pub background: Background,
    /// Decisions that change how fast answers come; `None` for those of the physics layer.
    pub advice: Option<Arc<dyn Advice>>,
    /// The directory of the log's archive, whatever [`Options::log_archive`](crate::Options::log_archive) says; `None` for
    /// the one that it names, if it names any.
    pub log_archive: Option<Arc<dyn Dir>>,
}

/// Who writes the log, takes checkpoints, and merges layers in the background.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Background {
    /// Two threads of the engine's own.
    Threads,
    /// Nobody: the caller does what is due with [`WarpEngine::step`](crate::WarpEngine::step).
    Stepped,
}

impl Environment {
    /// A number for a new database, which has nothing to do with its other seeds.
    pub(crate) fn database_id(&self) -> u128 {
        (u128::from(finalize(self.seed ^ 1)) << 64) | u128::from(finalize(self.seed ^ 2))
    }
}

/// The finalizer of `SplitMix64` (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014).
pub(crate) fn finalize(seed: u64) -> u64 {
    let mut bits = seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    bits ^ (bits >> 31)
}

impl Default for Environment {
    fn default() -> Environment {
        Environment {
            clock: Arc::new(SystemClock::new()),
            // The standard library seeds its hash maps from the system's random numbers.
            seed: RandomState::new().build_hasher().finish(),
            background: Background::Threads,
            advice: None,
            log_archive: None,
        }
    }
}
