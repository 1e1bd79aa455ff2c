//! What physics did during the run, as the engine counted it, and what is on the disk by now.

use crate::load::Loaded;
use crate::report::{Cell, Table};
use crate::run::{Outcome, Run};

/// Takes a last checkpoint and reads the engine's metrics.
///
/// # Errors
/// What the engine answers.
pub(crate) fn advice(run: &mut Run, loaded: &Loaded) -> Outcome<()> {
    let (report, time) = run.time(|| loaded.engine.checkpoint());
    let report = report?;
    let metrics = loaded.engine.cosmic_metrics();

    let mut table = Table::new("What physics did", &["what", "figure"]);
    let mut row = |what: &str, figure: Cell| table.row([Cell::text(what), figure]);
    let known = |value: Option<f64>, cell: fn(f64) -> Cell| value.map_or(Cell::Absent(()), cell);
    let plain = |value: f64| Cell::number(value, "");
    row("entanglement: rules in force", Cell::count(metrics.entanglement.rules as u64));
    row("entanglement: quantum_get calls", Cell::count(metrics.entanglement.quantum.requests));
    row("entanglement: partners found / requested", known(metrics.entanglement.efficiency, Cell::share));
    row(
        "entanglement: entries laid beside a related one in layers",
        Cell::count(metrics.entanglement.laid_out),
    );
    row("entropy: evenness of load over shards (1 is even)", known(metrics.entropy.entropy, plain));
    row("entropy: shards", Cell::count(metrics.shards.len() as u64));
    row("entropy: largest load / mean", known(metrics.entropy.max_over_mean, plain));
    row("entropy: coefficient of variation", known(metrics.entropy.coefficient_of_variation, plain));
    for region in &metrics.regions {
        row(&format!("region {:?}: entries", region.level), Cell::count(region.entries));
        row(&format!("region {:?}: bytes", region.level), Cell::bytes(region.bytes));
    }
    run.report.table(table);

    let mut table = Table::new("On the disk, after load and requests", &["what", "figure"]);
    let mut row = |what: &str, figure: Cell| table.row([Cell::text(what), figure]);
    if let Some(log) = metrics.log {
        row("log: bytes written, with frames and padding", Cell::bytes(log.bytes_written));
        row("log: entries", Cell::count(log.entries));
        row("log: syncs", Cell::count(log.syncs));
        row("log: times a writer waited for room", Cell::count(log.waits));
        row("log: bytes of its segments now, prepared ones included", Cell::bytes(log.bytes_on_disk));
    }
    if let Some(checkpoints) = metrics.checkpoints {
        row("checkpoints taken", Cell::count(checkpoints.taken));
        row("checkpoints: bytes written", Cell::bytes(checkpoints.bytes + checkpoints.merged_bytes));
        row("checkpoints: merges of layers", Cell::count(checkpoints.merges));
        row("layers of the newest", Cell::count(checkpoints.layers as u64));
        row("layers of the newest: bytes", Cell::bytes(checkpoints.layer_bytes));
        let failed = checkpoints.failed;
        run.report.check(
            "no checkpoint failed",
            failed == 0,
            format!("{} taken, {failed} failed", checkpoints.taken),
        );
    }
    row("last checkpoint: entries that had changed", Cell::count(report.entries));
    row("last checkpoint: time", Cell::time(time));
    row("keys and values of the data", Cell::bytes(run.data.corpus.bytes() as u64));
    run.report.table(table);
    Ok(())
}
