//! The main database: filled with the records, read back in full, closed, and opened again.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use indicatif::ProgressBar;
use tempfile::TempDir;
use warp_api::{Options, WarpEngine};

use crate::clients::clients;
use crate::corpus::Corpus;
use crate::plan::THREADS;
use crate::report::{Cell, Table, grouped};
use crate::run::{Outcome, Run};
use crate::unicode;

/// The main database takes a checkpoint once this much log has gathered: small enough that several are taken
/// while requests go on.
pub(crate) const CHECKPOINT_LOG_BYTES: u64 = 64 << 20;
/// One field in this many is held back at the load, for the requests that insert.
const HELD_BACK_ONE_IN: usize = 20;
/// Records that a client takes at a time.
const CLAIM: usize = 1024;

/// The main database and how far it is filled.
#[derive(Debug)]
pub(crate) struct Loaded {
    // Declared before the directory, so that it is dropped before the directory is removed.
    pub(crate) engine: WarpEngine,
    /// The next field to be inserted: those from here to the end of the fields are not there yet.
    pub(crate) next: AtomicUsize,
    dir: TempDir,
}

/// The settings of the main database.
fn options() -> Options {
    Options::new().checkpoint_log_bytes(CHECKPOINT_LOG_BYTES)
}

/// Fills a new database: rules, then records from all client threads, then the links that the data state.
///
/// # Errors
/// What the engine answers.
pub(crate) fn load(run: &mut Run) -> Outcome<Loaded> {
    let dir = run.dir()?;
    let engine = options().open(dir.path())?;
    declare_rules(run, &engine)?;

    let (fields, records) = (run.fields(), run.records());
    let held_from = fields - fields / HELD_BACK_ONE_IN;
    let mut table = Table::new(
        "Load: one entry a field, and the relations between them",
        &["what", "count", "time", "rate", "bytes of keys and values"],
    );
    let mut row = |what: &str, count: u64, time: Duration, bytes: Cell| {
        let rate = Cell::rate(count as f64 / time.as_secs_f64());
        table.row([Cell::text(what), Cell::count(count), Cell::time(time), rate, bytes]);
    };
    let parts = [
        (0..held_from, format!("fields put, Interval, {THREADS} threads")),
        (run.data.fields..records.max(run.data.fields), "pages and word lists put".to_owned()),
    ];
    for (range, what) in parts.into_iter().filter(|(range, _)| !range.is_empty()) {
        let (count, bytes) = (range.len() as u64, bytes(&run.data.corpus, range.clone()));
        let (outcome, time) = run.time(|| put_all(&engine, &run.data.corpus, range, &run.bar));
        outcome?;
        row(&what, count, time, Cell::bytes(bytes));
    }
    let (links, time) = run.time(|| declare_links(run, &engine));
    row("characters linked (entangle)", links?, time, Cell::Absent(()));
    let (outcome, time) = run.time(|| engine.sync());
    outcome?;
    table.row([
        Cell::text("sync of what is left"),
        Cell::Absent(()),
        Cell::time(time),
        Cell::Absent(()),
        Cell::Absent(()),
    ]);
    table.note(format!(
        "{} fields are held back for the requests that insert.",
        grouped((fields - held_from) as f64)
    ));
    run.report.table(table);
    Ok(Loaded { engine, next: AtomicUsize::new(held_from), dir })
}

/// The rules between the fields of a character, each as strong as the field is common.
pub(crate) fn declare_rules(run: &Run, engine: &WarpEngine) -> Outcome<()> {
    for (pattern, partners, strength) in unicode::rules(&run.data) {
        engine.entanglement_rule(&pattern, &partners, strength)?;
    }
    Ok(())
}

/// Links the characters that the data relate. Returns how many characters were linked.
fn declare_links(run: &Run, engine: &WarpEngine) -> Outcome<u64> {
    let Some(&last) = run.characters().last() else { return Ok(0) };
    let mut linked = 0;
    for relation in run.data.relations.iter().filter(|relation| relation.from <= last) {
        let partners: Vec<String> = relation.to.iter().map(|&to| unicode::key("char", to)).collect();
        engine.entangle(unicode::key("char", relation.from), &partners, 1.0)?;
        linked += 1;
    }
    Ok(linked)
}

/// Puts a range of the records, from all client threads.
///
/// # Errors
/// What the engine answers.
pub(crate) fn put_all(
    engine: &WarpEngine,
    corpus: &Corpus,
    range: std::ops::Range<usize>,
    bar: &ProgressBar,
) -> Outcome<()> {
    bar.set_length(range.len() as u64);
    bar.set_position(0);
    let next = AtomicUsize::new(range.start);
    clients(THREADS, |_| {
        loop {
            let start = next.fetch_add(CLAIM, Ordering::Relaxed);
            if start >= range.end {
                return Ok(());
            }
            let end = range.end.min(start + CLAIM);
            for record in start..end {
                let (key, value) = corpus.record(record);
                engine.put(key, value)?;
            }
            bar.inc((end - start) as u64);
        }
    })?;
    Ok(())
}

fn bytes(corpus: &Corpus, range: std::ops::Range<usize>) -> u64 {
    range.map(|record| corpus.record(record)).map(|(key, value)| (key.len() + value.len()) as u64).sum()
}

/// Inserts what the requests have left, then compares every record with the data.
///
/// # Errors
/// What the engine answers.
pub(crate) fn read_back(run: &mut Run, loaded: &Loaded) -> Outcome<()> {
    let fields = run.fields();
    let left = loaded.next.load(Ordering::Relaxed).min(fields)..fields;
    let inserted = left.start;
    put_all(&loaded.engine, &run.data.corpus, left, &run.bar)?;
    loaded.next.store(fields, Ordering::Relaxed);
    let wrong = count_wrong(run, &loaded.engine)?;
    let count = present(run).count();
    let detail = format!(
        "{} records compared, {wrong} differ; {} were left to insert",
        grouped(count as f64),
        grouped((fields - inserted) as f64)
    );
    run.report.check("after the requests every record reads as the data say", wrong == 0, detail);
    Ok(())
}

/// The records that the main database holds once everything is in.
fn present(run: &Run) -> impl Iterator<Item = usize> {
    (0..run.fields()).chain(run.data.fields..run.records().max(run.data.fields))
}

fn count_wrong(run: &Run, engine: &WarpEngine) -> Outcome<u64> {
    let mut wrong = 0;
    run.bar.set_length(present(run).count() as u64);
    run.bar.set_position(0);
    for (done, record) in present(run).enumerate() {
        let (key, value) = run.data.corpus.record(record);
        wrong += u64::from(engine.get(key)?.as_deref() != Some(value));
        if done % CLAIM == 0 {
            run.bar.set_position(done as u64);
        }
    }
    Ok(wrong)
}

/// Closes the main database and opens it again: every value is then in the layers only.
///
/// # Errors
/// What the engine answers.
pub(crate) fn reopen(run: &mut Run, loaded: Loaded) -> Outcome<Loaded> {
    let Loaded { engine, next, dir } = loaded;
    let entries = engine.len()?;
    let (outcome, close_time) = run.time(|| engine.close());
    outcome?;
    let (engine, open_time) = run.time(|| options().open(dir.path()));
    let engine = engine?;
    let report = engine.recovery_report();
    let mut table = Table::new("Clean close and reopen", &["what", "figure"]);
    table.row([Cell::text("entries"), Cell::count(entries)]);
    table.row([Cell::text("close, with its checkpoint"), Cell::time(close_time)]);
    table.row([Cell::text("open"), Cell::time(open_time)]);
    table.row([Cell::text("writes replayed"), Cell::count(report.replayed)]);
    let clean = report.clean_close;
    let replayed = report.replayed;
    run.report.table(table);
    let after = engine.len()?;
    let detail = format!(
        "{} entries before, {} after, {replayed} writes replayed",
        grouped(entries as f64),
        grouped(after as f64)
    );
    run.report.check(
        "a clean close loses nothing and leaves nothing to replay",
        clean && after == entries,
        detail,
    );
    Ok(Loaded { engine, next, dir })
}
