//! What the table holds, counted.

use crate::record::Record;

/// What a table holds at one moment.
///
/// All in bytes, except where another unit is told. What lists of changed keys take beyond their own length, since they come from
/// the allocator of the program, is not counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TableMemory {
    /// Entries, tombstones included.
    pub entries: u64,
    /// Tombstones among them.
    pub tombstones: u64,
    /// The lengths of all keys.
    pub key_bytes: u64,
    /// The lengths of all values.
    pub value_bytes: u64,
    /// The part of `value_bytes` that entries share with handles: values of more than 512 bytes, and packed ones.
    pub heap_bytes: u64,
    /// The table itself with all entries and short values: what was got from the system, in use or not.
    pub table_bytes: u64,
    /// The part of `table_bytes` that is free for new entries.
    pub free_bytes: u64,
    /// The part of `free_bytes` that is ready for what comes next, and in no use yet: see [`Table::keep_ready`](crate::Table::keep_ready).
    pub ready_bytes: u64,
    /// The part of `table_bytes` for which the system was asked for huge pages, and said yes.
    pub huge_bytes: u64,
    /// What was replaced or removed, and waits to be freed until nobody can be reading it. A reader that stays in a
    /// closure of [`Table::with`](crate::Table::with) lets this grow by all that is written meanwhile.
    pub retired_bytes: u64,
    /// What the system counts as in use by all of this: the table, long values, and what is free and kept at hand.
    pub resident_bytes: u64,
    /// The part of `resident_bytes` that entries and buckets take, with long values that only handles keep alive, and with
    /// what waits to be freed. What lies between the two is free for new entries of the right size.
    pub used_bytes: u64,
    /// Entries whose value is packed: see [`EntryRef::packed_from`](crate::EntryRef::packed_from).
    pub packed_entries: u64,
    /// The lengths of those values, packed.
    pub packed_bytes: u64,
    /// Keys that were changed since the lists of changed keys were last closed; see [`Table::close_lists`](crate::Table::close_lists).
    pub changed: u64,
    /// What those lists take, a part of `resident_bytes`.
    pub list_bytes: u64,
    /// Lengths of long values that are in no entry any more, and live as long as handles to them, or wait to be freed.
    pub pinned_bytes: u64,
}

impl TableMemory {
    /// All memory that the table keeps: `table_bytes + heap_bytes`.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.table_bytes.saturating_add(self.heap_bytes)
    }
}

/// How slots have grown and shrunk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Resizes {
    /// Times that a slot's buckets were replaced by more or fewer.
    pub count: u64,
    /// The longest that a shard's lock was held for one of them, in nanoseconds: with the time that the system took the
    /// processor away.
    pub longest_nanos: u64,
    /// The longest that the processor worked on one of them, in nanoseconds.
    pub longest_cpu_nanos: u64,
}

/// What one slot holds and how busy it is, for deciding which shard should have it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SlotLoad {
    /// The shard that the slot named when it was asked.
    pub shard: u16,
    /// Entries, tombstones included.
    pub entries: u64,
    /// The lengths of their keys and values.
    pub bytes: u64,
    /// Writes to the slot since the table was made, under whichever shard's lock.
    pub writes: u64,
}

/// Counters of a shard, or what one change adds to them, wrapping around where it takes something away.
///
/// A shard adds up what was done under its lock, and keeps it when a slot leaves it. A single shard's sums may
/// therefore be below zero, and wrap; those over all shards are right.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) entries: u64,
    pub(crate) tombstones: u64,
    pub(crate) key_bytes: u64,
    pub(crate) value_bytes: u64,
    /// The part of `value_bytes` that is shared with handles, on the heap.
    pub(crate) shared_bytes: u64,
    /// Entries whose value is packed, and the lengths of those values.
    pub(crate) packed: u64,
    pub(crate) packed_bytes: u64,
    /// Lists of hashes.
    pub(crate) list_bytes: u64,
    /// Hashes on them.
    pub(crate) listed: u64,
    /// What waits in the shard to be freed.
    pub(crate) retired_bytes: u64,
    /// Changes made by writers: only ever added to.
    pub(crate) writes: u64,
}

impl Tally {
    pub(crate) fn add_record(&mut self, record: Record<'_>) {
        self.record(record, |counter, value| *counter = counter.wrapping_add(value));
    }

    pub(crate) fn subtract_record(&mut self, record: Record<'_>) {
        self.record(record, |counter, value| *counter = counter.wrapping_sub(value));
    }

    #[inline]
    fn record(&mut self, record: Record<'_>, with: impl Fn(&mut u64, u64)) {
        with(&mut self.entries, 1);
        with(&mut self.key_bytes, record.key().len() as u64);
        match record.value() {
            Some(value) => with(&mut self.value_bytes, value.len() as u64),
            None => with(&mut self.tombstones, 1),
        }
        if let Some(shared) = record.shared() {
            with(&mut self.shared_bytes, shared.len() as u64);
            if record.packed_from().is_some() {
                with(&mut self.packed, 1);
                with(&mut self.packed_bytes, shared.len() as u64);
            }
        }
    }

    /// Adds another tally.
    pub(crate) fn add(&mut self, other: &Tally) {
        let with = |counter: &mut u64, value: u64| *counter = counter.wrapping_add(value);
        with(&mut self.entries, other.entries);
        with(&mut self.tombstones, other.tombstones);
        with(&mut self.key_bytes, other.key_bytes);
        with(&mut self.value_bytes, other.value_bytes);
        with(&mut self.shared_bytes, other.shared_bytes);
        with(&mut self.packed, other.packed);
        with(&mut self.packed_bytes, other.packed_bytes);
        with(&mut self.list_bytes, other.list_bytes);
        with(&mut self.listed, other.listed);
        with(&mut self.retired_bytes, other.retired_bytes);
        with(&mut self.writes, other.writes);
    }
}
