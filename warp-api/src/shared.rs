//! The state of an open engine, shared by its handles and its background work.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use arc_swap::ArcSwap;
use warp_core::Table;
use warp_physics::Entanglement;

use crate::advice::Advice;
use crate::background::Orders;
use crate::behind::Behind;
use crate::budget::Budget;
use crate::commit::Waiters;
use crate::counters::Counters;
use crate::demon::DemonState;
use crate::engine_time::EngineTime;
use crate::entropy::LoadMonitor;
use crate::environment::Background;
use crate::error::{Error, ErrorKind, Result};
use crate::expiry::ExpiryQueue;
use crate::fetching::Fetching;
use crate::floors::Floors;
use crate::home::Home;
use crate::journal::Journal;
use crate::latency::Latencies;
use crate::laws::AllLaws;
use crate::layers::Layers;
use crate::learned::LearnedState;
use crate::learning::Learning;
use crate::log_bound::LogBound;
use crate::names::Names;
use crate::options::Options;
use crate::order::Order;
use crate::progress::{Progress, Task};
use crate::read::ColdReads;
use crate::read_ahead::ReadAhead;
use crate::reason::Requests;
use crate::recovery_report::RecoveryReport;
use crate::residency::Residency;
use crate::tend::Tended;
use crate::warm_start::WarmStart;
use crate::wormholes::Network;
use crate::worth::WorthKept;

/// Writer locks of an engine. More than any machine this runs on has cores, so that two writers seldom meet.
pub(crate) const SHARDS: u16 = 64;

/// Everything that the handles of one engine share.
#[derive(Debug)]
pub(crate) struct Shared {
    /// Tells this engine from every other of the process.
    pub(crate) id: u64,
    pub(crate) table: Table,
    pub(crate) journal: Journal,
    pub(crate) layers: Layers,
    pub(crate) floors: Floors,
    /// Declared links are entries of the system keyspace; this holds the rules, and ranks both.
    pub(crate) entanglement: ArcSwap<Entanglement>,
    /// Set when the rules could not be read at opening: whoever needs them tries again, and gets the error.
    pub(crate) rules_unread: AtomicBool,
    /// Routes through the declared wormholes, which are an entry of the system keyspace.
    pub(crate) network: Network,
    pub(crate) names: ArcSwap<Names>,
    /// Set when the names of keyspaces could not be read at opening, likewise.
    pub(crate) names_unread: AtomicBool,
    /// Entries with a lower sequence are clean: the layers that reads fall through to have them.
    pub(crate) clean_below: AtomicU64,
    /// When to look at which entries whose deadline passes.
    pub(crate) expiry: ExpiryQueue,
    pub(crate) advice: Arc<dyn Advice>,
    pub(crate) load: LoadMonitor,
    pub(crate) demon: DemonState,
    /// What was learned from reads.
    pub(crate) learning: Learning,
    /// What is brought in before it is read.
    pub(crate) fetching: Fetching,
    /// What holds for each level.
    pub(crate) laws: ArcSwap<AllLaws>,
    pub(crate) tended: Tended,
    /// The file of what was learned.
    pub(crate) learned: LearnedState,
    /// What the parts of physics were worth before the open.
    pub(crate) worth: WorthKept,
    /// What was hot before the open, and is brought in.
    pub(crate) warm: WarmStart,
    /// What the system has yet to read of the layers.
    pub(crate) read_ahead: ReadAhead,
    /// The orders of keyspaces that were scanned.
    pub(crate) order: Order,
    pub(crate) time: EngineTime,
    pub(crate) hash_seed: u64,
    pub(crate) options: Options,
    /// The directory, its lock and its checkpoints; `None` without files.
    pub(crate) home: Option<Home>,
    pub(crate) recovery: RecoveryReport,
    pub(crate) counters: Counters,
    pub(crate) latencies: Latencies,
    pub(crate) cold_reads: ColdReads,
    pub(crate) behind: Behind,
    pub(crate) budget: Budget,
    pub(crate) log_bound: LogBound,
    pub(crate) residency: Residency,
    /// Keys that were changed and that the checkpoint writes which is being taken: their entries cannot leave memory yet.
    pub(crate) being_checkpointed: AtomicU64,
    pub(crate) waiters: Waiters,
    pub(crate) orders: Orders,
    /// Who does the background work.
    pub(crate) background: Background,
    /// Checkpoints that were asked for.
    pub(crate) requests: Requests,
    /// Bytes of memory that the checkpoint holds which is being taken.
    pub(crate) checkpoint_memory: AtomicU64,
    /// The part of it that lists of changed keys take.
    pub(crate) closed_list_bytes: AtomicU64,
    /// Changed keys that are set aside for the checkpoint after it, and the bytes of their lists.
    pub(crate) aside_keys: AtomicU64,
    pub(crate) aside_list_bytes: AtomicU64,
    /// Set when links are declared: the next checkpoint lays related entries out side by side.
    pub(crate) new_links: AtomicBool,
    /// False only if no links can have been declared: at opening there was no layer and none in the log, and none came since.
    pub(crate) may_have_links: AtomicBool,
    /// Set while the worker is to end.
    pub(crate) ending: AtomicBool,
    /// Set when the log's thread is to end, which is later.
    pub(crate) log_ending: AtomicBool,
    /// Background threads that are running.
    pub(crate) running: AtomicUsize,
    pub(crate) closed: AtomicBool,
}

impl Shared {
    /// Refuses a call on a closed engine.
    #[inline]
    pub(crate) fn check_open(&self) -> Result<()> {
        // Relaxed: a call that races with `close` may go either way, and the log itself refuses late writes.
        if self.closed.load(Ordering::Relaxed) { Err(Error::closed()) } else { Ok(()) }
    }

    /// Stops all writing for good, after a failure that leaves the log in doubt.
    pub(crate) fn poison(&self) {
        if let Some(log) = self.journal.log() {
            log.poison();
        }
        self.waiters.wake_all();
    }

    pub(crate) fn check_writable(&self) -> Result<()> {
        self.check_open()?;
        if self.journal.log().is_some_and(warp_wal::Log::is_poisoned) {
            return Err(Error::new(
                ErrorKind::Poisoned,
                "an earlier write or sync of the log failed; reopen",
            ));
        }
        Ok(())
    }

    pub(crate) fn progress(&self, task: Task, done: u64, total: Option<u64>) {
        if let Some(report) = &self.options.on_progress {
            report(&Progress { task, done, total });
        }
    }
}
