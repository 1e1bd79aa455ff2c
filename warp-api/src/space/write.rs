//! Putting and deleting keys.

use crate::error::Result;
use crate::limits;
use crate::links::{LinkChange, PUT_LINK_STRENGTH, Pair};
use crate::put_options::PutOptions;
use crate::read::Found;
use crate::residency::hints_of;
use crate::space::{Space, unconditional};
use crate::types::Seq;
use crate::write::{Change, Op, Written, put};

impl Space<'_> {
    pub(crate) fn put(self, key: &[u8], value: &[u8]) -> Result<Seq> {
        limits::check_key(key)?;
        limits::check_value(value)?;
        let written = self.write_op(put(self.keyspace, key, value, 0), self.own_terms())?;
        self.shared.counters.puts.add(1);
        Ok(Seq(written.seq))
    }

    pub(crate) fn put_with(self, key: &[u8], value: &[u8], options: &PutOptions) -> Result<Written> {
        limits::check_key(key)?;
        limits::check_value(value)?;
        let shared = self.shared;
        let terms = self.terms(shared.durability_of(options), options.no_wait);
        let (deadline, hints) = (shared.deadline(options.ttl), hints_of(options));
        let op = Op { keyspace: self.keyspace, key, change: Change::Put { value, deadline, hints } };
        let written = if options.entangled_with.is_empty() {
            self.write_op(op, terms)?
        } else {
            self.check_writable()?;
            let partners = options.entangled_with.iter();
            let pairs: Vec<Pair<'_>> =
                partners.map(|partner| Pair { keyspace: self.keyspace, key, partner }).collect();
            let declare = LinkChange::Declare(PUT_LINK_STRENGTH);
            let seq = shared.change_links(&pairs, declare, &[op], &[], terms)?.ok_or_else(unconditional)?;
            Written { seq, shard: shared.table.shard_of(self.key(key).hash) }
        };
        shared.counters.puts.add(1);
        Ok(written)
    }

    /// Deletes a key, and returns what it had; `None`, with nothing written, if it had no value.
    pub(crate) fn delete(self, key: &[u8]) -> Result<Option<(Found, Written)>> {
        self.check_writable()?;
        let deleted = self.shared.delete_one(self.keyspace, key, self.own_terms())?;
        self.shared.counters.deletes.add(u64::from(deleted.is_some()));
        Ok(deleted)
    }

    pub(crate) fn clear(self) -> Result<Seq> {
        self.check()?;
        Ok(Seq(self.shared.clear_keyspace(self.keyspace, self.own_terms())?))
    }
}
