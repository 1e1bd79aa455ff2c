//! The bytes in which what a learner knows is stored: `docs/format/advice.md`, "Learned partners".
//!
//! Keys have numbers in them, and neither names nor hashes: their names are kept by the caller, as while it learns.

use super::{
    Bell, BellOptions, CELL_HALVED_AT, FREQUENT, FREQUENT_ONE_IN, LINKS, PLACE_BITS, READS_HALVED_AT,
    SHARES_EVERY, TRACKED_MAX, low,
};
use crate::bytes::{Reader, len_u32};
use crate::usefulness::UseShare;

/// The first byte; any other belongs to a format that this version cannot read.
const VERSION: u8 = 1;
const CELLS: usize = 40;
/// No number, and no place.
const NONE: u32 = u32::MAX;
/// Keys are told apart by whether they were read since the hand passed, and by their reads.
const CLASSES: usize = 2 * READS_HALVED_AT as usize;
/// Shares that come back count as much as the reads between two times that they are worked out.
const SHARES_COUNTED: f64 = SHARES_EVERY as f64 / FREQUENT_ONE_IN as f64;

/// The most bytes that [`Bell::to_bytes`] makes, beside those for keys: version, two counts, cells and shares.
pub const BELL_STORED_BYTES: usize = 1 + 2 * 4 + CELLS * 8 + FREQUENT * 12;
/// The most bytes that it makes of a key: its reads, how many links it has, and their numbers and weights.
pub const BELL_STORED_KEY_BYTES: usize = 2 + LINKS * 5;

// Numbers are stored in 32 bits, and none of them is that of no key.
const _: () = assert!(TRACKED_MAX < NONE as usize);

impl Bell {
    /// The places of at most `count_max` keys, the most valuable first: those that were read lately, and those of them that
    /// were read most.
    #[must_use]
    pub fn most_read(&self, count_max: usize) -> Vec<u32> {
        let class = |reads: u8, is_recent: bool| {
            usize::from(reads) + if is_recent { usize::from(READS_HALVED_AT) } else { 0 }
        };
        let mut counts = [0_usize; CLASSES];
        for key in &self.tracked {
            counts[class(key.reads, key.is_recent)] += 1;
        }
        // Where the keys of each class go.
        let mut nexts = [0_usize; CLASSES];
        let mut before = 0;
        for (next, count) in nexts.iter_mut().zip(counts).rev() {
            *next = before;
            before += count;
        }
        let mut places = vec![0; self.tracked.len().min(count_max)];
        for (place, key) in self.tracked.iter().enumerate() {
            let next = &mut nexts[class(key.reads, key.is_recent)];
            if let Some(slot) = places.get_mut(*next) {
                *slot = low(place as u64);
            }
            *next += 1;
        }
        places
    }

    /// The bytes to store of the keys in these places, which are numbered in this order: their links to each other, and what
    /// came of predictions. No place may be among them twice.
    ///
    /// # Panics
    /// If a place is not below [`Bell::tracked`].
    #[must_use]
    pub fn to_bytes(&self, places: &[u32]) -> Vec<u8> {
        let mut numbers = vec![NONE; self.tracked.len()];
        for (number, place) in (0_u32..).zip(places) {
            numbers[*place as usize] = number;
        }
        let shares = self.shares_by_number(&numbers);
        let mut out = Vec::with_capacity(BELL_STORED_BYTES + places.len() * BELL_STORED_KEY_BYTES);
        out.push(VERSION);
        out.extend(len_u32(places.len()).to_le_bytes());
        for cell in self.cells.as_flattened() {
            out.extend(cell.made.to_le_bytes());
            out.extend(cell.used.to_le_bytes());
        }
        out.extend(len_u32(shares.len()).to_le_bytes());
        for (number, share) in shares {
            out.extend(number.to_le_bytes());
            out.extend(share.to_le_bytes());
        }
        for place in places {
            let key = &self.tracked[*place as usize];
            out.push(key.reads);
            let count_at = out.len();
            out.push(0);
            for (link, weight) in key.links.iter().zip(key.weights) {
                let partner = link & PLACE_BITS;
                // Not one that has left, or that is left out.
                if weight == 0 || self.name(partner) != *link || numbers[partner as usize] == NONE {
                    continue;
                }
                out[count_at] += 1;
                out.extend(numbers[partner as usize].to_le_bytes());
                out.push(weight);
            }
        }
        out
    }

    /// A learner that knows what [`Bell::to_bytes`] wrote. `hashes` are those of the keys, in the order of their numbers; one
    /// without a hash is left out, and so are the last ones where there are more than `options` have room for. Returned beside
    /// it are the numbers of the keys in the order of their places.
    ///
    /// Whatever the bytes are, the learner takes no more memory than `options` allow, and reading takes eight bytes for each
    /// of `hashes`.
    ///
    /// # Errors
    /// [`BadBell`] for any bytes that `to_bytes` does not make of so many keys.
    pub fn from_bytes(
        options: BellOptions,
        bytes: &[u8],
        hashes: &[Option<u64>],
    ) -> Result<(Bell, Vec<u32>), BadBell> {
        let mut reader = Reader::new(bytes);
        let version = reader.u8().ok_or(BadBell::Cut)?;
        if version != VERSION {
            return Err(BadBell::UnknownVersion(version));
        }
        let count = reader.u32().ok_or(BadBell::Cut)?;
        if count as usize != hashes.len() {
            return Err(BadBell::OtherKeys { count, hashes: hashes.len() });
        }
        if hashes.len() > TRACKED_MAX {
            return Err(BadBell::TooMany { count });
        }
        let mut bell = Bell::new(options);
        for cell in bell.cells.as_flattened_mut() {
            *cell = read_cell(&mut reader)?;
        }
        bell.read_shares(&mut reader, hashes)?;
        let numbers = bell.append_all(hashes);
        let mut places = vec![NONE; hashes.len()];
        for (place, number) in (0_u32..).zip(&numbers) {
            places[*number as usize] = place;
        }
        for number in 0..count {
            bell.read_key(&mut reader, number, &places)?;
        }
        if reader.len() > 0 {
            return Err(BadBell::LeftOver { bytes: reader.len() });
        }
        Ok((bell, numbers))
    }

    /// The known shares of those keys that have a number, in the order of the numbers.
    fn shares_by_number(&self, numbers: &[u32]) -> Vec<(u32, f64)> {
        let numbered = |(hash, share): &(u64, f64)| {
            let number = numbers[self.find(*hash)? as usize];
            (number != NONE).then_some((number, share.min(1.0)))
        };
        let mut shares: Vec<(u32, f64)> = self.shares.iter().filter_map(numbered).collect();
        shares.sort_unstable_by_key(|(number, _)| *number);
        shares
    }

    fn read_shares(&mut self, reader: &mut Reader<'_>, hashes: &[Option<u64>]) -> Result<(), BadBell> {
        let count = reader.u32().ok_or(BadBell::Cut)?;
        if count as usize > FREQUENT {
            return Err(BadBell::Figures);
        }
        let mut last = None;
        for _ in 0..count {
            let number = reader.u32().ok_or(BadBell::Cut)?;
            let share = reader.f64().ok_or(BadBell::Cut)?;
            let hash = hashes.get(number as usize).ok_or(BadBell::Figures)?;
            if last >= Some(number) || !(share > 0.0 && share <= 1.0) {
                return Err(BadBell::Figures);
            }
            last = Some(number);
            if let Some(hash) = hash {
                self.shares.push((*hash, share));
                self.frequent.add(*hash, share * SHARES_COUNTED);
                self.counted = SHARES_COUNTED;
            }
        }
        self.shares.sort_unstable_by_key(|(hash, _)| *hash);
        Ok(())
    }

    /// Gives the first of the keys their places, as many as there is room for. The most valuable come last, since the search
    /// for one that may leave begins with the first. Returns their numbers in the order of their places.
    fn append_all(&mut self, hashes: &[Option<u64>]) -> Vec<u32> {
        let with_hash = (0_u32..).zip(hashes).filter(|(_, hash)| hash.is_some());
        let mut numbers: Vec<u32> = with_hash.map(|(number, _)| number).take(self.capacity).collect();
        numbers.reverse();
        self.tracked.reserve_exact(numbers.len());
        numbers.retain(|number| match hashes[*number as usize] {
            Some(hash) if self.find(hash).is_none() => {
                self.append(hash);
                true
            }
            // Two keys of one hash, which nobody learns apart.
            _ => false,
        });
        numbers
    }

    fn read_key(&mut self, reader: &mut Reader<'_>, number: u32, places: &[u32]) -> Result<(), BadBell> {
        let invalid = BadBell::Invalid { number };
        let reads = reader.u8().ok_or(BadBell::Cut)?;
        let count = usize::from(reader.u8().ok_or(BadBell::Cut)?);
        if reads == 0 || reads >= READS_HALVED_AT || count > LINKS {
            return Err(invalid);
        }
        let (mut links, mut weights, mut filled) = ([0; LINKS], [0; LINKS], 0);
        let mut partners = [NONE; LINKS];
        for at in 0..count {
            let partner = reader.u32().ok_or(BadBell::Cut)?;
            let weight = reader.u8().ok_or(BadBell::Cut)?;
            if weight == 0 || partner == number || partners.contains(&partner) {
                return Err(invalid);
            }
            let Some(&place) = places.get(partner as usize) else { return Err(invalid) };
            partners[at] = partner;
            if place != NONE {
                // The name of the first key of a place, which is the place.
                links[filled] = place;
                weights[filled] = weight;
                filled += 1;
            }
        }
        let place = places[number as usize];
        if place != NONE {
            let key = &mut self.tracked[place as usize];
            (key.reads, key.links, key.weights) = (reads, links, weights);
        }
        Ok(())
    }
}

fn read_cell(reader: &mut Reader<'_>) -> Result<UseShare, BadBell> {
    let made = reader.f32().ok_or(BadBell::Cut)?;
    let used = reader.f32().ok_or(BadBell::Cut)?;
    let is_possible = (0.0..CELL_HALVED_AT).contains(&made) && (0.0..=made).contains(&used);
    if is_possible { Ok(UseShare { made, used }) } else { Err(BadBell::Figures) }
}

/// What is wrong with bytes that should be what a learner knows.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum BadBell {
    /// The first byte names a format that this version does not know.
    #[error("what was learned is in the unknown format {0}")]
    UnknownVersion(u8),
    /// The bytes end within a field.
    #[error("what was learned is cut off")]
    Cut,
    /// There are bytes after the last key.
    #[error("{bytes} bytes after the last key")]
    LeftOver {
        /// How many there are.
        bytes: usize,
    },
    /// The count is more than a learner can track.
    #[error("{count} keys are more than can be tracked")]
    TooMany {
        /// The count.
        count: u32,
    },
    /// The count is not that of the hashes.
    #[error("{count} keys, and {hashes} hashes")]
    OtherKeys {
        /// The count.
        count: u32,
        /// How many hashes there are.
        hashes: usize,
    },
    /// What came of predictions, or the shares of keys, cannot be.
    #[error("what came of predictions, or shares of keys, cannot be")]
    Figures,
    /// A key has reads or links that no learner gives it.
    #[error("key {number} is not valid")]
    Invalid {
        /// Its number.
        number: u32,
    },
}

#[cfg(test)]
mod tests {
    use super::super::BELL_KEY_BYTES;
    use super::*;

    const OPTIONS: BellOptions = BellOptions { bytes: 64 * BELL_KEY_BYTES, horizon: Some(32) };
    /// Where the first key begins if there are no shares.
    const FIRST_KEY: usize = 1 + 2 * 4 + CELLS * 8;

    /// A learner of three keys that are read in turn, in places 0, 1 and 2.
    fn three() -> Bell {
        let mut bell = Bell::new(OPTIONS);
        for _ in 0..10 {
            for hash in [100, 101, 102] {
                bell.observe(hash);
            }
            bell.interrupt();
        }
        bell
    }

    fn partners(bell: &Bell, hash: u64) -> Vec<u64> {
        let mut found = Vec::new();
        bell.partners(hash, &mut found);
        found.iter().map(|partner| partner.hash).collect()
    }

    #[test]
    fn keys_without_a_hash_or_room_are_left_out() {
        let bell = three();
        let bytes = bell.to_bytes(&[0, 1, 2]);
        let (back, numbers) = Bell::from_bytes(OPTIONS, &bytes, &[Some(5), None, Some(7)]).unwrap();
        assert_eq!((numbers, back.tracked()), (vec![2, 0], 2));
        assert_eq!(partners(&back, 5), [7]);
        // Of two keys with one hash there is one.
        let (back, numbers) = Bell::from_bytes(OPTIONS, &bytes, &[Some(5), Some(5), Some(7)]).unwrap();
        assert_eq!((numbers.len(), back.tracked()), (2, 2));
        let some = bell.to_bytes(&[2, 0]);
        let (back, _) = Bell::from_bytes(OPTIONS, &some, &[Some(102), Some(100)]).unwrap();
        assert_eq!(partners(&back, 100), [102], "the other partner was not stored");

        let mut many = Bell::new(OPTIONS);
        for hash in 0..64 {
            many.observe(hash);
        }
        let bytes = many.to_bytes(&many.most_read(64));
        let hashes: Vec<Option<u64>> = (0..64).map(Some).collect();
        let less = BellOptions { bytes: 20 * BELL_KEY_BYTES, ..OPTIONS };
        let (mut back, numbers) = Bell::from_bytes(less, &bytes, &hashes).unwrap();
        let first: Vec<u32> = (0..20).rev().collect();
        assert_eq!((numbers, back.tracked()), (first, 20));
        // The first to leave is the last of those.
        back.observe(1_000);
        assert!(back.find(19).is_none() && back.find(0).is_some());
    }

    #[test]
    fn those_read_lately_and_most_come_first() {
        let mut bell = Bell::new(OPTIONS);
        for hash in [1, 2, 3, 3, 2, 3] {
            bell.observe(hash);
            bell.interrupt();
        }
        assert_eq!(bell.most_read(usize::MAX), [2, 1, 0]);
        bell.tracked[2].is_recent = false;
        assert_eq!(bell.most_read(2), [1, 0]);
        assert!(bell.most_read(0).is_empty());
    }

    #[test]
    fn each_kind_of_damage_is_named() {
        let good = three().to_bytes(&[0, 1, 2]);
        let hashes = [Some(1), Some(2), Some(3)];
        let read = |bytes: &[u8]| Bell::from_bytes(OPTIONS, bytes, &hashes).map(|_| ());
        let changed = |at: usize, with: &[u8]| {
            let mut bytes = good.clone();
            bytes[at..at + with.len()].copy_from_slice(with);
            read(&bytes)
        };
        assert_eq!(read(&good), Ok(()));
        assert_eq!(changed(0, &[2]), Err(BadBell::UnknownVersion(2)));
        assert_eq!(changed(1, &[4]), Err(BadBell::OtherKeys { count: 4, hashes: 3 }));
        for made in [-1.0, CELL_HALVED_AT, f32::NAN] {
            assert_eq!(changed(5, &made.to_le_bytes()), Err(BadBell::Figures), "{made}");
        }
        assert_eq!(changed(9, &300.0_f32.to_le_bytes()), Err(BadBell::Figures), "more used than made");
        assert_eq!(changed(FIRST_KEY - 4, &[1, 1]), Err(BadBell::Figures), "257 shares");
        let invalid = Err(BadBell::Invalid { number: 0 });
        for reads in [0, READS_HALVED_AT, 255] {
            assert_eq!(changed(FIRST_KEY, &[reads]), invalid, "{reads} reads");
        }
        assert_eq!(changed(FIRST_KEY + 1, &[5]), invalid, "five links");
        for (partner, why) in [(0, "to itself"), (2, "twice"), (3, "to none")] {
            assert_eq!(changed(FIRST_KEY + 2, &[partner]), invalid, "{why}");
        }
        assert_eq!(changed(FIRST_KEY + 6, &[0]), invalid, "without a weight");
        assert_eq!(read(&[&good[..], &[0]].concat()), Err(BadBell::LeftOver { bytes: 1 }));
        for len in 0..good.len() {
            assert_eq!(read(&good[..len]), Err(BadBell::Cut), "cut to {len}");
        }
    }
}
