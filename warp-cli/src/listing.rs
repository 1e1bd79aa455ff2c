//! Choosing lines of an export: those of keys of one keyspace with a prefix, and no more than asked for.
//!
//! A listing is made of the engine's own export, so that deadlines and any bytes are in it, and an import
//! understands it.

use std::io::{self, Write};

use serde_json::{Value, json};

use crate::commands::DEFAULT_KEYSPACE;
use crate::text;

/// Passes on those lines of an export that are wanted. Once there can be no more of them, it refuses all
/// further writes, which ends the export, and [`Listing::is_complete`].
#[derive(Debug)]
pub(crate) struct Listing<W> {
    out: W,
    /// `None` for the default one, which lines do not name.
    keyspace: Option<String>,
    prefix: Vec<u8>,
    left: u64,
    keys_only: bool,
    /// The beginning of a line whose end is yet to come.
    line: Vec<u8>,
}

impl<W: Write> Listing<W> {
    /// At most `limit` of the keys of `keyspace` that begin with `prefix`.
    pub(crate) fn new(out: W, keyspace: &str, prefix: Vec<u8>, limit: u64, keys_only: bool) -> Listing<W> {
        let keyspace = Some(keyspace).filter(|name| *name != DEFAULT_KEYSPACE).map(str::to_owned);
        Listing { out, keyspace, prefix, left: limit, keys_only, line: Vec::new() }
    }

    /// Whether all that is wanted was passed on, though the export may have more.
    pub(crate) fn is_complete(&self) -> bool {
        self.left == 0
    }

    fn take_line(&mut self) -> io::Result<()> {
        let line: Value = serde_json::from_slice(&self.line)?;
        let keyspace = line.get("keyspace").and_then(Value::as_str);
        let Some(key) = line.get("key") else {
            // Each keyspace is named before its entries; links and rules come after all of them.
            let is_name = line.as_object().is_some_and(|fields| fields.len() == 1) && keyspace.is_some();
            if !is_name || self.keyspace.is_none() {
                self.left = 0;
            }
            return Ok(());
        };
        if keyspace != self.keyspace.as_deref() {
            return Ok(());
        }
        let bytes = text::from_json(key).ok_or(io::ErrorKind::InvalidData)?;
        if bytes.starts_with(&self.prefix) {
            if self.keys_only {
                writeln!(self.out, "{}", json!({ "key": key }))?;
            } else {
                self.out.write_all(&self.line)?;
            }
            self.left -= 1;
            return Ok(());
        }
        if bytes > self.prefix {
            // Keys come in order, so that those with the prefix are past.
            self.left = 0;
        }
        Ok(())
    }
}

impl<W: Write> Write for Listing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            if self.is_complete() {
                return Err(io::Error::other("the listing is complete"));
            }
            self.line.extend_from_slice(part);
            if part.ends_with(b"\n") {
                self.take_line()?;
                self.line.clear();
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXPORT: &str = concat!(
        "{\"key\":\"a\",\"value\":\"1\"}\n",
        "{\"key\":\"b1\",\"value\":\"2\",\"deadline\":9}\n",
        "{\"key\":\"b2\",\"value\":\"3\"}\n",
        "{\"key\":{\"b64\":\"/w==\"},\"value\":\"4\"}\n",
        "{\"keyspace\":\"empty\"}\n",
        "{\"keyspace\":\"jobs\"}\n",
        "{\"key\":\"b1\",\"value\":\"5\",\"keyspace\":\"jobs\"}\n",
        "{\"link\":\"a\",\"partner\":\"b1\",\"strength\":1.0}\n",
    );

    /// What is passed on of the export, written in pieces of `piece` bytes.
    fn listed_in(keyspace: &str, prefix: &[u8], limit: u64, keys_only: bool, piece: usize) -> (String, bool) {
        let mut out = Vec::new();
        let mut listing = Listing::new(&mut out, keyspace, prefix.to_vec(), limit, keys_only);
        let refused = EXPORT.as_bytes().chunks(piece).any(|piece| listing.write_all(piece).is_err());
        assert!(!refused || listing.is_complete());
        (String::from_utf8(out).unwrap(), refused)
    }

    fn listed(prefix: &[u8], limit: u64, keys_only: bool, piece: usize) -> (String, bool) {
        listed_in("default", prefix, limit, keys_only, piece)
    }

    #[test]
    fn lines_of_another_keyspace_are_passed_over() {
        let line = EXPORT.split_inclusive('\n').nth(6).unwrap();
        for piece in [1, 7, EXPORT.len()] {
            assert_eq!(listed_in("jobs", b"", u64::MAX, false, piece).0, line);
            assert_eq!(listed_in("jobs", b"b", 1, false, piece).0, line);
            assert_eq!(listed_in("jobs", b"c", u64::MAX, false, piece).0, "");
            assert_eq!(listed_in("empty", b"", u64::MAX, false, piece).0, "");
        }
    }

    #[test]
    fn lines_with_the_prefix_are_passed_on_as_they_are() {
        let lines: Vec<&str> = EXPORT.split_inclusive('\n').collect();
        for piece in [1, 7, EXPORT.len()] {
            assert_eq!(listed(b"", u64::MAX, false, piece).0, lines[..4].concat());
            assert_eq!(listed(b"b", u64::MAX, false, piece).0, lines[1..3].concat());
            assert_eq!(listed(b"b2", u64::MAX, false, piece).0, lines[2]);
            assert_eq!(listed(b"\xff", u64::MAX, false, piece).0, lines[3]);
            assert_eq!(listed(b"c", u64::MAX, false, piece).0, "");
        }
    }

    #[test]
    fn the_export_ends_as_soon_as_there_can_be_no_more() {
        assert_eq!(listed(b"", 2, true, 1), ("{\"key\":\"a\"}\n{\"key\":\"b1\"}\n".to_owned(), true));
        assert_eq!(listed(b"", 0, true, 1), (String::new(), true));
        assert_eq!(listed(b"b1", u64::MAX, true, 1), ("{\"key\":\"b1\"}\n".to_owned(), true));
        assert!(!listed_in("jobs", b"", u64::MAX, true, EXPORT.len()).1);
    }
}
