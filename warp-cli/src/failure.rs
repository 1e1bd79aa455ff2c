//! What ends a command, and with which exit status.

use std::error::Error as StdError;
use std::io;
use std::path::PathBuf;

use crate::text;

/// A key is not there, or problems were found: the question was answered, with a no.
const STATUS_NO: u8 = 1;
/// The question could not be answered. The command line itself ends with this status, too.
const STATUS_FAILED: u8 = 2;

/// Why a command did not succeed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The key is not there.
    #[error("no such key: {}", text::show(.0))]
    NoSuchKey(Vec<u8>),
    /// The keyspace is not there.
    #[error("no such keyspace: {0}")]
    NoSuchKeyspace(String),
    /// Files are damaged; what is wrong with them was listed.
    #[error("{} found", text::counted(*.0, "problem", "problems"))]
    Problems(u64),
    /// A repair could not keep everything; what is lost was listed.
    #[error("repaired, with {} listed above", text::counted(*.0, "loss", "losses"))]
    Lost(u64),
    /// An argument is not in the encoding that was asked for.
    #[error("not {encoding}: {argument}")]
    NotEncoded { argument: String, encoding: &'static str },
    /// There is no such segment.
    #[error("no such segment: {0}")]
    NoSuchSegment(String),
    /// The engine refused.
    #[error(transparent)]
    Engine(#[from] warp_api::Error),
    /// The log could not be read.
    #[error("cannot read the log")]
    Log(#[from] warp_wal::Error),
    /// The log could not be converted.
    #[error("cannot convert the log")]
    Convert(#[source] warp_wal::Error),
    /// The checkpoints could not be read.
    #[error("cannot read the checkpoints")]
    Checkpoint(#[from] warp_checkpoint::Error),
    /// Another program has a directory open, or reads it.
    #[error("{} is in use", .0.display())]
    InUse(PathBuf),
    /// A directory or a file could not be read.
    #[error("cannot read {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    /// A file could not be written.
    #[error("cannot write {}", path.display())]
    Write { path: PathBuf, source: io::Error },
    /// Standard input could not be read.
    #[error("cannot read standard input")]
    Input(#[source] io::Error),
    /// Standard output could not be written.
    #[error("cannot write to standard output")]
    Output(#[from] io::Error),
}

impl Failure {
    /// The exit status.
    pub(crate) fn status(&self) -> u8 {
        match self {
            Failure::NoSuchKey(_) | Failure::NoSuchKeyspace(_) | Failure::Problems(_) | Failure::Lost(_) => {
                STATUS_NO
            }
            _ => STATUS_FAILED,
        }
    }

    /// Whether it only says that nobody reads the output any more.
    pub(crate) fn is_closed_pipe(&self) -> bool {
        let mut cause: Option<&(dyn StdError + 'static)> = Some(self);
        while let Some(error) = cause {
            let io = error.downcast_ref::<io::Error>();
            if io.is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe) {
                return true;
            }
            cause = error.source();
        }
        false
    }

    /// The message with those of all causes, on one line.
    pub(crate) fn with_causes(&self) -> String {
        with_causes(self)
    }
}

/// An error's message with those of all its causes, on one line.
pub(crate) fn with_causes(error: &dyn StdError) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        line = format!("{line}: {error}");
        cause = error.source();
    }
    line.replace('\n', " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failing(kind: io::ErrorKind) -> Failure {
        Failure::Write { path: "export".into(), source: io::Error::new(kind, "first\nsecond") }
    }

    #[test]
    fn causes_are_told_on_one_line() {
        assert_eq!(failing(io::ErrorKind::Other).with_causes(), "cannot write export: first second");
    }

    #[test]
    fn a_closed_pipe_is_found_among_the_causes() {
        assert!(failing(io::ErrorKind::BrokenPipe).is_closed_pipe());
        assert!(Failure::Output(io::ErrorKind::BrokenPipe.into()).is_closed_pipe());
        assert!(!failing(io::ErrorKind::StorageFull).is_closed_pipe());
    }
}
