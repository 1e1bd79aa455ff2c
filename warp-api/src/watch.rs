//! The change feed: what was written, in order, read from the log.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use warp_core::{Key, Value};
use warp_io::Clock;
use warp_wal::{Follower, Kind};

use crate::error::{Error, ErrorKind, Result};
use crate::feed::Progress;
use crate::floors::DROPPED;
use crate::from_crates::log_error;
use crate::journal::Journal;
use crate::keyspace::{DEFAULT, DEFAULT_NAME, SYSTEM};
use crate::shared::Shared;
use crate::types::Seq;

/// A change of the database, as a [`Watch`] hands it out.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Change {
    /// The sequence number of the write. The changes of a batch share one.
    pub seq: Seq,
    /// The name of the keyspace, also if it was dropped since.
    pub keyspace: Arc<str>,
    /// The key; empty for [`ChangeOp::Clear`].
    pub key: Key,
    /// What became of it.
    pub op: ChangeOp,
    /// When the value that was put expires, or has expired; `None` if never.
    pub expires_at: Option<SystemTime>,
}

/// What a [`Change`] did.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum ChangeOp {
    /// The key has this value: it was put, or changed in any other way, or got another deadline.
    Put(Value),
    /// The key was deleted.
    Delete,
    /// A value was put whose deadline had passed when the change was read: the key has none, unless a later change says
    /// so. The log has no record of the moment at which a value expires, so that a value which was handed out as
    /// [`ChangeOp::Put`] expires without another change: see [`Change::expires_at`].
    Expired,
    /// The keyspace was cleared, or dropped: none of its keys has a value. Handed out whatever the prefix is.
    Clear,
}

/// The changes of a database, or of one keyspace, in the order in which they were made: an iterator that waits for more.
///
/// Got from [`WarpEngine::watch`](crate::WarpEngine::watch), [`WarpEngine::changes_since`](crate::WarpEngine::changes_since)
/// and the same calls of a [`Keyspace`](crate::Keyspace). It reads the log's files, one frame at a time, apart from all
/// writers: a slow or forgotten watch costs them nothing, and holds open one file of the log at most.
///
/// - **Order:** ascending sequence numbers, without a gap, each change once. A batch's changes share its number and come
///   one after the other, in the order in which they were added.
/// - **Only what is durable** is handed out: no crash takes back what was seen here. While a watch waits, the log is synced
///   within the flush interval, whatever durability the writes have; a watch starts no sync of its own, but to find the name of
///   a keyspace that was dropped.
/// - **Resuming**, also after a restart: `changes_since(seq)` with the number of the last change that was dealt with begins
///   behind that number. Who stopped in the middle of a batch resumes with one less, and sees the batch again from its
///   beginning.
/// - **Too slow or too old:** the log is kept as far as the checkpoints need that are kept. A watch that has not come
///   past what is removed with an older one ends with `Lagged`, as a call with a number before it does;
///   [`Error::oldest_seq`](crate::Error::oldest_seq) is where one can go on, after reading the database anew.
/// - **The end:** the iterator ends after an error, when the engine is closed, and, where the engine was opened for reading
///   only, at the end of the log; that of a keyspace's changes ends behind the `Clear` with which it was dropped. It holds
///   the engine open no longer than its handles do. After closing, what was read already is handed out, whole batches;
///   the rest is there after reopening.
///
/// Links, rules and the names of keyspaces are not handed out.
///
/// ```
/// use warp_api::{ChangeOp, Seq, WarpEngine};
///
/// # fn main() -> warp_api::Result<()> {
/// # let scratch = tempfile::tempdir().unwrap();
/// let engine = WarpEngine::open(scratch.path())?;
/// let mut watch = engine.watch("user:")?;
/// engine.put("user:1", "Ada")?;
/// engine.put("other", "not watched")?;
/// let last = engine.delete("user:1")?;
/// let first = watch.next().unwrap()?;
/// assert_eq!((&first.key[..], first.op), (&b"user:1"[..], ChangeOp::Put("Ada".into())));
/// assert_eq!(watch.next().unwrap()?.op, ChangeOp::Delete);
///
/// // From anywhere in the log, and without waiting for more.
/// engine.sync()?;
/// let mut again = engine.changes_since(first.seq, "")?;
/// assert_eq!(&again.try_next()?.unwrap().key[..], b"other");
/// # engine.close()
/// # }
/// ```
pub struct Watch {
    shared: Arc<Shared>,
    follower: Follower,
    /// The keyspace whose changes are wanted, by number and name; `None` for all of them.
    only: Option<(u32, Arc<str>)>,
    prefix: Box<[u8]>,
    /// What was read from the log and is to be handed out next.
    ready: VecDeque<Read>,
    names: BTreeMap<u32, Arc<str>>,
    progress: Progress,
    is_over: bool,
}

/// A change as the log has it.
struct Read {
    seq: u64,
    keyspace: u32,
    key: Key,
    op: ChangeOp,
    deadline: u64,
    is_drop: bool,
}

impl Watch {
    /// Of the changes from now on.
    pub(crate) fn from_now(
        shared: &Arc<Shared>,
        only: Option<(u32, Arc<str>)>,
        prefix: &[u8],
    ) -> Result<Watch> {
        let last_seq = shared.journal.last_seq();
        Watch::new(shared, only, prefix, last_seq)
    }

    /// Of the changes behind `seq`.
    pub(crate) fn since(
        shared: &Arc<Shared>,
        only: Option<(u32, Arc<str>)>,
        prefix: &[u8],
        seq: Seq,
    ) -> Result<Watch> {
        let is_given = match &shared.journal {
            Journal::Disk(log) => seq.0 <= log.last_seq(),
            // Of numbers that were skipped at an open that wrote nothing, one that only reads knows nothing.
            Journal::Memory(_) | Journal::ReadOnly(_) => true,
        };
        if !is_given {
            return Err(Error::invalid("no write has that sequence number yet"));
        }
        let mut watch = Watch::new(shared, only, prefix, seq.0)?;
        watch.follower.find(shared.journal.durable_seq()).map_err(log_error)?;
        Ok(watch)
    }

    fn new(shared: &Arc<Shared>, only: Option<(u32, Arc<str>)>, prefix: &[u8], after: u64) -> Result<Watch> {
        let Some(home) = &shared.home else {
            return Err(Error::new(
                ErrorKind::Unsupported,
                "an engine without files has no log to read changes from",
            ));
        };
        Ok(Watch {
            follower: Follower::new(&*home.log_dir, after.saturating_add(1)),
            only,
            prefix: prefix.into(),
            ready: VecDeque::new(),
            names: BTreeMap::new(),
            progress: shared.waiters.watches.add(after),
            is_over: false,
            shared: Arc::clone(shared),
        })
    }

    /// The next change that is durable by now; `None` if there is none yet, or none ever: [`Watch::is_over`] tells. It
    /// reads the log as far as it has to, and does not wait for anything to be written.
    ///
    /// # Errors
    /// `Lagged` if what comes next is not in the log any more; `Poisoned`, behind the last durable change, if a write or a
    /// sync of the log has failed; `Corrupt`, `Io`, `Unsupported` if it cannot be read. The iteration is over then.
    pub fn try_next(&mut self) -> Result<Option<Change>> {
        let next = self.advance();
        if next.is_err() {
            self.is_over = true;
            self.ready.clear();
        }
        let handed_out = match self.ready.front() {
            Some(read) => read.seq - 1,
            None => self.follower.next_seq() - 1,
        };
        self.progress.set(handed_out);
        next
    }

    /// The next change, for which it waits until it is durable, for `timeout` at most; `None` if there was none by then, or
    /// if there will be none: [`Watch::is_over`] tells.
    ///
    /// # Errors
    /// As [`Watch::try_next`].
    pub fn next_timeout(&mut self, timeout: Duration) -> Result<Option<Change>> {
        let end = self.shared.time.monotonic().saturating_add(timeout);
        loop {
            let next = self.try_next()?;
            let left = end.saturating_sub(self.shared.time.monotonic());
            if next.is_some() || self.is_over || left.is_zero() {
                return Ok(next);
            }
            self.wait(Some(left));
        }
    }

    /// Whether there will be no more: after an error, after the engine was closed, or at the end of what can be had.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.is_over && self.ready.is_empty()
    }

    fn advance(&mut self) -> Result<Option<Change>> {
        loop {
            if let Some(read) = self.ready.pop_front() {
                return self.finish(read).map(Some);
            }
            if self.is_over {
                return Ok(None);
            }
            if self.shared.check_open().is_err() {
                self.is_over = true;
                return Ok(None);
            }
            // Asked before how far it is durable, which a log that has failed is no further later on.
            let writable = self.shared.check_writable();
            if self.read_frame(self.shared.journal.durable_seq())? {
                continue;
            }
            if matches!(self.shared.journal, Journal::ReadOnly(_)) {
                self.is_over = true;
                return Ok(None);
            }
            if let Err(error) = writable
                && error.kind() == ErrorKind::Poisoned
            {
                return Err(error);
            }
            // What is written from here on is synced within the flush interval.
            self.shared.journal.want_sync();
            return Ok(None);
        }
    }

    /// Reads the next frame of the log; `false` if there is none up to `durable`.
    fn read_frame(&mut self, durable: u64) -> Result<bool> {
        let Watch { shared, follower, only, prefix, ready, .. } = self;
        let mut take = |seq: u64, entry: &warp_wal::Entry<'_>| {
            let is_wanted = match only {
                Some((number, _)) => entry.keyspace == *number,
                None => entry.keyspace != SYSTEM,
            };
            if is_wanted {
                ready.extend(read_entry(shared, prefix, seq, entry));
            }
        };
        follower.read(durable, &mut take).map_err(log_error)
    }

    /// The change with its keyspace's name.
    fn finish(&mut self, read: Read) -> Result<Change> {
        let keyspace = self.name(read.keyspace, read.seq)?;
        if read.is_drop && self.only.is_some() {
            self.is_over = true;
        }
        let after = Some(Duration::from_millis(read.deadline)).filter(|after| !after.is_zero());
        Ok(Change {
            seq: Seq(read.seq),
            keyspace,
            key: read.key,
            op: read.op,
            // One that is too far away for the system's clock never comes.
            expires_at: after.and_then(|after| SystemTime::UNIX_EPOCH.checked_add(after)),
        })
    }

    /// The name of a keyspace of which the log speaks at `seq`.
    fn name(&mut self, number: u32, seq: u64) -> Result<Arc<str>> {
        if let Some((_, name)) = &self.only {
            return Ok(Arc::clone(name));
        }
        if let Some(name) = self.names.get(&number) {
            return Ok(Arc::clone(name));
        }
        let name = if number == DEFAULT {
            DEFAULT_NAME.into()
        } else {
            let names = self.shared.names()?;
            match names.iter().find(|(_, of)| *of == number) {
                Some((name, _)) => Arc::clone(name),
                None => self.former_name(number, seq)?,
            }
        };
        self.names.insert(number, Arc::clone(&name));
        Ok(name)
    }

    /// The name of a keyspace that was dropped: the write that did so, which the log has behind `seq`, says it. All such
    /// names are noted on the way. Empty if it cannot be found, as in a log that was written before they were logged.
    fn former_name(&mut self, number: u32, seq: u64) -> Result<Arc<str>> {
        // Dropped a moment ago, perhaps. A log that has failed is read as far as it is durable.
        let synced = self.shared.sync_to(self.shared.journal.last_seq());
        if let Err(error) = synced
            && !matches!(error.kind(), ErrorKind::Io | ErrorKind::Poisoned | ErrorKind::Closed)
        {
            return Err(error);
        }
        let Some(home) = &self.shared.home else { return Ok("".into()) };
        let mut ahead = Follower::new(&*home.log_dir, seq);
        let names = &mut self.names;
        let mut note = |_: u64, entry: &warp_wal::Entry<'_>| {
            if is_drop(entry)
                && let Ok(name) = std::str::from_utf8(entry.key)
            {
                names.insert(entry.keyspace, name.into());
            }
        };
        // What is damaged or gone further on is told when the watch comes there.
        while ahead.read(self.shared.journal.durable_seq(), &mut note).unwrap_or(false) {}
        Ok(self.names.get(&number).cloned().unwrap_or_default())
    }

    /// Waits until there may be more.
    fn wait(&self, timeout: Option<Duration>) {
        let next = self.follower.next_seq();
        let shared = &self.shared;
        let is_over = || shared.journal.durable_seq() >= next || shared.check_writable().is_err();
        if let Some(log) = shared.journal.log() {
            // Its thread may be asleep over writes that nobody wanted synced before the look that came before this.
            log.unpark();
        }
        shared.waiters.watches.wait(timeout, is_over);
    }
}

/// What an entry of the log changed, if it is of interest.
fn read_entry(shared: &Shared, prefix: &[u8], seq: u64, entry: &warp_wal::Entry<'_>) -> Option<Read> {
    let op = match entry.kind {
        Kind::KeyspaceFloor => ChangeOp::Clear,
        Kind::Put | Kind::Delete if !entry.key.starts_with(prefix) => return None,
        Kind::Put if shared.expired(entry.deadline) => ChangeOp::Expired,
        Kind::Put => ChangeOp::Put(entry.value.into()),
        Kind::Delete => ChangeOp::Delete,
        // Where slots are placed and how the load was is nobody's data.
        Kind::SlotMove | Kind::EntropySample => return None,
    };
    let is_clear = op == ChangeOp::Clear;
    let key = if is_clear { Key::default() } else { entry.key.into() };
    let (keyspace, deadline) = (entry.keyspace, entry.deadline);
    Some(Read { seq, keyspace, key, op, deadline, is_drop: is_clear && is_drop(entry) })
}

/// Whether an entry says that its keyspace was dropped; its key is the keyspace's name then.
fn is_drop(entry: &warp_wal::Entry<'_>) -> bool {
    entry.kind == Kind::KeyspaceFloor && entry.value == DROPPED.to_le_bytes()
}

impl Iterator for Watch {
    type Item = Result<Change>;

    /// Waits until a change is durable.
    fn next(&mut self) -> Option<Result<Change>> {
        loop {
            match self.try_next().transpose() {
                None if !self.is_over => self.wait(None),
                next => return next,
            }
        }
    }
}

impl std::iter::FusedIterator for Watch {}

impl Drop for Watch {
    fn drop(&mut self) {
        self.shared.waiters.watches.remove(&self.progress);
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch")
            .field("only", &self.only)
            .field("prefix", &self.prefix)
            .field("next_seq", &self.follower.next_seq())
            .field("is_over", &self.is_over)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_watch_can_go_to_another_thread() {
        fn check<T: Send + 'static>() {}
        check::<super::Watch>();
    }
}
