//! A list of pending operations whose clones share everything: the states of a recorded run differ by one entry
//! each, and must not cost a copy of the list each.

use std::fmt;
use std::sync::Arc;

/// Operations in the order they were made, each with its place in the order of the whole disk.
pub(super) struct History<T>(Option<Arc<Node<T>>>);

struct Node<T> {
    stamp: u64,
    operation: T,
    before: History<T>,
}

impl<T> History<T> {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    pub(super) fn push(&mut self, stamp: u64, operation: T) {
        let before = History(self.0.take());
        self.0 = Some(Arc::new(Node { stamp, operation, before }));
    }

    pub(super) fn clear(&mut self) {
        *self = History::default();
    }

    /// Every operation with its stamp, newest first.
    pub(super) fn newest_first(&self) -> impl Iterator<Item = (u64, &T)> {
        let mut next = self.0.as_deref();
        std::iter::from_fn(move || {
            let node = next?;
            next = node.before.0.as_deref();
            Some((node.stamp, &node.operation))
        })
    }

    /// Every operation, oldest first.
    pub(super) fn oldest_first(&self) -> impl Iterator<Item = &T> {
        let operations: Vec<&T> = self.newest_first().map(|(_, operation)| operation).collect();
        operations.into_iter().rev()
    }
}

impl<T> Default for History<T> {
    fn default() -> History<T> {
        History(None)
    }
}

impl<T> Clone for History<T> {
    fn clone(&self) -> History<T> {
        History(self.0.clone())
    }
}

impl<T> Drop for History<T> {
    fn drop(&mut self) {
        // One node after the other: letting each drop the one before it would need a stack as deep as the list.
        let mut next = self.0.take();
        while let Some(mut node) = next.and_then(Arc::into_inner) {
            next = node.before.0.take();
        }
    }
}

impl<T: fmt::Debug> fmt::Debug for History<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.oldest_first()).finish()
    }
}
