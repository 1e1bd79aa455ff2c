//! The names of keyspaces, as one entry of the system keyspace. `docs/format/directory.md`, section "Names of keyspaces".

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::error::{Error, ErrorKind, Result};
use crate::keyspace::NUMBER_FIRST;

/// Longest name of a keyspace, in bytes.
pub const KEYSPACE_NAME_BYTES_MAX: usize = 255;
/// The most keyspaces that a database has at one time, the default one not counted. Making or dropping one writes
/// all names, and holds every writer for a moment.
pub const KEYSPACES_MAX: usize = 4096;

/// The key of the entry of all names.
pub(crate) const NAMES_KEY: &[u8] = b"keyspaces";

const VERSION: u8 = 1;

// The length of a name is stored in one byte.
const _: () = assert!(KEYSPACE_NAME_BYTES_MAX <= u8::MAX as usize);

/// Which keyspaces there are, and the number that the next one gets.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Names {
    next: u32,
    numbers: BTreeMap<Arc<str>, u32>,
}

impl Default for Names {
    fn default() -> Names {
        Names { next: NUMBER_FIRST, numbers: BTreeMap::new() }
    }
}

impl Names {
    /// The number of the keyspace of that name, with the name as it is kept.
    pub(crate) fn get(&self, name: &str) -> Option<(u32, Arc<str>)> {
        self.numbers.get_key_value(name).map(|(name, number)| (*number, Arc::clone(name)))
    }

    /// All keyspaces in the order of their names.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Arc<str>, u32)> {
        self.numbers.iter().map(|(name, number)| (name, *number))
    }

    /// Adds a keyspace, under a number that none had before.
    pub(crate) fn add(&mut self, name: &str) -> Result<()> {
        check(name)?;
        if self.numbers.len() >= KEYSPACES_MAX {
            return Err(Error::invalid(format!("there are {KEYSPACES_MAX} keyspaces already")));
        }
        let next = self.next.checked_add(1).ok_or_else(|| Error::invalid("all numbers are used up"))?;
        self.numbers.insert(name.into(), self.next);
        self.next = next;
        Ok(())
    }

    /// Removes a keyspace, and returns its number.
    pub(crate) fn remove(&mut self, name: &str) -> Option<u32> {
        self.numbers.remove(name)
    }

    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = vec![VERSION];
        bytes.extend_from_slice(&self.next.to_le_bytes());
        for (name, number) in &self.numbers {
            bytes.extend_from_slice(&number.to_le_bytes());
            bytes.push(u8::try_from(name.len()).expect("names were checked when they were added"));
            bytes.extend_from_slice(name.as_bytes());
        }
        bytes
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Result<Names> {
        match bytes.split_first() {
            Some((&VERSION, rest)) => decode(rest)
                .ok_or_else(|| Error::new(ErrorKind::Corrupt, "the names of keyspaces cannot be read")),
            Some(_) => {
                Err(Error::new(ErrorKind::Unsupported, "the names of keyspaces are of a newer version"))
            }
            None => Err(Error::new(ErrorKind::Corrupt, "the names of keyspaces are missing")),
        }
    }
}

fn decode(bytes: &[u8]) -> Option<Names> {
    let (next, mut bytes) = split_number(bytes)?;
    let mut numbers: BTreeMap<Arc<str>, u32> = BTreeMap::new();
    while !bytes.is_empty() {
        let (number, rest) = split_number(bytes)?;
        let (length, rest) = rest.split_first()?;
        let (name, rest) = rest.split_at_checked(usize::from(*length))?;
        let name = std::str::from_utf8(name).ok()?;
        let ascends = numbers.last_key_value().is_none_or(|(last, _)| **last < *name);
        let is_new = (NUMBER_FIRST..next).contains(&number) && !numbers.values().any(|used| *used == number);
        if name.is_empty() || !ascends || !is_new {
            return None;
        }
        numbers.insert(name.into(), number);
        bytes = rest;
    }
    Some(Names { next, numbers })
}

fn split_number(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let (number, rest) = bytes.split_first_chunk()?;
    Some((u32::from_le_bytes(*number), rest))
}

/// Refuses a name outside the limits.
pub(crate) fn check(name: &str) -> Result<()> {
    if name.is_empty() {
        return Err(Error::invalid("the name of a keyspace is empty"));
    }
    if name.len() > KEYSPACE_NAME_BYTES_MAX {
        let length = name.len();
        return Err(Error::invalid(format!(
            "a keyspace's name of {length} bytes is longer than the limit of {KEYSPACE_NAME_BYTES_MAX}"
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two() -> Names {
        let mut names = Names::default();
        ["orders", "gone", "jobs"].iter().for_each(|name| names.add(name).unwrap());
        assert_eq!(names.remove("gone"), Some(3));
        names
    }

    /// The bytes of the example in the format's description.
    fn documented() -> Vec<u8> {
        let document = include_str!("../../docs/format/directory.md");
        let (_, example) = document.split_once("```hex keyspace-names\n").unwrap();
        let (example, _) = example.split_once("```").unwrap();
        let bytes = example.lines().flat_map(|line| line.split('#').next().unwrap_or("").split_whitespace());
        bytes.map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect()
    }

    #[test]
    fn names_are_stored_as_documented() {
        assert_eq!(two().to_bytes(), documented());
        assert_eq!(Names::from_bytes(&documented()).unwrap(), two());
    }

    #[test]
    fn damage_is_told() {
        let bytes = documented();
        for length in 0..bytes.len() {
            // A list that is cut between two names is one with fewer of them.
            let whole = Names::from_bytes(&bytes[..length]).is_ok();
            assert_eq!(whole, [5, 14].contains(&length), "cut at {length}");
        }
        let kind = |bytes: &[u8]| Names::from_bytes(bytes).unwrap_err().kind();
        assert_eq!(kind(&[2, 0, 0, 0, 0]), ErrorKind::Unsupported);
        let mut used_twice = bytes.clone();
        used_twice[5] = 2;
        assert_eq!(kind(&used_twice), ErrorKind::Corrupt);
        let mut never_given = bytes.clone();
        never_given[1] = 4;
        assert_eq!(kind(&never_given), ErrorKind::Corrupt);
    }

    #[test]
    fn a_number_is_never_given_twice() {
        let mut names = two();
        assert_eq!(names.remove("jobs"), Some(4));
        names.add("jobs").unwrap();
        assert_eq!(names.get("jobs").unwrap().0, 5);
    }

    #[test]
    fn there_are_limits() {
        let mut names = Names::default();
        assert!(names.add("").is_err() && names.add(&"n".repeat(KEYSPACE_NAME_BYTES_MAX + 1)).is_err());
        for number in 0..KEYSPACES_MAX {
            names.add(&format!("{number}")).unwrap();
        }
        assert_eq!(names.add("one more").unwrap_err().kind(), ErrorKind::Invalid);
    }
}
