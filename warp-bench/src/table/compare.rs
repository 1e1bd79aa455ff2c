//! Operations a second of our table, of each rival and of the limits, by turns over the same keys.

use super::inserts;
use super::job::Job;
use super::kinds::{Kind, Role};
use super::limit::{self, limits};
use super::pages::Pages;
use super::store::{BATCH_KEYS, Reading, Seen, StorePass};
use crate::clients::clients;
use crate::keys::{Requests, Spread, requests};
use crate::report::{Cell, Table, grouped};
use crate::run::Outcome;
use crate::series::{Series, turns};
use crate::timed::Timed;

/// What a row measures on filled stores.
#[derive(Clone, Copy, Debug)]
enum Operation {
    Read(Reading),
    /// Overwrites, in percent; the rest are reads.
    Mixed(u8),
    Overwrite,
}

const OPERATIONS: [(Operation, &str); 6] = [
    (Operation::Read(Reading::Get), "get (handle)"),
    (Operation::Read(Reading::With), "with_value"),
    (Operation::Read(Reading::Multi), "multi_get"),
    (Operation::Mixed(5), "95 % read, 5 % overwrite"),
    (Operation::Mixed(50), "50 % read, 50 % overwrite"),
    (Operation::Overwrite, "overwrite"),
];

/// A filled store, or a limit, which can only be read.
enum Subject {
    Store(Kind, Box<dyn StorePass>),
    Limit(limit::Named),
}

impl Subject {
    fn name(&self) -> &str {
        match self {
            Subject::Store(kind, _) => kind.name,
            Subject::Limit(limit) => &limit.name,
        }
    }

    fn role(&self) -> Option<Role> {
        match self {
            Subject::Store(kind, _) => Some(kind.role),
            Subject::Limit(_) => None,
        }
    }

    /// Carries out a client's requests; `None` if this subject cannot.
    fn pass(&self, operation: Operation, requests: &Requests) -> Option<Seen> {
        match (self, operation) {
            (Subject::Store(_, store), Operation::Read(how)) => Some(store.read(how, &requests.keys)),
            (Subject::Limit(limit), Operation::Read(how)) => Some(limit.pass.read(how, &requests.keys)),
            (Subject::Store(_, store), Operation::Mixed(percent)) => Some(store.mixed(requests, percent)),
            (Subject::Store(_, store), Operation::Overwrite) => {
                store.overwrite_all(&requests.keys);
                Some(Seen::default())
            }
            (Subject::Limit(_), Operation::Mixed(_) | Operation::Overwrite) => None,
        }
    }
}

/// One line of the comparison.
struct Line {
    spread: &'static str,
    threads: usize,
    what: &'static str,
    series: Series,
}

/// Measures growing from empty first, then fills all stores and measures the rest on them.
///
/// # Errors
/// What went wrong in a client thread.
pub(crate) fn compare(job: &mut Job, with_limits: bool, with_inserts: bool) -> Outcome<()> {
    // Before this process is filled, so that memory is left for the children.
    let inserts = if with_inserts { insert_lines(job)? } else { Vec::new() };
    let keys = job.keys();

    let mut subjects = Vec::new();
    for kind in &job.kinds {
        job.say(&format!("filling {}", kind.name));
        let store = (kind.empty)();
        store.insert_all(&keys);
        subjects.push(Subject::Store(*kind, store));
    }
    if with_limits {
        job.say("filling the limits");
        subjects.extend(limits(&keys).into_iter().map(Subject::Limit));
    }
    let (mut lines, mut wrong) = (Vec::new(), Vec::new());
    for spread in Spread::ALL {
        let (clients_max, count) = (job.clients_max(), job.sizes.operations);
        let requests = requests(spread, &keys, clients_max, count, job.seed);
        for &threads in &job.sizes.threads {
            for (operation, what) in OPERATIONS {
                job.say(&format!("{}, {threads} threads, {what}", spread.name()));
                let series = rates(job, &subjects, operation, &requests[..threads], &mut wrong)?;
                say_medians(job, subjects.iter().map(Subject::name), &series);
                lines.push(Line { spread: spread.name(), threads, what, series });
            }
        }
    }
    // The stores that grew from empty are in the same order, and have no limits behind them.
    lines.extend(inserts);
    report(job, &subjects, &lines);
    let detail = wrong.first().cloned().unwrap_or_else(|| format!("{} lines", lines.len()));
    job.report.check("every store found the same", wrong.is_empty(), detail);
    Ok(())
}

/// Puts of all keys into empty stores.
fn insert_lines(job: &Job) -> Outcome<Vec<Line>> {
    let mut lines = Vec::new();
    for &threads in &job.sizes.threads {
        let whats = ["insert, growing from empty", "insert, ours in 4 KiB pages"];
        for (what, series) in whats.into_iter().zip(inserts::rates(job, threads)?) {
            say_medians(job, job.kinds.iter().map(|kind| kind.name), &series);
            lines.push(Line { spread: "random", threads, what, series });
        }
    }
    Ok(lines)
}

/// Says what was found, for who does not wait for the report.
fn say_medians<'a>(job: &Job, names: impl Iterator<Item = &'a str>, series: &Series) {
    let found = names.enumerate().filter(|(place, _)| series.has(*place));
    let rates = found.map(|(place, name)| format!("{name} {}", grouped(series.median(place))));
    job.say(&format!("    a second: {}", rates.collect::<Vec<_>>().join(", ")));
}

/// One operation on every subject, by turns.
fn rates(
    job: &Job,
    subjects: &[Subject],
    operation: Operation,
    requests: &[Requests],
    wrong: &mut Vec<String>,
) -> Outcome<Series> {
    let mut series = Series::new(subjects.len());
    let count: usize = requests.iter().map(|requests| requests.keys.len()).sum();
    let mut expected = None;
    for run in 0..job.sizes.runs {
        for place in turns(subjects.len(), run) {
            let subject = &subjects[place];
            let (outcome, time) =
                job.time(|| clients(requests.len(), |number| Ok(subject.pass(operation, &requests[number]))));
            let Some(seen) = outcome?.into_iter().collect::<Option<Vec<Seen>>>() else { continue };
            series.push(place, count as f64 / time.as_secs_f64());
            let mut all = Seen::default();
            seen.into_iter().for_each(|seen| all.merge(seen));
            let read_all = !matches!(operation, Operation::Read(_)) || all.hits == count as u64;
            if *expected.get_or_insert(all) != all || !read_all {
                wrong.push(format!("{}: {operation:?} found {all:?}, expected {expected:?}", subject.name()));
            }
            if let Subject::Store(_, store) = subject {
                store.settle()?;
            }
        }
    }
    Ok(series)
}

fn report(job: &mut Job, subjects: &[Subject], lines: &[Line]) {
    let (keys, runs) = (grouped(job.sizes.keys as f64), job.sizes.runs);
    let mut all = Table::new(
        format!("Operations a second on {keys} keys, medians of {runs}"),
        &["keys asked for", "threads", "operation", "store", "median", "least", "most"],
    );
    for line in lines {
        for (place, subject) in subjects.iter().enumerate() {
            if line.series.has(place) {
                let store = Cell::text(subject.name());
                all.row(line.cells().into_iter().chain([store]).chain(line.series.cells(place)));
            }
        }
    }
    all.note(
        "Keys of 16 bytes, values of 100. A read looks at every eighth byte of the value. multi_get takes",
    );
    all.note(format!("{BATCH_KEYS} keys a call. An overwrite makes a new value and leaves the key alone."));
    all.note(
        "get (handle): what ours returns outlives the call; rivals and limits have no such thing, and read",
    );
    all.note(
        "as in with_value. inline: keys and values of fixed size in the table itself, for orientation only.",
    );
    all.note(
        "limit: an index of 64-byte buckets over an array of records, filled once; see docs/performance.md.",
    );

    let mut ratios = Table::new(
        "Ours against the best rival and against the limits, ratios within a run",
        &[
            "keys asked for",
            "threads",
            "operation",
            "ours",
            "best rival",
            "its rate",
            "ours / rival",
            "of raw, 4 KiB",
            "of raw, huge",
            "of pinned, 4 KiB",
            "of pinned, huge",
        ],
    );
    let place_of = |name: String| subjects.iter().position(|subject| subject.name() == name);
    for line in lines {
        let places = 0..subjects.len();
        let rivals =
            places.filter(|&place| subjects[place].role() == Some(Role::Rival) && line.series.has(place));
        let best = line.series.best(rivals);
        let limits = [
            limit::raw_name(Pages::Small),
            limit::raw_name(Pages::Huge),
            limit::directory_name(Pages::Small),
            limit::directory_name(Pages::Huge),
        ];
        let shares = limits.map(|name| match place_of(name).filter(|&place| line.series.has(place)) {
            Some(place) => Cell::share(line.series.ratio(0, place)),
            None => Cell::Absent(()),
        });
        let rival = match best {
            Some(best) => [
                Cell::text(subjects[best].name()),
                Cell::rate(line.series.median(best)),
                Cell::ratio(line.series.ratio(0, best)),
            ],
            None => [const { Cell::Absent(()) }; 3],
        };
        let ours = [Cell::rate(line.series.median(0))];
        ratios.row(line.cells().into_iter().chain(ours).chain(rival).chain(shares));
    }
    ratios.note("Inserts: each store grows in a process of its own. Ours asks for huge pages, which rivals get only if the");
    ratios.note("allocator is told to; where the host of a virtual machine has taken free memory back, those cost it more to give.");
    ratios.note(
        "pinned: with the slot directory and the pin. The rival is the best of the boxed maps in that row.",
    );
    job.report.table(all);
    job.report.table(ratios);
}

impl Line {
    /// What it was measured on.
    fn cells(&self) -> [Cell; 3] {
        [Cell::text(self.spread), Cell::count(self.threads as u64), Cell::text(self.what)]
    }
}
