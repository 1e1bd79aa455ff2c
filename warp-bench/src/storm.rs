//! The process that is killed: it writes from two threads what a seed says, and tells which writes returned.

use std::fs::File;
use std::io::{self, BufReader, Write};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use indicatif::ProgressBar;
use warp_api::{Durability, MEMORY_BUDGET_MIN, Options, PutOptions, WarpEngine, WriteBatch};

use crate::corpus::Corpus;
use crate::load::put_all;
use crate::plan::THREADS;
use crate::random::Random;
use crate::run::Outcome;
use crate::wire::{self, Ack, Order};

/// What the process is told when it is started. The records come over standard input.
#[derive(Debug, clap::Args)]
pub(crate) struct StormArguments {
    dir: PathBuf,
    #[arg(long)]
    seed: u64,
    /// The number of the first step of each thread.
    #[arg(long)]
    from: u64,
    /// Fill the database first.
    #[arg(long)]
    load: bool,
}

/// Small, so that checkpoints are under way at most moments.
pub(crate) const CHECKPOINT_LOG_BYTES: u64 = 8 << 20;
/// One step in this many is a Sync put.
pub(crate) const SYNC_ONE_IN: u64 = 512;
/// Steps repeat their kinds after this many.
const CYCLE: u64 = 16;
const _: () = assert!(SYNC_ONE_IN.is_multiple_of(CYCLE));
/// A replacing step deletes what the step this many before it created.
const REPLACED_BEFORE: u64 = 9;
/// Acknowledgements that are told at once: as many as a pipe takes in one piece (`PIPE_BUF`).
const ACKS_MAX: usize = 4096 / Ack::BYTES;
/// Time between two `quantum_get`s that run beside the writers.
const READ_PAUSE: Duration = Duration::from_millis(1);
/// What is said once the database is ready and the steps begin.
pub(crate) const READY: &[u8] = b"ready\n";

/// So small that most of the data does not fit: it leaves memory, and comes in again, while the process is killed.
const LOG_BUFFER_BYTES: usize = 1 << 20;
const MEMORY_BUDGET: u64 = MEMORY_BUDGET_MIN + LOG_BUFFER_BYTES as u64;

/// The settings of the database that is killed.
pub(crate) fn options() -> Options {
    Options::new()
        .checkpoint_log_bytes(CHECKPOINT_LOG_BYTES)
        .log_buffer_bytes(LOG_BUFFER_BYTES)
        .memory_budget(MEMORY_BUDGET)
}

/// One write of one thread; each is a write of its own in the order of sequence numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Puts a key that only this step puts, with a record's value.
    Create { record: usize },
    /// The same, waiting until it is on the disk.
    CreateSync { record: usize },
    /// Gives a record, one that only this thread writes to, a new value.
    Overwrite { record: usize },
    /// In one batch, puts a key of its own and deletes the one that an earlier step created.
    Replace { record: usize, deleted: u64 },
}

/// What a thread's step with this number is.
pub(crate) fn step(seed: u64, thread: u64, number: u64, records: usize) -> Step {
    let mut random = Random::new(seed, thread << 48 | number);
    let record = random.below(records);
    match number % CYCLE {
        place if place == CYCLE - 1 => Step::Replace { record, deleted: number - REPLACED_BEFORE },
        place if place % 2 == 1 => Step::Overwrite { record: own(record, thread, records) },
        _ if number.is_multiple_of(SYNC_ONE_IN) => Step::CreateSync { record },
        _ => Step::Create { record },
    }
}

/// A record near this one that belongs to the thread: records are shared out by their number.
fn own(record: usize, thread: u64, records: usize) -> usize {
    let thread = usize::try_from(thread).expect("threads are few") % THREADS;
    let first = record - record % THREADS;
    if first + thread < records { first + thread } else { thread }
}

/// The key that a step creates.
pub(crate) fn key(thread: u64, number: u64) -> String {
    format!("storm:{thread}:{number}")
}

/// The value that a step writes: a record's own, and which step wrote it.
pub(crate) fn value(corpus: &Corpus, record: usize, thread: u64, number: u64) -> Vec<u8> {
    let mut value = corpus.value(record).to_vec();
    value.extend_from_slice(format!(" #{thread}.{number}").as_bytes());
    value
}

/// Fills the database if told to, says so, and then writes until the end comes.
///
/// # Errors
/// What the engine and the pipes answer; a pipe that nobody reads any more among them.
pub(crate) fn storm(arguments: &StormArguments) -> Outcome<()> {
    let corpus = receive()?;
    let engine = options().open(&arguments.dir)?;
    if arguments.load {
        engine.entanglement_rule("char:{id}", &["name:{id}", "block:{id}", "script:{id}"], 1.0)?;
        put_all(&engine, &corpus, 0..corpus.len(), &ProgressBar::hidden())?;
        engine.sync()?;
    }
    // A file on the same pipe: whole pieces, written at once, as the standard handle does not promise.
    let mut acks = File::from(io::stdout().as_fd().try_clone_to_owned()?);
    acks.write_all(READY)?;
    thread::scope(|scope| {
        for thread in 0..THREADS as u64 {
            let (engine, corpus, acks) = (&engine, &corpus, acks.try_clone());
            scope.spawn(move || {
                let outcome =
                    acks.map_err(Into::into).and_then(|acks| write(arguments, engine, corpus, thread, acks));
                // One thread that cannot go on ends the process, so that the parent notices.
                if let Err(error) = outcome {
                    eprintln!("warp-bench: the writing process: {}", crate::run::with_causes(&*error));
                    std::process::exit(1);
                }
            });
        }
        read_beside(&engine, &corpus)
    })
}

fn receive() -> Outcome<Corpus> {
    let mut orders = BufReader::new(io::stdin().lock());
    let mut corpus = Corpus::default();
    let (mut key, mut value) = (Vec::new(), Vec::new());
    while Order::read(&mut orders)? == Order::Put {
        wire::read_put(&mut orders, &mut key, &mut value)?;
        corpus.push(&key, &value);
    }
    Ok(corpus)
}

/// One writer: steps, and acknowledgements in pieces, at once after a Sync.
fn write(
    arguments: &StormArguments,
    engine: &WarpEngine,
    corpus: &Corpus,
    thread: u64,
    mut acks: File,
) -> Outcome<()> {
    let mut piece = Vec::with_capacity(ACKS_MAX * Ack::BYTES);
    for number in arguments.from.. {
        let step = step(arguments.seed, thread, number, corpus.len());
        let seq = take(engine, corpus, thread, number, step)?;
        piece.extend_from_slice(&Ack { thread, step: number, seq }.to_bytes());
        if matches!(step, Step::CreateSync { .. }) || piece.len() == ACKS_MAX * Ack::BYTES {
            acks.write_all(&piece)?;
            piece.clear();
        }
    }
    Ok(())
}

/// Carries out one step. Returns its sequence number.
///
/// # Errors
/// What the engine answers.
pub(crate) fn take(
    engine: &WarpEngine,
    corpus: &Corpus,
    thread: u64,
    number: u64,
    step: Step,
) -> Outcome<u64> {
    let value = |record| value(corpus, record, thread, number);
    let seq = match step {
        Step::Create { record } => engine.put(key(thread, number), value(record))?,
        Step::CreateSync { record } => {
            let synced = PutOptions::new().durability(Durability::Sync);
            engine.put_with(key(thread, number), value(record), &synced)?
        }
        Step::Overwrite { record } => engine.put(corpus.key(record), value(record))?,
        Step::Replace { record, deleted } => {
            let mut batch = WriteBatch::new();
            batch.put(key(thread, number), value(record)).delete(key(thread, deleted));
            engine.write(&batch)?
        }
    };
    Ok(seq.0)
}

/// Reads related records beside the writers, until the process ends.
fn read_beside(engine: &WarpEngine, corpus: &Corpus) -> Outcome<()> {
    for (key, _) in corpus.iter().cycle().filter(|(key, _)| key.starts_with(b"char:")) {
        engine.quantum_get(key)?;
        thread::sleep(READ_PAUSE);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECORDS: usize = 1001;

    #[test]
    fn threads_never_write_to_the_same_record() {
        for thread in 0..THREADS as u64 {
            for number in 0..10_000 {
                if let Step::Overwrite { record } = step(1, thread, number, RECORDS) {
                    assert_eq!(record % THREADS, usize::try_from(thread).unwrap());
                    assert!(record < RECORDS);
                }
            }
        }
    }

    #[test]
    fn what_is_replaced_was_created() {
        for number in 0..1_000 {
            if let Step::Replace { deleted, .. } = step(1, 0, number, RECORDS) {
                assert!(matches!(step(1, 0, deleted, RECORDS), Step::Create { .. }), "{deleted}");
            }
        }
    }

    #[test]
    fn a_seed_repeats_its_steps() {
        assert_eq!(step(7, 1, 12, RECORDS), step(7, 1, 12, RECORDS));
        assert!((0..100).any(|number| step(7, 1, number, RECORDS) != step(8, 1, number, RECORDS)));
    }
}
