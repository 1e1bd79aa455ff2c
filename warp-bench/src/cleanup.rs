//! The directory in which everything happens, removed however the run ends.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use tempfile::TempDir;

use crate::run::Outcome;

/// The directory of this run, for the handler of signals.
static SCRATCH: Mutex<Option<TempDir>> = Mutex::new(None);

/// Threads and children may still be making files while an interrupted run removes them.
const REMOVE_ATTEMPTS: usize = 10;
const REMOVE_PAUSE: Duration = Duration::from_millis(50);
/// What shells report for a program that an interrupt ended.
const EXIT_INTERRUPTED: i32 = 130;

/// The directory of this run; dropping it removes it with all that is in it.
#[derive(Debug)]
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        remove();
    }
}

/// Makes the directory, in `parent`, or in `$TMPDIR`, or in the current directory; an interrupt removes it too.
///
/// # Errors
/// What the system answers.
pub(crate) fn scratch(parent: Option<&Path>) -> Outcome<Scratch> {
    // Not the system's default for temporary files: that is often memory, where a sync costs nothing.
    let parent = match (parent, std::env::var_os("TMPDIR")) {
        (Some(parent), _) => parent.to_path_buf(),
        (None, Some(temporary)) => PathBuf::from(temporary),
        (None, None) => std::env::current_dir()?,
    };
    let dir = tempfile::Builder::new().prefix(".warp-bench-").tempdir_in(parent)?;
    let path = dir.path().to_path_buf();
    *SCRATCH.lock().unwrap_or_else(PoisonError::into_inner) = Some(dir);
    ctrlc::set_handler(|| {
        remove();
        std::process::exit(EXIT_INTERRUPTED);
    })?;
    Ok(Scratch(path))
}

fn remove() {
    let Some(dir) = SCRATCH.lock().unwrap_or_else(PoisonError::into_inner).take() else { return };
    let path = dir.path().to_path_buf();
    let mut attempt = dir.close();
    for _ in 1..REMOVE_ATTEMPTS {
        if attempt.as_ref().map_or_else(|error| error.kind() == ErrorKind::NotFound, |()| true) {
            return;
        }
        thread::sleep(REMOVE_PAUSE);
        attempt = remove_again(&path);
    }
    if let Err(error) = attempt {
        eprintln!("warp-bench: {} could not be removed: {error}", path.display());
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "removes whole databases, which no part of the engine has to see"
)]
fn remove_again(path: &Path) -> std::io::Result<()> {
    std::fs::remove_dir_all(path)
}
