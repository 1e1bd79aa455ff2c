//! What the table holds for a key.

use std::fmt;

use crate::arena::Arena;
use crate::heat;
use crate::record::Record;
use crate::value::Value;

/// What the table holds for a key: a value or a tombstone, the write that made it, and how long it is good.
///
/// ```
/// use warp_core::{Entry, Value};
///
/// let entry = Entry { value: Some(Value::from("soon gone")), seq: 1, deadline: 1_000 };
/// assert!(entry.value_at(999).is_some());
/// assert!(entry.value_at(1_000).is_none());
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Entry {
    /// The value; `None` in a tombstone, which says that the key was deleted.
    pub value: Option<Value>,
    /// The number of the write, as its caller gave it. Below `u64::MAX`.
    pub seq: u64,
    /// When the entry ceases to count, in milliseconds since the start of 1970; 0 for never.
    pub deadline: u64,
}

impl Entry {
    /// A tombstone.
    #[must_use]
    pub fn tombstone(seq: u64) -> Entry {
        Entry { value: None, seq, deadline: 0 }
    }

    /// Whether this says that the key was deleted. An entry past its deadline is not asked here.
    #[must_use]
    pub fn is_tombstone(&self) -> bool {
        self.value.is_none()
    }

    /// Whether the deadline has come at `now`, in milliseconds since the start of 1970.
    #[must_use]
    pub fn is_expired(&self, now: u64) -> bool {
        is_past(self.deadline, now)
    }

    /// The value that a reader at `now` should see: none in a tombstone, and none past the deadline.
    #[must_use]
    pub fn value_at(&self, now: u64) -> Option<&Value> {
        self.value.as_ref().filter(|_| !self.is_expired(now))
    }
}

fn is_past(deadline: u64, now: u64) -> bool {
    deadline != 0 && deadline <= now
}

/// An entry where it lies in the table, shown without a copy while a read runs.
///
/// ```
/// use warp_core::{KeyRef, Table};
///
/// let table = Table::new(1, 7);
/// let key = KeyRef::new(7, 0, b"key");
/// table.put(key, b"value", 1, 0)?;
/// assert_eq!(table.with(key, |entry| entry.value().map(<[u8]>::len)), Some(Some(5)));
/// # Ok::<(), warp_core::TableFull>(())
/// ```
#[derive(Clone, Copy)]
pub struct EntryRef<'a> {
    record: Record<'a>,
    /// The table's tick.
    tick: u8,
}

impl<'a> EntryRef<'a> {
    #[inline]
    pub(crate) fn new(record: Record<'a>, tick: u8) -> EntryRef<'a> {
        EntryRef { record, tick }
    }

    /// The value, in packed form if it [is packed](EntryRef::packed_from); `None` in a tombstone.
    #[must_use]
    #[inline]
    pub fn value(self) -> Option<&'a [u8]> {
        self.record.value()
    }

    /// The value as a handle: a copy of a short value, a share of a long one. `None` in a tombstone.
    #[must_use]
    #[inline]
    pub fn value_handle(self) -> Option<Value> {
        self.record.value_handle()
    }

    /// As [`EntryRef::value_handle`], put where the caller wants it: a handle is 120 bytes, and moving it keeps the processor
    /// from looking ahead to the next cache miss.
    #[inline(always)]
    pub fn value_into(self, slot: &mut Option<Value>) {
        self.record.value_into(slot);
    }

    /// The length that the value had before its owner packed it ([`NewValue::Packed`](crate::NewValue::Packed)); `None` if
    /// it is not packed.
    #[must_use]
    #[inline]
    pub fn packed_from(self) -> Option<u32> {
        self.record.packed_from()
    }

    /// Bytes of memory that go with the entry when it leaves: its piece, and its value if that is in one of its own.
    #[must_use]
    pub fn memory_bytes(self) -> usize {
        let shared = self.record.shared().map_or(0, |bytes| Arena::room_of_value(bytes.len()));
        Arena::room(self.record.bytes()) + shared
    }

    /// The number of the write that made the entry.
    #[must_use]
    #[inline]
    pub fn seq(self) -> u64 {
        self.record.seq()
    }

    /// When the entry ceases to count, in milliseconds since the start of 1970; 0 for never.
    #[must_use]
    #[inline]
    pub fn deadline(self) -> u64 {
        self.record.deadline()
    }

    /// The keyspace of the key.
    #[must_use]
    pub fn keyspace(self) -> u32 {
        self.record.keyspace()
    }

    /// The key.
    #[must_use]
    pub fn key(self) -> &'a [u8] {
        self.record.key()
    }

    /// Whether this says that the key was deleted.
    #[must_use]
    #[inline]
    pub fn is_tombstone(self) -> bool {
        self.record.is_tombstone()
    }

    /// Whether the deadline has come at `now`, in milliseconds since the start of 1970.
    #[must_use]
    #[inline]
    pub fn is_expired(self, now: u64) -> bool {
        is_past(self.deadline(), now)
    }

    /// Counts a use of the entry in its heat: one store to the entry's own cache line. Two uses at the same moment may
    /// count as one.
    pub fn touch(self) {
        self.record.set_heat(heat::used(self.record.heat(), self.tick));
    }

    /// As [`EntryRef::touch`], unless the heat was told in this tick already: so that an entry which is read all the time is
    /// written to once a tick. Returns whether it was counted.
    #[inline]
    pub fn touch_once(self) -> bool {
        let counts = !heat::is_used_at(self.record.heat(), self.tick);
        if counts {
            self.touch();
        }
        counts
    }

    /// The mass of the entry: an estimate of the uses that were counted with [`EntryRef::touch`], halved with each
    /// tick since. From 0 to 127.
    #[must_use]
    pub fn mass(self) -> u32 {
        heat::mass(self.record.heat(), self.tick)
    }

    /// A copy that outlives the read.
    #[must_use]
    #[inline]
    pub fn to_entry(self) -> Entry {
        let mut entry = Entry { value: None, seq: self.seq(), deadline: self.deadline() };
        self.value_into(&mut entry.value);
        entry
    }
}

impl fmt::Debug for EntryRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EntryRef")
            .field("keyspace", &self.keyspace())
            .field("key", &self.key())
            .field("entry", &self.to_entry())
            .field("mass", &self.mass())
            .finish()
    }
}
