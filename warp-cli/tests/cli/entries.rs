//! put, get, delete, list.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::process::Command;

use serde_json::json;

use crate::Warp;

#[test]
fn a_value_is_put_read_and_deleted() {
    let warp = Warp::new();
    assert_eq!(warp.ok(&["put", "user:1", "Ada"]), b"");
    assert_eq!(warp.ok(&["get", "user:1"]), b"Ada");
    warp.ok(&["put", "user:1", "Grace", "--sync"]);
    assert_eq!(warp.ok(&["get", "user:1"]), b"Grace");
    assert_eq!(warp.ok(&["delete", "user:1"]), b"");
    assert_eq!(warp.fails(1, &["get", "user:1"]), r#"warp: no such key: "user:1""#);
    assert_eq!(warp.fails(1, &["delete", "user:1"]), r#"warp: no such key: "user:1""#);
}

#[test]
fn the_empty_key_and_the_empty_value_are_a_key_and_a_value() {
    let warp = Warp::new();
    warp.ok(&["put", "", ""]);
    assert_eq!(warp.ok(&["get", ""]), b"");
    assert_eq!(warp.json(&["list"]), [json!({ "key": "", "value": "" })]);
}

#[test]
fn a_value_from_standard_input_comes_back_byte_for_byte() {
    let warp = Warp::new();
    let value: Vec<u8> = (0..=255).cycle().take(1 << 20).collect();
    warp.ok_with(&["put", "blob", "-"], &value);
    assert!(warp.ok(&["get", "blob"]) == value);
}

#[test]
fn keys_are_given_as_bytes_hexadecimal_or_base64() {
    let warp = Warp::new();
    let raw = OsStr::from_bytes(b"\xff\xfe");
    warp.ok(&[OsStr::new("put"), raw, OsStr::new("raw")]);
    assert_eq!(warp.ok(&["--hex", "get", "fffe"]), b"raw");
    assert_eq!(warp.ok(&["get", "--base64", "//4="]), b"raw");
    warp.ok(&["put", "--hex", "00", "000a"]);
    assert_eq!(warp.ok(&["get", "--base64", "AA=="]), b"\0\n");
    assert_eq!(warp.json(&["list", "--hex", "--prefix", "ff"]).len(), 1);
    assert_eq!(warp.fails(1, &["get", "--hex", "fffd"]), r#"warp: no such key: {"b64":"//0="}"#);
    assert_eq!(warp.fails(2, &["get", "--hex", "xyz"]), r#"warp: not hexadecimal: "xyz""#);
    assert_eq!(warp.fails(2, &["get", "--base64", "A"]), r#"warp: not base64: "A""#);
}

#[test]
fn a_value_ends_with_its_time() {
    let warp = Warp::new();
    warp.ok(&["put", "--ttl", "1ms", "short", "1"]);
    warp.ok(&["put", "--ttl", "1h", "long", "2"]);
    std::thread::sleep(std::time::Duration::from_millis(10));
    warp.fails(1, &["get", "short"]);
    assert_eq!(warp.ok(&["get", "long"]), b"2");
    let listed = warp.json(&["list"]);
    assert_eq!(listed.len(), 1);
    assert!(listed[0]["deadline"].as_u64().is_some_and(|deadline| deadline > 0));
}

#[test]
fn a_list_has_the_keys_that_are_asked_for_in_order() {
    let warp = Warp::new();
    for key in ["b:2", "a:1", "b:1", "c:1"] {
        warp.ok(&["put", key, "v"]);
    }
    warp.ok(&["entangle", "a:1", "b:1"]);
    let keys = |args: &[&str]| -> Vec<String> {
        warp.json(args).iter().map(|line| line["key"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(keys(&["list"]), ["a:1", "b:1", "b:2", "c:1"]);
    assert_eq!(keys(&["scan", "--prefix", "b:"]), ["b:1", "b:2"]);
    assert_eq!(keys(&["list", "--prefix", "b:", "--limit", "1"]), ["b:1"]);
    assert_eq!(keys(&["list", "--limit", "0"]), [""; 0]);
    assert_eq!(keys(&["list", "--prefix", "z"]), [""; 0]);
    assert_eq!(warp.json(&["list", "--limit", "1", "--keys-only"]), [json!({ "key": "a:1" })]);
    assert_eq!(warp.json(&["list", "--limit", "1"]), [json!({ "key": "a:1", "value": "v" })]);
}

#[test]
fn the_environment_names_the_database_unless_the_command_line_does() {
    let (named, other) = (Warp::new(), Warp::new());
    named.ok(&["put", "where", "named"]);
    other.ok(&["put", "where", "other"]);
    let get = |command: &mut Command| command.args(["get", "where"]).output().unwrap().stdout;
    let mut command = Command::new(env!("CARGO_BIN_EXE_warp"));
    assert_eq!(get(command.env("WARP_DATA", named.data())), b"named");
    let mut command = Command::new(env!("CARGO_BIN_EXE_warp"));
    assert_eq!(get(command.env("WARP_DATA", named.data()).arg("-d").arg(other.data())), b"other");
}

#[test]
fn what_cannot_be_done_is_said_with_status_2() {
    let warp = Warp::new();
    for wrong in [&["put", "key"][..], &["get"], &["no-such-command"], &["put", "k", "v", "--ttl", "5"]] {
        let output = warp.run_with(wrong, b"");
        assert_eq!(output.status.code(), Some(2), "{wrong:?}");
        assert!(!output.stderr.is_empty() && output.stdout.is_empty(), "{wrong:?}");
    }
    let long = "k".repeat(warp_api::KEY_BYTES_MAX + 1);
    assert!(warp.fails(2, &["put", &long, "v"]).contains("longer than the limit"));
}

#[test]
fn keyspaces_are_kept_apart_listed_and_dropped() {
    let warp = Warp::new();
    warp.ok(&["put", "key", "default"]);
    warp.ok(&["put", "-k", "jobs", "key", "jobs"]);
    warp.ok(&["put", "--keyspace", "jobs", "other", "1", "--ttl", "1h"]);
    warp.ok(&["put", "-k", "last", "key", "last"]);
    assert_eq!(warp.ok(&["get", "key"]), b"default");
    assert_eq!(warp.ok(&["get", "-k", "default", "key"]), b"default");
    assert_eq!(warp.ok(&["get", "-k", "jobs", "key"]), b"jobs");
    assert_eq!(warp.text(&["keyspaces"]), "default\njobs\nlast\n");
    assert_eq!(warp.json(&["list"]), [json!({ "key": "key", "value": "default" })]);
    let listed = warp.json(&["list", "-k", "jobs", "--keys-only"]);
    assert_eq!(listed, [json!({ "key": "key" }), json!({ "key": "other" })]);
    let listed = warp.json(&["list", "-k", "last", "--prefix", "k", "--limit", "5"]);
    assert_eq!(listed, [json!({ "key": "key", "value": "last", "keyspace": "last" })]);
    assert!(warp.text(&["stats", "--count", "-k", "jobs"]).contains("keys                2\n"));
    assert_eq!(warp.json(&["stats", "--count", "--json"])[0]["keys"], 1);
    assert_eq!(warp.fails(1, &["get", "-k", "job", "key"]), "warp: no such keyspace: job");
    assert_eq!(warp.fails(1, &["list", "-k", "job"]), "warp: no such keyspace: job");
    assert_eq!(warp.fails(1, &["delete", "-k", "job", "key"]), "warp: no such keyspace: job");
    warp.ok(&["delete", "-k", "jobs", "key"]);
    assert_eq!(warp.ok(&["get", "key"]), b"default");
    warp.ok(&["drop", "jobs"]);
    assert_eq!(warp.fails(1, &["drop", "jobs"]), "warp: no such keyspace: jobs");
    assert_eq!(warp.fails(1, &["get", "-k", "jobs", "other"]), "warp: no such keyspace: jobs");
    assert!(warp.fails(2, &["drop", "default"]).contains("cannot be dropped"));
}

#[test]
fn links_are_declared_and_followed_within_a_keyspace() {
    let warp = Warp::new();
    warp.ok(&["put", "-k", "shop", "order", "3 books"]);
    warp.ok(&["put", "-k", "shop", "user", "Ada"]);
    warp.ok(&["entangle", "-k", "shop", "order", "user"]);
    let found = &warp.json(&["quantum", "-k", "shop", "order"])[0];
    assert_eq!(found["partners"][0]["keyspace"], "shop");
    assert_eq!(found["partners"][0]["value"], "Ada");
    warp.fails(1, &["quantum", "order"]);
}
