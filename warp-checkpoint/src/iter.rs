//! All entries of a layer, in order of their hashes.

use std::iter::FusedIterator;

use crate::{Layer, LayerEntryRef, Result};

/// The entries of a layer in ascending order of their hashes; made by [`Layer::iter`] and [`Layer::iter_from`].
///
/// There is one item for each entry. Where a block is damaged, the items that depend on it are errors, and the
/// iterator goes on behind them. Keys are checked by then, values when they are asked for.
#[derive(Clone, Debug)]
pub struct Iter<'a> {
    layer: &'a Layer,
    next: u32,
}

impl<'a> Iter<'a> {
    pub(crate) fn new(layer: &'a Layer) -> Iter<'a> {
        Iter::from_rank(layer, 0)
    }

    pub(crate) fn from_rank(layer: &'a Layer, next: u32) -> Iter<'a> {
        Iter { layer, next }
    }
}

impl<'a> Iterator for Iter<'a> {
    type Item = Result<LayerEntryRef<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.next == self.layer.index().entries() {
            return None;
        }
        let entry = self.layer.entry_of_rank(self.next);
        self.next += 1;
        Some(entry)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = (self.layer.index().entries() - self.next) as usize;
        (left, Some(left))
    }
}

impl ExactSizeIterator for Iter<'_> {}
impl FusedIterator for Iter<'_> {}

impl<'a> IntoIterator for &'a Layer {
    type Item = Result<LayerEntryRef<'a>>;
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}
