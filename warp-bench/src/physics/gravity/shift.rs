//! A hot set that moves: skewed requests, of which half way through other keys are the popular ones.

use super::engine::{Database, VALUE_BYTES};
use super::{HORIZON, Job, NAMES, contend};
use crate::random::Random;
use crate::report::{Cell, Table};
use crate::run::Outcome;
use crate::zipf::{YCSB_THETA, Zipf};

const KEYS: usize = 40_000;
const KEYS_QUICK: usize = 20_000;
/// Requests, in keys.
const REQUESTS: usize = 20;
const REQUESTS_QUICK: usize = 8;
const BUDGET_PERCENT: u64 = 20;
const WINDOWS: usize = 10;

/// Runs and reports it.
///
/// # Errors
/// What the engine answers.
pub(super) fn shift(job: &mut Job) -> Outcome<()> {
    let (keys, times) = if job.quick { (KEYS_QUICK, REQUESTS_QUICK) } else { (KEYS, REQUESTS) };
    let requests = requests(keys, keys * times, job.seed)?;
    let place = tempfile::tempdir_in(&job.scratch)?;
    let database = Database::load(place.path().to_path_buf(), keys, job.seed)?;
    let budget = database.bytes * BUDGET_PERCENT / 100;
    let row = contend(job, &database, budget, keys, &requests, WINDOWS)?;
    let Some(row) = row else { return Ok(()) };
    let columns: Vec<&str> = ["window"].into_iter().chain(NAMES).collect();
    let mut table = Table::new(
        format!(
            "Share of reads served from memory; {keys} keys of {VALUE_BYTES} bytes, zipf {YCSB_THETA}, {} entries in memory",
            row.engines[0].entries
        ),
        &columns,
    );
    let shares: Vec<Vec<f64>> = row.all().map(super::Served::shares).collect();
    for window in 0..WINDOWS {
        let label = if window < WINDOWS / 2 { "before" } else { "after" };
        let cells = shares.iter().map(|shares| Cell::share(shares[window]));
        table.row([Cell::text(format!("{} {label}", window + 1))].into_iter().chain(cells));
    }
    let moves = row.all().map(|served| Cell::number(served.promotions(), ""));
    table.row([Cell::text("brought in, an operation")].into_iter().chain(moves));
    table.note("Ten windows of equal length; the hot set moves after the fifth, at once.");
    job.report.table(table);
    let (ours, horizon) = (shares[0][WINDOWS - 1], shares[HORIZON][WINDOWS - 1]);
    let detail =
        format!("{:.1} % in the last window, {:.1} % the horizon alone", ours * 100.0, horizon * 100.0);
    let what = "after a shift the law is within a point of the horizon alone";
    job.report.check(what, ours >= horizon - 0.01, detail);
    let lines: Vec<_> = NAMES.iter().map(|name| (*name).to_owned()).zip(shares).collect();
    job.plot_shares("shift.svg", "Reads served from memory; other keys are hot from the middle on", &lines)
}

/// Keys by rank, scattered; the second half of the requests has other keys at each rank.
fn requests(keys: usize, count: usize, seed: u64) -> Outcome<Vec<u32>> {
    let zipf = Zipf::new(keys, YCSB_THETA);
    let mut random = Random::new(seed, 1);
    let mut order: Vec<u32> = (0..u32::try_from(keys)?).collect();
    let mut shuffle = |random: &mut Random| {
        for place in (1..keys).rev() {
            order.swap(place, random.below(place + 1));
        }
        order.clone()
    };
    let (before, after) = (shuffle(&mut random), shuffle(&mut random));
    Ok((0..count)
        .map(|place| {
            let rank = zipf.rank(&mut random);
            if place < count / 2 { before[rank] } else { after[rank] }
        })
        .collect())
}
