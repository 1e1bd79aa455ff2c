//! `quantum_get`: a key with its partners in one call, against single gets of the same keys, in memory and from layers.
//!
//! The factor of N partners is the time of N + 1 single gets over that of one `quantum_get`, which looks up who the partners
//! are, reads all values and hands them out. Keys are random, and what is read is far more than the processor's caches hold.

use std::hint::black_box;
use std::path::Path;
use std::time::Duration;

use tempfile::TempDir;
use warp_api::{Key, LOG_SEGMENT_BYTES_MIN, Options, Physics, QuantumOptions, WarpEngine};

use super::Job;
use crate::child;
use crate::fromdisk::{self, Ask, Cost, PageCache};
use crate::latency::median;
use crate::random::Random;
use crate::related::{Groups, dependent, known};
use crate::report::{Cell, Table, grouped};
use crate::run::Outcome;
use crate::series::turns;
use crate::timed::Timed;

/// Partners of a key.
const SIZES: [usize; 5] = [1, 3, 7, 15, 31];
/// The keys of an id that are partners; a key with fewer of them than all has each of them as likely as any other.
const PARTNERS: usize = 31;
/// Entries in memory.
const ENTRIES: [usize; 3] = [200_000, 2_000_000, 8_000_000];
/// Values that one pass reads, and passes of which the medians are reported.
const PASS_VALUES: [usize; 3] = [40_000, 400_000, 1_000_000];
const REPEATS: [usize; 3] = [3, 7, 7];
const VALUE_BYTES: usize = 64;
const STRENGTH: f64 = 0.8;
/// Groups of the database on the disk, and how many of them a pass reads.
const COLD_GROUPS: [usize; 3] = [20_000, 200_000, 400_000];
const COLD_READ: [usize; 3] = [200, 1_000, 1_000];
const COLD_PARTNERS: usize = 4;
const COLD_VALUE_BYTES: usize = 200;
/// Coprime to all counts of entries here: a walk in such steps comes to each number once, in no order.
const STEP: usize = 2_654_435_761;
/// Streams of random numbers.
const VALUES: u64 = 1;
const CHOICES: u64 = 2;

/// Runs the part.
///
/// # Errors
/// What the engine answers.
pub(crate) fn quantum(job: &mut Job) -> Outcome<()> {
    let memory = Memory::fill(job)?;
    memory.compare(job)?;
    memory.without_partners(job)?;
    drop(memory);
    cold(job)?;
    cold_sizes(job)
}

/// The name of a key that has partners: of those of its id, the ones from `class * partners` on.
fn root(partners: usize, class: usize, id: usize) -> String {
    format!("g{partners}.{class}:{id:07}")
}

fn partner(place: usize, id: usize) -> String {
    format!("p{place:02}:{id:07}")
}

fn classes(partners: usize) -> usize {
    PARTNERS / partners
}

fn value(random: &mut Random, bytes: usize) -> Vec<u8> {
    (0..bytes / 8).flat_map(|_| random.next_u64().to_le_bytes()).collect()
}

fn all_partners(partners_max: usize) -> QuantumOptions {
    QuantumOptions { partners_max, ..QuantumOptions::default() }
}

/// An engine whose values are all in memory, and whose partners follow from rules.
struct Memory {
    engine: WarpEngine,
    ids: usize,
}

impl Memory {
    fn fill(job: &Job) -> Outcome<Memory> {
        let engine = Options::new().in_memory();
        let mut kinds: Vec<(usize, usize)> = Vec::new();
        for partners in SIZES {
            for class in 0..classes(partners) {
                let places = class * partners..(class + 1) * partners;
                let templates: Vec<String> = places.map(|place| format!("p{place:02}:{{id}}")).collect();
                engine.entanglement_rule(format!("g{partners}.{class}:{{id}}"), &templates, STRENGTH)?;
                kinds.push((partners, class));
            }
        }
        let a_id = kinds.len() + PARTNERS;
        let ids = job.size(ENTRIES) / a_id;
        let mut random = Random::new(job.seed, VALUES);
        for number in 0..ids * a_id {
            let number = number * STEP % (ids * a_id);
            let (id, kind) = (number / a_id, number % a_id);
            let key = match kinds.get(kind) {
                Some(&(partners, class)) => root(partners, class, id),
                None => partner(kind - kinds.len(), id),
            };
            engine.put(key, value(&mut random, VALUE_BYTES))?;
        }
        Ok(Memory { engine, ids })
    }

    fn compare(&self, job: &mut Job) -> Outcome<()> {
        let mut table = Table::new(
            format!(
                "quantum_get against single gets: {} entries with values of {VALUE_BYTES} bytes in memory, partners by rule, \
                 1 thread",
                grouped(self.engine.len()? as f64)
            ),
            &[
                "partners",
                "quantum_get",
                "A: gets, keys known",
                "multi_get, keys known",
                "B: gets, each after the one before",
                "A / quantum_get",
                "multi_get / quantum_get",
                "B / quantum_get",
            ],
        );
        let mut random = Random::new(job.seed, CHOICES);
        let (mut asked, mut found, mut bars) = (0, 0, Vec::new());
        for partners in SIZES {
            let mut times = [const { Vec::new() }; 4];
            for run in 0..job.size(REPEATS) {
                // Others each time, so that what a pass reads is not in the caches from the one before.
                let roots = self.choose(&mut random, partners, job.size(PASS_VALUES) / (partners + 1));
                for turn in turns(times.len(), run) {
                    let (outcome, time) = job.time(|| self.pass(turn, partners, &roots));
                    let (of, there) = outcome?;
                    asked += of;
                    found += there;
                    times[turn].push(time.as_secs_f64() / roots.0.len() as f64);
                }
            }
            let ratio = |over: usize| {
                let pairs = times[over].iter().zip(&times[0]);
                median(&pairs.map(|(over, under)| over / under).collect::<Vec<_>>())
            };
            bars.push((format!("{partners} partners, gets"), ratio(1)));
            bars.push((format!("{partners} partners, dependent"), ratio(3)));
            let time = |of: usize| Cell::time(Duration::from_secs_f64(median(&times[of])));
            table.row([
                Cell::count(partners as u64),
                time(0),
                time(1),
                time(2),
                time(3),
                Cell::ratio(ratio(1)),
                Cell::ratio(ratio(2)),
                Cell::ratio(ratio(3)),
            ]);
        }
        table.note(format!(
            "A time is of a key with its partners; medians of {} passes by turns over keys at random, ratios within a pass.",
            job.size(REPEATS)
        ));
        table.note("A: the processor overlaps the gets. B: a program that learns the next key from the value before.");
        job.report.table(table);
        job.plot("quantum.svg", "Single gets, and gets one after the other, over quantum_get", "x", &bars)?;
        job.report.check(
            "quantum_get finds every partner",
            asked == found && asked > 0,
            format!("{} of {}", grouped(found as f64), grouped(asked as f64)),
        );
        Ok(())
    }

    /// Keys with partners, and beside them their groups: the key itself and its partners, as keys that are known.
    fn choose(&self, random: &mut Random, partners: usize, count: usize) -> (Vec<String>, Groups) {
        let group = |_| {
            let (class, id) = (random.below(classes(partners)), random.below(self.ids));
            let root = root(partners, class, id);
            let places = class * partners..(class + 1) * partners;
            let names = places.map(|place| partner(place, id));
            let keys = std::iter::once(root.clone()).chain(names).map(|name| Key::from(name.as_bytes()));
            (root, keys.collect())
        };
        (0..count).map(group).unzip()
    }

    /// One way of reading all groups. Returns how many partners `quantum_get` was to find, and how many it found.
    fn pass(
        &self,
        way: usize,
        partners: usize,
        (roots, groups): &(Vec<String>, Groups),
    ) -> Outcome<(u64, u64)> {
        match way {
            0 => {
                let options = all_partners(partners);
                let mut found = 0;
                for root in roots {
                    let entangled =
                        self.engine.quantum_get_with(root, &options)?.ok_or("a key is not there")?;
                    found += entangled.found as u64;
                    black_box(entangled);
                }
                return Ok(((roots.len() * partners) as u64, found));
            }
            1 => known(&self.engine, groups)?,
            2 => {
                for group in groups {
                    black_box(self.engine.multi_get(group)?);
                }
            }
            _ => dependent(&self.engine, groups)?,
        }
        Ok((0, 0))
    }

    /// What `quantum_get` costs beyond a get where a key has no partners.
    fn without_partners(&self, job: &mut Job) -> Outcome<()> {
        let mut table =
            Table::new("quantum_get of keys without partners", &["what", "time a key", "beyond get"]);
        let mut random = Random::new(job.seed, CHOICES + 1);
        let mut times = [const { Vec::new() }; 2];
        for run in 0..job.size(REPEATS) {
            let count = job.size(PASS_VALUES) / 2;
            let keys: Vec<String> =
                (0..count).map(|_| partner(random.below(PARTNERS), random.below(self.ids))).collect();
            for turn in turns(times.len(), run) {
                let (outcome, time) = job.time(|| -> Outcome<()> {
                    for key in &keys {
                        if turn == 0 {
                            black_box(self.engine.get(key)?);
                        } else {
                            black_box(self.engine.quantum_get(key)?);
                        }
                    }
                    Ok(())
                });
                outcome?;
                times[turn].push(time.as_secs_f64() * 1e9 / keys.len() as f64);
            }
        }
        let [get, quantum] = times.each_ref().map(|times| median(times));
        let beyond: Vec<f64> = times[1].iter().zip(&times[0]).map(|(quantum, get)| quantum - get).collect();
        table.row([Cell::text("get"), Cell::number(get, " ns"), Cell::Absent(())]);
        let beyond = Cell::number(median(&beyond), " ns");
        table.row([Cell::text("quantum_get"), Cell::number(quantum, " ns"), beyond]);
        table.note("It reads the clock twice, looks for declared links, and tries the rules.");
        job.report.table(table);
        Ok(())
    }
}

/// A way of reading what is in a layer only.
struct ColdRow {
    what: &'static str,
    /// Whether the layer was written, and is read, with physics on.
    is_on: bool,
    /// Whether the engine brings partners in by itself.
    fetches: bool,
    ask: Ask,
}

const COLD_ROWS: [ColdRow; 9] = [
    ColdRow { what: "quantum_get, physics on", is_on: true, fetches: false, ask: Ask::Quantum },
    ColdRow { what: "quantum_get, physics off", is_on: false, fetches: false, ask: Ask::Quantum },
    ColdRow {
        what: "A: single gets, keys known, physics off",
        is_on: false,
        fetches: false,
        ask: Ask::Singles,
    },
    ColdRow { what: "single gets, nothing fetched", is_on: true, fetches: false, ask: Ask::Singles },
    ColdRow { what: "single gets, partners fetched", is_on: true, fetches: true, ask: Ask::Singles },
    ColdRow {
        what: "a pause first, nothing fetched",
        is_on: true,
        fetches: false,
        ask: Ask::SinglesAfterPause,
    },
    ColdRow {
        what: "a pause first, partners fetched",
        is_on: true,
        fetches: true,
        ask: Ask::SinglesAfterPause,
    },
    ColdRow { what: "partners not read, nothing fetched", is_on: true, fetches: false, ask: Ask::First },
    ColdRow { what: "partners not read, fetched at first", is_on: true, fetches: true, ask: Ask::First },
];
/// The row that others are compared with.
const COLD_BASE: usize = 2;

impl ColdRow {
    /// With a background that brings partners in, and that has nothing else to do: neither to read ahead nor to make the log ready.
    fn options(&self) -> Options {
        let physics = Physics { warm_start: false, ..cold_physics(self.is_on) };
        let prefetch_bytes = if self.fetches { physics.prefetch_bytes } else { 0 };
        child::on_demand()
            .read_ahead_bytes(0)
            .log_segment_bytes(LOG_SEGMENT_BYTES_MIN)
            .physics(Physics { prefetch_bytes, ..physics })
    }
}

fn cold_physics(is_on: bool) -> Physics {
    if is_on { Physics::default() } else { Physics::off() }
}

/// Values that are in a layer only, right after an open.
fn cold(job: &mut Job) -> Outcome<()> {
    let groups = job.size(COLD_GROUPS);
    let write = |is_on| write_cold(job, groups, COLD_PARTNERS, is_on);
    let (on, off) = (write(true)?, write(false)?);
    let mut table = Table::new(
        format!(
            "Keys with {COLD_PARTNERS} partners from a layer of {} entries with values of {COLD_VALUE_BYTES} bytes",
            grouped((groups * (COLD_PARTNERS + 1)) as f64)
        ),
        &["page cache", "what", "time a key", "A / this", "read from the device a key"],
    );
    let mut random = Random::new(job.seed, CHOICES + 2);
    for (name, cache) in [("warm", PageCache::Kept), ("dropped", PageCache::Dropped)] {
        let mut costs = [const { Vec::<Cost>::new() }; COLD_ROWS.len()];
        for run in 0..job.size(REPEATS) {
            let keys: Vec<String> =
                (0..job.size(COLD_READ)).map(|_| format!("g:{:07}", random.below(groups))).collect();
            for turn in turns(COLD_ROWS.len(), run) {
                let row = &COLD_ROWS[turn];
                let dir = if row.is_on { &on } else { &off };
                costs[turn].push(read_cold(job, dir.path(), row, &keys, COLD_PARTNERS, cache)?);
            }
        }
        for (row, of) in COLD_ROWS.iter().zip(&costs) {
            let seconds: Vec<f64> = of.iter().map(|cost| cost.seconds).collect();
            let ratios: Vec<f64> =
                costs[COLD_BASE].iter().zip(of).map(|(a, this)| a.seconds / this.seconds).collect();
            let is_comparable = row.ask != Ask::First;
            let bytes: Vec<f64> = of.iter().map(|cost| cost.bytes).collect();
            table.row([
                Cell::text(name),
                Cell::text(row.what),
                Cell::time(Duration::from_secs_f64(median(&seconds))),
                if is_comparable { Cell::ratio(median(&ratios)) } else { Cell::Absent(()) },
                Cell::number(median(&bytes), "B"),
            ]);
        }
    }
    table.note(format!("Each key is asked for once after an open; medians of {} opens.", job.size(REPEATS)));
    table.note(
        "Single gets read the key and then its partners, at once or after a pause of 300 us that is not counted; where partners are not \
         read, the rule is of no use.",
    );
    table.note("Dropped: the system is asked to forget the pages; what the device or a host behind it keeps is not ours to drop.");
    job.report.table(table);
    Ok(())
}

fn read_cold(
    job: &Job,
    dir: &Path,
    row: &ColdRow,
    keys: &[String],
    partners: usize,
    cache: PageCache,
) -> Outcome<Cost> {
    fromdisk::read(&job.clock, dir, row.options(), row.ask, keys, all_partners(partners), cache)
}

/// The same with other numbers of partners, the page cache dropped.
fn cold_sizes(job: &mut Job) -> Outcome<()> {
    let mut table = Table::new(
        "quantum_get of keys that are on the disk only, page cache dropped",
        &[
            "partners",
            "quantum_get",
            "A: gets, keys known, physics off",
            "A / quantum_get",
            "device",
            "device, A",
        ],
    );
    let rows = [&COLD_ROWS[0], &COLD_ROWS[COLD_BASE]];
    let mut random = Random::new(job.seed, CHOICES + 3);
    for partners in SIZES {
        let groups = job.size(COLD_GROUPS) / (partners + 1);
        let dirs = [write_cold(job, groups, partners, true)?, write_cold(job, groups, partners, false)?];
        let mut costs = [const { Vec::<Cost>::new() }; 2];
        for run in 0..job.size(REPEATS) {
            let count = job.size(COLD_READ) / 4;
            let keys: Vec<String> = (0..count).map(|_| format!("g:{:07}", random.below(groups))).collect();
            for turn in turns(rows.len(), run) {
                let (row, dir) = (rows[turn], dirs[turn].path());
                costs[turn].push(read_cold(job, dir, row, &keys, partners, PageCache::Dropped)?);
            }
        }
        let of = |place: usize, f: fn(&Cost) -> f64| median(&costs[place].iter().map(f).collect::<Vec<_>>());
        let time = |place| Cell::time(Duration::from_secs_f64(of(place, |cost| cost.seconds)));
        let ratios: Vec<f64> =
            costs[1].iter().zip(&costs[0]).map(|(a, this)| a.seconds / this.seconds).collect();
        table.row_now([
            Cell::count(partners as u64),
            time(0),
            time(1),
            Cell::ratio(median(&ratios)),
            Cell::number(of(0, |cost| cost.bytes), "B"),
            Cell::number(of(1, |cost| cost.bytes), "B"),
        ]);
    }
    table.note(format!(
        "{} entries with values of {COLD_VALUE_BYTES} bytes in one layer; medians of {} opens.",
        grouped(job.size(COLD_GROUPS) as f64),
        job.size(REPEATS)
    ));
    job.report.table(table);
    Ok(())
}

/// A database whose entries are all in one layer.
fn write_cold(job: &Job, groups: usize, partners: usize, is_on: bool) -> Outcome<TempDir> {
    let dir = job.dir()?;
    let engine = child::on_demand().physics(cold_physics(is_on)).open(dir.path())?;
    let templates: Vec<String> = (0..partners).map(|place| format!("p{place:02}:{{id}}")).collect();
    engine.entanglement_rule("g:{id}", &templates, STRENGTH)?;
    let mut random = Random::new(job.seed, VALUES);
    let all = groups * (partners + 1);
    for number in (0..all).map(|number| number * STEP % all) {
        let (id, place) = (number / (partners + 1), number % (partners + 1));
        let key = place.checked_sub(1).map_or_else(|| format!("g:{id:07}"), |place| partner(place, id));
        engine.put(key, value(&mut random, COLD_VALUE_BYTES))?;
    }
    engine.close()?;
    Ok(dir)
}
