//! The client's side of Redis' protocol, as far as SET and GET need it: requests are written together, replies read in
//! their order.
//!
//! <https://redis.io/docs/latest/develop/reference/protocol-spec/>

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

use crate::run::Outcome;

/// Longest value that is read, in bytes: a length above it is no answer to what is asked here.
const VALUE_BYTES_MAX: usize = 1 << 20;

/// What a server answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    Done,
    Value(Vec<u8>),
    Absent,
}

/// A connection, with the requests that were not sent yet.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: UnixStream,
    replies: BufReader<UnixStream>,
    requests: Vec<u8>,
}

impl Connection {
    /// Connects to a server's socket.
    ///
    /// # Errors
    /// What the system answers.
    pub(crate) fn open(socket: &Path) -> Outcome<Connection> {
        let stream = UnixStream::connect(socket)?;
        let replies = BufReader::new(stream.try_clone()?);
        Ok(Connection { stream, replies, requests: Vec::new() })
    }

    pub(crate) fn set(&mut self, key: &[u8], value: &[u8]) {
        request(&mut self.requests, &[b"SET", key, value]);
    }

    pub(crate) fn get(&mut self, key: &[u8]) {
        request(&mut self.requests, &[b"GET", key]);
    }

    /// Asks for a snapshot, which is written before the reply comes.
    pub(crate) fn save(&mut self) {
        request(&mut self.requests, &[b"SAVE"]);
    }

    /// Sends what was asked so far.
    ///
    /// # Errors
    /// What the system answers.
    pub(crate) fn send(&mut self) -> Outcome<()> {
        self.stream.write_all(&self.requests)?;
        self.requests.clear();
        Ok(())
    }

    /// Waits for the reply to the oldest request that has none.
    ///
    /// # Errors
    /// What the system or the server answers.
    pub(crate) fn reply(&mut self) -> Outcome<Reply> {
        reply(&mut self.replies)
    }
}

fn request(out: &mut Vec<u8>, words: &[&[u8]]) {
    out.extend_from_slice(format!("*{}\r\n", words.len()).as_bytes());
    for word in words {
        out.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        out.extend_from_slice(word);
        out.extend_from_slice(b"\r\n");
    }
}

fn reply(from: &mut impl BufRead) -> Outcome<Reply> {
    let mut line = String::new();
    from.read_line(&mut line)?;
    let line = line.strip_suffix("\r\n").ok_or("the server's answer ends early")?;
    match line.split_at_checked(1) {
        Some(("+", _)) => Ok(Reply::Done),
        Some(("$", "-1")) => Ok(Reply::Absent),
        Some(("$", length)) => {
            let length = length.parse::<usize>()?;
            if length > VALUE_BYTES_MAX {
                return Err(format!("the server's answer has {length} bytes").into());
            }
            let mut value = vec![0; length + 2];
            from.read_exact(&mut value)?;
            value.truncate(length);
            Ok(Reply::Value(value))
        }
        _ => Err(format!("the server answered {line:?}").into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_arrays_of_strings_with_their_lengths() {
        let mut out = Vec::new();
        request(&mut out, &[b"SET", b"k\r\n", b""]);
        assert_eq!(out, b"*3\r\n$3\r\nSET\r\n$3\r\nk\r\n\r\n$0\r\n\r\n");
    }

    #[test]
    fn replies_are_read_one_after_the_other() {
        let mut bytes = &b"+OK\r\n$3\r\na\r\n\r\n$-1\r\n-ERR no\r\n$99999999\r\n"[..];
        assert_eq!(reply(&mut bytes).unwrap(), Reply::Done);
        assert_eq!(reply(&mut bytes).unwrap(), Reply::Value(b"a\r\n".to_vec()));
        assert_eq!(reply(&mut bytes).unwrap(), Reply::Absent);
        assert!(reply(&mut bytes).unwrap_err().to_string().contains("ERR no"));
        assert!(reply(&mut bytes).is_err());
        assert!(reply(&mut &b"+OK"[..]).is_err());
        assert!(reply(&mut &b"$5\r\nab"[..]).is_err());
    }
}
