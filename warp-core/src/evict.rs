//! Choosing entries that leave: walking a part of a slot without its lock, and taking out what was chosen.

use crate::entry::EntryRef;
use crate::hash::{SLOTS, slot_of};
use crate::shard::ShardLock;
use crate::table::Table;

/// An entry that is to leave the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leaving {
    /// The hash of its key.
    pub hash: u64,
    /// Its sequence: a newer entry of the key stays.
    pub seq: u64,
}

impl Table {
    /// Shows about `count` entries of a slot, beginning at a place in it that `from` chooses: any number. Returns how many
    /// it showed; fewer than `count` if the slot has fewer.
    ///
    /// Takes no lock. What [`Table::with`] says of `f` holds here, too. Each slot holds a random part of all keys, so that
    /// entries from random places of random slots are a random sample.
    ///
    /// # Panics
    /// If `slot` is not below [`SLOTS`].
    pub fn sample(&self, slot: usize, from: usize, count: usize, mut f: impl FnMut(EntryRef<'_>)) -> usize {
        assert!(slot < SLOTS, "slot {slot} of {SLOTS}");
        let mut shown = 0;
        self.walk(slot, from, |entry| {
            f(entry);
            shown += 1;
            shown < count
        });
        shown
    }

    /// Takes entries out of the table that a layer below has, or that may be lost: each if it still has the sequence that
    /// was seen. Returns how many it took out, and the bytes of memory that go with them.
    ///
    /// It is no write: nothing is put on the lists of changed keys, so that only clean entries may leave a table that has
    /// such lists. Takes shards' locks, one at a time; neighbors with the same slot share one.
    pub fn evict(&self, leaving: &[Leaving]) -> (usize, usize) {
        self.evict_with(leaving, |slot| Some(self.lock_slot(slot)))
    }

    /// As [`Table::evict`], but waits for no writer: those whose shard is written to at the moment stay.
    pub fn try_evict(&self, leaving: &[Leaving]) -> (usize, usize) {
        self.evict_with(leaving, |slot| self.try_lock_slot(slot))
    }

    fn evict_with<'a>(
        &'a self,
        leaving: &[Leaving],
        lock: impl Fn(usize) -> Option<ShardLock<'a>>,
    ) -> (usize, usize) {
        let (mut count, bytes) = (0, std::cell::Cell::new(0));
        for of_one_slot in leaving.chunk_by(|a, b| slot_of(a.hash) == slot_of(b.hash)) {
            let slot = slot_of(of_one_slot[0].hash);
            let Some(mut lock) = lock(slot) else { continue };
            let mut writer = self.slots().writer(slot, &mut lock, self.store());
            for Leaving { hash, seq } in of_one_slot {
                let hash_of = |keyspace, key: &[u8]| self.hash_of(keyspace, key);
                count += writer.remove_hash(*hash, hash_of, |entry| {
                    let is_it = entry.seq() == *seq;
                    bytes.set(bytes.get() + if is_it { entry.memory_bytes() } else { 0 });
                    is_it
                });
            }
        }
        (count, bytes.get())
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;
    use crate::hash::KeyRef;
    use crate::record::NewValue;

    fn filled(count: u32) -> Table {
        let table = Table::new(4, 1);
        for n in 0..count {
            let name = n.to_le_bytes();
            let value = vec![7; (n as usize * 37) % 3000];
            let put = table.put(KeyRef::new(1, 0, &name), &value, u64::from(n) + 1, 0);
            assert_eq!(put, Ok(None));
        }
        table
    }

    /// Everything that [`filled`] has put, as it was put.
    fn all_of(table: &Table, count: u32) -> Vec<Leaving> {
        let leaving = |n: u32| Leaving { hash: table.hash_of(0, &n.to_le_bytes()), seq: u64::from(n) + 1 };
        (0..count).map(leaving).collect()
    }

    #[test]
    fn a_sample_is_of_the_slot_and_no_larger_than_asked() {
        let table = filled(50_000);
        for slot in [0, 7, SLOTS - 1] {
            let mut seen = std::collections::HashSet::new();
            for from in 0..5 {
                let shown = table.sample(slot, from, 4, |entry| {
                    assert_eq!(slot_of(table.hash_of(0, entry.key())), slot);
                    seen.insert(entry.key().to_vec());
                });
                assert_eq!(shown, 4);
            }
            assert!(seen.len() > 4, "every sample begins at the same place");
            let all = table.sample(slot, 3, usize::MAX, |entry| {
                seen.insert(entry.key().to_vec());
            });
            assert_eq!(all, seen.len());
        }
    }

    #[test]
    fn what_was_written_since_stays() {
        let table = filled(1000);
        let leaving = all_of(&table, 1000);
        let newer = 3_u32.to_le_bytes();
        table.put(KeyRef::new(1, 0, &newer), "newer", 5000, 0).unwrap();
        let before = table.memory();
        let (count, bytes) = table.evict(&leaving);
        assert_eq!((count, table.len()), (999, 1));
        assert_eq!(table.get(KeyRef::new(1, 0, &newer)).unwrap().seq, 5000);
        assert!(bytes as u64 >= before.key_bytes + before.value_bytes - 9, "{bytes} of {before:?}");
        table.validate().unwrap();
        assert_eq!(table.evict(&leaving), (0, 0));
    }

    #[test]
    fn nothing_waits_for_a_writer() {
        let table = filled(1000);
        let leaving = all_of(&table, 1000);
        let writing = table.lock(leaving[0].hash);
        let (count, _) = table.try_evict(&leaving);
        table.try_collect();
        assert!((1..1000).contains(&count), "{count} left");
        drop(writing);
        assert_eq!(table.evict(&leaving).0, 1000 - count);
        assert!(table.is_empty());
    }

    #[test]
    fn a_packed_entry_says_so_and_takes_the_place_of_the_plain_one_only() {
        let table = Table::new(1, 1);
        let key = KeyRef::new(1, 0, b"key");
        table.put(key, &[7; 2000], 5, 9).unwrap();
        let reform = |seq| {
            let prepared = table.prepare(key, NewValue::Packed(b"packed", 2000), 9).unwrap();
            table.lock(key.hash).reform(prepared, seq)
        };
        assert!(!reform(4));
        assert_eq!(table.with(key, |entry| entry.packed_from()), Some(None));
        assert!(reform(5));
        let seen = table.with(key, |entry| {
            (entry.packed_from(), entry.value().map(<[u8]>::to_vec), entry.seq(), entry.deadline())
        });
        assert_eq!(seen, Some((Some(2000), Some(b"packed".to_vec()), 5, 9)));
        assert_eq!(table.close_lists(|| 6), [key.hash], "another form is no write");
        table.validate().unwrap();
    }
}
