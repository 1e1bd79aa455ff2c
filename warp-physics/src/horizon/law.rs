//! The law of evaporation: how likely entries of a class are used again, by age, learned from the workload.

use std::sync::atomic::{AtomicU32, Ordering};

use parking_lot::Mutex;

use super::age::{AGE_BINS, bin, lowest, width};
use super::orbit::{CLASSES, WAIT_CLASSES};

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
    hull: Hull,
}

/// Waits by their age at the end: those that ended in a use, and those that were last seen then.
#[derive(Clone, Debug)]
struct Waits {
    reused: Vec<f32>,
    lost: Vec<f32>,
}

impl Waits {
    fn new() -> Waits {
        Waits { reused: vec![0.0; AGE_BINS], lost: vec![0.0; AGE_BINS] }
    }

    /// Starts over from `weight` observations that are spread as the parent's are.
    fn inherit(&mut self, parent: &Waits, weight: f32) {
        let total: f32 = parent.reused.iter().chain(&parent.lost).sum();
        let scale = weight / total.max(f32::MIN_POSITIVE);
        let scaled = |to: &mut [f32], from: &[f32]| {
            to.iter_mut().zip(from).for_each(|(to, from)| *to = from * scale);
        };
        scaled(&mut self.reused, &parent.reused);
        scaled(&mut self.lost, &parent.lost);
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

impl Law {
    /// The law assumed beforehand, for `capacity` in ticks.
    pub(crate) fn new(capacity: f64) -> Law {
        let work = Work {
            waiting: vec![0.0; CLASSES * AGE_BINS],
            all: Waits::new(),
            waits: vec![Waits::new(); WAIT_CLASSES],
            hull: Hull::new(),
        };
        let law = Law { reused: cells(), lost: cells(), index: cells(), work: Mutex::new(work) };
        law.learn(capacity, 0.0, std::iter::empty());
        law
    }

    /// Counts a wait that ended in a use.
    pub(crate) fn reused(&self, class: usize, age: u32, weight: f32) {
        let cell = &self.reused[class * AGE_BINS + bin(age)];
        write(cell, read(cell) + weight);
    }

    /// Counts a wait of which nobody will see the end.
    pub(crate) fn lost(&self, class: usize, age: u32, weight: f32) {
        let cell = &self.lost[class * AGE_BINS + bin(age)];
        write(cell, read(cell) + weight);
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
        for cell in self.reused.iter().chain(&self.lost) {
            let count = read(cell);
            if count != 0.0 {
                // What has nearly gone is let go, so that no time is spent on it.
                write(cell, if count < 1e-3 { 0.0 } else { count * kept });
            }
        }
        let Work { waiting: at_present, all, waits, hull } = &mut *work;
        at_present.fill(0.0);
        for (class, age, count) in waiting {
            at_present[class * AGE_BINS + bin(age)] += count;
        }
        let counted = self.gather(at_present, all, waits);
        all.add(&prior(capacity));
        let mut parent = Waits::new();
        let mut of_class = Waits::new();
        for (wait, sums) in waits.iter_mut().enumerate() {
            parent.inherit(all, PARENT_WEIGHT);
            sums.add(&parent);
            of_class.inherit(sums, PARENT_WEIGHT);
            hull.slopes(&of_class);
            // A class of which nothing is known follows its parent.
            let unknown = (wait..CLASSES).step_by(WAIT_CLASSES).filter(|&class| !counted[class]);
            unknown.for_each(|class| hull.write(&self.index[class * AGE_BINS..][..AGE_BINS]));
            for class in (wait..CLASSES).step_by(WAIT_CLASSES).filter(|&class| counted[class]) {
                of_class.inherit(sums, PARENT_WEIGHT);
                for (age, cell) in (class * AGE_BINS..(class + 1) * AGE_BINS).enumerate() {
                    of_class.reused[age] += read(&self.reused[cell]);
                    of_class.lost[age] += read(&self.lost[cell]) + at_present[cell];
                }
                hull.slopes(&of_class);
                hull.write(&self.index[class * AGE_BINS..][..AGE_BINS]);
            }
        }
    }

    /// Sums the counts over the classes of each wait and over all; tells which classes have any.
    fn gather(&self, waiting: &[f32], all: &mut Waits, waits: &mut [Waits]) -> [bool; CLASSES] {
        for sums in waits.iter_mut().chain([&mut *all]) {
            sums.reused.fill(0.0);
            sums.lost.fill(0.0);
        }
        let mut counted = [false; CLASSES];
        for (class, counted) in counted.iter_mut().enumerate() {
            let sums = &mut waits[class % WAIT_CLASSES];
            for age in 0..AGE_BINS {
                let cell = class * AGE_BINS + age;
                let (reused, lost) = (read(&self.reused[cell]), read(&self.lost[cell]) + waiting[cell]);
                if reused + lost > 0.0 {
                    *counted = true;
                    sums.reused[age] += reused;
                    sums.lost[age] += lost;
                }
            }
        }
        waits.iter().for_each(|sums| all.add(sums));
        counted
    }
}

/// Waits with the same hazard at every age.
fn prior(capacity: f64) -> Waits {
    let mean = capacity.max(1.0) * PRIOR_MEAN_CAPACITIES;
    let mut waits = Waits::new();
    let left = |age: u64| (-(age as f64) / mean).exp();
    for (place, reused) in waits.reused.iter_mut().enumerate() {
        *reused = PRIOR_WEIGHT * (left(lowest(place)) - left(lowest(place + 1))) as f32;
    }
    waits
}

/// Expected hits over expected time in memory, and the slopes of their upper concave hull.
#[derive(Debug)]
struct Hull {
    /// Expected hits, and expected ticks in memory, of an entry that is kept until each age.
    hits: Vec<f64>,
    ticks: Vec<f64>,
    corners: Vec<usize>,
    slopes: Vec<f32>,
}

impl Hull {
    fn new() -> Hull {
        let zeros = || vec![0.0; AGE_BINS + 1];
        Hull {
            hits: zeros(),
            ticks: zeros(),
            corners: Vec::with_capacity(AGE_BINS + 1),
            slopes: vec![0.0; AGE_BINS],
        }
    }

    /// The Gittins index of each age: the most hits a tick that keeping an entry of that age until some later age can
    /// give. It is the slope of the hull to the right of the age.
    fn slopes(&mut self, waits: &Waits) {
        self.expect(waits);
        self.corners.clear();
        self.corners.push(AGE_BINS);
        for age in (0..AGE_BINS).rev() {
            while let [.., beyond, next] = self.corners[..] {
                if self.slope(age, next) > self.slope(next, beyond) {
                    break;
                }
                self.corners.pop();
            }
            let next = self.corners.last().copied().unwrap_or(AGE_BINS);
            self.slopes[age] = self.slope(age, next) as f32;
            self.corners.push(age);
        }
    }

    /// Kaplan and Meier: the hazard of an age is its uses over those that were still waiting, where one that was lost
    /// at that age counts half.
    fn expect(&mut self, waits: &Waits) {
        let mut at_risk: f32 = waits.reused.iter().chain(&waits.lost).sum();
        let (mut hits, mut ticks, mut survival) = (0.0, 0.0, 1.0);
        for age in 0..AGE_BINS {
            let (reused, lost) = (waits.reused[age], waits.lost[age]);
            let hazard = f64::from((reused / (at_risk - lost / 2.0).max(1e-9)).clamp(0.0, 1.0));
            at_risk = (at_risk - reused - lost).max(0.0);
            hits += survival * hazard;
            ticks += survival * (1.0 - hazard / 2.0) * f64::from(width(age));
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
        hull.slopes(&waits);
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
