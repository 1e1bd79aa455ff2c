//! Anonymous resident memory, as the kernel counts it, against the memory budget.
//!
//! One test alone, so that nothing else takes memory in its process.

#![allow(
    clippy::cast_possible_truncation,
    clippy::unwrap_used,
    reason = "a test that cannot go on says so by a panic, and its numbers are small"
)]

mod common;

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use common::report;
use warp_api::{Options, WarpEngine};
use warp_io::{Dir, OsDir};

const BUDGET: u64 = 128 << 20;
/// As promised: three hundredths beyond it at most.
const HELD_MAX: u64 = BUDGET + BUDGET / 100 * 3;
/// Small values, of 600 bytes in the middle: more than the budget in all, and so many that their order counts.
const ENTRIES: u64 = 300_000;
/// Big ones: half of the budget in all.
const BIG_ENTRIES: u64 = 128;
const BIG_BYTES: usize = 512 << 10;
/// What the test itself holds: a big value that is put, and one that a scan has handed out.
const OWN_BYTES: u64 = 2 * BIG_BYTES as u64;
const SAMPLE_INTERVAL: Duration = Duration::from_millis(5);

/// `RssAnon` of this process in bytes; `None` where the kernel does not tell.
fn anonymous() -> Option<u64> {
    let status = OsDir::open(Path::new("/proc/self"), false).ok()?.open("status", false).ok()?;
    let mut text = [0; 8 << 10];
    let bytes = status.read_at(0, &mut text).ok()?;
    let text = String::from_utf8_lossy(&text[..bytes]);
    let line = text.lines().find_map(|line| line.strip_prefix("RssAnon:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1 << 10)
}

fn key(n: u64) -> String {
    format!("key{n:09}")
}

/// Fills a value that does not compress; a small one has a length of its own.
fn fill(value: &mut Vec<u8>, n: u64, version: u64, len: usize) {
    let mut state = (n << 20 | version) + 1;
    value.clear();
    while value.len() < len {
        state = state.wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(23) ^ n;
        value.extend_from_slice(&state.to_le_bytes());
    }
}

fn small_len(n: u64) -> usize {
    100 + (n.wrapping_mul(0x9E37_79B9) >> 7) as usize % 1_000
}

fn scan(engine: &WarpEngine) -> u64 {
    engine.iter().fold(0, |count, item| {
        item.unwrap();
        count + 1
    })
}

/// Ends the sampling, also where the test fails.
struct EndsSampling<'a>(&'a AtomicBool);

impl Drop for EndsSampling<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

/// Looks at the memory until `is_done`; `most` is what was the most since it was last taken.
fn sample(most: &AtomicU64, is_done: &AtomicBool) {
    while !is_done.load(Ordering::Acquire) {
        most.fetch_max(anonymous().unwrap(), Ordering::Relaxed);
        thread::sleep(SAMPLE_INTERVAL);
    }
}

#[test]
fn the_kernel_counts_no_more_than_the_budget() {
    if anonymous().is_none() {
        report("SKIPPED: the kernel does not tell the anonymous memory of a process");
        return;
    }
    let scratch = tempfile::tempdir().unwrap();
    let (most, is_done) = (AtomicU64::new(0), AtomicBool::new(false));
    thread::scope(|scope| {
        scope.spawn(|| sample(&most, &is_done));
        let _ends = EndsSampling(&is_done);
        let base = anonymous().unwrap() + OWN_BYTES;
        let (phase, held) = phases(scratch.path(), |phase| {
            let held = most.swap(0, Ordering::Relaxed).max(anonymous().unwrap()).saturating_sub(base);
            report(&format!("{phase}: {} KiB of {} KiB", held >> 10, BUDGET >> 10));
            held
        });
        assert!(held <= HELD_MAX, "{phase}: {held} bytes are held");
    });
}

/// Runs all phases; `held` is called at the end of each, and answers what was the most in it. Returns the worst one.
fn phases(dir: &Path, held: impl Fn(&str) -> u64) -> (&'static str, u64) {
    let mut worst = ("", 0);
    let mut end = |phase| {
        let held = held(phase);
        if held > worst.1 {
            worst = (phase, held);
        }
    };
    let mut value = Vec::with_capacity(BIG_BYTES + 8);
    let options =
        || Options::new().memory_budget(BUDGET).log_buffer_bytes(2 << 20).log_segment_bytes(8 << 20);
    let engine = options().open(dir).unwrap();
    for n in 0..ENTRIES {
        fill(&mut value, n, 0, small_len(n));
        engine.put(key(n), &value).unwrap();
    }
    end("fill");
    for n in (0..ENTRIES).step_by(3) {
        fill(&mut value, n, 1, small_len(n));
        engine.put(key(n), &value).unwrap();
    }
    end("overwrite");
    assert_eq!(scan(&engine), ENTRIES);
    end("first scan");
    for n in 0..BIG_ENTRIES {
        fill(&mut value, n, 0, BIG_BYTES);
        engine.put(format!("big{n}"), &value).unwrap();
    }
    end("big values");
    assert_eq!(scan(&engine), ENTRIES + BIG_ENTRIES);
    end("scan");
    for n in (0..ENTRIES).filter(|n| n % 10 != 0) {
        assert!(engine.delete(key(n)).unwrap());
    }
    end("delete");
    assert_eq!(scan(&engine), ENTRIES.div_ceil(10) + BIG_ENTRIES);
    end("scan of the rest");
    engine.close().unwrap();
    end("close");
    let engine = options().open(dir).unwrap();
    assert_eq!(scan(&engine), ENTRIES.div_ceil(10) + BIG_ENTRIES);
    end("open again");
    engine.close().unwrap();
    worst
}
