//! The changes that the log holds.

use std::io::Write;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;
use serde_json::Value;
use warp_api::{Change, ChangeOp, ErrorKind, Seq, Watch};

use crate::args::WatchArgs;
use crate::commands::keyspaces::existing;
use crate::commands::write_json;
use crate::failure::Failure;
use crate::session::Session;
use crate::text::{show, to_json};

/// A change as a line of JSON.
#[derive(Serialize)]
struct Line<'a> {
    seq: Seq,
    keyspace: &'a str,
    op: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<Value>,
    /// In Unix milliseconds, as in an export.
    #[serde(skip_serializing_if = "Option::is_none")]
    deadline: Option<u64>,
}

pub(super) fn watch(args: &WatchArgs, session: &Session, out: &mut dyn Write) -> Result<(), Failure> {
    let prefix = session.bytes(&args.prefix)?;
    let engine = session.open_to_read()?;
    let keyspace = args.keyspace.as_ref().map(|name| existing(&engine, name)).transpose()?;
    let since = |seq| match &keyspace {
        Some(keyspace) => keyspace.changes_since(seq, &prefix),
        None => engine.changes_since(seq, &prefix),
    };
    let changes: Watch = match (args.since, since(Seq(args.since.unwrap_or(0)))) {
        // All that there is was asked for.
        (None, Err(error)) if error.kind() == ErrorKind::Lagged => {
            since(error.oldest_seq().unwrap_or_default())?
        }
        (_, changes) => changes?,
    };
    for change in changes {
        let change = change?;
        if args.json { write_json(&line(&change), out)? } else { write_text(&change, out)? }
    }
    Ok(())
}

fn line(change: &Change) -> Line<'_> {
    let value = match &change.op {
        ChangeOp::Put(value) => Some(to_json(value)),
        _ => None,
    };
    Line {
        seq: change.seq,
        keyspace: &change.keyspace,
        op: word(&change.op),
        key: (change.op != ChangeOp::Clear).then(|| to_json(&change.key)),
        value,
        deadline: change.expires_at.and_then(unix_millis),
    }
}

/// The sequence number, the keyspace, what was done, and with what, between tabs.
fn write_text(change: &Change, out: &mut dyn Write) -> Result<(), Failure> {
    write!(out, "{}\t{}\t{}", change.seq, change.keyspace, word(&change.op))?;
    if change.op != ChangeOp::Clear {
        write!(out, "\t{}", show(&change.key))?;
    }
    if let ChangeOp::Put(value) = &change.op {
        write!(out, "\t{}", show(value))?;
    }
    Ok(writeln!(out)?)
}

fn word(op: &ChangeOp) -> &'static str {
    match op {
        ChangeOp::Put(_) => "put",
        ChangeOp::Delete => "delete",
        ChangeOp::Expired => "expired",
        ChangeOp::Clear => "clear",
        _ => "other",
    }
}

fn unix_millis(time: SystemTime) -> Option<u64> {
    u64::try_from(time.duration_since(UNIX_EPOCH).ok()?.as_millis()).ok()
}
