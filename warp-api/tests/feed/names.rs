//! Each change names its keyspace, also one that was dropped; what the engine keeps for itself is not shown.

use warp_api::{ChangeOp, ErrorKind, Seq};

use crate::common::Machine;
use crate::{clear, drain, options, put};

#[test]
fn a_dropped_keyspace_is_named_and_cleared() {
    let machine = Machine::new(1);
    let engine = machine.open(options().checkpoints_kept(100));
    let mut live = engine.watch("k").unwrap();
    let first = engine.keyspace("cache").unwrap();
    let mut all = vec![put(first.put("key", "1").unwrap().0, "cache", "key", "1")];
    let mut of_first = first.changes_since(Seq(0), "").unwrap();
    assert!(engine.drop_keyspace("cache").unwrap());
    all.push(clear(engine.last_seq().0, "cache"));
    // Another one of the same name, and one that is dropped in a later life.
    let second = engine.keyspace("cache").unwrap();
    all.push(put(second.put("key", "2").unwrap().0, "cache", "key", "2"));
    let brief = engine.keyspace("brief").unwrap();
    all.push(put(brief.put("key", "3").unwrap().0, "brief", "key", "3"));
    engine.sync().unwrap();
    assert_eq!(drain(&mut live).unwrap(), all);

    // A keyspace's own changes end with it.
    assert_eq!(drain(&mut of_first).unwrap(), all[..2]);
    assert!(of_first.is_over() && of_first.next().is_none());
    assert_eq!(first.changes_since(Seq(0), "").unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(first.watch("").unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(drain(&mut second.changes_since(Seq(0), "").unwrap()).unwrap(), all[2..3]);
    drop((first, second, brief, live, of_first));
    drop(engine);

    let engine = machine.open(options().checkpoints_kept(100));
    assert!(engine.drop_keyspace("brief").unwrap());
    all.push(clear(engine.last_seq().0, "brief"));
    // The drop is not synced yet, and what was put before has a name all the same.
    let shown = drain(&mut engine.changes_since(Seq(0), "").unwrap()).unwrap();
    assert!(shown.len() >= 4 && all.starts_with(&shown), "{shown:?}");
    engine.close().unwrap();
    let engine = machine.open(options().checkpoints_kept(100).read_only(true));
    assert_eq!(drain(&mut engine.changes_since(Seq(0), "").unwrap()).unwrap(), all);
}

#[test]
fn what_the_engine_keeps_for_itself_is_not_shown() {
    let machine = Machine::new(1);
    let engine = machine.open(options());
    engine.entangle("a", &["b"], 0.5).unwrap();
    engine.entanglement_rule("user:{id}", &["profile:{id}"], 0.8).unwrap();
    engine.keyspace("other").unwrap();
    let seq = engine.put_with("a", "1", &warp_api::PutOptions::new().entangled_with(&["c"])).unwrap();
    engine.sync().unwrap();
    let shown = drain(&mut engine.changes_since(Seq(0), "").unwrap()).unwrap();
    assert_eq!(shown, [put(seq.0, "default", "a", "1")]);
}

#[test]
fn a_clear_is_shown_whatever_the_prefix_is() {
    let machine = Machine::new(1);
    let engine = machine.open(options());
    let mut watch = engine.watch("user:").unwrap();
    engine.put("other", "1").unwrap();
    let seq = engine.clear().unwrap();
    engine.sync().unwrap();
    let change = watch.try_next().unwrap().unwrap();
    assert_eq!((change.seq, change.op, &change.key[..]), (seq, ChangeOp::Clear, &b""[..]));
}
