//! What a checkpoint leaves to the log: entries that were written lately, where most of them are written again before
//! long.
//!
//! When a checkpoint is due by the size of the log, the lists of changed keys are closed and set aside, and the next
//! one writes them, without what was written again after all of them were closed: those keys are on the lists that it
//! sets aside in turn, or on the open ones. Its replay begins where the log was before the lists that it writes were
//! closed. So what is overwritten soon is never written to a layer, for a replay that is longer by the bytes that call
//! for a checkpoint. All other checkpoints write everything, what was set aside as well.

use std::sync::atomic::Ordering;
use std::time::Duration;

use warp_checkpoint::LogPlace;
use warp_io::Clock;
use warp_wal::Log;

use crate::closed::ClosedLists;
use crate::home::Catalog;
use crate::reason::CheckpointReason;
use crate::shared::Shared;

/// It pays while at most so many of 64 changes are the first to their key since the lists were last closed.
const FIRST_OF_64_MAX: u64 = 48;
/// What an open may have to replay beyond what is left, in multiples of what calls for a checkpoint: what comes until
/// the next one is due, and what comes while that is taken, which may be twice as much.
const TO_COME_CALLS: u64 = 3;

/// A place in the log from which a recovery can replay, once layers have all entries with a lower sequence.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReplayStart {
    /// The first sequence that is replayed.
    pub(crate) seq: u64,
    /// A frame before it, if there is one in a segment whose number a manifest can name.
    pub(crate) near: Option<LogPlace>,
    /// What the log had taken in since the open.
    pub(crate) taken_bytes: u64,
}

/// The lists of changed keys as they were closed at one time.
#[derive(Debug)]
pub(crate) struct JustClosed<'a> {
    lists: ClosedLists<'a>,
    /// Read before the lists were closed.
    start: ReplayStart,
    /// The next sequence, read after that. An entry with this sequence or a higher one is on a list that is closed later, or
    /// on an open one; one between the start and this may be on none but these.
    until: u64,
    /// By the monotonic clock.
    at: Duration,
}

impl JustClosed<'_> {
    /// Keeps them for the next checkpoint.
    pub(crate) fn keep(self) -> SetAside {
        SetAside { lists: self.lists.keep(), start: self.start, until: self.until, closed_at: self.at }
    }
}

/// The same, kept until the next checkpoint writes them.
#[derive(Debug)]
pub(crate) struct SetAside {
    /// In the order of slots.
    lists: Vec<Vec<u64>>,
    start: ReplayStart,
    until: u64,
    pub(crate) closed_at: Duration,
}

/// What a checkpoint writes, and what it leaves.
#[derive(Debug)]
pub(crate) struct Parts<'a> {
    /// The lists that it writes.
    pub(crate) closed: ClosedLists<'a>,
    /// Those that it leaves to the next.
    pub(crate) later: Option<JustClosed<'a>>,
    /// The end of the log before the lists were closed.
    pub(crate) now: ReplayStart,
    /// Where its replay begins.
    pub(crate) replay: ReplayStart,
    /// Entries with this sequence or a higher one are not written; `u64::MAX` if all are.
    pub(crate) left_from: u64,
    /// As many entries are written, about.
    pub(crate) expected: u64,
    /// Whether links were declared since the last checkpoint.
    pub(crate) has_links: bool,
}

impl<'a> Parts<'a> {
    /// Divides the lists that were just closed, and those that were set aside before: where what came between the two is left,
    /// with `left_changes` changes in between.
    fn of(
        mut just: JustClosed<'a>,
        aside: Option<SetAside>,
        left_changes: Option<u64>,
        has_links: bool,
    ) -> Parts<'a> {
        let now = just.start;
        match (aside, left_changes) {
            (Some(aside), Some(changes)) => {
                let closed = just.lists.with_lists(aside.lists);
                let expected = left_over(closed.len() as u64, just.lists.len() as u64, changes);
                let (replay, left_from) = (aside.start, aside.until);
                Parts { closed, later: Some(just), now, replay, left_from, expected, has_links }
            }
            (aside, _) => {
                just.lists.take_up(aside.map_or_else(Vec::new, |aside| aside.lists));
                let closed = just.lists;
                let expected = closed.len() as u64;
                Parts { closed, later: None, now, replay: now, left_from: u64::MAX, expected, has_links }
            }
        }
    }
}

/// How many of the `listed` keys were not written again, if `first` of as many changes as before were the first to
/// their key.
///
/// With `w` writes spread evenly over `n` keys, `x = w / n`, a part `(1 - e^-x) / x` of them is the first to its key,
/// and `e^-x` of the keys get none, which is about the square of that.
fn left_over(listed: u64, first: u64, changes: u64) -> u64 {
    let part_of = |all: u128| all * u128::from(first.min(changes)) / u128::from(changes.max(1));
    u64::try_from(part_of(part_of(u128::from(listed)))).unwrap_or(listed)
}

/// Whether so many of these changes were the first to their key that leaving them to the log saves much.
fn pays(first: u64, changes: u64) -> bool {
    first.saturating_mul(64) <= changes.saturating_mul(FIRST_OF_64_MAX)
}

impl Shared {
    /// The end of the log.
    fn replay_start_now(&self, log: &Log) -> ReplayStart {
        let near = log.last_frame().and_then(|frame| {
            Some(LogPlace { segment: u32::try_from(frame.segment).ok()?, offset: frame.offset })
        });
        ReplayStart { seq: log.next_seq(), near, taken_bytes: log.taken_bytes() }
    }

    /// Changes of keys since the lists were last closed.
    fn changes_since_closed(&self, catalog: &Catalog) -> u64 {
        self.counters.changes().saturating_sub(catalog.changes)
    }

    /// Closes the lists, after the end of the log was read: every write below that is in the table, and on a closed list or in
    /// an older layer, once the table has held every lock.
    fn close_lists(&self, catalog: &mut Catalog, start: ReplayStart, log: &Log) -> JustClosed<'_> {
        catalog.changes = self.counters.changes();
        let clean_below = self.clean_below.load(Ordering::Acquire);
        let lists = ClosedLists::close(&self.table, clean_below, || log.next_seq());
        JustClosed { lists, start, until: log.next_seq(), at: self.time.monotonic() }
    }

    /// Closes the lists of changed keys, and says what of them, and of those that were set aside, a checkpoint writes.
    pub(crate) fn close_for_checkpoint(
        &self,
        catalog: &mut Catalog,
        reason: CheckpointReason,
        log: &Log,
    ) -> Parts<'_> {
        let now = self.replay_start_now(log);
        let changes = self.changes_since_closed(catalog);
        let has_links = self.new_links.swap(false, Ordering::AcqRel);
        let leaves = reason == CheckpointReason::LogBytes
            && !has_links
            && catalog.set_aside.as_ref().is_some_and(|aside| {
                let tail = now.taken_bytes.saturating_sub(aside.start.taken_bytes);
                self.leaves_to_log(tail, changes)
            });
        let just = self.close_lists(catalog, now, log);
        let parts = Parts::of(just, catalog.set_aside.take(), leaves.then_some(changes), has_links);
        self.count_aside(parts.later.as_ref());
        parts
    }

    /// Sets aside what a checkpoint would write that is due by the size of the log, if it pays to put that off; returns whether
    /// it does.
    pub(crate) fn put_off_if_it_pays(&self, catalog: &mut Catalog, log: &Log) -> bool {
        let start = self.replay_start_now(log);
        let tail = catalog.tail_bytes(start.taken_bytes);
        let may = catalog.set_aside.is_none()
            // What the open has replayed is long enough a tail, and what failed once may fail again.
            && catalog.replayed_bytes == 0
            && !catalog.has_failed
            && !self.new_links.load(Ordering::Acquire)
            // Writers come as far as where the next one is due.
            && self.log_bound.has_room(start.taken_bytes + self.options.checkpoint_log_bytes)
            && self.leaves_to_log(tail, self.changes_since_closed(catalog));
        if may {
            let stats = log.stats();
            catalog.log_bytes = stats.payload_bytes;
            catalog.segments = stats.segments;
            let just = self.close_lists(catalog, start, log);
            self.count_aside(Some(&just));
            catalog.set_aside = Some(just.keep());
        }
        may
    }

    /// Whether what was changed so often since the lists of changed keys were last closed is left to the log, which
    /// will be so long a tail. Not where entries have to be in a layer before they can leave memory, nor where related
    /// ones are laid out side by side.
    fn leaves_to_log(&self, tail_bytes: u64, changes: u64) -> bool {
        let to_come = self.options.checkpoint_log_bytes.saturating_mul(TO_COME_CALLS);
        pays(self.table.memory().changed, changes)
            && tail_bytes.saturating_add(to_come) <= self.options.most_replayed()
            && !self.is_memory_full()
            && !self.has_many_changed(self.memory_standing())
            && !self.has_rules()
    }

    /// Counts what is set aside.
    pub(crate) fn count_aside(&self, later: Option<&JustClosed<'_>>) {
        let (keys, bytes) = later.map_or((0, 0), |later| (later.lists.len(), later.lists.bytes()));
        self.aside_keys.store(keys as u64, Ordering::Relaxed);
        self.aside_list_bytes.store(bytes as u64, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use warp_core::{KeyRef, Table};

    #[test]
    fn it_pays_where_every_fourth_write_at_least_is_to_a_key_that_was_just_written() {
        assert!(pays(0, 0) && pays(3, 4) && !pays(4, 4));
        assert!(pays(768, 1_024) && !pays(769, 1_024));
    }

    #[test]
    fn what_is_left_over_is_estimated_from_first_writes() {
        assert_eq!(left_over(1_000, 1_000, 2_000), 250);
        assert_eq!(left_over(1_000, 3, 2), 1_000, "keys were listed twice");
        assert_eq!(left_over(1_000, 0, 0), 0);
        assert_eq!(left_over(u64::MAX, u64::MAX, u64::MAX), u64::MAX);
    }

    /// A put comes after the start was read, and before its slot is closed: it is on no list but that one.
    #[test]
    fn what_is_written_while_the_lists_are_closed_is_not_left() {
        let table = Table::new(4, 9);
        let put = |key: &[u8], seq| table.put(KeyRef::new(9, 0, key), "", seq, 0).unwrap();
        let close = |start, until| {
            let start = ReplayStart { seq: start, near: None, taken_bytes: 0 };
            let lists = ClosedLists::close(&table, 0, || until);
            JustClosed { lists, start, until, at: Duration::ZERO }
        };
        assert!(put(b"while", 10).is_none());
        let aside = close(10, 20).keep();
        assert!(put(b"while", 20).is_some() && put(b"later", 21).is_none());
        let parts = Parts::of(close(22, 30), Some(aside), Some(2), false);
        assert_eq!((parts.replay.seq, parts.left_from), (10, 20));
        assert_eq!((parts.closed.len(), parts.later.as_ref().unwrap().lists.len()), (1, 2));
        // Neither was written: both go back.
        drop(parts);
        assert_eq!(ClosedLists::close(&table, 0, || 40).give_up_all().len(), 2);
    }
}
