//! Keyspaces: numbers that prefix every key inside the engine, each with a floor.

use std::sync::atomic::{AtomicU64, Ordering};

/// What the engine keeps for itself: declared links and rules.
pub(crate) const SYSTEM: u32 = 0;
/// What the program's keys are in.
pub(crate) const DEFAULT: u32 = 1;
/// The name under which the default keyspace is shown.
pub(crate) const DEFAULT_NAME: &str = "default";

/// The floor of each keyspace: entries with a lower sequence do not exist, wherever they are found.
#[derive(Debug, Default)]
pub(crate) struct Floors {
    default: AtomicU64,
}

impl Floors {
    /// The floor of `keyspace`; 0 for one that was never cleared.
    pub(crate) fn of(&self, keyspace: u32) -> u64 {
        // Acquire pairs with the Release in `raise`: who sees the floor sees every write made below it.
        if keyspace == DEFAULT { self.default.load(Ordering::Acquire) } else { 0 }
    }

    /// Raises a floor; floors never fall. A keyspace that this version does not have is left alone.
    pub(crate) fn raise(&self, keyspace: u32, floor: u64) {
        if keyspace == DEFAULT {
            self.default.fetch_max(floor, Ordering::AcqRel);
        }
    }

    /// All floors that were ever raised, as a manifest keeps them.
    pub(crate) fn all(&self) -> Vec<(u32, u64)> {
        let floor = self.of(DEFAULT);
        if floor == 0 { Vec::new() } else { vec![(DEFAULT, floor)] }
    }
}

/// The floor of `keyspace` among those of a manifest; 0 if it has none.
pub(crate) fn floor_in(floors: &[(u32, u64)], keyspace: u32) -> u64 {
    floors.iter().find(|(of, _)| *of == keyspace).map_or(0, |(_, floor)| *floor)
}
