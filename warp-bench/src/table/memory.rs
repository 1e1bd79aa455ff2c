//! Anonymous memory an entry beyond key and value, each store in a process of its own.

use super::job::Job;
use super::kinds::{Kind, kind};
use crate::child;
use crate::keys::{KEY_BYTES, Key, VALUE_BYTES, keys, shuffled};
use crate::machine::Usage;
use crate::report::{Cell, Table, grouped};
use crate::run::Outcome;
use crate::timed::Timed;

/// Sizes, as tenths of the number of keys: a table that doubles has its best and its worst moment among them.
const SIZES_TENTHS: [usize; 3] = [7, 10, 14];
/// One entry in this many is left after the deletions.
const KEPT_ONE_IN: usize = 10;

/// What a child is told when it is started.
#[derive(Debug, clap::Args)]
pub(crate) struct HoldArguments {
    store: String,
    keys: usize,
}

/// Anonymous bytes of a child at three moments.
#[derive(Clone, Copy, Debug)]
struct Held {
    empty: u64,
    loaded: u64,
    deleted: u64,
}

/// The child's side: fills a store, deletes most of it, and prints what the process takes each time.
///
/// # Errors
/// An unknown store; a kernel that does not say what a process takes.
pub(crate) fn hold(arguments: &HoldArguments, seed: u64) -> Outcome<()> {
    let store = (kind(&arguments.store)?.empty)();
    // Both orders are in memory from the start, so that they cost each moment the same.
    let keys = keys(seed, arguments.keys);
    let order = shuffled(&keys, seed);
    let empty = Usage::anonymous()?;
    store.insert_all(&keys);
    let loaded = Usage::anonymous()?;
    store.remove_all(removed(&order));
    store.settle()?;
    store.give_back();
    println!("{empty} {loaded} {}", Usage::anonymous()?);
    Ok(())
}

fn removed(order: &[Key]) -> &[Key] {
    &order[order.len() / KEPT_ONE_IN..]
}

/// Starts a child for each store and size.
///
/// # Errors
/// What the children and the system answer.
pub(crate) fn memory(job: &mut Job) -> Outcome<()> {
    let mut table = Table::new(
        "Anonymous memory (RssAnon) of a process with one store, loaded in random order",
        &["store", "entries", "loaded", "an entry, beyond key and value", "after deleting 90 %", "of loaded"],
    );
    for kind in &job.kinds {
        for tenths in SIZES_TENTHS {
            let count = job.sizes.keys / 10 * tenths;
            job.say(&format!("{} with {} entries", kind.name, grouped(count as f64)));
            let held = held(kind, count, job.seed)?;
            let loaded = held.loaded.saturating_sub(held.empty);
            let deleted = held.deleted.saturating_sub(held.empty);
            let each = loaded as f64 / count as f64 - (KEY_BYTES + VALUE_BYTES) as f64;
            table.row([
                Cell::text(kind.name),
                Cell::count(count as u64),
                Cell::bytes(loaded),
                Cell::number(each, " B"),
                Cell::bytes(deleted),
                Cell::share(deleted as f64 / loaded as f64),
            ]);
        }
    }
    table.note(format!("Keys and values alone are {} bytes an entry.", KEY_BYTES + VALUE_BYTES));
    table.note(
        "Deletions are in random order. Ours then gives memory back as the engine does now and then in the",
    );
    table.note("background; maps have no such call, and nobody asks the allocator to give anything back.");
    job.report.table(table);
    Ok(())
}

fn held(kind: &Kind, count: usize, seed: u64) -> Outcome<Held> {
    let answer = child::answer(&format!("the process with {}", kind.name), |command| {
        command.args(["hold", kind.name, &count.to_string(), "--seed", &seed.to_string()])
    })?;
    parse(&answer)
}

fn parse(answer: &str) -> Outcome<Held> {
    let numbers: Result<Vec<u64>, _> = answer.split_whitespace().map(str::parse).collect();
    match numbers?[..] {
        [empty, loaded, deleted] => Ok(Held { empty, loaded, deleted }),
        _ => Err("the child's answer is not three numbers".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nine_in_ten_are_removed() {
        assert_eq!(removed(&[[0; KEY_BYTES]; 1_000]).len(), 900);
    }

    #[test]
    fn answers_are_three_numbers() {
        assert_eq!(parse("1 22 3\n").unwrap().loaded, 22);
        assert!(parse("1 22\n").is_err());
        assert!(parse("1 22 x\n").is_err());
    }
}
