//! A watch that waits is woken, whatever the durability of the writes is.

use std::time::Duration;

use warp_api::{Durability, Options, WarpEngine};
use warp_io::{Clock, SystemClock};

use crate::{put, soon, told};

fn engine(dir: &tempfile::TempDir) -> WarpEngine {
    Options::new().flush_interval(Duration::from_millis(30)).open(dir.path()).unwrap()
}

#[test]
fn whoever_waits_is_woken_by_any_write() {
    let dir = tempfile::tempdir().unwrap();
    let engine = engine(&dir);
    let mut watch = engine.watch("").unwrap();
    for durability in [Durability::Interval, Durability::Sync, Durability::Os] {
        for round in 0..3 {
            std::thread::scope(|scope| {
                // Begins to wait before there is anything, and not through a timeout.
                let waiting = scope.spawn(|| told(watch.next().unwrap().unwrap()));
                std::thread::sleep(Duration::from_millis(20 * round));
                let seq = engine.with_durability(durability).put("key", "value").unwrap().0;
                assert_eq!(waiting.join().unwrap(), put(seq, "default", "key", "value"));
            });
        }
    }
    engine.close().unwrap();
}

/// A `Sync` write is shown as soon as it has returned, without waiting for an interval.
#[test]
fn a_sync_write_wakes_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let engine = Options::new().flush_interval(Duration::from_secs(3600)).open(dir.path()).unwrap();
    let mut watch = engine.watch("").unwrap();
    for _ in 0..20 {
        let seq = engine.with_durability(Durability::Sync).put("key", "value").unwrap().0;
        assert_eq!(told(watch.try_next().unwrap().unwrap()).0, seq);
    }
    engine.put("key", "not synced").unwrap();
    assert!(watch.next_timeout(Duration::from_millis(50)).unwrap().is_none() && !watch.is_over());
    engine.sync().unwrap();
    assert!(watch.try_next().unwrap().is_some());
    engine.close().unwrap();
}

#[test]
fn waiting_for_a_time_takes_that_time() {
    let dir = tempfile::tempdir().unwrap();
    let engine = engine(&dir);
    let mut watch = engine.watch("user:").unwrap();
    let clock = SystemClock::new();
    // What is not asked for wakes it, and does not make it wait longer or return early.
    engine.put("other", "value").unwrap();
    assert!(watch.next_timeout(Duration::from_millis(200)).unwrap().is_none());
    let elapsed = clock.monotonic();
    assert!(elapsed >= Duration::from_millis(200) && elapsed < Duration::from_secs(10), "{elapsed:?}");
    assert!(watch.next_timeout(Duration::ZERO).unwrap().is_none() && !watch.is_over());
    let seq = engine.put("user:1", "value").unwrap().0;
    assert_eq!(soon(&mut watch), put(seq, "default", "user:1", "value"));
    engine.close().unwrap();
}
