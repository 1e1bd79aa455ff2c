//! How long single puts take while a table grows from empty, the longest of all, beside a thread that only reads the clock.

use std::collections::BTreeMap;
use std::time::Duration;

use super::job::Job;
use crate::idle::beside_idle;
use crate::latency::Latency;
use crate::report::{Cell, Table, grouped};
use crate::run::Outcome;
use crate::timed::Timed;

/// A step of growth may hold its lock for so long.
const STEP_MAX: Duration = Duration::from_millis(1);

/// Fills each store once from one thread, and times each put.
///
/// # Errors
/// That the thread beside it panicked.
pub(crate) fn growth(job: &mut Job) -> Outcome<()> {
    let keys = job.keys();
    let mut table = Table::new(
        format!("Single puts while growing from empty to {} keys, one thread", grouped(keys.len() as f64)),
        &["store", "what", "p50", "p99", "p99.9", "p99.99", "longest", "longest step in its lock"],
    );
    let mut histograms = Vec::new();
    let mut longest = Duration::ZERO;
    for kind in &job.kinds {
        job.say(&format!("growing {}", kind.name));
        let store = (kind.empty)();
        let (puts, gaps) = beside_idle(&job.clock, || store.insert_timed(&keys, &job.clock))?;
        let step = store.longest_step();
        longest = longest.max(step.unwrap_or_default());
        let step = step.map_or(Cell::Absent(()), Cell::time);
        table.row(cells(kind.name, "puts", &puts).into_iter().chain([step]));
        table.row(cells(kind.name, "idle thread", &gaps).into_iter().chain([Cell::Absent(())]));
        histograms.push(histogram(kind.name, &puts, &gaps));
    }
    table.note(
        "A put's time includes one reading of the clock. The idle thread does nothing but read the clock",
    );
    table.note("while the puts go on: pauses that it shares are the machine's, and not the table's.");
    job.report.table(table);
    histograms.into_iter().for_each(|histogram| job.report.table(histogram));
    let detail = format!("the longest held it for {longest:?}");
    job.report.check(
        "no step of ours holds its lock for more than a millisecond",
        longest <= STEP_MAX,
        detail,
    );
    Ok(())
}

/// How many puts, and how many gaps of the idle thread, took how long.
fn histogram(store: &str, puts: &Latency, gaps: &Latency) -> Table {
    let mut counts: BTreeMap<Duration, [u64; 2]> = BTreeMap::new();
    for (column, latency) in [puts, gaps].into_iter().enumerate() {
        for (below, count) in latency.powers() {
            counts.entry(below).or_default()[column] = count;
        }
    }
    let mut table = Table::new(
        format!("Puts into {store} while growing, by how long they took"),
        &["below", "puts", "share", "gaps of the idle thread", "share"],
    );
    let share = |count: u64, latency: &Latency| Cell::share(count as f64 / latency.count() as f64);
    for (below, [of_puts, of_gaps]) in counts {
        table.row([
            Cell::time(below),
            Cell::count(of_puts),
            share(of_puts, puts),
            Cell::count(of_gaps),
            share(of_gaps, gaps),
        ]);
    }
    table.note("Powers of two of nanoseconds; a row leaves out what is in the rows above it.");
    table
}

fn cells(store: &str, what: &str, latency: &Latency) -> Vec<Cell> {
    let [p50, p99, p999, longest] = latency.cells();
    let p9999 = latency.quantile(0.9999).map_or(Cell::Absent(()), Cell::time);
    vec![Cell::text(store), Cell::text(what), p50, p99, p999, p9999, longest]
}
