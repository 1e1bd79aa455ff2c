//! Histories of calls that four threads make at once, round after round, while a fifth disturbs them.
//!
//! A test that includes this includes `history`, too.
#![allow(clippy::cast_possible_truncation, reason = "the numbers are small")]

use std::hint::spin_loop;
use std::io::Write;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use super::history::{CALLS_MAX, Call, Event, is_linearizable};

/// Keys of a history.
pub(crate) const KEYS: u8 = 3;
const THREADS: usize = 4;
/// Calls of a thread in a history. All of them may be for one key.
const CALLS: usize = 12;
const _: () = assert!(THREADS * CALLS <= CALLS_MAX);
/// Histories that are made before they are looked at, which bounds the memory that they take.
const TOGETHER: u64 = 2_000;
/// Looks at whether the others have come, before a thread lets others run.
const SPINS: usize = 200;

/// What is to be checked.
pub(crate) trait Calls: Sync {
    /// Makes a call for a key of a round, and says what it did. `new` is a number that no other call has.
    fn call(&self, round: u64, key: u8, new: u64, random: &mut Random) -> Call;

    /// Removes a key of a round that is over.
    fn forget(&self, round: u64, key: u8);

    /// Does what must not be noticed. Called all the time, by one thread.
    fn disturb(&self, random: &mut Random);
}

/// A small generator (xorshift64*), so that a run needs no crate for it.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % bound
    }

    /// Now and then lets others run, who would seldom meet in the middle of a call otherwise.
    pub(crate) fn may_yield(&mut self) {
        if self.below(8) == 0 {
            thread::yield_now();
        }
    }
}

/// One event of a round, and its key.
#[derive(Debug, Clone, Copy)]
struct Seen {
    round: u64,
    key: u8,
    event: Event,
}

/// What some histories came to.
pub(crate) struct Outcome {
    /// Pairs of calls for one key that were made at once.
    overlapping: usize,
    /// The calls for a key that no order explains, if there are such.
    pub(crate) impossible: Option<Vec<Event>>,
}

/// Makes histories, and checks that each key's is linearizable: as many as `WARP_HISTORIES` says, or `usual`.
pub(crate) fn check(calls: &impl Calls, usual: u64) {
    let asked = std::env::var("WARP_HISTORIES").ok();
    let histories = asked.map_or(usual, |text| text.parse().expect("a number of histories"));
    let Outcome { overlapping, impossible } = run(calls, histories);
    assert!(impossible.is_none(), "no order explains these calls: {impossible:#?}");
    let text = format!("{histories} histories, {overlapping} pairs of calls for a key at once\n");
    std::io::stderr().write_all(text.as_bytes()).expect("the test can say what it did");
    // The run means nothing unless the threads did meet.
    assert!(overlapping as u64 >= histories, "{overlapping} pairs of calls overlapped");
}

/// Makes so many histories, or fewer if one of them is impossible.
pub(crate) fn run(calls: &impl Calls, histories: u64) -> Outcome {
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut random = Random::new(5);
            while !done.load(Ordering::Relaxed) {
                calls.disturb(&mut random);
                thread::yield_now();
            }
        });
        // However the run ends, the thread above must.
        let _ends = Ends(&done);
        let mut all = Outcome { overlapping: 0, impossible: None };
        for first in (0..histories).step_by(TOGETHER as usize) {
            let some = look_at(&make(calls, first, (first + TOGETHER).min(histories)));
            all.overlapping += some.overlapping;
            all.impossible = some.impossible;
            if all.impossible.is_some() {
                break;
            }
        }
        all
    })
}

/// Sees to it that nobody waits for a thread that failed.
struct Leaves<'a>(&'a AtomicUsize);

impl Drop for Leaves<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.fetch_add(usize::MAX / 2, Ordering::AcqRel);
        }
    }
}

struct Ends<'d>(&'d AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// What the threads saw in some rounds.
fn make(calls: &impl Calls, first: u64, end: u64) -> Vec<Seen> {
    let clock = clock();
    let arrived = AtomicUsize::new(0);
    let (arrived, clock) = (&arrived, &clock);
    thread::scope(|scope| {
        let threads = [0, 1, 2, 3].map(|thread: u64| {
            scope.spawn(move || {
                let mut random = Random::new(first * THREADS as u64 + thread + 1);
                let mut seen = Vec::new();
                let _leaves = Leaves(arrived);
                for round in first..end {
                    meet(arrived, (round - first + 1) as usize * THREADS);
                    for step in 0..CALLS as u64 {
                        let key = random.below(u64::from(KEYS)) as u8;
                        let new = 1 + step + CALLS as u64 * (thread + THREADS as u64 * round);
                        let start = clock();
                        random.may_yield();
                        let call = calls.call(round, key, new, &mut random);
                        let event = Event { call, start, end: clock() };
                        seen.push(Seen { round, key, event });
                    }
                    if thread == 0 && round > first {
                        // Others may be in this round still, but in no earlier one.
                        (0..KEYS).for_each(|key| calls.forget(round - 1, key));
                    }
                }
                seen
            })
        });
        threads.into_iter().flat_map(|thread| thread.join().expect("the thread says why")).collect()
    })
}

#[expect(
    clippy::disallowed_methods,
    reason = "two threads need one time, and nothing depends on which it is"
)]
fn clock() -> impl Fn() -> u64 {
    let start = Instant::now();
    move || u64::try_from(start.elapsed().as_nanos()).expect("a run takes less than centuries")
}

/// Waits until as many have come.
fn meet(arrived: &AtomicUsize, all: usize) {
    arrived.fetch_add(1, Ordering::AcqRel);
    let mut spins = 0_usize;
    while arrived.load(Ordering::Acquire) < all {
        spins += 1;
        if spins.is_multiple_of(SPINS) { thread::yield_now() } else { spin_loop() }
    }
}

/// Looks at the histories of all keys.
fn look_at(seen: &[Seen]) -> Outcome {
    let mut seen = seen.to_vec();
    seen.sort_by_key(|seen| (seen.round, seen.key, seen.event.start));
    let mut outcome = Outcome { overlapping: 0, impossible: None };
    for of_key in seen.chunk_by(|a, b| (a.round, a.key) == (b.round, b.key)) {
        let events: Vec<Event> = of_key.iter().map(|seen| seen.event).collect();
        outcome.overlapping += overlaps(&events);
        if !is_linearizable(&events, None) {
            outcome.impossible = Some(events);
            break;
        }
    }
    outcome
}

/// How many pairs of calls overlap: what makes a history worth looking at.
fn overlaps(events: &[Event]) -> usize {
    let overlap = |a: &Event, b: &Event| a.start <= b.end && b.start <= a.end;
    events
        .iter()
        .enumerate()
        .map(|(at, event)| events[at + 1..].iter().filter(|other| overlap(event, other)).count())
        .sum()
}
