//! The log's archive: segments that no checkpoint needs any more, kept for views of points in time.

use std::sync::Arc;

use warp_io::{Dir, OsDir};

use crate::environment::Environment;
use crate::error::{Result, directory_error};
use crate::from_crates::log_error;
use crate::home::Home;
use crate::options::Options;
use crate::shared::Shared;

/// The archive's directory, if there is to be one; made if the database is opened for writing.
pub(crate) fn archive_dir(options: &Options, environment: &Environment) -> Result<Option<Arc<dyn Dir>>> {
    if let Some(dir) = &environment.log_archive {
        return Ok(Some(Arc::clone(dir)));
    }
    let Some(path) = &options.log_archive else { return Ok(None) };
    let dir = OsDir::open(path, !options.read_only)
        .map_err(|error| directory_error("cannot open the archive of the log", error).at(path))?;
    Ok(Some(Arc::new(dir)))
}

/// Where the segments of a log are: those that it is written to first, since they are moved from there.
pub(crate) fn log_dirs<'a>(log: &'a Arc<dyn Dir>, archive: Option<&'a Arc<dyn Dir>>) -> Vec<&'a dyn Dir> {
    [Some(log), archive].into_iter().flatten().map(|dir| &**dir).collect()
}

impl Shared {
    /// Takes the segments below `log_from` out of the log: into the archive, if there is one. One that cannot be archived
    /// stays, is reported, and is tried again when this is called next, after the next checkpoint. Returns how many went.
    pub(crate) fn retire_segments(&self, home: &Home, log_from: u64) -> Result<usize> {
        let Some(log) = self.journal.log() else { return Ok(0) };
        let Some(archive) = &home.archive else {
            let Some(_nobody_reads) = self.may_remove_files(home)? else { return Ok(0) };
            let removed = log.remove_before(log_from).map_err(log_error)?;
            self.counters.removed_files.add(removed.len() as u64);
            return Ok(removed.len());
        };
        if self.may_remove_files(home)?.is_none() {
            return Ok(0);
        }
        // Copying takes long, and is in nobody's way: only the removal keeps others waiting.
        let mut leave = Ok(());
        let archived = log.archive_before(log_from, &**archive, |remove| match self.may_remove_files(home) {
            Ok(Some(_nobody_reads)) => remove(),
            // What is archived by now is removed the next time.
            Ok(None) => {}
            Err(error) => leave = Err(error),
        });
        leave?;
        let archived = archived.map_err(log_error)?;
        self.counters.archived_segments.add(archived.segments.len() as u64);
        if let Some(error) = archived.failure {
            self.counters.archive_failures.add(1);
            let why = crate::error::chain(&error);
            tracing::error!(why, "a segment could not be archived, and stays in the log");
        }
        Ok(archived.segments.len())
    }
}
