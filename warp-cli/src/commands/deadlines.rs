//! Deadlines of keys that are there.

use std::ffi::OsStr;
use std::io::Write;
use std::time::Duration;

use warp_api::Ttl;

use crate::commands::keyspaces::existing;
use crate::duration;
use crate::failure::Failure;
use crate::session::Session;

pub(super) fn ttl(
    key: &OsStr,
    keyspace: &str,
    session: &Session,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let key = session.bytes(key)?;
    let left = match existing(&session.open_to_read()?, keyspace)?.ttl(&key)? {
        Ttl::Missing => return Err(Failure::NoSuchKey(key)),
        Ttl::Forever => "none".to_owned(),
        Ttl::Left(left) => duration::show(left),
    };
    Ok(writeln!(out, "{left}")?)
}

pub(super) fn expire(key: &OsStr, ttl: Duration, keyspace: &str, session: &Session) -> Result<(), Failure> {
    let key = session.bytes(key)?;
    let engine = session.open_to_write()?;
    let existed = existing(&engine, keyspace)?.expire(&key, ttl)?;
    engine.close()?;
    if existed { Ok(()) } else { Err(Failure::NoSuchKey(key)) }
}

pub(super) fn persist(key: &OsStr, keyspace: &str, session: &Session) -> Result<(), Failure> {
    let key = session.bytes(key)?;
    let engine = session.open_to_write()?;
    let keyspace = existing(&engine, keyspace)?;
    // A key without a deadline is as it is wanted.
    let exists = keyspace.persist(&key)? || keyspace.contains_key(&key)?;
    engine.close()?;
    if exists { Ok(()) } else { Err(Failure::NoSuchKey(key)) }
}
