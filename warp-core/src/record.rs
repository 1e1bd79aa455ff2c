//! An entry as it lies in memory: one piece of an arena, written once and then read by many.
//!
//! ```text
//! 0   sequence          u64
//! 8   flags             u8     what follows, and the keyspace if it is small
//! 9   heat              u8     atomic: the only byte that changes after the entry was published
//! 10  key length        u8     its low byte
//! 11  value length      u8     its low byte
//! 12  packed from       u32    \  if the value is shared: its length before it was packed, 0 if it is not packed
//! 16  value             Bytes  /
//! ..  upper key length  u16    if the key is longer than 255 bytes
//! ..  upper value length u8    if an inline value is longer than 255 bytes
//! ..  keyspace          u32    if it is not small
//! ..  deadline          u64    if there is one
//! ..  key, then the value if it is not shared
//! ```
//!
//! So an entry of 16 and 100 bytes takes 128 bytes, which are two cache lines side by side.
#![expect(unsafe_code, reason = "reads and writes entries through pointers")]
#![expect(clippy::cast_possible_truncation, reason = "lengths are written in parts, each masked or shifted")]

use std::marker::PhantomData;
use std::ptr::NonNull;

use bytes::Bytes;

use crate::hash::KeyRef;
use crate::prefetch::prefetch;
use crate::value::Value;

/// Values of at most this many bytes are in the entry itself; longer ones are shared with their handles.
pub(crate) const RECORD_VALUE_BYTES_MAX: usize = 512;
/// The longest key that an entry can have, in bytes: what 24 bits of length and one run of pages hold.
pub const KEY_BYTES_MAX: usize = 1 << 20;

const _: () = assert!(REST_AT.is_multiple_of(align_of::<u32>()) && REST_AT + size_of::<u32>() == SHARED_AT);
const FLAGS_AT: usize = 8;
const HEAT_AT: usize = 9;
const KEY_LEN_AT: usize = 10;
const VALUE_LEN_AT: usize = 11;
const REST_AT: usize = 12;
const SHARED_AT: usize = 16;
const AFTER_SHARED: usize = SHARED_AT + size_of::<Bytes>();
const _: () = assert!(SHARED_AT.is_multiple_of(align_of::<Bytes>()));

const TOMBSTONE: u8 = 1;
const SHARED: u8 = 1 << 1;
const DEADLINE: u8 = 1 << 2;
const LONG_KEY: u8 = 1 << 3;
const LONG_VALUE: u8 = 1 << 4;
/// All of these. An entry without any has its key right behind the lengths.
const ANYTHING: u8 = TOMBSTONE | SHARED | DEADLINE | LONG_KEY | LONG_VALUE;
/// The upper three bits: the keyspace, or this if it does not fit.
const KEYSPACE_SHIFT: u32 = 5;
const KEYSPACE_ELSEWHERE: u32 = 7;

/// The value of an entry that is to be written.
///
/// ```
/// use warp_core::{NewValue, Value};
///
/// assert!(matches!(NewValue::from(b"short"), NewValue::Copied(_)));
/// assert!(matches!(NewValue::from(&Value::from(vec![0; 4096])), NewValue::Shared(_)));
/// ```
#[derive(Debug, Clone)]
pub enum NewValue<'a> {
    /// Copied: into the entry if it is short, and into memory that the entry shares with handles otherwise.
    Copied(&'a [u8]),
    /// Kept alive by the entry, without a copy.
    Shared(Bytes),
    /// Packed by the caller in a form of its own: the table keeps a copy of it, and says that it is packed. With the length
    /// of what was packed, below 4 GiB and not 0.
    Packed(&'a [u8], u32),
}

impl<'a> From<&'a [u8]> for NewValue<'a> {
    fn from(bytes: &'a [u8]) -> NewValue<'a> {
        NewValue::Copied(bytes)
    }
}

impl<'a, const N: usize> From<&'a [u8; N]> for NewValue<'a> {
    fn from(bytes: &'a [u8; N]) -> NewValue<'a> {
        NewValue::from(&bytes[..])
    }
}

impl<'a> From<&'a str> for NewValue<'a> {
    fn from(text: &'a str) -> NewValue<'a> {
        NewValue::from(text.as_bytes())
    }
}

impl<'a> From<&'a Vec<u8>> for NewValue<'a> {
    fn from(bytes: &'a Vec<u8>) -> NewValue<'a> {
        NewValue::from(&bytes[..])
    }
}

impl<'a> From<&'a Value> for NewValue<'a> {
    /// Shares a long value.
    fn from(value: &'a Value) -> NewValue<'a> {
        if value.len() <= RECORD_VALUE_BYTES_MAX {
            NewValue::Copied(value)
        } else {
            NewValue::Shared(Bytes::from(value.clone()))
        }
    }
}

/// A value in the form in which an entry has it.
#[derive(Debug)]
pub(crate) enum Stored<'a> {
    /// At most [`RECORD_VALUE_BYTES_MAX`] bytes, in the entry itself.
    Inline(&'a [u8]),
    /// With the length before it was packed, 0 if it is not packed.
    Shared(Bytes, u32),
}

/// What an entry is made of; its sequence is set when it is published.
#[derive(Debug)]
pub(crate) struct Contents<'a> {
    pub(crate) key: KeyRef<'a>,
    /// `None` for a tombstone.
    pub(crate) value: Option<Stored<'a>>,
    pub(crate) deadline: u64,
}

impl Contents<'_> {
    /// Bytes of the piece that the entry needs.
    #[inline]
    pub(crate) fn bytes(&self) -> usize {
        let flags = self.flags();
        let key_at = if is_plain(flags) { REST_AT } else { Offsets::of(flags).key };
        key_at + self.key.bytes.len() + self.inline_value().len()
    }

    #[inline]
    fn inline_value(&self) -> &[u8] {
        match &self.value {
            Some(Stored::Inline(bytes)) => bytes,
            _ => &[],
        }
    }

    #[inline]
    fn flags(&self) -> u8 {
        let mut flags = 0;
        match &self.value {
            None => flags |= TOMBSTONE,
            Some(Stored::Shared(..)) => flags |= SHARED,
            Some(Stored::Inline(bytes)) if bytes.len() > usize::from(u8::MAX) => flags |= LONG_VALUE,
            Some(Stored::Inline(_)) => {}
        }
        if self.deadline != 0 {
            flags |= DEADLINE;
        }
        if self.key.bytes.len() > usize::from(u8::MAX) {
            flags |= LONG_KEY;
        }
        let keyspace = self.key.keyspace.min(KEYSPACE_ELSEWHERE);
        flags | (keyspace << KEYSPACE_SHIFT) as u8
    }

    /// Writes the entry into a piece.
    ///
    /// # Safety
    /// The piece has [`Contents::bytes`] bytes, is aligned to eight, and belongs to the caller alone.
    #[inline]
    pub(crate) unsafe fn write_to(self, piece: NonNull<u8>) {
        let flags = self.flags();
        let (key, value) = (self.key.bytes, self.inline_value());
        debug_assert!(key.len() <= KEY_BYTES_MAX);
        // SAFETY: every offset is below the length that `bytes` computes from the same flags, which the caller
        // has provided.
        unsafe {
            piece.cast::<u64>().write(0);
            let lengths = [flags, 0, (key.len() & 0xFF) as u8, (value.len() & 0xFF) as u8];
            piece.add(FLAGS_AT).cast::<[u8; 4]>().write(lengths);
            let at = if is_plain(flags) { REST_AT } else { self.write_extras(flags, piece) };
            piece.add(at).copy_from_nonoverlapping(NonNull::from(key).cast(), key.len());
            piece.add(at + key.len()).copy_from_nonoverlapping(NonNull::from(value).cast(), value.len());
        }
        if let Some(Stored::Shared(bytes, packed_from)) = self.value {
            // SAFETY: the flags say so, so that there is room for both; the offsets are aligned.
            unsafe {
                piece.add(REST_AT).cast::<u32>().write(packed_from);
                piece.add(SHARED_AT).cast::<Bytes>().write(bytes);
            }
        }
    }

    /// Writes what is not in every entry; returns where the key goes.
    ///
    /// # Safety
    /// As [`Contents::write_to`].
    #[inline(never)]
    unsafe fn write_extras(&self, flags: u8, piece: NonNull<u8>) -> usize {
        let at = Offsets::of(flags);
        // SAFETY: the flags say that there is room for each; all are written without alignment.
        unsafe {
            if flags & LONG_KEY != 0 {
                piece.add(at.key_len).cast::<u16>().write_unaligned((self.key.bytes.len() >> 8) as u16);
            }
            if flags & LONG_VALUE != 0 {
                piece.add(at.value_len).write((self.inline_value().len() >> 8) as u8);
            }
            if flags >> KEYSPACE_SHIFT == KEYSPACE_ELSEWHERE as u8 {
                piece.add(at.keyspace).cast::<u32>().write_unaligned(self.key.keyspace);
            }
            if flags & DEADLINE != 0 {
                piece.add(at.deadline).cast::<u64>().write_unaligned(self.deadline);
            }
        }
        at.key
    }
}

/// Whether an entry's flags say nothing but a small keyspace, so that its key is right behind the lengths.
#[inline]
fn is_plain(flags: u8) -> bool {
    flags & ANYTHING == 0 && flags >> KEYSPACE_SHIFT != KEYSPACE_ELSEWHERE as u8
}

/// Where the parts of an entry are that are not in every one.
struct Offsets {
    key_len: usize,
    value_len: usize,
    keyspace: usize,
    deadline: usize,
    key: usize,
}

impl Offsets {
    #[inline]
    fn of(flags: u8) -> Offsets {
        let key_len = if flags & SHARED == 0 { REST_AT } else { AFTER_SHARED };
        let value_len = key_len + if flags & LONG_KEY == 0 { 0 } else { size_of::<u16>() };
        let keyspace = value_len + if flags & LONG_VALUE == 0 { 0 } else { 1 };
        let elsewhere = flags >> KEYSPACE_SHIFT == KEYSPACE_ELSEWHERE as u8;
        let deadline = keyspace + if elsewhere { size_of::<u32>() } else { 0 };
        let key = deadline + if flags & DEADLINE == 0 { 0 } else { size_of::<u64>() };
        Offsets { key_len, value_len, keyspace, deadline, key }
    }
}

/// An entry where it lies. Good for `'a`, during which nobody frees it.
#[derive(Clone, Copy)]
pub(crate) struct Record<'a> {
    piece: NonNull<u8>,
    _lives: PhantomData<&'a ()>,
}

impl<'a> Record<'a> {
    /// The entry in a piece.
    ///
    /// # Safety
    /// An entry was written to the piece by [`Contents::write_to`], is not freed during `'a`, and is changed by
    /// nobody but through [`Record::set_heat`], which is atomic.
    #[inline]
    pub(crate) unsafe fn at(piece: NonNull<u8>) -> Record<'a> {
        Record { piece, _lives: PhantomData }
    }

    #[inline]
    pub(crate) fn seq(self) -> u64 {
        // SAFETY: written before the entry was published.
        unsafe { self.piece.cast::<u64>().read() }
    }

    /// Sets the sequence of an entry that nobody else can see yet.
    ///
    /// # Safety
    /// The entry is not published.
    pub(crate) unsafe fn set_seq(self, seq: u64) {
        // SAFETY: inside of the piece, and seen by nobody else, as the caller says.
        unsafe { self.piece.cast::<u64>().write(seq) }
    }

    #[inline]
    fn flags(self) -> u8 {
        self.byte(FLAGS_AT)
    }

    /// One of the bytes that every entry has.
    #[inline]
    fn byte(self, at: usize) -> u8 {
        debug_assert!(at < REST_AT);
        // SAFETY: an entry has at least that many bytes, and they are not changed any more.
        unsafe { self.piece.add(at).read() }
    }

    fn heat_cell(self) -> &'a std::sync::atomic::AtomicU8 {
        // SAFETY: the byte is inside of the entry, which lives during `'a`, and is reached through this only.
        unsafe { std::sync::atomic::AtomicU8::from_ptr(self.piece.add(HEAT_AT).as_ptr()) }
    }

    pub(crate) fn heat(self) -> u8 {
        self.heat_cell().load(std::sync::atomic::Ordering::Relaxed)
    }

    /// Two that set it at once may lose one of the two, which heat can bear.
    pub(crate) fn set_heat(self, heat: u8) {
        self.heat_cell().store(heat, std::sync::atomic::Ordering::Relaxed);
    }

    pub(crate) fn is_tombstone(self) -> bool {
        self.flags() & TOMBSTONE != 0
    }

    #[inline]
    pub(crate) fn keyspace(self) -> u32 {
        let flags = self.flags();
        match u32::from(flags >> KEYSPACE_SHIFT) {
            // SAFETY: the flags say that a keyspace was written there.
            KEYSPACE_ELSEWHERE => unsafe {
                self.piece.add(Offsets::of(flags).keyspace).cast::<u32>().read_unaligned()
            },
            keyspace => keyspace,
        }
    }

    /// When the entry ceases to count; 0 for never.
    #[inline]
    pub(crate) fn deadline(self) -> u64 {
        let flags = self.flags();
        if flags & DEADLINE == 0 {
            return 0;
        }
        // SAFETY: the flags say that a deadline was written there.
        unsafe { self.piece.add(Offsets::of(flags).deadline).cast::<u64>().read_unaligned() }
    }

    #[inline]
    fn key_len(self, flags: u8, at: &Offsets) -> usize {
        let low = usize::from(self.byte(KEY_LEN_AT));
        if flags & LONG_KEY == 0 {
            return low;
        }
        // SAFETY: the flags say that the upper part of the length was written there.
        let high = unsafe { self.piece.add(at.key_len).cast::<u16>().read_unaligned() };
        low | usize::from(high) << 8
    }

    #[inline]
    pub(crate) fn key(self) -> &'a [u8] {
        let flags = self.flags();
        if is_plain(flags) {
            return self.plain_key();
        }
        let at = Offsets::of(flags);
        let len = self.key_len(flags, &at);
        // SAFETY: that many bytes of the key were written there, and live during `'a`.
        unsafe { std::slice::from_raw_parts(self.piece.add(at.key).as_ptr(), len) }
    }

    /// Whether this is the entry of a key.
    #[inline]
    pub(crate) fn is_of(self, key: &KeyRef<'_>) -> bool {
        let plain = (key.keyspace.min(KEYSPACE_ELSEWHERE) << KEYSPACE_SHIFT) as u8;
        if self.flags() & !TOMBSTONE == plain && key.keyspace < KEYSPACE_ELSEWHERE {
            return is_same(self.plain_key(), key.bytes);
        }
        self.is_of_slowly(key)
    }

    /// The bytes of the pieces of both entries, if they are of the same key, and have nothing else that not every entry
    /// has.
    #[inline(always)] // On the way of each put.
    pub(crate) fn plain_bytes_of_same(self, other: Record<'_>) -> Option<(usize, usize)> {
        let flags = self.flags();
        if !is_plain(flags) || other.flags() != flags {
            return None;
        }
        let key = self.plain_key();
        let bytes = |record: Record<'_>| REST_AT + key.len() + usize::from(record.byte(VALUE_LEN_AT));
        is_same(key, other.plain_key()).then(|| (bytes(self), bytes(other)))
    }

    #[inline(never)]
    fn is_of_slowly(self, key: &KeyRef<'_>) -> bool {
        self.key() == key.bytes && self.keyspace() == key.keyspace
    }

    /// The key of an entry whose flags say nothing but a small keyspace, and perhaps that it is a tombstone.
    #[inline]
    fn plain_key(self) -> &'a [u8] {
        let len = usize::from(self.byte(KEY_LEN_AT));
        // SAFETY: that many bytes of the key were written there, and live during `'a`.
        unsafe { std::slice::from_raw_parts(self.piece.add(REST_AT).as_ptr(), len) }
    }

    /// The value; `None` in a tombstone.
    #[inline]
    pub(crate) fn value(self) -> Option<&'a [u8]> {
        let flags = self.flags();
        if !is_plain(flags) {
            return self.value_slowly();
        }
        let start = REST_AT + usize::from(self.byte(KEY_LEN_AT));
        let len = usize::from(self.byte(VALUE_LEN_AT));
        // SAFETY: that many bytes of the value were written behind the key, and live during `'a`.
        Some(unsafe { std::slice::from_raw_parts(self.piece.add(start).as_ptr(), len) })
    }

    #[inline(never)]
    fn value_slowly(self) -> Option<&'a [u8]> {
        let flags = self.flags();
        if flags & (TOMBSTONE | SHARED) != 0 {
            return self.shared().map(|bytes| &bytes[..]);
        }
        let at = Offsets::of(flags);
        let start = at.key + self.key_len(flags, &at);
        let len = self.inline_len(flags, &at);
        // SAFETY: as in `value`.
        Some(unsafe { std::slice::from_raw_parts(self.piece.add(start).as_ptr(), len) })
    }

    #[inline]
    fn inline_len(self, flags: u8, at: &Offsets) -> usize {
        let low = usize::from(self.byte(VALUE_LEN_AT));
        if flags & LONG_VALUE == 0 {
            return low;
        }
        // SAFETY: the flags say that the upper part of the length was written there.
        low | usize::from(unsafe { self.piece.add(at.value_len).read() }) << 8
    }

    /// The value, if it is shared.
    pub(crate) fn shared(self) -> Option<&'a Bytes> {
        if self.flags() & SHARED == 0 {
            return None;
        }
        // SAFETY: the flags say that it was written there, aligned; it lives until the entry is freed.
        Some(unsafe { self.piece.add(SHARED_AT).cast::<Bytes>().as_ref() })
    }

    /// The length that the value had before it was packed; `None` if it is not packed.
    #[inline]
    pub(crate) fn packed_from(self) -> Option<u32> {
        if self.flags() & SHARED == 0 {
            return None;
        }
        // SAFETY: the flags say that the value is shared, and then this was written, aligned.
        let length = unsafe { self.piece.add(REST_AT).cast::<u32>().read() };
        (length != 0).then_some(length)
    }

    /// The value as a handle that outlives the entry.
    #[inline]
    pub(crate) fn value_handle(self) -> Option<Value> {
        match self.shared() {
            Some(bytes) => Some(Value::from(bytes.clone())),
            None => self.value().map(Value::from),
        }
    }

    /// As [`Record::value_handle`], put where the caller wants it. The two are not made of each other, as gets of short values
    /// were a half slower then.
    #[inline(always)]
    pub(crate) fn value_into(self, slot: &mut Option<Value>) {
        match self.value() {
            Some(bytes) if self.shared().is_none() => Value::put_into(slot, bytes),
            _ => self.other_into(slot),
        }
    }

    /// A value that is shared, or none.
    #[inline(never)]
    fn other_into(self, slot: &mut Option<Value>) {
        *slot = self.value_handle();
    }

    /// Bytes of the piece that the entry is in.
    #[inline]
    pub(crate) fn bytes(self) -> usize {
        let flags = self.flags();
        if is_plain(flags) {
            return REST_AT + usize::from(self.byte(KEY_LEN_AT)) + usize::from(self.byte(VALUE_LEN_AT));
        }
        let at = Offsets::of(flags);
        at.key + self.key_len(flags, &at) + self.inline_len(flags, &at)
    }

    /// Asks for the two cache lines that a short entry is in.
    #[inline]
    pub(crate) fn prefetch(piece: NonNull<u8>) {
        prefetch(piece.as_ptr());
        prefetch(piece.as_ptr().wrapping_add(64));
    }

    /// Lets go of a shared value.
    ///
    /// # Safety
    /// Nobody reads the entry any more, and this is called once.
    pub(crate) unsafe fn drop_shared(self) {
        if self.flags() & SHARED != 0 {
            // SAFETY: written by `write_to`, and dropped once, as the caller says.
            unsafe { self.piece.add(SHARED_AT).cast::<Bytes>().drop_in_place() }
        }
    }

    /// Copies the entry to another piece; a shared value is then shared by both.
    ///
    /// # Safety
    /// The other piece has as many bytes and belongs to the caller alone.
    pub(crate) unsafe fn copy_to(self, piece: NonNull<u8>) {
        let copy = |from: usize, to: usize| {
            // SAFETY: both have that many bytes, and do not overlap; these are not changed any more.
            unsafe { piece.add(from).copy_from_nonoverlapping(self.piece.add(from), to - from) }
        };
        copy(0, HEAT_AT);
        match self.shared() {
            None => copy(KEY_LEN_AT, self.bytes()),
            Some(shared) => {
                copy(KEY_LEN_AT, SHARED_AT);
                copy(AFTER_SHARED, self.bytes());
                // A handle of its own: one that is cloned may change itself, so that its bytes are not another handle.
                // SAFETY: the flags say that there is room for it, aligned.
                unsafe { piece.add(SHARED_AT).cast::<Bytes>().write(shared.clone()) }
            }
        }
        // SAFETY: inside of the piece, which is the caller's. It may be set meanwhile in the entry that is copied.
        unsafe { piece.add(HEAT_AT).write(self.heat()) }
    }
}

/// Whether two keys are the same. Short ones, which most are, without a call.
#[inline]
fn is_same(a: &[u8], b: &[u8]) -> bool {
    if a.len() != b.len() {
        return false;
    }
    match (a.first_chunk::<8>(), a.last_chunk::<8>(), b.first_chunk::<8>(), b.last_chunk::<8>()) {
        (Some(a_first), Some(a_last), Some(b_first), Some(b_last)) if a.len() <= 16 => {
            a_first == b_first && a_last == b_last
        }
        _ => a == b,
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Writes an entry into memory of its own, and hands it to `check`.
    fn with_record(contents: Contents<'_>, check: impl FnOnce(Record<'_>)) {
        let bytes = contents.bytes();
        let mut memory = vec![0xAAAA_AAAA_AAAA_AAAA_u64; bytes.div_ceil(8) + 1];
        let guard = bytes % 8;
        let piece = NonNull::from(&mut memory[..]).cast::<u8>();
        // SAFETY: the memory is long enough, aligned, and not used otherwise; the entry is dropped after `check`.
        unsafe {
            contents.write_to(piece);
            let record = Record::at(piece);
            assert_eq!(record.bytes(), bytes);
            check(record);
            record.drop_shared();
        }
        let behind = &memory[bytes.div_ceil(8)..];
        assert!(behind.iter().all(|word| *word == 0xAAAA_AAAA_AAAA_AAAA), "written beyond the end");
        if guard > 0 {
            let last = memory[bytes / 8].to_le_bytes();
            assert!(last[guard..].iter().all(|byte| *byte == 0xAA), "written beyond the end");
        }
    }

    proptest! {
        #[test]
        fn an_entry_comes_back_as_it_was_written(
            key in prop_oneof![0..20_usize, 250..260_usize, 60_000..70_000_usize],
            value in prop::option::of(prop_oneof![0..130_usize, 250..260_usize, 500..530_usize, 5000..5001_usize]),
            keyspace in prop_oneof![0..9_u32, any::<u32>()],
            deadline in prop_oneof![Just(0), any::<u64>()],
            share in any::<bool>(),
            packed_from in prop_oneof![Just(0), any::<u32>()],
        ) {
            let key: Vec<u8> = (0..key).map(|at| (at % 251) as u8).collect();
            let value: Option<Vec<u8>> = value.map(|len| (0..len).map(|at| (at % 241) as u8 ^ 0x5A).collect());
            let new = value.as_ref().map(|bytes| {
                if share || bytes.len() > RECORD_VALUE_BYTES_MAX {
                    Stored::Shared(Bytes::copy_from_slice(bytes), packed_from)
                } else {
                    Stored::Inline(bytes)
                }
            });
            let packed = match &new {
                Some(Stored::Shared(_, length)) if *length != 0 => Some(*length),
                _ => None,
            };
            let name = KeyRef { hash: 1, keyspace, bytes: &key };
            with_record(Contents { key: name, value: new, deadline }, |record| {
                assert_eq!(record.key(), &key[..]);
                assert_eq!(record.keyspace(), keyspace);
                assert_eq!(record.deadline(), deadline);
                assert_eq!(record.value(), value.as_deref());
                assert_eq!(record.value_handle().as_deref(), value.as_deref());
                for stale in [None, Some(Value::from("stale")), Some(Value::from(vec![7; 200]))] {
                    let mut slot = stale;
                    record.value_into(&mut slot);
                    assert_eq!(slot.as_deref(), value.as_deref());
                }
                assert_eq!(record.is_tombstone(), value.is_none());
                assert_eq!(record.packed_from(), packed);
                assert!(record.is_of(&name));
                assert!(!record.is_of(&KeyRef { keyspace: keyspace ^ 1, ..name }));
                for place in 0..key.len().min(20) {
                    let mut other = key.clone();
                    other[place] ^= 0x80;
                    assert!(!record.is_of(&KeyRef { bytes: &other, ..name }));
                }
                assert!(key.is_empty() || !record.is_of(&KeyRef { bytes: &key[1..], ..name }));
                record.set_heat(77);
                // SAFETY: nobody else sees the entry.
                unsafe { record.set_seq(u64::MAX - 1) };
                assert_eq!((record.heat(), record.seq()), (77, u64::MAX - 1));
            });
        }
    }

    #[test]
    fn the_usual_entry_takes_two_cache_lines() {
        let key = KeyRef { hash: 0, keyspace: 1, bytes: &[1; 16] };
        assert_eq!(Contents { key, value: Some(Stored::Inline(&[0; 100])), deadline: 0 }.bytes(), 128);
    }
}
