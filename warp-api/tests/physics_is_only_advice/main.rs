//! Whoever advises, and whatever is advised, the same workload gives the same answers.
//!
//! Left out is what a program is told of advice itself: where a value was found and on which shard, learned partners,
//! routes through learned shortcuts, and sequence numbers of what the demon logs.

#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    clippy::unwrap_used,
    reason = "a test that cannot go on says so by a panic, and its numbers are small"
)]

mod chance;
#[path = "../common/mod.rs"]
mod common;
mod kept;
mod workload;

use std::sync::{Arc, OnceLock};

use chance::{QUESTIONS, RandomAdvice};
use common::report;
use warp_api::{Demon, Physics};
use workload::{Advisor, Run, run};

/// The answers that there are without any advice.
fn without_advice() -> &'static Run {
    static RUN: OnceLock<Run> = OnceLock::new();
    RUN.get_or_init(|| run(&Advisor::Physics(Physics::off())))
}

#[track_caller]
fn check(advisor: &Advisor, name: &str) -> Run {
    let (expected, got) = (without_advice(), run(advisor));
    for (place, (expected, got)) in expected.answers.iter().zip(&got.answers).enumerate() {
        assert_eq!(got, expected, "{name}, answer {place}");
    }
    assert_eq!(got.answers.len(), expected.answers.len(), "{name}");
    report(&format!("{name}: {:?}", got.done));
    got
}

#[test]
fn the_advice_of_the_physics_layer_changes_no_answer() {
    let got = check(&Advisor::Physics(Physics::default()), "default");
    assert_eq!(got.routes, without_advice().routes);
    let done = got.done;
    assert!(done.evicted > 100 && done.promotions > 100 && done.slots_moved > 0, "{done:?}");
    let all = Physics { learning: true, learning_every: 1, wormholes_learned: 4, ..Physics::default() };
    check(&Advisor::Physics(all), "everything on");
}

/// Without the demon, which logs what it does, even the sequence numbers are the same.
#[test]
fn advice_by_chance_changes_no_answer() {
    for seed in 1..=5 {
        let advice = Arc::new(RandomAdvice::new(seed, seed == 5));
        let demon = if seed % 2 == 0 { Demon::Off } else { Demon::Auto };
        let wormholes_learned = if seed % 2 == 0 { 0 } else { 4 };
        let advisor = Advisor::Chance { advice: advice.clone(), seed, demon, wormholes_learned };
        let got = check(&advisor, &format!("by chance, seed {seed}"));
        if demon == Demon::Off {
            let differs =
                got.seqs.iter().zip(&without_advice().seqs).position(|(got, expected)| got != expected);
            assert_eq!(differs, None, "seed {seed}: sequence numbers");
            assert_eq!(got.routes, without_advice().routes, "seed {seed}");
        }
        for (question, count) in QUESTIONS.iter().zip(advice.asked()) {
            let is_of_demon = *question == "moves";
            let expected = if is_of_demon { u32::from(demon == Demon::Auto) } else { 20 };
            assert!(count >= expected, "seed {seed}: {question} was asked {count} times");
        }
    }
}
