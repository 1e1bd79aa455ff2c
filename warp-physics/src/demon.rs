//! Which slots to move so that the heaviest shard carries less: Maxwell's demon, who sorts.

use serde::Serialize;

use crate::entropy::{max_over_mean, normalized_entropy};

/// Shards whose loads differ by less than this share of the mean load are even enough.
const GAP_MIN: f64 = 0.02;
/// A move lowers the higher of the two loads that it touches by at least this share of the mean load: less is not worth a
/// log entry.
const GAIN_MIN: f64 = 0.0002;

/// How much is moved at a time.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, Serialize)]
pub enum Strategy {
    /// At most a move for every four shards.
    Minimal,
    /// At most one a shard.
    Moderate,
    /// At most four a shard.
    Aggressive,
}

impl Strategy {
    /// The most moves in one plan for so many shards.
    #[must_use]
    pub fn moves_max(self, shards: usize) -> usize {
        match self {
            Strategy::Minimal => shards.div_ceil(4),
            Strategy::Moderate => shards,
            Strategy::Aggressive => 4 * shards,
        }
    }
}

/// A slot that goes from one shard to another.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct SlotMove {
    /// Which slot.
    pub slot: usize,
    /// The shard that it is on.
    pub from: u16,
    /// The shard that it goes to.
    pub to: u16,
}

/// Slots to move, and what that does to the load that the plan was made for.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Plan {
    /// In the order in which to make them. Each lowers the higher load of the two shards that it touches.
    pub moves: Vec<SlotMove>,
    /// Evenness of the load over shards before: [`normalized_entropy`], `None` without load.
    pub entropy_before: Option<f64>,
    /// The same load, placed as the plan says.
    pub entropy_after: Option<f64>,
    /// The highest load over the mean before.
    pub max_over_mean_before: Option<f64>,
    /// And after.
    pub max_over_mean_after: Option<f64>,
}

/// Planner of bounded slot moves that lower the heaviest shard: greedy number partitioning by steps.
///
/// `load[slot]` is what a slot carries, and `shard_of[slot]` which of the `shards` it is on. Each step takes the heaviest
/// shard and the lightest, and of the first one's slots the one whose load is nearest to half of the difference; it
/// is moved only while they differ by two percent of the mean. A shard that no such step can lower - one slot
/// alone is too much - is set aside, and the rest made even. So for an unchanged load the sum of the squares of all shards' loads falls with every move: plans made one
/// after the other come to an end, and never go back and forth.
///
/// ```
/// use warp_physics::{Strategy, plan_moves};
///
/// // Two hot slots on one of two shards.
/// let plan = plan_moves(&[8.0, 1.0, 8.0, 1.0], &[0, 1, 0, 1], 2, Strategy::Aggressive);
/// assert_eq!(plan.moves.len(), 2); // a hot one goes, and a cold one comes back
/// assert_eq!((plan.max_over_mean_before, plan.max_over_mean_after), (Some(16.0 / 9.0), Some(1.0)));
/// ```
#[must_use]
pub fn plan_moves(load: &[f64], shard_of: &[u16], shards: u16, strategy: Strategy) -> Plan {
    let mut placed = Placed::new(load, shard_of, shards);
    let before = placed.shards.clone();
    let mean = before.iter().sum::<f64>() / f64::from(shards.max(1));
    let mut moves = Vec::new();
    let mut is_open = vec![true; before.len()];
    while moves.len() < strategy.moves_max(before.len()) {
        let open = || (0..before.len()).filter(|shard| is_open[*shard]);
        let by_load = |a: &usize, b: &usize| placed.shards[*a].total_cmp(&placed.shards[*b]);
        let (Some(heavy), Some(light)) = (open().max_by(by_load), open().min_by(by_load)) else { break };
        match placed.best_step(heavy, light, mean) {
            Some(place) => moves.push(placed.step(place, heavy, light)),
            None => is_open[heavy] = false,
        }
    }
    Plan {
        moves,
        entropy_before: normalized_entropy(&before),
        entropy_after: normalized_entropy(&placed.shards),
        max_over_mean_before: max_over_mean(&before),
        max_over_mean_after: max_over_mean(&placed.shards),
    }
}

/// How much of the imbalance `1 - H` of so many operations over so many shards is mere chance, if all shards are equally
/// likely: `(N - 1) / (2 ln N * operations)`.
#[must_use]
pub fn imbalance_by_chance(shards: usize, operations: f64) -> f64 {
    let shards = shards as f64;
    if shards < 2.0 || operations <= 0.0 { 0.0 } else { (shards - 1.0) / (2.0 * shards.ln() * operations) }
}

/// Slots by the shard they are on.
struct Placed<'a> {
    load: &'a [f64],
    shards: Vec<f64>,
    slots: Vec<Vec<usize>>,
}

impl<'a> Placed<'a> {
    fn new(load: &'a [f64], shard_of: &[u16], shards: u16) -> Placed<'a> {
        let count = usize::from(shards);
        let mut placed = Placed { load, shards: vec![0.0; count], slots: vec![Vec::new(); count] };
        for (slot, shard) in (0..load.len()).zip(shard_of) {
            if let Some(slots) = placed.slots.get_mut(usize::from(*shard))
                && load[slot].is_finite()
                && load[slot] > 0.0
            {
                placed.shards[usize::from(*shard)] += load[slot];
                slots.push(slot);
            }
        }
        placed
    }

    /// Which of the heavy shard's slots to give to the light one, by its place; `None` if none gains enough.
    fn best_step(&self, heavy: usize, light: usize, mean: f64) -> Option<usize> {
        let gap = self.shards[heavy] - self.shards[light];
        // The higher load after it is gap - x or x above the light one's; it was gap.
        let gain = |place: &usize| {
            let moved = self.load[self.slots[heavy][*place]];
            gap - moved.max(gap - moved)
        };
        let best = (0..self.slots[heavy].len()).max_by(|a, b| gain(a).total_cmp(&gain(b)))?;
        (gap > mean * GAP_MIN && gain(&best) > mean * GAIN_MIN).then_some(best)
    }

    fn step(&mut self, place: usize, heavy: usize, light: usize) -> SlotMove {
        let slot = self.slots[heavy].swap_remove(place);
        self.slots[light].push(slot);
        self.shards[heavy] -= self.load[slot];
        self.shards[light] += self.load[slot];
        let shard = |index: usize| u16::try_from(index).expect("there are as many shards as a u16 counts");
        SlotMove { slot, from: shard(heavy), to: shard(light) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Zipf-like loads over slots, scattered.
    fn skewed(slots: usize) -> Vec<f64> {
        (0..slots).map(|slot| 1e6 / (1 + slot * 2_654_435_761 % slots) as f64).collect()
    }

    fn home(slots: usize, shards: u16) -> Vec<u16> {
        (0..slots).map(|slot| u16::try_from(slot % usize::from(shards)).unwrap()).collect()
    }

    fn carry_out(plan: &Plan, shard_of: &mut [u16]) {
        for step in &plan.moves {
            assert_eq!(shard_of[step.slot], step.from);
            shard_of[step.slot] = step.to;
        }
    }

    #[test]
    fn the_heaviest_shard_comes_near_its_bound_and_then_nothing_moves() {
        for shards in [2, 8, 16, 64] {
            let load = skewed(4096);
            let mut shard_of = home(4096, shards);
            let mut last = None;
            for _ in 0..40 {
                let plan = plan_moves(&load, &shard_of, shards, Strategy::Aggressive);
                carry_out(&plan, &mut shard_of);
                // Sums of the same loads in another order differ in their last bits.
                assert!(plan.max_over_mean_after.unwrap() < plan.max_over_mean_before.unwrap() + 1e-9);
                last = Some(plan);
            }
            let plan = last.unwrap();
            assert!(plan.moves.is_empty(), "{shards} shards: {} moves after many plans", plan.moves.len());
            let heaviest = load.iter().copied().fold(0.0, f64::max) / load.iter().sum::<f64>();
            let bound = (heaviest * f64::from(shards)).max(1.0);
            assert!(
                plan.max_over_mean_after.unwrap() <= 1.02 * bound,
                "{shards} shards, bound {bound}: {plan:?}"
            );
        }
    }

    #[test]
    fn a_slot_that_is_too_much_for_one_shard_gets_it_alone() {
        let mut load = vec![1.0; 64];
        load[0] = 1_000.0;
        let mut shard_of = home(64, 4);
        let plan = plan_moves(&load, &shard_of, 4, Strategy::Aggressive);
        carry_out(&plan, &mut shard_of);
        let others = (1..64).filter(|slot| shard_of[*slot] == shard_of[0]).count();
        assert!(others == 0 && plan.entropy_after >= plan.entropy_before, "{others}");
        assert!(plan_moves(&load, &shard_of, 4, Strategy::Aggressive).moves.is_empty());
    }

    #[test]
    fn plans_are_bounded_and_nothing_is_made_of_nothing() {
        let load: Vec<f64> = (0..64).map(|slot| if slot < 32 { 9.0 } else { 1.0 }).collect();
        let shard_of: Vec<u16> = (0..64).map(|slot| slot / 8).collect();
        let count = |strategy| plan_moves(&load, &shard_of, 8, strategy).moves.len();
        assert_eq!((count(Strategy::Minimal), count(Strategy::Moderate)), (2, 8));
        assert!(plan_moves(&[0.0; 8], &[0; 8], 2, Strategy::Moderate).moves.is_empty());
        assert!(plan_moves(&[f64::NAN; 8], &[0; 8], 2, Strategy::Moderate).moves.is_empty());
        assert!(plan_moves(&[1.0; 8], &[9; 8], 2, Strategy::Moderate).moves.is_empty());
        assert_eq!(plan_moves(&[], &[], 0, Strategy::Moderate).entropy_after, None);
    }

    #[test]
    fn chance_is_what_equal_shards_show() {
        // A hundred thousand draws of 64 equally likely shards.
        let (mut state, mut load) = (1_u64, vec![0.0; 64]);
        for _ in 0..100_000 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            load[(state >> 58) as usize] += 1.0;
        }
        let found = 1.0 - normalized_entropy(&load).unwrap();
        let expected = imbalance_by_chance(64, 100_000.0);
        assert!(found < 2.0 * expected && found > 0.5 * expected, "{found}, about {expected}");
    }
}
