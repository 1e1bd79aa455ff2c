//! What happens when, by a clock that is moved by hand: flushes, checkpoints, and what is kept of them.

#![allow(
    clippy::cast_possible_truncation,
    clippy::unwrap_used,
    reason = "a test that cannot go on says so by a panic, and its numbers are small"
)]

mod common;

use std::time::Duration;

use common::{Machine, entries, small};
use warp_api::{Durability, Options};
use warp_io::Survival;

/// An `Interval` write that is older than the flush interval is never lost, at any crash point.
#[test]
fn an_interval_write_survives_once_it_is_older_than_the_flush_interval() {
    let machine = Machine::new(1);
    machine.disk.record();
    let engine = machine.open(small());
    // When each write was made, and what the clock said before each operation of the disk: at least this.
    let mut written: Vec<(String, Duration)> = Vec::new();
    let mut times: Vec<(u64, Duration)> = vec![(0, now(&machine))];
    for number in 0..40_u32 {
        let key = format!("key:{number}");
        engine.put(&key, number.to_string()).unwrap();
        written.push((key, now(&machine)));
        for _ in 0..2 + number % 7 {
            machine.clock.advance(Duration::from_millis(10));
            times.push((machine.disk.operations(), now(&machine)));
            engine.step();
        }
    }
    let mut checked = 0;
    for point in machine.disk.crash_points() {
        // What is done at one time of the virtual clock takes no time: a sync that is due then may be under way.
        let time =
            times.iter().rev().find(|(from, _)| *from <= point).map_or(Duration::ZERO, |(_, time)| *time);
        let is_safe = |at: Duration| at + FLUSH_INTERVAL < time;
        for survival in 0..8 {
            let crashed = machine.with_disk(machine.disk.image_at(point, Survival::seeded(survival)));
            let recovered = crashed.open(small());
            for (key, _) in written.iter().filter(|(_, at)| is_safe(*at)) {
                let place = format!("{key} is lost at operation {point}, survival {survival}");
                assert!(recovered.get(key).unwrap().is_some(), "{place}");
                checked += 1;
            }
        }
    }
    assert!(checked > 5_000, "only {checked} checks");
}

/// The default time between two syncs of the log.
const FLUSH_INTERVAL: Duration = Duration::from_millis(100);

fn now(machine: &Machine) -> Duration {
    use warp_io::Clock;
    machine.clock.monotonic()
}

/// A killed process loses nothing that is older than 10 ms, also without any sync.
#[test]
fn an_os_write_survives_the_process_once_it_is_older_than_ten_milliseconds() {
    let machine = Machine::new(2);
    let engine = machine.open(small().durability(Durability::Os));
    engine.put("older", "1").unwrap();
    machine.pass(&engine, Duration::from_millis(20));
    let syncs = engine.cosmic_metrics().log.unwrap().syncs;
    engine.put("newer", "2").unwrap();
    let killed = machine.with_disk(machine.disk.crash(Survival::Everything));
    let recovered = killed.open(small());
    assert!(recovered.get("older").unwrap().is_some());
    assert!(recovered.get("newer").unwrap().is_none(), "it was in memory only, so this test shows nothing");
    // Nobody asked for a sync, so that none is made however long it takes.
    machine.pass(&engine, Duration::from_secs(2));
    assert_eq!(engine.cosmic_metrics().log.unwrap().syncs, syncs);
}

#[test]
fn a_checkpoint_is_taken_after_five_minutes() {
    let machine = Machine::new(3);
    let engine = machine.open(Options::new().log_segment_bytes(64 << 10).log_buffer_bytes(16 << 10));
    engine.put("key", "value").unwrap();
    machine.pass(&engine, Duration::from_millis(299_900));
    assert_eq!(engine.cosmic_metrics().checkpoints.unwrap().taken, 0);
    machine.pass(&engine, Duration::from_millis(200));
    assert_eq!(engine.cosmic_metrics().checkpoints.unwrap().taken, 1);
    // Nothing is written, so that nothing is due.
    machine.pass(&engine, Duration::from_secs(400));
    assert_eq!(engine.cosmic_metrics().checkpoints.unwrap().taken, 1);
}

#[test]
fn a_checkpoint_is_taken_when_the_log_has_grown() {
    let machine = Machine::new(4);
    let engine = machine.open(small().checkpoint_log_bytes(20_000));
    let mut taken = Vec::new();
    for number in 0..400_u32 {
        engine.put(format!("key:{number}"), [b'x'; 100]).unwrap();
        machine.pass(&engine, Duration::from_millis(10));
        taken.push(engine.cosmic_metrics().checkpoints.unwrap().taken);
    }
    let last = *taken.last().unwrap();
    assert!((2..=4).contains(&last), "{last} checkpoints over about 60,000 bytes of records");
}

#[test]
fn three_checkpoints_are_kept_and_no_file_that_they_do_not_need() {
    let machine = Machine::new(5);
    let engine = machine.open(small());
    for round in 0..10_u32 {
        for number in 0..60_u32 {
            engine.put(format!("key:{number}"), format!("{round}/{number}/{}", "v".repeat(200))).unwrap();
        }
        engine.checkpoint().unwrap();
        machine.pass(&engine, Duration::from_millis(200));
    }
    let points = |manifests: &[u64]| {
        let layers = machine.disk.root();
        let mut points: Vec<u64> = manifests
            .iter()
            .map(|number| warp_checkpoint::load(&layers, *number).unwrap().replay_from)
            .collect();
        points.sort_unstable();
        points.dedup();
        points
    };
    let manifests = warp_checkpoint::list(&machine.disk.root()).unwrap();
    assert_eq!(points(&manifests).len(), 3, "exactly three checkpoints");

    // Every layer is named by a manifest, and every segment but the last ones holds what replay needs.
    let named: std::collections::BTreeSet<String> = manifests
        .iter()
        .flat_map(|number| warp_checkpoint::load(&machine.disk.root(), *number).unwrap().layers)
        .map(|layer| format!("layers/{}", warp_checkpoint::layer_name(layer.id)))
        .collect();
    let files = machine.disk.files();
    let layers: std::collections::BTreeSet<String> =
        files.iter().filter(|file| file.starts_with("layers/")).cloned().collect();
    assert_eq!(layers, named);
    assert!(files.iter().all(|file| !file.ends_with(".tmp")), "{files:?}");
    let log_bytes: usize = files
        .iter()
        .filter(|file| file.starts_with("wal/"))
        .map(|file| machine.disk.read(file).unwrap().len())
        .sum();
    // Three rounds of about 60 x 240 bytes are needed; ten were written.
    assert!(log_bytes <= 4 * (64 << 10), "{log_bytes} bytes of log are kept");

    let before = entries(&engine);
    engine.close().unwrap();
    assert_eq!(entries(&machine.open(small())), before);
}

/// What the open has replayed counts as written, so that runs that all end before a checkpoint is due do not add up.
#[test]
fn replay_stays_bounded_when_every_run_ends_in_a_crash() {
    const LIMIT: u64 = 20_000;
    let mut machine = Machine::new(6);
    let mut replayed = Vec::new();
    for _ in 0..8 {
        let engine = machine.open(small().checkpoint_log_bytes(LIMIT));
        replayed.push(engine.recovery_report().log_bytes);
        for number in 0..100_u32 {
            engine.put(format!("key:{number}"), [b'x'; 100]).unwrap();
            machine.pass(&engine, Duration::from_millis(10));
        }
        let written = engine.cosmic_metrics().log.unwrap().record_bytes;
        assert!(written < LIMIT, "{written} bytes in one run ask for a checkpoint by themselves");
        machine = machine.with_disk(machine.disk.crash(Survival::Everything));
    }
    assert!(replayed.iter().any(|bytes| *bytes > LIMIT / 2), "{replayed:?}");
    assert!(replayed.iter().all(|bytes| *bytes < 3 * LIMIT), "{replayed:?}");
}
