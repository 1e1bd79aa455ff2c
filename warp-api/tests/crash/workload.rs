//! A mixed workload on a recorded simulated disk, chosen by a seed.

use std::sync::Arc;
use std::time::Duration;

pub(crate) use warp_api::LogFormat;
use warp_api::{
    Background, Demon, Durability, Environment, ErrorKind, Keyspace, Laws, Options, Physics, PutOptions, Seq,
    Strategy, Update, WarpEngine, WriteBatch,
};
use warp_io::{Clock, SimClock, SimDisk};

use crate::common::Random;
use crate::model::{Balance, DEFAULT, Effect, LEVELS, LOAD_KEYS, Model, Stored, load_key};

/// Keys are few, so that they are overwritten, deleted and linked again and again.
const KEYS: u64 = 14;
/// The names that keyspaces are made under.
const NAMES: [&str; 2] = ["one", "two"];
/// The names of regions: few, as keys are.
const REGIONS: [&str; 3] = ["oslo", "bern", "rome"];
/// A load is so many batches,
const LOAD_BATCHES: usize = 33;
/// each of so many keys: together just enough writes for a plan of which slots to move.
const LOAD_WIDTH: u64 = 32;
/// Times to live: over while the workload goes on, over when its images are looked at, and longer than either.
const TTLS_MILLIS: [u64; 3] = [100, 60_000, 3_600_000];

/// A key with its keyspace.
type Place = (String, String);

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
    pub(crate) slots_moved: u64,
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
        // Slots are moved where the workload says so, and it takes note of it.
        .physics(Physics { demon: Demon::Manual, ..Physics::default() })
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
    let run = Run { seed, disk, format, writes: Vec::new(), durable: Vec::new(), slots_moved: 0 };
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
            0..17 => self.put(),
            17..21 => self.put_with_deadline(),
            21..24 => self.set_deadline(),
            24..31 => self.delete(),
            31..40 => self.batch(),
            40..46 => self.link(),
            46..49 => self.unlink(),
            49..51 => self.rule(),
            51..55 => self.wormhole(),
            55..57 => self.close_wormhole(),
            57..59 => self.laws(),
            59..60 => self.load(),
            60..64 => self.update(),
            64..68 => self.increment(),
            68..72 => self.large(),
            72..75 => self.make(),
            75..76 => self.drop_one(),
            76..78 => self.clear(),
            78..83 => self.sync(),
            83..91 => self.background(),
            91..95 => self.checkpoint(),
            95..97 => self.reopen_closed(),
            _ => self.reopen_dropped(),
        }
    }

    /// A key of the default keyspace, mostly, or of one of the others that there are.
    fn place(&mut self) -> Place {
        let chosen = NAMES[self.random.below(2) as usize];
        let is_there = self.random.below(3) == 0 && self.model.keyspaces().contains(chosen);
        (if is_there { chosen } else { DEFAULT }.to_owned(), self.key())
    }

    fn now(&self) -> u64 {
        self.clock.unix_millis()
    }

    /// What a key has at this moment.
    fn present(&self, place: &Place) -> Option<Stored> {
        self.model.get(place, self.now()).cloned()
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
        self.note(called_at, seq, effects);
        if durability == Durability::Sync {
            self.run.durable.push((self.run.disk.operations(), seq.0));
        }
    }

    /// Takes note of a write that was made.
    fn note(&mut self, called_at: u64, seq: Seq, effects: Vec<Effect>) {
        effects.iter().for_each(|effect| self.model.apply(effect));
        assert!(self.run.writes.last().is_none_or(|last| last.seq < seq.0), "sequences must ascend");
        self.run.writes.push(Write { called_at, seq: seq.0, effects });
    }

    /// As [`Driver::write`], through a handle to the keyspace of a key.
    fn write_at(&mut self, place: &Place, effect: Effect, write: impl FnOnce(&Keyspace) -> Option<Seq>) {
        let keyspace = &place.0;
        self.write(vec![effect], |engine| write(&engine.keyspace(keyspace).unwrap()));
    }

    fn put(&mut self) {
        let (place, value) = (self.place(), self.value());
        let effect = Effect::Put(place.clone(), (value.clone(), 0));
        self.write_at(&place, effect, |keyspace| Some(keyspace.put(&place.1, value).unwrap()));
    }

    fn put_with_deadline(&mut self) {
        let (place, value) = (self.place(), self.value());
        let millis = TTLS_MILLIS[self.random.below(3) as usize];
        let effect = Effect::Put(place.clone(), (value.clone(), self.now() + millis));
        let options = PutOptions::new().ttl(Duration::from_millis(millis));
        self.write_at(&place, effect, |keyspace| Some(keyspace.put_with(&place.1, value, &options).unwrap()));
    }

    fn set_deadline(&mut self) {
        let place = self.place();
        let millis = TTLS_MILLIS[self.random.below(3) as usize];
        let Some((value, before)) = self.present(&place) else { return };
        let lasts = self.random.below(2) == 0;
        let deadline = if lasts { 0 } else { self.now() + millis };
        let engine = self.engine.clone();
        let effect = Effect::Put(place.clone(), (value, deadline));
        self.write_at(&place, effect, |keyspace| {
            let changed = if lasts {
                keyspace.persist(&place.1).unwrap()
            } else {
                keyspace.expire(&place.1, Duration::from_millis(millis)).unwrap()
            };
            assert_eq!(changed, !lasts || before != 0, "{place:?}");
            changed.then(|| engine.last_seq())
        });
    }

    fn delete(&mut self) {
        let place = self.place();
        let existed = self.present(&place).is_some();
        self.write_at(&place, Effect::Delete(place.clone()), |keyspace| {
            let deleted = keyspace.cosmic_delete(&place.1).unwrap();
            assert_eq!(deleted.existed, existed, "{place:?}");
            deleted.seq
        });
    }

    /// Across all keyspaces.
    fn batch(&mut self) {
        let mut batch = WriteBatch::new();
        let mut effects = Vec::new();
        for _ in 0..2 + self.random.below(5) {
            let (place, value) = (self.place(), self.value());
            let keyspace = self.engine.keyspace(&place.0).unwrap();
            if self.random.below(4) == 0 {
                batch.delete_in(&keyspace, &place.1);
                effects.push(Effect::Delete(place));
            } else {
                batch.put_in(&keyspace, &place.1, &value);
                effects.push(Effect::Put(place, (value, 0)));
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

    fn two_regions(&mut self) -> (String, String) {
        let a = self.random.below(3) as usize;
        let b = (a + 1 + self.random.below(2) as usize) % REGIONS.len();
        (REGIONS[a].to_owned(), REGIONS[b].to_owned())
    }

    fn wormhole(&mut self) {
        let (a, b) = self.two_regions();
        // Of its own for every write, as that of a link.
        let strength = (self.run.writes.len() + 1) as f64 / 10_000.0;
        let effects = vec![Effect::Wormhole(a.clone(), b.clone(), strength)];
        self.write(effects, |engine| Some(engine.establish_wormhole(a, b, strength).unwrap()));
    }

    fn close_wormhole(&mut self) {
        let (a, b) = self.two_regions();
        self.write(vec![Effect::CloseWormhole(a.clone(), b.clone())], |engine| {
            engine.close_wormhole(a, b).unwrap().then(|| engine.last_seq())
        });
    }

    /// Sets laws that change nothing of what the workload expects: no write says which level it is for, no memory is short,
    /// and slots are moved on demand only.
    fn laws(&mut self) {
        let level = LEVELS[self.random.below(3) as usize];
        let number = self.run.writes.len() as u64;
        let durabilities = [None, Some(Durability::Sync), Some(Durability::Interval), Some(Durability::Os)];
        let laws = if self.random.below(4) == 0 {
            Laws::default()
        } else {
            Laws {
                durability: durabilities[self.random.below(4) as usize],
                // Never the default, and of its own for every write.
                pace: 2.0 + number as f64 / 10_000.0,
                capacity_bytes: (self.random.below(2) == 0).then_some((1 << 40) + number),
                entropy_limit: (self.random.below(2) == 0).then_some(number as f64 / 10_000.0),
            }
        };
        let before = self.engine.last_seq();
        self.write(vec![Effect::Laws(level, laws)], |engine| {
            let seq = engine.set_laws(level, laws).unwrap();
            (seq != before).then_some(seq)
        });
    }

    /// Writes to few keys, so often that it says which slots to move, and has them moved.
    fn load(&mut self) {
        let first = self.random.below(LOAD_KEYS);
        for _ in 0..LOAD_BATCHES {
            let mut batch = WriteBatch::new();
            let mut effects = Vec::new();
            for number in first..first + LOAD_WIDTH {
                let (key, value) = (load_key(number % LOAD_KEYS), self.run.writes.len().to_string());
                batch.put(&key, &value);
                effects.push(Effect::Put((DEFAULT.to_owned(), key), (value, 0)));
            }
            self.write(effects, |engine| Some(engine.write(&batch).unwrap()));
        }
        if self.random.below(2) == 0 {
            self.sync();
            self.engine.step();
        }
        self.rebalance();
    }

    fn rebalance(&mut self) {
        let strategies = [Strategy::Minimal, Strategy::Moderate, Strategy::Aggressive];
        let strategy = strategies[self.random.below(3) as usize];
        let called_at = self.run.disk.operations();
        match self.engine.trigger_entropy_rebalancing(strategy) {
            Ok(report) => {
                let (seq, balance) = (self.engine.last_seq(), Balance::of(&self.engine));
                self.run.slots_moved += report.slots_moved;
                self.note(called_at, seq, vec![Effect::Balance(balance)]);
            }
            // It does not wait for room in the log: nothing is written then, and nothing has moved.
            Err(error) => assert_eq!(error.kind(), ErrorKind::Busy, "{error}"),
        }
    }

    fn update(&mut self) {
        let place = self.place();
        let (before, deadline) = self.present(&place).unwrap_or_default();
        let after = format!("{}+", before.chars().take(40).collect::<String>());
        let engine = self.engine.clone();
        let effect = Effect::Put(place.clone(), (after.clone(), deadline));
        self.write_at(&place, effect, |keyspace| {
            keyspace.update(&place.1, |_| Update::Put(after.clone().into_bytes())).unwrap();
            Some(engine.last_seq())
        });
    }

    fn increment(&mut self) {
        let (keyspace, _) = self.place();
        let place = (keyspace, "count".to_owned());
        let (before, deadline) = self.present(&place).unwrap_or_default();
        let by = self.random.below(1_000) as i64 - 500;
        let after = before.parse().unwrap_or(0) + by;
        let engine = self.engine.clone();
        let effect = Effect::Put(place.clone(), (after.to_string(), deadline));
        self.write_at(&place, effect, |keyspace| {
            assert_eq!(keyspace.increment(&place.1, by).unwrap(), after);
            Some(engine.last_seq())
        });
    }

    /// A value that compresses, or one that neither compresses nor fits a usual frame or segment.
    fn large(&mut self) {
        let place = self.place();
        let value = if self.random.below(2) == 0 {
            "abcdefgh".repeat(40 + self.random.below(200) as usize)
        } else {
            let length = 2_000 + self.random.below(40_000);
            (0..length).map(|_| char::from(b'!' + (self.random.next() % 90) as u8)).collect()
        };
        let effect = Effect::Put(place.clone(), (value.clone(), 0));
        self.write_at(&place, effect, |keyspace| Some(keyspace.put(&place.1, value).unwrap()));
    }

    fn make(&mut self) {
        let name = NAMES[self.random.below(2) as usize];
        if !self.model.keyspaces().contains(name) {
            self.write(vec![Effect::Make(name.to_owned())], |engine| {
                engine.keyspace(name).unwrap();
                Some(engine.last_seq())
            });
        }
    }

    fn drop_one(&mut self) {
        let name = NAMES[self.random.below(2) as usize];
        if self.model.keyspaces().contains(name) {
            self.write(vec![Effect::Drop(name.to_owned())], |engine| {
                assert!(engine.drop_keyspace(name).unwrap());
                Some(engine.last_seq())
            });
        }
    }

    fn clear(&mut self) {
        let place = self.place();
        let effect = Effect::Clear(place.0.clone());
        self.write_at(&place, effect, |keyspace| Some(keyspace.clear().unwrap()));
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
