//! entangle, disentangle, rule, quantum.

use serde_json::json;

use crate::Warp;

#[test]
fn partners_come_with_their_values_strongest_first() {
    let warp = Warp::new();
    warp.ok(&["put", "user:1", "Ada"]);
    warp.ok(&["put", "profile:1", "mathematician"]);
    warp.ok(&["put", "--hex", "ff", "ff"]);
    warp.ok(&["rule", "user:{id}", "profile:{id}", "settings:{id}", "--strength", "0.5"]);
    warp.ok(&["entangle", "--hex", "757365723a31", "ff"]);

    let found = &warp.json(&["quantum", "user:1"])[0];
    assert_eq!(found["key"], "user:1");
    assert_eq!(found["value"], "Ada");
    assert_eq!((&found["found"], &found["requested"]), (&json!(2), &json!(3)));
    let bytes = json!({ "b64": "/w==" });
    assert_eq!(
        found["partners"],
        json!([
            { "keyspace": "default", "key": bytes, "value": bytes, "strength": 1.0, "origin": "Declared" },
            { "keyspace": "default", "key": "profile:1", "value": "mathematician", "strength": 0.5, "origin": "Rule" },
            { "keyspace": "default", "key": "settings:1", "value": null, "strength": 0.5, "origin": "Rule" },
        ])
    );
    let count = |args: &[&str]| warp.json(args)[0]["partners"].as_array().unwrap().len();
    assert_eq!(count(&["quantum", "user:1", "--partners", "2"]), 2);
    assert_eq!(count(&["quantum", "user:1", "--strength", "0.6"]), 1);
    assert_eq!(warp.fails(1, &["quantum", "user:2"]), r#"warp: no such key: "user:2""#);
}

#[test]
fn a_strength_of_zero_takes_a_link_or_a_rule_out_of_use() {
    let warp = Warp::new();
    warp.ok(&["put", "user:1", "Ada"]);
    warp.ok(&["rule", "user:{id}", "profile:{id}"]);
    warp.ok(&["entangle", "user:1", "order:7"]);
    assert_eq!(warp.json(&["quantum", "user:1"])[0]["requested"], 2);
    warp.ok(&["rule", "user:{id}", "profile:{id}", "--strength", "0"]);
    warp.ok(&["entangle", "user:1", "order:7", "--strength", "0"]);
    assert_eq!(warp.json(&["quantum", "user:1"])[0]["requested"], 0);
}

#[test]
fn declared_links_are_taken_away_and_those_of_rules_stay() {
    let warp = Warp::new();
    warp.ok(&["put", "user:1", "Ada"]);
    warp.ok(&["rule", "user:{id}", "profile:{id}", "--strength", "0.5"]);
    warp.ok(&["entangle", "user:1", "order:7", "order:8", "order:9", "profile:1"]);
    let partners = || -> Vec<String> {
        let found = &warp.json(&["quantum", "user:1"])[0];
        let partners = found["partners"].as_array().unwrap().iter();
        partners.map(|partner| format!("{} {}", partner["key"], partner["origin"])).collect()
    };
    assert_eq!(partners().len(), 4);
    assert_eq!(warp.ok(&["disentangle", "user:1", "order:7", "profile:1"]), b"");
    let order = |id: u32| format!(r#""order:{id}" "Declared""#);
    let profile = r#""profile:1" "Rule""#.to_owned();
    assert_eq!(partners(), [order(8), order(9), profile.clone()]);
    // From the other side, and given in another way.
    warp.ok(&["disentangle", "--hex", "6f726465723a38", "757365723a31"]);
    assert_eq!(partners(), [order(9), profile.clone()]);
    // Where there is no link, none has to go.
    warp.ok(&["disentangle", "user:1", "order:7"]);
    assert_eq!(partners(), [order(9), profile]);
    assert_eq!(warp.text(&["export"]).matches("\"link\"").count(), 1);
}

#[test]
fn links_are_taken_away_in_the_keyspace_that_is_named() {
    let warp = Warp::new();
    for keyspace in ["default", "shop"] {
        warp.ok(&["put", "-k", keyspace, "order", "3 books"]);
        warp.ok(&["entangle", "-k", keyspace, "order", "user"]);
    }
    warp.ok(&["disentangle", "--keyspace", "shop", "order", "user"]);
    let requested = |keyspace: &str| warp.json(&["quantum", "-k", keyspace, "order"])[0]["requested"].clone();
    assert_eq!((requested("default"), requested("shop")), (json!(1), json!(0)));
    let line = warp.fails(1, &["disentangle", "-k", "jobs", "order", "user"]);
    assert_eq!(line, "warp: no such keyspace: jobs");
    assert_eq!(warp.text(&["keyspaces"]), "default\nshop\n");
}

#[test]
fn what_makes_no_sense_is_refused() {
    let warp = Warp::new();
    for wrong in [
        &["entangle", "a", "b", "--strength", "1.5"][..],
        &["entangle", "a", "b", "--strength", "NaN"],
        &["entangle", "a", "a"],
        &["disentangle", "a", "a"],
        &["rule", "user:{id}", "profile"],
    ] {
        let line = warp.fails(2, wrong);
        assert!(line.matches(": ").count() >= 1, "{line}");
    }
    for wrong in [&["entangle", "a"][..], &["disentangle", "a"], &["rule", "user:{id}"]] {
        assert_eq!(warp.run_with(wrong, b"").status.code(), Some(2));
    }
}
