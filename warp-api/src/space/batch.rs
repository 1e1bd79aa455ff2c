//! Writing a batch.

use crate::batch::{BatchChange, Target, WriteBatch};
use crate::error::{Error, ErrorKind, Result};
use crate::links::{LinkChange, PUT_LINK_STRENGTH, Pair};
use crate::residency::hints_of;
use crate::space::Space;
use crate::types::Seq;
use crate::write::{Change, Op, Terms};

/// A batch as it is written: into which keyspaces, on which terms, with which links.
struct Prepared<'a> {
    ops: Vec<Op<'a>>,
    pairs: Vec<Pair<'a>>,
    terms: Terms,
    puts: u64,
}

impl Space<'_> {
    pub(crate) fn write(self, batch: &WriteBatch) -> Result<Seq> {
        self.check_writable()?;
        batch.check()?;
        self.shared.latencies.writes.around(&self.shared.time, || self.write_batch(batch))
    }

    fn write_batch(self, batch: &WriteBatch) -> Result<Seq> {
        let shared = self.shared;
        let Prepared { ops, pairs, terms, puts } = self.prepare(batch)?;
        loop {
            let mut seen = Vec::with_capacity(batch.conditions.len());
            for condition in &batch.conditions {
                let key = shared.key(self.resolve(condition.target)?, &condition.key);
                let (found, witness) = shared.find_witnessed(key)?;
                if !condition.holds(found.as_ref()) {
                    return Err(Error::new(ErrorKind::Conflict, "a requirement of the batch does not hold"));
                }
                seen.push((key, witness));
            }
            let witnesses: Vec<_> = seen.iter().map(|(key, witness)| (*key, witness)).collect();
            let written = if ops.is_empty() {
                // Looked at once more: each held when it was read, and so all of them together.
                if shared.all_hold(&witnesses) { Some(shared.nothing_written(None, terms)?) } else { None }
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

    fn prepare<'b>(self, batch: &'b WriteBatch) -> Result<Prepared<'b>> {
        let mut terms = self.own_terms();
        let mut ops = Vec::with_capacity(batch.len());
        let mut pairs: Vec<Pair<'_>> = Vec::new();
        let mut puts = 0;
        for write in &batch.writes {
            let (keyspace, key) = (self.resolve(write.target)?, &write.key[..]);
            let change = match &write.change {
                BatchChange::Delete => Change::Delete,
                BatchChange::Put { value, options } => {
                    terms.durability = terms.durability.stronger(self.shared.durability_of(options));
                    terms.no_wait |= options.no_wait;
                    pairs.extend(options.entangled_with.iter().map(|partner| Pair {
                        keyspace,
                        key,
                        partner,
                    }));
                    puts += 1;
                    let hints = hints_of(options);
                    Change::Put { value, deadline: self.shared.deadline(options.ttl), hints }
                }
            };
            ops.push(Op { keyspace, key, change });
        }
        pairs.sort_unstable();
        pairs.dedup();
        Ok(Prepared { ops, pairs, terms, puts })
    }

    /// The keyspace that a write or a requirement of a batch is about.
    fn resolve(self, target: Target) -> Result<u32> {
        match target {
            Target::Handle => Ok(self.keyspace),
            Target::Keyspace { engine, number } if engine == self.shared.id => {
                self.shared.check_keyspace(number)?;
                Ok(number)
            }
            Target::Keyspace { .. } => {
                Err(Error::invalid("a keyspace in the batch belongs to another engine"))
            }
        }
    }
}
