//! Advice by chance.

use std::time::Duration;

use parking_lot::Mutex;
use warp_api::{
    AccessPattern, Advice, Demon, Durability, Laws, MEMORY_BUDGET_MIN, Physics, Priority, PutOptions,
    Strategy,
};
use warp_physics::{Body, Fall, Plan, ReadCosts, plan_moves};

use crate::common::Random;

/// The questions of [`Advice`], in its order.
pub(crate) const QUESTIONS: [&str; 7] =
    ["layout", "promote", "prefetch", "fall", "fetch", "fetch_related", "moves"];

/// Answers all of them by chance, now and then not even well-formed.
#[derive(Debug)]
pub(crate) struct RandomAdvice {
    random: Mutex<Random>,
    asked: Mutex<[u32; QUESTIONS.len()]>,
    /// Whether some worths are no numbers, or infinite: prices are neither from then on.
    is_wild: bool,
}

impl RandomAdvice {
    pub(crate) fn new(seed: u64, is_wild: bool) -> RandomAdvice {
        RandomAdvice { random: Mutex::new(Random(seed)), asked: Mutex::default(), is_wild }
    }

    pub(crate) fn asked(&self) -> [u32; QUESTIONS.len()] {
        *self.asked.lock()
    }

    fn answer<T>(&self, question: usize, answer: impl FnOnce(&mut Random) -> T) -> T {
        self.asked.lock()[question] += 1;
        answer(&mut self.random.lock())
    }
}

impl Advice for RandomAdvice {
    fn layout(&self, count: usize, _: &mut dyn FnMut(usize) -> Vec<usize>) -> Vec<usize> {
        self.answer(0, |random| {
            let mut order: Vec<usize> = (0..count).collect();
            for place in (1..count).rev() {
                order.swap(place, random.below(place as u64 + 1) as usize);
            }
            match random.below(4) {
                0 => order.iter().map(|_| 0).collect(),
                1 => Vec::new(),
                _ => order,
            }
        })
    }

    fn promote(&self, _: &[u8]) -> bool {
        self.answer(1, |random| !random.one_in(3))
    }

    fn prefetch(&self, count: usize, _: Duration) -> Vec<usize> {
        self.answer(2, |random| {
            (0..random.below(20)).map(|_| random.below(2 * count as u64 + 1) as usize).collect()
        })
    }

    fn fall(&self, _: Body, _: ReadCosts) -> (Fall, f64) {
        self.answer(3, |random| {
            let way = random.pick(&[Fall::Pack, Fall::Leave]);
            let wild = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY];
            let worth = if self.is_wild && random.one_in(1_000) {
                random.pick(&wild)
            } else {
                100.0 * random.share() - 10.0
            };
            (way, worth)
        })
    }

    fn fetch(&self, known: usize, partners: &mut Vec<u32>) {
        self.answer(4, |random| {
            if random.one_in(4) {
                partners.clear();
            }
            partners.extend((0..random.below(4)).map(|_| random.below(known as u64 + 2) as u32));
            if random.one_in(8) {
                partners.push(u32::MAX);
            }
        });
    }

    fn fetch_related(&self, _: Duration) -> bool {
        self.answer(5, |random| random.one_in(2))
    }

    fn moves(&self, load: &[f64], _: &[u16], shards: u16, _: Strategy) -> Plan {
        self.answer(6, |random| {
            // As for a load and places that are others than those that there are.
            let load: Vec<f64> = load.iter().map(|_| random.share()).collect();
            let places: Vec<u16> = load.iter().map(|_| random.below(u64::from(shards)) as u16 / 4).collect();
            let mut plan = plan_moves(&load, &places, shards, Strategy::Aggressive);
            for step in &mut plan.moves {
                if random.one_in(16) {
                    step.slot = random.next() as usize;
                } else if random.one_in(16) {
                    step.to = random.next() as u16;
                }
            }
            plan.entropy_after = Some(2.0);
            plan
        })
    }
}

/// Settings of advice by chance, but for those that are part of answers.
pub(crate) fn physics(random: &mut Random, demon: Demon, wormholes_learned: usize) -> Physics {
    Physics {
        entanglement: random.one_in(2),
        entropy: random.one_in(2),
        gravity: !random.one_in(4),
        horizon: random.one_in(2),
        promotion_price: random.pick(&[-1.0, 0.1, 2.0, 50.0]),
        warm_start: !random.one_in(8),
        learning: !random.one_in(8),
        learning_bytes: random.pick(&[60_000, 4 << 20]),
        learning_every: random.pick(&[1, 64, 500]),
        prefetch_bytes: random.pick(&[0, 100_000, 64 << 20, 64 << 20]),
        demon,
        rebalance_below: random.share(),
        wormholes_learned,
        half_life: random.pick(&[
            Duration::ZERO,
            Duration::from_millis(1),
            Duration::from_secs(1),
            Duration::from_secs(60),
        ]),
        laws: !random.one_in(4),
    }
}

/// Says by chance how a value that is put will be used.
pub(crate) fn hinted(random: &mut Random, options: PutOptions) -> PutOptions {
    let patterns = [AccessPattern::Hot, AccessPattern::Warm, AccessPattern::Cold, AccessPattern::Balanced];
    let priorities =
        [Priority::Critical, Priority::High, Priority::Normal, Priority::Low, Priority::Background];
    let mut options = options;
    if random.one_in(2) {
        options = options.access_pattern(random.pick(&patterns));
    }
    if random.one_in(2) {
        options = options.priority(random.pick(&priorities));
    }
    if random.one_in(4) {
        options = options.pin(random.one_in(2));
    }
    options
}

/// Laws by chance, never the same twice: such as are set already would not be written.
pub(crate) fn laws(random: &mut Random) -> Laws {
    let durability = random.pick(&[Durability::Sync, Durability::Interval, Durability::Os]);
    let capacity = random.pick(&[0, MEMORY_BUDGET_MIN, 1 << 40]);
    Laws {
        durability: random.one_in(2).then_some(durability),
        pace: 16.0 * random.share() * f64::from(u8::from(!random.one_in(4))),
        capacity_bytes: random.one_in(2).then_some(capacity),
        entropy_limit: Some(random.share()),
    }
}
