//! The memory between writers and the disk: place and order by one `fetch_add`, without a lock.
//!
//! ```text
//!        consumed                                tail
//!           v                                     v
//!   ..free..|ready record|ready record|not ready.|..free..
//!
//!   record := commit word, value sizes, payload words        (8 bytes each)
//! ```
//!
//! The tail packs a position in words and a sequence into one `AtomicU64`, so that both advance together. Where
//! the 28 bits of the sequence overflow, they carry into the position: the next record starts one word
//! later, which producer and consumer both see in the value from before the addition.
//!
//! A commit word of zero means "not ready". The consumer zeroes all words of a record before it gives their
//! room back, so that a producer finds zeros.

use crate::sync::atomic::{AtomicU64, Ordering};

use crossbeam_utils::CachePadded;

/// Bits of the tail that hold the sequence.
const SEQ_BITS: u32 = 28;
const SEQ_MASK: u64 = (1 << SEQ_BITS) - 1;
/// Bits of the tail that hold the position.
const POSITION_MASK: u64 = u64::MAX >> SEQ_BITS;
/// Words of a record before its payload.
const RECORD_HEADER_WORDS: u64 = 2;
/// Words that are never given to anyone: the one that a carry skips.
const SPARE_WORDS: u64 = 1;
const WORD_BYTES: usize = 8;

/// Marks a commit word: the record is complete.
const READY: u64 = 1;
/// Marks a commit word: the payload is held elsewhere.
const BY_REFERENCE: u64 = 2;
const LENGTH_SHIFT: u32 = 8;

// All records in the ring at one time have different sequences in 28 bits.
const _: () = assert!((crate::options::BUFFER_BYTES_MAX / WORD_BYTES) as u64 <= 1 << (SEQ_BITS - 1));

/// The ring.
#[derive(Debug)]
pub(crate) struct Ring {
    words: Box<[AtomicU64]>,
    mask: u64,
    tail: CachePadded<AtomicU64>,
    /// The last sequence that the consumer took out.
    consumed: CachePadded<AtomicU64>,
}

/// A place in the ring that one producer owns until it commits.
#[derive(Debug)]
pub(crate) struct Place {
    position: u64,
    /// The sequence that belongs to it.
    pub(crate) seq: u64,
    commit_word: u64,
}

/// A record that is ready.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ready {
    /// Size of its payload, in bytes.
    pub(crate) bytes: usize,
    pub(crate) by_reference: bool,
    pub(crate) raw_value_bytes: u64,
    pub(crate) stored_value_bytes: u64,
}

/// Where the one consumer stands. Whoever holds it is the consumer.
#[derive(Debug)]
pub(crate) struct Consumer {
    position: u64,
    /// The last sequence that was taken out.
    seq: u64,
}

impl Ring {
    /// A ring of `bytes`, a power of two, whose first record gets `next_seq`, which is at least 1.
    pub(crate) fn new(bytes: usize, next_seq: u64) -> (Ring, Consumer) {
        let words = bytes / WORD_BYTES;
        let ring = Ring {
            words: (0..words).map(|_| AtomicU64::new(0)).collect(),
            mask: words as u64 - 1,
            tail: CachePadded::new(AtomicU64::new(next_seq & SEQ_MASK)),
            consumed: CachePadded::new(AtomicU64::new(next_seq - 1)),
        };
        (ring, Consumer { position: 0, seq: next_seq - 1 })
    }

    /// Words that producers can take in all.
    pub(crate) fn capacity(&self) -> u64 {
        self.words.len() as u64 - SPARE_WORDS
    }

    /// Words that a record of so many payload bytes takes.
    pub(crate) fn record_words(bytes: usize) -> u64 {
        RECORD_HEADER_WORDS + bytes.div_ceil(WORD_BYTES) as u64
    }

    /// Words that a record takes whose payload is held elsewhere.
    pub(crate) fn stub_words() -> u64 {
        RECORD_HEADER_WORDS
    }

    /// Takes the next place, and with it the next sequence. The caller was admitted for so many words.
    pub(crate) fn reserve(&self, words: u64) -> Place {
        // AcqRel: what earlier producers learned from their admissions (which words the consumer has zeroed)
        // is passed on along the order of places. SeqCst, which includes it, pairs with `Parking`.
        let before = self.tail.fetch_add(words << SEQ_BITS | 1, Ordering::SeqCst);
        // Fewer than 2^27 records lie between what was consumed and this one, so 28 bits tell which it is.
        let consumed = self.consumed.load(Ordering::Acquire);
        Place { position: before >> SEQ_BITS, seq: widen(before, consumed + 1), commit_word: 0 }
    }

    /// Copies a payload into a place that was reserved for it.
    pub(crate) fn fill(&self, place: &mut Place, payload: &[u8], raw_value_bytes: usize, stored: usize) {
        self.fill_header(place, payload.len(), raw_value_bytes, stored);
        let words = payload.len().div_ceil(WORD_BYTES) as u64;
        let (first, second) = self.words_from(place.position + RECORD_HEADER_WORDS, words);
        let (front, back) = payload.split_at(payload.len().min(first.len() * WORD_BYTES));
        store_words(first, front);
        store_words(second, back);
    }

    /// Notes that the payload of a place, of so many bytes, is held elsewhere.
    pub(crate) fn fill_stub(&self, place: &mut Place, bytes: usize, raw_value_bytes: usize, stored: usize) {
        self.fill_header(place, bytes, raw_value_bytes, stored);
        place.commit_word |= BY_REFERENCE;
    }

    fn fill_header(&self, place: &mut Place, bytes: usize, raw_value_bytes: usize, stored: usize) {
        place.commit_word = (bytes as u64) << LENGTH_SHIFT | READY;
        let sizes = (raw_value_bytes as u64) << 32 | stored as u64;
        self.word(place.position + 1).store(sizes, Ordering::Relaxed);
    }

    /// Lets the consumer have the record.
    pub(crate) fn commit(&self, place: &Place) {
        // Release pairs with the Acquire load in `peek`: who sees this word sees the payload.
        self.word(place.position).store(place.commit_word, Ordering::Release);
    }

    /// The sequence that the next reservation will get, at least.
    pub(crate) fn next_seq(&self) -> u64 {
        loop {
            let before = self.consumed.load(Ordering::Acquire);
            let tail = self.tail.load(Ordering::SeqCst);
            let after = self.consumed.load(Ordering::Acquire);
            // The tail is at most a ring ahead of what was consumed when it was read, which lies between.
            if after - before < 1 << (SEQ_BITS - 2) {
                return widen(tail, before + 1);
            }
        }
    }

    /// The record at the head, if it is ready.
    pub(crate) fn peek(&self, consumer: &Consumer) -> Option<Ready> {
        let word = self.word(consumer.position).load(Ordering::Acquire);
        if word & READY == 0 {
            return None;
        }
        let sizes = self.word(consumer.position + 1).load(Ordering::Relaxed);
        Some(Ready {
            bytes: usize::try_from(word >> LENGTH_SHIFT).unwrap_or(usize::MAX),
            by_reference: word & BY_REFERENCE != 0,
            raw_value_bytes: sizes >> 32,
            stored_value_bytes: sizes & u64::from(u32::MAX),
        })
    }

    /// Takes out the record at the head, which was just seen to be ready, and appends its payload, unless
    /// that is held elsewhere. Returns its sequence and how many words it took.
    pub(crate) fn take(&self, consumer: &mut Consumer, ready: &Ready, out: &mut Vec<u8>) -> (u64, u64) {
        let words = if ready.by_reference { Ring::stub_words() } else { Ring::record_words(ready.bytes) };
        let start = out.len();
        let payload_words = words - RECORD_HEADER_WORDS;
        let (first, second) = self.words_from(consumer.position + RECORD_HEADER_WORDS, payload_words);
        out.resize(start + (first.len() + second.len()) * WORD_BYTES, 0);
        let (front, back) = out[start..].split_at_mut(first.len() * WORD_BYTES);
        take_words(first, front);
        take_words(second, back);
        if !ready.by_reference {
            out.truncate(start + ready.bytes);
        }
        for position in consumer.position..consumer.position + RECORD_HEADER_WORDS {
            self.word(position).store(0, Ordering::Relaxed);
        }
        consumer.seq += 1;
        let carry = u64::from(consumer.seq & SEQ_MASK == SEQ_MASK);
        consumer.position = (consumer.position + words + carry) & POSITION_MASK;
        self.consumed.store(consumer.seq, Ordering::Release);
        (consumer.seq, words)
    }

    /// So many words from a position on: up to the end of the memory, and from its beginning on.
    fn words_from(&self, position: u64, count: u64) -> (&[AtomicU64], &[AtomicU64]) {
        #[expect(clippy::cast_possible_truncation, reason = "both are at most the length of the slice")]
        let (start, count) = ((position & self.mask) as usize, count as usize);
        let first = count.min(self.words.len() - start);
        (&self.words[start..start + first], &self.words[..count - first])
    }

    fn word(&self, position: u64) -> &AtomicU64 {
        // The mask keeps the index below the length, which fits in memory.
        #[expect(clippy::cast_possible_truncation, reason = "below the length of the slice")]
        let index = (position & self.mask) as usize;
        &self.words[index]
    }
}

/// Stores bytes in words; the last word is filled up with zeros.
fn store_words(words: &[AtomicU64], bytes: &[u8]) {
    let mut chunks = bytes.chunks_exact(WORD_BYTES);
    for (word, chunk) in words.iter().zip(&mut chunks) {
        let chunk = chunk.try_into().expect("chunks have the length of a word");
        word.store(u64::from_le_bytes(chunk), Ordering::Relaxed);
    }
    let rest = chunks.remainder();
    if let Some(last) = words.last().filter(|_| !rest.is_empty()) {
        let mut word = [0; WORD_BYTES];
        word[..rest.len()].copy_from_slice(rest);
        last.store(u64::from_le_bytes(word), Ordering::Relaxed);
    }
}

/// Takes the bytes of words, and leaves zeros.
fn take_words(words: &[AtomicU64], bytes: &mut [u8]) {
    for (word, chunk) in words.iter().zip(bytes.chunks_exact_mut(WORD_BYTES)) {
        chunk.copy_from_slice(&word.load(Ordering::Relaxed).to_le_bytes());
        word.store(0, Ordering::Relaxed);
    }
}

impl Consumer {
    /// The last sequence that was taken out.
    pub(crate) fn seq(&self) -> u64 {
        self.seq
    }
}

/// The smallest number at or above `floor` whose low bits are those of the tail.
fn widen(tail: u64, floor: u64) -> u64 {
    floor + ((tail & SEQ_MASK).wrapping_sub(floor) & SEQ_MASK)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(ring: &Ring, payload: &[u8]) -> u64 {
        let mut place = ring.reserve(Ring::record_words(payload.len()));
        ring.fill(&mut place, payload, 1, 2);
        ring.commit(&place);
        place.seq
    }

    /// Goes over the end of the ring, and over the carry of the sequence into the position, many times.
    #[test]
    fn records_come_out_as_they_went_in_across_wraps_and_carries() {
        for first in [1, SEQ_MASK - 2, (1 << 32) - 3, 1 << 32] {
            let (ring, mut consumer) = Ring::new(1 << 10, first);
            for round in 0..1000_u64 {
                let byte = u8::try_from(round % 251).unwrap();
                let len = usize::try_from(round % 37).unwrap();
                let payloads: Vec<Vec<u8>> = (0..3).map(|part| vec![byte; len + part]).collect();
                for (part, payload) in payloads.iter().enumerate() {
                    assert_eq!(ring.next_seq(), first + round * 3 + part as u64);
                    assert_eq!(record(&ring, payload), first + round * 3 + part as u64);
                }
                for (part, payload) in payloads.iter().enumerate() {
                    let ready = ring.peek(&consumer).unwrap();
                    assert_eq!((ready.raw_value_bytes, ready.stored_value_bytes), (1, 2));
                    let mut out = Vec::new();
                    let (seq, _) = ring.take(&mut consumer, &ready, &mut out);
                    assert_eq!((seq, &out), (first + round * 3 + part as u64, payload));
                }
                assert!(ring.peek(&consumer).is_none());
            }
        }
    }

    #[test]
    fn a_record_that_is_not_ready_holds_up_those_behind_it() {
        let (ring, mut consumer) = Ring::new(1 << 10, 1);
        let mut first = ring.reserve(Ring::record_words(3));
        record(&ring, b"two");
        assert!(ring.peek(&consumer).is_none());
        ring.fill(&mut first, b"one", 0, 0);
        ring.commit(&first);
        let mut out = Vec::new();
        for _ in 0..2 {
            let ready = ring.peek(&consumer).unwrap();
            ring.take(&mut consumer, &ready, &mut out);
        }
        assert_eq!(out, b"onetwo");
    }
}
