//! Maxwell's demon: how evenly writes fall on the shards with it and without, and what that is worth to writers.

mod writers;

use std::sync::Arc;
use std::time::Duration;

use warp_api::{Background, Demon, Environment, Options, Physics, ShardId, WarpEngine};
use warp_core::{SLOTS, hash_key, slot_of};
use warp_io::SimClock;
use warp_physics::{max_over_mean, normalized_entropy};

use super::Job;
use crate::random::Random;
use crate::report::{Cell, Table, grouped};
use crate::run::Outcome;
use crate::zipf::{YCSB_THETA, Zipf};

/// Keys of the data.
const KEYS: usize = 100_000;
/// Writes between two looks of the demon.
const EPOCH_WRITES: [usize; 3] = [20_000, 200_000, 200_000];
/// Looks before the load changes, and as many after.
const EPOCHS: [usize; 3] = [16, 30, 60];
/// Where nothing is to move any more, the last so many epochs of each half are looked at together.
const SETTLED: usize = 10;
/// The share of the writes that goes to hot keys, where there are some.
const HOT_SHARE: f64 = 0.9;
const HOT_KEYS: usize = 64;
const ONE_SHARE: f64 = 0.25;
/// What is taken for near the least possible, in times of it: chance has more of fewer writes.
const NEAR: [f64; 3] = [1.25, 1.05, 1.05];
/// An epoch is back to normal with at most so many times the settled load of the heaviest shard.
const RECOVERED: f64 = 1.1;
/// The number of the keyspace in which keys without another one are.
const KEYSPACE: u32 = 1;
/// Streams of random numbers.
const WRITES: u64 = 1;

/// Runs the part.
///
/// # Errors
/// What the engine answers.
pub(crate) fn entropy(job: &mut Job) -> Outcome<()> {
    evenness(job)?;
    writers::writers(job)
}

/// How writes choose their keys: numbers below [`KEYS`].
enum Load {
    /// A few keys often, others ones after the change.
    Zipf(Zipf),
    /// Most writes to keys that began on one shard, of another shard after the change.
    OneShard([Vec<usize>; 2]),
    /// One key gets more than a shard's share, another one after the change.
    OneKey,
}

impl Load {
    fn key(&self, is_changed: bool, random: &mut Random) -> usize {
        let shift = if is_changed { KEYS / 2 } else { 0 };
        match self {
            Load::Zipf(zipf) => (zipf.scrambled(random) + shift) % KEYS,
            Load::OneShard(hot) if random.unit() < HOT_SHARE => {
                let hot = &hot[usize::from(is_changed)];
                hot[random.below(hot.len())]
            }
            Load::OneKey if random.unit() < ONE_SHARE => shift,
            Load::OneShard(_) | Load::OneKey => random.below(KEYS),
        }
    }
}

fn key(number: usize) -> [u8; 8] {
    (number as u64).to_le_bytes()
}

/// An engine in memory whose background is done by hand, so that a look of the demon comes after each epoch.
struct Stepped {
    engine: WarpEngine,
    clock: SimClock,
    seed: u64,
}

impl Stepped {
    fn open(seed: u64, demon: Demon) -> Outcome<Stepped> {
        let clock = SimClock::new(0);
        let environment = Environment {
            clock: Arc::new(clock.clone()),
            seed,
            background: Background::Stepped,
            ..Environment::default()
        };
        let physics = Physics { demon, ..Physics::default() };
        let engine = Options::new().physics(physics).in_memory_in(environment);
        for number in 0..KEYS {
            engine.put(key(number), [0; 8])?;
        }
        Ok(Stepped { engine, clock, seed })
    }

    fn slot(&self, number: usize) -> usize {
        slot_of(hash_key(self.seed, KEYSPACE, &key(number)))
    }

    fn shard(&self, number: usize) -> Outcome<ShardId> {
        Ok(self.engine.cosmic_get(key(number))?.ok_or("a key is not there")?.shard)
    }

    /// Keys of different slots that began on one shard, for two shards.
    fn on_two_shards(&self) -> Outcome<[Vec<usize>; 2]> {
        let mut hot = [Vec::new(), Vec::new()];
        let mut slots = vec![false; SLOTS];
        for number in 0..KEYS {
            let shard = self.shard(number)?;
            let Some(hot) = [0, 1].into_iter().position(|of| shard == ShardId(of)).map(|of| &mut hot[of])
            else {
                continue;
            };
            if hot.len() < HOT_KEYS && !std::mem::replace(&mut slots[self.slot(number)], true) {
                hot.push(number);
            }
        }
        Ok(hot)
    }

    /// Operations on each shard since the open.
    fn operations(&self) -> Vec<u64> {
        self.engine.spacetime_metrics().shards.iter().map(|shard| shard.operations).collect()
    }
}

/// The writes of one epoch, as they fell.
struct Epoch {
    shards: Vec<f64>,
    moved: u64,
}

/// What one load came to under one demon.
struct Course {
    epochs: Vec<Epoch>,
    /// The most that the heaviest shard must carry over the mean, since a slot cannot be divided: by the writes of each half.
    bound: [f64; 2],
}

impl Course {
    fn run(job: &Job, stepped: &Stepped, load: &Load) -> Outcome<Course> {
        let mut random = Random::new(job.seed, WRITES);
        let (epochs, writes) = (job.size(EPOCHS), job.size(EPOCH_WRITES));
        let mut course = Course { epochs: Vec::new(), bound: [0.0; 2] };
        let mut before = stepped.operations();
        let mut moved = stepped.engine.spacetime_metrics().demon.slots_moved;
        for half in [false, true] {
            let mut slots = vec![0_u64; SLOTS];
            for _ in 0..epochs {
                for _ in 0..writes {
                    let number = load.key(half, &mut random);
                    slots[stepped.slot(number)] += 1;
                    stepped.engine.put(key(number), [1; 8])?;
                }
                let after = stepped.operations();
                let shards =
                    after.iter().zip(&before).map(|(after, before)| (after - before) as f64).collect();
                before = after;
                stepped.clock.advance(Duration::from_secs(1));
                stepped.engine.step();
                let now = stepped.engine.spacetime_metrics().demon.slots_moved;
                course.epochs.push(Epoch { shards, moved: now - moved });
                moved = now;
            }
            let heaviest = slots.iter().copied().max().unwrap_or(0) as f64 / (epochs * writes) as f64;
            course.bound[usize::from(half)] = (heaviest * before.len() as f64).max(1.0);
        }
        Ok(course)
    }

    fn halves(&self) -> [&[Epoch]; 2] {
        let (early, late) = self.epochs.split_at(self.epochs.len() / 2);
        [early, late]
    }

    /// Highest load over mean, and entropy, of some epochs together.
    fn of(epochs: &[Epoch]) -> (f64, f64) {
        let shards = epochs.first().map_or(0, |epoch| epoch.shards.len());
        let sums: Vec<f64> =
            (0..shards).map(|shard| epochs.iter().map(|epoch| epoch.shards[shard]).sum()).collect();
        (max_over_mean(&sums).unwrap_or(f64::NAN), normalized_entropy(&sums).unwrap_or(f64::NAN))
    }

    fn settled(half: &[Epoch]) -> (f64, f64) {
        Course::of(&half[half.len() - SETTLED..])
    }

    /// Epochs after the change until the heaviest shard carries no more than it does in the end; `None` if it never does.
    fn recovery(&self) -> Option<usize> {
        let late = self.halves()[1];
        let limit = Course::settled(late).0 * RECOVERED;
        late.iter().position(|epoch| Course::of(std::slice::from_ref(epoch)).0 <= limit)
    }

    fn moves(epochs: &[Epoch]) -> u64 {
        epochs.iter().map(|epoch| epoch.moved).sum()
    }
}

fn evenness(job: &mut Job) -> Outcome<()> {
    let (epochs, writes) = (job.size(EPOCHS), job.size(EPOCH_WRITES));
    let mut table = Table::new(
        format!(
            "Writes over the shards: {} keys, {} looks of {} writes each, then as many after the hot keys have changed",
            grouped(KEYS as f64),
            epochs,
            grouped(writes as f64)
        ),
        &[
            "writes",
            "demon",
            "heaviest / mean, first look",
            "settled",
            "least possible",
            "entropy, first look",
            "settled",
            "heaviest / mean after the change",
            "settled",
            "looks until then",
            "slots moved",
            "of them when settled",
        ],
    );
    let (mut most, mut late_moves, mut writes_settled, mut slowest) = (0.0_f64, 0, 0, 0);
    let mut bars = Vec::new();
    for name in ["zipf 0.99", "90 % to 64 keys that begin on one shard", "25 % to one key"] {
        for demon in [Demon::Off, Demon::Auto] {
            let stepped = Stepped::open(job.seed, demon)?;
            let load = match name {
                "zipf 0.99" => Load::Zipf(Zipf::new(KEYS, YCSB_THETA)),
                "25 % to one key" => Load::OneKey,
                _ => Load::OneShard(stepped.on_two_shards()?),
            };
            let course = Course::run(job, &stepped, &load)?;
            let [early, late] = course.halves();
            let (first, settled) = (Course::of(&early[..1]), Course::settled(early));
            let (changed, again) = (Course::of(&late[..1]), Course::settled(late));
            let in_the_end = [early, late].map(|half| Course::moves(&half[half.len() - SETTLED..]));
            let in_the_end = in_the_end.iter().sum::<u64>();
            let recovery = course.recovery();
            if demon == Demon::Auto {
                most = most.max(settled.0 / course.bound[0]).max(again.0 / course.bound[1]);
                late_moves += in_the_end;
                writes_settled += 2 * SETTLED * writes;
                slowest = slowest.max(recovery.unwrap_or(epochs));
            }
            let switch = if demon == Demon::Off { "off" } else { "on" };
            bars.push((format!("{name}, {switch}"), settled.0));
            table.row([
                Cell::text(name),
                Cell::text(switch),
                Cell::number(first.0, ""),
                Cell::number(settled.0, ""),
                Cell::number(course.bound[0], ""),
                Cell::text(format!("{:.5}", first.1)),
                Cell::text(format!("{:.5}", settled.1)),
                Cell::number(changed.0, ""),
                Cell::number(again.0, ""),
                recovery.map_or(Cell::Absent(()), |looks| Cell::count(looks as u64)),
                Cell::count(Course::moves(&course.epochs)),
                Cell::count(in_the_end),
            ]);
        }
    }
    table.note(format!(
        "Settled: the last {SETTLED} looks of a half together, {} writes, {:.0} times the data. Least possible: the heaviest slot's \
         share times the shards, as a slot is on one shard.",
        grouped((SETTLED * writes) as f64),
        (SETTLED * writes) as f64 / KEYS as f64
    ));
    table.note("Loads have chance in them: even keys give the heaviest of 64 shards 1 + 2.4 * sqrt(64 / writes) times the mean, about.");
    job.report.table(table);
    job.plot(
        "entropy.svg",
        "Writes of the heaviest shard over the mean, settled, without and with the demon",
        "x",
        &bars,
    )?;
    let detail = format!("at most {most:.3} times the least possible");
    job.report.check("the heaviest shard comes near what is possible", most < job.size(NEAR), detail);
    let detail = format!("after {slowest} looks at most");
    job.report.check("the demon follows a change of all hot keys within four looks", slowest <= 4, detail);
    let detail = format!("{late_moves} moves over {} writes", grouped(writes_settled as f64));
    job.report.check(
        "what has settled stays: fewer than 2 moves in 10,000 writes",
        (late_moves as f64) < 2e-4 * writes_settled as f64,
        detail,
    );
    Ok(())
}
