//! How a command opens the database.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use warp_api::{Options, Recovery, RepairReport, WarpEngine};
use warp_io::{Dir, DirLock, OsDir};

use crate::failure::Failure;
use crate::progress::Progress;
use crate::text::Encoding;

/// Subdirectory of the log's segments, as `docs/format/wal.md` names it.
pub(crate) const LOG_DIR: &str = "wal";

/// What every command works with: which database, how arguments are written, where progress is shown.
#[derive(Debug)]
pub(crate) struct Session {
    data: PathBuf,
    encoding: Encoding,
    pub(crate) progress: Progress,
}

impl Session {
    pub(crate) fn new(data: PathBuf, encoding: Encoding, progress: Progress) -> Session {
        Session { data, encoding, progress }
    }

    /// The same for the database in another directory.
    pub(crate) fn at(&self, data: &Path) -> Session {
        Session { data: data.to_owned(), encoding: self.encoding, progress: self.progress.clone() }
    }

    /// The directory of the database.
    pub(crate) fn data(&self) -> &Path {
        &self.data
    }

    /// The bytes that an argument stands for.
    pub(crate) fn bytes(&self, argument: &OsStr) -> Result<Vec<u8>, Failure> {
        self.encoding.decode(argument)
    }

    /// The bytes that each of several arguments stands for.
    pub(crate) fn all_bytes<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Result<Vec<Vec<u8>>, Failure> {
        arguments.iter().map(|argument| self.bytes(argument.as_ref())).collect()
    }

    /// Opens the database for reading only: nothing in its directory changes.
    pub(crate) fn open_to_read(&self) -> Result<WarpEngine, Failure> {
        self.open(self.reading())
    }

    /// As [`Session::open_to_read`], of a database that may be damaged: what is sound of it. Nothing is mapped, so that a place
    /// that the disk cannot give is an error.
    pub(crate) fn open_damaged(&self) -> Result<WarpEngine, Failure> {
        self.open(self.reading().recovery(Recovery::Salvage).map_layers(false))
    }

    /// Opens the database, which must exist, for reading and writing.
    pub(crate) fn open_to_write(&self) -> Result<WarpEngine, Failure> {
        self.open(self.options().create(false))
    }

    /// Opens the database for reading and writing, and makes it if there is none.
    pub(crate) fn open_or_create(&self) -> Result<WarpEngine, Failure> {
        self.open(self.options())
    }

    /// The directory of the database, without opening it.
    pub(crate) fn home(&self) -> Result<OsDir, Failure> {
        OsDir::open(&self.data, false).map_err(|source| Failure::Read { path: self.data.clone(), source })
    }

    /// Keeps the files of the database as they are, as long as the answer lives, whoever has it open.
    pub(crate) fn hold(&self) -> Result<DirLock, Failure> {
        let held = warp_api::hold_files(&self.home()?);
        Ok(held?)
    }

    /// Repairs the database, which nobody may have open.
    pub(crate) fn repair(&self) -> Result<RepairReport, Failure> {
        let report = self.options().repair(&self.data)?;
        self.progress.clear();
        Ok(report)
    }

    /// The directory of the log, without opening the database.
    pub(crate) fn log_dir(&self) -> Result<Arc<dyn Dir>, Failure> {
        let dir = self.home()?.subdir(LOG_DIR, false);
        dir.map_err(|source| Failure::Read { path: self.data.join(LOG_DIR), source })
    }

    fn reading(&self) -> Options {
        self.options().read_only(true).create(false)
    }

    fn options(&self) -> Options {
        let progress = self.progress.clone();
        Options::new().on_progress(move |report| progress.report(report))
    }

    fn open(&self, options: Options) -> Result<WarpEngine, Failure> {
        let engine = options.open(&self.data)?;
        self.progress.clear();
        Ok(engine)
    }
}
