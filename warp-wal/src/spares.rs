//! Segments that nobody needs any more, kept to be written to again.
//!
//! Writing over a file is cheaper than making one: its space is there, and no metadata changes. A spare has a name that
//! is not a segment's, so that no reader takes it for one, until it was written through, has a new header, and gets a
//! new number: `docs/format/wal.md`, section "Segment".

use crate::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::Arc;

use crate::sync::Mutex;
use warp_io::Dir;

use crate::error::{Error, Result};

/// Spares that are kept at most.
const SPARES_MAX: usize = 2;
const SPARE_SUFFIX: &str = ".spare";

/// What the segment of that name is called while it is a spare.
pub(crate) fn spare_name(segment: &str) -> String {
    format!("{segment}{SPARE_SUFFIX}")
}

/// Removes spares that an earlier life of the log has left. One that stays is tried again by the next open.
pub(crate) fn remove_left(dir: &dyn Dir) -> Result<()> {
    let names = dir.list().map_err(|source| Error::io("", 0, source))?;
    for name in names.iter().filter(|name| name.ends_with(SPARE_SUFFIX)) {
        if let Err(error) = dir.remove(name) {
            tracing::warn!(%error, file = name, "a spare log segment stays");
        }
    }
    Ok(())
}

/// A file that can become a segment.
#[derive(Debug)]
pub(crate) struct Spare {
    pub(crate) name: String,
    pub(crate) bytes: u64,
}

/// The spares of a log.
#[derive(Debug, Default)]
pub(crate) struct Spares {
    kept: Mutex<Vec<Spare>>,
    holders: Arc<AtomicUsize>,
    reused: AtomicU64,
}

/// While it lives, no segment of the log is written to again: one that is removed stays readable for who has it open. For
/// programs that copy or read a log's files while it goes on.
#[derive(Debug)]
#[must_use = "segments are held only as long as this lives"]
pub struct Hold(Arc<AtomicUsize>);

impl Drop for Hold {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Spares {
    /// Keeps removed segments from being written to again. With the lock held under which they are removed.
    pub(crate) fn hold(&self) -> Hold {
        self.holders.fetch_add(1, Ordering::AcqRel);
        Hold(Arc::clone(&self.holders))
    }

    /// Whether another spare is wanted.
    pub(crate) fn is_wanted(&self) -> bool {
        self.holders.load(Ordering::Acquire) == 0 && self.kept.lock().len() < SPARES_MAX
    }

    pub(crate) fn keep(&self, spare: Spare) {
        self.kept.lock().push(spare);
    }

    /// Takes a spare of that size.
    pub(crate) fn take(&self, bytes: u64) -> Option<Spare> {
        let mut kept = self.kept.lock();
        let index = kept.iter().position(|spare| spare.bytes == bytes)?;
        self.reused.fetch_add(1, Ordering::Relaxed);
        Some(kept.swap_remove(index))
    }

    /// Removes all of them; returns whether there were any.
    pub(crate) fn remove_all(&self, dir: &dyn Dir) -> bool {
        let kept = std::mem::take(&mut *self.kept.lock());
        for spare in &kept {
            if let Err(error) = dir.remove(&spare.name) {
                tracing::warn!(%error, file = spare.name, "a spare log segment stays");
            }
        }
        !kept.is_empty()
    }

    /// How often a spare was taken.
    pub(crate) fn reused(&self) -> u64 {
        self.reused.load(Ordering::Relaxed)
    }

    /// How many there are, and their bytes.
    pub(crate) fn count(&self) -> (u64, u64) {
        let kept = self.kept.lock();
        (kept.len() as u64, kept.iter().map(|spare| spare.bytes).sum())
    }
}
