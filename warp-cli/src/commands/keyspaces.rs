//! The keyspaces of a database.

use std::io::Write;

use warp_api::{Keyspace, WarpEngine};

use crate::failure::Failure;
use crate::session::Session;

pub(super) fn list(session: &Session, out: &mut dyn Write) -> Result<(), Failure> {
    for name in session.open_to_read()?.keyspaces()? {
        writeln!(out, "{name}")?;
    }
    Ok(())
}

pub(super) fn drop_one(name: &str, session: &Session) -> Result<(), Failure> {
    let engine = session.open_to_write()?;
    let existed = engine.drop_keyspace(name)?;
    engine.close()?;
    if existed { Ok(()) } else { Err(Failure::NoSuchKeyspace(name.to_owned())) }
}

/// The name of the keyspace that is always there.
pub(crate) const DEFAULT_KEYSPACE: &str = "default";

/// The keyspace of that name, if there is one: a command that only reads or deletes makes none.
pub(super) fn existing(engine: &WarpEngine, name: &str) -> Result<Keyspace, Failure> {
    // The default one is there even where the names cannot be read.
    if name == DEFAULT_KEYSPACE || engine.keyspaces()?.iter().any(|keyspace| keyspace == name) {
        Ok(engine.keyspace(name)?)
    } else {
        Err(Failure::NoSuchKeyspace(name.to_owned()))
    }
}
