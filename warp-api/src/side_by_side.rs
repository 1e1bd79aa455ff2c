//! The order in which changed entries are laid out in a layer: related ones side by side, as the physics layer advises.
//!
//! The advice is asked for a window of entries at a time, together with their partners wherever those are, so that its
//! cost in memory does not grow with the number of entries: a window, and a bit for each entry.

use std::collections::HashMap;

use warp_core::{Key, SLOTS, slot_of};

use crate::shared::Shared;

/// Layouts of more entries than this keep the table's own order: finding who belongs with whom takes a few
/// microseconds an entry, for which a checkpoint should not take minutes.
pub(crate) const LAYOUT_ENTRIES_MAX: usize = 1 << 22;
/// Entries of a window, before their partners are added.
const WINDOW_ENTRIES: usize = 1 << 10;

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
}

impl SideBySide {
    /// `hashes` are in ascending order, each once.
    pub(crate) fn new(hashes: Vec<u64>) -> SideBySide {
        let place = |slot: usize| hashes.partition_point(|hash| slot_of(*hash) < slot);
        let slots = (0..=SLOTS).map(place).collect();
        let placed = vec![0; hashes.len().div_ceil(64)];
        SideBySide { hashes, slots, placed, next: 0 }
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        (self.hashes.capacity() + self.placed.capacity() + self.slots.len()) * size_of::<u64>()
    }

    fn is_placed(&self, place: usize) -> bool {
        self.placed[place / 64] & (1 << (place % 64)) != 0
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
    /// For each entry the numbers of its partners, in the window.
    partners: Vec<Vec<usize>>,
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

    /// The hashes of the next entries, in the order in which they are laid out; none at the end.
    pub(crate) fn next_beside(&self, all: &mut SideBySide) -> Vec<u64> {
        let window = self.window(all);
        let count = window.places.len();
        let mut asked = 0;
        let order = self.advice.layout(count, &mut |number| {
            asked += 1;
            window.partners.get(number).cloned().unwrap_or_default()
        });
        for place in &window.places {
            all.placed[place / 64] |= 1 << (place % 64);
        }
        let hash = |number: usize| all.hashes[window.places[number]];
        if !is_permutation(&order, count) {
            return (0..count).map(hash).collect();
        }
        // Whoever was not asked for partners of its own was laid beside the one whose partner it is.
        self.counters.laid_out.add((count - count.min(asked)) as u64);
        order.into_iter().map(hash).collect()
    }

    /// The next entries that have no place yet, with their partners that have none either.
    fn window(&self, all: &mut SideBySide) -> Window {
        let mut window = Window::default();
        while window.places.len() < WINDOW_ENTRIES && all.next < all.hashes.len() {
            if !all.is_placed(all.next) {
                window.number_of(all.next);
            }
            all.next += 1;
        }
        let seeds = window.places.len();
        let mut keys: Vec<(usize, u32, Key)> = Vec::with_capacity(seeds);
        let hashes: Vec<u64> = window.places.iter().map(|place| all.hashes[*place]).collect();
        self.table.multi_entries(&hashes, |number, entry| {
            keys.push((number, entry.keyspace(), Key::from(entry.key())));
        });
        window.partners = vec![Vec::new(); seeds];
        for (number, keyspace, key) in keys {
            for link in self.links_in_memory(keyspace, &key) {
                let place = all.find(self.key(link.keyspace, &link.key).hash);
                if let Some(place) = place.filter(|place| !all.is_placed(*place)) {
                    let partner = window.number_of(place);
                    window.partners[number].push(partner);
                }
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
