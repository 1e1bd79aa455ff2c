//! What physics costs an operation: everything off, as it is by default, and with learning; and the law of use alone, which is
//! learned once memory gets short. In time and in instructions.

mod instructions;

use std::hint::black_box;
use std::thread;
use std::time::Duration;

use warp_api::{Options, Physics, WarpEngine};

use super::Job;
use crate::child;
use crate::keys::{KEY_BYTES, Key, VALUE_BYTES, keys, shuffled};
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

/// Physics as it is by default is to add no more than this to an operation.
const TARGET: f64 = 0.02;
/// Where half of the memory budget is in use: the length of values, long enough for the law of use to be learned, and what an
/// entry takes of memory, about.
const LONG_VALUE_BYTES: usize = 1_024;
const LONG_ENTRY_BYTES: u64 = 1_200;
/// Such entries are fewer by this factor, so that they take about as much memory as the others.
const LONG_KEYS_PART: usize = 4;
const LOG_BUFFER_BYTES: usize = 1 << 20;
/// Reads of each key after which the law was learned from enough uses to be followed.
const PRIMING_PASSES: u64 = 8;
/// The longest that the background may take to begin with it.
const PRIMING_LOOKS: u32 = 1_000;
const PRIMING_LOOK: Duration = Duration::from_millis(10);

/// How much of physics is on.
#[derive(Clone, Copy, Debug, PartialEq, clap::ValueEnum)]
pub(crate) enum Amount {
    Off,
    /// The default without the law of use.
    Lawless,
    Default,
    Learning,
}

/// The amounts that are compared with the first of them.
type Amounts = [(&'static str, Amount)];

const AMOUNTS: &Amounts =
    &[("off", Amount::Off), ("default", Amount::Default), ("default and learning", Amount::Learning)];
const LAW_ALONE: &Amounts =
    &[("default without the law of use", Amount::Lawless), ("default", Amount::Default)];

impl Amount {
    fn physics(self) -> Physics {
        let physics = if self == Amount::Off { Physics::off() } else { Physics::default() };
        Physics {
            learning: self == Amount::Learning,
            horizon: physics.horizon && self != Amount::Lawless,
            ..physics
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, clap::ValueEnum)]
pub(crate) enum What {
    Get,
    Put,
}

/// An operation, where it is made, and what is compared.
#[derive(Clone, Copy, Debug)]
struct Case {
    name: &'static str,
    what: What,
    has_files: bool,
    /// Whether half of the memory budget is in use: only when it gets short, the law of use is learned.
    is_half_full: bool,
    amounts: &'static Amounts,
}

impl Case {
    const fn of(name: &'static str, what: What) -> Case {
        Case { name, what, has_files: false, is_half_full: false, amounts: AMOUNTS }
    }

    const fn half_full(name: &'static str, what: What) -> Case {
        Case { is_half_full: true, amounts: LAW_ALONE, ..Case::of(name, what) }
    }

    const ALL: [Case; 5] = [
        Case::of("get, in memory", What::Get),
        Case::of("put, in memory", What::Put),
        Case { has_files: true, ..Case::of("put, with files", What::Put) },
        Case::half_full("get, in memory, half of the budget in use", What::Get),
        Case::half_full("put, in memory, half of the budget in use", What::Put),
    ];
}

/// Settings of an engine that will hold so many keys.
fn options(amount: Amount, is_half_full: bool, keys: usize) -> Options {
    let options = child::on_demand().physics(amount.physics());
    if is_half_full {
        let budget = 2 * LONG_ENTRY_BYTES * keys as u64;
        options.log_buffer_bytes(LOG_BUFFER_BYTES).memory_budget(budget)
    } else {
        options
    }
}

/// Puts the keys into an engine; where half of the budget is in use then, has it learn the law of use, if it is to.
fn fill(engine: &WarpEngine, keys: &[Key], amount: Amount, is_half_full: bool) -> Outcome<()> {
    pass(engine, What::Put, keys, 0, is_half_full)?;
    if !is_half_full {
        return Ok(());
    }
    for _ in 0..PRIMING_PASSES {
        pass(engine, What::Get, keys, 0, is_half_full)?;
        // Where there is a worker, it finds nothing to do.
        engine.step();
    }
    let has_law = || engine.cosmic_metrics().residency.remembered_bytes > 0;
    let is_as_told = || has_law() == (amount != Amount::Lawless);
    for _ in 0..PRIMING_LOOKS {
        if is_as_told() {
            return Ok(());
        }
        thread::sleep(PRIMING_LOOK);
    }
    Err(format!("{amount:?}: the law of use is learned: {}", has_law()).into())
}

/// Whether a cost, the highest of those with the default, is within the target.
fn verdict((cost, of): (f64, &str)) -> String {
    let is_met = if cost <= TARGET { "met" } else { "missed" };
    format!(
        "target of at most {:.0} % more with the default: {is_met}, {:.1} % ({of})",
        TARGET * 100.0,
        cost * 100.0
    )
}

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
    let mut worst = (f64::NEG_INFINITY, "");
    let mut bars = Vec::new();
    for case in Case::ALL {
        let keys = if case.is_half_full { &keys[..keys.len() / LONG_KEYS_PART] } else { &keys[..] };
        // Directories first, so that they are removed after the engines are gone.
        let dirs = case.amounts.iter().map(|_| job.dir()).collect::<Outcome<Vec<_>>>()?;
        let mut engines = Vec::new();
        for ((_, amount), dir) in case.amounts.iter().zip(&dirs) {
            let options = options(*amount, case.is_half_full, keys.len());
            let engine = if case.has_files { options.open(dir.path())? } else { options.in_memory() };
            fill(&engine, keys, *amount, case.is_half_full)?;
            engines.push(engine);
        }
        let mut times = vec![Vec::new(); engines.len()];
        for round in 0..ROUNDS {
            let order = shuffled(keys, job.seed + round as u64);
            let order = &order[..job.size(OPERATIONS).min(order.len())];
            for turn in turns(engines.len(), round) {
                engines[turn].sync()?;
                let (outcome, time) =
                    job.time(|| pass(&engines[turn], case.what, order, round as u64, case.is_half_full));
                outcome?;
                times[turn].push(time.as_secs_f64() * 1e9 / order.len() as f64);
            }
        }
        for ((name, amount), of) in case.amounts.iter().zip(&times) {
            let ratios: Vec<f64> = of.iter().zip(&times[0]).map(|(on, off)| on / off - 1.0).collect();
            let beyond: Vec<f64> = of.iter().zip(&times[0]).map(|(on, off)| on - off).collect();
            let least = ratios.iter().copied().fold(f64::INFINITY, f64::min);
            let most = ratios.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            if *amount == Amount::Default && !case.is_half_full && median(&ratios) > worst.0 {
                worst = (median(&ratios), case.name);
            }
            bars.push((format!("{}: {name}", case.name), median(of)));
            table.row([
                Cell::text(case.name),
                Cell::text(*name),
                Cell::number(median(of), " ns"),
                Cell::number(median(&beyond), " ns"),
                Cell::share(median(&ratios)),
                Cell::share(least),
                Cell::share(most),
            ]);
        }
    }
    table.note(format!("Medians of {ROUNDS} rounds by turns; {}.", verdict(worst)));
    table.note(format!("A round has {} operations, or each key once, in an order of its own; costs within a round, beyond the first row of each.", grouped(job.size(OPERATIONS) as f64)));
    job.report.table(table);
    job.plot("overhead.svg", "Time of an operation", "ns", &bars)
}

/// One pass over keys.
fn pass(engine: &WarpEngine, what: What, keys: &[Key], round: u64, is_long: bool) -> Outcome<()> {
    let mut value = vec![0x5A; if is_long { LONG_VALUE_BYTES } else { VALUE_BYTES }];
    value[KEY_BYTES..KEY_BYTES + 8].copy_from_slice(&round.to_le_bytes());
    for key in keys {
        match what {
            What::Get => _ = black_box(engine.get(key)?),
            What::Put => {
                value[..KEY_BYTES].copy_from_slice(key);
                black_box(engine.put(key, &value)?);
            }
        }
    }
    Ok(())
}
