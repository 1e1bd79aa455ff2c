//! Gravity: the engine as a cache in front of its own layers, beside who else could decide what is in memory.

mod engine;
mod shift;
mod simulated;

use std::path::Path;

use self::engine::{Database, Replay, VALUE_BYTES};
use self::simulated::{Served, belady, epochs, horizon, lru, oracle};
use super::trace::{self, Trace};
use super::{Job, plot};
use crate::report::{Cell, Table};
use crate::run::Outcome;

/// Budgets, in percent of the bytes of all values.
const BUDGETS: [u64; 4] = [5, 10, 25, 50];
/// With fewer entries in memory, or a smaller budget than an engine takes, a budget is left out.
const ENTRIES_MIN: usize = 1_000;
const BUDGET_MIN: u64 = 9 << 20;
/// Traces of more keys are left out, since loading them takes long; in a quick run also those of more requests.
const KEYS_MAX: usize = 300_000;
const KEYS_MAX_QUICK: usize = 25_000;
const REQUESTS_MAX_QUICK: usize = 150_000;
/// Hits may be so much below the horizon's alone, as a share; what is held above the budget likewise.
const SHORT_OF_HORIZON: f64 = 0.005;
const BEYOND_BUDGET: f64 = 0.03;

const NAMES: [&str; 7] = ["gravity", "off", "horizon", "LRU", "epochs", "static oracle", "Belady"];

/// What the contenders did with one trace at one budget, in the order of the names.
#[derive(Debug)]
struct Row {
    label: String,
    hash: String,
    budget: u64,
    ours: Replay,
    off: Replay,
    others: Vec<Served>,
}

impl Row {
    fn all(&self) -> impl Iterator<Item = &Served> {
        [&self.ours.served, &self.off.served].into_iter().chain(&self.others)
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
    for name in trace::names(dir)? {
        let trace = trace::read(dir, &name)?;
        let keys_max = if job.quick { KEYS_MAX_QUICK } else { KEYS_MAX };
        let is_long = job.quick && trace.keys.len() > REQUESTS_MAX_QUICK;
        let most =
            BUDGETS.iter().map(|percent| trace.unique as u64 * VALUE_BYTES as u64 * percent / 100).max();
        if trace.unique <= keys_max && !is_long && most >= Some(BUDGET_MIN) {
            rows.extend(of_trace(job, &trace)?);
        }
    }
    tables(job, &rows);
    checks(job, &rows);
    let Some(dir) = job.plots.clone().filter(|_| !rows.is_empty()) else { return Ok(()) };
    let mean =
        |place: usize| rows.iter().filter_map(|row| row.all().nth(place)).map(Served::share).sum::<f64>();
    let bars: Vec<(String, f64)> = (0..)
        .zip(NAMES)
        .map(|(place, name)| (name.to_owned(), mean(place) * 100.0 / rows.len() as f64))
        .collect();
    Ok(plot::bars(&dir, "gravity.svg", "Mean share of reads served from memory", "%", &bars)?)
}

fn of_trace(job: &Job, trace: &Trace) -> Outcome<Vec<Row>> {
    eprintln!("{}: {} keys", trace.name, trace.unique);
    let place = tempfile::tempdir_in(&job.scratch)?;
    let database = Database::load(place.path().to_path_buf(), trace.unique, job.seed)?;
    let mut rows = Vec::new();
    for percent in BUDGETS {
        let budget = database.bytes * percent / 100;
        if budget < BUDGET_MIN {
            continue;
        }
        let label = format!("{} {percent} %", trace.name);
        let hash = format!("{:016x}", trace.hash);
        rows.extend(contend(&database, label, hash, budget, trace.unique, &trace.keys, 1)?);
    }
    Ok(rows)
}

/// All contenders; `None` if too few entries fit.
fn contend(
    database: &Database,
    label: String,
    hash: String,
    budget: u64,
    unique: usize,
    keys: &[u32],
    windows: usize,
) -> Outcome<Option<Row>> {
    let ours = database.replay(budget, true, keys, windows)?;
    let entries = ours.entries;
    if entries < ENTRIES_MIN {
        return Ok(None);
    }
    let off = database.replay(budget, false, keys, windows)?;
    let others = vec![
        horizon(entries, keys, windows),
        lru(entries, unique, keys, windows),
        epochs(entries, unique, keys, windows),
        oracle(entries, unique, keys, windows),
        belady(entries, unique, keys, windows),
    ];
    Ok(Some(Row { label, hash, budget, ours, off, others }))
}

fn tables(job: &mut Job, rows: &[Row]) {
    let head = ["trace", "hash", "budget", "entries"];
    let columns: Vec<&str> = head.into_iter().chain(NAMES).collect();
    let mut shares = Table::new("Share of reads served from memory", &columns);
    let columns: Vec<&str> = ["trace", "entries, off", "most held"].into_iter().chain(NAMES).collect();
    let mut moves = Table::new("Entries brought into memory, an operation", &columns);
    for row in rows {
        let head = [
            Cell::text(&row.label),
            Cell::text(&row.hash),
            Cell::bytes(row.budget),
            Cell::count(row.ours.entries as u64),
        ];
        shares.row(head.into_iter().chain(row.all().map(|served| Cell::share(served.share()))));
        let head = [
            Cell::text(&row.label),
            Cell::count(row.off.entries as u64),
            Cell::share(row.ours.held.max(row.off.held)),
        ];
        moves.row(head.into_iter().chain(row.all().map(|served| Cell::number(served.promotions(), ""))));
    }
    if !rows.is_empty() {
        let mean = |place: usize| {
            rows.iter().filter_map(|row| row.all().nth(place)).map(Served::share).sum::<f64>()
                / rows.len() as f64
        };
        let head = [Cell::text("mean"), Cell::text(""), Cell::Absent(()), Cell::Absent(())];
        shares.row(head.into_iter().chain((0..NAMES.len()).map(|place| Cell::share(mean(place)))));
    }
    shares.note(format!(
        "The engine with all values in layers, {VALUE_BYTES} random bytes each, which nothing can pack; `off`: any entry leaves,"
    ));
    shares.note("all come in. The others are simulators of as many entries as the engine with gravity had in memory, on the mean");
    shares.note("once it was full. Epochs: placed anew 200 times, by uses that count half after 16 epochs.");
    job.report.table(shares);
    job.report.table(moves);
}

fn checks(job: &mut Job, rows: &[Row]) {
    let worst = |gap: &dyn Fn(&Row) -> f64| {
        rows.iter().map(|row| (gap(row), row.label.clone())).min_by(|(a, _), (b, _)| a.total_cmp(b))
    };
    if let Some((gap, label)) = worst(&|row| row.ours.served.share() - row.others[0].share()) {
        let detail = format!("at worst {:+.2} points, {label}", gap * 100.0);
        job.report.check(
            "as good as the horizon alone, but for half a point",
            gap >= -SHORT_OF_HORIZON,
            detail,
        );
    }
    if let Some((gap, label)) = worst(&|row| row.ours.served.share() - row.off.served.share()) {
        let detail = format!("at worst {:+.2} points, {label}", gap * 100.0);
        job.report.check("better than without gravity", gap > 0.0, detail);
    }
    if let Some((gap, label)) = worst(&|row| 1.0 - row.ours.held.max(row.off.held)) {
        let detail = format!("at most {:.1} % of it, {label}", (1.0 - gap) * 100.0);
        job.report.check("what is held stays within 3 % of the budget", gap >= -BEYOND_BUDGET, detail);
    }
}
