//! Links between keys, rules that make them, and reads that follow them.

use std::ffi::{OsStr, OsString};
use std::io::Write;

use serde::Serialize;
use serde_json::Value;
use warp_api::{Entangled, Origin, QuantumOptions};

use crate::args::QuantumArgs;
use crate::commands::keyspaces::existing;
use crate::failure::Failure;
use crate::session::Session;
use crate::text::to_json;

pub(super) fn entangle(
    key: &OsStr,
    partners: &[OsString],
    strength: f64,
    keyspace: &str,
    session: &Session,
) -> Result<(), Failure> {
    let (key, partners) = (session.bytes(key)?, session.all_bytes(partners)?);
    let engine = session.open_or_create()?;
    engine.keyspace(keyspace)?.entangle(key, &partners, strength)?;
    Ok(engine.close()?)
}

pub(super) fn disentangle(
    key: &OsStr,
    partners: &[OsString],
    keyspace: &str,
    session: &Session,
) -> Result<(), Failure> {
    let (key, partners) = (session.bytes(key)?, session.all_bytes(partners)?);
    let engine = session.open_to_write()?;
    existing(&engine, keyspace)?.disentangle(key, &partners)?;
    Ok(engine.close()?)
}

pub(super) fn rule(
    pattern: &OsStr,
    partners: &[OsString],
    strength: f64,
    session: &Session,
) -> Result<(), Failure> {
    let (pattern, partners) = (session.bytes(pattern)?, session.all_bytes(partners)?);
    let engine = session.open_or_create()?;
    engine.entanglement_rule(pattern, &partners, strength)?;
    Ok(engine.close()?)
}

/// A key with its partners, as it is shown.
#[derive(Serialize)]
struct Found {
    key: Value,
    value: Value,
    found: usize,
    requested: usize,
    elapsed_nanos: u64,
    partners: Vec<FoundPartner>,
}

#[derive(Serialize)]
struct FoundPartner {
    keyspace: String,
    key: Value,
    value: Option<Value>,
    strength: f64,
    origin: Origin,
}

pub(super) fn quantum(args: &QuantumArgs, session: &Session, out: &mut dyn Write) -> Result<(), Failure> {
    let key = session.bytes(&args.key)?;
    let mut options = QuantumOptions::default();
    if let Some(partners) = args.partners {
        options.partners_max = partners;
    }
    if let Some(strength) = args.strength {
        options.strength_min = strength;
    }
    let keyspace = existing(&session.open_to_read()?, &args.keyspace.name)?;
    let found = keyspace.quantum_get_with(&key, &options)?;
    let found = found.ok_or_else(|| Failure::NoSuchKey(key.clone()))?;
    super::write_json(&shown(&key, &found), out)
}

fn shown(key: &[u8], entangled: &Entangled) -> Found {
    let partner = |partner: &warp_api::Partner| FoundPartner {
        keyspace: partner.keyspace.to_string(),
        key: to_json(&partner.key),
        value: partner.value.as_deref().map(to_json),
        strength: partner.strength,
        origin: partner.origin,
    };
    Found {
        key: to_json(key),
        value: to_json(&entangled.value),
        found: entangled.found,
        requested: entangled.requested,
        elapsed_nanos: u64::try_from(entangled.elapsed.as_nanos()).unwrap_or(u64::MAX),
        partners: entangled.partners.iter().map(partner).collect(),
    }
}
