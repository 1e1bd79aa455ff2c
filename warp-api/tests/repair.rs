//! Repairing: whatever is damaged, what is sound is kept, what is lost is listed, and the result is sound.

#![allow(
    clippy::cast_possible_truncation,
    clippy::unwrap_used,
    reason = "a test that cannot go on says so by a panic, and its numbers are small"
)]

mod common;

use std::collections::BTreeMap;
use std::time::Duration;

use common::{Machine, report, small};
use warp_api::{ErrorKind, Options, RepairReport, Seq, WarpEngine};
use warp_io::{Dir, LockKind, Survival};

type Versions = BTreeMap<Vec<u8>, Vec<(Seq, Vec<u8>)>>;

/// A database with some checkpoints, of many blocks each, and a synced tail of log; with all versions of each key.
fn database(kept: usize) -> (Machine, Versions) {
    let machine = Machine::new(1);
    let engine = machine.open(small().checkpoints_kept(kept));
    let mut versions = Versions::new();
    for round in 0..4_u32 {
        for number in 0..300_u32 {
            if number % 3 != round % 3 && round > 0 {
                continue;
            }
            let key = format!("key:{number:03}").into_bytes();
            let value = format!("{round}/{number}/{}", "v".repeat(60)).into_bytes();
            let seq = engine.put(&key, &value).unwrap();
            versions.entry(key).or_default().push((seq, value));
        }
        if round < 3 {
            engine.checkpoint().unwrap();
        }
    }
    engine.sync().unwrap();
    engine.put("key:000", "last").unwrap();
    versions.get_mut(&b"key:000"[..]).unwrap().push((engine.last_seq(), b"last".to_vec()));
    engine.sync().unwrap();
    drop(engine);
    (machine.with_disk(machine.disk.crash(Survival::Everything)), versions)
}

fn copy(machine: &Machine) -> Machine {
    machine.with_disk(machine.disk.crash(Survival::Everything))
}

fn repair(machine: &Machine) -> warp_api::Result<RepairReport> {
    small().repair_in(&machine.disk.root(), machine.environment())
}

/// After a repair the database is sound, and each key has its last version, unless the report says otherwise. Returns how
/// many keys have.
#[track_caller]
fn check(machine: &Machine, versions: &Versions, report: &RepairReport, place: &str) -> usize {
    let engine = machine.try_open(small()).unwrap_or_else(|error| panic!("{place}: {error:?}"));
    let verified = engine.verify().unwrap();
    assert!(verified.is_clean(), "{place}: {:?}", verified.problems);
    let mut whole = 0;
    for (key, versions) in versions {
        let found = engine.get(key).unwrap();
        let (last, value) = versions.last().unwrap();
        if found.as_deref() == Some(&value[..]) {
            whole += 1;
            continue;
        }
        if let Some(found) = &found {
            assert!(versions.iter().any(|(_, known)| known[..] == **found), "{place}: nobody wrote this");
        }
        let named = |of: &Option<(String, Vec<u8>)>| of.as_ref().is_some_and(|(_, of)| of == key);
        let is_named = report.lost_entries.iter().any(|lost| named(&lost.key));
        let is_doubtful = report.doubtful.iter().any(|doubtful| doubtful.key == *key);
        // Where the log itself is gone, its end is not known.
        let in_log = report
            .lost
            .iter()
            .any(|lost| lost.seqs.is_none_or(|(a, b)| a <= last.0 && (last.0 <= b || lost.bytes == 0)));
        let in_layer = report
            .lost_layers
            .iter()
            .any(|lost| lost.seqs == (Seq(0), Seq(0)) || (lost.seqs.0..=lost.seqs.1).contains(last));
        let without_key = report.lost_entries.iter().any(|lost| lost.key.is_none());
        match found {
            // An older version is only given where that is said of the key, or of the numbers.
            Some(_) => {
                assert!(is_doubtful || in_log || in_layer, "{place}: an older version of {key:?}: {report:?}")
            }
            None => assert!(
                is_named || in_log || in_layer || without_key,
                "{place}: {key:?} is gone without a word: {report:?}"
            ),
        }
    }
    engine.put("after", "1").unwrap();
    engine.checkpoint().unwrap();
    engine.close().unwrap();
    assert_eq!(machine.open(small()).get("after").unwrap().as_deref(), Some(&b"1"[..]), "{place}");
    assert!(repair(machine).unwrap().was_sound, "{place}: a second repair finds nothing");
    whole
}

#[test]
fn a_sound_database_is_left_as_it_is() {
    let (machine, _) = database(3);
    machine.open(small()).close().unwrap();
    let before: BTreeMap<_, _> =
        machine.disk.files().into_iter().map(|file| (file.clone(), machine.disk.read(&file))).collect();
    let report = repair(&machine).unwrap();
    assert!(report.was_sound && report.is_lossless() && report.kept_aside.is_none(), "{report:?}");
    assert!(report.last_seq > Seq(0));
    let after: BTreeMap<_, _> =
        machine.disk.files().into_iter().map(|file| (file.clone(), machine.disk.read(&file))).collect();
    assert!(before == after);
}

#[test]
fn who_is_in_use_or_not_there_is_refused() {
    let machine = Machine::new(1);
    assert_eq!(repair(&machine).unwrap_err().kind(), ErrorKind::NotFound);
    assert!(machine.disk.files().is_empty());
    let engine = machine.open(small());
    assert_eq!(repair(&machine).unwrap_err().kind(), ErrorKind::Locked);
    engine.close().unwrap();
    let reader = machine.disk.root().try_lock("READERS", LockKind::Shared).unwrap();
    assert_eq!(repair(&machine).unwrap_err().kind(), ErrorKind::Locked);
    drop(reader);
    assert!(repair(&machine).unwrap().was_sound);
    let scratch = tempfile::tempdir().unwrap();
    assert_eq!(WarpEngine::repair(scratch.path().join("none")).unwrap_err().kind(), ErrorKind::NotFound);
}

/// Bytes of every kind of file, a few apart, with one checkpoint kept and with several.
#[test]
fn a_flipped_byte_anywhere_is_repaired() {
    let (mut repaired, mut lossless, mut sound) = (0, 0, 0);
    for kept in [1, 3] {
        let (machine, versions) = database(kept);
        for file in machine.disk.files().iter().filter(|file| *file != "LOCK" && *file != "READERS") {
            let bytes = machine.disk.read(file).unwrap();
            let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
            // All of the ends, where the structure is, and some of what is between.
            let ends = (0..64.min(used)).step_by(9).chain((used.saturating_sub(260)..used).step_by(13));
            let places = ends.chain((64..used.saturating_sub(260).max(64)).step_by(used / 12 + 211));
            for at in places {
                let machine = copy(&machine);
                for bit in 0..8 {
                    machine.disk.flip_bit(file, at as u64 * 8 + bit);
                }
                let place = format!("{kept} kept, {file} byte {at}");
                let report = repair(&machine).unwrap_or_else(|error| panic!("{place}: {error:?}"));
                let whole = check(&machine, &versions, &report, &place);
                if report.was_sound {
                    sound += 1;
                    // The very last sync may be taken for a torn tail.
                    assert!(whole + 1 >= versions.len(), "{place}");
                } else {
                    repaired += 1;
                    if report.is_lossless() {
                        assert!(whole + 1 >= versions.len(), "{place}: {report:?}");
                        lossless += 1;
                    }
                    // One byte costs a block of entries, at most.
                    assert!(whole > versions.len() / 2, "{place}: {whole} {report:?}");
                    let aside = report.kept_aside.as_ref().unwrap();
                    let kept_file = machine.disk.read(&format!("{aside}/{file}"));
                    assert!(kept_file.is_some_and(|kept| kept.len() == bytes.len()), "{place}: no copy");
                    assert!(machine.disk.read(&format!("{aside}/REPORT.json")).is_some());
                }
            }
        }
    }
    report_line(&format!(
        "flipped bytes: {repaired} repaired, {lossless} of them without a loss; {sound} without effect"
    ));
    assert!(repaired > 100 && lossless > 50 && lossless < repaired, "{repaired} {lossless}");
}

fn report_line(text: &str) {
    report(text);
}

#[test]
fn a_missing_or_cut_file_is_repaired() {
    for kept in [1, 3] {
        let (machine, versions) = database(kept);
        for file in machine.disk.files().iter().filter(|file| *file != "LOCK" && *file != "READERS") {
            for keep in [None, Some(0), Some(100), Some(5000)] {
                let machine = copy(&machine);
                let bytes = machine.disk.read(file).unwrap();
                match keep {
                    Some(keep) if keep >= bytes.len() => continue,
                    Some(keep) => machine.disk.write(file, bytes[..keep].to_vec()),
                    None => machine.disk.remove(file),
                }
                let place = format!("{kept} kept, {file} cut to {keep:?}");
                let report = repair(&machine).unwrap_or_else(|error| panic!("{place}: {error:?}"));
                check(&machine, &versions, &report, &place);
            }
        }
    }
}

#[test]
fn without_any_manifest_the_layers_and_the_log_are_put_together() {
    for kept in [1, 3] {
        let (machine, versions) = database(kept);
        let manifests = machine.disk.files().into_iter().filter(|file| file.starts_with("MANIFEST-"));
        for manifest in manifests {
            machine.disk.flip_bit(&manifest, 300);
        }
        let report = repair(&machine).unwrap();
        assert_eq!(report.checkpoint, None);
        assert_eq!(check(&machine, &versions, &report, "no manifest"), versions.len());
        assert!(!report.files.is_empty());
    }
    let (machine, _) = database(1);
    for file in machine.disk.files() {
        machine.disk.remove(&file);
    }
    assert!(matches!(repair(&machine).unwrap_err().kind(), ErrorKind::Corrupt | ErrorKind::NotFound));
}

/// A lost version is not replaced by an older one: the key is named, and has no value.
#[test]
fn an_older_version_is_not_given_back_in_silence() {
    let machine = Machine::new(1);
    let engine = machine.open(small().checkpoints_kept(1));
    for number in 0..400 {
        engine.put(format!("key:{number:03}"), format!("old {number} {}", "o".repeat(40))).unwrap();
    }
    engine.checkpoint().unwrap();
    let old = engine.last_seq();
    for number in 100..300 {
        engine.put(format!("key:{number:03}"), format!("new {number} {}", "n".repeat(40))).unwrap();
    }
    let new = engine.put("unmistakable", "x").unwrap();
    engine.checkpoint().unwrap();
    engine.close().unwrap();
    let bytes = machine.disk.read("layers/2.warp").unwrap();
    let place = bytes.windows(7).position(|window| window == b"new 200").unwrap();
    machine.disk.flip_bit("layers/2.warp", place as u64 * 8);
    let report = repair(&machine).unwrap();
    let lost: Vec<&[u8]> = report.lost_entries.iter().map(|lost| &lost.key.as_ref().unwrap().1[..]).collect();
    assert!(lost.contains(&&b"key:200"[..]) && lost.len() > 5 && lost.len() < 80, "{lost:?}");
    for lost in &report.lost_entries {
        assert_eq!((&*lost.file, &*lost.key.as_ref().unwrap().0), ("layers/2.warp", "default"));
        if let Some(older) = lost.older {
            assert!(older <= old);
        }
        assert!(lost.seq.is_none_or(|seq| seq > old && seq <= new));
    }
    assert!(report.lost_entries.iter().filter(|lost| lost.older.is_some()).count() + 1 >= lost.len());
    assert!(report.entries_salvaged > 100 && report.doubtful.is_empty() && report.lost_layers.is_empty());
    let engine = machine.open(small());
    for number in 0..400 {
        let key = format!("key:{number:03}");
        let value = engine.get(&key).unwrap();
        if lost.contains(&key.as_bytes()) {
            assert_eq!(value, None, "{key}");
        } else {
            let what = if (100..300).contains(&number) { "new" } else { "old" };
            assert!(value.unwrap().starts_with(format!("{what} {number} ").as_bytes()), "{key}");
        }
    }
    let kept = machine.disk.read("damaged-1/layers/2.warp").unwrap();
    assert!(kept.len() == bytes.len() && kept[place] == bytes[place] ^ 1);
}

/// A crash at any operation of a repair leaves what can be repaired again, with the same result.
#[test]
fn a_crash_during_a_repair_is_repaired() {
    let mut images = 0;
    for which in 0..4 {
        let (machine, versions) = database(if which == 3 { 3 } else { 1 });
        let files = machine.disk.files();
        let newest = |prefix: &str| files.iter().rev().find(|file| file.starts_with(prefix)).unwrap().clone();
        match which {
            // A block of data, a segment of the log, everything.
            0 => machine.disk.flip_bit(&newest("layers/"), 800),
            1 => machine.disk.flip_bit(&segment_with(&machine, b"3/0/"), 8200 * 8),
            2 => {
                files.iter().filter(|f| f.starts_with("MANIFEST-")).for_each(|f| machine.disk.flip_bit(f, 99))
            }
            _ => {
                machine.disk.flip_bit(&newest("layers/"), 800);
                machine.disk.flip_bit(&newest("MANIFEST-"), 99);
            }
        }
        let expected = copy(&machine);
        let report = repair(&expected).unwrap();
        let state = common::entries(&expected.open(small()));
        machine.disk.record();
        repair(&machine).unwrap();
        let points = machine.disk.crash_points();
        for point in points.iter().copied() {
            for survival in [0, 1, 4] {
                let image = machine.with_disk(machine.disk.image_at(point, Survival::seeded(survival)));
                let place = format!("damage {which} operation {point} survival {survival}");
                let again = repair(&image).unwrap_or_else(|error| panic!("{place}: {error:?}"));
                let engine = image.open(small());
                assert!(common::entries(&engine) == state, "{place}: {again:?} {report:?}");
                assert!(engine.verify().unwrap().is_clean(), "{place}");
                images += 1;
            }
        }
        drop(versions);
    }
    report_line(&format!("{images} crash images of repairs, 0 violations"));
    assert!(images > 300);
}

fn segment_with(machine: &Machine, wanted: &[u8]) -> String {
    let has = |file: &String| {
        let bytes = machine.disk.read(file).unwrap();
        file.starts_with("wal/") && bytes.windows(wanted.len()).any(|window| window == wanted)
    };
    machine.disk.files().into_iter().find(has).unwrap()
}

/// A part of the log is missing, and layers have newer versions than what came before it.
#[test]
fn what_layers_have_is_newer_than_the_log_before_a_hole() {
    let (machine, versions) = database(3);
    let segment = segment_with(&machine, b"3/0/");
    let bytes = machine.disk.read(&segment).unwrap();
    let place = bytes.windows(4).position(|window| window == b"3/0/").unwrap();
    machine.disk.flip_bit(&segment, place as u64 * 8);
    let report = repair(&machine).unwrap();
    assert!(!report.lost.is_empty() && report.lost[0].seqs.is_some(), "{report:?}");
    check(&machine, &versions, &report, "a hole in the log");
}

#[test]
fn a_disk_of_files_is_repaired() {
    let scratch = tempfile::tempdir().unwrap();
    let engine = WarpEngine::open(scratch.path()).unwrap();
    for number in 0..1000 {
        engine.put(format!("key:{number}"), "value").unwrap();
    }
    engine.close().unwrap();
    let dir = warp_io::OsDir::open(scratch.path(), false).unwrap();
    let layers = dir.subdir("layers", false).unwrap();
    let file = layers.open("1.warp", true).unwrap();
    let mut byte = [0];
    warp_io::read_exact_at(&*file, 5000, &mut byte).unwrap();
    warp_io::write_all_at(&*file, 5000, &[byte[0] ^ 1]).unwrap();
    let report = Options::new().repair(scratch.path()).unwrap();
    assert_eq!(report.kept_aside.as_deref(), Some("damaged-1"));
    // The log since the first write is there: nothing is lost.
    assert!(report.is_lossless(), "{report:?}");
    let engine = WarpEngine::open(scratch.path()).unwrap();
    assert_eq!(engine.len().unwrap(), 1000);
    assert!(engine.verify().unwrap().is_clean());
    assert!(report.elapsed > Duration::ZERO);
    engine.close().unwrap();
}
