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
/// What is ready takes this part of the room that there is.
const ROOM_PART: u64 = 4;

impl Table {
    /// Makes huge pages ready that writers will need next, at most a quarter of `room` bytes beyond what the table holds, and gives back
    /// those that they are not likely to need any more: some 32 MiB stay ready while the table grows, 4 MiB if it does not, and none where
    /// it has less than 16 MiB. They count in [`TableMemory`](crate::TableMemory) as memory that is free.
    ///
    /// A writer that comes to a fresh huge page waits until the system has cleared it, a tenth of a millisecond to several. This waits
    /// instead, and holds no lock meanwhile: call it now and then, and when [`Table::wants_ready`], in a thread that nobody waits for.
    pub fn keep_ready(&self, room: u64) {
        let Some(spares) = &self.store().spares else { return };
        let chunks = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX) / CHUNK_BYTES;
        let ready = spares.bytes() as u64;
        let in_use = self.memory().resident_bytes.saturating_sub(ready);
        spares.look(chunks(in_use), chunks(room.saturating_add(ready) / ROOM_PART));
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
    /// How many should be, as of the last look.
    goal: AtomicUsize,
    /// Chunks that were taken since then.
    taken: AtomicUsize,
}

impl Spares {
    /// A chunk, ready or new.
    pub(crate) fn take(&self) -> Chunk {
        self.taken.fetch_add(1, Ordering::Relaxed);
        self.pop().unwrap_or_else(|| Chunk::new(true))
    }

    fn pop(&self) -> Option<Chunk> {
        let mut ready = self.ready.lock();
        let chunk = ready.pop()?;
        self.count.store(ready.len(), Ordering::Relaxed);
        Some(chunk)
    }

    /// Whether half of what was ready is gone.
    #[inline]
    pub(crate) fn is_low(&self) -> bool {
        self.count.load(Ordering::Relaxed) * 2 < self.goal.load(Ordering::Relaxed)
    }

    pub(crate) fn bytes(&self) -> usize {
        self.count.load(Ordering::Relaxed) * CHUNK_BYTES
    }

    /// Makes as many ready as are likely to be taken before the next look, and lets others go. So many are in use; at most
    /// `most` may be ready.
    pub(crate) fn look(&self, in_use: usize, most: usize) {
        let taken = self.taken.swap(0, Ordering::Relaxed);
        let last = self.goal.load(Ordering::Relaxed);
        let goal = goal(last, taken, in_use).min(most);
        self.goal.store(goal, Ordering::Relaxed);
        while self.count.load(Ordering::Relaxed) < goal {
            let chunk = Chunk::new(true);
            chunk.touch();
            let mut ready = self.ready.lock();
            ready.push(chunk);
            self.count.store(ready.len(), Ordering::Relaxed);
        }
        while self.count.load(Ordering::Relaxed) > goal && self.pop().is_some() {}
    }
}

/// How many should be ready: twice as many as were taken last, and fewer and fewer when none are.
fn goal(last: usize, taken: usize, in_use: usize) -> usize {
    (taken * 2).max(last / 2).max(READY_MIN).min((in_use / IN_USE_EACH).min(READY_MAX))
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
        // A table of a few chunks has none.
        let take = |count| drop((0..count).map(|_| spares.take()).collect::<Vec<Chunk>>());
        take(20);
        spares.look(7, usize::MAX);
        assert!(ready() == 0 && !spares.is_low());
        take(20);
        spares.look(80, usize::MAX);
        assert_eq!(ready(), 10);
        take(5);
        assert!(ready() == 5 && !spares.is_low());
        take(1);
        assert!(ready() == 4 && spares.is_low());
        take(20);
        spares.look(1_000, usize::MAX);
        assert_eq!(ready(), READY_MAX);
        for expected in [8, 4, 2, 2] {
            spares.look(1_000, usize::MAX);
            assert_eq!(ready(), expected);
        }
        // Where there is no room for them, there are none.
        spares.look(1_000, 1);
        assert_eq!(ready(), 1);
        spares.look(1_000, 0);
        assert!(ready() == 0 && !spares.is_low());
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
            table.keep_ready(u64::MAX);
            let ready = table.memory();
            let more = ready.resident_bytes - before.resident_bytes;
            assert_eq!(more > 0, huge_pages);
            assert_eq!(
                (ready.free_bytes - before.free_bytes, ready.table_bytes - before.table_bytes),
                (more, more)
            );
            assert_eq!(ready.used_bytes, before.used_bytes);
            table.keep_ready(0);
            assert_eq!(table.memory(), before);
        }
    }
}
