//! YCSB's mixes over the main database: throughput, and how long single operations took.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use warp_api::{Update, WarpEngine};
use warp_io::{Clock, SystemClock};

use crate::clients::clients;
use crate::corpus::Corpus;
use crate::latency::Latency;
use crate::load::Loaded;
use crate::plan::THREADS;
use crate::report::{Cell, Table};
use crate::run::{Outcome, Run};
use crate::workload::{self, Kind, MIXES, Mix, Order, Request};

/// Requests that are made ahead of time for each client, which then goes round.
const STREAM: usize = 1 << 19;
/// One operation in this many is timed, so that reading the clock does not become what is measured.
const TIMED_ONE_IN: usize = 8;
/// How long a thread does nothing but read the clock, to show the machine's own pauses.
const CLOCK_ONLY: Duration = Duration::from_millis(500);

/// What one client did.
#[derive(Debug)]
struct Tally {
    operations: u64,
    /// Bursts in which a record was not there: one is too many.
    missing: u64,
    reads: Latency,
    writes: Latency,
}

impl Tally {
    fn new() -> Tally {
        Tally { operations: 0, missing: 0, reads: Latency::new(), writes: Latency::new() }
    }

    fn add(&mut self, other: &Tally) {
        self.operations += other.operations;
        self.missing += other.missing;
        self.reads.add(&other.reads);
        self.writes.add(&other.writes);
    }
}

/// What the clients of one mix share.
#[derive(Clone, Copy, Debug)]
struct Target<'a> {
    engine: &'a WarpEngine,
    corpus: &'a Corpus,
    order: Order,
    next: &'a AtomicUsize,
    /// For each client a number at or below the field that it is inserting; the largest while it is not.
    inserting: &'a [AtomicUsize; THREADS],
    /// Fields that may be inserted end here.
    fields: usize,
    clock: &'a SystemClock,
}

/// Runs every mix for its time.
///
/// # Errors
/// What the engine answers.
pub(crate) fn mixed(run: &mut Run, loaded: &Loaded) -> Outcome<()> {
    let columns: Vec<&str> =
        ["mix", "what", "operations/s", "timed"].into_iter().chain(Latency::COLUMNS).collect();
    let mut table = Table::new(format!("YCSB mixes, {THREADS} threads, Interval"), &columns);
    let mut missing = 0;
    run.bar.set_length(MIXES.len() as u64);
    for mix in &MIXES {
        let (tally, time) = run_mix(run, loaded, mix)?;
        missing += tally.missing;
        let rate = tally.operations as f64 / time.as_secs_f64();
        let title = || [Cell::text(mix.letter), Cell::text(mix.title), Cell::rate(rate)];
        for (name, latency) in [("reads", &tally.reads), ("writes", &tally.writes)] {
            if latency.quantile(0.5).is_some() {
                table.row(title().into_iter().chain([Cell::text(name)]).chain(latency.cells()));
            }
        }
        run.bar.inc(1);
    }
    let pauses = clock_only(&run.clock);
    let idle =
        [Cell::text("-"), Cell::text("nothing but reading the clock"), Cell::Absent(()), Cell::text("gaps")];
    table.row(idle.into_iter().chain(pauses.cells()));
    table.note(
        "Zipfian choice of records, constant 0.99, over the fields of characters; an update writes the",
    );
    table.note("record's own value again. One operation in 8 is timed, two readings of the clock included.");
    table.note("Mix E (short ranges) is absent: a scan first walks and sorts all keys.");
    run.report.table(table);
    run.report.check(
        "no request missed its record",
        missing == 0,
        format!("{missing} bursts of {TIMED_ONE_IN} with a miss"),
    );
    Ok(())
}

fn run_mix(run: &mut Run, loaded: &Loaded, mix: &Mix) -> Outcome<(Tally, Duration)> {
    let fields = run.fields();
    let there = loaded.next.load(Ordering::Relaxed).min(fields);
    let zipf = workload::popularity(there);
    let streams: Vec<Vec<Request>> =
        (0..THREADS).map(|_| workload::stream(mix, &zipf, STREAM, &mut run.random())).collect();
    let inserting = [const { AtomicUsize::new(usize::MAX) }; THREADS];
    let target = Target {
        engine: &loaded.engine,
        corpus: &run.data.corpus,
        order: mix.order,
        next: &loaded.next,
        inserting: &inserting,
        fields,
        clock: &run.clock,
    };
    let start = run.clock.monotonic();
    let end = start + run.plan.mix_time;
    let tallies = clients(THREADS, |number| client(target, number, &streams[number], end))?;
    let time = run.clock.monotonic().saturating_sub(start);
    let mut all = Tally::new();
    for tally in &tallies {
        all.add(tally);
    }
    Ok((all, time))
}

/// One client: its requests round and round until the time is over.
fn client(target: Target<'_>, number: usize, requests: &[Request], end: Duration) -> Outcome<Tally> {
    let mut tally = Tally::new();
    loop {
        for burst in requests.chunks(TIMED_ONE_IN) {
            let start = target.clock.monotonic();
            if start >= end {
                return Ok(tally);
            }
            let mut found = serve(target, number, burst[0])?;
            let time = target.clock.monotonic().saturating_sub(start);
            if burst[0].kind == Kind::Read { &mut tally.reads } else { &mut tally.writes }.record(time);
            for &request in &burst[1..] {
                found &= serve(target, number, request)?;
            }
            tally.missing += u64::from(!found);
            tally.operations += burst.len() as u64;
        }
    }
}

/// Carries out one request. Returns whether the record that it names was there.
fn serve(target: Target<'_>, client: usize, request: Request) -> Outcome<bool> {
    let record = match target.order {
        Order::Scrambled => request.record as usize,
        Order::Latest => latest(target, request.record as usize),
    };
    let (key, value) = target.corpus.record(record);
    match request.kind {
        Kind::Read => Ok(target.engine.get(key)?.is_some()),
        Kind::Update => target.engine.put(key, value).map(|_| true).map_err(Into::into),
        Kind::ReadModifyWrite => {
            let written =
                target.engine.update(key, |old| old.map_or(Update::Keep, |old| Update::Put(old.to_vec())))?;
            Ok(written.is_some())
        }
        Kind::Insert => insert(target, client),
    }
}

/// The record that lies `back` before the newest one that is known to be there, as in YCSB's
/// `AcknowledgedCounterGenerator`: below it nothing is still being inserted.
fn latest(target: Target<'_>, back: usize) -> usize {
    // The claims are read first. Whoever claimed one of them had announced it before (see `insert`), so that it
    // is either announced still, or written.
    let claimed = target.next.load(Ordering::SeqCst).min(target.fields);
    let announced = target.inserting.iter().map(|field| field.load(Ordering::SeqCst)).min();
    claimed.min(announced.unwrap_or(claimed)).saturating_sub(1).saturating_sub(back)
}

/// Writes the next field that is held back; once all are there, writes the last one again.
fn insert(target: Target<'_>, client: usize) -> Outcome<bool> {
    let inserting = &target.inserting[client];
    inserting.store(target.next.load(Ordering::SeqCst), Ordering::SeqCst);
    let record = target.next.fetch_add(1, Ordering::SeqCst).min(target.fields - 1);
    let (key, value) = target.corpus.record(record);
    target.engine.put(key, value)?;
    inserting.store(usize::MAX, Ordering::SeqCst);
    Ok(true)
}

/// Gaps between readings of the clock on an otherwise idle thread: pauses that are not the engine's.
fn clock_only(clock: &SystemClock) -> Latency {
    let mut gaps = Latency::new();
    let end = clock.monotonic() + CLOCK_ONLY;
    let mut before = clock.monotonic();
    while before < end {
        let now = clock.monotonic();
        gaps.record(now.saturating_sub(before));
        before = now;
    }
    gaps
}
