//! watch.

use serde_json::json;
use warp_api::{LogFormat, Options};

use crate::Warp;

#[test]
fn changes_are_written_in_order_and_filtered() {
    let warp = Warp::with_log(LogFormat::Binary, &[(b"user:1", b"Ada"), (b"bytes\t", b"\xff")]);
    warp.ok(&["put", "-k", "jobs", "user:2", "print", "--ttl", "900d"]);
    warp.ok(&["delete", "user:1"]);
    let all = warp.json(&["watch", "--json"]);
    assert_eq!(
        all[0],
        json!({"seq": 1, "keyspace": "default", "op": "put", "key": "user:1", "value": "Ada"})
    );
    assert_eq!((&all[1]["key"], &all[1]["value"]), (&json!("bytes\t"), &json!({"b64": "/w=="})));
    assert_eq!((&all[2]["keyspace"], &all[2]["value"]), (&json!("jobs"), &json!("print")));
    assert!(all[2]["deadline"].as_u64().unwrap() > 1_700_000_000_000);
    assert_eq!((&all[3]["op"], &all[3]["key"], all.len()), (&json!("delete"), &json!("user:1"), 4));

    let seqs = |args: &[&str]| -> Vec<u64> {
        let args = [&["watch", "--json"], args].concat();
        warp.json(&args).iter().map(|line| line["seq"].as_u64().unwrap()).collect()
    };
    let seq = |index: usize| all[index]["seq"].as_u64().unwrap();
    assert_eq!(seqs(&["user:"]), [seq(0), seq(2), seq(3)]);
    assert_eq!(seqs(&["--keyspace", "jobs"]), [seq(2)]);
    assert_eq!(seqs(&["--since", &seq(2).to_string()]), [seq(3)]);
    assert!(seqs(&["--since", &u64::MAX.to_string()]).is_empty());
    assert_eq!(warp.fails(1, &["watch", "-k", "none"]), "warp: no such keyspace: none");
}

#[test]
fn changes_are_lines_between_tabs_whatever_bytes_they_have() {
    let warp = Warp::new();
    let engine = warp.engine(Options::new());
    let jobs = engine.keyspace("jobs").unwrap();
    jobs.put("a\tb\n", [0xff]).unwrap();
    engine.put("key", "value").unwrap();
    engine.delete("key").unwrap();
    drop(jobs);
    assert!(engine.drop_keyspace("jobs").unwrap());
    drop(engine);
    let text = warp.text(&["watch"]);
    let lines: Vec<&str> = text.lines().map(|line| line.split_once('\t').unwrap().1).collect();
    let expected = [
        "jobs\tput\t\"a\\tb\\n\"\t{\"b64\":\"/w==\"}",
        "default\tput\t\"key\"\t\"value\"",
        "default\tdelete\t\"key\"",
        "jobs\tclear",
    ];
    assert_eq!(lines, expected);
}

#[test]
fn without_a_start_it_begins_with_what_there_is() {
    let warp = Warp::new();
    for index in 0..6 {
        warp.ok(&["put", "key", &index.to_string()]);
    }
    let before = warp.files();
    let there: Vec<_> = warp.json(&["watch", "--json"]);
    assert!(!there.is_empty() && there.len() < 6, "some are gone with their segments");
    assert_eq!(there.last().unwrap()["value"], "5");
    let line = warp.fails(2, &["watch", "--since", "0"]);
    let first = there[0]["seq"].as_u64().unwrap();
    assert!(
        line.contains("not in the log any more") && line.contains(&format!("sequence {first}")),
        "{line}"
    );
    assert_eq!(warp.files(), before, "nothing was changed");
    drop(warp.engine(Options::new()));
}
