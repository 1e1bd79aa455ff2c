//! Related records that are on the disk only: what laying them out side by side, and asking for their pages
//! together, is worth.

use std::hint::black_box;
use std::path::Path;
use std::time::Duration;

use rustix::fs::{Advice, Mode, OFlags};
use tempfile::TempDir;
use warp_api::{Key, Options, Physics, QuantumOptions, WarpEngine};
use warp_io::{Clock, Dir, OsDir, SystemClock};

use crate::child;
use crate::latency::median;
use crate::load::{declare_rules, put_all};
use crate::machine;
use crate::report::{Cell, Table, grouped};
use crate::run::{Outcome, Run};
use crate::unicode;

/// What is asked for, of a database that was written and is read with or without the advice of physics.
const ROWS: [(&str, bool, Ask); 3] = [
    ("quantum_get, physics on", true, Ask::Quantum),
    ("quantum_get, physics off", false, Ask::Quantum),
    ("single gets of the same keys, physics off", false, Ask::Singles),
];

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Ask {
    Quantum,
    Singles,
    /// As single gets, with a pause after the key itself, which is not counted.
    SinglesAfterPause,
    /// The key alone, without its partners.
    First,
}

/// Such a pause: what a program does with a value before it asks for what belongs to it.
const PAUSE: Duration = Duration::from_micros(300);

/// Time and bytes read from the device, for one key with its partners.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cost {
    pub(crate) seconds: f64,
    pub(crate) bytes: f64,
}

/// What the system's page cache holds of a database before it is read.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum PageCache {
    Dropped,
    /// All that it held before.
    Kept,
}

/// Reads characters with their partners right after opening, the page cache dropped before.
///
/// # Errors
/// What the engine answers.
pub(crate) fn from_disk(run: &mut Run) -> Outcome<()> {
    let on = written(run, physics(true))?;
    let off = written(run, physics(false))?;
    let mut costs = [Vec::new(), Vec::new(), Vec::new()];
    run.bar.set_length((run.plan.repeats * ROWS.len()) as u64);
    for _ in 0..run.plan.repeats {
        let characters = choose(run);
        for ((_, is_on, ask), costs) in ROWS.iter().zip(&mut costs) {
            let dir = if *is_on { &on } else { &off };
            let options = child::on_demand().physics(physics(*is_on)).read_only(true);
            let partners = QuantumOptions::default();
            let cost =
                read(&run.clock, dir.path(), options, *ask, &characters, partners, PageCache::Dropped)?;
            costs.push(cost);
            run.bar.inc(1);
        }
    }
    let mut table = Table::new(
        format!(
            "{} characters with their partners, from the disk, page cache dropped",
            grouped(run.plan.from_disk as f64)
        ),
        &["what", "time a character", "of physics on", "read from the device a character"],
    );
    let medians = costs.each_ref().map(|costs| Cost {
        seconds: median(&costs.iter().map(|cost| cost.seconds).collect::<Vec<_>>()),
        bytes: median(&costs.iter().map(|cost| cost.bytes).collect::<Vec<_>>()),
    });
    for ((what, ..), cost) in ROWS.iter().zip(&medians) {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a mean of bytes is positive, and far below the largest number"
        )]
        let bytes = Cell::bytes(cost.bytes as u64);
        table.row([
            Cell::text(*what),
            Cell::time(Duration::from_secs_f64(cost.seconds)),
            Cell::ratio(cost.seconds / medians[0].seconds),
            bytes,
        ]);
    }
    table.note(format!("Medians of {} repetitions, the same characters in each row.", run.plan.repeats));
    run.report.table(table);
    Ok(())
}

fn physics(is_on: bool) -> Physics {
    if is_on { Physics::default() } else { Physics::off() }
}

/// A database whose fields are all in one layer.
fn written(run: &Run, physics: Physics) -> Outcome<TempDir> {
    let dir = run.dir()?;
    let engine = child::on_demand().physics(physics).open(dir.path())?;
    declare_rules(run, &engine)?;
    put_all(&engine, &run.data.corpus, 0..run.fields(), &run.bar)?;
    engine.close()?;
    Ok(dir)
}

fn choose(run: &mut Run) -> Vec<String> {
    let mut random = run.random();
    let characters = run.characters();
    (0..run.plan.from_disk)
        .map(|_| unicode::key("char", characters[random.below(characters.len())]))
        .collect()
}

/// Opens a database, of which nothing is in memory then, and reads keys with their partners.
///
/// # Errors
/// What the engine answers.
pub(crate) fn read(
    clock: &SystemClock,
    dir: &Path,
    options: Options,
    ask: Ask,
    keys: &[String],
    partners: QuantumOptions,
    cache: PageCache,
) -> Outcome<Cost> {
    // The partners are found out before, so that single gets know them as `quantum_get` does.
    let engine = options.clone().open(dir)?;
    let groups = keys.iter().map(|key| group_of(&engine, key, &partners)).collect::<Outcome<Vec<_>>>()?;
    engine.close()?;
    if cache == PageCache::Dropped {
        drop_page_cache(dir)?;
    }
    let engine = options.open(dir)?;
    let before = machine::read_bytes();
    let start = clock.monotonic();
    let paused = match ask {
        Ask::Quantum => quantum(&engine, keys, &partners)?,
        Ask::Singles => singles(&engine, &groups)?,
        Ask::SinglesAfterPause => singles_after_pause(clock, &engine, &groups)?,
        Ask::First => first(&engine, keys)?,
    };
    let time = clock.monotonic().saturating_sub(start).saturating_sub(paused);
    let bytes = machine::read_bytes().saturating_sub(before);
    engine.close()?;
    let count = keys.len() as f64;
    Ok(Cost { seconds: time.as_secs_f64() / count, bytes: bytes as f64 / count })
}

/// A character with the keys of the partners that `quantum_get` asks for.
///
/// # Errors
/// What the engine answers.
pub(crate) fn group(engine: &WarpEngine, key: &str) -> Outcome<Vec<Key>> {
    group_of(engine, key, &QuantumOptions::default())
}

fn group_of(engine: &WarpEngine, key: &str, options: &QuantumOptions) -> Outcome<Vec<Key>> {
    let partners = engine.partners(key)?.into_iter();
    let strong = partners.filter(|link| link.strength >= options.strength_min).take(options.partners_max);
    Ok([Key::from(key.as_bytes())].into_iter().chain(strong.map(|link| Key::from(link.key))).collect())
}

// Each returns how long it has paused.

fn quantum(engine: &WarpEngine, keys: &[String], partners: &QuantumOptions) -> Outcome<Duration> {
    for key in keys {
        black_box(engine.quantum_get_with(key, partners)?);
    }
    Ok(Duration::ZERO)
}

fn first(engine: &WarpEngine, keys: &[String]) -> Outcome<Duration> {
    for key in keys {
        black_box(engine.get(key)?);
    }
    Ok(Duration::ZERO)
}

fn singles(engine: &WarpEngine, groups: &[Vec<Key>]) -> Outcome<Duration> {
    for key in groups.iter().flatten() {
        black_box(engine.get(key)?);
    }
    Ok(Duration::ZERO)
}

fn singles_after_pause(clock: &SystemClock, engine: &WarpEngine, groups: &[Vec<Key>]) -> Outcome<Duration> {
    let mut paused = Duration::ZERO;
    for group in groups {
        for (place, key) in group.iter().enumerate() {
            black_box(engine.get(key)?);
            if place == 0 {
                let start = clock.monotonic();
                std::thread::sleep(PAUSE);
                paused += clock.monotonic().saturating_sub(start);
            }
        }
    }
    Ok(paused)
}

/// Has the system forget the pages of all files of a database that nobody has open.
pub(crate) fn drop_page_cache(dir: &Path) -> Outcome<()> {
    for part in ["layers", "wal"] {
        let part = dir.join(part);
        for name in OsDir::open(&part, false)?.list()? {
            let file = rustix::fs::open(part.join(name), OFlags::RDONLY, Mode::empty())?;
            rustix::fs::fadvise(&file, 0, None, Advice::DontNeed)?;
        }
    }
    Ok(())
}
