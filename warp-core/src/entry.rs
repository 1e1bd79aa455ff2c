//! What the table holds for a key.

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
        self.deadline != 0 && self.deadline <= now
    }

    /// The value that a reader at `now` should see: none in a tombstone, and none past the deadline.
    #[must_use]
    pub fn value_at(&self, now: u64) -> Option<&Value> {
        self.value.as_ref().filter(|_| !self.is_expired(now))
    }
}
