//! Databases with damaged files.

use warp_api::LogFormat;
use warp_io::{Dir, write_all_at};

use crate::{Warp, contents, failed, json_lines};

/// Flips a bit of every place in the files of `dir` where `pattern` is; returns the names of the files.
fn damage(dir: &dyn Dir, pattern: &[u8]) -> Vec<String> {
    let mut names = dir.list().unwrap();
    names.sort();
    names.retain(|name| {
        let bytes = contents(dir, name);
        let Some(at) = bytes.windows(pattern.len()).position(|found| found == pattern) else { return false };
        write_all_at(&*dir.open(name, true).unwrap(), at as u64, &[bytes[at] ^ 1]).unwrap();
        true
    });
    names
}

#[test]
fn a_damaged_segment_stops_reads_and_is_listed() {
    for format in [LogFormat::Binary, LogFormat::Json] {
        let warp = Warp::with_log(
            format,
            &[(b"first", b"1"), (b"damaged", b"an unmistakable value"), (b"last", b"3")],
        );
        let damaged = damage(&*warp.dir().subdir("wal", false).unwrap(), b"an unmistakable value");
        assert_eq!(damaged.len(), 1);
        let file = format!("wal/{}", damaged[0]);

        for args in [&["get", "first"][..], &["put", "first", "x"], &["export"], &["stats"]] {
            let line = warp.fails(2, args);
            assert!(line.contains(&file) && line.contains("at offset"), "{args:?}: {line}");
        }
        for args in [&["verify"][..], &["log", "verify"]] {
            let (line, listed) = failed(1, &warp.run_with(args, b""));
            assert_eq!(line, "warp: 1 problem found", "{args:?}: {listed}");
            assert!(listed.lines().any(|line| line.starts_with(&file)), "{args:?}: {listed}");
        }
        let output = warp.run_with(&["log", "dump"], b"");
        let (_, dumped) = failed(1, &output);
        assert!(dumped.contains("first") && dumped.contains("last"), "what is sound is shown: {dumped}");
        assert!(!json_lines(&output.stdout).is_empty());
    }
}

#[test]
fn a_damaged_layer_is_listed_and_what_the_log_still_has_is_read() {
    let warp = Warp::new();
    warp.ok(&["put", "damaged", "an unmistakable value"]);
    warp.ok(&["put", "sound", "2"]);
    let damaged = damage(&*warp.dir().subdir("layers", false).unwrap(), b"an unmistakable value");
    assert_eq!(damaged.len(), 1);
    let (_, listed) = failed(1, &warp.run_with(&["verify"], b""));
    assert!(listed.contains(&format!("layers/{}", damaged[0])), "{listed}");

    // An older checkpoint and more of the log make up for it, which is told.
    let output = warp.run_with(&["get", "damaged"], b"");
    assert_eq!((output.status.code(), &output.stdout[..]), (Some(0), &b"an unmistakable value"[..]));
    assert!(
        String::from_utf8_lossy(&output.stderr).contains("a checkpoint is damaged; an older one was used")
    );
    let table = String::from_utf8(warp.run_with(&["stats"], b"").stdout).unwrap();
    assert!(table.lines().any(|line| line.starts_with("damaged checkpoint")), "{table}");
}

#[test]
fn damaged_manifests_are_listed_though_nothing_can_be_opened() {
    let warp = Warp::new();
    warp.ok(&["put", "key", "value"]);
    let damaged = damage(&warp.dir(), b"WARPMANI");
    assert!(!damaged.is_empty());
    warp.fails(2, &["get", "key"]);
    let (_, listed) = failed(1, &warp.run_with(&["verify"], b""));
    for name in damaged {
        assert!(listed.contains(&name), "{listed}");
    }
}

#[test]
fn a_damaged_layer_is_repaired_and_what_is_lost_is_listed() {
    let warp = Warp::new();
    for number in 0..3 {
        warp.ok(&["put", "damaged", &format!("an unmistakable value {number}")]);
    }
    assert_eq!(warp.text(&["repair"]), "sound: nothing was changed\n");
    let damaged = damage(&*warp.dir().subdir("layers", false).unwrap(), b"an unmistakable value 2");
    assert_eq!(damaged.len(), 1);
    let text = warp.text(&["repair"]);
    assert!(text.contains(&format!("damaged: layers/{}", damaged[0])), "{text}");
    assert!(text.contains("kept aside: 1 file in damaged-1") && text.contains("repaired up to"), "{text}");
    // The log had it.
    assert_eq!(warp.ok(&["get", "damaged"]), b"an unmistakable value 2");
    assert!(warp.text(&["verify"]).ends_with("sound\n"));

    // A log that is gone, and with it what came after the checkpoint.
    let engine = warp.engine(warp_api::Options::new());
    engine.put("later", "1").unwrap();
    drop(engine);
    let log = warp.dir().subdir("wal", false).unwrap();
    for name in log.list().unwrap() {
        log.remove(&name).unwrap();
    }
    let (line, listed) = failed(1, &warp.run_with(&["repair"], b""));
    assert_eq!(line, "warp: repaired, with 1 loss listed above", "{listed}");
    assert!(listed.contains("lost: writes with numbers"), "{listed}");
    assert_eq!(warp.ok(&["get", "damaged"]), b"an unmistakable value 2");
    assert_eq!(warp.json(&["repair", "--json"])[0]["was_sound"], true);
}
