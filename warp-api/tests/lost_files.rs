//! Files that are lost, that nobody needs, or that have no business to be there: what an open makes of the directory.

#![allow(
    clippy::cast_possible_truncation,
    clippy::unwrap_used,
    reason = "a test that cannot go on says so by a panic, and its numbers are small"
)]

mod common;

use common::{Machine, entries, small};
use warp_api::{Error, ErrorKind, Options, Recovery, WarpEngine};
use warp_io::{SimDisk, Survival};

const RECOVERIES: [Recovery; 3] = [Recovery::Strict, Recovery::TrimTornTail, Recovery::Salvage];

/// A database with some checkpoints, and writes since the last.
fn database(options: Options, checkpoints: u32) -> Machine {
    let machine = Machine::new(1);
    let engine = machine.open(options);
    for round in 0..=checkpoints {
        for number in 0..10 {
            engine.put(format!("{round}/{number}"), "value").unwrap();
        }
        if round < checkpoints {
            engine.checkpoint().unwrap();
        }
    }
    engine.sync().unwrap();
    drop(engine);
    machine
}

fn files(machine: &Machine, prefix: &str) -> Vec<String> {
    machine.disk.files().into_iter().filter(|file| file.starts_with(prefix)).collect()
}

/// The machine with a copy of the disk, without the files of that prefix, and without their directory if that is all
/// there was in it.
fn without(machine: &Machine, prefix: &str) -> Machine {
    let copy = SimDisk::new(1);
    for file in machine.disk.files().into_iter().filter(|file| !file.starts_with(prefix)) {
        copy.write(&file, machine.disk.read(&file).unwrap());
    }
    machine.with_disk(copy)
}

#[test]
fn a_lost_log_is_not_taken_for_a_new_one() {
    let lost = without(&database(small(), 2), "wal/");
    for recovery in [Recovery::Strict, Recovery::TrimTornTail] {
        let error = lost.try_open(small().recovery(recovery)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    }
    let engine = lost.open(small().recovery(Recovery::Salvage));
    assert_eq!(engine.recovery_report().lost.len(), 1, "{:?}", engine.recovery_report());
    assert_eq!(engine.len().unwrap(), 20, "what the checkpoints have");
    engine.put("after", "1").unwrap();
    engine.close().unwrap();
    assert_eq!(lost.open(small()).len().unwrap(), 21);
}

#[test]
fn layers_without_a_manifest_and_a_log_are_corrupt_and_stay() {
    let database = database(small(), 3);
    let manifests_lost = without(&database, "MANIFEST-");
    let all_lost = without(&manifests_lost, "wal/");
    let layers = files(&database, "layers/");
    assert_eq!(layers.len(), 3);
    for recovery in RECOVERIES {
        let error = all_lost.try_open(small().recovery(recovery)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
        assert_eq!(files(&all_lost, "layers/"), layers, "they are of use to whoever repairs them");
        assert!(files(&all_lost, "MANIFEST-").is_empty());
    }
    // A log that does not go back to the first write is as little.
    let part = without(&manifests_lost, &files(&database, "wal/")[0]);
    for recovery in RECOVERIES {
        let error = part.try_open(small().recovery(recovery)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
        assert_eq!(files(&part, "layers/"), layers);
    }
    // One that does is enough; the layers still stay.
    let engine = manifests_lost.open(small());
    assert_eq!(engine.len().unwrap(), 40);
    engine.put("after", "1").unwrap();
    engine.checkpoint().unwrap();
    assert!(layers.iter().all(|layer| files(&manifests_lost, "layers/").contains(layer)));
    engine.close().unwrap();
    assert_eq!(manifests_lost.open(small()).len().unwrap(), 41);
}

#[test]
fn nothing_is_removed_after_a_fallback_until_the_next_open() {
    // Enough for a merge, so that there are layers that no kept checkpoint needs.
    let machine = database(small(), 5);
    let manifests = files(&machine, "MANIFEST-");
    let newest =
        manifests.iter().max_by_key(|name| name["MANIFEST-".len()..].parse::<u64>().unwrap()).unwrap();
    machine.disk.flip_bit(newest, 400);
    let engine = machine.open(small());
    assert_eq!(engine.recovery_report().fallback.len(), 1);
    let there = machine.disk.files();
    let all = entries(&engine);
    assert_eq!(all.len(), 60);
    for round in 0..8 {
        for number in 0..60 {
            engine.put(format!("later/{number}"), format!("{round}/{}", "v".repeat(400))).unwrap();
        }
        engine.checkpoint().unwrap();
        machine.pass(&engine, std::time::Duration::from_millis(200));
    }
    assert!(engine.cosmic_metrics().checkpoints.unwrap().merges > 0);
    let now = machine.disk.files();
    let gone: Vec<&String> = there.iter().filter(|file| !now.contains(file)).collect();
    assert!(gone.is_empty(), "{gone:?}");
    drop(engine);
    // The newest checkpoint is sound now.
    let engine = machine.open(small());
    assert!(engine.recovery_report().fallback.is_empty());
    assert_eq!(engine.len().unwrap(), 120);
    assert!(!machine.disk.files().contains(newest), "what nobody needs is removed again");
    assert!(machine.disk.files().len() < now.len());
}

/// A database whose rules are in a layer, at a place that is damaged, and that is not looked at before it is needed.
fn database_with_damaged_rules() -> Machine {
    let machine = Machine::new(1);
    let engine = machine.open(small().checkpoints_kept(1));
    engine.entanglement_rule("user:{id}", &["profile:{id}"], 0.5).unwrap();
    for number in 0..1_000 {
        engine.put(format!("user:{number}"), "v".repeat(100)).unwrap();
    }
    engine.checkpoint().unwrap();
    engine.put("key", "value").unwrap();
    engine.close().unwrap();
    let layer = &files(&machine, "layers/")[0];
    let place = find(&machine.disk.read(layer).unwrap(), b"user:{id}").unwrap();
    machine.disk.flip_bit(layer, place as u64 * 8);
    machine
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

#[test]
fn damaged_rules_are_an_error_for_who_needs_them_and_for_nobody_else() {
    let machine = database_with_damaged_rules();
    for options in [small(), small().recovery(Recovery::Salvage), small().read_only(true)] {
        let engine = machine.open(options);
        assert!(engine.recovery_report().fallback.is_empty());
        assert_eq!(engine.get("key").unwrap().as_deref(), Some(&b"value"[..]));
        let corrupt = |error: Error| assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
        corrupt(engine.quantum_get("key").unwrap_err());
        corrupt(engine.partners("key").unwrap_err());
        corrupt(engine.export(Vec::new()).unwrap_err());
    }
    let engine = machine.open(small());
    // A rule more would be written over those that nobody has read.
    let error = engine.entanglement_rule("a:{id}", &["b:{id}"], 0.5).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(!engine.verify().unwrap().is_clean());
    engine.put("after", "1").unwrap();
    engine.close().unwrap();
    assert!(machine.open(small()).contains_key("after").unwrap());
}

/// The engine's own names, taken to their limits, and names that only look like them.
#[test]
fn absurd_file_names_are_an_error_or_nothing_but_never_a_panic() {
    const MAX: &str = "18446744073709551615";
    let names: [(String, bool); 15] = [
        (format!("MANIFEST-{MAX}"), false),
        (format!("MANIFEST-{}", u64::MAX - 1), false),
        ("MANIFEST-18446744073709551616".into(), true),
        ("MANIFEST--1".into(), true),
        ("MANIFEST-01".into(), true),
        ("MANIFEST-".into(), true),
        (format!("layers/{MAX}.warp"), false),
        (format!("layers/{}.warp", u64::MAX - 1), false),
        ("layers/.warp".into(), true),
        ("layers/1.warp.tmp".into(), true),
        (format!("wal/{MAX}.log"), false),
        (format!("wal/{}.log", u64::MAX - 1), false),
        ("wal/99999999999999999999.log".into(), true),
        ("wal/.log".into(), true),
        ("wal/1.log".into(), true),
    ];
    for (name, opens) in names {
        let machine = database(small(), 2);
        machine.disk.write(&name, b"x".to_vec());
        match machine.try_open(small()) {
            Ok(engine) => {
                assert!(opens, "{name} was passed over");
                assert_eq!(engine.len().unwrap(), 30, "{name}");
                for number in 0..3 {
                    engine.put("after", number.to_string()).unwrap();
                    // Numbers may be used up, which is an error, and no reason to stop writing.
                    let _ = engine.checkpoint();
                }
                engine.sync().unwrap();
                let crashed = machine.with_disk(machine.disk.crash(Survival::Nothing));
                assert_eq!(entries(&machine_opens(&crashed, &name)).len(), 31, "{name}");
            }
            Err(error) => {
                assert!(!opens, "{name}: {error}");
                assert_eq!(error.kind(), ErrorKind::Corrupt, "{name}: {error}");
            }
        }
    }
}

fn machine_opens(machine: &Machine, name: &str) -> WarpEngine {
    machine.try_open(small()).unwrap_or_else(|error| panic!("{name}: {error}"))
}
