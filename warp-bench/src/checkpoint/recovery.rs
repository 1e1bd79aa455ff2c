//! Recovery from a checkpoint and the log's tail, against the same directory without its checkpoints.

use std::time::Duration;

use super::files::drop_page_cache;
use super::job::Job;
use super::process::opened;
use super::stores::OURS;
use crate::child;
use crate::keys::{keys, value};
use crate::latency::median_time;
use crate::report::{Cell, Table, grouped};
use crate::restart::remove_checkpoints;
use crate::run::Outcome;
use crate::timed::Timed;

/// One write in this many comes behind the checkpoint.
const TAIL_ONE_IN: usize = 100;

/// What was promised once: writes, time, and how many times faster.
const PROMISED: [(usize, Duration, f64); 4] = [
    (1_000, Duration::from_millis(20), 5.0),
    (100_000, Duration::from_secs(1), 10.0),
    (1_000_000, Duration::from_secs(5), 20.0),
    (10_000_000, Duration::from_secs(30), 33.0),
];

/// Opens each database as it is, and then from its log alone.
///
/// # Errors
/// What the engine, the processes and the system answer.
pub(crate) fn recovery(job: &mut Job) -> Outcome<()> {
    let mut table = Table::new(
        "Recovery from a checkpoint and the log's tail, and of the same directory from its log alone",
        &[
            "writes",
            "with the checkpoint",
            "of it the replay",
            "records replayed",
            "from the log alone",
            "records replayed ",
            "ratio",
            "promised once, kept",
        ],
    );
    for writes in job.sizes.writes.clone() {
        job.say(&format!("recovery, {} writes", grouped(writes as f64)));
        let dir = job.dir()?;
        {
            let engine = child::on_demand().open(dir.path())?;
            let keys = keys(job.seed, writes);
            let tail = writes - writes / TAIL_ONE_IN;
            for (place, key) in keys.iter().enumerate() {
                if place == tail {
                    engine.checkpoint()?;
                }
                engine.put(key, value(key))?;
            }
            engine.sync()?;
        }
        let runs = || -> Outcome<Vec<_>> {
            (0..job.sizes.runs)
                .map(|_| {
                    drop_page_cache(dir.path())?;
                    opened(OURS, dir.path(), writes, job.seed, Duration::ZERO, true)
                })
                .collect()
        };
        let with = runs()?;
        remove_checkpoints(dir.path())?;
        let alone = runs()?;
        let time = |runs: &[super::process::Opened]| {
            median_time(&runs.iter().map(|run| run.first).collect::<Vec<_>>())
        };
        let replay = median_time(&with.iter().filter_map(|run| run.replay).collect::<Vec<_>>());
        let ratio = time(&alone).as_secs_f64() / time(&with).as_secs_f64();
        let promised = PROMISED.iter().find(|(promised, ..)| *promised == writes);
        let promised = promised.map_or(Cell::Absent(()), |(_, most, times)| {
            let kept = if time(&with) <= *most && ratio >= *times { "yes" } else { "NO" };
            Cell::text(format!("{most:?}, {times} x: {kept}"))
        });
        table.row_now([
            Cell::count(writes as u64),
            Cell::time(time(&with)),
            Cell::time(replay),
            Cell::count(with.first().map_or(0, |run| run.records)),
            Cell::time(time(&alone)),
            Cell::count(alone.first().map_or(0, |run| run.records)),
            Cell::ratio(ratio),
            promised,
        ]);
        let whole = alone.iter().all(|run| run.records >= writes as u64);
        let detail = format!("{} opens", 2 * with.len());
        job.report.check(format!("the log alone has all {} writes", grouped(writes as f64)), whole, detail);
    }
    table.note("To the first correct read, in a process of its own, page cache dropped, opened for reading only so that nothing");
    table.note(format!(
        "changes between two opens. The checkpoint was taken when one write in {TAIL_ONE_IN} was left; so there is none of one"
    ));
    table.note("write, which tells what an open takes at least.");
    job.report.table(table);
    Ok(())
}
