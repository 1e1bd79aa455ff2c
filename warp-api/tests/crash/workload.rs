//! A mixed workload on a recorded simulated disk, chosen by a seed.

use std::sync::Arc;
use std::time::Duration;

pub(crate) use warp_api::LogFormat;
use warp_api::{Background, Durability, Environment, Options, Seq, Update, WarpEngine, WriteBatch};
use warp_io::{SimClock, SimDisk};

use crate::model::{Effect, Model};

/// Keys are few, so that they are overwritten, deleted and linked again and again.
const KEYS: u64 = 14;

/// A run of a workload, and what is known of it.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) seed: u64,
    pub(crate) disk: SimDisk,
    pub(crate) format: LogFormat,
    /// Every write, in the order of sequence numbers.
    pub(crate) writes: Vec<Write>,
    /// What was acknowledged as durable: from which operation of the disk on, up to which sequence.
    pub(crate) durable: Vec<(u64, u64)>,
}

#[derive(Debug)]
pub(crate) struct Write {
    /// The disk's count of operations when the write was called.
    pub(crate) called_at: u64,
    pub(crate) seq: u64,
    pub(crate) effects: Vec<Effect>,
}

impl Run {
    /// The sequence up to which everything was acknowledged as durable before operation `point`.
    pub(crate) fn durable_at(&self, point: u64) -> u64 {
        self.durable.iter().filter(|(at, _)| *at <= point).map(|(_, seq)| *seq).max().unwrap_or(0)
    }

    /// The highest sequence that may have been given before operation `point`.
    pub(crate) fn given_at(&self, point: u64) -> u64 {
        self.writes.iter().filter(|write| write.called_at <= point).map(|write| write.seq).max().unwrap_or(0)
    }
}

/// Small segments and buffers, so that a short workload fills them.
pub(crate) fn options(format: LogFormat) -> Options {
    Options::new()
        .log_format(format)
        .log_segment_bytes(64 << 10)
        .log_buffer_bytes(16 << 10)
        .compress_values_from(256)
        .checkpoints_kept(2)
}

pub(crate) fn environment(clock: &SimClock, seed: u64) -> Environment {
    Environment {
        clock: Arc::new(clock.clone()),
        seed,
        background: Background::Stepped,
        ..Environment::default()
    }
}

pub(crate) fn run(seed: u64, steps: usize, format: LogFormat) -> Run {
    let disk = SimDisk::new(seed);
    disk.record();
    let run = Run { seed, disk, format, writes: Vec::new(), durable: Vec::new() };
    let clock = SimClock::new(1_700_000_000_000);
    let engine = open(&run, &clock);
    let mut driver =
        Driver { run, clock, engine, random: Random(seed ^ 0x5DEE_CE66), model: Model::default() };
    for _ in 0..steps {
        driver.step();
    }
    driver.run
}

fn open(run: &Run, clock: &SimClock) -> WarpEngine {
    options(run.format).open_in(&run.disk.root(), environment(clock, run.seed)).unwrap()
}

/// `SplitMix64` (Steele, Lea, Flood: Fast splittable pseudorandom number generators, OOPSLA 2014).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        bits ^ (bits >> 31)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

struct Driver {
    run: Run,
    clock: SimClock,
    engine: WarpEngine,
    random: Random,
    model: Model,
}

impl Driver {
    fn step(&mut self) {
        match self.random.below(100) {
            0..30 => self.put(),
            30..40 => self.delete(),
            40..52 => self.batch(),
            52..60 => self.link(),
            60..63 => self.unlink(),
            63..65 => self.rule(),
            65..72 => self.update(),
            72..77 => self.large(),
            77..79 => self.clear(),
            79..84 => self.sync(),
            84..91 => self.background(),
            91..95 => self.checkpoint(),
            95..97 => self.reopen_closed(),
            _ => self.reopen_dropped(),
        }
    }

    fn key(&mut self) -> String {
        let number = self.random.below(KEYS);
        if number < 4 { format!("user:{number}") } else { format!("key:{number}") }
    }

    /// A value that says where it comes from.
    fn value(&mut self) -> String {
        let filler = self.random.below(60);
        format!("{}/{}/{}", self.run.seed, self.run.writes.len(), "v".repeat(filler as usize))
    }

    /// Makes a write through a handle of a chosen durability, and takes note of it.
    fn write(&mut self, effects: Vec<Effect>, write: impl FnOnce(&WarpEngine) -> Option<Seq>) {
        let called_at = self.run.disk.operations();
        // Few syncs, so that much is pending when the crash comes.
        let durability = match self.random.below(5) {
            0 => Durability::Sync,
            1 | 2 => Durability::Os,
            _ => Durability::Interval,
        };
        let Some(seq) = write(&self.engine.with_durability(durability)) else { return };
        effects.iter().for_each(|effect| self.model.apply(effect));
        assert!(self.run.writes.last().is_none_or(|last| last.seq < seq.0), "sequences must ascend");
        self.run.writes.push(Write { called_at, seq: seq.0, effects });
        if durability == Durability::Sync {
            self.run.durable.push((self.run.disk.operations(), seq.0));
        }
    }

    fn put(&mut self) {
        let (key, value) = (self.key(), self.value());
        self.write(vec![Effect::Put(key.clone(), value.clone())], |engine| {
            Some(engine.put(key, value).unwrap())
        });
    }

    fn delete(&mut self) {
        let key = self.key();
        let existed = self.model.get(&key).is_some();
        self.write(vec![Effect::Delete(key.clone())], |engine| {
            let deleted = engine.cosmic_delete(&key).unwrap();
            assert_eq!(deleted.existed, existed, "{key}");
            deleted.seq
        });
    }

    fn batch(&mut self) {
        let mut batch = WriteBatch::new();
        let mut effects = Vec::new();
        for _ in 0..2 + self.random.below(5) {
            let (key, value) = (self.key(), self.value());
            if self.random.below(4) == 0 {
                batch.delete(&key);
                effects.push(Effect::Delete(key));
            } else {
                batch.put(&key, &value);
                effects.push(Effect::Put(key, value));
            }
        }
        self.write(effects, |engine| Some(engine.write(&batch).unwrap()));
    }

    fn two_keys(&mut self) -> (String, String) {
        loop {
            let (a, b) = (self.key(), self.key());
            if a != b {
                return (a, b);
            }
        }
    }

    fn link(&mut self) {
        let (a, b) = self.two_keys();
        // A strength of its own for every write, so that declaring again always changes something.
        let strength = (self.run.writes.len() + 1) as f64 / 1000.0;
        let effects = vec![Effect::Link(a.clone(), b.clone(), strength)];
        self.write(effects, |engine| Some(engine.entangle(a, &[b], strength).unwrap()));
    }

    fn unlink(&mut self) {
        let (a, b) = self.two_keys();
        let before = self.engine.last_seq();
        self.write(vec![Effect::Unlink(a.clone(), b.clone())], |engine| {
            let seq = engine.disentangle(a, &[b]).unwrap();
            (seq != before).then_some(seq)
        });
    }

    fn rule(&mut self) {
        let strength = (self.run.writes.len() + 1) as f64 / 1000.0;
        let effects = vec![Effect::Rule("user:{id}".into(), "key:{id}".into(), strength)];
        self.write(effects, |engine| {
            engine.entanglement_rule("user:{id}", &["key:{id}"], strength).unwrap();
            Some(engine.last_seq())
        });
    }

    fn update(&mut self) {
        let key = self.key();
        let after =
            format!("{}+", self.model.get(&key).unwrap_or_default().chars().take(40).collect::<String>());
        self.write(vec![Effect::Put(key.clone(), after.clone())], |engine| {
            engine.update(&key, |_| Update::Put(after.clone().into_bytes())).unwrap();
            Some(engine.last_seq())
        });
    }

    /// A value that compresses, or one that neither compresses nor fits a usual frame or segment.
    fn large(&mut self) {
        let key = self.key();
        let value = if self.random.below(2) == 0 {
            "abcdefgh".repeat(40 + self.random.below(200) as usize)
        } else {
            let length = 2_000 + self.random.below(40_000);
            (0..length).map(|_| char::from(b'!' + (self.random.next() % 90) as u8)).collect()
        };
        self.write(vec![Effect::Put(key.clone(), value.clone())], |engine| {
            Some(engine.put(key, value).unwrap())
        });
    }

    fn clear(&mut self) {
        self.write(vec![Effect::Clear], |engine| Some(engine.clear().unwrap()));
    }

    fn sync(&mut self) {
        self.engine.sync().unwrap();
        self.acknowledge_all();
    }

    fn background(&mut self) {
        self.clock.advance(Duration::from_millis(self.random.below(150)));
        self.engine.step();
    }

    fn checkpoint(&mut self) {
        self.engine.checkpoint().unwrap();
        self.acknowledge_all();
        self.engine.step();
    }

    fn acknowledge_all(&mut self) {
        let last = self.run.writes.last().map_or(0, |write| write.seq);
        self.run.durable.push((self.run.disk.operations(), last));
    }

    fn reopen_closed(&mut self) {
        self.engine.clone().close().unwrap();
        self.acknowledge_all();
        self.engine = WarpEngine::in_memory();
        self.engine = open(&self.run, &self.clock);
        assert!(self.engine.recovery_report().clean_close);
    }

    fn reopen_dropped(&mut self) {
        self.engine = WarpEngine::in_memory();
        self.acknowledge_all();
        self.engine = open(&self.run, &self.clock);
    }
}
