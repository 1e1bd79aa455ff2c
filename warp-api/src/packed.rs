//! Values in packed form: LZ4, as warm entries have them in memory.

use std::cell::RefCell;

use warp_core::{EntryRef, NewValue, Value};

/// A value is packed only if that saves at least this part of it: less does not pay for unpacking.
const SAVING_MIN_DIVISOR: usize = 4;
/// Scratch memory of more bytes is given back after use.
const SCRATCH_BYTES_MAX: usize = 1 << 20;
/// Values below this many bytes are in the entry itself, where packing saves little.
pub(crate) const PACK_BYTES_MIN: usize = 513;

thread_local! {
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Runs `work` with the packed form of a value; `None` if packing does not save enough.
pub(crate) fn with_packed<R>(value: &[u8], work: impl FnOnce(NewValue<'_>) -> R) -> Option<R> {
    let raw = u32::try_from(value.len()).ok().filter(|_| value.len() >= PACK_BYTES_MIN)?;
    let enough = value.len() - value.len() / SAVING_MIN_DIVISOR;
    SCRATCH.with_borrow_mut(|scratch| {
        let room = lz4_flex::block::get_maximum_output_size(value.len());
        if scratch.len() < room {
            scratch.resize(room, 0);
        }
        // With that much room it cannot fail; if it did, the value would stay as it is.
        let bytes = lz4_flex::block::compress_into(value, scratch).ok()?;
        let answer = (bytes <= enough).then(|| work(NewValue::Packed(&scratch[..bytes], raw)));
        if scratch.len() > SCRATCH_BYTES_MAX {
            *scratch = Vec::new();
        }
        answer
    })
}

/// An entry's value as it was put, whatever its form; `None` in a tombstone.
#[inline]
pub(crate) fn value_of(entry: EntryRef<'_>) -> Option<Value> {
    match entry.packed_from() {
        None => entry.value_handle(),
        Some(raw) => Some(Value::from(unpack(entry.value()?, raw))),
    }
}

/// An entry that outlives the read, with its value as it was put.
pub(crate) fn to_entry(entry: EntryRef<'_>) -> warp_core::Entry {
    warp_core::Entry { value: value_of(entry), seq: entry.seq(), deadline: entry.deadline() }
}

#[cold]
fn unpack(packed: &[u8], raw: u32) -> Vec<u8> {
    let mut value = vec![0; raw as usize];
    let bytes = lz4_flex::block::decompress_into(packed, &mut value);
    // Packed in this process, and in memory since.
    assert_eq!(bytes.ok(), Some(value.len()), "a value in memory does not unpack to what it was");
    value
}

#[cfg(test)]
mod tests {
    use warp_core::{KeyRef, Table};

    use super::*;

    #[test]
    fn what_packs_well_comes_back_and_what_does_not_stays_plain() {
        let table = Table::new(1, 1);
        let key = KeyRef::new(1, 0, b"key");
        let value = b"to and fro and ".repeat(100);
        with_packed(&value, |packed| table.put(key, packed, 1, 0).unwrap()).unwrap();
        let stored = table.with(key, |entry| entry.value().map(<[u8]>::len)).flatten();
        assert!(stored.is_some_and(|stored| stored < value.len() / 4), "{stored:?}");
        assert_eq!(table.with(key, value_of).flatten().as_deref(), Some(&value[..]));
        assert_eq!(table.with(key, to_entry).unwrap().value.as_deref(), Some(&value[..]));
        let noise: Vec<u8> = (0..500_u32)
            .flat_map(|n| n.wrapping_mul(2_654_435_761).rotate_left(n % 31).to_le_bytes())
            .collect();
        assert!(with_packed(&noise, |_| ()).is_none());
        assert!(with_packed(&[0; PACK_BYTES_MIN - 1], |_| ()).is_none());
    }
}
