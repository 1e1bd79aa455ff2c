//! Tests of the file above.

use std::collections::HashMap;

use super::classes::{PIECE_BYTES_MAX, STEPS};
use super::heap::{CACHED_BYTES_MIN, UNCACHED_BYTES};
use super::*;
use crate::chunk::CHUNK_BYTES;

#[test]
fn a_class_holds_what_it_is_chosen_for_and_wastes_little() {
    for bytes in 1..=PIECE_BYTES_MAX {
        let room = class_bytes(class_of(bytes).unwrap());
        assert!(room >= bytes && room - bytes <= (bytes / STEPS).max(UNIT_BYTES), "{bytes} in {room}");
    }
    for lines in 1..=PIECE_BYTES_MAX / 64 {
        assert_eq!(class_bytes(class_of(lines * 64).unwrap()) % 64, 0);
    }
    assert_eq!(class_of(PIECE_BYTES_MAX + 1), None);
}

/// A number below `bound`, from a state that moves on.
fn random(state: &mut u64, bound: usize) -> usize {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
    (*state >> 33) as usize % bound
}

#[test]
fn pieces_never_overlap_and_all_memory_comes_back() {
    let arena = Arena::new(Some(Arc::default()));
    let mut state = 7;
    let mut pieces: Vec<(Address, usize, u8)> = Vec::new();
    for step in 0..20_000_usize {
        let is_growing = step < 12_000;
        if pieces.is_empty() || random(&mut state, 10) < if is_growing { 7 } else { 2 } {
            let bound = [100, 700, 9000][random(&mut state, 3)];
            let bytes = 1 + random(&mut state, bound);
            let address = arena.take(bytes, Purpose::Entry).unwrap();
            let mark = u8::try_from(step % 251).unwrap();
            // SAFETY: the piece was just taken, and is ours.
            unsafe { arena.pointer(address).write_bytes(mark, bytes) };
            pieces.push((address, bytes, mark));
        } else {
            let (address, bytes, mark) = pieces.swap_remove(random(&mut state, pieces.len()));
            // SAFETY: taken and written above, and given back once.
            unsafe {
                let memory = std::slice::from_raw_parts(arena.pointer(address).as_ptr(), bytes);
                assert!(memory.iter().all(|byte| *byte == mark), "a piece was overwritten");
                arena.give([(address, bytes, Purpose::Entry)]);
            }
        }
        if step % 1000 == 0 {
            arena.validate().unwrap();
        }
    }
    for (address, bytes, _) in pieces.drain(..) {
        // SAFETY: as above.
        unsafe { arena.give([(address, bytes, Purpose::Entry)]) };
    }
    arena.discard_free();
    arena.validate().unwrap();
    let memory = arena.memory();
    assert_eq!(memory.used, 0);
    assert!(memory.held <= 2 * CHUNK_BYTES, "{memory:?}");
}

#[test]
fn sparse_spans_are_chosen_emptied_and_gone() {
    let arena = Arena::new(Some(Arc::default()));
    let take = || arena.take(100, Purpose::Entry).unwrap();
    let mut pieces: Vec<Address> = (0..10_000).map(|_| take()).collect();
    let full = arena.memory();
    let mut number = 0;
    pieces.retain(|address| {
        number += 1;
        if number % 10 != 0 {
            // SAFETY: taken above, and given back once.
            unsafe { arena.give([(*address, 100, Purpose::Entry)]) };
        }
        number % 10 == 0
    });
    assert!(arena.choose_leaving(Sparse::HALF) > 50);
    let moved: HashMap<Address, Address> = pieces
        .iter()
        .filter(|address| arena.heap.lock().is_leaving(**address))
        .map(|address| (*address, take()))
        .collect();
    assert!(moved.values().all(|address| !arena.heap.lock().is_leaving(*address)));
    for address in moved.keys() {
        // SAFETY: as above.
        unsafe { arena.give([(*address, 100, Purpose::Entry)]) };
    }
    arena.discard_free();
    arena.end_leaving();
    arena.validate().unwrap();
    let memory = arena.memory();
    let (used, before) = (memory.held - memory.free, full.held - full.free);
    assert!(used < before / 5, "{used} of {before} bytes are still in use");
}

#[test]
fn pieces_are_kept_at_hand_of_the_class_that_is_in_use() {
    let arena = Arena::new(Some(Arc::default()));
    let take = |count: usize, bytes| -> Vec<Address> {
        (0..count).map(|_| arena.take(bytes, Purpose::Entry).unwrap()).collect()
    };
    let give = |pieces: Vec<Address>, bytes| {
        // SAFETY: the pieces were taken for that many bytes, and are given back once.
        unsafe { arena.give(pieces.into_iter().map(|address| (address, bytes, Purpose::Entry))) };
    };
    let at_hand = |bytes| arena.heap.lock().cached[class_of(bytes).unwrap()].len() * bytes;
    // All that may be at hand is of one class, which then is not in use any more.
    let (old, new) = (take(4096, 64), take(400, 128));
    give(old, 64);
    assert!(at_hand(64) > CACHED_BYTES_MIN - UNCACHED_BYTES, "{} bytes", at_hand(64));
    give(new, 128);
    assert!(at_hand(128) >= CACHED_BYTES_MIN / 4, "{} bytes", at_hand(128));
    assert!(at_hand(64) + at_hand(128) <= CACHED_BYTES_MIN);
    arena.validate().unwrap();

    // Buckets come and go seldom.
    let buckets: Vec<Address> = (0..10).map(|_| arena.take(640, Purpose::Buckets).unwrap()).collect();
    // SAFETY: as above.
    unsafe { arena.give(buckets.into_iter().map(|address| (address, 640, Purpose::Buckets))) };
    assert_eq!(at_hand(640), 0);
    assert_eq!(arena.memory().used, 0);
}

#[test]
fn what_is_at_hand_for_one_thread_is_not_lost_to_the_others() {
    let arena = Arena::new(Some(Arc::default()));
    let take = || arena.take(64, Purpose::Entry);
    let at_hand = || arena.fronts.all().map(|front| front.count().1).sum::<usize>();
    std::thread::scope(|scope| scope.spawn(|| take().map(drop)).join()).unwrap().unwrap();
    assert_eq!(at_hand(), FRONT_PIECES);
    assert_eq!(arena.memory().used, 64, "it counts as free");
    arena.heap.lock().pages.end_growing();
    let taken = std::iter::from_fn(|| take().ok()).count();
    assert!(taken > CHUNK_BYTES / 64 / 2, "{taken}");
    assert_eq!((at_hand(), arena.memory().used), (0, (taken + 1) * 64));
    arena.validate().unwrap();
}

#[test]
fn sizes_that_are_mixed_do_not_empty_what_is_at_hand() {
    let arena = Arena::new(Some(Arc::default()));
    let sizes = (0..100).map(|n| 16 + n % 10 * 16);
    let pieces: Vec<(Address, usize)> =
        sizes.map(|bytes| (arena.take(bytes, Purpose::Entry).unwrap(), bytes)).collect();
    // Ten asked for in turn: each finds the pieces of another one now and then, and seldom changes them.
    let used: usize = pieces.iter().map(|(_, bytes)| bytes).sum();
    assert_eq!(arena.memory().used, used);
    // SAFETY: the pieces were taken for that many bytes, and are given back once.
    unsafe { arena.give(pieces.into_iter().map(|(address, bytes)| (address, bytes, Purpose::Entry))) };
    arena.discard_free();
    let memory = arena.memory();
    assert_eq!((memory.used, memory.free), (0, memory.held - PAGE_BYTES), "{memory:?}");
    arena.validate().unwrap();
}
