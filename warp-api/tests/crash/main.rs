//! Crash enumeration on the simulated disk: every operation of a mixed workload is a crash point, and each is
//! recovered with several choices of what survived. `WARP_SEED=<n>` runs the workload of one seed alone.

#![allow(
    clippy::cast_possible_truncation,
    clippy::unwrap_used,
    reason = "a test that cannot go on says so by a panic, and its numbers are small"
)]

mod check;
#[path = "../common/mod.rs"]
mod common;
mod model;
mod scarce;
mod workload;

use std::collections::HashMap;

use check::{Checked, check_image};
use common::report;
use warp_io::Survival;
use workload::{LogFormat, Run, run};

/// What survives is chosen anew for each of these at every crash point.
const SURVIVALS: u64 = 8;
/// Writes and maintenance calls of a workload.
const STEPS: usize = 110;
/// Workloads in each of the two tests; their images together are at least [`IMAGES_MIN`].
const WORKLOADS: u64 = 32;
/// Distinct crash images that each test must have recovered.
const IMAGES_MIN: usize = 10_000;

/// Steps of a workload with little memory, and crash points that are recovered of it: each costs a hundred times what one of
/// the others does.
const SCARCE_STEPS: u64 = 400;
const SCARCE_POINTS: usize = 100;

/// Recovers every crash point of a run, and returns how many distinct images that were.
fn enumerate(run: &Run) -> usize {
    let mut known: HashMap<u64, Checked> = HashMap::new();
    for point in run.disk.crash_points() {
        for survival in 0..SURVIVALS {
            let image = run.disk.image_at(point, Survival::seeded(survival));
            let place = format!("WARP_SEED={} operation {point} survival {survival}", run.seed);
            let checked =
                known.entry(image.digest()).or_insert_with(|| check_image(run, &image, point, &place));
            // The same bytes may be asked for more at a later point, when more was acknowledged.
            checked.meets(run, point, &place);
        }
    }
    known.len()
}

fn enumerate_all(format: LogFormat, seeds: std::ops::Range<u64>) {
    let only: Option<u64> = std::env::var("WARP_SEED").ok().and_then(|seed| seed.parse().ok());
    let mut images = 0;
    let mut points = 0;
    let mut moved = 0;
    for seed in seeds.filter(|seed| only.is_none_or(|only| only == *seed)) {
        let run = run(seed, STEPS, format);
        images += enumerate(&run);
        points += run.disk.crash_points().len();
        moved += run.slots_moved;
    }
    report(&format!(
        "{format:?} log: {images} distinct crash images from {points} crash points, {moved} slots moved, \
         0 violations"
    ));
    assert!(only.is_some() || moved > 0, "no slot was moved");
    assert!(only.is_some() || images >= IMAGES_MIN, "only {images} distinct crash images");
}

#[test]
fn every_crash_point_recovers_a_prefix_from_a_binary_log() {
    enumerate_all(LogFormat::Binary, 0..WORKLOADS);
}

#[test]
fn every_crash_point_recovers_a_prefix_from_a_json_log() {
    enumerate_all(LogFormat::Json, WORKLOADS..2 * WORKLOADS);
}

#[test]
fn one_seed_repeats_one_run() {
    let (first, second) = (run(3, STEPS, LogFormat::Binary), run(3, STEPS, LogFormat::Binary));
    assert_eq!(first.disk.trace_hash(), second.disk.trace_hash());
    assert_ne!(first.disk.trace_hash(), run(4, STEPS, LogFormat::Binary).disk.trace_hash());
}

/// A crash while recovering from a crash: every operation of the recovery is a crash point, too.
#[test]
fn a_crash_during_recovery_loses_nothing() {
    let run = run(1, STEPS, LogFormat::Binary);
    let points = run.disk.crash_points();
    let mut images = 0;
    for point in points.iter().copied().step_by(points.len() / 12) {
        let image = run.disk.image_at(point, Survival::seeded(3));
        image.record();
        let place = format!("WARP_SEED={} operation {point}", run.seed);
        let first = check_image(&run, &image, point, &place);
        for again in image.crash_points() {
            for survival in [0, 1, 2, 5] {
                let second = image.image_at(again, Survival::seeded(survival));
                let place = format!("{place}, then operation {again} survival {survival}");
                // What the first recovery wrote itself may be there; what it recovered must be.
                check::check_again(&run, &second, first.last_seq, point, &place);
                images += 1;
            }
        }
    }
    report(&format!("{images} crash images of recoveries, 0 violations"));
    assert!(images > 500, "only {images} images");
}

/// Data of half as much again as the memory budget: entries leave memory and come in again all the time.
#[test]
fn a_crash_while_entries_leave_memory_and_come_in_loses_nothing() {
    let mut images = 0;
    for seed in 0..2 {
        let (run, moved) = scarce::run(seed, SCARCE_STEPS);
        assert!(moved.evicted > 100 && moved.came_in > 20, "{moved:?}");
        let points = run.disk.crash_points();
        for point in points.iter().copied().step_by(points.len() / SCARCE_POINTS) {
            let survival = images % SURVIVALS;
            let image = run.disk.image_at(point, Survival::seeded(survival));
            scarce::check(&run, &image, point, &format!("seed {seed} operation {point} survival {survival}"));
            images += 1;
        }
    }
    report(&format!("{images} crash images of engines with little memory, 0 violations"));
}
