//! The engine crates' errors as the public one.

use crate::error::{Error, ErrorKind};
use crate::home::{LAYERS_DIR, LOG_DIR};
use crate::types::Seq;

pub(crate) fn log_error(error: warp_wal::Error) -> Error {
    use warp_wal::Error as E;
    let kind = match &error {
        // A lack of space that the log met while writing is one of these too: by then it is poisoned.
        E::Io { .. } => ErrorKind::Io,
        E::Corrupt { .. } => ErrorKind::Corrupt,
        E::Unsupported { .. } => ErrorKind::Unsupported,
        E::TooLarge { .. } | E::Invalid { .. } => ErrorKind::Invalid,
        E::Full => ErrorKind::Full,
        E::Busy => ErrorKind::Busy,
        E::Poisoned => ErrorKind::Poisoned,
        E::Closed => ErrorKind::Closed,
        E::Lagged { .. } => ErrorKind::Lagged,
        _ => ErrorKind::Io,
    };
    let message = match kind {
        ErrorKind::Lagged => "changes that come next are not in the log any more",
        ErrorKind::Full => "there is no space for the log",
        ErrorKind::Busy => "the log's buffer is full",
        ErrorKind::Poisoned => "an earlier write or sync of the log failed; reopen the database",
        ErrorKind::Closed => "the engine is closed",
        ErrorKind::Invalid => "the log does not take this",
        ErrorKind::Corrupt => "the log is damaged",
        ErrorKind::Unsupported => "the log is of a newer version",
        _ => "reading or writing the log failed",
    };
    let mut public = Error::new(kind, message);
    if let Some(file) = error.file() {
        public = public.at(format!("{LOG_DIR}/{file}"));
    }
    if let Some(offset) = error.offset() {
        public = public.at_offset(offset);
    }
    if let warp_wal::Error::Lagged { oldest } = error {
        public = public.with_oldest_seq(Seq(oldest.saturating_sub(1)));
    }
    public.caused_by(error)
}

pub(crate) fn checkpoint_error(error: warp_checkpoint::Error) -> Error {
    use warp_checkpoint::Error as E;
    let kind = match &error {
        E::Io { source, .. } if warp_io::is_full(source) => ErrorKind::Full,
        E::NoUsableManifest { rejected } => {
            let newer = rejected.iter().all(|rejected| matches!(rejected.error, E::Unsupported { .. }));
            if newer { ErrorKind::Unsupported } else { ErrorKind::Corrupt }
        }
        E::Corrupt { .. } => ErrorKind::Corrupt,
        E::Unsupported { .. } => ErrorKind::Unsupported,
        _ => ErrorKind::Io,
    };
    let message = match kind {
        ErrorKind::Full => "there is no space for a checkpoint",
        ErrorKind::Corrupt => "a checkpoint is damaged",
        ErrorKind::Unsupported => "a checkpoint is of a newer version",
        _ => "reading or writing a checkpoint failed",
    };
    let mut public = Error::new(kind, message);
    if let Some(file) = error.file() {
        let is_layer = warp_checkpoint::parse_layer_name(file).is_some();
        public = public.at(if is_layer { format!("{LAYERS_DIR}/{file}") } else { file.to_string() });
    }
    if let Some(offset) = error.offset() {
        public = public.at_offset(offset);
    }
    public.caused_by(error)
}

pub(crate) fn table_full(full: warp_core::TableFull) -> Error {
    Error::new(ErrorKind::Full, "memory holds as many entries as it can").caused_by(full)
}
