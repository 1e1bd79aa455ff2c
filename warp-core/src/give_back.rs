//! Giving memory back: freeing what nobody can read any more, and emptying sparse memory.

use crate::arena::Sparse;
use crate::hash::SLOTS;
use crate::store::Store;
use crate::table::Table;

/// Nothing more is moved while so many bytes wait to be freed.
const WAITING_MAX: usize = 256 << 10;
/// Sparse memory of an arena is emptied in at most so many passes.
const LEAVING_PASSES_MAX: usize = 8;

impl Table {
    /// Frees what was replaced or removed and can no longer be read by anybody. Writers do so now and then themselves;
    /// this does it for those that have stopped. Takes shards' locks, one at a time.
    pub fn collect(&self) {
        let retired = (0..self.shards()).flat_map(|shard| self.lock_shard(shard).take_retired()).collect();
        self.store().retire_and_free(retired);
    }

    /// As [`Table::collect`], but for shards that somebody writes to at this moment: waits for no writer.
    pub fn try_collect(&self) {
        let free = (0..self.shards()).filter_map(|shard| self.try_lock_shard(shard));
        let retired = free.flat_map(|mut shard| shard.take_retired()).collect();
        self.store().retire_and_free(retired);
    }

    /// Gives memory back to the system after much was removed: moves entries and buckets out of sparse memory, where
    /// that makes at least every other page free. Returns how many it moved; 0 if there was nothing to gain.
    ///
    /// Writers wait for one slot at a time. Meant to be called now and then; it costs next to nothing where there is nothing
    /// to do, and does nothing while another thread is at it.
    pub fn shrink(&self) -> usize {
        let Some(_only_one) = self.store().shrinking.try_lock() else { return 0 };
        self.empty_spans(Sparse::HALF)
    }

    /// As [`Table::shrink`], for whoever needs the memory now: moves also where that makes only every fourth page free,
    /// or, where there is nothing of that kind left, every eighth. Waits for another thread that is at it.
    pub fn compact(&self) -> usize {
        let _only_one = self.store().shrinking.lock();
        match self.empty_spans(Sparse::QUARTER) {
            0 => self.empty_spans(Sparse::EIGHTH),
            moved => moved,
        }
    }

    /// Moves entries and buckets out of sparse spans. One thread at a time may be at it.
    fn empty_spans(&self, sparse: Sparse) -> usize {
        // What was removed and is not freed yet makes nothing sparse.
        self.collect();
        let mut moved = 0;
        for (number, arena) in self.store().arenas() {
            let moved_before = moved;
            for _ in 0..LEAVING_PASSES_MAX {
                // A reader that sleeps keeps what was moved from being freed: it is there twice until then.
                if self.store().waiting_bytes() > WAITING_MAX || arena.choose_leaving(sparse) == 0 {
                    break;
                }
                for slot in (0..SLOTS).filter(|slot| Store::arena_of(*slot) == number) {
                    moved += self.write_slot(slot, |mut writer| writer.leave_spans());
                }
                self.collect();
                arena.end_leaving();
            }
            // Before others take pages for what moves in them.
            if moved > moved_before {
                arena.discard_free();
            }
        }
        if moved > 0 {
            self.store().long_values.discard_free();
        }
        moved
    }

    /// Gives memory that is free in whole pages back to the system. It comes again, zeroed page by page, as it is needed.
    pub fn discard_free(&self) {
        self.store().arenas().for_each(|(_, arena)| arena.discard_free());
        self.store().long_values.discard_free();
    }
}
