//! Keeping segments that the log does not need any more: copied into another directory before they are removed.
//!
//! A segment is copied under another name, synced, given its own name, and that is synced, before it may leave the log: a
//! crash at any point leaves it whole in one of the two, and a part of a copy is never taken for a segment.

use std::io;

use warp_io::{Dir, File, read_exact_at, write_all_at};

use crate::error::{Error, Result};
use crate::log::Log;

/// How much is copied at a time.
const CHUNK_BYTES: u64 = 1 << 20;
/// What a copy is called until it is whole.
const PARTIAL_SUFFIX: &str = ".partial";

/// What [`Log::archive_before`] did.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Archived {
    /// The segments that were removed from the log, and are in the archive.
    pub segments: Vec<String>,
    /// Why the next one could not be copied, if it could not. It stays in the log; the log goes on.
    pub failure: Option<Error>,
}

impl Log {
    /// Copies segments whose entries are all below `seq` into `archive`, oldest first and never the active one, and removes
    /// them from the log once they are durable there. `removing` is called around the removal.
    ///
    /// A segment that is in the archive already, since a crash came before its removal, is copied again; if what is there
    /// under its name is anything else, that is a failure, and it is left alone.
    ///
    /// # Errors
    /// [`Error::Io`] if a segment cannot be removed; those before it are. The log goes on. A copy that fails is no error,
    /// but reported.
    pub fn archive_before(
        &self,
        seq: u64,
        archive: &dyn Dir,
        removing: impl FnOnce(&mut dyn FnMut()),
    ) -> Result<Archived> {
        let mut archived = Archived::default();
        let retired = self.retired.lock().clone();
        let mut copied = Vec::new();
        for segment in retired.into_iter().take_while(|segment| segment.last_seq < seq) {
            match copy(&*self.dir, archive, &segment.name) {
                Ok(()) => copied.push(segment.name),
                Err(source) => {
                    archived.failure = Some(Error::io(&segment.name, 0, source));
                    break;
                }
            }
        }
        let mut removed = Ok(Vec::new());
        removing(&mut || removed = self.remove_while(|segment| copied.contains(&segment.name)));
        archived.segments = removed?;
        Ok(archived)
    }
}

/// Copies a segment, so that it is there as a whole and durable, or not at all.
fn copy(from: &dyn Dir, to: &dyn Dir, name: &str) -> io::Result<()> {
    let source = from.open(name, false)?;
    let bytes = source.len()?;
    match to.open(name, false) {
        Ok(there) if !is_same(&*source, &*there, bytes)? => {
            let what = "the archive has another segment of that name";
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, what));
        }
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let partial = format!("{name}{PARTIAL_SUFFIX}");
    // Of an attempt that failed, or that a crash ended. Whether there was one, the next line finds out.
    let _ = to.remove(&partial);
    let copied = to.create_new(&partial).and_then(|copy| {
        if from.open(&partial, false).is_ok() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "the archive is the log's own directory",
            ));
        }
        copy_bytes(&*source, &*copy, bytes)?;
        copy.sync_data()
    });
    let named = copied.and_then(|()| to.rename(&partial, name));
    if named.is_err() {
        // What cannot be removed now is removed by the next attempt.
        let _ = to.remove(&partial);
    }
    named.and_then(|()| to.sync_dir())
}

fn copy_bytes(source: &dyn File, copy: &dyn File, bytes: u64) -> io::Result<()> {
    for_chunks(bytes, |offset, buffer| {
        read_exact_at(source, offset, buffer)?;
        write_all_at(copy, offset, buffer)?;
        Ok(true)
    })
    .map(|_| ())
}

/// Whether two files hold the same `bytes` bytes.
fn is_same(source: &dyn File, there: &dyn File, bytes: u64) -> io::Result<bool> {
    if there.len()? != bytes {
        return Ok(false);
    }
    let mut other = Vec::new();
    for_chunks(bytes, |offset, buffer| {
        other.resize(buffer.len(), 0);
        read_exact_at(source, offset, buffer)?;
        read_exact_at(there, offset, &mut other)?;
        Ok(*buffer == other)
    })
}

/// Goes through a file of so many bytes, as long as `each` says yes; whether it always did.
fn for_chunks(bytes: u64, mut each: impl FnMut(u64, &mut Vec<u8>) -> io::Result<bool>) -> io::Result<bool> {
    let mut buffer = Vec::new();
    let mut offset = 0;
    while offset < bytes {
        let len = usize::try_from(CHUNK_BYTES.min(bytes - offset)).unwrap_or(usize::MAX);
        buffer.resize(len, 0);
        if !each(offset, &mut buffer)? {
            return Ok(false);
        }
        offset += len as u64;
    }
    Ok(true)
}
