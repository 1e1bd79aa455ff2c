//! The handle of an open log.

use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::borrow::Borrow;
use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::path::Path;
use std::sync::Arc;

use crate::sync::Mutex;
use warp_io::{Clock, Dir, DirLock, OsDir, SystemClock};

use crate::admission::Admission;
use crate::commit::Commit;
use crate::deliver::Apply;
use crate::encoded::Encoded;
use crate::entry::Entry;
use crate::error::{Error, Result};
use crate::options::{Admit, LogOptions, Position, Recovery, Start};
use crate::parking::Parking;
use crate::prepare::{Prepared, Preparer};
use crate::report::ReplayReport;
use crate::ring::Ring;
use crate::room::Room;
use crate::spares::Spares;
use crate::stats::{Counters, LogStats};
use crate::writer::{Retired, Writer};

/// An open log.
///
/// A write goes [`encode`](Log::encode), [`admit`](Log::admit), [`reserve`](Log::reserve),
/// [`commit`](crate::Pending::commit), and, if it is to be durable before the caller goes on,
/// [`sync_to`](Log::sync_to); [`append`](Log::append) does all but the last. All methods may be called from
/// several threads.
///
/// Dropping a log without [`Log::close`] leaves behind what a killed process leaves: what was not written
/// yet is gone, and the next open finds an end that is not clean.
#[derive(Debug)]
pub struct Log {
    pub(crate) dir: Arc<dyn Dir>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) options: LogOptions,
    pub(crate) ring: Ring,
    pub(crate) admission: Admission,
    /// Groups that are too large for the ring, by sequence.
    pub(crate) large: Mutex<HashMap<u64, Box<[u8]>>>,
    /// Bytes of those, and of the one that is being written.
    pub(crate) large_bytes: AtomicU64,
    // Locks are taken in this order: preparer, writer, then one of the others.
    pub(crate) preparer: Mutex<Preparer>,
    pub(crate) writer: Mutex<Writer>,
    /// Segments that are prepared, oldest first.
    pub(crate) ready: Mutex<VecDeque<Prepared>>,
    /// Segments before the active one, oldest first.
    pub(crate) retired: Mutex<Vec<Retired>>,
    pub(crate) removing: Mutex<()>,
    pub(crate) spares: Arc<Spares>,
    pub(crate) commit: Commit,
    pub(crate) room: Room,
    pub(crate) parking: Parking,
    /// The last sequence that was handed to the system.
    pub(crate) written: AtomicU64,
    /// The last sequence that is durable.
    pub(crate) durable: AtomicU64,
    /// The last sequence that [`Log::wait_for_work`] has seen.
    pub(crate) seen_seq: AtomicU64,
    /// The largest ordinary group, in blocks.
    pub(crate) group_blocks_max: AtomicU64,
    /// Blocks that only admissions with `reserve` may take.
    pub(crate) kept_blocks: AtomicU64,
    /// The segment that holds the open frame and the first sequence of this life, if the log before ended cleanly:
    /// as long as the sequence is not given, nobody misses this life.
    pub(crate) needless: Option<(String, u64)>,
    /// Whether something was written that [`Log::tick`] is to sync.
    pub(crate) sync_wanted: AtomicBool,
    /// Whether the ring has filled enough that [`Log::tick`] is to drain it before it is time.
    pub(crate) drain_wanted: AtomicBool,
    pub(crate) full: AtomicBool,
    pub(crate) poisoned: AtomicBool,
    pub(crate) closing: AtomicBool,
    pub(crate) closed: AtomicBool,
    pub(crate) counters: Counters,
    /// Held by a log that was opened by path.
    pub(crate) lock: Option<DirLock>,
}

impl Log {
    /// Opens the log in the directory at `path`, which is made if there is none, and locks the directory. An
    /// incomplete last write is dropped. With a seed of 0 a random one is taken.
    ///
    /// To read what the log holds, call [`replay`](crate::replay) before; to do both in one pass, or with a
    /// directory of your own, see [`Log::open_in`].
    ///
    /// # Errors
    /// [`Error::Io`] if the directory cannot be opened, or is locked by somebody else
    /// ([`WouldBlock`](std::io::ErrorKind::WouldBlock)); otherwise as [`Log::open_in`].
    pub fn open(path: impl AsRef<Path>, mut options: LogOptions) -> Result<Log> {
        let dir = OsDir::open(path, true).map_err(|source| Error::io("", 0, source))?;
        let lock = dir.try_lock_exclusive().map_err(|source| Error::io("LOCK", 0, source))?;
        if options.seed == 0 {
            options.seed = RandomState::new().hash_one(0_u64);
        }
        let clock = Arc::new(SystemClock::new());
        let (mut log, _) = Log::open_in(
            &dir,
            clock,
            options,
            Recovery::default(),
            Start::default(),
            Apply::InOrder(&mut |_, _| {}),
            &mut |_, _| {},
        )?;
        log.lock = Some(lock);
        Ok(log)
    }

    /// Appends a group of entries, which is all or nothing after a crash; returns its sequence. It is durable
    /// once [`Log::sync`] has returned, or [`Log::durable_seq`] has reached it.
    ///
    /// # Errors
    /// As [`Log::encode`] and [`Log::admit`]. Nothing was written in any case.
    pub fn append(&self, entries: &[Entry<'_>]) -> Result<u64> {
        let mut encoded = Encoded::new();
        self.encode(&mut encoded, entries)?;
        let permit = self.admit(&encoded, Admit::default())?;
        let seq = self.reserve(permit, &encoded).seq();
        self.want_sync();
        Ok(seq)
    }

    /// Encodes a group into `encoded`, whose content is replaced. Compresses values as the options say.
    ///
    /// # Errors
    /// [`Error::TooLarge`] if a key, a value or the group is above its limit; [`Error::Invalid`] if there is no
    /// entry. `encoded` is empty then.
    pub fn encode<'e>(
        &self,
        encoded: &mut Encoded,
        entries: impl IntoIterator<Item = impl Borrow<Entry<'e>>>,
    ) -> Result<()> {
        encoded.fill(self.options.format, self.options.compress_values_from, entries)
    }

    /// Asks [`Log::tick`] to sync what was committed before, within `flush_interval`. Cheap: a load, if it was
    /// asked already. Without it a tick hands records to the system, and leaves syncing to others.
    pub fn want_sync(&self) {
        if !self.sync_wanted.load(Ordering::Relaxed) {
            // Release pairs with the Acquire in `sync_due`: who sees the flag finds the records committed.
            self.sync_wanted.store(true, Ordering::Release);
        }
    }

    /// The sequence that the next [`Log::reserve`] will get, at least. Every group that was reserved before the
    /// call has a lower one.
    #[must_use]
    pub fn next_seq(&self) -> u64 {
        self.ring.next_seq()
    }

    /// The last sequence that was given.
    #[must_use]
    pub fn last_seq(&self) -> u64 {
        self.next_seq() - 1
    }

    /// The sequence up to which everything was handed to the system: it survives the process being killed.
    #[must_use]
    pub fn written_seq(&self) -> u64 {
        self.written.load(Ordering::Acquire)
    }

    /// The sequence up to which everything is durable: it survives a power loss.
    #[must_use]
    pub fn durable_seq(&self) -> u64 {
        self.durable.load(Ordering::Acquire)
    }

    /// Where the last frame begins that was handed to the system, if there is one of this opening. Every group that is
    /// reserved after the call lies behind it: a replay of those can begin there, see [`Start::near`]. May wait for a
    /// write to the disk that is under way.
    #[must_use]
    pub fn last_frame(&self) -> Option<Position> {
        self.writer.lock().last_frame
    }

    /// Stops the log for good: nothing more is written, and every later call fails with [`Error::Poisoned`].
    pub fn poison(&self) {
        if !self.poisoned.swap(true, Ordering::AcqRel) {
            tracing::error!("the log is poisoned: nothing more is written");
        }
        self.commit.notify();
        self.room.notify();
        self.parking.wake();
    }

    /// Whether a write or a sync failed, or [`Log::poison`] was called.
    #[must_use]
    pub fn is_poisoned(&self) -> bool {
        self.poisoned.load(Ordering::Acquire)
    }

    /// Memory that the log has for records on their way to the system, in bytes: its ring, and those records that are too
    /// large for it. Waits for no write.
    #[must_use]
    pub fn buffer_bytes(&self) -> u64 {
        self.options.buffer_bytes as u64 + self.large_bytes.load(Ordering::Relaxed)
    }

    /// Bytes of groups that were taken in since the log was opened, about: those that were handed to the system, and the ring's, with what
    /// is promised to writers. A frame that is just being written is in neither. Waits for nothing.
    #[must_use]
    pub fn taken_bytes(&self) -> u64 {
        self.counters.payload_bytes.load(Ordering::Relaxed) + self.admission.used_words() * 8
    }

    /// What the log has done so far. May wait for a write to the disk that is under way.
    #[must_use]
    pub fn stats(&self) -> LogStats {
        let (prepared, prepared_bytes) = {
            let ready = self.ready.lock();
            (ready.len() as u64, ready.iter().map(|segment| segment.capacity).sum::<u64>())
        };
        let active_bytes = self.writer.lock().active.capacity;
        let (retired, retired_bytes) = {
            let retired = self.retired.lock();
            (retired.len() as u64, retired.iter().map(|segment| segment.bytes).sum::<u64>())
        };
        let (spares, spare_bytes) = self.spares.count();
        let reused = self.spares.reused();
        LogStats {
            segments: retired + 1,
            prepared,
            spares,
            reused,
            segment_bytes_on_disk: retired_bytes + active_bytes + prepared_bytes + spare_bytes,
            ring_bytes: self.options.buffer_bytes as u64,
            ring_used: self.admission.used_words() * 8,
            full: self.is_full(),
            ..self.counters.snapshot()
        }
    }

    /// Poisons the log because of an error, and returns the error.
    pub(crate) fn fail(&self, error: Error) -> Error {
        self.poison();
        error
    }

    /// Fails if nothing may be written any more.
    pub(crate) fn check_alive(&self) -> Result<()> {
        if self.is_poisoned() {
            return Err(Error::Poisoned);
        }
        if self.closed.load(Ordering::Acquire) { Err(Error::Closed) } else { Ok(()) }
    }

    /// Fails if nothing may be appended any more.
    pub(crate) fn check_open(&self) -> Result<()> {
        self.check_alive()?;
        if self.closing.load(Ordering::Acquire) { Err(Error::Closed) } else { Ok(()) }
    }

    pub(crate) fn group_blocks_max(&self) -> u64 {
        self.group_blocks_max.load(Ordering::Acquire)
    }

    pub(crate) fn kept_blocks(&self) -> u64 {
        self.kept_blocks.load(Ordering::Acquire)
    }

    pub(crate) fn is_full(&self) -> bool {
        self.full.load(Ordering::Acquire)
    }

    pub(crate) fn set_full(&self, full: bool) {
        self.full.store(full, Ordering::Release);
    }
}

/// Reads the log in the directory at `path` and hands out its entries in the order of their sequences. Changes
/// nothing. An incomplete last write is left out.
///
/// # Errors
/// [`Error::Io`], [`Error::Corrupt`], [`Error::Unsupported`].
pub fn replay(path: impl AsRef<Path>, mut apply: impl FnMut(u64, &Entry<'_>)) -> Result<ReplayReport> {
    let dir = OsDir::open(path, false).map_err(|source| Error::io("", 0, source))?;
    crate::replay_in(&dir, Recovery::default(), Start::default(), Apply::InOrder(&mut apply), &mut |_, _| {})
}
