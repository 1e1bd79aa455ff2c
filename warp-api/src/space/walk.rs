//! Walking the keys of a keyspace, and counting them.

use std::ops::{Bound, RangeBounds};
use std::sync::Arc;

use crate::error::Result;
use crate::scan::Scan;
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
        let end = after_prefix(prefix).map_or(Bound::Unbounded, Bound::Excluded);
        self.scan(Bound::Included(prefix.to_vec()), end)
    }

    pub(crate) fn len(self) -> Result<u64> {
        self.check()?;
        self.shared.count(self.keyspace)
    }

    pub(crate) fn approximate_len(self) -> u64 {
        self.shared.estimate_len(self.keyspace)
    }
}

/// The least key that is above all keys with this prefix; `None` if there is none.
fn after_prefix(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|byte| *byte != u8::MAX)?;
    let mut after = prefix[..=last].to_vec();
    after[last] += 1;
    Some(after)
}

#[cfg(test)]
mod tests {
    use super::after_prefix;

    #[test]
    fn a_prefix_ends_before_the_next_one() {
        assert_eq!(after_prefix(b"ab").as_deref(), Some(&b"ac"[..]));
        assert_eq!(after_prefix(b"a\xff\xff").as_deref(), Some(&b"b"[..]));
        assert_eq!(after_prefix(b"\xff\xff"), None);
        assert_eq!(after_prefix(b""), None);
    }
}
