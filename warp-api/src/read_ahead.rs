//! Reading ahead: after an open, having the system read the layers into its page cache, so that reads of what is not
//! in memory need not wait for the disk one by one.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use parking_lot::Mutex;
use serde::Serialize;
use warp_checkpoint::layer_name;
use warp_io::{Clock, Dir, File};

use crate::environment::Background;
use crate::pace::times;
use crate::shared::Shared;
use crate::types::Level;

/// What is read at once. More keeps reads of others waiting longer; less is slower, and they wait as long.
const READ_BYTES: usize = 256 << 10;
/// After so many reads it looks again whether there is room.
const LOOK_READS: u64 = 256;
/// The shortest pause after a step.
const PAUSE_MIN: Duration = Duration::from_micros(100);
/// The longest pause after a step, however slow the laws want it: what they say may change.
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// So large a part is taken of what the machine has available: others want to keep their files there, too.
const AVAILABLE_PART: u64 = 2;

/// What is yet to be read, and what was.
#[derive(Debug, Default)]
pub(crate) struct ReadAhead {
    /// Whether there is anything to do; looked at by the worker between its other work.
    is_under_way: AtomicBool,
    /// Held by whoever takes a step. `None` before the first, and after the last.
    left: Mutex<Option<FilesLeft>>,
    bytes: AtomicU64,
    /// When the next step is due, by the monotonic clock.
    due_nanos: AtomicU64,
}

/// Layer files that are yet to be read.
#[derive(Debug)]
struct FilesLeft {
    /// The next one last.
    names: Vec<String>,
    /// How much of that was read, and the file if it is open.
    offset: u64,
    open: Option<Arc<dyn File>>,
    buffer: Box<[u8]>,
    /// Bytes that all of them have yet to give.
    bytes: u64,
    reads: u64,
}

/// Reading ahead: what the background has had the system read of the layers into its page cache. Nothing is read for an
/// engine that is open for reading only.
#[derive(Clone, Copy, Debug, Default, Serialize)]
#[non_exhaustive]
pub struct ReadAheadMetrics {
    /// Bytes of layer files that were read since the open.
    pub bytes: u64,
    /// Whether there may be more to read: from the open on, until everything was read, or there was no room, or a file
    /// could not be read.
    pub under_way: bool,
}

impl ReadAhead {
    pub(crate) fn new(is_wanted: bool) -> ReadAhead {
        ReadAhead { is_under_way: AtomicBool::new(is_wanted), ..ReadAhead::default() }
    }

    fn is_under_way(&self) -> bool {
        self.is_under_way.load(Ordering::Relaxed)
    }

    /// When the next step is due, by the monotonic clock; `None` if there is nothing to read.
    pub(crate) fn due(&self) -> Option<Duration> {
        self.is_under_way().then(|| Duration::from_nanos(self.due_nanos.load(Ordering::Relaxed)))
    }

    fn set_due(&self, due: Duration) {
        self.due_nanos.store(u64::try_from(due.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Reads nothing more.
    pub(crate) fn end(&self) {
        self.is_under_way.store(false, Ordering::Relaxed);
        *self.left.lock() = None;
    }

    pub(crate) fn metrics(&self) -> ReadAheadMetrics {
        ReadAheadMetrics { bytes: self.bytes.load(Ordering::Relaxed), under_way: self.is_under_way() }
    }
}

impl FilesLeft {
    fn new(names: Vec<String>, bytes: u64) -> FilesLeft {
        let buffer = vec![0; READ_BYTES].into();
        FilesLeft { names, offset: 0, open: None, buffer, bytes, reads: 0 }
    }

    /// Reads on, from the next file if need be; `None` at the end of the last one.
    fn read(&mut self, layers: &dyn Dir) -> io::Result<Option<u64>> {
        while let Some(name) = self.names.last() {
            let file = match self.open.take().map_or_else(|| layers.open(name, false), Ok) {
                Ok(file) => Some(file),
                // A merge has made it needless.
                Err(error) if error.kind() == io::ErrorKind::NotFound => None,
                Err(error) => return Err(error),
            };
            if let Some(file) = file {
                let read = file.read_at(self.offset, &mut self.buffer)? as u64;
                if read > 0 {
                    self.open = Some(file);
                    self.offset += read;
                    self.bytes = self.bytes.saturating_sub(read);
                    self.reads += 1;
                    return Ok(Some(read));
                }
            }
            self.names.pop();
            self.offset = 0;
        }
        Ok(None)
    }
}

impl Shared {
    /// Reads a little more of the layers, if it is time.
    pub(crate) fn read_ahead_step(&self) {
        let ahead = &self.read_ahead;
        if !ahead.is_under_way() {
            return;
        }
        // Under the lock, so that nothing begins once it was ended.
        let Some(mut left) = ahead.left.try_lock() else { return };
        let (Some(home), Some(due)) = (&self.home, ahead.due()) else { return };
        let start = self.time.monotonic();
        if start < due {
            return;
        }
        // So that nobody else waits for a turn meanwhile.
        ahead.set_due(start + PAUSE_MAX);
        let pace = self.laws(Level::Hot).pace;
        if pace > 0.0 {
            let files = left.get_or_insert_with(|| self.layers_to_read());
            if !self.reads_on(files, &*home.layers_dir) {
                *left = None;
                ahead.is_under_way.store(false, Ordering::Relaxed);
            }
        } else if let Some(files) = &mut *left {
            // It may be removed meanwhile, and would keep its place on the disk.
            files.open = None;
        }
        let now = self.time.monotonic();
        // As long as it took: where the disk or the processors are busy, the pause is longer.
        ahead.set_due(now + times(now.saturating_sub(start), 1.0 / pace).clamp(PAUSE_MIN, PAUSE_MAX));
    }

    /// Lets time pass in which the worker has nothing else to do than to read ahead.
    pub(crate) fn read_ahead_for(&self, mut time: Duration) {
        while !time.is_zero() && !self.is_ending() {
            let start = self.time.monotonic();
            self.read_ahead_step();
            let now = self.time.monotonic();
            let until_due = self.read_ahead.due().map(|due| due.saturating_sub(now).max(PAUSE_MIN));
            let pause = until_due.map_or(time, |wait| wait.min(time));
            thread::sleep(pause);
            // The engine's clock may stand still, or be moved by hand.
            time = time.saturating_sub(pause + now.saturating_sub(start));
        }
    }

    /// Reads once; `false` if there is nothing more to read, or no room for it.
    fn reads_on(&self, files: &mut FilesLeft, layers: &dyn Dir) -> bool {
        if files.reads.is_multiple_of(LOOK_READS) && !self.has_room_to_read(files.bytes) {
            tracing::info!(bytes = files.bytes, "there is no room to read the layers ahead");
            return false;
        }
        match files.read(layers) {
            Ok(read) => {
                self.read_ahead.bytes.fetch_add(read.unwrap_or_default(), Ordering::Relaxed);
                read.is_some()
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => true,
            Err(error) => {
                let name = files.names.last().map(String::as_str);
                tracing::warn!(%error, name, offset = files.offset, "a layer cannot be read ahead");
                false
            }
        }
    }

    fn layers_to_read(&self) -> FilesLeft {
        let layers = self.layers.load();
        let oldest_first = layers.layers.iter().rev();
        FilesLeft::new(oldest_first.map(|layer| layer_name(layer.info().id)).collect(), layers.bytes())
    }

    fn has_room_to_read(&self, bytes: u64) -> bool {
        let free = self.budget.limit().saturating_sub(self.memory_standing().held);
        let available = match self.background {
            Background::Threads => warp_io::memory_available(),
            // What a stepped engine does is the same on every machine.
            Background::Stepped => None,
        };
        is_room(bytes, self.options.read_ahead_bytes, free, available)
    }
}

/// Whether so many bytes may be read, with so much left of the memory budget and available on the machine.
fn is_room(bytes: u64, most: u64, free: u64, available: Option<u64>) -> bool {
    bytes <= most.min(free).min(available.map_or(u64::MAX, |available| available / AVAILABLE_PART))
}

#[cfg(test)]
mod tests {
    use warp_io::SimDisk;

    use super::*;

    #[test]
    fn a_file_that_is_gone_is_left_out_and_the_others_are_read() {
        let dir = SimDisk::new(1).root();
        for (name, len) in [("1", 700_000), ("3", 5)] {
            dir.create_new(name).unwrap().append(&vec![7; len]).unwrap();
        }
        let mut files = FilesLeft::new(["1", "2", "3"].map(str::to_owned).to_vec(), 700_010);
        let mut bytes = 0;
        while let Some(read) = files.read(&dir).unwrap() {
            bytes += read;
            // As where the laws stop it for a while.
            files.open = None;
        }
        assert_eq!((bytes, files.bytes), (700_005, 5));
        assert_eq!(files.read(&dir).unwrap(), None);
    }

    #[test]
    fn there_is_room_for_all_of_it_or_there_is_none() {
        assert!(is_room(10, 10, 10, Some(20)));
        assert!(is_room(10, u64::MAX, 10, None));
        assert!(!is_room(10, 9, 10, Some(20)));
        assert!(!is_room(10, 10, 9, Some(20)));
        assert!(!is_room(10, 10, 10, Some(19)));
    }
}
