//! The physics calls: the same operations, told by what the universe did, and the links between keys.

use std::time::Duration;

use warp_io::Clock;
use warp_physics::{Link, RuleId, Rules};

use crate::engine::{WarpEngine, unconditional};
use crate::error::Result;
use crate::keyspace::DEFAULT;
use crate::limits;
use crate::links::{Entangled, LinkChange, QuantumOptions};
use crate::options::PutOptions;
use crate::types::{Deleted, Level, Observed, Seq, ShardId, Stored};

impl WarpEngine {
    /// As [`put_with`](WarpEngine::put_with), and says where the entry went and how long that took.
    ///
    /// # Errors
    /// As [`put_with`](WarpEngine::put_with).
    pub fn cosmic_put(
        &self,
        key: impl AsRef<[u8]>,
        value: impl AsRef<[u8]>,
        options: &PutOptions,
    ) -> Result<Stored> {
        let start = self.shared.time.monotonic();
        let written = self.put_written(key.as_ref(), value.as_ref(), options)?;
        Ok(Stored {
            seq: Seq(written.seq),
            shard: ShardId(written.shard),
            level: Level::Hot,
            elapsed: self.since(start),
        })
    }

    /// As [`get`](WarpEngine::get), and says where the value was found and how long that took.
    ///
    /// # Errors
    /// As [`get`](WarpEngine::get).
    pub fn cosmic_get(&self, key: impl AsRef<[u8]>) -> Result<Option<Observed>> {
        let shared = &self.shared;
        shared.check_open()?;
        let start = shared.time.monotonic();
        let key = shared.key(DEFAULT, key.as_ref());
        let Some(found) = shared.find_counted(key)? else { return Ok(None) };
        let shard = ShardId(shared.table.shard_of(key.hash));
        Ok(Some(Observed { value: found.value, shard, level: found.level, elapsed: self.since(start) }))
    }

    /// As [`delete`](WarpEngine::delete), and says where the entry was and how long that took.
    ///
    /// # Errors
    /// As [`delete`](WarpEngine::delete).
    pub fn cosmic_delete(&self, key: impl AsRef<[u8]>) -> Result<Deleted> {
        let shared = &self.shared;
        let start = shared.time.monotonic();
        let key = key.as_ref();
        let deleted = shared.delete_one(DEFAULT, key, self.terms(None, false))?;
        shared.counters.deletes.add(u64::from(deleted.is_some()));
        let hash = shared.key(DEFAULT, key).hash;
        Ok(Deleted {
            existed: deleted.is_some(),
            seq: deleted.as_ref().map(|(_, written)| Seq(written.seq)),
            shard: ShardId(shared.table.shard_of(hash)),
            level: deleted.as_ref().map(|(found, _)| found.level),
            elapsed: self.since(start),
        })
    }

    /// Reads a key together with its partners: at most 10, of strength 0.1 or more, strongest first.
    ///
    /// `None` if the key itself has no value.
    ///
    /// # Errors
    /// As [`get`](WarpEngine::get).
    pub fn quantum_get(&self, key: impl AsRef<[u8]>) -> Result<Option<Entangled>> {
        self.quantum_get_with(key, &QuantumOptions::default())
    }

    /// Reads a key together with its partners, as many and as strong as the options say.
    ///
    /// # Errors
    /// As [`get`](WarpEngine::get).
    pub fn quantum_get_with(
        &self,
        key: impl AsRef<[u8]>,
        options: &QuantumOptions,
    ) -> Result<Option<Entangled>> {
        self.shared.check_open()?;
        self.shared.quantum_get(key.as_ref(), options)
    }

    /// Declares links between a key and each of `partners`, in both directions, as durably as any write.
    /// Declaring a link again replaces its strength; the keys need not have values.
    ///
    /// ```
    /// use warp_api::WarpEngine;
    ///
    /// # fn main() -> warp_api::Result<()> {
    /// let engine = WarpEngine::in_memory();
    /// engine.put("order:7", "3 books")?;
    /// engine.put("customer:ada", "Ada")?;
    /// engine.entangle("order:7", &["customer:ada"], 0.9)?;
    /// let order = engine.quantum_get("order:7")?.unwrap();
    /// assert_eq!(order.partners[0].value.as_deref(), Some(&b"Ada"[..]));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`put`](WarpEngine::put); `Invalid` for a strength outside `0.0..=1.0`, no partners, a partner named
    /// twice, a key linked with itself, or more links of one key than
    /// [`LINKS_MAX`](crate::LINKS_MAX).
    pub fn entangle<K: AsRef<[u8]>>(
        &self,
        key: impl AsRef<[u8]>,
        partners: &[K],
        strength: f64,
    ) -> Result<Seq> {
        self.change_links(key.as_ref(), partners, LinkChange::Declare(strength))
    }

    /// Removes the declared links between a key and each of `partners`. Where there was none, nothing is
    /// written, and the last sequence number is returned. Links that rules make stay.
    ///
    /// # Errors
    /// As [`entangle`](WarpEngine::entangle).
    pub fn disentangle<K: AsRef<[u8]>>(&self, key: impl AsRef<[u8]>, partners: &[K]) -> Result<Seq> {
        self.change_links(key.as_ref(), partners, LinkChange::Remove)
    }

    /// States a rule: every key that matches `pattern` belongs with the keys that `partners` make of its id.
    ///
    /// Each template has one `{id}`, which stands for one byte or more. A rule that is stated again, at the
    /// next start of the program for instance, only replaces its strength.
    ///
    /// # Errors
    /// As [`put`](WarpEngine::put); `Invalid` for a template without an `{id}` or with several, or a strength
    /// outside `0.0..=1.0`.
    pub fn entanglement_rule(
        &self,
        pattern: impl AsRef<[u8]>,
        partners: &[impl AsRef<[u8]>],
        strength: f64,
    ) -> Result<RuleId> {
        let pattern = pattern.as_ref();
        self.shared.check_writable()?;
        self.shared.change_rules(self.terms(None, false), |rules| rules.add(pattern, partners, strength))
    }

    /// Removes a rule; `false` if there was none of that id.
    ///
    /// # Errors
    /// As [`put`](WarpEngine::put).
    pub fn remove_rule(&self, id: RuleId) -> Result<bool> {
        self.shared.check_writable()?;
        self.shared.remove_rule(id, self.terms(None, false))
    }

    /// The rules that are in force.
    #[must_use]
    pub fn rules(&self) -> Rules {
        self.shared.entanglement.load().rules().clone()
    }

    /// All partners of a key, declared and by rule, strongest first, without reading their values.
    ///
    /// # Errors
    /// As [`get`](WarpEngine::get).
    pub fn partners(&self, key: impl AsRef<[u8]>) -> Result<Vec<Link>> {
        self.shared.check_open()?;
        let all = QuantumOptions { partners_max: usize::MAX, strength_min: 0.0 };
        self.shared.partners_of(key.as_ref(), &all)
    }

    fn change_links<K: AsRef<[u8]>>(&self, key: &[u8], partners: &[K], change: LinkChange) -> Result<Seq> {
        limits::check_key(key)?;
        self.shared.check_writable()?;
        let pairs: Vec<(&[u8], &[u8])> = partners.iter().map(|partner| (key, partner.as_ref())).collect();
        let seq = self.shared.change_links(&pairs, change, &[], &[], self.terms(None, false))?;
        Ok(Seq(seq.ok_or_else(unconditional)?))
    }

    fn since(&self, start: Duration) -> Duration {
        self.shared.time.monotonic().saturating_sub(start)
    }
}
