//! Bytes as text: how they are given on the command line, and how they are shown.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::failure::Failure;

/// How keys and values on the command line are written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Encoding {
    /// As they are.
    Raw,
    /// Two hexadecimal digits a byte.
    Hex,
    /// Base64 with padding.
    Base64,
}

impl Encoding {
    /// The bytes that an argument stands for.
    pub(crate) fn decode(self, argument: &OsStr) -> Result<Vec<u8>, Failure> {
        let text = argument.as_bytes();
        let (encoding, decoded) = match self {
            Encoding::Raw => return Ok(text.to_vec()),
            Encoding::Hex => ("hexadecimal", decode_hex(text)),
            Encoding::Base64 => ("base64", STANDARD.decode(text).ok()),
        };
        decoded.ok_or_else(|| Failure::NotEncoded { argument: show(text), encoding })
    }
}

/// Bytes as an export has them: a string where they are UTF-8, and `{"b64": ".."}` otherwise.
pub(crate) fn to_json(bytes: &[u8]) -> Value {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.into(),
        Err(_) => json!({ "b64": STANDARD.encode(bytes) }),
    }
}

/// The reverse of [`to_json`]; `None` for what that never makes.
pub(crate) fn from_json(json: &Value) -> Option<Vec<u8>> {
    match json {
        Value::String(text) => Some(text.as_bytes().to_vec()),
        Value::Object(object) => STANDARD.decode(object.get("b64")?.as_str()?).ok(),
        _ => None,
    }
}

/// Bytes for a message, on one line whatever they are.
pub(crate) fn show(bytes: &[u8]) -> String {
    to_json(bytes).to_string()
}

/// A count with its noun: `1 layer`, `2 layers`.
pub(crate) fn counted(count: u64, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

fn decode_hex(digits: &[u8]) -> Option<Vec<u8>> {
    let (pairs, rest) = digits.as_chunks::<2>();
    let byte = |pair: &[u8; 2]| {
        let text = std::str::from_utf8(pair).ok().filter(|text| !text.starts_with('+'))?;
        u8::from_str_radix(text, 16).ok()
    };
    if rest.is_empty() { pairs.iter().map(byte).collect() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_decoded_or_refused() {
        let decode = |encoding: Encoding, text: &str| encoding.decode(OsStr::new(text)).ok();
        assert_eq!(decode(Encoding::Raw, "00ff"), Some(b"00ff".to_vec()));
        assert_eq!(decode(Encoding::Hex, "00fF"), Some(vec![0, 255]));
        assert_eq!(decode(Encoding::Hex, ""), Some(Vec::new()));
        assert_eq!(decode(Encoding::Base64, "AP8="), Some(vec![0, 255]));
        for text in ["0", "0g", "+1", "0x00", "ü0"] {
            assert_eq!(decode(Encoding::Hex, text), None, "{text}");
        }
        assert_eq!(decode(Encoding::Base64, "AP8"), None);
    }

    #[test]
    fn any_bytes_come_back_from_json() {
        for bytes in [&b""[..], b"text", "\u{1f680}\n".as_bytes(), &[0xff, 0, 10]] {
            assert_eq!(from_json(&to_json(bytes)).as_deref(), Some(bytes));
        }
        assert_eq!(from_json(&json!({ "b64": "?" })), None);
        assert_eq!(from_json(&json!(1)), None);
        assert_eq!(show(b"two\nlines"), r#""two\nlines""#);
    }
}
