//! How many keys there are, without walking all of them.

use warp_checkpoint::Layer;
use warp_core::SLOTS;

use crate::shared::Shared;

/// Entries in memory that are looked at, about; with fewer than this the count of those in memory is exact.
const SAMPLE_ENTRIES: usize = 1 << 13;
/// Entries of each layer that are looked at; a layer with fewer is counted exactly.
const SAMPLE_LAYER_ENTRIES: usize = 1 << 10;

impl Shared {
    /// About how many keys of a keyspace have a value. 0 for an engine that is closed or a keyspace that was dropped.
    pub(crate) fn estimate_len(&self, keyspace: u32) -> u64 {
        if self.check_keyspace(keyspace).is_err() {
            return 0;
        }
        let layers = self.layers.snapshot();
        let in_layers =
            (0..layers.layers.len()).map(|index| self.estimate_layer(&layers.layers, index, keyspace));
        self.estimate_memory(keyspace) + in_layers.sum::<u64>()
    }

    /// Slots are as good as random samples of all keys.
    fn estimate_memory(&self, keyspace: u32) -> u64 {
        let every = (self.table.len() / SAMPLE_ENTRIES).clamp(1, SLOTS);
        let slots = (0..SLOTS).step_by(every);
        let looked_at = slots.len() as u64;
        let mut live = 0;
        for slot in slots {
            self.table.for_each_in(slot, |entry| {
                live += u64::from(entry.keyspace() == keyspace && self.is_visible(keyspace, entry));
            });
        }
        scale(live, looked_at, SLOTS as u64)
    }

    /// The keys of a layer that are read from it: memory and newer layers know nothing of them. From the entries at its
    /// beginning, which is where any key may be; a part that cannot be read is not counted.
    fn estimate_layer(&self, layers: &[Layer], index: usize, keyspace: u32) -> u64 {
        let (newer, layer) = (&layers[..index], &layers[index]);
        let (mut live, mut looked_at) = (0, 0);
        for entry in layer.iter().take(SAMPLE_LAYER_ENTRIES) {
            let Ok(entry) = entry else { break };
            looked_at += 1;
            let is_read = entry.keyspace == keyspace
                && !entry.is_tombstone()
                && entry.seq >= self.floors.of(keyspace)
                && !self.expired(entry.deadline)
                && self.table.with(self.key(keyspace, &entry.key), |_| ()).is_none()
                && newer.iter().all(|layer| matches!(layer.get(entry.hash, keyspace, &entry.key), Ok(None)));
            live += u64::from(is_read);
        }
        scale(live, looked_at, layer.info().entries)
    }
}

/// What `part` of a sample of `sample` is of the whole.
fn scale(part: u64, sample: u64, whole: u64) -> u64 {
    let scaled = u128::from(part) * u128::from(whole) / u128::from(sample.max(1));
    u64::try_from(scaled).unwrap_or(u64::MAX)
}
