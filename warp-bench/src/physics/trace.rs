//! Traces: the format WTR1 in a zstd frame.

use std::collections::HashMap;
use std::io::Read;
use std::path::Path;

use ruzstd::decoding::StreamingDecoder;
use warp_io::{Dir, OsDir};

use crate::run::Outcome;

const MAGIC: &[u8] = b"WTR1";
const SUFFIX: &str = ".wtr.zst";

/// Requests in order, with keys numbered as they are first seen.
#[derive(Debug)]
pub(crate) struct Trace {
    pub(crate) name: String,
    /// FNV-1a of the decoded file.
    pub(crate) hash: u64,
    pub(crate) keys: Vec<u32>,
    /// One a request, or none at all.
    pub(crate) sizes: Vec<u32>,
    pub(crate) unique: usize,
}

/// The names of the traces in a directory, in order.
///
/// # Errors
/// What the system answers.
pub(crate) fn names(dir: &Path) -> Outcome<Vec<String>> {
    let mut names: Vec<String> = OsDir::open(dir, false)?
        .list()?
        .into_iter()
        .filter_map(|name| name.strip_suffix(SUFFIX).map(str::to_owned))
        .collect();
    names.sort_unstable();
    Ok(names)
}

/// Reads a trace by its name.
///
/// # Errors
/// What the system answers, and a file that is not such a trace.
pub(crate) fn read(dir: &Path, name: &str) -> Outcome<Trace> {
    let packed = OsDir::open(dir, false)?.open(&format!("{name}{SUFFIX}"), false)?.map()?;
    let mut bytes = Vec::new();
    StreamingDecoder::new(&packed[..])?.read_to_end(&mut bytes)?;
    parse(name, &bytes).ok_or_else(|| format!("{name} is no trace of format WTR1").into())
}

fn parse(name: &str, bytes: &[u8]) -> Option<Trace> {
    let rest = bytes.strip_prefix(MAGIC)?;
    let (&flags, mut rest) = rest.split_first()?;
    let requests = usize::try_from(varint(&mut rest)?).ok()?;
    // A request takes a byte at least, so that a wrong number cannot ask for more memory than the file is worth.
    let mut keys = Vec::with_capacity(requests.min(rest.len()));
    let (mut sizes, mut numbers, mut key) = (Vec::new(), HashMap::new(), 0_u64);
    for _ in 0..requests {
        let step = varint(&mut rest)?;
        key = key.wrapping_add((step >> 1) ^ (step & 1).wrapping_neg());
        let next = u32::try_from(numbers.len()).ok()?;
        keys.push(*numbers.entry(key).or_insert(next));
        if flags & 1 != 0 {
            sizes.push(u32::try_from(varint(&mut rest)?).unwrap_or(u32::MAX));
        }
    }
    let fnv = |hash: u64, &byte: &u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    let hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325, fnv);
    Some(Trace { name: name.to_owned(), hash, keys, sizes, unique: numbers.len() })
}

/// LEB128: seven bits a byte, the lowest first.
fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7F) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_differences_and_sizes_follow_them() {
        // Keys 5, 3, 5 with sizes 1, 300, 2.
        let bytes = [b"WTR1", &[1, 3, 10, 1, 3, 0xAC, 2, 4, 2][..]].concat();
        let trace = parse("t", &bytes).unwrap();
        assert_eq!((trace.keys, trace.sizes, trace.unique), (vec![0, 1, 0], vec![1, 300, 2], 2));
        assert!((0..bytes.len()).all(|end| parse("t", &bytes[..end]).is_none()));
    }
}
