//! A bucket: one cache line with the fingerprints and addresses of nine entries.
//!
//! Readers look at a bucket while a writer changes it. What keeps that right:
//!
//! - An entry never moves within a bucket or between buckets: a bucket array that grows is a new one. So a reader that
//!   goes through the places in order misses no key that is there throughout.
//! - A place is published by the store of its address (Release), after its fingerprint and the entry itself, and
//!   cleared the same way. Whoever loads the address (Acquire) sees the entry.
//! - A fingerprint that belongs to another moment than the address beside it sends the reader to an entry that is not
//!   the key's, which comparing the keys finds out; or past an entry that came or went while it looked.
//!
//! An entry whose bucket is full goes to the next one that has room, and every bucket that it passed counts it in
//! `passed`, so that a search knows where to end (as the overflow counts of
//! [F14](https://engineering.fb.com/2019/04/25/developer-tools/f14/)).
#![expect(
    clippy::cast_possible_truncation,
    reason = "fingerprints are cut out of hashes, and parts out of words"
)]

use crate::arena::Address;
use crate::lanes::{LANES, equal_lanes};
use crate::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering};

/// Entries of a bucket.
pub(crate) const PLACES: usize = 9;
/// Of these, as many have the upper part of their fingerprint in words, so that they are compared all at once.
const IN_WORDS: usize = 8;
/// `passed` stays here once it got here, since it no longer knows how many there were.
const PASSED_MAX: u8 = u8::MAX;

/// Bits of a fingerprint. They also say which bucket is an entry's home, so that a bucket array can grow without
/// looking at the entries.
pub(crate) const FINGERPRINT_BITS: u32 = 24;

/// The part of a key's hash that is kept beside its address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fingerprint(u32);

impl Fingerprint {
    /// The bits below those that name the slot.
    #[inline]
    pub(crate) fn of(hash: u64) -> Fingerprint {
        Fingerprint((hash >> 28) as u32 & ((1 << FINGERPRINT_BITS) - 1))
    }

    /// The bucket that is the home of entries with this fingerprint, of `count`.
    #[inline]
    pub(crate) fn home(self, count: usize) -> usize {
        (self.0 as usize * count) >> FINGERPRINT_BITS
    }

    #[inline]
    fn low(self) -> u8 {
        self.0 as u8
    }

    #[inline]
    fn high(self) -> u16 {
        (self.0 >> 8) as u16
    }
}

/// Nine fingerprints and addresses. All zeros is an empty bucket.
#[repr(C, align(64))]
#[derive(Debug)]
pub(crate) struct Bucket {
    /// The upper 16 bits of the first eight fingerprints, four in a word.
    high: [AtomicU64; IN_WORDS / LANES],
    addresses: [AtomicU32; PLACES],
    /// Those of the ninth.
    high_last: AtomicU16,
    /// The lower bytes of all fingerprints.
    low: [AtomicU8; PLACES],
    /// How many entries went past this bucket since it was full.
    passed: AtomicU8,
}

#[cfg(not(any(loom, shuttle)))]
const _: () = assert!(size_of::<Bucket>() == 64);

/// The places of a bucket whose fingerprint may be the one that is looked for, as bits.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Candidates(u32);

impl Iterator for Candidates {
    type Item = usize;

    #[inline]
    fn next(&mut self) -> Option<usize> {
        if self.0 == 0 {
            return None;
        }
        let place = self.0.trailing_zeros() as usize;
        self.0 &= self.0 - 1;
        Some(place)
    }
}

impl Bucket {
    #[cfg(any(test, loom, shuttle))]
    pub(crate) fn empty() -> Bucket {
        Bucket {
            high: std::array::from_fn(|_| AtomicU64::new(0)),
            addresses: std::array::from_fn(|_| AtomicU32::new(0)),
            high_last: AtomicU16::new(0),
            low: std::array::from_fn(|_| AtomicU8::new(0)),
            passed: AtomicU8::new(0),
        }
    }

    /// The places whose fingerprint has the same upper bits as `print`; those that are empty may be among them.
    #[inline]
    pub(crate) fn candidates(&self, print: Fingerprint) -> Candidates {
        let words = [self.high[0].load(Ordering::Relaxed), self.high[1].load(Ordering::Relaxed)];
        let last = u32::from(self.high_last.load(Ordering::Relaxed) == print.high()) << IN_WORDS;
        Candidates(equal_lanes(words, print.high()) | last)
    }

    /// The address in a place, if the fingerprint there is `print`.
    #[inline]
    pub(crate) fn address_of(&self, place: usize, print: Fingerprint) -> Option<Address> {
        // A mask for the compiler, which cannot know that there are no more candidates than places.
        let place = place.min(PLACES - 1);
        if self.low[place].load(Ordering::Relaxed) != print.low() {
            return None;
        }
        self.address(place)
    }

    /// The address in a place.
    #[inline]
    pub(crate) fn address(&self, place: usize) -> Option<Address> {
        // Acquire pairs with the Release in `publish`: the entry is seen whole.
        Address::from_bits(self.addresses[place].load(Ordering::Acquire))
    }

    /// Whether entries whose home this is, or that came past it, may be in a later bucket.
    #[inline]
    pub(crate) fn was_passed(&self) -> bool {
        // Acquire: an entry that went past was put in its place before it was counted here.
        self.passed.load(Ordering::Acquire) > 0
    }

    /// The fingerprint in a place that is in use. For writers; to others it is a guess, which a writer may be changing.
    pub(crate) fn fingerprint(&self, place: usize) -> Fingerprint {
        let high = match place {
            0..IN_WORDS => {
                (self.high[place / LANES].load(Ordering::Relaxed) >> (16 * (place % LANES))) as u16
            }
            _ => self.high_last.load(Ordering::Relaxed),
        };
        Fingerprint(u32::from(high) << 8 | u32::from(self.low[place].load(Ordering::Relaxed)))
    }

    /// A place that is not in use. For writers.
    pub(crate) fn vacant(&self) -> Option<usize> {
        (0..PLACES).find(|place| self.addresses[*place].load(Ordering::Relaxed) == 0)
    }

    /// Puts an entry into a place that is not in use. For writers.
    pub(crate) fn fill(&self, place: usize, print: Fingerprint, address: Address) {
        self.low[place].store(print.low(), Ordering::Relaxed);
        if place < IN_WORDS {
            let (word, shift) = (&self.high[place / LANES], 16 * (place % LANES));
            let others = word.load(Ordering::Relaxed) & !(0xFFFF << shift);
            word.store(others | u64::from(print.high()) << shift, Ordering::Relaxed);
        } else {
            self.high_last.store(print.high(), Ordering::Relaxed);
        }
        self.publish(place, address);
    }

    /// Puts another entry of the same key into a place. For writers.
    #[inline]
    pub(crate) fn publish(&self, place: usize, address: Address) {
        // Release pairs with the Acquire in `address`.
        self.addresses[place].store(address.get(), Ordering::Release);
    }

    /// Empties a place. For writers.
    pub(crate) fn clear(&self, place: usize) {
        // Release: who no longer finds the entry sees what was done before, in another place of it for instance.
        self.addresses[place].store(0, Ordering::Release);
    }

    /// Counts an entry that goes past. For writers, after the entry is in its place.
    pub(crate) fn pass(&self) {
        let passed = self.passed.load(Ordering::Relaxed);
        self.passed.store(passed.saturating_add(1), Ordering::Release);
    }

    /// Takes back [`Bucket::pass`], for an entry that is gone. For writers.
    pub(crate) fn unpass(&self) {
        let passed = self.passed.load(Ordering::Relaxed);
        debug_assert!(passed > 0, "an entry beyond this bucket was counted");
        if passed < PASSED_MAX {
            self.passed.store(passed.saturating_sub(1), Ordering::Release);
        }
    }

    /// How many entries went past, or [`None`] if it is no longer known. For tests.
    pub(crate) fn passed(&self) -> Option<u8> {
        Some(self.passed.load(Ordering::Relaxed)).filter(|passed| *passed < PASSED_MAX)
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;

    fn found(bucket: &Bucket, print: Fingerprint) -> Vec<u32> {
        bucket
            .candidates(print)
            .filter_map(|place| bucket.address_of(place, print))
            .map(Address::get)
            .collect()
    }

    #[test]
    fn every_place_is_found_by_its_fingerprint_and_by_no_other() {
        // Prints that differ in one byte only.
        let prints = [0, 1, 0x100, 0x101, 0xFF, 0xFFFF, 0xFF_FFFF, 0x80, 0x01_0000].map(Fingerprint);
        let bucket = Bucket::empty();
        for (place, print) in prints.into_iter().enumerate() {
            assert!(found(&bucket, print).is_empty());
            assert_eq!(bucket.vacant(), Some(place));
            bucket.fill(place, print, Address::from_bits(100 + place as u32).unwrap());
            assert_eq!(bucket.fingerprint(place), print);
        }
        assert_eq!(bucket.vacant(), None);
        for (place, print) in prints.into_iter().enumerate() {
            assert_eq!(found(&bucket, print), [100 + place as u32]);
        }
        for (place, print) in prints.into_iter().enumerate() {
            bucket.clear(place);
            assert!(found(&bucket, print).is_empty());
        }
    }

    #[test]
    fn same_fingerprints_are_all_candidates() {
        let bucket = Bucket::empty();
        let print = Fingerprint(0xAB_CDEF);
        for place in 0..PLACES {
            bucket.fill(place, print, Address::from_bits(place as u32 + 1).unwrap());
        }
        assert_eq!(found(&bucket, print), (1..=9).collect::<Vec<u32>>());
    }

    #[test]
    fn homes_are_in_order_and_in_range() {
        for count in [1, 2, 3, 7, 320, 30_000] {
            let homes: Vec<usize> =
                (0..1 << FINGERPRINT_BITS).step_by(997).map(|bits| Fingerprint(bits).home(count)).collect();
            assert!(homes.is_sorted());
            assert!(homes.iter().all(|home| *home < count));
            assert_eq!(Fingerprint((1 << FINGERPRINT_BITS) - 1).home(count), count - 1);
        }
    }

    #[test]
    fn a_count_that_was_lost_stays() {
        let bucket = Bucket::empty();
        (0..300).for_each(|_| bucket.pass());
        (0..300).for_each(|_| bucket.unpass());
        assert!(bucket.was_passed());
        assert_eq!(bucket.passed(), None);
    }
}
