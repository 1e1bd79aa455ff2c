//! Puts that return at once: their rate beside that of the bare table and of rivals, and what they cost the processor.

use super::committer::{Committer, Mode, Passed, pass};
use super::job::Job;
use super::kinds::Role;
use super::ours::BareTable;
use crate::keys::{Requests, keys, value};
use crate::latency::median;
use crate::report::{Cell, Table, grouped};
use crate::run::Outcome;
use crate::series::{Series, turns};
use crate::timed::Timed;

const THREADS: [usize; 2] = [1, 2];
/// Puts between two looks at the clock.
const GROUP: usize = 64;
const TABLE: &str = "bare table";

struct Subject {
    name: &'static str,
    /// `None` for the bare table.
    role: Option<Role>,
    store: Box<dyn Committer>,
}

/// Measures all that know puts that return at once.
///
/// # Errors
/// What a store answers.
pub(crate) fn interval(job: &mut Job) -> Outcome<()> {
    let dir = job.dir()?;
    let mut subjects = Vec::new();
    for kind in job.kinds.iter().filter(|kind| kind.lazy) {
        let store = kind.open_in(dir.path(), Mode::Lazy)?;
        subjects.push(Subject { name: kind.name, role: Some(kind.role), store });
    }
    subjects.push(Subject { name: TABLE, role: None, store: Box::new(BareTable::new()) });
    job.say("filling ours and the bare table");
    for subject in &subjects {
        if matches!(subject.role, None | Some(Role::Ours)) {
            for key in keys(job.seed, job.sizes.keys) {
                subject.store.commit(0, &key, &value(&key))?;
            }
            subject.store.settle()?;
        }
    }
    let mut table = Table::new(
        format!(
            "Records of 116 bytes that are durable later, a second; {} keys, medians of {}",
            grouped(job.sizes.keys as f64),
            job.sizes.runs
        ),
        &[
            "threads",
            "what",
            "puts/s",
            "least",
            "most",
            "of the bare table",
            "ours / it",
            "ns a put: client",
            "all threads",
        ],
    );
    let threads = job.threads(&THREADS);
    let requests = job.requests(threads.iter().copied().max().unwrap_or(1));
    for threads in threads {
        rows(job, &subjects, &requests[..threads], &mut table)?;
    }
    table.note("ns a put: processor time of the threads that put, and of all threads of the process, shared out to the");
    table.note("puts; what stores do in the background after a pass is not in it. Checkpoints of ours are taken between");
    table.note("passes. warp-wal: our log without a table. Ours and the bare table hold all keys before; rivals are empty.");
    table.note(
        "Ours hands writes to the system within 10 ms and syncs within 100 ms; sled and surrealmx are set",
    );
    table
        .note("to sync every 100 ms; fjall, redb, surrealkv and rocksdb sync when they like, or not at all.");
    job.report.table(table);
    Ok(())
}

fn rows(job: &Job, subjects: &[Subject], requests: &[Requests], table: &mut Table) -> Outcome<()> {
    let mut rates = Series::new(subjects.len());
    let mut passes: Vec<Vec<Passed>> = subjects.iter().map(|_| Vec::new()).collect();
    for run in 0..job.sizes.runs {
        for place in turns(subjects.len(), run) {
            let subject = &subjects[place];
            job.say(&format!("Interval, {} threads, run {}, {}", requests.len(), run + 1, subject.name));
            let passed = pass(&*subject.store, requests, job.sizes.pass, GROUP, &job.clock)?;
            rates.push(place, passed.rate());
            passes[place].push(passed);
            subject.store.settle()?;
        }
    }
    let bare = subjects.len() - 1;
    for (place, subject) in subjects.iter().enumerate() {
        let nanos = |each: fn(&Passed) -> f64| {
            let all: Vec<f64> = passes[place].iter().map(each).collect();
            Cell::number(median(&all), " ns")
        };
        let over = if place == 0 { Cell::Absent(()) } else { Cell::ratio(rates.ratio(0, place)) };
        let title = [Cell::count(requests.len() as u64), Cell::text(subject.name)];
        let rest = [
            Cell::share(rates.ratio(place, bare)),
            over,
            nanos(|passed| passed.nanos_each(passed.clients_cpu)),
            nanos(|passed| passed.nanos_each(passed.process_cpu)),
        ];
        table.row(title.into_iter().chain(rates.cells(place)).chain(rest));
    }
    Ok(())
}
