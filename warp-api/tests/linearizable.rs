//! What four threads see of a few keys could have happened one call after the other: of an engine in memory, and of one
//! whose entries go to layers, come back from there, and are deleted, while they are read.
//!
//! `WARP_HISTORIES` says how many histories there are.

#![allow(
    clippy::cast_possible_truncation,
    clippy::unwrap_used,
    reason = "a test that cannot go on says so by a panic, and its numbers are small"
)]

mod common;
#[path = "../../warp-core/tests/history/mod.rs"]
mod history;
#[path = "../../warp-core/tests/rounds/mod.rs"]
mod rounds;

use common::small;
use history::{Call, Held};
use rounds::Random;
use warp_api::{CasOutcome, Environment, Value, WarpEngine};
use warp_io::SimDisk;

/// Bytes of a value that is in its entry, and of one that is shared.
const SHORT_BYTES: usize = 40;
const LONG_BYTES: usize = 600;

fn name(round: u64, number: u8) -> [u8; 9] {
    let mut bytes = [number; 9];
    bytes[..8].copy_from_slice(&round.to_le_bytes());
    bytes
}

fn value(number: u64) -> Vec<u8> {
    let mut bytes = number.to_le_bytes().to_vec();
    bytes.resize(if number.is_multiple_of(2) { SHORT_BYTES } else { LONG_BYTES }, number as u8 ^ 0xA5);
    bytes
}

fn number(bytes: &[u8]) -> u64 {
    let number = u64::from_le_bytes(bytes[..8].try_into().unwrap());
    assert_eq!(bytes, value(number), "a value is read as it was written");
    number
}

fn held(value: Option<Value>) -> Held {
    value.as_deref().map(number)
}

struct Calls {
    engine: WarpEngine,
    has_layers: bool,
}

impl Calls {
    fn read(&self, key: [u8; 9], random: &mut Random) -> Held {
        match random.below(3) {
            0 => held(self.engine.get(key).unwrap()),
            1 => {
                let look = |bytes: &[u8]| {
                    random.may_yield();
                    number(bytes)
                };
                self.engine.with_value(key, look).unwrap()
            }
            _ => held(self.engine.multi_get(&[key, key]).unwrap().swap_remove(1)),
        }
    }
}

impl rounds::Calls for Calls {
    fn call(&self, round: u64, number: u8, new: u64, random: &mut Random) -> Call {
        let key = name(round, number);
        match random.below(8) {
            0..3 => Call::Get(self.read(key, random)),
            3..5 => {
                self.engine.put(key, value(new)).unwrap();
                Call::Put(new)
            }
            5 => Call::Delete(self.engine.delete(key).unwrap()),
            _ => {
                // Most swaps expect what was there a moment ago; some delete.
                let expected = if random.below(4) == 0 { Some(new) } else { self.read(key, random) };
                let new = (random.below(4) != 0).then_some(new);
                let (old_value, new_value) = (expected.map(value), new.map(value));
                let swapped = self.engine.compare_and_swap(key, old_value.as_deref(), new_value.as_deref());
                match swapped.unwrap() {
                    CasOutcome::Swapped(_) => Call::Swapped { expected, new },
                    CasOutcome::Conflict(found) => Call::Refused { expected, found: held(found) },
                }
            }
        }
    }

    fn forget(&self, round: u64, number: u8) {
        self.engine.delete(name(round, number)).unwrap();
    }

    fn disturb(&self, _random: &mut Random) {
        if self.has_layers {
            self.engine.checkpoint().unwrap();
        }
    }
}

#[test]
fn an_engine_in_memory_is_linearizable() {
    rounds::check(&Calls { engine: WarpEngine::in_memory(), has_layers: false }, 10_000);
}

#[test]
fn an_engine_that_takes_checkpoints_is_linearizable() {
    let disk = SimDisk::new(1);
    let engine = small().open_in(&disk.root(), Environment::default()).unwrap();
    rounds::check(&Calls { engine, has_layers: true }, 1_000);
}
