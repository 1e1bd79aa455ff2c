//! The law of evaporation: how likely entries of a class are used again, by age, learned from the workload.

#![expect(
    clippy::cast_possible_truncation,
    reason = "an index needs no more digits than an f32 has, and a cast clamps an age"
)]

use std::sync::atomic::{AtomicU32, Ordering};

use parking_lot::Mutex;

use super::age::{AGE_BINS, bin, lowest, width};
use super::orbit::{CLASSES, WAIT_CLASSES};
use super::stored::StoredCount;

/// Share of the counts that is kept over one full period of learning.
const KEPT_A_PERIOD: f32 = 0.98;
/// Observations that a parent is worth to its child: of a class its wait, of a wait all classes.
const PARENT_WEIGHT: f32 = 8.0;
/// Observations that the law assumed beforehand is worth.
const PRIOR_WEIGHT: f32 = 64.0;
/// Mean age at reuse that is assumed beforehand, in capacities. The assumed hazard is the same at all ages, so that
/// nothing is known to be better than anything else until uses show it: then who is in stays in, which is right for
/// loops longer than the capacity.
const PRIOR_MEAN_CAPACITIES: f64 = 32.0;

/// Classes that are priced anew at a time, at most.
const CLASSES_AT_A_TIME: usize = 32;
/// Age up to which something is assumed beforehand, in capacities.
const PRIOR_END_CAPACITIES: f64 = 128.0;

/// One count or price a class and age, written without a lock: a lost update is one observation less.
type Cells = Box<[AtomicU32]>;

/// Counts and what follows from them. Tables of 96 classes by 184 ages, 283 KB in all, however many entries there are.
#[derive(Debug)]
pub(crate) struct Law {
    /// Waits that ended in a use.
    reused: Cells,
    /// Waits of which the end was not seen.
    lost: Cells,
    /// The index of each class and age.
    index: Cells,
    work: Mutex<Work>,
}

/// What learning needs beside the counts, kept so that it allocates nothing.
#[derive(Debug)]
struct Work {
    waiting: Vec<f32>,
    all: Waits,
    waits: Vec<Waits>,
    base: Waits,
    of_class: Waits,
    hull: Hull,
    turn: Turn,
}

/// Waits by their age at the end: those that ended in a use, and those that were last seen then.
#[derive(Clone, Debug)]
struct Waits {
    reused: Vec<f32>,
    lost: Vec<f32>,
}

const _: () = assert!(AGE_BINS.is_multiple_of(8), "the sums take eight at a time");

impl Waits {
    fn new() -> Waits {
        Waits { reused: vec![0.0; AGE_BINS], lost: vec![0.0; AGE_BINS] }
    }

    /// Starts over from `weight` observations that are spread as the parent's are.
    fn inherit(&mut self, parent: &Waits, weight: f32) {
        let scale = weight / parent.total().max(f32::MIN_POSITIVE);
        let scaled = |to: &mut [f32], from: &[f32]| {
            to.iter_mut().zip(from).for_each(|(to, from)| *to = from * scale);
        };
        scaled(&mut self.reused, &parent.reused);
        scaled(&mut self.lost, &parent.lost);
    }

    fn total(&self) -> f32 {
        // Eight sums side by side, which the processor adds at once.
        let mut sums = [0.0_f32; 8];
        for part in self.reused.chunks_exact(8).chain(self.lost.chunks_exact(8)) {
            sums.iter_mut().zip(part).for_each(|(sum, count)| *sum += count);
        }
        sums.iter().sum()
    }

    fn add(&mut self, other: &Waits) {
        let add = |to: &mut [f32], from: &[f32]| to.iter_mut().zip(from).for_each(|(to, from)| *to += from);
        add(&mut self.reused, &other.reused);
        add(&mut self.lost, &other.lost);
    }
}

fn cells() -> Cells {
    (0..CLASSES * AGE_BINS).map(|_| AtomicU32::new(0)).collect()
}

fn read(cell: &AtomicU32) -> f32 {
    f32::from_bits(cell.load(Ordering::Relaxed))
}

fn write(cell: &AtomicU32, value: f32) {
    cell.store(value.to_bits(), Ordering::Relaxed);
}

fn increase(cell: &AtomicU32, by: f32) {
    write(cell, read(cell) + by);
}

impl Law {
    /// The law assumed beforehand, for `capacity` in ticks.
    pub(crate) fn new(capacity: f64) -> Law {
        let work = Work {
            waiting: vec![0.0; CLASSES * AGE_BINS],
            all: Waits::new(),
            waits: vec![Waits::new(); WAIT_CLASSES],
            base: Waits::new(),
            of_class: Waits::new(),
            hull: Hull::new(),
            turn: Turn::default(),
        };
        let law = Law { reused: cells(), lost: cells(), index: cells(), work: Mutex::new(work) };
        law.learn(capacity, 0.0, std::iter::empty());
        law
    }

    /// Bytes of memory that the tables take, with what learning needs.
    pub(crate) fn bytes(&self) -> usize {
        let tables = size_of_val(&*self.reused) + size_of_val(&*self.lost) + size_of_val(&*self.index);
        let waits = (WAIT_CLASSES + 3) * 2 + CLASSES;
        tables + (waits * size_of::<f32>() + 4 * size_of::<f64>()) * AGE_BINS
    }

    /// Counts a wait that ended in a use.
    pub(crate) fn reused(&self, class: usize, age: u32, weight: f32) {
        increase(&self.reused[class * AGE_BINS + bin(age)], weight);
    }

    /// Counts a wait of which nobody will see the end.
    pub(crate) fn lost(&self, class: usize, age: u32, weight: f32) {
        increase(&self.lost[class * AGE_BINS + bin(age)], weight);
    }

    /// The counts that are not zero, to be stored.
    pub(crate) fn counts(&self) -> Vec<StoredCount> {
        let counts = self.reused.iter().zip(&self.lost).enumerate();
        let counts = counts.map(|(place, (reused, lost))| StoredCount {
            place: place as u16,
            reused: read(reused),
            lost: read(lost),
        });
        counts.filter(|count| count.reused != 0.0 || count.lost != 0.0).collect()
    }

    /// Adds counts that were stored, and derives the index anew.
    pub(crate) fn add(&self, counts: &[StoredCount], capacity: f64) {
        for StoredCount { place, reused, lost } in counts {
            increase(&self.reused[usize::from(*place)], *reused);
            increase(&self.lost[usize::from(*place)], *lost);
        }
        // Each time prices some of the classes.
        for _ in 0..CLASSES.div_ceil(CLASSES_AT_A_TIME) {
            self.learn(capacity, 0.0, std::iter::empty());
        }
    }

    pub(crate) fn index(&self, class: usize, age: u32) -> f32 {
        read(&self.index[class * AGE_BINS + bin(age)])
    }

    /// Forgets a little, and derives the index anew. `waiting` is what waits at the moment: class, age, and how many it
    /// stands for. `periods` is the time since the last learning in full periods. If somebody learns already, nothing
    /// is done.
    pub(crate) fn learn(
        &self,
        capacity: f64,
        periods: f32,
        waiting: impl Iterator<Item = (usize, u32, f32)>,
    ) {
        let Some(mut work) = self.work.try_lock() else { return };
        let kept = KEPT_A_PERIOD.powf(periods);
        let Work { waiting: at_present, all, waits, base, of_class, hull, turn } = &mut *work;
        at_present.fill(0.0);
        for (class, age, count) in waiting {
            at_present[class * AGE_BINS + bin(age)] += count;
        }
        let (counted, bins) = self.gather(kept, at_present, all, waits);
        // Later ages than these have not been seen, and are no part of what is assumed beforehand.
        let bins = bins.max(bin(ticks_of(capacity * PRIOR_END_CAPACITIES)) + 1).min(AGE_BINS);
        all.add(&prior(capacity, bins));
        turn.start(&counted);
        for (wait, sums) in waits.iter_mut().enumerate() {
            base.inherit(all, PARENT_WEIGHT);
            sums.add(base);
            base.inherit(sums, PARENT_WEIGHT);
            let classes = (wait..CLASSES).step_by(WAIT_CLASSES);
            // A class of which nothing is known follows its parent.
            if classes.clone().any(|class| !counted[class]) {
                hull.slopes(base, bins);
            }
            for class in classes.clone().filter(|&class| !counted[class]) {
                hull.write(&self.index[class * AGE_BINS..][..AGE_BINS]);
            }
            for class in classes.filter(|&class| counted[class]) {
                // The classes that had their turn last wait for the others.
                if !turn.take(class) {
                    continue;
                }
                let cells = class * AGE_BINS..class * AGE_BINS + bins;
                let at_present = &at_present[cells.clone()];
                let counts = self.reused[cells.clone()].iter().zip(&self.lost[cells]).zip(at_present);
                for (age, ((reused, lost), at_present)) in counts.enumerate() {
                    of_class.reused[age] = base.reused[age] + read(reused);
                    of_class.lost[age] = base.lost[age] + read(lost) + at_present;
                }
                hull.slopes(of_class, bins);
                hull.write(&self.index[class * AGE_BINS..][..AGE_BINS]);
            }
        }
    }

    /// Forgets a little, and sums the counts over the classes of each wait and over all; tells which classes have any,
    /// and how many bins do.
    fn gather(
        &self,
        kept: f32,
        waiting: &[f32],
        all: &mut Waits,
        waits: &mut [Waits],
    ) -> ([bool; CLASSES], usize) {
        for sums in waits.iter_mut().chain([&mut *all]) {
            sums.reused.fill(0.0);
            sums.lost.fill(0.0);
        }
        // What has nearly gone is let go, so that no time is spent on it.
        let forget = |count: f32| if count < 1e-3 { 0.0 } else { count * kept };
        let (mut counted, mut bins) = ([false; CLASSES], 0);
        let rows = self.reused.chunks_exact(AGE_BINS).zip(self.lost.chunks_exact(AGE_BINS));
        for (class, ((reused, lost), waiting)) in rows.zip(waiting.chunks_exact(AGE_BINS)).enumerate() {
            let sums = &mut waits[class % WAIT_CLASSES];
            for (age, ((of_reused, of_lost), &waiting)) in reused.iter().zip(lost).zip(waiting).enumerate() {
                let (reused, lost) = (read(of_reused), read(of_lost));
                // Most cells are empty.
                if reused + lost + waiting == 0.0 {
                    continue;
                }
                let (reused, lost) = (forget(reused), forget(lost));
                write(of_reused, reused);
                write(of_lost, lost);
                counted[class] = true;
                bins = bins.max(age + 1);
                sums.reused[age] += reused;
                sums.lost[age] += lost + waiting;
            }
        }
        waits.iter().for_each(|sums| all.add(sums));
        (counted, bins)
    }
}

/// Which classes are priced anew, where all of them would take too long for one time.
#[derive(Debug, Default)]
struct Turn {
    /// Where to begin, among the counted classes.
    next: usize,
    chosen: Vec<bool>,
}

impl Turn {
    /// Chooses the next few of the counted classes.
    fn start(&mut self, counted: &[bool; CLASSES]) {
        self.chosen.clear();
        self.chosen.resize(CLASSES, false);
        let all: Vec<usize> = (0..CLASSES).filter(|&class| counted[class]).collect();
        for turn in 0..all.len().min(CLASSES_AT_A_TIME) {
            self.chosen[all[(self.next + turn) % all.len()]] = true;
        }
        self.next = if all.is_empty() { 0 } else { (self.next + CLASSES_AT_A_TIME) % all.len() };
    }

    fn take(&self, class: usize) -> bool {
        self.chosen[class]
    }
}

/// Waits with the same hazard at every age, up to some bin.
fn prior(capacity: f64, bins: usize) -> Waits {
    let mean = capacity.max(1.0) * PRIOR_MEAN_CAPACITIES;
    let mut waits = Waits::new();
    let left = |age: u64| (-(age as f64) / mean).exp();
    let mut before = 1.0;
    for (place, reused) in waits.reused.iter_mut().enumerate().take(bins) {
        let behind = left(lowest(place + 1));
        *reused = PRIOR_WEIGHT * (before - behind) as f32;
        before = behind;
    }
    waits
}

/// An age from a number of ticks; one that is too long counts as the longest.
fn ticks_of(ticks: f64) -> u32 {
    ticks as u32
}

/// Expected hits over expected time in memory, and the slopes of their upper concave hull.
#[derive(Debug)]
struct Hull {
    /// Expected hits, and expected ticks in memory, of an entry that is kept until each age.
    hits: Vec<f64>,
    ticks: Vec<f64>,
    corners: Vec<usize>,
    slopes: Vec<f32>,
    widths: Vec<f32>,
}

impl Hull {
    fn new() -> Hull {
        let zeros = || vec![0.0; AGE_BINS + 1];
        Hull {
            hits: zeros(),
            ticks: zeros(),
            corners: Vec::with_capacity(AGE_BINS + 1),
            slopes: vec![0.0; AGE_BINS],
            widths: (0..AGE_BINS).map(width).collect(),
        }
    }

    /// The Gittins index of each age in the first `bins`: the most hits a tick that keeping an entry of that age until
    /// some later age can give. It is the slope of the hull to the right of the age. Later ages get that of the last one.
    fn slopes(&mut self, waits: &Waits, bins: usize) {
        self.expect(waits, bins);
        self.corners.clear();
        self.corners.push(bins);
        for age in (0..bins).rev() {
            while let [.., beyond, next] = self.corners[..] {
                if self.is_steeper(age, next, beyond) {
                    break;
                }
                self.corners.pop();
            }
            let next = self.corners.last().copied().unwrap_or(bins);
            self.slopes[age] = self.slope(age, next) as f32;
            self.corners.push(age);
        }
        let last = self.slopes[bins - 1];
        self.slopes[bins..].fill(last);
    }

    /// Whether the hull gets flatter at `middle`, by products, since quotients take most of the time.
    fn is_steeper(&self, from: usize, middle: usize, to: usize) -> bool {
        let rise = |from: usize, to: usize| self.hits[to] - self.hits[from];
        let run = |from: usize, to: usize| self.ticks[to] - self.ticks[from];
        rise(from, middle) * run(middle, to) > rise(middle, to) * run(from, middle)
    }

    /// Kaplan and Meier: the hazard of an age is its uses over those that were still waiting, where one that was lost
    /// at that age counts half.
    fn expect(&mut self, waits: &Waits, bins: usize) {
        let mut at_risk = waits.total();
        let (mut hits, mut ticks, mut survival) = (0.0, 0.0, 1.0);
        for age in 0..bins {
            let (reused, lost) = (waits.reused[age], waits.lost[age]);
            let hazard = f64::from((reused / (at_risk - lost / 2.0).max(1e-9)).clamp(0.0, 1.0));
            at_risk = (at_risk - reused - lost).max(0.0);
            hits += survival * hazard;
            ticks += survival * (1.0 - hazard / 2.0) * f64::from(self.widths[age]);
            survival *= 1.0 - hazard;
            (self.hits[age + 1], self.ticks[age + 1]) = (hits, ticks);
        }
    }

    fn slope(&self, from: usize, to: usize) -> f64 {
        let ticks = self.ticks[to] - self.ticks[from];
        if ticks > 1e-12 { (self.hits[to] - self.hits[from]) / ticks } else { 0.0 }
    }

    fn write(&self, index: &[AtomicU32]) {
        index.iter().zip(&self.slopes).for_each(|(cell, &slope)| write(cell, slope));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The index by its definition: the best over every later age.
    fn by_hand(hull: &Hull, age: usize) -> f64 {
        (age + 1..=AGE_BINS).map(|until| hull.slope(age, until)).fold(0.0, f64::max)
    }

    #[test]
    fn the_hull_finds_the_best_later_age() {
        let mut waits = Waits::new();
        for age in 0..AGE_BINS {
            waits.reused[age] = [0.0, 3.0, 0.5][age * 7 % 3] + if age == 60 { 40.0 } else { 0.0 };
            waits.lost[age] = [1.0, 0.0][age * 5 % 2];
        }
        let mut hull = Hull::new();
        hull.slopes(&waits, AGE_BINS);
        for age in 0..AGE_BINS {
            let (found, best) = (f64::from(hull.slopes[age]), by_hand(&hull, age));
            assert!((found - best).abs() <= best * 1e-5 + 1e-12, "age {age}: {found} for {best}");
        }
    }

    #[test]
    fn a_loop_makes_old_entries_dearer_and_a_burst_makes_them_cheaper() {
        let law = Law::new(100.0);
        for _ in 0..10_000 {
            law.reused(0, 400, 1.0);
        }
        law.learn(100.0, 1.0, std::iter::empty());
        assert!(law.index(0, 390) > 5.0 * law.index(0, 3), "what is due soon is worth more");

        let law = Law::new(100.0);
        for age in 1..5000 {
            law.reused(0, 2, 5000.0 / age as f32);
            law.lost(0, age, 1.0);
        }
        law.learn(100.0, 1.0, std::iter::empty());
        assert!(law.index(0, 0) > 5.0 * law.index(0, 1000), "what was not used soon is worth less");
    }

    #[test]
    fn nothing_is_preferred_before_anything_was_seen() {
        let law = Law::new(100.0);
        let indexes: Vec<f32> = (0..CLASSES).map(|class| law.index(class, 7)).collect();
        assert!(indexes.iter().all(|&index| index == indexes[0] && index > 0.0));
        let (young, old) = (law.index(0, 0), law.index(0, 900));
        assert!((young / old - 1.0).abs() < 0.02, "{young} and {old}");
    }
}
