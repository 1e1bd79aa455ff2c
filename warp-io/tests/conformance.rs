//! What every directory does alike: each check runs on the local file system and on the simulated disk.
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::io::{self, ErrorKind};
use std::sync::Arc;

use warp_io::{Dir, LockKind, OsDir, SimDisk, read_exact_at, write_all_at};

/// Runs a check on an empty directory of each kind.
fn on_both(check: impl Fn(Arc<dyn Dir>)) {
    let scratch = tempfile::tempdir().unwrap();
    check(OsDir::open(scratch.path(), false).unwrap().handle());
    check(SimDisk::new(7).root().handle());
}

#[track_caller]
fn refused<T>(answer: io::Result<T>, kind: ErrorKind) {
    match answer {
        Ok(_) => panic!("accepted, not refused with {kind:?}"),
        Err(error) => assert_eq!(error.kind(), kind, "{error}"),
    }
}

fn sorted(dir: &dyn Dir) -> Vec<String> {
    let mut names = dir.list().unwrap();
    names.sort();
    names
}

fn put(dir: &dyn Dir, name: &str, bytes: &[u8]) {
    write_all_at(&*dir.create_new(name).unwrap(), 0, bytes).unwrap();
}

fn get(dir: &dyn Dir, name: &str) -> Vec<u8> {
    dir.open(name, false).unwrap().map().unwrap().to_vec()
}

#[test]
fn create_and_open() {
    on_both(|dir| {
        refused(dir.open("a", false), ErrorKind::NotFound);
        let file = dir.create_new("a").unwrap();
        refused(dir.create_new("a"), ErrorKind::AlreadyExists);
        assert!(file.is_empty().unwrap());
        assert_eq!(file.write_at(0, b"one").unwrap(), 3);
        let again = dir.open("a", true).unwrap();
        assert_eq!(again.append(b"two").unwrap(), 3);
        assert_eq!(file.len().unwrap(), 6);
        assert!(!file.is_empty().unwrap());
        assert_eq!(get(&*dir, "a"), b"onetwo");
        file.sync_data().unwrap();
        dir.sync_dir().unwrap();
    });
}

#[test]
fn a_handle_for_reading_does_not_write() {
    on_both(|dir| {
        put(&*dir, "a", b"bytes");
        let file = dir.open("a", false).unwrap();
        assert!(file.append(b"!").is_err());
        assert!(file.write_at(0, b"!").is_err());
        assert!(file.truncate(1).is_err());
        assert!(file.allocate(100).is_err());
        assert_eq!(get(&*dir, "a"), b"bytes");
    });
}

#[test]
fn reads_end_at_the_end() {
    on_both(|dir| {
        put(&*dir, "a", b"0123456789");
        let file = dir.open("a", false).unwrap();
        let mut out = [0xEE; 8];
        assert_eq!(file.read_at(6, &mut out).unwrap(), 4);
        assert_eq!(&out, b"6789\xEE\xEE\xEE\xEE");
        assert_eq!(file.read_at(10, &mut out).unwrap(), 0);
        assert_eq!(file.read_at(1 << 40, &mut out).unwrap(), 0);
        read_exact_at(&*file, 2, &mut out).unwrap();
        assert_eq!(&out, b"23456789");
        refused(read_exact_at(&*file, 3, &mut out), ErrorKind::UnexpectedEof);
    });
}

#[test]
fn a_gap_reads_as_zeros() {
    on_both(|dir| {
        let file = dir.create_new("a").unwrap();
        file.append(b"start").unwrap();
        file.write_at(10_000, b"end").unwrap();
        let bytes = get(&*dir, "a");
        assert_eq!(bytes.len(), 10_003);
        assert_eq!((&bytes[..5], &bytes[10_000..]), (&b"start"[..], &b"end"[..]));
        assert!(bytes[5..10_000].iter().all(|byte| *byte == 0));
    });
}

#[test]
fn truncate_cuts_and_grows() {
    on_both(|dir| {
        put(&*dir, "a", &[0xAA; 5000]);
        let file = dir.open("a", true).unwrap();
        file.truncate(3000).unwrap();
        assert_eq!(file.len().unwrap(), 3000);
        file.truncate(5000).unwrap();
        let bytes = get(&*dir, "a");
        assert!(bytes[..3000].iter().all(|byte| *byte == 0xAA));
        assert!(bytes[3000..].iter().all(|byte| *byte == 0), "what was cut off came back");
        assert_eq!(bytes.len(), 5000);
        assert_eq!(file.append(b"x").unwrap(), 1);
        assert_eq!(file.len().unwrap(), 5001);
    });
}

#[test]
fn allocate_reserves_and_never_cuts() {
    on_both(|dir| {
        put(&*dir, "a", b"bytes");
        let file = dir.open("a", true).unwrap();
        file.allocate(4096).unwrap();
        assert_eq!(file.len().unwrap(), 4096);
        file.allocate(10).unwrap();
        assert!(file.allocate(0).unwrap());
        assert_eq!(file.len().unwrap(), 4096);
        let bytes = get(&*dir, "a");
        assert_eq!(&bytes[..5], b"bytes");
        assert!(bytes[5..].iter().all(|byte| *byte == 0));
    });
}

#[test]
fn list_shows_files_only() {
    on_both(|dir| {
        assert!(dir.list().unwrap().is_empty());
        for name in ["b", "a", "c.tmp", "\u{e4}"] {
            dir.create_new(name).unwrap();
        }
        dir.subdir("folder", true).unwrap().create_new("inside").unwrap();
        assert_eq!(sorted(&*dir), ["a", "b", "c.tmp", "\u{e4}"]);
    });
}

#[test]
fn rename_replaces_and_handles_follow() {
    on_both(|dir| {
        put(&*dir, "a", b"new");
        put(&*dir, "b", b"old");
        let replaced = dir.open("b", false).unwrap();
        let moved = dir.open("a", true).unwrap();
        dir.rename("a", "b").unwrap();
        assert_eq!(sorted(&*dir), ["b"]);
        assert_eq!(get(&*dir, "b"), b"new");
        assert_eq!(&*replaced.map().unwrap(), b"old");
        moved.append(b"er").unwrap();
        assert_eq!(get(&*dir, "b"), b"newer");
        dir.rename("b", "b").unwrap();
        assert_eq!(get(&*dir, "b"), b"newer");
        refused(dir.rename("a", "c"), ErrorKind::NotFound);
        dir.subdir("folder", true).unwrap();
        refused(dir.rename("b", "folder"), ErrorKind::IsADirectory);
    });
}

#[test]
fn remove_leaves_handles_and_maps() {
    on_both(|dir| {
        put(&*dir, "a", b"bytes");
        let file = dir.open("a", true).unwrap();
        let map = file.map().unwrap();
        dir.remove("a").unwrap();
        assert!(dir.list().unwrap().is_empty());
        refused(dir.open("a", false), ErrorKind::NotFound);
        refused(dir.remove("a"), ErrorKind::NotFound);
        assert_eq!(&*map, b"bytes");
        file.append(b"!").unwrap();
        file.sync_data().unwrap();
        assert_eq!(&*file.map().unwrap(), b"bytes!");
        dir.create_new("a").unwrap();
        assert_eq!(get(&*dir, "a"), b"");
    });
}

#[test]
fn subdirectories() {
    on_both(|dir| {
        refused(dir.subdir("wal", false), ErrorKind::NotFound);
        let sub = dir.subdir("wal", true).unwrap();
        put(&*sub, "a", b"inside");
        put(&*dir, "a", b"outside");
        assert_eq!(get(&*dir.subdir("wal", false).unwrap(), "a"), b"inside");
        assert_eq!(get(&*dir.subdir("wal", true).unwrap(), "a"), b"inside");
        assert_eq!(get(&*dir, "a"), b"outside");
        refused(dir.open("wal", false), ErrorKind::IsADirectory);
        refused(dir.open("wal", true), ErrorKind::IsADirectory);
        refused(dir.remove("wal"), ErrorKind::IsADirectory);
        refused(dir.create_new("wal"), ErrorKind::AlreadyExists);
        refused(dir.subdir("a", true), ErrorKind::NotADirectory);
        sub.sync_dir().unwrap();
    });
}

#[test]
fn one_lock_at_a_time() {
    on_both(|dir| {
        let lock = dir.try_lock_exclusive().unwrap();
        refused(dir.try_lock_exclusive(), ErrorKind::WouldBlock);
        refused(dir.handle().try_lock_exclusive(), ErrorKind::WouldBlock);
        let other = dir.subdir("other", true).unwrap().try_lock_exclusive().unwrap();
        drop(lock);
        let _again = dir.handle().try_lock_exclusive().unwrap();
        refused(dir.try_lock_exclusive(), ErrorKind::WouldBlock);
        drop(other);
        assert_eq!(sorted(&*dir), ["LOCK"]);
        assert_eq!(dir.list_dirs().unwrap(), ["other"]);
    });
}

#[test]
fn many_may_share_a_lock_and_one_may_have_it_alone() {
    on_both(|dir| {
        let try_lock = |kind| dir.handle().try_lock("READERS", kind);
        let first = try_lock(LockKind::Shared).unwrap();
        let second = try_lock(LockKind::Shared).unwrap();
        refused(try_lock(LockKind::Exclusive), ErrorKind::WouldBlock);
        drop(first);
        refused(try_lock(LockKind::Exclusive), ErrorKind::WouldBlock);
        drop(second);
        let alone = try_lock(LockKind::Exclusive).unwrap();
        refused(try_lock(LockKind::Shared), ErrorKind::WouldBlock);
        refused(try_lock(LockKind::Exclusive), ErrorKind::WouldBlock);
        // Another file is another lock.
        let _other = dir.try_lock_exclusive().unwrap();
        drop(alone);
        let _again = try_lock(LockKind::Shared).unwrap();
        refused(dir.try_lock("a/b", LockKind::Shared), ErrorKind::InvalidInput);
    });
}

#[test]
fn names_are_plain() {
    on_both(|dir| {
        dir.create_new("good").unwrap();
        for bad in ["", ".", "..", "a/b", "/a", "a/", "nul\0"] {
            refused(dir.create_new(bad), ErrorKind::InvalidInput);
            refused(dir.open(bad, false), ErrorKind::InvalidInput);
            refused(dir.rename(bad, "x"), ErrorKind::InvalidInput);
            refused(dir.rename("good", bad), ErrorKind::InvalidInput);
            refused(dir.remove(bad), ErrorKind::InvalidInput);
            refused(dir.subdir(bad, true), ErrorKind::InvalidInput);
        }
        assert_eq!(sorted(&*dir), ["good"]);
    });
}

#[test]
fn maps_are_aligned_and_whole() {
    on_both(|dir| {
        for len in [0, 1, 15, 16, 17, 4096, 10_001] {
            let bytes: Vec<u8> = (0..len).map(|index: u32| index.to_le_bytes()[0]).collect();
            let name = format!("{len}");
            put(&*dir, &name, &bytes);
            let map = dir.open(&name, false).unwrap().map().unwrap();
            assert_eq!(&*map, &bytes[..]);
            if len > 0 {
                assert_eq!(map.as_ptr().addr() % 16, 0);
            }
            map.will_need(0..map.len());
            map.will_need(5..usize::MAX);
            assert_eq!(map.clone().len(), bytes.len());
        }
    });
}

#[test]
fn empty_writes_take_nothing() {
    on_both(|dir| {
        let file = dir.create_new("a").unwrap();
        assert_eq!(file.append(b"").unwrap(), 0);
        assert_eq!(file.write_at(100, b"").unwrap(), 0);
        assert_eq!(file.read_at(0, &mut []).unwrap(), 0);
        assert_eq!(file.len().unwrap(), 0);
    });
}

#[test]
fn an_offset_out_of_range_is_an_error() {
    on_both(|dir| {
        let file = dir.create_new("a").unwrap();
        assert!(file.write_at(u64::MAX, b"xy").is_err());
        assert!(file.truncate(u64::MAX).is_err());
        assert!(file.allocate(u64::MAX).is_err());
        assert_eq!(file.len().unwrap(), 0);
    });
}
