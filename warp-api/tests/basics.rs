//! The calls, one behaviour a test.

#![allow(
    clippy::cast_possible_truncation,
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "a test that cannot go on says so by a panic, and its numbers are small"
)]

mod common;

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use common::{Machine, Wakes, entries, small};
use warp_api::{
    CasOutcome, Durability, ErrorKind, Expected, KEY_BYTES_MAX, Level, Options, Physics, PutOptions, Seq,
    Update, WarpEngine, WriteBatch,
};

/// Runs a check without files, on a fresh database, and on one whose entries are all in a layer.
fn on_each(prepare: impl Fn(&WarpEngine), check: impl Fn(&WarpEngine)) {
    let engine = WarpEngine::in_memory();
    prepare(&engine);
    check(&engine);

    let machine = Machine::new(1);
    let engine = machine.open(small());
    prepare(&engine);
    check(&engine);
    drop(engine);

    let machine = Machine::new(2);
    let engine = machine.open(small());
    prepare(&engine);
    engine.close().unwrap();
    check(&machine.open(small()));
}

#[test]
fn a_value_is_found_until_it_is_deleted() {
    on_each(
        |engine| {
            engine.put("key", "value").unwrap();
        },
        |engine| {
            assert_eq!(engine.get("key").unwrap().as_deref(), Some(&b"value"[..]));
            assert!(engine.contains_key("key").unwrap());
            assert_eq!(engine.len().unwrap(), 1);
            assert!(engine.delete("key").unwrap());
            assert!(!engine.delete("key").unwrap());
            assert_eq!(engine.get("key").unwrap(), None);
            assert!(engine.is_empty().unwrap());
            engine.put("key", "again").unwrap();
            assert_eq!(engine.get("key").unwrap().as_deref(), Some(&b"again"[..]));
        },
    );
}

#[test]
fn the_empty_key_and_the_empty_value_are_like_any_other() {
    on_each(
        |engine| {
            engine.put("", "").unwrap();
        },
        |engine| {
            assert_eq!(engine.get("").unwrap().as_deref(), Some(&b""[..]));
            assert_eq!(engine.len().unwrap(), 1);
            assert!(engine.delete("").unwrap());
        },
    );
}

#[test]
fn a_swap_needs_its_expectation() {
    on_each(
        |engine| {
            engine.put("key", "1").unwrap();
        },
        |engine| {
            let swap = |expected: Option<&[u8]>, new: Option<&[u8]>| {
                engine.compare_and_swap("key", expected, new).unwrap()
            };
            assert!(
                matches!(swap(Some(b"2"), Some(b"3")), CasOutcome::Conflict(Some(value)) if *value == *b"1")
            );
            assert!(matches!(swap(None, Some(b"3")), CasOutcome::Conflict(Some(_))));
            assert!(matches!(swap(Some(b"1"), Some(b"3")), CasOutcome::Swapped(_)));
            assert!(matches!(swap(Some(b"3"), None), CasOutcome::Swapped(_)));
            assert_eq!(engine.get("key").unwrap(), None);
            assert!(matches!(swap(Some(b"3"), Some(b"4")), CasOutcome::Conflict(None)));
            assert!(matches!(swap(None, Some(b"4")), CasOutcome::Swapped(_)));
            assert_eq!(engine.get("key").unwrap().as_deref(), Some(&b"4"[..]));
        },
    );
}

#[test]
fn an_update_sees_the_value_and_decides() {
    on_each(
        |engine| {
            engine.put("key", "1").unwrap();
        },
        |engine| {
            let doubled =
                engine.update("key", |value| Update::Put([value.unwrap(), value.unwrap()].concat()));
            assert_eq!(doubled.unwrap().as_deref(), Some(&b"11"[..]));
            assert_eq!(engine.update("key", |_| Update::Keep).unwrap().as_deref(), Some(&b"11"[..]));
            assert_eq!(engine.update("key", |_| Update::Delete).unwrap(), None);
            assert_eq!(
                engine
                    .update("key", |value| {
                        assert!(value.is_none());
                        Update::Keep
                    })
                    .unwrap(),
                None
            );
        },
    );
}

#[test]
fn updates_from_many_threads_all_count() {
    let scratch = tempfile::tempdir().unwrap();
    let engine = WarpEngine::open(scratch.path()).unwrap();
    const THREADS: u64 = 4;
    const TIMES: u64 = 500;
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                for _ in 0..TIMES {
                    engine
                        .update("count", |value| {
                            let count: u64 =
                                value.map_or(0, |value| std::str::from_utf8(value).unwrap().parse().unwrap());
                            Update::Put((count + 1).to_string().into_bytes())
                        })
                        .unwrap();
                }
            });
        }
    });
    let expected = (THREADS * TIMES).to_string();
    assert_eq!(engine.get("count").unwrap().as_deref(), Some(expected.as_bytes()));
}

#[test]
fn a_batch_takes_one_sequence_and_its_last_write_of_a_key_counts() {
    let machine = Machine::new(1);
    let engine = machine.open(small());
    let before = engine.put("a", "0").unwrap();
    let mut batch = WriteBatch::new();
    batch.put("a", "1").put("b", "2").delete("a").put("a", "3").delete("b");
    let seq = engine.write(&batch).unwrap();
    assert_eq!(seq, Seq(before.0 + 1));
    assert_eq!(engine.write(&WriteBatch::new()).unwrap(), seq, "an empty batch writes nothing");
    let check = |engine: &WarpEngine| {
        assert_eq!(engine.get("a").unwrap().as_deref(), Some(&b"3"[..]));
        assert_eq!(engine.get("b").unwrap(), None);
    };
    check(&engine);
    drop(engine);
    // Replayed from the log, and then read from a layer.
    let engine = machine.open(small());
    check(&engine);
    engine.close().unwrap();
    check(&machine.open(small()));
}

#[test]
fn a_value_with_a_deadline_is_gone_after_it_also_after_a_restart() {
    let machine = Machine::new(1);
    let engine = machine.open(small());
    let ttl = PutOptions::new().ttl(Duration::from_secs(10));
    engine.put_with("short", "1", &ttl).unwrap();
    engine.put_with("deleted over", "1", &ttl).unwrap();
    engine.put("deleted over", "2").unwrap();
    engine.put("older", "1").unwrap();
    engine.checkpoint().unwrap();
    engine.put_with("older", "2", &ttl).unwrap();
    assert_eq!(engine.len().unwrap(), 3);
    machine.clock.advance(Duration::from_millis(9_999));
    assert!(engine.contains_key("short").unwrap());
    drop(engine);
    let engine = machine.open(small());
    assert!(engine.contains_key("short").unwrap());
    machine.clock.advance(Duration::from_millis(1));
    let check = |engine: &WarpEngine| {
        assert_eq!(engine.get("short").unwrap(), None);
        assert_eq!(engine.get("older").unwrap(), None, "an older value must not show through");
        assert_eq!(engine.get("deleted over").unwrap().as_deref(), Some(&b"2"[..]));
        assert_eq!(engine.len().unwrap(), 1);
    };
    check(&engine);
    assert!(!engine.delete("short").unwrap());
    engine.close().unwrap();
    // The wall clock is set back; what had expired stays so.
    machine.clock.set_unix_millis(common::START_MILLIS);
    check(&machine.open(small()));
}

#[test]
fn a_wall_clock_that_is_set_back_does_not_put_a_deadline_off() {
    let machine = Machine::new(1);
    let engine = machine.open(small());
    engine.put_with("short", "1", &PutOptions::new().ttl(Duration::from_secs(10))).unwrap();
    machine.pass(&engine, Duration::from_secs(1));
    machine.clock.set_unix_millis(common::START_MILLIS - 1_000_000);
    machine.pass(&engine, Duration::from_secs(9));
    assert!(engine.contains_key("short").unwrap());
    machine.pass(&engine, Duration::from_secs(1));
    assert!(!engine.contains_key("short").unwrap());
    // However long it was since time went on: a new deadline counts from now.
    machine.clock.advance(Duration::from_secs(100));
    engine.put_with("new", "1", &PutOptions::new().ttl(Duration::from_secs(10))).unwrap();
    machine.pass(&engine, Duration::from_secs(9));
    assert!(engine.contains_key("new").unwrap());
}

#[test]
fn clear_empties_memory_and_layers_and_survives() {
    let machine = Machine::new(1);
    let engine = machine.open(small());
    engine.put("in a layer", "1").unwrap();
    engine.entangle("in a layer", &["in memory"], 0.5).unwrap();
    engine.checkpoint().unwrap();
    engine.put("in memory", "2").unwrap();
    engine.clear().unwrap();
    assert!(engine.is_empty().unwrap());
    assert_eq!(engine.get("in a layer").unwrap(), None);
    assert_eq!(engine.partners("in memory").unwrap().len(), 1, "links stay");
    engine.put("after", "3").unwrap();
    for _ in 0..2 {
        let before = entries(&engine).len();
        assert_eq!(before, 1);
    }
    drop(engine);
    let engine = machine.open(small());
    assert_eq!(entries(&engine).len(), 1, "replayed from the log");
    engine.close().unwrap();
    let engine = machine.open(small());
    assert_eq!(entries(&engine).len(), 1, "from the manifest");
    assert_eq!(engine.get("in memory").unwrap(), None);
}

#[test]
fn a_value_is_taken_once() {
    on_each(
        |engine| {
            engine.put("key", "value").unwrap();
        },
        |engine| {
            assert_eq!(engine.take("key").unwrap().as_deref(), Some(&b"value"[..]));
            assert_eq!(engine.take("key").unwrap(), None);
            assert_eq!(engine.len().unwrap(), 0);
        },
    );
}

#[test]
fn put_if_absent_leaves_what_is_there() {
    on_each(
        |engine| {
            engine.put("key", "1").unwrap();
        },
        |engine| {
            let refused = engine.put_if_absent("key", "2").unwrap();
            assert!(matches!(refused, CasOutcome::Conflict(Some(value)) if *value == *b"1"));
            engine.delete("key").unwrap();
            assert!(matches!(engine.put_if_absent("key", "3").unwrap(), CasOutcome::Swapped(_)));
            assert_eq!(engine.get("key").unwrap().as_deref(), Some(&b"3"[..]));
        },
    );
}

#[test]
fn a_swap_by_sequence_tells_equal_values_apart() {
    on_each(
        |engine| {
            engine.put("key", "1").unwrap();
        },
        |engine| {
            let first = engine.get_entry("key").unwrap().unwrap().seq;
            let swap =
                |expected, new: Option<&[u8]>| engine.compare_and_swap_seq("key", expected, new).unwrap();
            assert!(matches!(swap(None, Some(b"2")), CasOutcome::Conflict(Some(_))));
            let CasOutcome::Swapped(second) = swap(Some(first), Some(b"1")) else { panic!("it was refused") };
            assert!(second > first);
            assert!(matches!(swap(Some(first), Some(b"2")), CasOutcome::Conflict(Some(_))));
            assert!(matches!(swap(Some(second), None), CasOutcome::Swapped(_)));
            assert!(matches!(swap(Some(second), None), CasOutcome::Conflict(None)));
            assert!(matches!(swap(None, Some(b"3")), CasOutcome::Swapped(_)));
        },
    );
}

#[test]
fn an_increment_is_of_a_decimal_number() {
    on_each(
        |engine| {
            engine.put("count", "-5").unwrap();
            engine.put("no number", "5 ").unwrap();
            engine.put("not even text", b"\xff").unwrap();
            engine.put("empty", "").unwrap();
            engine.put("highest", i64::MAX.to_string()).unwrap();
        },
        |engine| {
            assert_eq!(engine.increment("count", 7).unwrap(), 2);
            assert_eq!(engine.increment("count", 0).unwrap(), 2);
            assert_eq!(engine.get("count").unwrap().as_deref(), Some(&b"2"[..]));
            assert_eq!(engine.increment("new", i64::MIN).unwrap(), i64::MIN);
            let before = engine.last_seq();
            for (key, by) in
                [("no number", 1), ("not even text", 1), ("empty", 1), ("highest", 1), ("new", -1)]
            {
                assert_eq!(engine.increment(key, by).unwrap_err().kind(), ErrorKind::Invalid, "{key}");
            }
            assert_eq!(engine.last_seq(), before, "nothing was written");
        },
    );
}

#[test]
fn increments_from_many_threads_all_count() {
    let engine = WarpEngine::in_memory();
    std::thread::scope(|scope| {
        for by in [1, 2, -1] {
            let engine = &engine;
            scope.spawn(move || (0..1_000).for_each(|_| _ = engine.increment("count", by).unwrap()));
        }
    });
    assert_eq!(engine.increment("count", 0).unwrap(), 2_000);
}

#[test]
fn values_are_read_where_they_lie_and_may_call_back() {
    on_each(
        |engine| {
            engine.put("a", "12").unwrap();
            engine.put("b", "345").unwrap();
        },
        |engine| {
            assert_eq!(engine.with_value("none", |_| panic!("there is no value")).unwrap(), None::<()>);
            // A lock that was held meanwhile would never be had here.
            let after = engine.with_value("a", |value| {
                engine.put("a", [value, b"+"].concat()).unwrap();
                engine.get("a").unwrap().unwrap()
            });
            assert_eq!(after.unwrap().as_deref(), Some(&b"12+"[..]));
            let mut seen = Vec::new();
            engine
                .multi_get_with(&["b", "none", "a"], |place, value| {
                    engine.put("b", "changed").unwrap();
                    seen.push((place, value.map(<[u8]>::to_vec)));
                })
                .unwrap();
            seen.sort_unstable();
            assert_eq!(seen, [(0, Some(b"345".to_vec())), (1, None), (2, Some(b"12+".to_vec()))]);
        },
    );
}

#[test]
fn many_keys_are_read_each_once() {
    on_each(
        |engine| {
            for number in 0..100 {
                engine.put(format!("{number}"), format!("value {number}")).unwrap();
            }
        },
        |engine| {
            let keys: Vec<String> = (0..150).rev().map(|number| number.to_string()).collect();
            let values = engine.multi_get(&keys).unwrap();
            for (key, value) in keys.iter().zip(&values) {
                let expected = (key.parse::<u32>().unwrap() < 100).then(|| format!("value {key}"));
                assert_eq!(value.as_deref(), expected.as_ref().map(String::as_bytes), "{key}");
            }
            let mut places = Vec::new();
            engine
                .multi_get_with(&keys, |place, value| {
                    assert_eq!(value, values[place].as_deref());
                    places.push(place);
                })
                .unwrap();
            places.sort_unstable();
            assert_eq!(places, Vec::from_iter(0..keys.len()));
        },
    );
}

#[test]
fn an_entry_says_where_it_comes_from() {
    let machine = Machine::new(1);
    let engine = machine.open(small());
    assert!(engine.get_entry("key").unwrap().is_none());
    let seq = engine.put("key", "value").unwrap();
    engine.close().unwrap();
    let engine = machine.open(small());
    let entry = engine.get_entry("key").unwrap().unwrap();
    assert_eq!((&entry.value[..], entry.seq, entry.expires_at), (&b"value"[..], seq, None));
    assert_eq!(entry.level, Level::Cold);
}

#[test]
fn ranges_and_prefixes_choose_keys() {
    on_each(
        |engine| {
            for key in [&b"a"[..], b"ab", b"ab\xff", b"ab\xff\xff", b"ac", b"b", b"\xff", b"\xff\xff", b""] {
                engine.put(key, key).unwrap();
            }
        },
        |engine| {
            let keys = |scan: warp_api::Scan| -> Vec<Vec<u8>> {
                scan.map(|item| item.unwrap())
                    .map(|(key, value)| {
                        assert_eq!(*key, *value);
                        key.to_vec()
                    })
                    .collect()
            };
            assert_eq!(keys(engine.range("ab".."b")), [&b"ab"[..], b"ab\xff", b"ab\xff\xff", b"ac"]);
            assert_eq!(keys(engine.range(..="a")), [&b""[..], b"a"]);
            assert_eq!(keys(engine.range(vec![b'b']..)), [&b"b"[..], b"\xff", b"\xff\xff"]);
            assert_eq!(engine.range::<&str>(..).count(), 9);
            assert_eq!(engine.range("b".."a").count(), 0, "a range that ends before it starts is empty");
            assert_eq!(engine.range("b".."b").count(), 0);
            assert_eq!(keys(engine.scan_prefix("ab")), [&b"ab"[..], b"ab\xff", b"ab\xff\xff"]);
            assert_eq!(keys(engine.scan_prefix(b"ab\xff")), [&b"ab\xff"[..], b"ab\xff\xff"]);
            assert_eq!(keys(engine.scan_prefix(b"\xff")), [&b"\xff"[..], b"\xff\xff"]);
            assert_eq!(engine.scan_prefix("").count(), 9);
        },
    );
}

#[test]
fn about_how_many_keys_there_are_is_about_right() {
    let machine = Machine::new(1);
    let engine = machine.open(Options::new());
    let near = |engine: &WarpEngine| {
        let (about, exact) = (engine.approximate_len(), engine.len().unwrap());
        assert!(about.abs_diff(exact) <= exact / 10, "about {about}, exactly {exact}");
    };
    let other = engine.keyspace("other").unwrap();
    for number in 0..1_000 {
        engine.put(format!("{number}"), "1").unwrap();
        other.put(format!("{number}"), "1").unwrap();
    }
    engine.delete("7").unwrap();
    assert_eq!((engine.approximate_len(), other.approximate_len()), (999, 1_000));
    for number in 0..30_000 {
        engine.put(format!("{number}"), "1").unwrap();
    }
    near(&engine);
    engine.checkpoint().unwrap();
    for number in 0..10_000 {
        engine.put(format!("new {number}"), "1").unwrap();
    }
    drop((other, engine));
    let engine = machine.open(Options::new());
    near(&engine);
    engine.close().unwrap();
    near(&machine.open(Options::new()));
}

#[test]
fn limits_are_errors_and_nothing_is_written() {
    let engine = WarpEngine::in_memory();
    let long = vec![b'k'; KEY_BYTES_MAX + 1];
    let required = WriteBatch::new().put("fits", "v").require(&long, Expected::Absent).clone();
    let invalid = |error: warp_api::Error| assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    invalid(engine.put(&long, "v").unwrap_err());
    invalid(engine.write(WriteBatch::new().put("fits", "v").put(&long, "v")).unwrap_err());
    invalid(engine.write(&required).unwrap_err());
    invalid(engine.put_if_absent(&long, "v").unwrap_err());
    invalid(engine.increment(&long, 1).unwrap_err());
    invalid(engine.entangle("a", &["b"], 1.01).unwrap_err());
    invalid(engine.entangle("a", &["b"], f64::NAN).unwrap_err());
    invalid(engine.entangle("a", &["a"], 0.5).unwrap_err());
    invalid(engine.entangle("a", &[] as &[&str], 0.5).unwrap_err());
    invalid(engine.entanglement_rule("no id", &["b:{id}"], 0.5).unwrap_err());
    assert_eq!(engine.checkpoint().unwrap_err().kind(), ErrorKind::Unsupported);
    invalid(engine.durable(Seq(99)).wait().unwrap_err());
    invalid(engine.import(&b"{\"neither\": 1}\n"[..]).unwrap_err());
    assert!(engine.is_empty().unwrap());
    assert_eq!(engine.last_seq(), Seq(0));
    engine.put(&long[..KEY_BYTES_MAX], "v").unwrap();
    engine.entangle(&long[..KEY_BYTES_MAX], &["b"], 0.5).unwrap();
    assert_eq!(engine.partners("b").unwrap()[0].key.len(), KEY_BYTES_MAX);
}

#[test]
fn settings_outside_their_limits_are_refused() {
    let machine = Machine::new(1);
    for options in [
        Options::new().log_segment_bytes(100),
        Options::new().log_buffer_bytes(0),
        Options::new().checkpoints_kept(0),
        Options::new().recovery_threads(usize::MAX),
        Options::new().recovery_threads(257),
        Options::new().flush_interval(Duration::ZERO),
        Options::new().checkpoint_interval(Duration::ZERO),
        Options::new().physics(Physics { rebalance_below: -0.01, ..Physics::default() }),
        Options::new().physics(Physics { rebalance_below: 1.01, ..Physics::default() }),
        Options::new().physics(Physics { rebalance_below: f64::NAN, ..Physics::default() }),
        Options::new().physics(Physics { promotion_price: f64::NAN, ..Physics::default() }),
    ] {
        assert_eq!(machine.try_open(options).unwrap_err().kind(), ErrorKind::Invalid);
    }
    assert!(machine.disk.files().is_empty(), "nothing may be written");
}

#[test]
fn a_database_that_is_not_there_is_not_made_unless_asked() {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("none");
    for options in [Options::new().create(false), Options::new().read_only(true)] {
        assert_eq!(options.open(&path).unwrap_err().kind(), ErrorKind::NotFound);
        assert!(!path.exists());
    }
    let machine = Machine::new(1);
    let refused = machine.try_open(small().create(false)).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::NotFound);
}

#[test]
fn a_second_open_is_refused_until_the_first_ends() {
    let scratch = tempfile::tempdir().unwrap();
    let engine = WarpEngine::open(scratch.path()).unwrap();
    assert_eq!(WarpEngine::open(scratch.path()).unwrap_err().kind(), ErrorKind::Locked);
    let other = engine.clone();
    engine.close().unwrap();
    assert_eq!(other.get("key").unwrap_err().kind(), ErrorKind::Closed);
    assert_eq!(other.put("key", "v").unwrap_err().kind(), ErrorKind::Closed);
    assert_eq!(other.clone().close().unwrap_err().kind(), ErrorKind::Closed);
    assert!(other.iter().next().unwrap().is_err());
    drop(other);
    WarpEngine::open(scratch.path()).unwrap();
}

#[test]
fn reading_only_changes_nothing() {
    let machine = Machine::new(1);
    let engine = machine.open(small());
    engine.put("checkpointed", "1").unwrap();
    engine.checkpoint().unwrap();
    engine.put("logged", "2").unwrap();
    drop(engine);
    let before = machine.disk.digest();
    let engine = machine.open(small().read_only(true));
    assert_eq!(entries(&engine).len(), 2);
    assert_eq!(engine.put("key", "v").unwrap_err().kind(), ErrorKind::ReadOnly);
    assert_eq!(engine.delete("logged").unwrap_err().kind(), ErrorKind::ReadOnly);
    assert_eq!(engine.clear().unwrap_err().kind(), ErrorKind::ReadOnly);
    assert_eq!(engine.checkpoint().unwrap_err().kind(), ErrorKind::ReadOnly);
    assert!(engine.verify().unwrap().is_clean());
    engine.close().unwrap();
    assert_eq!(machine.disk.digest(), before);
}

#[test]
fn a_scan_goes_both_ways_in_order() {
    on_each(
        |engine| {
            for number in (0..50).rev() {
                engine.put(format!("{number:02}"), number.to_string()).unwrap();
            }
            engine.delete("07").unwrap();
        },
        |engine| {
            let forwards: Vec<_> = engine.iter().map(|item| item.unwrap().0).collect();
            let mut backwards: Vec<_> = engine.iter().rev().map(|item| item.unwrap().0).collect();
            backwards.reverse();
            assert_eq!(forwards, backwards);
            assert_eq!(forwards.len(), 49);
            assert!(forwards.is_sorted());
        },
    );
}

#[test]
fn what_is_read_says_where_it_was() {
    let machine = Machine::new(1);
    let engine = machine.open(small());
    let stored = engine.cosmic_put("key", "value", &PutOptions::new()).unwrap();
    assert_eq!(stored.level, Level::Hot);
    engine.close().unwrap();
    let engine = machine.open(small());
    assert_eq!(engine.recovery_report().replayed, 0, "a clean close leaves nothing to replay");
    let observed = engine.cosmic_get("key").unwrap().unwrap();
    assert_eq!((observed.level, observed.shard), (Level::Cold, stored.shard));
    assert_eq!(engine.cosmic_get("key").unwrap().unwrap().level, Level::Hot, "reading brought it in");
    let deleted = engine.cosmic_delete("key").unwrap();
    assert!(deleted.existed && deleted.seq.unwrap() > stored.seq);
    assert_eq!(engine.cosmic_delete("key").unwrap().level, None);
}

#[test]
fn multi_get_answers_in_the_order_of_the_keys() {
    on_each(
        |engine| {
            engine.put("a", "1").unwrap();
            engine.put("b", "2").unwrap();
        },
        |engine| {
            let values = engine.multi_get(&["b", "none", "a", "b"]).unwrap();
            let values: Vec<_> = values.iter().map(Option::as_deref).collect();
            assert_eq!(values, [Some(&b"2"[..]), None, Some(&b"1"[..]), Some(&b"2"[..])]);
        },
    );
}

#[test]
fn export_and_import_lose_nothing() {
    let source = WarpEngine::in_memory();
    source.put(b"\xff\x00binary", b"\x80\x81").unwrap();
    source.put("text", "\u{1F680} \"quoted\"\n").unwrap();
    source.put_with("timed", "1", &PutOptions::new().ttl(Duration::from_secs(3600))).unwrap();
    source.entangle("text", &[b"\xff\x00binary"], 0.25).unwrap();
    source.entanglement_rule("user:{id}", &["profile:{id}", "settings:{id}"], 0.8).unwrap();
    let mut exported = Vec::new();
    let report = source.export(&mut exported).unwrap();
    assert_eq!((report.entries, report.links, report.rules), (3, 1, 1));

    let machine = Machine::new(1);
    machine.clock.set_unix_millis(u64::from(u32::MAX));
    let target = machine.open(small());
    assert_eq!(target.import(&exported[..]).unwrap(), report);
    let mut again = Vec::new();
    target.export(&mut again).unwrap();
    assert_eq!(again, exported);
}

#[test]
fn export_and_import_keep_strengths_to_the_bit() {
    let source = WarpEngine::in_memory();
    let mut written = Vec::new();
    for number in 0..500_u64 {
        // The 53 bits that a number from 0 to 1 may have, mixed (the finalizer of SplitMix64).
        let mut bits = (number + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let strength = (bits >> 11) as f64 / (1_u64 << 53) as f64;
        source.entangle(format!("a:{number}"), &[format!("b:{number}")], strength).unwrap();
        source.entanglement_rule(format!("c{number}:{{id}}"), &["d:{id}"], strength).unwrap();
        written.push(strength.to_bits());
    }
    let mut exported = Vec::new();
    source.export(&mut exported).unwrap();
    let target = WarpEngine::in_memory();
    target.import(&exported[..]).unwrap();
    for (number, bits) in written.into_iter().enumerate() {
        for key in [format!("a:{number}"), format!("c{number}:7")] {
            assert_eq!(target.partners(&key).unwrap()[0].strength.to_bits(), bits, "{key}");
        }
    }
}

#[test]
fn a_commit_can_be_waited_for_polled_and_awaited() {
    let scratch = tempfile::tempdir().unwrap();
    let engine = Options::new().flush_interval(Duration::from_secs(600)).open(scratch.path()).unwrap();
    let seq = engine.put("key", "value").unwrap();
    engine.durable(seq).wait().unwrap();
    assert!(engine.durable_seq() >= seq);
    let seq = engine.put("key", "again").unwrap();
    let commit = engine.durable(seq);
    assert!(commit.wait_timeout(Duration::from_secs(60)).unwrap());
    assert!(commit.is_done());
    // Awaited: asking starts a sync, long before the flush interval ends, and the waker is called.
    let wakes = Arc::new(Wakes::default());
    let waker = Waker::from(Arc::clone(&wakes));
    let mut context = Context::from_waker(&waker);
    let seq = engine.put("key", "awaited").unwrap();
    let mut commit = pin!(engine.durable(seq));
    while commit.as_mut().poll(&mut context).is_pending() {
        let woken = wakes.0.load(Ordering::SeqCst);
        for _ in 0..6_000 {
            if wakes.0.load(Ordering::SeqCst) > woken {
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        assert!(wakes.0.load(Ordering::SeqCst) > 0, "nobody woke the future");
    }
    assert!(matches!(commit.as_mut().poll(&mut context), Poll::Ready(Ok(()))));
}

#[test]
fn a_handle_s_durability_is_that_of_its_writes() {
    let machine = Machine::new(1);
    let engine = machine.open(small());
    let seq = engine.put("key", "1").unwrap();
    assert!(engine.durable_seq() < seq);
    let sync = engine.with_durability(Durability::Sync);
    let seq = sync.put("key", "2").unwrap();
    assert!(engine.durable_seq() >= seq);
    let seq = sync.put_with("key", "3", &PutOptions::new().durability(Durability::Os)).unwrap();
    assert!(engine.durable_seq() < seq);
    let mut batch = WriteBatch::new();
    batch.put_with("key", "4", &PutOptions::new().durability(Durability::Sync));
    let seq = engine.write(&batch).unwrap();
    assert!(engine.durable_seq() >= seq);
}
