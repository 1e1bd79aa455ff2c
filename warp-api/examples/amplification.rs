//! What checkpoints cost: seconds, bytes, memory, and how often each byte is written.
//!
//! ```text
//! cargo run --release -p warp-api --example amplification -- checkpoint 10000000
//! cargo run --release -p warp-api --example amplification -- overwrite uniform 10000000 20
//! cargo run --release -p warp-api --example amplification -- overwrite zipf 10000000 20
//! ```
//!
//! The last may be followed by the size of the log, in MiB, that calls for a checkpoint; 256 without. Without arguments it runs both with few entries. `AMPLIFICATION_DIR` names the directory to work in.
#![allow(
    clippy::disallowed_methods,
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "a program that measures looks at clocks, files and shares of counts"
)]

use std::error::Error;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use warp_api::{CheckpointMetrics, Options, WarpEngine, WriteBatch};

const KEY_BYTES: usize = 16;
const VALUE_BYTES: usize = 100;
const BATCH: u64 = 64;
const MIB: f64 = (1 << 20) as f64;
/// The skew of the zipfian choice, as in YCSB.
const THETA: f64 = 0.99;

type Answer<T> = Result<T, Box<dyn Error>>;

fn main() -> Answer<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |place: usize, default: u64| -> Answer<u64> {
        arguments.get(place).map_or(Ok(default), |text| Ok(text.parse()?))
    };
    let scratch = match std::env::var_os("AMPLIFICATION_DIR") {
        Some(dir) => tempfile::tempdir_in(dir)?,
        None => tempfile::tempdir()?,
    };
    match arguments.first().map(String::as_str) {
        Some("checkpoint") => checkpoint(scratch.path(), number(1, 10_000_000)?),
        Some("overwrite") => {
            let choice = arguments.get(1).map_or("uniform", String::as_str);
            let log_mib = number(4, 256)?;
            overwrite(scratch.path(), choice, number(2, 10_000_000)?, number(3, 20)?, log_mib << 20)
        }
        _ => {
            checkpoint(&scratch.path().join("a"), 100_000)?;
            overwrite(&scratch.path().join("b"), "zipf", 20_000, 5, 1 << 20)
        }
    }
}

/// A full checkpoint, and one after a hundredth has changed.
fn checkpoint(path: &Path, entries: u64) -> Answer<()> {
    let engine = Options::new()
        .checkpoint_interval(Duration::from_secs(100_000))
        .checkpoint_log_bytes(u64::MAX)
        .open(path)?;
    load(&engine, entries)?;
    engine.sync()?;
    std::thread::sleep(Duration::from_secs(2));
    let data = entries * (KEY_BYTES + VALUE_BYTES) as u64;
    let full = measured(&engine, "full", data)?;
    let raw = write_raw(&path.join("raw"), full)?;
    println!("raw: {:.0} MiB in {:.2} s, {:.0} MiB/s", full as f64 / MIB, raw, full as f64 / MIB / raw);
    let mut random = Random(7);
    let mut batch = WriteBatch::new();
    for _ in 0..entries / 100 {
        let number = random.below(entries);
        batch.put(key(number), value(&mut random));
        if batch.len() as u64 == BATCH {
            engine.write(&batch)?;
            batch = WriteBatch::new();
        }
    }
    let part = measured(&engine, "1 % changed", data)?;
    println!("1 % changed: {:.2} % of the full one's bytes", 100.0 * part as f64 / full as f64);
    assert!(part < full);
    Ok(engine.close()?)
}

/// Takes a checkpoint, and prints what it cost; returns its bytes.
fn measured(engine: &WarpEngine, name: &str, data: u64) -> Answer<u64> {
    let before = anonymous_bytes()?;
    let peak = AtomicU64::new(before);
    let done = AtomicBool::new(false);
    let (report, seconds, cpu) = std::thread::scope(|scope| -> Answer<_> {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                peak.fetch_max(anonymous_bytes().unwrap_or(0), Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(2));
            }
        });
        let (start, cpu) = (Instant::now(), cpu_seconds()?);
        let report = engine.checkpoint();
        let seconds = start.elapsed().as_secs_f64();
        let cpu = cpu_seconds()? - cpu;
        done.store(true, Ordering::Relaxed);
        Ok((report?, seconds, cpu))
    })?;
    let extra = peak.load(Ordering::Relaxed) - before;
    println!(
        "{name}: {} entries, {:.0} MiB in {seconds:.2} s, {:.0} MiB/s, {cpu:.2} s of processor; extra memory {:.1} MiB, {:.1} % of the data; layers {}",
        report.entries,
        report.bytes as f64 / MIB,
        report.bytes as f64 / MIB / seconds,
        extra as f64 / MIB,
        100.0 * extra as f64 / data as f64,
        report.layers,
    );
    Ok(report.bytes)
}

/// Writes as many bytes into a new file, and syncs it; returns the seconds that it took.
fn write_raw(path: &Path, bytes: u64) -> Answer<f64> {
    let mut random = Random(3);
    let buffer: Vec<u8> = (0..1 << 20).map(|_| random.next() as u8).collect();
    let start = Instant::now();
    let mut file = fs::File::create(path)?;
    for _ in 0..bytes / buffer.len() as u64 {
        file.write_all(&buffer)?;
    }
    file.sync_data()?;
    let seconds = start.elapsed().as_secs_f64();
    fs::remove_file(path)?;
    Ok(seconds)
}

/// Overwrites entries until `times` the data was written, with a read for each write as YCSB's workload A has.
/// `log_bytes` is the size of the log that calls for a checkpoint.
fn overwrite(path: &Path, choice: &str, entries: u64, times: u64, log_bytes: u64) -> Answer<()> {
    let engine = Options::new().checkpoint_log_bytes(log_bytes).open(path)?;
    load(&engine, entries)?;
    engine.checkpoint()?;
    let data = entries * (KEY_BYTES + VALUE_BYTES) as u64;
    let before = engine.cosmic_metrics();
    let most = AtomicU64::new(0);
    let done = AtomicBool::new(false);
    let start = Instant::now();
    std::thread::scope(|scope| -> Answer<()> {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                most.fetch_max(disk_without_log(path), Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(20));
            }
        });
        let mut random = Random(11);
        let zipf = (choice == "zipf").then(|| Zipf::new(entries));
        let draw = |random: &mut Random| match &zipf {
            Some(zipf) => mix(zipf.draw(random)) % entries,
            None => random.below(entries),
        };
        for _ in 0..entries * times {
            engine.put(key(draw(&mut random)), value(&mut random))?;
            engine.with_value(key(draw(&mut random)), <[u8]>::len)?;
        }
        done.store(true, Ordering::Relaxed);
        Ok(())
    })?;
    let seconds = start.elapsed().as_secs_f64();
    let after = engine.cosmic_metrics();
    let (log_before, log) = (before.log.ok_or("no log")?, after.log.ok_or("no log")?);
    let (old, new) = (before.checkpoints.ok_or("no files")?, after.checkpoints.ok_or("no files")?);
    let written = (data * times) as f64;
    let logged = (log.bytes_written - log_before.bytes_written) as f64;
    let layers = (layer_bytes(&new) - layer_bytes(&old)) as f64;
    println!(
        "{choice}: {:.0} MiB in {seconds:.0} s; written {:.2} times: log {:.2}, layers {:.2}; disk without log at most {:.2} times the data; {} checkpoints, {} merges, {} layers",
        written / MIB,
        (logged + layers) / written,
        logged / written,
        layers / written,
        most.load(Ordering::Relaxed) as f64 / data as f64,
        new.taken - old.taken,
        new.merges - old.merges,
        new.layers,
    );
    Ok(engine.close()?)
}

/// Bytes that checkpoints and merges have written.
fn layer_bytes(metrics: &CheckpointMetrics) -> u64 {
    metrics.bytes + metrics.merged_bytes
}

fn load(engine: &WarpEngine, entries: u64) -> Answer<()> {
    let mut random = Random(1);
    for first in (0..entries).step_by(BATCH as usize) {
        let mut batch = WriteBatch::new();
        for number in first..entries.min(first + BATCH) {
            batch.put(key(number), value(&mut random));
        }
        engine.write(&batch)?;
    }
    Ok(())
}

fn key(number: u64) -> String {
    format!("{:0width$x}", mix(number), width = KEY_BYTES)
}

/// A value of numbers, of which LZ4 saves too little.
fn value(random: &mut Random) -> [u8; VALUE_BYTES] {
    let mut value = [0; VALUE_BYTES];
    value.chunks_mut(8).for_each(|chunk| chunk.copy_from_slice(&random.next().to_le_bytes()[..chunk.len()]));
    value
}

/// Seconds that the processors have worked for the process.
fn cpu_seconds() -> Answer<f64> {
    /// Ticks a second, in which Linux tells them to every program.
    const TICKS: f64 = 100.0;
    let stat = fs::read_to_string("/proc/self/stat")?;
    let behind_name = stat.rsplit(')').next().ok_or("no name")?;
    let ticks = behind_name.split_whitespace().skip(11).take(2).map(str::parse::<f64>);
    Ok(ticks.sum::<Result<f64, _>>()? / TICKS)
}

/// Bytes of memory of the process that are not those of files.
fn anonymous_bytes() -> Answer<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).ok_or("no RssAnon")?;
    let kib: u64 = line.trim().trim_end_matches(" kB").trim().parse()?;
    Ok(kib << 10)
}

/// Bytes of the files of a database, those of its log left out.
fn disk_without_log(path: &Path) -> u64 {
    let of = |path: &Path| -> u64 {
        let files = fs::read_dir(path).into_iter().flatten().flatten();
        files
            .filter_map(|file| file.metadata().ok())
            .filter(fs::Metadata::is_file)
            .map(|file| file.len())
            .sum()
    };
    of(path) + of(&path.join("layers"))
}

/// `SplitMix64` (Steele, Lea, Flood: Fast splittable pseudorandom number generators, OOPSLA 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        mix(self.0)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

fn mix(number: u64) -> u64 {
    let number = (number ^ (number >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    number ^ (number >> 31)
}

/// The zipfian choice of YCSB (Gray et al., Quickly generating billion-record synthetic databases, SIGMOD 1994).
struct Zipf {
    count: f64,
    zeta: f64,
    alpha: f64,
    eta: f64,
}

impl Zipf {
    fn new(count: u64) -> Zipf {
        let zeta: f64 = (1..=count).map(|rank| (rank as f64).powf(-THETA)).sum();
        let count = count as f64;
        let two = 1.0 + 0.5_f64.powf(THETA);
        let eta = (1.0 - (2.0 / count).powf(1.0 - THETA)) / (1.0 - two / zeta);
        Zipf { count, zeta, alpha: 1.0 / (1.0 - THETA), eta }
    }

    fn draw(&self, random: &mut Random) -> u64 {
        let unit = (random.next() >> 11) as f64 / (1_u64 << 53) as f64;
        let scaled = unit * self.zeta;
        match scaled {
            ..1.0 => 0,
            _ if scaled < 1.0 + 0.5_f64.powf(THETA) => 1,
            _ => (self.count * (self.eta * unit - self.eta + 1.0).powf(self.alpha)) as u64,
        }
    }
}
