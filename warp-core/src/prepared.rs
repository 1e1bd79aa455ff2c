//! An entry that is ready to be written.
#![expect(unsafe_code, reason = "gives the memory of an entry and of buckets back if they were not used")]

use std::fmt;

use crate::arena::{Address, Arena, Purpose};
use crate::bucket::{Bucket, Fingerprint};
use crate::buckets::{self, Array};
use crate::entry::EntryRef;
use crate::epoch::Pin;
use crate::hash::{KeyRef, slot_of};
use crate::heat;
use crate::record::{Contents, KEY_BYTES_MAX, NewValue, RECORD_VALUE_BYTES_MAX, Record, Stored};
use crate::store::Store;
use crate::sync::atomic::Ordering;
use crate::table::Table;
use crate::writer::prepare;

/// Why a table takes no more entries: it holds as many as it can name.
///
/// A table can hold about a billion entries, and 128 GiB of entries, not counting values longer than 512 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TableFull;

impl fmt::Display for TableFull {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the table holds as many entries as it can")
    }
}

impl std::error::Error for TableFull {}

/// An entry that was copied into the table's memory, and that nobody sees yet.
///
/// Made by [`Table::prepare`] or [`Table::prepare_tombstone`] before any lock is taken, and put in its place by a
/// [`Guard`](crate::Guard), which then can no longer fail. Dropped without that, its memory goes back.
#[must_use = "nothing was written yet"]
pub struct Prepared<'t> {
    table: &'t Table,
    hash: u64,
    is_tombstone: bool,
    /// `None` once it was used.
    address: Option<Address>,
    /// Buckets for the slot, if this entry will have it grow: the system may take milliseconds for new memory, and whoever
    /// waits for the shard's lock should not wait for that.
    room: Option<Array>,
}

impl Table {
    /// Makes an entry ready to be written. `deadline` is in milliseconds since the start of 1970, 0 for none.
    ///
    /// ```
    /// use warp_core::{KeyRef, Table};
    ///
    /// let table = Table::new(4, 9);
    /// let key = KeyRef::new(9, 0, b"key");
    /// let prepared = table.prepare(key, "value", 0)?;
    /// table.lock(key.hash).put(prepared, 1);
    /// assert_eq!(table.get(key).unwrap().seq, 1);
    /// # Ok::<(), warp_core::TableFull>(())
    /// ```
    ///
    /// # Errors
    /// [`TableFull`].
    ///
    /// # Panics
    /// If the key is longer than [`KEY_BYTES_MAX`].
    pub fn prepare<'v>(
        &self,
        key: KeyRef<'_>,
        value: impl Into<NewValue<'v>>,
        deadline: u64,
    ) -> Result<Prepared<'_>, TableFull> {
        match self.stored(key.hash, value.into()) {
            Stored::Inline(bytes) => self.prepare_short(key, bytes, deadline),
            shared => self.prepare_contents(Contents { key, value: Some(shared), deadline }),
        }
    }

    /// A value that will be in the entry itself. Apart from others, so that the compiler knows that it is.
    #[inline(never)]
    fn prepare_short(&self, key: KeyRef<'_>, value: &[u8], deadline: u64) -> Result<Prepared<'_>, TableFull> {
        self.prepare_now(Contents { key, value: Some(Stored::Inline(value)), deadline })
    }

    /// A value as an entry will have it: in itself, or shared.
    #[inline]
    pub(crate) fn stored<'v>(&self, hash: u64, value: NewValue<'v>) -> Stored<'v> {
        let copy = |bytes| self.store().long_values.copy(bytes, slot_of(hash));
        match value {
            NewValue::Copied(bytes) if bytes.len() <= RECORD_VALUE_BYTES_MAX => Stored::Inline(bytes),
            NewValue::Copied(bytes) => Stored::Shared(copy(bytes), 0),
            NewValue::Shared(bytes) => Stored::Shared(bytes, 0),
            NewValue::Packed(bytes, packed_from) => Stored::Shared(copy(bytes), packed_from),
        }
    }

    /// Makes a tombstone ready to be written.
    ///
    /// # Errors
    /// [`TableFull`].
    ///
    /// # Panics
    /// If the key is longer than [`KEY_BYTES_MAX`].
    pub fn prepare_tombstone(&self, key: KeyRef<'_>) -> Result<Prepared<'_>, TableFull> {
        self.prepare_contents(Contents { key, value: None, deadline: 0 })
    }

    #[inline(never)]
    fn prepare_contents(&self, contents: Contents<'_>) -> Result<Prepared<'_>, TableFull> {
        self.prepare_now(contents)
    }

    #[inline(always)] // As `prepare_short`.
    fn prepare_now(&self, contents: Contents<'_>) -> Result<Prepared<'_>, TableFull> {
        let (hash, is_tombstone) = (contents.key.hash, contents.value.is_none());
        let pin = self.store().pin();
        let (address, buckets) = self.write_apart(contents, &pin)?;
        // The bucket has come meanwhile.
        let room = self.room_to_grow(hash, buckets);
        Ok(Prepared::new(self, hash, is_tombstone, address, room))
    }

    /// As [`Table::prepare`], without [`Table::room_to_grow`]: for a caller with other entries to make ready meanwhile.
    pub(crate) fn prepare_blindly(&self, contents: Contents<'_>) -> Result<Prepared<'_>, TableFull> {
        let (hash, is_tombstone) = (contents.key.hash, contents.value.is_none());
        let (address, _) = self.write_apart(contents, &self.store().pin())?;
        Ok(Prepared::new(self, hash, is_tombstone, address, None))
    }

    /// Writes an entry into a piece of its own, and asks for what putting it in its place needs first; returns the slot's buckets.
    #[inline(always)] // On the way of each put.
    fn write_apart<'p>(
        &self,
        contents: Contents<'_>,
        pin: &'p Pin,
    ) -> Result<(Address, &'p [Bucket]), TableFull> {
        let KeyRef { hash, bytes, .. } = contents.key;
        assert!(bytes.len() <= KEY_BYTES_MAX, "a key of {} bytes", bytes.len());
        let slot = slot_of(hash);
        if !self.can_take_more(slot) {
            return Err(TableFull);
        }
        let buckets = self.prefetch_slot(hash, pin);
        let arena = self.store().arena(Store::arena_of(slot));
        let address = prepare(arena, contents).map_err(|_| TableFull)?;
        Ok((address, buckets))
    }

    /// Asks for the entry that a write will replace, which its slot's buckets tell, and makes room for the slot to grow if the
    /// write will have it grow.
    #[inline(always)] // As `write_apart`.
    fn room_to_grow(&self, hash: u64, buckets: &[Bucket]) -> Option<Array> {
        self.prefetch_entry(buckets, hash);
        let slot = slot_of(hash);
        match buckets::grown(buckets.len(), self.slots().count(slot)) {
            // A key that is there already takes no more room.
            Some(grown) if !buckets::may_have(buckets, Fingerprint::of(hash)) => {
                buckets::make(self.store().arena(Store::arena_of(slot)), grown).ok()
            }
            _ => None,
        }
    }
}

impl<'t> Prepared<'t> {
    #[inline(always)] // As `write_apart`.
    fn new(
        table: &'t Table,
        hash: u64,
        is_tombstone: bool,
        address: Address,
        room: Option<Array>,
    ) -> Prepared<'t> {
        let mut prepared = Prepared { table, hash, is_tombstone, address: Some(address), room };
        prepared.set_mass(1);
        prepared
    }
}

impl Prepared<'_> {
    /// Does what [`Table::prepare_blindly`] has left to be done.
    pub(crate) fn finish(&mut self, buckets: &[Bucket]) {
        self.room = self.table.room_to_grow(self.hash, buckets);
    }

    /// The hash of the key.
    #[must_use]
    pub fn hash(&self) -> u64 {
        self.hash
    }

    pub(crate) fn is_tombstone(&self) -> bool {
        self.is_tombstone
    }

    /// Bytes of memory that the entry takes, as [`EntryRef::memory_bytes`](crate::EntryRef::memory_bytes).
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        let arena = self.arena();
        // SAFETY: the entry was written by `prepare`, and lives until this is used or dropped.
        let record = |address| unsafe { Record::at(arena.pointer(address)) };
        self.address.map_or(0, |address| EntryRef::new(record(address), 0).memory_bytes())
    }

    pub(crate) fn is_for(&self, table: &Table) -> bool {
        std::ptr::eq(self.table, table)
    }

    /// Sets the mass with which the entry begins, or of the key's entry if that has more: that of a key that was used so
    /// often; see [`EntryRef::mass`](crate::EntryRef::mass). Without this it is 1, as of a key that was used once.
    pub fn set_mass(&mut self, uses: u32) {
        self.set_heat(|tick| heat::of_mass(uses, tick));
    }

    /// As [`Prepared::set_mass`], of an entry that was not used yet: the next use counts, also if it comes within the same tick
    /// ([`EntryRef::touch_once`](crate::EntryRef::touch_once)).
    pub fn set_mass_before_use(&mut self, uses: u32) {
        self.set_heat(|tick| heat::of_mass_before(uses, tick));
    }

    fn set_heat(&mut self, heat_at: impl FnOnce(u8) -> u8) {
        let arena = self.arena();
        if let Some(address) = self.address {
            // SAFETY: the entry was written by `prepare`, and lives until this is used or dropped.
            let record = unsafe { Record::at(arena.pointer(address)) };
            record.set_heat(heat_at(self.table.store().tick.load(Ordering::Relaxed)));
        }
    }

    /// The entry's address; [`Prepared::keep`] gives it up.
    pub(crate) fn address(&self) -> Address {
        self.address.expect("an entry is used once")
    }

    fn arena(&self) -> &Arena {
        self.table.store().arena(Store::arena_of(slot_of(self.hash)))
    }

    /// What the slot may grow with.
    pub(crate) fn room(&mut self) -> &mut Option<Array> {
        &mut self.room
    }

    /// The entry was put in its place.
    pub(crate) fn keep(mut self) {
        self.address = None;
    }
}

impl Drop for Prepared<'_> {
    fn drop(&mut self) {
        if let Some(room) = self.room {
            // SAFETY: the buckets were made by `prepare`, reached no lock, and go only here.
            unsafe { self.arena().give([(room.address, room.bytes(), Purpose::Buckets)]) };
        }
        if let Some(address) = self.address {
            let arena = self.arena();
            // SAFETY: the entry was written by `prepare`, was never published, and goes only here.
            unsafe {
                let record = Record::at(arena.pointer(address));
                let bytes = record.bytes();
                record.drop_shared();
                arena.give([(address, bytes, Purpose::Entry)]);
            }
        }
    }
}

impl fmt::Debug for Prepared<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Prepared").field("hash", &self.hash).finish_non_exhaustive()
    }
}
