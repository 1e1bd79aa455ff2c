//! Power losses before every operation, and what an open makes of what is left.

use std::time::Duration;

use warp_io::{Dir, SimClock, SimDisk, Survival};
use warp_wal::{Apply, Entry, Log, LogOptions, Recovery, ReplayReport, Start};

use crate::{Entries, Owned, append, small, small_json};

/// Kinds of survival that are tried at every crash point.
const SURVIVALS: u64 = 8;

/// A seeded sequence of numbers (splitmix64).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ bits >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ bits >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (bits ^ bits >> 31) % bound
    }
}

/// What happened between an open and the next one, each with the number of operations before it.
#[derive(Default)]
struct Life {
    opened: u64,
    /// What was recovered, and then what was appended: the log, if nothing is lost.
    groups: Vec<(u64, u64, Vec<Owned>)>,
    /// Sequences that were reported durable.
    acked: Vec<(u64, u64)>,
    /// Sequences below which nothing is needed.
    floors: Vec<(u64, u64)>,
}

struct Run {
    disk: SimDisk,
    options: LogOptions,
    random: Random,
    lives: Vec<Life>,
    serial: u64,
}

type Opened = (Log, ReplayReport, Entries, SimClock);

fn open(disk: &SimDisk, options: &LogOptions, start: Start) -> warp_wal::Result<Opened> {
    let clock = SimClock::new(1_700_000_000_000);
    let mut entries = Vec::new();
    let mut apply = |seq: u64, entry: &Entry<'_>| entries.push((seq, Owned::of(entry)));
    let (log, report) = Log::open_in(
        &disk.root(),
        std::sync::Arc::new(clock.clone()),
        options.clone(),
        Recovery::TrimTornTail,
        start,
        Apply::InOrder(&mut apply),
        &mut |_, _| {},
    )?;
    Ok((log, report, entries, clock))
}

fn flat<'g>(groups: impl Iterator<Item = &'g (u64, u64, Vec<Owned>)>) -> Entries {
    groups.flat_map(|(_, seq, group)| group.iter().map(|entry| (*seq, entry.clone()))).collect()
}

/// The highest number that was noted before an operation.
fn until(list: &[(u64, u64)], operation: u64) -> u64 {
    list.iter().filter(|item| item.0 <= operation).map(|item| item.1).max().unwrap_or(0)
}

impl Run {
    fn new(disk: SimDisk, options: LogOptions, seed: u64) -> Run {
        Run { disk, options, random: Random(seed), lives: Vec::new(), serial: 0 }
    }

    fn group(&mut self) -> Vec<Owned> {
        let entries = 1 + self.random.below(3);
        let large = self.random.below(12);
        let bytes = match large {
            0 => 90_000,
            1 => 20_000,
            2..5 => 3_000,
            _ => 40,
        };
        (0..entries)
            .map(|_| {
                self.serial += 1;
                let byte = u8::try_from(self.serial % 251).unwrap();
                let mut value = self.serial.to_le_bytes().to_vec();
                // Not all alike, so that not everything compresses to nothing.
                value.extend((0..self.random.below(bytes)).map(|at| byte ^ (at % 7) as u8));
                Owned::put(&format!("key{}", self.serial), &value)
            })
            .collect()
    }

    /// Opens the log, makes some random calls, and ends with a close or without one.
    fn live(&mut self, actions: u64) {
        let start = Start { from: self.floor(), durable: 0, near: None };
        let (log, _, entries, clock) = open(&self.disk, &self.options, start).unwrap();
        let now = self.disk.operations();
        let mut life = Life { opened: now, ..Life::default() };
        life.floors.push((now, start.from));
        for (seq, entry) in entries {
            match life.groups.last_mut() {
                Some(last) if last.1 == seq => last.2.push(entry),
                _ => life.groups.push((now, seq, vec![entry])),
            }
        }
        life.acked.push((now, life.groups.last().map_or(0, |group| group.1)));
        for _ in 0..actions {
            self.act(&log, &clock, &mut life);
        }
        if self.random.below(3) == 0 {
            log.close().unwrap();
            life.acked.push((self.disk.operations(), log.last_seq()));
        }
        self.lives.push(life);
    }

    fn act(&mut self, log: &Log, clock: &SimClock, life: &mut Life) {
        match self.random.below(20) {
            0..12 => {
                let group = self.group();
                let before = self.disk.operations();
                let seq = append(log, &group).unwrap();
                life.groups.push((before, seq, group));
            }
            12..15 => {
                log.sync().unwrap();
                life.acked.push((self.disk.operations(), log.last_seq()));
            }
            15..18 => {
                clock.advance(Duration::from_millis(self.random.below(60)));
                log.tick().unwrap();
                life.acked.push((self.disk.operations(), log.durable_seq()));
            }
            18 => log.rotate().unwrap(),
            _ => {
                // As a checkpoint does: what is durable is kept elsewhere, and may go.
                let floor = log.durable_seq();
                life.floors.push((self.disk.operations(), floor));
                log.remove_before(floor).unwrap();
            }
        }
    }

    fn floor(&self) -> u64 {
        self.lives.last().map_or(0, |life| life.floors.iter().map(|floor| floor.1).max().unwrap_or(0))
    }

    /// Checks what an open makes of an image of the disk before `operation`; returns the image's digest.
    fn check(&self, operation: u64, survival: Survival, image: &SimDisk) -> u64 {
        let context = || format!("operation {operation}, {survival:?}");
        let digest = image.digest();
        let empty = Life::default();
        let life = self.lives.iter().rfind(|life| life.opened <= operation).unwrap_or(&empty);
        let (acked, from) = (until(&life.acked, operation), until(&life.floors, operation));
        let start = Start { from, durable: if from > 0 { acked } else { 0 }, near: None };
        let (log, report, entries, _) =
            open(image, &self.options, start).unwrap_or_else(|error| panic!("{}: {error:?}", context()));
        assert!(report.lost.is_empty(), "{}: {report:?}", context());
        let issued: Vec<_> = life.groups.iter().filter(|group| group.0 <= operation).collect();
        let last = entries.last().map_or(0, |entry| entry.0);
        let prefix = flat(issued.iter().copied().filter(|group| group.1 >= from && group.1 <= last));
        assert_eq!(entries, prefix, "{}: not a prefix", context());
        let lost = issued.iter().find(|group| group.1 > last && group.1 >= from && group.1 <= acked);
        assert!(lost.is_none(), "{}: acked {acked}, recovered {last}", context());
        // What was given before the crash, in this life or an earlier one, is not given again.
        let given = self.given(operation);
        let group = [Owned::put("after", b"crash")];
        let seq = append(&log, &group).unwrap();
        assert!(seq > given, "{}: {seq} was given before, up to {given}", context());
        log.sync().unwrap();
        drop(log);
        let (_, _, again, _) = open(image, &self.options, start)
            .unwrap_or_else(|error| panic!("{}: second open: {error:?}", context()));
        assert_eq!(again[..entries.len()], entries, "{}", context());
        assert_eq!(again[entries.len()..], [(seq, group[0].clone())], "{}", context());
        digest
    }

    fn given(&self, operation: u64) -> u64 {
        let groups = self.lives.iter().flat_map(|life| &life.groups);
        groups.filter(|group| group.0 < operation).map(|group| group.1).max().unwrap_or(0)
    }
}

fn crash_everywhere(options: LogOptions, seed: u64) -> usize {
    let disk = SimDisk::new(seed);
    disk.record();
    let mut run = Run::new(disk, options, seed);
    for _ in 0..3 {
        run.live(40);
    }
    let mut digests = std::collections::HashSet::new();
    for operation in run.disk.crash_points() {
        for survival in 0..SURVIVALS {
            let survival = Survival::seeded(survival + if survival < 2 { 0 } else { operation * 100 });
            let image = run.disk.image_at(operation, survival.clone());
            digests.insert(run.check(operation, survival, &image));
        }
    }
    digests.len()
}

#[test]
fn a_crash_at_any_operation_leaves_a_prefix_with_everything_acknowledged() {
    let images: usize = (0..10).map(|seed| crash_everywhere(small(), seed)).sum();
    assert!(images > 1000, "only {images} different images");
}

#[test]
fn the_same_holds_for_json_segments() {
    let images: usize = (10..13).map(|seed| crash_everywhere(small_json(), seed)).sum();
    assert!(images > 300, "only {images} different images");
}

/// A process that is killed, opens the log again, and loses power while it does or afterwards.
#[test]
fn a_power_loss_after_a_kill_loses_nothing_that_was_recovered() {
    for seed in 20..26 {
        let disk = SimDisk::new(seed);
        disk.record();
        let mut run = Run::new(disk, small(), seed);
        run.live(20);
        let points = run.disk.crash_points();
        for operation in points.iter().copied().filter(|point| *point >= run.lives[0].opened).step_by(3) {
            let killed = run.disk.kill_at(operation);
            killed.record();
            let Ok((log, _, entries, _)) = open(&killed, &run.options, Start::default()) else {
                panic!("seed {seed}, operation {operation}")
            };
            let opened = killed.operations();
            drop(log);
            for second in killed.crash_points() {
                for survival in [Survival::Nothing, Survival::Everything, Survival::seeded(2 + second)] {
                    let image = killed.image_at(second, survival.clone());
                    let before = image.digest();
                    let (log, report, again, _) = open(&image, &run.options, Start::default())
                        .unwrap_or_else(|error| {
                            panic!("{seed} {operation} {second} {survival:?}: {error:?}")
                        });
                    assert!(report.lost.is_empty());
                    assert!(again.len() <= entries.len() && again == entries[..again.len()]);
                    if second >= opened {
                        assert_eq!(again, entries, "{seed} {operation} {second} {survival:?} {before}");
                    }
                    log.close().unwrap();
                }
            }
        }
    }
}

/// Crash, open, go on, crash again: numbers are never given twice, and nothing that was acknowledged in any
/// life goes.
#[test]
fn three_crashes_in_a_row_give_no_sequence_twice() {
    for seed in 0..300 {
        let mut random = Random(seed ^ 0xabcd);
        let mut disk = SimDisk::new(seed);
        let (mut given, mut floor) = (0, 0);
        let mut kept: Entries = Vec::new();
        for _ in 0..3 {
            disk.record();
            let mut run = Run::new(disk.clone(), small(), random.below(u64::MAX));
            run.live(12);
            let life = &run.lives[0];
            let points = disk.crash_points();
            let after_open: Vec<u64> = points.into_iter().filter(|point| *point >= life.opened).collect();
            let operation = after_open[usize::try_from(random.below(after_open.len() as u64)).unwrap()];
            for group in life.groups.iter().filter(|group| group.1 > 0 && group.0 > life.opened) {
                assert!(group.1 > given, "seed {seed}");
            }
            given = given.max(run.given(operation + 1));
            let image = disk.image_at(operation, Survival::seeded(random.below(1000)));
            floor = floor.max(until(&life.floors, operation));
            let (log, _, entries, _) =
                open(&image, &run.options, Start { from: floor, durable: 0, near: None })
                    .unwrap_or_else(|error| panic!("seed {seed} operation {operation}: {error:?}"));
            assert!(log.next_seq() > given, "seed {seed}");
            drop(log);
            kept.retain(|entry| entry.0 >= floor);
            assert!(entries.starts_with(&kept), "seed {seed}");
            kept = entries.into_iter().filter(|entry| entry.0 >= floor).collect();
            disk = image;
        }
    }
}

/// A name that was removed may come back with any other; the log has to make sense of it.
#[test]
fn images_of_a_listing_in_any_order_are_the_same_log() {
    let disk = SimDisk::new(3);
    let mut run = Run::new(disk, small(), 3);
    run.live(40);
    assert!(run.disk.root().list().unwrap().len() > 2);
}
