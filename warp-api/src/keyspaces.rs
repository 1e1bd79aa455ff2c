//! Making, listing and dropping keyspaces.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::error::{Error, ErrorKind, Result};
use crate::floors::DROPPED;
use crate::keyspace::{DEFAULT, DEFAULT_NAME, SYSTEM};
use crate::names::{self, NAMES_KEY, Names};
use crate::read::Witness;
use crate::shared::Shared;
use crate::system::reload;
use crate::write::{Change, Hints, Op, Terms};

impl Shared {
    /// Refuses a call on a closed engine, or on a keyspace that was dropped.
    #[inline]
    pub(crate) fn check_keyspace(&self, keyspace: u32) -> Result<()> {
        self.check_open()?;
        if self.floors.is_dropped(keyspace) { Err(dropped()) } else { Ok(()) }
    }

    /// The number of the keyspace of that name, which is made if there is none; and the name as it is kept.
    pub(crate) fn make_keyspace(&self, name: &str, terms: Terms) -> Result<(u32, Arc<str>)> {
        names::check(name)?;
        if name == DEFAULT_NAME {
            return Ok((DEFAULT, DEFAULT_NAME.into()));
        }
        let known = self.names()?.get(name).filter(|(number, _)| !self.floors.is_dropped(*number));
        if let Some(known) = known {
            return Ok(known);
        }
        loop {
            let (mut names, witness) = self.stored_names()?;
            if let Some(found) = names.get(name) {
                self.load_names()?;
                return Ok(found);
            }
            names.add(name)?;
            let bytes = names.to_bytes();
            if self.write_one(names_op(&bytes), Some(&witness), terms)?.is_some() {
                self.load_names()?;
                return names.get(name).ok_or_else(dropped);
            }
            self.counters.conflicts.add(1);
        }
    }

    /// Drops the keyspace of that name with everything in it. `false`, with nothing written, if there is none.
    pub(crate) fn drop_keyspace(&self, name: &str, terms: Terms) -> Result<bool> {
        names::check(name)?;
        if name == DEFAULT_NAME {
            return Err(Error::invalid("the default keyspace cannot be dropped; clear it"));
        }
        loop {
            let (mut names, witness) = self.stored_names()?;
            let Some(number) = names.remove(name) else {
                self.nothing_written(None, terms)?;
                return Ok(false);
            };
            let bytes = names.to_bytes();
            let unnamed = Some((names_op(&bytes), &witness));
            if let Some(seq) = self.raise_floor(number, name, unnamed, terms)? {
                self.load_names()?;
                self.remove_below_floor(number, DROPPED);
                self.acknowledge_written(seq, terms)?;
                return Ok(true);
            }
            self.counters.conflicts.add(1);
        }
    }

    /// The names as they are; an error if they could not be read when the database was opened, and still cannot be.
    pub(crate) fn names(&self) -> Result<Arc<Names>> {
        if self.names_unread.load(Ordering::Acquire) {
            self.load_names()?;
        }
        Ok(self.names.load_full())
    }

    /// Takes the names that are stored into use.
    pub(crate) fn load_names(&self) -> Result<()> {
        let outcome = reload(&self.names, || Ok(self.stored_names()?.0));
        self.names_unread.store(outcome.is_err(), Ordering::Release);
        outcome
    }

    fn stored_names(&self) -> Result<(Names, Witness)> {
        let (found, witness) = self.find_witnessed(self.key(SYSTEM, NAMES_KEY))?;
        let names = found.map_or(Ok(Names::default()), |found| Names::from_bytes(&found.value))?;
        Ok((names, witness))
    }
}

fn names_op(bytes: &[u8]) -> Op<'_> {
    Op {
        keyspace: SYSTEM,
        key: NAMES_KEY,
        change: Change::Put { value: bytes, deadline: 0, hints: Hints::default() },
    }
}

/// What a call on a keyspace that was dropped gets.
pub(crate) fn dropped() -> Error {
    Error::new(ErrorKind::NotFound, "the keyspace was dropped")
}
