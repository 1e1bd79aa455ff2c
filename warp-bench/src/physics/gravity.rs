//! Gravity: the engine as a cache in front of its own layers, beside who else could decide what is in memory.

mod engine;
mod restart;
mod shift;
mod simulated;

use std::path::Path;

use warp_api::Physics;
use warp_io::Clock;

use self::engine::{Database, Mode, Replay, VALUE_BYTES};
use self::restart::Restarts;
use self::simulated::{Served, belady, epochs, horizon, lru, oracle};
use super::Job;
use super::trace::{self, Trace};
use crate::report::{Cell, Table};
use crate::run::Outcome;

/// Budgets, in percent of the bytes of all values.
const BUDGETS: [u64; 4] = [5, 10, 25, 50];
/// With fewer entries in memory, or a smaller budget than an engine takes, a budget is left out.
const ENTRIES_MIN: usize = 1_000;
const BUDGET_MIN: u64 = 9 << 20;
/// Traces of more keys are left out, since loading them takes long; in a quick run also those of more requests.
const KEYS_MAX: usize = 300_000;
const KEYS_MAX_QUICK: usize = 15_000;
const REQUESTS_MAX_QUICK: usize = 100_000;
/// Hits may be so much below the horizon's alone, as a share; what is held above the budget likewise.
const SHORT_OF_HORIZON: f64 = 0.005;
const BEYOND_BUDGET: f64 = 0.03;

/// How many times what it pushes out a value has to be worth, where few may come in; at the smallest budget of each trace.
const PRICES: [f64; 3] = [1.0, 8.0, 32.0];

const NAMES: [&str; 8] = ["law", "masses", "off", "horizon", "LRU", "epochs", "static oracle", "Belady"];
/// Those of the engine, the first of them.
const ENGINES: [(&str, Mode); 3] = [("law", Mode::Law), ("masses", Mode::Masses), ("off", Mode::Off)];
const HORIZON: usize = ENGINES.len();
const EPOCHS: usize = HORIZON + 2;

/// What the contenders did with one trace at one budget, in the order of the names.
#[derive(Debug)]
struct Row {
    label: String,
    hash: String,
    budget: u64,
    /// Of the engine, in the order of their names.
    engines: Vec<Replay>,
    others: Vec<Served>,
}

impl Row {
    fn all(&self) -> impl Iterator<Item = &Served> {
        self.engines.iter().map(|replay| &replay.served).chain(&self.others)
    }

    fn share(&self, place: usize) -> f64 {
        self.all().nth(place).map_or(f64::NAN, Served::share)
    }
}

/// Runs the part.
///
/// # Errors
/// What reading a trace and the engine answer.
pub(crate) fn gravity(job: &mut Job) -> Outcome<()> {
    match job.traces.clone() {
        Some(dir) => replays(job, &dir)?,
        None => println!("\ngravity: no traces, so that only a hot set that moves is replayed"),
    }
    shift::shift(job)
}

fn replays(job: &mut Job, dir: &Path) -> Outcome<()> {
    let mut rows = Vec::new();
    let mut restarts = Restarts::new();
    let mut frontier = Table::new(
        "Fewer entries brought in, by the price that they have to be worth: share of reads from memory, brought in an operation",
        &["trace", "price", "law", "brought in", "epochs", "brought in by epochs"],
    );
    for name in trace::names(dir)? {
        let trace = trace::read(dir, &name)?;
        let keys_max = if job.quick { KEYS_MAX_QUICK } else { KEYS_MAX };
        let is_long = job.quick && trace.keys.len() > REQUESTS_MAX_QUICK;
        let most = trace.unique as u64 * VALUE_BYTES as u64 * BUDGETS[BUDGETS.len() - 1] / 100;
        if trace.unique <= keys_max && !is_long && most >= BUDGET_MIN {
            rows.extend(of_trace(job, &trace, &mut frontier, &mut restarts)?);
        }
    }
    if rows.is_empty() {
        println!("\ngravity: no trace of the right size");
        return Ok(());
    }
    tables(job, &rows);
    frontier.note(
        "The price is that of what is pushed out, times so much; of each trace the first is the default.",
    );
    job.report.table(frontier);
    restarts.report(job);
    checks(job, &rows);
    let bars: Vec<(String, f64)> =
        (0..).zip(NAMES).map(|(place, name)| (name.to_owned(), mean(&rows, place) * 100.0)).collect();
    job.plot("gravity.svg", "Mean share of reads served from memory", "%", &bars)
}

fn mean(rows: &[Row], place: usize) -> f64 {
    rows.iter().map(|row| row.share(place)).sum::<f64>() / rows.len() as f64
}

fn of_trace(job: &Job, trace: &Trace, frontier: &mut Table, restarts: &mut Restarts) -> Outcome<Vec<Row>> {
    eprintln!("{:6.1} s  {}: {} keys", job.clock.monotonic().as_secs_f64(), trace.name, trace.unique);
    let place = tempfile::tempdir_in(&job.scratch)?;
    let database = Database::load(place.path().to_path_buf(), trace.unique, job.seed)?;
    let mut rows = Vec::new();
    for percent in BUDGETS {
        let budget = database.bytes * percent / 100;
        if budget < BUDGET_MIN {
            continue;
        }
        let Some(mut row) = contend(job, &database, budget, trace.unique, &trace.keys, 1)? else { continue };
        row.label = format!("{} {percent} %", trace.name);
        row.hash = format!("{:016x}", trace.hash);
        if rows.is_empty() {
            few_moves(job, &database, &row, &trace.keys, frontier)?;
            restarts.add(job, &database, &row, &trace.keys)?;
        }
        rows.push(row);
    }
    Ok(rows)
}

/// What is left of the share if little may come in.
fn few_moves(job: &Job, database: &Database, row: &Row, keys: &[u32], frontier: &mut Table) -> Outcome<()> {
    let epochs = row.all().nth(EPOCHS).ok_or("no epochs")?;
    let mut add = |price: f64, served: &Served| {
        frontier.row([
            Cell::text(&row.label),
            Cell::number(price, ""),
            Cell::share(served.share()),
            Cell::number(served.promotions(), ""),
            Cell::share(epochs.share()),
            Cell::number(epochs.promotions(), ""),
        ]);
    };
    add(Physics::default().promotion_price, &row.engines[0].served);
    for price in PRICES {
        add(price, &database.forget()?.replay(row.budget, Mode::Dear(price), &job.clock, keys, 1)?.served);
    }
    Ok(())
}

/// All contenders; `None` if too few entries fit.
fn contend(
    job: &Job,
    database: &Database,
    budget: u64,
    unique: usize,
    keys: &[u32],
    windows: usize,
) -> Outcome<Option<Row>> {
    let mut engines = Vec::new();
    for (_, mode) in ENGINES {
        engines.push(database.forget()?.replay(budget, mode, &job.clock, keys, windows)?);
        if engines[0].entries < ENTRIES_MIN {
            return Ok(None);
        }
    }
    let entries = engines[0].entries;
    let others = vec![
        horizon(entries, keys, windows),
        lru(entries, unique, keys, windows),
        epochs(entries, unique, keys, windows),
        oracle(entries, unique, keys, windows),
        belady(entries, unique, keys, windows),
    ];
    Ok(Some(Row { label: String::new(), hash: String::new(), budget, engines, others }))
}

fn tables(job: &mut Job, rows: &[Row]) {
    let columns: Vec<&str> = ["trace", "hash", "budget", "entries"].into_iter().chain(NAMES).collect();
    let mut shares = Table::new("Share of reads served from memory", &columns);
    let columns: Vec<&str> = ["trace"].into_iter().chain(NAMES).collect();
    let mut moves = Table::new("Entries brought into memory, an operation", &columns);
    let mut costs = Table::new(
        "What the engine held and took",
        &["trace", "way", "entries", "most held", "remembered, a key", "an operation"],
    );
    for row in rows {
        let head = [
            Cell::text(&row.label),
            Cell::text(&row.hash),
            Cell::bytes(row.budget),
            Cell::count(row.engines[0].entries as u64),
        ];
        shares.row(head.into_iter().chain(row.all().map(|served| Cell::share(served.share()))));
        let brought = row.all().map(|served| Cell::number(served.promotions(), ""));
        moves.row([Cell::text(&row.label)].into_iter().chain(brought));
        for ((name, _), replay) in ENGINES.iter().zip(&row.engines) {
            costs.row([
                Cell::text(&row.label),
                Cell::text(*name),
                Cell::count(replay.entries as u64),
                Cell::share(replay.held),
                Cell::number(replay.remembered, "B"),
                Cell::time(replay.elapsed / u32::try_from(replay.served.all).unwrap_or(u32::MAX)),
            ]);
        }
    }
    let head = [Cell::text("mean"), Cell::text(""), Cell::Absent(()), Cell::Absent(())];
    shares.row(head.into_iter().chain((0..NAMES.len()).map(|place| Cell::share(mean(rows, place)))));
    shares.note(format!(
        "Law, masses, off: the engine with all values in layers, {VALUE_BYTES} random bytes each, which nothing can pack; off: any"
    ));
    shares.note("entry leaves, all come in. The others are simulators of as many entries as the engine with the law had in memory, on");
    shares.note(
        "the mean once it was full. Epochs: placed anew 200 times, by uses that count half after 16 epochs.",
    );
    job.report.table(shares);
    job.report.table(moves);
    job.report.table(costs);
}

fn checks(job: &mut Job, rows: &[Row]) {
    let worst = |gap: &dyn Fn(&Row) -> f64| {
        let gaps = rows.iter().map(|row| (gap(row), row.label.clone()));
        gaps.min_by(|(a, _), (b, _)| a.total_cmp(b)).unwrap_or_default()
    };
    let points = |(gap, label): &(f64, String)| format!("at worst {:+.2} points, {label}", gap * 100.0);
    let gap = worst(&|row| row.share(0) - row.share(HORIZON));
    let what = "the law serves what the horizon alone would, but for half a point";
    job.report.check(what, gap.0 >= -SHORT_OF_HORIZON, points(&gap));
    for (place, (name, _)) in ENGINES.iter().enumerate().skip(1) {
        let ahead = mean(rows, 0) - mean(rows, place);
        let gap = worst(&|row| row.share(0) - row.share(place));
        let detail = format!("{:+.2} points on the mean, {}", ahead * 100.0, points(&gap));
        job.report.check(format!("the law serves more than {name:?}, on the mean"), ahead > 0.0, detail);
    }
    let most = |row: &Row| row.engines.iter().map(|replay| replay.held).fold(0.0, f64::max);
    let (gap, label) = worst(&|row| 1.0 - most(row));
    let detail = format!("at most {:.1} % of it, {label}", (1.0 - gap) * 100.0);
    job.report.check("what is held stays within 3 % of the budget", gap >= -BEYOND_BUDGET, detail);
}
