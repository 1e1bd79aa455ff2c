//! The engine, our log without a table, and our table without a log, as things to commit small records to.

use std::cell::RefCell;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use warp_api::{Durability, WarpEngine};
use warp_wal::{Admit, Encoded, Entry, Log, LogOptions};

use super::committer::{Committer, Committing, Mode};
use crate::child;
use crate::run::Outcome;
use crate::table::{Ours, Store};

/// The engine with default options, but for checkpoints: those are taken between passes, so that passes measure the log.
#[derive(Debug)]
pub(crate) struct Engine {
    engine: WarpEngine,
}

impl Engine {
    /// Opens an empty one.
    ///
    /// # Errors
    /// What the engine answers.
    pub(crate) fn open(dir: &Path, mode: Mode) -> Outcome<Engine> {
        let durability = match mode {
            Mode::Sync => Durability::Sync,
            Mode::Lazy => Durability::Interval,
        };
        let options = child::on_demand().checkpoints_kept(1).durability(durability);
        Ok(Engine { engine: options.open(dir)? })
    }
}

impl Committer for Engine {
    fn commit(&self, _: usize, key: &[u8], value: &[u8]) -> Outcome<()> {
        self.engine.put(key, value)?;
        Ok(())
    }

    fn commit_later<'a>(&'a self, key: &'a [u8], value: &'a [u8]) -> Option<Committing<'a>> {
        Some(Box::pin(async move {
            let seq = self.engine.with_durability(Durability::Interval).put(key, value)?;
            Ok(self.engine.durable(seq).await?)
        }))
    }

    fn syncs(&self) -> Option<u64> {
        self.engine.cosmic_metrics().log.map(|log| log.syncs)
    }

    fn settle(&self) -> Outcome<()> {
        self.engine.checkpoint()?;
        Ok(())
    }
}

/// The table without a log, which makes nothing durable.
#[derive(Debug)]
pub(crate) struct BareTable(Ours);

impl BareTable {
    /// An empty one.
    pub(crate) fn new() -> BareTable {
        BareTable(Ours::new())
    }
}

impl Committer for BareTable {
    fn commit(&self, _: usize, key: &[u8], value: &[u8]) -> Outcome<()> {
        self.0.overwrite(key.try_into()?, value.try_into()?);
        Ok(())
    }
}

/// Our log alone, with a thread that does what is due by the clock.
#[derive(Debug)]
pub(crate) struct BareLog {
    log: Arc<Log>,
    mode: Mode,
    ending: Arc<AtomicBool>,
    ticker: Option<JoinHandle<()>>,
}

thread_local! {
    /// The record that is being encoded, whose memory is used again.
    static ENCODED: RefCell<Encoded> = RefCell::default();
}

impl BareLog {
    /// Opens an empty one.
    ///
    /// # Errors
    /// What the log answers.
    pub(crate) fn open(dir: &Path, mode: Mode) -> Outcome<BareLog> {
        let options = LogOptions { compress_values_from: None, ..LogOptions::default() };
        let log = Arc::new(Log::open(dir, options)?);
        let ending = Arc::new(AtomicBool::new(false));
        let ticker = thread::spawn({
            let (log, ending) = (Arc::clone(&log), Arc::clone(&ending));
            // An error is told to whoever appends next.
            move || {
                while !ending.load(Ordering::Acquire)
                    && let Ok(tick) = log.tick()
                {
                    log.wait_for_work(tick.next);
                }
            }
        });
        Ok(BareLog { log, mode, ending, ticker: Some(ticker) })
    }

    /// Makes everything durable that was committed.
    ///
    /// # Errors
    /// What the log answers.
    pub(crate) fn sync(&self) -> Outcome<()> {
        Ok(self.log.sync()?)
    }
}

impl Committer for BareLog {
    fn commit(&self, _: usize, key: &[u8], value: &[u8]) -> Outcome<()> {
        ENCODED.with_borrow_mut(|encoded| {
            self.log.encode(encoded, [Entry::put(key, value)])?;
            let permit = self.log.admit(encoded, Admit::default())?;
            let seq = self.log.reserve(permit, encoded).seq();
            match self.mode {
                Mode::Sync => self.log.sync_to(seq)?,
                Mode::Lazy => self.log.want_sync(),
            }
            Ok(())
        })
    }

    fn syncs(&self) -> Option<u64> {
        Some(self.log.stats().syncs)
    }

    fn settle(&self) -> Outcome<()> {
        self.log.sync()?;
        self.log.remove_before(self.log.last_seq())?;
        Ok(())
    }
}

impl Drop for BareLog {
    fn drop(&mut self) {
        self.ending.store(true, Ordering::Release);
        self.log.unpark();
        if let Some(ticker) = self.ticker.take() {
            // It cannot do anything about a panic of that thread, and the passes are over.
            let _ = ticker.join();
        }
    }
}
