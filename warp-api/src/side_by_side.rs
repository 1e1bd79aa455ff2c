//! The order in which changed entries are laid out in a layer: related ones side by side, as the physics layer advises.
//!
//! The advice is asked for a window of entries at a time, together with their partners wherever those are, so that its
//! cost in memory does not grow with the number of entries: a window, and a bit for each entry.
//!
//! Those that have partners come first, and those that are left, alone: a partner that came by its own turn would be
//! far from whoever names it, if that one comes later. A rule leads one way only, so that a partner seldom knows.

use std::collections::HashMap;

use warp_core::{Key, SLOTS, slot_of};

use crate::shared::Shared;

/// Layouts of more entries than this keep the table's own order: finding who belongs with whom takes a few
/// microseconds an entry, for which a checkpoint should not take minutes.
pub(crate) const LAYOUT_ENTRIES_MAX: usize = 1 << 22;
/// Entries of a window, before their partners are added.
const WINDOW_ENTRIES: usize = 1 << 10;
/// Partners of an entry that are laid beside it, strongest first: some pages. With all of a window's a few megabytes.
const PARTNERS_MAX: usize = 32;

/// The changed entries that are still to be laid out, by the places of their hashes.
#[derive(Debug)]
pub(crate) struct SideBySide {
    /// In ascending order.
    hashes: Vec<u64>,
    /// Where the hashes of each slot begin, and the number of all.
    slots: Box<[usize]>,
    /// For each hash, whether it is laid out.
    placed: Vec<u64>,
    next: usize,
    /// Whether those without partners are laid out now.
    are_left: bool,
}

impl SideBySide {
    /// `hashes` are in ascending order, each once.
    pub(crate) fn new(hashes: Vec<u64>) -> SideBySide {
        let place = |slot: usize| hashes.partition_point(|hash| slot_of(*hash) < slot);
        let slots = (0..=SLOTS).map(place).collect();
        let placed = vec![0; hashes.len().div_ceil(64)];
        SideBySide { hashes, slots, placed, next: 0, are_left: false }
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        (self.hashes.capacity() + self.placed.capacity() + self.slots.len()) * size_of::<u64>()
    }

    /// How many hashes have been looked at for partners.
    pub(crate) fn looked_at(&self) -> u64 {
        (if self.are_left { self.hashes.len() } else { self.next }) as u64
    }

    fn is_placed(&self, place: usize) -> bool {
        self.placed[place / 64] & (1 << (place % 64)) != 0
    }

    fn place(&mut self, place: usize) {
        self.placed[place / 64] |= 1 << (place % 64);
    }

    /// The places of the next hashes that are not laid out, at most a window full; none at the end.
    fn next_places(&mut self) -> Vec<usize> {
        let mut places = Vec::new();
        while places.len() < WINDOW_ENTRIES && self.next < self.hashes.len() {
            if !self.is_placed(self.next) {
                places.push(self.next);
            }
            self.next += 1;
        }
        places
    }

    fn find(&self, hash: u64) -> Option<usize> {
        let slot = slot_of(hash);
        let of_slot = self.slots[slot]..self.slots[slot + 1];
        let within = self.hashes[of_slot.clone()].binary_search(&hash).ok()?;
        Some(of_slot.start + within)
    }
}

/// A window: entries that are laid out at once, by their places among all.
#[derive(Debug, Default)]
struct Window {
    places: Vec<usize>,
    /// For each entry that has partners their numbers, in the window.
    partners: HashMap<usize, Vec<usize>>,
    numbers: HashMap<usize, usize>,
}

impl Window {
    fn number_of(&mut self, place: usize) -> usize {
        *self.numbers.entry(place).or_insert_with(|| {
            self.places.push(place);
            self.places.len() - 1
        })
    }
}

impl Shared {
    /// Whether there are rules, by which any entry can have a partner.
    pub(crate) fn has_rules(&self) -> bool {
        !self.entanglement.load().rules().is_empty()
    }

    /// The hashes of the next entries, in the order in which they are laid out: perhaps none of a window. `None` at
    /// the end.
    pub(crate) fn next_beside(&self, all: &mut SideBySide) -> Option<Vec<u64>> {
        let mut places = all.next_places();
        if places.is_empty() && !all.are_left {
            (all.are_left, all.next) = (true, 0);
            places = all.next_places();
        }
        if places.is_empty() {
            return None;
        }
        let window = match all.are_left {
            false => self.related(all, &places),
            true => Window { places, ..Window::default() },
        };
        Some(if window.places.is_empty() { Vec::new() } else { self.laid_out(all, &window) })
    }

    /// The hashes of a window in the order that is advised.
    fn laid_out(&self, all: &mut SideBySide, window: &Window) -> Vec<u64> {
        let count = window.places.len();
        let mut asked = 0;
        let order = self.advice.layout(count, &mut |number| {
            asked += 1;
            window.partners.get(&number).cloned().unwrap_or_default()
        });
        window.places.iter().for_each(|place| all.place(*place));
        let hash = |number: usize| all.hashes[window.places[number]];
        if !is_permutation(&order, count) {
            return (0..count).map(hash).collect();
        }
        // Whoever was not asked for partners of its own was laid beside the one whose partner it is.
        self.counters.laid_out.add((count - count.min(asked)) as u64);
        order.into_iter().map(hash).collect()
    }

    /// Those of the entries at these places that have partners which are to be laid out, with these.
    fn related(&self, all: &SideBySide, places: &[usize]) -> Window {
        let mut keys: Vec<(usize, u32, Key)> = Vec::with_capacity(places.len());
        let hashes: Vec<u64> = places.iter().map(|place| all.hashes[*place]).collect();
        self.table.multi_entries(&hashes, |number, entry| {
            keys.push((places[number], entry.keyspace(), Key::from(entry.key())));
        });
        let mut window = Window::default();
        for (place, keyspace, key) in keys {
            let links = self.links_in_memory(keyspace, &key, PARTNERS_MAX);
            let partners = links.iter().filter_map(|link| all.find(self.key(link.keyspace, &link.key).hash));
            let partners: Vec<usize> =
                partners.filter(|partner| *partner != place && !all.is_placed(*partner)).collect();
            if !partners.is_empty() {
                let number = window.number_of(place);
                let partners = partners.into_iter().map(|partner| window.number_of(partner)).collect();
                window.partners.insert(number, partners);
            }
        }
        window
    }
}

fn is_permutation(order: &[usize], count: usize) -> bool {
    let mut seen = vec![false; count];
    order.len() == count
        && order.iter().all(|&index| index < count && !std::mem::replace(&mut seen[index], true))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_permutations_are_followed() {
        assert!(is_permutation(&[], 0));
        assert!(is_permutation(&[2, 0, 1], 3));
        assert!(!is_permutation(&[0, 1], 3));
        assert!(!is_permutation(&[0, 1, 1], 3));
        assert!(!is_permutation(&[0, 1, 3], 3));
    }

    #[test]
    fn hashes_are_found_by_slot() {
        let hashes: Vec<u64> = (0..10_000_u64).map(|n| n << 50).filter(|hash| hash % 3 == 0).collect();
        let mut sorted = hashes.clone();
        sorted.sort_unstable();
        sorted.dedup();
        let all = SideBySide::new(sorted.clone());
        for (place, hash) in sorted.iter().enumerate() {
            assert_eq!(all.find(*hash), Some(place));
            assert_eq!(all.find(hash + 1), None);
        }
    }
}
