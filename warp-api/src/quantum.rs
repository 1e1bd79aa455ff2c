//! A key's value with those of its partners: who they are is found out first, and then all are read in one pass.

use std::cell::Cell;
use std::sync::Arc;

use warp_core::{Key, KeyRef, Value};
use warp_io::Clock;
use warp_physics::{Edge, Origin};

use crate::error::Result;
use crate::keyspace::{DEFAULT, DEFAULT_NAME};
use crate::keyspaces::dropped;
use crate::links::{Entangled, Partner, QuantumOptions, stored_links};
use crate::shared::Shared;

/// Room for names of more bytes, or of more partners, is given back after use.
const ROOM_BYTES_MAX: usize = 64 << 10;
const ROOM_PARTNERS_MAX: usize = 1024;

thread_local! {
    static ROOM: Cell<PartnerNames> = const { Cell::new(PartnerNames::NONE) };
}

/// Who the partners of a key are.
///
/// A thread keeps the room of its last call, so that most calls allocate nothing for it.
struct PartnerNames {
    /// Their keys, one after the other.
    bytes: Vec<u8>,
    each: Vec<PartnerName>,
}

struct PartnerName {
    keyspace: u32,
    key_bytes: usize,
    hash: u64,
    strength: f64,
    origin: Origin,
}

impl PartnerNames {
    const NONE: PartnerNames = PartnerNames { bytes: Vec::new(), each: Vec::new() };

    /// None yet, in the room of this thread.
    fn take() -> PartnerNames {
        ROOM.try_with(Cell::take).unwrap_or_default()
    }

    fn give_back(mut self) {
        if self.bytes.capacity() > ROOM_BYTES_MAX || self.each.capacity() > ROOM_PARTNERS_MAX {
            return;
        }
        self.clear();
        // A thread that ends keeps nothing.
        let _ = ROOM.try_with(|room| room.set(self));
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.each.clear();
    }

    /// Takes a partner in, and asks for what reading its value needs first.
    fn push(&mut self, edge: Edge<'_>, shared: &Shared) {
        let Edge { keyspace, key, strength, origin } = edge;
        let start = self.bytes.len();
        for part in key {
            self.bytes.extend_from_slice(part);
        }
        let key = &self.bytes[start..];
        let KeyRef { hash, .. } = shared.key(keyspace, key);
        shared.table.prefetch(hash);
        let key_bytes = key.len();
        self.each.push(PartnerName { keyspace, key_bytes, hash, strength, origin });
    }
}

impl Default for PartnerNames {
    fn default() -> PartnerNames {
        PartnerNames::NONE
    }
}

impl Shared {
    /// A key's value, with those of its partners.
    pub(crate) fn quantum_get(
        &self,
        keyspace: u32,
        key: &[u8],
        options: &QuantumOptions,
    ) -> Result<Option<Entangled>> {
        let start = self.time.monotonic();
        let own = self.key(keyspace, key);
        self.counters.quantum_gets.add(1);
        // Asked for from memory before anything else is waited for.
        self.table.prefetch(own.hash);
        let mut names = PartnerNames::take();
        let named = self.name_partners(own, options, &mut names);
        if named.is_err() {
            names.clear();
        }
        let read = self.read_named(own, &names);
        names.give_back();
        let Some((value, partners)) = read? else { return Ok(None) };
        // What is wrong with the links of a key without a value is nobody's concern.
        named?;
        let requested = partners.len();
        let found = partners.iter().filter(|partner| partner.value.is_some()).count();
        if requested > 0 {
            self.counters.partners_requested.add(requested as u64);
            self.counters.partners_found.add(found as u64);
        }
        let elapsed = self.time.monotonic().saturating_sub(start);
        Ok(Some(Entangled { value, partners, found, requested, elapsed }))
    }

    /// Finds out who the partners of a key are, strongest first.
    fn name_partners(
        &self,
        own: KeyRef<'_>,
        options: &QuantumOptions,
        names: &mut PartnerNames,
    ) -> Result<()> {
        let KeyRef { keyspace, bytes: key, .. } = own;
        let QuantumOptions { partners_max, strength_min } = *options;
        let declared = self.declared(keyspace, key, &mut names.bytes)?;
        names.bytes.clear();
        let declared = stored_links(declared.as_ref())?;
        let learned = self.learning.partners(own.hash, strength_min);
        if learned.is_empty() {
            let graph = self.graph()?;
            graph.each_partner(keyspace, key, declared, partners_max, strength_min, |edge| {
                names.push(edge, self);
            });
        } else {
            let links = self.links_with_learned(keyspace, key, declared, learned, options)?;
            links.iter().for_each(|link| names.push(link.into(), self));
        }
        Ok(())
    }

    /// The value of a key, with partners that have these names.
    fn read_named(&self, own: KeyRef<'_>, names: &PartnerNames) -> Result<Option<(Value, Vec<Partner>)>> {
        if names.each.is_empty() {
            return Ok(self.find_value(own)?.map(|value| (value, Vec::new())));
        }
        // A link is between keys of one keyspace.
        let keyspace = match self.keyspace_name(own.keyspace) {
            Ok(name) => name,
            Err(wrong) => return self.find_value(own)?.map_or(Ok(None), |_| Err(wrong)),
        };
        let mut partners = Vec::with_capacity(names.each.len());
        let mut keys = Vec::with_capacity(1 + names.each.len());
        keys.push(own);
        let mut rest = &names.bytes[..];
        for name in &names.each {
            let PartnerName { keyspace: number, key_bytes, hash, strength, origin } = *name;
            let (bytes, others) = rest.split_at(key_bytes);
            rest = others;
            keys.push(KeyRef { hash, keyspace: number, bytes });
            let (keyspace, key) = (Arc::clone(&keyspace), Key::from(bytes));
            partners.push(Partner { keyspace, key, value: None, strength, origin });
        }
        let value = self.find_group(&keys, |place, seen| seen.value_into(&mut partners[place].value))?;
        Ok(value.map(|value| (value, partners)))
    }

    fn keyspace_name(&self, keyspace: u32) -> Result<Arc<str>> {
        if keyspace == DEFAULT {
            thread_local! {
                /// One for each thread: threads would contend for the counter of a shared one.
                static NAME: Arc<str> = DEFAULT_NAME.into();
            }
            return Ok(NAME.try_with(Arc::clone).unwrap_or_else(|_| DEFAULT_NAME.into()));
        }
        let names = self.names()?;
        let name = names.iter().find(|(_, number)| *number == keyspace);
        name.map(|(name, _)| Arc::clone(name)).ok_or_else(dropped)
    }
}
