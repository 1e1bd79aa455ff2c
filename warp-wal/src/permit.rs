//! The write path up to the ring: admission before any lock, then place and order under the caller's lock.

use crate::sync::atomic::Ordering;
use std::fmt;
use std::io;

use crate::admission::{Charge, Short};
use crate::encoded::Encoded;
use crate::error::{Error, Result};
use crate::format::usable_blocks;
use crate::log::Log;
use crate::options::Admit;
use crate::prepare::{Preparer, RETRY_INTERVAL, is_full, is_out_of_handles};
use crate::ring::{Place, Ring};

/// A group that takes more than this part of the ring is held outside of it,
const RING_PART_MAX: usize = 4;
/// and so is a group of more bytes than this: it would be copied word by word into the ring and out of it, and is large
/// enough for a write of its own.
pub(crate) const RING_BYTES_MAX: usize = 32 << 10;

/// When this part of the ring is full, the log's thread is woken.
const DRAINED_PART: u64 = 8;
/// More segments than this do not wait for a sync.
const UNSYNCED_FILES_MAX: usize = 2;

/// Room in the ring and space on disk for one group. Dropping it gives both back.
pub struct Permit<'a> {
    pub(crate) log: &'a Log,
    pub(crate) charge: Charge,
    /// Size of the group that it was given for.
    pub(crate) bytes: usize,
    /// The group itself, if it is too large for the ring.
    pub(crate) large: Option<Box<[u8]>>,
    /// Nobody else is admitted until it is used or dropped.
    pub(crate) exclusive: bool,
}

/// A group that has its sequence and its place in the order, and is not ready to be written yet.
///
/// Groups behind it wait until it is: commit it promptly. Dropping it commits it, too: the group is in the log
/// from [`Log::reserve`] on.
pub struct Pending<'a> {
    log: &'a Log,
    place: Place,
}

impl Pending<'_> {
    /// The group's sequence.
    #[must_use]
    pub fn seq(&self) -> u64 {
        self.place.seq
    }

    /// Marks the group as ready to be written.
    pub fn commit(self) {}
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        self.log.ring.commit(&self.place);
        self.log.parking.wake_if_parked();
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        if self.exclusive {
            self.log.give_up_exclusive(self.charge);
        } else {
            self.log.admission.give(self.charge);
        }
        self.log.room.notify();
    }
}

impl fmt::Debug for Permit<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Permit").field("bytes", &self.bytes).field("charge", &self.charge).finish()
    }
}

impl fmt::Debug for Pending<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Pending").field("seq", &self.place.seq).finish()
    }
}

impl Log {
    /// Asks for room in the ring and space on disk for a group. To be called before any lock is taken that
    /// another caller may hold while it has a permit, and by a thread that has none.
    ///
    /// A group that takes more than a quarter of a segment gets one of its own: until its permit is used or
    /// dropped nobody else is admitted, and it takes file operations even if it is not to wait.
    ///
    /// # Errors
    /// [`Error::Busy`] if there is no room at this moment and `admit.wait` is not set; [`Error::Full`] if there
    /// is no space on disk; [`Error::Poisoned`]; [`Error::Closed`]; [`Error::Io`] if a segment cannot be
    /// prepared. Nothing was written in any case.
    pub fn admit(&self, encoded: &Encoded, admit: Admit) -> Result<Permit<'_>> {
        if encoded.is_empty() {
            return Err(Error::Invalid { what: "a group without entries" });
        }
        let bytes = encoded.len();
        let blocks = self.options.format.frame_blocks(bytes as u64);
        let charge = Charge { words: self.words_for(bytes), blocks };
        let mut attempt = 0;
        loop {
            self.check_open()?;
            if blocks > self.group_blocks_max() {
                if let Some(permit) = self.make_exclusive(encoded, charge, admit.wait)? {
                    return Ok(permit);
                }
                continue;
            }
            let kept = if admit.reserve { 0 } else { self.kept_blocks() };
            let short = match self.admission.take(charge, kept) {
                Ok(words_left) => {
                    self.ask_to_drain(words_left);
                    let large = self.copy_if_large(encoded);
                    return Ok(Permit { log: self, charge, bytes, large, exclusive: false });
                }
                Err(short) => short,
            };
            if !admit.wait {
                let full = short == Short::Disk && self.is_full();
                return Err(if full { Error::Full } else { Error::Busy });
            }
            if attempt == 0 {
                self.counters.admission_waits.fetch_add(1, Ordering::Relaxed);
            }
            self.make_room(short, blocks.saturating_add(kept), attempt)?;
            attempt += 1;
        }
    }

    /// Gives a group its sequence and its place in the order, and takes a copy of it. Cannot fail and does not
    /// wait: to be called under the lock that orders writes of one key.
    ///
    /// `encoded` has to be the group that `permit` was given for. If it has another size there may be no room
    /// for it, and the log is poisoned.
    pub fn reserve<'a>(&'a self, mut permit: Permit<'a>, encoded: &Encoded) -> Pending<'a> {
        let same = encoded.len() == permit.bytes && std::ptr::eq(self, permit.log);
        if !same {
            self.poison();
            // The permit gives back what it took from its log.
            return Pending { log: self, place: self.ring.reserve(0) };
        }
        let (raw, stored) = (encoded.raw_value_bytes, encoded.stored_value_bytes);
        let place = match permit.large.take() {
            None => {
                let mut place = self.ring.reserve(Ring::record_words(permit.bytes));
                self.ring.fill(&mut place, &encoded.bytes, raw, stored);
                place
            }
            Some(payload) => {
                let mut place = self.ring.reserve(Ring::stub_words());
                self.large_bytes.fetch_add(payload.len() as u64, Ordering::Relaxed);
                self.large.lock().insert(place.seq, payload);
                self.ring.fill_stub(&mut place, permit.bytes, raw, stored);
                place
            }
        };
        if permit.exclusive {
            self.admission.open_gate();
            permit.exclusive = false;
        }
        // The consumer gives it back.
        permit.charge = Charge::default();
        Pending { log: self, place }
    }

    /// Wakes the log's thread once a part of the ring is full, so that it drains while others go on filling.
    fn ask_to_drain(&self, words_left: u64) {
        let is_filling = words_left < self.ring.capacity() - self.ring.capacity() / DRAINED_PART;
        if is_filling
            && !self.drain_wanted.load(Ordering::Relaxed)
            && !self.drain_wanted.swap(true, Ordering::Relaxed)
        {
            self.parking.wake();
        }
    }

    pub(crate) fn copy_if_large(&self, encoded: &Encoded) -> Option<Box<[u8]>> {
        let large = encoded.len() > RING_BYTES_MAX.min(self.options.buffer_bytes / RING_PART_MAX);
        large.then(|| encoded.bytes.as_slice().into())
    }

    /// Does what can be done about a refused admission, which needs so many blocks, or waits a moment.
    fn make_room(&self, short: Short, blocks: u64, attempt: u32) -> Result<()> {
        if short == Short::Gate {
            self.room.wait();
            return Ok(());
        }
        self.drain_now()?;
        match short {
            Short::Disk => {
                let mut preparer = self.preparer.lock();
                if self.admission.free_blocks() < blocks {
                    self.prepare_one(&mut preparer)?;
                }
            }
            // Somebody holds a permit, or a record that is not ready.
            _ if attempt > 0 => self.room.wait(),
            _ => {}
        }
        Ok(())
    }

    /// Hands to the system what is ready. Syncs, too, if several segments wait for it.
    pub(crate) fn drain_now(&self) -> Result<()> {
        let mut writer = self.writer.lock();
        self.drain(&mut writer)?;
        let (files, written) = (writer.unsynced.len(), writer.consumer.seq());
        drop(writer);
        if files > UNSYNCED_FILES_MAX { self.sync_to(written) } else { Ok(()) }
    }

    /// Prepares a whole segment, for a caller that waits for it.
    pub(crate) fn prepare_one(&self, preparer: &mut Preparer) -> Result<()> {
        let segments = self.ready.lock().len();
        while self.ready.lock().len() == segments {
            self.prepare_step(preparer, true)?;
        }
        Ok(())
    }

    /// Goes on with preparing a segment, by one step, in haste if somebody waits for it. If there was no space a moment
    /// ago it is still `Full`, and if too many files were open, still an error.
    pub(crate) fn prepare_step(&self, preparer: &mut Preparer, haste: bool) -> Result<()> {
        self.check_alive()?;
        self.check_retry(preparer)?;
        match preparer.step(haste) {
            Ok(done) => {
                preparer.retry_at = None;
                self.set_full(false);
                if let Some(segment) = done {
                    let blocks = usable_blocks(segment.capacity, self.group_blocks_max());
                    let mut ready = self.ready.lock();
                    ready.push_back(segment);
                    self.admission.give(Charge { words: 0, blocks });
                    drop(ready);
                    self.room.notify();
                }
                Ok(())
            }
            Err(error) => Err(self.preparing_failed(preparer, error)),
        }
    }

    /// Nothing is tried for a while after there was no space, or no file could be opened.
    pub(crate) fn check_retry(&self, preparer: &Preparer) -> Result<()> {
        let now = self.clock.monotonic();
        if preparer.retry_at.is_none_or(|time| now >= time) {
            return Ok(());
        }
        if self.is_full() {
            return Err(Error::Full);
        }
        Err(Error::io("", 0, io::Error::other("a moment ago too many files were open")))
    }

    /// Notes that there is no space, or that too many files are open; any other failure poisons the log.
    pub(crate) fn preparing_failed(&self, preparer: &mut Preparer, error: Error) -> Error {
        let is_full = is_full(&error);
        if !is_full && !is_out_of_handles(&error) {
            return self.fail(error);
        }
        let is_first = preparer.retry_at.is_none();
        preparer.retry_at = self.clock.monotonic().checked_add(RETRY_INTERVAL);
        if !is_full {
            if is_first {
                tracing::warn!(%error, "too many files are open for the next log segment");
            }
            return error;
        }
        if !self.is_full() {
            tracing::warn!("no space on disk for the next log segment");
        }
        self.set_full(true);
        Error::Full
    }
}
