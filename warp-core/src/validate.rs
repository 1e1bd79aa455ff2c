//! Recounts everything that the table believes about itself, for tests.

use std::collections::HashSet;

use crate::hash::{KeyRef, slot_of};
use crate::memory::Tally;
use crate::slot::SlotTable;
use crate::table::Table;

impl Table {
    /// Recounts every invariant, with all writers locked out: each slot names a shard that exists; each entry is
    /// in the slot of its hash, found by its key, and the only one of it; the counters of slots and shards match
    /// what is there; and each entry at or above its slot's mark is on the open list.
    ///
    /// Costs a walk over everything; meant for tests.
    ///
    /// # Errors
    /// The first thing that is wrong, in words.
    pub fn validate(&self) -> Result<(), String> {
        let _writers = self.lock_all();
        let mut sum = Tally::default();
        for (index, slot) in self.slots().iter().enumerate() {
            if slot.shard() >= self.shards() {
                return Err(format!("slot {index} names shard {} of {}", slot.shard(), self.shards()));
            }
            let table = slot.read();
            table.validate(index).map_err(|wrong| format!("slot {index}: {wrong}"))?;
            sum.zip(&table.tally, |sum, part| *sum += part);
        }
        if sum != self.tally() {
            return Err(format!("the slots count {sum:?}, the shards {:?}", self.tally()));
        }
        Ok(())
    }
}

impl SlotTable {
    fn validate(&self, index: usize) -> Result<(), String> {
        let listed: HashSet<u64> = self.changed.open().iter().copied().collect();
        let mut seen = HashSet::new();
        for stored in &self.entries {
            let key = KeyRef { hash: stored.hash, keyspace: stored.keyspace, bytes: &stored.key };
            if slot_of(stored.hash) != index {
                return Err(format!("{key:?} belongs into slot {}", slot_of(stored.hash)));
            }
            if !seen.insert((stored.hash, stored.keyspace, stored.key.as_slice())) {
                return Err(format!("{key:?} is there twice"));
            }
            if self.find(key) != Some(&stored.entry) {
                return Err(format!("{key:?} is not found"));
            }
            if self.changed.must_list(stored.entry.seq) && !listed.contains(&stored.hash) {
                return Err(format!("{key:?} is on no list: {:?}, {:?}", stored.entry, self.changed));
            }
        }
        if let Some(strange) = self.changed.open().iter().find(|hash| slot_of(**hash) != index) {
            return Err(format!("the hash {strange:#x} is on the wrong list"));
        }
        self.validate_tally()
    }

    fn validate_tally(&self) -> Result<(), String> {
        let mut counted = Tally { writes: self.tally.writes, ..Tally::default() };
        for stored in &self.entries {
            counted.add_entry(&stored.entry);
            counted.add_key(&stored.key);
        }
        counted.table_bytes = (self.entries.allocation_size() + self.changed.memory_bytes()) as u64;
        if counted != self.tally {
            return Err(format!("holds {counted:?}, counts {:?}", self.tally));
        }
        Ok(())
    }
}
