//! What the cache did, counted.

/// Counts of a cache since it was made. All are exact, and each only grows, but for entries, weight and temperature.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct EventHorizonStats {
    /// Look-ups that found a value.
    pub hits: u64,
    /// Look-ups that found none.
    pub misses: u64,
    /// Entries that came in.
    pub admitted: u64,
    /// Newcomers that were turned away, since all that were drawn were worth more, or since they weigh more than a shard
    /// holds.
    pub refused: u64,
    /// Entries that evaporated: evicted to make room.
    pub evaporated: u64,
    /// Entries that were found past their deadline and dropped.
    pub expired: u64,
    /// Newcomers of which a remnant was still known, so that their earlier uses counted.
    pub recaptured: u64,
    /// Entries at the moment.
    pub entries: u64,
    /// Their weight.
    pub weight: u64,
    /// The Hawking temperature: a moving mean of the worth of what was evicted or turned away, in expected hits an access
    /// of its shard and unit of weight; `None` before the first.
    pub temperature: Option<f64>,
}

impl EventHorizonStats {
    /// Hits over look-ups; `None` before the first look-up.
    pub fn hit_ratio(&self) -> Option<f64> {
        let lookups = self.hits + self.misses;
        (lookups > 0).then(|| self.hits as f64 / lookups as f64)
    }
}
