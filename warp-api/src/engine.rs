//! The handle that programs hold.

use std::io::{BufRead, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use parking_lot::Mutex;
use warp_core::Value;

use crate::background::Threads;
use crate::batch::{BatchChange, WriteBatch};
use crate::checkpoint::CheckpointReport;
use crate::commit::Commit;
use crate::error::{Error, ErrorKind, Result};
use crate::exchange::ExchangeReport;
use crate::from_crates::log_error;
use crate::keyspace::DEFAULT;
use crate::limits;
use crate::links::LinkChange;
use crate::options::{Durability, Options, PutOptions};
use crate::recovery_report::RecoveryReport;
use crate::scan::Scan;
use crate::shared::Shared;
use crate::types::{CasOutcome, Seq, Update};
use crate::verify::VerifyReport;
use crate::write::{Change, Op, Terms, Written, put};

/// The strength of the links that a put declares.
const PUT_LINK_STRENGTH: f64 = 1.0;

/// An open database, or one without files: a handle that is cheap to clone and may be used from any thread.
///
/// Every read and every write of one key is linearizable. A write is acknowledged, by its call returning, as
/// the [`Durability`] of the handle or of the write says. The database is closed by [`WarpEngine::close`], or
/// by dropping the last handle.
///
/// ```
/// use warp_api::WarpEngine;
///
/// # fn main() -> warp_api::Result<()> {
/// # let scratch = tempfile::tempdir().unwrap();
/// # let path = scratch.path();
/// let engine = WarpEngine::open(path)?;
/// engine.put("greeting", "hello")?;
/// assert_eq!(engine.get("greeting")?.as_deref(), Some(&b"hello"[..]));
/// engine.close()
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct WarpEngine {
    pub(crate) shared: Arc<Shared>,
    durability: Durability,
    life: Arc<Life>,
}

/// Ends the engine when the last handle goes.
#[derive(Debug)]
struct Life {
    shared: Arc<Shared>,
    threads: Mutex<Threads>,
}

impl WarpEngine {
    /// Opens the database in the directory at `path` with the default [`Options`]; it is made if there is none.
    ///
    /// # Errors
    /// As [`Options::open`].
    pub fn open(path: impl AsRef<Path>) -> Result<WarpEngine> {
        Options::new().open(path)
    }

    /// An engine without any files: what it holds ends with it.
    #[must_use]
    pub fn in_memory() -> WarpEngine {
        Options::new().in_memory()
    }

    pub(crate) fn new(shared: Arc<Shared>, threads: Threads) -> WarpEngine {
        let life = Life { shared: Arc::clone(&shared), threads: Mutex::new(threads) };
        WarpEngine { durability: shared.options.durability, shared, life: Arc::new(life) }
    }

    /// Closes the database: takes a checkpoint if anything was written since the last, syncs the log, and ends
    /// the background threads. Calls on other handles then answer `Closed`.
    ///
    /// # Errors
    /// `Io`, `Full` or `Poisoned` if the checkpoint or the log could not be written; the database is closed all
    /// the same, and the next open replays the log. `Closed` if it was closed before.
    pub fn close(self) -> Result<()> {
        self.life.end(true)
    }

    /// The same engine, with another default durability for every write made through the returned handle.
    #[must_use]
    pub fn with_durability(&self, durability: Durability) -> WarpEngine {
        WarpEngine { durability, ..self.clone() }
    }

    /// Puts a value, and returns its place in the order of writes.
    ///
    /// # Errors
    /// `Invalid` beyond the limits of keys and values; `Full`, `ReadOnly`, `Poisoned`, `Closed`: nothing was
    /// written. `Io` if a sync failed that the write had to wait for.
    pub fn put(&self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Result<Seq> {
        let (key, value) = (key.as_ref(), value.as_ref());
        limits::check_key(key)?;
        limits::check_value(value)?;
        let shared = &self.shared;
        let written = shared
            .latencies
            .writes
            .around(&shared.time, || shared.write_one(put(key, value, 0), None, self.terms(None, false)))?;
        shared.counters.puts.add(1);
        Ok(Seq(written.ok_or_else(unconditional)?.seq))
    }

    /// Puts a value with options of its own.
    ///
    /// # Errors
    /// As [`WarpEngine::put`]; `Busy` where the options say not to wait.
    pub fn put_with(
        &self,
        key: impl AsRef<[u8]>,
        value: impl AsRef<[u8]>,
        options: &PutOptions,
    ) -> Result<Seq> {
        Ok(Seq(self.put_written(key.as_ref(), value.as_ref(), options)?.seq))
    }

    pub(crate) fn put_written(&self, key: &[u8], value: &[u8], options: &PutOptions) -> Result<Written> {
        limits::check_key(key)?;
        limits::check_value(value)?;
        let shared = &self.shared;
        let terms = self.terms(options.durability, options.no_wait);
        let op = put(key, value, shared.deadline(options.ttl));
        let written = if options.entangled_with.is_empty() {
            let written =
                shared.latencies.writes.around(&shared.time, || shared.write_one(op, None, terms))?;
            written.ok_or_else(unconditional)?
        } else {
            let pairs: Vec<(&[u8], &[u8])> =
                options.entangled_with.iter().map(|partner| (key, partner.as_slice())).collect();
            let declare = LinkChange::Declare(PUT_LINK_STRENGTH);
            let seq = shared.change_links(&pairs, declare, &[op], &[], terms)?.ok_or_else(unconditional)?;
            Written { seq, shard: shared.table.shard_of(shared.key(DEFAULT, key).hash) }
        };
        shared.counters.puts.add(1);
        Ok(written)
    }

    /// The value of a key: a cheap handle, without a copy of large values.
    ///
    /// # Errors
    /// `Closed`; `Io` or `Corrupt` if the value had to be read from a file and could not.
    pub fn get(&self, key: impl AsRef<[u8]>) -> Result<Option<Value>> {
        let shared = &self.shared;
        shared.check_open()?;
        let key = shared.key(DEFAULT, key.as_ref());
        let found = shared.latencies.reads.around(&shared.time, || shared.find_counted(key))?;
        Ok(found.map(|found| found.value))
    }

    /// The values of many keys, in the order of the keys. Not a snapshot: each is as it is when its turn comes.
    ///
    /// # Errors
    /// As [`WarpEngine::get`].
    pub fn multi_get<K: AsRef<[u8]>>(&self, keys: &[K]) -> Result<Vec<Option<Value>>> {
        let shared = &self.shared;
        shared.check_open()?;
        let keys: Vec<_> = keys.iter().map(|key| shared.key(DEFAULT, key.as_ref())).collect();
        shared.prefetch_cold(&keys);
        keys.iter().map(|key| Ok(shared.find_counted(*key)?.map(|found| found.value))).collect()
    }

    /// Whether a key has a value.
    ///
    /// # Errors
    /// As [`WarpEngine::get`].
    pub fn contains_key(&self, key: impl AsRef<[u8]>) -> Result<bool> {
        let shared = &self.shared;
        shared.check_open()?;
        Ok(shared.find_counted(shared.key(DEFAULT, key.as_ref()))?.is_some())
    }

    /// Deletes a key, and returns whether it had a value. If it had none, nothing is written.
    ///
    /// # Errors
    /// As [`WarpEngine::put`] and [`WarpEngine::get`]. A full disk does not refuse deletions as long as the space
    /// that is kept for them lasts.
    pub fn delete(&self, key: impl AsRef<[u8]>) -> Result<bool> {
        let deleted = self.shared.delete_one(DEFAULT, key.as_ref(), self.terms(None, false))?;
        self.shared.counters.deletes.add(u64::from(deleted.is_some()));
        Ok(deleted.is_some())
    }

    /// Gives a key the value `new`, or deletes it if that is `None`, provided that its value is `expected`,
    /// where `None` expects it to have none.
    ///
    /// # Errors
    /// As [`WarpEngine::put`] and [`WarpEngine::get`]. An expectation that does not hold is no error, but
    /// [`CasOutcome::Conflict`].
    pub fn compare_and_swap(
        &self,
        key: impl AsRef<[u8]>,
        expected: Option<&[u8]>,
        new: Option<&[u8]>,
    ) -> Result<CasOutcome> {
        let (shared, key) = (&self.shared, key.as_ref());
        limits::check_key(key)?;
        new.map_or(Ok(()), limits::check_value)?;
        shared.check_writable()?;
        loop {
            let (found, witness) = shared.find_witnessed(shared.key(DEFAULT, key))?;
            if found.as_ref().map(|found| &found.value[..]) != expected {
                return Ok(CasOutcome::Conflict(found.map(|found| found.value)));
            }
            let change = match new {
                Some(value) => Change::Put { value, deadline: 0 },
                None => Change::Delete,
            };
            let op = Op { keyspace: DEFAULT, key, change };
            if let Some(written) = shared.write_one(op, Some(&witness), self.terms(None, false))? {
                self.count_change(new.is_some());
                return Ok(CasOutcome::Swapped(Seq(written.seq)));
            }
            shared.counters.conflicts.add(1);
        }
    }

    /// Replaces a key's value by what `update` makes of it, atomically; returns the value after.
    ///
    /// The closure runs outside all locks, and runs again if the key changed meanwhile; it may call the engine.
    /// A deadline that the key had stays with a new value.
    ///
    /// # Errors
    /// As [`WarpEngine::put`] and [`WarpEngine::get`].
    pub fn update(
        &self,
        key: impl AsRef<[u8]>,
        mut update: impl FnMut(Option<&[u8]>) -> Update,
    ) -> Result<Option<Value>> {
        let (shared, key) = (&self.shared, key.as_ref());
        limits::check_key(key)?;
        shared.check_writable()?;
        loop {
            let (found, witness) = shared.find_witnessed(shared.key(DEFAULT, key))?;
            let decision = update(found.as_ref().map(|found| &found.value[..]));
            let deadline = found.as_ref().map_or(0, |found| found.deadline);
            let (change, after) = match &decision {
                Update::Keep => return Ok(found.map(|found| found.value)),
                Update::Delete if found.is_none() => return Ok(None),
                Update::Delete => (Change::Delete, None),
                Update::Put(value) => {
                    limits::check_value(value)?;
                    (Change::Put { value, deadline }, Some(Value::from(&value[..])))
                }
            };
            let op = Op { keyspace: DEFAULT, key, change };
            if shared.write_one(op, Some(&witness), self.terms(None, false))?.is_some() {
                self.count_change(after.is_some());
                return Ok(after);
            }
            shared.counters.conflicts.add(1);
        }
    }

    /// Makes all writes of a batch, or none of them: after a crash, too. Returns their sequence number; that of
    /// the last write, if there is nothing to write.
    ///
    /// # Errors
    /// As [`WarpEngine::put`]; `Conflict` if a requirement of the batch does not hold. Nothing of the batch was
    /// written then.
    pub fn write(&self, batch: &WriteBatch) -> Result<Seq> {
        self.shared.check_writable()?;
        batch.check()?;
        self.shared.latencies.writes.around(&self.shared.time, || self.write_batch(batch))
    }

    fn write_batch(&self, batch: &WriteBatch) -> Result<Seq> {
        let shared = &self.shared;
        let mut terms = self.terms(None, false);
        let mut ops = Vec::with_capacity(batch.len());
        let mut pairs: Vec<(&[u8], &[u8])> = Vec::new();
        let mut puts = 0;
        for write in &batch.writes {
            let change = match &write.change {
                BatchChange::Delete => Change::Delete,
                BatchChange::Put { value, options } => {
                    terms.durability = terms.durability.stronger(options.durability);
                    terms.no_wait |= options.no_wait;
                    pairs.extend(options.entangled_with.iter().map(|partner| (&write.key[..], &partner[..])));
                    puts += 1;
                    Change::Put { value, deadline: shared.deadline(options.ttl) }
                }
            };
            ops.push(Op { keyspace: DEFAULT, key: &write.key, change });
        }
        pairs.sort_unstable();
        pairs.dedup();
        loop {
            let mut seen = Vec::with_capacity(batch.conditions.len());
            for condition in &batch.conditions {
                let key = shared.key(DEFAULT, &condition.key);
                let (found, witness) = shared.find_witnessed(key)?;
                if !condition.holds(found.as_ref()) {
                    return Err(Error::new(ErrorKind::Conflict, "a requirement of the batch does not hold"));
                }
                seen.push((key, witness));
            }
            let witnesses: Vec<_> = seen.iter().map(|(key, witness)| (*key, witness)).collect();
            let written = if ops.is_empty() {
                Some(shared.nothing_written(terms)?)
            } else if pairs.is_empty() {
                shared.write_all(&ops, &witnesses, terms)?.map(|written| written.seq)
            } else {
                let declare = LinkChange::Declare(PUT_LINK_STRENGTH);
                shared.change_links(&pairs, declare, &ops, &witnesses, terms)?
            };
            if let Some(seq) = written {
                shared.counters.batches.add(1);
                shared.counters.puts.add(puts);
                shared.counters.deletes.add(ops.len() as u64 - puts);
                return Ok(Seq(seq));
            }
            shared.counters.conflicts.add(1);
        }
    }

    /// The number of keys that have a value, exactly: walks all of them.
    ///
    /// # Errors
    /// As [`WarpEngine::get`].
    pub fn len(&self) -> Result<u64> {
        self.shared.check_open()?;
        self.shared.count(DEFAULT)
    }

    /// Whether no key has a value.
    ///
    /// # Errors
    /// As [`WarpEngine::get`].
    pub fn is_empty(&self) -> Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Deletes every key, at once and as a whole. Declared links and rules stay.
    ///
    /// # Errors
    /// As [`WarpEngine::delete`].
    pub fn clear(&self) -> Result<Seq> {
        Ok(Seq(self.shared.clear_keyspace(DEFAULT, self.terms(None, false))?))
    }

    /// All keys with their values, in the order of the keys; see [`Scan`] for what it costs. An error comes as
    /// an item, and ends the iteration.
    #[must_use]
    pub fn iter(&self) -> Scan {
        Scan::new(Arc::clone(&self.shared), |_| true)
    }

    /// Returns once every earlier write, whoever made it, survives a power loss.
    ///
    /// # Errors
    /// `Io` if the sync failed, `Poisoned` if an earlier one did, `Closed`.
    pub fn sync(&self) -> Result<()> {
        self.shared.check_open()?;
        self.shared.journal.sync_to(self.shared.journal.last_seq())
    }

    /// A promise that the write with this sequence number becomes durable; asking starts a sync.
    ///
    /// For a number that was not given yet the promise is broken at once, as `Invalid`.
    pub fn durable(&self, seq: Seq) -> Commit {
        Commit::new(Arc::clone(&self.shared), seq.0)
    }

    /// The last sequence number given.
    #[must_use]
    pub fn last_seq(&self) -> Seq {
        Seq(self.shared.journal.last_seq())
    }

    /// The sequence number up to which every write survives a power loss; 0 for an engine without files.
    #[must_use]
    pub fn durable_seq(&self) -> Seq {
        Seq(self.shared.journal.durable_seq())
    }

    /// Takes a checkpoint now, while reads and writes go on.
    ///
    /// # Errors
    /// `Invalid` for an engine without files; `Io` or `Full` if it could not be written: the checkpoint before
    /// stands, and nothing is lost; `ReadOnly`, `Poisoned`, `Closed`.
    pub fn checkpoint(&self) -> Result<CheckpointReport> {
        self.shared.take_checkpoint()
    }

    /// What the open of this engine found.
    #[must_use]
    pub fn recovery_report(&self) -> &RecoveryReport {
        &self.shared.recovery
    }

    /// Reads every file of the database, checks every checksum, and says what is wrong and where.
    ///
    /// # Errors
    /// `Closed`; `Io` if the directory itself cannot be read. Damage is no error, but in the report.
    pub fn verify(&self) -> Result<VerifyReport> {
        self.shared.verify()
    }

    /// Writes everything that was put, and all declared links and rules, as lines of JSON, without loss.
    ///
    /// # Errors
    /// As [`WarpEngine::get`]; `Io` if `out` fails.
    pub fn export(&self, out: impl Write) -> Result<ExchangeReport> {
        self.shared.export(out)
    }

    /// Reads what [`WarpEngine::export`] wrote. Keys that are there already are overwritten.
    ///
    /// # Errors
    /// As [`WarpEngine::put`]; `Invalid`, with the number of the line, for a line that is none of an export's.
    /// What the lines before it said may have been written.
    pub fn import(&self, lines: impl BufRead) -> Result<ExchangeReport> {
        self.shared.import(lines, self.terms(None, false))
    }

    /// Does what is due of the background work of an engine that was opened with
    /// [`Background::Stepped`](crate::Background::Stepped). Returns how long nothing more will be due if
    /// nothing is written.
    pub fn step(&self) -> Duration {
        self.shared.step()
    }

    /// Threads of the engine's own.
    pub(crate) fn threads(&self) -> usize {
        self.shared.running.load(Ordering::Relaxed)
    }

    pub(crate) fn terms(&self, durability: Option<Durability>, no_wait: bool) -> Terms {
        Terms { durability: durability.unwrap_or(self.durability), no_wait }
    }

    fn count_change(&self, was_put: bool) {
        let counters = &self.shared.counters;
        let counter = if was_put { &counters.puts } else { &counters.deletes };
        counter.add(1);
    }
}

/// A write without a condition never fails one.
pub(crate) fn unconditional() -> Error {
    Error::new(ErrorKind::Conflict, "the write was refused")
}

impl Life {
    /// Ends the engine, once; `checkpoint` says whether one is taken first.
    fn end(&self, checkpoint: bool) -> Result<()> {
        let shared = &self.shared;
        let mut threads = self.threads.lock();
        shared.check_open()?;
        // The worker goes first: a checkpoint of its own is then either taken or not begun. The log's thread stays
        // until the end, for writes that others make meanwhile.
        threads.stop_worker(shared);
        let taken = match (&shared.home, shared.journal.log()) {
            (Some(_), Some(log)) if checkpoint && !log.is_poisoned() => {
                shared.take_checkpoint().map(|_| shared.merge_if_due())
            }
            _ => Ok(()),
        };
        threads.stop(shared);
        shared.closed.store(true, Ordering::Relaxed);
        let closed = shared.journal.log().map_or(Ok(()), |log| log.close().map_err(log_error));
        shared.waiters.wake_all();
        if let Some(home) = &shared.home {
            drop(home.lock.lock().take());
        }
        taken.and(closed)
    }
}

impl Drop for Life {
    fn drop(&mut self) {
        let checkpoint = self.shared.options.checkpoint_on_drop;
        if let Err(error) = self.end(checkpoint)
            && error.kind() != ErrorKind::Closed
        {
            tracing::error!(%error, "closing the engine failed");
        }
    }
}
