//! Opening after SIGKILL, with nothing of the database in the page cache: ours beside other stores.

use std::path::Path;
use std::time::Duration;

use warp_io::Clock;

use super::RIVAL_ENTRIES_MAX;
use super::files::drop_page_cache;
use super::job::Job;
use super::process::{self, Opened, pace};
use super::stores::{self, OURS};
use crate::keys::{Key, keys, value};
use crate::latency::{median, median_time};
use crate::log::{Connection, Persistence, Reply, Server, is_redis_there};
use crate::report::{Cell, Table, grouped};
use crate::run::Outcome;
use crate::timed::Timed;

/// A Redis server that saves snapshots, and one that appends to a file.
const REDIS: [(&str, Persistence); 2] =
    [("redis-rdb", Persistence::Snapshot), ("redis-aof", Persistence::LogEverySecond)];
/// How long a store is overwritten before it is killed.
const OVERWRITTEN: Duration = Duration::from_millis(500);
/// Ours may take so long beyond the replay of the log.
const BEYOND_REPLAY_MAX: Duration = Duration::from_millis(100);
/// Records that are sent to a Redis server at once.
const PIPELINE: usize = 1_000;
/// A server that loads answers, but not with values: it is asked again after this.
const ASK_AGAIN: Duration = Duration::from_millis(1);

/// Fills, kills and opens.
///
/// # Errors
/// What the stores, the processes and the system answer.
pub(crate) fn opens(job: &mut Job) -> Outcome<()> {
    let wanted = |name: &str| job.sizes.stores.is_empty() || job.sizes.stores.iter().any(|one| one == name);
    let mut names: Vec<&str> = stores::names().filter(|name| *name == OURS || wanted(name)).collect();
    if is_redis_there() {
        names.extend(REDIS.iter().map(|(name, _)| *name).filter(|name| wanted(name)));
    } else {
        println!("\nNOT MEASURED: there is no redis-server in PATH, so that nothing is said about Redis.");
    }
    let mut table = Table::new(
        "Open after SIGKILL to the first correct read, page cache dropped",
        &[
            "entries",
            "store",
            "to the first read",
            "of it the replay",
            "log replayed",
            "records replayed",
            "to 95 % of the pace",
            "gets a second at that pace",
        ],
    );
    let mut slow = Vec::new();
    for entries in job.sizes.opens.clone() {
        for name in &names {
            if entries > RIVAL_ENTRIES_MAX && *name != OURS {
                continue;
            }
            let mut runs = Vec::new();
            for run in 0..job.sizes.runs {
                job.say(&format!("open, {} entries, {name}, run {}", grouped(entries as f64), run + 1));
                runs.push(cycle(job, name, entries)?);
            }
            let beyond = runs.iter().filter_map(|run| Some(run.first.saturating_sub(run.replay?)));
            let beyond = median_time(&beyond.collect::<Vec<_>>());
            if *name == OURS && beyond > BEYOND_REPLAY_MAX {
                slow.push(format!("{} entries: {beyond:?}", grouped(entries as f64)));
            }
            table.row_now(row(entries, name, &runs));
        }
    }
    table.note("A process fills the store, makes all of it durable, overwrites for half a second, and is killed. Another");
    table.note("process opens it; ours takes its checkpoints by its own rules. The pace is the rate of uniform gets in the last");
    table.note(format!(
        "third of {} s; a store that is still reading from the disk then has not come to its end. Redis is asked over a",
        job.sizes.steady.as_secs_f64()
    ));
    table.note("socket, one request at a time; its time begins with the start of the server.");
    job.report.table(table);
    let detail = slow.first().cloned().unwrap_or_else(|| "at every size".to_owned());
    job.report.check("ours opens within 100 ms beyond the replay of the log", slow.is_empty(), detail);
    Ok(())
}

fn row(entries: usize, name: &str, runs: &[Opened]) -> [Cell; 8] {
    let time = |of: fn(&Opened) -> Option<Duration>| {
        let times: Vec<Duration> = runs.iter().filter_map(of).collect();
        if times.is_empty() { Cell::Absent(()) } else { Cell::time(median_time(&times)) }
    };
    let count = |of: fn(&Opened) -> u64| median(&runs.iter().map(|run| of(run) as f64).collect::<Vec<_>>());
    let told = runs.iter().all(|run| run.replay.is_some());
    let or_absent = |cell: Cell| if told { cell } else { Cell::Absent(()) };
    [
        Cell::count(entries as u64),
        Cell::text(name),
        time(|run| Some(run.first)),
        time(|run| run.replay),
        or_absent(Cell::number(count(|run| run.log_bytes), "B")),
        or_absent(Cell::number(count(|run| run.records), "")),
        time(|run| run.at_pace),
        Cell::rate(median(&runs.iter().map(|run| run.rate).collect::<Vec<_>>())),
    ]
}

fn cycle(job: &Job, name: &str, entries: usize) -> Outcome<Opened> {
    let dir = job.dir()?;
    if let Some((_, persistence)) = REDIS.iter().find(|(other, _)| *other == name) {
        return redis(job, dir.path(), *persistence, entries);
    }
    let after = if job.sizes.quick { OVERWRITTEN / 10 } else { OVERWRITTEN };
    process::filled_and_killed(name, dir.path(), entries, job.seed, after)?;
    drop_page_cache(dir.path())?;
    process::opened(name, dir.path(), entries, job.seed, job.sizes.steady, false)
}

fn redis(job: &Job, dir: &Path, persistence: Persistence, entries: usize) -> Outcome<Opened> {
    let keys = keys(job.seed, entries);
    let mut server = Server::start_with(dir, persistence)?;
    let mut connection = server.connect()?;
    for keys in keys.chunks(PIPELINE) {
        keys.iter().for_each(|key| connection.set(key, &value(key)));
        connection.send()?;
        keys.iter().try_for_each(|_| connection.reply().map(|_| ()))?;
    }
    match persistence {
        Persistence::Snapshot => {
            connection.save();
            connection.send()?;
            connection.reply()?;
        }
        // What was appended is synced within a second.
        _ => std::thread::sleep(Duration::from_millis(1_500)),
    }
    server.kill()?;
    drop(connection);
    drop_page_cache(dir)?;
    let start = job.clock.monotonic();
    let server = Server::start_with(dir, persistence)?;
    let mut connection = server.connect()?;
    // While it loads it answers with an error.
    while !has(&mut connection, &keys[keys.len() / 2]).unwrap_or(false) {
        std::thread::sleep(ASK_AGAIN);
    }
    let first = job.clock.monotonic() - start;
    let (after, rate) = pace(&job.clock, job.sizes.steady, &keys, job.seed, |key| has(&mut connection, key))?;
    Ok(Opened { first, at_pace: Some(first + after), rate, ..Opened::default() })
}

fn has(connection: &mut Connection, key: &Key) -> Outcome<bool> {
    connection.get(key);
    connection.send()?;
    Ok(matches!(connection.reply()?, Reply::Value(value) if value.starts_with(key)))
}
