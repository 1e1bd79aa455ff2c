//! How long a put takes at a constant load, rotations and syncs included.

use std::time::Duration;

use warp_api::{Durability, LogMetrics, WarpEngine};

use super::committer::{Committer, pass};
use super::job::Job;
use super::paced::paced;
use crate::child;
use crate::keys::next_value;
use crate::latency::{Latency, median, median_time};
use crate::report::{Cell, Table, grouped};
use crate::run::Outcome;
use crate::timed::Timed;

/// Of the peak of one client thread.
const LOAD: f64 = 0.6;
/// Small, so that many rotations fall into a run.
const SEGMENT_BYTES: u64 = 4 << 20;
const SEGMENT_BYTES_QUICK: u64 = 256 << 10;
/// Keys: few, so that the table does not grow, and what is slow is the log's.
const KEYS_MAX: usize = 100_000;
/// A run at a constant load lasts as long as so many passes.
const PASSES: u32 = 5;
/// Puts between two looks at the clock while the peak is looked for.
const GROUP: usize = 64;
const QUANTILES: [f64; 4] = [0.5, 0.99, 0.999, 0.9999];

/// The engine, as something to commit to.
struct Puts(WarpEngine);

impl Committer for Puts {
    fn commit(&self, _: usize, key: &[u8], value: &[u8]) -> Outcome<()> {
        self.0.put(key, value)?;
        Ok(())
    }
}

/// Finds the peak, and then puts at a share of it, by turns with a loop that only reads the clock.
///
/// # Errors
/// What the engine answers.
pub(crate) fn latency(job: &mut Job) -> Outcome<()> {
    let dir = job.dir()?;
    let segment_bytes = if job.sizes.quick { SEGMENT_BYTES_QUICK } else { SEGMENT_BYTES };
    let options = child::on_demand().checkpoints_kept(1).log_segment_bytes(segment_bytes);
    let engine = options.durability(Durability::Interval).open(dir.path())?;
    let mut requests = job.requests(1);
    requests[0].keys.truncate(KEYS_MAX);
    let puts = Puts(engine.clone());
    let mut peaks = Vec::new();
    for run in 0..job.sizes.runs {
        job.say(&format!("latency, peak, run {}", run + 1));
        peaks.push(pass(&puts, &requests, job.sizes.pass, GROUP, &job.clock)?.rate());
        engine.checkpoint()?;
    }
    let load = median(&peaks) * LOAD;
    let length = job.sizes.pass * PASSES;
    let (mut clocks, mut ours) = (Vec::new(), Vec::new());
    let before = metrics(&engine)?;
    for run in 0..job.sizes.runs {
        job.say(&format!("latency, {} puts/s, run {}", grouped(load), run + 1));
        clocks.push(paced(&job.clock, load, length, || Ok(()))?);
        let mut keys = requests[0].keys.iter().cycle().zip(1..);
        ours.push(paced(&job.clock, load, length, || {
            let (key, count) = keys.next().ok_or("there are no requests")?;
            puts.commit(0, key, &next_value(key, count))
        })?);
        engine.checkpoint()?;
    }
    let after = metrics(&engine)?;
    let mut table = Table::new(
        format!(
            "put, Interval, at {} a second ({:.0} % of the peak of one thread, {} a second), timed from when it was due",
            grouped(load),
            LOAD * 100.0,
            grouped(median(&peaks)),
        ),
        &["what", "p50", "p99", "p99.9", "p99.99", "longest", "longest of all runs"],
    );
    table.row(cells("put", &ours));
    table.row(cells("reading the clock alone, at the same pace", &clocks));
    table.note(format!(
        "Medians of {} runs of {} s by turns. Segments of {} KiB: {} rotations and {} syncs fell into the runs.",
        job.sizes.runs,
        length.as_secs_f64(),
        segment_bytes >> 10,
        after.rotations - before.rotations,
        after.syncs - before.syncs,
    ));
    table.note("What the clock alone shows are pauses of the machine, and none of ours.");
    job.report.table(table);
    let mut steps =
        Table::new("The log's own time for a rotation", &["longest time that one held the writer's lock"]);
    steps.row([Cell::time(Duration::from_nanos(after.longest_rotation_nanos))]);
    steps.note("By the clock, taken inside, so that a pause of the machine in the middle of it counts.");
    job.report.table(steps);
    // Many rotations are the point; without any the figures say nothing about them.
    let rotations = after.rotations - before.rotations;
    job.report.check("rotations fell into the runs", rotations > 0, format!("{rotations} of them"));
    drop(puts);
    Ok(engine.close()?)
}

fn metrics(engine: &WarpEngine) -> Outcome<LogMetrics> {
    Ok(engine.cosmic_metrics().log.ok_or("the engine has no log")?)
}

fn cells(what: &str, runs: &[Latency]) -> Vec<Cell> {
    let of_runs =
        |share: f64| -> Vec<Duration> { runs.iter().filter_map(|run| run.quantile(share)).collect() };
    let quantiles = QUANTILES.map(|share| Cell::time(median_time(&of_runs(share))));
    let longest = of_runs(1.0);
    let most = longest.iter().copied().max().unwrap_or_default();
    let mut cells = vec![Cell::text(what)];
    cells.extend(quantiles);
    cells.extend([Cell::time(median_time(&longest)), Cell::time(most)]);
    cells
}
