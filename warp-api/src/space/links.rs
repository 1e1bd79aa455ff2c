//! The physics calls of one keyspace: reads and writes that say what they did, and links between its keys.

use std::time::Duration;

use warp_io::Clock;
use warp_physics::{Link, check_strength};

use crate::error::{Error, Result};
use crate::limits;
use crate::links::{Entangled, LinkChange, Pair, QuantumOptions};
use crate::put_options::PutOptions;
use crate::space::{Space, unconditional};
use crate::types::{Deleted, Level, Observed, Seq, ShardId, Stored};

impl Space<'_> {
    pub(crate) fn cosmic_put(self, key: &[u8], value: &[u8], options: &PutOptions) -> Result<Stored> {
        let start = self.shared.time.monotonic();
        let written = self.put_with(key, value, options)?;
        let (seq, shard) = (Seq(written.seq), ShardId(written.shard));
        Ok(Stored { seq, shard, level: Level::Hot, elapsed: self.since(start) })
    }

    pub(crate) fn cosmic_get(self, key: &[u8]) -> Result<Option<Observed>> {
        self.check()?;
        let start = self.shared.time.monotonic();
        let key = self.key(key);
        let Some(found) = self.shared.find_counted(key)? else { return Ok(None) };
        let shard = ShardId(self.shared.table.shard_of(key.hash));
        Ok(Some(Observed { value: found.value, shard, level: found.level, elapsed: self.since(start) }))
    }

    pub(crate) fn cosmic_delete(self, key: &[u8]) -> Result<Deleted> {
        let start = self.shared.time.monotonic();
        let deleted = self.delete(key)?;
        Ok(Deleted {
            existed: deleted.is_some(),
            seq: deleted.as_ref().map(|(_, written)| Seq(written.seq)),
            shard: ShardId(self.shared.table.shard_of(self.key(key).hash)),
            level: deleted.as_ref().map(|(found, _)| found.level),
            elapsed: self.since(start),
        })
    }

    pub(crate) fn quantum_get(self, key: &[u8], options: &QuantumOptions) -> Result<Option<Entangled>> {
        self.check()?;
        check_strength(options.strength_min)
            .map_err(|error| Error::invalid("the least strength is refused").caused_by(error))?;
        self.shared.quantum_get(self.keyspace, key, options)
    }

    pub(crate) fn partners(self, key: &[u8]) -> Result<Vec<Link>> {
        self.check()?;
        let all = QuantumOptions { partners_max: usize::MAX, strength_min: 0.0 };
        self.shared.partners_of(self.keyspace, key, &all)
    }

    pub(crate) fn change_links<K: AsRef<[u8]>>(
        self,
        key: &[u8],
        partners: &[K],
        change: LinkChange,
    ) -> Result<Seq> {
        limits::check_key(key)?;
        self.check_writable()?;
        let partners = partners.iter().map(AsRef::as_ref);
        let pairs: Vec<Pair<'_>> =
            partners.map(|partner| Pair { keyspace: self.keyspace, key, partner }).collect();
        let seq = self.shared.change_links(&pairs, change, &[], &[], self.own_terms())?;
        Ok(Seq(seq.ok_or_else(unconditional)?))
    }

    fn since(self, start: Duration) -> Duration {
        self.shared.time.monotonic().saturating_sub(start)
    }
}
