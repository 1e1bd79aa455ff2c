//! Data several times as large as memory: each store in a process of its own, under a cgroup's limit.

use std::hint::black_box;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use warp_io::{Clock, OsDir, SystemClock};

use super::Job;
use super::group::{self, Group};
use super::records::Records;
use super::store::{STORES, Store};
use crate::keys::{KEY_BYTES, VALUE_BYTES, next_value};
use crate::latency::{Latency, median};
use crate::machine::{peak_resident_bytes, read_bytes, thread_read_bytes};
use crate::report::{Cell, Table, grouped};
use crate::run::Outcome;

/// The group may have so much more than the store is told, in percent.
const LIMIT_PERCENT: u64 = 110;
/// Least memory that a store is given: below it buffers and code, and not the data, are what is measured.
const BUDGET_MIN: u64 = 32 << 20;
/// Client threads of the passes.
const THREADS: [u64; 2] = [1, 2];
/// Writes in a hundred requests: YCSB C, which is gets alone; B; A; and C again, when each store has in its memory what it
/// wants to have there.
const MIXES: [(&str, usize); 4] =
    [("C: gets", 0), ("B: 5 % puts", 5), ("A: 50 % puts", 50), ("C, after these", 0)];
/// One request in this many is timed, and of these one in this many is asked how much it had read from the device, if it is a get.
const TIMED_ONE_IN: u64 = 16;
const ASKED_ONE_IN: u64 = 16;
/// What a device reads at the least.
const PAGE_BYTES: u64 = 4096;

/// What the child is told.
#[derive(Debug, clap::Args)]
pub(crate) struct LimitedArguments {
    store: String,
    dir: PathBuf,
    /// The group to join first.
    #[arg(long)]
    group: PathBuf,
    #[arg(long)]
    entries: usize,
    #[arg(long)]
    budget: u64,
    /// Length of a pass, in milliseconds.
    #[arg(long)]
    pass: u64,
}

/// What the child tells of one pass, as a line of JSON.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Pass {
    mix: String,
    threads: u64,
    per_second: f64,
    p50_nanos: Option<u64>,
    p99_nanos: Option<u64>,
    /// Share of the reads that memory of the store's own served.
    from_memory: Option<f64>,
    /// Bytes read from the device, a request.
    device_bytes: f64,
    /// Pages that a get had read from the device: the 99th of a hundred.
    device_pages_p99: Option<u64>,
    peak_bytes: Option<u64>,
    missing: u64,
}

/// Runs the part.
///
/// # Errors
/// What the system answers; not what befalls a store, which is told in the table.
pub(crate) fn larger(job: &mut Job) -> Outcome<()> {
    let data = (job.entries * (KEY_BYTES + VALUE_BYTES)) as u64;
    let budget = (data / job.times).max(BUDGET_MIN);
    let limit = budget * LIMIT_PERCENT / 100;
    let version = match Group::make(limit) {
        Ok(group) => group.version,
        Err(error) => {
            println!("\nSKIPPED: data larger than memory needs a cgroup with a limit of memory: {error}");
            return Ok(());
        }
    };
    let mut table = Table::new(
        format!(
            "{} entries, {:.1} times the memory of {} MiB; cgroup v{version}, limit {} MiB; zipf 0.99",
            grouped(job.entries as f64),
            data as f64 / budget as f64,
            budget >> 20,
            limit >> 20
        ),
        &[
            "store",
            "mix",
            "threads",
            "requests",
            "p50",
            "p99",
            "from its memory",
            "device, a request",
            "pages a get, p99",
            "max RSS",
        ],
    );
    for &(name, _) in STORES {
        if !job.only.is_empty() && !job.only.iter().any(|only| only == name) {
            continue;
        }
        let mut runs = Vec::new();
        for _ in 0..job.runs {
            eprintln!("{:6.1} s  {name}", job.clock.monotonic().as_secs_f64());
            match run(job, name, budget, limit) {
                Ok(passes) => runs.push(passes),
                Err(error) => println!("  {name}: {error}"),
            }
        }
        rows(&mut table, name, &runs);
        let missing: u64 = runs.iter().flatten().map(|pass| pass.missing).sum();
        let whole = runs.len() == job.runs && missing == 0;
        let detail = format!("{} of {} runs, {missing} values missing", runs.len(), job.runs);
        if name == "ours" {
            job.report.check("ours stays within the limit and finds every value", whole, detail);
        }
    }
    table.note("Medians. RSS counts mapped files, which the system takes back when it needs the memory; the limit of the group");
    table.note("holds for both. A store that was killed or failed is said above, and has no row. Trees are loaded in the order of");
    table.note("the keys, which is best for them, all others in random order.");
    job.report.table(table);
    Ok(())
}

fn rows(table: &mut Table, name: &str, runs: &[Vec<Pass>]) {
    let Some(first) = runs.first() else { return };
    for (place, pass) in first.iter().enumerate() {
        let of = |f: &dyn Fn(&Pass) -> Option<f64>| {
            median(&runs.iter().filter_map(|passes| f(passes.get(place)?)).collect::<Vec<_>>())
        };
        let time = |nanos: f64| Cell::number(nanos / 1000.0, "us");
        table.row_now([
            Cell::text(name),
            Cell::text(pass.mix.clone()),
            Cell::count(pass.threads),
            Cell::rate(of(&|pass| Some(pass.per_second))),
            time(of(&|pass| pass.p50_nanos.map(|nanos| nanos as f64))),
            time(of(&|pass| pass.p99_nanos.map(|nanos| nanos as f64))),
            Cell::share(of(&|pass| pass.from_memory)),
            Cell::number(of(&|pass| Some(pass.device_bytes)), "B"),
            Cell::number(of(&|pass| pass.device_pages_p99.map(|pages| pages as f64)), ""),
            Cell::number(of(&|pass| pass.peak_bytes.map(|bytes| bytes as f64)), "B"),
        ]);
    }
}

/// One store, loaded and measured by a child.
fn run(job: &Job, name: &str, budget: u64, limit: u64) -> Outcome<Vec<Pass>> {
    let dir = job.dir()?;
    let group = Group::make(limit)?;
    let output = Command::new(std::env::current_exe()?)
        .args(["limited", name])
        .arg(dir.path())
        .arg("--group")
        .arg(group.path())
        .args(["--entries", &job.entries.to_string(), "--budget", &budget.to_string()])
        .args(["--pass", &job.pass.as_millis().to_string(), "--seed", &job.seed.to_string()])
        .stderr(Stdio::inherit())
        .output()?;
    if !output.status.success() {
        return Err(format!("the process ended early, {}", output.status).into());
    }
    let text = String::from_utf8(output.stdout)?;
    text.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
}

/// The child's side: joins the group, loads the store, and measures it.
///
/// # Errors
/// What the store and the system answer.
pub(crate) fn limited(arguments: &LimitedArguments, seed: u64) -> Outcome<()> {
    group::join(&arguments.group)?;
    let open = STORES.iter().find(|(name, _)| *name == arguments.store);
    let (_, open) = open.ok_or("there is no store of that name in this build")?;
    let place = arguments.dir.join(&arguments.store);
    OsDir::open(&place, true)?;
    let store = open(&place, arguments.budget)?;
    let records = Records { seed, count: arguments.entries };
    load(&*store, records)?;
    store.settle()?;
    let pass = Duration::from_millis(arguments.pass);
    // Not counted: what a store brings into its memory at the first touch.
    mixed(&*store, records, MIXES[0], 1, pass)?;
    for mix in MIXES {
        for threads in THREADS {
            println!("{}", serde_json::to_string(&mixed(&*store, records, mix, threads, pass)?)?);
        }
    }
    Ok(())
}

fn load(store: &dyn Store, records: Records) -> Outcome<()> {
    let record = |number| (records.key(number).to_vec(), records.value(number).to_vec());
    if !store.loads_in_order() {
        return store.load(&mut (0..records.count).map(record));
    }
    // Numbers alone, since the records do not fit into memory.
    let mut numbers: Vec<u32> = (0..u32::try_from(records.count)?).collect();
    numbers.sort_unstable_by_key(|number| records.key(*number as usize));
    store.load(&mut numbers.into_iter().map(|number| record(number as usize)))
}

fn mixed(
    store: &dyn Store,
    records: Records,
    mix: (&str, usize),
    threads: u64,
    pass: Duration,
) -> Outcome<Pass> {
    let clock = SystemClock::new();
    let (before, device) = (store.reads(), read_bytes());
    let missing = AtomicU64::new(0);
    let start = clock.monotonic();
    let one = |client: u64| -> Outcome<(u64, Latency, Vec<u64>)> {
        let mut requests = records.requests(client);
        let (mut latency, mut pages) = (Latency::new(), Vec::new());
        let mut count = 0;
        // Whether it was a get.
        let mut request = |count: u64| -> Outcome<bool> {
            let key = requests.key();
            if requests.is_one_of(mix.1) {
                store.put(&key, &next_value(&key, count))?;
                return Ok(false);
            }
            if black_box(store.get(&key)?) != VALUE_BYTES {
                missing.fetch_add(1, Ordering::Relaxed);
            }
            Ok(true)
        };
        loop {
            if clock.monotonic().saturating_sub(start) >= pass {
                return Ok((count, latency, pages));
            }
            // Others would pay for the asking in their caches.
            let before = count.is_multiple_of(TIMED_ONE_IN * ASKED_ONE_IN).then(thread_read_bytes);
            let begun = clock.monotonic();
            let is_get = request(count)?;
            latency.record(clock.monotonic().saturating_sub(begun));
            if let Some(before) = before.filter(|_| is_get) {
                pages.push(thread_read_bytes().saturating_sub(before).div_ceil(PAGE_BYTES));
            }
            for _ in 1..TIMED_ONE_IN {
                count += 1;
                request(count)?;
            }
            count += 1;
        }
    };
    let outcomes: Vec<Outcome<(u64, Latency, Vec<u64>)>> = thread::scope(|scope| {
        let clients: Vec<_> = (0..threads).map(|client| scope.spawn(move || one(client))).collect();
        let join = |client: thread::ScopedJoinHandle<'_, _>| {
            client.join().unwrap_or_else(|_| Err("a client panicked".into()))
        };
        clients.into_iter().map(join).collect()
    });
    let elapsed = clock.monotonic().saturating_sub(start);
    let (mut count, mut latency, mut pages) = (0, Latency::new(), Vec::new());
    for outcome in outcomes {
        let (of_client, times, of_gets) = outcome?;
        count += of_client;
        latency.add(&times);
        pages.extend(of_gets);
    }
    pages.sort_unstable();
    let nanos = |share| latency.quantile(share).and_then(|time| u64::try_from(time.as_nanos()).ok());
    let from_memory = before
        .zip(store.reads())
        .map(|(before, after)| (after.1 - before.1) as f64 / (after.0 - before.0).max(1) as f64);
    Ok(Pass {
        mix: mix.0.to_owned(),
        threads,
        per_second: count as f64 / elapsed.as_secs_f64(),
        p50_nanos: nanos(0.5),
        p99_nanos: nanos(0.99),
        from_memory,
        device_bytes: read_bytes().saturating_sub(device) as f64 / count.max(1) as f64,
        device_pages_p99: pages.get(pages.len() * 99 / 100).copied(),
        peak_bytes: peak_resident_bytes(),
        missing: missing.into_inner(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pass_counts_and_finds_what_was_loaded() {
        let dir = tempfile::tempdir().unwrap();
        let store = (STORES[0].1)(dir.path(), 64 << 20).unwrap();
        let records = Records { seed: 1, count: 1_000 };
        let mut all = (0..1_000).map(|number| (records.key(number).to_vec(), records.value(number).to_vec()));
        store.load(&mut all).unwrap();
        let pass = mixed(&*store, records, MIXES[2], 2, Duration::from_millis(50)).unwrap();
        assert!(pass.per_second > 100.0 && pass.missing == 0 && pass.threads == 2, "{pass:?}");
        assert_eq!(pass.device_pages_p99, Some(0), "nothing has left memory");
        assert!(pass.from_memory.is_some() && pass.p50_nanos <= pass.p99_nanos);
    }
}
