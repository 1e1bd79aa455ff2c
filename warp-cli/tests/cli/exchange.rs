//! import, export, and readers that stop reading.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::FileTypeExt;
use std::process::{Command, Stdio};

use warp_api::{Options, PutOptions, WriteBatch};
use warp_io::{Dir, OsDir, write_all_at};

use crate::{Warp, failed, json_lines, read_file};

/// A database with everything that an export has to carry.
fn filled() -> Warp {
    let warp = Warp::new();
    let engine = warp.engine(Options::new());
    engine.put("plain", "text").unwrap();
    engine.put("", "empty key").unwrap();
    engine.put("lines", "two\nlines\u{2028}and \"quotes\"").unwrap();
    engine.put([0xff, 0x00], [0x80, 0xff]).unwrap();
    engine.put_with("passing", "away", &PutOptions::new().ttl(std::time::Duration::from_secs(9999))).unwrap();
    engine.entangle("plain", &[&[0xff, 0x00][..], b"absent"], 0.25).unwrap();
    engine.entanglement_rule("user:{id}", &["profile:{id}", "settings:{id}"], 0.5).unwrap();
    engine.close().unwrap();
    warp
}

#[test]
fn an_export_imported_elsewhere_exports_the_same() {
    let (from, to) = (filled(), Warp::new());
    let exported = from.ok(&["export"]);
    assert_eq!(json_lines(&exported).len(), 5 + 2 + 1);
    let report = to.ok_with(&["import"], &exported);
    assert_eq!(report, b"imported 5 entries, 2 links, 1 rule\n");
    assert!(to.ok(&["export", "-"]) == exported);
    assert_eq!(to.ok(&["get", "--hex", "ff00"]), [0x80, 0xff]);
    to.ok(&["put", "user:7", "Ada"]);
    assert_eq!(to.json(&["quantum", "user:7"])[0]["requested"], 2);
}

#[test]
fn files_serve_as_well_as_pipes() {
    let (from, to) = (filled(), Warp::new());
    let file = from.path("export.json");
    let name = file.to_str().unwrap();
    assert_eq!(from.ok(&["export", name]), b"exported 5 entries, 2 links, 1 rule\n");
    assert!(read_file(&file) == from.ok(&["export"]));
    assert!(!from.path("export.json.partial").exists());
    to.ok(&["import", name]);
    assert!(to.ok(&["export"]) == from.ok(&["export"]));

    let link = from.path("link");
    std::os::unix::fs::symlink(&file, &link).unwrap();
    from.ok(&["put", "one", "more"]);
    from.ok(&[OsStr::new("export"), link.as_os_str()]);
    assert!(link.is_symlink());
    assert!(read_file(&file) == from.ok(&["export"]));
}

#[test]
fn a_pipe_with_a_name_takes_an_export_and_stays_a_pipe() {
    let warp = filled();
    let pipe = warp.path("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    // Each of the two waits until the other has opened the pipe.
    let mut reader = Command::new("cat").arg(&pipe).stdout(Stdio::piped()).spawn().unwrap();
    warp.ok(&[OsStr::new("export"), pipe.as_os_str()]);
    let is_pipe = pipe.symlink_metadata().unwrap().file_type().is_fifo();
    if !is_pipe {
        // Nobody else would ever end it.
        reader.kill().unwrap();
    }
    assert!(is_pipe, "it was replaced by a file");
    let mut exported = Vec::new();
    reader.stdout.take().unwrap().read_to_end(&mut exported).unwrap();
    assert!(reader.wait().unwrap().success());
    assert!(exported == warp.ok(&["export"]));
}

#[test]
fn a_list_is_an_export_of_entries() {
    let (from, to) = (filled(), Warp::new());
    let report = to.ok_with(&["import"], &from.ok(&["list"]));
    assert_eq!(report, b"imported 5 entries, 0 links, 0 rules\n");
    assert!(to.ok(&["list"]) == from.ok(&["list"]));
}

#[test]
fn wormholes_and_laws_are_told_where_there_are_any() {
    let warp = Warp::new();
    let input = b"{\"wormhole\":\"a\",\"to\":\"b\",\"strength\":0.5}\n{\"laws\":\"hot\",\"pace\":0.5}\n";
    let report = warp.ok_with(&["import"], input);
    assert_eq!(report, b"imported 0 entries, 0 links, 0 rules, 1 wormhole, laws of 1 level\n");
    assert_eq!(warp.ok(&["export"]), input);
}

#[test]
fn a_line_that_is_none_of_an_export_is_named() {
    let warp = Warp::new();
    let input = b"{\"key\":\"a\",\"value\":\"1\"}\n\n{\"key\":\"b\"}\n";
    let (line, _) = failed(2, &warp.run_with(&["import"], input));
    assert!(line.starts_with("warp: line 3 of the import: missing field `value`"), "{line}");
}

#[test]
fn entries_past_their_deadline_are_passed_over() {
    let warp = Warp::new();
    let input = b"{\"key\":\"a\",\"value\":\"1\",\"deadline\":1}\n";
    let report = warp.ok_with(&["import"], input);
    assert_eq!(report, b"imported 0 entries, 0 links, 0 rules; 1 entry passed over, past the deadline\n");
    warp.fails(1, &["get", "a"]);
}

#[test]
fn an_import_that_cannot_be_read_makes_no_database() {
    let warp = Warp::new();
    let directory = warp.scratch.path().to_str().unwrap().to_owned();
    assert!(warp.fails(2, &["import", "/no/such/file"]).starts_with("warp: cannot read /no/such/file: "));
    assert!(warp.fails(2, &["import", &directory]).starts_with("warp: cannot read "));
    assert!(!warp.data().exists());
}

#[test]
fn a_failed_export_leaves_the_file_that_was_there() {
    let warp = filled();
    let scratch = OsDir::open(warp.scratch.path(), false).unwrap();
    write_all_at(&*scratch.create_new("export.json").unwrap(), 0, b"the one before").unwrap();
    let file = warp.path("export.json");
    let name = file.to_str().unwrap();
    // A limit on the size of files makes the export fail half way.
    let engine = warp.engine(Options::new());
    engine.put("large", vec![b'x'; 1 << 20]).unwrap();
    engine.close().unwrap();
    let script = "ulimit -f 64; trap '' XFSZ; exec \"$0\" --data \"$1\" export \"$2\"";
    let mut shell = Command::new("sh");
    shell.args(["-c", script, env!("CARGO_BIN_EXE_warp")]).arg(warp.data()).arg(name);
    let (line, _) = failed(2, &shell.output().unwrap());
    assert!(line.contains("File too large"), "{line}");
    assert_eq!(read_file(&file), b"the one before");
    assert!(!warp.path("export.json.partial").exists());
    assert!(
        warp.fails(2, &["export", "/no/such/directory/export"]).contains("cannot write /no/such/directory/")
    );
}

#[test]
fn a_reader_that_stops_reading_is_no_failure() {
    let warp = Warp::new();
    let engine = warp.engine(Options::new());
    for chunk in 0..8 {
        let mut batch = WriteBatch::new();
        for index in 0..1000 {
            batch.put(format!("key {chunk} {index:04}"), [b'v'; 100]);
        }
        engine.write(&batch).unwrap();
    }
    engine.put("value", vec![b'v'; 1 << 20]).unwrap();
    engine.close().unwrap();
    for args in [&["list"][..], &["export"], &["list", "--keys-only"], &["get", "value"], &["log", "dump"]] {
        let mut child = warp.command(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut first = vec![0; 10];
        let mut stdout = BufReader::with_capacity(1, child.stdout.take().unwrap());
        assert!(!stdout.fill_buf().unwrap().is_empty(), "{args:?}");
        stdout.read_exact(&mut first).unwrap();
        drop(stdout);
        let output = child.wait_with_output().unwrap();
        assert!(output.stderr.is_empty(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(output.status.code(), Some(0), "{args:?}");
    }
}

#[test]
fn output_that_cannot_be_written_is_a_failure() {
    let warp = filled();
    let full = std::os::fd::OwnedFd::from(full_device());
    let output = warp.command(&["list"]).stdout(Stdio::from(full)).stderr(Stdio::piped()).output().unwrap();
    let (line, _) = failed(2, &output);
    assert!(line.starts_with("warp: cannot write to standard output: "), "{line}");
}

#[expect(clippy::disallowed_types, reason = "a device, not a file of a database")]
fn full_device() -> std::fs::File {
    std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap()
}
