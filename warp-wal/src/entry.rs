//! What an entry is, and its limits.

/// Largest key, in bytes: 64 KiB, and room for what a caller puts before keys of that size.
pub const KEY_BYTES_MAX: usize = (64 << 10) + 64;
/// Largest value, in bytes.
pub const VALUE_BYTES_MAX: usize = 1 << 30;
/// Largest sum of the keys and values of one group, in bytes; a group of one entry may have the largest key and value.
pub const GROUP_BYTES_MAX: usize = 1 << 30;
// A group's lengths are held in 32 bits, with room for the headers of its entries.
const _: () = assert!(GROUP_BYTES_MAX <= u32::MAX as usize / 2);
const _: () = assert!(VALUE_BYTES_MAX <= GROUP_BYTES_MAX);

/// What an entry states. All of them are states, none is an operation: applying one needs nothing else, and
/// applying it twice changes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Kind {
    /// The key has this value.
    Put = 1,
    /// The key has no value.
    Delete = 2,
    /// Entries of the keyspace below this sequence do not exist.
    KeyspaceFloor = 3,
    /// A slot belongs to a shard; key and value are the caller's.
    SlotMove = 4,
    /// A sample of load; key and value are the caller's.
    EntropySample = 5,
}

impl Kind {
    /// The kind of that number, if there is one.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Kind> {
        Some(match number {
            1 => Kind::Put,
            2 => Kind::Delete,
            3 => Kind::KeyspaceFloor,
            4 => Kind::SlotMove,
            5 => Kind::EntropySample,
            _ => return None,
        })
    }

    /// The word for it in JSON.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Kind::Put => "put",
            Kind::Delete => "delete",
            Kind::KeyspaceFloor => "keyspace_floor",
            Kind::SlotMove => "slot_move",
            Kind::EntropySample => "entropy_sample",
        }
    }

    /// The kind of that word, if there is one.
    pub(crate) fn from_word(word: &str) -> Option<Kind> {
        (1..=5).filter_map(Kind::from_number).find(|kind| kind.word() == word)
    }
}

/// One entry of the log. The log interprets neither key nor value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// What it states.
    pub kind: Kind,
    /// The keyspace of the key.
    pub keyspace: u32,
    /// The shard that held the key when it was written; for the caller's use.
    pub shard: u16,
    /// The level that held the key when it was written; for the caller's use.
    pub level: u8,
    /// When it expires, in milliseconds since the Unix epoch; 0 if never.
    pub deadline: u64,
    /// The key, of at most [`KEY_BYTES_MAX`] bytes.
    pub key: &'a [u8],
    /// The value, of at most [`VALUE_BYTES_MAX`] bytes.
    pub value: &'a [u8],
}

impl<'a> Entry<'a> {
    /// A put into keyspace 0 that never expires.
    #[must_use]
    pub fn put(key: &'a [u8], value: &'a [u8]) -> Entry<'a> {
        Entry { kind: Kind::Put, keyspace: 0, shard: 0, level: 0, deadline: 0, key, value }
    }

    /// A deletion from keyspace 0.
    #[must_use]
    pub fn delete(key: &'a [u8]) -> Entry<'a> {
        Entry { kind: Kind::Delete, ..Entry::put(key, &[]) }
    }
}
