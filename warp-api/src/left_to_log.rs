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
    /// Changes of keys that the engine had made since then.
    pub(crate) changes: u64,
}

/// Lists of changed keys that the next checkpoint writes.
#[derive(Debug)]
pub(crate) struct SetAside {
    /// Read before the lists were closed.
    pub(crate) start: ReplayStart,
    /// The next sequence, read after that. An entry with this sequence or a higher one is on a list that was closed
    /// later, or on an open one; one between the start and this may be on none but these.
    pub(crate) until: u64,
    /// When they were closed, by the monotonic clock.
    pub(crate) closed_at: Duration,
    /// In the order of slots.
    pub(crate) lists: Vec<Vec<u64>>,
}

/// What a checkpoint writes, and what it leaves.
#[derive(Debug)]
pub(crate) struct Parts<'a> {
    /// The lists that it writes.
    pub(crate) closed: ClosedLists<'a>,
    /// The lists that it leaves to the next.
    pub(crate) later: Option<ClosedLists<'a>>,
    /// Where its replay begins.
    pub(crate) replay: ReplayStart,
    /// Entries with this sequence or a higher one are not written; `u64::MAX` if all are.
    pub(crate) left_from: u64,
    /// As many entries are written, about.
    pub(crate) expected: u64,
}

impl<'a> Parts<'a> {
    /// Divides the lists that were `closed` after `now`, and those that were set aside before.
    pub(crate) fn of(
        mut closed: ClosedLists<'a>,
        aside: Option<SetAside>,
        now: ReplayStart,
        leaves: bool,
    ) -> Parts<'a> {
        match aside {
            Some(aside) if leaves => {
                let first = closed.len() as u64;
                let written = closed.with_lists(aside.lists);
                let changes = now.changes.saturating_sub(aside.start.changes);
                let expected = left_over(written.len() as u64, first, changes);
                Parts {
                    closed: written,
                    later: Some(closed),
                    replay: aside.start,
                    left_from: aside.until,
                    expected,
                }
            }
            aside => {
                closed.take_up(aside.map_or_else(Vec::new, |aside| aside.lists));
                let expected = closed.len() as u64;
                Parts { closed, later: None, replay: now, left_from: u64::MAX, expected }
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
    /// The end of the log. Every write below it is in the table, and on a list that is closed after this or in a
    /// layer, once each shard's lock was held in between.
    pub(crate) fn replay_start_now(&self, log: &Log) -> ReplayStart {
        let near = log.last_frame().and_then(|frame| {
            Some(LogPlace { segment: u32::try_from(frame.segment).ok()?, offset: frame.offset })
        });
        let changes = self.counters.puts.sum() + self.counters.deletes.sum();
        ReplayStart { seq: log.next_seq(), near, taken_bytes: log.taken_bytes(), changes }
    }

    /// Sets aside what a checkpoint would write that is due by the size of the log, if it pays to put that off;
    /// returns whether it does.
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
            && self.leaves_to_log(tail, start.changes.saturating_sub(catalog.changes));
        if may {
            let stats = log.stats();
            catalog.log_bytes = stats.payload_bytes;
            catalog.segments = stats.segments;
            catalog.changes = start.changes;
            let closed = ClosedLists::close(&self.table, catalog.manifest.replay_from, || log.next_seq());
            let (until, closed_at) = (log.next_seq(), self.time.monotonic());
            self.count_aside(Some(&closed));
            catalog.set_aside = Some(SetAside { start, until, closed_at, lists: closed.keep() });
        }
        may
    }

    /// Whether what was changed so often since the lists of changed keys were last closed is left to the log, which
    /// will be so long a tail. Not where entries have to be in a layer before they can leave memory, nor where related
    /// ones are laid out side by side.
    pub(crate) fn leaves_to_log(&self, tail_bytes: u64, changes: u64) -> bool {
        let to_come = self.options.checkpoint_log_bytes.saturating_mul(TO_COME_CALLS);
        pays(self.table.memory().changed, changes)
            && tail_bytes.saturating_add(to_come) <= self.options.most_replayed()
            && !self.is_memory_full()
            && !self.has_many_changed(self.memory_standing())
            && !self.has_rules()
    }

    /// Counts what is set aside.
    pub(crate) fn count_aside(&self, lists: Option<&ClosedLists<'_>>) {
        let (keys, bytes) = lists.map_or((0, 0), |lists| (lists.len(), lists.bytes()));
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
        let at = |seq| ReplayStart { seq, near: None, taken_bytes: 0, changes: seq };
        let table = Table::new(4, 9);
        let put = |key: &[u8], seq| table.put(KeyRef::new(9, 0, key), "", seq, 0).unwrap();
        assert!(put(b"while", 10).is_none());
        let lists = ClosedLists::close(&table, 0, || 20).keep();
        assert!(put(b"while", 20).is_some() && put(b"later", 21).is_none());
        let aside = SetAside { start: at(10), until: 20, closed_at: Duration::ZERO, lists };
        let parts = Parts::of(ClosedLists::close(&table, 0, || 30), Some(aside), at(22), true);
        assert_eq!((parts.replay.seq, parts.left_from), (10, 20));
        assert_eq!((parts.closed.len(), parts.later.as_ref().unwrap().len()), (1, 2));
        // Neither was written: both go back.
        drop(parts);
        assert_eq!(ClosedLists::close(&table, 0, || 40).give_up_all().len(), 2);
    }
}
