//! The processes of the measurements: one that fills a store and writes until it is killed, and one that opens a store with
//! nothing of it in memory, and tells how long that took.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use warp_io::{Clock, SystemClock};

use super::stores;
use crate::child;
use crate::keys::{Key, keys};
use crate::latency::median;
use crate::random::Random;
use crate::run::Outcome;

/// What the process that fills is told.
#[derive(Debug, clap::Args)]
pub(crate) struct FillArguments {
    store: String,
    dir: PathBuf,
    count: usize,
}

/// What the process that opens is told.
#[derive(Debug, clap::Args)]
pub(crate) struct OpenArguments {
    store: String,
    dir: PathBuf,
    count: usize,
    /// Milliseconds to read for, to see when the store is at its pace; 0 for not.
    #[arg(long, default_value_t = 0)]
    steady: u64,
    #[arg(long)]
    read_only: bool,
}

/// What an open was like.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Opened {
    /// To the first correct read.
    pub(crate) first: Duration,
    /// The part of it that replayed the log, as far as the store tells.
    pub(crate) replay: Option<Duration>,
    pub(crate) log_bytes: u64,
    pub(crate) records: u64,
    /// From the start of the open until reads were at 95 % of their later rate.
    pub(crate) at_pace: Option<Duration>,
    /// That later rate, a second.
    pub(crate) rate: f64,
}

const LOADED: &str = "loaded";
/// The streams of random numbers that overwrites and reads are drawn from: what is read first is not what was written
/// last.
const OVERWRITES: u64 = 77;
const READS: u64 = 78;
/// Reads are counted in windows of this length.
const WINDOW: Duration = Duration::from_millis(10);
/// What counts as being at the pace.
const AT_PACE: f64 = 0.95;
/// Reads between two looks at the clock.
const GROUP: usize = 16;

/// Fills a store, says so, and overwrites until it is killed.
///
/// # Errors
/// What the store and the pipe answer.
pub(crate) fn fill(arguments: &FillArguments, seed: u64) -> Outcome<()> {
    let keys = keys(seed, arguments.count);
    let store = stores::open(&arguments.store, &arguments.dir, false)?;
    store.load(&keys)?;
    store.sync()?;
    println!("{LOADED}");
    std::io::stdout().flush()?;
    let mut random = Random::new(seed, OVERWRITES);
    for count in 1.. {
        store.overwrite(&keys[random.below(keys.len())], count)?;
    }
    Ok(())
}

/// Opens a store, reads, and prints nanoseconds and counts.
///
/// # Errors
/// What the store answers; that a key which was synced is not there.
pub(crate) fn open(arguments: &OpenArguments, seed: u64) -> Outcome<()> {
    let keys = keys(seed, arguments.count);
    let clock = SystemClock::new();
    let start = clock.monotonic();
    let store = stores::open(&arguments.store, &arguments.dir, arguments.read_only)?;
    if !store.has(&keys[keys.len() / 2])? {
        return Err("a record that was synced is not there".into());
    }
    let first = clock.monotonic() - start;
    let recovered = store.recovered();
    let (at_pace, rate) = if arguments.steady == 0 {
        (0, 0.0)
    } else {
        let length = Duration::from_millis(arguments.steady);
        let (after, rate) = pace(&clock, length, &keys, seed, |key| store.has(key))?;
        (u64::try_from((first + after).as_nanos())?, rate)
    };
    let replay = match recovered {
        Some(recovered) => recovered.elapsed.as_nanos().to_string(),
        None => "-".to_owned(),
    };
    let recovered = recovered.unwrap_or_default();
    println!("{} {replay} {} {} {at_pace} {rate}", first.as_nanos(), recovered.log_bytes, recovered.records);
    Ok(())
}

/// Reads keys at random for `length`; returns when the first window came that is at the pace of the last third, and that
/// pace.
///
/// # Errors
/// What reading answers; that a key is not there.
pub(crate) fn pace(
    clock: &SystemClock,
    length: Duration,
    keys: &[Key],
    seed: u64,
    mut has: impl FnMut(&Key) -> Outcome<bool>,
) -> Outcome<(Duration, f64)> {
    let mut random = Random::new(seed, READS);
    // When each window ended, and its rate.
    let mut windows: Vec<(Duration, f64)> = Vec::new();
    let start = clock.monotonic();
    let (mut from, mut count) = (start, 0_u32);
    while from - start < length {
        for _ in 0..GROUP {
            if !has(&keys[random.below(keys.len())])? {
                return Err("a record that was synced is not there".into());
            }
            count += 1;
        }
        let now = clock.monotonic();
        if now - from >= WINDOW {
            windows.push((now - start, f64::from(count) / (now - from).as_secs_f64()));
            (from, count) = (now, 0);
        }
    }
    Ok(reached(&windows))
}

fn reached(windows: &[(Duration, f64)]) -> (Duration, f64) {
    let last: Vec<f64> = windows[windows.len() * 2 / 3..].iter().map(|(_, rate)| *rate).collect();
    let rate = median(&last);
    let at = windows.iter().find(|(_, window)| *window >= rate * AT_PACE);
    (at.map_or(Duration::ZERO, |(end, _)| *end), rate)
}

/// Has a process fill a store and kills it while it overwrites, `after` it was full.
///
/// # Errors
/// What the process and the system answer.
pub(crate) fn filled_and_killed(
    store: &str,
    dir: &Path,
    count: usize,
    seed: u64,
    after: Duration,
) -> Outcome<()> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["fill", store]).arg(dir).arg(count.to_string()).args(["--seed", &seed.to_string()]);
    let (mut child, _orders, answers) = child::start(&mut command)?;
    let mut answer = String::new();
    BufReader::new(answers).read_line(&mut answer)?;
    if answer.trim_end() != LOADED {
        return Err(format!("the process that fills {store} ended early").into());
    }
    thread::sleep(after);
    child.kill()
}

/// Has a process open a store.
///
/// # Errors
/// What the process and the system answer.
pub(crate) fn opened(
    store: &str,
    dir: &Path,
    count: usize,
    seed: u64,
    steady: Duration,
    read_only: bool,
) -> Outcome<Opened> {
    let answer = child::answer(&format!("the process that opens {store}"), |command| {
        command.args(["open", store]).arg(dir).arg(count.to_string());
        command.args(["--seed", &seed.to_string(), "--steady", &steady.as_millis().to_string()]);
        command.args(read_only.then_some("--read-only"))
    })?;
    parse(&answer)
}

fn parse(answer: &str) -> Outcome<Opened> {
    let words: Vec<&str> = answer.split_whitespace().collect();
    let [first, replay, log_bytes, records, at_pace, rate] = words[..] else {
        return Err("the process's answer is not six words".into());
    };
    let at_pace = Duration::from_nanos(at_pace.parse()?);
    Ok(Opened {
        first: Duration::from_nanos(first.parse()?),
        replay: if replay == "-" { None } else { Some(Duration::from_nanos(replay.parse()?)) },
        log_bytes: log_bytes.parse()?,
        records: records.parse()?,
        at_pace: (!at_pace.is_zero()).then_some(at_pace),
        rate: rate.parse()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_six_words() {
        let opened = parse("1500 - 3 4 0 2.5\n").unwrap();
        assert_eq!((opened.first, opened.replay), (Duration::from_nanos(1500), None));
        assert_eq!((opened.at_pace, opened.rate), (None, 2.5));
        assert_eq!(parse("1 2 3 4 5 6").unwrap().replay, Some(Duration::from_nanos(2)));
        assert!(parse("1 2 3 4 5").is_err());
    }

    #[test]
    fn the_pace_is_that_of_the_last_third() {
        let window = |at: u64, rate| (Duration::from_millis(at), rate);
        let windows = [
            window(1, 10.0),
            window(2, 50.0),
            window(3, 96.0),
            window(4, 98.0),
            window(5, 100.0),
            window(6, 100.0),
        ];
        assert_eq!(reached(&windows), (Duration::from_millis(3), 100.0));
    }
}
