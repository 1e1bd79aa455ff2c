//! Writes: admitted, then numbered, logged and put into the table under their keys' locks, then acknowledged.

use std::cell::Cell;
use std::collections::HashSet;

use warp_core::{Guard, KeyRef, Prepared};
use warp_wal::{Admit, Encoded, Kind};

use crate::error::{Error, ErrorKind, Result};
use crate::floors::DROPPED;
use crate::from_crates::table_full;
use crate::journal::Place;
use crate::keyspaces::dropped;
use crate::options::Durability;
use crate::read::{ENTRY_BYTES, Found, Witness};
use crate::shared::Shared;
use crate::types::Level;

/// One change of one key.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Op<'a> {
    pub(crate) keyspace: u32,
    pub(crate) key: &'a [u8],
    pub(crate) change: Change<'a>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Change<'a> {
    /// The deadline is in Unix milliseconds; 0 for none.
    Put {
        value: &'a [u8],
        deadline: u64,
        hints: Hints,
    },
    Delete,
}

/// What a put says of how its value is going to be used.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Hints {
    /// The mass with which its entry begins, if it is not the usual one.
    pub(crate) mass: Option<u32>,
    /// Whether the key is to stay in memory; `None` to leave that as it is.
    pub(crate) pin: Option<bool>,
}

/// How a write waits, and when it is acknowledged.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms {
    pub(crate) durability: Durability,
    pub(crate) no_wait: bool,
}

/// Where a write was made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Written {
    pub(crate) seq: u64,
    pub(crate) shard: u16,
}

/// Encoding buffers larger than this are given back after use, in bytes.
const ENCODED_KEPT_BYTES_MAX: usize = 1 << 20;

thread_local! {
    static ENCODED: Cell<Encoded> = Cell::new(Encoded::default());
}

/// Runs `f` with this thread's encoding buffer, which is taken out meanwhile: whoever is told of an event in between, or
/// ends with the thread, may write as well.
fn with_encoded<R>(f: impl FnOnce(&mut Encoded) -> R) -> R {
    let mut encoded = ENCODED.try_with(Cell::take).unwrap_or_default();
    let answer = f(&mut encoded);
    encoded.shrink(ENCODED_KEPT_BYTES_MAX);
    // A thread that ends keeps nothing.
    let _ = ENCODED.try_with(|kept| kept.set(encoded));
    answer
}

impl<'a> Op<'a> {
    pub(crate) fn log_entry(&self, shard: u16) -> warp_wal::Entry<'a> {
        let (kind, value, deadline) = match self.change {
            Change::Put { value, deadline, .. } => (Kind::Put, value, deadline),
            Change::Delete => (Kind::Delete, &[][..], 0),
        };
        let level = Level::Hot.code();
        warp_wal::Entry { kind, keyspace: self.keyspace, shard, level, deadline, key: self.key, value }
    }

    /// Bytes of memory that the entry will take, about.
    fn memory_bytes(&self) -> usize {
        let value = match self.change {
            Change::Put { value, .. } => value.len(),
            Change::Delete => 0,
        };
        ENTRY_BYTES + self.key.len() + value
    }

    /// Deletions may use the space that is kept in reserve: they are how a full disk is emptied.
    fn admit(&self, terms: Terms) -> Admit {
        Admit { reserve: matches!(self.change, Change::Delete), wait: !terms.no_wait }
    }
}

impl Shared {
    /// Makes one change, and returns once it is as durable as the terms ask. `None`, with nothing written, if
    /// there is a witness and the key is not as it saw it.
    pub(crate) fn write_one(
        &self,
        op: Op<'_>,
        witness: Option<&Witness>,
        terms: Terms,
    ) -> Result<Option<Written>> {
        self.check_open()?;
        let key = self.key(op.keyspace, op.key);
        let _passing = self.admit_memory(op.memory_bytes(), op.admit(terms))?;
        let mut prepared = self.prepare(key, &op)?;
        let written = with_encoded(|encoded| {
            loop {
                let shard = self.table.shard_of(key.hash);
                self.journal.encode(encoded, [op.log_entry(shard)])?;
                let leave = self.journal.admit(encoded, op.admit(terms))?;
                let mut guard = self.table.lock(key.hash);
                if guard.shard(key.hash) != shard {
                    // The slot moved since the record was encoded, which names its shard.
                    continue;
                }
                if self.floors.is_dropped(op.keyspace) {
                    return Err(dropped());
                }
                if let Some(witness) = witness
                    && !self.holds(witness, key)
                {
                    return Ok(None);
                }
                let place = self.journal.reserve(leave, encoded);
                self.apply(&mut guard, key, &op, prepared.take(), &place);
                let written = Written { seq: place.seq(), shard };
                drop(place);
                drop(guard);
                return Ok::<_, Error>(Some(written));
            }
        })?;
        if let Some(written) = written {
            self.note_write(key.hash, &op);
            self.acknowledge_written(written.seq, terms)?;
        }
        Ok(written)
    }

    /// Makes all the changes as one, under one sequence number, in the order given. `None`, with nothing
    /// written, if one of the witnesses' keys is not as it was seen.
    pub(crate) fn write_all(
        &self,
        ops: &[Op<'_>],
        witnesses: &[(KeyRef<'_>, &Witness)],
        terms: Terms,
    ) -> Result<Option<Written>> {
        self.check_open()?;
        let ops = last_of_each_key(ops);
        let admit = Admit { reserve: ops.iter().all(|op| op.admit(terms).reserve), wait: !terms.no_wait };
        let _passing = self.admit_memory(ops.iter().map(Op::memory_bytes).sum(), admit)?;
        let keys: Vec<KeyRef<'_>> = ops.iter().map(|op| self.key(op.keyspace, op.key)).collect();
        let hashes: Vec<u64> =
            keys.iter().map(|key| key.hash).chain(witnesses.iter().map(|(key, _)| key.hash)).collect();
        let mut prepared: Vec<_> =
            ops.iter().zip(&keys).map(|(op, key)| self.prepare(*key, op)).collect::<Result<_>>()?;
        let written = with_encoded(|encoded| {
            loop {
                let shards: Vec<u16> = keys.iter().map(|key| self.table.shard_of(key.hash)).collect();
                self.journal
                    .encode(encoded, ops.iter().zip(&shards).map(|(op, shard)| op.log_entry(*shard)))?;
                let leave = self.journal.admit(encoded, admit)?;
                let mut guard = self.table.lock_many(&hashes);
                if keys.iter().zip(&shards).any(|(key, shard)| guard.shard(key.hash) != *shard) {
                    continue;
                }
                if keys.iter().any(|key| self.floors.is_dropped(key.keyspace)) {
                    return Err(dropped());
                }
                if !self.all_hold(witnesses) {
                    return Ok(None);
                }
                let place = self.journal.reserve(leave, encoded);
                for ((op, key), prepared) in ops.iter().zip(&keys).zip(&mut prepared) {
                    self.apply(&mut guard, *key, op, prepared.take(), &place);
                }
                let written =
                    Written { seq: place.seq(), shard: shards.first().copied().unwrap_or_default() };
                drop(place);
                drop(guard);
                return Ok::<_, Error>(Some(written));
            }
        })?;
        if let Some(written) = written {
            for (op, key) in ops.iter().zip(&keys) {
                self.note_write(key.hash, op);
            }
            self.acknowledge(written.seq, terms)?;
        }
        Ok(written)
    }

    /// What a call that found nothing to change returns: the state that it found is as durable as the terms ask. That is what the
    /// write with the sequence `found` has left, or any write until now.
    pub(crate) fn nothing_written(&self, found: Option<u64>, terms: Terms) -> Result<u64> {
        let seq = self.journal.last_seq();
        self.acknowledge(found.unwrap_or(seq), terms)?;
        Ok(seq)
    }

    /// Whether all the keys are still as their witnesses saw them, at this moment.
    pub(crate) fn all_hold(&self, witnesses: &[(KeyRef<'_>, &Witness)]) -> bool {
        witnesses.iter().all(|(key, witness)| self.holds(witness, *key))
    }

    /// Deletes a key that is there; `None`, with nothing written, if it is not.
    pub(crate) fn delete_one(
        &self,
        keyspace: u32,
        key: &[u8],
        terms: Terms,
    ) -> Result<Option<(Found, Written)>> {
        loop {
            let (found, witness) = self.find_witnessed(self.key(keyspace, key))?;
            let Some(found) = found else {
                // The deletion that took the key is as durable as this one was asked to be.
                self.nothing_written(None, terms)?;
                return Ok(None);
            };
            let op = Op { keyspace, key, change: Change::Delete };
            if let Some(written) = self.write_one(op, Some(&witness), terms)? {
                return Ok(Some((found, written)));
            }
        }
    }

    /// Empties a keyspace: raises its floor above everything that is in it.
    pub(crate) fn clear_keyspace(&self, keyspace: u32, terms: Terms) -> Result<u64> {
        self.check_open()?;
        let seq = self.raise_floor(keyspace, "", None, terms)?.ok_or_else(dropped)?;
        self.remove_below_floor(keyspace, seq);
        self.acknowledge(seq, terms)?;
        Ok(seq)
    }

    /// Raises a keyspace's floor to the sequence of this write; or for good, together with a change that takes the
    /// keyspace's name away. `None`, with nothing written, if that change's witness does not hold. `name` is that of a
    /// keyspace that is dropped: whoever reads the log later does not find it anywhere else.
    pub(crate) fn raise_floor(
        &self,
        keyspace: u32,
        name: &str,
        unnamed: Option<(Op<'_>, &Witness)>,
        terms: Terms,
    ) -> Result<Option<u64>> {
        let mut prepared = match unnamed {
            Some((op, _)) => self.prepare(self.key(op.keyspace, op.key), &op)?,
            None => None,
        };
        let stored_floor = DROPPED.to_le_bytes();
        let entry = warp_wal::Entry {
            kind: Kind::KeyspaceFloor,
            keyspace,
            shard: 0,
            level: Level::Hot.code(),
            deadline: 0,
            key: name.as_bytes(),
            value: if unnamed.is_some() { &stored_floor } else { &[] },
        };
        with_encoded(|encoded| {
            loop {
                let named = unnamed.map(|(op, witness)| (op, witness, self.key(op.keyspace, op.key)));
                let shard = named.map_or(0, |(_, _, key)| self.table.shard_of(key.hash));
                let entries = unnamed.map(|(op, _)| op.log_entry(shard)).into_iter().chain([entry]);
                self.journal.encode(encoded, entries)?;
                let leave = self.journal.admit(encoded, Admit { reserve: true, wait: !terms.no_wait })?;
                let mut guard = self.table.lock_all();
                if let Some((_, witness, key)) = named {
                    if guard.shard(key.hash) != shard {
                        continue;
                    }
                    if !self.holds(witness, key) {
                        return Ok(None);
                    }
                }
                // Behind the witness: who drops what another thread has dropped meanwhile looks at the names again.
                if self.floors.is_dropped(keyspace) {
                    return Err(dropped());
                }
                let place = self.journal.reserve(leave, encoded);
                let seq = place.seq();
                if let Some((op, _, key)) = named {
                    self.apply(&mut guard, key, &op, prepared.take(), &place);
                }
                let floor = if unnamed.is_some() { DROPPED } else { seq };
                self.floors.raise(keyspace, floor, seq);
                drop(place);
                return Ok(Some(seq));
            }
        })
    }

    /// Makes the entry of a change ready, before any lock is taken; `None` if the change leaves none.
    pub(crate) fn prepare(&self, key: KeyRef<'_>, op: &Op<'_>) -> Result<Option<Prepared<'_>>> {
        let prepared = match op.change {
            Change::Put { value, deadline, hints } => {
                self.table.prepare(key, value, deadline).map(|mut prepared| {
                    if let Some(mass) = hints.mass {
                        prepared.set_mass(mass);
                    }
                    prepared
                })
            }
            // Nothing outlives an engine without files, so that nothing needs to remember the deletion.
            Change::Delete if self.journal.is_memory() => return Ok(None),
            Change::Delete => self.table.prepare_tombstone(key),
        };
        prepared.map(Some).map_err(table_full)
    }

    pub(crate) fn apply(
        &self,
        guard: &mut Guard<'_>,
        key: KeyRef<'_>,
        op: &Op<'_>,
        prepared: Option<Prepared<'_>>,
        place: &Place<'_>,
    ) {
        let Some(prepared) = prepared else {
            guard.remove(key);
            return;
        };
        let former = guard.put(prepared, place.seq());
        if let Change::Put { deadline, .. } = op.change {
            self.expiry.note(key.hash, deadline, former.map(|former| former.deadline));
        }
    }

    /// Takes note of a change that was made, for what stays in memory; pins or unpins its key.
    fn note_write(&self, hash: u64, op: &Op<'_>) {
        if let Some(learned) = self.residency.pull.learned() {
            match op.change {
                Change::Put { hints: Hints { mass: None, .. }, .. } => _ = learned.used(hash),
                // The heat with which it begins says more.
                Change::Put { .. } | Change::Delete => learned.forget(hash),
            }
        }
        let bytes = matches!(op.change, Change::Put { .. }).then(|| op.memory_bytes());
        self.residency.rival.changed(hash, bytes);
        match op.change {
            Change::Put { hints: Hints { pin: Some(pin), .. }, .. } => self.pin(hash, op.memory_bytes(), pin),
            Change::Put { .. } => {}
            Change::Delete => self.pin(hash, 0, false),
        }
    }

    /// As [`Shared::acknowledge`], of a write that is made.
    pub(crate) fn acknowledge_written(&self, seq: u64, terms: Terms) -> Result<()> {
        self.acknowledge(seq, terms).map_err(|error| match error.kind() {
            ErrorKind::Io => error,
            // Whichever of the syncs failed: other kinds say that nothing was written.
            _ => Error::new(ErrorKind::Io, "the write is in doubt: it was made, but not synced")
                .caused_by(error),
        })
    }

    /// Returns once everything up to `seq` is as durable as the terms ask.
    fn acknowledge(&self, seq: u64, terms: Terms) -> Result<()> {
        match terms.durability {
            Durability::Sync => self.sync_to(seq),
            Durability::Interval => {
                self.journal.want_sync();
                Ok(())
            }
            Durability::Os => Ok(()),
        }
    }

    /// A deadline `ttl` from now, in Unix milliseconds; rounded up, so that nothing expires early.
    pub(crate) fn deadline(&self, ttl: Option<std::time::Duration>) -> u64 {
        let Some(ttl) = ttl else { return 0 };
        let millis = u64::try_from(ttl.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX);
        // Counted from now, not from when time went on last.
        self.time.go_on().saturating_add(millis).max(1)
    }
}

/// The last change of each key, in their order. Readers would see the others for a moment, under the sequence of the
/// last, and take one for the other.
fn last_of_each_key<'a>(ops: &[Op<'a>]) -> Vec<Op<'a>> {
    let mut seen = HashSet::with_capacity(ops.len());
    let mut last: Vec<Op<'a>> =
        ops.iter().rev().filter(|op| seen.insert((op.keyspace, op.key))).copied().collect();
    last.reverse();
    last
}

/// A put of a plain value.
pub(crate) fn put<'a>(keyspace: u32, key: &'a [u8], value: &'a [u8], deadline: u64) -> Op<'a> {
    Op { keyspace, key, change: Change::Put { value, deadline, hints: Hints::default() } }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_in_the_middle_of_another_has_a_buffer_of_its_own() {
        let is_another = with_encoded(|outer| with_encoded(|inner| !std::ptr::eq(outer, inner)));
        assert!(is_another);
    }
}
