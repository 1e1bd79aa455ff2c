//! What LZ4 saves on the real records: bytes of log and layers, from several sizes of value on.

use std::time::Duration;

use warp_api::Options;

use crate::child;
use crate::load::put_all;
use crate::report::{Cell, Table, grouped};
use crate::run::{Outcome, Run};

/// Smallest value that is compressed: never, the default, and one that reaches the characters' summaries.
const COMPRESS_FROM: [(usize, &str); 3] =
    [(usize::MAX, "never"), (1024, "1,024 bytes (default)"), (128, "128 bytes")];

/// What one database took.
#[derive(Clone, Copy, Debug)]
struct Taken {
    log_bytes: u64,
    layer_bytes: u64,
    put_time: Duration,
}

/// Loads all records once for each setting.
///
/// # Errors
/// What the engine and the system answer.
pub(crate) fn compression(run: &mut Run) -> Outcome<()> {
    let mut table = Table::new(
        "LZ4 on the real records",
        &["compressed from", "log", "of none", "layer", "of none", "puts/s"],
    );
    // The pages are what is long; a short run takes them too, and fewer of the fields.
    let ranges = [0..run.fields(), run.data.fields..run.data.corpus.len()];
    let count: usize = ranges.iter().map(ExactSizeIterator::len).sum();
    let mut none = None;
    for (from, what) in COMPRESS_FROM {
        let taken = load(run, child::on_demand().compress_values_from(from), &ranges)?;
        let base = *none.get_or_insert(taken);
        table.row([
            Cell::text(what),
            Cell::bytes(taken.log_bytes),
            Cell::share(taken.log_bytes as f64 / base.log_bytes as f64),
            Cell::bytes(taken.layer_bytes),
            Cell::share(taken.layer_bytes as f64 / base.layer_bytes as f64),
            Cell::rate(count as f64 / taken.put_time.as_secs_f64()),
        ]);
    }
    let (long, bytes) = long_values(run);
    table.note(format!(
        "{} records; {long} values of 1,024 bytes and more hold {:.1} MiB.",
        grouped(count as f64),
        bytes as f64 / (1 << 20) as f64
    ));
    table.note("Log: bytes written, frames and padding included. Layer: the file of one full checkpoint.");
    run.report.table(table);
    Ok(())
}

fn load(run: &Run, options: Options, ranges: &[std::ops::Range<usize>]) -> Outcome<Taken> {
    let dir = run.dir()?;
    let engine = options.open(dir.path())?;
    let (outcome, put_time) = run.time(|| -> Outcome<()> {
        for range in ranges {
            put_all(&engine, &run.data.corpus, range.clone(), &run.bar)?;
        }
        Ok(())
    });
    outcome?;
    engine.sync()?;
    let log_bytes = engine.cosmic_metrics().log.map_or(0, |log| log.bytes_written);
    let layer_bytes = engine.checkpoint()?.bytes;
    Ok(Taken { log_bytes, layer_bytes, put_time })
}

fn long_values(run: &Run) -> (usize, usize) {
    let long = (run.data.fields..run.data.corpus.len()).map(|record| run.data.corpus.value(record).len());
    long.filter(|&bytes| bytes >= 1024).fold((0, 0), |(count, sum), bytes| (count + 1, sum + bytes))
}
