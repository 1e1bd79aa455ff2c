//! Related records: what `quantum_get` finds, and what it costs against single gets of the same keys.

use std::hint::black_box;
use std::time::Duration;

use warp_api::{Key, WarpEngine};

use crate::fromdisk;
use crate::latency::{Latency, median};
use crate::load::Loaded;
use crate::promises::Promise;
use crate::report::{Cell, Table, grouped};
use crate::run::{Outcome, Run};
use crate::unicode;

/// Characters and their partners, all known before the clock starts.
pub(crate) type Groups = Vec<Vec<Key>>;

/// Asks for characters at random, with all that belongs to them.
///
/// # Errors
/// What the engine answers.
pub(crate) fn related(run: &mut Run, loaded: &Loaded) -> Outcome<()> {
    let engine = &loaded.engine;
    let characters = choose(run);
    let found = survey(run, engine, &characters)?;
    let groups = groups(engine, &characters)?;
    let times = compare(run, engine, &characters, &groups)?;

    let values = groups.iter().map(Vec::len).sum::<usize>() as f64;
    let mut table = Table::new(
        format!(
            "quantum_get of {} characters, everything in memory, 1 thread",
            grouped(characters.len() as f64)
        ),
        &["what", "time a character", "time a value", "single gets / this"],
    );
    let each = |seconds: f64| (seconds / characters.len() as f64, seconds / values);
    for (what, seconds) in [
        ("quantum_get", times.quantum),
        ("A: single gets, keys known beforehand", times.known),
        ("B: single gets, each after the one before", times.dependent),
    ] {
        let (character, value) = each(seconds);
        let cell = |seconds| Cell::time(Duration::from_secs_f64(seconds));
        table.row([Cell::text(what), cell(character), cell(value), Cell::ratio(seconds / times.quantum)]);
    }
    table.note(format!(
        "{:.2} values a character; medians of {} repetitions.",
        values / characters.len() as f64,
        run.plan.repeats
    ));
    run.report.table(table);
    found.report(run);
    run.promises.measured(Promise::ParallelFactor, times.known / times.quantum, "against A, in memory");
    run.promises.measured(Promise::ParallelFactor, times.dependent / times.quantum, "against B, in memory");
    Ok(())
}

/// The same right after opening, when every value is in the layers: each character is asked for once only,
/// since what was read is brought into memory.
///
/// # Errors
/// What the engine answers.
pub(crate) fn cold(run: &mut Run, loaded: &Loaded) -> Outcome<()> {
    let engine = &loaded.engine;
    let characters = choose(run);
    let (for_quantum, for_singles) = characters.split_at(characters.len() / 2);
    let groups = groups(engine, for_singles)?;
    let (outcome, singles) = run.time(|| known(engine, &groups));
    outcome?;
    let (outcome, quantum) = run.time(|| quantum(engine, for_quantum));
    outcome?;
    let per = |time: Duration, count: usize| time.as_secs_f64() / count.max(1) as f64;
    let (singles, quantum) = (per(singles, for_singles.len()), per(quantum, for_quantum.len()));
    let mut table = Table::new(
        "quantum_get right after opening: values in the layers, page cache warm",
        &["what", "time a character", "single gets / this"],
    );
    for (what, seconds) in [("quantum_get", quantum), ("single gets, keys known beforehand", singles)] {
        let time = Cell::time(Duration::from_secs_f64(seconds));
        table.row([Cell::text(what), time, Cell::ratio(seconds / quantum)]);
    }
    table.note("Each row reads characters of its own, once.");
    run.report.table(table);
    run.promises.measured(Promise::ParallelFactor, singles / quantum, "right after opening, from the layers");
    Ok(())
}

/// Characters at random, each at most once.
fn choose(run: &mut Run) -> Vec<String> {
    let mut random = run.random();
    let mut characters = run.characters().to_vec();
    let count = run.plan.related.min(characters.len());
    for place in 0..count {
        let other = place + random.below(characters.len() - place);
        characters.swap(place, other);
    }
    characters[..count].iter().map(|&character| unicode::key("char", character)).collect()
}

/// What was asked for and what was there.
#[derive(Debug, Default)]
struct Found {
    characters: usize,
    requested: usize,
    found: usize,
    missing: usize,
    latency: Option<Latency>,
}

impl Found {
    fn report(self, run: &mut Run) {
        let columns: Vec<&str> = ["characters", "partners requested", "found", "share"]
            .into_iter()
            .chain(Latency::COLUMNS)
            .collect();
        let mut table = Table::new("What quantum_get found", &columns);
        let share = self.found as f64 / self.requested as f64;
        let counts = [self.characters, self.requested, self.found].map(|count| Cell::count(count as u64));
        let latency = self.latency.unwrap_or_else(Latency::new);
        table.row(counts.into_iter().chain([Cell::share(share)]).chain(latency.cells()));
        table.note(
            "Rules are as strong as the field is common, so that rare fields fall below the threshold of",
        );
        table.note("0.1; links are the other case of a letter, and the parts that it decomposes into.");
        run.report.table(table);
        let detail = format!("{} characters, {} missing", self.characters, self.missing);
        run.report.check("quantum_get finds every character", self.missing == 0, detail);
        run.promises.measured(
            Promise::Efficiency,
            share * 100.0,
            "rules and links of the data, random characters",
        );
    }
}

fn survey(run: &Run, engine: &WarpEngine, characters: &[String]) -> Outcome<Found> {
    let mut all = Found { characters: characters.len(), ..Found::default() };
    let mut latency = Latency::new();
    for key in characters {
        let (entangled, time) = run.time(|| engine.quantum_get(key));
        latency.record(time);
        match entangled? {
            Some(entangled) => {
                all.requested += entangled.requested;
                all.found += entangled.found;
            }
            None => all.missing += 1,
        }
    }
    all.latency = Some(latency);
    Ok(all)
}

/// Each character with the keys of the partners that `quantum_get` would ask for.
fn groups(engine: &WarpEngine, characters: &[String]) -> Outcome<Groups> {
    characters.iter().map(|key| fromdisk::group(engine, key)).collect()
}

/// Seconds for all characters.
#[derive(Debug)]
struct Times {
    quantum: f64,
    known: f64,
    dependent: f64,
}

fn compare(run: &Run, engine: &WarpEngine, characters: &[String], groups: &Groups) -> Outcome<Times> {
    let mut times = [Vec::new(), Vec::new(), Vec::new()];
    run.bar.set_length(run.plan.repeats as u64);
    for _ in 0..run.plan.repeats {
        let (outcome, first) = run.time(|| quantum(engine, characters));
        outcome?;
        let (outcome, second) = run.time(|| known(engine, groups));
        outcome?;
        let (outcome, third) = run.time(|| dependent(engine, groups));
        outcome?;
        for (times, time) in times.iter_mut().zip([first, second, third]) {
            times.push(time.as_secs_f64());
        }
        run.bar.inc(1);
    }
    let [quantum, known, dependent] = times.map(|times| median(&times));
    Ok(Times { quantum, known, dependent })
}

fn quantum(engine: &WarpEngine, characters: &[String]) -> Outcome<()> {
    for key in characters {
        black_box(engine.quantum_get(key)?);
    }
    Ok(())
}

/// Baseline A: the processor may overlap the gets of one character, as their keys are known.
///
/// # Errors
/// What the engine answers.
pub(crate) fn known(engine: &WarpEngine, groups: &Groups) -> Outcome<()> {
    for group in groups {
        let values: Vec<_> = group.iter().map(|key| engine.get(key)).collect();
        black_box(values);
    }
    Ok(())
}

/// Baseline B: a program that learns the next key from the value before. The place of the next key is made to
/// depend on that value, by adding its first byte times a zero that the compiler cannot see.
///
/// # Errors
/// What the engine answers.
pub(crate) fn dependent(engine: &WarpEngine, groups: &Groups) -> Outcome<()> {
    let zero = black_box(0_usize);
    for group in groups {
        let mut values = Vec::with_capacity(group.len());
        let mut first = 0;
        for place in 0..group.len() {
            let value = engine.get(&group[place + first * zero])?;
            first = value.as_deref().and_then(|value| value.first()).map_or(0, |&byte| usize::from(byte));
            values.push(value);
        }
        black_box(values);
    }
    Ok(())
}
