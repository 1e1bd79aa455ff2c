//! Walking the keys of a keyspace, and counting them.

use std::ops::{Bound, RangeBounds};
use std::sync::Arc;

use crate::error::Result;
use crate::scan::{Scan, prefix_bounds};
use crate::space::Space;

impl Space<'_> {
    pub(crate) fn scan(self, start: Bound<Vec<u8>>, end: Bound<Vec<u8>>) -> Scan {
        Scan::new(Arc::clone(self.shared), self.keyspace, start, end)
    }

    pub(crate) fn scan_range<K: AsRef<[u8]>>(self, range: &impl RangeBounds<K>) -> Scan {
        let owned = |key: &K| key.as_ref().to_vec();
        self.scan(range.start_bound().map(owned), range.end_bound().map(owned))
    }

    pub(crate) fn scan_prefix(self, prefix: &[u8]) -> Scan {
        let (start, end) = prefix_bounds(prefix);
        self.scan(start, end)
    }

    pub(crate) fn len(self) -> Result<u64> {
        self.check()?;
        self.shared.count(self.keyspace)
    }

    pub(crate) fn is_empty(self) -> Result<bool> {
        self.check()?;
        Ok(!self.shared.is_any_in_memory(self.keyspace) && self.len()? == 0)
    }

    pub(crate) fn approximate_len(self) -> u64 {
        self.shared.estimate_len(self.keyspace)
    }
}
