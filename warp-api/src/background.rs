//! Background work: the log's writer, and the worker that takes checkpoints.
//!
//! Both take orders over bounded channels. Without threads, [`Shared::step`] does whatever is due.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TryRecvError, TrySendError, bounded};
use warp_io::Clock;

use crate::error::{Error, ErrorKind, Result};
use crate::from_crates::log_error;
use crate::reason::CheckpointReason;
use crate::shared::Shared;

/// Orders a thread may have before it; more of the same would change nothing.
const ORDERS_MAX: usize = 16;
/// How often the worker looks whether anything is due.
const WORKER_INTERVAL: Duration = Duration::from_millis(100);
/// What a wait counts for at least, since nobody can tell how long one was while the engine's clock stands still.
const WAIT_MIN: Duration = Duration::from_millis(1);
/// Segments of the log that may gather without a checkpoint, beside those that its size asks for.
const SEGMENTS_MAX: u64 = 16;
/// How often the layers are looked at for garbage that came without a write: by deadlines, or all at once by a floor.
const GARBAGE_INTERVAL: Duration = Duration::from_secs(60);
/// A checkpoint that a full disk calls for is tried at most this often.
const FULL_RETRY: Duration = Duration::from_secs(1);

#[derive(Debug)]
enum LogOrder {
    Sync(u64),
    Stop,
}

#[derive(Debug)]
enum WorkerOrder {
    /// Look what is due: a checkpoint was asked for, or memory.
    Look,
    /// Something is to be brought into memory.
    Fetch,
    /// The law of what is used again is to be learned.
    Law,
    Stop,
}

/// The sending ends of the two threads' channels.
#[derive(Debug)]
pub(crate) struct Orders {
    log: Sender<LogOrder>,
    worker: Sender<WorkerOrder>,
}

/// The receiving ends, until the threads are started.
#[derive(Debug)]
pub(crate) struct Inbox {
    log: Receiver<LogOrder>,
    worker: Receiver<WorkerOrder>,
}

/// The running threads.
#[derive(Debug, Default)]
pub(crate) struct Threads {
    log: Option<JoinHandle<()>>,
    worker: Option<JoinHandle<()>>,
}

pub(crate) fn channels() -> (Orders, Inbox) {
    let (log, log_inbox) = bounded(ORDERS_MAX);
    let (worker, worker_inbox) = bounded(ORDERS_MAX);
    (Orders { log, worker }, Inbox { log: log_inbox, worker: worker_inbox })
}

impl Shared {
    /// Asks the log's thread to make everything up to `seq` durable soon. Never waits: a full channel holds an
    /// order that the thread has yet to see, and it then syncs all there is.
    pub(crate) fn order_sync(&self, seq: u64) {
        match self.orders.log.try_send(LogOrder::Sync(seq)) {
            Ok(()) | Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => self.wake_log_thread(),
        }
        // Without threads the next step does it.
        self.journal.want_sync();
    }

    /// Has the worker look at once what is due. Never waits: a worker with a full channel before it looks anyway.
    pub(crate) fn wake_worker(&self) {
        let _ = self.orders.worker.try_send(WorkerOrder::Look);
    }

    /// Asks the worker to bring in what is wanted. Never waits: a worker with a full channel before it brings in all there is.
    pub(crate) fn order_fetch(&self) {
        let _ = self.orders.worker.try_send(WorkerOrder::Fetch);
    }

    /// Asks the worker to learn the law. Never waits: a worker with a full channel before it learns anyway.
    pub(crate) fn order_law(&self) {
        let _ = self.orders.worker.try_send(WorkerOrder::Law);
    }

    fn wake_log_thread(&self) {
        if let Some(log) = self.journal.log() {
            log.unpark();
        }
    }

    /// Whether the worker is to end, so that long work of its is broken off.
    pub(crate) fn is_ending(&self) -> bool {
        self.ending.load(Ordering::Acquire)
    }
}

impl Threads {
    /// Starts both threads.
    pub(crate) fn start(shared: &Arc<Shared>, inbox: Inbox) -> Result<Threads> {
        let mut threads = Threads::default();
        let Inbox { log, worker } = inbox;
        let engine = Arc::clone(shared);
        threads.log = Some(spawn("warp-log", shared, move || run_log(&engine, &log))?);
        let engine = Arc::clone(shared);
        match spawn("warp-worker", shared, move || run_worker(&engine, &worker)) {
            Ok(worker) => threads.worker = Some(worker),
            Err(error) => {
                threads.stop(shared);
                return Err(error);
            }
        }
        Ok(threads)
    }

    /// Starts the worker alone, for an engine without a log.
    pub(crate) fn start_worker(shared: &Arc<Shared>, inbox: Inbox) -> Result<Threads> {
        let engine = Arc::clone(shared);
        let worker = spawn("warp-worker", shared, move || run_worker(&engine, &inbox.worker))?;
        Ok(Threads { log: None, worker: Some(worker) })
    }

    /// Ends the worker, and waits for it.
    pub(crate) fn stop_worker(&mut self, shared: &Shared) {
        let Some(worker) = self.worker.take() else { return };
        shared.ending.store(true, Ordering::Release);
        // Never waits: a worker with a full channel before it sees that it is to end.
        let _ = shared.orders.worker.try_send(WorkerOrder::Stop);
        // A panic was reported by `guarded`.
        let _ = worker.join();
        // What the caller does itself from here on is not to be broken off.
        shared.ending.store(false, Ordering::Release);
    }

    /// Ends both threads, and waits for them.
    pub(crate) fn stop(&mut self, shared: &Shared) {
        self.stop_worker(shared);
        let Some(log) = self.log.take() else { return };
        shared.log_ending.store(true, Ordering::Release);
        let _ = shared.orders.log.try_send(LogOrder::Stop);
        shared.wake_log_thread();
        let _ = log.join();
    }
}

fn spawn(name: &str, shared: &Arc<Shared>, run: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>> {
    let engine = Arc::clone(shared);
    // Counted here, so that an open engine has its threads from the first moment.
    shared.running.fetch_add(1, Ordering::Relaxed);
    thread::Builder::new()
        .name(name.into())
        .spawn(move || {
            guarded(&engine, run);
            engine.running.fetch_sub(1, Ordering::Relaxed);
        })
        .map_err(|error| {
            shared.running.fetch_sub(1, Ordering::Relaxed);
            Error::new(ErrorKind::Io, "cannot start a background thread").caused_by(error)
        })
}

/// Runs a thread's work; a panic in it poisons the engine, so that nobody waits for it forever.
fn guarded(shared: &Shared, run: impl FnOnce()) {
    if catch_unwind(AssertUnwindSafe(run)).is_err() {
        tracing::error!("a background thread panicked; the engine is poisoned");
        shared.poison();
    }
}

fn run_log(shared: &Shared, inbox: &Receiver<LogOrder>) {
    let Some(log) = shared.journal.log() else { return };
    while !shared.log_ending.load(Ordering::Acquire) {
        // A log that has failed has no more work; whoever waits for it is told.
        let Some(wait) = shared.tick_log() else { return };
        // Woken by the first append after a pause, and by an order.
        log.wait_for_work(wait);
        let mut asked = None;
        loop {
            match inbox.try_recv() {
                // Orders that came together are served by one sync.
                Ok(LogOrder::Sync(seq)) => asked = asked.max(Some(seq)),
                Ok(LogOrder::Stop) | Err(TryRecvError::Disconnected) => return,
                Err(TryRecvError::Empty) => break,
            }
        }
        if let Some(seq) = asked {
            shared.sync_for_waiters(seq);
        }
    }
}

fn run_worker(shared: &Shared, inbox: &Receiver<WorkerOrder>) {
    let mut warm_due = Duration::ZERO;
    while !shared.is_ending() {
        shared.work();
        let next = shared.time.monotonic() + WORKER_INTERVAL;
        // Beside the clock, which may be moved by hand.
        let mut waited = Duration::ZERO;
        loop {
            let due = if shared.warm.is_under_way() { warm_due.min(next) } else { next };
            let due = shared.read_ahead.due().map_or(due, |ahead| ahead.min(due));
            let due = if shared.has_left_behind() { Duration::ZERO } else { due };
            let wait = due.saturating_sub(shared.time.monotonic());
            match inbox.recv_timeout(wait) {
                Ok(WorkerOrder::Stop) | Err(RecvTimeoutError::Disconnected) => return,
                // What is wanted in memory does not wait for the next look.
                Ok(WorkerOrder::Fetch) => {
                    shared.learn();
                    shared.fetch_wanted();
                }
                Ok(WorkerOrder::Law) => shared.learn_law(),
                // Somebody waits for what the worker does.
                Ok(WorkerOrder::Look) => break,
                Err(RecvTimeoutError::Timeout) => waited += wait.max(WAIT_MIN),
            }
            if shared.is_ending() {
                break;
            }
            if shared.time.monotonic() >= warm_due {
                shared.warm_step();
                warm_due = shared.time.monotonic() + shared.warm_pause();
            }
            shared.read_ahead_step();
            shared.remove_one_left_behind();
            // Orders that come all the time must not keep it from the rest.
            if shared.time.monotonic() >= next || waited >= WORKER_INTERVAL {
                break;
            }
        }
    }
}

impl Shared {
    /// Does what is due of the background work, for an engine without threads. Returns how long nothing more
    /// will be due if nothing is written.
    pub(crate) fn step(&self) -> Duration {
        let wait = self.tick_log();
        self.work();
        self.warm_step();
        self.read_ahead_step();
        self.remove_one_left_behind();
        if self.has_left_behind() {
            return Duration::ZERO;
        }
        let warm = self.warm.is_under_way().then(|| self.warm_pause());
        let ahead = self.read_ahead.due().map(|due| due.saturating_sub(self.time.monotonic()));
        [wait, warm, ahead].into_iter().flatten().fold(WORKER_INTERVAL, Duration::min)
    }

    /// Writes and syncs what is due of the log. Returns how long nothing more will be due; `None` if nothing ever
    /// will be, since the log has failed or is closed.
    fn tick_log(&self) -> Option<Duration> {
        let log = self.journal.log()?;
        if self.waiters.watches.are_waiting() {
            log.want_sync();
        }
        let tick = log.tick();
        self.waiters.wake(log.durable_seq());
        match tick {
            Ok(tick) => Some(tick.next),
            Err(error) => {
                self.report_log_failure(&log_error(error));
                if log.is_poisoned() || self.check_open().is_err() {
                    self.waiters.wake_all();
                    return None;
                }
                Some(WORKER_INTERVAL)
            }
        }
    }

    fn sync_for_waiters(&self, seq: u64) {
        // All there is: an order may have been left out where the channel was full.
        if let Err(error) = self.journal.sync_to(seq.max(self.journal.last_seq())) {
            self.report_log_failure(&error);
            self.waiters.wake_all();
        }
        self.waiters.wake(self.journal.durable_seq());
    }

    fn report_log_failure(&self, error: &Error) {
        match error.kind() {
            // Said once, when it happened.
            ErrorKind::Poisoned | ErrorKind::Closed => {}
            ErrorKind::Full => {
                tracing::warn!(%error, "no space for the log");
                self.request_checkpoint(CheckpointReason::Full);
            }
            _ => tracing::error!(%error, "the log failed"),
        }
    }

    /// Frees what has expired and what nobody reads any more, takes a checkpoint if one is due, measures the load, and
    /// keeps up the order of keyspaces that were scanned.
    fn work(&self) {
        self.free_expired();
        self.tend_table(self.time.monotonic());
        self.tend_memory();
        self.learn_law();
        self.load.observe(&self.table, self.level_reads(), self.time.monotonic());
        self.keep_order();
        self.load_learned();
        self.learn();
        self.fetch_wanted();
        if self.check_writable().is_err() {
            return;
        }
        self.remove_held_back();
        if let Some(reason) = self.due_checkpoint() {
            // A failure is reported where it happens, and the next attempt comes when it is due.
            let _ = self.take_checkpoint(reason);
        }
        self.run_demon(self.time.monotonic());
        self.keep_learned_if_due();
    }

    /// Segments after which a checkpoint is due, however little is in them: each open begins one.
    fn segments_max(&self) -> u64 {
        SEGMENTS_MAX + self.options.checkpoint_log_bytes.saturating_mul(2) / self.options.log_segment_bytes
    }

    /// Why a checkpoint is due, if one is.
    fn due_checkpoint(&self) -> Option<CheckpointReason> {
        let (home, log) = (self.home.as_ref()?, self.journal.log()?);
        let stats = log.stats();
        let mut catalog = home.catalog.lock();
        let now = self.time.monotonic();
        let elapsed = now.saturating_sub(catalog.taken);
        let anything = log.next_seq() != catalog.manifest.replay_from;
        let can_retry = elapsed >= FULL_RETRY;
        let asked = self.requests.take().filter(|reason| *reason != CheckpointReason::Full || can_retry);
        if stats.full && can_retry {
            if !anything {
                // There is nothing to write; older checkpoints may hold what the log needs.
                catalog.taken = now;
                self.remove_obsolete(home, &mut catalog);
            }
            return anything.then_some(CheckpointReason::Full);
        }
        if now.saturating_sub(catalog.garbage_looked) >= GARBAGE_INTERVAL {
            catalog.garbage_looked = now;
            if self.garbage_is_due() {
                return Some(CheckpointReason::Garbage);
            }
        }
        if !anything {
            return None;
        }
        let logged = stats.payload_bytes.saturating_sub(catalog.log_bytes) + catalog.replayed_bytes;
        let segments = stats.segments.saturating_sub(catalog.segments);
        let has_much_log = logged >= self.options.checkpoint_log_bytes || segments >= self.segments_max();
        let by_time = elapsed >= self.options.checkpoint_interval;
        asked
            .or_else(|| {
                (has_much_log && !self.put_off_if_it_pays(&mut catalog, log))
                    .then_some(CheckpointReason::LogBytes)
            })
            .or_else(|| by_time.then_some(CheckpointReason::Time))
    }
}
