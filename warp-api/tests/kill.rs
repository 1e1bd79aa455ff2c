//! A child process that writes from four threads and is killed with SIGKILL at random moments.
//!
//! The child is this test's own binary, told by an environment variable to be the writer. It says on its standard
//! output what was acknowledged; what it said is what the parent holds the database to.

#![allow(
    clippy::cast_possible_truncation,
    clippy::unwrap_used,
    reason = "a test that cannot go on says so by a panic, and its numbers are small"
)]

mod common;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use common::report;
use warp_api::{Durability, Options, WarpEngine};

const ROUNDS: u64 = 50;
const THREADS: u64 = 4;
/// Keys of each thread, written again and again.
const KEYS: u64 = 500;
/// An `Interval` write that was acknowledged this long before the kill must be there.
const INTERVAL_LIMIT_MILLIS: u64 = 200;
const CHILD: &str = "WARP_KILL_TEST_DIR";

fn options() -> Options {
    Options::new().log_segment_bytes(256 << 10).checkpoint_log_bytes(512 << 10).log_buffer_bytes(64 << 10)
}

/// The writer: threads 0 and 1 write with `Sync`, 2 and 3 with `Interval`, and thread 3 calls `sync` now and then.
#[test]
#[ignore = "run by the test below as the process that is killed"]
fn writer() {
    let Ok(dir) = std::env::var(CHILD) else { return };
    let engine = options().open(dir).unwrap();
    let first = engine.last_seq().0;
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let engine = &engine;
            scope.spawn(move || write(engine, thread, first));
        }
    });
}

/// Lines: `<thread> <sequence> <number of the write> <how> <Unix milliseconds>`.
fn write(engine: &WarpEngine, thread: u64, first: u64) {
    let durability = if thread < 2 { Durability::Sync } else { Durability::Interval };
    let engine = engine.with_durability(durability);
    for number in 0_u64.. {
        let value = format!("{first}/{thread}/{number}/{}", "v".repeat((number % 200) as usize));
        let seq = engine.put(format!("{thread}:{}", number % KEYS), value).unwrap();
        let how = if durability == Durability::Sync { "sync" } else { "interval" };
        say(thread, seq.0, number, how);
        if thread == 3 && number % 1_000 == 999 {
            engine.sync().unwrap();
            say(thread, seq.0, number, "sync");
        }
        // The disk is to be busy, and the pipe not to be the bound.
        if durability == Durability::Interval && number % 8 == 0 {
            std::thread::sleep(Duration::from_micros(500));
        }
    }
}

fn say(thread: u64, seq: u64, number: u64, how: &str) {
    let line = format!("{thread} {seq} {number} {how} {}\n", unix_millis());
    // One write a line, so that lines of several threads never mix. A closed pipe means that the parent is gone.
    if std::io::stdout().lock().write_all(line.as_bytes()).is_err() {
        std::process::exit(0);
    }
}

fn unix_millis() -> u64 {
    use warp_io::Clock;
    warp_io::SystemClock::new().unix_millis()
}

#[derive(Debug)]
struct Said {
    thread: u64,
    seq: u64,
    number: u64,
    durable: bool,
    at: u64,
}

/// Runs the writer for a while, kills it, and returns what it said, and when it was killed.
fn run_and_kill(dir: &Path, random: &mut u64) -> (Vec<Said>, u64) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["writer", "--exact", "--ignored", "--nocapture"])
        .env(CHILD, dir)
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap());
    let reader = std::thread::spawn(move || {
        lines.lines().map_while(Result::ok).filter_map(|line| parse(&line)).collect::<Vec<Said>>()
    });
    *random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    std::thread::sleep(Duration::from_millis(60 + (*random >> 33) % 400));
    let killed_at = unix_millis();
    child.kill().unwrap();
    child.wait().unwrap();
    (reader.join().unwrap(), killed_at)
}

fn parse(line: &str) -> Option<Said> {
    let words: Vec<&str> = line.split_ascii_whitespace().collect();
    let [thread, seq, number, how @ ("sync" | "interval"), at] = words[..] else { return None };
    Some(Said {
        thread: thread.parse().ok()?,
        seq: seq.parse().ok()?,
        number: number.parse().ok()?,
        durable: how == "sync",
        at: at.parse().ok()?,
    })
}

#[test]
fn a_killed_process_loses_nothing_that_was_acknowledged_as_durable() {
    let scratch = tempfile::tempdir().unwrap();
    let mut random = 42;
    let mut highest = 0;
    let (mut said_in_all, mut durable_in_all, mut lost_in_all) = (0, 0, 0);
    for round in 0..ROUNDS {
        let (said, killed_at) = run_and_kill(scratch.path(), &mut random);
        if let Some(lowest) = said.iter().map(|said| said.seq).min() {
            assert!(lowest > highest, "round {round}: sequence {lowest} was given before");
        }
        highest = said.iter().map(|said| said.seq).max().unwrap_or(highest).max(highest);
        let engine = options().open(scratch.path()).unwrap();
        let recovered = engine.recovery_report().last_seq.0;
        for said in &said {
            let must = said.durable || said.at + INTERVAL_LIMIT_MILLIS < killed_at;
            assert!(!must || said.seq <= recovered, "round {round}: {said:?} is lost, recovered {recovered}");
            lost_in_all += u64::from(said.seq > recovered);
        }
        check_prefix(&engine, &said, recovered, round);
        let report = engine.verify().unwrap();
        assert!(report.is_clean(), "round {round}: {:?}", report.problems);
        said_in_all += said.len();
        durable_in_all += said.iter().filter(|said| said.durable).count();
        highest = highest.max(engine.last_seq().0);
        if round % 5 == 4 {
            engine.close().unwrap();
        }
    }
    report(&format!(
        "{ROUNDS} kills: {said_in_all} acknowledged writes, {durable_in_all} of them durable and none lost; {lost_in_all} others lost"
    ));
    assert!(durable_in_all > 1_000, "only {durable_in_all} durable writes");
}

/// What is left is a prefix of the order: every key has the value of its last write up to `recovered`, or of a
/// later one that was made and not said before the kill.
fn check_prefix(engine: &WarpEngine, said: &[Said], recovered: u64, round: u64) {
    let mut last: BTreeMap<(u64, u64), &Said> = BTreeMap::new();
    for said in said.iter().filter(|said| said.seq <= recovered) {
        let newest = last.entry((said.thread, said.number % KEYS)).or_insert(said);
        if said.seq > newest.seq {
            *newest = said;
        }
    }
    let lost: std::collections::BTreeSet<(u64, u64)> =
        said.iter().filter(|said| said.seq > recovered).map(|said| (said.thread, said.number)).collect();
    for ((thread, key), newest) in last {
        let value = engine.get(format!("{thread}:{key}")).unwrap();
        let value = value.unwrap_or_else(|| panic!("round {round}: {newest:?} has no value"));
        let text = String::from_utf8(value.to_vec()).unwrap();
        let number: u64 = text.split('/').nth(2).unwrap().parse().unwrap();
        assert_eq!(number % KEYS, key, "round {round}: a value of another key");
        assert!(
            number >= newest.number,
            "round {round}: {newest:?} is there, and its value is that of {number}"
        );
        assert!(
            !lost.contains(&(thread, number)),
            "round {round}: {number} of thread {thread} is after the prefix"
        );
    }
}
