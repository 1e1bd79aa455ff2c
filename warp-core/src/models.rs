//! Models of what threads do to each other: the real code, run through many schedules by a concurrency tester.
//!
//! [loom](https://docs.rs/loom) knows the memory model, and goes through all schedules with few preemptions, which only
//! small parts bear: buckets and epochs. [shuttle](https://docs.rs/shuttle) knows one order of everything, and takes random
//! schedules of the whole table. What one is blind to, the other sees.

#![allow(
    clippy::cast_possible_truncation,
    clippy::unwrap_used,
    reason = "a test that cannot go on says so by a panic, and its numbers are small"
)]

#[cfg(loom)]
mod parts;

#[cfg(all(shuttle, not(loom)))]
mod locks;
#[cfg(all(shuttle, not(loom)))]
mod reads;
#[cfg(all(shuttle, not(loom)))]
mod schedules;
#[cfg(all(shuttle, not(loom)))]
mod values;

#[cfg(all(shuttle, not(loom)))]
#[path = "../tests/history/mod.rs"]
mod history;
