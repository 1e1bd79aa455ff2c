//! The lists of changed keys that a checkpoint has closed, given up slot by slot.

use warp_core::{SLOTS, Table};

/// The closed lists of changed keys, in the order of slots.
///
/// Unless they are [published](ClosedLists::published), because a layer has the entries, they are put back: after an
/// error, and after a panic of whoever is told of the progress, too. A list whose turn has come is given up, so that its
/// memory is there for what is written of it; it is put back from the table itself, which knows what was written since
/// the last checkpoint.
#[derive(Debug)]
pub(crate) struct ClosedLists<'a> {
    table: &'a Table,
    /// Where the last published checkpoint replays from: what is below is in a layer.
    clean_below: u64,
    lists: Vec<Vec<u64>>,
    /// Lists of slots below this one were given up.
    next: usize,
    is_published: bool,
}

impl<'a> ClosedLists<'a> {
    /// Closes the lists of all slots; see [`Table::close_lists_by_slot`].
    pub(crate) fn close(table: &'a Table, clean_below: u64, next_seq: impl Fn() -> u64) -> ClosedLists<'a> {
        let lists = table.close_lists_by_slot(next_seq);
        ClosedLists { table, clean_below, lists, next: 0, is_published: false }
    }

    /// `lists` of the same table that were closed before, in the order of slots.
    pub(crate) fn with_lists(&self, lists: Vec<Vec<u64>>) -> ClosedLists<'a> {
        ClosedLists { table: self.table, clean_below: self.clean_below, lists, next: 0, is_published: false }
    }

    /// Takes up hashes of lists that were closed before, in the order of slots.
    pub(crate) fn take_up(&mut self, lists: Vec<Vec<u64>>) {
        for (list, former) in self.lists.iter_mut().zip(lists) {
            list.extend(former);
        }
    }

    /// Hashes on the lists that were not given up. One may be there twice.
    pub(crate) fn len(&self) -> usize {
        self.lists.iter().map(Vec::len).sum()
    }

    /// Bytes that the lists take which were not given up.
    pub(crate) fn bytes(&self) -> usize {
        self.lists[self.next..].iter().map(|list| list.capacity() * size_of::<u64>()).sum()
    }

    /// Gives up the list of the next slot that has any; its hashes are in ascending order, each once.
    pub(crate) fn give_up(&mut self) -> Option<Vec<u64>> {
        while self.next < self.lists.len() {
            let mut hashes = std::mem::take(&mut self.lists[self.next]);
            self.next += 1;
            if !hashes.is_empty() {
                sort_out(&mut hashes);
                return Some(hashes);
            }
        }
        None
    }

    /// Gives up all lists as one, likewise.
    pub(crate) fn give_up_all(&mut self) -> Vec<u64> {
        let mut all = Vec::with_capacity(self.len());
        while let Some(hashes) = self.give_up() {
            all.extend(hashes);
        }
        all
    }

    /// The lists, for a later checkpoint. None was given up.
    pub(crate) fn keep(mut self) -> Vec<Vec<u64>> {
        debug_assert_eq!(self.next, 0);
        self.is_published = true;
        std::mem::take(&mut self.lists)
    }

    /// Says that a published checkpoint has what was on the lists.
    pub(crate) fn published(mut self) {
        self.is_published = true;
    }
}

impl Drop for ClosedLists<'_> {
    fn drop(&mut self) {
        if self.is_published {
            return;
        }
        debug_assert_eq!(self.lists.len(), SLOTS);
        (0..self.next).for_each(|slot| self.table.reopen_since(slot, self.clean_below));
        self.lists.drain(self.next..).for_each(|hashes| self.table.reopen(hashes));
    }
}

fn sort_out(hashes: &mut Vec<u64>) {
    hashes.sort_unstable();
    hashes.dedup();
}

#[cfg(test)]
mod tests {
    use super::*;
    use warp_core::KeyRef;

    #[test]
    fn lists_come_back_whether_they_were_given_up_or_not() {
        let table = Table::new(4, 9);
        for n in 0..20_000_u64 {
            table.put(KeyRef::new(9, 0, &n.to_le_bytes()), "", n + 1, 0).unwrap();
        }
        let mut closed = ClosedLists::close(&table, 0, || 20_001);
        assert_eq!(closed.len(), 20_000);
        let bytes = closed.bytes();
        let first = closed.give_up().unwrap();
        assert!(first.is_sorted() && closed.bytes() < bytes);
        drop(closed);
        let mut closed = ClosedLists::close(&table, 0, || 20_001);
        assert_eq!(closed.len(), 20_000);
        assert_eq!(closed.give_up_all().len(), 20_000);
        closed.published();
        assert_eq!(ClosedLists::close(&table, 20_001, || 20_001).len(), 0);
    }
}
