//! A disk that stands still, one that is slow, and one that is full: nothing that was acknowledged may be lost, reads go
//! on, memory stays bounded, and writing resumes. All of it is checked, and a check that fails fails the command.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use warp_api::{Durability, Environment, ErrorKind, Options, PutOptions, WarpEngine};
use warp_io::{Clock, SimDisk, Survival};

use super::gated::{Gate, GatedDir};
use super::job::Job;
use crate::clients::clients;
use crate::run::Outcome;
use crate::timed::Timed;

/// Small, so that little work fills it.
const BUFFER_BYTES: usize = 64 << 10;
/// Large beside the buffer, so that it is the buffer that bounds what is taken in.
const SEGMENT_BYTES: u64 = 4 << 20;
/// Small, so that the disk is full soon.
const SEGMENT_BYTES_FULL: u64 = 256 << 10;
const VALUE_BYTES: usize = 500;
/// Records that are there before the disk stands still.
const BEFORE: usize = 1_000;
/// Room for a few segments and no more.
const CAPACITY_BYTES: u64 = 3 << 20;
/// More puts than any bound lets through.
const PUTS_MAX: usize = 100_000;
/// How long is waited for something not to happen.
const QUIET: Duration = Duration::from_millis(100);
/// How long is waited at most for something that must happen.
const PATIENCE: Duration = Duration::from_secs(20);
/// No read of memory takes so long, on however busy a machine.
const READS_MAX: Duration = Duration::from_secs(2);
const SLOW_THREADS: usize = 8;
const SLOW_PUTS: usize = 40;
const SLOW_DELAY: Duration = Duration::from_millis(2);

/// A simulated disk with an engine on it.
struct Scene {
    disk: SimDisk,
    gate: Arc<Gate>,
    engine: WarpEngine,
}

/// Makes all checks.
///
/// # Errors
/// What the engine answers where it must not.
pub(crate) fn slow(job: &mut Job) -> Outcome<()> {
    println!("\nA simulated disk that stands still, is slow, and is full");
    job.say("a disk that stands still");
    still(job)?;
    job.say("a slow disk");
    slow_disk(job)?;
    job.say("a full disk");
    full(job)
}

impl Scene {
    fn new(seed: u64, options: Options) -> Outcome<Scene> {
        let (disk, gate) = (SimDisk::new(seed), Arc::new(Gate::default()));
        let dir = GatedDir::new(&disk.root(), &gate);
        let engine = options.open_in(&dir, Environment::default())?;
        Ok(Scene { disk, gate, engine })
    }

    /// How many of so many records are there, with their values, after a power loss now.
    fn survivors(&self, count: usize) -> Outcome<usize> {
        let crashed = self.disk.crash(Survival::Nothing);
        let engine = options().read_only(true).open_in(&crashed.root(), Environment::default())?;
        found(&engine, count)
    }
}

fn options() -> Options {
    Options::new().log_segment_bytes(SEGMENT_BYTES).log_buffer_bytes(BUFFER_BYTES)
}

fn key(number: usize) -> String {
    format!("key:{number}")
}

fn record(number: usize) -> Vec<u8> {
    let mut value = number.to_string().into_bytes();
    value.resize(VALUE_BYTES, b'.');
    value
}

/// How many of the first records are there with their values.
fn found(engine: &WarpEngine, count: usize) -> Outcome<usize> {
    let mut found = 0;
    for number in 0..count {
        found += usize::from(engine.get(key(number))?.is_some_and(|value| *value == record(number)[..]));
    }
    Ok(found)
}

/// Waits until `is_done` says so, or for [`PATIENCE`]; returns whether it did.
fn wait_until(job: &Job, mut is_done: impl FnMut() -> bool) -> bool {
    let end = job.clock.monotonic() + PATIENCE;
    while job.clock.monotonic() < end {
        if is_done() {
            return true;
        }
        thread::sleep(Duration::from_millis(1));
    }
    is_done()
}

/// Nothing that is written comes to an end.
fn still(job: &mut Job) -> Outcome<()> {
    let scene = Scene::new(job.seed, options())?;
    let engine = &scene.engine;
    for number in 0..BEFORE {
        engine.put(key(number), record(number))?;
    }
    engine.sync()?;

    scene.gate.shut();
    let no_wait = PutOptions::new().no_wait();
    let (mut count, mut refusal) = (BEFORE, None);
    while refusal.is_none() && count < PUTS_MAX {
        match engine.put_with(key(count), record(count), &no_wait) {
            Ok(_) => count += 1,
            Err(error) => refusal = Some(error.kind()),
        }
    }
    let accepted = (count - BEFORE) * VALUE_BYTES;
    let busy = refusal == Some(ErrorKind::Busy);
    job.report.check(
        "the log's memory is bounded while the disk stands still",
        // What is in the ring, and what a writer took out of it for the write that does not end.
        busy && accepted <= 2 * BUFFER_BYTES,
        format!("{accepted} bytes of values taken in with a buffer of {BUFFER_BYTES}, then {refusal:?}"),
    );

    let returned = AtomicUsize::new(0);
    let (waiting, reads, seen) = thread::scope(|scope| -> Outcome<(usize, Duration, usize)> {
        let returned = &returned;
        let writer = scope.spawn(move || -> Outcome<()> {
            engine.put(key(count), record(count))?;
            returned.store(1, Ordering::Release);
            Ok(())
        });
        thread::sleep(QUIET);
        let waiting = returned.load(Ordering::Acquire);
        let (seen, reads) = job.time(|| found(engine, count));
        // Opened before anything can return early, since the writer is waited for at the end of the scope.
        scene.gate.open();
        writer.join().map_err(|_| "the waiting writer panicked")??;
        Ok((waiting, reads, seen?))
    })?;
    job.report.check(
        "a writer waits while the disk stands still",
        waiting == 0,
        format!("for {QUIET:?} at least"),
    );
    job.report.check(
        "reads go on while the disk stands still",
        seen == count && reads < READS_MAX,
        format!("{seen} of {count} records read in {:.1} ms", reads.as_secs_f64() * 1e3),
    );
    job.report.check(
        "the writer goes on when the disk does",
        returned.load(Ordering::Acquire) == 1,
        "it has returned".to_owned(),
    );
    engine.sync()?;
    let survivors = scene.survivors(count + 1)?;
    job.report.check(
        "nothing that was taken in is lost, once it is synced and the power fails",
        survivors == count + 1,
        format!("{survivors} of {}", count + 1),
    );
    Ok(())
}

/// Every write and sync takes milliseconds, and threads write all at once.
fn slow_disk(job: &mut Job) -> Outcome<()> {
    let scene = Scene::new(job.seed, options().durability(Durability::Sync))?;
    scene.gate.delay(SLOW_DELAY);
    let syncs = || scene.engine.cosmic_metrics().log.map_or(0, |log| log.syncs);
    let before = syncs();
    let (outcome, time) = job.time(|| {
        clients(SLOW_THREADS, |number| {
            for put in 0..SLOW_PUTS {
                let record_number = number * SLOW_PUTS + put;
                scene.engine.put(key(record_number), record(record_number))?;
            }
            Ok(())
        })
    });
    outcome?;
    let syncs = syncs() - before;
    let count = SLOW_THREADS * SLOW_PUTS;
    let survivors = scene.survivors(count)?;
    job.report.check(
        "nothing that a slow disk has acknowledged is lost when the power fails",
        survivors == count,
        format!("{survivors} of {count}, in {:.1} s", time.as_secs_f64()),
    );
    job.report.check(
        "writers of a slow disk share its syncs",
        syncs < count as u64,
        format!("{syncs} syncs for {count} puts of {SLOW_THREADS} threads"),
    );
    Ok(())
}

/// There is no space for the log.
fn full(job: &mut Job) -> Outcome<()> {
    let scene =
        Scene::new(job.seed, options().durability(Durability::Sync).log_segment_bytes(SEGMENT_BYTES_FULL))?;
    let engine = &scene.engine;
    scene.disk.set_capacity(Some(CAPACITY_BYTES));
    let (mut count, mut refusal) = (0, None);
    while refusal.is_none() && count < PUTS_MAX {
        match engine.put(key(count), record(count)) {
            Ok(_) => count += 1,
            Err(error) => refusal = Some(error.kind()),
        }
    }
    job.report.check(
        "a put into a full log is refused as Full",
        refusal == Some(ErrorKind::Full) && count > 0,
        format!("{refusal:?} after {count} puts"),
    );
    let seen = found(engine, count)?;
    job.report.check("reads go on while the disk is full", seen == count, format!("{seen} of {count}"));
    let survivors = scene.survivors(count)?;
    job.report.check(
        "nothing that was acknowledged before the disk was full is lost when the power fails",
        survivors == count,
        format!("{survivors} of {count}"),
    );
    scene.disk.set_capacity(None);
    let resumed = wait_until(job, || engine.put(key(count), record(count)).is_ok());
    job.report.check("writing resumes when there is space again", resumed, "within a short while".to_owned());
    let survivors = scene.survivors(count + 1)?;
    job.report.check(
        "what was written then survives as well",
        survivors == count + 1,
        format!("{survivors} of {}", count + 1),
    );
    Ok(())
}
