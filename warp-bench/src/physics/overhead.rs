//! What physics costs an operation: everything off, as it is by default, and with learning; in time and in instructions.

mod instructions;

use std::hint::black_box;

use warp_api::{Physics, WarpEngine};

use super::Job;
use crate::child;
use crate::keys::{Key, keys, next_value, shuffled, value};
use crate::latency::median;
use crate::report::{Cell, Table, grouped};
use crate::run::Outcome;
use crate::series::turns;
use crate::timed::Timed;

pub(crate) use instructions::{OperationsArguments, operations};

const KEYS: [usize; 3] = [50_000, 300_000, 1_000_000];
/// Operations of a pass, and passes of each kind by turns.
const OPERATIONS: [usize; 3] = [20_000, 150_000, 300_000];
const ROUNDS: usize = 20;

/// How much of physics is on.
#[derive(Clone, Copy, Debug, PartialEq, clap::ValueEnum)]
pub(crate) enum Amount {
    Off,
    Default,
    Learning,
}

const AMOUNTS: [(&str, Amount); 3] =
    [("off", Amount::Off), ("default", Amount::Default), ("default and learning", Amount::Learning)];

impl Amount {
    fn physics(self) -> Physics {
        let mut physics = if self == Amount::Off { Physics::off() } else { Physics::default() };
        physics.learning = self == Amount::Learning;
        physics
    }
}

#[derive(Clone, Copy, Debug, PartialEq, clap::ValueEnum)]
pub(crate) enum What {
    Get,
    Put,
}

const WHAT: [(&str, What, bool); 3] = [
    ("get, in memory", What::Get, false),
    ("put, in memory", What::Put, false),
    ("put, with files", What::Put, true),
];

/// Runs the part.
///
/// # Errors
/// What the engine answers.
pub(crate) fn overhead(job: &mut Job) -> Outcome<()> {
    times(job)?;
    instructions::instructions(job);
    Ok(())
}

fn times(job: &mut Job) -> Outcome<()> {
    let keys = keys(job.seed, job.size(KEYS));
    let mut table = Table::new(
        format!("What physics costs an operation: {} keys, 1 thread", grouped(keys.len() as f64)),
        &["what", "physics", "time", "beyond off", "cost", "least", "most"],
    );
    for (name, what, has_files) in WHAT {
        // Directories first, so that they are removed after the engines are gone.
        let dirs = [job.dir()?, job.dir()?, job.dir()?];
        let mut engines = Vec::new();
        for ((_, amount), dir) in AMOUNTS.iter().zip(&dirs) {
            let options = child::on_demand().physics(amount.physics());
            let engine = if has_files { options.open(dir.path())? } else { options.in_memory() };
            keys.iter().try_for_each(|key| engine.put(key, value(key)).map(|_| ()))?;
            engines.push(engine);
        }
        let mut times = [const { Vec::new() }; 3];
        for round in 0..ROUNDS {
            let order = shuffled(&keys, job.seed + round as u64);
            let order = &order[..job.size(OPERATIONS).min(order.len())];
            for turn in turns(engines.len(), round) {
                engines[turn].sync()?;
                let (outcome, time) = job.time(|| pass(&engines[turn], what, order, round as u64));
                outcome?;
                times[turn].push(time.as_secs_f64() * 1e9 / order.len() as f64);
            }
        }
        for ((amount, _), of) in AMOUNTS.iter().zip(&times) {
            let ratios: Vec<f64> = of.iter().zip(&times[0]).map(|(on, off)| on / off - 1.0).collect();
            let beyond: Vec<f64> = of.iter().zip(&times[0]).map(|(on, off)| on - off).collect();
            let least = ratios.iter().copied().fold(f64::INFINITY, f64::min);
            let most = ratios.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            table.row([
                Cell::text(name),
                Cell::text(*amount),
                Cell::number(median(of), " ns"),
                Cell::number(median(&beyond), " ns"),
                Cell::share(median(&ratios)),
                Cell::share(least),
                Cell::share(most),
            ]);
        }
    }
    table.note(format!("Medians of {ROUNDS} rounds by turns, each with {} operations in an order of its own; costs within a round.", grouped(job.size(OPERATIONS) as f64)));
    job.report.table(table);
    Ok(())
}

/// One pass over keys.
pub(super) fn pass(engine: &WarpEngine, what: What, keys: &[Key], round: u64) -> Outcome<()> {
    for key in keys {
        match what {
            What::Get => _ = black_box(engine.get(key)?),
            What::Put => _ = black_box(engine.put(key, next_value(key, round))?),
        }
    }
    Ok(())
}
