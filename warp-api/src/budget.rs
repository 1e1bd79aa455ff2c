//! The memory budget: how much memory the engine holds, and who waits when that is all that it may.

mod scans;

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use warp_checkpoint::LayerAccess;
use warp_core::TableMemory;
use warp_wal::Admit;

use crate::error::{Error, ErrorKind, Result};
use crate::options::WhenFull;
use crate::reason::CheckpointReason;
use crate::shared::Shared;

/// A budget of at least this many bytes is large enough for huge pages.
pub(crate) const HUGE_PAGES_FROM: u64 = 1 << 30;
/// A thread asks whether there is room once it has taken so many bytes since it asked last.
const ASK_BYTES: u64 = 32 << 10;
/// Memory is kept below this part of the budget, in 64ths: what is above is for what comes in between two looks.
const KEPT_BELOW: u64 = 60;
/// Room is given away below this part of the budget, in 128ths: threads ask now and then, and take a little in between.
const ASKED_BELOW: u64 = 127;
/// What comes in from layers has to be worth it once so much of the budget, in 64ths, is in use: a little less than is
/// in use while the worker keeps some free.
const FULL_FROM: u64 = 50;
/// What is used of entries is learned once so much of what the table may take, in 64ths, is in use...
const LEARNED_FROM: u64 = 24;
/// ...by so many entries at least: fewer do not say how large others are.
const LEARNED_ENTRIES_MIN: u64 = 64;
/// As much of the budget, in 64ths, is kept free for new entries once memory has come that far.
const KEPT_FREE: u64 = 2;
/// Memory that is made ready for new entries takes this part of the room that there is.
const READY_PART: u64 = 4;
/// Writers are slowed from this part of the budget on that changed entries take, in 64ths...
const SLOWED_FROM: u64 = 51;
/// ...a checkpoint is asked for from this one on...
const CHECKPOINT_FROM: u64 = 32;
/// ...from this one on none leaves any to the log...
const LEFT_BELOW: u64 = CHECKPOINT_FROM / 2;
/// ...or, where too much is held and nothing else may leave memory, already from this one on.
const CLEANED_FROM: u64 = 2;
/// The longest that a writer is slowed for each [`ASK_BYTES`].
const SLOWED_MAX: Duration = Duration::from_millis(10);
/// So often a writer waits although everything is in a checkpoint, before it is told that nothing more can leave memory.
const CLEAN_ROUNDS_MAX: u32 = 100;
/// How long a writer waits before it looks again by itself.
const WAIT: Duration = Duration::from_millis(10);
/// While memory is full, a tick of heat passes once as much has come in as fills the budget so many times.
const TURNOVERS_PER_TICK: u64 = 2;
/// Entries that a writer lets fall for each byte that it takes: so that memory is freed faster than it is taken.
const FALL_FOR_EACH: u64 = 4;
/// What an engine takes besides what is told in the metrics: stacks, channels, counters, lists of layers and segments, and
/// what the allocator keeps between small pieces. Measured at 1 to 6 MiB, the most after scans and large values; of a small
/// budget a part.
const OWN_BYTES: u64 = 4 << 20;
const OWN_PART: u64 = 16;
/// A write of at least so many bytes needs buffers of its own on its way to the log, which count.
const LARGE_BYTES: u64 = 128 << 10;
/// What those buffers may count for, and what is kept free for the next checkpoint, as a part of the budget each: beyond it
/// nothing much could be written at all.
const PASSING_PART: u64 = 8;
const CHECKPOINT_PART: u64 = 8;
/// With each checkpoint that ends, so large a part is forgotten of what those before have held, and of what their lists have
/// taken. Small ones come between large ones: memory would have filled up meanwhile, and there would be no room for the next.
const CHECKPOINT_FORGOTTEN: u64 = 32;
const LISTS_FORGOTTEN: u64 = 8;
/// What one of the entries takes that are laid out beside their partners.
const LAYOUT_ENTRY_BYTES: u64 = 32;
/// What lists of changed keys take of the allocator's memory, as a multiple of their own: they double as they grow, and leave as much behind.
const LISTS_TIMES: u64 = 2;
/// Buffers of this size the allocator gives back at once.
const ALLOCATOR_KEEPS_MAX: u64 = 32 << 20;
/// As many freed buffers of the largest size the allocator is taken to keep: two in each of the two heaps, the writer's and
/// the worker's, since glibc gives the end of a heap back once it is twice as large as the largest buffer that was freed.
const ALLOCATOR_KEEPS: u64 = 4;

/// What is kept of the budget.
#[derive(Debug)]
pub(crate) struct Budget {
    /// As the options say.
    most: u64,
    /// What may be held now: that, or less by law.
    limit: AtomicU64,
    when_full: WhenFull,
    /// Bytes that writes and promotions have taken, as far as was asked.
    taken: AtomicU64,
    /// `taken` when the last tick of heat passed for it.
    taken_at_tick: AtomicU64,
    /// Memory that is neither the table's nor the log's nor kept of layers, as of the worker's last look.
    beside: AtomicU64,
    /// The most that checkpoints have held lately beside lists of changed keys. It is kept free all the time: the next one
    /// comes at once.
    checkpoint: AtomicU64,
    /// The most that lists of changed keys have taken lately, open and closed. They are many and small, so that the allocator
    /// keeps their memory when they go, for the lists that come.
    lists: AtomicU64,
    /// What an order of keys takes that is being built, and what it is built of.
    ordering: AtomicU64,
    /// What scans have read ahead.
    scanned: AtomicU64,
    /// Buffers of large writes that are under way.
    passing: AtomicU64,
    /// The size of the largest buffer that was freed lately, and may be kept by the allocator.
    largest: AtomicU64,
    /// Whether memory was scarce when it was last looked at.
    scarce: AtomicBool,
    /// Set when the worker has something to do for memory.
    wanted: AtomicBool,
    freed: Condvar,
    freed_lock: Mutex<()>,
    /// How often writers had to wait, and for how long they were slowed in all.
    pub(crate) waits: AtomicU64,
    pub(crate) slowed_nanos: AtomicU64,
}

/// How memory stands.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Standing {
    /// Bytes that the engine holds.
    pub(crate) held: u64,
    /// The part of it that is free for new entries of the right size.
    pub(crate) spare: u64,
    /// The part of that which is in no use yet, and goes first.
    pub(crate) ready: u64,
    /// The part of it that entries take which no checkpoint has.
    pub(crate) dirty: u64,
    /// The part of it that entries take, and how many those are.
    pub(crate) used: u64,
    pub(crate) entries: u64,
}

impl Standing {
    fn in_use(self) -> u64 {
        self.held.saturating_sub(self.spare)
    }
}

/// What there is to do before so many bytes are taken.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Room {
    /// There is room.
    Ample,
    /// There is room, and soon there may be none.
    Scarce,
    /// Nothing may be taken before something was freed.
    None,
}

/// What a writer has seen while it waited for memory.
#[derive(Debug, Default)]
struct Waited {
    /// Checkpoints that had failed when it began.
    failures: Option<u64>,
    /// Rounds in a row in which everything was in a checkpoint.
    clean_rounds: u32,
}

/// Memory that is counted as long as this lives: the buffers of a large write until it is done, or what an order of keys
/// takes until the order itself is counted.
#[derive(Debug)]
#[must_use = "it is counted as long as it lives"]
pub(crate) struct Counted<'a> {
    count: &'a AtomicU64,
    bytes: u64,
}

impl Counted<'_> {
    fn new(count: &AtomicU64, bytes: u64) -> Counted<'_> {
        count.fetch_add(bytes, Ordering::Relaxed);
        Counted { count, bytes }
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.count.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl Budget {
    pub(crate) fn new(limit: u64, when_full: WhenFull) -> Budget {
        Budget {
            most: limit,
            limit: AtomicU64::new(limit),
            when_full,
            taken: AtomicU64::new(0),
            taken_at_tick: AtomicU64::new(0),
            beside: AtomicU64::new(0),
            checkpoint: AtomicU64::new(0),
            lists: AtomicU64::new(0),
            ordering: AtomicU64::new(0),
            scanned: AtomicU64::new(0),
            passing: AtomicU64::new(0),
            largest: AtomicU64::new(0),
            scarce: AtomicBool::new(false),
            wanted: AtomicBool::new(false),
            freed: Condvar::new(),
            freed_lock: Mutex::new(()),
            waits: AtomicU64::new(0),
            slowed_nanos: AtomicU64::new(0),
        }
    }

    /// Bytes that may be held.
    pub(crate) fn limit(&self) -> u64 {
        self.limit.load(Ordering::Relaxed)
    }

    /// From now on no more than `cap` bytes may be held, if that is less than the options say; but `least` always.
    pub(crate) fn cap(&self, cap: Option<u64>, least: u64) {
        let limit = cap.map_or(self.most, |cap| cap.clamp(least.min(self.most), self.most));
        self.limit.store(limit, Ordering::Relaxed);
    }

    /// Bytes up to which there is room.
    fn room_below(&self) -> u64 {
        self.limit() / 128 * ASKED_BELOW
    }

    fn part(&self, sixty_fourths: u64) -> u64 {
        self.limit() / 64 * sixty_fourths
    }

    fn room(&self, standing: Standing, bytes: u64) -> Room {
        // As long as the worker makes room all the time, that is no room to be given away.
        let is_full = standing.in_use() >= self.part(FULL_FROM);
        self.scarce.store(is_full, Ordering::Relaxed);
        self.room_at(standing, bytes)
    }

    fn room_at(&self, standing: Standing, bytes: u64) -> Room {
        if standing.held.saturating_add(bytes) < self.part(KEPT_BELOW) {
            return Room::Ample;
        }
        let is_within = standing.held + bytes.saturating_sub(standing.spare / 2) <= self.room_below();
        match standing.spare > bytes.saturating_add(self.part(KEPT_FREE)) {
            true if is_within => Room::Ample,
            _ if is_within => Room::Scarce,
            _ => Room::None,
        }
    }

    /// As many changed entries may be laid out beside their partners, whose hashes and places are all in memory then.
    pub(crate) fn layout_entries_max(&self) -> u64 {
        self.limit() / CHECKPOINT_PART / LAYOUT_ENTRY_BYTES
    }

    /// A checkpoint that is under way holds so many bytes, beside lists of changed keys.
    pub(crate) fn checkpoint_holds(&self, bytes: u64) {
        self.checkpoint.fetch_max(bytes, Ordering::Relaxed);
    }

    /// Lists of changed keys take so many bytes, open and closed.
    pub(crate) fn lists_take(&self, bytes: u64) {
        self.lists.fetch_max(bytes, Ordering::Relaxed);
    }

    /// A checkpoint has ended: a large one that was long ago counts less and less.
    pub(crate) fn checkpoint_ended(&self) {
        for (most, part) in [(&self.checkpoint, CHECKPOINT_FORGOTTEN), (&self.lists, LISTS_FORGOTTEN)] {
            most.fetch_sub(most.load(Ordering::Relaxed) / part, Ordering::Relaxed);
        }
    }

    /// Begins to count the encoding of a large write, which has room for what does not compress. The log counts its copy
    /// itself.
    fn pass(&self, bytes: u64) -> Counted<'_> {
        self.largest.fetch_max(bytes, Ordering::Relaxed);
        Counted::new(&self.passing, (bytes + bytes / 128).min(self.limit() / PASSING_PART))
    }

    /// What the buffers of large writes take, with `more` to come: those in use, or, as an estimate, those that the allocator
    /// has kept and they are made of.
    fn buffer_bytes(&self, more: u64) -> u64 {
        let kept = ALLOCATOR_KEEPS * self.largest.load(Ordering::Relaxed).min(ALLOCATOR_KEEPS_MAX);
        let used = self.passing.load(Ordering::Relaxed) + more.min(self.limit() / PASSING_PART);
        used.max(kept.min(self.limit() / PASSING_PART))
    }

    /// What is taken for checkpoints, of which one that is under way holds `now`.
    fn checkpoint_bytes(&self, now: u64) -> u64 {
        now.max(self.kept(&self.checkpoint))
    }

    /// What lists of changed keys take beside `open`, those that the table counts: `closed`, or what the allocator has kept.
    fn list_bytes(&self, open: u64, closed: u64) -> u64 {
        closed.max((LISTS_TIMES * self.kept(&self.lists)).saturating_sub(open))
    }

    fn kept(&self, most: &AtomicU64) -> u64 {
        most.load(Ordering::Relaxed).min(self.limit() / CHECKPOINT_PART)
    }

    /// Large writes that were long ago count less and less: by a thousandth at each look of the worker, of which there are
    /// ten a second or more.
    fn forget_largest(&self) {
        let largest = self.largest.load(Ordering::Relaxed);
        let next = largest - largest.div_ceil(1024);
        // One that came meanwhile stays.
        let _ = self.largest.compare_exchange(largest, next, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Whether the worker was asked to look after memory since it was last asked.
    pub(crate) fn take_wanted(&self) -> bool {
        self.wanted.swap(false, Ordering::Relaxed)
    }

    pub(crate) fn say_freed(&self) {
        drop(self.freed_lock.lock());
        self.freed.notify_all();
    }

    fn wait(&self) {
        let mut held = self.freed_lock.lock();
        let _ = self.freed.wait_for(&mut held, WAIT);
    }
}

impl Shared {
    /// How memory stands. Walks nothing, waits for no disk, and takes a microsecond or two.
    pub(crate) fn memory_standing(&self) -> Standing {
        let table = self.table.memory();
        let log = self.journal.log().map_or(0, warp_wal::Log::buffer_bytes);
        Standing {
            held: table.resident_bytes
                + log
                + self.layer_cache_bytes()
                + self.memory_of_work(table.list_bytes),
            spare: table.resident_bytes.saturating_sub(table.used_bytes),
            ready: table.ready_bytes,
            dirty: (u128::from(table.used_bytes) * u128::from(self.dirty_entries(&table))
                / u128::from(table.entries.max(1)))
            .try_into()
            .unwrap_or(u64::MAX),
            used: table.used_bytes,
            entries: table.entries,
        }
    }

    /// Memory beside table and log: what was counted at the worker's last look, what a checkpoint needs and scans hold, the
    /// buffers of large writes, and an allowance for what nobody counts. The table's lists of changed keys take `open_lists`.
    fn memory_of_work(&self, open_lists: u64) -> u64 {
        let budget = &self.budget;
        let closed = self.closed_list_bytes.load(Ordering::Relaxed);
        let now = self.checkpoint_memory.load(Ordering::Relaxed).saturating_sub(closed);
        let checkpoint = budget.checkpoint_bytes(now)
            + budget.list_bytes(open_lists, closed + self.aside_list_bytes.load(Ordering::Relaxed));
        let own = OWN_BYTES.min(budget.limit() / OWN_PART);
        let scans = budget.ordering.load(Ordering::Relaxed) + budget.scanned.load(Ordering::Relaxed);
        own + budget.beside.load(Ordering::Relaxed) + checkpoint + scans + budget.buffer_bytes(0)
    }

    /// Entries that no published checkpoint has, about.
    fn dirty_entries(&self, table: &TableMemory) -> u64 {
        let closed = [&self.being_checkpointed, &self.aside_keys].map(|keys| keys.load(Ordering::Relaxed));
        (table.changed + closed[0] + closed[1]).min(table.entries)
    }

    /// What is kept of layers that are not mapped.
    pub(crate) fn layer_cache_bytes(&self) -> u64 {
        match self.home.as_ref().map(|home| &home.access) {
            Some(LayerAccess::Read(cache)) => cache.bytes(),
            _ => 0,
        }
    }

    /// Memory that is neither the table's nor the log's nor kept of layers. Looks at every slot.
    fn memory_beside_table(&self) -> u64 {
        let learned =
            self.residency.bytes() + self.warm.held_bytes() + self.learning.bytes() + self.fetching.bytes();
        self.expiry.bytes() + self.order_bytes() as u64 + learned
    }

    /// Bytes that entries will take when memory is full.
    fn full_table(&self, standing: Standing) -> u64 {
        let beside = standing.in_use().saturating_sub(standing.used);
        self.budget.part(KEPT_BELOW - KEPT_FREE).saturating_sub(beside)
    }

    /// Whether so many bytes would have room if nothing else were in the table.
    fn could_fit(&self, standing: Standing, bytes: u64) -> bool {
        let beside = standing.in_use().saturating_sub(standing.used);
        bytes <= self.budget.room_below().saturating_sub(beside)
    }

    /// As many entries as there would be if they took as much of the budget as they may.
    pub(crate) fn entries_that_fit(&self, standing: Standing) -> u64 {
        let (entries, full) = (u128::from(standing.entries.max(1)), u128::from(self.full_table(standing)));
        u64::try_from(entries * full / u128::from(standing.used.max(1))).unwrap_or(u64::MAX)
    }

    /// Whether memory gets short, and it is time to begin to learn who is used, and to compare.
    fn is_law_due(&self, standing: Standing) -> bool {
        self.options.physics.gravity
            && !self.residency.pull.has_begun()
            && standing.entries >= LEARNED_ENTRIES_MIN
            // For a moment nearly all of a small budget may be taken by what is beside the table.
            && self.entries_that_fit(standing) >= LEARNED_ENTRIES_MIN
            && standing.used >= self.full_table(standing) / 64 * LEARNED_FROM
    }

    /// Returns once there is room in memory for a write of about `bytes` more, and the log is not too far ahead of the checkpoints;
    /// makes room where that is needed. Deletions may take a little more than others: they are how a full memory is emptied. What a
    /// large write needs besides is counted as long as the answer lives.
    ///
    /// # Errors
    /// `Full` if the budget is used up by what cannot leave memory, `Busy` if the caller would have to wait and does not
    /// want to; those of a write to an engine that takes none any more.
    #[inline]
    pub(crate) fn admit_memory(&self, bytes: usize, admit: Admit) -> Result<Option<Counted<'_>>> {
        match asks_now(bytes) {
            None => Ok(None),
            // Deletions without files leave nothing behind.
            Some(_) if admit.reserve && self.home.is_none() => Ok(None),
            Some(taken) => {
                let bytes = bytes as u64;
                let is_large = bytes >= LARGE_BYTES;
                // Its encoding, and the log's copy of that.
                let buffers = if is_large { 2 * bytes } else { 0 };
                self.wait_for_checkpoint(!admit.wait)
                    .and_then(|()| self.make_room(taken, buffers, admit))
                    // Who tries again asks again.
                    .inspect_err(|_| ASKS_NEXT.set(true))?;
                Ok(is_large.then(|| self.budget.pass(bytes)))
            }
        }
    }

    #[cold]
    fn make_room(&self, bytes: u64, buffers: u64, admit: Admit) -> Result<()> {
        let (budget, no_wait) = (&self.budget, !admit.wait);
        let needed = if admit.reserve { bytes.saturating_sub(budget.part(1)) } else { bytes };
        budget.taken.fetch_add(bytes, Ordering::Relaxed);
        // Buffers do not come from what the table has free.
        let stand = || {
            let standing = self.memory_standing();
            let more = budget.buffer_bytes(buffers).saturating_sub(budget.buffer_bytes(0));
            Standing { held: standing.held + more, ..standing }
        };
        let mut standing = stand();
        if !self.could_fit(standing, needed) {
            // Nothing is let fall for it, and nobody waits.
            return Err(full("the write is larger than what the memory budget can hold"));
        }
        self.slow_down(standing, no_wait);
        self.want_memory_ahead(standing);
        let mut waited = Waited::default();
        loop {
            match budget.room(standing, needed) {
                Room::Ample => return Ok(()),
                Room::Scarce => {
                    self.want_memory();
                    self.let_fall(bytes.saturating_mul(FALL_FOR_EACH).max(2 * ASK_BYTES));
                    return Ok(());
                }
                Room::None => {}
            }
            self.want_memory();
            // What was overwritten or deleted may be waiting for no more than to be freed.
            self.table.collect();
            let fell = self.let_fall(bytes.saturating_mul(FALL_FOR_EACH).max(2 * ASK_BYTES));
            self.gather_free(standing);
            standing = stand();
            if fell > 0 || budget.room(standing, needed) != Room::None {
                continue;
            }
            self.wait_for_memory(no_wait, &mut waited)?;
            standing = stand();
        }
    }

    /// Waits until something may have been freed.
    fn wait_for_memory(&self, no_wait: bool, waited: &mut Waited) -> Result<()> {
        let Some(home) = &self.home else {
            return Err(full(match self.budget.when_full {
                WhenFull::Refuse => "the memory budget is used up, and nothing may be evicted",
                WhenFull::Evict => "the memory budget is used up by what cannot be evicted",
            }));
        };
        self.check_writable()?;
        let before = *waited.failures.get_or_insert_with(|| self.counters.checkpoint_failures.sum());
        if self.counters.checkpoint_failures.sum() > before {
            return Err(full("the memory budget is used up by changes that no checkpoint could take"));
        }
        let is_clean = home.current.load().replay_from > self.journal.last_seq();
        // It may have become so just now; and what has left may be waiting for a reader to look away.
        waited.clean_rounds = if is_clean { waited.clean_rounds + 1 } else { 0 };
        if waited.clean_rounds > CLEAN_ROUNDS_MAX {
            return Err(full("the memory budget is used up by what cannot leave memory"));
        }
        if no_wait {
            return Err(Error::new(ErrorKind::Busy, "the memory budget is used up for the moment"));
        }
        self.budget.waits.fetch_add(1, Ordering::Relaxed);
        self.request_checkpoint(CheckpointReason::Memory);
        if self.running.load(Ordering::Relaxed) == 0 {
            // Nobody else will do it. A failure is seen on the next round.
            let _ = self.take_checkpoint(CheckpointReason::Memory);
            return Ok(());
        }
        self.wake_worker();
        self.budget.wait();
        Ok(())
    }

    /// Slows a writer while changed entries take nearly all of the budget, the more the nearer; and asks for a checkpoint
    /// long before.
    fn slow_down(&self, standing: Standing, no_wait: bool) {
        let budget = &self.budget;
        if self.home.is_none() || standing.dirty < budget.part(CHECKPOINT_FROM) {
            return;
        }
        self.request_checkpoint(CheckpointReason::Memory);
        let from = budget.part(SLOWED_FROM);
        if standing.dirty > from && !no_wait && self.running.load(Ordering::Relaxed) > 0 {
            let (above, range) = (standing.dirty - from, budget.part(KEPT_BELOW) - from);
            let slowed = SLOWED_MAX.mul_f64((above as f64 / range.max(1) as f64).min(1.0));
            budget
                .slowed_nanos
                .fetch_add(u64::try_from(slowed.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
            std::thread::sleep(slowed);
        }
    }

    /// Whether changed entries take so much of the budget that none is left to the log: soon all have to be in a layer.
    pub(crate) fn has_many_changed(&self, standing: Standing) -> bool {
        standing.dirty >= self.budget.part(LEFT_BELOW)
    }

    /// Has the worker look after memory where that is due before it gets short.
    fn want_memory_ahead(&self, standing: Standing) {
        if self.is_law_due(standing) || self.table.wants_ready() {
            self.want_memory();
        }
    }

    pub(crate) fn want_memory(&self) {
        if !self.budget.wanted.swap(true, Ordering::Relaxed) {
            self.wake_worker();
        }
    }

    /// Whether what comes in from layers has to be worth it, as of when memory was last looked at.
    pub(crate) fn is_memory_full(&self) -> bool {
        self.budget.scarce.load(Ordering::Relaxed)
    }

    /// Takes note of a value of so many bytes that comes in from a layer, and makes room for it if need be; `false` if
    /// there is none. Looks at memory once in a while only.
    pub(crate) fn admit_read(&self, bytes: usize) -> bool {
        let Some(taken) = asks_now(bytes) else { return true };
        let standing = self.memory_standing();
        self.want_memory_ahead(standing);
        if self.budget.room(standing, taken) != Room::Ample {
            if !self.could_fit(standing, 2 * taken) {
                return false;
            }
            self.want_memory();
            self.let_fall_for_read(2 * taken);
            if self.budget.room(self.memory_standing(), taken) == Room::None {
                // The next one asks, too: that this one was refused is no reason to let others in unasked.
                ASKS_NEXT.set(true);
                return false;
            }
        }
        self.budget.taken.fetch_add(taken, Ordering::Relaxed);
        true
    }

    /// Moves entries together where free memory is scattered, so that it can be given back.
    fn gather_free(&self, standing: Standing) {
        if standing.held <= self.budget.part(KEPT_BELOW) {
            return;
        }
        self.table.keep_ready(0);
        if standing.spare.saturating_sub(standing.ready) > self.budget.part(1) {
            self.table.shrink();
            self.table.discard_free();
        }
    }

    /// Has memory ready for what comes, in a part of the room that the budget leaves.
    fn keep_ready(&self, standing: Standing) {
        let in_use = standing.held.saturating_sub(standing.ready);
        let room = self.budget.part(KEPT_BELOW).saturating_sub(in_use);
        if self.table.keep_ready(room / READY_PART) {
            // What else there is to do comes first.
            self.want_memory();
        }
    }

    /// The background's part: lets entries fall until there is free memory again for those who come, and gives back what
    /// is scattered.
    pub(crate) fn tend_memory(&self) {
        let budget = &self.budget;
        self.pass_tick_by_turnover();
        budget.forget_largest();
        let mut standing = self.memory_standing();
        if self.is_law_due(standing) {
            // Without files what left is gone, and a read of it finds nothing: there is nothing to compare.
            if self.home.is_some() {
                self.residency.rival.begin(budget.limit(), self.full_table(standing));
            }
            self.begin_pull(standing);
        }
        self.residency.rival.set_capacity(self.full_table(standing));
        budget.beside.store(self.memory_beside_table(), Ordering::Relaxed);
        self.keep_ready(self.memory_standing());
        standing = self.memory_standing();
        // What is just being written counts as changed until it is published: who waits for more asks by himself.
        let is_one_under_way = self.being_checkpointed.load(Ordering::Relaxed) > 0;
        if self.home.is_some() && !is_one_under_way && standing.dirty >= budget.part(CHECKPOINT_FROM) {
            self.request_checkpoint(CheckpointReason::Memory);
        }
        if !budget.take_wanted() && standing.held < budget.part(KEPT_BELOW) {
            return;
        }
        while !self.is_ending()
            && standing.held >= budget.part(KEPT_BELOW)
            && (standing.spare < budget.part(2 * KEPT_FREE) || standing.held > budget.room_below())
        {
            let fell = self.let_fall(budget.part(1).min(1 << 20));
            if standing.held > budget.room_below() {
                self.gather_free(standing);
            }
            budget.say_freed();
            if fell == 0 {
                self.ask_for_clean(standing);
                break;
            }
            standing = self.memory_standing();
        }
        budget.say_freed();
    }

    /// Where more is held than may be, and nothing may fall any more, a checkpoint is asked for if enough would be clean after
    /// it: nobody else may ask, if nobody writes.
    fn ask_for_clean(&self, standing: Standing) {
        let budget = &self.budget;
        let is_above = standing.held > budget.room_below();
        let is_one_under_way = self.being_checkpointed.load(Ordering::Relaxed) > 0;
        if self.home.is_some() && is_above && !is_one_under_way && standing.dirty >= budget.part(CLEANED_FROM)
        {
            self.request_checkpoint(CheckpointReason::Memory);
        }
    }

    /// While memory is full, time is what comes in: a tick of heat passes each time that as much has come in as the budget holds, twice over.
    fn pass_tick_by_turnover(&self) {
        let taken = self.budget.taken.load(Ordering::Relaxed);
        let turnover = self.budget.limit().saturating_mul(TURNOVERS_PER_TICK);
        // A checkpoint that a program's own thread takes tends memory beside the worker: one of them lets it pass.
        let at_tick = self.budget.taken_at_tick.load(Ordering::Relaxed);
        if taken.saturating_sub(at_tick) >= turnover
            && self
                .budget
                .taken_at_tick
                .compare_exchange(at_tick, taken, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
        {
            self.table.next_tick();
        }
    }
}

fn full(message: &str) -> Error {
    Error::new(ErrorKind::Full, message)
}

thread_local! {
    /// Bytes that this thread has taken since it last asked whether there is room.
    static TAKEN: Cell<u64> = const { Cell::new(0) };
    /// Whether the next that this thread takes is asked for, however little it is.
    static ASKS_NEXT: Cell<bool> = const { Cell::new(false) };
}

/// Counts bytes that this thread takes; says how many it has taken since it last asked, if it is time to ask.
#[inline]
fn asks_now(bytes: usize) -> Option<u64> {
    let taken = TAKEN.get().saturating_add(bytes as u64);
    let asks = taken >= ASK_BYTES || ASKS_NEXT.take();
    TAKEN.set(if asks { 0 } else { taken });
    asks.then_some(taken)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::environment::{Background, Environment};
    use crate::options::Options;

    #[test]
    fn room_is_scarce_before_there_is_none() {
        let budget = Budget::new(64 << 20, WhenFull::Refuse);
        let at = |held: u64, spare: u64| {
            let standing = Standing { held: held << 20, spare: spare << 20, ..Standing::default() };
            budget.room(standing, 1 << 10)
        };
        assert_eq!(at(10, 0), Room::Ample);
        assert_eq!(at(61, 8), Room::Ample);
        assert_eq!(at(61, 1), Room::Scarce);
        assert_eq!(at(65, 1), Room::None);
        assert_eq!(at(65, 8), Room::None);
        // A value that has no room in what is free is too much.
        let standing = Standing { held: 62 << 20, spare: 1 << 20, ..Standing::default() };
        let large = budget.room(standing, 8 << 20);
        assert_eq!(large, Room::None);
    }

    #[test]
    fn a_thread_asks_once_in_a_while() {
        std::thread::spawn(|| {
            let asked = (0..1000).filter_map(|_| asks_now(100)).collect::<Vec<u64>>();
            assert_eq!(asked.len(), 3);
            assert!(asked.iter().all(|bytes| *bytes >= ASK_BYTES));
            assert!(asks_now(1 << 20).is_some());
        })
        .join()
        .unwrap();
    }

    fn with_files(disk: &warp_io::SimDisk) -> crate::engine::WarpEngine {
        let environment = Environment { background: Background::Stepped, ..Environment::default() };
        let options = Options::new().memory_budget(24 << 20).log_buffer_bytes(1 << 20);
        options.open_in(&disk.root(), environment).unwrap()
    }

    #[test]
    fn memory_is_ready_for_a_table_that_grows_and_not_where_there_is_no_room() {
        let disk = warp_io::SimDisk::new(1);
        let environment = Environment { background: Background::Stepped, ..Environment::default() };
        let options = Options::new().memory_budget(HUGE_PAGES_FROM).log_buffer_bytes(1 << 20);
        let engine = options.open_in(&disk.root(), environment).unwrap();
        let shared = engine.space().shared;
        let ready = || shared.memory_standing().ready;
        for number in 0..80_000_u32 {
            engine.put(number.to_le_bytes(), [1; 250]).unwrap();
        }
        (0..8).for_each(|_| shared.tend_memory());
        let most = ready();
        assert!(most > 0 && !shared.table.wants_ready());
        shared.budget.take_wanted();
        let more = |number: u32| _ = engine.put((1_000_000 + number).to_le_bytes(), [1; 250]).unwrap();
        (0..).take_while(|_| !shared.table.wants_ready()).for_each(more);
        assert!(ready() <= most / 2);
        // A writer says so when it asks for room the next time.
        (0..2 * u32::try_from(ASK_BYTES).unwrap() / 250).for_each(more);
        assert!(shared.budget.take_wanted());
        (0..8).for_each(|_| shared.tend_memory());
        assert!(ready() > 0);
        shared.budget.cap(Some(24 << 20), 0);
        shared.tend_memory();
        assert_eq!(ready(), 0);
    }

    /// What changed keeps its memory until a checkpoint has it; who needs the memory may be no writer, who would ask for one.
    #[test]
    fn a_checkpoint_is_asked_for_where_too_much_is_held_and_nothing_may_fall() {
        let disk = warp_io::SimDisk::new(1);
        let engine = with_files(&disk);
        let shared = engine.space().shared;
        // Shorter than what would be packed.
        for number in 0..18_000_u32 {
            engine.put(number.to_le_bytes(), [1; 400]).unwrap();
        }
        let (budget, standing) = (&shared.budget, shared.memory_standing());
        assert!(standing.dirty > budget.part(16) && standing.dirty < budget.part(CHECKPOINT_FROM));
        let other = Counted::new(&budget.ordering, budget.limit() + (1 << 20) - standing.held);
        for _ in 0..4 {
            engine.step();
        }
        let held = shared.memory_standing().held;
        assert!(held <= budget.limit(), "{held} bytes are held");
        drop(other);
    }

    #[test]
    fn a_checkpoint_takes_a_small_part_of_a_small_budget() {
        let disk = warp_io::SimDisk::new(1);
        let engine = with_files(&disk);
        let shared = engine.space().shared;
        for number in 0..100_000_u32 {
            engine.put(number.to_le_bytes(), "1").unwrap();
        }
        let report = engine.checkpoint().unwrap();
        assert_eq!(report.entries, 100_000);
        let most = shared.budget.checkpoint.load(Ordering::Relaxed);
        assert!(most > 0 && most <= shared.budget.part(3), "{most} bytes were held");
    }
}
