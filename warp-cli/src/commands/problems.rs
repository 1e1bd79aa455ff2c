//! Listing what is wrong with files.

use std::io::{self, Write};

use crate::failure::Failure;

/// Lists problems as they are found, and counts them.
pub(super) struct Problems<'a> {
    out: &'a mut dyn Write,
    count: u64,
}

impl<'a> Problems<'a> {
    pub(super) fn new(out: &'a mut dyn Write) -> Problems<'a> {
        Problems { out, count: 0 }
    }

    /// A place and what is wrong there; an empty `file` if no single one is at fault.
    pub(super) fn add(&mut self, file: &str, offset: Option<u64>, what: &str) -> io::Result<()> {
        self.count += 1;
        match (file, offset) {
            ("", _) => writeln!(self.out, "{what}"),
            (_, None) => writeln!(self.out, "{file}: {what}"),
            (_, Some(offset)) => writeln!(self.out, "{file} at offset {offset}: {what}"),
        }
    }

    /// Says that all is well, or fails with the number of problems.
    pub(super) fn conclude(self, sound: &str) -> Result<(), Failure> {
        match self.count {
            0 => Ok(writeln!(self.out, "{sound}: sound")?),
            count => Err(Failure::Problems(count)),
        }
    }
}
