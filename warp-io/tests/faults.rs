//! Operations of the simulated disk that go wrong, and the disk that is full.
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::io::{self, ErrorKind};
use std::sync::Arc;

use warp_io::{
    Clock, Dir, Fault, File, LockKind, OpClass, OpKind, SimClock, SimDisk, Survival, read_exact_at,
    write_all_at,
};

/// A disk with the durable file `a`, and a handle of it.
fn disk_with(bytes: &[u8]) -> (SimDisk, Arc<dyn File>) {
    let disk = SimDisk::new(0);
    disk.write("a", bytes.to_vec());
    let file = disk.root().open("a", true).unwrap();
    (disk, file)
}

/// Lets the next operation go wrong, once.
fn next(disk: &SimDisk, fault: Fault) {
    disk.inject(disk.operations(), fault, false);
}

type Operation = fn(&SimDisk, &dyn File) -> io::Result<()>;

/// Every operation that reaches a disk.
const OPERATIONS: [Operation; 18] = [
    |disk, _| disk.root().create_new("new").map(drop),
    |disk, _| disk.root().open("a", false).map(drop),
    |disk, _| disk.root().list().map(drop),
    |disk, _| disk.root().rename("a", "b"),
    |disk, _| disk.root().remove("a"),
    |disk, _| disk.root().sync_dir(),
    |disk, _| disk.root().subdir("wal", true).map(drop),
    |disk, _| disk.root().try_lock_exclusive().map(drop),
    |disk, _| disk.root().try_lock("READERS", LockKind::Shared).map(drop),
    |disk, _| disk.root().list_dirs().map(drop),
    |_, file| file.append(b"x").map(drop),
    |_, file| file.write_at(0, b"x").map(drop),
    |_, file| file.read_at(0, &mut [0]).map(drop),
    |_, file| file.len().map(drop),
    |_, file| file.truncate(1),
    |_, file| file.allocate(100).map(drop),
    |_, file| file.sync_data(),
    |_, file| file.map().map(drop),
];

#[test]
fn every_operation_can_fail_and_then_has_no_effect() {
    let kinds = [
        (Fault::NoSpace, ErrorKind::StorageFull),
        (Fault::Interrupted, ErrorKind::Interrupted),
        (Fault::Eio, io::Error::from_raw_os_error(5).kind()),
    ];
    for (fault, kind) in kinds {
        for operation in OPERATIONS {
            let (disk, file) = disk_with(b"bytes");
            file.append(b" and more").unwrap();
            let before = (disk.digest(), disk.crash(Survival::Nothing).digest(), disk.operations());
            next(&disk, fault);
            assert_eq!(operation(&disk, &*file).unwrap_err().kind(), kind);
            let after = (disk.digest(), disk.crash(Survival::Nothing).digest(), disk.operations() - 1);
            assert_eq!(before, after);
            operation(&disk, &*file).unwrap();
        }
    }
}

#[test]
fn every_operation_is_counted_and_told_to_filters() {
    let (disk, file) = disk_with(b"bytes");
    let seen = Arc::new(std::sync::Mutex::new(Vec::new()));
    let noted = seen.clone();
    disk.inject_when(move |op| {
        noted.lock().unwrap().push((op.index, op.kind));
        Some(Fault::Eio)
    });
    for operation in OPERATIONS {
        operation(&disk, &*file).unwrap_err();
    }
    let kinds = [
        OpKind::CreateNew,
        OpKind::Open,
        OpKind::List,
        OpKind::Rename,
        OpKind::Remove,
        OpKind::SyncDir,
        OpKind::Subdir,
        OpKind::TryLockExclusive,
        OpKind::TryLockShared,
        OpKind::ListDirs,
        OpKind::Append,
        OpKind::WriteAt,
        OpKind::ReadAt,
        OpKind::Len,
        OpKind::Truncate,
        OpKind::Allocate,
        OpKind::SyncData,
        OpKind::Map,
    ];
    assert_eq!(*seen.lock().unwrap(), (1..).zip(kinds).collect::<Vec<_>>());
    assert_eq!(disk.operations(), 19);
}

#[test]
fn a_simulated_crash_stops_everything() {
    let (disk, file) = disk_with(b"bytes");
    file.append(b"1").unwrap();
    disk.crash_at(disk.operations() + 1);
    file.append(b"2").unwrap();
    for operation in OPERATIONS {
        assert_eq!(operation(&disk, &*file).unwrap_err().to_string(), "simulated crash");
    }
    assert_eq!(disk.crash(Survival::Everything).read("a").unwrap(), b"bytes12");
    assert_eq!(disk.crash(Survival::Nothing).read("a").unwrap(), b"bytes");
}

#[test]
fn sticky_faults_strike_their_class_only() {
    let (disk, file) = disk_with(b"bytes");
    disk.inject(disk.operations() + 1, Fault::Eio, true);
    file.append(b"1").unwrap();
    file.append(b"2").unwrap_err();
    file.truncate(0).unwrap_err();
    file.sync_data().unwrap();
    file.write_at(0, b"3").unwrap_err();
    assert_eq!(&*file.map().unwrap(), b"bytes1");
    assert_eq!(OpKind::Truncate.class(), OpClass::Write);
    disk.clear_faults();
    file.append(b"4").unwrap();
}

#[test]
fn interrupts_end_even_when_sticky() {
    let (disk, file) = disk_with(b"");
    disk.inject(disk.operations(), Fault::Interrupted, true);
    write_all_at(&*file, 0, b"bytes").unwrap();
    assert_eq!(disk.read("a").unwrap(), b"bytes");
}

#[test]
fn filters_choose_by_path() {
    let disk = SimDisk::new(0);
    let wal = disk.root().subdir("wal", true).unwrap();
    let (log, other) = (wal.create_new("1.log").unwrap(), disk.root().create_new("1.log").unwrap());
    let mut left = 1;
    disk.inject_when(move |op| {
        let hit = op.kind == OpKind::SyncData && op.path.starts_with("wal/") && left > 0;
        hit.then(|| {
            left -= 1;
            Fault::SyncLost
        })
    });
    other.sync_data().unwrap();
    log.sync_data().unwrap_err();
    log.sync_data().unwrap();
}

#[test]
fn short_writes_and_reads_take_half() {
    let (disk, file) = disk_with(b"");
    next(&disk, Fault::Short);
    assert_eq!(file.append(b"12345").unwrap(), 3);
    next(&disk, Fault::Short);
    assert_eq!(file.write_at(3, b"4").unwrap(), 1);
    let mut out = [0; 4];
    next(&disk, Fault::Short);
    assert_eq!(file.read_at(0, &mut out).unwrap(), 2);
    assert_eq!(&out, b"12\0\0");
    disk.inject(disk.operations(), Fault::Short, true);
    write_all_at(&*file, 0, b"abcdefghij").unwrap();
    disk.inject(disk.operations(), Fault::Short, true);
    let mut out = [0; 10];
    read_exact_at(&*file, 0, &mut out).unwrap();
    assert_eq!(&out, b"abcdefghij");
}

#[test]
fn a_failed_sync_forgets_and_the_next_one_believes() {
    let (disk, file) = disk_with(b"----");
    file.write_at(0, b"1").unwrap();
    next(&disk, Fault::SyncLost);
    file.sync_data().unwrap_err();
    assert_eq!(&*file.map().unwrap(), b"1---", "readers see what is lost");
    file.sync_data().unwrap();
    assert_eq!(disk.crash(Survival::Nothing).read("a").unwrap(), b"----");
    file.write_at(2, b"3").unwrap();
    file.sync_data().unwrap();
    for seed in (0..50).filter(|seed| *seed != 1) {
        let left = disk.crash(Survival::seeded(seed)).read("a").unwrap();
        assert_eq!(left, b"--3-", "later writes are durable, the lost one never is");
    }
    assert_eq!(disk.crash(Survival::Everything).read("a").unwrap(), b"1-3-");
}

#[test]
fn each_handle_is_told_of_a_failed_sync_once() {
    let (disk, file) = disk_with(b"----");
    let other = disk.root().open("a", true).unwrap();
    file.write_at(0, b"1").unwrap();
    next(&disk, Fault::SyncLost);
    other.sync_data().unwrap_err();
    let later = disk.root().open("a", true).unwrap();
    file.write_at(1, b"2").unwrap();
    file.sync_data().unwrap_err();
    for handle in [&file, &other, &later] {
        handle.sync_data().unwrap();
    }
    assert_eq!(disk.crash(Survival::Nothing).read("a").unwrap(), b"-2--");
}

#[test]
fn a_failed_directory_sync_forgets_names() {
    let (disk, _file) = disk_with(b"bytes");
    disk.root().rename("a", "b").unwrap();
    next(&disk, Fault::SyncLost);
    disk.root().sync_dir().unwrap_err();
    disk.root().sync_dir().unwrap();
    assert_eq!(disk.files(), ["b"]);
    assert_eq!(disk.crash(Survival::Nothing).files(), ["a"]);
    disk.root().create_new("c").unwrap();
    disk.root().sync_dir().unwrap();
    assert_eq!(disk.crash(Survival::Nothing).files(), ["a", "c"]);
    disk.root().rename("b", "d").unwrap();
    disk.root().sync_dir().unwrap();
    assert_eq!(disk.crash(Survival::Nothing).files(), ["c", "d"], "a file has one name");
}

#[test]
fn a_lying_sync_leaves_all_pending() {
    let (disk, file) = disk_with(b"");
    file.append(b"1").unwrap();
    disk.root().create_new("b").unwrap();
    next(&disk, Fault::SyncLies);
    file.sync_data().unwrap();
    next(&disk, Fault::SyncLies);
    disk.root().sync_dir().unwrap();
    let left = disk.crash(Survival::Nothing);
    assert_eq!((left.files(), left.read("a").unwrap()), (vec!["a".to_owned()], vec![]));
    file.sync_data().unwrap();
    disk.root().sync_dir().unwrap();
    let left = disk.crash(Survival::Nothing);
    assert_eq!((left.files().len(), left.read("a").unwrap()), (2, b"1".to_vec()));
}

#[test]
fn faults_without_a_meaning_do_nothing() {
    let (disk, file) = disk_with(b"");
    for fault in [Fault::SyncLost, Fault::SyncLies] {
        next(&disk, fault);
        file.append(b"12").unwrap();
    }
    next(&disk, Fault::Short);
    file.sync_data().unwrap();
    assert_eq!(disk.crash(Survival::Nothing).read("a").unwrap(), b"1212");
}

#[test]
fn a_full_disk_takes_what_fits() {
    let (disk, file) = disk_with(b"12345");
    disk.set_capacity(Some(8));
    assert_eq!(disk.used(), 5);
    assert_eq!(file.append(b"6789").unwrap(), 3);
    assert_eq!(file.append(b"9").unwrap_err().kind(), ErrorKind::StorageFull);
    assert_eq!(file.write_at(6, b"xyz").unwrap(), 2);
    assert_eq!(file.write_at(0, b"abc").unwrap(), 3, "what does not grow the file needs no space");
    assert_eq!(file.allocate(9).unwrap_err().kind(), ErrorKind::StorageFull);
    assert_eq!(file.truncate(9).unwrap_err().kind(), ErrorKind::StorageFull);
    assert_eq!(disk.root().create_new("b").unwrap_err().kind(), ErrorKind::StorageFull);
    assert_eq!(disk.root().create_new("a").unwrap_err().kind(), ErrorKind::AlreadyExists);
    assert_eq!(disk.read("a").unwrap(), b"abc456xy");
    file.truncate(4).unwrap();
    let other = disk.root().create_new("b").unwrap();
    other.allocate(4).unwrap();
    assert_eq!(file.append(b"!").unwrap_err().kind(), ErrorKind::StorageFull);
    drop(other);
    disk.root().remove("b").unwrap();
    assert_eq!(file.append(b"!").unwrap(), 1);
    assert_eq!(disk.crash(Survival::Everything).used(), 5);
    let image = disk.crash(Survival::Everything).root().open("a", true).unwrap();
    assert_eq!(image.allocate(9).unwrap_err().kind(), ErrorKind::StorageFull);
    disk.set_capacity(None);
    file.allocate(100).unwrap();
}

/// A run with some of everything, and one operation that the number chooses left out.
fn run(seed: u64, omitted: usize) -> u64 {
    let disk = SimDisk::new(seed);
    disk.write("a", b"bytes".to_vec());
    disk.inject(9, Fault::Eio, false);
    let file = disk.root().open("a", true).unwrap();
    for (index, operation) in OPERATIONS.iter().enumerate() {
        if index != omitted {
            let _ = operation(&disk, &*file);
        }
    }
    disk.trace_hash()
}

#[test]
fn a_run_repeats_and_another_run_differs() {
    let mut hashes: Vec<u64> = (0..=OPERATIONS.len()).map(|omitted| run(1, omitted)).collect();
    assert_eq!(run(1, 3), hashes[3]);
    hashes.sort_unstable();
    hashes.dedup();
    assert_eq!(hashes.len(), OPERATIONS.len() + 1);
}

#[test]
fn the_trace_tells_arguments_apart() {
    let trace = |operation: Operation| {
        let (disk, file) = disk_with(b"bytes");
        operation(&disk, &*file).unwrap();
        disk.trace_hash()
    };
    let traces = [
        trace(|_, file| file.write_at(0, b"x").map(drop)),
        trace(|_, file| file.write_at(0, b"y").map(drop)),
        trace(|_, file| file.write_at(1, b"x").map(drop)),
        trace(|_, file| file.truncate(1)),
        trace(|_, file| file.truncate(2)),
        trace(|disk, _| disk.root().rename("a", "b")),
        trace(|disk, _| disk.root().rename("a", "c")),
    ];
    for (index, one) in traces.iter().enumerate() {
        assert!(!traces[..index].contains(one), "trace {index}");
    }
}

#[test]
fn the_seed_shuffles_lists() {
    let listing = |seed| {
        let disk = SimDisk::new(seed);
        for name in ["a", "b", "c", "d", "e"] {
            disk.write(name, Vec::new());
        }
        (disk.root().list().unwrap(), disk.root().list().unwrap())
    };
    assert_eq!(listing(1), listing(1));
    assert_ne!(listing(1), listing(2));
    assert_ne!(listing(1).0, listing(1).1, "not even the same order twice");
}

#[test]
fn damage_changes_the_digest() {
    let (disk, file) = disk_with(&[0; 3000]);
    let mut digests = vec![disk.digest()];
    for bit in [0, 7, 23_999] {
        disk.flip_bit("a", bit);
        digests.push(disk.digest());
    }
    disk.flip_bit("a", 0);
    disk.flip_bit("a", 7);
    disk.flip_bit("a", 23_999);
    assert_eq!(disk.digest(), digests[0]);
    file.truncate(2999).unwrap();
    digests.push(disk.digest());
    disk.root().rename("a", "b").unwrap();
    digests.push(disk.digest());
    digests.sort_unstable();
    digests.dedup();
    assert_eq!(digests.len(), 6);
}

#[test]
fn the_clock_moves_when_told() {
    let clock = SimClock::new(10);
    let same = clock.clone();
    clock.advance(std::time::Duration::from_micros(1500));
    assert_eq!((same.unix_millis(), same.monotonic().as_micros()), (11, 1500));
    same.set_unix_millis(5);
    clock.advance(std::time::Duration::from_micros(500));
    assert_eq!((clock.unix_millis(), clock.monotonic().as_micros()), (6, 2000));
}
