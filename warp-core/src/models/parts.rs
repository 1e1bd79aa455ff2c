//! The parts of the table that rest on the memory model: buckets and epochs.
#![expect(unsafe_code, reason = "entries are cells of the tester, which knows when two touch one at once")]

use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicBool, Ordering};
use loom::thread;

use crate::arena::Address;
use crate::bucket::{Bucket, Fingerprint, PLACES};
use crate::buckets::{self, BucketsCell};
use crate::epoch::{Epochs, Pin};

/// More find nothing new in these models, and take long.
const PREEMPTIONS: usize = 3;

/// Goes through all schedules with few preemptions; `LOOM_MAX_PREEMPTIONS` says how many if it is set.
fn explore(model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound.get_or_insert(PREEMPTIONS);
    builder.check(model);
}

/// The fingerprint of the key with a number; the home of all of them is the first bucket.
fn print(number: u32) -> Fingerprint {
    Fingerprint::of(u64::from(number * 0x101) << 28)
}

/// The address of the entry with a number.
fn address(number: usize) -> Address {
    Address::from_bits(u32::try_from(number + 1).unwrap()).unwrap()
}

/// What a reader finds for a key.
fn read(buckets: &[Bucket], entries: &[UnsafeCell<u64>], key: u32) -> Option<u64> {
    let (_, found) = buckets::find(buckets, print(key), Some)?;
    let entry = &entries[found.get() as usize - 1];
    // SAFETY: checked by the tester.
    Some(entry.with(|entry| unsafe { *entry }))
}

/// Entries, and the buckets that lead to them.
struct Slot<const ENTRIES: usize, const BUCKETS: usize> {
    buckets: [Bucket; BUCKETS],
    entries: [UnsafeCell<u64>; ENTRIES],
}

// SAFETY: the tester sees to it that nobody reads an entry while another writes it: that is what the models are for.
unsafe impl<const ENTRIES: usize, const BUCKETS: usize> Sync for Slot<ENTRIES, BUCKETS> {}

impl<const ENTRIES: usize, const BUCKETS: usize> Slot<ENTRIES, BUCKETS> {
    fn new() -> Slot<ENTRIES, BUCKETS> {
        Slot {
            buckets: std::array::from_fn(|_| Bucket::empty()),
            entries: std::array::from_fn(|_| UnsafeCell::new(0)),
        }
    }

    /// Writes an entry that is not published, or that nobody can reach any more.
    fn write(&self, entry: usize, value: u64) {
        // SAFETY: checked by the tester.
        self.entries[entry].with_mut(|entry| unsafe { *entry = value });
    }

    fn read(&self, key: u32) -> Option<u64> {
        read(&self.buckets, &self.entries, key)
    }

    fn position(&self, key: u32) -> buckets::Position {
        buckets::find(&self.buckets, print(key), Some).unwrap().0
    }
}

#[test]
fn who_sees_an_address_sees_the_whole_entry() {
    explore(|| {
        let slot = Arc::new(Slot::<1, 1>::new());
        let reader = {
            let slot = slot.clone();
            thread::spawn(move || slot.read(1))
        };
        slot.write(0, 7);
        buckets::insert(&slot.buckets, print(1), address(0));
        let found = reader.join().unwrap();
        assert!(found.is_none_or(|value| value == 7));
        assert_eq!(slot.read(1), Some(7));
    });
}

#[test]
fn a_key_that_is_replaced_is_found_throughout_and_never_goes_back() {
    explore(|| {
        let slot = Arc::new(Slot::<3, 1>::new());
        slot.write(0, 10);
        buckets::insert(&slot.buckets, print(1), address(0));
        let reader = {
            let slot = slot.clone();
            thread::spawn(move || {
                let first = slot.read(1).expect("it is there throughout");
                let second = slot.read(1).expect("it is there throughout");
                assert!(first <= second, "{first}, and then {second}");
            })
        };
        let position = slot.position(1);
        for entry in 1..3 {
            slot.write(entry, 10 + entry as u64);
            buckets::replace(&slot.buckets, position, address(entry));
        }
        reader.join().unwrap();
    });
}

/// The first bucket is full, so that a key is in the second; others come and go there, and in the first.
#[test]
fn a_key_beyond_a_full_bucket_is_found_while_others_come_and_go() {
    explore(|| {
        const BEYOND: u32 = PLACES as u32;
        let slot = Arc::new(Slot::<{ PLACES + 2 }, 2>::new());
        for key in 0..=BEYOND {
            slot.write(key as usize, u64::from(key));
            buckets::insert(&slot.buckets, print(key), address(key as usize));
        }
        let reader = {
            let slot = slot.clone();
            thread::spawn(move || assert_eq!(slot.read(BEYOND), Some(u64::from(BEYOND))))
        };
        let another = BEYOND + 1;
        slot.write(another as usize, 0);
        buckets::insert(&slot.buckets, print(another), address(another as usize));
        buckets::remove(&slot.buckets, slot.position(another));
        buckets::remove(&slot.buckets, slot.position(3));
        buckets::insert(&slot.buckets, print(another), address(another as usize));
        reader.join().unwrap();
    });
}

/// Who is told that a key is there finds it, though it went past a full bucket.
#[test]
fn a_key_that_went_past_a_full_bucket_is_found_once_it_is_in() {
    explore(|| {
        const BEYOND: u32 = PLACES as u32;
        let slot = Arc::new(Slot::<{ PLACES + 1 }, 2>::new());
        for key in 0..BEYOND {
            buckets::insert(&slot.buckets, print(key), address(key as usize));
        }
        let is_in = Arc::new(AtomicBool::new(false));
        let reader = {
            let (slot, is_in) = (slot.clone(), is_in.clone());
            thread::spawn(move || {
                let must = is_in.load(Ordering::Acquire);
                let found = slot.read(BEYOND);
                assert!(found == Some(7) || found.is_none() && !must, "{found:?}");
                assert!(found.is_none() || slot.read(BEYOND).is_some(), "it was there, and is not any more");
            })
        };
        slot.write(BEYOND as usize, 7);
        buckets::insert(&slot.buckets, print(BEYOND), address(BEYOND as usize));
        is_in.store(true, Ordering::Release);
        reader.join().unwrap();
    });
}

/// Replaces the entry of a key, and frees what was there if nobody can be reading it.
fn replace_and_free(slot: &Slot<2, 1>, epochs: &Epochs) {
    slot.write(1, 7);
    buckets::replace(&slot.buckets, slot.position(1), address(1));
    let retired = epochs.advance();
    if epochs.oldest_pinned().is_some_and(|oldest| retired < oldest) {
        slot.write(0, u64::MAX);
    }
}

/// Epochs with a seat for each of two readers: the links between seats are the standard library's, which the tester
/// does not know.
fn epochs() -> &'static Epochs {
    let epochs = Epochs::shared();
    drop((epochs.pin(), epochs.pin()));
    epochs
}

fn slot_with_a_key() -> Arc<Slot<2, 1>> {
    let slot = Arc::new(Slot::new());
    slot.write(0, 6);
    buckets::insert(&slot.buckets, print(1), address(0));
    slot
}

/// A reader that comes again, so that its second pin may be what the other side sees of it.
#[test]
fn nothing_is_freed_under_a_reader_that_comes_again() {
    explore(|| {
        let (slot, epochs) = (slot_with_a_key(), epochs());
        let reader = {
            let slot = slot.clone();
            thread::spawn(move || {
                for _ in 0..2 {
                    let pin = epochs.pin();
                    assert!(matches!(slot.read(1), Some(6 | 7)));
                    drop(pin);
                }
            })
        };
        replace_and_free(&slot, epochs);
        reader.join().unwrap();
    });
}

#[test]
fn nothing_is_freed_under_either_of_two_readers() {
    explore(|| {
        let (slot, epochs) = (slot_with_a_key(), epochs());
        let readers = [0, 1].map(|_| {
            let slot = slot.clone();
            thread::spawn(move || {
                let pin = epochs.pin();
                assert!(matches!(slot.read(1), Some(6 | 7)));
                drop(pin);
            })
        });
        replace_and_free(&slot, epochs);
        for reader in readers {
            reader.join().unwrap();
        }
    });
}

/// A slot whose bucket is replaced by two. Key 0 is there throughout, key 1 comes after the growth.
struct Growing {
    cell: BucketsCell,
    few: [Bucket; 1],
    /// Whether the memory of `few` was given back.
    is_free: UnsafeCell<bool>,
    entries: [UnsafeCell<u64>; 2],
}

// SAFETY: as for `Slot`.
unsafe impl Sync for Growing {}

impl Growing {
    fn new() -> Arc<Growing> {
        let slot = Arc::new(Growing {
            cell: BucketsCell::new(),
            few: [Bucket::empty()],
            is_free: UnsafeCell::new(false),
            entries: [UnsafeCell::new(10), UnsafeCell::new(11)],
        });
        buckets::go_on_in(&slot.cell, &[], &slot.few);
        buckets::insert(&slot.few, print(0), address(0));
        slot
    }

    /// Grows into `made`, and puts the second key there.
    fn grow(&self, made: &[Bucket]) {
        buckets::go_on_in(&self.cell, &self.few, made);
        buckets::insert(made, print(1), address(1));
    }

    /// Says that the memory of the replaced bucket is another's, which a reader who looks at it must not live to see.
    fn free_few(&self) {
        // SAFETY: checked by the tester.
        self.is_free.with_mut(|is_free| unsafe { *is_free = true });
    }

    /// Reads a key, and looks whether the bucket is still there if it is the one that is replaced.
    fn read(&self, key: u32, pin: &Pin) -> Option<u64> {
        let buckets = self.cell.load(pin);
        if buckets.len() > self.few.len() {
            return read(buckets, &self.entries, key);
        }
        self.is_free.with(|is_free| {
            // SAFETY: checked by the tester.
            assert!(!unsafe { *is_free }, "the bucket was given back under a reader");
            read(buckets, &self.entries, key)
        })
    }
}

/// Who sees new buckets sees them filled: with what was there before, and with all that came since, if it came before.
#[test]
fn who_sees_new_buckets_sees_what_was_there_before() {
    explore(|| {
        let (slot, epochs) = (Growing::new(), epochs());
        let reader = {
            let slot = slot.clone();
            thread::spawn(move || {
                let pin = epochs.pin();
                let newer = slot.read(1, &pin);
                assert!(matches!(newer, None | Some(11)));
                assert_eq!(slot.read(0, &pin), Some(10), "it is there throughout");
                assert!(newer.is_none() || slot.read(1, &pin).is_some(), "it was there, and is not any more");
                drop(pin);
            })
        };
        let made = [Bucket::empty(), Bucket::empty()];
        slot.grow(&made);
        reader.join().unwrap();
    });
}

/// A reader that comes again may find either, and its second pin may be what the other side sees of it.
#[test]
fn buckets_that_were_replaced_are_not_freed_under_a_reader() {
    explore(|| {
        let (slot, epochs) = (Growing::new(), epochs());
        let reader = {
            let slot = slot.clone();
            thread::spawn(move || {
                for _ in 0..2 {
                    let pin = epochs.pin();
                    assert_eq!(slot.read(0, &pin), Some(10));
                    drop(pin);
                }
            })
        };
        let made = [Bucket::empty(), Bucket::empty()];
        slot.grow(&made);
        let retired = epochs.advance();
        if epochs.oldest_pinned().is_some_and(|oldest| retired < oldest) {
            slot.free_few();
        }
        reader.join().unwrap();
    });
}
