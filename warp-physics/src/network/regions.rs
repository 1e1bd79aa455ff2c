//! The names of regions, and the numbers that stand for them.

use std::collections::HashMap;
use std::sync::Arc;

/// Stands for a region in one [`Routes`](super::Routes); another one may give it another number.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct RegionId(pub(super) u16);

impl RegionId {
    pub(super) fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// Most regions of a network: numbers have 16 bits, one of which says that there is none.
pub(super) const REGIONS_MAX: usize = u16::MAX as usize;

/// Which region has which number. A number is free again once its region has no wormhole left.
#[derive(Clone, Debug, Default)]
pub(super) struct Regions {
    ids: HashMap<Arc<str>, RegionId>,
    names: Vec<Option<Arc<str>>>,
}

impl Regions {
    pub(super) fn id(&self, name: &str) -> Option<RegionId> {
        self.ids.get(name).copied()
    }

    pub(super) fn name(&self, id: RegionId) -> Option<&Arc<str>> {
        self.names.get(id.index())?.as_ref()
    }

    /// Numbers in use lie below this.
    pub(super) fn end(&self) -> usize {
        self.names.len()
    }

    pub(super) fn len(&self) -> usize {
        self.ids.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = RegionId> + '_ {
        (0..).zip(&self.names).filter(|(_, name)| name.is_some()).map(|(id, _)| RegionId(id))
    }

    /// Gives a name a number; `None` if there are none left.
    pub(super) fn add(&mut self, name: &str) -> Option<RegionId> {
        if let Some(id) = self.id(name) {
            return Some(id);
        }
        let free = if self.ids.len() < self.names.len() {
            self.names.iter().position(Option::is_none)?
        } else {
            self.names.len()
        };
        let id = RegionId(u16::try_from(free).ok().filter(|_| free < REGIONS_MAX)?);
        let name: Arc<str> = name.into();
        if free == self.names.len() {
            self.names.push(None);
        }
        self.names[free] = Some(Arc::clone(&name));
        self.ids.insert(name, id);
        Some(id)
    }

    pub(super) fn remove(&mut self, id: RegionId) {
        if let Some(name) = self.names.get_mut(id.index()).and_then(Option::take) {
            self.ids.remove(&name);
        }
    }
}
