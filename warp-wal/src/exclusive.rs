//! Groups that are too large for the segments that there are.
//!
//! While space for one of them is made nobody else is admitted, and everything that was admitted is written: then
//! segments can change places, and all space is counted afresh.

use crate::sync::atomic::Ordering;
use std::collections::VecDeque;

use crate::admission::Charge;
use crate::encoded::Encoded;
use crate::error::{Error, Result};
use crate::format::{
    BLOCK_BYTES, GROUPS_PER_SEGMENT_MIN, SEGMENT_GROWTH, SEGMENT_OVERHEAD_BLOCKS, usable_blocks,
};
use crate::log::Log;
use crate::permit::Permit;
use crate::prepare::{Prepared, Preparer, total};
use crate::writer::{Active, Writer};

impl Log {
    /// Prepares for a group above [`Log::group_blocks_max`]: either segments that are larger from here on, so
    /// that it is an ordinary one (`None`), or a segment of its own, whose space is taken for it alone.
    pub(crate) fn make_exclusive(
        &self,
        encoded: &Encoded,
        charge: Charge,
        wait: bool,
    ) -> Result<Option<Permit<'_>>> {
        let mut preparer =
            if wait { self.preparer.lock() } else { self.preparer.try_lock().ok_or(Error::Busy)? };
        if charge.blocks <= self.group_blocks_max() {
            return Ok(None);
        }
        let plan = Plan::new(charge.blocks, self.group_blocks_max(), self.options.segment_bytes);
        let mut fresh = self.make_segments(&mut preparer, &plan)?;
        if let Err(error) = self.wait_until_quiet(wait) {
            fresh.iter().for_each(|segment| preparer.discard(segment));
            return Err(error);
        }
        let mut writer = self.writer.lock();
        // Segments that were prepared before have lower numbers: those that are large enough get new ones.
        self.keep_ready(&mut preparer, &plan, &mut fresh)?;
        let active = fresh.pop_front().ok_or(Error::Full)?;
        let waste_blocks = if plan.own { 0 } else { plan.group_blocks_max.saturating_sub(1) };
        let active = Active::new(active, waste_blocks, writer.consumer.seq());
        self.switch_to(&mut writer, active);
        self.group_blocks_max.store(plan.group_blocks_max, Ordering::Release);
        self.kept_blocks.store(usable_blocks(plan.reserve_bytes(), plan.group_blocks_max), Ordering::Release);
        *self.ready.lock() = fresh;
        self.count_blocks(&writer);
        if !plan.own {
            self.admission.open_gate();
            self.room.notify();
            return Ok(None);
        }
        let others = self.admission.free_blocks().saturating_sub(charge.blocks);
        self.admission.set_blocks(others);
        self.admission.take_words_behind_gate(charge.words);
        let large = self.copy_if_large(encoded);
        Ok(Some(Permit { log: self, charge, bytes: encoded.len(), large, exclusive: true }))
    }

    /// The segment that the plan asks for, and one behind it if those that are ready are too small.
    fn make_segments(&self, preparer: &mut Preparer, plan: &Plan) -> Result<VecDeque<Prepared>> {
        self.check_alive()?;
        self.check_retry(preparer)?;
        let mut fresh = VecDeque::new();
        let enough = self.ready.lock().iter().any(|segment| plan.is_large_enough(segment));
        let sizes = [Some(plan.bytes), (!enough).then_some(plan.reserve_bytes())];
        for bytes in sizes.into_iter().flatten() {
            match preparer.make(bytes) {
                Ok(segment) => fresh.push_back(segment),
                Err(error) => {
                    fresh.iter().for_each(|segment| preparer.discard(segment));
                    return Err(self.preparing_failed(preparer, error));
                }
            }
        }
        preparer.next_bytes = preparer.next_bytes.max(plan.reserve_bytes());
        Ok(fresh)
    }

    /// Moves the segments that are ready behind the fresh ones, as far as they are large enough.
    fn keep_ready(&self, preparer: &mut Preparer, plan: &Plan, fresh: &mut VecDeque<Prepared>) -> Result<()> {
        let mut ready = std::mem::take(&mut *self.ready.lock());
        for mut segment in ready.drain(..) {
            if plan.is_large_enough(&segment) {
                preparer.renumber(&mut segment).map_err(|error| self.fail(error))?;
                fresh.push_back(segment);
            } else {
                preparer.discard(&segment);
            }
        }
        preparer.sync_names().map_err(|error| self.fail(error))
    }

    /// Shuts the gate, and waits until everything that was admitted is written. After an error the gate is as it was:
    /// somebody's exclusive permit may hold it shut.
    pub(crate) fn wait_until_quiet(&self, wait: bool) -> Result<()> {
        let mut is_ours = self.admission.shut_gate();
        loop {
            let drained = self.drain(&mut self.writer.lock());
            if drained.is_ok() && self.admission.is_quiet() {
                return Ok(());
            }
            if drained.is_err() || !wait {
                if is_ours {
                    self.admission.open_gate();
                    self.room.notify();
                }
                return drained.and(Err(Error::Busy));
            }
            self.room.wait();
            // Who used or dropped an exclusive permit meanwhile has opened it.
            is_ours |= self.admission.shut_gate();
        }
    }

    /// The segment that was made for one group becomes an ordinary one.
    pub(crate) fn give_up_exclusive(&self, charge: Charge) {
        let mut writer = self.writer.lock();
        writer.active.waste_blocks = self.group_blocks_max().saturating_sub(1);
        self.count_blocks(&writer);
        // In this order: with the gate shut and everything back, others would take the log for quiet.
        self.admission.open_gate();
        self.admission.give(Charge { words: charge.words, blocks: 0 });
    }

    /// Counts the blocks that can be admitted afresh. Only while nobody is admitted.
    pub(crate) fn count_blocks(&self, writer: &Writer) {
        let max = self.group_blocks_max();
        // Held on, so that a segment that becomes ready meanwhile is counted once.
        let ready = self.ready.lock();
        let blocks = total(&ready, |segment| usable_blocks(segment.capacity, max));
        self.admission.set_blocks(blocks + writer.active.usable_blocks());
    }
}

/// What is needed for a group that is too large for the segments that there are.
struct Plan {
    /// Size of the segment to make.
    bytes: u64,
    /// Whether that segment is for this group alone.
    own: bool,
    /// The largest ordinary group from here on, in blocks.
    group_blocks_max: u64,
}

impl Plan {
    fn new(group_blocks: u64, group_blocks_max: u64, segment_bytes_max: u64) -> Plan {
        let mut bytes = group_blocks_max * GROUPS_PER_SEGMENT_MIN * BLOCK_BYTES;
        while bytes < segment_bytes_max {
            bytes = bytes.saturating_mul(SEGMENT_GROWTH).min(segment_bytes_max);
            let max = bytes / BLOCK_BYTES / GROUPS_PER_SEGMENT_MIN;
            if group_blocks <= max {
                return Plan { bytes, own: false, group_blocks_max: max };
            }
        }
        let bytes = (SEGMENT_OVERHEAD_BLOCKS + group_blocks) * BLOCK_BYTES;
        Plan { bytes, own: true, group_blocks_max }
    }

    /// The smallest segment that ordinary groups can be admitted against.
    fn reserve_bytes(&self) -> u64 {
        self.group_blocks_max * GROUPS_PER_SEGMENT_MIN * BLOCK_BYTES
    }

    fn is_large_enough(&self, segment: &Prepared) -> bool {
        segment.capacity >= self.reserve_bytes()
    }
}
