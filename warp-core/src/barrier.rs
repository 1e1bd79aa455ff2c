//! What a checkpoint asks of the table: what changed, and leave to forget what is kept elsewhere.

use crate::entry::EntryRef;
use crate::hash::{SLOTS, slot_of};
use crate::table::Table;

impl Table {
    /// Closes the list of changed keys of every slot, and returns the hashes that were on them: in ascending
    /// order, which is the order of slots, each once.
    ///
    /// Every shard's lock is taken once, and every slot closed exactly once under its shard's lock, also if slots
    /// move meanwhile. `next_seq` is called under each of those locks; it returns a number that is above every
    /// sequence written under that lock before, and not above any that is written after. It must not wait, panic,
    /// or call the table.
    ///
    /// So with `s` read before the call: every key with an entry that was written below `s`, and that was on no
    /// earlier list since, is on the list that is returned. Such a key may have been written again meanwhile;
    /// [`Table::entries`] gives its present version. A later write is listed for the next call.
    #[must_use = "the hashes are on no other list"]
    pub fn close_lists(&self, next_seq: impl Fn() -> u64) -> Vec<u64> {
        let mut lists = Vec::with_capacity(SLOTS);
        let mut remaining: Vec<usize> = (0..SLOTS).collect();
        while !remaining.is_empty() {
            let mut named: Vec<(u16, usize)> =
                remaining.drain(..).map(|slot| (self.slots().shard(slot), slot)).collect();
            named.sort_unstable();
            for of_one_shard in named.chunk_by(|a, b| a.0 == b.0) {
                let shard = of_one_shard[0].0;
                let mut lock = self.lock_shard(shard);
                let mark = next_seq();
                for (_, index) in of_one_shard {
                    if self.slots().shard(*index) == shard {
                        let mut writer = self.slots().writer(*index, &mut lock, self.store());
                        lists.push(writer.with_lists(|slot| slot.changed.close(mark)));
                    } else {
                        // It was moved before the lock was had, and is looked for again.
                        remaining.push(*index);
                    }
                }
            }
        }
        let mut hashes = lists.concat();
        hashes.sort_unstable();
        hashes.dedup();
        hashes
    }

    /// Puts hashes that [`Table::close_lists`] returned back on the open lists, for a checkpoint that failed: the
    /// next call returns them again, each once. Takes shards' locks, one at a time.
    pub fn reopen(&self, hashes: Vec<u64>) {
        for of_one_slot in hashes.chunk_by(|a, b| slot_of(*a) == slot_of(*b)) {
            let slot = slot_of(of_one_slot[0]);
            self.write_slot(slot, |mut writer| writer.with_lists(|slot| slot.changed.reopen(of_one_slot)));
        }
    }

    /// Removes the entries with these hashes whose sequence is below `before` and for which `drop` holds, given
    /// the keyspace and the entry; returns how many.
    ///
    /// `before` is at most the sequence from which the last published checkpoint replays: what is below is in a
    /// layer, so that a reader who no longer finds it here finds it there. A key can be removed whether it is a
    /// value or a tombstone.
    ///
    /// Takes shards' locks, one at a time. `drop` is called under the shard's lock: it must be short, must not panic, and
    /// must not call the table.
    pub fn remove_clean(
        &self,
        hashes: &[u64],
        before: u64,
        drop: impl Fn(u32, EntryRef<'_>) -> bool,
    ) -> usize {
        let chosen = |entry: EntryRef<'_>| entry.seq() < before && drop(entry.keyspace(), entry);
        let mut count = 0;
        for of_one_slot in hashes.chunk_by(|a, b| slot_of(*a) == slot_of(*b)) {
            self.write_slot(slot_of(of_one_slot[0]), |mut writer| {
                for hash in of_one_slot {
                    count += writer.remove_hash(*hash, |keyspace, key| self.hash_of(keyspace, key), chosen);
                }
            });
        }
        count
    }

    /// Removes all entries of a keyspace whose sequence is below `floor`, and returns how many: what is left to do
    /// after a keyspace was cleared or dropped, once readers treat those entries as absent.
    ///
    /// Walks the whole table, slot by slot, taking shards' locks one at a time. An entry that is written meanwhile
    /// with a sequence at or above `floor` stays.
    pub fn remove_below(&self, keyspace: u32, floor: u64) -> usize {
        let chosen = |entry: EntryRef<'_>| entry.keyspace() == keyspace && entry.seq() < floor;
        (0..SLOTS).map(|slot| self.write_slot(slot, |mut writer| writer.remove_all(chosen))).sum()
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::hash::KeyRef;
    use crate::table::TableOptions;

    #[test]
    fn a_slot_that_moves_behind_the_barrier_is_closed_once() {
        let hash = |_, _: u32, key: &[u8]| u64::from(key[0]) << 52;
        let table = Table::with_options(TableOptions { hash, ..TableOptions::new(4, 0) });
        let hashes = [0_u8, 2, 3].map(|slot| u64::from(slot) << 52);
        for slot in [0_u8, 2, 3] {
            let key = KeyRef { hash: u64::from(slot) << 52, keyspace: 0, bytes: &[slot] };
            table.put(key, "", 1, 0).unwrap();
        }
        let calls = Cell::new(0);
        let listed = table.close_lists(|| {
            calls.set(calls.get() + 1);
            if calls.get() == 2 {
                // Shard 1 is locked: slot 3 flees to a shard that is done, slot 0 from there to one that is not.
                table.move_slot(3, 0);
                table.move_slot(0, 2);
            }
            2
        });
        assert_eq!(listed, hashes);
        assert_eq!(calls.get(), 5, "one call a shard, and one for the slot that fled");
        assert!(table.close_lists(|| 2).is_empty());
        table.validate().unwrap();
    }
}
