//! The disk without any engine: what a sync costs at least, and how fast bytes can be written in a row.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use warp_io::{Dir, File, OsDir, write_all_at};

use super::committer::Committer;
use crate::run::Outcome;

/// What is synced at a time: what the file system writes at least.
pub(crate) const BLOCK_BYTES: usize = 4096;
/// Size of the file that was written through before, which is written to from its start again when its end is reached.
const FILE_BYTES: u64 = 64 << 20;
/// Bytes of one call while bytes are written in a row.
pub(crate) const PIECE_BYTES: usize = 1 << 20;
const NAME: &str = "raw";

/// A file that was written through with zeros and synced, so that a later sync has nothing to do but write the data.
///
/// # Errors
/// What the system answers.
pub(crate) fn prewritten(dir: &Path) -> io::Result<Arc<dyn File>> {
    let dir = OsDir::open(dir, true)?;
    let file = dir.create_new(NAME)?;
    let zeros = vec![0; PIECE_BYTES];
    for piece in 0..FILE_BYTES / PIECE_BYTES as u64 {
        write_all_at(&*file, piece * PIECE_BYTES as u64, &zeros)?;
    }
    file.sync_data()?;
    dir.sync_dir()?;
    Ok(file)
}

/// Where the next blocks go in such a file.
#[derive(Debug, Default)]
pub(crate) struct Cursor(AtomicU64);

impl Cursor {
    /// The place for so many bytes, which are few, at the start of a block.
    pub(crate) fn next(&self, bytes: u64) -> u64 {
        let bytes = bytes.next_multiple_of(BLOCK_BYTES as u64);
        let place = |at: u64| if at + bytes > FILE_BYTES { 0 } else { at };
        let step = |at: u64| Some(place(at) + bytes);
        let before = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, step);
        place(before.unwrap_or_else(|at| at))
    }
}

/// Writes a block and syncs it, for every record: F, the rate that everything with a sync is measured by.
#[derive(Debug)]
pub(crate) struct RawSync {
    file: Arc<dyn File>,
    cursor: Cursor,
    syncs: AtomicU64,
}

impl RawSync {
    /// Prepares the file.
    ///
    /// # Errors
    /// What the system answers.
    pub(crate) fn open(dir: &Path) -> Outcome<RawSync> {
        Ok(RawSync { file: prewritten(dir)?, cursor: Cursor::default(), syncs: AtomicU64::new(0) })
    }
}

impl Committer for RawSync {
    fn commit(&self, _: usize, key: &[u8], value: &[u8]) -> Outcome<()> {
        let mut block = [0; BLOCK_BYTES];
        block[..key.len()].copy_from_slice(key);
        block[key.len()..key.len() + value.len()].copy_from_slice(value);
        write_all_at(&*self.file, self.cursor.next(BLOCK_BYTES as u64), &block)?;
        self.file.sync_data()?;
        self.syncs.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn syncs(&self) -> Option<u64> {
        Some(self.syncs.load(Ordering::Relaxed))
    }
}

/// Writes so many bytes to a new file through the page cache, in pieces of [`PIECE_BYTES`] at most, and syncs once; each
/// piece is the same.
///
/// # Errors
/// What the system answers.
pub(crate) fn write_in_a_row(dir: &Path, piece: &[u8], total: u64) -> io::Result<()> {
    let dir = OsDir::open(dir, true)?;
    let file = dir.create_new(NAME)?;
    let mut at = 0;
    while at < total {
        let count = usize::try_from(total - at).unwrap_or(usize::MAX).min(piece.len());
        write_all_at(&*file, at, &piece[..count])?;
        at += count as u64;
    }
    file.sync_data()
}

/// Removes what [`write_in_a_row`] has written.
///
/// # Errors
/// What the system answers.
pub(crate) fn remove(dir: &Path) -> io::Result<()> {
    OsDir::open(dir, false)?.remove(NAME)
}

#[cfg(test)]
mod tests {
    use super::super::committer::{Mode, check_committer};
    use super::*;

    #[test]
    fn places_do_not_overlap_and_stay_in_the_file() {
        let cursor = Cursor::default();
        assert_eq!((cursor.next(100), cursor.next(5000), cursor.next(1)), (0, 4096, 3 * 4096));
        for _ in 0..FILE_BYTES / 8192 * 2 {
            let place = cursor.next(8000);
            assert!(place + 8192 <= FILE_BYTES, "{place}");
        }
    }

    #[test]
    fn syncs_and_writes() {
        let dir = tempfile::tempdir().unwrap();
        check_committer(&RawSync::open(&dir.path().join("sync")).unwrap(), Mode::Sync);
        let row = dir.path().join("row");
        write_in_a_row(&row, &[7; PIECE_BYTES], (1 << 20) + 5).unwrap();
        let file = OsDir::open(&row, false).unwrap().open(NAME, false).unwrap();
        assert_eq!(file.len().unwrap(), (1 << 20) + 5);
        remove(&row).unwrap();
        assert!(OsDir::open(&row, false).unwrap().list().unwrap().is_empty());
    }
}
