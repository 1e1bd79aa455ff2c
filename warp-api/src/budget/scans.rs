//! What scans take of the memory budget: the order of keys, and what they have read ahead.

use std::sync::atomic::Ordering;

use crate::budget::{Budget, Counted, Standing, Waited, full};
use crate::error::{Error, ErrorKind, Result};
use crate::shared::Shared;

/// What all orders of keys may take, and what it may take to build one, as a part of the budget each.
const ORDERS_PART: u64 = 2;
const ORDER_WORK_PART: u64 = 8;
/// What values take that scans have read ahead, as a part of the budget: those of all scans, and of one chunk.
const SCANNED_PART: u64 = 32;
const SCANNED_CHUNK_PART: u64 = 64;
/// Entries that fall at once for an order are so many bytes; once it was so many, free memory is gathered and given back.
const ORDER_STEP: u64 = 1 << 20;
const ORDER_GATHERED: u64 = 8 << 20;
/// Rounds in which something falls for an order, before it is told that others take all that is freed: so many, and as many
/// times those that it would take if it were alone.
const ORDER_ROUNDS_MIN: u64 = 1_000;
const ORDER_ROUNDS_TIMES: u64 = 4;
/// So often an order waits for free memory to be given back...
const GATHERED_ROUNDS_MAX: u32 = 30;
/// ...and in all, while others take what is freed.
const WAITS_MAX: u32 = 2_000;

/// What an order has waited for, since nothing fell for it any more.
#[derive(Default)]
struct OrderWaits {
    /// So often enough was free, and had to be given back.
    gathered: u32,
    /// So often it was not.
    others: u32,
    waited: Waited,
}

impl Budget {
    /// What all orders of keys may take.
    pub(crate) fn orders_max(&self) -> u64 {
        self.limit() / ORDERS_PART
    }

    /// What may be taken beside the result while an order is built.
    pub(crate) fn order_work_max(&self) -> u64 {
        self.limit() / ORDER_WORK_PART
    }

    /// Whether what is free, given back, would make room where more is held than may be.
    fn is_enough_free(&self, standing: Standing) -> bool {
        standing.spare >= standing.held.saturating_sub(self.room_below())
    }

    /// What scans have read ahead.
    #[cfg(test)]
    pub(crate) fn scanned(&self) -> u64 {
        self.scanned.load(Ordering::Relaxed)
    }

    /// Takes what the values may take that a scan reads ahead now; what it does not need it gives back by
    /// [`Budget::scan_holds`].
    pub(crate) fn take_for_scan(&self) -> u64 {
        let (all, one) = (self.limit() / SCANNED_PART, self.limit() / SCANNED_CHUNK_PART);
        let share = |held: u64| all.saturating_sub(held).min(one);
        let held =
            self.scanned.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |held| Some(held + share(held)));
        share(held.unwrap_or_default())
    }

    /// A scan has read so many bytes ahead instead of so many.
    pub(crate) fn scan_holds(&self, before: u64, now: u64) {
        self.scanned.fetch_add(now.wrapping_sub(before), Ordering::Relaxed);
    }
}

impl Shared {
    /// Makes room for an order of keys that will take `lasting` bytes, and `work` more until it is built. Returns once they
    /// are there; from then on they are counted as long as the answer lives.
    ///
    /// # Errors
    /// `Full` if all orders together would take more than they may, if what is in memory cannot leave it, or if others take
    /// what is freed; `Closed`.
    pub(crate) fn admit_order(&self, lasting: u64, work: u64) -> Result<Counted<'_>> {
        let budget = &self.budget;
        if (self.order_bytes() as u64).saturating_add(lasting) > budget.orders_max() {
            return Err(full(
                "the order of the keys, which a scan needs, would take more than half of the memory budget",
            ));
        }
        let room = Counted::new(&budget.ordering, lasting.saturating_add(work));
        let (mut rounds_left, mut fallen, mut waits) = (None, 0, OrderWaits::default());
        loop {
            self.check_open()?;
            // Counted as held by now; and it does not come from what the table has free.
            let standing = self.memory_standing();
            let above = standing.held.saturating_sub(budget.room_below());
            if above == 0 {
                return Ok(room);
            }
            self.want_memory();
            self.table.collect();
            let fell = self.let_fall(above.min(ORDER_STEP));
            fallen += fell;
            if fell == 0 || fallen >= above.min(ORDER_GATHERED) {
                if self.table.shrink() == 0 && fell == 0 && budget.is_enough_free(standing) {
                    self.table.compact();
                }
                self.table.discard_free();
                fallen = 0;
            }
            // What is free is given back in several turns.
            let after = self.memory_standing();
            if fell == 0 && after.held > budget.room_below() && after.held >= standing.held {
                self.wait_for_order(after, &mut waits)?;
                continue;
            }
            let left = rounds_left.get_or_insert(ORDER_ROUNDS_MIN + above / ORDER_STEP * ORDER_ROUNDS_TIMES);
            if *left == 0 {
                return Err(others_take_all());
            }
            *left -= 1;
        }
    }

    /// Waits where nothing falls any more, and more is held than may be.
    fn wait_for_order(&self, standing: Standing, waits: &mut OrderWaits) -> Result<()> {
        let is_free = self.budget.is_enough_free(standing);
        if is_free && waits.gathered < GATHERED_ROUNDS_MAX && self.running.load(Ordering::Relaxed) > 0 {
            // The worker may be at gathering it, or look at what is to be freed.
            waits.gathered += 1;
            self.wake_worker();
            self.budget.wait();
            return Ok(());
        }
        waits.others += 1;
        if waits.others > WAITS_MAX {
            return Err(others_take_all());
        }
        self.wait_for_memory(false, &mut waits.waited).map_err(|error| match error.kind() {
            ErrorKind::Closed => error,
            // Also where nobody may write, which is no reason that a scan knows.
            _ => full("the memory budget has no room for the order of the keys").caused_by(error),
        })
    }

    /// Counts the orders of keys anew, before the worker's next look.
    pub(crate) fn count_orders(&self) {
        self.budget.beside.store(self.memory_beside_table(), Ordering::Relaxed);
    }
}

fn others_take_all() -> Error {
    full("others take all memory that is freed for the order of the keys")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::environment::{Background, Environment};
    use crate::options::{Options, WhenFull};

    /// Whoever closes the engine does not wait for a scan, and nothing leaves memory for it any more.
    #[test]
    fn no_room_is_made_for_an_order_once_the_engine_is_closed() {
        const BUDGET: u64 = 24 << 20;
        let options = Options::new().memory_budget(BUDGET).when_full(WhenFull::Evict);
        // A worker would let entries fall as well.
        let environment = Environment { background: Background::Stepped, ..Environment::default() };
        let engine = crate::open::in_memory(options, environment);
        for number in 0..30_000_u32 {
            engine.put(number.to_le_bytes(), [1; 1000]).unwrap();
        }
        let shared = engine.space().shared;
        assert!(shared.memory_standing().held > BUDGET / 2);
        let before = engine.cosmic_metrics().residency.evicted;
        shared.closed.store(true, Ordering::Relaxed);
        let refused = shared.admit_order(0, BUDGET / 2).map(drop).map_err(|error| error.kind());
        shared.closed.store(false, Ordering::Relaxed);
        assert_eq!(refused, Err(ErrorKind::Closed));
        assert_eq!(engine.cosmic_metrics().residency.evicted, before);
    }
}
