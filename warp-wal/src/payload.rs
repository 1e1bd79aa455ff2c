//! The payload of data frames, whichever form it has.

use crate::binary;
use crate::entry::Entry;
use crate::error::{Corruption, Error};
use crate::json;
use crate::options::Format;

/// A place in a payload that does not decode, although its checksum is right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bad {
    /// Offset in the payload.
    pub(crate) at: usize,
    pub(crate) what: What,
}

/// What is wrong there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    Corrupt(Corruption),
    Unsupported(&'static str, u64),
}

impl Bad {
    pub(crate) fn at(at: usize, found: Corruption) -> Bad {
        Bad { at, what: What::Corrupt(found) }
    }

    pub(crate) fn unsupported(at: usize, what: &'static str, number: u8) -> Bad {
        Bad { at, what: What::Unsupported(what, u64::from(number)) }
    }

    /// The error, for a payload that starts at `offset` of `file`.
    pub(crate) fn error(self, file: &str, offset: u64) -> Error {
        let offset = offset.saturating_add(self.at as u64);
        match self.what {
            What::Corrupt(found) => Error::corrupt(file, offset, found),
            What::Unsupported(what, number) => {
                Error::Unsupported { file: file.to_owned(), offset, what, number }
            }
        }
    }
}

/// Memory for keys and values that are not in the payload as they are.
#[derive(Debug, Default)]
pub(crate) struct Values(Vec<u8>);

impl Values {
    /// Room for so many bytes, of any content.
    pub(crate) fn room(&mut self, bytes: usize) -> &mut [u8] {
        if self.0.len() < bytes {
            self.0.resize(bytes, 0);
        }
        &mut self.0[..bytes]
    }
}

/// Writes the sequence into an encoded group; returns how many entries it has.
pub(crate) fn set_seq(format: Format, group: &mut [u8], seq: u64) -> u64 {
    match format {
        Format::Binary => binary::set_seq(group, seq),
        Format::Json => json::set_seq(group, seq),
    }
}

/// Hands out the entries of `groups` groups, the first of which has sequence `first_seq`; returns how many.
pub(crate) fn decode(
    format: Format,
    payload: &[u8],
    first_seq: u64,
    groups: u32,
    values: &mut Values,
    apply: &mut dyn FnMut(u64, &Entry<'_>),
) -> Result<u64, Bad> {
    match format {
        Format::Binary => binary::decode(payload, first_seq, groups, values, apply),
        Format::Json => json::decode(payload, first_seq, groups, apply),
    }
}
