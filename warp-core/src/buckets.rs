//! The buckets of a slot: an array that readers search while one writer changes it, and that is replaced when it grows.
#![expect(unsafe_code, reason = "bucket arrays are memory of an arena")]

use std::ptr;
use std::slice;

use crate::arena::{Address, Arena, Exhausted, Purpose, RUN_BYTES_MAX};
use crate::bucket::{Bucket, Fingerprint, PLACES};
use crate::epoch::Pin;
use crate::sync::atomic::{AtomicPtr, Ordering};

/// A slot's array grows beyond this part of its places: ninety in a hundred searches then end in the first bucket.
const LOAD_MAX_PERCENT: usize = 80;
/// Growing adds at least this part of the buckets, so that an entry is placed anew five times at most on average.
const GROW_PART: usize = 5;
/// An array shrinks when less than this part of its places is in use...
const SHRINK_BELOW_PERCENT: usize = 30;
/// ...to this part in use, so that it neither grows nor shrinks again soon.
const SHRINK_TO_PERCENT: usize = 60;
/// The most buckets of a slot.
pub(crate) const BUCKETS_MAX: usize = RUN_BYTES_MAX / size_of::<Bucket>();

/// The count of buckets is in the upper bits of the pointer to them, so that one load gives both.
const COUNT_SHIFT: u32 = 48;
const _: () = assert!(usize::BITS == 64 && BUCKETS_MAX < 1 << (usize::BITS - COUNT_SHIFT));

/// Where a slot's buckets are. Read by anybody who is pinned, changed by the slot's writer.
#[derive(Debug)]
pub(crate) struct BucketsCell(AtomicPtr<Bucket>);

/// An entry's place: the bucket and the place in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Position {
    bucket: usize,
    place: usize,
}

/// A bucket array that was replaced, or a new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Array {
    pub(crate) address: Address,
    pub(crate) buckets: usize,
}

impl Array {
    pub(crate) fn bytes(self) -> usize {
        self.buckets * size_of::<Bucket>()
    }
}

impl BucketsCell {
    pub(crate) fn new() -> BucketsCell {
        BucketsCell(AtomicPtr::new(ptr::null_mut()))
    }

    /// The buckets as they are now; they stay readable for as long as the pin.
    #[inline]
    pub(crate) fn load<'p>(&self, _pin: &'p Pin) -> &'p [Bucket] {
        // SAFETY: the array is retired only after another was published here, and freed only when everybody who was
        // pinned by then has gone.
        unsafe { self.load_unpinned() }
    }

    /// The buckets as they are now.
    ///
    /// # Safety
    /// They are not freed during `'p`: the caller is pinned, or is the slot's writer and does not replace them.
    #[inline]
    pub(crate) unsafe fn load_unpinned<'p>(&self) -> &'p [Bucket] {
        // Acquire pairs with the Release in `publish`: the buckets are seen as they were filled.
        let packed = self.0.load(Ordering::Acquire);
        let count = packed.addr() >> COUNT_SHIFT;
        if count == 0 {
            return &[];
        }
        let first = packed.map_addr(|address| address & ((1 << COUNT_SHIFT) - 1));
        // SAFETY: published with that many buckets, which the caller keeps from being freed.
        unsafe { slice::from_raw_parts(first, count) }
    }

    fn publish(&self, first: *mut Bucket, count: usize) {
        debug_assert_eq!(first.addr() >> COUNT_SHIFT, 0, "user space ends below 2^48");
        self.0.store(first.map_addr(|address| address | count << COUNT_SHIFT), Ordering::Release);
    }
}

/// The first position whose fingerprint is `print` and whose address `is` accepts.
#[inline]
pub(crate) fn find<T>(
    buckets: &[Bucket],
    print: Fingerprint,
    mut is: impl FnMut(Address) -> Option<T>,
) -> Option<(Position, T)> {
    let at = print.home(buckets.len());
    let bucket = buckets.get(at)?;
    if let Some(found) = find_in(bucket, at, print, &mut is) {
        return Some(found);
    }
    if bucket.was_passed() { find_beyond(buckets, at, print, is) } else { None }
}

#[inline]
fn find_in<T>(
    bucket: &Bucket,
    at: usize,
    print: Fingerprint,
    is: &mut impl FnMut(Address) -> Option<T>,
) -> Option<(Position, T)> {
    for place in bucket.candidates(print) {
        if let Some(address) = bucket.address_of(place, print)
            && let Some(found) = is(address)
        {
            return Some((Position { bucket: at, place }, found));
        }
    }
    None
}

/// Goes on behind the home of an entry, which was passed.
#[inline(never)]
fn find_beyond<T>(
    buckets: &[Bucket],
    home: usize,
    print: Fingerprint,
    mut is: impl FnMut(Address) -> Option<T>,
) -> Option<(Position, T)> {
    let mut at = home;
    for _ in 1..buckets.len() {
        at = next(at, buckets.len());
        if let Some(found) = find_in(&buckets[at], at, print, &mut is) {
            return Some(found);
        }
        if !buckets[at].was_passed() {
            return None;
        }
    }
    None
}

/// Whether a search for a fingerprint comes by an entry that has it, which almost always is the right one.
pub(crate) fn may_have(buckets: &[Bucket], print: Fingerprint) -> bool {
    near(buckets, print).any(|(_, other, _)| other == print)
}

#[inline]
fn next(bucket: usize, count: usize) -> usize {
    if bucket + 1 == count { 0 } else { bucket + 1 }
}

/// The buckets from an entry's home to just before the one that it is in.
fn passed_by(print: Fingerprint, position: Position, count: usize) -> impl Iterator<Item = usize> {
    let home = print.home(count);
    std::iter::successors(Some(home), move |at| Some(next(*at, count)))
        .take_while(move |at| *at != position.bucket)
}

/// Puts an entry into the first place that is vacant. For the slot's writer; there must be room.
pub(crate) fn insert(buckets: &[Bucket], print: Fingerprint, address: Address) {
    let mut at = print.home(buckets.len());
    let place = loop {
        match buckets[at].vacant() {
            Some(place) => break place,
            None => at = next(at, buckets.len()),
        }
    };
    buckets[at].fill(place, print, address);
    // Counted before the put returns, so that a search that begins later goes on to the entry.
    for passed in passed_by(print, Position { bucket: at, place }, buckets.len()) {
        buckets[passed].pass();
    }
}

/// Replaces the entry in a position by another of the same key. For the slot's writer.
#[inline]
pub(crate) fn replace(buckets: &[Bucket], position: Position, address: Address) {
    buckets[position.bucket].publish(position.place, address);
}

/// Takes the entry in a position out. For the slot's writer.
pub(crate) fn remove(buckets: &[Bucket], position: Position) {
    let print = buckets[position.bucket].fingerprint(position.place);
    buckets[position.bucket].clear(position.place);
    for passed in passed_by(print, position, buckets.len()) {
        buckets[passed].unpass();
    }
}

/// All entries, with their positions.
pub(crate) fn iter(buckets: &[Bucket]) -> impl Iterator<Item = (Position, Fingerprint, Address)> {
    buckets.iter().enumerate().flat_map(|(at, bucket)| {
        (0..PLACES).filter_map(move |place| {
            let address = bucket.address(place)?;
            Some((Position { bucket: at, place }, bucket.fingerprint(place), address))
        })
    })
}

/// The entries that a search for a fingerprint comes by.
pub(crate) fn near(
    buckets: &[Bucket],
    print: Fingerprint,
) -> impl Iterator<Item = (Position, Fingerprint, Address)> {
    let home = print.home(buckets.len());
    let mut goes_on = true;
    (0..buckets.len())
        .map(move |step| (home + step) % buckets.len())
        .take_while(move |at| std::mem::replace(&mut goes_on, buckets[*at].was_passed()))
        .flat_map(|at| {
            let bucket = &buckets[at];
            (0..PLACES).filter_map(move |place| {
                let address = bucket.address(place)?;
                Some((Position { bucket: at, place }, bucket.fingerprint(place), address))
            })
        })
}

/// How many buckets a slot with `count` of them should have for `entries`, if that is not as many as it has.
pub(crate) fn resized(count: usize, entries: usize) -> Option<usize> {
    if is_too_full(count, entries) && count < BUCKETS_MAX {
        let grown = count + (count / GROW_PART).max(1);
        return Some(with_room(grown.max(for_load(entries, LOAD_MAX_PERCENT))));
    }
    if entries * 100 < count * PLACES * SHRINK_BELOW_PERCENT {
        let shrunk = with_room(for_load(entries, SHRINK_TO_PERCENT));
        return (shrunk < count).then_some(if entries == 0 { 0 } else { shrunk });
    }
    None
}

/// As few buckets as hold `entries` with that part of their places in use.
fn for_load(entries: usize, percent: usize) -> usize {
    (entries * 100).div_ceil(PLACES * percent)
}

/// At least as many buckets, and as many as the memory that these take has room for.
fn with_room(buckets: usize) -> usize {
    let bytes = buckets.clamp(1, BUCKETS_MAX) * size_of::<Bucket>();
    (Arena::room(bytes) / size_of::<Bucket>()).min(BUCKETS_MAX)
}

/// Whether a slot can take more entries, with thousands of places left for those that are being prepared meanwhile.
pub(crate) fn can_take_more(entries: usize) -> bool {
    entries * 100 < BUCKETS_MAX * PLACES * 95
}

/// How many buckets a slot needs before it takes one entry more, if it has too few.
#[inline]
pub(crate) fn grown(count: usize, entries: usize) -> Option<usize> {
    if !is_too_full(count, entries + 1) {
        return None;
    }
    resized(count, entries + 1).filter(|buckets| *buckets > count)
}

#[inline]
fn is_too_full(count: usize, entries: usize) -> bool {
    entries * 100 > count * PLACES * LOAD_MAX_PERCENT
}

/// Replaces a slot's buckets by those of `made`, which are empty and which nobody else knows of, or by none, with the
/// same entries. Returns the array that was replaced, which is to be retired. Readers go on in the old one, which is not
/// changed any more, until they come again.
///
/// # Safety
/// The caller is the slot's writer; `made` is of this arena.
pub(crate) unsafe fn resize(
    cell: &BucketsCell,
    arena: &Arena,
    array: &mut Option<Array>,
    made: Option<Array>,
) -> Option<Array> {
    // SAFETY: the writer alone replaces the buckets, which is done below, after their last use.
    let former = unsafe { cell.load_unpinned() };
    if let Some(made) = made {
        let first = arena.pointer(made.address).cast::<Bucket>();
        // SAFETY: `make` has put that many empty buckets there, which nobody else knows of.
        let buckets = unsafe { slice::from_raw_parts(first.as_ptr(), made.buckets) };
        go_on_in(cell, former, buckets);
    } else {
        debug_assert_eq!(iter(former).count(), 0, "only an empty slot goes without buckets");
        cell.publish(ptr::null_mut(), 0);
    }
    std::mem::replace(array, made)
}

/// Puts the entries of `former` into `made`, which is empty and which nobody else knows of, and publishes that.
pub(crate) fn go_on_in(cell: &BucketsCell, former: &[Bucket], made: &[Bucket]) {
    for (_, print, address) in iter(former) {
        insert(made, print, address);
    }
    cell.publish(made.as_ptr().cast_mut(), made.len());
}

/// Takes memory for `count` buckets, and empties them.
///
/// # Errors
/// [`Exhausted`] if the arena has no memory.
pub(crate) fn make(arena: &Arena, count: usize) -> Result<Array, Exhausted> {
    let array_bytes = count * size_of::<Bucket>();
    let address = arena.take(array_bytes, Purpose::Buckets)?;
    let memory = arena.pointer(address);
    debug_assert_eq!(memory.cast::<Bucket>().align_offset(align_of::<Bucket>()), 0);
    #[cfg(not(shuttle))]
    // SAFETY: the piece has that many bytes, and is ours.
    unsafe {
        memory.write_bytes(0, array_bytes);
    }
    #[cfg(shuttle)]
    for index in 0..count {
        // SAFETY: as above.
        unsafe { memory.cast::<Bucket>().add(index).write(Bucket::empty()) };
    }
    Ok(Array { address, buckets: count })
}

/// Checks what a search relies on: each entry is in the first place that was vacant, or beyond, and each bucket
/// counts those that went past it. For tests.
pub(crate) fn validate(buckets: &[Bucket]) -> Result<(), String> {
    let mut passed = vec![0_usize; buckets.len()];
    for (position, print, _) in iter(buckets) {
        for at in passed_by(print, position, buckets.len()) {
            passed[at] += 1;
        }
    }
    for (at, (bucket, expected)) in buckets.iter().zip(passed).enumerate() {
        if bucket.passed().is_some_and(|counted| usize::from(counted) != expected) {
            return Err(format!("bucket {at} counts {:?}, {expected} went past", bucket.passed()));
        }
    }
    Ok(())
}
