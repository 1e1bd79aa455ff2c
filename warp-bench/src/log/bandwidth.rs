//! Large values: bytes a second through the log, beside the same bytes written in a row without any engine.

use std::hint::black_box;
use std::path::Path;

use warp_api::WarpEngine;

use super::committer::{Committer, Mode};
use super::job::Job;
use super::ours::BareLog;
use super::raw;
use crate::child;
use crate::clients::clients;
use crate::keys::{Key, keys};
use crate::random::Random;
use crate::report::{Cell, Table};
use crate::run::Outcome;
use crate::series::{Series, turns};
use crate::timed::Timed;

const VALUE_BYTES: [usize; 2] = [4 << 10, 64 << 10];
const THREADS: [usize; 2] = [1, 2];
/// Bytes of values of one pass.
const PASS_BYTES: usize = 512 << 20;
const PASS_BYTES_QUICK: usize = 8 << 20;
/// Bytes of different values, so that a table which holds them all stays small.
const DISTINCT_BYTES: usize = 16 << 20;
/// The stream of random numbers that values are drawn from.
const VALUES_STREAM: u64 = 1 << 40;

/// Values of one length, and a key for each.
struct Values {
    keys: Vec<Key>,
    /// Noise, which cannot be compressed.
    noise: Vec<Vec<u8>>,
    /// Records in JSON.
    text: Vec<Vec<u8>>,
}

/// What is measured with each length.
enum Subject {
    Raw,
    Plain(WarpEngine),
    Log(BareLog),
    Compressed(WarpEngine),
    Lz4,
}

impl Subject {
    fn name(&self) -> &'static str {
        match self {
            Subject::Raw => "written in a row, 1 thread",
            Subject::Plain(_) => "ours, not compressed",
            Subject::Log(_) => "warp-wal, not compressed",
            Subject::Compressed(_) => "ours, compressed",
            Subject::Lz4 => "LZ4 alone",
        }
    }
}

const RAW: usize = 0;
const LZ4: usize = 4;

/// Measures both lengths.
///
/// # Errors
/// What the engine and the system answer.
pub(crate) fn bandwidth(job: &mut Job) -> Outcome<()> {
    let total = if job.sizes.quick { PASS_BYTES_QUICK } else { PASS_BYTES };
    let mut table = Table::new(
        format!(
            "{} MiB of large values until they are on the disk; medians of {}",
            total >> 20,
            job.sizes.runs
        ),
        &["value", "threads", "what", "MB/s", "least", "most", "of written in a row", "of LZ4 alone"],
    );
    for bytes in VALUE_BYTES {
        for threads in job.threads(&THREADS) {
            let dir = job.dir()?;
            let subjects = open(dir.path())?;
            let values = values(job.seed, bytes);
            let mut series = Series::new(subjects.len());
            for run in 0..job.sizes.runs {
                for place in turns(subjects.len(), run) {
                    let subject = &subjects[place];
                    job.say(&format!("{} KiB, {threads} threads, {}", bytes >> 10, subject.name()));
                    series.push(place, rate(job, subject, &dir.path().join("raw"), &values, threads, total)?);
                    settle(subject)?;
                }
            }
            for (place, subject) in subjects.iter().enumerate() {
                let threads = if place == RAW { 1 } else { threads };
                let title =
                    [Cell::bytes(bytes as u64), Cell::count(threads as u64), Cell::text(subject.name())];
                let rates = series.cells(place).map(|cell| match cell {
                    Cell::Number { value, .. } => Cell::number(value / 1e6, " MB/s"),
                    other => other,
                });
                let of_raw =
                    if place == LZ4 { Cell::Absent(()) } else { Cell::share(series.ratio(place, RAW)) };
                let compressed = matches!(subject, Subject::Compressed(_));
                let of_lz4 =
                    if compressed { Cell::share(series.ratio(place, LZ4)) } else { Cell::Absent(()) };
                table.row_now(title.into_iter().chain(rates).chain([of_raw, of_lz4]));
            }
        }
    }
    table.note("Bytes are those of values as they were passed in. Written in a row: the same number of bytes in pieces of");
    table.note("1 MiB, through the page cache, to a new file, and one fdatasync. The times of ours end with a sync. Values");
    table.note("that are not compressed are noise; compressed ones are JSON. LZ4 alone: compressing them, on as many");
    table.note("threads, and nothing else.");
    job.report.table(table);
    Ok(())
}

fn open(dir: &Path) -> Outcome<[Subject; 5]> {
    let engine = |name: &str, compress_from: usize| -> Outcome<WarpEngine> {
        let options = child::on_demand().checkpoints_kept(1).compress_values_from(compress_from);
        Ok(options.open(dir.join(name))?)
    };
    Ok([
        Subject::Raw,
        Subject::Plain(engine("plain", usize::MAX)?),
        Subject::Log(BareLog::open(&dir.join("log"), Mode::Lazy)?),
        Subject::Compressed(engine("compressed", 1024)?),
        Subject::Lz4,
    ])
}

fn values(seed: u64, bytes: usize) -> Values {
    let count = DISTINCT_BYTES / bytes;
    let mut random = Random::new(seed, VALUES_STREAM);
    let noise = |random: &mut Random| -> Vec<u8> {
        (0..bytes / 8).flat_map(|_| random.next_u64().to_le_bytes()).collect()
    };
    Values {
        keys: keys(seed, count),
        noise: (0..count).map(|_| noise(&mut random)).collect(),
        text: (0..count).map(|_| json(&mut random, bytes)).collect(),
    }
}

/// Records as programs store them: the same fields again and again, with different content.
fn json(random: &mut Random, bytes: usize) -> Vec<u8> {
    let mut text = Vec::with_capacity(bytes + 200);
    while text.len() < bytes {
        let (id, place, score) = (random.below(1_000_000), random.below(10_000), random.unit() * 1_000.0);
        let record = format!(
            "{{\"id\":{id},\"name\":\"user-{id}\",\"city\":\"place {place}\",\"score\":{score:.3},\"active\":true}},"
        );
        text.extend_from_slice(record.as_bytes());
    }
    text.truncate(bytes);
    text
}

/// Bytes of values a second.
fn rate(
    job: &Job,
    subject: &Subject,
    raw_dir: &Path,
    values: &Values,
    threads: usize,
    total: usize,
) -> Outcome<f64> {
    let bytes = values.noise[0].len();
    // Each thread the same number of whole values.
    let share = (total / bytes / threads).max(1);
    let each = |number: usize| (0..share).map(move |at| number * share + at);
    let count = values.keys.len();
    let puts = |engine: &WarpEngine, what: &[Vec<u8>]| -> Outcome<()> {
        clients(threads, |number| {
            for at in each(number) {
                engine.put(values.keys[at % count], &what[at % count])?;
            }
            Ok(())
        })?;
        Ok(engine.sync()?)
    };
    let all = share * threads * bytes;
    let piece = values.noise.iter().flatten().copied().take(raw::PIECE_BYTES).collect::<Vec<u8>>();
    let (outcome, time) = job.time(|| -> Outcome<()> {
        match subject {
            Subject::Raw => Ok(raw::write_in_a_row(raw_dir, &piece, all as u64)?),
            Subject::Plain(engine) => puts(engine, &values.noise),
            Subject::Compressed(engine) => puts(engine, &values.text),
            Subject::Log(log) => {
                clients(threads, |number| {
                    each(number).try_for_each(|at| {
                        log.commit(number, &values.keys[at % count], &values.noise[at % count])
                    })
                })?;
                log.sync()
            }
            Subject::Lz4 => {
                clients(threads, |number| {
                    let mut out = vec![0; lz4_flex::block::get_maximum_output_size(bytes)];
                    for at in each(number) {
                        black_box(lz4_flex::block::compress_into(&values.text[at % count], &mut out)?);
                    }
                    Ok(())
                })?;
                Ok(())
            }
        }
    });
    outcome?;
    if matches!(subject, Subject::Raw) {
        raw::remove(raw_dir)?;
    }
    Ok(all as f64 / time.as_secs_f64())
}

fn settle(subject: &Subject) -> Outcome<()> {
    match subject {
        Subject::Plain(engine) | Subject::Compressed(engine) => {
            engine.checkpoint()?;
            Ok(())
        }
        Subject::Log(log) => log.settle(),
        Subject::Raw | Subject::Lz4 => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_can_be_compressed_and_noise_cannot() {
        let values = values(5, 64 << 10);
        let compressed = |value: &[u8]| lz4_flex::block::compress(value).len() as f64 / value.len() as f64;
        assert_eq!((values.text[0].len(), values.noise[0].len()), (64 << 10, 64 << 10));
        assert!(compressed(&values.text[0]) < 0.6, "{}", compressed(&values.text[0]));
        assert!(compressed(&values.noise[0]) > 0.99);
        assert_ne!(values.text[0], values.text[1]);
    }
}
