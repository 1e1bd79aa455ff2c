//! What a checkpoint asks of the table: what changed, and leave to forget what is kept elsewhere.

use crate::entry::Entry;
use crate::hash::{SLOTS, slot_of};
use crate::slot::Stored;
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
                remaining.drain(..).map(|slot| (self.slots()[slot].shard(), slot)).collect();
            named.sort_unstable();
            for of_one_shard in named.chunk_by(|a, b| a.0 == b.0) {
                let shard = of_one_shard[0].0;
                let lock = self.lock_shard(shard);
                let mark = next_seq();
                for (_, index) in of_one_shard {
                    let slot = &self.slots()[*index];
                    if slot.shard() == shard {
                        lists.push(slot.write(&lock, |table| table.changed.close(mark)));
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
            let lock = self.lock_slot(slot);
            self.slots()[slot].write(&lock, |table| table.changed.reopen(of_one_slot));
        }
    }

    /// Removes the entries with these hashes whose sequence is below `before` and for which `drop` holds, given
    /// the keyspace and the entry; returns how many.
    ///
    /// `before` is at most the sequence from which the last published checkpoint replays: what is below is in a
    /// layer, so that a reader who no longer finds it here finds it there. A key can be removed whether it is a
    /// value or a tombstone.
    ///
    /// Takes shards' locks, one at a time. `drop` is called under the slot's lock: it must be short, must not
    /// panic, and must not call the table.
    pub fn remove_clean(&self, hashes: &[u64], before: u64, drop: impl Fn(u32, &Entry) -> bool) -> usize {
        let chosen = |stored: &Stored| stored.entry.seq < before && drop(stored.keyspace, &stored.entry);
        let mut count = 0;
        for of_one_slot in hashes.chunk_by(|a, b| slot_of(*a) == slot_of(*b)) {
            let slot = slot_of(of_one_slot[0]);
            let lock = self.lock_slot(slot);
            // Freed after the slot's lock, so that no reader waits for it.
            let mut removed = Vec::new();
            self.slots()[slot].write(&lock, |table| {
                for hash in of_one_slot {
                    removed.extend(std::iter::from_fn(|| table.remove_one(*hash, chosen)));
                }
            });
            count += removed.len();
        }
        count
    }

    /// Removes all entries of a keyspace whose sequence is below `floor`, and returns how many: what is left to do
    /// after a keyspace was cleared or dropped, once readers treat those entries as absent.
    ///
    /// Walks the whole table, slot by slot, taking shards' locks one at a time. An entry that is written meanwhile
    /// with a sequence at or above `floor` stays.
    pub fn remove_below(&self, keyspace: u32, floor: u64) -> usize {
        let chosen = |stored: &Stored| stored.keyspace == keyspace && stored.entry.seq < floor;
        let mut count = 0;
        for (index, slot) in self.slots().iter().enumerate() {
            let lock = self.lock_slot(index);
            // Most slots hold nothing of a small keyspace; a reader's lock finds that out.
            if slot.read().entries.iter().any(chosen) {
                let removed = slot.write(&lock, |table| table.remove_all(chosen));
                count += removed.len();
            }
        }
        count
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::hash::KeyRef;
    use crate::value::Value;

    #[test]
    fn a_slot_that_moves_behind_the_barrier_is_closed_once() {
        let table = Table::new(4);
        let hashes = [0, 2, 3].map(|slot| slot << 52);
        for hash in hashes {
            let key = KeyRef { hash, keyspace: 0, bytes: b"key" };
            table.lock(hash).put(key, Value::default(), 1, 0);
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
