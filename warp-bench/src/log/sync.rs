//! Puts that return once they are on the disk: by threads that wait, and by many futures on one thread.

use std::pin::Pin;

use warp_io::Clock;

use super::committer::{Committer, Mode, Passed, pass};
use super::executor;
use super::job::Job;
use super::kinds::{Kind, Role};
use super::raw::RawSync;
use crate::keys::{Requests, next_value};
use crate::latency::median;
use crate::report::{Cell, Table, grouped};
use crate::run::Outcome;
use crate::series::{Series, turns};
use crate::timed::Timed;

const THREADS: [usize; 5] = [1, 2, 8, 32, 64];
pub(crate) const THREADS_MAX: usize = 64;
/// Futures that one thread drives.
const FUTURES: usize = 1024;
const RAW: &str = "raw fdatasync, 1 thread";
const SKELETON: &str = "skeleton";

/// Something that was opened to be measured.
struct Subject {
    name: &'static str,
    /// `None` for the raw disk.
    role: Option<Role>,
    store: Box<dyn Committer>,
}

/// Commits one after the other, and says how many.
type Task<'a> = Pin<Box<dyn Future<Output = Outcome<u64>> + 'a>>;

/// All passes of one number of threads.
struct Line {
    threads: usize,
    rates: Series,
    /// Of each subject, of each run.
    passes: Vec<Vec<Passed>>,
}

/// Measures threads, then futures.
///
/// # Errors
/// What a store answers.
pub(crate) fn sync(job: &mut Job) -> Outcome<()> {
    let dir = job.dir()?;
    let subject = |kind: &Kind| -> Outcome<Subject> {
        let store = kind.open_in(dir.path(), Mode::Sync)?;
        Ok(Subject { name: kind.name, role: Some(kind.role), store })
    };
    let mut subjects = job.kinds.iter().map(subject).collect::<Outcome<Vec<Subject>>>()?;
    if job.limits {
        let store = Box::new(RawSync::open(&dir.path().join("raw"))?);
        subjects.push(Subject { name: RAW, role: None, store });
    }
    let threads = job.threads(&THREADS);
    let requests = job.requests(threads.iter().copied().max().unwrap_or(1).max(FUTURES));
    let mut lines = Vec::new();
    for threads in threads {
        lines.push(line(job, &subjects, &requests[..threads])?);
    }
    all(job, &subjects, &lines);
    ratios(job, &subjects, &lines);
    futures(job, &subjects, &requests[..FUTURES], &lines)
}

fn line(job: &Job, subjects: &[Subject], requests: &[Requests]) -> Outcome<Line> {
    let mut line = Line {
        threads: requests.len(),
        rates: Series::new(subjects.len()),
        passes: subjects.iter().map(|_| Vec::new()).collect(),
    };
    for run in 0..job.sizes.runs {
        for place in turns(subjects.len(), run) {
            let subject = &subjects[place];
            job.say(&format!("Sync, {} threads, run {}, {}", line.threads, run + 1, subject.name));
            // What one thread alone reaches on the raw disk is what all numbers of threads are measured by.
            let requests = if subject.role.is_none() { &requests[..1] } else { requests };
            let passed = pass(&*subject.store, requests, job.sizes.pass, 1, &job.clock)?;
            line.rates.push(place, passed.rate());
            line.passes[place].push(passed);
            subject.store.settle()?;
        }
    }
    Ok(line)
}

fn all(job: &mut Job, subjects: &[Subject], lines: &[Line]) {
    let mut table = Table::new(
        format!(
            "Records of 116 bytes that are on the disk when the put returns, a second; medians of {}",
            job.sizes.runs
        ),
        &["threads", "what", "commits/s", "least", "most", "syncs/s", "commits a sync", "of N x F"],
    );
    let raw = place_of(subjects, RAW);
    for line in lines {
        for (place, subject) in subjects.iter().enumerate() {
            let threads = if subject.role.is_none() { 1 } else { line.threads };
            let of_passes = |share: fn(&Passed) -> Option<f64>| {
                let shares: Vec<f64> = line.passes[place].iter().filter_map(share).collect();
                median(&shares)
            };
            let syncs = of_passes(|passed| Some(passed.syncs? as f64 / passed.time.as_secs_f64()));
            let gathered = of_passes(|passed| Some(passed.commits as f64 / passed.syncs? as f64));
            let share = raw.map_or(f64::NAN, |raw| line.rates.ratio(place, raw) / threads as f64);
            let title = [Cell::count(threads as u64), Cell::text(subject.name)];
            let rest = [Cell::rate(syncs), Cell::number(gathered, ""), Cell::share(share)];
            table.row(title.into_iter().chain(line.rates.cells(place)).chain(rest));
        }
    }
    table.note(
        "F: what one thread reaches that writes 4 KiB into a file that was written through before, and calls",
    );
    table.note("fdatasync, in the same run; N: the threads of the row. skeleton: group commit without a table, a format");
    table.note(
        "or a rotation. warp-wal: our log without the table. Ours counts its syncs; rivals do not tell.",
    );
    table.note("All run in the process that measures but redis, which is asked over a unix socket.");
    job.report.table(table);
}

fn ratios(job: &mut Job, subjects: &[Subject], lines: &[Line]) {
    let mut table = Table::new(
        "Ours against the disk, the skeleton and the best rival, ratios within a run",
        &[
            "threads",
            "ours",
            "of N x F",
            "of the skeleton",
            "best rival",
            "its rate",
            "ours / rival",
            "warp-wal",
            "of the skeleton ",
            "best rival log",
            "warp-wal / rival log",
        ],
    );
    let (raw, skeleton) = (place_of(subjects, RAW), place_of(subjects, SKELETON));
    let log = subjects.iter().position(|subject| subject.role == Some(Role::Log));
    for line in lines {
        let ratio =
            |place: usize, over: Option<usize>| over.map_or(f64::NAN, |over| line.rates.ratio(place, over));
        let best = |wanted: fn(Role) -> bool| {
            line.rates.best((0..subjects.len()).filter(|&place| subjects[place].role.is_some_and(wanted)))
        };
        let rival = best(|role| role == Role::Rival);
        let rival_log = best(|role| role.is_rival() && role != Role::Rival);
        let log = log.unwrap_or(0);
        let name =
            |place: Option<usize>| place.map_or(Cell::Absent(()), |place| Cell::text(subjects[place].name));
        table.row([
            Cell::count(line.threads as u64),
            Cell::rate(line.rates.median(0)),
            Cell::share(ratio(0, raw) / line.threads as f64),
            Cell::share(ratio(0, skeleton)),
            name(rival),
            rival.map_or(Cell::Absent(()), |rival| Cell::rate(line.rates.median(rival))),
            Cell::ratio(ratio(0, rival)),
            Cell::rate(line.rates.median(log)),
            Cell::share(ratio(log, skeleton)),
            name(rival_log),
            Cell::ratio(ratio(log, rival_log)),
        ]);
    }
    job.report.table(table);
}

fn place_of(subjects: &[Subject], name: &str) -> Option<usize> {
    subjects.iter().position(|subject| subject.name == name)
}

/// Puts from futures on one thread, for those that have them.
fn futures(job: &mut Job, subjects: &[Subject], requests: &[Requests], lines: &[Line]) -> Outcome<()> {
    let able = |subject: &&Subject| subject.store.commit_later(&requests[0].keys[0], b"").is_some();
    let able: Vec<&Subject> = subjects.iter().filter(able).collect();
    let (mut rates, mut syncs) = (Series::new(able.len()), vec![Vec::new(); able.len()]);
    for run in 0..job.sizes.runs {
        for place in turns(able.len(), run) {
            let subject = able[place];
            job.say(&format!("Sync, {FUTURES} futures, run {}, {}", run + 1, subject.name));
            let passed = futures_pass(job, &*subject.store, requests)?;
            rates.push(place, passed.rate());
            syncs[place].push(passed.syncs.map_or(f64::NAN, |syncs| passed.commits as f64 / syncs as f64));
            subject.store.settle()?;
        }
    }
    // Most rivals can only block, so that the best of them is the best that was seen with threads.
    let rivals = lines.iter().flat_map(|line| {
        let rivals = (0..subjects.len()).filter(|&place| subjects[place].role == Some(Role::Rival));
        rivals.map(|place| (line.rates.median(place), subjects[place].name, line.threads))
    });
    let best = rivals.max_by(|one, other| one.0.total_cmp(&other.0));
    let mut table = Table::new(
        format!(
            "{} futures on one thread, each a put and a wait until it is durable",
            grouped(FUTURES as f64)
        ),
        &["what", "commits/s", "least", "most", "commits a sync", "of the best rival with threads", "which"],
    );
    for (place, subject) in able.iter().enumerate() {
        let (ratio, which) = match best {
            Some((rate, name, threads)) => {
                (Cell::ratio(rates.median(place) / rate), Cell::text(format!("{name}, {threads} threads")))
            }
            None => (Cell::Absent(()), Cell::Absent(())),
        };
        let title = [Cell::text(subject.name)];
        let rest = [Cell::number(median(&syncs[place]), ""), ratio, which];
        table.row(title.into_iter().chain(rates.cells(place)).chain(rest));
    }
    table.note("Polled by hand, without a runtime. Stores that can only block are not in the rows; the best of them with");
    table.note("any number of threads, in this run, is what the last columns compare with.");
    job.report.table(table);
    Ok(())
}

fn futures_pass(job: &Job, store: &dyn Committer, requests: &[Requests]) -> Outcome<Passed> {
    let syncs = store.syncs();
    let start = job.clock.monotonic();
    let end = start + job.sizes.pass;
    let mut tasks: Vec<Task<'_>> = Vec::new();
    for requests in requests {
        tasks.push(Box::pin(async move {
            let mut commits = 0;
            for key in requests.keys.iter().cycle() {
                commits += 1;
                let value = next_value(key, commits);
                let committing = store.commit_later(key, &value).ok_or("the store can only block")?;
                committing.await?;
                if job.clock.monotonic() >= end {
                    break;
                }
            }
            Ok(commits)
        }));
    }
    let commits: u64 = executor::run(tasks).into_iter().sum::<Outcome<u64>>()?;
    Ok(Passed {
        commits,
        time: job.clock.monotonic() - start,
        syncs: syncs.zip(store.syncs()).map(|(before, after)| after.saturating_sub(before)),
        ..Passed::default()
    })
}
