//! A process that writes is killed, and its database opened: nothing that was synced may be lost, and the rest
//! must be a prefix of the order of writes.

use std::io::{BufReader, BufWriter, Read, Write};
use std::path::Path;
use std::process::{ChildStdin, ChildStdout, Command};
use std::thread;
use std::time::Duration;

use warp_api::WarpEngine;

use crate::child;
use crate::corpus::Corpus;
use crate::model::{Model, Verdict};
use crate::plan::THREADS;
use crate::report::{Cell, Table, grouped};
use crate::run::{Outcome, Run};
use crate::storm::{self, READY};
use crate::wire::{self, Ack, Order};

/// The kill comes this long after the steps began, and up to as much again later.
const KILL_AFTER: Duration = Duration::from_millis(500);
/// Threads of a round number their steps from a multiple of this, so that a lost number is not given again.
const STEPS_A_ROUND: u64 = 1 << 32;

/// Kills a writing process again and again, on one database, and checks what is there each time.
///
/// # Errors
/// What the children, the engine and the system answer.
pub(crate) fn crash(run: &mut Run) -> Outcome<()> {
    let dir = run.dir()?;
    let mut random = run.random();
    let records = run.plan.crash_records.min(run.data.fields);
    let mut corpus = Corpus::default();
    for (key, value) in run.data.corpus.iter().take(records) {
        corpus.push(key, value);
    }
    let mut model = Model::new(records);
    let columns = [
        "kill",
        "writing for",
        "writes acknowledged",
        "Sync among them",
        "found",
        "lost",
        "of them Sync",
        "log replayed",
        "torn tail dropped",
        "recovery",
        "entries that left memory",
    ];
    let mut table =
        Table::new(format!("SIGKILL while {THREADS} threads write, with checkpoints under way"), &columns);
    run.bar.set_length(run.plan.kills as u64);
    for round in 0..run.plan.kills as u64 {
        let writing = KILL_AFTER + KILL_AFTER.mul_f64(random.unit());
        let from = round * STEPS_A_ROUND;
        let acks = write_and_kill(run.seed, dir.path(), &corpus, from, writing)?;
        let (engine, time) = run.time(|| storm::options().open(dir.path()));
        let engine = engine?;
        let recovery = engine.recovery_report();
        let verdict = model.check(run.seed, &engine, &corpus, from, &acks, recovery.last_seq.0)?;
        let trimmed = recovery.trimmed.as_ref().map_or(0, |trimmed| trimmed.bytes);
        let figures = [
            verdict.acknowledged,
            verdict.synced,
            verdict.found,
            verdict.lost,
            verdict.lost_synced,
            recovery.replayed,
        ]
        .map(Cell::count);
        let head = [Cell::count(round + 1), Cell::time(writing)];
        let evicted = engine.cosmic_metrics().residency.evicted;
        let tail = [Cell::bytes(trimmed), Cell::time(time), Cell::count(evicted)];
        table.row(head.into_iter().chain(figures).chain(tail));
        judge(run, round + 1, &verdict);
        verify(run, &engine)?;
        run.bar.inc(1);
    }
    table.note("Interval may lose what the process had not handed to the system: at most the last 10 ms. With a memory budget");
    table.note("of 9 MiB; what left memory is counted while the database is compared after its recovery.");
    run.report.table(table);
    Ok(())
}

fn judge(run: &mut Run, round: u64, verdict: &Verdict) {
    let wrong = verdict.wrong.as_deref().unwrap_or("all values compared");
    let detail = format!("kill {round}: {} writes found, {wrong}", grouped(verdict.found as f64));
    let whole = verdict.wrong.is_none() && verdict.lost_synced == 0;
    run.report.check("after SIGKILL nothing synced is lost and the rest is a prefix", whole, detail);
}

/// The engine's own check of everything that it has on disk.
fn verify(run: &mut Run, engine: &WarpEngine) -> Outcome<()> {
    let report = engine.verify()?;
    let problems = report.problems.len();
    run.report.check("verify() finds nothing wrong", problems == 0, format!("{problems} problems"));
    Ok(())
}

/// Starts the process, lets it write for a while, kills it. Returns the writes that it told about.
fn write_and_kill(seed: u64, dir: &Path, corpus: &Corpus, from: u64, writing: Duration) -> Outcome<Vec<Ack>> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("storm").arg(dir);
    command.args(["--seed", &seed.to_string(), "--from", &from.to_string()]);
    if from == 0 {
        command.arg("--load");
    }
    let (mut child, orders, acks) = child::start(&mut command)?;
    send(orders, corpus)?;
    let mut acks = BufReader::new(acks);
    let mut ready = [0; READY.len()];
    acks.read_exact(&mut ready).map_err(|_| "the writing process ended before it wrote")?;
    // Read all along, so that the process never waits for the pipe.
    let reader = thread::spawn(move || read_acks(acks));
    thread::sleep(writing);
    child.kill()?;
    reader.join().map_err(|_| "the reader of acknowledgements panicked")?
}

fn send(orders: ChildStdin, corpus: &Corpus) -> Outcome<()> {
    let mut orders = BufWriter::new(orders);
    for (key, value) in corpus.iter() {
        wire::write_put(&mut orders, key, value)?;
    }
    Order::End.write(&mut orders)?;
    Ok(orders.flush()?)
}

/// Every whole acknowledgement until the pipe ends.
fn read_acks(mut from: BufReader<ChildStdout>) -> Outcome<Vec<Ack>> {
    let mut bytes = Vec::new();
    from.read_to_end(&mut bytes)?;
    let whole = bytes.chunks_exact(Ack::BYTES);
    Ok(whole.filter_map(|piece| piece.try_into().ok()).map(Ack::from_bytes).collect())
}
