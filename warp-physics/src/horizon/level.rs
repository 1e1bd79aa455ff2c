//! How far above the temperature an entry is.

/// How an entry's index stands to the Hawking temperature, the index of what was evicted last (a moving mean).
///
/// From the lowest: an entry at the event horizon goes when it is next drawn; one at the singularity would be the last.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[non_exhaustive]
pub enum HorizonLevel {
    /// Below the temperature: worth less than what was evicted lately, and evicted once it is drawn.
    EventHorizon,
    /// From the temperature up to 4 times it: stays for now.
    PhotonSphere,
    /// From 4 times the temperature up to 32 times it: stays.
    Deep,
    /// At 32 times the temperature or above: the hottest entries.
    Singularity,
}

impl HorizonLevel {
    /// All of them, the lowest first.
    pub const ALL: [HorizonLevel; 4] = [
        HorizonLevel::EventHorizon,
        HorizonLevel::PhotonSphere,
        HorizonLevel::Deep,
        HorizonLevel::Singularity,
    ];

    /// The level of an entry of this index at this temperature, both in the same unit.
    pub(crate) fn of(index: f32, temperature: f32) -> HorizonLevel {
        match index / temperature {
            ratio if ratio < 1.0 => HorizonLevel::EventHorizon,
            ratio if ratio < 4.0 => HorizonLevel::PhotonSphere,
            ratio if ratio < 32.0 => HorizonLevel::Deep,
            _ => HorizonLevel::Singularity,
        }
    }
}

/// How many entries are on each level, and their weight.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Levels {
    /// Entries a level, in the order of [`HorizonLevel::ALL`].
    pub entries: [u64; 4],
    /// Their weight, in the unit of the cache's weigher.
    pub weight: [u64; 4],
}
