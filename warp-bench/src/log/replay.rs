//! How fast a log is read again: alone, and into an engine, each in a process of its own for the sake of its memory.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::ValueEnum;
use warp_api::{LogFormat, Options};
use warp_io::{Clock, SystemClock};
use warp_wal::Kind;

use super::job::Job;
use crate::child;
use crate::clients::clients;
use crate::keys::{KEY_BYTES, keys, value};
use crate::latency::{median, median_time};
use crate::machine::peak_resident_bytes;
use crate::report::{Cell, Table, grouped};
use crate::run::Outcome;
use crate::timed::Timed;

/// Numbers of threads that an engine replays with.
const THREADS: [usize; 2] = [1, 2];
/// Threads that write the log.
const WRITERS: usize = 2;
/// The directory of an engine's log.
const LOG: &str = "wal";

/// Who reads the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Reader {
    /// `warp_wal::replay`, which hands out the entries.
    Log,
    /// An engine that opens.
    Engine,
}

/// What a child is told when it is started.
#[derive(Debug, clap::Args)]
pub(crate) struct ReplayArguments {
    reader: Reader,
    dir: PathBuf,
    #[arg(long, default_value_t = 1)]
    threads: usize,
}

/// What a child answers.
#[derive(Clone, Copy, Debug)]
struct Replayed {
    time: Duration,
    records: u64,
    /// Resident memory before, and the most that there ever was.
    before: u64,
    peak: u64,
}

/// The child's side: replays once, and prints nanoseconds, records, and bytes of memory.
///
/// # Errors
/// What the log or the engine answers; a kernel that does not say what a process takes.
pub(crate) fn replay(arguments: &ReplayArguments) -> Outcome<()> {
    let ReplayArguments { reader, dir, threads } = arguments;
    let peak = || peak_resident_bytes().ok_or("the kernel does not tell what a process takes");
    let clock = SystemClock::new();
    let before = peak()?;
    let start = clock.monotonic();
    let elapsed = || clock.monotonic().saturating_sub(start);
    let (records, time, engine) = match reader {
        Reader::Log => {
            let mut records = 0_u64;
            // Samples of load and places of slots are in the log, too.
            let is_record =
                |entry: &warp_wal::Entry<'_>| entry.kind == Kind::Put && entry.key.len() == KEY_BYTES;
            warp_wal::replay(dir.join(LOG), |_, entry| records += u64::from(is_record(entry)))?;
            (records, elapsed(), None)
        }
        Reader::Engine => {
            let engine = options(*threads).open(dir)?;
            let time = elapsed();
            (engine.len()?, time, Some(engine))
        }
    };
    println!("{} {records} {before} {}", time.as_nanos(), peak()?);
    drop(engine);
    Ok(())
}

/// How an engine opens that replays with so many threads.
fn options(threads: usize) -> Options {
    child::on_demand().recovery_threads(threads)
}

/// Writes a log in each format, and has children replay it.
///
/// # Errors
/// What the engine, the children and the system answer.
pub(crate) fn replays(job: &mut Job) -> Outcome<()> {
    let mut table = Table::new(
        format!(
            "Reading a log of {} records of 116 bytes, without any checkpoint",
            grouped(job.sizes.records as f64)
        ),
        &[
            "format",
            "read by",
            "threads",
            "time",
            "records/s",
            "log",
            "MB/s of log",
            "peak memory",
            "of records",
        ],
    );
    let record_bytes = (job.sizes.records * (KEY_BYTES + crate::keys::VALUE_BYTES)) as f64;
    let mut wrong = Vec::new();
    for (format, name) in [(LogFormat::Binary, "binary"), (LogFormat::Json, "JSON")] {
        let dir = job.dir()?;
        job.say(&format!("replay, {name}, writing"));
        let log_bytes = fill(job, dir.path(), format)?;
        let readers =
            std::iter::once((Reader::Log, 1)).chain(THREADS.map(|threads| (Reader::Engine, threads)));
        for (reader, threads) in readers {
            let mut all = Vec::new();
            for run in 0..job.sizes.runs {
                job.say(&format!("replay, {name}, {reader:?}, {threads} threads, run {}", run + 1));
                let replayed = start(reader, dir.path(), threads)?;
                if replayed.records != job.sizes.records as u64 {
                    wrong.push(format!("{name}, {reader:?}: {} records", replayed.records));
                }
                all.push(replayed);
            }
            let time = median_time(&all.iter().map(|replayed| replayed.time).collect::<Vec<_>>());
            let grown: Vec<f64> =
                all.iter().map(|replayed| replayed.peak.saturating_sub(replayed.before) as f64).collect();
            let reader = match reader {
                Reader::Log => "warp-wal alone",
                Reader::Engine => "an engine that opens",
            };
            table.row([
                Cell::text(name),
                Cell::text(reader),
                Cell::count(threads as u64),
                Cell::time(time),
                Cell::rate(job.sizes.records as f64 / time.as_secs_f64()),
                Cell::bytes(log_bytes),
                Cell::number(log_bytes as f64 / 1e6 / time.as_secs_f64(), " MB/s"),
                Cell::number(median(&grown), "B"),
                Cell::share(median(&grown) / record_bytes),
            ]);
        }
    }
    table.note(format!("Medians of {} processes; the log is in the page cache.", job.sizes.runs));
    table.note("The time of an engine is all of its opening, the next segments' preparation included. Peak memory is");
    table.note("the most that the process held (VmHWM) beyond what it held before; an engine holds the records then.");
    job.report.table(table);
    let detail = wrong.first().cloned().unwrap_or_else(|| "by all".to_owned());
    job.report.check("every record was read again", wrong.is_empty(), detail);
    Ok(())
}

/// Makes a database whose records are all in the log; returns the bytes of the frames.
fn fill(job: &Job, dir: &Path, format: LogFormat) -> Outcome<u64> {
    let engine = child::on_demand().log_format(format).open(dir)?;
    let keys = keys(job.seed, job.sizes.records);
    let parts: Vec<_> = keys.chunks(keys.len().div_ceil(WRITERS)).collect();
    clients(parts.len(), |number| {
        for key in parts[number] {
            engine.put(key, value(key))?;
        }
        Ok(())
    })?;
    engine.sync()?;
    Ok(engine.cosmic_metrics().log.map_or(0, |log| log.bytes_written))
}

fn start(reader: Reader, dir: &Path, threads: usize) -> Outcome<Replayed> {
    let reader = match reader {
        Reader::Log => "log",
        Reader::Engine => "engine",
    };
    let answer = child::answer("the process that replays", |command| {
        command.args(["replay", reader]).arg(dir).args(["--threads", &threads.to_string()])
    })?;
    parse(&answer)
}

fn parse(answer: &str) -> Outcome<Replayed> {
    let numbers: Result<Vec<u64>, _> = answer.split_whitespace().map(str::parse).collect();
    match numbers?[..] {
        [nanos, records, before, peak] => {
            Ok(Replayed { time: Duration::from_nanos(nanos), records, before, peak })
        }
        _ => Err("the child's answer is not four numbers".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_four_numbers() {
        let replayed = parse("1500 22 3 4\n").unwrap();
        assert_eq!((replayed.time, replayed.records, replayed.peak), (Duration::from_nanos(1500), 22, 4));
        assert!(parse("1 22 3\n").is_err());
        assert!(parse("1 22 3 x\n").is_err());
    }
}
