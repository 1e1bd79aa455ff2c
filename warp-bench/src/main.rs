//! How the engine is measured: real records through all of it, with a crash in between.
//!
//! ```text
//! main ── load ── mixed ── related ── rates ── compression ── footprint ── restart ── crash ── report
//!          │        │         │         │           │             └──────────┴─────────┘
//!      unicode   workload  quantum_get  warp_core   LZ4           child processes, killed
//! ```
//!
//! **Invariant:** a number is printed with its machine, commit and settings, and is measured in the same run.
//! **Invariant:** nothing is left behind but the report.
//! **Invariant:** a check that fails is a failing exit status.

mod advice;
mod arguments;
mod checkpoint;
mod child;
mod cleanup;
mod clients;
mod compression;
mod corpus;
mod crash;
mod footprint;
mod fromdisk;
mod idle;
mod keys;
mod latency;
mod load;
mod log;
mod machine;
mod memory;
mod mixed;
mod model;
mod physics;
mod plan;
mod promises;
mod random;
mod rates;
mod related;
mod report;
mod restart;
mod run;
mod series;
mod storm;
mod table;
mod timed;
mod unicode;
mod wire;
mod workload;
mod zipf;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::arguments::Common;
use crate::run::{Outcome, Run};

/// Puts the characters of Unicode through the whole engine, kills it, and reports what was measured.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    role: Option<Role>,
}

/// What this program does instead of the main job.
#[derive(Debug, Subcommand)]
enum Role {
    /// Compares the bare table with rivals (feature `peers`) and with the limit of the machine.
    Table(table::TableArguments),
    /// Reads from a filled table and does nothing else, for `perf stat` and callgrind.
    Gets(table::GetsArguments),
    /// Measures the log: against the disk, against the bare table, and against rivals (feature `peers`, and Redis where
    /// there is one).
    Log(log::LogArguments),
    /// Measures memory: warm start, data larger than memory beside rivals (feature `peers`), and the budget.
    Memory(memory::MemoryArguments),
    /// Measures one store under a limit of memory.
    #[command(hide = true)]
    Limited(memory::LimitedArguments),
    /// Works with a budget of memory, and tells what the process took.
    #[command(hide = true)]
    Held(memory::HeldArguments),
    /// Measures each part of physics against the best known techniques of its kind, on real traces.
    Physics(physics::PhysicsArguments),
    /// Measures checkpoints: opening after a crash beside rivals (feature `peers`, and Redis where there is one), taking one,
    /// what recovery saves by one, bytes written and kept, and a layer file alone.
    Checkpoint(checkpoint::CheckpointArguments),
    /// Fills a store, and writes until it is killed.
    #[command(hide = true)]
    Fill(checkpoint::FillArguments),
    /// Opens a store, and tells how long it took.
    #[command(hide = true)]
    Open(checkpoint::OpenArguments),
    /// Fills an event horizon cache, and tells what the process took.
    #[command(hide = true)]
    Cache(physics::CacheArguments),
    /// Does operations and nothing else, for callgrind.
    #[command(hide = true)]
    Operations(physics::OperationsArguments),
    /// Replays a log once, and tells how long it took and what it held.
    #[command(hide = true)]
    Replay(log::ReplayArguments),
    /// Carries out orders that come over standard input.
    #[command(hide = true)]
    Feed(child::FeedArguments),
    /// Writes until it is killed.
    #[command(hide = true)]
    Storm(storm::StormArguments),
    /// Fills a table, deletes most of it, and tells what the process took.
    #[command(hide = true)]
    Hold(table::HoldArguments),
    /// Fills a table, and tells how long that took.
    #[command(hide = true)]
    Grow(table::GrowArguments),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let Arguments { common, role } = &arguments;
    let outcome = match role {
        Some(Role::Table(options)) => table::table(options, common),
        Some(Role::Log(options)) => log::log(options, common),
        Some(Role::Memory(options)) => memory::memory(options, common),
        Some(Role::Limited(limited)) => memory::limited(limited, common.seed).map(|()| true),
        Some(Role::Held(held)) => memory::held(held, common.seed).map(|()| true),
        Some(Role::Physics(options)) => physics::physics(options, common),
        Some(Role::Checkpoint(options)) => checkpoint::checkpoint(options, common),
        Some(Role::Fill(fill)) => checkpoint::fill(fill, common.seed).map(|()| true),
        Some(Role::Open(open)) => checkpoint::open(open, common.seed).map(|()| true),
        Some(Role::Cache(held)) => physics::cache(held).map(|()| true),
        Some(Role::Operations(counted)) => physics::operations(counted, common.seed).map(|()| true),
        Some(Role::Replay(replay)) => log::replay(replay).map(|()| true),
        Some(Role::Gets(gets)) => table::gets(gets, common.seed).map(|()| true),
        Some(Role::Feed(feed)) => child::feed(feed).map(|()| true),
        Some(Role::Storm(storm)) => storm::storm(storm).map(|()| true),
        Some(Role::Hold(hold)) => table::hold(hold, common.seed).map(|()| true),
        Some(Role::Grow(grow)) => table::grow(grow, common.seed).map(|()| true),
        None => bench(common),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("warp-bench: {}", run::with_causes(&*error));
            ExitCode::FAILURE
        }
    }
}

/// The main job. Returns whether every check held.
fn bench(common: &Common) -> Outcome<bool> {
    let scratch = cleanup::scratch(common.dir.as_deref())?;
    let mut run = Run::new(common.seed, common.quick, scratch.path());
    let outcome = parts(&mut run);
    drop(scratch);
    outcome?;
    run.finish(&common.report)
}

/// Every part in order; each leaves its tables and checks in the report.
fn parts(run: &mut Run) -> Outcome<()> {
    let engine = run.part("load", load::load)?;
    run.part("mixed", |run| mixed::mixed(run, &engine))?;
    run.part("read back", |run| load::read_back(run, &engine))?;
    run.part("related", |run| related::related(run, &engine))?;
    run.part("physics", |run| advice::advice(run, &engine))?;
    let engine = run.part("reopen", |run| load::reopen(run, engine))?;
    run.part("related, cold", |run| related::cold(run, &engine))?;
    drop(engine);
    run.part("related, from the disk", fromdisk::from_disk)?;
    run.part("engine and table", rates::rates)?;
    run.part("compression", compression::compression)?;
    run.part("footprint", footprint::footprint)?;
    run.part("restart", restart::restart)?;
    run.part("crash", crash::crash)
}
