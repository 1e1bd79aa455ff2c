//! Anonymous resident memory against the budget, through big values, mass deletes and full scans.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use warp_api::WarpEngine;
use warp_io::{Clock, Dir, OsDir, SystemClock, write_all_at};

use super::records::Records;
use super::store::budgeted;
use super::{Job, curve};
use crate::machine::Usage;
use crate::report::{Cell, Table, grouped};
use crate::run::Outcome;

/// How often the memory is looked at.
const SAMPLE_INTERVAL: Duration = Duration::from_millis(50);
/// The promise, in percent of the budget.
const EXCESS_PERCENT: u64 = 3;
/// The budget; and that of a quick run.
const BUDGET: u64 = 256 << 20;
const BUDGET_QUICK: u64 = 64 << 20;
/// Data of each phase, in times of the budget.
const TIMES: u64 = 3;
/// A big value.
const BIG_BYTES: usize = 1 << 20;

/// What the child is told.
#[derive(Debug, clap::Args)]
pub(crate) struct HeldArguments {
    dir: PathBuf,
    #[arg(long)]
    entries: usize,
    #[arg(long)]
    budget: u64,
}

/// The memory of the child at a moment, as a line of JSON.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Sample {
    /// Since the engine was opened.
    pub(crate) seconds: f64,
    /// Anonymous resident memory, less what the process had before the engine was opened.
    pub(crate) anonymous: u64,
    pub(crate) phase: String,
}

/// Runs the part.
///
/// # Errors
/// What the child and the system answer.
pub(crate) fn budget(job: &mut Job) -> Outcome<()> {
    let budget = if job.quick { BUDGET_QUICK } else { BUDGET };
    let dir = job.dir()?;
    let output = Command::new(std::env::current_exe()?)
        .arg("held")
        .arg(dir.path())
        .args(["--entries", &job.entries.to_string(), "--budget", &budget.to_string()])
        .args(["--seed", &job.seed.to_string()])
        .stderr(Stdio::inherit())
        .output()?;
    if !output.status.success() {
        return Err(format!("the process ended early, {}", output.status).into());
    }
    let text = String::from_utf8(output.stdout)?;
    let samples: Vec<Sample> =
        text.lines().map(|line| Ok(serde_json::from_str(line)?)).collect::<Outcome<_>>()?;
    let mut table = Table::new(
        format!(
            "Anonymous resident memory against a budget of {} MiB, every {} ms",
            budget >> 20,
            SAMPLE_INTERVAL.as_millis()
        ),
        &["phase", "until", "samples", "mean", "most", "beyond the budget"],
    );
    for of_phase in samples.chunk_by(|a, b| a.phase == b.phase) {
        let most = of_phase.iter().map(|sample| sample.anonymous).max().unwrap_or(0);
        let sum: u64 = of_phase.iter().map(|sample| sample.anonymous).sum();
        let last = &of_phase[of_phase.len() - 1];
        table.row_now([
            Cell::text(last.phase.clone()),
            Cell::time(Duration::from_secs_f64(last.seconds)),
            Cell::count(of_phase.len() as u64),
            Cell::bytes(sum / of_phase.len() as u64),
            Cell::bytes(most),
            Cell::share(most.saturating_sub(budget) as f64 / budget as f64),
        ]);
    }
    let path = job.report_path.with_extension("budget.svg");
    let drawn = write(&path, curve::svg(&samples, budget).as_bytes());
    table.note("Less what the process had before the engine was opened.");
    table.note(match &drawn {
        Ok(()) => format!("The curve: {}", path.display()),
        Err(error) => format!("The curve could not be written: {error}"),
    });
    job.report.table(table);
    let worst = samples.iter().max_by_key(|sample| sample.anonymous).ok_or("the child has told nothing")?;
    let excess = worst.anonymous.saturating_sub(budget);
    job.report.check(
        format!("memory stays within {EXCESS_PERCENT} % of the budget"),
        excess * 100 <= budget * EXCESS_PERCENT,
        format!(
            "the most are {} KiB, {:.1} % beyond, at {:.1} s, phase {:?}",
            grouped((worst.anonymous / 1024) as f64),
            excess as f64 * 100.0 / budget as f64,
            worst.seconds,
            worst.phase
        ),
    );
    Ok(())
}

fn write(path: &std::path::Path, bytes: &[u8]) -> Outcome<()> {
    let name = path.file_name().and_then(|name| name.to_str()).ok_or("no name for the curve")?;
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let dir = OsDir::open(parent.unwrap_or(std::path::Path::new(".")), false)?;
    // One of an earlier run.
    let _ = dir.remove(name);
    Ok(write_all_at(&*dir.create_new(name)?, 0, bytes)?)
}

/// The child's side: works, while a thread looks at the memory; then tells what it saw.
///
/// # Errors
/// What the engine answers.
pub(crate) fn held(arguments: &HeldArguments, seed: u64) -> Outcome<()> {
    let before = Usage::now().ok_or("the kernel does not tell the memory of a process")?.anonymous_bytes;
    let clock = SystemClock::new();
    let phase = Mutex::new("open");
    let is_done = AtomicBool::new(false);
    let (samples, outcome) = thread::scope(|scope| {
        let sampling = scope.spawn(|| {
            let mut samples = Vec::with_capacity(1 << 16);
            while !is_done.load(Ordering::Acquire) {
                let anonymous = Usage::now().map_or(0, |usage| usage.anonymous_bytes).saturating_sub(before);
                let name = *phase.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                samples.push((clock.monotonic().as_secs_f64(), anonymous, name));
                thread::sleep(SAMPLE_INTERVAL);
            }
            samples
        });
        let outcome = phases(arguments, seed, |name| {
            *phase.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = name;
        });
        is_done.store(true, Ordering::Release);
        (sampling.join(), outcome)
    });
    outcome?;
    for (seconds, anonymous, phase) in samples.map_err(|_| "the sampling thread panicked")? {
        println!("{}", serde_json::to_string(&Sample { seconds, anonymous, phase: phase.to_owned() })?);
    }
    Ok(())
}

fn phases(arguments: &HeldArguments, seed: u64, mut begin: impl FnMut(&'static str)) -> Outcome<()> {
    let engine = budgeted(arguments.budget).open(&arguments.dir)?;
    let records = Records { seed, count: arguments.entries };
    let big = usize::try_from(arguments.budget * TIMES)? / BIG_BYTES;
    begin("small values");
    for number in 0..records.count {
        engine.put(records.key(number), records.value(number))?;
    }
    begin("scan");
    scan(&engine)?;
    begin("big values");
    let mut value = vec![0; BIG_BYTES];
    for number in 0..big {
        // Each one another, and no food for compression.
        for (place, byte) in value.chunks_exact_mut(16).enumerate() {
            byte.copy_from_slice(&records.key(number * BIG_BYTES + place));
        }
        engine.put(format!("big:{number}"), &value)?;
    }
    begin("scan of all");
    scan(&engine)?;
    begin("deletes");
    for number in (0..records.count).filter(|number| number % 10 != 0) {
        engine.delete(records.key(number))?;
    }
    begin("reads");
    let mut requests = records.requests(0);
    for _ in 0..records.count {
        engine.get(requests.key())?;
    }
    begin("overwrites of big values");
    for number in 0..big {
        value[..8].copy_from_slice(&(number as u64).to_le_bytes());
        engine.put(format!("big:{}", number % 10), &value)?;
    }
    begin("checkpoint");
    engine.checkpoint()?;
    begin("close");
    Ok(engine.close()?)
}

fn scan(engine: &WarpEngine) -> Outcome<()> {
    for item in engine.iter() {
        std::hint::black_box(item?);
    }
    Ok(())
}
