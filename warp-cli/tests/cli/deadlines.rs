//! ttl, expire, persist.

use warp_api::Options;

use crate::Warp;

#[test]
fn how_long_a_key_has_left_is_told() {
    let warp = Warp::new();
    warp.ok(&["put", "long", "1", "--ttl", "1d12h"]);
    warp.ok(&["put", "forever", "2"]);
    // Rounded up to whole seconds; some may have passed.
    let left = warp.text(&["ttl", "long"]);
    assert!(left == "1d12h\n" || left.starts_with("1d11h59m"), "{left}");
    assert_eq!(warp.text(&["ttl", "forever"]), "none\n");
    assert_eq!(warp.text(&["ttl", "--hex", "666f7265766572"]), "none\n");
    assert_eq!(warp.fails(1, &["ttl", "absent"]), r#"warp: no such key: "absent""#);
    assert_eq!(warp.fails(1, &["ttl", "-k", "jobs", "long"]), "warp: no such keyspace: jobs");
}

#[test]
fn a_key_gets_a_deadline_in_place_of_the_one_it_had() {
    let warp = Warp::new();
    warp.ok(&["put", "key", "value"]);
    assert_eq!(warp.ok(&["expire", "key", "2h"]), b"");
    let left = warp.text(&["ttl", "key"]);
    assert!(left == "2h\n" || left.starts_with("1h59m"), "{left}");
    warp.ok(&["expire", "key", "30d"]);
    let left = warp.text(&["ttl", "key"]);
    assert!(left == "30d\n" || left.starts_with("29d23h59m"), "{left}");
    assert_eq!(warp.ok(&["get", "key"]), b"value");
    warp.ok(&["expire", "key", "0s"]);
    for args in [&["get", "key"][..], &["ttl", "key"], &["expire", "key", "1h"], &["persist", "key"]] {
        assert_eq!(warp.fails(1, args), r#"warp: no such key: "key""#, "{args:?}");
    }
    for wrong in [&["expire", "key"][..], &["expire", "key", "5"], &["expire", "key", "30m1h"]] {
        assert_eq!(warp.run_with(wrong, b"").status.code(), Some(2), "{wrong:?}");
    }
}

#[test]
fn a_deadline_is_taken_away() {
    let warp = Warp::new();
    warp.ok(&["put", "key", "value", "--ttl", "1h"]);
    assert_eq!(warp.ok(&["persist", "key"]), b"");
    assert_eq!(warp.text(&["ttl", "key"]), "none\n");
    assert_eq!(warp.ok(&["get", "key"]), b"value");
    // It has none any more, which is what is asked for.
    warp.ok(&["persist", "key"]);
    assert_eq!(warp.fails(1, &["persist", "absent"]), r#"warp: no such key: "absent""#);
}

#[test]
fn deadlines_are_those_of_the_keyspace_that_is_named() {
    let warp = Warp::new();
    warp.ok(&["put", "key", "default"]);
    warp.ok(&["put", "-k", "jobs", "key", "jobs"]);
    warp.ok(&["expire", "--keyspace", "jobs", "key", "2h"]);
    assert_eq!(warp.text(&["ttl", "key"]), "none\n");
    assert_ne!(warp.text(&["ttl", "-k", "jobs", "key"]), "none\n");
    warp.ok(&["persist", "-k", "jobs", "key"]);
    assert_eq!(warp.text(&["ttl", "-k", "jobs", "key"]), "none\n");
    for args in [&["expire", "-k", "job", "key", "1h"][..], &["persist", "-k", "job", "key"]] {
        assert_eq!(warp.fails(1, args), "warp: no such keyspace: job", "{args:?}");
    }
    assert_eq!(warp.text(&["keyspaces"]), "default\njobs\n");
}

#[test]
fn deadlines_are_told_of_a_database_that_is_open_elsewhere_but_not_changed() {
    let warp = Warp::new();
    let engine = warp.engine(Options::new());
    engine.put("key", "value").unwrap();
    engine.sync().unwrap();
    assert_eq!(warp.text(&["ttl", "key"]), "none\n");
    for args in [&["expire", "key", "1h"][..], &["persist", "key"]] {
        warp.fails(2, args);
    }
    engine.close().unwrap();
    warp.ok(&["expire", "key", "1h"]);
}
