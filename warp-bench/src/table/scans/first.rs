//! The first scan, which puts the keys in order, beside a writer that it must never stop.

use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use warp_api::WarpEngine;
use warp_io::{Clock, SystemClock};

use super::groups::{FOREIGN, foreign_key};
use crate::keys::{Key, value};
use crate::latency::Latency;
use crate::machine::Usage;
use crate::run::Outcome;

/// Keys that the writer overwrites: so few that lists of changed keys take no memory to speak of.
const WRITTEN_KEYS: usize = 10_000;
/// One put in this many is of a new key, which the order has to be told of.
const NEW_ONE_IN: u64 = 64;
/// Between two puts: the scan is to have a processor of its own, and puts enough to show what stops them.
const PAUSE: Duration = Duration::from_micros(20);

/// What the first scan took, and what the writer beside it saw.
#[derive(Debug)]
pub(super) struct First {
    /// Until its first item.
    pub(super) time: Duration,
    /// By how much the anonymous memory of the process grew.
    pub(super) grown_bytes: u64,
    /// What the engine says that its order takes.
    pub(super) order_bytes: u64,
    pub(super) puts: Latency,
    /// Of the same writer with nobody beside it, for as long.
    pub(super) puts_alone: Latency,
    /// Whether a scan behind it saw every key that was new meanwhile.
    pub(super) sees_new: bool,
}

/// Scans an engine that was never scanned. What the writer adds is gone again afterwards.
///
/// # Errors
/// What the engine and the system answer.
pub(super) fn first(engine: &WarpEngine, keys: &[Key], clock: &SystemClock) -> Outcome<First> {
    let mut writer = Writer { engine, keys: &keys[..keys.len().min(WRITTEN_KEYS)], clock, count: 0 };
    let before = Usage::anonymous()?;
    let (time, puts) = writer.beside(|| {
        let start = clock.monotonic();
        engine.iter().next().transpose()?;
        Ok(clock.monotonic().saturating_sub(start))
    })?;
    let grown_bytes = Usage::anonymous()?.saturating_sub(before);
    let order_bytes = engine.cosmic_metrics().memory.order_bytes;
    let ((), puts_alone) = writer.beside(|| {
        thread::sleep(time);
        Ok(())
    })?;
    let mut new = 0;
    for item in engine.scan_prefix(FOREIGN) {
        let (key, _) = item?;
        engine.delete(&*key)?;
        new += 1;
    }
    Ok(First { time, grown_bytes, order_bytes, puts, puts_alone, sees_new: new == writer.new_keys() })
}

struct Writer<'a> {
    engine: &'a WarpEngine,
    keys: &'a [Key],
    clock: &'a SystemClock,
    /// Puts so far.
    count: u64,
}

impl Writer<'_> {
    /// Runs `work` while another thread puts now and then; returns how long its puts took as well.
    fn beside<T>(&mut self, work: impl FnOnce() -> Outcome<T>) -> Outcome<(T, Latency)> {
        let (begun, done) = (Barrier::new(2), AtomicBool::new(false));
        thread::scope(|scope| {
            let writer = scope.spawn(|| {
                begun.wait();
                self.write(&done)
            });
            begun.wait();
            let result = work();
            done.store(true, Ordering::Relaxed);
            let puts = writer.join().map_err(|_| "the writer panicked")??;
            Ok((result?, puts))
        })
    }

    fn write(&mut self, done: &AtomicBool) -> Outcome<Latency> {
        let mut puts = Latency::new();
        for old in self.keys.iter().cycle() {
            if done.load(Ordering::Relaxed) {
                break;
            }
            let is_new = self.count.is_multiple_of(NEW_ONE_IN);
            let key = if is_new { foreign_key(self.count / NEW_ONE_IN) } else { *old };
            let start = self.clock.monotonic();
            self.engine.put(key, value(&key))?;
            puts.record(self.clock.monotonic().saturating_sub(start));
            self.count += 1;
            thread::sleep(PAUSE);
        }
        Ok(puts)
    }

    fn new_keys(&self) -> u64 {
        self.count.div_ceil(NEW_ONE_IN)
    }
}

#[cfg(test)]
mod tests {
    use super::super::groups::Groups;
    use super::super::stores::{Ordered, Way};
    use super::*;

    #[test]
    fn the_first_scan_leaves_the_keys_as_they_were() {
        let groups = Groups::new(5, 20_000);
        let engine = WarpEngine::in_memory();
        for key in &groups.keys {
            Ordered::put(&engine, key, &value(key)).unwrap();
        }
        let first = first(&engine, &groups.keys, &SystemClock::new()).unwrap();
        assert!(first.sees_new && first.puts.count() > 0 && first.order_bytes > 0, "{first:?}");
        assert_eq!(engine.scan_prefix(FOREIGN).count(), 0);
        let (span, seen) = groups.all();
        assert!(engine.scan(span, Way::Forwards).unwrap().is_right(seen));
    }
}
