//! A group of writes that is made as a whole.

use crate::error::Result;
use crate::keyspace::Keyspace;
use crate::limits;
use crate::put_options::PutOptions;
use crate::read::Found;
use crate::types::Seq;

/// Writes that become visible and durable together: after a crash all of them are there, or none.
///
/// They may be of several keyspaces. What names none is in that of the handle that writes the batch.
///
/// They share one sequence number and are applied in the order in which they were added, so that of two writes
/// of one key the later one counts.
///
/// ```
/// use warp_api::{WarpEngine, WriteBatch};
///
/// # fn main() -> warp_api::Result<()> {
/// let engine = WarpEngine::in_memory();
/// let mut batch = WriteBatch::new();
/// batch.put("from", "90").put("to", "110").delete("pending");
/// engine.write(&batch)?;
/// assert_eq!(engine.get("to")?.as_deref(), Some(&b"110"[..]));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default)]
pub struct WriteBatch {
    pub(crate) writes: Vec<BatchWrite>,
    pub(crate) conditions: Vec<Condition>,
}

/// What a batch requires of a key.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Expected<'a> {
    /// The key has no value.
    Absent,
    /// The key has a value.
    Present,
    /// The key has this value.
    Value(&'a [u8]),
    /// The key has a value, which was written at this sequence number.
    Seq(Seq),
}

/// Which keyspace a write or a requirement is about.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Target {
    /// That of the handle that writes the batch.
    Handle,
    /// One by its number, which means something to that engine only.
    Keyspace { engine: u64, number: u32 },
}

impl Target {
    fn of(keyspace: &Keyspace) -> Target {
        let (engine, number) = keyspace.place();
        Target::Keyspace { engine, number }
    }
}

/// A condition that holds its own bytes.
#[derive(Clone, Debug)]
pub(crate) struct Condition {
    pub(crate) target: Target,
    pub(crate) key: Vec<u8>,
    wanted: Wanted,
}

#[derive(Clone, Debug)]
enum Wanted {
    Absent,
    Present,
    Value(Vec<u8>),
    Seq(Seq),
}

impl Condition {
    pub(crate) fn holds(&self, found: Option<&Found>) -> bool {
        match (&self.wanted, found) {
            (Wanted::Absent, found) => found.is_none(),
            (_, None) => false,
            (Wanted::Present, Some(_)) => true,
            (Wanted::Value(value), Some(found)) => found.value[..] == value[..],
            (Wanted::Seq(seq), Some(found)) => found.seq == seq.0,
        }
    }
}

#[derive(Clone, Debug)]
pub(crate) struct BatchWrite {
    pub(crate) target: Target,
    pub(crate) key: Vec<u8>,
    pub(crate) change: BatchChange,
}

#[derive(Clone, Debug)]
pub(crate) enum BatchChange {
    Put { value: Vec<u8>, options: PutOptions },
    Delete,
}

impl WriteBatch {
    /// A batch without writes.
    #[must_use]
    pub fn new() -> WriteBatch {
        WriteBatch::default()
    }

    /// Adds a put.
    pub fn put(&mut self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> &mut WriteBatch {
        self.put_with(key, value, &PutOptions::default())
    }

    /// Adds a put with options. A batch is as durable as the strongest of the handle that writes it and the puts in
    /// it ask, and does not wait if one of them asks not to.
    pub fn put_with(
        &mut self,
        key: impl AsRef<[u8]>,
        value: impl AsRef<[u8]>,
        options: &PutOptions,
    ) -> &mut WriteBatch {
        self.add_put(Target::Handle, key.as_ref(), value.as_ref(), options.clone())
    }

    /// Adds a put into a keyspace.
    ///
    /// ```
    /// use warp_api::{WarpEngine, WriteBatch};
    ///
    /// # fn main() -> warp_api::Result<()> {
    /// let engine = WarpEngine::in_memory();
    /// let (waiting, done) = (engine.keyspace("waiting")?, engine.keyspace("done")?);
    /// waiting.put("job", "print")?;
    /// let mut batch = WriteBatch::new();
    /// batch.delete_in(&waiting, "job").put_in(&done, "job", "printed");
    /// engine.write(&batch)?;
    /// assert!(waiting.is_empty()? && done.contains_key("job")?);
    /// # Ok(())
    /// # }
    /// ```
    pub fn put_in(
        &mut self,
        keyspace: &Keyspace,
        key: impl AsRef<[u8]>,
        value: impl AsRef<[u8]>,
    ) -> &mut WriteBatch {
        self.add_put(Target::of(keyspace), key.as_ref(), value.as_ref(), PutOptions::default())
    }

    /// Adds a put into a keyspace with options, which are taken as by [`put_with`](WriteBatch::put_with).
    pub fn put_in_with(
        &mut self,
        keyspace: &Keyspace,
        key: impl AsRef<[u8]>,
        value: impl AsRef<[u8]>,
        options: &PutOptions,
    ) -> &mut WriteBatch {
        self.add_put(Target::of(keyspace), key.as_ref(), value.as_ref(), options.clone())
    }

    /// Adds a deletion; of a key that is not there, too.
    pub fn delete(&mut self, key: impl AsRef<[u8]>) -> &mut WriteBatch {
        self.add(Target::Handle, key.as_ref(), BatchChange::Delete)
    }

    /// Adds a deletion from a keyspace.
    pub fn delete_in(&mut self, keyspace: &Keyspace, key: impl AsRef<[u8]>) -> &mut WriteBatch {
        self.add(Target::of(keyspace), key.as_ref(), BatchChange::Delete)
    }

    fn add_put(&mut self, target: Target, key: &[u8], value: &[u8], options: PutOptions) -> &mut WriteBatch {
        self.add(target, key, BatchChange::Put { value: value.to_vec(), options })
    }

    fn add(&mut self, target: Target, key: &[u8], change: BatchChange) -> &mut WriteBatch {
        self.writes.push(BatchWrite { target, key: key.to_vec(), change });
        self
    }

    /// Requires that a key is as expected when the batch is written; otherwise nothing of it is, and the answer is
    /// `Conflict`.
    ///
    /// ```
    /// use warp_api::{ErrorKind, Expected, WarpEngine, WriteBatch};
    ///
    /// # fn main() -> warp_api::Result<()> {
    /// let engine = WarpEngine::in_memory();
    /// let mut first = WriteBatch::new();
    /// first.require("owner", Expected::Absent).put("owner", "ada");
    /// engine.write(&first)?;
    /// assert_eq!(engine.write(&first).unwrap_err().kind(), ErrorKind::Conflict);
    /// # Ok(())
    /// # }
    /// ```
    pub fn require(&mut self, key: impl AsRef<[u8]>, expected: Expected<'_>) -> &mut WriteBatch {
        self.add_condition(Target::Handle, key.as_ref(), expected)
    }

    /// As [`require`](WriteBatch::require), of a key of a keyspace.
    pub fn require_in(
        &mut self,
        keyspace: &Keyspace,
        key: impl AsRef<[u8]>,
        expected: Expected<'_>,
    ) -> &mut WriteBatch {
        self.add_condition(Target::of(keyspace), key.as_ref(), expected)
    }

    fn add_condition(&mut self, target: Target, key: &[u8], expected: Expected<'_>) -> &mut WriteBatch {
        let wanted = match expected {
            Expected::Absent => Wanted::Absent,
            Expected::Present => Wanted::Present,
            Expected::Value(value) => Wanted::Value(value.to_vec()),
            Expected::Seq(seq) => Wanted::Seq(seq),
        };
        self.conditions.push(Condition { target, key: key.to_vec(), wanted });
        self
    }

    /// The number of writes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.writes.len()
    }

    /// Whether there are no writes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.writes.is_empty()
    }

    /// Removes all writes and requirements, so that the batch can be used again.
    pub fn clear(&mut self) {
        self.writes.clear();
        self.conditions.clear();
    }

    pub(crate) fn check(&self) -> Result<()> {
        for condition in &self.conditions {
            limits::check_key(&condition.key)?;
        }
        for write in &self.writes {
            limits::check_key(&write.key)?;
            if let BatchChange::Put { value, .. } = &write.change {
                limits::check_value(value)?;
            }
        }
        Ok(())
    }
}
