//! Single keys, and lists of them.

use std::ffi::OsStr;
use std::io::{self, Read, Write};

use warp_api::{Durability, Keyspace, PutOptions, VALUE_BYTES_MAX};

use crate::args::{ListArgs, PutArgs};
use crate::commands::keyspaces::existing;
use crate::failure::Failure;
use crate::listing::Listing;
use crate::session::Session;

/// The value that stands for standard input.
const STANDARD_INPUT: &str = "-";
/// One byte more than a value may have, so that the engine refuses it, and no endless input is read to its end.
const INPUT_BYTES_MAX: u64 = VALUE_BYTES_MAX as u64 + 1;

pub(super) fn put(args: &PutArgs, session: &Session) -> Result<(), Failure> {
    let key = session.bytes(&args.key)?;
    // Before the database is opened, and locked: input may take its time.
    let value = if args.value == STANDARD_INPUT { read_input()? } else { session.bytes(&args.value)? };
    let mut options = PutOptions::new();
    if let Some(ttl) = args.ttl {
        options = options.ttl(ttl);
    }
    if args.sync {
        options = options.durability(Durability::Sync);
    }
    let engine = session.open_or_create()?;
    engine.keyspace(&args.keyspace.name)?.put_with(key, value, &options)?;
    Ok(engine.close()?)
}

fn read_input() -> Result<Vec<u8>, Failure> {
    let mut value = Vec::new();
    io::stdin().lock().take(INPUT_BYTES_MAX).read_to_end(&mut value).map_err(Failure::Input)?;
    Ok(value)
}

pub(super) fn get(
    key: &OsStr,
    keyspace: &str,
    session: &Session,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let key = session.bytes(key)?;
    let keyspace = existing(&session.open_to_read()?, keyspace)?;
    let value = keyspace.get(&key)?.ok_or(Failure::NoSuchKey(key))?;
    Ok(out.write_all(&value)?)
}

pub(super) fn delete(key: &OsStr, keyspace: &str, session: &Session) -> Result<(), Failure> {
    change(key, keyspace, session, |keyspace, key| keyspace.delete(key))
}

/// Changes a key that is there, which `change` tells.
pub(super) fn change(
    key: &OsStr,
    keyspace: &str,
    session: &Session,
    change: impl FnOnce(&Keyspace, &[u8]) -> warp_api::Result<bool>,
) -> Result<(), Failure> {
    let key = session.bytes(key)?;
    let engine = session.open_to_write()?;
    let existed = change(&existing(&engine, keyspace)?, &key)?;
    engine.close()?;
    if existed { Ok(()) } else { Err(Failure::NoSuchKey(key)) }
}

pub(super) fn list(args: &ListArgs, session: &Session, out: &mut dyn Write) -> Result<(), Failure> {
    let prefix = session.bytes(&args.prefix)?;
    let limit = args.limit.unwrap_or(u64::MAX);
    let engine = session.open_to_read()?;
    let keyspace = existing(&engine, &args.keyspace.name)?;
    let mut listing = Listing::new(out, keyspace.name(), prefix, limit, args.keys_only);
    match engine.export(&mut listing) {
        Err(_) if listing.is_complete() => Ok(()),
        outcome => Ok(outcome.map(drop)?),
    }
}
