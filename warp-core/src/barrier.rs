//! What a checkpoint asks of the table: what changed, and leave to forget what is kept elsewhere.

use crate::entry::EntryRef;
use crate::hash::{SLOTS, slot_of};
use crate::table::Table;

/// Hashes whose entries are removed under one hold of a shard's lock: well below a millisecond of work.
const REMOVED_TOGETHER: usize = 256;

impl Table {
    /// Closes the list of changed keys of every slot, and returns the hashes that were on them: in ascending
    /// order, which is the order of slots, each once. See [`Table::close_lists_by_slot`], which copies nothing.
    #[must_use = "the hashes are on no other list"]
    pub fn close_lists(&self, next_seq: impl Fn() -> u64) -> Vec<u64> {
        let mut hashes = self.close_lists_by_slot(next_seq).concat();
        hashes.sort_unstable();
        hashes.dedup();
        hashes
    }

    /// Closes the list of changed keys of every slot, and returns them as they are, in the order of slots: the hashes
    /// of a list are in no order, and one may be there twice.
    ///
    /// Every shard's lock is taken once, and every slot closed exactly once under its shard's lock, also if slots
    /// move meanwhile. A lock is held for about 20 ns a slot, however long the lists are. `next_seq` is called under each
    /// of those locks; it returns a number that is above every sequence written under that lock before, and not above any
    /// that is written after. It must not wait, panic, or call the table.
    ///
    /// So with `s` read before the call: every key with an entry that was written below `s`, and that was on no
    /// earlier list since, is on the list that is returned. Such a key may have been written again meanwhile;
    /// [`Table::entries`] gives its present version. A later write is listed for the next call.
    #[must_use = "the hashes are on no other list"]
    pub fn close_lists_by_slot(&self, next_seq: impl Fn() -> u64) -> Vec<Vec<u64>> {
        let mut lists: Vec<Vec<u64>> = (0..SLOTS).map(|_| Vec::new()).collect();
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
                        lists[*index] = writer.with_lists(|slot| slot.changed.close(mark));
                    } else {
                        // It was moved before the lock was had, and is looked for again.
                        remaining.push(*index);
                    }
                }
            }
        }
        lists
    }

    /// Puts hashes that [`Table::close_lists`] returned back on the open lists, for a checkpoint that failed: the
    /// next call returns them again, each once. Takes shards' locks, one at a time.
    pub fn reopen(&self, hashes: Vec<u64>) {
        for of_one_slot in hashes.chunk_by(|a, b| slot_of(*a) == slot_of(*b)) {
            let slot = slot_of(of_one_slot[0]);
            self.write_slot(slot, |mut writer| writer.with_lists(|slot| slot.changed.reopen(of_one_slot)));
        }
    }

    /// Puts the hashes of all entries of a slot whose sequence is `seq` or higher on its open list: what
    /// [`Table::reopen`] does for a list that was given up meanwhile. With the sequence that the last checkpoint that
    /// did not fail replays from, those are all that the list had, and perhaps a few that a layer has already.
    ///
    /// Takes the shard's lock twice: for a copy of where the entries are, and for the list.
    ///
    /// # Panics
    /// If `slot` is not below [`SLOTS`].
    pub fn reopen_since(&self, slot: usize, seq: u64) {
        let mut hashes = Vec::new();
        self.for_each_in(slot, |entry| {
            if entry.seq() >= seq {
                hashes.push(self.hash_of(entry.keyspace(), entry.key()));
            }
        });
        self.reopen(hashes);
    }

    /// Removes the entries with these hashes whose sequence is below `before` and for which `drop` holds, given
    /// the keyspace and the entry; returns how many.
    ///
    /// `before` is at most the sequence from which the last published checkpoint replays: what is below is in a
    /// layer, so that a reader who no longer finds it here finds it there. A key can be removed whether it is a
    /// value or a tombstone.
    ///
    /// Takes shards' locks, one at a time, each for at most 256 hashes. `drop` is called under the shard's lock: it must be
    /// short, must not panic, and must not call the table.
    pub fn remove_clean(
        &self,
        hashes: &[u64],
        before: u64,
        drop: impl Fn(u32, EntryRef<'_>) -> bool,
    ) -> usize {
        let chosen = |entry: EntryRef<'_>| entry.seq() < before && drop(entry.keyspace(), entry);
        let mut count = 0;
        let of_slots = hashes.chunk_by(|a, b| slot_of(*a) == slot_of(*b));
        for of_one_slot in of_slots.flat_map(|hashes| hashes.chunks(REMOVED_TOGETHER)) {
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
    fn what_was_written_since_is_listed_again() {
        let table = Table::new(4, 9);
        for n in 0..2000_u64 {
            table.put(KeyRef::new(9, 0, &n.to_le_bytes()), "", n + 1, 0).unwrap();
        }
        let lists = table.close_lists_by_slot(|| 2001);
        assert_eq!(lists.iter().map(Vec::len).sum::<usize>(), 2000);
        assert!(lists.iter().enumerate().all(|(slot, list)| list.iter().all(|hash| slot_of(*hash) == slot)));
        // Written again meanwhile: it is on the open list already.
        table.put(KeyRef::new(9, 0, &7_u64.to_le_bytes()), "", 2001, 0).unwrap();
        (0..SLOTS).for_each(|slot| table.reopen_since(slot, 1001));
        let mut expected: Vec<u64> =
            (1000..2000).chain([7]).map(|n: u64| table.hash_of(0, &n.to_le_bytes())).collect();
        expected.sort_unstable();
        assert_eq!(table.close_lists(|| 2002), expected);
        table.validate().unwrap();
    }

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
