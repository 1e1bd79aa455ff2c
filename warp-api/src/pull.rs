//! Pull: how much the entries are expected to be used, by a law that is learned from their uses once memory gets short.

mod kept;

use std::cell::Cell;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;
use warp_physics::{Gravity, ORBITS_AN_ENTRY, StoredLaw};

use crate::budget::Standing;
use crate::environment::finalize;
use crate::shared::Shared;

pub(crate) use kept::KeptLaw;

/// Orbits take this part of the budget at most.
const BUDGET_PART: u64 = 32;
const ORBIT_BYTES: u64 = 8;
/// With room for fewer orbits an entry, since entries are small, nothing is learned: masses alone say what they are worth.
const ORBITS_AN_ENTRY_MIN: u64 = 2;
/// Accesses that a thread counts by itself before it tells the others.
const TOLD_EVERY: u64 = 16;
/// Of so many reads of what is in memory one is shown to the law, for all of them.
const SHOWN_ONE_IN: u8 = 8;

/// What is known of the uses of entries, in memory and not. Made when memory gets short: most engines never need it.
#[derive(Debug, Default)]
pub(crate) struct Pull {
    learned: OnceLock<Option<Learned>>,
    /// What an earlier run has learned, until there is somebody to go on with it.
    kept: Mutex<Option<StoredLaw>>,
}

/// The law, and the time by which it goes: accesses since it was made.
#[derive(Debug)]
pub(crate) struct Learned {
    gravity: Gravity,
    accesses: AtomicU64,
    /// Whether the worker was asked to learn, and has not yet.
    is_asked: AtomicBool,
}

thread_local! {
    /// Accesses that this thread has yet to tell. Threads that use several engines mix them up, which is as good.
    static UNTOLD: Cell<u64> = const { Cell::new(0) };
}

impl Pull {
    /// Memory gets short: begins to learn, if that `is_on`, with `entries` that fit into `budget` bytes, if they are large enough
    /// for that.
    fn begin(&self, is_on: bool, entries: u64, budget: u64) {
        self.learned.get_or_init(|| {
            let orbits =
                (budget / BUDGET_PART / ORBIT_BYTES).min(entries.saturating_mul(ORBITS_AN_ENTRY as u64));
            let (entries, count) = (usize::try_from(entries).ok()?, usize::try_from(orbits).ok()?);
            (is_on && orbits >= ORBITS_AN_ENTRY_MIN * entries as u64).then(|| Learned {
                gravity: Gravity::new(entries, count),
                accesses: AtomicU64::new(0),
                is_asked: AtomicBool::new(false),
            })
        });
        self.hand_over();
    }

    /// Whether memory has become short.
    #[inline]
    pub(crate) fn has_begun(&self) -> bool {
        self.learned.get().is_some()
    }

    /// What was learned; `None` while there is room, or where entries are too small for it.
    #[inline]
    pub(crate) fn learned(&self) -> Option<&Learned> {
        self.learned.get()?.as_ref()
    }

    /// Bytes of memory that it takes.
    pub(crate) fn bytes(&self) -> u64 {
        let kept = self.kept.lock().as_ref().map_or(0, StoredLaw::bytes);
        self.learned().map_or(0, |learned| learned.gravity.bytes() as u64) + kept as u64
    }
}

impl Learned {
    fn now(&self) -> u64 {
        self.accesses.load(Ordering::Relaxed) + UNTOLD.get()
    }

    /// The time of the next access.
    fn next(&self) -> u64 {
        let untold = UNTOLD.get() + 1;
        if untold < TOLD_EVERY {
            UNTOLD.set(untold);
            return self.accesses.load(Ordering::Relaxed) + untold;
        }
        UNTOLD.set(0);
        self.accesses.fetch_add(untold, Ordering::Relaxed) + untold
    }

    /// Takes note of a read of an entry in memory, whose heat says how often it was used.
    pub(crate) fn read(&self, hash: u64, mass: u32) {
        let now = self.next();
        // Until much was seen everything counts.
        let count = if self.gravity.is_settled() {
            let is_shown = (finalize(now) >> 32).is_multiple_of(u64::from(SHOWN_ONE_IN));
            if is_shown { f32::from(SHOWN_ONE_IN) } else { 0.0 }
        } else {
            1.0
        };
        self.gravity.used(hash, now, mass, count);
    }

    /// Takes note of a read from a layer, or of a write. Returns whether anything was remembered of the key.
    pub(crate) fn used(&self, hash: u64) -> bool {
        self.gravity.used(hash, self.next(), 0, 1.0)
    }

    /// Forgets the uses of a key, of which its writer has said what they will be.
    pub(crate) fn forget(&self, hash: u64) {
        self.gravity.forget(hash);
    }

    /// The uses to be expected of a key; of one of which nothing is remembered, as its heat says.
    pub(crate) fn of(&self, hash: u64, mass: u32) -> f64 {
        self.gravity.pull(hash, self.now(), mass)
    }

    /// Whether enough was seen for a tie to mean anything.
    pub(crate) fn is_settled(&self) -> bool {
        self.gravity.is_settled()
    }
}

impl Shared {
    /// Begins to learn which entries are worth their memory.
    pub(crate) fn begin_pull(&self, standing: Standing) {
        let is_on = self.options.physics.horizon;
        self.residency.pull.begin(is_on, self.entries_that_fit(standing), self.budget.limit());
    }

    /// Has the worker learn, if it is time to.
    pub(crate) fn want_law(&self) {
        let Some(learned) = self.residency.pull.learned() else { return };
        if learned.gravity.is_due(learned.now()) && !learned.is_asked.swap(true, Ordering::Relaxed) {
            self.order_law();
        }
    }

    /// The worker's part: derives the law anew, if it is time to.
    pub(crate) fn learn_law(&self) {
        let Some(learned) = self.residency.pull.learned() else { return };
        let now = learned.now();
        if learned.gravity.is_due(now) {
            let entries = self.entries_that_fit(self.memory_standing()).max(1);
            let entries = usize::try_from(entries).unwrap_or(usize::MAX);
            learned.gravity.learn(now, entries, finalize(now));
        }
        learned.is_asked.store(false, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_learned_of_small_entries_and_the_rest_takes_a_part_of_the_budget() {
        let pull = Pull::default();
        pull.begin(true, 100_000, 16 << 20);
        assert!(pull.has_begun() && pull.learned().is_none() && pull.bytes() == 0);
        let pull = Pull::default();
        pull.begin(false, 4_000, 16 << 20);
        assert!(pull.has_begun() && pull.learned().is_none());
        let pull = Pull::default();
        pull.begin(true, 4_000, 16 << 20);
        // The law takes the same, whatever the number of entries.
        assert!((150_000..600_000).contains(&pull.bytes()), "{} bytes", pull.bytes());
        let large = Pull::default();
        large.begin(true, 300_000, 256 << 20);
        assert!(large.bytes() < (256 << 20) / 32 + 500_000, "{} bytes", large.bytes());
    }

    #[test]
    fn time_passes_with_every_access_of_any_thread() {
        let pull = Pull::default();
        pull.begin(true, 1_000, 64 << 20);
        let learned = pull.learned().unwrap();
        let times: Vec<u64> = (0..100)
            .map(|hash| {
                learned.read(hash, 1);
                learned.now()
            })
            .collect();
        assert!(times.windows(2).all(|pair| pair[1] == pair[0] + 1), "{times:?}");
        std::thread::scope(|scope| {
            scope.spawn(|| (0..160).for_each(|hash| _ = learned.used(hash)));
        });
        assert!(learned.now() >= times[99] + 160);
    }
}
