//! With all advice replaced by random advice, the same workload gives the same answers.

#![allow(
    clippy::cast_possible_truncation,
    clippy::unwrap_used,
    reason = "a test that cannot go on says so by a panic, and its numbers are small"
)]

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::{Machine, small};
use parking_lot::Mutex;
use warp_api::{Advice, Environment, Options, WarpEngine, WriteBatch};

/// A `SplitMix64` step.
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut bits = *state;
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    bits ^ (bits >> 31)
}

/// Advice by chance, now and then not even well-formed.
#[derive(Debug)]
struct RandomAdvice {
    state: Mutex<u64>,
    asked: Mutex<[u32; 3]>,
}

impl RandomAdvice {
    fn new(seed: u64) -> RandomAdvice {
        RandomAdvice { state: Mutex::new(seed), asked: Mutex::new([0; 3]) }
    }

    fn next(&self, question: usize) -> u64 {
        self.asked.lock()[question] += 1;
        next(&mut self.state.lock())
    }
}

impl Advice for RandomAdvice {
    fn layout(&self, count: usize, _: &mut dyn FnMut(usize) -> Vec<usize>) -> Vec<usize> {
        let mut order: Vec<usize> = (0..count).collect();
        for place in (1..count).rev() {
            order.swap(place, (self.next(0) % (place as u64 + 1)) as usize);
        }
        match self.next(0) % 4 {
            0 => order.iter().map(|_| 0).collect(),
            1 => Vec::new(),
            _ => order,
        }
    }

    fn promote(&self, _: &[u8]) -> bool {
        self.next(1).is_multiple_of(2)
    }

    fn prefetch(&self, count: usize, _: Duration) -> Vec<usize> {
        (0..self.next(2) % 20).map(|_| (self.next(2) % (2 * count as u64 + 1)) as usize).collect()
    }
}

/// Every answer that a mixed workload gets, in order.
fn answers(advice: Option<Arc<dyn Advice>>, options: Options) -> Vec<String> {
    let machine = Machine::new(1);
    let environment = || Environment { advice: advice.clone(), ..machine.environment() };
    let open = || options.clone().open_in(&machine.disk.root(), environment()).unwrap();
    let mut engine: WarpEngine = open();
    let mut state = 11;
    let mut answers = Vec::new();
    engine.entanglement_rule("user:{id}", &["profile:{id}", "order:{id}"], 0.6).unwrap();
    for step in 0..3_000_u32 {
        let chance = next(&mut state);
        let number = (chance >> 8) % 60;
        let key = format!("{}:{number}", ["user", "profile", "order"][(chance >> 16) as usize % 3]);
        match chance % 16 {
            0..5 => answers.push(format!("put {}", engine.put(&key, format!("{step}")).unwrap())),
            5 => answers.push(format!("delete {}", engine.delete(&key).unwrap())),
            6 => {
                let batch = WriteBatch::new().put(&key, "b").delete(format!("user:{number}")).clone();
                answers.push(format!("batch {}", engine.write(&batch).unwrap()));
            }
            7 => {
                engine.entangle(&key, &[format!("other:{number}")], 0.4).unwrap();
            }
            8..12 => answers.push(format!("get {:?}", engine.get(&key).unwrap())),
            12..15 => answers.push(format!(
                "quantum {:?}",
                engine.quantum_get(&key).unwrap().map(|found| (
                    found.value,
                    found.partners.into_iter().map(|p| (p.key, p.value, p.strength)).collect::<Vec<_>>()
                ))
            )),
            _ if step % 5 == 0 => drop(engine.checkpoint().unwrap()),
            _ if step % 7 == 0 => {
                engine.close().unwrap();
                engine = open();
            }
            _ => {
                engine.step();
            }
        }
    }
    let mut exported = Vec::new();
    engine.export(&mut exported).unwrap();
    answers.push(String::from_utf8(exported).unwrap());
    answers
}

#[test]
fn random_advice_changes_no_answer() {
    let expected = answers(None, small());
    assert!(expected.len() > 2_000);
    for seed in 0..4 {
        let advice = Arc::new(RandomAdvice::new(seed));
        assert_eq!(answers(Some(advice.clone()), small()), expected, "seed {seed}");
        let asked = *advice.asked.lock();
        assert!(asked.iter().all(|count| *count > 10), "some advice was never asked for: {asked:?}");
    }
}

#[test]
fn no_advice_changes_no_answer() {
    let expected = answers(None, small());
    assert_eq!(answers(None, small().physics(warp_api::Physics::off())), expected);
}
