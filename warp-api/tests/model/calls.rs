//! The calls that are made.

use std::ops::Bound;

use proptest::prelude::*;

/// The names of the keyspaces.
pub(crate) const SPACES: [&str; 3] = ["default", "jobs", "sessions"];
/// Few keys, so that calls meet.
const KEYS: u8 = 20;
/// Deadlines are at most so many milliseconds away, so that they come while the calls are made.
const TTL_MILLIS_MAX: u16 = 1_000;

/// A keyspace, and the number of a key.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) space: usize,
    pub(crate) key: u8,
}

/// What a batch requires of a key.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Wanted {
    Absent,
    Present,
    /// The value that it has, if it has one.
    Same,
    Value(u8),
    /// The sequence of the value that it has, or the one before.
    Seq {
        is_stale: bool,
    },
}

/// What a batch does to a key: a value and how long it lasts, or a deletion.
pub(crate) type BatchWrite = (Place, Option<(u8, Option<u16>)>);

#[derive(Clone, Debug)]
pub(crate) enum Call {
    Put(Place, Vec<u8>, Option<u16>),
    PutIfAbsent(Place, u8),
    Get(Place),
    MultiGet {
        space: usize,
        keys: Vec<u8>,
    },
    Delete(Place),
    Take(Place),
    Swap {
        place: Place,
        holds: bool,
        old: Option<u8>,
        new: Option<u8>,
    },
    SwapSeq {
        place: Place,
        is_stale: bool,
        new: Option<u8>,
    },
    Increment(Place, i8),
    /// `None` keeps what is there.
    Update(Place, Option<Option<u8>>),
    Expire(Place, u16),
    Persist(Place),
    Batch {
        required: Vec<(Place, Wanted)>,
        writes: Vec<BatchWrite>,
    },
    /// The bits of `ends` say from which end the next item is taken.
    Range {
        space: usize,
        from: Bound<u8>,
        to: Bound<u8>,
        ends: u32,
    },
    Prefix {
        place: Place,
        bytes: usize,
        ends: u32,
    },
    Len(usize),
    Clear(usize),
    DropKeyspace(usize),
    Checkpoint,
    /// Time passes with the work that is due done all the while, or as if the machine had been asleep.
    Pass(u16),
    Sleep(u16),
    /// The engine is opened again, after a while.
    Reopen {
        closes: bool,
        after: u16,
    },
}

/// The bytes of a key. One begins another, some end in the highest byte, and one is empty.
pub(crate) fn key(number: u8) -> Vec<u8> {
    match number {
        0 => Vec::new(),
        _ => {
            let mut bytes = vec![0xFF; 1 + usize::from(number / 4)];
            bytes[0] = [0, b'a', b'b', 0xFF][usize::from(number % 4)];
            bytes
        }
    }
}

pub(crate) fn call() -> impl Strategy<Value = Call> {
    let space = || 0..SPACES.len();
    let key = || 0..KEYS;
    let place = || (space(), key()).prop_map(|(space, key)| Place { space, key });
    let ttl = || prop::option::weighted(0.4, 0..TTL_MILLIS_MAX);
    let byte = any::<u8>;
    let some_byte = any::<Option<u8>>;
    let value = prop_oneof![
        3 => prop::collection::vec(byte(), 0..300),
        1 => prop::collection::vec(byte(), 1_000..1_100),
        1 => any::<i16>().prop_map(|number| number.to_string().into_bytes()),
    ];
    let wanted = prop_oneof![
        1 => Just(Wanted::Absent),
        1 => Just(Wanted::Present),
        2 => Just(Wanted::Same),
        1 => byte().prop_map(Wanted::Value),
        2 => prop::bool::weighted(0.2).prop_map(|is_stale| Wanted::Seq { is_stale }),
    ];
    let batch_write = (place(), prop::option::weighted(0.8, (byte(), ttl())));
    let bound = || {
        prop_oneof![Just(Bound::Unbounded), key().prop_map(Bound::Included), key().prop_map(Bound::Excluded)]
    };
    prop_oneof![
        16 => (place(), value, ttl()).prop_map(|(place, value, ttl)| Call::Put(place, value, ttl)),
        2 => (place(), byte()).prop_map(|(place, value)| Call::PutIfAbsent(place, value)),
        8 => place().prop_map(Call::Get),
        3 => (space(), prop::collection::vec(key(), 0..6))
            .prop_map(|(space, keys)| Call::MultiGet { space, keys }),
        5 => place().prop_map(Call::Delete),
        2 => place().prop_map(Call::Take),
        4 => (place(), any::<bool>(), some_byte(), some_byte())
            .prop_map(|(place, holds, old, new)| Call::Swap { place, holds, old, new }),
        3 => (place(), any::<bool>(), some_byte())
            .prop_map(|(place, is_stale, new)| Call::SwapSeq { place, is_stale, new }),
        3 => (place(), any::<i8>()).prop_map(|(place, by)| Call::Increment(place, by)),
        3 => (place(), any::<Option<Option<u8>>>()).prop_map(|(place, to)| Call::Update(place, to)),
        5 => (place(), 0..TTL_MILLIS_MAX).prop_map(|(place, ttl)| Call::Expire(place, ttl)),
        3 => place().prop_map(Call::Persist),
        6 => (prop::collection::vec((place(), wanted), 0..3), prop::collection::vec(batch_write, 0..6))
            .prop_map(|(required, writes)| Call::Batch { required, writes }),
        5 => (space(), bound(), bound(), any::<u32>())
            .prop_map(|(space, from, to, ends)| Call::Range { space, from, to, ends }),
        4 => (place(), 0..4_usize, any::<u32>())
            .prop_map(|(place, bytes, ends)| Call::Prefix { place, bytes, ends }),
        4 => space().prop_map(Call::Len),
        1 => space().prop_map(Call::Clear),
        1 => (1..SPACES.len()).prop_map(Call::DropKeyspace),
        5 => Just(Call::Checkpoint),
        4 => (0..400_u16).prop_map(Call::Pass),
        2 => (0..3_000_u16).prop_map(Call::Sleep),
        4 => (any::<bool>(), 0..500_u16).prop_map(|(closes, after)| Call::Reopen { closes, after }),
    ]
}
