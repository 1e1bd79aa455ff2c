//! Conversion from one form to the other and back: nothing changes but the form, and a crash loses nothing.

use std::time::Duration;

use warp_io::{Dir, SimClock, SimDisk, Survival};
use warp_wal::{
    ConvertOptions, ConvertReport, Corruption, Entry, Error, Format, Kind, Log, LogOptions, Recovery,
    ReplayReport, Start,
};

use crate::crash::Random;
use crate::{Entries, Owned, append, replay, replay_as, small, small_json};

fn to(format: Format) -> ConvertOptions {
    ConvertOptions { format, compress_values_from: Some(256), durable: 0 }
}

fn convert(disk: &SimDisk, format: Format) -> warp_wal::Result<ConvertReport> {
    warp_wal::convert(&disk.root(), None, to(format))
}

/// An entry whose key and value are seldom UTF-8.
fn owned(random: &mut Random) -> Owned {
    let bytes = |random: &mut Random, max: u64| -> Vec<u8> {
        let range = [256, 128, 2][usize::try_from(random.below(3)).unwrap()];
        (0..random.below(max)).map(|_| u8::try_from(random.below(range)).unwrap()).collect()
    };
    let kind = [Kind::Put, Kind::Delete, Kind::KeyspaceFloor][usize::try_from(random.below(3)).unwrap()];
    let value_bytes = if random.below(8) == 0 { 30_000 } else { 600 };
    let (key, value) = (bytes(random, 40), bytes(random, value_bytes));
    let (keyspace, deadline) =
        (u32::try_from(random.below(9)).unwrap(), random.below(2) * random.below(u64::MAX));
    let (shard, level) = (u16::try_from(random.below(64)).unwrap(), u8::try_from(random.below(3)).unwrap());
    Owned { kind, keyspace, shard, level, deadline, key, value }
}

/// A log of several lives, some of which a power loss has ended, in both forms, and at the end torn perhaps.
fn random_log(seed: u64, options: [&LogOptions; 2]) -> SimDisk {
    let mut random = Random(seed);
    let mut disk = SimDisk::new(seed);
    for life in 0..2 + random.below(3) {
        let clock = SimClock::new(1_700_000_000_000 + life * 1_000_000);
        let (log, ..) = Log::open_in(
            &disk.root(),
            std::sync::Arc::new(clock.clone()),
            options[usize::try_from(random.below(2)).unwrap()].clone(),
            Recovery::TrimTornTail,
            Start::default(),
            warp_wal::Apply::InOrder(&mut |_, _| {}),
            &mut |_, _| {},
        )
        .unwrap();
        for _ in 0..random.below(25) {
            clock.advance(Duration::from_millis(random.below(50)));
            match random.below(8) {
                0..5 => {
                    let group: Vec<Owned> = (0..1 + random.below(3)).map(|_| owned(&mut random)).collect();
                    append(&log, &group).unwrap();
                }
                5 => log.sync().unwrap(),
                6 => drop(log.tick().unwrap()),
                _ => log.rotate().unwrap(),
            }
        }
        if random.below(3) == 0 {
            log.close().unwrap();
        } else {
            // Handed to the system and not synced, so that a power loss tears it.
            for _ in 0..4 {
                append(&log, &[owned(&mut random)]).unwrap();
                clock.advance(Duration::from_millis(15));
                log.tick().unwrap();
            }
        }
        drop(log);
        disk = disk.crash(Survival::seeded(random.below(1_000)));
    }
    disk
}

/// A report without what a form may change: sizes, and the torn tail, which is left out.
fn essence(report: ReplayReport) -> (u64, u64, u64, u64, bool, usize) {
    let ReplayReport { entries, first_seq, last_seq, latest_time, clean_close, lost, .. } = report;
    (entries, first_seq, last_seq, latest_time, clean_close, lost.len())
}

fn read(disk: &SimDisk) -> ((u64, u64, u64, u64, bool, usize), Entries) {
    let (report, entries) = replay(disk);
    (essence(report), entries)
}

/// Every frame's times, sequences and watermarks, and what open frames state but for the place.
fn frames(disk: &SimDisk) -> Vec<String> {
    let mut out = Vec::new();
    for name in warp_wal::segment_names(&disk.root()).unwrap() {
        let mut text = Vec::new();
        warp_wal::dump(&disk.root(), &name, &mut text).unwrap();
        for line in String::from_utf8(text).unwrap().lines().filter(|line| line.starts_with("{\"frame")) {
            let mut line: serde_json::Value = serde_json::from_str(line).unwrap();
            for place in ["offset", "bytes", "end_offset"] {
                line.as_object_mut().unwrap().remove(place);
            }
            out.push(format!("{name} {line}"));
        }
    }
    out
}

#[test]
fn a_log_goes_from_binary_to_json_and_back_unchanged() {
    let (mut torn, mut rewritten) = (0, 0);
    for seed in 0..80 {
        let disk = random_log(seed, [&small(), &small_json()]);
        let before = read(&disk);
        let report = convert(&disk, Format::Json).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        torn += u64::from(report.trimmed.is_some());
        rewritten += report.segments;
        assert_eq!(read(&disk), before, "seed {seed}");
        let again = convert(&disk, Format::Json).unwrap();
        assert_eq!((again.segments, again.entries), (0, 0), "seed {seed}");
        convert(&disk, Format::Binary).unwrap();
        assert_eq!(read(&disk), before, "seed {seed}");
        // What was no part of the log has gone by now, wherever it was.
        let as_binary = frames(&disk);
        convert(&disk, Format::Json).unwrap();
        assert_eq!((read(&disk), frames(&disk)), (before.clone(), as_binary), "seed {seed}");
        // Into another directory, in one step; the log itself stays as it is.
        let digest = disk.digest();
        let out = SimDisk::new(seed);
        warp_wal::convert(&disk.root(), Some(&out.root()), to(Format::Json)).unwrap();
        assert_eq!((read(&out), disk.digest()), (before, digest), "seed {seed}");
        let refused = warp_wal::convert(&disk.root(), Some(&out.root()), to(Format::Json));
        assert_eq!(refused.is_err(), !out.files().is_empty(), "seed {seed}");
        // It can be opened and written to.
        let (log, _, entries) = crate::open(&disk);
        assert_eq!(entries, read(&out).1, "seed {seed}");
        log.append(&[Entry::put(b"after", b"1")]).unwrap();
        log.close().unwrap();
        assert_eq!(replay(&disk).1.len(), entries.len() + 1, "seed {seed}");
    }
    assert!(torn > 3 && rewritten > 100, "{torn} torn tails, {rewritten} segments");
}

#[test]
fn a_crash_at_any_operation_of_a_conversion_loses_nothing() {
    let mut images = 0;
    for seed in 0..12 {
        for (options, format) in [(small(), Format::Json), (small_json(), Format::Binary)] {
            let disk = random_log(seed, [&options, &options]);
            let before = read(&disk);
            disk.record();
            convert(&disk, format).unwrap();
            for point in disk.crash_points() {
                for survival in 0..4 {
                    let image = disk.image_at(point, Survival::seeded(survival + point * 10));
                    let place = format!("seed {seed} {format:?} operation {point} survival {survival}");
                    assert_eq!(read(&image), before, "{place}");
                    if survival == 0 {
                        convert(&image, format).unwrap_or_else(|error| panic!("{place}: {error}"));
                        assert_eq!(read(&image), before, "{place}");
                        let left = image.files().iter().filter(|name| !name.ends_with(".log")).count();
                        assert_eq!(left, 0, "{place}");
                    }
                    images += 1;
                }
            }
        }
    }
    assert!(images > 1_000, "only {images} images");
}

#[test]
fn a_damaged_log_is_refused_and_left_as_it_is() {
    let disk = SimDisk::new(1);
    let (log, ..) = crate::open(&disk);
    append(&log, &[Owned::put("key", b"a value to be found")]).unwrap();
    log.sync().unwrap();
    append(&log, &[Owned::put("key", b"another")]).unwrap();
    log.close().unwrap();
    let name = disk.files().remove(0);
    let place = disk.read(&name).unwrap().windows(5).position(|five| five == b"found").unwrap();
    disk.flip_bit(&name, place as u64 * 8);
    let digest = disk.digest();
    assert!(matches!(convert(&disk, Format::Json), Err(Error::Corrupt { .. })));
    assert_eq!(disk.digest(), digest);
    disk.flip_bit(&name, place as u64 * 8);
    let missing = ConvertOptions { durable: 3, ..to(Format::Json) };
    let error = warp_wal::convert(&disk.root(), None, missing).unwrap_err();
    assert!(matches!(error, Error::Corrupt { found: Corruption::EndsEarly { .. }, .. }), "{error}");
    convert(&disk, Format::Json).unwrap();
    assert_eq!(replay_as(&disk, Recovery::Strict, Start::default()).unwrap().1.len(), 2);
    disk.root().list().unwrap();
}
