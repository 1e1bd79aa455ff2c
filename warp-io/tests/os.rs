//! What only the local file system has: modes, links, parents, and a current directory.
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use warp_io::{Dir, OsDir};

fn mode(path: impl AsRef<Path>) -> u32 {
    fs::symlink_metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn files_and_directories_are_private() {
    let scratch = tempfile::tempdir().unwrap();
    let root = scratch.path().join("deep/down");
    let dir = OsDir::open(&root, true).unwrap();
    dir.create_new("file").unwrap();
    dir.subdir("sub", true).unwrap();
    let _lock = dir.try_lock_exclusive().unwrap();
    assert_eq!(mode(root.join("file")), 0o600);
    assert_eq!(mode(root.join("LOCK")), 0o600);
    assert_eq!(mode(root.join("sub")), 0o700);
    assert_eq!(mode(&root), 0o700);
    assert_eq!(mode(scratch.path().join("deep")), 0o700);
}

#[test]
fn an_absent_directory_is_made_only_when_asked() {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("a/b/c");
    assert_eq!(OsDir::open(&path, false).unwrap_err().kind(), ErrorKind::NotFound);
    assert!(!scratch.path().join("a").exists());
    let dir = OsDir::open(&path, true).unwrap();
    assert_eq!(dir.path(), path);
    OsDir::open(&path, true).unwrap();
    fs::write(scratch.path().join("file"), b"").unwrap();
    assert!(OsDir::open(scratch.path().join("file"), true).is_err());
    assert!(OsDir::open(scratch.path().join("file/below"), true).is_err());
}

#[test]
fn links_are_not_followed() {
    let scratch = tempfile::tempdir().unwrap();
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("secret"), b"secret").unwrap();
    let dir = OsDir::open(scratch.path(), false).unwrap();
    symlink(outside.path().join("secret"), scratch.path().join("file")).unwrap();
    symlink(outside.path(), scratch.path().join("folder")).unwrap();
    symlink(outside.path().join("new"), scratch.path().join("dangling")).unwrap();
    symlink(outside.path().join("lock"), scratch.path().join("LOCK")).unwrap();
    assert!(dir.open("file", false).is_err());
    assert!(dir.open("file", true).is_err());
    assert!(dir.subdir("folder", false).is_err());
    assert!(dir.subdir("folder", true).is_err());
    assert!(dir.create_new("dangling").is_err());
    assert!(dir.try_lock_exclusive().is_err());
    dir.remove("file").unwrap();
    let left: Vec<_> =
        fs::read_dir(outside.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["secret"]);
}

#[test]
fn a_pipe_is_refused_without_waiting() {
    let scratch = tempfile::tempdir().unwrap();
    let made = std::process::Command::new("mkfifo").arg(scratch.path().join("pipe")).status().unwrap();
    assert!(made.success());
    let dir = OsDir::open(scratch.path(), false).unwrap();
    assert_eq!(dir.open("pipe", false).unwrap_err().kind(), ErrorKind::InvalidInput);
    assert_eq!(dir.open("pipe", true).unwrap_err().kind(), ErrorKind::InvalidInput);
}

#[test]
fn a_directory_that_was_moved_stays_the_same() {
    let scratch = tempfile::tempdir().unwrap();
    let dir = OsDir::open(scratch.path().join("before"), true).unwrap();
    dir.create_new("a").unwrap();
    fs::rename(scratch.path().join("before"), scratch.path().join("after")).unwrap();
    dir.rename("a", "b").unwrap();
    dir.create_new("c").unwrap();
    dir.sync_dir().unwrap();
    let mut names = dir.list().unwrap();
    names.sort();
    assert_eq!(names, ["b", "c"]);
    assert!(scratch.path().join("after/b").exists());
    assert!(!scratch.path().join("before").exists());
}

#[test]
fn a_name_that_is_not_utf8_is_not_listed() {
    use std::os::unix::ffi::OsStrExt;
    let scratch = tempfile::tempdir().unwrap();
    fs::write(scratch.path().join(std::ffi::OsStr::from_bytes(b"\xFF")), b"").unwrap();
    let dir = OsDir::open(scratch.path(), false).unwrap();
    assert!(dir.list().unwrap().is_empty());
}

#[test]
fn the_lock_holds_against_another_process_and_ends_with_it() {
    let scratch = tempfile::tempdir().unwrap();
    let dir = OsDir::open(scratch.path(), false).unwrap();
    let lock = dir.try_lock_exclusive().unwrap();
    let flock = |command: &[&str]| {
        std::process::Command::new("flock")
            .args(["--nonblock", "--conflict-exit-code", "75"])
            .arg(scratch.path().join("LOCK"))
            .args(command)
            .spawn()
    };
    let Ok(mut other) = flock(&["true"]) else {
        eprintln!("skipped: there is no flock program here");
        return;
    };
    assert_eq!(other.wait().unwrap().code(), Some(75));
    drop(lock);
    assert_eq!(flock(&["true"]).unwrap().wait().unwrap().code(), Some(0));
    dir.try_lock_exclusive().unwrap();
}
