//! A workload whose data does not fit into its memory budget: entries leave memory, are read from the layers, and come in
//! again, and opening makes room while it replays.

use warp_api::{Durability, MEMORY_BUDGET_MIN, Options, WarpEngine};
use warp_io::{SimClock, SimDisk};

use crate::common::Random;
use crate::model::{DEFAULT, Effect, Model};
use crate::workload::{LogFormat, Run, Write, environment};

const LOG_BUFFER_BYTES: usize = 16 << 10;
/// The least that there can be.
const BUDGET: u64 = MEMORY_BUDGET_MIN + LOG_BUFFER_BYTES as u64;
/// Keys with values of this length: half as much again as the budget.
const KEYS: u64 = 200;
const VALUE_BYTES: usize = 64 << 10;
const START_MILLIS: u64 = 1_700_000_000_000;

/// What the run has shown beside what it wrote.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moved {
    pub(crate) evicted: u64,
    pub(crate) came_in: u64,
}

fn open(disk: &SimDisk, seed: u64) -> warp_api::Result<WarpEngine> {
    Options::new()
        .log_segment_bytes(256 << 10)
        .log_buffer_bytes(LOG_BUFFER_BYTES)
        .memory_budget(BUDGET)
        .checkpoint_log_bytes(4 << 20)
        .checkpoints_kept(2)
        .open_in(&disk.root(), environment(&SimClock::new(START_MILLIS), seed))
}

fn place(number: u64) -> (String, String) {
    (DEFAULT.to_owned(), format!("key:{number}"))
}

/// The value that a short text stands for: one that does not compress.
fn expanded(text: &str) -> Vec<u8> {
    let seed = text.bytes().fold(1, |seed: u64, byte| seed.wrapping_mul(257) ^ u64::from(byte));
    let mut random = Random(seed);
    (0..VALUE_BYTES / 8).flat_map(|_| random.next().to_le_bytes()).collect()
}

/// Writes all keys once, and then makes so many steps.
pub(crate) fn run(seed: u64, steps: u64) -> (Run, Moved) {
    let disk = SimDisk::new(seed);
    disk.record();
    let engine = open(&disk, seed).unwrap();
    let run = Run {
        seed,
        disk,
        format: LogFormat::Binary,
        writes: Vec::new(),
        durable: Vec::new(),
        slots_moved: 0,
    };
    let mut driver = Driver { run, engine, random: Random(seed ^ 0xC01D), model: Model::default() };
    for number in 0..KEYS {
        driver.put(number);
    }
    for _ in 0..steps {
        driver.step();
    }
    let metrics = driver.engine.cosmic_metrics();
    let moved = Moved { evicted: metrics.residency.evicted, came_in: metrics.operations.promotions };
    assert!(
        metrics.memory.held_bytes <= BUDGET + BUDGET / 33,
        "{} bytes are held",
        metrics.memory.held_bytes
    );
    (driver.run, moved)
}

struct Driver {
    run: Run,
    engine: WarpEngine,
    random: Random,
    model: Model,
}

impl Driver {
    fn step(&mut self) {
        let number = self.random.below(KEYS);
        match self.random.below(20) {
            0..7 => self.put(number),
            7..8 => self.delete(number),
            8..16 => assert_is_there(&self.engine, &self.model, number, "while it runs"),
            16..18 => {
                self.engine.sync().unwrap();
                self.acknowledge();
            }
            18 => {
                self.engine.checkpoint().unwrap();
                self.acknowledge();
            }
            _ => drop(self.engine.step()),
        }
    }

    fn put(&mut self, number: u64) {
        let text = format!("{number}/{}", self.run.writes.len());
        let effect = Effect::Put(place(number), (text.clone(), 0));
        self.write(effect, |engine| engine.put(place(number).1, expanded(&text)).unwrap().0);
    }

    fn delete(&mut self, number: u64) {
        if self.model.get(&place(number), START_MILLIS).is_some() {
            self.write(Effect::Delete(place(number)), |engine| {
                assert!(engine.delete(place(number).1).unwrap());
                engine.last_seq().0
            });
        }
    }

    fn write(&mut self, effect: Effect, write: impl FnOnce(&WarpEngine) -> u64) {
        let called_at = self.run.disk.operations();
        let seq = write(&self.engine.with_durability(Durability::Interval));
        self.model.apply(&effect);
        self.run.writes.push(Write { called_at, seq, effects: vec![effect] });
    }

    fn acknowledge(&mut self) {
        let last = self.run.writes.last().map_or(0, |write| write.seq);
        self.run.durable.push((self.run.disk.operations(), last));
    }
}

fn assert_is_there(engine: &WarpEngine, model: &Model, number: u64, when: &str) {
    let expected = model.get(&place(number), START_MILLIS).map(|(text, _)| expanded(text));
    let found = engine.get(place(number).1).unwrap();
    assert!(found.as_deref() == expected.as_deref(), "{when}: key {number} has another value");
}

/// Opens what a crash before operation `point` has left: it holds exactly a prefix of the writes, with all that was
/// acknowledged, and within the budget.
pub(crate) fn check(run: &Run, image: &SimDisk, point: u64, place: &str) {
    let engine = open(image, run.seed ^ 0xFEED).unwrap_or_else(|error| panic!("{place}: {error}"));
    let last_seq = engine.recovery_report().last_seq.0;
    let durable = run.durable_at(point);
    assert!(last_seq >= durable, "{place}: lost {durable}, recovered up to {last_seq}");
    let mut model = Model::default();
    for write in run.writes.iter().filter(|write| write.seq <= last_seq) {
        write.effects.iter().for_each(|effect| model.apply(effect));
    }
    for number in 0..KEYS {
        assert_is_there(&engine, &model, number, place);
    }
    let held = engine.cosmic_metrics().memory.held_bytes;
    assert!(held <= BUDGET + BUDGET / 33, "{place}: {held} bytes are held");
    let given = run.given_at(point);
    assert!(engine.put("probe", "1").unwrap().0 > given, "{place}: a sequence may have been given before");
}
