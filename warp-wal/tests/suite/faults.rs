//! Operations that fail: nothing that was acknowledged is lost, and nothing is written after a failure.

use warp_io::{Fault, OpClass, OpKind, SimDisk, Survival};
use warp_wal::{Admit, Apply, Encoded, Entry, Error, Log, LogOptions, Recovery, Start};

use crate::{Entries, Owned, append, clock, open, open_as, replay, small};

/// What a run had issued and acknowledged when it ended.
#[derive(Default)]
struct Outcome {
    issued: Entries,
    acked: u64,
    failed: Option<Error>,
}

/// Opens, appends, syncs, rotates, closes, opens again; ends at the first error.
fn run(disk: &SimDisk) -> Outcome {
    let mut outcome = Outcome::default();
    outcome.failed = lives(disk, &mut outcome.issued, &mut outcome.acked).err();
    outcome
}

fn lives(disk: &SimDisk, issued: &mut Entries, acked: &mut u64) -> warp_wal::Result<()> {
    for life in 0..2_u8 {
        let (log, ..) = Log::open_in(
            &disk.root(),
            clock(),
            small(),
            Recovery::TrimTornTail,
            Start::default(),
            Apply::InOrder(&mut |_, _| {}),
            &mut |_, _| {},
        )?;
        for index in 0..12_u8 {
            let bytes = if index == 5 { 40_000 } else { 900 };
            let mut entry = Owned::put("key", &vec![index; bytes]);
            entry.value[0] = life;
            let answer = append(&log, std::slice::from_ref(&entry));
            let seq = log.last_seq();
            match answer {
                Ok(_) => issued.push((seq, entry)),
                Err(error) => return stays_poisoned(&log, error),
            }
            let step = match index % 4 {
                1 => log.sync(),
                2 => log.rotate(),
                _ => log.tick().map(|_| ()),
            };
            *acked = (*acked).max(log.durable_seq().min(seq));
            if let Err(error) = step {
                return stays_poisoned(&log, error);
            }
        }
        log.remove_before(0)?;
        if let Err(error) = log.close() {
            return stays_poisoned(&log, error);
        }
        *acked = log.last_seq();
    }
    Ok(())
}

/// After a failed write or sync nothing succeeds any more.
fn stays_poisoned(log: &Log, error: Error) -> warp_wal::Result<()> {
    if log.is_poisoned() {
        assert!(matches!(append(log, &[Owned::put("no", b"")]), Err(Error::Poisoned | Error::Closed)));
        assert!(log.tick().is_err());
        if log.durable_seq() < log.last_seq() {
            assert!(matches!(log.sync(), Err(Error::Poisoned | Error::Closed)));
        }
        assert!(log.close().is_err());
    } else {
        assert!(matches!(error, Error::Full | Error::Io { .. }), "{error:?}");
    }
    Err(error)
}

#[track_caller]
fn nothing_acknowledged_is_lost(disk: &SimDisk, outcome: &Outcome, context: &str) {
    for survival in [Survival::Nothing, Survival::Everything, Survival::seeded(2), Survival::seeded(3)] {
        let image = disk.crash(survival.clone());
        let (_, _, entries) = open(&image);
        assert!(outcome.issued.starts_with(&entries), "{context} {survival:?}");
        let last = entries.last().map_or(0, |entry| entry.0);
        assert!(last >= outcome.acked, "{context} {survival:?}: {last} < {}", outcome.acked);
    }
}

#[test]
fn any_operation_may_fail_once_or_for_good() {
    let calm = SimDisk::new(1);
    assert!(run(&calm).failed.is_none());
    for fault in [Fault::Eio, Fault::NoSpace, Fault::SyncLost] {
        for sticky in [false, true] {
            let mut failures = 0;
            for operation in 0..calm.operations() {
                let disk = SimDisk::new(1);
                disk.inject(operation, fault, sticky);
                let outcome = run(&disk);
                failures += u64::from(outcome.failed.is_some());
                disk.clear_faults();
                let context = format!("{fault:?} at {operation}, sticky {sticky}: {:?}", outcome.failed);
                nothing_acknowledged_is_lost(&disk, &outcome, &context);
            }
            assert!(failures > 10, "{fault:?}: {failures} failures");
        }
    }
}

#[test]
fn short_and_interrupted_operations_are_no_failures() {
    let calm = SimDisk::new(1);
    let expected = run(&calm).issued;
    for operation in 0..calm.operations() {
        let disk = SimDisk::new(1);
        disk.inject(operation, Fault::Short, false);
        let outcome = run(&disk);
        assert!(outcome.failed.is_none(), "{operation}: {:?}", outcome.failed);
        assert_eq!(replay(&disk).1, expected);
    }
    let disk = SimDisk::new(1);
    let mut count = 0;
    disk.inject_when(move |op| {
        count += 1;
        let transfer = matches!(op.kind, OpKind::WriteAt | OpKind::ReadAt);
        (transfer && count % 3 == 0).then_some(Fault::Interrupted)
    });
    assert!(run(&disk).failed.is_none());
    disk.clear_faults();
    assert_eq!(replay(&disk).1, expected);
}

/// The system forgets what it could not write, and answers the next sync with success. A process that starts
/// again sees the bytes; they have to survive once it has recovered them.
#[test]
fn what_a_failed_sync_left_in_memory_is_durable_once_it_is_recovered() {
    let disk = SimDisk::new(1);
    let (log, ..) = open(&disk);
    append(&log, &[Owned::put("a", b"1")]).unwrap();
    log.sync().unwrap();
    append(&log, &[Owned::put("b", b"2")]).unwrap();
    disk.inject_when(|op| (op.kind == OpKind::SyncData).then_some(Fault::SyncLost));
    assert!(matches!(log.sync(), Err(Error::Io { .. })));
    disk.clear_faults();
    assert!(matches!(log.sync(), Err(Error::Poisoned)));
    let syncs = log.stats().syncs;
    drop(log);
    assert_eq!(syncs, 1);
    let (log, _, entries) = open(&disk);
    assert_eq!(entries.len(), 2);
    append(&log, &[Owned::put("c", b"3")]).unwrap();
    log.sync().unwrap();
    let image = disk.crash(Survival::Nothing);
    assert_eq!(replay(&image).1.len(), 3);
}

/// A disk that lies is found out as far as the watermarks go, and never yields anything wrong.
#[test]
fn a_lying_sync_gives_an_error_or_a_prefix() {
    for lies_from in 0..40 {
        let disk = SimDisk::new(1);
        let mut syncs = 0;
        disk.inject_when(move |op| {
            syncs += u64::from(op.kind.class() == OpClass::Sync);
            (op.kind == OpKind::SyncData && syncs > lies_from).then_some(Fault::SyncLies)
        });
        let outcome = run(&disk);
        disk.clear_faults();
        for seed in 0..6 {
            let image = disk.crash(Survival::seeded(seed));
            match open_as(&image, small(), Recovery::TrimTornTail, Start::default()) {
                Ok((_, _, entries)) => assert!(outcome.issued.starts_with(&entries), "{lies_from} {seed}"),
                Err(Error::Corrupt { .. }) => {}
                Err(error) => panic!("{error:?}"),
            }
        }
    }
}

#[test]
fn a_full_disk_refuses_before_anything_is_sequenced_and_goes_on_when_space_is_freed() {
    let disk = SimDisk::new(1);
    let (log, ..) = open(&disk);
    disk.set_capacity(Some(6 * (64 << 10) + 5000));
    let mut expected = Vec::new();
    let mut encoded = Encoded::new();
    let value = vec![3; 900];
    let write = |encoded: &mut Encoded, reserve: bool, key: &str| {
        let entry = Owned::put(key, &value);
        log.encode(encoded, [entry.entry()])?;
        let permit = log.admit(encoded, Admit { reserve, wait: true })?;
        let pending = log.reserve(permit, encoded);
        Ok::<_, Error>((pending.seq(), entry))
    };
    let options = LogOptions { compress_values_from: None, ..small() };
    assert!(options.compress_values_from.is_none());
    for cycle in 0..3 {
        let full = loop {
            match write(&mut encoded, false, "key") {
                Ok(entry) => expected.push(entry),
                Err(error) => break error,
            }
            assert!(expected.len() < 10_000);
        };
        assert!(matches!(full, Error::Full), "{full:?}");
        assert!(log.stats().full && !log.is_poisoned());
        let before = log.last_seq();
        assert!(matches!(write(&mut encoded, false, "key"), Err(Error::Full)));
        assert_eq!(log.last_seq(), before);
        // Deletions still fit, and so does everything that was admitted.
        for _ in 0..3 {
            expected.push(write(&mut encoded, true, "delete").unwrap());
        }
        log.sync().unwrap();
        let floor = log.last_seq();
        let removed = log.remove_before(floor).unwrap();
        assert!(!removed.is_empty(), "cycle {cycle}");
        expected.retain(|entry| entry.0 >= floor);
        expected.push(write(&mut encoded, false, "goes on").unwrap());
        assert!(!log.stats().full);
    }
    log.sync().unwrap();
    let image = disk.crash(Survival::Nothing);
    let start = Start { from: expected[0].0, durable: log.last_seq(), near: None };
    let (_, entries) = crate::replay_as(&image, Recovery::Strict, start).unwrap();
    assert_eq!(entries, expected);
}

#[test]
fn a_full_disk_can_be_opened_if_there_is_room_for_one_segment() {
    let disk = SimDisk::new(1);
    let (log, ..) = open(&disk);
    append(&log, &[Owned::put("a", b"1")]).unwrap();
    log.sync().unwrap();
    drop(log);
    disk.set_capacity(Some(disk.used() + 1000));
    // The segment that was prepared and not used makes room for one.
    let (log, _, entries) = open(&disk);
    assert_eq!((entries.len(), log.stats().full), (1, true));
    assert!(matches!(append(&log, &[Owned::put("b", b"2")]), Err(Error::Full)));
    let mut encoded = Encoded::new();
    log.encode(&mut encoded, [Entry::delete(b"a")]).unwrap();
    let permit = log.admit(&encoded, Admit { reserve: true, wait: true }).unwrap();
    log.reserve(permit, &encoded).commit();
    log.sync().unwrap();
    disk.set_capacity(None);
    while log.stats().full {
        // The clock stands still, but removing segments allows another attempt at once.
        log.remove_before(u64::MAX).unwrap();
        log.tick().unwrap();
    }
    append(&log, &[Owned::put("b", b"2")]).unwrap();
}

/// The program around the log may have too many files open for a while: that is no reason to stop for good.
#[test]
fn too_many_open_files_pass() {
    let disk = SimDisk::new(1);
    let clock = clock();
    let (log, _) = Log::open_in(
        &disk.root(),
        clock.clone(),
        small(),
        Recovery::Strict,
        Start::default(),
        Apply::InOrder(&mut |_, _| {}),
        &mut |_, _| {},
    )
    .unwrap();
    disk.inject_when(|op| (op.kind == OpKind::CreateNew).then_some(Fault::NoHandle));
    let put =
        |index: u32| append(&log, &[Owned::put(&format!("key{index}"), &index.to_le_bytes().repeat(100))]);
    let mut written = 0;
    let error = loop {
        match put(written) {
            Ok(_) => written += 1,
            Err(error) => break error,
        }
        assert!(written < 10_000);
    };
    assert!(matches!(error, Error::Io { .. }), "{error}");
    assert!(matches!(put(written), Err(Error::Io { .. })), "nor is it tried at once again");
    log.sync().unwrap();
    assert!(log.tick().is_ok(), "the log's thread goes on");
    assert!(!log.stats().full && !log.is_poisoned());
    disk.clear_faults();
    clock.advance(std::time::Duration::from_secs(1));
    (0..100).for_each(|more| assert!(put(written + more).is_ok()));
    log.close().unwrap();
    assert_eq!(u32::try_from(replay(&disk).1.len()), Ok(written + 100));
}
