//! Backups: what they hold, that they cost what has changed, and that a crash leaves the earlier one or the new one.

#![allow(
    clippy::cast_possible_truncation,
    clippy::unwrap_used,
    reason = "a test that cannot go on says so by a panic, and its numbers are small"
)]

mod common;
#[allow(dead_code, reason = "what is declared beside entries is of no interest here")]
#[path = "crash/model.rs"]
mod model;
#[allow(dead_code, reason = "what is acknowledged as durable is of no interest here")]
#[path = "crash/workload.rs"]
mod workload;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use common::{Machine, START_MILLIS, entries, report, small};
use model::Model;
use warp_api::{
    Durability, Environment, ErrorKind, LogFormat, Options, Progress, PutOptions, Seq, Task, WarpEngine,
    WriteBatch,
};
use warp_io::{Dir, Fault, OpKind, OsDir, SimClock, SimDisk, Survival};
use workload::{Run, environment, options, run};

const BACKUP: &str = "backup";

fn target(disk: &SimDisk) -> Arc<dyn Dir> {
    disk.root().subdir(BACKUP, true).unwrap()
}

fn open_backup(machine: &Machine, disk: &SimDisk, options: Options) -> warp_api::Result<WarpEngine> {
    options.open_in(&*target(disk), machine.environment())
}

fn export(engine: &WarpEngine) -> BTreeSet<String> {
    let mut out = Vec::new();
    engine.export(&mut out).unwrap();
    let lines = std::str::from_utf8(&out).unwrap().lines();
    lines.map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap().to_string()).collect()
}

/// What a run had written up to a sequence, as it is at a time.
fn expected(run: &Run, seq: u64, now: u64) -> BTreeSet<String> {
    let mut model = Model::default();
    for write in run.writes.iter().filter(|write| write.seq <= seq) {
        write.effects.iter().for_each(|effect| model.apply(effect));
    }
    model.export(now)
}

/// Names and bytes of all files but those of the backup.
fn source_files(disk: &SimDisk) -> BTreeMap<String, Vec<u8>> {
    let files = disk.files().into_iter().filter(|file| !file.starts_with("backup/"));
    files.map(|file| (file.clone(), disk.read(&file).unwrap())).collect()
}

#[test]
fn a_backup_is_exactly_what_there_was() {
    for (seed, format) in (0..8).map(|seed| (seed, [LogFormat::Binary, LogFormat::Json][seed as usize % 2])) {
        let run = run(seed, 110, format);
        let clock = SimClock::new(START_MILLIS + 900_000);
        let open = |dir: &dyn Dir, seed| options(format).open_in(dir, environment(&clock, seed));
        let disk = run.disk.crash(Survival::Everything);
        let engine = open(&disk.root(), 5).unwrap();
        let before = engine.last_seq();
        let other = SimDisk::new(seed);
        let backup = engine.backup_in(&other.root()).unwrap();
        assert_eq!((backup.seq, backup.incremental), (before, false));
        let expected = expected(&run, backup.seq.0, START_MILLIS + 900_000);
        engine.clear().unwrap();
        let crashed = other.crash(Survival::Nothing);
        let copy = open(&crashed.root(), 6).unwrap();
        let found = export(&copy);
        assert!(
            found == expected,
            "seed {seed}: {:#?}",
            found.symmetric_difference(&expected).collect::<Vec<_>>()
        );
        assert_eq!(copy.recovery_report().last_seq, backup.seq);
        assert!(copy.recovery_report().clean_close);
        let verified = copy.verify().unwrap();
        assert!(verified.is_clean(), "{:?}", verified.problems);
        assert!(copy.put("after", "1").unwrap() > backup.seq);
        copy.checkpoint().unwrap();
        copy.close().unwrap();
        assert_eq!(open(&crashed.root(), 6).unwrap().get("after").unwrap().as_deref(), Some(&b"1"[..]));
    }
}

#[test]
fn an_earlier_backup_makes_it_incremental() {
    let machine = Machine::new(1);
    let engine = machine.open(small().checkpoints_kept(1));
    let progress: Arc<AtomicU64> = Arc::default();
    for number in 0..500 {
        engine.put(format!("key:{number}"), "v".repeat(200)).unwrap();
    }
    engine.checkpoint().unwrap();
    let to = target(&machine.disk);
    let first = engine.backup_in(&*to).unwrap();
    assert_eq!((first.layers, first.layers_copied, first.tail_entries), (1, 1, 0));
    assert!(first.bytes > 5_000 && first.bytes_written == first.bytes, "{first:?}");
    // Nothing has changed: nothing is written.
    let files = machine.disk.files();
    let again = engine.backup_in(&*to).unwrap();
    assert_eq!((again.seq, again.bytes_written, again.layers, again.incremental), (first.seq, 0, 1, true));
    assert_eq!(machine.disk.files(), files);

    engine.put("key:0", "new").unwrap();
    engine.delete("key:1").unwrap();
    let second = engine.backup_in(&*to).unwrap();
    assert_eq!((second.layers, second.layers_copied, second.tail_entries), (2, 0, 2));
    assert!(second.bytes_written < 2_000, "{second:?}");
    assert_eq!(second.removed_files, 1, "the manifest of the first");
    engine.checkpoint().unwrap();
    engine.put("key:2", "new").unwrap();
    let third = engine.backup_in(&*to).unwrap();
    assert_eq!((third.layers, third.layers_copied, third.tail_entries), (3, 1, 1));
    assert_eq!(third.removed_files, 2, "the manifest of the second, and its layer of what the log had");
    let files = machine.disk.files().into_iter().filter(|file| file.starts_with("backup/"));
    // LOCK, READERS, BACKUP, a manifest, a segment, and the layers.
    assert_eq!(files.count(), 5 + 3);

    // Opened for writing it is still a backup, as long as nothing is written.
    let copy = open_backup(&machine, &machine.disk, small()).unwrap();
    assert_eq!(entries(&copy), entries(&engine));
    assert_eq!(engine.backup_in(&*to).unwrap_err().kind(), ErrorKind::Locked);
    copy.close().unwrap();
    engine.put("key:3", "new").unwrap();
    let fourth = engine.backup_in(&*to).unwrap();
    assert_eq!((fourth.layers, fourth.layers_copied), (3, 0));
    let copy = open_backup(&machine, &machine.disk, small()).unwrap();
    assert_eq!(entries(&copy), entries(&engine));
    copy.put("mine", "1").unwrap();
    copy.close().unwrap();
    engine.put("key:4", "new").unwrap();
    let error = engine.backup_in(&*to).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    let copy = open_backup(&machine, &machine.disk, small()).unwrap();
    assert_eq!(copy.get("mine").unwrap().as_deref(), Some(&b"1"[..]), "it was left alone");
    drop(progress);
}

#[test]
fn progress_is_told_in_bytes_of_layers() {
    let machine = Machine::new(1);
    let told = Arc::new(std::sync::Mutex::new(Vec::new()));
    let telling = Arc::clone(&told);
    let options = small().on_progress(move |progress: &Progress| {
        if progress.task == Task::Backup {
            telling.lock().unwrap().push((progress.done, progress.total));
        }
    });
    let engine = machine.open(options);
    engine.put("key", "value").unwrap();
    engine.checkpoint().unwrap();
    let backup = engine.backup_in(&*target(&machine.disk)).unwrap();
    let told = told.lock().unwrap();
    assert_eq!(told.first(), Some(&(0, Some(backup.bytes))));
    assert_eq!(told.last(), Some(&(backup.bytes, Some(backup.bytes))));
}

#[test]
fn a_target_that_is_none_is_refused_and_left_alone() {
    let machine = Machine::new(1);
    let engine = machine.open(small());
    engine.put("key", "value").unwrap();
    engine.checkpoint().unwrap();
    let other = Machine::new(2);
    let other_engine = other.open_with_seed(small(), 99);
    other_engine.put("theirs", "1").unwrap();
    other_engine.checkpoint().unwrap();
    let other_backup = SimDisk::new(3);
    other_engine.backup_in(&other_backup.root()).unwrap();
    let with_file = SimDisk::new(4);
    with_file.write("notes", b"mine".to_vec());
    let with_dir = SimDisk::new(5);
    with_dir.root().subdir("photos", true).unwrap();
    for (what, disk) in [
        ("itself", &machine.disk),
        ("another database", &other.disk),
        ("a backup of another database", &other_backup),
        ("a directory with a file", &with_file),
        ("a directory with a directory", &with_dir),
    ] {
        let before = disk.digest();
        let error = engine.backup_in(&disk.root()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{what}: {error}");
        assert_eq!(disk.digest(), before, "{what}");
    }
    assert_eq!(
        WarpEngine::in_memory().backup_in(&with_dir.root()).unwrap_err().kind(),
        ErrorKind::Unsupported
    );

    let scratch = tempfile::tempdir().unwrap();
    let file = scratch.path().join("file");
    let dir = OsDir::open(scratch.path(), false).unwrap();
    dir.create_new("file").unwrap();
    assert_eq!(engine.backup(&file).unwrap_err().kind(), ErrorKind::Invalid);
    assert_eq!(engine.backup(file.join("below")).unwrap_err().kind(), ErrorKind::Invalid);
    engine.clone().close().unwrap();
    assert_eq!(engine.backup(scratch.path().join("late")).unwrap_err().kind(), ErrorKind::Closed);
}

#[test]
fn damage_in_the_database_fails_the_backup_and_leaves_the_earlier_one() {
    let machine = Machine::new(1);
    let engine = machine.open(small());
    engine.put("first", "1").unwrap();
    engine.checkpoint().unwrap();
    let to = target(&machine.disk);
    let first = engine.backup_in(&*to).unwrap();
    engine.put("second", "unmistakable").unwrap();
    // Enough for several blocks, so that the directory of the layer is in another.
    for number in 0..2000 {
        engine.put(format!("other:{number}"), "value").unwrap();
    }
    engine.checkpoint().unwrap();
    drop(engine);
    let bytes = machine.disk.read("layers/2.warp").unwrap();
    let place = bytes.windows(12).position(|window| window == b"unmistakable").unwrap();
    machine.disk.flip_bit("layers/2.warp", place as u64 * 8);
    let engine = machine.open(small());
    let error = engine.backup_in(&*to).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error:?}");
    assert_eq!(error.path(), Some(Path::new("layers/2.warp")));
    let copy = open_backup(&machine, &machine.disk, small()).unwrap();
    assert_eq!((copy.recovery_report().last_seq, copy.len().unwrap()), (first.seq, 1));
}

#[test]
fn a_full_disk_at_the_target_is_full_and_harms_nothing() {
    let machine = Machine::new(1);
    let engine = machine.open(small());
    for number in 0..100 {
        engine.put(format!("key:{number}"), "v".repeat(100)).unwrap();
    }
    engine.checkpoint().unwrap();
    engine.put("in the log", "1").unwrap();
    // It syncs the log.
    engine.backup_in(&SimDisk::new(2).root()).unwrap();
    let source = source_files(&machine.disk);
    let mut fulls = 0;
    for room in (0..40_000).step_by(997) {
        let other = SimDisk::new(1);
        other.set_capacity(Some(room));
        match engine.backup_in(&other.root()) {
            Ok(_) => {}
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Full, "{error:?}");
                fulls += 1;
            }
        }
        assert!(source_files(&machine.disk) == source);
        // With space it goes on from what there is.
        other.set_capacity(None);
        let backup = engine.backup_in(&other.root()).unwrap();
        let copy = small().open_in(&other.root(), machine.environment()).unwrap();
        assert_eq!((entries(&copy), copy.recovery_report().last_seq), (entries(&engine), backup.seq));
    }
    assert!((5..41).contains(&fulls), "{fulls}");
}

/// Every operation of several backups is a crash point, and may fail.
#[test]
fn a_crash_at_any_operation_leaves_the_earlier_backup_or_the_new_one() {
    let mut images = HashSet::new();
    let (mut earlier, mut newer, mut none) = (0, 0, 0);
    for seed in 0..3 {
        let source = run(seed, 60, LogFormat::Binary);
        let clock = SimClock::new(START_MILLIS + 900_000);
        let disk = SimDisk::new(seed);
        let mut engine = options(LogFormat::Binary)
            .open_in(&source.disk.crash(Survival::Everything).root(), environment(&clock, 5))
            .unwrap();
        disk.record();
        // When each backup was begun and ended, its sequence, and what it holds.
        let mut taken: Vec<(u64, u64, Seq, BTreeSet<String>)> = Vec::new();
        for round in 0..5 {
            for number in 0..4 {
                engine.put(format!("{round}/{number}"), "x".repeat(300)).unwrap();
            }
            engine.delete(format!("{}/1", round - 1)).unwrap();
            match round {
                1 => drop(engine.checkpoint().unwrap()),
                2 => {
                    // The log of an engine that was killed: numbers leap.
                    for _ in 0..8 {
                        engine.put("again", round.to_string()).unwrap();
                        engine.checkpoint().unwrap();
                    }
                    engine.step();
                }
                3 => drop(engine.clear().unwrap()),
                _ => {}
            }
            let begun = disk.operations();
            let backup = engine.backup_in(&disk.root()).unwrap();
            taken.push((begun, disk.operations(), backup.seq, export(&engine)));
        }
        engine = WarpEngine::in_memory();
        drop(engine);
        for point in disk.crash_points() {
            for survival in 0..6 {
                let image = disk.image_at(point, Survival::seeded(survival));
                if !images.insert((point.min(1), image.digest())) {
                    continue;
                }
                let place = format!("seed {seed} operation {point} survival {survival}");
                let ended = taken.iter().filter(|(_, ended, _, _)| *ended <= point).count();
                let open =
                    options(LogFormat::Binary).create(false).open_in(&image.root(), environment(&clock, 9));
                let engine = match open {
                    Ok(engine) => engine,
                    Err(error) => {
                        assert_eq!(ended, 0, "{place}: {error:?}");
                        none += 1;
                        continue;
                    }
                };
                let seq = engine.recovery_report().last_seq;
                let which = taken.iter().position(|(_, _, of, _)| *of == seq);
                let which = which.unwrap_or_else(|| panic!("{place}: {seq} is no backup"));
                assert!(export(&engine) == taken[which].3, "{place}");
                assert!(which + 1 == ended || which == ended, "{place}: number {which} after {ended}");
                if which == ended {
                    newer += 1
                } else {
                    earlier += 1
                }
                if images.len() % 8 == 0 {
                    assert!(engine.verify().unwrap().is_clean(), "{place}");
                }
            }
        }
    }
    report(&format!(
        "{} crash images of backups: {earlier} the earlier one, {newer} the new one, {none} before the first",
        images.len()
    ));
    assert!(earlier > 100 && newer > 10 && none > 10);
}

#[test]
fn a_backup_after_one_that_a_crash_ended_is_whole() {
    let machine = Machine::new(1);
    let engine = machine.open(small());
    for number in 0..50 {
        engine.put(format!("key:{number}"), "v".repeat(100)).unwrap();
    }
    engine.checkpoint().unwrap();
    engine.put("log", "1").unwrap();
    let whole = SimDisk::new(1);
    whole.record();
    engine.backup_in(&whole.root()).unwrap();
    engine.put("log", "2").unwrap();
    engine.backup_in(&whole.root()).unwrap();
    engine.put("log", "3").unwrap();
    for point in whole.crash_points() {
        for survival in 0..3 {
            let image = whole.image_at(point, Survival::seeded(survival));
            let place = format!("operation {point} survival {survival}");
            let backup = engine.backup_in(&image.root()).unwrap_or_else(|error| panic!("{place}: {error:?}"));
            let copy = small().open_in(&image.root(), machine.environment()).unwrap();
            assert_eq!(
                (entries(&copy), copy.recovery_report().last_seq),
                (entries(&engine), backup.seq),
                "{place}"
            );
            assert!(copy.verify().unwrap().is_clean(), "{place}");
            let files = image.files();
            assert!(
                files.iter().all(|file| !file.ends_with(".partial") && !file.ends_with(".tmp")),
                "{place}: {files:?}"
            );
        }
    }
}

#[test]
fn an_operation_that_fails_is_an_error_and_the_earlier_backup_stands() {
    let machine = Machine::new(1);
    let engine = machine.open(small());
    engine.put("key", "1").unwrap();
    engine.checkpoint().unwrap();
    let base = SimDisk::new(1);
    let first = engine.backup_in(&base.root()).unwrap();
    engine.put("key", "2").unwrap();
    engine.checkpoint().unwrap();
    engine.put("log", "2").unwrap();
    let (mut failed, mut number) = (0, 0);
    loop {
        let disk = base.crash(Survival::Everything);
        disk.inject(number, Fault::Eio, false);
        let answer = engine.backup_in(&disk.root());
        let is_last = disk.operations() <= number;
        number += 1;
        disk.clear_faults();
        let copy = small().open_in(&disk.crash(Survival::Everything).root(), machine.environment()).unwrap();
        match answer {
            Ok(backup) => assert_eq!(copy.recovery_report().last_seq, backup.seq),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Io, "operation {number}: {error:?}");
                let last = copy.recovery_report().last_seq;
                assert!(last == first.seq || last == engine.last_seq());
                failed += 1;
            }
        }
        if is_last {
            break;
        }
    }
    assert!(failed > 20, "{failed}");
}

/// Ends the writers when it goes.
struct Stopping<'a>(&'a AtomicBool);

impl Drop for Stopping<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// With writers that go on, the backup is what the first writes up to its sequence made.
#[test]
fn a_backup_beside_two_writers_is_a_prefix() {
    let scratch = tempfile::tempdir().unwrap();
    let options =
        || Options::new().log_segment_bytes(256 << 10).checkpoint_log_bytes(1 << 20).checkpoints_kept(1);
    let engine = options().open(scratch.path().join("data")).unwrap();
    let to = scratch.path().join("backup");
    let stop = AtomicBool::new(false);
    let seqs = std::thread::scope(|scope| {
        let writers: Vec<_> = (0..2)
            .map(|writer| {
                let (engine, stop) = (&engine, &stop);
                scope.spawn(move || {
                    let mut seqs = Vec::new();
                    let mut number = 0_u64;
                    while !stop.load(Ordering::Relaxed) {
                        // Two keys that always have the same value, and one that counts.
                        let (value, pad) = (number.to_string(), "p".repeat(500));
                        let mut batch = WriteBatch::new();
                        batch.put(format!("{writer}/a"), &value).put(format!("{writer}/b"), &value);
                        batch.put(format!("{writer}/{}", number % 300), format!("{value} {pad}"));
                        seqs.push(engine.write(&batch).unwrap());
                        number += 1;
                        if number.is_multiple_of(16) {
                            std::thread::sleep(Duration::from_millis(1));
                        }
                    }
                    seqs
                })
            })
            .collect();
        // Whatever becomes of the backups, the writers end.
        let stopping = Stopping(&stop);
        let mut backups = Vec::new();
        for _ in 0..6 {
            std::thread::sleep(Duration::from_millis(60));
            let before = engine.last_seq();
            let backup = engine.backup(&to).unwrap();
            assert!(backup.seq >= before);
            let copy = Options::new().open(&to).unwrap();
            assert_eq!(copy.recovery_report().last_seq, backup.seq);
            let verified = copy.verify().unwrap();
            assert!(verified.is_clean(), "{:?}", verified.problems);
            let state = entries(&copy);
            copy.close().unwrap();
            backups.push((backup.seq, state));
        }
        drop(stopping);
        let seqs: Vec<Vec<Seq>> = writers.into_iter().map(|writer| writer.join().unwrap()).collect();
        for (seq, state) in &backups {
            let mut expected = BTreeMap::new();
            for (writer, seqs) in seqs.iter().enumerate() {
                let pad = "p".repeat(500);
                let count = seqs.iter().take_while(|of| *of <= seq).count();
                for key in ["a", "b"] {
                    expected
                        .insert(format!("{writer}/{key}").into_bytes(), (count - 1).to_string().into_bytes());
                }
                for number in count.saturating_sub(300)..count {
                    expected.insert(
                        format!("{writer}/{}", number % 300).into_bytes(),
                        format!("{number} {pad}").into_bytes(),
                    );
                }
            }
            assert!(*state == expected, "the backup at {seq} is not what was written up to there");
        }
        seqs
    });
    report(&format!("backups beside two writers: {} writes", seqs.iter().map(Vec::len).sum::<usize>()));
    let checkpoints = engine.cosmic_metrics().checkpoints.unwrap();
    assert!(checkpoints.taken > 0 && checkpoints.removed_files > 0, "files went meanwhile: {checkpoints:?}");
    engine.close().unwrap();
}

#[test]
fn deadlines_keyspaces_links_and_floors_are_in_it() {
    let machine = Machine::new(1);
    let engine = machine.open(small());
    let jobs = engine.keyspace("jobs").unwrap();
    jobs.put("gone", "1").unwrap();
    engine.keyspace("dropped").unwrap().put("gone", "1").unwrap();
    engine.put_with("short", "1", &PutOptions::new().ttl(Duration::from_secs(1))).unwrap();
    engine.put_with("long", "1", &PutOptions::new().ttl(Duration::from_secs(100))).unwrap();
    engine.checkpoint().unwrap();
    jobs.clear().unwrap();
    jobs.put("here", "1").unwrap();
    engine.drop_keyspace("dropped").unwrap();
    engine.entangle("a", &["b"], 0.5).unwrap();
    engine.entanglement_rule("user:{id}", &["profile:{id}"], 0.5).unwrap();
    machine.clock.advance(Duration::from_secs(2));
    let to = target(&machine.disk);
    engine.with_durability(Durability::Os).backup_in(&*to).unwrap();
    // A machine whose clock is behind: time never goes back to before the backup.
    let behind = Environment { clock: Arc::new(SimClock::new(1)), ..machine.environment() };
    let copy = small().open_in(&*to, behind).unwrap();
    assert_eq!(export(&copy), export(&engine));
    assert_eq!(copy.keyspace("jobs").unwrap().len().unwrap(), 1);
    assert!(copy.get("short").unwrap().is_none() && copy.get("long").unwrap().is_some());
    assert!(copy.keyspace("dropped").unwrap().is_empty().unwrap());
}

/// The last operation of a backup is no sooner than everything is synced.
#[test]
fn files_are_removed_last() {
    let machine = Machine::new(1);
    let engine = machine.open(small());
    engine.put("key", "1").unwrap();
    let disk = SimDisk::new(1);
    engine.backup_in(&disk.root()).unwrap();
    engine.put("key", "2").unwrap();
    let seen = Arc::new(std::sync::Mutex::new(Vec::new()));
    let noted = Arc::clone(&seen);
    disk.inject_when(move |operation| {
        noted.lock().unwrap().push((operation.kind, operation.path.to_owned()));
        None
    });
    engine.backup_in(&disk.root()).unwrap();
    let seen = seen.lock().unwrap();
    let published = seen
        .iter()
        .position(|(kind, path)| *kind == OpKind::Rename && path.starts_with("MANIFEST-"))
        .unwrap();
    assert_eq!(seen[published + 1].0, OpKind::SyncDir);
    let is_removal = |(kind, path): &(OpKind, String)| {
        *kind == OpKind::Remove && !path.ends_with(".tmp") && !path.ends_with(".partial")
    };
    assert!(seen.iter().position(is_removal).unwrap() > published + 1);
}
