//! What each command does.

mod convert;
mod deadlines;
mod entries;
mod exchange;
mod keyspaces;
mod links;
mod log;
mod maintenance;
mod physics;
mod problems;
mod repair;
mod stats;
mod watch;
mod worth;

use std::io::Write;

use serde::Serialize;

pub(crate) use self::keyspaces::DEFAULT_KEYSPACE;
use crate::args::Command;
use crate::failure::Failure;
use crate::session::Session;

/// Does what the command line asks for; what it finds goes to `out`.
pub(crate) fn run(command: Command, session: &Session, out: &mut dyn Write) -> Result<(), Failure> {
    match command {
        Command::Put(args) => entries::put(&args, session),
        Command::Get { key, keyspace } => entries::get(&key, &keyspace.name, session, out),
        Command::Delete { key, keyspace } => entries::delete(&key, &keyspace.name, session),
        Command::Ttl { key, keyspace } => deadlines::ttl(&key, &keyspace.name, session, out),
        Command::Expire { key, ttl, keyspace } => deadlines::expire(&key, ttl, &keyspace.name, session),
        Command::Persist { key, keyspace } => deadlines::persist(&key, &keyspace.name, session),
        Command::List(args) => entries::list(&args, session, out),
        Command::Import { file } => exchange::import(&file, session, out),
        Command::Export { file } => exchange::export(&file, session, out),
        Command::Entangle { key, partners, strength, keyspace } => {
            links::entangle(&key, &partners, strength, &keyspace.name, session)
        }
        Command::Disentangle { key, partners, keyspace } => {
            links::disentangle(&key, &partners, &keyspace.name, session)
        }
        Command::Rule { pattern, partners, strength } => links::rule(&pattern, &partners, strength, session),
        Command::Quantum(args) => links::quantum(&args, session, out),
        Command::Stats { count, json, keyspace } => {
            let counted = count.then_some(&*keyspace.name);
            stats::stats(counted, json, session, out)
        }
        Command::Physics(args) => physics::physics(&args, session, out),
        Command::Watch(args) => watch::watch(&args, session, out),
        Command::Keyspaces => keyspaces::list(session, out),
        Command::Drop { name } => keyspaces::drop_one(&name, session),
        Command::Checkpoint => maintenance::checkpoint(session, out),
        Command::Backup { to } => maintenance::backup(&to, session, out),
        Command::Verify => maintenance::verify(session, out),
        Command::Repair { json } => repair::repair(json, session, out),
        Command::Log(command) => log::run(&command, session, out),
    }
}

/// Writes one line of JSON.
fn write_json(value: &impl Serialize, out: &mut dyn Write) -> Result<(), Failure> {
    serde_json::to_writer(&mut *out, value).map_err(std::io::Error::from)?;
    Ok(writeln!(out)?)
}
