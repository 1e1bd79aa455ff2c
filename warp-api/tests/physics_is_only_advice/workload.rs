//! A workload of all kinds of calls, under a small memory budget, and every answer that it gets.

use std::fmt::Debug;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use warp_api::{
    AccessPattern, Advice, CasOutcome, Demon, Environment, Expected, Keyspace, Laws, Level,
    MEMORY_BUDGET_MIN, Options, Origin, Physics, PutOptions, QuantumOptions, Result, Route, RuleId, Seq,
    Strategy, Update, WarpEngine, WriteBatch,
};
use warp_io::Survival;

use crate::chance::{self, RandomAdvice};
use crate::common::{Machine, Random};
use crate::kept;

const STEPS: u64 = 12_000;
const FAMILIES: [&str; 3] = ["user", "profile", "order"];
/// Keys of each family: with the values of [`Driver::value`], a half more than there is room for.
const IDS: u64 = 800;
/// Writes that are enough for the demon to look at, and the keys that they go to.
const HOT_WRITES: u64 = 1_100;
const HOT_KEYS: u64 = 6;
const LOG_BUFFER_BYTES: usize = 128 << 10;
const REGIONS: [&str; 6] = ["oslo", "bern", "rome", "lima", "kyiv", "doha"];

/// Who advises the engine.
#[derive(Clone)]
pub(crate) enum Advisor {
    /// The physics layer, as far as it is switched on.
    Physics(Physics),
    /// Chance: which settings it has, what it answers when it is asked, how puts say that values will be used, what the laws
    /// are, and what the file of what was learned holds.
    Chance { advice: Arc<RandomAdvice>, seed: u64, demon: Demon, wormholes_learned: usize },
}

/// What came of a run.
#[derive(Default)]
pub(crate) struct Run {
    pub(crate) answers: Vec<String>,
    /// The routes that were found: learned shortcuts, where there are any, are part of them.
    pub(crate) routes: Vec<Option<Route>>,
    /// The last sequence number after each step.
    pub(crate) seqs: Vec<Seq>,
    pub(crate) done: Done,
}

/// What was done on advice.
#[derive(Debug, Default)]
pub(crate) struct Done {
    pub(crate) evicted: u64,
    pub(crate) packed: u64,
    pub(crate) unpacked: u64,
    pub(crate) kept_out: u64,
    pub(crate) promotions: u64,
    pub(crate) fetched: u64,
    pub(crate) warmed: u64,
    pub(crate) slots_moved: u64,
    pub(crate) files_restored: u64,
    pub(crate) files_refused: u64,
}

struct Driver {
    machine: Machine,
    engine: WarpEngine,
    other: Keyspace,
    advisor: Advisor,
    /// What is done follows from this alone.
    random: Random,
    /// What is advised.
    own: Random,
    step: u64,
    keys: Vec<String>,
    rule: Option<RuleId>,
    run: Run,
}

/// Runs the workload on a machine of its own.
pub(crate) fn run(advisor: &Advisor) -> Run {
    let machine = Machine::new(1);
    let mut own = Random(match advisor {
        Advisor::Physics(_) => 0,
        Advisor::Chance { seed, .. } => *seed,
    });
    let engine = open(&machine, advisor, &mut own);
    let keys = FAMILIES.iter().flat_map(|family| (0..IDS).map(move |id| format!("{family}:{id}"))).collect();
    let other = engine.keyspace("other").unwrap();
    let mut driver = Driver {
        machine,
        engine,
        other,
        advisor: advisor.clone(),
        random: Random(11),
        own,
        step: 0,
        keys,
        rule: None,
        run: Run::default(),
    };
    driver.fill();
    for _ in 0..STEPS {
        driver.next();
    }
    driver.finish()
}

fn options(physics: Physics) -> Options {
    Options::new()
        .physics(physics)
        .log_segment_bytes(1 << 20)
        .log_buffer_bytes(LOG_BUFFER_BYTES)
        .memory_budget(MEMORY_BUDGET_MIN + LOG_BUFFER_BYTES as u64)
}

fn open(machine: &Machine, advisor: &Advisor, own: &mut Random) -> WarpEngine {
    let (physics, advice): (_, Option<Arc<dyn Advice>>) = match advisor {
        Advisor::Physics(physics) => (*physics, None),
        Advisor::Chance { advice, demon, wormholes_learned, .. } => {
            (chance::physics(own, *demon, *wormholes_learned), Some(advice.clone()))
        }
    };
    let environment = Environment { advice, ..machine.environment() };
    options(physics).open_in(&machine.disk.root(), environment).unwrap()
}

/// A value, in short.
fn digest(value: &[u8]) -> String {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    format!("{}:{:x}", value.len(), hasher.finish())
}

fn digest_of<V: AsRef<[u8]>>(value: Option<V>) -> String {
    value.map_or_else(|| "nothing".to_owned(), |value| digest(value.as_ref()))
}

/// An answer, or which error it is.
fn told<T: Debug>(answer: Result<T>) -> String {
    match answer {
        Ok(answer) => format!("{answer:?}"),
        Err(error) => format!("{:?}", error.kind()),
    }
}

impl Driver {
    /// Declares and puts what there is at the start.
    fn fill(&mut self) {
        self.engine.entanglement_rule("user:{id}", &["profile:{id}", "order:{id}"], 0.6).unwrap();
        for key in self.keys.clone() {
            let value = self.value();
            self.engine.put(&key, value).unwrap();
            self.step += 1;
        }
        for (a, b) in REGIONS.iter().zip(&REGIONS[1..]) {
            self.engine.establish_wormhole(a, b, 0.5).unwrap();
        }
        self.engine.checkpoint().unwrap();
    }

    /// A key that is there or was: some much more often than others.
    fn key(&mut self) -> String {
        let id = (self.random.share() * self.random.share() * IDS as f64) as u64;
        format!("{}:{id}", self.random.pick(&FAMILIES))
    }

    /// A value that no other step puts: short, of a length that may be packed, or long; some can be compressed.
    fn value(&mut self) -> Vec<u8> {
        let bytes = match self.random.below(8) {
            0..2 => self.random.below(100),
            2..4 => 600 + self.random.below(4_000),
            _ => 4_000 + self.random.below(8_000),
        };
        let mut noise = self.random.below(3).checked_sub(1).map(|seed| Random(seed + self.step));
        let mut value = format!("{} ", self.step).into_bytes();
        while value.len() < bytes as usize {
            match &mut noise {
                Some(noise) => value.extend(noise.next().to_le_bytes()),
                None => value.extend(b"to and fro and "),
            }
        }
        value
    }

    /// How a value is put: what holds, by the workload; how it will be used, by whoever advises.
    fn put_options(&mut self) -> PutOptions {
        let mut options = PutOptions::new();
        if self.random.one_in(5) {
            options = options.ttl(Duration::from_millis(50 + self.random.below(5_000)));
        }
        if self.random.one_in(8) {
            let partner = self.key();
            options = options.entangled_with(&[partner]);
        }
        match self.advisor {
            Advisor::Physics(_) => options.access_pattern(AccessPattern::Balanced),
            Advisor::Chance { .. } => chance::hinted(&mut self.own, options),
        }
    }

    /// The step at whose end the write had been made that has this sequence number: what the demon writes in between has
    /// numbers of its own.
    fn when(&self, seq: Seq) -> usize {
        self.run.seqs.partition_point(|last| *last < seq)
    }

    fn next(&mut self) {
        self.step += 1;
        self.machine.clock.advance(Duration::from_millis(self.random.below(12)));
        let kind = self.random.below(100);
        let answer = match kind {
            0..24 => self.write(),
            24..56 => self.read(),
            56..70 => self.read_related(),
            70..78 => self.change_links(),
            78..84 => self.write_batch(),
            84..88 => self.scan(),
            88..91 => self.use_other(),
            91..94 => self.govern(),
            _ => self.maintain(),
        };
        let last = self.engine.last_seq();
        assert!(self.run.seqs.last() <= Some(&last), "sequence numbers go back");
        self.run.seqs.push(last);
        self.run.answers.push(format!("{}/{kind}: {answer}", self.step));
    }

    fn write(&mut self) -> String {
        let (key, value) = (self.key(), self.value());
        let options = self.put_options();
        let engine = &self.engine;
        match self.random.below(12) {
            0..5 => told(engine.put_with(&key, value, &options).map(|_| "put")),
            5 => told(engine.cosmic_put(&key, value, &options).map(|_| "put")),
            6 => told(engine.delete(&key)),
            7 => told(engine.cosmic_delete(&key).map(|deleted| (deleted.existed, deleted.seq.is_some()))),
            8 => told(engine.take(&key).map(digest_of)),
            9 => {
                let mut seen = String::new();
                let updated = engine.update(&key, |former| {
                    seen = digest_of(former);
                    former.map_or(Update::Put(b"new".to_vec()), |former| match former.len() % 3 {
                        0 => Update::Keep,
                        1 => Update::Delete,
                        _ => Update::Put([former, b"+"].concat()),
                    })
                });
                format!("{seen} {}", told(updated.map(digest_of)))
            }
            10 => self.swap(&key, &value),
            _ if self.random.one_in(2) => {
                let ttl = Duration::from_millis(20 + self.random.below(3_000));
                told(engine.expire(&key, ttl).and_then(|had| Ok((had, engine.ttl(&key)?))))
            }
            _ => told(engine.persist(&key)) + &told(engine.increment(&key, 1)),
        }
    }

    /// Compares and swaps with what a read has just found, or with something else.
    fn swap(&mut self, key: &str, value: &[u8]) -> String {
        let engine = &self.engine;
        let found = engine.get_entry(key).unwrap();
        let outcome = match self.random.below(4) {
            0 => engine.put_if_absent(key, value),
            1 => engine.compare_and_swap(key, found.as_ref().map(|found| &found.value[..]), Some(value)),
            2 => engine.compare_and_swap(key, Some(value), None),
            _ => match found {
                Some(found) => engine.compare_and_swap_seq(key, Some(found.seq), Some(value)),
                None => engine.compare_and_swap_seq(key, None, Some(value)),
            },
        };
        told(outcome.map(|outcome| match outcome {
            CasOutcome::Swapped(_) => "swapped".to_owned(),
            CasOutcome::Conflict(value) => digest_of(value),
        }))
    }

    fn read(&mut self) -> String {
        let key = self.key();
        let engine = &self.engine;
        match self.random.below(8) {
            0..2 => told(engine.get(&key).map(digest_of)),
            2 => told(engine.with_value(&key, digest)),
            3 => told(engine.cosmic_get(&key).map(|found| digest_of(found.map(|found| found.value)))),
            4 => told(engine.contains_key(&key).and_then(|is_there| Ok((is_there, engine.ttl(&key)?)))),
            5 => {
                let found = engine.get_entry(&key).unwrap();
                let told = |entry: warp_api::Entry| {
                    format!("{} {} {:?}", digest(&entry.value), self.when(entry.seq), entry.expires_at)
                };
                found.map_or_else(|| "nothing".to_owned(), told)
            }
            _ => {
                // Neighbors, so that some of them follow each other often.
                let keys: Vec<String> =
                    (0..1 + self.random.below(9)).map(|_| self.key()).chain([key]).collect();
                let engine = &self.engine;
                if self.random.one_in(2) {
                    let found = engine.multi_get(&keys).unwrap();
                    format!("{:?}", found.into_iter().map(digest_of).collect::<Vec<_>>())
                } else {
                    let mut found = vec![String::new(); keys.len()];
                    engine.multi_get_with(&keys, |place, value| found[place] = digest_of(value)).unwrap();
                    format!("{found:?}")
                }
            }
        }
    }

    /// A key and its partners. What was learned is advice: left out, but right where it is told.
    fn read_related(&mut self) -> String {
        let key = self.key();
        let engine = &self.engine;
        if self.random.one_in(4) {
            let links = engine.partners(&key).unwrap();
            let links = links.iter().filter(|link| link.origin != Origin::Learned);
            let links = links.map(|link| (String::from_utf8_lossy(&link.key), link.strength, link.origin));
            return format!("{:?}", links.collect::<Vec<_>>());
        }
        let all = QuantumOptions { partners_max: usize::MAX, strength_min: 0.1 };
        let Some(found) = engine.quantum_get_with(&key, &all).unwrap() else { return "nothing".to_owned() };
        let mut told = digest(&found.value);
        for partner in found.partners {
            if partner.origin == Origin::Learned {
                assert_eq!(partner.value, engine.get(&partner.key).unwrap(), "{:?}", partner.key);
                continue;
            }
            let key = String::from_utf8_lossy(&partner.key);
            told += &format!(" {key} {} {:?} {}", partner.strength, partner.origin, digest_of(partner.value));
        }
        told
    }

    fn change_links(&mut self) -> String {
        let (key, partners) = (self.key(), [self.key(), self.key()]);
        let strength = self.random.share();
        let engine = &self.engine;
        match self.random.below(8) {
            0..4 => told(engine.entangle(&key, &partners, strength).map(|_| "linked")),
            4 => told(engine.disentangle(&key, &partners).map(|_| "parted")),
            5 => {
                let (a, b) = (self.random.pick(&REGIONS), self.random.pick(&REGIONS));
                if self.random.one_in(3) {
                    told(engine.close_wormhole(a, b))
                } else {
                    told(engine.establish_wormhole(a, b, strength).map(|_| "established"))
                }
            }
            6 => match self.rule.take() {
                Some(rule) => told(engine.remove_rule(rule)),
                None => {
                    let rule = engine.entanglement_rule("order:{id}", &["user:{id}"], strength);
                    self.rule = rule.as_ref().ok().copied();
                    told(rule)
                }
            },
            _ => {
                let route = engine.route(self.random.pick(&REGIONS), self.random.pick(&REGIONS));
                let answer = format!("{}", route.is_some());
                self.run.routes.push(route);
                answer
            }
        }
    }

    fn write_batch(&mut self) -> String {
        if self.random.one_in(15) {
            self.write_hot();
        }
        let mut batch = WriteBatch::new();
        let key = self.key();
        let found = self.engine.get_entry(&key).unwrap();
        match (self.random.below(5), &found) {
            (0, _) => _ = batch.require(&key, Expected::Absent),
            (1, _) => _ = batch.require(&key, Expected::Present),
            (2, Some(found)) => _ = batch.require(&key, Expected::Value(&found.value)),
            (3, Some(found)) => _ = batch.require(&key, Expected::Seq(found.seq)),
            _ => {}
        }
        for _ in 0..1 + self.random.below(5) {
            let (key, value, options) = (self.key(), self.value(), self.put_options());
            match self.random.below(4) {
                0 => _ = batch.delete(&key),
                1 => _ = batch.put_in_with(&self.other, &key, &value, &options),
                _ => _ = batch.put_with(&key, &value, &options),
            }
        }
        told(self.engine.write(&batch).map(|_| "written"))
    }

    /// Writes so much to few keys that the demon has something to do.
    fn write_hot(&mut self) {
        for write in 0..HOT_WRITES {
            let value = format!("{write} {}", self.step);
            self.engine.put(format!("hot:{}", write % HOT_KEYS), value).unwrap();
        }
        self.machine.clock.advance(Duration::from_millis(1_001));
        self.engine.step();
    }

    fn scan(&mut self) -> String {
        let (from, to) = (self.key(), self.key());
        let engine = &self.engine;
        let scan = match self.random.below(3) {
            0 => engine.scan_prefix(&from),
            1 if from < to => engine.range(from..to),
            _ => engine.range(from..),
        };
        let told = |item: Result<(warp_api::Key, warp_api::Value)>| {
            let (key, value) = item.unwrap();
            format!("{} {}", String::from_utf8_lossy(&key), digest(&value))
        };
        let most = self.random.below(40) as usize;
        let items: Vec<String> = if self.random.one_in(2) {
            scan.take(most).map(told).collect()
        } else {
            scan.rev().take(most).map(told).collect()
        };
        format!("{items:?}")
    }

    /// Another keyspace, which is cleared and dropped now and then.
    fn use_other(&mut self) -> String {
        let (key, value, options) = (self.key(), self.value(), self.put_options());
        match self.random.below(8) {
            0..4 => told(self.other.put_with(&key, value, &options).map(|_| "put")),
            4..6 => told(self.other.get(&key).map(digest_of)),
            6 => format!("{:?} {}", self.other.len().unwrap(), told(self.other.clear().map(|_| "cleared"))),
            _ => {
                let dropped = told(self.engine.drop_keyspace("other"));
                self.other = self.engine.keyspace("other").unwrap();
                dropped
            }
        }
    }

    /// Laws, and moving slots on demand.
    fn govern(&mut self) -> String {
        if self.random.one_in(2) {
            // What it did is its own affair, and whether it is switched on.
            let _ = self.engine.trigger_entropy_rebalancing(Strategy::Moderate);
            return String::new();
        }
        let level = self.random.pick(&[Level::Hot, Level::Warm, Level::Cold]);
        let laws = match self.advisor {
            Advisor::Physics(_) => Laws { pace: self.step as f64 / 1_000.0, ..Laws::default() },
            Advisor::Chance { .. } => chance::laws(&mut self.own),
        };
        told(self.engine.set_laws(level, laws).map(|_| self.engine.laws(level) == laws))
    }

    fn maintain(&mut self) -> String {
        match self.random.below(40) {
            0..2 => told(self.engine.checkpoint().map(|_| "taken")),
            2 => told(self.engine.len()),
            3 => {
                self.reopen();
                "reopened".to_owned()
            }
            4 => {
                self.crash();
                "crashed".to_owned()
            }
            5 => {
                self.machine.clock.advance(Duration::from_secs(61));
                self.engine.step();
                String::new()
            }
            _ => {
                self.engine.step();
                String::new()
            }
        }
    }

    fn reopen(&mut self) {
        self.tally();
        self.engine.clone().close().unwrap();
        self.begin();
    }

    /// Power is lost, after all is durable that was said.
    fn crash(&mut self) {
        self.tally();
        self.engine.sync().unwrap();
        let survival = Survival::seeded(self.random.below(20));
        self.machine = self.machine.with_disk(self.machine.disk.crash(survival));
        self.begin();
    }

    fn begin(&mut self) {
        if let Advisor::Chance { .. } = self.advisor {
            kept::replace(&self.machine, &mut self.own, &self.keys);
        }
        self.engine = open(&self.machine, &self.advisor, &mut self.own);
        self.other = self.engine.keyspace("other").unwrap();
        // A warm start takes several.
        (0..8).for_each(|_| _ = self.engine.step());
    }

    fn tally(&mut self) {
        let metrics = self.engine.cosmic_metrics();
        let (residency, learned) = (&metrics.residency, metrics.learned.as_ref().unwrap());
        let done = &mut self.run.done;
        done.evicted += residency.evicted;
        done.packed += residency.packed;
        done.unpacked += residency.unpacked;
        done.kept_out += residency.kept_out;
        done.promotions += metrics.operations.promotions;
        done.fetched += metrics.entanglement.fetching.fetched;
        done.warmed += metrics.warm_start.as_ref().unwrap().entries;
        done.slots_moved += metrics.demon.slots_moved;
        done.files_restored += learned.restored.len() as u64;
        done.files_refused += learned.problems.len() as u64;
    }

    /// Everything that there is, before and after one more restart without advice, and whether the files are sound.
    fn finish(mut self) -> Run {
        let all = |engine: &WarpEngine, other: &Keyspace| {
            let items = engine.iter().chain(other.iter()).map(|item| item.unwrap());
            items
                .map(|(key, value)| format!("{} {}", String::from_utf8_lossy(&key), digest(&value)))
                .collect()
        };
        let items: Vec<String> = all(&self.engine, &self.other);
        // What was learned may be damaged, which the test itself has seen to.
        let mut problems = self.engine.verify().unwrap().problems;
        problems.retain(|problem| !problem.file.starts_with("advice-"));
        assert_eq!(problems, []);
        self.reopen();
        self.engine.close().unwrap();
        let engine = self.machine.open(options(Physics::off()));
        assert_eq!(all(&engine, &engine.keyspace("other").unwrap()), items);
        self.run.answers.extend(items);
        self.run
    }
}
