//! Learned entanglement: what prefetching learned partners is worth when real traces are replayed, in the engine and in a plain
//! cache; whether partners are the right ones; and what learning costs a read.

mod engine;
mod graph;
mod mithril;
mod simulated;

use std::hint::black_box;
use std::path::Path;

use warp_api::{Options, Physics};
use warp_physics::{Bell, BellOptions};

use super::Job;
use super::policies::{Lru, optimum, replay};
use super::trace::{self, Trace};
use crate::latency::median;
use crate::random::Random;
use crate::report::{Cell, Table};
use crate::run::Outcome;
use crate::series::turns;
use crate::timed::Timed;

/// Traces whose keys are related, as far as that is known, and those whose keys are not. Of others it is not known; those of more keys
/// than this are left out, since they take long.
const RELATED: [&str; 4] = ["c2k-orm-busy", "scarab-recs", "lirs-sprite", "web-apache"];
const UNRELATED: [&str; 3] = ["c2k-web07", "c2k-web12", "lirs-2pools"];
const KEYS_MAX: usize = 300_000;
/// One of each kind, for a quick run.
const QUICK: [&str; 2] = ["lirs-sprite", "c2k-web12"];
/// Caches of the simulator, in per mille of the unique keys.
const SIZES: [usize; 2] = [10, 100];
const ENTRIES_MIN: usize = 20;
/// A partner is foretold from this confidence on.
const CONFIDENCE_MIN: f64 = 0.5;
/// Reads whose learning is timed, and repetitions.
const COST_READS: [usize; 3] = [200_000, 2_000_000, 2_000_000];
const REPEATS: [usize; 3] = [5, 9, 9];
const COST_KEYS: usize = 50_000;

/// Whether the keys of a trace belong together.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Related {
    Yes,
    No,
    Unknown,
}

impl Related {
    fn cell(self) -> Cell {
        Cell::text(match self {
            Related::Yes => "yes",
            Related::No => "no",
            Related::Unknown => "not known",
        })
    }
}

/// Runs the part.
///
/// # Errors
/// What the engine answers, and reading a trace.
pub(crate) fn entanglement(job: &mut Job) -> Outcome<()> {
    match job.traces.clone() {
        Some(dir) => replays(job, &dir)?,
        None => println!("\nentanglement: no hit ratios and no precision, as there are no traces"),
    }
    cost(job)
}

fn replays(job: &mut Job, dir: &Path) -> Outcome<()> {
    let there = trace::names(dir)?;
    let mut traces = Vec::new();
    for name in RELATED.iter().chain(&UNRELATED).filter(|name| !there.iter().any(|found| found == *name)) {
        println!("\nentanglement: {name} is left out, as it is not among the traces");
    }
    for name in &there {
        let name = name.as_str();
        let related = match name {
            _ if RELATED.contains(&name) => Related::Yes,
            _ if UNRELATED.contains(&name) => Related::No,
            _ => Related::Unknown,
        };
        if !job.quick || QUICK.contains(&name) {
            let trace = trace::read(dir, name)?;
            if trace.unique <= KEYS_MAX {
                traces.push((trace, related));
            }
        }
    }
    traces.sort_by_key(|(_, related)| *related);
    simulated(job, &traces);
    quality(job, &traces);
    engine::replays(job, &traces)
}

/// A cache by least recent use, with and without the learner beside it, each read shown to it.
fn simulated(job: &mut Job, traces: &[(Trace, Related)]) {
    let mut table = Table::new(
        "Learned partners fetched into a simulated LRU cache, every read looked at",
        &[
            "trace",
            "hash",
            "related keys",
            "entries",
            "LRU",
            "with partners",
            "precision",
            "backend reads / LRU's",
            "Mithril",
            "its precision",
            "its reads / LRU's",
            "graph",
            "its precision",
            "its reads / LRU's",
            "optimum without",
        ],
    );
    let mut worst = f64::INFINITY;
    let mut most = 0.0_f64;
    for (trace, related) in traces {
        for size in SIZES {
            let entries = (trace.unique * size + 500) / 1000;
            if entries < ENTRIES_MIN {
                continue;
            }
            let lru = replay(&mut Lru::new(entries, trace.unique), &trace.keys);
            let bell = simulated::with_learner(entries, trace);
            let mithril = simulated::with_mithril(entries, trace);
            let graph = simulated::with_graph(entries, trace);
            let without = trace.keys.len() as f64 * (1.0 - lru);
            let reads = bell.reads as f64 / without;
            if *related == Related::No {
                worst = worst.min(bell.hit_ratio() - lru);
                most = most.max(reads);
            }
            table.row_now([
                Cell::text(&trace.name),
                Cell::text(format!("{:016x}", trace.hash)),
                related.cell(),
                Cell::count(entries as u64),
                Cell::share(lru),
                Cell::share(bell.hit_ratio()),
                Cell::share(bell.precision()),
                Cell::ratio(reads),
                Cell::share(mithril.hit_ratio()),
                Cell::share(mithril.precision()),
                Cell::ratio(mithril.reads as f64 / without),
                Cell::share(graph.hit_ratio()),
                Cell::share(graph.precision()),
                Cell::ratio(graph.reads as f64 / without),
                Cell::share(optimum(entries, trace.unique, &trace.keys)),
            ]);
        }
    }
    table.note("What is fetched is there at once, which favours it; optimum: Belady's, which fetches nothing beforehand.");
    table.note(
        "Mithril, and the probability graph: re-implementations, with settings that suit these traces better than their authors' do.",
    );
    job.report.table(table);
    if worst.is_finite() {
        let detail = format!("at worst {:+.2} points, with at most {most:.2} x the reads", worst * 100.0);
        job.report.check("unrelated keys lose no hits in a plain cache", worst > -0.001, detail);
    }
}

/// Whether a foretold partner is read within the next eight reads.
fn quality(job: &mut Job, traces: &[(Trace, Related)]) {
    let mut table = Table::new(
        format!("Partners of confidence {CONFIDENCE_MIN} or more, foretold before they are read"),
        &[
            "trace",
            "related keys",
            "precision",
            "recall",
            "last successor: precision",
            "recall",
            "graph: precision",
            "recall",
        ],
    );
    for (trace, related) in traces {
        let bell = simulated::foretold(trace, CONFIDENCE_MIN);
        let successor = simulated::last_successor(trace);
        let graph = simulated::likely(trace, CONFIDENCE_MIN);
        table.row_now([
            Cell::text(&trace.name),
            related.cell(),
            Cell::share(bell.precision()),
            Cell::share(bell.recall()),
            Cell::share(successor.precision()),
            Cell::share(successor.recall()),
            Cell::share(graph.precision()),
            Cell::share(graph.recall()),
        ]);
    }
    table.note("Precision: of what was foretold, read within the next 8 reads. Recall: of all reads, foretold within the last 8.");
    job.report.table(table);
}

/// What learning costs: the learner alone for each read that it is shown, and the engine's reads with it and without.
fn cost(job: &mut Job) -> Outcome<()> {
    let reads = job.size(COST_READS);
    let mut random = Random::new(job.seed, 1);
    // Half of the reads come in runs of related keys.
    let keys: Vec<u64> = (0..reads / 4)
        .flat_map(|_| {
            let (group, noise) = (random.below(COST_KEYS / 4) as u64, random.below(COST_KEYS) as u64);
            [2 * group, 2 * group + 1, noise, random.below(COST_KEYS) as u64]
        })
        .map(|key| key.wrapping_mul(0x9E37_79B9_7F4A_7C15))
        .collect();
    let mut bell = Bell::new(BellOptions { bytes: 4 << 20, horizon: Some(32) });
    let shown: Vec<f64> = (0..job.size(REPEATS))
        .map(|_| {
            let ((), time) = job.time(|| keys.iter().for_each(|key| _ = black_box(bell.observe(*key))));
            time.as_secs_f64() * 1e9 / keys.len() as f64
        })
        .collect();
    let defaults = Physics::default();
    let engines = [None, Some(defaults.learning_every), Some(1)].map(|every| {
        let learning_every = every.unwrap_or(defaults.learning_every);
        let physics = Physics { learning: every.is_some(), learning_every, ..defaults };
        Options::new().physics(physics).in_memory()
    });
    for engine in &engines {
        for key in &keys {
            engine.put(key.to_le_bytes(), [0; 64])?;
        }
    }
    let mut times = [const { Vec::new() }; 3];
    for run in 0..job.size(REPEATS) {
        for turn in turns(engines.len(), run) {
            let (outcome, time) = job.time(|| -> Outcome<()> {
                for key in &keys {
                    black_box(engines[turn].get(key.to_le_bytes())?);
                }
                Ok(())
            });
            outcome?;
            times[turn].push(time.as_secs_f64() * 1e9 / keys.len() as f64);
        }
    }
    let mut table = Table::new("What learning costs", &["what", "time a read", "beyond that without"]);
    let nanos = |value: f64| Cell::number(value, " ns");
    let beyond = |of: usize| {
        let pairs = times[of].iter().zip(&times[0]);
        nanos(median(&pairs.map(|(with, without)| with - without).collect::<Vec<_>>()))
    };
    table.row([
        Cell::text("the learner alone, for a read that it is shown"),
        nanos(median(&shown)),
        Cell::Absent(()),
    ]);
    table.row([Cell::text("get in memory, nothing learned"), nanos(median(&times[0])), Cell::Absent(())]);
    table.row([
        Cell::text("get, 64 of 4,096 reads looked at (default)"),
        nanos(median(&times[1])),
        beyond(1),
    ]);
    table.row([Cell::text("get, all reads looked at"), nanos(median(&times[2])), beyond(2)]);
    let dropped = engines[2].quantum_entanglement_metrics().learning;
    table.note(format!(
        "The learner works in the background, on the same processors; where it is behind it drops bursts: {} here, {} reads learned.",
        dropped.dropped, dropped.learner.observed
    ));
    job.report.table(table);
    Ok(())
}
