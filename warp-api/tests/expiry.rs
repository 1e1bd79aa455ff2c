//! Deadlines: what is past one is never seen again, and its memory comes back.

#![allow(
    clippy::cast_possible_truncation,
    clippy::unwrap_used,
    reason = "a test that cannot go on says so by a panic, and its numbers are small"
)]

mod common;

use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, SystemTime};

use common::{Machine, START_MILLIS, small, wait_until};
use warp_api::{
    Background, CasOutcome, Environment, ErrorKind, Options, Physics, PutOptions, Task, Ttl, Update,
    WarpEngine, WriteBatch,
};

fn ttl(seconds: u64) -> PutOptions {
    PutOptions::new().ttl(Duration::from_secs(seconds))
}

fn freed(engine: &WarpEngine) -> u64 {
    engine.cosmic_metrics().operations.expired
}

fn in_memory(engine: &WarpEngine) -> u64 {
    engine.cosmic_metrics().regions[0].entries
}

fn table_bytes(engine: &WarpEngine) -> u64 {
    engine.cosmic_metrics().memory.table_bytes
}

#[test]
fn a_deadline_can_be_set_put_off_and_taken_away() {
    let machine = Machine::new(1);
    let engine = machine.open(small());
    assert_eq!(engine.ttl("key").unwrap(), Ttl::Missing);
    assert!(!engine.expire("key", Duration::from_secs(1)).unwrap());
    assert!(!engine.persist("key").unwrap());
    assert_eq!(engine.last_seq().0, 0, "nothing is written for a key that is not there");
    let seq = engine.put("key", "value").unwrap();
    assert_eq!(engine.ttl("key").unwrap(), Ttl::Forever);
    assert!(!engine.persist("key").unwrap());
    assert_eq!(engine.last_seq(), seq, "nor for one without a deadline");
    assert!(engine.expire("key", Duration::from_millis(10_000)).unwrap());
    let entry = engine.get_entry("key").unwrap().unwrap();
    let expected = SystemTime::UNIX_EPOCH + Duration::from_millis(START_MILLIS + 10_000);
    assert_eq!((entry.expires_at, entry.seq > seq), (Some(expected), true));
    machine.clock.advance(Duration::from_millis(4_000));
    assert_eq!(engine.ttl("key").unwrap(), Ttl::Left(Duration::from_millis(6_000)));
    assert!(engine.expire("key", Duration::from_millis(10_000)).unwrap());
    machine.clock.advance(Duration::from_millis(9_999));
    assert_eq!(engine.ttl("key").unwrap(), Ttl::Left(Duration::from_millis(1)));
    assert!(engine.persist("key").unwrap());
    machine.pass(&engine, Duration::from_secs(5));
    assert_eq!(engine.ttl("key").unwrap(), Ttl::Forever);
    assert_eq!(engine.get("key").unwrap().as_deref(), Some(&b"value"[..]));
    assert!(engine.expire("key", Duration::ZERO).unwrap());
    assert_eq!(engine.ttl("key").unwrap(), Ttl::Missing);
    assert!(!engine.expire("key", Duration::from_secs(1)).unwrap(), "what has expired does not come back");
}

#[test]
fn updates_keep_a_deadline_and_puts_do_not() {
    let machine = Machine::new(1);
    let engine = machine.open(small());
    for key in ["updated", "incremented", "swapped", "put"] {
        engine.put_with(key, "1", &ttl(5)).unwrap();
    }
    engine.update("updated", |_| Update::Put(b"2".to_vec())).unwrap();
    assert_eq!(engine.increment("incremented", 1).unwrap(), 2);
    assert!(matches!(
        engine.compare_and_swap("swapped", Some(b"1"), Some(b"2")).unwrap(),
        CasOutcome::Swapped(_)
    ));
    engine.put("put", "2").unwrap();
    machine.pass(&engine, Duration::from_secs(6));
    let left = engine.multi_get(&["updated", "incremented", "swapped", "put"]).unwrap();
    assert_eq!(left.iter().map(Option::is_some).collect::<Vec<_>>(), [false, false, true, true]);
    assert_eq!(engine.increment("incremented", 7).unwrap(), 7, "an expired number counts as none");
    assert_eq!(engine.ttl("incremented").unwrap(), Ttl::Forever);
}

#[test]
fn memory_comes_back_within_seconds_without_files() {
    let machine = Machine::new(1);
    // The demon would keep an entry of its own.
    let engine = Options::new().physics(Physics::off()).in_memory_in(machine.environment());
    for number in 0..5_000 {
        engine.put_with(format!("{number}"), vec![7; 1_000], &ttl(1 + number % 10)).unwrap();
    }
    engine.put("stays", "1").unwrap();
    let full = table_bytes(&engine);
    machine.pass(&engine, Duration::from_secs(6));
    let (left, live) = (in_memory(&engine), engine.len().unwrap());
    assert!((2_001..=2_501).contains(&left) && live <= left, "{left} in memory, {live} live");
    machine.pass(&engine, Duration::from_secs(6));
    assert_eq!((in_memory(&engine), engine.len().unwrap(), freed(&engine)), (1, 1, 5_000));
    // All values; of small slots the room for entries is kept.
    assert!(table_bytes(&engine) + 5_000_000 <= full, "{full} before, {} after", table_bytes(&engine));
    assert_eq!(engine.cosmic_metrics().memory.expiry_bytes, 0);
}

/// With a real clock and a real thread, too.
#[test]
fn a_background_worker_frees_what_has_expired() {
    let engine = WarpEngine::in_memory();
    engine.put_with("key", "1", &PutOptions::new().ttl(Duration::from_millis(1))).unwrap();
    for _ in 0..1_000 {
        if freed(&engine) == 1 {
            break;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!((freed(&engine), in_memory(&engine)), (1, 0));
}

#[test]
fn with_files_the_value_goes_and_what_hides_an_older_one_stays_as_long_as_it_must() {
    let machine = Machine::new(1);
    let engine = machine.open(small());
    // So much that stays that the layers are not merged.
    for number in 0..10 {
        engine.put(number.to_string(), "stays").unwrap();
    }
    engine.put("hidden", "older").unwrap();
    engine.checkpoint().unwrap();
    engine.put_with("hidden", vec![7; 10_000], &ttl(3)).unwrap();
    let full = table_bytes(&engine);
    machine.pass(&engine, Duration::from_secs(5));
    assert_eq!(freed(&engine), 1);
    assert!(table_bytes(&engine) + 10_000 <= full);
    assert_eq!(in_memory(&engine), 11, "one of them a tombstone");
    assert_eq!(engine.get("hidden").unwrap(), None);
    let report = engine.checkpoint().unwrap();
    assert_eq!((report.entries, report.merged_layers, in_memory(&engine)), (1, 0, 10));
    assert_eq!(engine.get("hidden").unwrap(), None, "the layer has it as gone");
    engine.close().unwrap();
    let engine = machine.open(small());
    assert_eq!((engine.get("hidden").unwrap(), engine.len().unwrap()), (None, 10));
}

#[test]
fn a_clean_entry_goes_as_a_whole() {
    let machine = Machine::new(1);
    let engine = machine.open(small());
    engine.put_with("written", "1", &ttl(5)).unwrap();
    engine.put_with("promoted", "1", &ttl(5)).unwrap();
    engine.close().unwrap();
    let engine = machine.open(small());
    assert_eq!(in_memory(&engine), 0);
    assert!(engine.contains_key("promoted").unwrap());
    assert_eq!(in_memory(&engine), 1, "reading brought it in");
    engine.put_with("written", "2", &ttl(5)).unwrap();
    engine.checkpoint().unwrap();
    assert_eq!(in_memory(&engine), 2);
    machine.pass(&engine, Duration::from_secs(7));
    assert_eq!((in_memory(&engine), freed(&engine)), (0, 2), "layers have them, with their deadlines");
    assert!(engine.is_empty().unwrap());
    assert!(!engine.contains_key("promoted").unwrap() && !engine.contains_key("written").unwrap());
}

#[test]
fn replayed_entries_are_freed_in_their_time() {
    let machine = Machine::new(1);
    let engine = machine.open(small());
    engine.put_with("soon", "1", &ttl(5)).unwrap();
    engine.put_with("later", "1", &ttl(5)).unwrap();
    engine.put("set later", "1").unwrap();
    engine.expire("set later", Duration::from_secs(5)).unwrap();
    engine.expire("later", Duration::from_secs(60)).unwrap();
    let mut batch = WriteBatch::new();
    batch.put_with("in a batch", "1", &ttl(5)).put("stays", "1");
    engine.write(&batch).unwrap();
    machine.clock.advance(Duration::from_secs(3));
    drop(engine);
    let engine = machine.open(small());
    assert_eq!(engine.ttl("soon").unwrap(), Ttl::Left(Duration::from_secs(2)), "a deadline, not a duration");
    assert_eq!(engine.ttl("later").unwrap(), Ttl::Left(Duration::from_secs(57)));
    machine.pass(&engine, Duration::from_secs(4));
    assert_eq!((freed(&engine), engine.len().unwrap()), (3, 2));
    machine.pass(&engine, Duration::from_secs(60));
    assert_eq!((freed(&engine), engine.len().unwrap()), (4, 1));
}

/// A session that is used again and again has its deadline put off each time: one item says when to look.
#[test]
fn putting_a_deadline_off_costs_no_memory() {
    let machine = Machine::new(1);
    let engine = Options::new().in_memory_in(machine.environment());
    let items = || engine.cosmic_metrics().memory.expiry_bytes / 8;
    for _ in 0..500 {
        engine.put_with("session", "1", &ttl(30)).unwrap();
        machine.pass(&engine, Duration::from_millis(500));
        assert!(engine.contains_key("session").unwrap());
        assert_eq!(items(), 1);
    }
    machine.pass(&engine, Duration::from_secs(32));
    assert_eq!((in_memory(&engine), items(), freed(&engine)), (0, 0, 1));
    // Keys that are deleted long before their time leave nothing for long.
    for number in 0..300_000_u32 {
        engine.put_with(number.to_le_bytes(), "1", &ttl(1_000_000)).unwrap();
        engine.delete(number.to_le_bytes()).unwrap();
        if number % 1_000 == 0 {
            engine.step();
        }
    }
    engine.step();
    assert!(items() < 100_000, "{} items", items());
}

#[test]
fn expiry_is_no_change_for_whoever_waits_for_one() {
    let machine = Machine::new(1);
    let engine = machine.open(small());
    let seq = engine.put_with("key", "1", &ttl(2)).unwrap();
    machine.pass(&engine, Duration::from_secs(4));
    assert_eq!((freed(&engine), engine.last_seq()), (1, seq));
    assert!(matches!(
        engine.compare_and_swap_seq("key", Some(seq), None).unwrap(),
        CasOutcome::Conflict(None)
    ));
    assert!(matches!(engine.put_if_absent("key", "2").unwrap(), CasOutcome::Swapped(_)));
    machine.pass(&engine, Duration::from_secs(4));
    assert_eq!(engine.get("key").unwrap().as_deref(), Some(&b"2"[..]));
}

#[test]
fn a_read_only_engine_neither_shows_nor_frees_what_has_expired() {
    let machine = Machine::new(1);
    let engine = machine.open(small());
    engine.put_with("key", "1", &ttl(2)).unwrap();
    drop(engine);
    let engine = machine.open(small().read_only(true));
    assert_eq!(engine.expire("key", Duration::from_secs(9)).unwrap_err().kind(), ErrorKind::ReadOnly);
    machine.clock.advance(Duration::from_secs(3));
    assert_eq!(engine.get("key").unwrap(), None);
}

/// A checkpoint may take minutes, so as not to be felt; what expires meanwhile does not wait for its end.
#[test]
fn memory_of_what_has_expired_comes_back_while_a_checkpoint_is_taken() {
    let machine = Machine::new(1);
    let handle: Arc<OnceLock<WarpEngine>> = Arc::default();
    let freed_at_end = Arc::new(Mutex::new(None));
    let (inside, at_end, clock) = (Arc::clone(&handle), Arc::clone(&freed_at_end), machine.clock.clone());
    let interval = Duration::from_secs(60);
    let options = Options::new().checkpoint_interval(interval).on_progress(move |progress| {
        if progress.task == Task::Checkpoint && progress.done == 0 {
            clock.advance(Duration::from_secs(10));
        } else if progress.task == Task::Checkpoint && Some(progress.done) == progress.total {
            *at_end.lock().unwrap() = inside.get().map(freed);
        }
    });
    let environment = Environment { background: Background::Threads, ..machine.environment() };
    let engine = options.open_in(&machine.disk.root(), environment).unwrap();
    handle.set(engine.clone()).ok().unwrap();
    for number in 0..200 {
        engine.put(format!("lasting {number}"), vec![7; 4_000]).unwrap();
        engine.put_with(format!("passing {number}"), "value", &ttl(interval.as_secs() + 5)).unwrap();
    }
    machine.clock.advance(interval);
    assert!(wait_until(|| freed_at_end.lock().unwrap().is_some()), "no checkpoint was taken");
    assert_eq!(*freed_at_end.lock().unwrap(), Some(200));
    engine.close().unwrap();
}
