//! A concurrent table from bytes to bytes, held in memory.
//!
//! ```text
//!   key --hash_key--> hash --top 12 bits--> slot --> buckets --> entry { sequence, deadline, key, value }
//!                                            |        a cache line of 9 fingerprints and addresses each
//!                                            |
//!                                            +--names--> shard: a writer lock and its counters
//! ```
//!
//! The slot is the table, the shard is the lock. A reader goes from the hash to the slot to the bucket to the entry, and
//! never looks at a shard: two cache misses for a hit, one for most misses, no lock, and nothing written that another
//! thread uses. A writer takes the lock of the shard that the slot names, as a [`Guard`], and writes through that.
//! Giving a slot to another shard ([`Table::move_slot`]) changes a name: no entry moves, no reader notices.
//! A slot grows and shrinks alone, by replacing its buckets, so no write pays for more than one 4096th of the table; its
//! entries stay where they are.
//!
//! An entry is a value or a tombstone, with a sequence number and a deadline that the caller chose, in one piece of
//! memory that is written once. What is replaced is freed when nobody can be reading it any more. Each slot also
//! keeps a list of what was written since a caller last asked ([`Table::close_lists`]), so that a snapshot costs
//! what changed and not what is there.
//!
//! A hash table has no order. [`OrderedKeys`] holds the keys of a table, or of more than a table, in order by their
//! hashes alone; the table notes which keys came up new ([`Table::note_added`]), and nothing else is paid for it.
//!
//! **Invariant:** no I/O, no threads, and no clock but to measure how long growing took. The table does not know that
//! anybody logs its writes.
//! **Invariant:** writing can fail only where memory for the entry is taken, in [`Table::prepare`], before any lock.
//! **Invariant:** reads and writes of one key are linearizable: whoever holds the [`Guard`] of a key is its only
//! writer, and its writes are seen by every read that starts after they return.
//! **Invariant:** a reader never waits, whatever writers do.
//! **Invariant:** at most one entry a key; a deletion is an entry too, until it is removed explicitly.
//! **Invariant:** locks are taken in one order: shards in ascending order, then one of an arena's, of the list of what
//! waits to be freed, or of the notes of new keys. The caller's code runs under a shard's lock only in
//! [`Table::remove_clean`] and [`Table::close_lists`], which say so; and where freeing lets go of a buffer that the caller
//! has handed in.
//!
//! ```
//! use warp_core::{KeyRef, Table};
//!
//! let table = Table::new(16, 0);
//! let key = KeyRef::new(0, 0, b"greeting");
//! table.put(key, "hello", 1, 0)?;
//!
//! let entry = table.get(key).unwrap();
//! assert_eq!((entry.value.as_deref(), entry.seq), (Some(&b"hello"[..]), 1));
//! assert_eq!(table.with(key, |entry| entry.value().map(<[u8]>::len)), Some(Some(5)));
//!
//! table.delete(key, 2)?;
//! assert!(table.get(key).unwrap().is_tombstone());
//! # Ok::<(), warp_core::TableFull>(())
//! ```

mod hash;
mod small_bytes;
mod value;

mod entry;
mod guard;
mod heat;
mod memory;
mod prepared;
mod replayer;
mod table;

mod barrier;
mod bucket;
mod buckets;
mod changed;
mod lanes;
mod record;
mod shard;
mod slot;
mod validate;
mod writer;

mod added;
mod order;

mod arena;
mod chunk;
mod epoch;
mod evict;
mod fence;
mod front;
mod give_back;
mod long_values;
mod pages;
mod prefetch;
mod shadow;
mod spares;
mod stopwatch;
mod store;
mod sync;

#[cfg(all(test, any(loom, shuttle)))]
mod models;

pub use entry::{Entry, EntryRef};
pub use evict::Leaving;
pub use guard::Guard;
pub use hash::{KeyRef, SLOTS, hash_key, slot_of};
pub use heat::HEAT_TICKS;
pub use memory::{Resizes, SlotLoad, TableMemory};
pub use order::{Chunk, Kept, ORDER_BLOCK_KEYS_MAX, ORDER_WORK_KEY_BYTES, OrderBuilder, OrderedKeys};
pub use prepared::{Prepared, TableFull};
pub use record::{KEY_BYTES_MAX, NewValue};
pub use replayer::{Replayed, Replayer};
pub use table::{Reading, Table, TableOptions};
pub use value::{KEY_INLINE_BYTES, Key, VALUE_INLINE_BYTES, Value};
pub use writer::Former;
