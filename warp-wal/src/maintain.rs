//! Rotation by hand, removal of segments, and the end.

use crate::sync::atomic::Ordering;

use crate::admission::{Charge, Short};
use crate::error::{Error, Result};
use crate::format::BLOCK_BYTES;
use crate::frame::FrameKind;
use crate::log::Log;
use crate::prepare::Preparer;
use crate::spares::{Hold, Spare, spare_name};
use crate::writer::{Retired, Writer};

impl Log {
    /// Closes the active segment and goes on in the next one. Nothing happens if the active one holds nothing.
    ///
    /// # Errors
    /// [`Error::Full`] if there is no space for another segment; [`Error::Io`]; [`Error::Poisoned`];
    /// [`Error::Closed`].
    pub fn rotate(&self) -> Result<()> {
        loop {
            self.check_open()?;
            let mut preparer = self.preparer.lock();
            let mut writer = self.writer.lock();
            self.drain(&mut writer)?;
            if writer.active.cursor <= BLOCK_BYTES {
                return Ok(());
            }
            // What is left of the segment was counted as free: it has to be, before it is left behind.
            let charge = Charge { words: 0, blocks: writer.active.usable_blocks() };
            let taken =
                if self.ready.lock().is_empty() { Err(Short::Disk) } else { self.admission.take(charge, 0) };
            match taken {
                Ok(_) => return self.next_segment(&mut writer),
                Err(Short::Gate) => {
                    drop((writer, preparer));
                    self.room.wait();
                }
                Err(_) => {
                    drop(writer);
                    self.prepare_one(&mut preparer)?;
                }
            }
        }
    }

    /// Keeps segments from being written to again once they are removed: who opens segments by their names, and reads
    /// them while the log goes on, holds this from before it lists them.
    pub fn hold_segments(&self) -> Hold {
        let _turn = self.removing.lock();
        self.spares.hold()
    }

    /// Removes segments whose entries are all below `seq`, oldest first, and never the active one. Returns
    /// their names. A log that was full can go on with the space. Some are kept under another name, and become new
    /// segments.
    ///
    /// # Errors
    /// [`Error::Io`] if a segment cannot be removed; those before it are. The log goes on.
    pub fn remove_before(&self, seq: u64) -> Result<Vec<String>> {
        self.remove_while(|segment| segment.last_seq < seq)
    }

    /// The first sequence beyond the oldest segment; `None` if that is the active one. [`Log::remove_before`] it, or
    /// [`Log::archive_before`] it, is about that segment alone.
    #[must_use]
    pub fn end_of_oldest(&self) -> Option<u64> {
        self.retired.lock().first().map(|segment| segment.last_seq.saturating_add(1))
    }

    /// Removes segments as long as `may_go` says yes, oldest first, and never the active one.
    pub(crate) fn remove_while(&self, may_go: impl Fn(&Retired) -> bool) -> Result<Vec<String>> {
        let mut removed = Vec::new();
        let _turn = self.removing.lock();
        loop {
            // A log always has a frame that no crash takes back, by which the next open knows that it was there.
            let has_open_frame = self.writer.lock().active.has_open_frame;
            let durable = self.durable_seq();
            let is_last = |segment: &Retired| !has_open_frame && durable <= segment.last_seq;
            let oldest = self.retired.lock().first().filter(|segment| may_go(segment)).cloned();
            let oldest = oldest.filter(|segment| !is_last(segment));
            let Some(Retired { name, bytes, .. }) = oldest else { break };
            let is_spare = bytes == self.options.segment_bytes && !self.is_full() && self.spares.is_wanted();
            let spare = is_spare.then(|| Spare { name: spare_name(&name), bytes });
            match &spare {
                Some(spare) => self.dir.rename(&name, &spare.name),
                None => self.dir.remove(&name),
            }
            .map_err(|source| Error::io(&name, 0, source))?;
            self.retired.lock().remove(0);
            // One at a time: of several names that are removed without a sync in between, a crash may bring back
            // any, and the log would have a hole.
            self.dir.sync_dir().map_err(|source| self.fail(Error::io(&name, 0, source)))?;
            // Written to only once nothing brings its name back.
            spare.into_iter().for_each(|spare| self.spares.keep(spare));
            removed.push(name);
        }
        if !removed.is_empty() {
            self.preparer.lock().retry_at = None;
        }
        Ok(removed)
    }

    /// Makes everything durable and closes the log, so that the next open finds a clean end. Prepared segments
    /// are removed. Permits that others hold are waited for; appends get [`Error::Closed`] from here on.
    ///
    /// # Errors
    /// [`Error::Io`] if a write or sync fails; [`Error::Poisoned`]: nothing was written. Closing a closed log is
    /// no error.
    pub fn close(&self) -> Result<()> {
        let mut preparer = self.preparer.lock();
        if self.closed.load(Ordering::Acquire) {
            return Ok(());
        }
        self.closing.store(true, Ordering::Release);
        self.wait_until_quiet(true)?;
        self.sync_to(self.last_seq())?;
        let mut writer = self.writer.lock();
        if self.is_needless(&writer) {
            // The close frame of the life before is the end of the log again.
            self.closed.store(true, Ordering::Release);
            let name = writer.active.name.clone();
            drop(writer);
            self.dir.remove(&name).map_err(|source| Error::io(&name, 0, source))?;
            return self.tidy(&mut preparer);
        }
        self.write_bare_frame(&mut writer, FrameKind::Close, &[])?;
        for (file, name) in writer.take_unsynced() {
            file.sync_data().map_err(|source| self.fail(Error::io(&name, 0, source)))?;
        }
        self.closed.store(true, Ordering::Release);
        drop(writer);
        self.tidy(&mut preparer)
    }

    /// Whether this life gave no sequence after one that ended cleanly, so that nothing of it needs to stay: a program
    /// that opens a log again and again would gather segments otherwise.
    fn is_needless(&self, writer: &Writer) -> bool {
        let Some((name, first_seq)) = &self.needless else { return false };
        *name == writer.active.name && *first_seq == self.next_seq() && !self.retired.lock().is_empty()
    }

    /// Removes segments that were prepared.
    fn tidy(&self, preparer: &mut Preparer) -> Result<()> {
        preparer.give_up();
        for segment in self.ready.lock().drain(..) {
            preparer.discard(&segment);
        }
        self.spares.remove_all(&*self.dir);
        self.parking.wake();
        // The names that came and went matter to nobody, but a clean directory is tidy.
        preparer.sync_names()
    }
}
