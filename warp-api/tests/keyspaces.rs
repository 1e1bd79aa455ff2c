//! Keyspaces: sets of keys of their own, made, dropped and kept like anything else that is written.

#![allow(
    clippy::cast_possible_truncation,
    clippy::unwrap_used,
    reason = "a test that cannot go on says so by a panic, and its numbers are small"
)]

mod common;

use common::{Machine, entries, small};
use warp_api::{
    CasOutcome, Durability, ErrorKind, Expected, KEYSPACE_NAME_BYTES_MAX, Keyspace, LogFormat, Physics,
    PutOptions, Ttl, Update, WarpEngine, WriteBatch,
};
use warp_io::Survival;

fn keys(keyspace: &Keyspace) -> Vec<String> {
    keyspace.iter().map(|item| String::from_utf8(item.unwrap().0.to_vec()).unwrap()).collect()
}

fn value(keyspace: &Keyspace, key: &str) -> Option<String> {
    keyspace.get(key).unwrap().map(|value| String::from_utf8(value.to_vec()).unwrap())
}

#[test]
fn handles_are_shared_between_threads() {
    fn check<T: Clone + Send + Sync + 'static>() {}
    check::<Keyspace>();
    check::<WarpEngine>();
}

#[test]
fn a_key_of_one_keyspace_is_none_of_another() {
    let engine = WarpEngine::in_memory();
    let (a, b) = (engine.keyspace("a").unwrap(), engine.keyspace("b").unwrap());
    engine.put("key", "default").unwrap();
    a.put("key", "a").unwrap();
    b.put("key", "b").unwrap();
    assert_eq!([value(&a, "key").unwrap(), value(&b, "key").unwrap()], ["a", "b"]);
    assert_eq!(engine.get("key").unwrap().as_deref(), Some(&b"default"[..]));
    assert!(a.delete("key").unwrap() && !a.contains_key("key").unwrap());
    assert!(b.contains_key("key").unwrap() && engine.contains_key("key").unwrap());
    a.put("only a", "1").unwrap();
    assert_eq!((keys(&a), keys(&b)), (vec!["only a".to_owned()], vec!["key".to_owned()]));
    b.clear().unwrap();
    assert!(b.is_empty().unwrap() && a.len().unwrap() == 1 && engine.len().unwrap() == 1);
    engine.clear().unwrap();
    assert_eq!((engine.len().unwrap(), keys(&a)), (0, vec!["only a".to_owned()]));
}

#[test]
fn every_call_works_in_a_keyspace() {
    let machine = Machine::new(1);
    let engine = machine.open(small());
    let jobs = engine.keyspace("jobs").unwrap();
    assert_eq!(jobs.name(), "jobs");
    let seq = jobs.put("a", "1").unwrap();
    assert_eq!(jobs.get_entry("a").unwrap().unwrap().seq, seq);
    assert_eq!(jobs.with_value("a", <[u8]>::len).unwrap(), Some(1));
    assert!(matches!(jobs.put_if_absent("a", "2").unwrap(), CasOutcome::Conflict(Some(_))));
    assert!(matches!(jobs.compare_and_swap("a", Some(b"1"), Some(b"2")).unwrap(), CasOutcome::Swapped(_)));
    assert!(matches!(jobs.compare_and_swap_seq("a", Some(seq), None).unwrap(), CasOutcome::Conflict(_)));
    assert_eq!(jobs.increment("a", 3).unwrap(), 5);
    jobs.update("a", |value| Update::Put([value.unwrap(), b"0"].concat())).unwrap();
    assert_eq!(jobs.multi_get(&["a", "b"]).unwrap()[0].as_deref(), Some(&b"50"[..]));
    assert!(jobs.expire("a", std::time::Duration::from_secs(5)).unwrap());
    assert!(matches!(jobs.ttl("a").unwrap(), Ttl::Left(_)));
    assert!(jobs.persist("a").unwrap());
    let mut batch = WriteBatch::new();
    batch.require("a", Expected::Present).put("b", "1").put("c", "2");
    jobs.write(&batch).unwrap();
    assert_eq!(jobs.range("b"..).count(), 2);
    assert_eq!(jobs.scan_prefix("a").count(), 1);
    assert_eq!((jobs.len().unwrap(), jobs.approximate_len()), (3, 3));
    assert_eq!(jobs.take("c").unwrap().as_deref(), Some(&b"2"[..]));
    assert!(jobs.cosmic_delete("b").unwrap().existed);
    assert!(entries(&engine).is_empty(), "the default keyspace has nothing of it");
    let seq = jobs.with_durability(Durability::Sync).put("d", "1").unwrap();
    assert!(engine.durable_seq() >= seq);
    // The handle alone keeps the engine open.
    drop(engine);
    assert_eq!(value(&jobs, "d").as_deref(), Some("1"));
    drop(jobs);
    machine.open(small()).close().unwrap();
}

#[test]
fn names_have_limits_and_the_default_one_stays() {
    let engine = WarpEngine::in_memory();
    let invalid = |error: warp_api::Error| assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    invalid(engine.keyspace("").unwrap_err());
    invalid(engine.keyspace("n".repeat(KEYSPACE_NAME_BYTES_MAX + 1)).unwrap_err());
    invalid(engine.drop_keyspace("").unwrap_err());
    invalid(engine.drop_keyspace("default").unwrap_err());
    assert_eq!(engine.last_seq().0, 0);
    assert!(!engine.drop_keyspace("never made").unwrap());
    engine.put("key", "1").unwrap();
    assert_eq!(value(&engine.keyspace("default").unwrap(), "key").as_deref(), Some("1"));
    let long = "n".repeat(KEYSPACE_NAME_BYTES_MAX);
    engine.keyspace(&long).unwrap();
    engine.keyspace("\u{1F680}").unwrap();
    assert_eq!(engine.keyspaces().unwrap(), ["default".to_owned(), long, "\u{1F680}".to_owned()]);
}

#[test]
fn a_keyspace_that_was_dropped_answers_so_and_its_successor_is_empty() {
    let machine = Machine::new(1);
    let engine = machine.open(small());
    let old = engine.keyspace("cache").unwrap();
    old.put("in a layer", "1").unwrap();
    old.entangle("in a layer", &["in memory"], 0.5).unwrap();
    engine.checkpoint().unwrap();
    old.put("in memory", "2").unwrap();
    let mut batch = WriteBatch::new();
    batch.put("key", "1").put_in(&old, "key", "1");
    assert!(engine.drop_keyspace("cache").unwrap());
    assert!(!engine.drop_keyspace("cache").unwrap());
    let last = engine.last_seq();
    let gone = |error: warp_api::Error| assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    gone(old.get("in memory").unwrap_err());
    gone(old.multi_get(&["in memory"]).unwrap_err());
    gone(old.put("key", "1").unwrap_err());
    gone(old.delete("in memory").unwrap_err());
    gone(old.increment("key", 1).unwrap_err());
    gone(old.clear().unwrap_err());
    gone(old.len().unwrap_err());
    gone(old.entangle("a", &["b"], 0.5).unwrap_err());
    gone(old.put_with("a", "b", &PutOptions::new().entangled_with(&["c"])).unwrap_err());
    gone(engine.write(&batch).unwrap_err());
    gone(old.iter().next().unwrap().unwrap_err());
    assert_eq!((old.approximate_len(), engine.last_seq()), (0, last));

    let check = |engine: &WarpEngine, number: u32| {
        assert_eq!(engine.keyspaces().unwrap(), ["cache", "default"]);
        let new = engine.keyspace("cache").unwrap();
        assert_eq!(keys(&new), ["after"]);
        assert!(new.get("in a layer").unwrap().is_none() && new.partners("in memory").unwrap().is_empty());
        assert_eq!(engine.cosmic_metrics().keyspaces[0].number, number);
    };
    engine.keyspace("cache").unwrap().put("after", "3").unwrap();
    check(&engine, 3);
    gone(old.get("after").unwrap_err());
    drop((old, batch, engine));
    let engine = machine.open(small());
    check(&engine, 3);
    // From a checkpoint, and from a merge of all layers, with what was dropped gone from the files.
    for round in 0..12 {
        engine.put("round", round.to_string()).unwrap();
        engine.checkpoint().unwrap();
        engine.step();
    }
    assert!(engine.cosmic_metrics().checkpoints.unwrap().merges > 0);
    engine.close().unwrap();
    let engine = machine.open(small());
    assert_eq!(engine.recovery_report().replayed, 0);
    check(&engine, 3);
}

#[test]
fn clearing_a_keyspace_survives_the_log_and_the_checkpoint() {
    let machine = Machine::new(1);
    let engine = machine.open(small());
    let space = engine.keyspace("space").unwrap();
    space.put("in a layer", "1").unwrap();
    engine.put("other", "1").unwrap();
    engine.checkpoint().unwrap();
    space.put("in memory", "2").unwrap();
    space.clear().unwrap();
    space.put("after", "3").unwrap();
    let check = |engine: &WarpEngine| {
        assert_eq!(keys(&engine.keyspace("space").unwrap()), ["after"]);
        assert_eq!(engine.len().unwrap(), 1);
    };
    check(&engine);
    drop((space, engine));
    let engine = machine.open(small());
    check(&engine);
    engine.close().unwrap();
    check(&machine.open(small()));
}

#[test]
fn a_batch_across_keyspaces_is_there_as_a_whole_or_not_at_all() {
    let machine = Machine::new(1);
    machine.disk.record();
    let engine = machine.open(small());
    let (from, to) = (engine.keyspace("from").unwrap(), engine.keyspace("to").unwrap());
    from.put("job", "1").unwrap();
    engine.sync().unwrap();
    let before = machine.disk.operations();
    let mut batch = WriteBatch::new();
    batch.require_in(&from, "job", Expected::Value(b"1")).delete_in(&from, "job");
    batch.put_in_with(&to, "job", "1", &PutOptions::new().entangled_with(&["other"]));
    batch.put("log", "moved");
    engine.write(&batch).unwrap();
    engine.sync().unwrap();
    assert_eq!(engine.write(&batch).unwrap_err().kind(), ErrorKind::Conflict);
    let mut images = [0, 0];
    for point in machine.disk.crash_points().into_iter().filter(|point| *point >= before) {
        for survival in 0..8 {
            let image = machine.disk.image_at(point, Survival::seeded(survival));
            let engine = machine.with_disk(image).open(small());
            let whole = engine.contains_key("log").unwrap();
            let (from, to) = (engine.keyspace("from").unwrap(), engine.keyspace("to").unwrap());
            assert_eq!(from.contains_key("job").unwrap(), !whole);
            assert_eq!(to.contains_key("job").unwrap(), whole);
            assert_eq!(to.partners("other").unwrap().len(), usize::from(whole));
            assert!(engine.partners("other").unwrap().is_empty());
            images[usize::from(whole)] += 1;
        }
    }
    assert!(images[0] > 0 && images[1] > 0, "{images:?}");
}

#[test]
fn a_keyspace_of_another_engine_is_refused_in_a_batch() {
    let (one, other) = (WarpEngine::in_memory(), WarpEngine::in_memory());
    let (theirs, _ours) = (other.keyspace("space").unwrap(), one.keyspace("space").unwrap());
    let mut batch = WriteBatch::new();
    batch.put("key", "1").put_in(&theirs, "key", "1");
    assert_eq!(one.write(&batch).unwrap_err().kind(), ErrorKind::Invalid);
    batch.clear();
    batch.put("key", "1").require_in(&theirs, "key", Expected::Absent);
    assert_eq!(one.write(&batch).unwrap_err().kind(), ErrorKind::Invalid);
    assert!(one.is_empty().unwrap());
}

#[test]
fn links_and_rules_stay_within_a_keyspace() {
    let machine = Machine::new(1);
    let engine = machine.open(small());
    let space = engine.keyspace("space").unwrap();
    engine.entanglement_rule("user:{id}", &["profile:{id}"], 0.8).unwrap();
    for key in ["user:1", "profile:1", "basket"] {
        space.put(key, format!("{key} in space")).unwrap();
        engine.put(key, key).unwrap();
    }
    space.entangle("user:1", &["basket"], 0.9).unwrap();
    let check = |engine: &WarpEngine| {
        let space = engine.keyspace("space").unwrap();
        let user = space.quantum_get("user:1").unwrap().unwrap();
        let found: Vec<_> =
            user.partners.iter().map(|partner| (&*partner.keyspace, partner.value.as_deref())).collect();
        let expected = [&b"basket in space"[..], b"profile:1 in space"].map(|value| ("space", Some(value)));
        assert_eq!(found, expected);
        assert_eq!(engine.quantum_get("user:1").unwrap().unwrap().partners.len(), 1);
        assert_eq!(space.partners("basket").unwrap().len(), 1);
        assert!(engine.partners("basket").unwrap().is_empty());
    };
    check(&engine);
    // Related keys of a keyspace are laid out side by side as those of the default one are.
    engine.checkpoint().unwrap();
    assert!(engine.quantum_entanglement_metrics().laid_out >= 2, "in the default keyspace it can be one");
    drop((space, engine));
    check(&machine.open(small().physics(Physics::off())));
}

#[test]
fn making_at_once_makes_one() {
    let engine = WarpEngine::in_memory();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let engine = &engine;
            scope.spawn(move || {
                for number in 0..50 {
                    let space = engine.keyspace(format!("{number}")).unwrap();
                    space.put(format!("{thread}"), "1").unwrap();
                }
            });
        }
    });
    assert_eq!(engine.keyspaces().unwrap().len(), 51);
    assert!((0..50).all(|number| engine.keyspace(format!("{number}")).unwrap().len().unwrap() == 4));
}

/// No write is acknowledged that the dropping has not seen.
#[test]
fn writes_that_meet_a_drop_are_refused_or_go_with_it() {
    let engine = WarpEngine::in_memory();
    for _ in 0..50 {
        let space = engine.keyspace("space").unwrap();
        std::thread::scope(|scope| {
            let writer = scope
                .spawn(|| (0_u64..).find_map(|number| space.put(number.to_le_bytes(), "1").err()).unwrap());
            assert!(engine.drop_keyspace("space").unwrap());
            assert_eq!(writer.join().unwrap().kind(), ErrorKind::NotFound);
        });
    }
    assert_eq!(engine.cosmic_metrics().regions[0].entries, 1, "only the entry of the names is left");
}

#[test]
fn export_and_import_carry_keyspaces() {
    let source = WarpEngine::in_memory();
    source.keyspace("dropped").unwrap().put("key", "1").unwrap();
    source.keyspace("dropped").unwrap().entangle("a", &["b"], 0.5).unwrap();
    let (b, a) = (source.keyspace("b").unwrap(), source.keyspace("a \"quoted\"").unwrap());
    source.keyspace("empty").unwrap();
    source.drop_keyspace("dropped").unwrap();
    source.put("key", "default").unwrap();
    a.put(b"\xff", "a").unwrap();
    b.put_with("key", "b", &PutOptions::new().ttl(std::time::Duration::from_secs(3600))).unwrap();
    b.entangle("key", &["other"], 0.5).unwrap();
    source.entangle("key", &["other"], 0.25).unwrap();
    let mut exported = Vec::new();
    let report = source.export(&mut exported).unwrap();
    assert_eq!((report.entries, report.links, report.keyspaces), (3, 2, 3));

    for format in [LogFormat::Binary, LogFormat::Json] {
        let machine = Machine::new(1);
        machine.clock.set_unix_millis(u64::from(u32::MAX));
        let target = machine.open(small().log_format(format));
        assert_eq!(target.import(&exported[..]).unwrap(), report);
        drop(target);
        let target = machine.open(small());
        let mut again = Vec::new();
        target.export(&mut again).unwrap();
        assert_eq!(String::from_utf8(again).unwrap(), String::from_utf8(exported.clone()).unwrap());
    }
}

#[test]
fn a_read_only_engine_gives_the_keyspaces_that_there_are() {
    let machine = Machine::new(1);
    machine.open(small()).keyspace("space").unwrap().put("key", "1").unwrap();
    let engine = machine.open(small().read_only(true));
    assert_eq!(value(&engine.keyspace("space").unwrap(), "key").as_deref(), Some("1"));
    assert_eq!(engine.keyspace("other").unwrap_err().kind(), ErrorKind::ReadOnly);
    assert_eq!(engine.drop_keyspace("space").unwrap_err().kind(), ErrorKind::ReadOnly);
}
