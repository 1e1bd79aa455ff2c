//! A damaged file of a whole database: a typed error, a fallback that is reported, or the documented trim; never
//! a panic, and never a value that was not written.

#![allow(
    clippy::cast_possible_truncation,
    clippy::unwrap_used,
    reason = "a test that cannot go on says so by a panic, and its numbers are small"
)]

mod common;

use std::collections::BTreeMap;

use common::{Machine, report, small};
use warp_api::{ErrorKind, Options, Recovery, WarpEngine};
use warp_io::{SimDisk, Survival};

/// Bits between two that are flipped, so that all files are covered in a minute; a prime, so that all bit
/// positions of a byte come up. The crates' own tests flip every bit of small files.
const STRIDE_BITS: u64 = 13;

/// A database with two checkpoints, links, and a tail of log that was synced.
fn database() -> (SimDisk, BTreeMap<Vec<u8>, Vec<Vec<u8>>>) {
    let machine = Machine::new(1);
    let engine = machine.open(options());
    let mut written: BTreeMap<Vec<u8>, Vec<Vec<u8>>> = BTreeMap::new();
    for round in 0..3_u32 {
        for number in 0..12_u32 {
            let (key, value) =
                (format!("key:{number}").into_bytes(), format!("{round}/{number}").into_bytes());
            engine.put(&key, &value).unwrap();
            written.entry(key).or_default().push(value);
        }
        if round < 2 {
            engine.checkpoint().unwrap();
        }
    }
    engine.sync().unwrap();
    // A second sync, so that a watermark stands above the first.
    engine.put("key:0", "last").unwrap();
    written.get_mut(&b"key:0"[..]).unwrap().push(b"last".to_vec());
    engine.sync().unwrap();
    (machine.disk.crash(Survival::Nothing), written)
}

fn options() -> Options {
    Options::new().log_segment_bytes(64 << 10).log_buffer_bytes(16 << 10)
}

/// What the damaged database is found to hold; `None` if it refuses to open, with a proper error.
fn open_damaged(disk: SimDisk, place: &str) -> Option<WarpEngine> {
    let machine = Machine { disk, clock: warp_io::SimClock::new(common::START_MILLIS) };
    match machine.try_open(options()) {
        Ok(engine) => Some(engine),
        Err(error) => {
            let kind = error.kind();
            assert!(matches!(kind, ErrorKind::Corrupt | ErrorKind::Unsupported), "{place}: {kind:?} {error}");
            None
        }
    }
}

/// Every read gives a value that was written to that key, or a proper error. Returns how many keys have their
/// last value.
fn check_reads(engine: &WarpEngine, written: &BTreeMap<Vec<u8>, Vec<Vec<u8>>>, place: &str) -> usize {
    let mut last = 0;
    for (key, values) in written {
        match engine.get(key) {
            Ok(Some(value)) => {
                assert!(values.iter().any(|known| known[..] == *value), "{place}: a value that nobody wrote");
                last += usize::from(values.last().unwrap()[..] == *value);
            }
            Ok(None) => {}
            Err(error) => assert_eq!(error.kind(), ErrorKind::Corrupt, "{place}: {error}"),
        }
    }
    last
}

#[test]
fn no_flipped_bit_is_believed() {
    let (disk, written) = database();
    let (mut refused, mut whole, mut reported) = (0, 0, 0);
    for file in disk.files().iter().filter(|file| *file != "LOCK") {
        let bits = disk.read(file).unwrap().len() as u64 * 8;
        for bit in (0..bits).step_by(STRIDE_BITS as usize) {
            let damaged = disk.crash(Survival::Nothing);
            damaged.flip_bit(file, bit);
            let place = format!("{file} bit {bit}");
            let Some(engine) = open_damaged(damaged, &place) else {
                refused += 1;
                continue;
            };
            let last = check_reads(&engine, &written, &place);
            if last == written.len() {
                whole += 1;
            } else {
                // Something is missing: it must have been said, by the open or by verify.
                let report = engine.recovery_report();
                let said = report.trimmed.is_some()
                    || !report.fallback.is_empty()
                    || !engine.verify().unwrap().is_clean();
                assert!(said, "{place}: {} of {} keys, and nobody said so", last, written.len());
                reported += 1;
            }
        }
    }
    report(&format!(
        "flipped bits: {refused} refused at opening, {whole} without effect, {reported} reported"
    ));
    assert!(refused > 100 && whole > 100);
}

#[test]
fn no_truncation_is_believed() {
    let (disk, written) = database();
    let (mut refused, mut opened) = (0, 0);
    let mut silent = Vec::new();
    for file in disk.files().iter().filter(|file| *file != "LOCK") {
        let bytes = disk.read(file).unwrap();
        for length in (0..bytes.len()).step_by(41) {
            let damaged = disk.crash(Survival::Nothing);
            damaged.write(file, bytes[..length].to_vec());
            let place = format!("{file} cut to {length}");
            let Some(engine) = open_damaged(damaged, &place) else {
                refused += 1;
                continue;
            };
            opened += 1;
            let last = check_reads(&engine, &written, &place);
            let report = engine.recovery_report();
            let said = report.trimmed.is_some() || !report.fallback.is_empty();
            // What no watermark covers is the last synced group alone: one write here.
            if !(last == written.len() || said || last + 1 == written.len()) {
                silent.push(format!("{place}: {last} keys are whole"));
            }
        }
    }
    assert!(silent.is_empty(), "{} silent losses: {silent:#?}", silent.len());
    report(&format!("truncations: {refused} refused at opening, {opened} opened"));
    assert!(refused > 20 && opened > 20);
}

#[test]
fn a_damaged_newest_checkpoint_falls_back_and_loses_nothing() {
    let (disk, written) = database();
    let manifests: Vec<String> =
        disk.files().into_iter().filter(|file| file.starts_with("MANIFEST-")).collect();
    let newest =
        manifests.iter().max_by_key(|name| name["MANIFEST-".len()..].parse::<u64>().unwrap()).unwrap();
    for removed in [false, true] {
        let damaged = disk.crash(Survival::Nothing);
        if removed {
            damaged.remove(newest);
        } else {
            damaged.flip_bit(newest, 77);
        }
        let files = damaged.files();
        let engine = open_damaged(damaged.clone(), newest).expect("the checkpoint before is sound");
        assert_eq!(check_reads(&engine, &written, newest), written.len());
        assert_eq!(engine.recovery_report().fallback.len(), usize::from(!removed));
        if !removed {
            let now = damaged.files();
            let gone: Vec<&String> = files
                .iter()
                // A segment of the log that was prepared and never used is no loss.
                .filter(|file| !file.starts_with("wal/") && !now.contains(file))
                .collect();
            assert!(gone.is_empty(), "nothing may be removed after a fallback: {gone:?}");
        }
        engine.close().unwrap();
        let engine = open_damaged(damaged, newest).unwrap();
        assert_eq!(check_reads(&engine, &written, newest), written.len());
    }
}

/// Without any checkpoint the log alone is enough, as long as it is whole.
#[test]
fn recovery_from_the_log_alone() {
    let machine = Machine::new(1);
    let engine = machine.open(small().checkpoints_kept(9));
    for number in 0..300_u32 {
        engine.put(format!("key:{number}"), number.to_string()).unwrap();
        if number % 100 == 99 {
            engine.checkpoint().unwrap();
        }
    }
    engine.close().unwrap();
    let files = machine.disk.files();
    files.iter().filter(|file| !file.starts_with("wal/")).for_each(|file| machine.disk.remove(file));
    let engine = machine.open(small());
    assert_eq!(engine.len().unwrap(), 300);
    assert_eq!(engine.recovery_report().replayed, 300);
}

#[test]
fn damage_below_the_watermark_is_refused_and_salvage_keeps_the_rest() {
    let machine = Machine::new(1);
    let engine = machine.open(small());
    for number in 0..40_u32 {
        engine.put(format!("key:{number:02}"), number.to_string()).unwrap();
        engine.sync().unwrap();
    }
    let disk = machine.disk.crash(Survival::Nothing);
    let segment = disk
        .files()
        .into_iter()
        .find(|file| file.starts_with("wal/") && find(&disk.read(file).unwrap(), b"key:20").is_some());
    let segment = segment.unwrap();
    let place = find(&disk.read(&segment).unwrap(), b"key:20").unwrap();
    disk.flip_bit(&segment, place as u64 * 8);
    let machine = machine.with_disk(disk);
    for recovery in [Recovery::Strict, Recovery::TrimTornTail] {
        let error = machine.try_open(small().recovery(recovery)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        assert_eq!(error.path().unwrap().to_str().unwrap(), segment);
        assert!(error.offset().is_some());
    }
    let engine = machine.open(small().recovery(Recovery::Salvage));
    assert_eq!(engine.len().unwrap(), 39);
    assert_eq!(engine.get("key:20").unwrap(), None);
    let lost = &engine.recovery_report().lost;
    assert_eq!((lost.len(), lost[0].file.as_str()), (1, segment.as_str()), "{lost:?}");
    engine.close().unwrap();
    assert_eq!(machine.open(small()).len().unwrap(), 39, "what was salvaged is kept");
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}
