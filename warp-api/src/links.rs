//! Entanglement: declared links and rules between keys, kept in the system keyspace, and reads that follow them.
//!
//! The declared links of a key are one entry, and all rules together are one. Both are written by ordinary
//! batches, so that log, checkpoint and replay treat them as they treat any key.

use std::collections::{BTreeMap, HashSet, btree_map};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use warp_core::{Key, KeyRef, Value};
use warp_physics::{
    BadLinks, Entanglement, Link, LinkError, Links, Origin, PARTNERS_DEFAULT, RuleError, RuleId, Rules,
    STRENGTH_MIN_DEFAULT, StoredLinks, check_strength,
};

use crate::error::{Error, ErrorKind, Result};
use crate::keyspace::{KeyspaceName, SYSTEM};
use crate::keyspaces::dropped;
use crate::limits;
use crate::read::Witness;
use crate::shared::Shared;
use crate::system::reload;
use crate::types::KEY_BYTES_MAX;
use crate::write::{Change, Hints, Op, Terms};

/// What the key of an entry of declared links starts with; keyspace and key follow.
const LINKS_PREFIX: &[u8] = b"links\0";
/// Bytes that the key of an entry of links has beyond the key whose links they are.
const LINKS_KEY_BYTES: usize = LINKS_PREFIX.len() + size_of::<u32>();
const _: () = assert!(KEY_BYTES_MAX + LINKS_KEY_BYTES <= warp_wal::KEY_BYTES_MAX);
const _: () = assert!(KEY_BYTES_MAX <= warp_physics::LINK_KEY_BYTES_MAX);

/// How [`WarpEngine::quantum_get_with`](crate::WarpEngine::quantum_get_with) chooses partners.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct QuantumOptions {
    /// The most partners that are read, strongest first; any number. Default: 10.
    pub partners_max: usize,
    /// Partners of less strength are left out; in `0.0..=1.0`. Default: 0.1.
    pub strength_min: f64,
}

impl Default for QuantumOptions {
    fn default() -> QuantumOptions {
        QuantumOptions { partners_max: PARTNERS_DEFAULT, strength_min: STRENGTH_MIN_DEFAULT }
    }
}

/// A value, and those of the keys that belong with its key.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Entangled {
    /// The value of the key itself.
    pub value: Value,
    /// Its partners, strongest first, each with its own value or none.
    pub partners: Vec<Partner>,
    /// How many partners have a value.
    pub found: usize,
    /// How many partners were looked up.
    pub requested: usize,
    /// How long the call took.
    pub elapsed: Duration,
}

/// A key that belongs with another.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Partner {
    /// The name of its keyspace.
    pub keyspace: KeyspaceName,
    /// The key.
    pub key: Key,
    /// Its value; `None` if it has none.
    pub value: Option<Value>,
    /// How strongly it belongs with the other, in `0.0..=1.0`.
    pub strength: f64,
    /// Where the link comes from.
    pub origin: Origin,
}

/// Whether this is the key of an entry of declared links.
pub(crate) fn is_links_key(keyspace: u32, key: &[u8]) -> bool {
    keyspace == SYSTEM && key.starts_with(LINKS_PREFIX)
}

/// The keyspace and key whose declared links the system entry `key` holds.
pub(crate) fn parse_links_key(key: &[u8]) -> Option<(u32, &[u8])> {
    let (keyspace, key) = key.strip_prefix(LINKS_PREFIX)?.split_first_chunk()?;
    Some((u32::from_le_bytes(*keyspace), key))
}

fn links_key(keyspace: u32, key: &[u8]) -> Vec<u8> {
    [LINKS_PREFIX, &keyspace.to_le_bytes(), key].concat()
}

/// Calls `f` with the key of the entry of a key's declared links: without an allocation if it is short.
#[inline]
pub(crate) fn with_links_key<R>(keyspace: u32, key: &[u8], f: impl FnOnce(&[u8]) -> R) -> R {
    let mut short = [0; 64];
    let Some(room) = short.get_mut(..LINKS_KEY_BYTES + key.len()) else {
        return f(&links_key(keyspace, key));
    };
    let (prefix, rest) = room.split_at_mut(LINKS_PREFIX.len());
    prefix.copy_from_slice(LINKS_PREFIX);
    let (number, rest) = rest.split_at_mut(size_of::<u32>());
    number.copy_from_slice(&keyspace.to_le_bytes());
    rest.copy_from_slice(key);
    f(room)
}

/// Where the declared links of a key are.
pub(crate) enum Declared {
    /// In memory: they were copied.
    Here,
    /// Nowhere: there are none.
    None,
    /// They are packed, or on the disk if anywhere.
    Elsewhere,
}

/// The strength of the links that a put declares.
pub(crate) const PUT_LINK_STRENGTH: f64 = 1.0;

/// Two keys of one keyspace that are to be linked.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) struct Pair<'a> {
    pub(crate) keyspace: u32,
    pub(crate) key: &'a [u8],
    pub(crate) partner: &'a [u8],
}

/// What happens to the link between two keys.
#[derive(Clone, Copy)]
pub(crate) enum LinkChange {
    Declare(f64),
    Remove,
}

/// The entry of a key's declared links, before and after a change.
struct LinksEntry {
    links: Links,
    witness: Witness,
    existed: bool,
    changed: bool,
}

impl Shared {
    /// Changes the links between the keys of each pair, in both directions, in one atomic write that also makes the
    /// changes of `with`, provided that `also` still holds. Returns the sequence of the write; `None` if `also` does
    /// not hold.
    pub(crate) fn change_links(
        &self,
        pairs: &[Pair<'_>],
        change: LinkChange,
        with: &[Op<'_>],
        also: &[(KeyRef<'_>, &Witness)],
        terms: Terms,
    ) -> Result<Option<u64>> {
        check_pairs(pairs)?;
        if let LinkChange::Declare(strength) = change {
            check_strength(strength)
                .map_err(|error| Error::invalid("the strength is refused").caused_by(error))?;
        }
        // Before they can be seen.
        self.may_have_links.store(true, Ordering::Release);
        loop {
            if pairs.iter().any(|pair| self.floors.is_dropped(pair.keyspace)) {
                return Err(dropped());
            }
            let entries = self.changed_links(pairs, change)?;
            let bytes: Vec<Vec<u8>> = entries.values().map(|entry| entry.links.to_bytes()).collect();
            let links = entries.iter().zip(&bytes).filter(|((_, entry), _)| entry.changed);
            let links = links.map(|((key, entry), bytes)| entry.op(key, bytes));
            let ops: Vec<Op<'_>> = with.iter().copied().chain(links).collect();
            if ops.is_empty() {
                return self.nothing_written(None, terms).map(Some);
            }
            let witnesses: Vec<(KeyRef<'_>, &Witness)> = entries
                .iter()
                .map(|(key, entry)| (self.key(SYSTEM, key), &entry.witness))
                .chain(also.iter().copied())
                .collect();
            if let Some(written) = self.write_all(&ops, &witnesses, terms)? {
                self.new_links.store(true, Ordering::Release);
                return Ok(Some(written.seq));
            }
            self.counters.conflicts.add(1);
            if !self.all_hold(also) {
                return Ok(None);
            }
        }
    }

    /// The entries of declared links that the change touches, as they will be.
    fn changed_links(&self, pairs: &[Pair<'_>], change: LinkChange) -> Result<BTreeMap<Vec<u8>, LinksEntry>> {
        let mut entries = BTreeMap::new();
        for Pair { keyspace, key, partner } in pairs {
            for (one, other) in [(key, partner), (partner, key)] {
                let entry = match entries.entry(links_key(*keyspace, one)) {
                    btree_map::Entry::Occupied(entry) => entry.into_mut(),
                    btree_map::Entry::Vacant(vacant) => {
                        let entry = self.links_entry(vacant.key())?;
                        vacant.insert(entry)
                    }
                };
                entry.change(*keyspace, other, change)?;
            }
        }
        Ok(entries)
    }

    fn links_entry(&self, system_key: &[u8]) -> Result<LinksEntry> {
        let (found, witness) = self.find_witnessed(self.key(SYSTEM, system_key))?;
        let links = found.as_ref().map(|found| Links::from_bytes(&found.value)).transpose();
        let links = links.map_err(bad_links)?;
        let existed = found.is_some();
        Ok(LinksEntry { links: links.unwrap_or_default(), witness, existed, changed: false })
    }

    /// The declared links of a key.
    pub(crate) fn declared_links(&self, keyspace: u32, key: &[u8]) -> Result<Option<Links>> {
        let mut room = Vec::new();
        let declared = self.declared(keyspace, key, &mut room)?;
        declared.map(|bytes| Links::from_bytes(bytes).map_err(bad_links)).transpose()
    }

    /// The declared links of a key as they are stored, copied to `room`.
    pub(crate) fn declared<'r>(
        &self,
        keyspace: u32,
        key: &[u8],
        room: &'r mut Vec<u8>,
    ) -> Result<Option<&'r [u8]>> {
        match self.declared_in_memory(keyspace, key, room) {
            Declared::Here => return Ok(Some(room)),
            Declared::None => return Ok(None),
            Declared::Elsewhere => {}
        }
        let found = with_links_key(keyspace, key, |name| self.find(self.key(SYSTEM, name)))?;
        Ok(found.map(|found| {
            room.extend_from_slice(&found.value);
            &room[..]
        }))
    }

    /// The same as far as memory knows them, where they lie as they are: a handle to them would be moved about. `room` is empty
    /// unless they are here.
    pub(crate) fn declared_in_memory(&self, keyspace: u32, key: &[u8], room: &mut Vec<u8>) -> Declared {
        room.clear();
        if !self.may_have_links.load(Ordering::Acquire) {
            return Declared::None;
        }
        let in_memory = with_links_key(keyspace, key, |name| {
            self.table.with(self.key(SYSTEM, name), |entry| {
                if entry.packed_from().is_some() {
                    return Declared::Elsewhere;
                }
                let Some(value) = entry.value().filter(|_| self.is_visible(SYSTEM, entry)) else {
                    return Declared::None;
                };
                room.extend_from_slice(value);
                Declared::Here
            })
        });
        in_memory.unwrap_or(Declared::Elsewhere)
    }

    /// The partners of a key, strongest first.
    pub(crate) fn partners_of(
        &self,
        keyspace: u32,
        key: &[u8],
        options: &QuantumOptions,
    ) -> Result<Vec<Link>> {
        let mut room = Vec::new();
        let declared = self.declared(keyspace, key, &mut room)?;
        let learned = self.learning.partners(self.key(keyspace, key).hash, options.strength_min);
        self.links_with_learned(keyspace, key, stored_links(declared)?, learned, options)
    }

    /// The same, given what is declared and what was learned.
    pub(crate) fn links_with_learned(
        &self,
        keyspace: u32,
        key: &[u8],
        declared: StoredLinks<'_>,
        learned: Vec<Link>,
        options: &QuantumOptions,
    ) -> Result<Vec<Link>> {
        let QuantumOptions { partners_max, strength_min } = *options;
        let graph = self.graph()?;
        let mut links = links_of(&graph, keyspace, key, declared, partners_max, strength_min);
        add_learned(&mut links, keyspace, key, learned);
        links.truncate(partners_max);
        Ok(links)
    }

    /// The strongest partners of a key as far as memory knows them: enough for advice.
    pub(crate) fn links_in_memory(&self, keyspace: u32, key: &[u8], limit: usize) -> Vec<Link> {
        let mut room = Vec::new();
        self.declared_in_memory(keyspace, key, &mut room);
        let declared = StoredLinks::new(&room).unwrap_or_default();
        links_of(&self.entanglement.load(), keyspace, key, declared, limit, STRENGTH_MIN_DEFAULT)
    }

    /// Changes the rules, durably as `terms` ask, and returns what the change did.
    pub(crate) fn change_rules<T>(
        &self,
        terms: Terms,
        change: impl Fn(&mut Rules) -> std::result::Result<T, RuleError>,
    ) -> Result<T> {
        let (answer, _) = self.change_stored(terms, |rules: &mut Rules| {
            change(rules).map_err(|error| Error::invalid("the rule is refused").caused_by(error))
        })?;
        self.load_rules()?;
        Ok(answer)
    }

    /// The rules and links as they are; an error if the rules could not be read when the database was opened, and
    /// still cannot be.
    pub(crate) fn graph(&self) -> Result<arc_swap::Guard<Arc<Entanglement>>> {
        if self.rules_unread.load(Ordering::Acquire) {
            self.load_rules()?;
        }
        Ok(self.entanglement.load())
    }

    /// Takes the rules that are stored into use.
    pub(crate) fn load_rules(&self) -> Result<()> {
        let outcome = reload(&self.entanglement, || Ok(Entanglement::new(self.stored()?)));
        self.rules_unread.store(outcome.is_err(), Ordering::Release);
        outcome
    }

    pub(crate) fn remove_rule(&self, id: RuleId, terms: Terms) -> Result<bool> {
        self.change_rules(terms, |rules| Ok(rules.remove(id).is_some()))
    }
}

impl LinksEntry {
    fn change(&mut self, keyspace: u32, partner: &[u8], change: LinkChange) -> Result<()> {
        self.changed |= match change {
            LinkChange::Declare(strength) => {
                self.links.declare(keyspace, partner, strength).map_err(link_error)?
            }
            LinkChange::Remove => self.links.remove(keyspace, partner),
        };
        Ok(())
    }

    fn op<'a>(&'a self, key: &'a [u8], bytes: &'a [u8]) -> Op<'a> {
        let emptied = self.links.is_empty() && self.existed;
        let change = if emptied {
            Change::Delete
        } else {
            Change::Put { value: bytes, deadline: 0, hints: Hints::default() }
        };
        Op { keyspace: SYSTEM, key, change }
    }
}

fn check_pairs(pairs: &[Pair<'_>]) -> Result<()> {
    if pairs.is_empty() {
        return Err(Error::invalid("no partners are named"));
    }
    let mut seen = HashSet::with_capacity(pairs.len());
    for pair in pairs {
        let Pair { key, partner, .. } = *pair;
        limits::check_key(key)?;
        limits::check_key(partner)?;
        if key == partner {
            return Err(Error::invalid("a key cannot be linked with itself"));
        }
        if !seen.insert(pair) {
            return Err(Error::invalid("a partner is named twice"));
        }
    }
    Ok(())
}

fn link_error(error: LinkError) -> Error {
    Error::invalid("the link is refused").caused_by(error)
}

/// The partners of a key that are declared or made by rules, strongest first.
fn links_of(
    graph: &Entanglement,
    keyspace: u32,
    key: &[u8],
    declared: StoredLinks<'_>,
    limit: usize,
    strength_min: f64,
) -> Vec<Link> {
    let mut links = Vec::new();
    graph.each_partner(keyspace, key, declared, limit, strength_min, |edge| links.push(edge.into()));
    links
}

/// Puts learned partners behind those that are declared or made by rules, where they are not among them, and all in the order of
/// their strength.
fn add_learned(links: &mut Vec<Link>, keyspace: u32, key: &[u8], learned: Vec<Link>) {
    if learned.is_empty() {
        return;
    }
    for link in learned {
        // As declared ones, they are between keys of one keyspace.
        if link.keyspace == keyspace && link.key != key && !links.iter().any(|other| other.key == link.key) {
            links.push(link);
        }
    }
    links.sort_by(|a, b| b.strength.total_cmp(&a.strength));
}

/// Declared links as they are stored, which may be none.
pub(crate) fn stored_links(declared: Option<&[u8]>) -> Result<StoredLinks<'_>> {
    declared.map_or_else(|| Ok(StoredLinks::default()), |bytes| StoredLinks::new(bytes).map_err(bad_links))
}

fn bad_links(error: BadLinks) -> Error {
    let kind = match error {
        BadLinks::UnknownVersion(_) => ErrorKind::Unsupported,
        _ => ErrorKind::Corrupt,
    };
    Error::new(kind, "stored links cannot be read").caused_by(error)
}
