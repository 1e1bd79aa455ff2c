//! The log's archive: with it every point in time can be had, and nothing is lost between the log and it.

#![allow(
    clippy::cast_possible_truncation,
    clippy::unwrap_used,
    reason = "a test that cannot go on says so by a panic, and its numbers are small"
)]

mod common;

use std::time::{Duration, SystemTime};

use common::{Machine, report, small};
use warp_api::{Durability, Environment, ErrorKind, Options, PointInTime, ReadView, Seq, WarpEngine};
use warp_io::{Dir, Fault, OpKind, SimDisk, Survival};

/// Bytes of a value: a few fill a segment.
const VALUE_BYTES: usize = 15_000;
const ARCHIVE: &str = "archive";

fn options() -> Options {
    small().checkpoints_kept(1).compress_values_from(usize::MAX).durability(Durability::Sync)
}

/// The environment with an archive on the same disk.
fn archiving(machine: &Machine) -> Environment {
    let archive = machine.disk.root().subdir(ARCHIVE, true).unwrap();
    Environment { log_archive: Some(archive), ..machine.environment() }
}

fn open(machine: &Machine) -> WarpEngine {
    options().open_in(&machine.disk.root(), archiving(machine)).unwrap()
}

fn view(machine: &Machine, point: PointInTime) -> warp_api::Result<ReadView> {
    options().open_at_in(&machine.disk.root(), archiving(machine), point)
}

fn value(number: usize) -> Vec<u8> {
    let mut value = number.to_string().into_bytes();
    value.resize(VALUE_BYTES, b' ');
    value
}

/// Overwrites one key again and again, with a checkpoint every few times.
fn write(engine: &WarpEngine, numbers: std::ops::Range<usize>) -> Vec<Seq> {
    let mut seqs = Vec::new();
    for number in numbers {
        seqs.push(engine.put("key", value(number)).unwrap());
        if number % 5 == 4 {
            engine.checkpoint().unwrap();
        }
    }
    seqs
}

#[track_caller]
fn assert_number(view: &ReadView, number: usize) {
    assert!(view.get("key").unwrap().as_deref() == Some(&value(number)[..]), "not number {number}");
}

fn segments(disk: &SimDisk, dir: &str) -> usize {
    disk.files().iter().filter(|file| file.starts_with(dir) && file.ends_with(".log")).count()
}

#[test]
fn every_point_since_the_beginning_can_be_had() {
    let machine = Machine::new(1);
    machine.disk.root().subdir(ARCHIVE, true).unwrap();
    let mut seqs = Vec::new();
    for round in 0..3 {
        let engine = open(&machine);
        seqs.extend(write(&engine, round * 20..round * 20 + 20));
        assert_eq!(engine.cosmic_metrics().log.unwrap().archive_failures, 0);
        assert!(engine.cosmic_metrics().log.unwrap().archived > 3);
        for (number, seq) in seqs.iter().enumerate() {
            assert_number(&engine.view_at(PointInTime::Seq(*seq)).unwrap(), number);
        }
        if round == 1 {
            engine.close().unwrap();
        }
    }
    assert!(segments(&machine.disk, "archive/") > 10 && segments(&machine.disk, "wal/") < 10);
    for (number, seq) in seqs.iter().enumerate() {
        assert_number(&view(&machine, PointInTime::Seq(*seq)).unwrap(), number);
    }
    let empty = view(&machine, PointInTime::Time(SystemTime::UNIX_EPOCH)).unwrap();
    assert_eq!((empty.seq(), empty.is_empty().unwrap()), (Seq(0), true));
    drop(empty);
    let without =
        options().open_at_in(&machine.disk.root(), machine.environment(), PointInTime::Seq(seqs[3]));
    assert_eq!(without.unwrap_err().kind(), ErrorKind::OutOfRange);
    // A part of the past that is missing is damage, not another past.
    let archived = machine.disk.files().into_iter().filter(|file| file.starts_with("archive/"));
    machine.disk.remove(&archived.collect::<Vec<_>>()[2]);
    let error = view(&machine, PointInTime::Seq(seqs[20])).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
}

#[test]
fn a_segment_that_cannot_be_archived_stays_and_is_tried_again() {
    let machine = Machine::new(1);
    let engine = open(&machine);
    machine.disk.inject_when(|operation| {
        let is_archive = operation.path.starts_with("archive/") && operation.kind == OpKind::WriteAt;
        is_archive.then_some(Fault::NoSpace)
    });
    let seqs = write(&engine, 0..30);
    let metrics = engine.cosmic_metrics().log.unwrap();
    assert!(metrics.archive_failures > 0 && metrics.archived == 0);
    assert_eq!(machine.disk.files().iter().filter(|file| file.starts_with("archive/")).count(), 0);
    assert!(segments(&machine.disk, "wal/") >= 8);
    assert_number(&engine.view_at(PointInTime::Seq(seqs[0])).unwrap(), 0);
    machine.disk.clear_faults();
    engine.checkpoint().unwrap();
    assert!(engine.cosmic_metrics().log.unwrap().archived >= 6);
    assert_number(&engine.view_at(PointInTime::Seq(seqs[0])).unwrap(), 0);
    engine.close().unwrap();
}

#[test]
fn what_another_log_has_archived_is_left_alone() {
    let machine = Machine::new(1);
    let engine = open(&machine);
    let name = "00000000000000000001.log";
    machine.disk.write(&format!("archive/{name}"), b"of another log".to_vec());
    write(&engine, 0..20);
    let metrics = engine.cosmic_metrics().log.unwrap();
    assert!(metrics.archive_failures > 0 && metrics.archived == 0);
    assert_eq!(machine.disk.read(&format!("archive/{name}")).unwrap(), b"of another log");
    assert!(machine.disk.files().contains(&format!("wal/{name}")));
}

#[test]
fn a_log_is_not_archived_into_itself() {
    let machine = Machine::new(1);
    let itself = machine.disk.root().subdir("wal", true).unwrap();
    let environment = Environment { log_archive: Some(itself), ..machine.environment() };
    let engine = options().open_in(&machine.disk.root(), environment).unwrap();
    let seqs = write(&engine, 0..20);
    assert!(engine.cosmic_metrics().log.unwrap().archive_failures > 0);
    assert_number(&engine.view_at(PointInTime::Seq(seqs[0])).unwrap(), 0);
}

#[test]
fn an_archive_is_named_by_its_path() {
    let scratch = tempfile::tempdir().unwrap();
    let (data, archive) = (scratch.path().join("data"), scratch.path().join("a/b"));
    let engine = options().log_archive(&archive).open(&data).unwrap();
    let seqs = write(&engine, 0..20);
    engine.close().unwrap();
    let at = |options: Options| options.open_at(&data, PointInTime::Seq(seqs[1]));
    assert_number(&at(Options::new().log_archive(&archive)).unwrap(), 1);
    assert_eq!(at(Options::new()).unwrap_err().kind(), ErrorKind::OutOfRange);
    let nowhere = at(Options::new().log_archive(scratch.path().join("c")));
    assert_eq!(nowhere.unwrap_err().kind(), ErrorKind::NotFound);
}

/// What survives is chosen anew for each of these at every crash point.
const SURVIVALS: u64 = 8;

#[test]
fn a_crash_at_any_operation_leaves_every_segment_in_the_log_or_in_the_archive() {
    let machine = Machine::new(3);
    machine.disk.root().subdir(ARCHIVE, true).unwrap();
    machine.disk.root().sync_dir().unwrap();
    let engine = open(&machine);
    let mut seqs = write(&engine, 0..10);
    machine.disk.record();
    seqs.extend(write(&engine, 10..25));
    drop(engine);
    let engine = open(&machine);
    seqs.extend(write(&engine, 25..40));
    drop(engine);
    let far = PointInTime::Time(SystemTime::UNIX_EPOCH + Duration::from_secs(1 << 32));
    let mut images = std::collections::HashSet::new();
    for point in machine.disk.crash_points() {
        for survival in 0..SURVIVALS {
            let image = machine.with_disk(machine.disk.image_at(point, Survival::seeded(survival)));
            if !images.insert(image.disk.digest()) {
                continue;
            }
            let place = format!("operation {point} survival {survival}");
            let last = view(&image, far).unwrap_or_else(|error| panic!("{place}: {error:?}")).seq();
            let count = seqs.iter().filter(|seq| **seq <= last).count();
            assert!(count >= 10, "{place}");
            for number in [0, 4, count / 2, count - 1] {
                let view = view(&image, PointInTime::Seq(seqs[number]));
                assert_number(&view.unwrap_or_else(|error| panic!("{place}: {error:?}")), number);
            }
            if images.len() % 16 == 0 {
                // It goes on from there, and leaves no half copy.
                let engine = open(&image);
                engine.put("key", value(7)).unwrap();
                engine.checkpoint().unwrap();
                assert_eq!(engine.cosmic_metrics().log.unwrap().archive_failures, 0, "{place}");
                assert_number(&engine.view_at(PointInTime::Seq(seqs[count - 1])).unwrap(), count - 1);
                let halves = image.disk.files().into_iter().filter(|file| file.ends_with(".partial"));
                assert_eq!(halves.count(), 0, "{place}");
            }
        }
    }
    report(&format!("{} crash images of archiving, 0 violations", images.len()));
    assert!(images.len() > 300, "only {} images", images.len());
}
