//! Failing reads, writes and syncs: never a wrong answer, never a false acknowledgement.

#![allow(
    clippy::cast_possible_truncation,
    clippy::unwrap_used,
    reason = "a test that cannot go on says so by a panic, and its numbers are small"
)]

mod common;

use common::{Machine, entries, small};
use warp_api::{Durability, ErrorKind, WarpEngine};
use warp_io::{Fault, OpKind, SimDisk, Survival};

/// Writes with checkpoints between them, until something fails. Returns how many writes were acknowledged as
/// durable, and whether anything failed.
fn drive(engine: &WarpEngine) -> (u32, bool) {
    let engine = engine.with_durability(Durability::Sync);
    for number in 0..30_u32 {
        if engine.put(format!("key:{number:02}"), number.to_string()).is_err() {
            return (number, true);
        }
        // A checkpoint that fails is not taken, and nothing else changes.
        if number % 10 == 9 && engine.checkpoint().is_err() {
            return (number + 1, true);
        }
    }
    (30, false)
}

/// Fails every operation in turn with `fault`, and checks what is acknowledged and what is recovered.
fn fail_each(fault: Fault, sticky: bool) {
    let operations = {
        let machine = Machine::new(1);
        let engine = machine.open(small());
        let opened = machine.disk.operations();
        drive(&engine);
        opened..machine.disk.operations()
    };
    let mut failed = 0;
    for operation in operations {
        let machine = Machine::new(1);
        let engine = machine.open(small());
        machine.disk.inject(operation, fault, sticky);
        let (acknowledged, any) = drive(&engine);
        failed += u32::from(any);
        // Reads go on, and show everything that was acknowledged.
        let place = format!("{fault:?} at {operation}, sticky {sticky}");
        for number in 0..acknowledged {
            let value = engine.get(format!("key:{number:02}")).unwrap();
            assert_eq!(value.as_deref(), Some(number.to_string().as_bytes()), "{place}");
        }
        machine.disk.clear_faults();
        if any && engine.put("after", "1").is_err_and(|error| error.kind() == ErrorKind::Poisoned) {
            // Only what is durable already may be called so.
            match engine.sync() {
                Ok(()) => assert_eq!(engine.durable_seq(), engine.last_seq(), "{place}"),
                Err(error) => assert_eq!(error.kind(), ErrorKind::Poisoned, "{place}"),
            }
        }
        for survival in [Survival::Nothing, Survival::Everything, Survival::seeded(2)] {
            let crashed = machine.with_disk(machine.disk.crash(survival));
            let recovered = crashed.try_open(small()).unwrap_or_else(|error| panic!("{place}: {error}"));
            let found = entries(&recovered);
            for number in 0..acknowledged {
                let key = format!("key:{number:02}").into_bytes();
                assert!(found.contains_key(&key), "{place}: an acknowledged write is lost");
            }
        }
    }
    assert!(failed > 10, "only {failed} operations mattered");
}

#[test]
fn every_failing_operation_is_survived() {
    fail_each(Fault::Eio, false);
}

#[test]
fn every_failing_operation_is_survived_when_it_goes_on_failing() {
    fail_each(Fault::Eio, true);
}

#[test]
fn every_failing_sync_that_loses_what_it_should_have_kept_is_survived() {
    fail_each(Fault::SyncLost, false);
}

#[test]
fn a_disk_that_fills_at_any_operation_is_survived() {
    fail_each(Fault::NoSpace, false);
    fail_each(Fault::NoSpace, true);
}

#[test]
fn short_and_interrupted_operations_are_no_failures() {
    for fault in [Fault::Short, Fault::Interrupted] {
        let machine = Machine::new(1);
        // Every write and read from here on is cut short or interrupted once in two.
        let mut turn = 0_u32;
        machine.disk.inject_when(move |operation| {
            turn += 1;
            use warp_io::OpKind::{Append, ReadAt, WriteAt};
            let is_data = matches!(operation.kind, Append | ReadAt | WriteAt);
            (is_data && turn.is_multiple_of(2)).then_some(fault)
        });
        let engine = machine.open(small());
        assert_eq!(drive(&engine), (30, false), "{fault:?}");
        engine.close().unwrap();
        assert_eq!(entries(&machine.open(small())).len(), 30);
    }
}

/// As long as it is unknown which of two checkpoints a crash would leave, nothing is removed; the next one ends that.
#[test]
fn files_are_removed_again_once_a_checkpoint_is_published_after_one_that_failed_halfway() {
    let machine = Machine::new(1);
    let engine = machine.open(small().checkpoints_kept(1));
    let checkpoint = |value: &str| {
        engine.put("key", value).unwrap();
        engine.checkpoint()
    };
    checkpoint("1").unwrap();
    let mut renamed = false;
    machine.disk.inject_when(move |operation| {
        renamed |= operation.kind == OpKind::Rename && operation.path.starts_with("MANIFEST-");
        (renamed && operation.kind == OpKind::SyncDir).then_some(Fault::Eio)
    });
    checkpoint("2").unwrap_err();
    machine.disk.clear_faults();
    for value in ["3", "4", "5"] {
        checkpoint(value).unwrap();
    }
    let manifests = |disk: &SimDisk| disk.files().iter().filter(|file| file.contains("MANIFEST-")).count();
    assert_eq!(manifests(&machine.disk), 1, "{:?}", machine.disk.files());
    for survival in [Survival::Nothing, Survival::Everything, Survival::seeded(3)] {
        let crashed = machine.with_disk(machine.disk.crash(survival)).open(small());
        assert_eq!(crashed.get("key").unwrap().as_deref(), Some(&b"5"[..]));
    }
}

#[test]
fn a_write_whose_sync_failed_is_not_called_unwritten() {
    const WRITERS: u64 = 4;
    let machine = Machine::new(1);
    let engine = machine.open(small()).with_durability(Durability::Sync);
    let last = engine.last_seq().0 + WRITERS;
    let shown = engine.clone();
    machine.disk.inject_when(move |operation| {
        if operation.kind.class() != warp_io::OpClass::Sync {
            return None;
        }
        // Each has made its write, and waits for this sync or for one of its own.
        while shown.last_seq().0 < last {
            std::thread::yield_now();
        }
        Some(Fault::SyncLost)
    });
    let failed: Vec<ErrorKind> = std::thread::scope(|scope| {
        let write = |writer: u64| engine.put(writer.to_string(), "value").unwrap_err().kind();
        let writers: Vec<_> = (0..WRITERS).map(|writer| scope.spawn(move || write(writer))).collect();
        writers.into_iter().map(|writer| writer.join().unwrap()).collect()
    });
    assert_eq!(failed, [ErrorKind::Io; WRITERS as usize], "`Poisoned` says that nothing was written");
    assert!((0..WRITERS).all(|writer| engine.contains_key(writer.to_string()).unwrap()));
}

#[test]
fn a_failed_sync_poisons_and_is_never_retried() {
    let machine = Machine::new(4);
    let engine = machine.open(small());
    engine.put("before", "1").unwrap();
    engine.sync().unwrap();
    machine.disk.inject_when(|operation| {
        (operation.kind.class() == warp_io::OpClass::Sync).then_some(Fault::SyncLost)
    });
    engine.put("lost", "2").unwrap();
    assert_eq!(engine.sync().unwrap_err().kind(), ErrorKind::Io);
    machine.disk.clear_faults();
    let operations = machine.disk.operations();
    assert_eq!(engine.sync().unwrap_err().kind(), ErrorKind::Poisoned);
    assert_eq!(engine.put("later", "3").unwrap_err().kind(), ErrorKind::Poisoned);
    assert_eq!(engine.checkpoint().unwrap_err().kind(), ErrorKind::Poisoned);
    assert_eq!(machine.disk.operations(), operations, "nothing more may be written");
    assert_eq!(engine.get("lost").unwrap().as_deref(), Some(&b"2"[..]), "reads go on");
    drop(engine);
    let recovered = machine.with_disk(machine.disk.crash(Survival::Nothing)).open(small());
    assert!(recovered.get("before").unwrap().is_some());
}
