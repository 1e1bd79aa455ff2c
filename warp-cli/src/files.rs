//! The files that a user names for import and export.
#![expect(clippy::disallowed_methods, reason = "import and export files are the user's, not the database's")]

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

use crate::failure::Failure;

/// The name that stands for standard input or output.
const STANDARD: &str = "-";
/// What the name of an unfinished export ends in.
const PARTIAL_SUFFIX: &str = ".partial";
const BUFFER_BYTES: usize = 64 << 10;

/// Whether a path stands for standard input or output.
pub(crate) fn is_standard(path: &Path) -> bool {
    path == Path::new(STANDARD)
}

/// Opens a file, or standard input, for reading.
pub(crate) fn open(path: &Path) -> Result<Box<dyn BufRead>, Failure> {
    if is_standard(path) {
        return Ok(Box::new(io::stdin().lock()));
    }
    let read = |source| Failure::Read { path: path.to_path_buf(), source };
    let mut reader = BufReader::with_capacity(BUFFER_BYTES, File::open(path).map_err(read)?);
    // A directory, for instance, can be opened but not read; better known before anything is done.
    reader.fill_buf().map_err(read)?;
    Ok(Box::new(reader))
}

/// A file that gets its name only once it is whole, so that a failed export does not replace a good one.
#[derive(Debug)]
pub(crate) struct Destination {
    path: PathBuf,
    /// Where it is written; `None` where `path` is written directly, since it is a device or a pipe.
    partial: Option<PathBuf>,
    file: BufWriter<File>,
}

impl Destination {
    /// Begins a file that will be at `path`.
    pub(crate) fn create(path: &Path) -> Result<Destination, Failure> {
        let found = fs::metadata(path);
        let is_special = found.as_ref().is_ok_and(|found| !found.is_file());
        // A link stays one: what it leads to is replaced.
        let path = match found {
            Ok(_) if !is_special => fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf()),
            _ => path.to_path_buf(),
        };
        let partial = (!is_special).then(|| {
            let mut name = OsString::from(&path);
            name.push(PARTIAL_SUFFIX);
            PathBuf::from(name)
        });
        let written = partial.as_ref().unwrap_or(&path);
        let file =
            File::create(written).map_err(|source| Failure::Write { path: written.clone(), source })?;
        Ok(Destination { file: BufWriter::with_capacity(BUFFER_BYTES, file), path, partial })
    }

    /// Ends the file: syncs it, and gives it its name.
    pub(crate) fn finish(mut self) -> Result<(), Failure> {
        self.publish().map_err(|source| Failure::Write { path: self.path.clone(), source })
    }

    fn publish(&mut self) -> io::Result<()> {
        self.file.flush()?;
        if let Some(partial) = &self.partial {
            self.file.get_ref().sync_all()?;
            fs::rename(partial, &self.path)?;
            self.partial = None;
        }
        Ok(())
    }
}

impl Write for Destination {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for Destination {
    fn drop(&mut self) {
        if let Some(partial) = &self.partial {
            // It was not finished. If it cannot be removed either, its name says what it is.
            let _ = fs::remove_file(partial);
        }
    }
}
