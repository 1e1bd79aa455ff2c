//! Readers that are too slow are told so, and nobody waits for them.

use warp_api::{ErrorKind, Seq, WarpEngine};

use crate::common::Machine;
use crate::{Told, drain, options, put};

/// Puts that fill several segments, and a checkpoint after every hundred; returns what was put.
fn write(machine: &Machine, engine: &WarpEngine, from: u64) -> Vec<Told> {
    let mut all = Vec::new();
    for number in from..from + 400 {
        let (key, value) = (format!("key/{}", number % 50), format!("{number}/{}", "v".repeat(900)));
        all.push(put(engine.put(&key, &value).unwrap().0, "default", &key, &value));
        if number % 100 == 99 {
            engine.checkpoint().unwrap();
            machine.pass(engine, std::time::Duration::from_millis(50));
        }
    }
    engine.sync().unwrap();
    all
}

#[test]
fn a_reader_that_sleeps_too_long_is_told_where_to_go_on() {
    let machine = Machine::new(1);
    let engine = machine.open(options());
    let mut all = write(&machine, &engine, 0);
    // One has read nothing, another a little, so that it has a file open.
    let (mut untouched, mut begun) = (engine.watch("").unwrap(), engine.watch("").unwrap());
    all.push(put(engine.put("key", "value").unwrap().0, "default", "key", "value"));
    engine.sync().unwrap();
    assert!(begun.try_next().unwrap().is_some());
    all.extend(write(&machine, &engine, 400));
    all.extend(write(&machine, &engine, 800));

    for (name, error) in [
        ("untouched", drain(&mut untouched).unwrap_err()),
        ("begun", drain(&mut begun).unwrap_err()),
        ("late", engine.changes_since(Seq(0), "").unwrap_err()),
    ] {
        assert_eq!(error.kind(), ErrorKind::Lagged, "{name}: {error}");
        let oldest = error.oldest_seq().unwrap();
        let rest: Vec<&Told> = all.iter().filter(|told| told.0 > oldest.0).collect();
        let shown = drain(&mut engine.changes_since(oldest, "").unwrap()).unwrap();
        assert_eq!(shown.iter().collect::<Vec<_>>(), rest, "{name}");
        assert!(!rest.is_empty() && oldest.0 > all[400].0, "{name}");
        // One less is too old.
        let earlier = engine.changes_since(Seq(oldest.0 - 1), "").unwrap_err();
        assert_eq!((earlier.kind(), earlier.oldest_seq()), (ErrorKind::Lagged, Some(oldest)));
    }
    for watch in [&mut untouched, &mut begun] {
        assert!(watch.is_over() && watch.next().is_none() && watch.try_next().unwrap().is_none());
    }
}

#[test]
fn nobody_waits_for_a_watch_that_nobody_reads() {
    let machine = Machine::new(1);
    let engine = machine.open(options());
    let mut watches: Vec<_> = (0..10).map(|_| engine.watch("").unwrap()).collect();
    engine.put("key", "value").unwrap();
    engine.sync().unwrap();
    // Half of them hold a file open.
    watches.iter_mut().step_by(2).for_each(|watch| drop(watch.try_next().unwrap().unwrap()));
    let before = engine.cosmic_metrics().log.unwrap();
    // One thread does everything: what waited would wait forever.
    for round in 0..5 {
        write(&machine, &engine, round * 400);
    }
    let metrics = engine.cosmic_metrics();
    let log = metrics.log.unwrap();
    assert!(log.segments <= before.segments + 4, "{} segments are kept", log.segments);
    assert_eq!(log.watches, 10);
    assert_eq!(log.watch_lag, engine.durable_seq().0, "half of them have seen nothing");
    watches.retain(|watch| !watch.is_over());
    drop(watches);
    let log = engine.cosmic_metrics().log.unwrap();
    assert_eq!((log.watches, log.watch_lag), (0, 0));
    engine.close().unwrap();
}

#[test]
fn a_reader_that_keeps_up_is_not_told() {
    let machine = Machine::new(1);
    let engine = machine.open(options());
    let mut watch = engine.watch("").unwrap();
    let (mut shown, mut all) = (Vec::new(), Vec::new());
    for round in 0..8 {
        for number in 0..100 {
            let (key, value) = (format!("key/{number}"), format!("{round}/{}", "v".repeat(900)));
            all.push(put(engine.put(&key, &value).unwrap().0, "default", &key, &value));
        }
        engine.sync().unwrap();
        shown.extend(drain(&mut watch).unwrap());
        assert_eq!(shown.len(), all.len(), "round {round}");
        assert_eq!(engine.cosmic_metrics().log.unwrap().watch_lag, 0);
        engine.checkpoint().unwrap();
    }
    assert_eq!(shown, all);
    assert!(engine.cosmic_metrics().checkpoints.unwrap().removed_files > 5);
}
