//! Points in time: a view holds exactly what was written up to its point, of a database that is closed, crashed, or open.

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

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use common::{Machine, START_MILLIS, report, small};
use model::{DEFAULT, Model};
use serde_json::{Value, json};
use warp_api::{
    Durability, ErrorKind, Keyspace, KeyspaceView, LogFormat, Options, PointInTime, PutOptions, ReadView,
    Seq, WarpEngine, WriteBatch,
};
use warp_io::{Clock, Dir, SimClock, SimDisk, Survival};
use workload::{Run, environment, options, run};

/// Writes and maintenance calls of a workload.
const STEPS: usize = 110;
/// When images are looked at, in Unix milliseconds: later than everything that a run does.
const LOOKED_AT: u64 = START_MILLIS + 10_000_000;

fn millis(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis() as u64
}

fn time(unix_millis: u64) -> PointInTime {
    PointInTime::Time(SystemTime::UNIX_EPOCH + Duration::from_millis(unix_millis))
}

fn view(run: &Run, disk: &SimDisk, point: PointInTime) -> warp_api::Result<ReadView> {
    let clock = SimClock::new(LOOKED_AT);
    options(run.format).open_at_in(&disk.root(), environment(&clock, 1), point)
}

/// What a view has, as the lines of an export, without links and rules.
fn lines(view: &ReadView) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    for name in view.keyspaces().unwrap() {
        let keyspace = view.keyspace(&name).unwrap();
        let seen = lines_of(&keyspace);
        assert_eq!(keyspace.len().unwrap(), seen.len() as u64);
        assert_eq!(keyspace.is_empty().unwrap(), seen.is_empty());
        all.extend(seen);
        if name != DEFAULT {
            all.insert(json!({ "keyspace": name }).to_string());
        }
    }
    all
}

fn lines_of(keyspace: &KeyspaceView) -> Vec<String> {
    let items: Vec<_> = keyspace.iter().map(|item| item.unwrap()).collect();
    let keys: Vec<_> = items.iter().map(|(key, _)| key.clone()).collect();
    let values = keyspace.multi_get(&keys).unwrap();
    let mut lines = Vec::new();
    for ((key, value), again) in items.into_iter().zip(values) {
        let entry = keyspace.get_entry(&key).unwrap().unwrap();
        assert_eq!((&entry.value, Some(&entry.value)), (&value, again.as_ref()));
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let mut line = json!({ "key": text(&key), "value": text(&value) });
        if let Some(expires) = entry.expires_at {
            line["deadline"] = json!(millis(expires));
        }
        if keyspace.name() != DEFAULT {
            line["keyspace"] = json!(keyspace.name());
        }
        lines.push(line.to_string());
    }
    lines
}

/// What the run had written up to a sequence, as it is at a time.
fn expected(run: &Run, seq: u64, now: u64) -> BTreeSet<String> {
    let mut model = Model::default();
    for write in run.writes.iter().filter(|write| write.seq <= seq) {
        write.effects.iter().for_each(|effect| model.apply(effect));
    }
    let is_physics = |line: &String| {
        let line: Value = serde_json::from_str(line).unwrap();
        ["link", "rule", "wormhole", "laws"].iter().any(|kind| line[kind] != Value::Null)
    };
    model.export(now).into_iter().filter(|line| !is_physics(line)).collect()
}

/// Looks at every sequence of a run, and at some that were never given; returns how many views there could be.
fn look_at_all(run: &Run, disk: &SimDisk, place: &str) -> usize {
    let last = match view(run, disk, time(LOOKED_AT)) {
        Ok(view) => view.seq().0,
        Err(error) => panic!("{place}: {error}"),
    };
    let error = view(run, disk, PointInTime::Seq(Seq(last + 1))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::OutOfRange, "{place}");
    let points = error.points().unwrap();
    assert_eq!(points.last, Seq(last), "{place}");
    let (mut looks, mut latest) = (0, 0);
    let seqs: BTreeSet<u64> =
        run.writes.iter().flat_map(|write| [write.seq - 1, write.seq, write.seq + 1]).collect();
    for seq in seqs.into_iter().filter(|seq| *seq <= last) {
        let place = format!("{place} sequence {seq}");
        let view = match view(run, disk, PointInTime::Seq(Seq(seq))) {
            Ok(view) => view,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::OutOfRange, "{place}: {error}");
                assert!(Seq(seq) < points.first, "{place}: {error}");
                continue;
            }
        };
        assert!(Seq(seq) >= points.first, "{place}");
        assert_eq!(view.seq(), Seq(seq), "{place}");
        let now = millis(view.time());
        assert!(now >= latest, "{place}: time goes back from {latest} to {now}");
        latest = now;
        assert_eq!(lines(&view), expected(run, seq, now), "{place} at {now}");
        looks += 1;
    }
    looks
}

#[test]
fn a_view_at_any_sequence_holds_what_was_written_up_to_it() {
    let mut looks = 0;
    for seed in 100..110 {
        let format = if seed % 3 == 0 { LogFormat::Json } else { LogFormat::Binary };
        let run = run(seed, STEPS, format);
        let before = run.disk.digest();
        looks += look_at_all(&run, &run.disk, &format!("WARP_SEED={seed}"));
        assert_eq!(run.disk.digest(), before, "a view changes nothing");
        run.disk.root().try_lock_exclusive().unwrap();
        let points = run.disk.crash_points();
        for point in points.iter().copied().skip(points.len() / 3).step_by(points.len() / 5) {
            let image = run.disk.image_at(point, Survival::seeded(point));
            if image.files().iter().any(|file| file.starts_with("wal/")) {
                looks += look_at_all(&run, &image, &format!("WARP_SEED={seed} operation {point}"));
            }
        }
    }
    report(&format!("{looks} views of points in time, 0 violations"));
    assert!(looks > 800, "only {looks} views");
}

/// A clock, and an engine whose log is synced after each write.
fn synced(machine: &Machine) -> WarpEngine {
    machine.open(small().durability(Durability::Sync))
}

#[test]
fn a_time_names_the_last_write_that_is_not_later() {
    let machine = Machine::new(1);
    let engine = synced(&machine);
    let mut writes = Vec::new();
    for number in 0..6 {
        machine.clock.advance(Duration::from_millis(50));
        let seq = engine.put("key", number.to_string()).unwrap();
        writes.push((machine.clock.unix_millis(), seq));
        if number == 2 {
            engine.checkpoint().unwrap();
        }
    }
    drop(engine);
    let at = |point| small().open_at_in(&machine.disk.root(), machine.environment(), point).unwrap();
    for (number, (millis_written, seq)) in writes.iter().enumerate() {
        for (point, wanted) in [
            (time(*millis_written), Some(number)),
            (time(millis_written + 49), Some(number)),
            (time(millis_written - 1), number.checked_sub(1)),
        ] {
            let view = at(point);
            let wanted_text = wanted.map(|wanted| wanted.to_string());
            let found = view.get("key").unwrap();
            assert_eq!(found.as_deref(), wanted_text.as_ref().map(String::as_bytes), "{point:?}");
            assert_eq!(view.seq(), wanted.map_or(Seq(0), |wanted| writes[wanted].1));
            assert_eq!(PointInTime::Time(view.time()), point.min_now(&machine));
        }
        assert_eq!(millis(at(PointInTime::Seq(*seq)).time()), *millis_written);
    }
    // A time that is yet to come is the present one.
    let future = at(time(machine.clock.unix_millis() + 1_000_000));
    assert_eq!(millis(future.time()), machine.clock.unix_millis());
    assert_eq!(future.get("key").unwrap().as_deref(), Some(&b"5"[..]));
}

trait MinNow {
    fn min_now(self, machine: &Machine) -> PointInTime;
}

impl MinNow for PointInTime {
    fn min_now(self, machine: &Machine) -> PointInTime {
        match self {
            PointInTime::Time(asked) => time(millis(asked).min(machine.clock.unix_millis())),
            other => other,
        }
    }
}

#[test]
fn what_has_expired_since_is_there_before_its_deadline() {
    for merges in [false, true] {
        let machine = Machine::new(1);
        let engine = machine.open(small().durability(Durability::Sync).checkpoints_kept(10));
        let ttl = PutOptions::new().ttl(Duration::from_millis(500));
        // So much that stays that layers are not merged for the little that does not.
        for number in 0..30 {
            engine.put(format!("stays:{number}"), "value").unwrap();
        }
        let first = engine.put_with("key", "value", &ttl).unwrap();
        machine.clock.advance(Duration::from_millis(100));
        let second = engine.put("other", "1").unwrap();
        machine.clock.advance(Duration::from_millis(1_000));
        // It holds nothing beyond the second write, and not what has expired since.
        engine.checkpoint().unwrap();
        let third = engine.put("other", "2").unwrap();
        for number in 0..if merges { 8 } else { 1 } {
            engine.put("number", number.to_string()).unwrap();
            engine.checkpoint().unwrap();
            machine.pass(&engine, Duration::from_millis(100));
        }
        assert_eq!(engine.cosmic_metrics().checkpoints.unwrap().merges > 0, merges);
        for (seq, is_there) in [(first, true), (second, true), (third, false)] {
            let view = engine.view_at(PointInTime::Seq(seq)).unwrap();
            assert_eq!(view.contains_key("key").unwrap(), is_there, "{seq}");
            let left = view.ttl("key").unwrap();
            assert_eq!(left == warp_api::Ttl::Missing, !is_there, "{left:?}");
            // Time stands still in it.
            machine.clock.advance(Duration::from_secs(1));
            assert_eq!(view.ttl("key").unwrap(), left);
        }
        let before = engine.view_at(time(START_MILLIS + 499)).unwrap();
        assert!(before.contains_key("key").unwrap());
        let after = engine.view_at(time(START_MILLIS + 500)).unwrap();
        assert_eq!(after.seq(), second);
        assert!(!after.contains_key("key").unwrap());
    }
}

#[test]
fn a_point_that_is_gone_is_refused_with_what_can_be_had() {
    let machine = Machine::new(1);
    let engine = machine.open(small().checkpoints_kept(1).durability(Durability::Sync));
    let mut seqs = Vec::new();
    for number in 0..400 {
        seqs.push(engine.put(format!("{}", number % 7), "v".repeat(1_500)).unwrap());
        if number % 50 == 49 {
            machine.pass(&engine, Duration::from_millis(50));
            engine.checkpoint().unwrap();
        }
    }
    engine.put("last", "1").unwrap();
    let check = |view: &dyn Fn(PointInTime) -> warp_api::Result<ReadView>, last: Seq| {
        let error = view(PointInTime::Seq(Seq(5))).unwrap_err();
        let points = error.points().unwrap();
        assert_eq!((error.kind(), points.first, points.last), (ErrorKind::OutOfRange, seqs[399], last));
        assert!(error.to_string().contains(&format!("sequences {} to {last}", points.first)), "{error}");
        assert!(view(PointInTime::Seq(points.first)).is_ok() && view(PointInTime::Seq(last)).is_ok());
        assert!(view(PointInTime::Seq(Seq(points.first.0 - 1))).is_err());
        assert!(view(PointInTime::Time(points.since)).is_ok());
        let error = view(PointInTime::Time(points.since - Duration::from_millis(1))).unwrap_err();
        assert_eq!((error.kind(), error.points()), (ErrorKind::OutOfRange, Some(points)));
        let error = view(PointInTime::Seq(Seq(last.0 + 1))).unwrap_err();
        assert_eq!((error.kind(), error.points()), (ErrorKind::OutOfRange, Some(points)));
    };
    let last = engine.last_seq();
    check(&|point| engine.view_at(point), last);
    drop(engine);
    check(&|point| small().open_at_in(&machine.disk.root(), machine.environment(), point), last);
}

#[test]
fn a_view_of_a_running_engine_syncs_what_it_needs() {
    let machine = Machine::new(1);
    let engine = machine.open(small().durability(Durability::Os));
    let first = engine.put("key", "1").unwrap();
    let second = engine.put("key", "2").unwrap();
    assert!(engine.durable_seq() < first);
    let view = engine.view_at(PointInTime::Seq(first)).unwrap();
    assert_eq!(view.get("key").unwrap().as_deref(), Some(&b"1"[..]));
    assert!(engine.durable_seq() >= first);
    let view = engine.view_at(time(machine.clock.unix_millis())).unwrap();
    assert_eq!((view.seq(), view.get("key").unwrap().as_deref()), (second, Some(&b"2"[..])));
}

#[test]
fn a_view_outlives_its_engine_and_the_files_that_it_reads() {
    let machine = Machine::new(1);
    let engine = machine.open(small().checkpoints_kept(1));
    let jobs = engine.keyspace("jobs").unwrap();
    jobs.put("1", "print").unwrap();
    engine.put("a", "1").unwrap();
    engine.put("b", "2").unwrap();
    engine.entangle("a", &["b"], 0.5).unwrap();
    engine.checkpoint().unwrap();
    let seq = engine.put("a", "2").unwrap();
    let view = engine.view_at(PointInTime::Seq(seq)).unwrap();
    let old = view.keyspace("jobs").unwrap();
    engine.drop_keyspace("jobs").unwrap();
    engine.clear().unwrap();
    for _ in 0..3 {
        engine.put("c", "v".repeat(60_000)).unwrap();
        engine.checkpoint().unwrap();
    }
    engine.close().unwrap();
    assert_eq!(view.keyspaces().unwrap(), ["default", "jobs"]);
    assert_eq!(old.get("1").unwrap().as_deref(), Some(&b"print"[..]));
    assert_eq!((old.name(), old.len().unwrap()), ("jobs", 1));
    assert_eq!(view.len().unwrap(), 2);
    assert_eq!(view.with_value("a", <[u8]>::to_vec).unwrap().unwrap(), b"2");
    assert_eq!(view.range("b"..).count(), 1);
    assert_eq!(view.scan_prefix("a").count(), 1);
    assert_eq!(&view.partners("a").unwrap()[0].key[..], b"b");
    assert_eq!(view.quantum_get("a").unwrap().unwrap().found, 1);
    assert_eq!(view.keyspace("none").unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn a_view_of_a_directory_in_use_keeps_nobody_out() {
    let machine = Machine::new(1);
    let engine = synced(&machine);
    let seq = engine.put("key", "1").unwrap();
    engine.sync().unwrap();
    let at = || small().open_at_in(&machine.disk.root(), machine.environment(), PointInTime::Seq(seq));
    let view = at().unwrap();
    engine.put("key", "2").unwrap();
    drop(engine);
    let another = view.clone();
    drop(view);
    machine.open(small()).close().unwrap();
    assert_eq!(another.get("key").unwrap().as_deref(), Some(&b"1"[..]));
    assert_eq!(at().unwrap().get("key").unwrap().as_deref(), Some(&b"1"[..]));
    let nowhere = SimDisk::new(1);
    let error =
        small().open_at_in(&nowhere.root(), machine.environment(), PointInTime::Seq(seq)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(nowhere.files().is_empty());
    let error = WarpEngine::in_memory().view_at(PointInTime::Seq(Seq(1))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
}

#[test]
fn a_damaged_checkpoint_is_passed_over_and_damage_in_the_log_is_told() {
    let machine = Machine::new(1);
    let engine = synced(&machine);
    engine.put("key", "1").unwrap();
    engine.checkpoint().unwrap();
    let seq = engine.put("key", "2").unwrap();
    engine.put("key", "3").unwrap();
    drop(engine);
    let at = || small().open_at_in(&machine.disk.root(), machine.environment(), PointInTime::Seq(seq));
    assert_eq!(at().unwrap().recovery_report().checkpoint, Some(2));
    machine.disk.flip_bit("MANIFEST-2", 400);
    let view = at().unwrap();
    assert_eq!(view.get("key").unwrap().as_deref(), Some(&b"2"[..]));
    assert_eq!(view.recovery_report().fallback.len(), 1);
    drop(view);
    // The first byte of the first value.
    let wal = machine.disk.files().into_iter().find(|file| file.starts_with("wal/")).unwrap();
    let bytes = machine.disk.read(&wal).unwrap();
    let place = bytes.windows(4).position(|four| four == b"key1").unwrap();
    machine.disk.flip_bit(&wal, (place + 3) as u64 * 8);
    assert_eq!(at().unwrap_err().kind(), ErrorKind::Corrupt);
}

/// The writes of a keyspace's own counter, in order.
type Counted = Mutex<Vec<(Seq, u64)>>;

fn count(keyspace: &Keyspace, engine: &WarpEngine, counted: &Counted, ended: &AtomicBool) {
    let filler = "v".repeat(200);
    for number in 0.. {
        if ended.load(Ordering::Relaxed) {
            break;
        }
        let mut batch = WriteBatch::new();
        batch.put_in(keyspace, "number", number.to_string());
        batch.put_in(keyspace, "again", number.to_string()).put_in(keyspace, "filler", &filler);
        let seq = engine.write(&batch).unwrap();
        counted.lock().unwrap().push((seq, number));
    }
}

/// Two writers, one who takes checkpoints of which one is kept, and one who looks at any point that there is.
#[test]
fn views_are_exact_while_writes_checkpoints_and_removals_go_on() {
    let scratch = tempfile::tempdir().unwrap();
    let options = Options::new().log_segment_bytes(256 << 10).checkpoints_kept(1);
    let engine = options.open(scratch.path()).unwrap();
    let keyspaces = ["one", "two"].map(|name| engine.keyspace(name).unwrap());
    let counted: [Counted; 2] = Default::default();
    let ended = AtomicBool::new(false);
    let mut seen = Vec::new();
    std::thread::scope(|scope| {
        for (keyspace, counted) in keyspaces.iter().zip(&counted) {
            scope.spawn(|| count(keyspace, &engine, counted, &ended));
        }
        scope.spawn(|| {
            while !ended.load(Ordering::Relaxed) {
                engine.checkpoint().unwrap();
            }
        });
        let mut gone = 0;
        for round in 0..120_u64 {
            let last = engine.last_seq().0;
            let back = round * round % 97 * last / 1_000;
            match engine.view_at(PointInTime::Seq(Seq(last - back))) {
                Ok(view) => seen.push(look(&view)),
                Err(error) if error.kind() == ErrorKind::OutOfRange => gone += 1,
                Err(error) => {
                    ended.store(true, Ordering::Relaxed);
                    panic!("{error:?}");
                }
            }
        }
        ended.store(true, Ordering::Relaxed);
        report(&format!("{} views of a running engine, {gone} points were gone", seen.len()));
    });
    assert!(seen.len() > 20);
    for (seq, numbers) in seen {
        for (counted, number) in counted.iter().zip(numbers) {
            let counted = counted.lock().unwrap();
            let last = counted.iter().rfind(|(at, _)| *at <= seq).map(|(_, number)| *number);
            assert_eq!(number, last, "{seq}");
        }
    }
}

/// The counters that a view has.
fn look(view: &ReadView) -> (Seq, [Option<u64>; 2]) {
    let numbers = ["one", "two"].map(|name| {
        let keyspace = view.keyspace(name).ok()?;
        let read = |key: &str| keyspace.get(key).unwrap();
        let number = read("number");
        assert_eq!(number, read("again"), "a batch is whole");
        number.map(|number| std::str::from_utf8(&number).unwrap().parse().unwrap())
    });
    (view.seq(), numbers)
}
