//! Chunks that are ready before anybody needs them: the system takes long to clear a huge page, and longer if a host has to
//! find it first, and nobody who writes should wait for that.

use crate::chunk::{CHUNK_BYTES, Chunk};
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicUsize, Ordering};
use crate::table::Table;

/// So many are ready at most...
const READY_MAX: usize = 16;
/// ...one for so many that are in use...
const IN_USE_EACH: usize = 8;
/// ...and of these so many, if none was taken for a while.
const READY_MIN: usize = 2;
/// So many are made ready at once: a caller has other things to do.
const TOGETHER: usize = 2;

impl Table {
    /// Makes a few huge pages ready that writers will need next. Of `bytes_max` bytes at most, some 32 MiB are to be ready while the
    /// table grows, 4 MiB if it does not, and none where it has less than 16 MiB; those beyond go back to the system. Returns whether
    /// more are due. They count in [`TableMemory`](crate::TableMemory) as memory that is free.
    ///
    /// A writer that comes to a fresh huge page waits until the system has cleared it, a tenth of a millisecond to several. This waits
    /// instead, and holds no lock of the table's meanwhile: call it now and then, and when [`Table::wants_ready`], in a thread that nobody
    /// waits for. It does nothing while another thread is at it.
    pub fn keep_ready(&self, bytes_max: u64) -> bool {
        let Some(spares) = &self.store().spares else { return false };
        let most = usize::try_from(bytes_max).unwrap_or(usize::MAX) / CHUNK_BYTES;
        let memory = self.memory();
        let in_use = memory.resident_bytes.saturating_sub(memory.ready_bytes);
        spares.restock(usize::try_from(in_use).unwrap_or(usize::MAX) / CHUNK_BYTES, most)
    }

    /// Lets half of what is ready go with the next [`Table::keep_ready`], down to 4 MiB, unless some was taken since the last call. Meant to be
    /// called each second or so.
    pub fn ease_ready(&self) {
        if let Some(spares) = &self.store().spares {
            spares.ease();
        }
    }

    /// Whether writers have taken so much of what was ready that [`Table::keep_ready`] is due. Two loads.
    #[inline]
    #[must_use]
    pub fn wants_ready(&self) -> bool {
        self.store().spares.as_ref().is_some_and(|spares| spares.is_low())
    }
}

/// Chunks backed by huge pages: those that are ready, and where others come from.
#[derive(Debug, Default)]
pub(crate) struct Spares {
    ready: Mutex<Vec<Chunk>>,
    /// How many are ready; without the lock.
    count: AtomicUsize,
    /// How many should be.
    goal: AtomicUsize,
    /// Chunks that were taken since they were last counted, and since the goal was last lowered.
    taken: AtomicUsize,
    taken_since_eased: AtomicUsize,
    /// Held by who makes chunks ready, or lets them go.
    working: Mutex<()>,
}

impl Spares {
    /// A chunk, ready or new.
    pub(crate) fn take(&self) -> Chunk {
        self.taken.fetch_add(1, Ordering::Relaxed);
        self.taken_since_eased.fetch_add(1, Ordering::Relaxed);
        self.pop().unwrap_or_else(|| Chunk::new(true))
    }

    fn pop(&self) -> Option<Chunk> {
        let mut ready = self.ready.lock();
        let chunk = ready.pop()?;
        self.count.store(ready.len(), Ordering::Relaxed);
        Some(chunk)
    }

    fn push(&self, chunk: Chunk) {
        let mut ready = self.ready.lock();
        ready.push(chunk);
        self.count.store(ready.len(), Ordering::Relaxed);
    }

    /// Whether half of what was ready is gone.
    #[inline]
    pub(crate) fn is_low(&self) -> bool {
        self.count.load(Ordering::Relaxed) * 2 < self.goal.load(Ordering::Relaxed)
    }

    pub(crate) fn bytes(&self) -> usize {
        self.count.load(Ordering::Relaxed) * CHUNK_BYTES
    }

    /// Makes a few ready, twice as many as were taken lately in all, and lets go what is too much. So many are in use; at most `most` may be
    /// ready. Returns whether more are to be made.
    pub(crate) fn restock(&self, in_use: usize, most: usize) -> bool {
        let Some(_only_one) = self.working.try_lock() else { return false };
        let taken = self.taken.swap(0, Ordering::Relaxed);
        let most = (in_use / IN_USE_EACH).min(READY_MAX).min(most);
        let goal = (taken * 2).max(self.goal.load(Ordering::Relaxed)).max(READY_MIN).min(most);
        self.goal.store(goal, Ordering::Relaxed);
        while self.count.load(Ordering::Relaxed) > goal && self.pop().is_some() {}
        for _ in 0..TOGETHER.min(goal.saturating_sub(self.count.load(Ordering::Relaxed))) {
            let chunk = Chunk::new(true);
            if !chunk.is_huge() {
                // The system has no huge pages to wait for.
                self.goal.store(0, Ordering::Relaxed);
                return false;
            }
            chunk.touch();
            self.push(chunk);
        }
        self.count.load(Ordering::Relaxed) < goal
    }

    /// Lowers what is to be ready, if nothing was taken since this was last called.
    fn ease(&self) {
        if self.taken_since_eased.swap(0, Ordering::Relaxed) == 0 {
            self.goal.store(self.goal.load(Ordering::Relaxed) / 2, Ordering::Relaxed);
        }
    }

    /// Lets all go that are ready.
    pub(crate) fn empty(&self) {
        self.goal.store(0, Ordering::Relaxed);
        while self.pop().is_some() {}
    }
}

#[cfg(all(test, not(any(loom, shuttle, miri))))]
mod tests {
    use super::*;
    use crate::hash::KeyRef;
    use crate::table::TableOptions;

    #[test]
    fn as_many_are_ready_as_a_growing_table_takes_and_few_for_one_that_does_not_grow() {
        let spares = Spares::default();
        let ready = || spares.bytes() / CHUNK_BYTES;
        let take = |count| drop((0..count).map(|_| spares.take()).collect::<Vec<Chunk>>());
        let restock = |in_use, most| while spares.restock(in_use, most) {};
        take(20);
        restock(7, usize::MAX);
        assert!(ready() == 0 && !spares.is_low());
        take(20);
        assert!(spares.restock(80, usize::MAX), "a call makes a few");
        assert_eq!(ready(), TOGETHER);
        restock(80, usize::MAX);
        assert_eq!(ready(), 10);
        take(5);
        assert!(ready() == 5 && !spares.is_low());
        take(1);
        assert!(ready() == 4 && spares.is_low());
        take(20);
        restock(1_000, usize::MAX);
        assert_eq!(ready(), READY_MAX);
        // Some were taken since.
        spares.ease();
        for expected in [16, 8, 4, 2, 2] {
            restock(1_000, usize::MAX);
            assert_eq!(ready(), expected);
            spares.ease();
        }
        // Where there is no room for them, there are none.
        restock(1_000, 1);
        assert_eq!(ready(), 1);
        restock(1_000, 0);
        assert!(ready() == 0 && !spares.is_low());
    }

    #[test]
    fn one_thread_at_a_time_restocks_while_others_take() {
        let spares = Spares::default();
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| (0..200).for_each(|_| _ = spares.restock(1_000, usize::MAX)));
                scope.spawn(|| (0..200).for_each(|_| drop(spares.take())));
            }
        });
        assert!(spares.bytes() <= READY_MAX * CHUNK_BYTES);
        assert_eq!(spares.bytes(), spares.ready.lock().len() * CHUNK_BYTES);
        spares.empty();
        assert_eq!(spares.bytes(), 0);
    }

    #[test]
    fn what_is_ready_counts_as_free_memory_and_goes_where_there_is_no_room() {
        for huge_pages in [true, false] {
            let table = Table::with_options(TableOptions { huge_pages, ..TableOptions::new(4, 7) });
            for number in 0..80_000_u32 {
                table.put(KeyRef::new(7, 0, &number.to_le_bytes()), &[1; 250], 1, 0).unwrap();
            }
            let before = table.memory();
            assert!(before.resident_bytes > 16 << 20);
            while table.keep_ready(u64::MAX) {}
            let ready = table.memory();
            let more = ready.resident_bytes - before.resident_bytes;
            assert_eq!((more > 0, more), (huge_pages, ready.ready_bytes));
            let grown = [ready.free_bytes - before.free_bytes, ready.table_bytes - before.table_bytes];
            assert_eq!((grown, ready.used_bytes), ([more; 2], before.used_bytes));
            table.keep_ready(0);
            assert_eq!(table.memory(), before);
        }
    }

    #[test]
    fn a_value_that_outlives_its_table_keeps_nothing_ready() {
        let table = Table::new(4, 7);
        for number in 0..80_000_u32 {
            table.put(KeyRef::new(7, 0, &number.to_le_bytes()), &[1; 250], 1, 0).unwrap();
        }
        while table.keep_ready(u64::MAX) {}
        let spares = table.store().spares.clone().unwrap();
        assert!(spares.bytes() > 0);
        drop(table);
        assert_eq!(spares.bytes(), 0);
    }
}
