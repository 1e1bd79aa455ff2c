//! Entries as JSON objects, one a line; a group is a run of lines with one sequence. `docs/format/wal.md`,
//! section "JSON segments".

use std::borrow::Cow;
use std::io::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use crate::entry::{Entry, Kind};
use crate::error::Corruption;
use crate::payload::Bad;

/// What stands before the sequence, which is right-aligned so that it can be filled in later.
const LINE_START: &[u8] = b"{\"seq\":";
/// Digits that any sequence fits in.
const SEQ_DIGITS: usize = 20;

/// Appends the line of an entry, its sequence left blank.
pub(crate) fn encode_entry(entry: &Entry<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(LINE_START);
    out.resize(out.len() + SEQ_DIGITS, b' ');
    let infallible = "writing into memory cannot fail";
    write!(
        out,
        ",\"kind\":\"{}\",\"keyspace\":{},\"shard\":{},\"level\":{},\"deadline\":{},\"key\":",
        entry.kind.word(),
        entry.keyspace,
        entry.shard,
        entry.level,
        entry.deadline
    )
    .expect(infallible);
    encode_bytes(entry.key, out);
    out.extend_from_slice(b",\"value\":");
    encode_bytes(entry.value, out);
    out.extend_from_slice(b"}\n");
}

/// Appends a string if the bytes are UTF-8 and their string is not longer than their base64.
pub(crate) fn encode_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    let base64_bytes = bytes.len().div_ceil(3) * 4 + b"{\"b64\":\"\"}".len();
    if let Ok(text) = std::str::from_utf8(bytes) {
        serde_json::to_writer(&mut *out, text).expect("writing a string into memory cannot fail");
        if out.len() - start <= base64_bytes {
            return;
        }
        out.truncate(start);
    }
    out.extend_from_slice(b"{\"b64\":\"");
    out.extend_from_slice(STANDARD.encode(bytes).as_bytes());
    out.extend_from_slice(b"\"}");
}

/// Writes the sequence into every line of a group; returns how many lines it has.
pub(crate) fn set_seq(group: &mut [u8], seq: u64) -> u64 {
    let digits = format!("{seq:SEQ_DIGITS$}");
    let mut lines = 0;
    for line in group.split_mut(|byte| *byte == b'\n') {
        if let Some(field) = line.get_mut(LINE_START.len()..LINE_START.len() + SEQ_DIGITS) {
            field.copy_from_slice(digits.as_bytes());
            lines += 1;
        }
    }
    lines
}

/// A line as it is read.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line<'a> {
    seq: u64,
    #[serde(borrow)]
    kind: Cow<'a, str>,
    keyspace: u32,
    shard: u16,
    level: u8,
    deadline: u64,
    #[serde(borrow)]
    key: Text<'a>,
    #[serde(borrow)]
    value: Text<'a>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Text<'a> {
    #[serde(borrow)]
    Plain(Cow<'a, str>),
    Base64(Base64<'a>),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Base64<'a> {
    #[serde(borrow)]
    b64: Cow<'a, str>,
}

impl Text<'_> {
    fn into_bytes(self) -> Option<Vec<u8>> {
        match self {
            Text::Plain(text) => Some(text.into_owned().into_bytes()),
            Text::Base64(text) => STANDARD.decode(text.b64.as_bytes()).ok(),
        }
    }
}

/// Hands out the entries of `groups` groups, the first of which has sequence `first_seq`; returns how many.
pub(crate) fn decode(
    payload: &[u8],
    first_seq: u64,
    groups: u32,
    apply: &mut dyn FnMut(u64, &Entry<'_>),
) -> Result<u64, Bad> {
    let next_seq = first_seq.saturating_add(u64::from(groups));
    let mut expected = first_seq;
    let mut at = 0;
    let mut entries = 0;
    while at < payload.len() {
        let bad = Bad::at(at, Corruption::Malformed);
        let end = payload[at..].iter().position(|byte| *byte == b'\n').ok_or(bad)?;
        let line: Line<'_> = serde_json::from_slice(&payload[at..at + end]).map_err(|_| bad)?;
        let goes_on = entries > 0 && line.seq.checked_add(1) == Some(expected);
        if !goes_on && (line.seq != expected || expected >= next_seq) {
            return Err(Bad::at(at, Corruption::MissingSequence { expected, found: line.seq }));
        }
        expected = line.seq.checked_add(1).ok_or(bad)?;
        decode_line(line, at, apply)?;
        entries += 1;
        at += end + 1;
    }
    if expected == next_seq { Ok(entries) } else { Err(Bad::at(at, Corruption::Malformed)) }
}

fn decode_line(line: Line<'_>, at: usize, apply: &mut dyn FnMut(u64, &Entry<'_>)) -> Result<(), Bad> {
    let kind = Kind::from_word(&line.kind).ok_or(Bad::unsupported(at, "entry kind", 0))?;
    let bad = Bad::at(at, Corruption::Malformed);
    let key = line.key.into_bytes().ok_or(bad)?;
    let value = line.value.into_bytes().ok_or(bad)?;
    let entry = Entry {
        kind,
        keyspace: line.keyspace,
        shard: line.shard,
        level: line.level,
        deadline: line.deadline,
        key: &key,
        value: &value,
    };
    apply(line.seq, &entry);
    Ok(())
}
