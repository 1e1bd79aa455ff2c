//! Commands that only read, and what they leave alone.

use warp_api::Options;

use crate::Warp;

/// Every command that only reads, with arguments that fit [`filled`].
const READING: [&[&str]; 13] = [
    &["get", "user:1"],
    &["ttl", "user:1"],
    &["list"],
    &["export"],
    &["quantum", "user:1"],
    &["stats"],
    &["stats", "--count", "--json"],
    &["physics"],
    &["physics", "--count", "--json"],
    &["verify"],
    &["log", "list"],
    &["log", "dump"],
    &["log", "verify"],
];

/// A database with a checkpoint, and with entries in the log that are in none.
fn filled() -> Warp {
    let warp = Warp::new();
    warp.ok(&["put", "user:1", "Ada"]);
    warp.ok(&["rule", "user:{id}", "profile:{id}"]);
    let engine = warp.engine(Options::new());
    engine.put("profile:1", "mathematician").unwrap();
    warp
}

#[test]
fn reading_changes_no_file() {
    let warp = filled();
    let before = warp.files();
    assert!(before.len() > 3);
    for args in READING {
        assert!(!warp.ok(args).is_empty(), "{args:?}");
        assert!(warp.files() == before, "{args:?}");
    }
    warp.ok(&["put", "user:2", "Grace"]);
    assert!(warp.files() != before);
}

#[test]
fn a_database_that_is_not_there_is_not_made() {
    let warp = Warp::new();
    let writing = [
        &["delete", "user:1"][..],
        &["expire", "user:1", "1h"],
        &["persist", "user:1"],
        &["disentangle", "user:1", "user:2"],
        &["checkpoint"],
    ];
    for args in READING.into_iter().chain(writing) {
        let line = warp.fails(2, args);
        assert!(line.contains("No such file or directory"), "{line}");
        assert!(!warp.data().exists(), "{args:?}");
    }
}

#[test]
fn a_database_that_is_open_elsewhere_can_be_read_and_backed_up() {
    let warp = filled();
    let engine = warp.engine(Options::new());
    engine.put("user:3", "Edsger").unwrap();
    engine.sync().unwrap();
    for args in READING {
        assert!(!warp.ok(args).is_empty(), "{args:?}");
    }
    assert_eq!(warp.ok(&["get", "user:3"]), b"Edsger");
    assert!(warp.text(&["log", "dump"]).contains("Edsger"));
    let to = warp.path("backup").display().to_string();
    let text = warp.text(&["backup", &to]);
    assert!(text.starts_with("backup up to "), "{text}");
    engine.put("user:4", "Barbara").unwrap();
    engine.sync().unwrap();
    assert!(warp.text(&["backup", &to]).contains("0 copied"));
    let copy = Options::new().read_only(true).open(&to).unwrap();
    assert_eq!(copy.get("user:4").unwrap().as_deref(), Some(&b"Barbara"[..]));
    for args in
        [&["put", "user:1", "x"][..], &["checkpoint"], &["repair"], &["log", "convert", "--to", "json"]]
    {
        assert!(warp.fails(2, args).contains("warp: "), "{args:?}");
    }
    engine.close().unwrap();
    warp.ok(&["put", "user:1", "x"]);
}

#[test]
fn statistics_say_what_is_there() {
    let warp = filled();
    let table = warp.text(&["stats", "--count"]);
    let row = |name: &str| {
        let line = table.lines().find(|line| line.starts_with(name));
        line.unwrap_or_else(|| panic!("no {name} in {table}"))[name.len()..].trim().to_owned()
    };
    assert_eq!(row("keys"), "2");
    assert_eq!(row("rules"), "1");
    assert!(row("in memory").starts_with("2 entries"), "the replayed one and the rules: {table}");
    assert!(row("in layers").starts_with("2 entries"), "the key and the rules: {table}");
    assert!(row("replayed").starts_with("1 entry"));
    assert_eq!(row("closed cleanly"), "yes");

    let json = &warp.json(&["stats", "--json"])[0];
    assert!(json["keys"].is_null());
    assert_eq!(warp.json(&["stats", "--json", "--count"])[0]["keys"], 2);
    assert_eq!(json["recovery"]["replayed"], 1);
    assert_eq!(json["metrics"]["entanglement"]["rules"], 1);
    assert!(json["log_files"]["bytes"].as_u64().is_some_and(|bytes| bytes > 0));
}

#[test]
fn a_checkpoint_leaves_nothing_to_replay() {
    let warp = filled();
    let text = warp.text(&["checkpoint"]);
    assert!(text.starts_with("checkpoint ") && text.contains("1 entry written"), "{text}");
    assert_eq!(warp.json(&["stats", "--json"])[0]["recovery"]["replayed"], 0);
    assert_eq!(warp.ok(&["get", "profile:1"]), b"mathematician");
    assert!(warp.text(&["checkpoint"]).contains("0 entries written"));
}

#[test]
fn what_the_engine_does_is_told_on_request() {
    let warp = filled();
    let output = warp.run_with(&["-v", "get", "user:1"], b"");
    assert!(output.status.success());
    assert_eq!(output.stdout, b"Ada");
    assert!(String::from_utf8_lossy(&output.stderr).contains("database opened"));
}
