//! A concurrent table from bytes to bytes, held in memory.
//!
//! ```text
//!   key --hash_key--> hash --top 12 bits--> slot --its own small table--> entry { value, seq, deadline }
//!                                            |
//!                                            +--names--> shard: a writer lock and its counters
//! ```
//!
//! The slot is the table, the shard is the lock. A reader goes from the hash to the slot to the entry and never
//! looks at a shard. A writer takes the lock of the shard that the slot names, as a [`Guard`], and writes through
//! that. Giving a slot to another shard ([`Table::move_slot`]) changes a name: no entry moves, no reader notices.
//! A slot grows and shrinks alone, so no write pays for more than one 4096th of the table.
//!
//! An entry is a value or a tombstone, with a sequence number and a deadline that the caller chose. Each slot also
//! keeps a list of what was written since a caller last asked ([`Table::close_lists`]), so that a snapshot costs
//! what changed and not what is there.
//!
//! A hash table has no order. [`OrderedKeys`] holds the keys of a table, or of more than a table, in order by their
//! hashes alone; the table notes which keys came up new ([`Table::note_added`]), and nothing else is paid for it.
//!
//! **Invariant:** no I/O, no clock, no threads, no `unsafe`, and nothing that can fail: lookups answer with an
//! `Option`. The table does not know that anybody logs its writes.
//! **Invariant:** reads and writes of one key are linearizable: whoever holds the [`Guard`] of a key is its only
//! writer, and its writes are seen by every read that starts after they return.
//! **Invariant:** at most one entry a key; a deletion is an entry too, until it is removed explicitly.
//! **Invariant:** locks are taken in one order: shards in ascending order, then at most one slot. The caller's
//! code runs under a slot's lock only in [`Table::for_each`] and [`Table::remove_clean`], which say so.
//!
//! ```
//! use warp_core::{KeyRef, Table, Value};
//!
//! let table = Table::new(16);
//! let key = KeyRef::new(0, 0, b"greeting");
//! table.lock(key.hash).put(key, Value::from("hello"), 1, 0);
//!
//! let entry = table.get(key).unwrap();
//! assert_eq!((entry.value.as_deref(), entry.seq), (Some(&b"hello"[..]), 1));
//!
//! table.lock(key.hash).delete(key, 2);
//! assert!(table.get(key).unwrap().is_tombstone());
//! ```

mod added;
mod barrier;
mod changed;
mod entry;
mod guard;
mod hash;
mod memory;
mod order;
mod shard;
mod slot;
mod small_bytes;
mod table;
mod validate;
mod value;

pub use entry::Entry;
pub use guard::Guard;
pub use hash::{KeyRef, SLOTS, hash_key, slot_of};
pub use memory::{SlotLoad, TableMemory};
pub use order::{Chunk, Kept, ORDER_BLOCK_KEYS_MAX, OrderBuilder, OrderedKeys};
pub use table::Table;
pub use value::{Key, VALUE_INLINE_BYTES, Value};
