//! The end of an engine: by `close`, or when the last handle goes.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use parking_lot::Mutex;

use crate::background::Threads;
use crate::error::{ErrorKind, Result};
use crate::from_crates::log_error;
use crate::reason::CheckpointReason;
use crate::shared::Shared;

/// Ends the engine when the last handle goes.
#[derive(Debug)]
pub(crate) struct Life {
    shared: Arc<Shared>,
    threads: Mutex<Threads>,
}

impl Life {
    pub(crate) fn new(shared: Arc<Shared>, threads: Threads) -> Life {
        Life { shared, threads: Mutex::new(threads) }
    }

    /// Ends the engine, once; `checkpoint` says whether one is taken first.
    pub(crate) fn end(&self, checkpoint: bool) -> Result<()> {
        let shared = &self.shared;
        let mut threads = self.threads.lock();
        shared.check_open()?;
        // The worker goes first: a checkpoint of its own is then either taken or not begun. The log's thread stays
        // until the end, for writes that others make meanwhile.
        threads.stop_worker(shared);
        shared.read_ahead.end();
        let taken = match (&shared.home, shared.journal.log()) {
            (Some(_), Some(log)) if checkpoint && !log.is_poisoned() => {
                shared.take_checkpoint(CheckpointReason::Close).map(drop)
            }
            _ => Ok(()),
        };
        if checkpoint {
            shared.keep_learned();
        }
        threads.stop(shared);
        // Held until the directory is given up: whoever takes a checkpoint by another handle has ended or not begun.
        let catalog = shared.home.as_ref().map(|home| home.catalog.lock());
        shared.closed.store(true, Ordering::Relaxed);
        let closed = shared.journal.log().map_or(Ok(()), |log| log.close().map_err(log_error));
        shared.waiters.wake_all();
        if let Some(home) = &shared.home {
            drop(home.lock.lock().take());
        }
        drop(catalog);
        taken.and(closed)
    }
}

impl Drop for Life {
    fn drop(&mut self) {
        let checkpoint = self.shared.options.checkpoint_on_drop;
        if let Err(error) = self.end(checkpoint)
            && error.kind() != ErrorKind::Closed
        {
            tracing::error!(%error, "closing the engine failed");
        }
    }
}
