//! Recounts everything that the table believes about itself, for tests.

use crate::hash::SLOTS;
use crate::memory::Tally;
use crate::table::Table;

impl Table {
    /// Recounts every invariant, with all writers locked out: each slot names a shard that exists; each entry is in the
    /// slot of its hash, found by its key, and the only one of it; buckets count the entries that went past them; the
    /// counters of slots and shards match what is there; each entry at or above its slot's mark is on the open list;
    /// and the arenas' free memory hangs together.
    ///
    /// Costs a walk over everything; meant for tests.
    ///
    /// # Errors
    /// The first thing that is wrong, in words.
    pub fn validate(&self) -> Result<(), String> {
        let mut locks: Vec<_> = (0..self.shards()).map(|shard| self.lock_shard(shard)).collect();
        let mut sum = Tally::default();
        for slot in 0..SLOTS {
            let shard = self.slots().shard(slot);
            let Some(lock) = locks.get_mut(usize::from(shard)) else {
                return Err(format!("slot {slot} names shard {shard} of {}", self.shards()));
            };
            let writer = self.slots().writer(slot, lock, self.store());
            let tally = writer
                .validate(slot, |keyspace, key| self.hash_of(keyspace, key))
                .map_err(|wrong| format!("slot {slot}: {wrong}"))?;
            sum.add(&tally);
        }
        let mut counted = self.tally();
        counted.retired_bytes = 0;
        if sum != counted {
            return Err(format!("the slots count {sum:?}, the shards {counted:?}"));
        }
        drop(locks);
        self.store().arenas().try_for_each(|(_, arena)| arena.validate())
    }
}
