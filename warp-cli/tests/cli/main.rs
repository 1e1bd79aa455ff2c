//! The built program, run as a user runs it, each time on a database of its own.

#![allow(
    clippy::disallowed_methods,
    reason = "looks at the files that the program leaves, as a person would"
)]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod damage;
mod deadlines;
mod document;
mod entries;
mod exchange;
mod help;
mod links;
mod log;
mod physics;
mod reading;
mod watch;

use std::env;
use std::ffi::OsStr;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;
use warp_api::{Durability, LogFormat, Options, WarpEngine};
use warp_io::{Dir, OsDir, read_exact_at};

/// A database that the program works with, in a directory that goes with it.
struct Warp {
    scratch: TempDir,
}

impl Warp {
    fn new() -> Warp {
        Warp { scratch: tempfile::tempdir().unwrap() }
    }

    /// With one synced entry after the other, and closed without a checkpoint, so that all of them are in the log.
    fn with_log(format: LogFormat, entries: &[(&[u8], &[u8])]) -> Warp {
        let warp = Warp::new();
        let engine = warp.engine(Options::new().log_format(format).durability(Durability::Sync));
        for (key, value) in entries {
            engine.put(key, value).unwrap();
        }
        warp
    }

    fn engine(&self, options: Options) -> WarpEngine {
        options.open(self.data()).unwrap()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    fn data(&self) -> PathBuf {
        self.path("data")
    }

    fn dir(&self) -> OsDir {
        OsDir::open(self.data(), false).unwrap()
    }

    fn command<S: AsRef<OsStr>>(&self, args: &[S]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_warp"));
        command.env_remove("WARP_DATA").arg("--data").arg(self.data()).args(args);
        command
    }

    fn run_with<S: AsRef<OsStr>>(&self, args: &[S], input: &[u8]) -> Output {
        let mut command = self.command(args);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(input).unwrap();
        child.wait_with_output().unwrap()
    }

    /// What a command that must succeed, without a word on standard error, writes to standard output.
    #[track_caller]
    fn ok<S: AsRef<OsStr>>(&self, args: &[S]) -> Vec<u8> {
        self.ok_with(args, b"")
    }

    #[track_caller]
    fn ok_with<S: AsRef<OsStr>>(&self, args: &[S], input: &[u8]) -> Vec<u8> {
        let output = self.run_with(args, input);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && errors.is_empty(), "{:?}: {errors}", output.status);
        output.stdout
    }

    /// As [`Warp::ok`], for output that is text.
    #[track_caller]
    fn text<S: AsRef<OsStr>>(&self, args: &[S]) -> String {
        String::from_utf8(self.ok(args)).unwrap()
    }

    /// The lines of JSON that a command writes.
    #[track_caller]
    fn json<S: AsRef<OsStr>>(&self, args: &[S]) -> Vec<Value> {
        json_lines(&self.ok(args))
    }

    /// The one line with which a command must fail.
    #[track_caller]
    fn fails<S: AsRef<OsStr>>(&self, status: i32, args: &[S]) -> String {
        failed(status, &self.run_with(args, b"")).0
    }

    /// The names of all files, with their bytes.
    fn files(&self) -> Vec<(String, Vec<u8>)> {
        let root = self.dir();
        let mut files = files_in(&root, "");
        for name in ["wal", "layers"] {
            files.extend(files_in(&*root.subdir(name, false).unwrap(), name));
        }
        files.sort();
        files
    }
}

/// What a line does in a shell that stands in `at`, and finds the program as `warp`.
fn shell(line: &str, at: &Path) -> Output {
    let program = Path::new(env!("CARGO_BIN_EXE_warp")).parent().unwrap();
    let path = format!("{}:{}", program.display(), env::var("PATH").unwrap());
    let mut shell = Command::new("sh");
    shell.current_dir(at).env("PATH", path).env_remove("WARP_DATA");
    shell.args(["-c", line]).output().unwrap()
}

fn files_in(dir: &dyn Dir, place: &str) -> Vec<(String, Vec<u8>)> {
    let names = dir.list().unwrap().into_iter();
    names.map(|name| (format!("{place}/{name}"), contents(dir, &name))).collect()
}

fn contents(dir: &dyn Dir, name: &str) -> Vec<u8> {
    let file = dir.open(name, false).unwrap();
    let mut bytes = vec![0; usize::try_from(file.len().unwrap()).unwrap()];
    read_exact_at(&*file, 0, &mut bytes).unwrap();
    bytes
}

/// The bytes of a file anywhere.
fn read_file(path: &Path) -> Vec<u8> {
    let dir = OsDir::open(path.parent().unwrap(), false).unwrap();
    contents(&dir, path.file_name().unwrap().to_str().unwrap())
}

#[track_caller]
fn json_lines(bytes: &[u8]) -> Vec<Value> {
    let lines = std::str::from_utf8(bytes).unwrap().lines();
    lines.map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
}

/// The line with which a command must fail, and its standard output. Before that line the engine may have warned.
#[track_caller]
fn failed(status: i32, output: &Output) -> (String, String) {
    let errors = String::from_utf8(output.stderr.clone()).unwrap();
    assert_eq!(output.status.code(), Some(status), "{errors}");
    let mut lines: Vec<&str> = errors.lines().collect();
    let line = lines.pop().unwrap();
    assert!(line.starts_with("warp: ") && errors.ends_with('\n'), "{errors}");
    let is_event = |line: &&str| line.starts_with(" WARN ") || line.starts_with("ERROR ");
    assert!(lines.iter().all(is_event), "{errors}");
    (line.to_owned(), String::from_utf8(output.stdout.clone()).unwrap())
}
