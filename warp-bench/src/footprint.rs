//! What the engine takes of memory and threads with everything on, in a process that holds nothing else.

use crate::child::Fed;
use crate::machine::Usage;
use crate::promises::Promise;
use crate::report::{Cell, Table, grouped};
use crate::run::{Outcome, Run};
use crate::wire::Order;

/// Opens a database in a child process, feeds it with all records, and asks what it takes.
///
/// # Errors
/// What the child and the system answer.
pub(crate) fn footprint(run: &mut Run) -> Outcome<()> {
    let dir = run.dir()?;
    let mut child = Fed::start(dir.path(), false)?;
    let columns = ["when", "resident", "of it anonymous", "threads", "anonymous bytes an entry"];
    let mut table =
        Table::new("Memory and threads of a process with the engine alone, everything on", &columns);
    let count = run.records();
    let row = |table: &mut Table, when: String, usage: Usage, each: Cell| {
        let (resident, anonymous) = (Cell::bytes(usage.resident_bytes), Cell::bytes(usage.anonymous_bytes));
        table.row([Cell::text(when), resident, anonymous, Cell::count(usage.threads), each]);
    };
    let empty = child.usage()?;
    row(&mut table, "opened, empty".to_owned(), empty, Cell::Absent(()));

    run.bar.set_length(count as u64);
    let mut data_bytes = 0;
    for (done, (key, value)) in run.data.corpus.iter().take(count).enumerate() {
        child.put(key, value)?;
        data_bytes += key.len() + value.len();
        run.bar.set_position(done as u64);
    }
    child.ask(Order::Sync)?;
    let each = |usage: Usage| {
        let grown = usage.anonymous_bytes.saturating_sub(empty.anonymous_bytes);
        Cell::number(grown as f64 / count as f64, " B")
    };
    let loaded = child.usage()?;
    row(&mut table, format!("{} entries put", grouped(count as f64)), loaded, each(loaded));
    child.ask(Order::Checkpoint)?;
    let usage = child.usage()?;
    row(&mut table, "checkpoint taken".to_owned(), usage, each(usage));
    child.kill()?;
    table.note(format!("Keys and values alone are {:.1} bytes an entry.", data_bytes as f64 / count as f64));
    run.report.table(table);
    let entries =
        format!("{} entries of {:.0} bytes", grouped(count as f64), data_bytes as f64 / count as f64);
    run.promises.measured(Promise::Resident, empty.resident_bytes as f64, "opened, empty");
    run.promises.measured(Promise::Resident, loaded.resident_bytes as f64, entries);
    run.promises.measured(Promise::Threads, loaded.threads as f64, "main thread included");
    Ok(())
}
