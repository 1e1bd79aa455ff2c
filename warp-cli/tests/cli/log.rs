//! log list, log dump, log verify.

use serde_json::{Value, json};
use warp_api::{LogFormat, Options};

use crate::Warp;

const ENTRIES: [(&[u8], &[u8]); 3] = [(b"user:1", b"Ada"), (b"bytes", b"\xff\x00"), (b"lines", b"a\nb")];

/// The program's own records among the lines of a dump, as `(key, value)`.
fn records(lines: &[Value]) -> Vec<(Value, Value)> {
    let is_put = |line: &&Value| line["kind"] == "put" && line["keyspace"] == 1;
    lines.iter().filter(is_put).map(|line| (line["key"].clone(), line["value"].clone())).collect()
}

fn expected() -> Vec<(Value, Value)> {
    vec![
        (json!("user:1"), json!("Ada")),
        (json!("bytes"), json!({ "b64": "/wA=" })),
        (json!("lines"), json!("a\nb")),
    ]
}

#[test]
fn segments_of_both_formats_are_dumped_as_the_same_records() {
    for format in [LogFormat::Binary, LogFormat::Json] {
        let warp = Warp::with_log(format, &ENTRIES);
        assert_eq!(records(&warp.json(&["log", "dump"])), expected(), "{format:?}");
    }
}

#[test]
fn one_directory_may_hold_both_formats() {
    let warp = Warp::with_log(LogFormat::Json, &ENTRIES);
    warp.engine(Options::new().log_format(LogFormat::Binary)).put("user:2", "Grace").unwrap();
    let list = warp.text(&["log", "list"]);
    assert!(list.contains(" json ") && list.contains(" binary "), "{list}");
    let mut all = expected();
    all.push((json!("user:2"), json!("Grace")));
    assert_eq!(records(&warp.json(&["log", "dump", "all"])), all);
    assert_eq!(warp.ok(&["get", "user:2"]), b"Grace");
}

#[test]
fn a_segment_is_named_by_its_name_or_its_number() {
    let warp = Warp::with_log(LogFormat::Binary, &ENTRIES);
    let list = warp.text(&["log", "list"]);
    let names: Vec<&str> = list.lines().map(|line| line.split_whitespace().next().unwrap()).collect();
    let dump = |segment: &str| warp.text(&["log", "dump", segment]);
    let mut all = String::new();
    for name in &names {
        let number: u64 = name.strip_suffix(".log").unwrap().parse().unwrap();
        assert_eq!(dump(name), dump(&number.to_string()));
        all += &dump(name);
    }
    assert_eq!(dump("all"), all);
    assert_eq!(warp.fails(2, &["log", "dump", "999999"]), "warp: no such segment: 999999");
    assert_eq!(warp.fails(2, &["log", "dump", "../LOCK"]), "warp: no such segment: ../LOCK");
}

#[test]
fn a_sound_log_is_called_sound() {
    let warp = Warp::with_log(LogFormat::Binary, &ENTRIES);
    let text = warp.text(&["log", "verify"]);
    assert!(text.contains("with 3 entries to replay: sound"), "{text}");
    // After a few checkpoints the oldest segments are gone, which is no damage.
    for index in 0..6 {
        warp.ok(&["put", "key", &index.to_string()]);
    }
    assert!(!warp.text(&["log", "list"]).contains("00000000000000000001.log"));
    assert!(warp.text(&["log", "verify"]).ends_with(": sound\n"));
    assert!(warp.text(&["verify"]).ends_with(": sound\n"));
}

/// The formats that `log list` shows.
fn formats(warp: &Warp) -> Vec<String> {
    let list = warp.text(&["log", "list"]);
    list.lines().map(|line| line.split_whitespace().nth(1).unwrap().to_owned()).collect()
}

#[test]
fn a_log_is_converted_either_way() {
    let warp = Warp::with_log(LogFormat::Binary, &ENTRIES);
    let data = warp.data();
    let data = data.to_str().unwrap();
    let log = format!("{data}/wal");
    for (dir, form) in [(None, "json"), (Some(data), "binary"), (Some(&*log), "json")] {
        let mut args = vec!["log", "convert", "--to", form];
        args.extend(dir);
        let text = warp.text(&args);
        assert!(text.starts_with("converted ") && text.contains(" with 3 entries: "), "{text}");
        assert_eq!(records(&warp.json(&["log", "dump"])), expected(), "{form}");
        assert!(formats(&warp).iter().all(|found| found == form), "{:?}", formats(&warp));
        assert!(warp.text(&["log", "verify"]).contains("with 3 entries to replay: sound"));
    }
    let files = warp.files();
    let text = warp.text(&["log", "convert", "--to", "json"]);
    assert!(text.starts_with("converted 0 segments"), "{text}");
    assert_eq!(warp.files(), files);
    let out = warp.path("out");
    warp.text(&["log", "convert", "--to", "binary", "--out", out.to_str().unwrap()]);
    assert_eq!(warp.files(), files, "with --out the log stays as it is");
    let mut entries = Vec::new();
    warp_wal::replay(&out, |_, entry| entries.push(entry.value.to_vec())).unwrap();
    assert_eq!(entries, ENTRIES.map(|(_, value)| value.to_vec()));
    assert_eq!(warp.ok(&["get", "user:1"]), b"Ada");
}

#[test]
fn a_log_is_not_converted_while_it_is_open_or_damaged_or_not_there() {
    let warp = Warp::with_log(LogFormat::Binary, &ENTRIES);
    let log = warp.path("data/wal");
    let engine = warp.engine(Options::new());
    for dir in [None, log.to_str()] {
        let mut args = vec!["log", "convert", "--to", "json"];
        args.extend(dir);
        let line = warp.fails(2, &args);
        assert!(line.ends_with(" is in use"), "{line}");
    }
    drop(engine);
    assert!(!formats(&warp).contains(&"json".to_owned()));
    let nowhere = warp.path("nowhere");
    std::fs::create_dir(&nowhere).unwrap();
    let line = warp.fails(2, &["log", "convert", nowhere.to_str().unwrap(), "--to", "json"]);
    assert!(line.ends_with("there is no log"), "{line}");
    assert_eq!(std::fs::read_dir(&nowhere).unwrap().count(), 0);
    let first = log.join("00000000000000000001.log");
    let mut bytes = std::fs::read(&first).unwrap();
    let place = bytes.windows(3).position(|three| three == b"Ada").unwrap();
    bytes[place] ^= 1;
    std::fs::write(&first, &bytes).unwrap();
    let line = warp.fails(2, &["log", "convert", "--to", "json"]);
    assert!(
        line.starts_with("warp: cannot convert the log: log file 00000000000000000001.log is corrupt"),
        "{line}"
    );
    assert_eq!(std::fs::read(&first).unwrap(), bytes);
}
