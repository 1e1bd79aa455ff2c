//! What the feed has shown is there after every crash.

use std::time::Duration;

use warp_api::{Background, Durability, Environment, Seq, WarpEngine, WriteBatch};
use warp_io::{SimClock, SimDisk, Survival};

use crate::common::{START_MILLIS, report};
use crate::{Told, drain, options};

const STEPS: u64 = 160;
const SURVIVALS: u64 = 3;
/// Every so many-th operation is looked at as the last one before a crash; a number that no pattern of operations has.
const POINTS_STEP: usize = 1;

fn open(disk: &SimDisk, clock: &SimClock) -> WarpEngine {
    let environment = Environment {
        clock: std::sync::Arc::new(clock.clone()),
        seed: 7,
        background: Background::Stepped,
        ..Environment::default()
    };
    options().checkpoints_kept(100).open_in(&disk.root(), environment).unwrap()
}

/// What was shown, with the disk's count of operations by then.
type Shown = Vec<(u64, Told)>;

/// Writes of all durabilities, and looks at the feed after each; it is not closed at the end.
fn run(seed: u64, disk: &SimDisk) -> Shown {
    let clock = SimClock::new(START_MILLIS);
    let mut engine = open(disk, &clock);
    let mut watch = engine.watch("").unwrap();
    let mut shown = Shown::new();
    for step in 0..STEPS {
        let random = (step + 1).wrapping_mul(seed.wrapping_mul(2) + 0x9E37_79B9) >> 7;
        let durability = [Durability::Os, Durability::Interval, Durability::Interval, Durability::Sync]
            [(random % 4) as usize];
        let writer = engine.with_durability(if step % 9 == 0 { durability } else { Durability::Interval });
        let (key, value) =
            (format!("{}", step % 9), format!("{step}/{}", "v".repeat((random % 900) as usize)));
        match random % 11 {
            0 => drop(writer.clear().unwrap()),
            1 => drop(writer.delete(&key).unwrap()),
            2 => {
                let mut batch = WriteBatch::new();
                batch.put(&key, &value).put("other", &value).delete("none");
                writer.write(&batch).unwrap();
            }
            3 => {
                clock.advance(Duration::from_millis(random % 150));
                engine.step();
            }
            4 if step % 3 == 0 => drop(engine.checkpoint().unwrap()),
            5 if step % 5 == 0 => {
                let last = Seq(shown.last().map_or(0, |last| last.1.0));
                if step % 2 == 0 {
                    engine.clone().close().unwrap();
                }
                drop(writer);
                engine = WarpEngine::in_memory();
                drop(engine);
                engine = open(disk, &clock);
                watch = engine.changes_since(last, "").unwrap();
            }
            _ => drop(writer.put(&key, &value).unwrap()),
        }
        let seen = drain(&mut watch).unwrap();
        shown.extend(seen.into_iter().map(|told| (disk.operations(), told)));
    }
    shown
}

#[test]
fn what_was_shown_is_there_after_every_crash() {
    let mut images = 0;
    let mut changes = 0;
    for seed in 0..2 {
        let disk = SimDisk::new(seed);
        disk.record();
        let shown = run(seed, &disk);
        changes += shown.len();
        for point in disk.crash_points().into_iter().step_by(POINTS_STEP) {
            let by_then: Vec<&Told> =
                shown.iter().filter(|(at, _)| *at <= point).map(|(_, told)| told).collect();
            for survival in 0..SURVIVALS {
                let image = disk.image_at(point, Survival::seeded(survival));
                let place = format!("seed {seed} operation {point} survival {survival}");
                let engine = open(&image, &SimClock::new(START_MILLIS + 1_000_000));
                let again = drain(&mut engine.changes_since(Seq(0), "").unwrap()).unwrap();
                let again: Vec<&Told> = again.iter().collect();
                assert!(again.starts_with(&by_then), "{place}: {} of {}", again.len(), by_then.len());
                images += 1;
            }
        }
    }
    report(&format!("{images} crash images hold what of {changes} changes had been shown"));
    assert!(images > 300 && changes > 100, "{images} images, {changes} changes");
}
