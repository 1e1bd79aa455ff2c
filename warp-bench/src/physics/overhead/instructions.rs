//! Instructions of an operation, as callgrind counts them: the same on any machine, however busy it is.

use std::process::Command;
use std::sync::Arc;

use warp_api::{Background, Environment};
use warp_io::SimClock;

use super::{Amount, Case, LONG_KEYS_PART, What, fill, options, pass, verdict};
use crate::keys::keys;
use crate::physics::Job;
use crate::report::{Cell, Table};
use crate::run::Outcome;

/// Keys of the engine that is counted, and operations on it.
const KEYS: usize = 2_000;
const OPERATIONS: [usize; 3] = [4_000, 40_000, 40_000];
/// Physics as it is by default adds no more than this to an operation, whatever is aimed at.
const OVERHEAD_MAX: f64 = 0.05;
/// What callgrind writes before the number of instructions, which has commas.
const COUNTED: &str = "refs:";

/// What a counted process is told.
#[derive(Debug, clap::Args)]
pub(crate) struct OperationsArguments {
    #[arg(long, value_enum)]
    what: What,
    #[arg(long, value_enum)]
    physics: Amount,
    #[arg(long)]
    half_full: bool,
    #[arg(long)]
    count: usize,
}

/// The counted process: fills an engine in memory, and then does nothing but these operations.
///
/// # Errors
/// What the engine answers.
pub(crate) fn operations(arguments: &OperationsArguments, seed: u64) -> Outcome<()> {
    let environment = Environment {
        clock: Arc::new(SimClock::new(0)),
        seed,
        background: Background::Stepped,
        ..Environment::default()
    };
    let (amount, is_half_full) = (arguments.physics, arguments.half_full);
    // The least budget is more than a few short values fill.
    let keys = keys(seed, if is_half_full { LONG_KEYS_PART * KEYS } else { KEYS });
    let engine = options(amount, is_half_full, keys.len()).in_memory_in(environment);
    fill(&engine, &keys, amount, is_half_full)?;
    let mut left = arguments.count;
    while left > 0 {
        let some = left.min(keys.len());
        pass(&engine, arguments.what, &keys[..some], 1, is_half_full)?;
        left -= some;
    }
    Ok(())
}

/// Counts and reports; what cannot be counted is said, and is no failure.
pub(super) fn instructions(job: &mut Job) {
    if Command::new("valgrind").arg("--version").output().is_err() {
        println!("\noverhead: NO INSTRUCTIONS WERE COUNTED, as there is no valgrind on this machine");
    } else if let Err(error) = counted(job) {
        println!("\noverhead: NO INSTRUCTIONS WERE COUNTED: {error}");
    }
}

fn counted(job: &mut Job) -> Outcome<()> {
    let operations = job.size(OPERATIONS);
    let mut table = Table::new(
        "Instructions of an operation in memory, by callgrind",
        &["what", "physics", "instructions", "beyond off", "cost"],
    );
    let mut worst = (f64::NEG_INFINITY, "");
    for case in Case::ALL {
        if case.has_files {
            continue;
        }
        let mut first = None;
        for (name, amount) in case.amounts {
            // What filling and starting takes is in both, and in neither difference.
            let (none, all) = (count(job, case, *amount, 0)?, count(job, case, *amount, operations)?);
            let each = all.saturating_sub(none) as f64 / operations as f64;
            let first = *first.get_or_insert(each);
            if *amount == Amount::Default && !case.is_half_full && each / first - 1.0 > worst.0 {
                worst = (each / first - 1.0, case.name);
            }
            table.row([
                Cell::text(case.name),
                Cell::text(*name),
                Cell::number(each, ""),
                Cell::number(each - first, ""),
                Cell::share(each / first - 1.0),
            ]);
        }
    }
    table.note("Of the calling thread alone: nobody does background work. Half of the budget in use is not the default, which has no");
    table.note(
        "budget: what the law of use learns from each read there is shown, and not held against the target.",
    );
    job.report.table(table);
    let what =
        format!("physics as it is by default adds less than {:.0} % of instructions", OVERHEAD_MAX * 100.0);
    job.report.check(what, worst.0 < OVERHEAD_MAX, verdict(worst));
    Ok(())
}

/// Instructions of a whole process.
fn count(job: &Job, case: Case, amount: Amount, operations: usize) -> Outcome<u64> {
    let value = |of: &dyn Fn() -> Option<clap::builder::PossibleValue>| {
        of().map(|value| value.get_name().to_owned()).unwrap_or_default()
    };
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(std::env::current_exe()?)
        .args(["operations", "--seed", &job.seed.to_string(), "--count", &operations.to_string()])
        .args(["--what", &value(&|| clap::ValueEnum::to_possible_value(&case.what))])
        .args(["--physics", &value(&|| clap::ValueEnum::to_possible_value(&amount))])
        .args(case.is_half_full.then_some("--half-full"))
        .output()?;
    let text = String::from_utf8_lossy(&output.stderr);
    let counted = text.lines().find_map(|line| line.split_once(COUNTED));
    let counted = counted.and_then(|(_, number)| number.trim().replace(',', "").parse().ok());
    match counted {
        Some(instructions) if output.status.success() => Ok(instructions),
        _ => Err(format!("callgrind ended early: {}", output.status).into()),
    }
}
