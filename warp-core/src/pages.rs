//! Runs of pages: cut out of chunks, and joined again when they come back.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::chunk::{CHUNK_BYTES, CHUNK_PAGES, Chunk, PAGE_BYTES};
use crate::spares::Spares;

/// The longest run, which never goes beyond its chunk: the first chunk has a page less than the others, since its first page stays unused.
pub(crate) const RUN_PAGES_MAX: u32 = CHUNK_PAGES - 1;
/// The first chunks are backed by pages of the usual size, so that a small table takes little.
const SMALL_CHUNKS: usize = 2;
/// Once this many free bytes have gathered that the system does not know of, they are given back to it...
const DIRTY_BYTES_MIN: usize = 4 << 20;
/// ...and they are more than this part of all.
const DIRTY_PART: usize = 8;
/// Shorter runs stay with us where there are huge pages, which giving them back would tear up.
const DISCARD_PAGES_MIN: u32 = 8;

/// The pages of an arena, counted through its chunks: page `p` is page `p % CHUNK_PAGES` of chunk `p / CHUNK_PAGES`.
#[derive(Debug)]
pub(crate) struct Pages {
    chunks: Vec<Option<Chunk>>,
    chunks_max: usize,
    /// Where chunks backed by huge pages come from, which all but the first few are; `None` without huge pages.
    huge_chunks: Option<Arc<Spares>>,
    /// How many chunks there are.
    held: usize,
    /// How many of them are backed by huge pages.
    huge: usize,
    /// Free runs by their first page.
    free: BTreeMap<u32, Run>,
    /// The same runs, as length and first page: the shortest that is long enough is taken.
    by_length: BTreeSet<(u32, u32)>,
    /// Bytes of pages that were freed since free pages were last given back to the system.
    dirty_bytes: usize,
    free_pages: usize,
    /// The part of `free_pages` that the system has.
    absent_pages: usize,
}

/// A run of free pages.
#[derive(Debug, Clone, Copy)]
struct Run {
    length: u32,
    /// At least so many of its pages are the system's.
    absent: u32,
}

/// What a chunk's coming or going means for who finds memory by its number.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Chunks {
    /// As before.
    Same,
    /// The chunk with this number is new.
    Came(usize),
    /// The chunk with this number is gone.
    Went(usize),
}

impl Pages {
    pub(crate) fn new(chunks_max: usize, huge_chunks: Option<Arc<Spares>>) -> Pages {
        Pages {
            chunks: Vec::new(),
            chunks_max,
            huge_chunks,
            held: 0,
            huge: 0,
            free: BTreeMap::new(),
            by_length: BTreeSet::new(),
            dirty_bytes: 0,
            free_pages: 0,
            absent_pages: 0,
        }
    }

    /// Takes a run of `count` pages, at most [`RUN_PAGES_MAX`]; `None` if there are as many chunks as there may be.
    pub(crate) fn take(&mut self, count: u32) -> Option<(u32, Chunks)> {
        debug_assert!((1..=RUN_PAGES_MAX).contains(&count));
        let mut chunks = Chunks::Same;
        if self.by_length.range((count, 0)..).next().is_none() {
            chunks = Chunks::Came(self.add_chunk()?);
        }
        let &(_, page) = self.by_length.range((count, 0)..).next()?;
        let Run { length, absent } = self.remove_run(page);
        if length > count {
            // Which of them are absent is not known: the ones that are taken, at worst.
            self.insert_run(
                page + count,
                Run { length: length - count, absent: absent.saturating_sub(count) },
            );
        }
        Some((page, chunks))
    }

    /// No more chunks come.
    #[cfg(all(test, not(shuttle)))]
    pub(crate) fn end_growing(&mut self) {
        self.chunks_max = 0;
    }

    /// The length of the longest free run.
    pub(crate) fn longest_free(&self) -> u32 {
        self.by_length.last().map_or(0, |(length, _)| *length)
    }

    /// Takes a run back.
    pub(crate) fn give(&mut self, page: u32, count: u32) -> Chunks {
        self.dirty_bytes += count as usize * PAGE_BYTES;
        let (mut first, mut length, mut absent) = (page, count, 0);
        if let Some((&before, run)) = self.free.range(..page).next_back()
            && before + run.length == page
            && before / CHUNK_PAGES == page / CHUNK_PAGES
        {
            let run = self.remove_run(before);
            (first, length, absent) = (before, length + run.length, run.absent);
        }
        let behind = page + count;
        if behind / CHUNK_PAGES == page / CHUNK_PAGES && self.free.contains_key(&behind) {
            let run = self.remove_run(behind);
            (length, absent) = (length + run.length, absent + run.absent);
        }
        self.insert_run(first, Run { length, absent });
        if length == CHUNK_PAGES && self.free_pages - CHUNK_PAGES as usize >= RUN_PAGES_MAX as usize {
            // One chunk's worth of free pages is kept, so that a table at the edge does not map and unmap.
            self.remove_run(first);
            let chunk = (first / CHUNK_PAGES) as usize;
            let gone = self.chunks[chunk].take();
            self.held -= 1;
            self.huge -= usize::from(gone.is_some_and(|gone| gone.is_huge()));
            return Chunks::Went(chunk);
        }
        if self.dirty_bytes > DIRTY_BYTES_MIN.max(self.held_bytes() / DIRTY_PART) {
            self.discard_free();
        }
        Chunks::Same
    }

    /// Gives the memory of free runs back to the system, the shortest excepted if there are huge pages; the runs stay ours.
    pub(crate) fn discard_free(&mut self) {
        self.dirty_bytes = 0;
        let shortest = if self.huge_chunks.is_some() { DISCARD_PAGES_MIN } else { 1 };
        for (&page, run) in &mut self.free {
            if run.length >= shortest
                && run.absent < run.length
                && let Some(Some(chunk)) = self.chunks.get_mut((page / CHUNK_PAGES) as usize)
            {
                chunk.discard((page % CHUNK_PAGES) as usize, run.length as usize);
                self.absent_pages += (run.length - run.absent) as usize;
                run.absent = run.length;
            }
        }
    }

    pub(crate) fn chunk(&self, number: usize) -> Option<&Chunk> {
        self.chunks.get(number)?.as_ref()
    }

    /// Bytes of all chunks.
    pub(crate) fn held_bytes(&self) -> usize {
        self.held * CHUNK_BYTES
    }

    pub(crate) fn huge_bytes(&self) -> usize {
        self.huge * CHUNK_BYTES
    }

    pub(crate) fn free_bytes(&self) -> usize {
        self.free_pages * PAGE_BYTES
    }

    /// Bytes of chunks that the system has, since they were not touched yet, or were given back to it.
    pub(crate) fn absent_bytes(&self) -> usize {
        self.absent_pages * PAGE_BYTES
    }

    fn add_chunk(&mut self) -> Option<usize> {
        let number = self.chunks.iter().position(Option::is_none).unwrap_or(self.chunks.len());
        if number >= self.chunks_max {
            return None;
        }
        let chunk = match &self.huge_chunks {
            Some(chunks) if number >= SMALL_CHUNKS => chunks.take(),
            _ => Chunk::new(false),
        };
        // A huge page comes as a whole, with the first touch.
        let absent = |pages| if chunk.is_huge() { 0 } else { pages };
        let (all, all_but_one) = (absent(CHUNK_PAGES), absent(RUN_PAGES_MAX));
        self.huge += usize::from(chunk.is_huge());
        if number == self.chunks.len() {
            self.chunks.push(Some(chunk));
        } else {
            self.chunks[number] = Some(chunk);
        }
        self.held += 1;
        let first = u32::try_from(number).expect("chunks are counted in an address") * CHUNK_PAGES;
        if number == 0 {
            // The very first page stays unused: its address says "nothing".
            self.insert_run(first + 1, Run { length: RUN_PAGES_MAX, absent: all_but_one });
        } else {
            self.insert_run(first, Run { length: CHUNK_PAGES, absent: all });
        }
        Some(number)
    }

    fn insert_run(&mut self, page: u32, run: Run) {
        self.free.insert(page, run);
        self.by_length.insert((run.length, page));
        self.free_pages += run.length as usize;
        self.absent_pages += run.absent as usize;
    }

    fn remove_run(&mut self, page: u32) -> Run {
        let run = self.free.remove(&page).expect("a free run begins there");
        self.by_length.remove(&(run.length, page));
        self.free_pages -= run.length as usize;
        self.absent_pages -= run.absent as usize;
        run
    }

    /// Checks that the two indexes of free runs agree, that no two runs touch, and that none leaves its chunk.
    pub(crate) fn validate(&self) -> Result<(), String> {
        let mirrored: BTreeSet<(u32, u32)> =
            self.free.iter().map(|(&page, run)| (run.length, page)).collect();
        if mirrored != self.by_length {
            return Err("the two indexes of free pages differ".into());
        }
        if self.held != self.chunks.iter().flatten().count() {
            return Err(format!("{} chunks are counted", self.held));
        }
        if self.huge != self.chunks.iter().flatten().filter(|chunk| chunk.is_huge()).count() {
            return Err(format!("{} huge chunks are counted", self.huge));
        }
        if self.free.values().map(|run| run.length as usize).sum::<usize>() != self.free_pages {
            return Err("free pages are counted wrongly".into());
        }
        let absent = self.free.values().map(|run| run.absent as usize);
        if absent.sum::<usize>() != self.absent_pages {
            return Err("absent pages are counted wrongly".into());
        }
        let mut last_end = None;
        for (&page, &Run { length, .. }) in &self.free {
            let end = page + length;
            if length == 0 || (end - 1) / CHUNK_PAGES != page / CHUNK_PAGES {
                return Err(format!("the free run of {length} pages at {page} leaves its chunk"));
            }
            if self.chunk((page / CHUNK_PAGES) as usize).is_none() {
                return Err(format!("the free run at {page} is in no chunk"));
            }
            if last_end.is_some_and(|last| last > page || (last == page && page % CHUNK_PAGES != 0)) {
                return Err(format!("the free run at {page} touches the one before"));
            }
            last_end = Some(end);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_join_again_and_chunks_go_back() {
        let mut pages = Pages::new(8, Some(Arc::default()));
        let taken: Vec<u32> = (0..CHUNK_PAGES).map(|_| pages.take(3).unwrap().0).collect();
        assert!(pages.held_bytes() >= 3 * CHUNK_BYTES);
        let mut went = 0;
        // Every other one first, so that runs must join on both sides.
        for page in taken.iter().step_by(2).chain(taken.iter().skip(1).step_by(2)) {
            went += usize::from(matches!(pages.give(*page, 3), Chunks::Went(_)));
            pages.validate().unwrap();
        }
        assert!(went >= 2, "{went} chunks went back");
        assert!(pages.held_bytes() <= 2 * CHUNK_BYTES);
    }

    #[test]
    fn there_is_an_end_to_chunks() {
        let mut pages = Pages::new(2, Some(Arc::default()));
        assert_eq!(pages.take(RUN_PAGES_MAX).unwrap(), (1, Chunks::Came(0)));
        assert_eq!(pages.take(RUN_PAGES_MAX).unwrap(), (CHUNK_PAGES, Chunks::Came(1)));
        assert!(pages.take(2).is_none());
        assert_eq!(pages.take(1).unwrap(), (2 * CHUNK_PAGES - 1, Chunks::Same));
    }

    #[test]
    fn a_chunk_that_went_is_mapped_anew_under_its_number() {
        let mut pages = Pages::new(4, Some(Arc::default()));
        let taken = [0; 3].map(|_| pages.take(RUN_PAGES_MAX).unwrap().0);
        assert_eq!(pages.give(taken[1], RUN_PAGES_MAX), Chunks::Same);
        assert_eq!(pages.give(taken[2], RUN_PAGES_MAX), Chunks::Went(2));
        assert_eq!(pages.take(RUN_PAGES_MAX).unwrap(), (taken[1], Chunks::Same));
        assert_eq!(pages.take(RUN_PAGES_MAX).unwrap(), (taken[2], Chunks::Came(2)));
        pages.give(taken[0], RUN_PAGES_MAX);
        pages.validate().unwrap();
    }
}
