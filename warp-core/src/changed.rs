//! Which keys of a slot were written since its list was last closed.

/// The open list of a slot, and its mark.
///
/// **Rule:** every entry whose sequence is at or above the mark has its hash on the open list. A write lists its
/// key if it finds no entry, or one below the mark; otherwise the entry that it replaces has listed it already.
/// So a key is listed once however often it is written.
#[derive(Debug)]
pub(crate) struct Changed {
    /// Whether this table keeps lists at all.
    tracked: bool,
    /// Hashes in the order of the writes. One may be there twice, if its entry was removed in between.
    open: Vec<u64>,
    /// The next sequence at the moment when the list was closed; every write from then on is at or above it.
    mark: u64,
}

impl Changed {
    pub(crate) fn new(tracked: bool) -> Changed {
        Changed { tracked, open: Vec::new(), mark: 0 }
    }

    /// Notes a write to `hash` that replaces an entry with the sequence `former`, or none.
    pub(crate) fn written(&mut self, hash: u64, former: Option<u64>) {
        if self.is_news(former) {
            self.open.push(hash);
        }
    }

    /// Whether a write that replaces an entry with the sequence `former`, or none, is to be listed.
    #[inline]
    pub(crate) fn is_news(&self, former: Option<u64>) -> bool {
        self.tracked && former.is_none_or(|seq| seq < self.mark)
    }

    /// Notes that an entry came in from elsewhere unchanged: not a write, but overwriting it is one.
    ///
    /// Before the first close nothing else says where clean entries end. Raising the mark above one is always
    /// right: entries that were written are listed already, and are newer.
    pub(crate) fn came_in_clean(&mut self, seq: u64) {
        self.mark = self.mark.max(seq.saturating_add(1));
    }

    /// Takes the open list; later writes go on a new one. `next_seq` is at most the sequence of the next write.
    pub(crate) fn close(&mut self, next_seq: u64) -> Vec<u64> {
        self.mark = self.mark.max(next_seq);
        std::mem::take(&mut self.open)
    }

    /// Puts hashes back that were on a closed list.
    pub(crate) fn reopen(&mut self, hashes: &[u64]) {
        if self.tracked {
            self.open.extend_from_slice(hashes);
        }
    }

    /// Whether the rule asks that an entry with this sequence is on the open list.
    pub(crate) fn must_list(&self, seq: u64) -> bool {
        self.tracked && seq >= self.mark
    }

    pub(crate) fn open(&self) -> &[u64] {
        &self.open
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        self.open.capacity() * size_of::<u64>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_listed_once_between_two_closes() {
        let mut changed = Changed::new(true);
        changed.written(7, None);
        changed.written(7, Some(1));
        changed.written(7, Some(2));
        assert_eq!(changed.close(4), [7]);
        changed.written(7, Some(3));
        changed.written(7, Some(4));
        assert_eq!(changed.close(6), [7]);
        assert!(changed.close(6).is_empty());
    }

    #[test]
    fn overwriting_a_clean_entry_is_listed_before_the_first_close() {
        let mut changed = Changed::new(true);
        changed.came_in_clean(9);
        changed.written(7, Some(9));
        changed.written(7, Some(20));
        assert_eq!(changed.open(), [7]);
    }

    #[test]
    fn an_untracked_table_lists_nothing() {
        let mut changed = Changed::new(false);
        changed.written(7, None);
        changed.reopen(&[7]);
        assert!(changed.open().is_empty());
        assert!(!changed.must_list(1));
    }
}
