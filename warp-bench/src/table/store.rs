//! What is measured: somewhere to put values and to read them, and passes of many operations over it.
//!
//! A store is written once, against [`Read`] and [`Store`]. A pass is compiled for each store by itself, so that
//! the one call through a table of functions is a pass and not an operation.

use std::time::Duration;

use warp_io::{Clock, SystemClock};

use crate::keys::{Key, Requests, Value, value};
use crate::latency::Latency;
use crate::run::Outcome;

/// Keys of one batched read.
pub(crate) const BATCH_KEYS: usize = 32;

/// Reads: each answers with the [`digest`] of the value that it found.
pub(crate) trait Read: Send + Sync {
    /// The cheapest read that the store has: the value is looked at where it lies.
    fn with_value(&self, key: &Key) -> Option<u64>;

    /// A read that leaves the caller with something that outlives the call. A store without such a thing answers
    /// with what it has.
    fn get(&self, key: &Key) -> Option<u64> {
        self.with_value(key)
    }

    /// Reads of several keys at once: one by one, where the store knows nothing better.
    fn multi_get(&self, keys: &[Key], seen: &mut Seen) {
        for key in keys {
            seen.add(self.with_value(key));
        }
    }
}

/// Reads and writes.
pub(crate) trait Store: Read {
    /// Puts a key that is not there.
    fn insert(&self, key: &Key, value: &Value);

    /// Puts a key that is there, with a value that lies elsewhere afterwards: not every value has the length of
    /// the one before it.
    fn overwrite(&self, key: &Key, value: &Value);

    /// Removes a key.
    fn remove(&self, key: &Key);

    /// Waits until work that was left for later is done, so that it does not run into the next pass.
    ///
    /// # Errors
    /// What went wrong since the last call, in a store where anything can.
    fn settle(&self) -> Outcome<()> {
        Ok(())
    }

    /// Gives memory that is no longer needed back to the system, where the store has a call for it.
    fn give_back(&self) {}

    /// The longest time that a step of growth took inside its lock, where the store tells it.
    fn longest_step(&self) -> Option<Duration> {
        None
    }
}

/// Reads every eighth byte of a value, so that all of its cache lines have to come.
pub(crate) fn digest(value: &[u8]) -> u64 {
    value.iter().step_by(8).map(|&byte| u64::from(byte)).sum()
}

/// What a pass found. The same requests give the same in every store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) hits: u64,
    pub(crate) sum: u64,
}

impl Seen {
    pub(crate) fn add(&mut self, found: Option<u64>) {
        if let Some(sum) = found {
            self.hits += 1;
            self.sum = self.sum.wrapping_add(sum);
        }
    }

    pub(crate) fn merge(&mut self, other: Seen) {
        self.hits += other.hits;
        self.sum = self.sum.wrapping_add(other.sum);
    }
}

/// How a pass reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reading {
    Get,
    With,
    Multi,
}

/// Passes of reads.
pub(crate) trait ReadPass: Send + Sync {
    /// Reads all keys.
    fn read(&self, how: Reading, keys: &[Key]) -> Seen;
}

impl<S: Read> ReadPass for S {
    fn read(&self, how: Reading, keys: &[Key]) -> Seen {
        let mut seen = Seen::default();
        match how {
            Reading::Get => keys.iter().for_each(|key| seen.add(self.get(key))),
            Reading::With => keys.iter().for_each(|key| seen.add(self.with_value(key))),
            Reading::Multi => keys.chunks(BATCH_KEYS).for_each(|batch| self.multi_get(batch, &mut seen)),
        }
        seen
    }
}

/// Passes of writes, and of reads among them.
pub(crate) trait StorePass: ReadPass {
    /// Puts keys that are not there.
    fn insert_all(&self, keys: &[Key]);
    /// As [`StorePass::insert_all`], with the time of each put.
    fn insert_timed(&self, keys: &[Key], clock: &SystemClock) -> Latency;
    /// Puts keys that are there.
    fn overwrite_all(&self, keys: &[Key]);
    /// Removes keys.
    fn remove_all(&self, keys: &[Key]);
    /// Overwrites where the request's dice are below `writes_percent`, and reads the others.
    fn mixed(&self, requests: &Requests, writes_percent: u8) -> Seen;
    /// As [`Store::settle`].
    ///
    /// # Errors
    /// As there.
    fn settle(&self) -> Outcome<()>;
    /// As [`Store::give_back`].
    fn give_back(&self);
    /// As [`Store::longest_step`].
    fn longest_step(&self) -> Option<Duration>;
}

impl<S: Store> StorePass for S {
    fn insert_all(&self, keys: &[Key]) {
        for key in keys {
            self.insert(key, &value(key));
        }
    }

    fn insert_timed(&self, keys: &[Key], clock: &SystemClock) -> Latency {
        let mut latency = Latency::new();
        // One reading of the clock a put: the end of one is the start of the next.
        let mut before = clock.monotonic();
        for key in keys {
            self.insert(key, &value(key));
            let now = clock.monotonic();
            latency.record(now.saturating_sub(before));
            before = now;
        }
        latency
    }

    fn overwrite_all(&self, keys: &[Key]) {
        for key in keys {
            self.overwrite(key, &value(key));
        }
    }

    fn remove_all(&self, keys: &[Key]) {
        for key in keys {
            self.remove(key);
        }
    }

    fn mixed(&self, requests: &Requests, writes_percent: u8) -> Seen {
        let mut seen = Seen::default();
        for (key, &dice) in requests.keys.iter().zip(&requests.dice) {
            if dice < writes_percent {
                self.overwrite(key, &value(key));
            } else {
                seen.add(self.with_value(key));
            }
        }
        seen
    }

    fn settle(&self) -> Outcome<()> {
        Store::settle(self)
    }

    fn give_back(&self) {
        Store::give_back(self);
    }

    fn longest_step(&self) -> Option<Duration> {
        Store::longest_step(self)
    }
}

/// What every store has to pass, whichever it is.
#[cfg(test)]
pub(crate) fn check_store(store: &dyn StorePass) {
    let keys = crate::keys::keys(3, 5_000);
    let (there, absent) = keys.split_at(4_000);
    store.insert_all(there);
    let mut expected = Seen::default();
    for key in there {
        expected.add(Some(digest(&value(key))));
    }
    store.overwrite_all(there);
    for how in [Reading::Get, Reading::With, Reading::Multi] {
        assert_eq!(store.read(how, there), expected, "{how:?}");
        assert_eq!(store.read(how, absent), Seen::default(), "{how:?}");
    }
    let requests = Requests { keys: there.to_vec(), dice: (0..100).cycle().take(there.len()).collect() };
    assert_eq!(store.mixed(&requests, 0), expected);
    assert_eq!(store.mixed(&requests, 25).hits, 3_000);
    store.remove_all(&there[1_000..]);
    assert_eq!(store.read(Reading::With, there).hits, 1_000);
    store.settle().unwrap();
}
