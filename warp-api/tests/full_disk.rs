//! A full disk: writes are refused, reads and deletions go on, nothing acknowledged is lost, and writing resumes.

#![allow(
    clippy::cast_possible_truncation,
    clippy::unwrap_used,
    reason = "a test that cannot go on says so by a panic, and its numbers are small"
)]

mod common;

use std::time::Duration;

use common::{Machine, entries, small};
use warp_api::{Durability, ErrorKind, Physics, WarpEngine};
use warp_io::Survival;

/// Puts until the disk is full; returns how many were acknowledged.
fn fill(machine: &Machine, engine: &WarpEngine) -> u32 {
    for number in 0..10_000_u32 {
        match engine.put(format!("key:{number}"), [b'x'; 500]) {
            Ok(_) => {}
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Full, "{error}");
                return number;
            }
        }
        if number % 8 == 0 {
            machine.pass(engine, Duration::from_millis(10));
        }
    }
    panic!("the disk never was full");
}

#[test]
fn a_full_disk_refuses_writes_and_loses_nothing() {
    let machine = Machine::new(1);
    machine.disk.set_capacity(Some(900 << 10));
    let engine = machine.open(small().durability(Durability::Sync));
    let count = fill(&machine, &engine);
    assert!(count > 20, "only {count} fit");
    assert!(engine.cosmic_metrics().log.unwrap().full);
    // Reads go on, and everything acknowledged survives a power loss.
    assert_eq!(entries(&engine).len(), count as usize);
    let crashed = machine.with_disk(machine.disk.crash(Survival::Nothing));
    assert_eq!(entries(&crashed.open(small())).len(), count as usize);
    // Deletions have space in reserve; so has clearing.
    for number in 0..5 {
        assert!(engine.delete(format!("key:{number}")).unwrap(), "key:{number}");
    }
    assert_eq!(engine.put("key", "v").unwrap_err().kind(), ErrorKind::Full);
    engine.clear().unwrap();
    assert!(engine.is_empty().unwrap());
    let crashed = machine.with_disk(machine.disk.crash(Survival::Nothing));
    // There is no space for a new segment now, so that it can only be looked at.
    assert_eq!(crashed.try_open(small()).unwrap_err().kind(), ErrorKind::Full);
    assert!(crashed.open(small().read_only(true)).is_empty().unwrap());
}

#[test]
fn writing_resumes_when_there_is_space_again() {
    let machine = Machine::new(2);
    machine.disk.set_capacity(Some(900 << 10));
    let engine = machine.open(small());
    let count = fill(&machine, &engine);
    machine.disk.set_capacity(None);
    machine.pass(&engine, Duration::from_secs(2));
    engine.put("after", "space").unwrap();
    engine.sync().unwrap();
    assert_eq!(engine.len().unwrap(), u64::from(count) + 1);
    assert!(!engine.cosmic_metrics().log.unwrap().full);
}

/// The checkpoint that a full log calls for frees the log by itself, where there is room for the layer; with several
/// checkpoints kept, too, since the older ones go.
#[test]
fn a_checkpoint_frees_the_log() {
    for options in [small().checkpoints_kept(1), small()] {
        let machine = Machine::new(3);
        machine.disk.set_capacity(Some(1200 << 10));
        let engine = machine.open(options);
        // The same few keys again and again: the layer is small, and the log is not.
        let (mut refused, mut last) = (0, [0; 10]);
        for number in 1..4_000_usize {
            match engine.put(format!("key:{}", number % 10), format!("{number}/{}", "x".repeat(500))) {
                Ok(_) => last[number % 10] = number,
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Full, "{error}");
                    refused += 1;
                    assert!(refused < 100, "{refused} of {number} writes were refused");
                    machine.pass(&engine, Duration::from_secs(2));
                }
            }
            machine.pass(&engine, Duration::from_millis(10));
        }
        assert!(engine.cosmic_metrics().checkpoints.unwrap().taken > 1);
        engine.sync().unwrap();
        let crashed = machine.with_disk(machine.disk.crash(Survival::Nothing));
        let recovered = crashed.open(small().read_only(true));
        for (key, number) in last.into_iter().enumerate() {
            let value = recovered.get(format!("key:{key}")).unwrap().unwrap();
            assert!(
                value.starts_with(format!("{number}/").as_bytes()),
                "key:{key} is not what was last accepted"
            );
        }
    }
}

/// A log that becomes full when nothing was written since the last checkpoint gets the space that the older ones hold.
#[test]
fn older_checkpoints_go_when_a_full_log_has_nothing_to_checkpoint() {
    let machine = Machine::new(4);
    // The demon writes, too.
    let engine = machine.open(small().compress_values_from(usize::MAX).physics(Physics::off()));
    for round in 0..3 {
        for number in 0..400 {
            engine.put("key", format!("{round}/{number}/{}", "x".repeat(500))).unwrap();
        }
        engine.checkpoint().unwrap();
    }
    // Without the room that segments take which the log keeps for later, and would give up first.
    let spare = engine.cosmic_metrics().log.unwrap().spares * (64 << 10);
    machine.disk.set_capacity(Some(machine.disk.used() - spare));
    let put = || engine.put("large", [b'x'; 40_000]);
    assert_eq!(put().unwrap_err().kind(), ErrorKind::Full);
    let before = engine.cosmic_metrics().checkpoints.unwrap();
    assert_eq!(before.replay_from.0, engine.last_seq().0 + 1, "there is nothing to write");
    machine.pass(&engine, Duration::from_secs(3));
    let after = engine.cosmic_metrics().checkpoints.unwrap();
    assert!(after.taken == before.taken && after.removed_files > before.removed_files);
    put().unwrap();
    engine.sync().unwrap();
}
