//! Expiry: giving back the memory of entries whose deadline has passed, without looking at all the others.
//!
//! An expired entry is never returned, whether it was freed or not. A queue says which keys to look at when: for
//! every entry in memory with a deadline there is an item no later than that deadline. An item is a hint, no more:
//! whoever takes it looks at the entry itself.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use crossbeam_utils::CachePadded;
use parking_lot::Mutex;
use warp_core::{Key, KeyRef};

use crate::shared::Shared;

/// Parts of the queue, so that two writers with deadlines seldom meet. A power of two.
const PARTS: usize = 16;
/// The width of a bucket, in milliseconds: entries are freed at most this much, and the worker's pause, late.
const BUCKET_MILLIS: u64 = 1_000;
/// Items that are taken from the queue at once.
const STEP_ITEMS: usize = 1 << 10;
/// Steps in a row, before the worker looks after its other work.
const STEPS_MAX: usize = 128;
/// Items of a part, below which it is never swept.
const SWEEP_ITEMS_MIN: usize = 1 << 12;

/// Which keys to look at, and when. Hashes in buckets by second.
#[derive(Debug)]
pub(crate) struct ExpiryQueue {
    parts: Box<[CachePadded<Mutex<Part>>]>,
}

type Buckets = BTreeMap<u64, Vec<u64>>;

#[derive(Debug, Default)]
struct Part {
    buckets: Buckets,
    items: usize,
    /// Items that the last sweep left.
    swept: usize,
}

impl Default for ExpiryQueue {
    fn default() -> ExpiryQueue {
        ExpiryQueue { parts: (0..PARTS).map(|_| CachePadded::default()).collect() }
    }
}

impl ExpiryQueue {
    /// Takes note of an entry with a deadline, in Unix milliseconds, that has taken the place of one with the deadline
    /// `former`, 0 for none.
    ///
    /// If that one had an earlier deadline, its item is early enough for the new one: then nothing is added, so that
    /// a key whose deadline is put off again and again has one item.
    pub(crate) fn note(&self, hash: u64, deadline: u64, former: Option<u64>) {
        let has_item = former.is_some_and(|former| former != 0 && former <= deadline);
        if deadline != 0 && !has_item {
            self.add(hash, deadline);
        }
    }

    fn add(&self, hash: u64, deadline: u64) {
        let mut part = self.parts[part_of(hash)].lock();
        part.buckets.entry(bucket_of(deadline)).or_default().push(hash);
        part.items += 1;
    }

    /// Takes at most `max` items whose time has come at `now`, each hash once.
    fn take_due(&self, now: u64, max: usize) -> Vec<u64> {
        let mut due = Vec::new();
        for part in &self.parts {
            let mut part = part.lock();
            while due.len() < max
                && let Some(mut first) = part.buckets.first_entry()
                && first.key().saturating_mul(BUCKET_MILLIS) <= now
            {
                let items = first.get_mut();
                let left = items.len().saturating_sub(max - due.len());
                let taken = items.split_off(left);
                if left == 0 {
                    first.remove();
                }
                part.items -= taken.len();
                due.extend(taken);
            }
        }
        due.sort_unstable();
        due.dedup();
        due
    }

    /// Has `look` look at the keys whose time has come at `now`, by their hashes; so many at most that other work is not
    /// kept waiting for long. It answers the deadline of what is left there, if anything is.
    ///
    /// Returns whether it came to an end, and was not broken off since `is_ending`.
    fn look_at_due(&self, now: u64, is_ending: impl Fn() -> bool, look: impl Fn(u64) -> Option<u64>) -> bool {
        let mut overdue = Vec::new();
        let mut steps = 0..STEPS_MAX;
        let is_done = loop {
            if is_ending() {
                break false;
            }
            let due = if steps.next().is_some() { self.take_due(now, STEP_ITEMS) } else { Vec::new() };
            if due.is_empty() {
                break true;
            }
            for hash in due {
                match look(hash) {
                    None => {}
                    // The deadline was put off, and relied on the item that was just taken.
                    Some(deadline) if deadline > now => self.add(hash, deadline),
                    Some(deadline) => overdue.push((hash, deadline)),
                }
            }
        };
        // What could not be freed is looked at again, but not in this round.
        overdue.into_iter().for_each(|(hash, deadline)| self.add(hash, deadline));
        is_done
    }

    /// Takes away the items of entries that are no longer there, in a part that has come to have twice as many as
    /// the last time: keys that were deleted, or overwritten without a deadline, long before their time.
    ///
    /// `is_due_later` says whether there is an entry with the hash whose deadline is at or after a time.
    fn sweep(&self, is_due_later: impl Fn(u64, u64) -> bool) {
        for part in &self.parts {
            let buckets = {
                let mut part = part.lock();
                if part.items < SWEEP_ITEMS_MIN.max(2 * part.swept) {
                    continue;
                }
                part.items = 0;
                std::mem::take(&mut part.buckets)
            };
            // The part is not locked while entries are looked at; what is noted meanwhile is added to.
            let mut kept = 0;
            let mut swept = Buckets::new();
            for (bucket, mut items) in buckets {
                items.sort_unstable();
                items.dedup();
                let start = bucket.saturating_sub(1).saturating_mul(BUCKET_MILLIS);
                items.retain(|hash| is_due_later(*hash, start));
                items.shrink_to_fit();
                kept += items.len();
                if !items.is_empty() {
                    swept.insert(bucket, items);
                }
            }
            let mut part = part.lock();
            for (bucket, items) in std::mem::replace(&mut part.buckets, swept) {
                part.buckets.entry(bucket).or_default().extend(items);
            }
            part.items += kept;
            part.swept = kept;
        }
    }

    /// Bytes that the items take.
    pub(crate) fn bytes(&self) -> u64 {
        self.parts.iter().map(|part| (part.lock().items * size_of::<u64>()) as u64).sum()
    }
}

fn part_of(hash: u64) -> usize {
    // The high bits name the slot, the low ones are as good as random.
    usize::from(hash.to_le_bytes()[0]) % PARTS
}

/// The bucket of a deadline: all in it are past once its number of seconds has come.
fn bucket_of(deadline: u64) -> u64 {
    deadline.div_ceil(BUCKET_MILLIS)
}

impl Shared {
    /// Frees the entries whose deadline has passed; so many at most that other work is not kept waiting for long.
    pub(crate) fn free_expired(&self) {
        let now = self.time.go_on();
        let look = |hash| self.free_if_expired(hash, now);
        if self.expiry.look_at_due(now, || self.is_ending(), look) {
            self.expiry.sweep(|hash, time| self.is_due_later(hash, time));
        }
    }

    /// Returns the first deadline among the entries that stay.
    fn free_if_expired(&self, hash: u64, now: u64) -> Option<u64> {
        let mut first: Option<u64> = None;
        let mut found: Vec<(u32, Key)> = Vec::new();
        self.table.entries(hash, |entry| {
            if entry.deadline() != 0 {
                found.push((entry.keyspace(), Key::from(entry.key())));
            }
        });
        for (keyspace, key) in found {
            let key = KeyRef { hash, keyspace, bytes: &key };
            let mut guard = self.table.lock(hash);
            let Some((seq, deadline)) = guard.with(key, |entry| (entry.seq(), entry.deadline())) else {
                continue;
            };
            if deadline == 0 {
                continue;
            }
            // Without memory for a tombstone the entry stays, and is tried again.
            if deadline <= now && guard.expire(key, now, self.keeps_stub(seq)).unwrap_or(false) {
                self.counters.expired.add(1);
            } else {
                first = Some(first.map_or(deadline, |first| first.min(deadline)));
            }
        }
        first
    }

    /// Whether an expired entry with this sequence must leave a tombstone in memory: a layer may have an older version
    /// of the key. A clean entry is itself in a layer, with its deadline. Asked under the key's lock, so that a
    /// checkpoint that comes meanwhile has either said here what is clean, or finds the tombstone and removes it.
    fn keeps_stub(&self, seq: u64) -> bool {
        self.home.is_some() && seq >= self.clean_below.load(Ordering::Acquire)
    }

    fn is_due_later(&self, hash: u64, time: u64) -> bool {
        let mut is_due = false;
        self.table.entries(hash, |entry| is_due |= entry.deadline() != 0 && entry.deadline() >= time);
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn items(queue: &ExpiryQueue) -> u64 {
        queue.bytes() / size_of::<u64>() as u64
    }

    #[test]
    fn items_come_when_all_of_their_second_is_past() {
        let queue = ExpiryQueue::default();
        for (hash, deadline) in [(1, 1), (2, 1_000), (3, 1_001), (20, 2_000), (5, u64::MAX)] {
            queue.note(hash, deadline, None);
        }
        queue.note(9, 0, None);
        assert!(queue.take_due(999, 10).is_empty());
        assert_eq!(queue.take_due(1_000, 10), [1, 2]);
        assert_eq!(items(&queue), 3);
        assert_eq!(queue.take_due(10_000, 1).len(), 1);
        assert_eq!(queue.take_due(10_000, 10).len(), 1);
        assert!(queue.take_due(u64::MAX - 1, 10).is_empty());
    }

    #[test]
    fn a_deadline_that_is_put_off_adds_nothing() {
        let queue = ExpiryQueue::default();
        queue.note(1, 5_000, None);
        queue.note(1, 9_000, Some(5_000));
        assert_eq!(items(&queue), 1);
        queue.note(1, 2_000, Some(9_000));
        queue.note(1, 2_000, Some(0));
        assert_eq!(items(&queue), 3);
        assert_eq!(queue.take_due(2_000, 10), [1], "each hash once");
    }

    #[test]
    fn what_cannot_be_freed_is_looked_at_again_in_the_next_round() {
        let queue = ExpiryQueue::default();
        for hash in [1, 2, 3] {
            queue.note(hash, 1_000, None);
        }
        let looked = std::cell::RefCell::new(Vec::new());
        let look_at = |now, left: fn(u64) -> Option<u64>| {
            assert!(queue.look_at_due(
                now,
                || false,
                |hash| {
                    looked.borrow_mut().push(hash);
                    left(hash)
                }
            ));
            looked.take()
        };
        let left = |hash| match hash {
            1 => Some(1_000),
            2 => Some(9_000),
            _ => None,
        };
        assert_eq!(look_at(2_000, left), [1, 2, 3], "each once");
        assert_eq!(items(&queue), 2);
        assert_eq!(look_at(2_000, left), [1]);
        assert_eq!(look_at(9_000, |_| None), [1, 2]);
        assert_eq!(items(&queue), 0);
        // Broken off, it loses nothing.
        queue.note(1, 1_000, None);
        assert!(!queue.look_at_due(2_000, || true, |_| None));
        assert_eq!(items(&queue), 1);
    }

    #[test]
    fn what_is_gone_is_swept_once_it_has_gathered() {
        let queue = ExpiryQueue::default();
        // All in one part, in two buckets; the even ones are still there, with a deadline in the second.
        let hashes = || (0..SWEEP_ITEMS_MIN as u64).map(|number| number * PARTS as u64);
        let is_there = |hash: u64, time: u64| hash.is_multiple_of(2 * PARTS as u64) && 8_500 >= time;
        for hash in hashes().skip(1) {
            queue.note(hash, 8_500, None);
        }
        queue.sweep(is_there);
        assert_eq!(items(&queue), SWEEP_ITEMS_MIN as u64 - 1, "too few to sweep");
        queue.note(0, 9_500, None);
        queue.sweep(is_there);
        assert_eq!(items(&queue), SWEEP_ITEMS_MIN as u64 / 2 - 1);
        assert_eq!(queue.take_due(10_000, usize::MAX).len(), SWEEP_ITEMS_MIN / 2 - 1);
    }
}
