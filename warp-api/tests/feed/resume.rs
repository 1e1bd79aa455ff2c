//! Resuming anywhere in a log gives exactly the rest.

use std::time::Duration;

use warp_api::{ChangeOp, LogFormat, PutOptions, Seq, WarpEngine, WriteBatch};
use warp_io::Survival;

use crate::common::Machine;
use crate::{Told, clear, delete, drain, options, put};

/// A log of several segments and five lives, some of which ended with a crash, with everything in it that the feed shows,
/// and more.
fn written(format: LogFormat) -> (Machine, WarpEngine, Vec<Told>) {
    let open = |machine: &Machine| machine.open(options().log_format(format).checkpoints_kept(100));
    let mut machine = Machine::new(1);
    let mut all = Vec::new();
    let mut engine = open(&machine);
    for life in 0..5_u64 {
        let other = engine.keyspace("other").unwrap();
        for number in 0..8 {
            let (key, value) = (format!("key/{number}"), format!("{life}/{}", "v".repeat(900)));
            let seq = engine.put(&key, &value).unwrap();
            all.push(put(seq.0, "default", &key, &value));
            let seq = other.put("user/1", &value).unwrap();
            all.push(put(seq.0, "other", "user/1", &value));
        }
        let mut batch = WriteBatch::new();
        batch.put("user/a", "1").put_in(&other, "key/a", "2").delete("key/1").put("user/b", "3");
        let seq = engine.write(&batch).unwrap().0;
        all.push(put(seq, "default", "user/a", "1"));
        all.push(put(seq, "other", "key/a", "2"));
        all.push(delete(seq, "default", "key/1"));
        all.push(put(seq, "default", "user/b", "3"));
        // None of these is a change of anybody's data.
        engine.entangle("key/0", &["key/2"], 0.5 + life as f64 / 100.0).unwrap();
        engine.entanglement_rule("user/{id}", &["key/{id}"], 0.5).unwrap();
        let seq = engine.put_with("short", "1", &PutOptions::new().ttl(Duration::from_millis(5))).unwrap();
        all.push((seq.0, "default".to_owned(), b"short".to_vec(), ChangeOp::Expired));
        all.push(clear(other.clear().unwrap().0, "other"));
        let seq = engine.cosmic_delete("key/2").unwrap().seq.unwrap();
        all.push(delete(seq.0, "default", "key/2"));
        if life == 3 {
            // Read from a layer after this; the log stays, since that many checkpoints are kept.
            engine.checkpoint().unwrap();
        }
        drop(other);
        if life % 2 == 0 {
            engine.close().unwrap();
        } else {
            engine.sync().unwrap();
            machine = machine.with_disk(machine.disk.crash(Survival::Everything));
        }
        machine.clock.advance(Duration::from_millis(10));
        engine = open(&machine);
    }
    (machine, engine, all)
}

#[test]
fn every_sequence_can_be_resumed_from() {
    for format in [LogFormat::Binary, LogFormat::Json] {
        let (machine, engine, all) = written(format);
        assert!(all.last().unwrap().0 > 1 << 32, "numbers leap behind a crash");
        let other = engine.keyspace("other").unwrap();
        let mut since: Vec<u64> = all.iter().flat_map(|told| [told.0 - 1, told.0, told.0 + 1]).collect();
        since.extend([0, (1 << 32) - 1, 1 << 32, engine.last_seq().0]);
        since.sort_unstable();
        since.dedup();
        for since in since.into_iter().filter(|since| *since <= engine.last_seq().0) {
            let rest: Vec<&Told> = all.iter().filter(|told| told.0 > since).collect();
            let check = |shown: Vec<Told>, wanted: &dyn Fn(&Told) -> bool, what: &str| {
                let shown: Vec<&Told> = shown.iter().collect();
                let wanted: Vec<&Told> = rest.iter().copied().filter(|told| wanted(told)).collect();
                assert_eq!(shown, wanted, "{what} since {since}");
            };
            let since = Seq(since);
            let is_clear = |told: &Told| told.3 == ChangeOp::Clear;
            let of_user = |told: &Told| told.2.starts_with(b"user/") || is_clear(told);
            check(drain(&mut engine.changes_since(since, "").unwrap()).unwrap(), &|_| true, "all");
            check(drain(&mut engine.changes_since(since, "user/").unwrap()).unwrap(), &of_user, "user/");
            let of_other = |told: &Told| told.1 == "other";
            check(drain(&mut other.changes_since(since, "").unwrap()).unwrap(), &of_other, "other");
            let of_other_user = |told: &Told| of_other(told) && of_user(told);
            check(
                drain(&mut other.changes_since(since, "user/").unwrap()).unwrap(),
                &of_other_user,
                "user/ of other",
            );
        }
        assert!(engine.watch("").unwrap().try_next().unwrap().is_none());
        engine.close().unwrap();

        // Who opens it for reading only gets the same, and then the end.
        let engine = machine.open(options().read_only(true));
        let shown: Vec<Told> =
            engine.changes_since(Seq(0), "").unwrap().map(|change| crate::told(change.unwrap())).collect();
        assert_eq!(shown, all);
        let mut watch = engine.watch("").unwrap();
        assert!(watch.next().is_none() && watch.is_over());
        assert!(engine.changes_since(Seq(u64::MAX), "").unwrap().next().is_none());
    }
}

#[test]
fn a_reader_that_stops_within_a_batch_resumes_with_one_less() {
    let machine = Machine::new(1);
    let engine = machine.open(options());
    let mut batch = WriteBatch::new();
    batch.put("a", "1").put("b", "2").put("c", "3");
    let first = engine.put("before", "0").unwrap();
    engine.write(&batch).unwrap();
    engine.sync().unwrap();
    let mut watch = engine.changes_since(first, "").unwrap();
    let change = watch.try_next().unwrap().unwrap();
    let again = drain(&mut engine.changes_since(Seq(change.seq.0 - 1), "").unwrap()).unwrap();
    assert_eq!(again.len(), 3);
    assert!(drain(&mut engine.changes_since(change.seq, "").unwrap()).unwrap().is_empty());
}

#[test]
fn deadlines_are_told() {
    let machine = Machine::new(1);
    let engine = machine.open(options());
    let mut watch = engine.watch("").unwrap();
    engine.put_with("key", "1", &PutOptions::new().ttl(Duration::from_secs(1))).unwrap();
    engine.sync().unwrap();
    let change = watch.try_next().unwrap().unwrap();
    assert_eq!(change.op, ChangeOp::Put("1".into()));
    let expires_at = std::time::UNIX_EPOCH + Duration::from_millis(crate::common::START_MILLIS + 1_000);
    assert_eq!(change.expires_at, Some(expires_at));
    assert!(engine.persist("key").unwrap());
    engine.sync().unwrap();
    assert_eq!(watch.try_next().unwrap().unwrap().expires_at, None);
    machine.clock.advance(Duration::from_secs(1));
    let mut again = engine.changes_since(Seq(0), "").unwrap();
    let change = again.try_next().unwrap().unwrap();
    assert_eq!((change.op, change.expires_at), (ChangeOp::Expired, Some(expires_at)));
    assert_eq!(again.try_next().unwrap().unwrap().op, ChangeOp::Put("1".into()));
}
