//! Deadlines of keys that are there.

use std::ffi::OsStr;
use std::io::Write;
use std::time::Duration;

use warp_api::Ttl;

use crate::commands::entries::change;
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
    change(key, keyspace, session, |keyspace, key| keyspace.expire(key, ttl))
}

pub(super) fn persist(key: &OsStr, keyspace: &str, session: &Session) -> Result<(), Failure> {
    // A key without a deadline is as it is wanted.
    change(key, keyspace, session, |keyspace, key| Ok(keyspace.persist(key)? || keyspace.contains_key(key)?))
}
