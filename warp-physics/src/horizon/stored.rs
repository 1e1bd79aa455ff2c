//! The bytes in which what a law has learned is stored: `docs/format/advice.md`, "The law of use".

use super::age::AGE_BINS;
use super::orbit::CLASSES;
use crate::bytes::{Reader, len_u32};

/// The first byte; any other belongs to a format that this version cannot read.
const VERSION: u8 = 1;
/// Version, tick, entries, uses, and how many counts.
const HEADER_BYTES: usize = 1 + 1 + 8 + 8 + 4;
/// The place of a count, and the two counts there.
const COUNT_BYTES: usize = 2 + 2 * 4;
/// A tick is never longer than `2^TICK_SHIFT_MAX` accesses: the entries that fit are counted in 64 bits.
const TICK_SHIFT_MAX: u8 = 63;
/// Counts fade, so that none ever comes near this.
const COUNT_MAX: f32 = 1e15;
/// A law is of use to another capacity, if neither is more than so many times the other: classes of waits are parts of it.
const CAPACITY_RATIO_MAX: u64 = 2;

const _: () = assert!(CLASSES * AGE_BINS <= u16::MAX as usize);

/// The most bytes that [`StoredLaw::to_bytes`] makes.
pub const LAW_STORED_BYTES_MAX: usize = HEADER_BYTES + CLASSES * AGE_BINS * COUNT_BYTES;

/// What a [`Gravity`](crate::Gravity) has learned of the uses of entries, as it is kept over a restart: how many waits of each class
/// and length ended in a use, and how many were given up. It knows no keys.
///
/// ```
/// use warp_physics::{Gravity, StoredLaw};
///
/// let gravity = Gravity::new(1000, 5000);
/// for now in 0..40_000_u64 {
///     gravity.used((now / 2 % 300 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15), now, 0, 1.0);
/// }
/// let bytes = gravity.law().to_bytes();
/// let again = Gravity::new(1100, 5500);
/// assert!(!again.is_settled());
/// assert!(again.take_law(&StoredLaw::from_bytes(&bytes)?));
/// assert!(again.is_settled());
/// # Ok::<(), warp_physics::BadLaw>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct StoredLaw {
    /// How many accesses a tick is, as a power of two: ages are in ticks.
    pub(super) tick_shift: u8,
    /// The entries that fitted.
    pub(super) entries: u64,
    /// Uses that were seen, as far as they are counted.
    pub(super) uses: u64,
    /// Counts that are not zero, in ascending order of their places.
    pub(super) counts: Vec<StoredCount>,
}

/// Waits of one class and age.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct StoredCount {
    /// Its place in the tables of the law.
    pub(super) place: u16,
    /// Those that ended in a use.
    pub(super) reused: f32,
    /// Those of which nobody saw the end.
    pub(super) lost: f32,
}

/// Bytes that no [`StoredLaw`] was stored in.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the stored law of use is damaged, or of another version")]
#[non_exhaustive]
pub struct BadLaw;

impl StoredLaw {
    /// Bytes of memory that it takes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.counts.capacity() * size_of::<StoredCount>()
    }

    /// Whether nothing was counted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.counts.is_empty()
    }

    /// Whether it says anything about entries of which so many fit, with ticks of that length.
    pub(super) fn is_for(&self, tick_shift: u32, entries: u64) -> bool {
        let (least, most) = (self.entries.min(entries), self.entries.max(entries));
        u32::from(self.tick_shift) == tick_shift && most <= least.saturating_mul(CAPACITY_RATIO_MAX)
    }

    /// The bytes to store.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEADER_BYTES + self.counts.len() * COUNT_BYTES);
        out.push(VERSION);
        out.push(self.tick_shift);
        out.extend(self.entries.to_le_bytes());
        out.extend(self.uses.to_le_bytes());
        out.extend(len_u32(self.counts.len()).to_le_bytes());
        for StoredCount { place, reused, lost } in &self.counts {
            out.extend(place.to_le_bytes());
            out.extend(reused.to_le_bytes());
            out.extend(lost.to_le_bytes());
        }
        out
    }

    /// Reads what [`StoredLaw::to_bytes`] made.
    ///
    /// # Errors
    /// [`BadLaw`] for any bytes that `to_bytes` does not make.
    pub fn from_bytes(bytes: &[u8]) -> Result<StoredLaw, BadLaw> {
        read(&mut Reader::new(bytes)).ok_or(BadLaw)
    }
}

fn read(reader: &mut Reader<'_>) -> Option<StoredLaw> {
    let is_known = reader.u8()? == VERSION;
    let (tick_shift, entries, uses) = (reader.u8()?, reader.u64()?, reader.u64()?);
    let count = usize::try_from(reader.u32()?).ok()?;
    let is_whole = reader.len() == count.checked_mul(COUNT_BYTES)?;
    if !is_known || !is_whole || tick_shift > TICK_SHIFT_MAX || entries == 0 {
        return None;
    }
    let mut counts: Vec<StoredCount> = Vec::with_capacity(count);
    for _ in 0..count {
        let (place, reused, lost) = (reader.u16()?, reader.f32()?, reader.f32()?);
        let is_count = |count: f32| (0.0..=COUNT_MAX).contains(&count);
        let is_next = counts.last().is_none_or(|last| last.place < place);
        if usize::from(place) >= CLASSES * AGE_BINS || !is_next || !is_count(reused) || !is_count(lost) {
            return None;
        }
        counts.push(StoredCount { place, reused, lost });
    }
    Some(StoredLaw { tick_shift, entries, uses, counts })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn law() -> StoredLaw {
        let count = |place, reused, lost| StoredCount { place, reused, lost };
        let counts = vec![count(0, 3.5, 0.0), count(7, 0.25, 8.0), count(17_663, 0.0, 1.0)];
        StoredLaw { tick_shift: 2, entries: 1_000, uses: 2_500, counts }
    }

    #[test]
    fn what_was_stored_comes_back_and_nothing_else_does() {
        let bytes = law().to_bytes();
        assert_eq!(StoredLaw::from_bytes(&bytes), Ok(law()));
        assert!(bytes.len() <= LAW_STORED_BYTES_MAX);
        for length in 0..bytes.len() {
            assert_eq!(StoredLaw::from_bytes(&bytes[..length]), Err(BadLaw));
        }
        assert_eq!(StoredLaw::from_bytes(&[&bytes[..], &[0]].concat()), Err(BadLaw));
        let changed = |change: fn(&mut StoredLaw)| {
            let mut law = law();
            change(&mut law);
            StoredLaw::from_bytes(&law.to_bytes())
        };
        assert_eq!(changed(|law| law.entries = 0), Err(BadLaw));
        assert_eq!(changed(|law| law.tick_shift = 64), Err(BadLaw));
        assert_eq!(changed(|law| law.counts[2].place = 17_664), Err(BadLaw));
        assert_eq!(changed(|law| law.counts[1].place = 0), Err(BadLaw));
        assert_eq!(changed(|law| law.counts[0].lost = -1.0), Err(BadLaw));
        assert_eq!(changed(|law| law.counts[0].reused = f32::NAN), Err(BadLaw));
        assert_eq!(changed(|law| law.counts[0].reused = f32::INFINITY), Err(BadLaw));
        let version = [&[VERSION + 1][..], &bytes[1..]].concat();
        assert_eq!(StoredLaw::from_bytes(&version), Err(BadLaw));
    }

    #[test]
    fn a_law_is_for_capacities_that_are_about_the_same() {
        assert!(law().is_for(2, 1_000) && law().is_for(2, 2_000) && law().is_for(2, 500));
        assert!(!law().is_for(2, 2_001) && !law().is_for(2, 499) && !law().is_for(3, 1_000));
    }
}
