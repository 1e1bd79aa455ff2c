//! From hashes to places: open addressing over 32-bit numbers, so that a key takes eight bytes at most.

/// No place.
const NONE: u32 = u32::MAX;
/// Slots at first; always a power of two.
const SLOTS_MIN: usize = 64;

/// The places of keys, found by their hashes, which the caller keeps.
#[derive(Clone, Debug, Default)]
pub(super) struct Index {
    slots: Vec<u32>,
}

impl Index {
    pub(super) fn bytes(&self) -> usize {
        self.slots.capacity() * size_of::<u32>()
    }

    /// The place of the key with this hash.
    pub(super) fn find(&self, hash: u64, hash_of: impl Fn(u32) -> u64) -> Option<u32> {
        let mut at = self.home(hash)?;
        loop {
            match self.slots[at] {
                NONE => return None,
                place if hash_of(place) == hash => return Some(place),
                _ => at = (at + 1) & (self.slots.len() - 1),
            }
        }
    }

    /// Adds the place of a key that is not in it; `keys` is how many there are with it.
    pub(super) fn insert(&mut self, hash: u64, place: u32, keys: usize, hash_of: impl Fn(u32) -> u64) {
        // At most three quarters full, so that searches end soon.
        if keys * 4 > self.slots.len() * 3 {
            let former = std::mem::take(&mut self.slots);
            self.slots = vec![NONE; (former.len() * 2).max(SLOTS_MIN)];
            for place in former.into_iter().filter(|place| *place != NONE) {
                self.put(hash_of(place), place);
            }
        }
        self.put(hash, place);
    }

    /// Takes the place of a key out, and moves those behind it so that they are still found.
    pub(super) fn remove(&mut self, hash: u64, hash_of: impl Fn(u32) -> u64) {
        let Some(mut at) = self.home(hash) else { return };
        let mask = self.slots.len() - 1;
        while self.slots[at] != NONE && hash_of(self.slots[at]) != hash {
            at = (at + 1) & mask;
        }
        let mut next = at;
        loop {
            self.slots[at] = NONE;
            loop {
                next = (next + 1) & mask;
                if self.slots[next] == NONE {
                    return;
                }
                let Some(home) = self.home(hash_of(self.slots[next])) else { return };
                // Stays if its home lies behind the gap, on the way to where it is.
                let stays = (next.wrapping_sub(home) & mask) < (next.wrapping_sub(at) & mask);
                if !stays {
                    break;
                }
            }
            self.slots[at] = self.slots[next];
            at = next;
        }
    }

    fn put(&mut self, hash: u64, place: u32) {
        let Some(mut at) = self.home(hash) else { return };
        while self.slots[at] != NONE {
            at = (at + 1) & (self.slots.len() - 1);
        }
        self.slots[at] = place;
    }

    /// The first slot to look at; `None` where there are no slots yet.
    fn home(&self, hash: u64) -> Option<usize> {
        let mask = self.slots.len().checked_sub(1)?;
        // Multiplied, since a caller's hashes may have regular lower bits.
        let mixed = hash.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
        usize::try_from(mixed).ok().map(|mixed| mixed & mask)
    }
}
