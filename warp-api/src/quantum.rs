//! A key's value with those of its partners: who they are is found out first, and then all are read in one pass.

use std::cell::RefCell;
use std::sync::Arc;

use warp_core::{Key, KeyRef, Reading, Value};
use warp_io::Clock;
use warp_physics::{Edge, Entanglement, Link, LinkRef, Origin, StoredLinks, wanted_links};

use crate::error::Result;
use crate::keyspace::{DEFAULT, KeyspaceName};
use crate::keyspaces::dropped;
use crate::links::{Entangled, Partner, QuantumOptions, stored_links};
use crate::shared::Shared;

/// Room of more bytes is given back after use.
const ROOM_BYTES_MAX: usize = 64 << 10;

thread_local! {
    /// A thread keeps the room of its last call, so that most calls allocate nothing for it.
    static ROOM: RefCell<Room> = const { RefCell::new(Room::none()) };
}

/// Where the names of partners are while they are read.
struct Room {
    /// The declared links of a key, as they are stored.
    links: Vec<u8>,
    made: MadeNames,
}

/// Names that rules make, or that were learned.
struct MadeNames {
    /// One after the other.
    bytes: Vec<u8>,
    each: Vec<MadeName>,
}

/// What there is to say of a partner beside its name.
struct MadeName {
    keyspace: u32,
    key_bytes: usize,
    strength: f64,
    origin: Origin,
}

impl Room {
    const fn none() -> Room {
        Room { links: Vec::new(), made: MadeNames { bytes: Vec::new(), each: Vec::new() } }
    }

    fn shrink(&mut self) {
        let MadeNames { bytes, each } = &self.made;
        let held = self.links.capacity() + bytes.capacity() + each.capacity() * size_of::<MadeName>();
        if held > ROOM_BYTES_MAX {
            *self = Room::none();
        }
    }
}

impl MadeNames {
    fn clear(&mut self) {
        self.bytes.clear();
        self.each.clear();
    }

    fn push(&mut self, Edge { keyspace, key, strength, origin, .. }: Edge<'_>) {
        key.iter().filter(|part| !part.is_empty()).for_each(|part| self.bytes.extend_from_slice(part));
        let key_bytes = key.iter().map(|part| part.len()).sum();
        self.each.push(MadeName { keyspace, key_bytes, strength, origin });
    }
}

/// What it takes to ask for the memory of partners.
struct Asker<'a> {
    shared: &'a Shared,
    reading: Reading<'a>,
    /// The name of their keyspace.
    name: KeyspaceName,
}

/// A key and its partners, which are read together.
struct Group<'a> {
    own: KeyRef<'a>,
    /// The key itself, and then its partners; nothing as long as there are none.
    keys: Vec<KeyRef<'a>>,
    /// The partners as they are returned, once they have their values.
    partners: Vec<Partner>,
}

impl<'a> Group<'a> {
    /// Makes room for so many partners, the first that there are.
    fn reserve(&mut self, partners: usize) {
        self.keys.reserve_exact(1 + partners);
        self.keys.push(self.own);
        self.partners.reserve_exact(partners);
    }

    /// Takes a partner in, and asks for what reading its value needs first.
    #[inline]
    fn push(&mut self, asker: &Asker<'_>, link: LinkRef<'a>, origin: Origin) {
        let LinkRef { keyspace, key: bytes, strength } = link;
        let key = asker.shared.key(keyspace, bytes);
        asker.reading.prefetch(key.hash);
        self.keys.push(key);
        // Made in its place: a partner is 192 bytes.
        self.partners.resize_with(self.partners.len() + 1, || Partner {
            keyspace: asker.name.clone(),
            key: Key::default(),
            value: None,
            strength,
            origin,
        });
        if let Some(partner) = self.partners.last_mut() {
            partner.key.set(bytes);
        }
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
        let mut value = Ok(None);
        let in_room = |room: &RefCell<Room>| {
            let mut room = room.try_borrow_mut().ok()?;
            let partners = self.read_group(own, options, &mut room, &mut value);
            room.shrink();
            Some(partners)
        };
        let partners = match ROOM.try_with(in_room) {
            Ok(Some(partners)) => partners?,
            // A thread that ends has none any more, and a call within another one finds it in use.
            _ => self.read_group(own, options, &mut Room::none(), &mut value)?,
        };
        let Some(value) = value? else { return Ok(None) };
        let requested = partners.len();
        let found = partners.iter().filter(|partner| partner.value.is_some()).count();
        if requested > 0 {
            self.counters.partners_requested.add(requested as u64);
            self.counters.partners_found.add(found as u64);
        }
        let elapsed = self.time.monotonic().saturating_sub(start);
        Ok(Some(Entangled { value, partners, found, requested, elapsed }))
    }

    /// Reads a key, and if it has a value, its partners, which are returned with theirs.
    fn read_group(
        &self,
        own: KeyRef<'_>,
        options: &QuantumOptions,
        room: &mut Room,
        value: &mut Result<Option<Value>>,
    ) -> Result<Vec<Partner>> {
        let mut group = Group { own, keys: Vec::new(), partners: Vec::new() };
        let named = self.name_partners(&mut group, options, room);
        let Group { keys, mut partners, .. } = group;
        if keys.is_empty() || named.is_err() {
            self.read_into(&own, value);
        } else if let Ok(value) = value {
            self.find_group(&keys, value, |place, seen| seen.value_into(&mut partners[place].value))?;
        }
        // What is wrong with the links of a key without a value is nobody's concern.
        if let Ok(Some(_)) = value {
            named?;
        }
        Ok(partners)
    }

    /// Finds out who the partners of a group's key are, strongest first.
    fn name_partners<'r>(
        &self,
        group: &mut Group<'r>,
        options: &QuantumOptions,
        room: &'r mut Room,
    ) -> Result<()> {
        let KeyRef { keyspace, bytes: key, hash } = group.own;
        let QuantumOptions { partners_max, strength_min } = *options;
        let Room { links, made } = room;
        let declared = self.declared(keyspace, key, links)?;
        let learned = self.learning.partners(hash, strength_min);
        let graph = self.graph()?;
        let declared = stored_links(declared)?;
        if !learned.is_empty() || !graph.rules().is_empty() {
            return self.name_all_partners(&graph, declared, learned, group, options, made);
        }
        // Declared links alone lend the names.
        let mut links = wanted_links(keyspace, key, declared, partners_max, strength_min).peekable();
        if links.peek().is_none() {
            return Ok(());
        }
        let asker = self.asker(keyspace)?;
        group.reserve(declared.len().min(partners_max));
        links.for_each(|link| group.push(&asker, link, Origin::Declared));
        Ok(())
    }

    /// The same where rules make names, or some were learned.
    fn name_all_partners<'r>(
        &self,
        graph: &Entanglement,
        declared: StoredLinks<'_>,
        learned: Vec<Link>,
        group: &mut Group<'r>,
        options: &QuantumOptions,
        made: &'r mut MadeNames,
    ) -> Result<()> {
        let KeyRef { keyspace, bytes: key, .. } = group.own;
        let QuantumOptions { partners_max, strength_min } = *options;
        made.clear();
        if learned.is_empty() {
            graph.each_partner(keyspace, key, declared, partners_max, strength_min, |edge| made.push(edge));
        } else {
            let links = self.links_with_learned(keyspace, key, declared, learned, options)?;
            links.iter().for_each(|link| made.push(link.into()));
        }
        if made.each.is_empty() {
            return Ok(());
        }
        let asker = self.asker(keyspace)?;
        group.reserve(made.each.len());
        let mut rest = &made.bytes[..];
        for MadeName { keyspace, key_bytes, strength, origin } in made.each.drain(..) {
            let (key, others) = rest.split_at(key_bytes);
            rest = others;
            group.push(&asker, LinkRef { keyspace, key, strength }, origin);
        }
        Ok(())
    }

    /// A link is between keys of one keyspace, so that one name serves all.
    fn asker(&self, keyspace: u32) -> Result<Asker<'_>> {
        Ok(Asker { shared: self, name: self.keyspace_name(keyspace)?, reading: self.table.reading() })
    }

    fn keyspace_name(&self, keyspace: u32) -> Result<KeyspaceName> {
        if keyspace == DEFAULT {
            return Ok(KeyspaceName::default());
        }
        let names = self.names()?;
        let name = names.iter().find(|(_, number)| *number == keyspace);
        name.map(|(name, _)| KeyspaceName::from(Arc::clone(name))).ok_or_else(dropped)
    }
}
